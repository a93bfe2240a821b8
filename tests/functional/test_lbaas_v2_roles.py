"""LBaaS v2: every route for every role, and what is another project's."""

from __future__ import annotations

import re
import tempfile
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from balancer.api.app import make_app
from balancer.api.lbaas_v2.routes import table
from balancer.api.middleware.context import ContextMiddleware
from balancer.api.wsgi import operations
from balancer.config import Settings
from balancer.core.service import Service
from tests.functional.case import Answer
from tests.functional.lbaas_v2 import NO_UUID, V2, Body, LbaasCase
from tests.functional.test_context import Token

ROOT = Path(__file__).resolve().parent.parent.parent
OBSERVERS = {"reader", "member", "load-balancer_observer", "load-balancer_member"}
ADMINS = {"admin", "load-balancer_admin"}
# Right to the roles that have it in their own project, and in every project.
RIGHTS: Mapping[str, tuple[set[str], set[str]]] = {
    "read": (OBSERVERS, ADMINS | {"load-balancer_global_observer"}),
    "read_member": (OBSERVERS, ADMINS | {"load-balancer_global_observer", "service"}),
    "write": ({"member", "load-balancer_member"}, ADMINS),
    "admin": (set(), ADMINS),
    "read_quota": (OBSERVERS, ADMINS | {"load-balancer_global_observer", "load-balancer_quota_admin"}),
    "write_quota": (set(), ADMINS | {"load-balancer_quota_admin"}),
}
ROLES = sorted(set().union(*(own | every for own, every in RIGHTS.values())) | {"other"})
CRUD = {"GET": "read", "PUT": "write", "DELETE": "write"}
COLLECTION = {"GET": "read", "POST": "write"}
TAKES: Mapping[str, Mapping[str, str]] = {
    "loadbalancers": COLLECTION,
    "loadbalancers/{id}": CRUD,
    "loadbalancers/{id}/stats": {"GET": "read"},
    "loadbalancers/{id}/status": {"GET": "read"},
    "loadbalancers/{id}/statuses": {"GET": "read"},
    "listeners": COLLECTION,
    "listeners/{id}": CRUD,
    "listeners/{id}/stats": {"GET": "read"},
    "pools": COLLECTION,
    "pools/{id}": CRUD,
    "pools/{pool_id}/members": {"GET": "read_member", "POST": "write", "PUT": "write"},
    "pools/{pool_id}/members/{id}": {"GET": "read_member", "PUT": "write", "DELETE": "write"},
    "healthmonitors": COLLECTION,
    "healthmonitors/{id}": CRUD,
    "l7policies": COLLECTION,
    "l7policies/{id}": CRUD,
    "l7policies/{l7policy_id}/rules": COLLECTION,
    "l7policies/{l7policy_id}/rules/{id}": CRUD,
    "loadbalancers/{id}/failover": {"PUT": "admin"},
    "quotas": {"GET": "read_quota"},
    "quotas/defaults": {"GET": "read_quota"},
    "quotas/{project_id}": {"GET": "read_quota", "PUT": "write_quota", "DELETE": "write_quota"},
    "quotas/{project_id}/default": {"GET": "read_quota"},
    "providers": {"GET": "read"},
    **{f"{each}s": {"GET": "read", "POST": "admin"} for each in ("flavor", "availabilityzone")},
    **{
        f"{each}s/{{id}}": {"GET": "read", "PUT": "admin", "DELETE": "admin"} for each in ("flavor", "availabilityzone")
    },
    **{f"{each}profiles": {"GET": "admin", "POST": "admin"} for each in ("flavor", "availabilityzone")},
    **{
        f"{each}profiles/{{id}}": {"GET": "admin", "PUT": "admin", "DELETE": "admin"}
        for each in ("flavor", "availabilityzone")
    },
    "providers/{provider}/flavor_capabilities": {"GET": "admin"},
    "providers/{provider}/availability_zone_capabilities": {"GET": "admin"},
}
AMPHORAE: Mapping[str, Mapping[str, str]] = {
    "amphorae": {"GET": "admin"},
    "amphorae/{id}": {"GET": "admin", "DELETE": "admin"},
    "amphorae/{id}/stats": {"GET": "admin"},
    "amphorae/{id}/failover": {"PUT": "admin"},
    "amphorae/{id}/config": {"PUT": "admin"},
}
# Named as Neutron does, from its paths on: `test_neutron_roles` asks for these.
AGENTS: Mapping[str, Mapping[str, str]] = {
    "agents/{id}/agent-loadbalancers": {"GET": "admin"},
    "lbaas/loadbalancers/{id}/loadbalancer-hosting-agent": {"GET": "admin"},
}


class TestRoles(LbaasCase):
    worker = False

    def setUp(self) -> None:
        super().setUp()
        self.balancer = self.add_balancer(project_id="foo")
        self.listener = self.add_listener(self.balancer)
        self.pool = self.add_pool(listener_id=self.listener["id"])
        self.monitor = self.add_monitor(self.pool)
        self.member = self.add_member(self.pool)
        self.policy = self.add_policy(self.listener)
        self.rule = self.add_rule(self.policy)
        self.open_app, self.app = self.app, ContextMiddleware(self.app)
        self.ids = {
            "loadbalancers": self.balancer["id"],
            "listeners": self.listener["id"],
            "pools": self.pool["id"],
            "members": self.member["id"],
            "healthmonitors": self.monitor["id"],
            "l7policies": self.policy["id"],
            "rules": self.rule["id"],
            **self.add_choices(),
        }

    def add_choices(self) -> dict[str, str]:
        """What the paths of flavors and zones are filled with."""
        ids: dict[str, str] = {}
        self.app, guarded = self.open_app, self.app
        for kind, key in (("flavor", "flavor"), ("availabilityzone", "availability_zone")):
            profile = self.post(
                f"{kind}profiles",
                f"{key}{'' if kind == 'flavor' else '_'}profile",
                **{"name": "p", "provider_name": "dummy", f"{key}_data": "{}"},
            )
            made = self.post(f"{kind}s", key, **{"name": "n", f"{key}_profile_id": profile["id"]})
            ids |= {f"{kind}profiles": profile["id"], f"{kind}s": made.get("id", "n")}
        self.app = guarded
        return ids

    def ask(self, token: Token, method: str, path: str, body: Any = None) -> Answer:
        return self.call(method, f"{V2}/{path}", body, environ=token.environ())

    def filled(self, template: str) -> str:
        parts = template.split("/")
        if "{id}" in parts:
            parts[parts.index("{id}")] = self.ids[parts[parts.index("{id}") - 1]]
        return "/".join(parts).format(
            pool_id=self.pool["id"], l7policy_id=self.policy["id"], project_id="foo", provider="dummy"
        )

    def test_the_table_above_is_what_is_served(self) -> None:
        served = {
            (method, path.removeprefix("/{api}/lbaas/").removeprefix("/{api}/octavia/"))
            for _, method, path in operations(table(cast(Service, None), Settings()))
            if path.removeprefix("/{api}/") not in AGENTS
        }
        everything = {**TAKES, **AMPHORAE}
        self.assertEqual(served, {(method, path) for path, methods in everything.items() for method in methods})

    def test_every_role(self) -> None:
        """Who is let in is told what is wrong with the request, or gets an answer."""
        before = self.rows()
        for template, methods in TAKES.items():
            for method, right in methods.items():
                own, every = RIGHTS[right]
                path = self.filled(template)
                if method == "DELETE" and "quotas" not in path:
                    path = re.sub("[^/]+$", NO_UUID, path)
                let_in = {"GET": 200, "DELETE": 404}.get(method, 400)
                if template.endswith("failover"):
                    path, let_in = f"loadbalancers/{NO_UUID}/failover", 404
                for role in ROLES:
                    with self.subTest(f"{method} {template}", role=role):
                        answer = self.ask(Token("foo", roles=(role,)), method, path, {} if let_in == 400 else None)
                        self.assertEqual(let_in if role in own | every else 403, answer.status, answer.json)
                        if answer.status == 403:
                            refusal = "Policy does not allow this request to be performed."
                            self.assertEqual(refusal, self.fault(answer))
                with self.subTest(f"{method} {template}"):
                    self.assertEqual(401, self.call(method, f"{V2}/{path}", {}).status)
                    self.assertEqual(403, self.ask(Token(None), method, path).status)
        self.assertEqual(before, self.rows())

    def test_what_is_another_s_is_refused_and_left_alone(self) -> None:
        bodies: Mapping[str, Body] = {
            "listeners": {"loadbalancer_id": self.balancer["id"], "protocol": "HTTP", "protocol_port": 81},
            "pools": {"loadbalancer_id": self.balancer["id"], "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"},
            "members": {"address": "198.51.100.9", "protocol_port": 81},
            "healthmonitors": {"pool_id": self.pool["id"], "type": "TCP", "delay": 1, "timeout": 1, "max_retries": 1},
            "l7policies": {"listener_id": self.listener["id"], "action": "REJECT"},
            "rules": {"type": "PATH", "compare_type": "EQUAL_TO", "value": "/"},
        }
        names = {"members": "member", "l7policies": "l7policy", "rules": "rule"}
        before = self.rows()
        for template, methods in TAKES.items():
            if template.startswith(("quotas", "providers", "flavor", "availability")):
                continue
            for method, right in methods.items():
                plural = template.replace("/{id}", "").rpartition("/")[2]
                body: Any = None
                if method == "POST" and plural in bodies:
                    body = {names.get(plural, plural[:-1]): bodies[plural]}
                elif template.endswith("members") and method == "PUT":
                    body = {"members": []}
                elif method == "PUT":
                    body = {names.get(plural, plural[:-1]): {"tags": ["mine"]}}
                elif "{" not in template:
                    continue
                for role in ("member", "load-balancer_member", "reader"):
                    with self.subTest(f"{method} {template}", role=role):
                        answer = self.ask(Token("bar", roles=(role,)), method, self.filled(template), body)
                        self.assertEqual(403, answer.status, answer.json)
                for role in ("load-balancer_global_observer", "admin") if right.startswith("read") else ():
                    answer = self.ask(Token("bar", roles=(role,)), method, self.filled(template))
                    self.assertEqual(200, answer.status)
        self.assertEqual(before, self.rows())

    def test_amphorae_are_for_administrators_and_there_are_none(self) -> None:
        for template, methods in AMPHORAE.items():
            path = f"/v2.0/octavia/{template.format(id=NO_UUID)}"
            for method in methods:
                for role in ROLES:
                    answer = self.call(method, path, environ=Token("foo", roles=(role,)).environ())
                    there = 404 if "{id}" in template else 200
                    self.assertEqual(there if role in ADMINS else 403, answer.status)
        answer = self.call("GET", "/v2/octavia/amphorae", environ=Token("foo", roles=("admin",)).environ())
        self.assertEqual({"amphorae": [], "amphorae_links": []}, answer.json)

    def test_quotas_of_another_project(self) -> None:
        for path in ("quotas/foo", "quotas/foo/default"):
            self.assertEqual(403, self.ask(Token("bar"), "GET", path).status)
            self.assertEqual(200, self.ask(Token("bar", roles=("load-balancer_quota_admin",)), "GET", path).status)
        admin = Token("bar", roles=("load-balancer_quota_admin",))
        self.assertEqual(202, self.ask(admin, "PUT", "quotas/foo", {"quota": {"pool": 3}}).status)
        self.assertEqual(
            ["foo"], [each["project_id"] for each in self.ask(Token("foo"), "GET", "quotas").json["quotas"]]
        )
        self.assertEqual([], self.ask(Token("bar"), "GET", "quotas").json["quotas"])

    def test_lists(self) -> None:
        for plural in ("loadbalancers", "listeners", "pools", "healthmonitors", "l7policies"):
            for role, project, seen in (
                ("member", "foo", 1),
                ("member", "bar", 0),
                ("reader", "bar", 0),
                ("load-balancer_global_observer", "bar", 1),
                ("admin", "bar", 1),
            ):
                with self.subTest(plural, role=role, project=project):
                    answer = self.ask(Token(project, roles=(role,)), "GET", plural)
                    self.assertEqual((200, seen), (answer.status, len(answer.json[plural])))
            self.assertEqual(403, self.ask(Token("bar"), "GET", f"{plural}?project_id=foo").status)
            admin = Token("bar", roles=("admin",))
            self.assertEqual(1, len(self.ask(admin, "GET", f"{plural}?project_id=foo").json[plural]))
            self.assertEqual(0, len(self.ask(admin, "GET", f"{plural}?project_id=bar").json[plural]))

    def test_whose_a_new_one_is(self) -> None:
        body = {"loadbalancer": {"vip_subnet_id": self.subnet_id}}
        made = self.ask(Token("bar"), "POST", "loadbalancers", body)
        self.assertEqual((201, "bar"), (made.status, made.json["loadbalancer"]["project_id"]))
        for given in ({"project_id": "foo"}, {"tenant_id": "foo"}):
            wanted = {"loadbalancer": {**body["loadbalancer"], **given}}
            self.assertEqual(403, self.ask(Token("bar"), "POST", "loadbalancers", wanted).status)
            made = self.ask(Token("bar", roles=("admin",)), "POST", "loadbalancers", wanted)
            self.assertEqual((201, "foo"), (made.status, made.json["loadbalancer"]["tenant_id"]))
        both = {"loadbalancer": {**body["loadbalancer"], "project_id": "foo", "tenant_id": "bar"}}
        admin = Token(None, roles=("admin",))
        self.assertEqual(400, self.ask(admin, "POST", "loadbalancers", both).status)
        self.assertEqual(400, self.ask(admin, "POST", "loadbalancers", body).status)


class TestOtherRules(LbaasCase):
    """Those that the operator's guide shows for Octavia's own scheme."""

    worker = False

    def test_a_role_of_keystone_s_own_is_not_enough(self) -> None:
        guide = (ROOT / "doc/source/operators-guide.rst").read_text(encoding="utf-8")
        found = re.search(r"\.\. code-block:: yaml\n\n((?:   \w+: .*\n)+)", guide)
        assert found is not None
        rules = Path(self.enterContext(tempfile.TemporaryDirectory())) / "policy.yaml"
        rules.write_text(textwrap.dedent(found[1]), encoding="utf-8")
        self.app = ContextMiddleware(make_app(self.service, replace(self.settings, policy_file=str(rules))))
        for role, reads, writes in (
            ("reader", 403, 403),
            ("member", 403, 403),
            ("load-balancer_observer", 200, 403),
            ("load-balancer_global_observer", 200, 403),
            ("load-balancer_member", 200, 400),
            ("load-balancer_admin", 200, 400),
            ("admin", 200, 400),
        ):
            with self.subTest(role):
                token = Token("foo", roles=(role,)).environ()
                self.assertEqual(reads, self.call("GET", f"{V2}/loadbalancers", environ=token).status)
                self.assertEqual(reads, self.call("GET", f"{V2}/providers", environ=token).status)
                self.assertEqual(reads, self.call("GET", f"{V2}/quotas/foo", environ=token).status)
                self.assertEqual(writes, self.call("POST", f"{V2}/loadbalancers", {}, environ=token).status)
