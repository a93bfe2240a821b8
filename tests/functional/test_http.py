"""What holds for every path: methods, spellings, media types, sizes, malformed bodies, request ids."""

from __future__ import annotations

import io
import json
import re
from typing import Any

from balancer.exceptions import DatabaseUnavailable
from tests.functional.case import DEVICE, LOAD_BALANCER, NO_ID, ApiCase


class TestRoutes(ApiCase):
    worker = False

    def test_version_document(self) -> None:
        answer = self.call("GET", "http://api.example.org:8181/")
        self.assertEqual(200, answer.status)
        link = {"rel": "describedby", "href": "http://api.example.org:8181/openapi.json"}
        self.assertIn({"id": "v1.0", "status": "SUPPORTED", "links": [link]}, answer.json["versions"])

    def test_unknown_paths(self) -> None:
        for path in (
            "/foo",
            "/foo/loadbalancers/x/y/z",
            f"/foo/loadbalancers/{NO_ID}/unknown",
            "/devices/1/2/3",
            *(
                f"/{taken}/loadbalancers"
                for taken in (
                    "devices",
                    "algorithms",
                    "protocols",
                    "healthcheck",
                    "metrics",
                    "openapi.json",
                    "console",
                )
            ),
            "//loadbalancers",
            f"/{'x' * 256}/loadbalancers",
        ):
            self.refuse(404, "GET", path)

    def test_any_other_project_name(self) -> None:
        for project in ("foo", "v1", "devices2", "a.b-c_d", "%C3%BC", "a%20b", "x" * 255):
            self.assertEqual({"loadbalancers": []}, self.get(f"/{project}/loadbalancers"))

    def test_a_trailing_slash_is_the_same_resource(self) -> None:
        self.register()
        path = self.expect(202, "POST", "/foo/loadbalancers/", LOAD_BALANCER)["loadbalancer"]["id"]
        for resource in ("/devices", "/algorithms", "/foo/loadbalancers", f"/foo/loadbalancers/{path}/details"):
            self.assertEqual(self.get(resource), self.get(resource + "/"))

    def test_known_paths_with_other_methods(self) -> None:
        some = f"/foo/loadbalancers/{NO_ID}"
        for path, allowed in (
            ("/", "GET, HEAD"),
            ("/devices", "GET, HEAD, POST"),
            (f"/devices/{NO_ID}", "DELETE, GET, HEAD, PUT"),
            ("/algorithms", "GET, HEAD"),
            ("/foo/loadbalancers", "GET, HEAD, POST"),
            (some, "DELETE, GET, HEAD, PUT"),
            (f"{some}/details", "GET, HEAD"),
            (f"{some}/nodes", "GET, HEAD, POST, PUT"),
            (f"{some}/nodes/{NO_ID}/inservice", "PUT"),
            (f"{some}/healthMonitoring/{NO_ID}", "DELETE, GET, HEAD"),
        ):
            for method in ("PATCH", "TRACE", "BREW"):
                answer = self.call(method, path)
                self.assertEqual((405, allowed), (answer.status, answer.headers["Allow"]), path)
                self.assertEqual(405, answer.json["error"]["code"])

    def test_head_is_get_without_a_body(self) -> None:
        got, head = self.call("GET", "/devices"), self.call("HEAD", "/devices")
        self.assertEqual((200, None), (head.status, head.json))
        self.assertEqual(got.headers["Content-Length"], head.headers["Content-Length"])
        self.assertEqual(404, self.call("HEAD", f"/devices/{NO_ID}").status)

    def test_paths_that_are_no_text(self) -> None:
        for path in ("/%ff/loadbalancers", "/foo%00/loadbalancers", "/foo%0a/loadbalancers"):
            self.refuse(400, "GET", path)

    def test_every_answer_is_json_and_has_a_request_id(self) -> None:
        seen = set()
        for method, path in (
            ("GET", "/"),
            ("GET", "/devices"),
            ("GET", "/nothing"),
            ("PATCH", "/"),
            ("POST", "/devices"),
        ):
            answer = self.call(method, path)
            self.assertEqual("application/json", answer.headers["Content-Type"])
            self.assertRegex(answer.headers["X-Openstack-Request-Id"], "^req-[0-9a-f-]{36}$")
            seen.add(answer.headers["X-Openstack-Request-Id"])
        self.assertEqual(5, len(seen))

    def test_the_body_of_an_error(self) -> None:
        answer = self.call("GET", f"/foo/loadbalancers/{NO_ID}")
        expected = {"code": 404, "title": "Not Found", "message": f"Load balancer {NO_ID} not found"}
        self.assertEqual({"error": expected}, answer.json)


class TestBodies(ApiCase):
    worker = False
    max_body_bytes = 4096

    def send(self, raw: bytes, headers: dict[str, str] | None = None, path: str = "/devices") -> tuple[int, str]:
        before = self.rows()
        answer = self.call("POST", path, raw=raw, headers=headers)
        if answer.status != 200:
            self.assertEqual(before, self.rows())
            self.assertEqual(answer.status, answer.json["error"]["code"])
        return answer.status, str(answer.json)

    def test_malformed(self) -> None:
        for raw, says in (
            (b"", "empty"),
            (b"  \n", "empty"),
            (b"{", "line 1"),
            (b"{\n'name': 1}", "line 2"),
            (b"name=x", "not JSON"),
            (b"[]", "object"),
            (b"null", "object"),
            (b'"text"', "object"),
            (b"1", "object"),
            (b'{"a": NaN}', "NaN"),
            (b'{"a": [-Infinity]}', "-Infinity"),
            (b'{"a": 1e999}', "too large"),
            (b'{"a": ' + b"9" * 30 + b"}", "64 bits"),
            (b'{"a": -9223372036854775809}', "64 bits"),
            (b'{"name": "\xff"}', "UTF-8"),
            (b'{"a": 1, "a": 2}', "twice"),
            (b'{"b": {"a": 1, "a": 1}}', "twice"),
            (b'{"a": "\\ud800"}', "surrogate"),
            (b'{"\\udfff": 1}', "surrogate"),
            (b'{"a": ["x\\u0000y"]}', "NUL"),
            (b'{"a":' * 400 + b"1" + b"}" * 400, "nested"),
            (b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}", "nested"),
            (b'{"a":' + b"[" * 17 + b"]" * 17 + b"}", "nested"),
        ):
            status, message = self.send(raw)
            self.assertEqual((400, True), (status, says in message), (raw, message))

    def test_what_is_not_json_by_its_media_type(self) -> None:
        raw = json.dumps(DEVICE).encode()
        for media in (
            "text/plain",
            "application/xml",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "json",
            "application/json; charset=latin-1",
        ):
            self.assertEqual(415, self.send(raw, {"Content-Type": media})[0], media)

    def test_json_by_its_media_type(self) -> None:
        for number, media in enumerate(
            (
                "application/json",
                "APPLICATION/JSON; charset=utf-8",
                'application/json;charset="UTF-8"',
                "application/vnd.api+json",
                "",
            )
        ):
            raw = json.dumps({**DEVICE, "port": number + 1}).encode()
            self.assertEqual(200, self.send(raw, {"Content-Type": media})[0], media)

    def test_too_long(self) -> None:
        for raw in (b" " * 4097, b'{"a": "' + b"x" * 10_000_000 + b'"}'):
            self.assertEqual(413, self.send(raw)[0])
        exactly = json.dumps(DEVICE).encode().ljust(4096)
        self.assertEqual(200, self.send(exactly)[0])

    def chunked(self, body: bytes) -> tuple[int, int]:
        """The status, and how much of the body was read."""
        stream = io.BytesIO(body)
        environ: dict[str, Any] = {
            "wsgi.input": stream,
            "HTTP_TRANSFER_ENCODING": "chunked",
            "CONTENT_TYPE": "application/json",
        }
        return self.call("POST", "/devices", environ=environ).status, stream.tell()

    def test_of_unknown_length(self) -> None:
        self.assertEqual(200, self.chunked(json.dumps(DEVICE).encode())[0])
        status, read = self.chunked(b"x" * 1_000_000)
        self.assertEqual(413, status)
        self.assertLessEqual(read, 4097)

    def test_of_another_length_than_declared(self) -> None:
        for declared in ("100", "-1", "1e1", "²"):
            environ = {"wsgi.input": io.BytesIO(b"{}"), "CONTENT_LENGTH": declared, "CONTENT_TYPE": "application/json"}
            self.assertEqual(400, self.call("POST", "/devices", environ=environ).status, declared)


class TestFailures(ApiCase):
    worker = False

    def test_what_nobody_expected_is_logged_and_not_shown(self) -> None:
        def fails(*_: object) -> None:
            raise RuntimeError("secret detail")

        self.service.devices = fails  # type: ignore[method-assign, assignment]
        with self.assertLogs("balancer.api.errors", "ERROR") as logs:
            answer = self.call("GET", "/devices")
        self.assertEqual(500, answer.status)
        self.assertNotIn("secret", str(answer.json))
        request_id = answer.headers["X-Openstack-Request-Id"]
        self.assertIn(request_id, answer.json["error"]["message"])
        self.assertTrue(any(request_id in line and "secret detail" in line for line in logs.output))

    def test_the_database_is_away(self) -> None:
        def fails(caller: object) -> None:
            raise DatabaseUnavailable("The database cannot be reached")

        self.service.capabilities = fails  # type: ignore[method-assign, assignment]
        for path in ("/algorithms", "/protocols"):
            answer = self.call("GET", path)
            self.assertEqual((503, "1"), (answer.status, answer.headers["Retry-After"]))

    def test_the_access_log_has_one_line_for_a_request(self) -> None:
        with self.assertLogs("balancer.api.middleware.access", "INFO") as logs:
            self.call("GET", "/foo%0aFORGED%20line/x")
            self.call("GET", "/devices")
        self.assertEqual(2, len(logs.output))
        self.assertTrue(all("\n" not in line for line in logs.output))
        self.assertTrue(re.search(r"GET /devices 200 .* req-", logs.output[1]), logs.output[1])
