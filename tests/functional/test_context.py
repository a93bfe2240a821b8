"""Who may do what: the `context` filter behind Keystone's authtoken, and the application alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keystoneauth1.access import access
from keystonemiddleware.auth_token._user_plugin import UserAuthPlugin

from balancer.api.audit import LOGGER
from balancer.api.middleware.context import ContextMiddleware
from tests.functional.case import DEVICE, LOAD_BALANCER, NO_ID, ApiCase

FORGED = {
    "X-Identity-Status": "Confirmed",
    "X-User-Id": "mallory",
    "X-Project-Id": "foo",
    "X-Tenant-Id": "foo",
    "X-Roles": "admin",
    "X-Auth-Token": "x",
    "Keystone.token_auth": "x",
    "Balancer.caller": "x",
}


@dataclass(frozen=True)
class Token:
    """What authtoken leaves in the environ for a token that Keystone knows."""

    project: str | None
    roles: tuple[str, ...] = ("member",)
    status: str = "Confirmed"
    service_status: str | None = None

    def environ(self) -> dict[str, Any]:
        token: dict[str, Any] = {
            "user": {"id": "u1", "name": "u", "domain": {"id": "d", "name": "d"}},
            "roles": [{"id": role, "name": role} for role in self.roles],
            "methods": ["password"],
            "issued_at": "2026-01-01T00:00:00.000000Z",
            "expires_at": "2126-01-01T00:00:00.000000Z",
        }
        if self.project is not None:
            token["project"] = {"id": self.project, "name": "p", "domain": {"id": "d", "name": "d"}}
        environ = {
            "keystone.token_auth": UserAuthPlugin(access.create(body={"token": token}, auth_token="t"), None),
            "HTTP_X_IDENTITY_STATUS": self.status,
        }
        if self.service_status:
            environ["HTTP_X_SERVICE_IDENTITY_STATUS"] = self.service_status
        return environ


class TestContext(ApiCase):
    worker = False

    def setUp(self) -> None:
        super().setUp()
        self.register()
        self.mine = self.create()
        self.repository.heartbeat("a worker", 60)
        self.app = ContextMiddleware(self.app)

    def status(self, method: str, path: str, environ: Mapping[str, Any], body: Any = None) -> int:
        return self.call(method, path, body, environ=environ).status

    def test_without_a_token_only_versions_and_health(self) -> None:
        for path in ("/", "/healthcheck", "/healthcheck/"):
            self.assertEqual(200, self.call("GET", path).status)
        for method, path in (
            ("GET", "/devices"),
            ("GET", "/algorithms"),
            ("GET", "/foo/loadbalancers"),
            ("GET", "/nothing"),
            ("GET", "/healthcheck/x"),
            ("GET", "/healthcheckx"),
            ("POST", "/devices"),
            ("DELETE", self.mine),
        ):
            answer = self.call(method, path)
            self.assertEqual(401, answer.status, path)
            self.assertEqual((401, "Unauthorized"), (answer.json["error"]["code"], answer.json["error"]["title"]))
            self.assertIn("X-Openstack-Request-Id", answer.headers)

    def test_who_is_refused_is_nobody_in_the_audit(self) -> None:
        with self.assertLogs(LOGGER) as logged:
            self.call("POST", "/devices", DEVICE)
        self.assertFalse(json.loads(logged.records[0].getMessage())["admin"])

    def test_headers_alone_are_nothing(self) -> None:
        for path in ("/devices", "/foo/loadbalancers"):
            self.assertEqual(401, self.call("GET", path, headers=FORGED).status)

    def test_tokens_that_authtoken_did_not_confirm(self) -> None:
        for token in (
            Token("foo", status="Invalid"),
            Token("foo", roles=("admin",), status=""),
            Token("foo", service_status="Invalid"),
        ):
            self.assertEqual(401, self.status("GET", "/foo/loadbalancers", token.environ()))
        nobody = {"keystone.token_auth": UserAuthPlugin(None, None), "HTTP_X_IDENTITY_STATUS": "Confirmed"}
        self.assertEqual(401, self.status("GET", "/foo/loadbalancers", nobody))

    def test_a_member_in_its_own_project(self) -> None:
        member = Token("foo").environ()
        for path in ("/", "/algorithms", "/protocols", "/foo/loadbalancers", self.mine, self.mine + "/details"):
            self.assertEqual(200, self.status("GET", path, member), path)
        self.assertEqual(202, self.status("POST", "/foo/loadbalancers", member, LOAD_BALANCER))
        self.assertEqual(204, self.status("DELETE", self.mine, member))

    def test_a_member_elsewhere(self) -> None:
        member = Token("bar").environ()
        before = self.rows()
        for method, path, body in (
            ("GET", "/foo/loadbalancers", None),
            ("GET", "/foo/loadbalancers/find_for_VM/x", None),
            ("POST", "/foo/loadbalancers", LOAD_BALANCER),
            ("GET", self.mine, None),
            ("GET", self.mine + "/details", None),
            ("PUT", self.mine, {"name": "x"}),
            ("DELETE", self.mine, None),
            ("GET", self.mine + "/nodes", None),
            ("POST", self.mine + "/nodes", {"nodes": [{"address": "192.0.2.1", "port": 1}]}),
            ("PUT", f"{self.mine}/nodes/{NO_ID}/drain", None),
            ("DELETE", f"{self.mine}/virtualIps/{NO_ID}", None),
        ):
            answer = self.call(method, path, body, environ=member)
            self.assertEqual((403, "Forbidden"), (answer.status, answer.json["error"]["title"]), path)
        # In its own project another's object does not exist.
        self.assertEqual(404, self.status("GET", self.mine.replace("/foo/", "/bar/"), member))
        self.assertEqual(before, self.rows())

    def test_devices_are_for_administrators(self) -> None:
        device_id = self.service_device()
        for token, good in ((Token("foo"), 403), (Token("bar", roles=("member", "Admin")), 200)):
            for path in ("/devices", f"/devices/{device_id}", f"/devices/{device_id}/info", "/foo/devices"):
                self.assertEqual(good, self.status("GET", path, token.environ()), path)
        member = Token("foo").environ()
        self.assertEqual(403, self.status("POST", "/devices", member, {**DEVICE, "ip": "192.0.2.77"}))
        self.assertEqual(403, self.status("PUT", f"/devices/{device_id}", member, {"name": "x"}))
        self.assertEqual(403, self.status("DELETE", f"/devices/{device_id}?force=1", member))
        self.assertEqual(403, self.status("POST", f"/devices/{device_id}/retry", member))
        self.assertEqual(403, self.status("POST", f"/devices/{device_id}/adopt", member))
        self.assertEqual(403, self.status("POST", f"/devices/{device_id}/resync", member))
        self.assertEqual(403, self.status("GET", f"/devices/{device_id}/info?refresh=1", member))

    def service_device(self) -> str:
        with self.repository.read() as tx:
            return tx.devices()[0].id

    def test_an_administrator_everywhere(self) -> None:
        self.assertEqual(200, self.status("GET", "/foo/loadbalancers", Token("bar", roles=("admin",)).environ()))

    def test_a_token_without_a_project(self) -> None:
        for path in ("/foo/loadbalancers", "/None/loadbalancers"):
            self.assertEqual(403, self.status("GET", path, Token(None).environ()))


class TestAlone(ApiCase):
    worker = False

    def test_everybody_is_an_administrator_and_identity_headers_are_ignored(self) -> None:
        denied = {**FORGED, "X-Roles": "none", "X-Project-Id": "bar", "X-Identity-Status": "Invalid"}
        for headers in ({}, FORGED, denied):
            for path in ("/devices", "/foo/loadbalancers", "/bar/loadbalancers"):
                self.assertEqual(200, self.call("GET", path, headers=headers).status)
