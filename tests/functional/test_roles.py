"""Every route of the balancer API, for every role, in its own project and in another's.

Callers are put where Keystone's authtoken puts them. Writes are tried out (``?dry_run=1``): they go all the way, and
nothing changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from balancer.api.app import table
from balancer.api.middleware.context import OPEN_PATHS, ContextMiddleware
from balancer.api.v1.routes import BALANCER, BALANCERS
from balancer.api.wsgi import operations
from balancer.config import Settings
from balancer.core.service import Service
from tests.functional.case import NODE, VIRTUAL_IP, Answer
from tests.functional.test_context import Token
from tests.functional.test_dry_run import CHECK, WRITES, DryRunCase, dry

# Right to the roles that have it in their own project, and in every project.
RIGHTS: Mapping[str, tuple[set[str], set[str]]] = {
    "admin": (set(), {"admin", "load-balancer_admin"}),
    "read": (
        {"reader", "member", "load-balancer_observer", "load-balancer_member"},
        {"admin", "load-balancer_admin", "load-balancer_global_observer"},
    ),
    "write": ({"member", "load-balancer_member"}, {"admin", "load-balancer_admin"}),
    "read_quota": (
        {"reader", "member", "load-balancer_observer", "load-balancer_member"},
        {"admin", "load-balancer_admin", "load-balancer_global_observer", "load-balancer_quota_admin"},
    ),
    "write_quota": (set(), {"admin", "load-balancer_admin", "load-balancer_quota_admin"}),
}
ROLES = sorted(set().union(*(own | every for own, every in RIGHTS.values())) | {"service", "unheard-of"})

# What it takes to be let in, for every method of every path that is served.
TAKES: Mapping[str, Mapping[str, str]] = {
    "/": {"GET": "public"},
    "/healthcheck": {"GET": "public"},
    "/metrics": {"GET": "admin"},
    # Refused to all: it is Keystone's.
    "/projects": {"GET": "public"},
    "/openapi.json": {"GET": "read"},
    "/devices": {"GET": "admin", "POST": "admin"},
    "/devices/{device_id}": {"GET": "admin", "PUT": "admin", "DELETE": "admin"},
    "/devices/{device_id}/info": {"GET": "admin"},
    "/devices/{device_id}/deployments": {"GET": "admin"},
    "/devices/{device_id}/deployments/{n}": {"GET": "admin"},
    "/devices/{device_id}/retry": {"POST": "admin"},
    "/devices/{device_id}/resync": {"POST": "admin"},
    "/devices/{device_id}/adopt": {"POST": "admin"},
    "/algorithms": {"GET": "read"},
    "/protocols": {"GET": "read"},
    "/{tenant}/quotas": {"GET": "read_quota", "PUT": "write_quota", "DELETE": "write_quota"},
    BALANCERS: {"GET": "read", "POST": "write"},
    f"{BALANCERS}/find_for_VM/{{vm_id}}": {"GET": "read"},
    BALANCER: {"GET": "read", "PUT": "write", "DELETE": "write"},
    f"{BALANCER}/details": {"GET": "read"},
    f"{BALANCER}/stats": {"GET": "read"},
    f"{BALANCER}/nodes": {"GET": "read", "POST": "write", "PUT": "write"},
    f"{BALANCER}/nodes/{{node_id}}": {"GET": "read", "PUT": "write", "DELETE": "write"},
    f"{BALANCER}/nodes/{{node_id}}/{{status}}": {"PUT": "write"},
    f"{BALANCER}/virtualIps": {"GET": "read", "POST": "write"},
    f"{BALANCER}/virtualIps/{{vip_id}}": {"GET": "read", "PUT": "write", "DELETE": "write"},
    f"{BALANCER}/healthMonitoring": {"GET": "read", "POST": "write", "PUT": "write"},
    f"{BALANCER}/healthMonitoring/{{probe_id}}": {"GET": "read", "DELETE": "write"},
    f"{BALANCER}/sessionPersistence": {"GET": "read", "POST": "write"},
    f"{BALANCER}/sessionPersistence/{{sticky_id}}": {"GET": "read", "DELETE": "write"},
}
# What is answered to who is let in, where it is not 200.
LET_IN: Mapping[tuple[str, str], int] = {
    # No worker is there.
    ("GET", "/healthcheck"): 503,
    ("GET", "/projects"): 403,
    # Nothing was deployed yet.
    ("GET", "/devices/{device_id}/deployments/{n}"): 404,
    # There can be one, and there is.
    ("POST", "/loadbalancers/{lb_id}/sessionPersistence"): 409,
}
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE")
UNKNOWN = "deadbeef" * 4


def routes() -> Iterator[tuple[str, str, str]]:
    """Method, path and what it takes; those that answer behind a project's name too, there as well."""
    for path, methods in TAKES.items():
        for method, right in methods.items():
            yield method, path, right
            if path.startswith(("/devices", "/algorithms", "/protocols")):
                yield method, "/{tenant}" + path, right


class TestEveryRoute(DryRunCase):
    worker = False

    def setUp(self) -> None:
        super().setUp()
        # What projects may point at is another matter.
        self.expect(200, "PUT", f"/devices/{self.device}", {"vip_ranges": [VIRTUAL_IP["address"]]})
        with self.repository.write() as tx:
            tx.bump(self.device)
        # Project bar has one as well, on the same device.
        path = self.expect(
            202,
            "POST",
            "/bar/loadbalancers",
            {
                "name": "theirs",
                "protocol": "HTTP",
                "algorithm": "ROUND_ROBIN",
                "nodes": [NODE],
                "virtualIps": [{"address": "203.0.113.50", "port": 8443}],
                "healthMonitor": [CHECK],
            },
        )
        self.theirs = path["loadbalancer"]["id"]
        self.app = ContextMiddleware(self.app)
        self.asked = 0

    def ask(self, method: str, template: str, parts: Mapping[str, str], token: Token | None) -> Answer:
        body, query = None, ""
        if method not in ("GET", "HEAD"):
            plain = template.removeprefix("/{tenant}") if template.startswith("/{tenant}/devices") else template
            [(path, body)] = [
                (path, body)
                for (verb, path), (body, _) in WRITES.items()
                if (verb, path.partition("?")[0]) == (method, plain)
            ]
            query = "?" + dry(path).partition("?")[2]
        self.asked += 1
        environ = {} if token is None else token.environ()
        return self.call(method, template.format(**parts) + query, body, environ=environ)

    def parts_of(self, **other: str) -> dict[str, str]:
        return {"vm_id": "vm", "n": "1", **self.parts, **other}

    def test_the_table_above_is_what_is_served(self) -> None:
        served = {
            (method, path)
            for rule, method, path in operations(table(cast(Service, None), Settings()))
            if rule.name.startswith("balancer:") or not rule.name
        }
        self.assertEqual(served, {(method, path) for method, path, _ in routes()})

    def test_every_dialect_has_such_a_table(self) -> None:
        """Beside this one: test_lbaas_v1_roles, test_lbaas_v2_roles, test_neutron_roles."""
        prefixes = {rule.name.partition(":")[0] for rule, _, _ in operations(table(cast(Service, None), Settings()))}
        self.assertLessEqual(prefixes, {"", "balancer", "os_load-balancer_api", "network", "lbaas_v1"})

    def test_every_role_everywhere(self) -> None:
        before = self.rows()
        for method, path, right in routes():
            for verb in (method, "HEAD") if method == "GET" else (method,):
                self.check_route(verb, path, right)
        self.assertEqual(before, self.rows())
        print(f"{self.asked} requests: {len(list(routes()))} routes, {len(ROLES) + 3} kinds of callers")

    def check_route(self, method: str, path: str, right: str) -> None:
        parts = self.parts_of()
        found = LET_IN.get((method.replace("HEAD", "GET"), path.removeprefix("/{tenant}")), 200)
        for role in ROLES:
            own, every = RIGHTS.get(right, (set(), set(ROLES)))
            for project in ("foo", "bar"):
                may = role in every or (role in own and (project == "foo" or "{tenant}" not in path))
                with self.subTest(f"{method} {path}", role=role, project=project):
                    answer = self.ask(method, path, parts, Token(project, roles=(role,)))
                    self.assertEqual(found if may else 403, answer.status, answer.json)
                    if not may and method != "HEAD":
                        self.assertEqual({"code", "title", "message"}, set(answer.json["error"]))
        for token, status in (
            (None, 401),
            (Token("foo", roles=()), 403),
            (Token(None, roles=("member",)), 403),
            (Token("foo", roles=("member",), status="Invalid"), 401),
        ):
            with self.subTest(f"{method} {path}", token=token):
                answer = self.ask(method, path, parts, token)
                # A path that is refused to everybody is not open without a token.
                public = right == "public" and path in OPEN_PATHS
                self.assertEqual(found if public else status, answer.status)

    def test_what_is_another_s_is_as_if_it_were_not_there(self) -> None:
        """Its load balancer's id in the own path, its children's ids under the own load balancer."""
        before = self.rows()
        children = {part for part in self.parts if part.endswith("_id")} - {"lb_id", "device_id"}
        for method, path, right in routes():
            if "{lb_id}" not in path:
                continue
            named = children & set(re.findall(r"{(\w+)}", path))
            for role in ("member", "reader", "admin", "load-balancer_global_observer"):
                if right == "write" and role not in ("member", "admin"):
                    continue
                token = Token("bar", roles=(role,))
                asked: list[tuple[dict[str, str], dict[str, str]]] = [
                    (self.parts_of(tenant="bar"), self.parts_of(tenant="bar", lb_id=UNKNOWN))
                ]
                for part in named:
                    own = self.parts_of(tenant="bar", lb_id=self.theirs)
                    asked.append((own, {**own, part: UNKNOWN}))
                for there, unknown in asked:
                    with self.subTest(f"{method} {path}", role=role):
                        answers = self.ask(method, path, there, token), self.ask(method, path, unknown, token)
                        self.assertEqual(404, answers[0].status, answers[0].json)
                        self.assertEqual(told(answers[1], unknown), told(answers[0], there))
        self.assertEqual(before, self.rows())

    def test_a_list_has_only_the_project_s_own(self) -> None:
        for project, mine in (("foo", self.parts["lb_id"]), ("bar", self.theirs)):
            for role in ROLES:
                answer = self.ask("GET", BALANCERS, {"tenant": project}, Token(project, roles=(role,)))
                if answer.status == 200:
                    self.assertEqual([mine], [each["id"] for each in answer.json["loadbalancers"]])
            found = self.call("GET", f"/{project}/loadbalancers/find_for_VM/x", environ=Token(project).environ())
            self.assertEqual({"loadbalancers": []}, found.json)

    def test_other_methods_are_nobody_s(self) -> None:
        parts = self.parts_of()
        for path, methods in TAKES.items():
            for method in set(METHODS) - set(methods) - ({"HEAD"} if "GET" in methods else set()):
                for token in (Token("foo", roles=("admin",)), Token("bar", roles=("reader",))):
                    with self.subTest(f"{method} {path}"):
                        answer = self.call(method, path.format(**parts), environ=token.environ())
                        self.assertEqual(405, answer.status)


def told(answer: Answer, parts: Mapping[str, str]) -> tuple[int, Any]:
    """The answer without the ids that the path named."""
    text = str(answer.json)
    for name, part in parts.items():
        if name.endswith("_id"):
            text = text.replace(part, "ID")
    return answer.status, text
