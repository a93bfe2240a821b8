"""Devices: what an administrator registers."""

from __future__ import annotations

import time
from typing import cast

from balancer.drivers.fake import FakeDriver
from tests.functional.case import DEVICE, LOAD_BALANCER, NO_ID, NODE, VIRTUAL_IP, ApiCase
from tests.integration.running import eventually


class TestRegistration(ApiCase):
    def test_the_reply_is_what_was_sent_with_the_defaults(self) -> None:
        device = self.expect(200, "POST", "/devices", DEVICE)["device"]
        for key, value in DEVICE.items():
            self.assertEqual(value, device[key], key)
        defaults = {"supports_ipv6": 0, "requires_vip_ip": 1, "has_acl": 1, "supports_vlan": 1}
        for key, value in {**defaults, "admin_state": "ENABLED"}.items():
            self.assertEqual(value, device[key], key)
        self.assertRegex(device["id"], "^[0-9a-f]{32}$")
        self.assertRegex(device["created_at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")

    def test_secrets_are_shown_once(self) -> None:
        for secret, value in (("password", "hush"), ("private_key", "-----BEGIN\nhush\n-----END\n")):
            body = {key: text for key, text in DEVICE.items() if key != "password"}
            answer = self.call("POST", "/devices", {**body, "ip": f"{secret}.example.org", secret: value})
            self.assertEqual(200, answer.status, answer.json)
            device = answer.json["device"]
            self.assertEqual(value, device[secret])
            for path in ("/devices", f"/devices/{device['id']}", f"/devices/{device['id']}/info"):
                self.assertNotIn("hush", str(self.get(path)), path)
            self.assertEqual("***", self.get(f"/devices/{device['id']}")["device"][secret])
            with self.repository.read() as tx:
                self.assertNotIn("hush", str(tx.device(device["id"]).extras))

    def test_extras_and_spellings_come_back_as_sent(self) -> None:
        sent = {
            "ip": "2001:DB8:0::1",
            "port": 2222,
            "supports_ipv6": "1",
            "has_acl": 0,
            "capabilities": {"algorithms": "RoundRobin", "protocols": ["http", "TCP"]},
            "rack": {"row": 7, "units": [1, 2.5, None, True]},
            "Größe": "1 HE",
        }
        path = f"/devices/{self.register(**sent)}"
        for _ in range(2):
            device = self.get(path)["device"]
            for key, value in sent.items():
                self.assertEqual(value, device[key], key)

    def test_a_device_that_cannot_be_reached_is_registered_all_the_same(self) -> None:
        device_id = self.register()
        self.assertIn(self.get(f"/devices/{device_id}")["device"]["status"], ("UNKNOWN", "ONLINE"))

    def test_the_type_must_be_a_driver(self) -> None:
        message = self.refuse(400, "POST", "/devices", {**DEVICE, "type": "ACME"}, field="type")
        self.assertIn("DUMMY", message)

    def test_the_same_host_port_and_file_twice(self) -> None:
        self.register()
        self.refuse(409, "POST", "/devices", DEVICE, field="ip")
        self.register(port=23)


class TestDevice(ApiCase):
    def test_list_show_and_delete(self) -> None:
        self.assertEqual({"devices": []}, self.get("/devices"))
        one, other = self.register(), self.register(name="HAP-002", ip="192.0.2.11")
        listed = self.get("/devices")["devices"]
        self.assertEqual({one, other}, {device["id"] for device in listed})
        self.assertEqual(
            self.get(f"/devices/{one}")["device"], next(device for device in listed if device["id"] == one)
        )
        self.assertIsNone(self.expect(204, "DELETE", f"/devices/{one}"))
        self.refuse(404, "GET", f"/devices/{one}")
        self.assertEqual([other], [device["id"] for device in self.get("/devices")["devices"]])

    def test_every_spelling_of_the_id(self) -> None:
        plain = self.register()
        dashed = "-".join((plain[:8], plain[8:12], plain[12:16], plain[16:20], plain[20:]))
        for spelling in (plain, plain.upper(), dashed, dashed.upper()):
            self.assertEqual(plain, self.get(f"/devices/{spelling}")["device"]["id"])
        for wrong in (NO_ID, "1", plain[:-1], f"{{{dashed}}}", f"urn:uuid:{dashed}", plain + "%0A", "%00"):
            self.assertIn(self.call("GET", f"/devices/{wrong}").status, (400, 404), wrong)

    def test_the_old_client_puts_its_project_before_everything(self) -> None:
        device_id = self.register()
        for path in ("/devices", f"/devices/{device_id}", "/algorithms", "/protocols"):
            self.assertEqual(self.get(path), self.get(f"/foo{path}"))
        self.expect(204, "DELETE", f"/foo/devices/{device_id}")

    def test_change(self) -> None:
        path = f"/devices/{self.register(rack='7', capabilities={'algorithms': ['RoundRobin'], 'protocols': 'TCP'})}"
        changed = self.expect(200, "PUT", path, {"name": "new", "port": "23", "admin_state": "drained", "row": 1})
        device = changed["device"]
        expected = {"name": "new", "port": "23", "admin_state": "drained", "rack": "7", "row": 1, "password": "***"}
        for key, value in expected.items():
            self.assertEqual(value, device[key], key)
        self.assertEqual({"algorithms": ["RoundRobin"], "protocols": "TCP"}, device["capabilities"])
        wider = {"algorithms": ["RoundRobin", "LEAST_CONNECTION"], "protocols": ["TCP"]}
        self.assertEqual(wider, self.expect(200, "PUT", path, {"capabilities": wider})["device"]["capabilities"])
        self.assertNotIn(
            "capabilities",
            {k: v for k, v in self.expect(200, "PUT", path, {"capabilities": None})["device"].items() if v},
        )

    def test_what_was_shown_can_be_sent_back(self) -> None:
        path = f"/devices/{self.register(ip='2001:DB8::1', rack=[1])}"
        before = self.get(path)["device"]
        self.expect(200, "PUT", path, before)
        after = self.get(path)["device"]
        for volatile in ("updated_at", "status", "status_reason"):
            before.pop(volatile), after.pop(volatile)
        self.assertEqual(before, after)
        with self.repository.read() as tx:
            stored = tx.devices()[0].endpoint.credential.password
        self.assertEqual(DEVICE["password"], self.secrets.open(stored or ""))

    def test_another_secret_replaces_the_present_one(self) -> None:
        path = f"/devices/{self.register()}"
        self.assertNotIn("password", self.expect(200, "PUT", path, {"key_filename": "/etc/balancer/key"})["device"])
        self.refuse(400, "PUT", path, {"key_filename": None}, field="password")

    def test_info(self) -> None:
        device_id = self.register()
        self.expect(202, "POST", "/foo/loadbalancers", {**LOAD_BALANCER, "nodes": [NODE], "virtualIps": [VIRTUAL_IP]})
        info = self.get(f"/devices/{device_id}/info")["device"]
        self.assertEqual(device_id, info["id"])
        self.assertTrue(info["reachable"])
        self.assertEqual(info["desired_revision"], info["applied_revision"])
        self.assertGreaterEqual(info["age"], 0)
        self.assertLess(info["age"], 60)
        listed = self.get(f"/devices/{device_id}/deployments")["deployments"]
        self.assertEqual(listed[0], info["last_deployment"])

    def test_info_anew(self) -> None:
        path = f"/devices/{self.register()}"
        first = self.get(f"{path}/info?refresh=1")["device"]
        self.assertTrue(first["reachable"])
        self.expect(200, "PUT", path, {"behaviour": "unreachable"})
        started = time.monotonic()
        info = self.get(f"{path}/info?refresh=1")["device"]
        self.assertEqual((False, "UNREACHABLE"), (info["reachable"], info["status"]))
        self.assertLess(info["age"], time.monotonic() - started + 1)
        self.refuse(400, "GET", f"{path}/info?refresh=perhaps", field="refresh")
        self.refuse(404, "GET", f"/devices/{NO_ID}/info?refresh=1")

    def test_an_edit_behind_the_services_back_is_shown_and_put_right_by_a_resync(self) -> None:
        device_id = self.register()
        balancer = self.create(nodes=[NODE], virtualIps=[VIRTUAL_IP])
        for prefix in ("", "/foo"):
            self.resynced(f"{prefix}/devices/{device_id}", device_id, balancer.rpartition("/")[2])
        self.refuse(404, "POST", f"/devices/{NO_ID}/resync")

    def resynced(self, path: str, device_id: str, lb_id: str) -> None:
        driver = cast(FakeDriver, self.registry.driver_for("dummy"))
        text, count = driver.running(device_id)[lb_id], driver.deployments(device_id)
        self.assertIsNone(self.get(f"{path}/info?refresh=1")["device"]["drift"])
        driver.edit(device_id, lb_id, f"{text}by hand\n")
        info = self.get(f"{path}/info?refresh=1")["device"]
        self.assertEqual("the device in memory was edited", info["drift"]["reason"])
        self.assertIn("\n+by hand\n", info["drift"]["diff"])
        self.assertEqual("ONLINE", info["status"])
        self.assertIn("edited", info["status_reason"])
        self.assertEqual("reload", self.expect(200, "POST", f"{path}/resync?dry_run=1")["dry_run"]["plan"])
        self.assertIn("by hand", driver.running(device_id)[lb_id])
        self.assertEqual(device_id, self.expect(200, "POST", f"{path}/resync")["device"]["id"])
        eventually(lambda: driver.running(device_id)[lb_id] == text, "put right")
        eventually(lambda: self.get(f"{path}/info")["device"]["drift"] is None, "nothing is shown any more")
        self.assertEqual(count + 1, driver.deployments(device_id))
        # What seems to be right already is done all the same.
        self.expect(200, "POST", f"{path}/resync")
        eventually(lambda: driver.deployments(device_id) == count + 2, "done again")

    def test_adopt(self) -> None:
        device_id = self.register()
        self.assertEqual(device_id, self.expect(200, "POST", f"/devices/{device_id}/adopt")["device"]["id"])
        self.refuse(404, "POST", f"/devices/{NO_ID}/adopt")


class TestRemoval(ApiCase):
    def test_a_device_in_use_stays(self) -> None:
        device_id = self.register()
        balancer = self.create()
        self.refuse(409, "DELETE", f"/devices/{device_id}")
        self.refuse(400, "DELETE", f"/devices/{device_id}?force=maybe", field="force")
        self.get(balancer)

    def test_a_device_in_use_keeps_its_type(self) -> None:
        path = f"/devices/{self.register()}"
        balancer = self.create()
        message = self.refuse(409, "PUT", path, {"type": "HAPROXY"}, field="type")
        self.assertIn("1 load balancer", message)
        # The same in other letters is no change.
        self.expect(200, "PUT", path, {"type": "DUMMY"})
        self.expect(204, "DELETE", balancer)
        self.wait_for_the_worker()
        self.assertEqual("HAPROXY", self.expect(200, "PUT", path, {"type": "HAPROXY"})["device"]["type"])

    def test_by_force_with_what_is_on_it(self) -> None:
        device_id = self.register()
        balancer = self.create(nodes=[NODE], virtualIps=[VIRTUAL_IP], healthMonitor=[{"type": "TCP"}])
        self.expect(204, "DELETE", f"/devices/{device_id}?force=1")
        self.refuse(404, "GET", balancer)
        self.assertEqual({"loadbalancers": []}, self.get("/foo/loadbalancers"))


class TestOffers(ApiCase):
    worker = False

    def test_nothing_without_devices(self) -> None:
        self.assertEqual({"algorithms": []}, self.get("/algorithms"))
        self.assertEqual({"protocols": []}, self.get("/protocols"))

    def test_the_union_without_duplicates(self) -> None:
        self.register(capabilities={"algorithms": ["RoundRobin", "SOURCE_IP"], "protocols": ["TCP", "HTTP"]})
        self.register(ip="192.0.2.11", capabilities={"algorithms": ["ROUND_ROBIN"], "protocols": "HTTPS"})
        self.assertEqual({"ROUND_ROBIN", "HASH_SOURCE"}, set(self.get("/algorithms")["algorithms"]))
        self.assertEqual(2, len(self.get("/algorithms")["algorithms"]))
        self.assertEqual(["HTTP", "HTTPS", "TCP"], sorted(self.get("/protocols")["protocols"]))

    def test_a_device_without_capabilities_has_its_drivers(self) -> None:
        self.register()
        expected = {"ROUND_ROBIN", "STATIC_RR", "LEAST_CONNECTION", "HASH_SOURCE", "HASH_URI"}
        self.assertLessEqual(expected, set(self.get("/algorithms")["algorithms"]))
        self.assertLessEqual({"HTTP", "HTTPS", "TCP"}, set(self.get("/protocols")["protocols"]))

    def test_whatever_is_offered_can_be_asked_for(self) -> None:
        self.register()
        for algorithm in self.get("/algorithms")["algorithms"]:
            self.expect(202, "POST", "/foo/loadbalancers", {"protocol": "TCP", "algorithm": algorithm})
        for protocol in self.get("/protocols")["protocols"]:
            self.expect(202, "POST", "/foo/loadbalancers", {"protocol": protocol})
