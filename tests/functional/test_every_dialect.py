"""One scenario through every dialect, over one database: what one of them makes, each of them shows, changes and
deletes, and it comes to the same on the device. What one cannot express, it refuses and leaves as it is."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import count, product
from typing import Any

from tests.functional.dialects import DIALECTS, PROJECT, Check, Dialect, LbaasV1, LbaasV2, Made, Setup
from tests.functional.lbaas_v1 import LB, LbaasV1Case
from tests.functional.lbaas_v2 import Body

FIRST, SECOND, THIRD = (("198.51.100.1", 8001), ("198.51.100.2", 8002), ("198.51.100.3", 8003))
CHECK = Check(kind="HTTP")


class DialectsCase(LbaasV1Case):
    worker = False

    def setUp(self) -> None:
        super().setUp()
        self.dialects = [each(self) for each in DIALECTS]
        self.ports = count(9000)

    def setup_of(self, **fields: Any) -> Setup:
        vip = ("203.0.113.20", next(self.ports))
        members = {FIRST: (1, True), SECOND: (5, False)}
        return Setup(**{"vip": vip, "members": members, "check": CHECK, "persistence": "SOURCE_IP", **fields})

    def made(self, dialect: Dialect, setup: Setup) -> Made:
        before = self.there()
        dialect.make(setup)
        (new,) = self.there() - before
        with self.repository.read() as tx:
            (pool,) = tx.load_balancer(new).pools
        return Made(load_balancer=new, pool=pool.id)

    def there(self) -> set[str]:
        with self.repository.read() as tx:
            return {each.id for each in tx.load_balancers()}

    def assert_all_show(self, made: Made, wanted: Setup) -> None:
        for dialect in self.dialects:
            with self.subTest(seen_in=dialect.name):
                self.assertEqual(wanted, dialect.seen(made))


class TestOneScenario(DialectsCase):
    def test_made_in_one_changed_in_another_and_seen_in_all(self) -> None:
        for maker, changer in product(self.dialects, self.dialects):
            with self.subTest(maker.name, changed_in=changer.name):
                self.scenario(maker, changer)
        self.assertEqual(set(), self.there())

    def scenario(self, maker: Dialect, changer: Dialect) -> None:
        setup = self.setup_of()
        made = self.made(maker, setup)
        self.assert_all_show(made, setup)
        changer.set_algorithm(made, "LEAST_CONNECTIONS")
        setup = replace(setup, algorithm="LEAST_CONNECTIONS")
        self.assert_all_show(made, setup)
        changer.add_member(made, THIRD, 9)
        setup = replace(setup, members={**setup.members, THIRD: (9, True)})
        self.assert_all_show(made, setup)
        changer.change_member(made, FIRST, weight=77)
        changer.change_member(made, SECOND, up=True)
        setup = replace(setup, members={FIRST: (77, True), SECOND: (5, True), THIRD: (9, True)})
        self.assert_all_show(made, setup)
        changer.remove_member(made, FIRST)
        setup = replace(setup, members={SECOND: (5, True), THIRD: (9, True)})
        self.assert_all_show(made, setup)
        for check in (Check(kind="TCP", delay=7, timeout=3, fall=2), None):
            changer.set_check(made, check)
            setup = replace(setup, check=check)
            self.assert_all_show(made, setup)
        for kind in ("HTTP_COOKIE", None):
            changer.set_persistence(made, kind)
            setup = replace(setup, persistence=kind)
            self.assert_all_show(made, setup)
        changer.delete(made)
        if isinstance(maker, LbaasV2) and isinstance(changer, LbaasV1):
            # Which knows of no load balancer: what was made as one stays, empty.
            shown = self.show(f"loadbalancers/{made.load_balancer}", "loadbalancer")
            self.assertEqual(([], []), (shown["listeners"], shown["pools"]))
            self.remove(f"loadbalancers/{made.load_balancer}")
        self.refuse(404, "GET", f"/{PROJECT}/loadbalancers/{made.load_balancer}")
        self.refused(404, "GET", f"loadbalancers/{made.load_balancer}")
        self.no(404, "GET", f"pools/{made.pool}")


class TestOnTheDevice(DialectsCase):
    """What HAProxy is told is the same, whoever asked."""

    device_type = "HAPROXY"

    def test_it_comes_to_the_same(self) -> None:
        for fields in (
            {},
            {"check": None, "persistence": None},
            {"persistence": "HTTP_COOKIE", "check": Check(kind="TCP")},
        ):
            texts = {}
            for dialect in self.dialects:
                setup = self.setup_of(**fields)
                made = self.made(dialect, setup)
                texts[dialect.name] = self.rendered(made, setup.vip[1])
            with self.subTest(fields):
                first = texts[self.dialects[0].name]
                self.assertIn("frontend", first)
                self.assertEqual(dict.fromkeys(texts, first), texts)

    def rendered(self, made: Made, port: int) -> str:
        spec = self.repository.load_spec(self.device_id)
        assert spec is not None
        text = self.registry.driver_for("HAPROXY").render(spec).blocks[made.load_balancer]
        names: dict[str, str] = {}
        text = re.sub(r"[0-9a-f]{32}", lambda found: names.setdefault(found[0], f"<{len(names)}>"), text)
        return text.replace(str(port), "<port>")


class TestNothingIsDamaged(DialectsCase):
    """A load balancer of LBaaS v2 with all that only this dialect has words for: once with one of everything, once with
    several pools, addresses and listeners, and an L7 policy."""

    def rich(self, **fields: Any) -> None:
        self.balancer = self.add_balancer(project_id=PROJECT, name="rich", description="d", tags=["t"], **fields)
        self.listener = self.add_listener(
            self.balancer,
            tags=["l"],
            insert_headers={"X-Forwarded-For": "true", "X-Real-IP": "true"},
            allowed_cidrs=["192.0.2.0/24"],
            timeout_client_data=1234,
            timeout_member_connect=2345,
            timeout_member_data=3456,
            timeout_tcp_inspect=45,
        )
        self.web = self.add_pool(
            listener_id=self.listener["id"], tags=["p"], protocol="PROXYV2", lb_algorithm="SOURCE_IP_PORT"
        )
        values = {"backup": True, "monitor_address": "198.51.100.9", "monitor_port": 99, "tags": ["m"], "name": "m"}
        self.backup = self.add_member(self.web, **values)
        self.check = self.add_monitor(
            self.web,
            type="HTTP",
            http_version=1.1,
            domain_name="www.example.com",
            max_retries=3,
            max_retries_down=6,
            tags=["h"],
            name="hm",
        )

    def several(self) -> None:
        self.rich(additional_vips=[{"subnet_id": self.subnet6_id}])
        self.other = self.add_pool(loadbalancer_id=self.balancer["id"], description="for the policy")
        self.add_member(self.other, address="2001:db8:0:0:0:0:0:7")
        policy = self.add_policy(
            self.listener, action="REDIRECT_TO_POOL", redirect_pool_id=self.other["id"], tags=["7"]
        )
        self.add_rule(policy, invert=True)
        self.add_listener(self.balancer, protocol="UDP", protocol_port=53)
        self.add_listener(self.balancer, protocol="PROMETHEUS", protocol_port=9100)

    def everything(self) -> dict[str, Body]:
        """Path to what LBaaS v2 shows there, without what every change changes."""
        plurals = ["loadbalancers", "listeners", "pools", "healthmonitors", "l7policies"]
        found = {f"{plural}/{each['id']}": each for plural in plurals for each in self.listed(plural)}
        for path, inside in (("pools", "members"), ("l7policies", "rules")):
            for holder in [each for each in found if each.startswith(path)]:
                found |= {f"{inside}/{each['id']}": each for each in self.listed(f"{holder}/{inside}")}
        volatile = ("updated_at", "provisioning_status", "operating_status")
        return {
            path: {name: value for name, value in each.items() if name not in volatile} for path, each in found.items()
        }

    def differences(self, before: dict[str, Body]) -> set[str]:
        """``kind.attribute`` of what changed, ``+kind`` and ``-kind`` of what came and went."""
        after = self.everything()
        changed = {
            f"{path.partition('/')[0]}.{name}"
            for path in before.keys() & after.keys()
            for name in before[path]
            if before[path][name] != after[path][name]
        }
        came = {f"+{path.partition('/')[0]}" for path in after.keys() - before.keys()}
        return changed | came | {f"-{path.partition('/')[0]}" for path in before.keys() - after.keys()}

    def try_all(self, *writes: tuple[str, str, Any, set[str] | int]) -> None:
        """Each is refused with that status and changes nothing, or changes what is said here and nothing else."""
        for method, path, body, outcome in writes:
            with self.subTest(f"{method} {path}", body=body):
                before, rows = self.everything(), self.rows()
                answer = self.call(method, path, body)
                if isinstance(outcome, int):
                    self.assertEqual(outcome, answer.status, answer.json)
                    self.assertEqual(rows, self.rows())
                else:
                    self.assertLess(answer.status, 300, answer.json)
                    self.assertEqual(outcome, self.differences(before))

    def paths_of_v1(self) -> tuple[str, ...]:
        path = f"/{PROJECT}/loadbalancers/{self.balancer['id'].replace('-', '')}"
        below = (("nodes", self.backup), ("virtualIps", self.listener), ("healthMonitoring", self.check))
        return path, *(f"{path}/{kind}/{each['id'].replace('-', '')}" for kind, each in below)

    def test_by_the_balancer_api_what_it_has_words_for(self) -> None:
        self.rich()
        path, node, vip, monitor = self.paths_of_v1()
        new = {"nodes": [{"address": "198.51.100.5", "port": 5}]}
        self.try_all(
            ("PUT", path, {"name": "renamed"}, {"loadbalancers.name"}),
            ("PUT", path, {"algorithm": "ROUND_ROBIN"}, {"pools.lb_algorithm"}),
            ("POST", f"{path}/nodes", new, {"+members", "pools.members"}),
            ("PUT", node, {"weight": 7}, {"members.weight"}),
            ("PUT", node, {"condition": "DISABLED"}, {"members.admin_state_up"}),
            ("PUT", f"{node}/outofservice", None, set()),
            ("PUT", vip, {"name": "front"}, {"listeners.name"}),
            # Those of its pool's protocol there are not.
            ("POST", f"{path}/virtualIps", {"address": "203.0.113.10", "port": 81}, 409),
            ("POST", f"{path}/sessionPersistence", {"type": "SOURCE_IP"}, {"pools.session_persistence"}),
            ("DELETE", monitor, None, {"-healthmonitors", "pools.healthmonitor_id"}),
            ("DELETE", node, None, {"-members", "pools.members"}),
        )

    def test_by_the_balancer_api_what_it_has_no_words_for(self) -> None:
        self.several()
        path, node, vip, monitor = self.paths_of_v1()
        check = {"type": "HTTP", "delay": 5, "timeout": 2, "attemptsBeforeDeactivation": 4}
        self.try_all(
            ("PUT", path, {"algorithm": "ROUND_ROBIN"}, 409),
            ("PUT", path, {"protocol": "TCP"}, 409),
            ("POST", f"{path}/nodes", {"nodes": [{"address": "198.51.100.5", "port": 5}]}, 409),
            ("PUT", node, {"weight": 7}, 409),
            ("PUT", f"{node}/inservice", None, 409),
            ("DELETE", node, None, 409),
            ("PUT", vip, {"address": "203.0.113.99"}, 409),
            ("POST", f"{path}/healthMonitoring", {"healthMonitoring": check}, 409),
            ("DELETE", monitor, None, {"-healthmonitors", "pools.healthmonitor_id"}),
            ("POST", f"{path}/sessionPersistence", {"type": "SOURCE_IP"}, 409),
        )

    def test_by_lbaas_v1(self) -> None:
        self.several()
        check = self.monitor(tenant_id=PROJECT)
        web, vip = f"{LB}/pools/{self.web['id']}", f"{LB}/vips/{self.listener['id']}"
        member, monitor = f"{LB}/members/{self.backup['id']}", f"{LB}/health_monitors/{self.check['id']}"
        self.try_all(
            ("PUT", web, {"pool": {"description": "new"}}, {"pools.description"}),
            ("PUT", web, {"pool": {"lb_method": "ROUND_ROBIN"}}, {"pools.lb_algorithm"}),
            ("PUT", member, {"member": {"weight": 7}}, {"members.weight"}),
            ("PUT", member, {"member": {"admin_state_up": False}}, {"members.admin_state_up"}),
            ("PUT", vip, {"vip": {"name": "front"}}, {"listeners.name"}),
            ("PUT", vip, {"vip": {"connection_limit": 8}}, {"listeners.connection_limit"}),
            ("PUT", monitor, {"health_monitor": {"delay": 9}}, {"healthmonitors.delay"}),
            ("POST", f"{web}/health_monitors", {"health_monitor": {"id": check["id"]}}, {"+healthmonitors"}),
            ("DELETE", web, None, 409),
            ("DELETE", f"{LB}/pools/{self.other['id']}", None, 409),
            ("DELETE", member, None, {"-members", "pools.members"}),
        )
