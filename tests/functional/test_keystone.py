"""The pipeline ``authtoken context apiv1app``, with Keystone's own middleware and a small Keystone on loopback."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import webob
from paste.deploy import loadapp

from balancer import bootstrap, config
from balancer.api.middleware.authtoken import Authtoken
from balancer.api.wsgi import Application
from balancer.exceptions import ConfigurationError
from tests.functional.case import ApiCase

LATER = "2126-01-01T00:00:00.000000Z"
PASTE = """\
[pipeline:main]
pipeline = authtoken context apiv1app
[app:apiv1app]
paste.app_factory = balancer.bootstrap:app_factory
[filter:context]
paste.filter_factory = balancer.bootstrap:context_factory
[filter:authtoken]
paste.filter_factory = balancer.bootstrap:authtoken_factory
"""


class _Keystone(BaseHTTPRequestHandler):
    """Knows the tokens of `tokens`: (project, role, when it expires)."""

    tokens: ClassVar[dict[str, tuple[str, str, str]]] = {
        "member": ("foo", "member", LATER),
        "admin": ("bar", "admin", LATER),
        "expired": ("foo", "admin", "2020-01-01T00:00:00.000000Z"),
    }

    more: ClassVar[dict[str, dict[str, Any]]] = {}
    trusts: ClassVar[str] = "service"

    def do_GET(self) -> None:
        known = self.tokens.get(self.headers.get("X-Subject-Token", ""))
        if not self.path.startswith("/v3/auth/tokens"):
            base = f"http://127.0.0.1:{self.server.server_port}/v3/"  # type: ignore[attr-defined]
            version = {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": base}]}
            self._answer(200, {"versions": {"values": [version]}} if self.path == "/" else {"version": version})
        elif self.headers.get("X-Auth-Token") != self.trusts:
            self._answer(401, {"error": {"code": 401, "title": "Unauthorized", "message": "who are you?"}})
        elif known is None:
            self._answer(404, {"error": {"code": 404, "title": "Not Found", "message": "no such token"}})
        else:
            project, role, expires = known
            domain = {"id": "default", "name": "Default"}
            token = {
                "user": {"id": "u1", "name": "u", "domain": domain},
                "project": {"id": project, "name": project, "domain": domain},
                "roles": [{"id": role, "name": role}],
                "methods": ["password"],
                "issued_at": "2020-01-01T00:00:00.000000Z",
                "expires_at": expires,
                **self.more.get(self.headers["X-Subject-Token"], {}),
            }
            self._answer(200, {"token": token})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args: Any) -> None:
        """Nothing."""


class KeystoneCase(ApiCase):
    worker = False

    def setUp(self) -> None:
        super().setUp()
        self.repository.heartbeat("a worker", 60)
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Keystone)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="keystone")
        thread.start()
        self.addCleanup(thread.join, 10)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.url = f"http://127.0.0.1:{server.server_port}"
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def options(self, url: str) -> str:
        """The section of a configuration file."""
        return (
            f"[keystone_authtoken]\nwww_authenticate_uri = {url}\nauth_type = admin_token\n"
            f"endpoint = {url}/v3\ntoken = service\n"
        )

    def file(self, name: str, *texts: str) -> str:
        path = self.directory / name
        path.write_text("".join(texts), encoding="utf-8")
        return str(path)

    def load(self, *files: str) -> Application:
        """The pipeline as balancer-api loads it when it is given these files, a Paste file first."""
        settings, _ = config.load([argument for name in files for argument in ("--config-file", name)])
        return bootstrap.load_pipeline(self.service, settings)


class TestPipeline(KeystoneCase):
    def setUp(self) -> None:
        super().setUp()
        self.app = self.load(self.file("paste.ini", PASTE), self.file("balancer.conf", self.options(self.url)))

    def say(self, token: str, project: str, role: str, expires: str = LATER, **more: Any) -> None:
        """From now on that is what Keystone says of the token."""
        _Keystone.tokens[token] = (project, role, expires)
        _Keystone.more[token] = more
        self.addCleanup(_Keystone.tokens.pop, token, None)
        self.addCleanup(_Keystone.more.pop, token, None)

    def status(self, path: str, token: str | None, **headers: str) -> int:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["X-Auth-Token"] = token
        return self.call("GET", path, headers=sent).status

    def test_tokens(self) -> None:
        for token, devices, own, others in (
            ("member", 403, 200, 403),
            ("admin", 200, 200, 200),
            ("expired", 401, 401, 401),
            ("invented", 401, 401, 401),
            ("", 401, 401, 401),
            (None, 401, 401, 401),
        ):
            self.assertEqual(
                (devices, own, others),
                tuple(self.status(path, token) for path in ("/devices", "/foo/loadbalancers", "/bar/loadbalancers")),
                token,
            )
            self.assertEqual(200, self.status("/", token))
            self.assertEqual(200, self.status("/healthcheck", token))

    def test_forged_headers(self) -> None:
        forged = {"X_Identity_Status": "Confirmed", "X_Roles": "admin", "X_Project_Id": "foo", "X_User_Id": "u"}
        for token in (None, "invented", "expired"):
            self.assertEqual(401, self.status("/devices", token, **forged))
        self.assertEqual(403, self.status("/devices", "member", **forged))

    def test_what_is_known_of_a_token_is_what_the_middleware_says(self) -> None:
        """Whatever stands behind the filter sees the same for the first request of a token and for later ones."""
        seen: list[dict[str, Any]] = []

        def note(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            seen.append(dict(environ))
            start_response("200 OK", [])
            return []

        app = Authtoken(note, [self.file("balancer.conf", self.options(self.url))], {})
        plain = {"X-Auth-Token": "member", "X-Openstack-Request-Id": "x", "Openstack-System-Scope": "all"}
        forged = {**plain, "X-Roles": "admin", "X-Service-Catalog": "[]", "X-User": "u"}
        for headers in (plain, plain, forged, plain):
            webob.Request.blank("/", headers=headers).get_response(app)
        first, *later = ({k: v for k, v in each.items() if k.startswith(("HTTP_", "keystone."))} for each in seen)
        auth = first.pop("keystone.token_auth")
        for each in later:
            self.assertEqual(auth.user.role_names, each.pop("keystone.token_auth").user.role_names)
            self.assertEqual(first, each)
        self.assertIs(auth, seen[1]["keystone.token_auth"])
        self.assertIsNot(auth, seen[2]["keystone.token_auth"])

    def test_what_is_known_of_a_token_ends_with_it(self) -> None:
        expires = datetime.now(UTC) + timedelta(seconds=2)
        self.say("soon", "foo", "member", expires.isoformat())
        self.assertEqual([200, 200], [self.status("/foo/loadbalancers", "soon") for _ in range(2)])
        self.until(lambda: datetime.now(UTC) > expires)
        self.assertEqual(401, self.status("/foo/loadbalancers", "soon"))

    def test_what_keystone_says_of_a_token_counts_as_soon_as_it_is_asked(self) -> None:
        short = self.file("balancer.conf", self.options(self.url), "token_cache_time = 1\n")
        self.app = self.load(self.file("paste.ini", PASTE), short)
        self.say("other", "foo", "member")
        self.assertEqual([200, 200], [self.status("/foo/loadbalancers", "other") for _ in range(2)])
        self.say("other", "bar", "member")
        self.until(lambda: self.status("/foo/loadbalancers", "other") == 403)
        self.assertEqual(200, self.status("/bar/loadbalancers", "other"))
        del _Keystone.tokens["other"]
        self.until(lambda: self.status("/bar/loadbalancers", "other") == 401)

    def test_a_token_for_some_paths_is_looked_at_for_each(self) -> None:
        allowed = self.file("balancer.conf", self.options(self.url), "service_type = load-balancer\n")
        self.app = self.load(self.file("paste.ini", PASTE), allowed)
        rules = [{"id": "r", "method": "GET", "path": "/foo/loadbalancers", "service": "load-balancer"}]
        catalog = [{"type": "load-balancer", "name": "x", "id": "c", "endpoints": []}]
        self.say("some", "foo", "member", application_credential={"id": "a", "access_rules": rules}, catalog=catalog)
        for path, status in (("/foo/loadbalancers", 200), ("/foo/quotas", 401), ("/foo/loadbalancers", 200)):
            self.assertEqual(status, self.status(path, "some"), path)

    def test_the_answer_tells_where_tokens_come_from(self) -> None:
        answer = self.call("GET", "/devices")
        self.assertIn("Keystone uri=", answer.headers["WWW-Authenticate"])
        self.assertEqual({"code", "title", "message"}, set(answer.json["error"]))

    def test_a_keystone_that_does_not_answer_is_not_waited_for_without_a_limit(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            limits = "http_connect_timeout = 1\nhttp_request_max_retries = 0\n"
            self.app = self.load(self.file("paste.ini", PASTE, self.options(url), limits))
            before = time.monotonic()
            answer = self.call("GET", "/foo/loadbalancers", headers={"X-Auth-Token": "member"})
            self.assertEqual((503, "1"), (answer.status, answer.headers["Retry-After"]))
            self.assertLess(time.monotonic() - before, 10)

    def test_a_keystone_that_does_not_know_us(self) -> None:
        _Keystone.trusts = "somebody else"
        self.addCleanup(setattr, _Keystone, "trusts", "service")
        self.assertEqual(503, self.status("/foo/loadbalancers", "member"))


class TestWhereOptionsAre(KeystoneCase):
    def check(self, app: Application) -> None:
        self.app = app
        for token, status in (("member", 200), ("invented", 401)):
            answer = self.call("GET", "/foo/loadbalancers", headers={"X-Auth-Token": token})
            self.assertEqual(status, answer.status, answer.json)

    def test_in_the_paste_file_alone(self) -> None:
        self.check(self.load(self.file("paste.ini", PASTE, self.options(self.url))))

    def test_in_the_filter_s_own_section(self) -> None:
        section = self.options(self.url).replace("[keystone_authtoken]\n", "")
        self.check(self.load(self.file("paste.ini", PASTE, section)))

    def test_with_the_middleware_s_own_factory(self) -> None:
        section = self.options(self.url).replace("[keystone_authtoken]\n", "delay_auth_decision = true\n")
        paste = PASTE.replace("balancer.bootstrap:authtoken_factory", "keystonemiddleware.auth_token:filter_factory")
        self.check(self.load(self.file("paste.ini", paste, section)))

    def test_under_another_server_that_reads_the_paste_file_itself(self) -> None:
        connection = f"[sql]\nconnection = sqlite:///{self.directory / 'balancer.sqlite'}\n"
        path = self.file("paste.ini", connection, PASTE, self.options(self.url))
        settings, _ = config.load(["--config-file", path])
        bootstrap.sync(settings)
        self.check(loadapp(f"config:{path}"))


class TestMistakes(KeystoneCase):
    def refused(self, *files: str) -> str:
        with self.assertRaises(ConfigurationError) as caught:
            self.load(*files)
        return str(caught.exception)

    def test_the_options_of_old_are_told_their_new_names(self) -> None:
        old = "auth_host = 127.0.0.1\nauth_port = 35357\nauth_protocol = http\nadmin_user = balancer\n"
        old += "admin_password = x\nadmin_tenant_name = service\n"
        for files in (
            (self.file("a.ini", PASTE, old),),
            (self.file("b.ini", PASTE, "[keystone_authtoken]\n", old),),
            (self.file("c.ini", PASTE), self.file("c.conf", "[keystone_authtoken]\n", old)),
            (
                self.file(
                    "d.ini", PASTE.replace("balancer.bootstrap:authtoken", "keystone.middleware.auth_token:filter"), old
                ),
            ),
        ):
            told = self.refused(*files)
            for words in (
                "auth_host is auth_url",
                "auth_port is auth_url",
                "auth_protocol is auth_url",
                "admin_user is username",
                "admin_password is password",
                "admin_tenant_name is project_name",
                "auth_type = password",
                "user_domain_name",
            ):
                self.assertIn(words, told)

    def test_they_are_nobody_s_business_without_keystone(self) -> None:
        paste = PASTE.replace("pipeline = authtoken context apiv1app", "pipeline = apiv1app")
        self.load(self.file("paste.ini", paste, "auth_host = 127.0.0.1\nadmin_user = balancer\n"))

    def test_middleware_that_is_no_more(self) -> None:
        paste = PASTE.replace("balancer.bootstrap:authtoken", "keystoneclient.middleware.auth_token:filter")
        self.assertIn(
            "paste.filter_factory = balancer.bootstrap:authtoken_factory", self.refused(self.file("p.ini", paste))
        )

    def test_what_is_missing_or_wrong(self) -> None:
        paste = self.file("paste.ini", PASTE)
        for options, told in (
            ("", "auth_type is missing"),
            ("auth_type = pasword\n", "pasword"),
            ("auth_type = password\n", "auth_url"),
            ("auth_type = password\nauth_url = http://127.0.0.1:5000\ntoken_cache_time = soon\n", "token_cache_time"),
        ):
            with self.subTest(options):
                self.assertIn(told, self.refused(paste, self.file("o.conf", "[keystone_authtoken]\n", options)))
