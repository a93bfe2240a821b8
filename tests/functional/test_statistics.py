"""Counters and operating states, as the API tells them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from balancer.core.model import Counters
from balancer.drivers.fake import FakeDriver
from tests.functional.case import NO_ID, NODE, VIRTUAL_IP, ApiCase

MONITOR = {"type": "TCP", "delay": 1, "timeout": 1}
NOTHING = {"bytes_in": 0, "bytes_out": 0, "active_connections": 0, "total_connections": 0, "request_errors": 0}
SOME = {"bytes_in": 100, "bytes_out": 2000, "active_connections": 1, "total_connections": 10, "request_errors": 2}


class TestStatistics(ApiCase):
    def setUp(self) -> None:
        super().setUp()
        self.device_id = self.register()
        self.path = self.create(
            nodes=[NODE, {**NODE, "port": 8002}],
            virtualIps=[VIRTUAL_IP, {**VIRTUAL_IP, "port": 81}],
            healthMonitor=[MONITOR],
        )
        self.vips = [vip["id"] for vip in self.get(f"{self.path}/virtualIps")["virtualIps"]]
        self.nodes = [node["id"] for node in self.get(f"{self.path}/nodes")["nodes"]]

    def serve(self, object_ids: Sequence[str], **counters: int) -> None:
        driver = self.registry.driver_for("dummy")
        assert isinstance(driver, FakeDriver)
        driver.serve(self.device_id, object_ids, Counters(**counters))

    def stats(self, query: str = "?refresh=1") -> dict[str, Any]:
        shown: dict[str, Any] = self.get(f"{self.path}/stats{query}")["stats"]
        return shown

    def operating(self, *, refresh: bool = True) -> list[str | None]:
        """Of the load balancer, its first virtual IP and its nodes, in each place that tells it."""
        if refresh:
            self.stats()
        shown, seen = self.get(f"{self.path}/details"), self.stats("")
        told = [shown, shown["virtualIps"][0], *shown["nodes"]]
        again = [self.get(self.path)["loadbalancer"], self.get(f"{self.path}/virtualIps/{self.vips[0]}")["virtualIp"]]
        again += [self.get(f"{self.path}/nodes/{each['id']}")["node"] for each in shown["nodes"]]
        listed = [
            self.get("/foo/loadbalancers")["loadbalancers"][0],
            self.get(f"{self.path}/virtualIps")["virtualIps"][0],
        ]
        listed += self.get(f"{self.path}/nodes")["nodes"]
        statuses = [each["operating_status"] for each in told]
        for places in (again, listed):
            self.assertEqual(statuses, [each["operating_status"] for each in places])
        self.assertEqual(
            statuses, [seen["status"], seen["virtualIps"][0]["status"], *(n["status"] for n in seen["nodes"])]
        )
        return statuses

    def test_nothing_is_told_before_the_first_look(self) -> None:
        self.assertEqual([None] * 4, self.operating(refresh=False))
        stats = self.stats("")
        self.assertEqual(
            [{"id": each, "status": None, **NOTHING} for each in (*self.vips, *self.nodes)],
            [*stats["virtualIps"], *stats["nodes"]],
        )
        self.assertEqual(NOTHING, stats["total"])

    def test_counters_of_each_and_of_all(self) -> None:
        self.serve((self.vips[0], self.nodes[0]), **SOME)
        self.serve((self.vips[1],), **SOME)
        stats = self.stats()
        self.assertRegex(stats["observed_at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertTrue(0 <= stats["age"] < 5)
        self.assertEqual([{"id": each, "status": "ONLINE", **SOME} for each in self.vips], stats["virtualIps"])
        self.assertEqual(
            [{"id": self.nodes[0], "status": "ONLINE", **SOME}, {"id": self.nodes[1], "status": "ONLINE", **NOTHING}],
            stats["nodes"],
        )
        self.assertEqual({key: 2 * value for key, value in SOME.items()}, stats["total"])

    def test_counters_outlive_deployments_and_objects(self) -> None:
        for _ in range(3):
            # Each change starts a process that counts from zero.
            self.serve((self.vips[0], self.nodes[0]), **SOME)
            self.expect(200, "POST", f"{self.path}/nodes", {"nodes": [{**NODE, "port": 9000}]})
            added = self.get(f"{self.path}/nodes")["nodes"][-1]["id"]
            self.expect(204, "DELETE", f"{self.path}/nodes/{added}")
        stats = self.stats()
        counted = {key: 3 * value for key, value in SOME.items()} | {"active_connections": 0}
        self.assertEqual({"id": self.vips[0], "status": "ONLINE", **counted}, stats["virtualIps"][0])
        self.assertEqual(counted, stats["total"])
        self.expect(204, "DELETE", f"{self.path}/virtualIps/{self.vips[0]}")
        stats = self.stats()
        self.assertEqual([self.vips[1]], [each["id"] for each in stats["virtualIps"]])
        self.assertEqual(counted, stats["total"])

    def test_asking_without_refresh_answers_what_was_seen(self) -> None:
        seen = self.stats()
        self.serve(self.vips, **SOME)
        time.sleep(0.01)
        again = self.stats("")
        self.assertEqual(NOTHING, again["total"])
        self.assertEqual(seen["observed_at"], again["observed_at"])
        self.assertGreater(again["age"], seen["age"])

    def test_a_node_that_dies_and_returns(self) -> None:
        self.assertEqual(["ONLINE"] * 4, self.operating())
        device = f"/devices/{self.device_id}"
        self.expect(200, "PUT", device, {"behaviour": f"dead:{self.nodes[1]}"})
        self.assertEqual(["DEGRADED", "ONLINE", "ONLINE", "ERROR"], self.operating())
        # What was asked of it has not changed.
        node = self.get(f"{self.path}/nodes/{self.nodes[1]}")["node"]
        self.assertEqual(("INSERVICE", "True"), (node["status"], node["deployed"]))
        self.assertEqual("ACTIVE", self.get(self.path)["loadbalancer"]["status"])
        self.expect(200, "PUT", device, {"behaviour": ""})
        self.assertEqual(["ONLINE"] * 4, self.operating())

    def test_what_was_asked_for_is_seen(self) -> None:
        for status, seen in (("drain", "DRAINING"), ("outofservice", "OFFLINE"), ("inservice", "ONLINE")):
            self.expect(200, "PUT", f"{self.path}/nodes/{self.nodes[0]}/{status}")
            self.assertEqual(["ONLINE", "ONLINE", seen, "ONLINE"], self.operating())
        (probe,) = self.get(f"{self.path}/healthMonitoring")["healthMonitoring"]
        self.expect(204, "DELETE", f"{self.path}/healthMonitoring/{probe['id']}")
        self.assertEqual(["ONLINE", "ONLINE", "NO_MONITOR", "NO_MONITOR"], self.operating())

    def test_it_cannot_be_set(self) -> None:
        self.stats()
        path = f"{self.path}/nodes/{self.nodes[0]}"
        node = self.expect(200, "PUT", path, {"operating_status": "ERROR", "weight": 3})["node"]
        self.assertEqual(("ONLINE", 3), (node["operating_status"], node["weight"]))

    def test_what_cannot_be_asked(self) -> None:
        self.refuse(404, "GET", f"{self.path.replace('/foo/', '/bar/')}/stats")
        self.refuse(404, "GET", f"{self.path.replace('/foo/', '/bar/')}/stats?refresh=1")
        self.refuse(404, "GET", f"/foo/loadbalancers/{NO_ID}/stats")
        self.refuse(404, "GET", "/foo/loadbalancers/x/stats?refresh=1")
        self.refuse(400, "GET", f"{self.path}/stats?refresh=often", field="refresh")
        self.refuse(405, "POST", f"{self.path}/stats", {})

    def test_a_refresh_does_not_wait_for_a_device_in_maintenance(self) -> None:
        self.expect(200, "PUT", f"/devices/{self.device_id}", {"admin_state": "MAINTENANCE"})
        started = time.monotonic()
        self.stats()
        self.assertLess(time.monotonic() - started, 10)


class TestWithoutWorker(ApiCase):
    worker = False

    def test_never_looked_at(self) -> None:
        self.register()
        path = self.create(nodes=[NODE], virtualIps=[VIRTUAL_IP])
        stats = self.get(f"{path}/stats?refresh=1")["stats"]
        self.assertEqual((None, None, None), (stats["observed_at"], stats["age"], stats["status"]))
        self.assertEqual(NOTHING, stats["total"])
