"""LBaaS v2: what the authors of Octavia ask of every kind of objects, attribute by attribute, with a worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from operator import itemgetter
from urllib.parse import quote

from balancer.api.lbaas_v2 import schemas
from balancer.api.middleware.context import ContextMiddleware
from tests.functional.lbaas_v2 import NOTHING_COUNTED, V2, Body, LbaasCase
from tests.functional.test_context import Token

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
LONGEST = "d" * 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """`path` of its collection; `new`, with the three numbers, the three objects that are made; `second` of them is
    switched off. `changed`: what an update sends and shows."""

    path: str
    key: str
    new: Body
    each: tuple[Body, Body, Body]
    changed: Body
    sort: str

    def bodies(self) -> Iterator[Body]:
        for number, own in enumerate(self.each):
            yield {**self.new, **own, "admin_state_up": number != 1, "tags": [f"t{number}", "all"]}


class KindsCase(LbaasCase):
    """All belongs to the project foo."""

    def setUp(self) -> None:
        super().setUp()
        self.balancer = self.add_balancer(project_id="foo", name="parent")
        self.listener = self.add_listener(self.balancer, protocol_port=1)
        pools = [self.add_pool(loadbalancer_id=self.balancer["id"]) for _ in range(4)]
        self.pool = pools[0]
        self.policy = self.add_policy(self.listener, action="REDIRECT_TO_POOL", redirect_pool_id=self.pool["id"])
        self.parent = f"loadbalancers/{self.balancer['id']}"
        self.settled(self.parent, "loadbalancer")
        of = {"loadbalancer_id": self.balancer["id"]}
        member = {"protocol_port": 80, "weight": 50, "subnet_id": self.subnet_id}
        self.kinds = [
            Kind(
                path="loadbalancers",
                key="loadbalancer",
                new={"description": LONGEST, "project_id": "foo"},
                each=(
                    {"name": "b", "vip_subnet_id": self.subnet_id, "vip_address": "203.0.113.33"},
                    {"name": "a", "vip_subnet_id": self.subnet6_id, "vip_address": "2001:db8::33"},
                    {"name": "c", "vip_network_id": self.network_id, "provider": "dummy"},
                ),
                changed={"name": "new", "description": "new", "admin_state_up": False, "tags": ["new"]},
                sort="name",
            ),
            Kind(
                path="listeners",
                key="listener",
                new={
                    **of,
                    "description": LONGEST,
                    "protocol": "HTTP",
                    "connection_limit": 200,
                    "insert_headers": {
                        "X-Forwarded-For": "true",
                        "X-Forwarded-Port": "true",
                        "X-Forwarded-Proto": "true",
                    },
                    "timeout_client_data": 1000,
                    "timeout_member_connect": 1000,
                    "timeout_member_data": 1000,
                    "timeout_tcp_inspect": 50,
                    "allowed_cidrs": ["192.0.1.0/24"],
                },
                each=(
                    {"name": "b", "protocol_port": 80, "default_pool_id": pools[0]["id"]},
                    {"name": "a", "protocol_port": 81},
                    {"name": "c", "protocol_port": 82},
                ),
                changed={
                    "name": "new",
                    "description": "new",
                    "admin_state_up": False,
                    "connection_limit": 400,
                    "insert_headers": {
                        "X-Forwarded-For": "false",
                        "X-Forwarded-Port": "false",
                        "X-Forwarded-Proto": "false",
                    },
                    "timeout_client_data": 2000,
                    "timeout_member_connect": 2000,
                    "timeout_member_data": 2000,
                    "timeout_tcp_inspect": 100,
                    "allowed_cidrs": ["192.0.2.0/24"],
                    "default_pool_id": pools[1]["id"],
                    "tags": ["new"],
                },
                sort="protocol_port",
            ),
            Kind(
                path="pools",
                key="pool",
                new={
                    **of,
                    "description": LONGEST,
                    "protocol": "HTTP",
                    "lb_algorithm": "ROUND_ROBIN",
                    "session_persistence": {"type": "APP_COOKIE", "cookie_name": "sid"},
                },
                each=({"name": "b"}, {"name": "a"}, {"name": "c"}),
                changed={
                    "name": "new",
                    "description": "new",
                    "admin_state_up": False,
                    "lb_algorithm": "LEAST_CONNECTIONS",
                    "session_persistence": {"type": "HTTP_COOKIE"},
                    "tags": ["new"],
                },
                sort="name",
            ),
            Kind(
                path=f"pools/{self.pool['id']}/members",
                key="member",
                new={**member, "backup": True, "monitor_address": "2001:db8:0:0:0:0:0:9", "monitor_port": 81},
                each=(
                    {"name": "b", "address": "2001:db8:0:0:0:0:0:1", "protocol_port": 82},
                    {"name": "a", "address": "198.51.100.1", "protocol_port": 81},
                    {"name": "c", "address": "198.51.100.2", "subnet_id": None, "backup": False},
                ),
                changed={
                    "name": "new",
                    "admin_state_up": False,
                    "weight": 51,
                    "backup": False,
                    "monitor_port": 82,
                    "monitor_address": "198.51.100.3",
                    "tags": ["new"],
                },
                sort="protocol_port",
            ),
            Kind(
                path="healthmonitors",
                key="healthmonitor",
                new={
                    "type": "HTTP",
                    "delay": 2,
                    "timeout": 3,
                    "max_retries_down": 5,
                    "http_method": "GET",
                    "expected_codes": "200-204",
                    "http_version": 1.1,
                    "domain_name": "www.example.com",
                },
                each=(
                    {"name": "b", "pool_id": pools[1]["id"], "url_path": "/b", "max_retries": 4},
                    {"name": "a", "pool_id": pools[2]["id"], "url_path": "/a", "max_retries": 3},
                    {"name": "c", "pool_id": pools[3]["id"], "url_path": "/c", "max_retries": 2},
                ),
                changed={
                    "name": "new",
                    "admin_state_up": False,
                    "delay": 3,
                    "timeout": 4,
                    "max_retries": 5,
                    "max_retries_down": 6,
                    "http_method": "POST",
                    "url_path": "/new",
                    "expected_codes": "201",
                    "http_version": 1.1,
                    "domain_name": "new.example.com",
                    "tags": ["new"],
                },
                sort="url_path",
            ),
            Kind(
                path="l7policies",
                key="l7policy",
                new={"listener_id": self.listener["id"], "description": LONGEST},
                each=(
                    {"name": "b", "action": "REDIRECT_TO_POOL", "redirect_pool_id": self.pool["id"]},
                    {"name": "a", "action": "REDIRECT_TO_URL", "redirect_url": "http://www.example.com/"},
                    {"name": "c", "action": "REJECT"},
                ),
                changed={
                    "name": "new",
                    "description": "new",
                    "admin_state_up": False,
                    "action": "REDIRECT_TO_URL",
                    "redirect_url": "http://new.example.com/",
                    "redirect_http_code": 301,
                    "position": 4,
                    "tags": ["new"],
                },
                sort="position",
            ),
            Kind(
                path=f"l7policies/{self.policy['id']}/rules",
                key="rule",
                new={},
                each=(
                    {"type": "COOKIE", "key": "sid", "compare_type": "EQUAL_TO", "value": "b", "invert": True},
                    {"type": "HEADER", "key": "X-A", "compare_type": "CONTAINS", "value": "a"},
                    {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/c"},
                ),
                changed={
                    "admin_state_up": False,
                    "type": "HEADER",
                    "key": "X-New",
                    "compare_type": "REGEX",
                    "value": "^new$",
                    "invert": False,
                    "tags": ["new"],
                },
                sort="value",
            ),
        ]

    def three(self, kind: Kind) -> list[Body]:
        """Deployed."""
        made = [self.post(kind.path, kind.key, **body) for body in kind.bodies()]
        return [self.settled(f"{kind.path}/{each['id']}", kind.key) for each in reversed(made)][::-1]

    def of(self, kind: Kind, made: list[Body], query: str) -> list[Body]:
        """What a list shows of those that the test made."""
        ours = {each["id"] for each in made}
        return [each for each in self.listed(f"{kind.path}?{query}") if each["id"] in ours]


class TestEveryKind(KindsCase):
    def test_what_was_asked_for_is_shown(self) -> None:
        for kind in self.kinds:
            for body, shown in zip(kind.bodies(), self.three(kind), strict=True):
                with self.subTest(kind.key, body=body):
                    self.assertEqual("ACTIVE", shown["provisioning_status"])
                    self.assertRegex(shown["id"], f"^{UUID}$")
                    for when in ("created_at", "updated_at"):
                        self.assertIsInstance(datetime.strptime(shown[when], "%Y-%m-%dT%H:%M:%S"), datetime)
                    self.assertEqual(("foo", "foo"), (shown["project_id"], shown["tenant_id"]))
                    told = {name: value for name, value in body.items() if name in shown}
                    hidden = {"loadbalancer_id", "pool_id"}
                    self.assertLessEqual(set(body) - set(told), hidden)
                    persistence = told.pop("session_persistence", None)
                    if persistence:
                        self.assertLessEqual(persistence.items(), shown["session_persistence"].items())
                    self.assertEqual(told, {name: shown[name] for name in told})
            self.assertEqual("ACTIVE", self.settled(self.parent, "loadbalancer")["provisioning_status"])

    def test_every_attribute_sorts_filters_and_can_be_the_only_one_that_is_shown(self) -> None:
        for kind in self.kinds:
            made = self.three(kind)
            resource = {each.name: each for each in RESOURCES}[kind.key]
            listed = self.of(kind, made, "")
            self.assertEqual([each["id"] for each in made], [each["id"] for each in listed], kind.key)
            whole = self.listed(kind.path)
            for name, attribute in resource.attributes.items():
                if name not in made[0]:
                    self.assertFalse(attribute.shown, f"{kind.key} {name}")
                    continue
                with self.subTest(kind.key, attribute=name):
                    self.assertEqual([{name: each[name]} for each in whole], self.listed(f"{kind.path}?fields={name}"))
                    one = self.show(f"{kind.path}/{made[0]['id']}?fields={name}", kind.key)
                    self.assertEqual({name: whole[self.place(whole, made[0])][name]}, one)
                    for direction in ("asc", "desc"):
                        ordered = self.listed(f"{kind.path}?sort={name}:{direction}")
                        self.assertEqual(len(whole), len(ordered))
                        values = [each[name] for each in ordered]
                        if all(isinstance(value, str | int) for value in values):
                            self.assertEqual(sorted(values, reverse=direction == "desc"), values)
                    for value in {str(each[name]) for each in whole if isinstance(each[name], str | int | float)}:
                        found = self.listed(f"{kind.path}?{name}={quote(value)}")
                        wanted = [each for each in whole if str(each[name]) == value]
                        self.assertEqual([each["id"] for each in wanted], [each["id"] for each in found], value)
            downwards = sorted(whole, key=itemgetter(kind.sort), reverse=True)
            on = [each["id"] for each in downwards if each["admin_state_up"]]
            two = f"fields=id&fields={kind.sort}"
            shown = self.listed(f"{kind.path}?admin_state_up=true&{two}&sort={kind.sort}:desc")
            self.assertEqual(on, [each["id"] for each in shown])
            self.assertEqual({frozenset({"id", kind.sort})}, {frozenset(each) for each in shown})
            self.assertEqual([made[1]["id"]], [each["id"] for each in self.listed(f"{kind.path}?tags=t1,all")])

    @staticmethod
    def place(whole: list[Body], wanted: Body) -> int:
        return [each["id"] for each in whole].index(wanted["id"])

    def test_every_attribute_that_can_be_changed(self) -> None:
        for kind in self.kinds:
            made = self.three(kind)[0]
            path = f"{kind.path}/{made['id']}"
            resource = {each.name: each for each in RESOURCES}[kind.key]
            may = {name for name, each in resource.attributes.items() if each.update and not each.refused}
            others = {
                "l7policy": {"redirect_pool_id", "redirect_prefix"},
                "loadbalancer": {"vip_qos_policy_id"},
            }.get(kind.key, set())
            self.assertEqual(may - others, set(kind.changed), kind.key)
            for name, value in kind.changed.items():
                sent = {name: value}
                if name == "action":
                    sent["redirect_url"] = "http://first.example.com/"
                if name == "type":
                    sent["key"] = "X-First"
                with self.subTest(kind.key, sent=sent):
                    self.assert_shows(name, value, self.put(path, kind.key, **sent))
            after = self.settled(path, kind.key)
            for name, value in kind.changed.items():
                self.assert_shows(name, value, after)
            # What was not sent is as it was.
            kept = set(made) - set(kind.changed) - {"updated_at", "operating_status", "redirect_pool_id"}
            self.assertEqual({name: made[name] for name in kept}, {name: after[name] for name in kept})
            self.assertEqual("OFFLINE", after["operating_status"])
            self.remove(path)
            self.assertEqual("ACTIVE", self.settled(self.parent, "loadbalancer")["provisioning_status"])

    def assert_shows(self, name: str, value: object, shown: Body) -> None:
        if isinstance(value, dict) and name == "session_persistence":
            self.assertEqual(value["type"], shown[name]["type"])
        else:
            self.assertEqual(value, shown[name])

    def test_strangers(self) -> None:
        """Whoever has no right to it changes nothing, and nothing becomes pending of it."""
        there = {kind.key: self.three(kind)[0] for kind in self.kinds}
        self.settled(self.parent, "loadbalancer")
        app, guarded = self.app, ContextMiddleware(self.app)
        strangers = {
            "a member of another project": Token("bar", roles=("member",)),
            "nobody in particular": Token("foo", roles=("other",)),
            "an observer": Token("foo", roles=("load-balancer_observer",)),
        }
        for kind in self.kinds:
            path = f"{kind.path}/{there[kind.key]['id']}"
            before = self.show(path, kind.key)
            new = next(kind.bodies())
            for who, token in strangers.items():
                with self.subTest(kind.key, who=who):
                    self.app = guarded
                    ask = partial(self.call, environ=token.environ())
                    # Without a project of its own, so that it would be the caller's.
                    body = {kind.key: {name: value for name, value in new.items() if name != "project_id"}}
                    reads = who == "an observer"
                    if kind.key != "loadbalancer" or who != "a member of another project":
                        self.assertEqual(403, ask("POST", f"{V2}/{kind.path}", body).status)
                    self.assertEqual(200 if reads else 403, ask("GET", f"{V2}/{path}").status)
                    listed = ask("GET", f"{V2}/{kind.path}")
                    if who == "a member of another project" and "/" not in kind.path:
                        self.assertEqual([], next(iter(listed.json.values())))
                    else:
                        self.assertEqual(200 if reads else 403, listed.status)
                    self.assertEqual(403, ask("PUT", f"{V2}/{path}", {kind.key: {"tags": ["mine"]}}).status)
                    self.assertEqual(403, ask("DELETE", f"{V2}/{path}").status)
                    self.app = app
                    self.assertEqual(before, self.show(path, kind.key))
            self.assertEqual("ACTIVE", self.show(self.parent, "loadbalancer")["provisioning_status"])


RESOURCES = (
    schemas.LOAD_BALANCER,
    schemas.LISTENER,
    schemas.POOL,
    schemas.MEMBER,
    schemas.HEALTH_MONITOR,
    schemas.L7_POLICY,
    schemas.L7_RULE,
)


class TestRows(LbaasCase):
    """Those that are of one kind only."""

    def setUp(self) -> None:
        super().setUp()
        self.balancer = self.add_balancer()
        self.path = f"loadbalancers/{self.balancer['id']}"
        self.settled(self.path, "loadbalancer")

    def seen(self, path: str, key: str) -> str:
        """How it is said to be once it is deployed and looked at."""
        self.settled(path, key)
        self.get(f"/devices/{self.device_id}/info?refresh=1")
        status: str = self.settled(path, key)["operating_status"]
        return status

    def test_a_load_balancer_that_is_switched_on_keeps_its_address(self) -> None:
        made = self.add_balancer(admin_state_up=False, vip_address="203.0.113.99")
        path = f"loadbalancers/{made['id']}"
        self.assertEqual("OFFLINE", self.seen(path, "loadbalancer"))
        self.put(path, "loadbalancer", admin_state_up=True)
        self.assertEqual("ONLINE", self.seen(path, "loadbalancer"))
        shown = self.show(path, "loadbalancer")
        for name in ("vip_address", "vip_port_id", "vip_subnet_id", "vip_network_id"):
            self.assertEqual(made[name], shown[name])
            self.assertIsNotNone(shown[name])
        self.assertEqual({"stats": NOTHING_COUNTED}, self.get(f"{V2}/{path}/stats"))

    def test_failover_is_for_administrators(self) -> None:
        app, self.app = self.app, ContextMiddleware(self.app)
        for role, status in (("member", 403), ("load-balancer_member", 403), ("load-balancer_admin", 202)):
            environ = Token("default", roles=(role,)).environ()
            self.assertEqual(status, self.call("PUT", f"{V2}/{self.path}/failover", environ=environ).status)
        self.app = app
        self.assertEqual("ACTIVE", self.settled(self.path, "loadbalancer")["provisioning_status"])

    def look(self) -> None:
        """Until all is deployed and was looked at."""
        self.settled(self.path, "loadbalancer")
        self.get(f"/devices/{self.device_id}/info?refresh=1")

    def test_listeners_of_every_protocol_with_and_without_ranges(self) -> None:
        made: list[Body] = []
        for protocol in ("HTTP", "HTTPS", "TCP", "UDP", "SCTP", "PROMETHEUS"):
            for cidrs in (None, ["192.0.2.0/24"]):
                fields = {"protocol": protocol, "protocol_port": len(made) + 1, "allowed_cidrs": cidrs}
                made.append({**fields, "id": self.add_listener(self.balancer, **fields)["id"]})
        off = self.add_listener(self.balancer, protocol_port=98, admin_state_up=False)
        self.look()
        for each in made:
            shown = self.show(f"listeners/{each['id']}", "listener")
            self.assertEqual({**each, "operating_status": "ONLINE"}, {k: shown[k] for k in (*each, "operating_status")})
            self.assertEqual({"stats": NOTHING_COUNTED}, self.get(f"{V2}/listeners/{each['id']}/stats"))
        self.assertEqual("OFFLINE", self.show(f"listeners/{off['id']}", "listener")["operating_status"])
        self.assertEqual(13, len(self.listed(f"listeners?loadbalancer_id={self.balancer['id']}")))
        body: Body = {"loadbalancer_id": self.balancer["id"], "protocol_port": 99, "protocol": "TERMINATED_HTTPS"}
        for more in ({}, {"default_tls_container_ref": "x"}, {"hsts_max_age": 1, "hsts_preload": True}):
            self.refused(400, "POST", "listeners", {"listener": {**body, **more}})

    def test_pools_of_every_algorithm_and_protocol(self) -> None:
        matching = {"PROXY": "HTTP", "PROXYV2": "TCP"}
        alone: list[Body] = []
        listeners: list[Body] = []
        for algorithm in ("ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP", "SOURCE_IP_PORT"):
            for protocol in ("HTTP", "HTTPS", "PROXY", "PROXYV2", "TCP", "UDP", "SCTP"):
                name = f"{protocol} {algorithm}"
                pool: Body = {"name": name, "protocol": protocol, "lb_algorithm": algorithm}
                alone.append(pool)
                behind = {**pool, "name": f"{name} behind"}
                front = {"protocol": matching.get(protocol, protocol), "protocol_port": len(alone)}
                listeners.append({"name": name, **front, "default_pool": behind})
        made = self.add_balancer(listeners=listeners, pools=alone)
        self.seen(f"loadbalancers/{made['id']}", "loadbalancer")
        shown = {each["name"]: each for each in self.listed(f"pools?loadbalancer_id={made['id']}")}
        fronts = {each["name"]: [{"id": each["id"]}] for each in made["listeners"]}
        common = {"loadbalancers": [{"id": made["id"]}], "members": [], "provisioning_status": "ACTIVE"}
        wanted = {
            **{each["name"]: {**each, **common, "listeners": [], "operating_status": "OFFLINE"} for each in alone},
            **{
                each["default_pool"]["name"]: {
                    **each["default_pool"],
                    **common,
                    "listeners": fronts[each["name"]],
                    "operating_status": "ONLINE",
                }
                for each in listeners
            },
        }
        self.assertEqual(wanted, {name: {key: each[key] for key in wanted[name]} for name, each in shown.items()})

    def test_members_of_other_versions_than_the_address(self) -> None:
        for protocol in ("HTTP", "TCP", "UDP"):
            pool = self.add_pool(loadbalancer_id=self.balancer["id"], protocol=protocol)
            body = {"member": {"address": "2001:db8::5", "protocol_port": 80}}
            answer = self.call("POST", f"{V2}/pools/{pool['id']}/members", body)
            self.assertIn(answer.status, (201, 501) if protocol == "UDP" else (201,))

    def test_monitors_of_every_type(self) -> None:
        wanted: dict[str, Body] = {}
        pools: list[Body] = []
        for protocol, types in (
            ("HTTP", ("HTTP", "HTTPS", "PING", "TCP", "TLS-HELLO")),
            ("UDP", ("UDP-CONNECT", "HTTP", "TCP")),
            ("SCTP", ("SCTP", "HTTP", "TCP")),
        ):
            for kind in types:
                for up, status in ((True, "ONLINE"), (False, "OFFLINE")):
                    name = f"{protocol} {kind} {status}"
                    values: Body = {"type": kind, "delay": 3, "timeout": 3, "max_retries": 4, "max_retries_down": 5}
                    monitor = {"name": name, **values, "admin_state_up": up}
                    wanted[name] = {**monitor, "operating_status": status, "provisioning_status": "ACTIVE"}
                    pool = {"name": name, "protocol": protocol, "lb_algorithm": "ROUND_ROBIN"}
                    pools.append({**pool, "healthmonitor": monitor})
        made = self.add_balancer(pools=pools)
        # Nothing has to be looked at for that.
        self.settled(f"loadbalancers/{made['id']}", "loadbalancer")
        shown = {each["name"]: each for each in self.listed("healthmonitors")}
        self.assertEqual(wanted, {name: {key: each[key] for key in wanted[name]} for name, each in shown.items()})
        first = made["pools"][0]
        self.assertEqual([{"id": first["id"]}], shown[first["name"]]["pools"])
        self.remove(f"healthmonitors/{first['healthmonitor_id']}")
        self.assertIsNone(self.show(f"pools/{first['id']}", "pool")["healthmonitor_id"])

    def test_a_batch_of_strangers_leaves_all_as_it_was(self) -> None:
        pool = self.add_pool(loadbalancer_id=self.balancer["id"])
        members = f"pools/{pool['id']}/members"
        two = [{"address": "198.51.100.1", "protocol_port": port, "weight": 2} for port in (1, 2)]
        self.expect(202, "PUT", f"{V2}/{members}", {"members": two})
        before = [self.settled(f"{members}/{each['id']}", "member") for each in self.listed(members)]
        app, self.app = self.app, ContextMiddleware(self.app)
        for token in (Token("bar"), Token("default", roles=("reader",))):
            answer = self.call("PUT", f"{V2}/{members}", {"members": []}, environ=token.environ())
            self.assertEqual(403, answer.status)
        self.app = app
        self.assertEqual(before, self.listed(members))
        self.assertEqual(["NO_MONITOR"] * 2, [each["operating_status"] for each in before])
