"""LBaaS v1: its objects, attribute by attribute, and what goes together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.functional.lbaas_v1 import LB, LbaasV1Case
from tests.functional.lbaas_v2 import NO_UUID, Body


class TestObjects(LbaasV1Case):
    worker = False

    def test_a_pool(self) -> None:
        made = self.pool(name="web-pool", description="d", provider="DUMMY")
        expected = {
            "id": made["id"],
            "tenant_id": "default",
            "vip_id": None,
            "name": "web-pool",
            "description": "d",
            "subnet_id": self.subnet_id,
            "protocol": "HTTP",
            "provider": "dummy",
            "lb_method": "ROUND_ROBIN",
            "members": [],
            "health_monitors": [],
            "health_monitors_status": [],
            "admin_state_up": True,
            "status": "PENDING_CREATE",
            "status_description": None,
        }
        self.assertEqual(expected, made)
        path = f"pools/{made['id']}"
        self.assertEqual(made, self.one(path))
        self.assertEqual([made], self.all("pools"))
        # The subnet need not be there.
        other = self.pool(subnet_id=NO_UUID)
        self.assertEqual(
            ("", "", NO_UUID, "dummy"), tuple(other[key] for key in ("name", "description", "subnet_id", "provider"))
        )
        changed = self.change(path, name="n", description="", lb_method="SOURCE_IP", admin_state_up="False")
        self.assertEqual(
            {**made, "name": "n", "description": "", "lb_method": "SOURCE_IP", "admin_state_up": False}, changed
        )
        # Associations are made one by one.
        self.assertEqual([], self.change(path, health_monitors=[NO_UUID])["health_monitors"])
        self.assertEqual([], self.pool(health_monitors=None)["health_monitors"])
        self.drop(path)

    def test_a_vip(self) -> None:
        pool = self.pool()
        made = self.vip(pool, name="web-vip")
        expected = {
            "id": made["id"],
            "tenant_id": "default",
            "name": "web-vip",
            "description": "",
            "subnet_id": self.subnet_id,
            "address": "203.0.113.10",
            "port_id": made["port_id"],
            "protocol_port": 80,
            "protocol": "HTTP",
            "pool_id": pool["id"],
            "session_persistence": None,
            "connection_limit": -1,
            "admin_state_up": True,
            "status": "PENDING_CREATE",
            "status_description": None,
        }
        self.assertEqual(expected, made)
        self.assertEqual(made["port_id"], self.get(f"/v2.0/ports/{made['port_id']}")["port"]["id"])
        self.assertEqual(f"vip-{made['id']}", self.get(f"/v2.0/ports/{made['port_id']}")["port"]["name"])
        # It goes with the vip, and not before.
        refused = self.call("DELETE", f"/v2.0/ports/{made['port_id']}")
        self.assertEqual((409, "ServicePortInUse"), (refused.status, refused.json["NeutronError"]["type"]))
        path = f"vips/{made['id']}"
        self.assertEqual(made, self.one(path))
        self.assertEqual([made], self.all("vips"))
        self.assertEqual(made["id"], self.one(f"pools/{pool['id']}")["vip_id"])
        changed = self.change(
            path,
            name="n",
            description="d",
            connection_limit="100",
            admin_state_up=0,
            session_persistence={"type": "HTTP_COOKIE"},
        )
        persistence = {"type": "HTTP_COOKIE"}
        self.assertEqual(
            {
                **made,
                "name": "n",
                "description": "d",
                "connection_limit": 100,
                "admin_state_up": False,
                "session_persistence": persistence,
            },
            changed,
        )
        # What is not mentioned stays.
        self.assertEqual(persistence, self.change(path, name="m")["session_persistence"])
        self.drop(path)
        self.assertIsNone(self.one(f"pools/{pool['id']}")["vip_id"])
        changed = self.change(f"pools/{pool['id']}", name="new_pool", description="new", lb_method="LEAST_CONNECTIONS")
        self.assertEqual("new_pool", changed["name"])
        again = self.vip(pool, address="203.0.113.77", session_persistence={})
        self.assertEqual(("203.0.113.77", None), (again["address"], again["session_persistence"]))

    def test_session_persistence(self) -> None:
        path = f"vips/{self.vip(self.pool())['id']}"
        for sent in ({"type": "SOURCE_IP"}, {"type": "HTTP_COOKIE"}, {"type": "APP_COOKIE", "cookie_name": "jsession"}):
            self.assertEqual(sent, self.change(path, session_persistence={**sent, "more": 1})["session_persistence"])
            self.assertEqual(sent, self.one(path)["session_persistence"])
        self.assertIsNone(self.change(path, session_persistence=None)["session_persistence"])
        self.change(path, session_persistence={"type": "SOURCE_IP"})
        self.assertIsNone(self.change(path, session_persistence={})["session_persistence"])
        bad_ones: tuple[Any, ...] = (
            {"cookie_name": "x"},
            {"type": "OTHER"},
            {"type": 5},
            {"type": "APP_COOKIE"},
            {"type": "APP_COOKIE", "cookie_name": ""},
            {"type": "APP_COOKIE", "cookie_name": "a b"},
            {"type": "APP_COOKIE", "cookie_name": "x" * 1025},
            {"type": "APP_COOKIE", "cookie_name": None},
            {"type": "HTTP_COOKIE", "cookie_name": "x"},
            {"type": "SOURCE_IP", "cookie_name": None},
            "SOURCE_IP",
            [],
        )
        for bad in bad_ones:
            with self.subTest(bad):
                body = {"vip": {"session_persistence": bad}}
                self.assertIn("session_persistence", self.no(400, "PUT", path, body, kind="HTTPBadRequest"))
        pool = self.pool()
        made = self.vip(pool, protocol_port=81, session_persistence={"type": "SOURCE_IP"})
        self.assertEqual({"type": "SOURCE_IP"}, made["session_persistence"])
        # It is the vip's: the next one has none.
        self.drop(f"vips/{made['id']}")
        self.assertIsNone(self.vip(pool, protocol_port=81)["session_persistence"])

    def test_a_member(self) -> None:
        pool = self.pool()
        made = self.member(pool)
        expected = {
            "id": made["id"],
            "tenant_id": "default",
            "pool_id": pool["id"],
            "address": "198.51.100.1",
            "protocol_port": 8080,
            "weight": 1,
            "admin_state_up": True,
            "status": "PENDING_CREATE",
            "status_description": None,
        }
        self.assertEqual(expected, made)
        path = f"members/{made['id']}"
        self.assertEqual(made, self.one(path))
        other = self.member(pool, address="2001:DB8::1", protocol_port="65535", weight="0", admin_state_up="true")
        self.assertEqual(("2001:DB8::1", 65535, 0), (other["address"], other["protocol_port"], other["weight"]))
        self.assertEqual([made, other], self.all("members"))
        self.assertEqual([made["id"], other["id"]], self.one(f"pools/{pool['id']}")["members"])
        self.assertEqual({**made, "weight": 256}, self.change(path, weight=256))
        self.assertEqual({**made, "weight": 256, "admin_state_up": False}, self.change(path, admin_state_up=False))
        self.drop(path)
        self.drop(f"pools/{pool['id']}")
        self.no(404, "GET", f"members/{other['id']}", kind="MemberNotFound")

    def test_a_health_monitor(self) -> None:
        made = self.monitor()
        expected = {
            "id": made["id"],
            "tenant_id": "default",
            "type": "TCP",
            "delay": 5,
            "timeout": 5,
            "max_retries": 3,
            "admin_state_up": True,
            "pools": [],
        }
        self.assertEqual(expected, made)
        # HTTP attributes are taken from TCP and PING ones, and not shown.
        ping = self.monitor(type="PING", http_method="HEAD", url_path="/x", expected_codes="204")
        self.assertEqual(set(made), set(ping))
        self.assertEqual(made, self.change(f"health_monitors/{made['id']}", url_path="/x"))
        http = self.monitor(type="HTTP", delay="7", max_retries="10")
        self.assertEqual(
            {
                **expected,
                "id": http["id"],
                "type": "HTTP",
                "delay": 7,
                "max_retries": 10,
                "http_method": "GET",
                "url_path": "/",
                "expected_codes": "200",
            },
            http,
        )
        path = f"health_monitors/{http['id']}"
        changes: Body = {"http_method": "HEAD", "url_path": "/home", "expected_codes": "200-204", "max_retries": 2}
        self.assertEqual({**http, **changes}, self.change(path, **changes))
        self.assertFalse(self.change(path, admin_state_up=False)["admin_state_up"])
        self.assertEqual({**http, **changes, "admin_state_up": False}, self.one(path))
        self.assertEqual([made["id"], ping["id"], http["id"]], [each["id"] for each in self.all("health_monitors")])
        for codes in ("200,202, 204", "404"):
            self.assertEqual(codes, self.change(path, expected_codes=codes)["expected_codes"])
        self.drop(path)

    def test_delay_and_timeout(self) -> None:
        body = {"health_monitor": {"type": "TCP", "delay": 1, "timeout": 2, "max_retries": 1}}
        self.no(400, "POST", "health_monitors", body, kind="DelayOrTimeoutInvalid")
        path = f"health_monitors/{self.monitor(delay=5, timeout=3)['id']}"
        for fields in ({"delay": 2}, {"timeout": 6}, {"delay": 1, "timeout": 2}):
            self.no(400, "PUT", path, {"health_monitor": fields}, kind="DelayOrTimeoutInvalid")
        self.assertEqual(3, self.change(path, delay=3)["delay"])


class TestTogether(LbaasV1Case):
    worker = False

    def test_a_pool_has_one_vip(self) -> None:
        pool = self.pool()
        vip = self.vip(pool)
        body = {"pool_id": pool["id"], "protocol": "HTTP", "protocol_port": 81, "subnet_id": self.subnet_id}
        self.no(409, "POST", "vips", {"vip": body}, kind="VipExists")
        other = self.vip(self.pool(), protocol_port=81)
        self.no(409, "PUT", f"vips/{other['id']}", {"vip": {"pool_id": pool["id"]}}, kind="VipExists")
        before = self.one(f"pools/{pool['id']}")
        self.no(409, "DELETE", f"pools/{pool['id']}", kind="PoolInUse")
        self.assertEqual(before, self.one(f"pools/{pool['id']}"))
        self.drop(f"vips/{vip['id']}")
        self.drop(f"pools/{pool['id']}")

    def test_protocols_are_the_same(self) -> None:
        tcp, http = self.pool(protocol="TCP"), self.pool()
        body = {"pool_id": tcp["id"], "protocol": "HTTP", "protocol_port": 81, "subnet_id": self.subnet_id}
        self.no(400, "POST", "vips", {"vip": body}, kind="ProtocolMismatch")
        vip = self.vip(http)
        self.no(400, "PUT", f"vips/{vip['id']}", {"vip": {"pool_id": tcp["id"]}}, kind="ProtocolMismatch")
        self.vip(tcp, protocol_port=443)
        self.vip(self.pool(protocol="HTTPS"), protocol_port=444)

    def test_a_vip_moves_to_another_pool(self) -> None:
        first, second = self.pool(name="first"), self.pool(name="second", lb_method="SOURCE_IP")
        members = [self.member(pool, address=f"198.51.100.{n}") for n, pool in enumerate((first, second, second), 1)]
        monitors = [self.monitor(), self.monitor(type="HTTP")]
        for pool, monitor in zip((first, second), monitors, strict=True):
            self.associate(pool, monitor)
        vip = self.vip(first, session_persistence={"type": "SOURCE_IP"}, name="vip")
        moved = self.change(f"vips/{vip['id']}", pool_id=second["id"], name="moved")
        self.assertEqual({**vip, "pool_id": second["id"], "name": "moved"}, moved)
        self.assertEqual(moved, self.one(f"vips/{vip['id']}"))
        pools = {each["name"]: each for each in self.all("pools")}
        self.assertEqual((None, vip["id"]), (pools["first"]["vip_id"], pools["second"]["vip_id"]))
        self.assertEqual([first["id"], second["id"]], [pools["first"]["id"], pools["second"]["id"]])
        self.assertEqual([members[0]["id"]], pools["first"]["members"])
        self.assertEqual([each["id"] for each in members[1:]], pools["second"]["members"])
        for pool, monitor in zip((first, second), monitors, strict=True):
            self.assertEqual([monitor["id"]], pools[pool["name"]]["health_monitors"])
            (of,) = self.one(f"health_monitors/{monitor['id']}")["pools"]
            self.assertEqual(pool["id"], of["pool_id"])
        # The pool that it left may have another vip, and goes back.
        other = self.vip(first, protocol_port=81)
        self.assertIsNone(other["session_persistence"])
        self.drop(f"vips/{other['id']}")
        self.assertEqual(first["id"], self.change(f"vips/{vip['id']}", pool_id=first["id"])["pool_id"])
        self.drop(f"pools/{second['id']}")
        body = {"vip": {"pool_id": NO_UUID}}
        self.no(404, "PUT", f"vips/{vip['id']}", body, kind="PoolNotFound")

    def test_a_member_moves_to_another_pool(self) -> None:
        first, second = self.pool(), self.pool()
        member, same = self.member(first), self.member(second)
        path = f"members/{member['id']}"
        self.no(409, "PUT", path, {"member": {"pool_id": second["id"]}}, kind="MemberExists")
        self.drop(f"members/{same['id']}")
        moved = self.change(path, pool_id=second["id"], weight=3)
        self.assertEqual({**member, "pool_id": second["id"], "weight": 3}, moved)
        self.assertEqual(
            ([], [member["id"]]), tuple(self.one(f"pools/{each['id']}")["members"] for each in (first, second))
        )
        self.change(path, pool_id=first["id"])
        self.assertEqual(
            ([member["id"]], []), tuple(self.one(f"pools/{each['id']}")["members"] for each in (first, second))
        )
        self.no(404, "PUT", path, {"member": {"pool_id": NO_UUID}}, kind="PoolNotFound")

    def test_members_are_there_once(self) -> None:
        pool = self.pool()
        self.member(pool)
        body = {"pool_id": pool["id"], "address": "198.51.100.1", "protocol_port": 8080}
        self.no(409, "POST", "members", {"member": body}, kind="MemberExists")
        self.member(pool, protocol_port=81)
        self.member(self.pool())

    def test_associations(self) -> None:
        pools, monitors = [self.pool(), self.pool()], [self.monitor(), self.monitor(type="HTTP"), self.monitor()]
        first, second = (f"pools/{each['id']}/health_monitors" for each in pools)
        made = self.associate(pools[0], monitors[0])
        self.assertEqual((monitors[0]["id"], pools[0]["id"]), (made["monitor_id"], made["pool_id"]))
        body = {"health_monitor": {"id": monitors[0]["id"], "tenant_id": "default"}}
        self.no(409, "POST", first, body, kind="PoolMonitorAssociationExists")
        self.expect(201, "POST", f"{LB}/{second}", body)
        several = {"health_monitors": [{"id": each["id"]} for each in monitors[1:]]}
        self.assertEqual(2, len(self.expect(201, "POST", f"{LB}/{first}", several)["health_monitors"]))
        shown = self.one(f"pools/{pools[0]['id']}")
        self.assertEqual([each["id"] for each in monitors], shown["health_monitors"])
        self.assertEqual(
            [{"monitor_id": each["id"], "status": "PENDING_CREATE", "status_description": None} for each in monitors],
            shown["health_monitors_status"],
        )
        of = self.one(f"health_monitors/{monitors[0]['id']}")["pools"]
        self.assertEqual({each["id"] for each in pools}, {each["pool_id"] for each in of})
        self.assertEqual({"pool_id", "status", "status_description"}, set(of[0]))
        self.assertEqual(made, self.one(f"{first}/{monitors[0]['id']}"))
        self.assertEqual([each["id"] for each in monitors], [each["id"] for each in self.all(first)])
        # All or none of them.
        twice = {"health_monitors": [{"id": monitors[1]["id"]}, {"id": monitors[0]["id"]}]}
        self.no(409, "POST", second, twice, kind="PoolMonitorAssociationExists")
        self.no(409, "DELETE", f"health_monitors/{monitors[0]['id']}", kind="HealthMonitorInUse")
        self.drop(f"{first}/{monitors[0]['id']}")
        self.no(404, "DELETE", f"{first}/{monitors[0]['id']}", kind="PoolMonitorAssociationNotFound")
        self.no(404, "DELETE", f"{first}/{NO_UUID}", kind="PoolMonitorAssociationNotFound")
        self.drop(f"{second}/{monitors[0]['id']}")
        self.assertEqual([], self.one(f"health_monitors/{monitors[0]['id']}")["pools"])
        self.drop(f"health_monitors/{monitors[0]['id']}")
        # Monitors stay when their pools go.
        self.drop(f"pools/{pools[0]['id']}")
        self.assertEqual([[], []], [each["pools"] for each in self.all("health_monitors")])
        self.drop(f"health_monitors/{monitors[1]['id']}")

    def test_associations_that_cannot_be(self) -> None:
        pool, monitor = self.pool(), self.monitor()
        path = f"pools/{pool['id']}/health_monitors"
        bodies: tuple[Body, ...] = (
            {},
            {"health_monitor": {}},
            {"health_monitor": {"id": "x"}},
            {"health_monitors": [{}]},
            {"health_monitors": []},
        )
        for bad in bodies:
            self.no(400, "POST", path, bad, kind="HTTPBadRequest")
        twice = {"health_monitors": [{"id": monitor["id"]}, {"id": monitor["id"]}]}
        self.no(409, "POST", path, twice, kind="PoolMonitorAssociationExists")
        self.no(404, "POST", path, {"health_monitor": {"id": NO_UUID}}, kind="HealthMonitorNotFound")
        body: Body = {"health_monitor": {"id": monitor["id"]}}
        self.no(404, "POST", f"pools/{NO_UUID}/health_monitors", body, kind="PoolNotFound")
        self.no(405, "PUT", f"{path}/{monitor['id']}", body)

    def test_a_shared_monitor_is_changed_for_all(self) -> None:
        pools, monitor = [self.pool(), self.pool()], self.monitor(type="HTTP")
        balancers = []
        for pool in pools:
            self.associate(pool, monitor)
            balancers.append(self.show(f"pools/{pool['id']}", "pool")["loadbalancers"][0]["id"].replace("-", ""))
        before = [self.generation(each) for each in balancers]
        self.change(f"health_monitors/{monitor['id']}", delay=9, expected_codes="201")
        self.assertEqual([each + 1 for each in before], [self.generation(each) for each in balancers])
        for pool in pools:
            (shown,) = self.listed(f"healthmonitors?pool_id={pool['id']}")
            self.assertEqual((9, "201"), (shown["delay"], shown["expected_codes"]))
        # Not so in LBaaS v2, where a monitor is of one pool: that which had it first.
        (shown,) = self.listed("healthmonitors")
        self.assertEqual([{"id": pools[0]["id"]}], shown["pools"])
        self.assertEqual(shown, self.show(f"healthmonitors/{monitor['id']}", "healthmonitor"))
        self.refused(409, "PUT", f"healthmonitors/{monitor['id']}", {"healthmonitor": {"delay": 10}})
        self.refused(409, "DELETE", f"healthmonitors/{monitor['id']}")
        self.drop(f"pools/{pools[0]['id']}")
        self.put(f"healthmonitors/{monitor['id']}", "healthmonitor", delay=10)
        self.assertEqual(10, self.one(f"health_monitors/{monitor['id']}")["delay"])
        self.remove(f"healthmonitors/{monitor['id']}")
        self.no(404, "GET", f"health_monitors/{monitor['id']}", kind="HealthMonitorNotFound")

    def generation(self, balancer_id: str) -> int:
        with self.repository.read() as tx:
            return tx.load_balancer(balancer_id).generation

    def test_one_address_for_several_vips(self) -> None:
        first = self.vip(self.pool(), address="203.0.113.40")
        second = self.vip(self.pool(protocol="TCP"), address="203.0.113.40", protocol_port=443)
        self.assertEqual(first["port_id"], second["port_id"])
        body = {
            "pool_id": self.pool()["id"],
            "protocol": "HTTP",
            "protocol_port": 80,
            "subnet_id": self.subnet_id,
            "address": "203.0.113.40",
        }
        self.no(409, "POST", "vips", {"vip": body}, kind="IpAddressInUse")
        self.drop(f"vips/{first['id']}")
        self.assertEqual("203.0.113.40", self.one(f"vips/{second['id']}")["address"])

    def test_addresses_come_from_the_subnet(self) -> None:
        pool = self.pool()
        body = {"pool_id": pool["id"], "protocol": "HTTP", "protocol_port": 80}
        _, small = self.add_subnet("192.0.2.0/29", "192.0.2.2", "192.0.2.2")
        for fields, status, kind in (
            ({"subnet_id": NO_UUID}, 404, "SubnetNotFound"),
            ({"subnet_id": self.subnet_id, "address": "198.51.100.1"}, 400, "InvalidInput"),
            ({"subnet_id": self.subnet_id, "address": "0.0.0.0"}, 400, "InvalidInput"),
            ({"subnet_id": self.subnet_id, "address": "x"}, 400, "HTTPBadRequest"),
        ):
            with self.subTest(fields):
                self.no(status, "POST", "vips", {"vip": {**body, **fields}}, kind=kind)
        self.vip(self.pool(), subnet_id=small)
        full = {"vip": {**body, "subnet_id": small}}
        self.no(409, "POST", "vips", full, kind="IpAddressGenerationFailure")
        vip = self.vip(pool, subnet_id=self.subnet6_id)
        self.assertEqual("2001:db8::10", vip["address"])

    def test_a_subnet_of_a_pool_stays(self) -> None:
        pool = self.pool()
        for path, kind in (
            (f"subnets/{self.subnet_id}", "SubnetInUse"),
            (f"networks/{self.network_id}", "NetworkInUse"),
        ):
            with self.nothing_stored():
                refused = self.call("DELETE", f"/v2.0/{path}")
            self.assertEqual((409, kind), (refused.status, refused.json["NeutronError"]["type"]))
            self.assertIn(pool["id"], refused.json["NeutronError"]["message"])
        self.drop(f"pools/{pool['id']}")
        self.expect(204, "DELETE", f"/v2.0/subnets/{self.subnet_id}")
        self.expect(204, "DELETE", f"/v2.0/networks/{self.network_id}")

    def test_what_belongs_to_another_tenant(self) -> None:
        pool = self.pool(tenant_id="t")
        self.assertEqual("t", pool["tenant_id"])
        vip, member = self.vip(pool, tenant_id="t"), self.member(pool, tenant_id="t")
        self.assertEqual(("t", "t"), (vip["tenant_id"], member["tenant_id"]))
        self.assertEqual("t", self.monitor(tenant_id="t")["tenant_id"])
        vip_body = {"pool_id": pool["id"], "protocol": "HTTP", "protocol_port": 80, "subnet_id": self.subnet_id}
        self.no(403, "POST", "vips", {"vip": {**vip_body, "tenant_id": "u"}}, kind="NotAuthorized")
        body = {"pool_id": pool["id"], "address": "198.51.100.2", "protocol_port": 80, "tenant_id": "u"}
        self.no(403, "POST", "members", {"member": body}, kind="NotAuthorized")
        for path in (f"vips/{vip['id']}", f"members/{member['id']}"):
            key = path.partition("/")[0][:-1]
            change = {key: {"pool_id": self.pool(tenant_id="u")["id"]}}
            self.no(403, "PUT", path, change, kind="NotAuthorized")

    def test_statistics_are_zero_first(self) -> None:
        zero = dict.fromkeys(("bytes_in", "bytes_out", "active_connections", "total_connections"), 0)
        pool = self.pool()
        self.assertEqual({"stats": zero}, self.get(f"{LB}/pools/{pool['id']}/stats"))
        self.no(404, "GET", f"pools/{NO_UUID}/stats", kind="PoolNotFound")

    def test_providers(self) -> None:
        self.assertEqual("dummy", self.pool(provider="Dummy")["provider"])
        body = {"protocol": "HTTP", "lb_method": "ROUND_ROBIN", "subnet_id": self.subnet_id}
        self.no(400, "POST", "pools", {"pool": {**body, "provider": "cloud"}}, kind="ServiceProviderNotFound")
        # There is no device of that one.
        self.no(404, "POST", "pools", {"pool": {**body, "provider": "haproxy"}}, kind="NoEligibleBackend")


REQUIRED: Mapping[str, Mapping[str, Any]] = {
    "pools": {"protocol": "HTTP", "lb_method": "ROUND_ROBIN", "subnet_id": NO_UUID},
    "vips": {"pool_id": NO_UUID, "protocol": "HTTP", "protocol_port": 80, "subnet_id": NO_UUID},
    "members": {"pool_id": NO_UUID, "address": "198.51.100.1", "protocol_port": 80},
    "health_monitors": {"type": "TCP", "delay": 1, "timeout": 1, "max_retries": 1},
}
BAD: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "pools": {
        "name": (5, None, "x" * 256),
        "description": (["x"], None, "x" * 256),
        "subnet_id": ("x", None, 5),
        "protocol": ("http", "UDP", None, 1),
        "lb_method": ("round_robin", "SOURCE_IP_PORT", None),
        "provider": ("", None, 5),
        "health_monitors": ("x", ["x"], [NO_UUID, NO_UUID], [{}]),
    },
    "vips": {
        "name": (5, None, "x" * 256),
        "subnet_id": ("x", None),
        "address": ("x", "198.51.100.0/24", " 198.51.100.1", 5, "fe80::1%eth0"),
        "protocol_port": (0, -1, 65536),
        "protocol": ("tcp", "TERMINATED_HTTPS", None),
        "pool_id": ("x", None),
        "connection_limit": (-2,),
    },
    "members": {
        "pool_id": ("x", None),
        "address": ("x", None, 5, "198.51.100.1 "),
        "protocol_port": (0, 65536),
        "weight": (-1, 257),
    },
    "health_monitors": {
        "type": ("tcp", "TLS-HELLO", None),
        "delay": (-1,),
        "timeout": (-1,),
        "max_retries": (0, 11),
        "http_method": ("get", "", "A B", None),
        "url_path": ("x", "", "/a b", "/\r\nx", None),
        "expected_codes": ("2", "2000", "200-202,204", "200,", "204-200", "600", None, 200, "x"),
    },
}
UNCONVERTIBLE: Mapping[str, tuple[str, ...]] = {
    "pools": ("admin_state_up",),
    "vips": ("admin_state_up", "protocol_port", "connection_limit"),
    "members": ("admin_state_up", "protocol_port", "weight"),
    "health_monitors": ("admin_state_up", "delay", "timeout", "max_retries"),
}


class TestBadRequests(LbaasV1Case):
    worker = False

    def test_values(self) -> None:
        with self.nothing_stored():
            for plural, fields in BAD.items():
                for name, values in fields.items():
                    for value in values:
                        with self.subTest(plural, field=name, value=value):
                            body = {plural[:-1]: {**REQUIRED[plural], name: value}}
                            self.assertIn(name, self.no(400, "POST", plural, body, kind="HTTPBadRequest"))

    def test_values_that_cannot_be_converted(self) -> None:
        with self.nothing_stored():
            for plural, names in UNCONVERTIBLE.items():
                for name in names:
                    values: tuple[Any, ...] = ("x", "", [1], {}, "yes" if name == "admin_state_up" else "1.5")
                    for value in values:
                        with self.subTest(plural, field=name, value=value):
                            body = {plural[:-1]: {**REQUIRED[plural], name: value}}
                            self.assertIn(name, self.no(400, "POST", plural, body, kind="InvalidInput"))
                    body = {plural[:-1]: {**REQUIRED[plural], name: None}}
                    self.assertIn(name, self.no(400, "POST", plural, body))

    def test_what_is_required(self) -> None:
        with self.nothing_stored():
            for plural, values in REQUIRED.items():
                for name in values:
                    body = {plural[:-1]: {key: value for key, value in values.items() if key != name}}
                    self.assertIn(name, self.no(400, "POST", plural, body, kind="HTTPBadRequest"))

    def test_what_cannot_be_set(self) -> None:
        made: Mapping[str, Body] = {
            "pools": self.pool(),
            "vips": self.vip(self.pool()),
            "members": self.member(self.pool()),
            "health_monitors": self.monitor(),
        }
        created = {
            "pools": ("id", "vip_id", "members", "status", "status_description", "health_monitors_status"),
            "vips": ("id", "port_id", "status", "status_description"),
            "members": ("id", "status", "status_description"),
            "health_monitors": ("id", "pools", "status"),
        }
        fixed = {
            "pools": ("id", "tenant_id", "subnet_id", "protocol", "provider", "vip_id", "status"),
            "vips": ("id", "tenant_id", "subnet_id", "address", "protocol_port", "protocol", "port_id", "status"),
            "members": ("id", "tenant_id", "address", "protocol_port", "status"),
            "health_monitors": ("id", "tenant_id", "type", "pools"),
        }
        with self.nothing_stored():
            for plural, shown in made.items():
                key, path = plural[:-1], f"{plural}/{shown['id']}"
                for name in (*created[plural], "nothing"):
                    body = {key: {**REQUIRED[plural], name: shown.get(name, "x")}}
                    self.assertIn(name, self.no(400, "POST", plural, body, kind="HTTPBadRequest"))
                for name in (*fixed[plural], "nothing"):
                    body = {key: {name: shown.get(name, "x")}}
                    self.assertIn(name, self.no(400, "PUT", path, body, kind="HTTPBadRequest"))

    def test_bodies(self) -> None:
        path = f"pools/{self.pool()['id']}"
        for method, where in (("POST", "pools"), ("PUT", path)):
            bodies: tuple[Body, ...] = ({}, {"vip": {}}, {"pool": []}, {"pool": "x"}, {"pool": {}, "vip": {}})
            for body in bodies:
                if method == "POST" or body != {"pool": {}}:
                    self.no(400, method, where, body, kind="HTTPBadRequest")
        for plural, values in REQUIRED.items():
            self.assertIn("bulk", self.no(400, "POST", plural, {plural: [values]}, kind="HTTPBadRequest"))
        for raw, kind in ((b"{", "MalformedRequestBody"), (b"\xff", "MalformedRequestBody"), (b"", "HTTPBadRequest")):
            answer = self.call("POST", f"{LB}/pools", raw=raw)
            self.assertEqual((400, kind), (answer.status, answer.json["NeutronError"]["type"]))
        for method, kind in (("POST", "HTTPBadRequest"), ("PUT", "BadRequest")):
            answer = self.call(method, f"{LB}/{path if method == 'PUT' else 'pools'}", raw=b"[]")
            self.assertEqual((400, kind), (answer.status, answer.json["NeutronError"]["type"]))

    def test_what_is_not_there(self) -> None:
        kinds = {"pools": "Pool", "vips": "Vip", "members": "Member", "health_monitors": "HealthMonitor"}
        with self.nothing_stored():
            for plural, kind in kinds.items():
                for name in (NO_UUID, "x", "web-pool"):
                    path = f"{plural}/{name}"
                    self.no(404, "GET", path, kind=f"{kind}NotFound")
                    self.no(404, "DELETE", path, kind=f"{kind}NotFound")
                    self.no(404, "PUT", path, {plural[:-1]: {"admin_state_up": True}}, kind=f"{kind}NotFound")
            self.no(404, "POST", "vips", {"vip": REQUIRED["vips"]}, kind="PoolNotFound")
            self.no(404, "POST", "members", {"member": REQUIRED["members"]}, kind="PoolNotFound")
            self.no(404, "GET", "nothing")
            self.no(405, "DELETE", "pools")

    def test_quotas(self) -> None:
        pool = self.pool()
        self.member(pool)
        self.monitor()
        self.vip(pool)
        limits = dict.fromkeys(("listener", "pool", "member", "healthmonitor"), 1)
        self.expect(202, "PUT", "/v2.0/lbaas/quotas/default", {"quota": limits})
        bodies = {
            "pools": {**REQUIRED["pools"]},
            "members": {**REQUIRED["members"], "pool_id": pool["id"]},
            "health_monitors": {**REQUIRED["health_monitors"]},
        }
        for plural, body in bodies.items():
            self.no(409, "POST", plural, {plural[:-1]: body}, kind="OverQuota")
        vip = {**REQUIRED["vips"], "pool_id": pool["id"], "subnet_id": self.subnet_id, "protocol_port": 81}
        self.expect(202, "PUT", "/v2.0/lbaas/quotas/default", {"quota": {"pool": 2}})
        other = self.pool()
        told = self.no(409, "POST", "vips", {"vip": {**vip, "pool_id": other["id"]}}, kind="OverQuota")
        self.assertTrue(told.startswith("Quota has been met for resources: vip. The project may have 1 vip,"), told)
        # What is exchanged is not more than before, and an association makes nothing.
        self.associate(pool, self.all("health_monitors")[0])


class TestPaths(LbaasV1Case):
    worker = False

    def test_they_may_end_in_json(self) -> None:
        pool = self.expect(201, "POST", f"{LB}/pools.json", {"pool": {**REQUIRED["pools"], "name": "p"}})["pool"]
        self.assertEqual([pool], self.all("pools.json?name=p"))
        path = f"{LB}/pools/{pool['id']}"
        self.assertEqual(pool, self.get(f"{path}.json")["pool"])
        self.get(f"{path}/stats.json")
        monitor = self.monitor()
        self.expect(201, "POST", f"{path}/health_monitors.json", {"health_monitor": {"id": monitor["id"]}})
        self.expect(204, "DELETE", f"{path}/health_monitors/{monitor['id']}.json")
        self.expect(204, "DELETE", f"{path}.json")

    def test_ids_may_be_without_dashes(self) -> None:
        pool = self.pool()
        self.assertEqual(pool, self.one(f"pools/{pool['id'].replace('-', '')}"))
        self.assertEqual(pool, self.get(f"/v2/lb/pools/{pool['id'].upper()}")["pool"])


class TestStatuses(LbaasV1Case):
    def test_what_a_device_refuses_is_in_error_until_it_takes_a_change(self) -> None:
        pool = self.pool()
        vip, member = self.vip(pool), self.member(pool)
        paths = [f"vips/{vip['id']}", f"members/{member['id']}", f"pools/{pool['id']}"]
        for path in paths:
            self.until_active(path)
        (balancer,) = self.listed("loadbalancers")
        refuses = f"reject:{balancer['id'].replace('-', '')}"
        self.expect(200, "PUT", f"/devices/{self.device_id}", {"behaviour": refuses})
        self.assertIn(self.change(paths[1], weight=9)["status"], ("PENDING_UPDATE", "ERROR"))
        refused = self.until_active(paths[1])
        self.assertEqual("ERROR", refused["status"])
        # What the device said is for administrators, who read it in the balancer API.
        self.assertIn("did not accept", refused["status_description"])
        # What was not changed runs on.
        shown = self.one(paths[0])
        self.assertEqual(("ACTIVE", None), (shown["status"], shown["status_description"]))
        self.expect(200, "PUT", f"/devices/{self.device_id}", {"behaviour": ""})
        self.change(paths[1], weight=8)
        again = self.until_active(paths[1])
        self.assertEqual(("ACTIVE", None), (again["status"], again["status_description"]))

    def test_the_port_of_a_vip_goes_with_it(self) -> None:
        pool = self.pool()
        vip = self.vip(pool)
        self.until_active(f"vips/{vip['id']}")
        self.drop(f"vips/{vip['id']}")
        self.until(lambda: self.call("GET", f"/v2.0/ports/{vip['port_id']}").status == 404)
        self.assertEqual(vip["address"], self.vip(pool)["address"])

    def test_from_pending_to_active(self) -> None:
        pool = self.pool()
        self.assertEqual("ACTIVE", self.until_active(f"pools/{pool['id']}")["status"])
        vip, member = self.vip(pool), self.member(pool)
        monitor = self.monitor()
        self.associate(pool, monitor)
        for path in (f"vips/{vip['id']}", f"members/{member['id']}", f"pools/{pool['id']}"):
            self.assertEqual("ACTIVE", self.until_active(path)["status"])
        self.until(lambda: self.one(f"health_monitors/{monitor['id']}")["pools"][0]["status"] == "ACTIVE")
        (of,) = self.one(f"pools/{pool['id']}")["health_monitors_status"]
        self.assertEqual({"monitor_id": monitor["id"], "status": "ACTIVE", "status_description": None}, of)
        for path in (f"members/{member['id']}", f"vips/{vip['id']}", f"pools/{pool['id']}"):
            self.change(path, admin_state_up=False)
            self.assertEqual("DOWN", self.until_active(path)["status"])
            self.change(path, admin_state_up=True)
            self.assertEqual("ACTIVE", self.until_active(path)["status"])
        (balancer,) = self.listed("loadbalancers")
        self.put(f"loadbalancers/{balancer['id']}", "loadbalancer", admin_state_up=False)
        for path in (f"members/{member['id']}", f"vips/{vip['id']}", f"pools/{pool['id']}"):
            self.assertEqual("DOWN", self.until_active(path)["status"])
        self.put(f"loadbalancers/{balancer['id']}", "loadbalancer", admin_state_up=True)
        node = f"/default/loadbalancers/{balancer['id']}/nodes/{member['id']}"
        self.expect(200, "PUT", f"{node}/outofservice")
        self.assertEqual("DOWN", self.until_active(f"members/{member['id']}")["status"])
        self.expect(200, "PUT", f"{node}/inservice")
        self.assertEqual("ACTIVE", self.until_active(f"members/{member['id']}")["status"])
        self.drop(f"vips/{vip['id']}")
        self.drop(f"pools/{pool['id']}")
        self.assertEqual([], self.all("members"))
        self.assertEqual([], self.one(f"health_monitors/{monitor['id']}")["pools"])
