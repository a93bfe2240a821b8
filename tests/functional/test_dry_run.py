"""``?dry_run=1``: what would change, and nothing that does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from balancer.api.v1 import routes
from balancer.config import Settings
from balancer.core.service import Service
from balancer.drivers.fake import FakeDriver
from tests.functional.case import DEVICE, LOAD_BALANCER, NO_ID, NODE, VIRTUAL_IP, ApiCase

NO_DEVICE = "no device is concerned"
CHECK = {"type": "TCP", "delay": 5, "timeout": 5, "attemptsBeforeDeactivation": 2}
DEVICE_PATH = "/devices/{device_id}"
BALANCERS = routes.BALANCERS
BALANCER = routes.BALANCER

# Every write that is served: its body, and whether the dummy device would run another text afterwards. A device of
# which nothing of that is known is not concerned.
WRITES: Mapping[tuple[str, str], tuple[Any, str | None]] = {
    ("POST", "/devices"): ({**DEVICE, "ip": "192.0.2.77"}, None),
    ("PUT", DEVICE_PATH): ({"name": "another name"}, "noop"),
    ("DELETE", f"{DEVICE_PATH}?force=1"): (None, None),
    ("POST", f"{DEVICE_PATH}/retry"): (None, "noop"),
    ("POST", f"{DEVICE_PATH}/resync"): (None, "reload"),
    ("POST", f"{DEVICE_PATH}/adopt"): (None, "noop"),
    ("PUT", "/{tenant}/quotas"): ({"quota": {"node": 1000}}, None),
    ("DELETE", "/{tenant}/quotas"): (None, None),
    ("POST", BALANCERS): ({**LOAD_BALANCER, "nodes": [NODE], "virtualIps": [{**VIRTUAL_IP, "port": 82}]}, "reload"),
    ("PUT", BALANCER): ({"algorithm": "LEAST_CONNECTION"}, "reload"),
    ("DELETE", BALANCER): (None, "reload"),
    ("POST", f"{BALANCER}/nodes"): ({"nodes": [{**NODE, "port": 8002}]}, "reload"),
    ("PUT", f"{BALANCER}/nodes"): ({"node": {**NODE, "port": 8003}}, "reload"),
    ("PUT", f"{BALANCER}/nodes/{{node_id}}"): ({"weight": 9}, "reload"),
    ("DELETE", f"{BALANCER}/nodes/{{node_id}}"): (None, "reload"),
    ("PUT", f"{BALANCER}/nodes/{{node_id}}/{{status}}"): (None, "reload"),
    ("POST", f"{BALANCER}/virtualIps"): ({"virtualIp": {**VIRTUAL_IP, "port": 81}}, "reload"),
    ("PUT", f"{BALANCER}/virtualIps/{{vip_id}}"): ({"port": 8080}, "reload"),
    ("DELETE", f"{BALANCER}/virtualIps/{{vip_id}}"): (None, "reload"),
    ("POST", f"{BALANCER}/healthMonitoring"): ({"healthMonitoring": CHECK}, "reload"),
    ("PUT", f"{BALANCER}/healthMonitoring"): ({"healthMonitoring": CHECK}, "reload"),
    ("DELETE", f"{BALANCER}/healthMonitoring/{{probe_id}}"): (None, "reload"),
    ("POST", f"{BALANCER}/sessionPersistence"): ({"type": "SOURCE_IP"}, "reload"),
    ("DELETE", f"{BALANCER}/sessionPersistence/{{sticky_id}}"): (None, "reload"),
}


class DryRunCase(ApiCase):
    def setUp(self) -> None:
        super().setUp()
        self.device = self.register()
        self.balancer = self.create(
            nodes=[NODE],
            virtualIps=[VIRTUAL_IP],
            healthMonitor=[{**CHECK, "type": "HTTP"}],
            sessionPersistence=[{"type": "HTTP_COOKIE", "cookie_name": "c"}],
        )
        details = self.get(f"{self.balancer}/details")
        self.parts = {
            "tenant": "foo",
            "device_id": self.device,
            "lb_id": details["id"],
            "node_id": details["nodes"][0]["id"],
            "vip_id": details["virtualIps"][0]["id"],
            "probe_id": details["healthMonitor"][0]["id"],
            "sticky_id": details["sessionPersistence"][0]["id"],
            "status": "outofservice",
        }
        self.driver = cast(FakeDriver, self.registry.driver_for("dummy"))

    def try_out(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """What the answer tells, once it is sure that it was not done."""
        before = self.rows(), self.driver.running(self.device), self.driver.deployments(self.device)
        answer = self.expect(200, method, dry(path), body)
        self.assertEqual(before[0], self.rows())
        self.assertEqual(before[1:], (self.driver.running(self.device), self.driver.deployments(self.device)))
        self.assertEqual(["dry_run"], list(answer))
        told: dict[str, Any] = answer["dry_run"]
        self.assertEqual({"plan", "reason", "devices"}, set(told))
        for each in told["devices"]:
            self.assertEqual({"device_id", "plan", "reason", "diff"}, set(each))
        return told


class TestEveryWrite(DryRunCase):
    def test_there_is_no_other_write(self) -> None:
        table = routes.table(cast(Service, None), Settings())
        served = {(method, path) for path, methods in table.items() for method in methods if method != "GET"}
        served -= {(method, "/{tenant}" + path) for method, path in served}
        self.assertEqual(served, {(method, path.partition("?")[0]) for method, path in WRITES})

    def test_tells_what_it_would_do_and_does_not_do_it(self) -> None:
        if self.parts["sticky_id"]:
            # There can be one, so the write that adds one wants none to be there.
            self.expect(204, "DELETE", f"{self.balancer}/sessionPersistence/{self.parts['sticky_id']}")
        for (method, template), (body, plan) in WRITES.items():
            if "{sticky_id}" in template:
                continue
            with self.subTest(f"{method} {template}"):
                self.check(method, template.format(**self.parts), body, plan)
                # Behind a project as well.
                if template.startswith("/devices"):
                    self.check(method, "/foo" + template.format(**self.parts), body, plan)

    def test_tells_it_of_the_session_persistence(self) -> None:
        path = f"{self.balancer}/sessionPersistence/{self.parts['sticky_id']}"
        self.check("DELETE", path, None, "reload")

    def check(self, method: str, path: str, body: Any, plan: str | None) -> None:
        told = self.try_out(method, path, body)
        if plan is None:
            self.assertEqual({"plan": "noop", "reason": NO_DEVICE, "devices": []}, told)
            return
        (one,) = told["devices"]
        self.assertEqual((self.device, plan), (one["device_id"], one["plan"]))
        self.assertEqual((one["plan"], one["reason"]), (told["plan"], told["reason"]))
        self.assertTrue(one["reason"])
        # A resync changes what runs, not what is stored.
        self.assertEqual(plan == "reload" and not path.endswith("/resync"), bool(one["diff"]))

    def test_is_refused_as_it_would_be_in_earnest(self) -> None:
        other = "0" * 32
        paths = {
            name: {**self.parts, name: other if name.endswith("_id") else "nowhere"}
            for name in ("device_id", "lb_id", "node_id", "vip_id", "probe_id", "sticky_id", "status")
        }
        bodies: tuple[Any, ...] = (
            {},
            {"port": 70000},
            {"nodes": [{"address": "1.2.3"}]},
            {"virtualIp": VIRTUAL_IP},
            {"nodes": [NODE]},
        )
        cases = [
            (method, template.format(**parts), body)
            for (method, template), (body, _) in WRITES.items()
            for name, parts in paths.items()
            if f"{{{name}}}" in template
        ]
        cases += [
            (method, template.format(**self.parts), body)
            for (method, template), (sent, _) in WRITES.items()
            if sent is not None
            for body in bodies
        ]
        cases += [
            ("DELETE", f"/devices/{self.device}", None),
            ("POST", "/devices", DEVICE),
            ("POST", "/foo/loadbalancers", {**LOAD_BALANCER, "virtualIps": [VIRTUAL_IP], "device_id": self.device}),
            ("POST", "/foo/loadbalancers", {**LOAD_BALANCER, "virtualIps": [VIRTUAL_IP]}),
            ("POST", "/foo/loadbalancers", {**LOAD_BALANCER, "device_id": NO_ID}),
        ]
        refused = 0
        for method, path, body in cases:
            with self.subTest(f"{method} {path} {body}"):
                before = self.rows()
                tried = self.call(method, dry(path), body)
                self.assertEqual(before, self.rows())
                if tried.status >= 400:
                    done = self.call(method, path, body)
                    self.assertEqual((tried.status, unnamed(tried.json)), (done.status, unnamed(done.json)))
                    self.assertEqual(before, self.rows())
                    refused += 1
        self.assertGreater(refused, 50)

    def test_what_it_allows_is_allowed_in_earnest(self) -> None:
        # What takes away comes last, the whole after its parts.
        writes = sorted(WRITES.items(), key=lambda item: (item[0][0] == "DELETE", -len(item[0][1])))
        allowed = 0
        for (method, template), (body, _) in writes:
            with self.subTest(f"{method} {template}"):
                path = template.format(**self.parts)
                tried, done = self.call(method, dry(path), body), self.call(method, path, body)
                self.assertEqual(tried.status == 200, done.status < 300, (tried.json, done.json))
                allowed += tried.status == 200
        # The load balancer has a session persistence, so there is no adding another.
        self.assertEqual(len(WRITES) - 1, allowed)


def dry(path: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}dry_run=1"


def unnamed(error: Any) -> Any:
    """Without ids, of which some are new for each request."""
    return re.sub(r"[0-9a-f]{32}", "ID", str(error))


class TestDryRun(DryRunCase):
    def test_what_it_tells_is_then_done(self) -> None:
        path = f"{self.balancer}/nodes/{self.parts['node_id']}"
        told = self.try_out("PUT", path, {"weight": 7})
        self.expect(200, "PUT", path, {"weight": 7})
        newest = self.get(f"/devices/{self.device}/deployments")["deployments"][0]
        self.assertEqual(told["plan"], newest["plan"])
        done = self.get(f"/devices/{self.device}/deployments/{newest['n']}")["deployment"]
        self.assertEqual(untimed(told["devices"][0]["diff"]), untimed(done["diff"]))
        self.assertIn("weight=7", done["diff"])

    def test_what_would_change_nothing(self) -> None:
        for method, path, body in (
            ("PUT", self.balancer, {"name": LOAD_BALANCER["name"]}),
            ("PUT", f"{self.balancer}/nodes/{self.parts['node_id']}/inservice", None),
            ("PUT", f"/devices/{self.device}", {"name": DEVICE["name"]}),
        ):
            with self.subTest(path):
                self.assertEqual({"plan": "noop", "reason": NO_DEVICE, "devices": []}, self.try_out(method, path, body))
        # A name is stored, and the device never hears of it.
        (one,) = self.try_out("PUT", self.balancer, {"name": "another"})["devices"]
        self.assertEqual(("noop", ""), (one["plan"], one["diff"]))

    def test_a_move_concerns_two_devices(self) -> None:
        tcp = {"algorithms": ["ROUND_ROBIN"], "protocols": ["TCP"]}
        self.expect(204, "DELETE", self.balancer)
        self.expect(204, "DELETE", f"/devices/{self.device}")
        first = self.register(capabilities=tcp)
        path = self.create(protocol="TCP", nodes=[NODE], virtualIps=[VIRTUAL_IP])
        second = self.register(ip="192.0.2.11", capabilities={**tcp, "protocols": ["HTTP"]})
        self.device = first
        told = self.try_out("PUT", path, {"protocol": "HTTP"})
        diffs = {each["device_id"]: each["diff"] for each in told["devices"]}
        self.assertEqual({first, second}, set(diffs))
        self.assertRegex(diffs[first], r"(?m)^-load balancer")
        self.assertRegex(diffs[second], r"(?m)^\+load balancer")

    def test_it_must_be_a_flag(self) -> None:
        for value in ("maybe", "2", "1;0"):
            self.refuse(400, "DELETE", f"{self.balancer}?dry_run={value}", field="dry_run")
        self.expect(200, "DELETE", f"{self.balancer}?dry_run=true")
        self.expect(204, "DELETE", f"{self.balancer}?dry_run=0")

    def test_reads_do_not_mind(self) -> None:
        self.assertEqual(self.get(self.balancer), self.get(f"{self.balancer}?dry_run=1"))


class TestDeployments(DryRunCase):
    def test_they_are_listed_newest_first(self) -> None:
        path = f"{self.balancer}/nodes/{self.parts['node_id']}"
        for weight in (2, 3, 4):
            self.expect(200, "PUT", path, {"weight": weight})
        listed = self.get(f"/devices/{self.device}/deployments")["deployments"]
        numbers = [each["n"] for each in listed]
        self.assertEqual(sorted(numbers, reverse=True), numbers)
        self.assertEqual(1, numbers[-1])
        newest = listed[0]
        self.assertNotIn("diff", newest)
        self.assertEqual(
            ("APPLIED", "reload", 1, {}, self.device),
            (newest["outcome"], newest["plan"], newest["attempts"], newest["rejected"], newest["device_id"]),
        )
        for name in ("started_at", "last_started_at"):
            self.assertRegex(newest[name], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertTrue(newest["reason"])
        self.assertGreaterEqual(newest["duration"], 0)
        shown = self.get(f"/devices/{self.device}/deployments/{newest['n']}")["deployment"]
        self.assertIn("weight=4", shown.pop("diff"))
        self.assertEqual(newest, shown)
        self.assertEqual(listed[:2], self.get(f"/devices/{self.device}/deployments?limit=2")["deployments"])

    def test_failures_and_refusals_are_told(self) -> None:
        self.expect(200, "PUT", f"/devices/{self.device}", {"behaviour": f"reject:{self.parts['lb_id']}"})
        self.expect(202, "PUT", self.balancer, {"algorithm": "LEAST_CONNECTION"})
        newest = self.get(f"/devices/{self.device}/deployments?limit=1")["deployments"][0]
        self.assertEqual([self.parts["lb_id"]], list(newest["rejected"]))
        self.expect(200, "PUT", f"/devices/{self.device}", {"behaviour": "broken"})
        self.expect(202, "PUT", self.balancer, {"algorithm": "ROUND_ROBIN"})
        newest = self.get(f"/devices/{self.device}/deployments?limit=1")["deployments"][0]
        self.assertEqual(("FAILED", None), (newest["outcome"], newest["plan"]))
        self.assertIn("broken", newest["reason"])

    def test_what_is_not_there(self) -> None:
        for path in (
            f"/devices/{NO_ID}/deployments",
            f"/devices/{NO_ID}/deployments/1",
            *(f"/devices/{self.device}/deployments/{n}" for n in ("999", "0", "-1", "x", "1e3", "9" * 30, "%D9%A3")),
        ):
            self.refuse(404, "GET", path)
        for limit in ("0", "-1", "x", "1001", "", "1.5", "9" * 30):
            message = self.refuse(400, "GET", f"/devices/{self.device}/deployments?limit={limit}", field="limit")
            self.assertIn("1000", message)
        self.refuse(405, "POST", f"/devices/{self.device}/deployments", {})


def untimed(diff: str) -> str:
    """The dummy driver's text tells of times, too."""
    return re.sub(r"datetime\.datetime\([^)]*\)", "", diff)
