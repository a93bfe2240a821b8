"""What load balancers and devices tell about themselves while a device misbehaves."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace
from typing import Any

from tests.functional.case import LOAD_BALANCER, NO_ID, NODE, VIRTUAL_IP, ApiCase


class TestStatus(ApiCase):
    def wait_for(self, path: str, key: str, value: Any) -> dict[str, Any]:
        """The object once it has that value."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            (shown,) = self.get(path).values()
            if shown[key] == value:
                found: dict[str, Any] = shown
                return found
            time.sleep(0.02)
        self.fail(f"{path} has {key} {shown[key]!r}, not {value!r}")

    def test_the_device_refuses_everything(self) -> None:
        device = f"/devices/{self.register(behaviour='broken')}"
        answer = self.expect(202, "POST", "/foo/loadbalancers", {**LOAD_BALANCER, "nodes": [NODE]})["loadbalancer"]
        self.assertEqual("ERROR", answer["status"])
        self.assertIn("broken", answer["status_reason"])
        path = f"/foo/loadbalancers/{answer['id']}"
        shown = self.get(path)["loadbalancer"]
        self.assertEqual(("ERROR", "False"), (shown["status"], shown["deployed"]))
        self.assertEqual(answer["status_reason"], shown["status_reason"])
        self.assertEqual("False", self.get(f"{path}/nodes")["nodes"][0]["deployed"])
        self.assertEqual("ERROR", self.get(device)["device"]["status"])
        self.assertIn("broken", self.get(f"{device}/info")["device"]["deployment_error"])
        # A change of the device is a reason to try again.
        self.expect(200, "PUT", device, {"behaviour": ""})
        self.wait_for(path, "status", "ACTIVE")

    def test_a_retry_by_hand(self) -> None:
        device_id = self.register(behaviour="broken")
        path = self.create()
        revision = self.get(f"/devices/{device_id}/info")["device"]["desired_revision"]
        # The host is mended, which the service cannot know.
        with self.repository.write() as tx:
            tx.save_device(replace(tx.device(device_id), extras={}))
        self.assertEqual("ERROR", self.get(path)["loadbalancer"]["status"])
        self.assertEqual(device_id, self.expect(200, "POST", f"/devices/{device_id}/retry")["device"]["id"])
        self.wait_for(path, "status", "ACTIVE")
        self.assertGreater(self.get(f"/devices/{device_id}/info")["device"]["desired_revision"], revision)
        self.refuse(404, "POST", f"/devices/{NO_ID}/retry")

    def test_the_device_refuses_one(self) -> None:
        device = f"/devices/{self.register()}"
        good, bad = self.create(), self.create(virtualIps=[VIRTUAL_IP])
        self.expect(200, "PUT", device, {"behaviour": f"reject:{bad.rpartition('/')[2]}"})
        answer = self.expect(202, "PUT", bad, {"name": "new"})["loadbalancer"]
        self.assertEqual("ERROR", answer["status"])
        self.assertIn("refuse", answer["status_reason"])
        self.assertEqual("ACTIVE", self.get(good)["loadbalancer"]["status"])
        self.assertEqual("ONLINE", self.get(device)["device"]["status"])
        self.expect(200, "PUT", device, {"behaviour": ""})
        self.wait_for(bad, "status", "ACTIVE")

    def test_the_device_cannot_be_reached(self) -> None:
        device = f"/devices/{self.register(behaviour='unreachable')}"
        self.wait_for(device, "status", "UNREACHABLE")
        self.assertIn("unreachable", self.get(device)["device"]["status_reason"])
        self.assertIs(False, self.get(f"{device}/info")["device"]["reachable"])
        answer = self.call("POST", "/foo/loadbalancers", LOAD_BALANCER, headers={"Prefer": "respond-async"})
        self.assertEqual((202, "BUILD"), (answer.status, answer.json["loadbalancer"]["status"]))
        path = f"/foo/loadbalancers/{answer.json['loadbalancer']['id']}"
        self.expect(200, "PUT", device, {"behaviour": ""})
        self.wait_for(path, "status", "ACTIVE")
        self.wait_for(device, "status", "ONLINE")

    def test_what_a_deployment_waits_for(self) -> None:
        device = f"/devices/{self.register(behaviour='busy')}"
        answer = self.call("POST", "/foo/loadbalancers", LOAD_BALANCER, headers={"Prefer": "respond-async"})
        path = f"/foo/loadbalancers/{answer.json['loadbalancer']['id']}"
        self.wait_for(path, "status_reason", "It waits: the device in memory pretends to be busy.")
        self.assertEqual("BUILD", self.get(path)["loadbalancer"]["status"])
        shown = self.get(f"{device}/info")["device"]
        self.assertEqual(("ONLINE", None, None), (shown["status"], shown["deployment_error"], shown["last_deployment"]))
        self.assertIn("a deployment waits: the device in memory pretends to be busy", shown["status_reason"])
        self.expect(200, "PUT", device, {"behaviour": ""})
        self.wait_for(path, "status", "ACTIVE")
        self.assertEqual("", self.get(path)["loadbalancer"]["status_reason"])
        self.assertNotIn("waits", self.get(f"{device}/info")["device"]["status_reason"])

    def test_a_real_driver_and_a_closed_port(self) -> None:
        with socket.socket() as closed:
            # Bound, so that nobody else takes it, but not listening.
            closed.bind(("127.0.0.1", 0))
            port = closed.getsockname()[1]
            device = f"/devices/{self.register(type='HAPROXY', ip='127.0.0.1', port=port)}"
            info = self.get(f"{device}/info?refresh=1")["device"]
            self.assertEqual(("UNREACHABLE", False), (info["status"], info["reachable"]))
            self.assertIn(str(port), info["status_reason"])
            answer = self.call("POST", "/foo/loadbalancers", LOAD_BALANCER, headers={"Prefer": "respond-async"})
            self.assertEqual((202, "BUILD"), (answer.status, answer.json["loadbalancer"]["status"]))

    def test_a_device_in_maintenance(self) -> None:
        device = f"/devices/{self.register()}"
        path = self.create()
        self.expect(200, "PUT", device, {"admin_state": "MAINTENANCE"})
        answer = self.call("PUT", path, {"algorithm": "HASH_URI"}, headers={"Prefer": "respond-async"})
        self.assertEqual("PENDING_UPDATE", answer.json["loadbalancer"]["status"])
        self.assertIn("maintenance", answer.json["loadbalancer"]["status_reason"])
        self.expect(200, "PUT", device, {"admin_state": "ENABLED"})
        self.wait_for(path, "status", "ACTIVE")

    def test_nobody_waits_for_a_device_in_maintenance(self) -> None:
        device = f"/devices/{self.register()}"
        path, other = self.create(), self.create()
        self.expect(200, "PUT", device, {"admin_state": "MAINTENANCE"})
        began = time.monotonic()
        answer = self.expect(202, "PUT", path, {"algorithm": "HASH_URI"})["loadbalancer"]
        self.assertEqual(
            ("PENDING_UPDATE", "The device is in maintenance."), (answer["status"], answer["status_reason"])
        )
        node = self.expect(200, "POST", f"{path}/nodes", {"nodes": [NODE]})["nodes"][0]
        self.assertEqual("False", node["deployed"])
        self.expect(204, "DELETE", other)
        self.assertEqual(404, self.call("GET", other).status)
        # Of the ten seconds that each of the three could have waited for a deployment.
        self.assertLess(time.monotonic() - began, 5)
        self.expect(200, "PUT", device, {"admin_state": "ENABLED"})
        self.wait_for(path, "status", "ACTIVE")

    def test_maintenance_ends_the_waiting(self) -> None:
        device_id = self.register(behaviour="unreachable")
        self.wait_for(f"/devices/{device_id}", "status", "UNREACHABLE")
        resting = {"admin_state": "MAINTENANCE"}
        later = threading.Timer(0.3, self.expect, (200, "PUT", f"/devices/{device_id}", resting))
        later.start()
        self.addCleanup(later.join)
        began = time.monotonic()
        answer = self.expect(202, "POST", "/foo/loadbalancers", LOAD_BALANCER)["loadbalancer"]
        self.assertLess(time.monotonic() - began, 5)
        self.assertEqual(("BUILD", "The device is in maintenance."), (answer["status"], answer["status_reason"]))
