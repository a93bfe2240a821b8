"""The pipeline ``authtoken context apiv1app``, with Keystone's own middleware and a small Keystone on loopback."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from keystonemiddleware.auth_token import AuthProtocol

from balancer.api.middleware.context import ContextMiddleware
from tests.functional.case import ApiCase


class _Keystone(BaseHTTPRequestHandler):
    """Knows the tokens of `tokens`: (project, role, when it expires)."""

    tokens: ClassVar[dict[str, tuple[str, str, str]]] = {
        "member": ("foo", "member", "2126-01-01T00:00:00.000000Z"),
        "admin": ("bar", "admin", "2126-01-01T00:00:00.000000Z"),
        "expired": ("foo", "admin", "2020-01-01T00:00:00.000000Z"),
    }

    def do_GET(self) -> None:
        known = self.tokens.get(self.headers.get("X-Subject-Token", ""))
        if not self.path.startswith("/v3/auth/tokens"):
            base = f"http://127.0.0.1:{self.server.server_port}/v3/"  # type: ignore[attr-defined]
            version = {"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": base}]}
            self._answer(200, {"versions": {"values": [version]}} if self.path == "/" else {"version": version})
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


class TestPipeline(ApiCase):
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
        url = f"http://127.0.0.1:{server.server_port}"
        conf = {
            "delay_auth_decision": "true",
            "www_authenticate_uri": url,
            "auth_type": "admin_token",
            "endpoint": f"{url}/v3",
            "token": "service",
        }
        self.app = AuthProtocol(ContextMiddleware(self.app), conf)

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

    def test_the_answer_tells_where_tokens_come_from(self) -> None:
        answer = self.call("GET", "/devices")
        self.assertIn("Keystone uri=", answer.headers["WWW-Authenticate"])
        self.assertEqual({"code", "title", "message"}, set(answer.json["error"]))
