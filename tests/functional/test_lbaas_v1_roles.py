"""LBaaS v1: every route for every role, and what is another project's: it is not there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from balancer.api.lbaas_v1.routes import table
from balancer.api.middleware.context import ContextMiddleware
from balancer.api.wsgi import operations
from balancer.config import Settings
from balancer.core.service import Service
from tests.functional.case import Answer
from tests.functional.lbaas_v1 import LB, LbaasV1Case
from tests.functional.lbaas_v2 import NO_UUID, Body
from tests.functional.test_context import Token
from tests.functional.test_lbaas_v2_roles import ADMINS, RIGHTS, ROLES

CRUD = {"GET": "read", "PUT": "write", "DELETE": "write"}
COLLECTION = {"GET": "read", "POST": "write"}
TAKES: Mapping[str, Mapping[str, str]] = {
    **dict.fromkeys(("vips", "pools", "members", "health_monitors"), COLLECTION),
    **{f"{each}/{{id}}": CRUD for each in ("vips", "pools", "members", "health_monitors")},
    "pools/{id}/stats": {"GET": "read"},
    "pools/{id}/loadbalancer-agent": {"GET": "admin"},
    "pools/{id}/health_monitors": COLLECTION,
    "pools/{id}/health_monitors/{monitor_id}": {"GET": "read", "DELETE": "write"},
    "../agents/{agent}/loadbalancer-pools": {"GET": "admin"},
}
KEYS = {"vips": "vip", "pools": "pool", "members": "member", "health_monitors": "health_monitor"}


class TestRoles(LbaasV1Case):
    worker = False

    def setUp(self) -> None:
        super().setUp()
        self.pool_ = self.pool(tenant_id="foo")
        self.monitor_ = self.monitor(tenant_id="foo")
        self.associate(self.pool_, self.monitor_)
        self.ids = {
            "pools": self.pool_["id"],
            "health_monitors": self.monitor_["id"],
            "vips": self.vip(self.pool_)["id"],
            "members": self.member(self.pool_)["id"],
        }
        self.app = ContextMiddleware(self.app)

    def ask(self, token: Token, method: str, path: str, body: Any = None) -> Answer:
        return self.call(method, path, body, environ=token.environ())

    def filled(self, template: str) -> str:
        path = f"{LB}/{template}".replace("/lb/..", "")
        plural = template.partition("/")[0]
        return path.format(id=self.ids.get(plural), monitor_id=self.ids["health_monitors"], agent=NO_UUID)

    def test_the_table_above_is_what_is_served(self) -> None:
        served = {
            (method, path.removeprefix("/{api}/lb/").replace("/{api}/agents/{id}", "../agents/{agent}"))
            for _, method, path in operations(table(cast(Service, None), Settings()))
        }
        self.assertEqual(served, {(method, path) for path, methods in TAKES.items() for method in methods})

    def test_every_role(self) -> None:
        """Who is let in is told what is wrong with the request, or gets an answer."""
        before = self.rows()
        for template, methods in TAKES.items():
            for method, right in methods.items():
                own, every = RIGHTS[right]
                path = self.filled(template)
                if method == "DELETE":
                    path = re.sub("[^/]+$", NO_UUID, path)
                let_in = {"GET": 200, "DELETE": 404}.get(method, 400)
                for role in ROLES:
                    with self.subTest(f"{method} {template}", role=role):
                        answer = self.ask(Token("foo", roles=(role,)), method, path, {} if let_in == 400 else None)
                        self.assertEqual(let_in if role in own | every else 403, answer.status, answer.json)
                        if answer.status == 403:
                            self.assertEqual("PolicyNotAuthorized", answer.json["NeutronError"]["type"])
                with self.subTest(f"{method} {template}"):
                    answer = self.call(method, path, {})
                    self.assertEqual((401, "HTTPUnauthorized"), (answer.status, answer.json["NeutronError"]["type"]))
                    self.assertEqual(403, self.ask(Token(None), method, path).status)
        self.assertEqual(before, self.rows())

    def test_what_is_another_s_is_not_there(self) -> None:
        bodies: Mapping[str, Body] = {
            "vips": {
                "pool_id": self.ids["pools"],
                "protocol": "HTTP",
                "protocol_port": 81,
                "subnet_id": self.subnet_id,
            },
            "members": {"pool_id": self.ids["pools"], "address": "198.51.100.9", "protocol_port": 81},
        }
        before = self.rows()
        asked: list[tuple[str, str, Any]] = []
        for template, methods in TAKES.items():
            for method, right in methods.items():
                if "{id}" not in template or right == "admin":
                    continue
                plural = template.partition("/")[0]
                body: Any = None
                if method == "PUT":
                    body = {KEYS[plural]: {"admin_state_up": False}}
                elif method == "POST":
                    body = {"health_monitor": {"id": self.ids["health_monitors"]}}
                asked.append((method, template, body))
        asked += [("POST", plural, {KEYS[plural]: body}) for plural, body in bodies.items()]
        for method, template, body in asked:
            for role in ("member", "load-balancer_member"):
                with self.subTest(f"{method} {template}", role=role):
                    there = self.ask(Token("bar", roles=(role,)), method, self.filled(template), body)
                    self.assertEqual(404, there.status, there.json)
                    # Just as if it had never been.
                    ids, self.ids = self.ids, dict.fromkeys(self.ids, NO_UUID)
                    missing = {
                        key: {**fields, **({"pool_id": NO_UUID} if "pool_id" in fields else {})}
                        for key, fields in (body or {}).items()
                    }
                    nowhere = self.ask(Token("bar", roles=(role,)), method, self.filled(template), missing or None)
                    self.ids = ids
                    text = str(there.json)
                    for each in ids.values():
                        text = text.replace(each, NO_UUID)
                    self.assertEqual((404, text), (nowhere.status, str(nowhere.json)))
        self.assertEqual(before, self.rows())

    def test_lists(self) -> None:
        for plural in KEYS:
            for role, project, seen in (
                ("member", "foo", 1),
                ("member", "bar", 0),
                ("reader", "bar", 0),
                ("load-balancer_global_observer", "bar", 1),
                ("admin", "bar", 1),
            ):
                with self.subTest(plural, role=role, project=project):
                    token = Token(project, roles=(role,))
                    answer = self.ask(token, "GET", f"{LB}/{plural}")
                    self.assertEqual((200, seen), (answer.status, len(answer.json[plural])))
                    # To name somebody else's project is no way in.
                    of_foo = self.ask(token, "GET", f"{LB}/{plural}?tenant_id=foo")
                    self.assertEqual((200, seen), (of_foo.status, len(of_foo.json[plural])))
                    self.assertEqual([], self.ask(token, "GET", f"{LB}/{plural}?tenant_id=baz").json[plural])

    def test_whose_a_new_one_is(self) -> None:
        bodies: Mapping[str, Body] = {
            "pools": {"protocol": "HTTP", "lb_method": "ROUND_ROBIN", "subnet_id": self.subnet_id},
            "health_monitors": {"type": "TCP", "delay": 1, "timeout": 1, "max_retries": 1},
        }
        for plural, fields in bodies.items():
            key = KEYS[plural]
            made = self.ask(Token("bar"), "POST", f"{LB}/{plural}", {key: fields})
            self.assertEqual((201, "bar"), (made.status, made.json[key]["tenant_id"]))
            wanted = {key: {**fields, "tenant_id": "foo"}}
            refused = self.ask(Token("bar"), "POST", f"{LB}/{plural}", wanted)
            self.assertEqual((400, "HTTPBadRequest"), (refused.status, refused.json["NeutronError"]["type"]))
            for admin in (Token("bar", roles=("admin",)), Token(None, roles=("admin",))):
                made = self.ask(admin, "POST", f"{LB}/{plural}", wanted)
                self.assertEqual((201, "foo"), (made.status, made.json[key]["tenant_id"]))
            refused = self.ask(Token(None, roles=("admin",)), "POST", f"{LB}/{plural}", {key: fields})
            self.assertEqual(400, refused.status)

    def test_an_administrator_brings_things_of_two_projects_together(self) -> None:
        admin = Token("bar", roles=("admin",))
        body = {"health_monitor": {"type": "TCP", "delay": 1, "timeout": 1, "max_retries": 1, "tenant_id": "baz"}}
        monitor = self.ask(admin, "POST", f"{LB}/health_monitors", body).json["health_monitor"]
        path = f"{LB}/pools/{self.ids['pools']}/health_monitors"
        association = {"health_monitor": {"id": monitor["id"]}}
        self.assertEqual(404, self.ask(Token("foo"), "POST", path, association).status)
        self.assertEqual(201, self.ask(admin, "POST", path, association).status)
        shown = self.ask(Token("baz"), "GET", f"{LB}/health_monitors").json["health_monitors"]
        self.assertEqual([[self.ids["pools"]]], [[of["pool_id"] for of in each["pools"]] for each in shown])
        self.assertEqual(204, self.ask(Token("foo"), "DELETE", f"{path}/{monitor['id']}").status)
        self.assertEqual(204, self.ask(Token("baz"), "DELETE", f"{LB}/health_monitors/{monitor['id']}").status)

    def test_agents_are_for_administrators(self) -> None:
        path = self.filled("pools/{id}/loadbalancer-agent")
        # Nobody works here.
        self.assertEqual({"agent": None}, self.ask(Token("foo", roles=("admin",)), "GET", path).json)
        for role in ROLES:
            status = 200 if role in ADMINS else 403
            self.assertEqual(status, self.ask(Token("foo", roles=(role,)), "GET", path).status)


class TestAgents(LbaasV1Case):
    def test_a_pool_is_hosted_by_an_agent(self) -> None:
        self.until(lambda: self.get("/v2.0/agents")["agents"])
        (agent,) = self.get("/v2.0/agents?agent_type=Loadbalancer%20agent")["agents"]
        pool = self.pool()
        self.until_active(f"pools/{pool['id']}")
        hosting = self.get(f"{LB}/pools/{pool['id']}/loadbalancer-agent")["agent"]
        told = {key: hosting[key] for key in ("id", "agent_type", "binary", "alive", "admin_state_up")}
        expected = {"agent_type": "Loadbalancer agent", "binary": "neutron-lbaas-agent"}
        self.assertEqual({"id": agent["id"], **expected, "alive": True, "admin_state_up": True}, told)
        of_agent = f"/v2.0/agents/{agent['id']}/loadbalancer-pools"
        self.assertEqual([self.one(f"pools/{pool['id']}")], self.get(of_agent)["pools"])
        self.assertEqual([{"id": pool["id"]}], self.get(f"{of_agent}.json?fields=id")["pools"])
        self.assertEqual({"pools": []}, self.get(f"/v2.0/agents/{NO_UUID}/loadbalancer-pools"))
        self.no(404, "GET", f"pools/{NO_UUID}/loadbalancer-agent", kind="PoolNotFound")

    def test_clients_find_out_that_it_is_there(self) -> None:
        extensions = {each["alias"]: each["name"] for each in self.get("/v2.0/extensions.json")["extensions"]}
        self.assertEqual("LoadBalancing service", extensions["lbaas"])
        self.assertIn("lbaas_agent_scheduler", extensions)
        providers = self.get("/v2.0/service-providers?service_type=LOADBALANCER&default=true")["service_providers"]
        self.assertEqual([{"service_type": "LOADBALANCER", "name": "haproxy", "default": True}], providers)
