"""LBaaS v2: objects made, shown, changed and deleted."""

from __future__ import annotations

import re
from typing import Any

from tests.functional.lbaas_v2 import NO_UUID, NOTHING_COUNTED, V2, Body, LbaasCase

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
LOAD_BALANCER_KEYS = [
    *("id", "name", "description", "provisioning_status", "operating_status", "admin_state_up", "project_id"),
    *("tenant_id", "created_at", "updated_at", "vip_address", "vip_port_id", "vip_subnet_id", "vip_network_id"),
    *("vip_qos_policy_id", "additional_vips", "listeners", "pools", "provider", "flavor_id", "availability_zone"),
    "tags",
]


class TestVersions(LbaasCase):
    worker = False

    def test_the_document_announces_what_is_known(self) -> None:
        versions = self.get("/")["versions"]
        ours = [each for each in versions if each["id"].startswith("v2.")]
        self.assertEqual([f"v2.{minor}" for minor in range(27)], [each["id"] for each in ours])
        self.assertEqual(["v2.26"], [each["id"] for each in versions if each["status"] == "CURRENT"])
        for each in ours:
            self.assertEqual([{"rel": "self", "href": "http://localhost/v2"}], each["links"])
            self.assertRegex(each["updated"], TIME)


class TestPaths(LbaasCase):
    worker = False

    def test_spellings(self) -> None:
        balancer = self.add_balancer()
        shown = self.show(f"loadbalancers/{balancer['id']}", "loadbalancer")
        hexadecimal = balancer["id"].replace("-", "")
        for path in (
            f"/v2/lbaas/loadbalancers/{balancer['id']}",
            f"/v2.0/lbaas/loadbalancers/{balancer['id']}.json",
            f"/v2.0/lbaas/loadbalancers/{hexadecimal}/",
            f"/v2.0/lbaas/loadbalancers/{hexadecimal.upper()}",
        ):
            self.assertEqual(shown, self.get(path)["loadbalancer"])
        self.assertEqual([shown], self.get("/v2/lbaas/loadbalancers.json")["loadbalancers"])

    def test_what_there_is_not(self) -> None:
        for path in ("/v2.0/loadbalancers", "/v2.1/lbaas/loadbalancers", f"{V2}/nothing", f"{V2}/listeners/1/x"):
            answer = self.call("GET", path)
            self.assertEqual(404, answer.status)
            if not path.startswith("/v2.1"):
                self.fault(answer)
        self.assertEqual("Load Balancer web not found.", self.refused(404, "GET", "loadbalancers/web"))
        self.assertEqual(f"Pool {NO_UUID} not found.", self.refused(404, "GET", f"pools/{NO_UUID}"))
        answer = self.call("PATCH", f"{V2}/listeners")
        self.assertEqual((405, "GET, HEAD, POST"), (answer.status, answer.headers["Allow"]))

    def test_what_is_accepted(self) -> None:
        for accept, status in (
            ("application/json", 200),
            ("", 200),
            ("*/*", 200),
            ("text/html, application/*;q=0.5", 200),
            ("text/html", 406),
            ("application/json;q=0", 406),
        ):
            answer = self.call("GET", f"{V2}/loadbalancers", headers={"Accept": accept})
            self.assertEqual(status, answer.status, accept)
        (error,) = answer.json["errors"]
        self.assertEqual({"status", "title", "detail", "request_id"}, set(error))


class TestLoadBalancers(LbaasCase):
    def test_one_with_the_least(self) -> None:
        made = self.add_balancer()
        self.assertEqual(sorted(LOAD_BALANCER_KEYS), sorted(made))
        self.assertRegex(made["id"], f"^{UUID}$")
        self.assertEqual(
            ("PENDING_CREATE", "OFFLINE", None),
            (made["provisioning_status"], made["operating_status"], made["updated_at"]),
        )
        self.assertEqual(("", "", True), (made["name"], made["description"], made["admin_state_up"]))
        self.assertEqual(("default", "default"), (made["project_id"], made["tenant_id"]))
        self.assertEqual("203.0.113.10", made["vip_address"])
        self.assertRegex(made["vip_port_id"], f"^{UUID}$")
        self.assertEqual((self.subnet_id, self.network_id), (made["vip_subnet_id"], made["vip_network_id"]))
        self.assertEqual(([], [], [], []), (made["listeners"], made["pools"], made["tags"], made["additional_vips"]))
        self.assertEqual("dummy", made["provider"])
        for unset in ("flavor_id", "availability_zone", "vip_qos_policy_id"):
            self.assertIsNone(made[unset])
        shown = self.settled(f"loadbalancers/{made['id']}", "loadbalancer")
        self.assertEqual("ACTIVE", shown["provisioning_status"])
        self.assertRegex(shown["created_at"], f"^{TIME}$")
        self.assertRegex(shown["updated_at"], f"^{TIME}$")
        volatile = ("provisioning_status", "operating_status", "updated_at")
        self.assertEqual(*({k: v for k, v in each.items() if k not in volatile} for each in (made, shown)))

    def test_all_attributes(self) -> None:
        wanted: Body = {
            "name": "näme",
            "description": "d" * 255,
            "admin_state_up": False,
            "vip_address": "203.0.113.77",
            "vip_subnet_id": self.subnet_id,
            "vip_network_id": self.network_id,
            "provider": "dummy",
            "project_id": "p1",
            "tags": ["b", "a"],
        }
        made = self.post("loadbalancers", "loadbalancer", **wanted)
        self.assertEqual(wanted, {key: made[key] for key in wanted})
        self.assertEqual("p1", made["tenant_id"])
        path = f"loadbalancers/{made['id']}"
        changes: Body = {"name": "new", "description": None, "admin_state_up": "True", "tags": []}
        changed = self.put(path, "loadbalancer", **changes)
        self.assertEqual(("new", "", True, []), tuple(changed[key] for key in changes))
        self.assertIn(changed["provisioning_status"], ("PENDING_UPDATE", "PENDING_CREATE"))
        self.assertEqual("203.0.113.77", self.settled(path, "loadbalancer")["vip_address"])
        self.remove(path)

    def test_addresses(self) -> None:
        six = self.add_balancer(vip_subnet_id=self.subnet6_id, vip_address="2001:DB8::aa")
        self.assertEqual("2001:db8::aa", six["vip_address"])
        by_network = self.post("loadbalancers", "loadbalancer", vip_network_id=self.network_id)
        self.assertEqual("203.0.113.10", by_network["vip_address"])
        both = self.add_balancer(additional_vips=[{"subnet_id": self.subnet6_id}])
        ((more),) = both["additional_vips"]
        self.assertEqual(("2001:db8::10", self.subnet6_id), (more["ip_address"], more["subnet_id"]))
        for fields in (
            {},
            {"vip_address": "203.0.113.20"},
            {"vip_subnet_id": NO_UUID},
            {"vip_port_id": NO_UUID},
            {"vip_subnet_id": self.subnet_id, "vip_address": "192.0.2.1"},
            {"vip_subnet_id": self.subnet_id, "vip_address": "nonsense"},
            {"vip_subnet_id": self.subnet_id, "additional_vips": [{"subnet_id": self.subnet_id}]},
        ):
            with self.subTest(fields):
                self.refused(400, "POST", "loadbalancers", {"loadbalancer": fields})

    def test_statistics_and_the_status_tree(self) -> None:
        balancer = self.add_balancer(name="lb")
        path = f"loadbalancers/{balancer['id']}"
        self.assertEqual({"stats": NOTHING_COUNTED}, self.get(f"{V2}/{path}/stats"))
        self.assertEqual([], self.show(f"{path}/status", "statuses")["loadbalancer"]["listeners"])
        pool = self.add_pool(loadbalancer_id=balancer["id"], name="pool")
        listener = self.add_listener(balancer, default_pool_id=pool["id"], name="listener")
        member = self.add_member(pool, name="member")
        monitor = self.add_monitor(pool, name="monitor")
        self.assertEqual({"stats": NOTHING_COUNTED}, self.get(f"{V2}/listeners/{listener['id']}/stats"))
        self.settled(path, "loadbalancer")
        tree = self.get(f"{V2}/{path}/status")
        self.assertEqual(tree, self.get(f"{V2}/{path}/statuses"))
        self.assertEqual(["loadbalancer"], list(tree["statuses"]))
        node = tree["statuses"]["loadbalancer"]
        common = {"id", "name", "operating_status", "provisioning_status"}
        self.assertEqual(common | {"listeners"}, set(node))
        self.assertEqual((balancer["id"], "lb", "ACTIVE"), (node["id"], node["name"], node["provisioning_status"]))
        (of_listener,) = node["listeners"]
        self.assertEqual((common | {"pools"}, listener["id"]), (set(of_listener), of_listener["id"]))
        (of_pool,) = of_listener["pools"]
        self.assertEqual((common | {"health_monitor", "members"}, pool["id"]), (set(of_pool), of_pool["id"]))
        self.assertEqual(
            (common | {"type"}, monitor["id"]), (set(of_pool["health_monitor"]), of_pool["health_monitor"]["id"])
        )
        (of_member,) = of_pool["members"]
        self.assertEqual((common | {"address", "protocol_port"}, member["id"]), (set(of_member), of_member["id"]))

    def test_deleting(self) -> None:
        balancer = self.add_balancer()
        path = f"loadbalancers/{balancer['id']}"
        pool = self.add_pool(loadbalancer_id=balancer["id"])
        self.refused_deletion(path)
        self.remove(path, query="?cascade=true")
        self.refused(404, "GET", f"pools/{pool['id']}")
        self.refused(404, "DELETE", path)

    def refused_deletion(self, path: str) -> None:
        before = self.show(path, "loadbalancer")
        answer = self.call("DELETE", f"{V2}/{path}?cascade=no")
        self.assertEqual(400, answer.status)
        self.assertIn("cascade", self.fault(answer))
        self.assertEqual(before["pools"], self.show(path, "loadbalancer")["pools"])

    def test_of_what_type_devices_must_be(self) -> None:
        self.assertEqual("dummy", self.add_balancer(provider="octavia")["provider"])
        self.assertEqual("dummy", self.add_balancer(provider="DUMMY")["provider"])
        haproxy = {"loadbalancer": {"vip_subnet_id": self.subnet_id, "provider": "haproxy"}}
        self.assertIn("haproxy", self.refused(503, "POST", "loadbalancers", haproxy))


class TestStatuses(LbaasCase):
    """Of parts: only what was not deployed yet is pending."""

    def test_of_a_device_that_does_not_answer(self) -> None:
        balancer = self.add_balancer()
        pool = self.add_pool(loadbalancer_id=balancer["id"])
        old = self.add_member(pool)
        path = f"loadbalancers/{balancer['id']}"
        self.settled(path, "loadbalancer")
        self.expect(200, "PUT", f"/devices/{self.device_id}", {"behaviour": "unreachable"})
        new = self.add_member(pool, address="198.51.100.2")
        self.assertEqual("PENDING_CREATE", new["provisioning_status"])
        members = f"pools/{pool['id']}/members"
        self.assertEqual("ACTIVE", self.show(f"{members}/{old['id']}", "member")["provisioning_status"])
        for kind, key in ((path, "loadbalancer"), (f"pools/{pool['id']}", "pool")):
            self.assertEqual("PENDING_UPDATE", self.show(kind, key)["provisioning_status"])
        # What is pending can be changed further, at once.
        changed = self.put(f"{members}/{old['id']}", "member", weight=7)
        self.assertEqual(("PENDING_UPDATE", 7), (changed["provisioning_status"], changed["weight"]))
        self.expect(200, "PUT", f"/devices/{self.device_id}", {"behaviour": ""})
        for each in (old, new):
            self.assertEqual("ACTIVE", self.settled(f"{members}/{each['id']}", "member")["provisioning_status"])
        self.assertEqual("ACTIVE", self.settled(path, "loadbalancer")["provisioning_status"])

    def test_of_a_device_that_refuses(self) -> None:
        balancer = self.add_balancer()
        pool = self.add_pool(loadbalancer_id=balancer["id"])
        good = self.add_member(pool)
        path = f"loadbalancers/{balancer['id']}"
        self.settled(path, "loadbalancer")
        refuses = f"reject:{balancer['id'].replace('-', '')}"
        self.expect(200, "PUT", f"/devices/{self.device_id}", {"behaviour": refuses})
        bad = self.add_member(pool, address="198.51.100.2")
        members = f"pools/{pool['id']}/members"
        self.assertEqual("ERROR", self.settled(path, "loadbalancer")["provisioning_status"])
        self.assertEqual("ERROR", self.show(f"{members}/{bad['id']}", "member")["provisioning_status"])
        self.assertEqual("ACTIVE", self.show(f"{members}/{good['id']}", "member")["provisioning_status"])
        # The way out is a change, which is never refused for the state.
        self.expect(200, "PUT", f"/devices/{self.device_id}", {"behaviour": ""})
        self.remove(f"{members}/{bad['id']}")
        self.assertEqual("ACTIVE", self.settled(path, "loadbalancer")["provisioning_status"])

    def test_operating(self) -> None:
        balancer = self.add_balancer()
        listener = self.add_listener(balancer)
        pool = self.add_pool(listener_id=listener["id"])
        unused = self.add_pool(loadbalancer_id=balancer["id"])
        self.look()
        plain = self.add_member(pool)
        off = self.add_member(pool, address="198.51.100.2", admin_state_up=False)
        self.assertEqual(["OFFLINE"] * 3, [each["operating_status"] for each in (balancer, listener, pool)])
        self.assertEqual(["NO_MONITOR", "OFFLINE"], [each["operating_status"] for each in (plain, off)])
        self.settled(f"loadbalancers/{balancer['id']}", "loadbalancer")
        self.look()
        members = f"pools/{pool['id']}/members"

        def seen(path: str, key: str) -> str:
            status: str = self.show(path, key)["operating_status"]
            return status

        self.assertEqual("ONLINE", seen(f"loadbalancers/{balancer['id']}", "loadbalancer"))
        self.assertEqual("ONLINE", seen(f"listeners/{listener['id']}", "listener"))
        self.assertEqual("ONLINE", seen(f"pools/{pool['id']}", "pool"))
        self.assertEqual("OFFLINE", seen(f"pools/{unused['id']}", "pool"))
        self.assertEqual("NO_MONITOR", seen(f"{members}/{plain['id']}", "member"))
        self.assertEqual("OFFLINE", seen(f"{members}/{off['id']}", "member"))
        monitor = self.add_monitor(pool)
        self.assertEqual("OFFLINE", monitor["operating_status"])
        self.settled(f"loadbalancers/{balancer['id']}", "loadbalancer")
        self.look()
        self.assertEqual("ONLINE", seen(f"{members}/{plain['id']}", "member"))
        self.assertEqual("ONLINE", seen(f"healthmonitors/{monitor['id']}", "healthmonitor"))
        changed = self.put(f"healthmonitors/{monitor['id']}", "healthmonitor", admin_state_up=False)
        self.assertEqual("OFFLINE", changed["operating_status"])
        self.put(f"{members}/{plain['id']}", "member", weight=0)
        self.settled(f"loadbalancers/{balancer['id']}", "loadbalancer")
        self.look()
        self.assertEqual("DRAINING", seen(f"{members}/{plain['id']}", "member"))
        self.remove(f"healthmonitors/{monitor['id']}")
        self.assertEqual("NO_MONITOR", seen(f"{members}/{plain['id']}", "member"))

    def look(self) -> None:
        self.get(f"/devices/{self.device_id}/info?refresh=1")


class TestListeners(LbaasCase):
    worker = False

    def setUp(self) -> None:
        super().setUp()
        self.balancer = self.add_balancer()

    def refuse_listener(self, status: int, **fields: Any) -> str:
        values = {"loadbalancer_id": self.balancer["id"], "protocol": "HTTP", "protocol_port": 80}
        return self.refused(status, "POST", "listeners", {"listener": {**values, **fields}})

    def test_one_with_the_least(self) -> None:
        made = self.add_listener(self.balancer)
        expected: Body = {
            "name": "",
            "description": "",
            "admin_state_up": True,
            "provisioning_status": "PENDING_CREATE",
            "operating_status": "OFFLINE",
            "protocol": "HTTP",
            "protocol_port": 80,
            "connection_limit": -1,
            "default_tls_container_ref": None,
            "sni_container_refs": [],
            "project_id": "default",
            "tenant_id": "default",
            "default_pool_id": None,
            "l7policies": [],
            "insert_headers": {},
            "updated_at": None,
            "loadbalancers": [{"id": self.balancer["id"]}],
            "timeout_client_data": 50000,
            "timeout_member_connect": 5000,
            "timeout_member_data": 50000,
            "timeout_tcp_inspect": 0,
            "tags": [],
            "client_ca_tls_container_ref": None,
            "client_authentication": "NONE",
            "client_crl_container_ref": None,
            "allowed_cidrs": None,
            "tls_ciphers": None,
            "tls_versions": None,
            "alpn_protocols": None,
        }
        self.assertEqual(expected, {key: value for key, value in made.items() if key not in ("id", "created_at")})
        self.assertEqual(
            [{"id": made["id"]}], self.show(f"loadbalancers/{self.balancer['id']}", "loadbalancer")["listeners"]
        )
        self.assertEqual(made, self.show(f"listeners/{made['id']}", "listener"))

    def test_all_attributes(self) -> None:
        headers = {"X-Forwarded-For": "true", "X-Forwarded-Port": "true", "X-Forwarded-Proto": "true"}
        wanted: Body = {
            "name": "l",
            "description": "d",
            "admin_state_up": False,
            "connection_limit": 200,
            "insert_headers": headers,
            "timeout_client_data": 1000,
            "timeout_member_connect": 1000,
            "timeout_member_data": 1000,
            "timeout_tcp_inspect": 50,
            "allowed_cidrs": ["192.0.2.0/24", "198.51.100.7/32"],
            "tags": [f"tag-{number}" for number in range(100)],
        }
        made = self.add_listener(self.balancer, **{**wanted, "allowed_cidrs": ["192.0.2.9/24", "198.51.100.7"]})
        self.assertEqual(wanted, {key: made[key] for key in wanted})
        path = f"listeners/{made['id']}"
        changes: Body = {
            "connection_limit": 201,
            "insert_headers": dict.fromkeys(headers, "false"),
            "timeout_client_data": 2000,
            "timeout_member_connect": "2000",
            "timeout_member_data": 2000,
            "timeout_tcp_inspect": 100,
            "allowed_cidrs": ["192.0.2.0/25"],
            "tags": ["new"],
            "admin_state_up": True,
        }
        changed = self.put(path, "listener", **changes)
        self.assertEqual({**changes, "timeout_member_connect": 2000}, {key: changed[key] for key in changes})
        # What is not named stays, and null is the default.
        self.assertEqual(changed | {"name": "x"}, self.put(path, "listener", name="x") | {"updated_at": None})
        nulls = self.put(path, "listener", **dict.fromkeys(changes))
        self.assertEqual((-1, {}, 50000, 5000, 50000, 0, None, [], False), tuple(nulls[key] for key in changes))
        self.assertEqual(nulls, self.put(path, "listener"))
        for immutable in ({"protocol": "HTTP"}, {"protocol_port": 80}, {"loadbalancer_id": self.balancer["id"]}):
            self.refused(400, "PUT", path, {"listener": immutable})
        self.remove(path)
        self.assertEqual(
            "203.0.113.10", self.show(f"loadbalancers/{self.balancer['id']}", "loadbalancer")["vip_address"]
        )

    def test_protocols(self) -> None:
        for number, protocol in enumerate(("HTTP", "HTTPS", "TCP", "UDP", "SCTP", "PROMETHEUS")):
            made = self.add_listener(self.balancer, protocol=protocol, protocol_port=1000 + number)
            self.assertEqual(protocol, made["protocol"])
        self.refuse_listener(400, protocol="http")
        self.assertIn("HTTP, HTTPS, TCP", self.refuse_listener(400, protocol="QUIC"))

    def test_tls_is_not_for_this_deployment(self) -> None:
        ref = "https://keys.example/v1/containers/1"
        for fields in (
            {"protocol": "TERMINATED_HTTPS", "default_tls_container_ref": ref},
            {"default_tls_container_ref": ref},
            {"sni_container_refs": [ref]},
            {"client_authentication": "MANDATORY"},
            {"client_ca_tls_container_ref": ref},
            {"client_crl_container_ref": ref},
            {"tls_ciphers": "ECDHE-ECDSA-AES128-GCM-SHA256"},
            {"tls_versions": ["TLSv1.3"]},
            {"alpn_protocols": ["h2"]},
        ):
            with self.subTest(fields):
                self.assertIn("not allowed in this deployment", self.refuse_listener(400, **fields))
        # Of later versions than the one that is announced.
        for name, value in (("hsts_max_age", 100), ("hsts_preload", True), ("hsts_include_subdomains", False)):
            self.assertIn(name, self.refuse_listener(400, **{name: value}))
        # What clients send that always send everything.
        empty: Body = {"default_tls_container_ref": None, "sni_container_refs": [], "client_authentication": "NONE"}
        self.add_listener(self.balancer, **empty)

    def test_one_port_of_each_transport(self) -> None:
        self.add_listener(self.balancer, protocol="TCP")
        self.add_listener(self.balancer, protocol="UDP")
        self.add_listener(self.balancer, protocol="SCTP")
        for protocol in ("TCP", "HTTP", "HTTPS", "UDP", "SCTP", "PROMETHEUS"):
            with self.subTest(protocol):
                self.refuse_listener(409, protocol=protocol)

    def test_headers(self) -> None:
        for protocol in ("TCP", "HTTPS", "UDP"):
            self.refuse_listener(400, protocol=protocol, insert_headers={"X-Forwarded-For": "true"})
        self.assertIn("X-Evil", self.refuse_listener(400, insert_headers={"X-Evil": "true"}))
        self.refuse_listener(400, insert_headers={"X-SSL-Client-CN": "true"})
        self.refuse_listener(400, insert_headers={"X-Forwarded-For": True})
        self.refuse_listener(400, insert_headers=["X-Forwarded-For"])

    def test_allowed_cidrs_are_of_the_addresses_kind(self) -> None:
        self.refuse_listener(400, allowed_cidrs=["192.0.2.0/24", "2001:db8::/32"])
        self.refuse_listener(400, allowed_cidrs=["192.0.2.0/33"])
        both = self.add_balancer(additional_vips=[{"subnet_id": self.subnet6_id}])
        cidrs = ["192.0.2.0/24", "2001:db8::/32"]
        self.assertEqual(cidrs, self.add_listener(both, allowed_cidrs=cidrs)["allowed_cidrs"])

    def test_default_pools(self) -> None:
        pool = self.add_pool(loadbalancer_id=self.balancer["id"])
        for port in (80, 81):
            self.assertEqual(
                pool["id"],
                self.add_listener(self.balancer, protocol_port=port, default_pool_id=pool["id"])["default_pool_id"],
            )
        self.assertEqual(2, len(self.show(f"pools/{pool['id']}", "pool")["listeners"]))
        elsewhere = self.add_pool(loadbalancer_id=self.add_balancer()["id"])
        for pool_id in (elsewhere["id"], self.balancer["id"]):
            self.assertIn(pool_id, self.refuse_listener(404, protocol_port=82, default_pool_id=pool_id))
        self.assertIn(
            "HTTPS", self.refuse_listener(400, protocol_port=82, protocol="HTTPS", default_pool_id=pool["id"])
        )
        self.refuse_listener(400, protocol_port=82, protocol="PROMETHEUS", default_pool_id=pool["id"])

    def test_bad_values(self) -> None:
        for fields in (
            {"protocol_port": 0},
            {"protocol_port": 65536},
            {"protocol_port": "eighty"},
            {"protocol_port": None},
            {"connection_limit": -2},
            {"connection_limit": "x"},
            {"timeout_client_data": -1},
            {"timeout_client_data": 2073600001},
            {"admin_state_up": "perhaps"},
            {"name": "n" * 256},
            {"name": 5},
            {"description": "d" * 256},
            {"tags": "a"},
            {"tags": [1]},
            {"loadbalancer_id": "x"},
            {"unknown": 1},
            {"provisioning_status": "ACTIVE"},
        ):
            with self.subTest(fields):
                text = self.refuse_listener(400, **fields)
                self.assertIn(next(iter(fields)), text)
        self.refuse_listener(404, loadbalancer_id=NO_UUID)
        bodies: tuple[Body, ...] = ({}, {"loadbalancer": {}}, {"listener": []}, {"listener": {}})
        for body in (*bodies, {"listener": {}, "more": 1}):
            self.refused(400, "POST", "listeners", body)
        # Text where a number or a word is meant is read as that.
        made = self.add_listener(self.balancer, protocol_port="443", connection_limit="5", admin_state_up="False")
        self.assertEqual((443, 5, False), (made["protocol_port"], made["connection_limit"], made["admin_state_up"]))


class TestPools(LbaasCase):
    worker = False

    def setUp(self) -> None:
        super().setUp()
        self.balancer = self.add_balancer()

    def refuse_pool(self, status: int, **fields: Any) -> str:
        values = {"loadbalancer_id": self.balancer["id"], "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
        values |= fields
        return self.refused(status, "POST", "pools", {"pool": {k: v for k, v in values.items() if v != "-"}})

    def test_one_with_the_least(self) -> None:
        made = self.add_pool(loadbalancer_id=self.balancer["id"])
        expected: Body = {
            "name": "",
            "description": "",
            "provisioning_status": "PENDING_CREATE",
            "operating_status": "OFFLINE",
            "admin_state_up": True,
            "protocol": "HTTP",
            "lb_algorithm": "ROUND_ROBIN",
            "session_persistence": None,
            "project_id": "default",
            "tenant_id": "default",
            "loadbalancers": [{"id": self.balancer["id"]}],
            "listeners": [],
            "updated_at": None,
            "healthmonitor_id": None,
            "members": [],
            "tags": [],
            "tls_enabled": False,
            "tls_container_ref": None,
            "ca_tls_container_ref": None,
            "crl_container_ref": None,
            "tls_ciphers": None,
            "tls_versions": None,
            "alpn_protocols": None,
        }
        self.assertEqual(expected, {key: value for key, value in made.items() if key not in ("id", "created_at")})
        self.assertEqual(made, self.show(f"pools/{made['id']}", "pool"))

    def test_every_algorithm_and_protocol(self) -> None:
        algorithms = ("ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP", "SOURCE_IP_PORT")
        protocols = ("HTTP", "HTTPS", "PROXY", "PROXYV2", "TCP", "UDP", "SCTP")
        for algorithm, protocol in zip((*algorithms, *algorithms), protocols, strict=False):
            made = self.add_pool(loadbalancer_id=self.balancer["id"], protocol=protocol, lb_algorithm=algorithm)
            self.assertEqual((algorithm, protocol), (made["lb_algorithm"], made["protocol"]))
        self.assertIn("SOURCE_IP_PORT", self.refuse_pool(400, lb_algorithm="RANDOM"))
        self.refuse_pool(400, lb_algorithm=None)
        self.refuse_pool(400, protocol="TERMINATED_HTTPS")

    def test_behind_a_listener(self) -> None:
        listener = self.add_listener(self.balancer)
        self.refuse_pool(400, loadbalancer_id="-")
        self.refuse_pool(400, listener_id=listener["id"], protocol="TCP")
        self.refuse_pool(404, listener_id=NO_UUID)
        other = self.add_listener(self.add_balancer())
        self.refuse_pool(404, listener_id=other["id"])
        pool = self.add_pool(listener_id=listener["id"], loadbalancer_id=self.balancer["id"])
        self.assertEqual([{"id": listener["id"]}], pool["listeners"])
        self.assertEqual(pool["id"], self.show(f"listeners/{listener['id']}", "listener")["default_pool_id"])
        self.refuse_pool(409, listener_id=listener["id"])
        self.remove(f"pools/{pool['id']}")
        self.assertIsNone(self.show(f"listeners/{listener['id']}", "listener")["default_pool_id"])
        again = self.add_pool(listener_id=listener["id"])
        self.assertEqual([{"id": self.balancer["id"]}], again["loadbalancers"])

    def test_session_persistence(self) -> None:
        def shown(**fields: Any) -> Body:
            blank = dict.fromkeys(("cookie_name", "persistence_timeout", "persistence_granularity"))
            return {**blank, **fields}

        for persistence, protocol in (
            ({"type": "SOURCE_IP"}, "HTTP"),
            ({"type": "HTTP_COOKIE"}, "HTTP"),
            ({"type": "HTTP_COOKIE", "cookie_name": None}, "HTTP"),
            ({"type": "APP_COOKIE", "cookie_name": "sid"}, "HTTP"),
            ({"type": "HTTP_COOKIE"}, "TCP"),
            ({"type": "SOURCE_IP", "persistence_timeout": 90, "persistence_granularity": "255.255.0.0"}, "UDP"),
        ):
            made = self.add_pool(
                loadbalancer_id=self.balancer["id"], protocol=protocol, session_persistence=persistence
            )
            self.assertEqual(shown(**persistence), made["session_persistence"])
        for bad in (
            {},
            {"type": "COOKIE"},
            {"cookie_name": "sid"},
            {"type": "APP_COOKIE"},
            {"type": "APP_COOKIE", "cookie_name": "a b"},
            {"type": "APP_COOKIE", "cookie_name": "a;b"},
            {"type": "APP_COOKIE", "cookie_name": "c" * 256},
            {"type": "HTTP_COOKIE", "cookie_name": "sid"},
            {"type": "SOURCE_IP", "cookie_name": "sid"},
            {"type": "SOURCE_IP", "persistence_timeout": 90},
            {"type": "SOURCE_IP", "persistence_granularity": "255.255.0.0"},
            {"type": "SOURCE_IP", "more": 1},
            "SOURCE_IP",
        ):
            with self.subTest(bad):
                self.refuse_pool(400, session_persistence=bad)
        self.refuse_pool(400, protocol="UDP", session_persistence={"type": "HTTP_COOKIE"})

    def test_changes(self) -> None:
        pool = self.add_pool(
            loadbalancer_id=self.balancer["id"], session_persistence={"type": "APP_COOKIE", "cookie_name": "a"}
        )
        path = f"pools/{pool['id']}"
        changed = self.put(path, "pool", session_persistence={"cookie_name": "b"})
        self.assertEqual(
            ("APP_COOKIE", "b"), (changed["session_persistence"]["type"], changed["session_persistence"]["cookie_name"])
        )
        changed = self.put(path, "pool", session_persistence={"type": "SOURCE_IP"})
        self.assertEqual(
            ("SOURCE_IP", None), (changed["session_persistence"]["type"], changed["session_persistence"]["cookie_name"])
        )
        self.refused(400, "PUT", path, {"pool": {"session_persistence": {"type": "APP_COOKIE"}}})
        self.assertIsNone(self.put(path, "pool", session_persistence=None)["session_persistence"])
        self.refused(400, "PUT", path, {"pool": {"session_persistence": {"cookie_name": "b"}}})
        wanted: Body = {
            "name": "n",
            "description": "d",
            "admin_state_up": False,
            "lb_algorithm": "LEAST_CONNECTIONS",
            "tags": ["t"],
        }
        changed = self.put(path, "pool", **wanted)
        self.assertEqual(wanted, {key: changed[key] for key in wanted})
        for immutable in ("protocol", "loadbalancer_id", "listener_id", "members", "healthmonitor"):
            self.refused(400, "PUT", path, {"pool": {immutable: pool.get(immutable)}})
        self.refused(400, "PUT", path, {"pool": {"lb_algorithm": None}})
        for name, value in (("tls_enabled", True), ("tls_container_ref", "x"), ("tls_versions", ["TLSv1.2"])):
            self.assertIn("not allowed", self.refused(400, "PUT", path, {"pool": {name: value}}))

    def test_with_its_members_and_its_monitor(self) -> None:
        monitor = {"type": "TCP", "delay": 1, "timeout": 1, "max_retries": 1}
        members = [{"address": "198.51.100.1", "protocol_port": port} for port in (1, 2)]
        pool = self.add_pool(loadbalancer_id=self.balancer["id"], members=members, healthmonitor=monitor)
        self.assertEqual(2, len(pool["members"]))
        self.assertEqual("TCP", self.show(f"healthmonitors/{pool['healthmonitor_id']}", "healthmonitor")["type"])
        self.remove(f"pools/{pool['id']}")
        self.refused(404, "GET", f"healthmonitors/{pool['healthmonitor_id']}")


class TestMembers(LbaasCase):
    worker = False

    def setUp(self) -> None:
        super().setUp()
        self.balancer = self.add_balancer()
        self.pool = self.add_pool(loadbalancer_id=self.balancer["id"])
        self.path = f"pools/{self.pool['id']}/members"

    def test_one_with_the_least(self) -> None:
        made = self.add_member(self.pool)
        expected: Body = {
            "name": "",
            "provisioning_status": "PENDING_CREATE",
            "operating_status": "NO_MONITOR",
            "admin_state_up": True,
            "address": "198.51.100.1",
            "protocol_port": 8080,
            "weight": 1,
            "backup": False,
            "subnet_id": None,
            "project_id": "default",
            "tenant_id": "default",
            "updated_at": None,
            "monitor_address": None,
            "monitor_port": None,
            "tags": [],
        }
        self.assertEqual(expected, {key: value for key, value in made.items() if key not in ("id", "created_at")})
        self.assertEqual(made, self.show(f"{self.path}/{made['id']}", "member"))
        self.assertEqual([{"id": made["id"]}], self.show(f"pools/{self.pool['id']}", "pool")["members"])

    def test_all_attributes(self) -> None:
        spelled_out = "2001:db8:0:0:0:0:0:1"
        wanted: Body = {
            "name": "m",
            "admin_state_up": False,
            "address": spelled_out,
            "weight": 50,
            "backup": True,
            "subnet_id": self.subnet_id,
            "monitor_address": "2001:db8:0:0:0:0:0:2",
            "monitor_port": 8081,
            "tags": ["t"],
        }
        made = self.add_member(self.pool, **wanted)
        self.assertEqual(wanted, {key: made[key] for key in wanted})
        path = f"{self.path}/{made['id']}"
        changes: Body = {
            "weight": 51,
            "backup": False,
            "monitor_port": 8082,
            "monitor_address": "2001:db8:0::3",
            "name": "x",
        }
        changed = self.put(path, "member", **changes)
        self.assertEqual({**wanted, **changes}, {key: changed[key] for key in wanted})
        nulls = self.put(path, "member", **dict.fromkeys(changes))
        self.assertEqual((1, False, None, None, ""), tuple(nulls[key] for key in changes))
        for immutable in ("address", "protocol_port", "subnet_id"):
            self.refused(400, "PUT", path, {"member": {immutable: made[immutable]}})
        self.remove(path)

    def test_twice_the_same(self) -> None:
        self.add_member(self.pool, address="2001:db8::1")
        for address in ("2001:db8::1", "2001:DB8:0::1"):
            body = {"member": {"address": address, "protocol_port": 8080}}
            self.refused(409, "POST", self.path, body)
        self.add_member(self.pool, address="2001:db8::1", protocol_port=8081)
        other = self.add_pool(loadbalancer_id=self.balancer["id"])
        self.add_member(other, address="2001:db8::1")

    def test_under_another_pool(self) -> None:
        member = self.add_member(self.pool)
        other = self.add_pool(loadbalancer_id=self.balancer["id"])
        elsewhere = f"pools/{other['id']}/members/{member['id']}"
        for method, body in (("GET", None), ("PUT", {"member": {"weight": 2}}), ("DELETE", None)):
            self.assertIn(member["id"], self.refused(404, method, elsewhere, body))
        nowhere = f"pools/{NO_UUID}/members"
        self.refused(404, "GET", nowhere)
        self.refused(404, "POST", nowhere, {"member": {"address": "198.51.100.1", "protocol_port": 1}})

    def test_bad_values(self) -> None:
        for fields in (
            {"address": "host.example"},
            {"address": "fe80::1%eth0"},
            {"address": None},
            {"protocol_port": 0},
            {"weight": 257},
            {"weight": -1},
            {"weight": "much"},
            {"monitor_port": 0},
            {"monitor_address": "x"},
            {"backup": "maybe"},
            {"subnet_id": "x"},
            {"description": "members have none"},
        ):
            with self.subTest(fields):
                body = {"member": {"address": "198.51.100.1", "protocol_port": 80, **fields}}
                self.refused(400, "POST", self.path, body)

    def test_several_at_once_as_neutron_has_it(self) -> None:
        members = [{"address": "198.51.100.1", "protocol_port": port} for port in (1, 2)]
        made = self.expect(201, "POST", f"{V2}/{self.path}", {"members": members})["members"]
        self.assertEqual([1, 2], [each["protocol_port"] for each in made])
        self.assertEqual(made, self.listed(self.path))

    def batch(self, members: list[Body], query: str = "", status: int = 202) -> None:
        self.assertIsNone(self.expect(status, "PUT", f"{V2}/{self.path}{query}", {"members": members}))

    def test_a_batch(self) -> None:
        self.batch([{"address": "198.51.100.1", "protocol_port": port, "name": f"m{port}"} for port in (1, 2)])
        first, second = self.listed(self.path)
        self.put(f"{self.path}/{second['id']}", "member", weight=9, backup=True, tags=["t"])
        generation = self.generation()
        self.batch(
            [
                {"address": "198.51.100.1", "protocol_port": 2, "monitor_port": 3},
                {"address": "2001:db8::1", "protocol_port": 4},
            ]
        )
        stayed, new = self.listed(self.path)
        self.assertEqual((second["id"], "m2", ["t"]), (stayed["id"], stayed["name"], stayed["tags"]))
        self.assertEqual((1, False, 3), (stayed["weight"], stayed["backup"], stayed["monitor_port"]))
        self.assertEqual(("2001:db8::1", 4), (new["address"], new["protocol_port"]))
        self.assertNotEqual(first["id"], new["id"])
        self.assertEqual(generation + 1, self.generation())
        # The same again is no change, and neither is another spelling.
        same: list[Body] = [
            {"address": "198.51.100.1", "protocol_port": 2, "monitor_port": 3},
            {"address": "2001:DB8:0::1", "protocol_port": "4"},
        ]
        self.batch(same)
        self.assertEqual(generation + 1, self.generation())
        self.assertEqual([stayed, new], self.listed(self.path))
        self.batch([{"address": "198.51.100.9", "protocol_port": 9}], "?additive_only=True")
        self.assertEqual(3, len(self.listed(self.path)))
        refused: tuple[tuple[Any, int], ...] = (
            ([{"address": "198.51.100.9", "protocol_port": 9}] * 2, 400),
            ([{"address": "198.51.100.8", "protocol_port": 9}] * 2, 409),
            ([{"address": "198.51.100.8"}], 400),
            ({}, 400),
        )
        for bad, status in refused:
            self.refused(status, "PUT", self.path, {"members": bad})
        self.batch([])
        self.assertEqual([], self.listed(self.path))

    def generation(self) -> int:
        with self.repository.read() as tx:
            return tx.load_balancer(self.balancer["id"].replace("-", "")).generation


class TestHealthMonitors(LbaasCase):
    worker = False

    def setUp(self) -> None:
        super().setUp()
        self.balancer = self.add_balancer()
        self.pool = self.add_pool(loadbalancer_id=self.balancer["id"])

    def refuse_monitor(self, status: int, **fields: Any) -> str:
        values = {"pool_id": self.pool["id"], "type": "HTTP", "delay": 2, "timeout": 3, "max_retries": 4}
        return self.refused(status, "POST", "healthmonitors", {"healthmonitor": {**values, **fields}})

    def test_the_least_and_the_defaults(self) -> None:
        made = self.add_monitor(self.pool, type="HTTP")
        expected: Body = {
            "name": "",
            "type": "HTTP",
            "delay": 2,
            "timeout": 3,
            "max_retries": 4,
            "max_retries_down": 3,
            "http_method": "GET",
            "url_path": "/",
            "expected_codes": "200",
            "admin_state_up": True,
            "project_id": "default",
            "tenant_id": "default",
            "pools": [{"id": self.pool["id"]}],
            "provisioning_status": "PENDING_CREATE",
            "operating_status": "OFFLINE",
            "updated_at": None,
            "tags": [],
            "http_version": None,
            "domain_name": None,
        }
        self.assertEqual(expected, {key: value for key, value in made.items() if key not in ("id", "created_at")})
        self.assertEqual(made, self.show(f"healthmonitors/{made['id']}", "healthmonitor"))
        self.assertEqual(made["id"], self.show(f"pools/{self.pool['id']}", "pool")["healthmonitor_id"])
        self.assertIn(made["id"], self.refuse_monitor(409))

    def test_all_attributes(self) -> None:
        wanted: Body = {
            "name": "hm",
            "admin_state_up": False,
            "max_retries_down": 5,
            "http_method": "HEAD",
            "url_path": "/x/y?z=1",
            "expected_codes": "200-204",
            "http_version": 1.1,
            "domain_name": "www.example.com",
            "tags": ["t"],
        }
        made = self.add_monitor(self.pool, type="HTTPS", **wanted)
        self.assertEqual(wanted, {key: made[key] for key in wanted})
        path = f"healthmonitors/{made['id']}"
        changes: Body = {
            "name": "new",
            "delay": 3,
            "timeout": "4",
            "max_retries": 5,
            "max_retries_down": 6,
            "http_method": "POST",
            "url_path": "/new",
            "expected_codes": "200, 202",
            "admin_state_up": True,
        }
        changed = self.put(path, "healthmonitor", **changes)
        self.assertEqual({**changes, "timeout": 4}, {key: changed[key] for key in changes})
        nulls = ("max_retries_down", "http_method", "url_path", "expected_codes", "domain_name", "http_version")
        changed = self.put(path, "healthmonitor", **dict.fromkeys(nulls))
        self.assertEqual((3, "GET", "/", "200", None, None), tuple(changed[key] for key in nulls))
        for name in ("delay", "timeout", "max_retries"):
            self.refused(400, "PUT", path, {"healthmonitor": {name: None}})
        for name in ("type", "pool_id"):
            self.refused(400, "PUT", path, {"healthmonitor": {name: made.get(name)}})
        self.remove(path)
        self.assertIsNone(self.show(f"pools/{self.pool['id']}", "pool")["healthmonitor_id"])

    def test_types_by_protocol(self) -> None:
        self.refuse_monitor(400, type="UDP-CONNECT", delay=3)
        pool = self.add_pool(loadbalancer_id=self.balancer["id"], protocol="UDP")
        self.refuse_monitor(400, pool_id=pool["id"], type="UDP-CONNECT", delay=2)
        self.assertEqual("UDP-CONNECT", self.add_monitor(pool, type="UDP-CONNECT", delay=3)["type"])

    def test_http_is_for_http_only(self) -> None:
        for fields in ({"http_method": "GET"}, {"url_path": "/"}, {"expected_codes": "200"}):
            self.refuse_monitor(400, type="TCP", **fields)
        made = self.add_monitor(self.pool, type="PING")
        self.assertEqual((None, None, None), (made["http_method"], made["url_path"], made["expected_codes"]))
        for name in ("http_method", "url_path", "expected_codes"):
            self.refused(400, "PUT", f"healthmonitors/{made['id']}", {"healthmonitor": {name: None}})

    def test_bad_values(self) -> None:
        for fields in (
            {"type": "http"},
            {"delay": -1},
            {"delay": "x"},
            {"timeout": -1},
            {"max_retries": 0},
            {"max_retries": 11},
            {"max_retries_down": 0},
            {"http_method": "BREW"},
            {"url_path": "x"},
            {"url_path": "/a b"},
            {"url_path": ""},
            {"expected_codes": ""},
            {"expected_codes": "20"},
            {"expected_codes": "200-"},
            {"expected_codes": "abc"},
            {"http_version": 2.0},
            {"http_version": 1.0, "domain_name": "www.example.com"},
            {"domain_name": "www.example.com"},
            {"http_version": 1.1, "domain_name": "a b"},
            {"http_version": 1.1, "domain_name": ""},
        ):
            with self.subTest(fields):
                self.refuse_monitor(400, **fields)
        self.refuse_monitor(404, pool_id=NO_UUID)
        self.refuse_monitor(400, pool_id="x")


class TestL7(LbaasCase):
    worker = False

    def setUp(self) -> None:
        super().setUp()
        self.balancer = self.add_balancer()
        self.listener = self.add_listener(self.balancer)
        self.pool = self.add_pool(loadbalancer_id=self.balancer["id"])

    def positions(self) -> list[str]:
        return [each["name"] for each in self.listed("l7policies?sort=position:asc")]

    def refuse_policy(self, status: int, **fields: Any) -> str:
        body = {"l7policy": {"listener_id": self.listener["id"], "action": "REJECT", **fields}}
        return self.refused(status, "POST", "l7policies", body)

    def test_one_with_the_least(self) -> None:
        made = self.add_policy(self.listener)
        expected: Body = {
            "name": "",
            "description": "",
            "provisioning_status": "PENDING_CREATE",
            "operating_status": "OFFLINE",
            "admin_state_up": True,
            "project_id": "default",
            "tenant_id": "default",
            "action": "REJECT",
            "listener_id": self.listener["id"],
            "redirect_pool_id": None,
            "redirect_url": None,
            "redirect_prefix": None,
            "redirect_http_code": None,
            "position": 1,
            "rules": [],
            "updated_at": None,
            "tags": [],
        }
        self.assertEqual(expected, {key: value for key, value in made.items() if key not in ("id", "created_at")})
        self.assertEqual(made, self.show(f"l7policies/{made['id']}", "l7policy"))
        self.assertEqual([{"id": made["id"]}], self.show(f"listeners/{self.listener['id']}", "listener")["l7policies"])

    def test_actions(self) -> None:
        url, prefix = "https://www.example.com/x?y=1", "http://other.example:8080"
        policy = self.add_policy(self.listener, action="REDIRECT_TO_URL", redirect_url=url)
        self.assertEqual((url, 302), (policy["redirect_url"], policy["redirect_http_code"]))
        path = f"l7policies/{policy['id']}"
        self.assertEqual(308, self.put(path, "l7policy", redirect_http_code=308)["redirect_http_code"])
        changed = self.put(path, "l7policy", action="REDIRECT_TO_POOL", redirect_pool_id=self.pool["id"])
        self.assertEqual(
            (self.pool["id"], None, None),
            (changed["redirect_pool_id"], changed["redirect_url"], changed["redirect_http_code"]),
        )
        # A new target is an action.
        changed = self.put(path, "l7policy", redirect_prefix=prefix)
        self.assertEqual(
            ("REDIRECT_PREFIX", prefix, None),
            (changed["action"], changed["redirect_prefix"], changed["redirect_pool_id"]),
        )
        changed = self.put(path, "l7policy", action="REJECT")
        self.assertEqual([None] * 4, [changed[key] for key in changed if key.startswith("redirect_")])
        self.refused(400, "PUT", path, {"l7policy": {}})
        self.refused(400, "PUT", path, {"l7policy": {"listener_id": self.listener["id"]}})

    def test_refusals(self) -> None:
        other = self.add_balancer()
        elsewhere = self.add_pool(loadbalancer_id=other["id"])
        tcp_pool = self.add_pool(loadbalancer_id=self.balancer["id"], protocol="TCP")
        for fields, status in (
            ({"action": "REDIRECT_TO_URL"}, 400),
            ({"action": "REDIRECT_TO_POOL"}, 400),
            ({"action": "REDIRECT_PREFIX"}, 400),
            ({"action": "ACCEPT"}, 400),
            ({"action": "REDIRECT_TO_POOL", "redirect_pool_id": elsewhere["id"]}, 404),
            ({"action": "REDIRECT_TO_POOL", "redirect_pool_id": self.balancer["id"]}, 404),
            ({"action": "REDIRECT_TO_POOL", "redirect_pool_id": tcp_pool["id"]}, 400),
            (
                {"action": "REDIRECT_TO_POOL", "redirect_pool_id": self.pool["id"], "redirect_url": "http://a.example"},
                400,
            ),
            ({"action": "REDIRECT_TO_URL", "redirect_url": "ftp://a.example"}, 400),
            ({"action": "REDIRECT_TO_URL", "redirect_url": "http://"}, 400),
            ({"action": "REDIRECT_TO_URL", "redirect_url": "http://a.example/\r\nX: y"}, 400),
            ({"action": "REDIRECT_TO_URL", "redirect_url": "http://a.example/ x"}, 400),
            ({"action": "REDIRECT_TO_URL", "redirect_url": "http://a.example", "redirect_http_code": 305}, 400),
            ({"position": 0}, 400),
            ({"listener_id": self.balancer["id"]}, 404),
        ):
            with self.subTest(fields):
                self.refuse_policy(status, **fields)
        for number, (protocol, status) in enumerate((("PROMETHEUS", 400), ("TCP", 501), ("HTTPS", 501))):
            listener = self.add_listener(self.balancer, protocol=protocol, protocol_port=1000 + number)
            self.refuse_policy(status, listener_id=listener["id"])

    def test_positions(self) -> None:
        for name in ("c", "b", "a"):
            self.assertEqual(1, self.add_policy(self.listener, name=name, position=1)["position"])
        self.assertEqual(["a", "b", "c"], self.positions())
        last = self.add_policy(self.listener, name="d", position=77)
        self.assertEqual(4, last["position"])
        self.assertEqual(5, self.add_policy(self.listener, name="e")["position"])
        self.assertEqual(2, self.put(f"l7policies/{last['id']}", "l7policy", position=2)["position"])
        self.assertEqual(["a", "d", "b", "c", "e"], self.positions())
        self.remove(f"l7policies/{last['id']}")
        self.assertEqual([1, 2, 3, 4], [each["position"] for each in self.listed("l7policies?sort=position")])

    def test_a_pool_that_is_in_use_stays(self) -> None:
        policy = self.add_policy(self.listener, action="REDIRECT_TO_POOL", redirect_pool_id=self.pool["id"])
        self.assertIn(policy["id"], self.refused(409, "DELETE", f"pools/{self.pool['id']}"))
        self.remove(f"listeners/{self.listener['id']}")
        self.refused(404, "GET", f"l7policies/{policy['id']}")
        self.remove(f"pools/{self.pool['id']}")

    def test_rules(self) -> None:
        policy = self.add_policy(self.listener)
        rules = f"l7policies/{policy['id']}/rules"
        made = self.add_rule(policy)
        expected: Body = {
            "type": "PATH",
            "compare_type": "STARTS_WITH",
            "key": None,
            "value": "/api",
            "invert": False,
            "provisioning_status": "PENDING_CREATE",
            "operating_status": "OFFLINE",
            "admin_state_up": True,
            "project_id": "default",
            "tenant_id": "default",
            "updated_at": None,
            "tags": [],
        }
        self.assertEqual(expected, {key: value for key, value in made.items() if key not in ("id", "created_at")})
        path = f"{rules}/{made['id']}"
        self.assertEqual(made, self.show(path, "rule"))
        changed = self.put(
            path, "rule", type="HEADER", key="X-Test", compare_type="CONTAINS", value="v", invert="true", tags=["t"]
        )
        self.assertEqual(
            ("HEADER", "X-Test", True, ["t"]), (changed["type"], changed["key"], changed["invert"], changed["tags"])
        )
        self.assertIsNone(self.put(path, "rule", type="HOST_NAME")["key"])
        self.refused(400, "PUT", path, {"rule": {"type": "COOKIE"}})
        other = self.add_policy(self.listener)
        self.refused(404, "GET", f"l7policies/{other['id']}/rules/{made['id']}")
        self.remove(path)
        two = [{"type": "PATH", "compare_type": "EQUAL_TO", "value": f"/{number}"} for number in (1, 2)]
        self.assertEqual(2, len(self.expect(201, "POST", f"{V2}/{rules}", {"rules": two})["rules"]))
        self.assertEqual(["/1", "/2"], [each["value"] for each in self.listed(rules)])

    def test_all_kinds_of_rules(self) -> None:
        policy = self.add_policy(self.listener)
        rules = f"l7policies/{policy['id']}/rules"
        good: tuple[Body, ...] = (
            {"type": "HOST_NAME", "compare_type": "EQUAL_TO", "value": "www.example.com"},
            {"type": "HOST_NAME", "compare_type": "REGEX", "value": r"^.*\.example\.com$"},
            {"type": "FILE_TYPE", "compare_type": "EQUAL_TO", "value": "jpg"},
            {"type": "FILE_TYPE", "compare_type": "REGEX", "value": "jpg|png"},
            {"type": "HEADER", "compare_type": "ENDS_WITH", "key": "X-A", "value": '"a b"'},
            {"type": "COOKIE", "compare_type": "CONTAINS", "key": "sid", "value": "abc"},
            {"type": "SSL_CONN_HAS_CERT", "compare_type": "EQUAL_TO", "value": "true"},
            {"type": "SSL_VERIFY_RESULT", "compare_type": "EQUAL_TO", "value": "0"},
            {"type": "SSL_DN_FIELD", "compare_type": "STARTS_WITH", "key": "CN", "value": "a"},
        )
        for fields in good:
            made = self.add_rule(policy, **fields)
            self.assertEqual(fields, {key: made[key] for key in fields})
        bad: tuple[Body, ...] = (
            {"type": "HOST"},
            {"compare_type": "LIKE"},
            {"value": ""},
            {"value": None},
            {"value": "a b"},
            {"value": "a\nb"},
            {"compare_type": "REGEX", "value": "("},
            {"type": "HEADER"},
            {"type": "HEADER", "key": "a b"},
            {"type": "COOKIE", "key": "sid", "value": "a;b"},
            {"type": "FILE_TYPE"},
            {"type": "SSL_CONN_HAS_CERT", "compare_type": "EQUAL_TO", "value": "yes"},
            {"type": "SSL_VERIFY_RESULT", "compare_type": "EQUAL_TO", "value": "-1"},
            {"type": "SSL_DN_FIELD", "key": "1", "value": "x"},
        )
        for fields in bad:
            with self.subTest(fields):
                body = {"rule": {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/api", **fields}}
                self.refused(400, "POST", rules, body)

    def test_only_so_many_rules(self) -> None:
        policy = self.add_policy(self.listener)
        rules = f"l7policies/{policy['id']}/rules"
        many = [{"type": "PATH", "compare_type": "EQUAL_TO", "value": f"/{number}"} for number in range(50)]
        self.expect(201, "POST", f"{V2}/{rules}", {"rules": many})
        self.refused(409, "POST", rules, {"rule": many[0]})


class TestOnHaproxy(LbaasCase):
    """What the driver cannot do is no mistake of the caller's."""

    worker = False
    device_type = "HAPROXY"

    def test_udp_and_sctp(self) -> None:
        balancer = self.add_balancer()
        self.assertEqual("haproxy", balancer["provider"])
        for protocol in ("UDP", "SCTP"):
            body: Body = {"loadbalancer_id": balancer["id"], "protocol": protocol}
            text = self.refused(501, "POST", "listeners", {"listener": {**body, "protocol_port": 53}})
            self.assertTrue(re.search(protocol, text), text)
            self.refused(501, "POST", "pools", {"pool": {**body, "lb_algorithm": "ROUND_ROBIN"}})

    def test_rules_about_certificates(self) -> None:
        policy = self.add_policy(self.add_listener(self.add_balancer()))
        for fields in (
            {"type": "SSL_CONN_HAS_CERT", "value": "true"},
            {"type": "SSL_VERIFY_RESULT", "value": "0"},
            {"type": "SSL_DN_FIELD", "key": "CN", "value": "a"},
        ):
            body = {"rule": {"compare_type": "EQUAL_TO", **fields}}
            text = self.refused(501, "POST", f"l7policies/{policy['id']}/rules", body)
            self.assertIn(fields["type"], text)
