"""What is in Neutron's form, every route for every role: networks, ports, agents, quotas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from balancer.api.middleware.context import ContextMiddleware
from balancer.api.neutron.routes import table
from balancer.api.wsgi import operations
from balancer.config import Settings
from balancer.core.service import Service
from tests.functional.lbaas_v2 import NO_UUID, Body, LbaasCase
from tests.functional.test_context import Token
from tests.functional.test_lbaas_v2_roles import AGENTS, RIGHTS, ROLES

COLLECTION = {"GET": "read", "POST": "admin"}
TAKES: Mapping[str, Mapping[str, str]] = {
    "": {"GET": "read"},
    **dict.fromkeys(("networks", "subnets", "ports"), COLLECTION),
    **{f"{each}/{{id}}": {"GET": "read", "PUT": "admin", "DELETE": "admin"} for each in ("networks", "subnets")},
    "ports/{id}": {"GET": "read", "DELETE": "admin"},
    "agents": {"GET": "admin"},
    "agents/{id}": {"GET": "admin", "PUT": "admin", "DELETE": "admin"},
    "quotas": {"GET": "read_quota"},
    "quotas/tenant": {"GET": "read_quota"},
    "quotas/{project_id}": {"GET": "read_quota", "PUT": "write_quota", "DELETE": "write_quota"},
    "quotas/{project_id}/default": {"GET": "read_quota"},
    "extensions": {"GET": "read"},
    "extensions/{alias}": {"GET": "read"},
    "service-providers": {"GET": "read"},
}


class TestRoles(LbaasCase):
    worker = False

    def setUp(self) -> None:
        super().setUp()
        self.repository.heartbeat("one:-:1", 60)
        port = {"port": {"network_id": self.network_id, "project_id": "foo"}}
        self.ids = {
            "networks": self.network_id,
            "subnets": self.subnet_id,
            "ports": self.expect(201, "POST", "/v2.0/ports", port)["port"]["id"],
            "agents": self.get("/v2.0/agents")["agents"][0]["id"],
            "lbaas": self.add_balancer(project_id="foo")["id"],
        }
        # What projects may use.
        self.expect(200, "PUT", f"/v2.0/networks/{self.network_id}", {"network": {"shared": True}})
        self.app = ContextMiddleware(self.app)

    def filled(self, template: str) -> str:
        parts = {"id": self.ids.get(template.partition("/")[0]), "project_id": "foo", "alias": "l7"}
        return f"/v2.0/{template.format(**parts)}".rstrip("/")

    def test_the_table_above_is_what_is_served(self) -> None:
        served = {
            (method, path.removeprefix("/{api}").lstrip("/"))
            for _, method, path in operations(table(cast(Service, None), Settings()))
        }
        self.assertEqual(served, {(method, path) for path, methods in TAKES.items() for method in methods})

    def test_every_role(self) -> None:
        """Who is let in is told what is wrong with the request, or gets an answer."""
        before = self.rows()
        for template, methods in {**TAKES, **AGENTS}.items():
            for method, right in methods.items():
                own, every = RIGHTS[right]
                path = self.filled(template)
                let_in = {"GET": 200, "DELETE": 404}.get(method, 400)
                if method == "DELETE":
                    path = path.replace(self.ids.get(template.partition("/")[0], "-"), NO_UUID)
                if template.startswith("quotas") and method == "DELETE":
                    let_in = 204
                body: Body | None = {} if let_in == 400 else None
                for role in ROLES:
                    with self.subTest(f"{method} {template}", role=role):
                        answer = self.call(method, path, body, environ=Token("foo", roles=(role,)).environ())
                        self.assertEqual(let_in if role in own | every else 403, answer.status, answer.json)
                with self.subTest(f"{method} {template}"):
                    self.assertEqual(401, self.call(method, path, {}).status)
                    self.assertEqual(403, self.call(method, path, environ=Token(None).environ()).status)
        self.assertEqual(before, self.rows())

    def test_quotas_of_another_project(self) -> None:
        other = Token("bar").environ()
        for method in ("GET", "PUT", "DELETE"):
            self.assertEqual(403, self.call(method, "/v2.0/quotas/foo", {}, environ=other).status)
        tenant = self.call("GET", "/v2.0/quotas/tenant", environ=other).json["tenant"]
        self.assertEqual("bar", tenant["tenant_id"])
