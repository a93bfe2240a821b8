"""One set of objects: what LBaaS v1 makes is managed in the other APIs, and the other way round."""

from __future__ import annotations

from typing import Any

from tests.functional.case import NODE, VIRTUAL_IP
from tests.functional.lbaas_v1 import LbaasV1Case
from tests.functional.lbaas_v2 import Body


class TestMadeHere(LbaasV1Case):
    worker = False

    def setUp(self) -> None:
        super().setUp()
        self.web = self.pool(name="web-pool", tenant_id="foo")
        self.first = self.member(self.web)
        self.check = self.monitor(type="HTTP", tenant_id="foo", max_retries=4)
        self.associate(self.web, self.check)
        self.front = self.vip(
            self.web, name="web-vip", connection_limit=9, session_persistence={"type": "APP_COOKIE", "cookie_name": "c"}
        )

    def test_it_is_all_in_v2(self) -> None:
        (balancer,) = self.listed("loadbalancers")
        self.assertEqual(
            ("foo", "web-pool", self.front["address"], self.subnet_id, self.front["port_id"]),
            tuple(balancer[key] for key in ("project_id", "name", "vip_address", "vip_subnet_id", "vip_port_id")),
        )
        (listener,) = self.listed("listeners")
        self.assertEqual(
            (self.front["id"], "web-vip", 80, "HTTP", 9, self.web["id"], {"X-Forwarded-For": "true"}),
            tuple(
                listener[key]
                for key in (
                    *("id", "name", "protocol_port", "protocol", "connection_limit", "default_pool_id"),
                    "insert_headers",
                )
            ),
        )
        (pool,) = self.listed("pools")
        persistence = pool["session_persistence"]
        self.assertEqual(("APP_COOKIE", "c"), (persistence["type"], persistence["cookie_name"]))
        self.assertEqual(
            (self.web["id"], "ROUND_ROBIN", self.check["id"]),
            (pool["id"], pool["lb_algorithm"], pool["healthmonitor_id"]),
        )
        (member,) = self.listed(f"pools/{pool['id']}/members")
        self.assertEqual(self.first["id"], member["id"])
        (monitor,) = self.listed("healthmonitors")
        self.assertEqual((self.check["id"], 2, 4), tuple(monitor[k] for k in ("id", "max_retries", "max_retries_down")))

    def test_what_changes_there_is_seen_here(self) -> None:
        self.put(f"pools/{self.web['id']}", "pool", lb_algorithm="SOURCE_IP", session_persistence=None, name="new")
        self.put(f"listeners/{self.front['id']}", "listener", connection_limit=5, name="new-vip")
        self.put(f"pools/{self.web['id']}/members/{self.first['id']}", "member", weight=7)
        self.put(f"healthmonitors/{self.check['id']}", "healthmonitor", max_retries_down=6, delay=9)
        more = self.add_member(self.web, address="198.51.100.77")
        shown = self.one(f"pools/{self.web['id']}")
        self.assertEqual(("SOURCE_IP", "new"), (shown["lb_method"], shown["name"]))
        self.assertEqual([self.first["id"], more["id"]], shown["members"])
        vip = self.one(f"vips/{self.front['id']}")
        self.assertEqual((5, "new-vip", None), (vip["connection_limit"], vip["name"], vip["session_persistence"]))
        self.assertEqual(7, self.one(f"members/{self.first['id']}")["weight"])
        monitor = self.one(f"health_monitors/{self.check['id']}")
        self.assertEqual((6, 9), (monitor["max_retries"], monitor["delay"]))
        # A change here of one thing leaves the other alone.
        self.change(f"health_monitors/{self.check['id']}", max_retries=3)
        self.assertEqual(2, self.show(f"healthmonitors/{self.check['id']}", "healthmonitor")["max_retries"])

    def test_it_is_all_in_the_balancer_api(self) -> None:
        (balancer,) = self.get("/foo/loadbalancers")["loadbalancers"]
        details = self.get(f"/foo/loadbalancers/{balancer['id']}/details")
        self.assertEqual("web-pool", details["name"])
        self.assertEqual([self.front["address"]], [each["address"] for each in details["virtualIps"]])
        self.assertEqual([self.first["address"]], [each["address"] for each in details["nodes"]])
        self.assertEqual(["HTTP"], [each["type"] for each in details["healthMonitor"]])
        self.assertEqual(["APP_COOKIE"], [each["type"] for each in details["sessionPersistence"]])
        path = f"/foo/loadbalancers/{balancer['id']}"
        self.expect(200, "PUT", f"{path}/nodes/{details['nodes'][0]['id']}", {"weight": 11})
        self.assertEqual(11, self.one(f"members/{self.first['id']}")["weight"])
        self.expect(204, "DELETE", path)
        self.assertEqual([[]] * 4, [self.all(each) for each in ("vips", "pools", "members", "health_monitors")])

    def test_reading_changes_nothing(self) -> None:
        before = self.rows()
        (balancer,) = self.listed("loadbalancers")
        for path in (f"loadbalancers/{balancer['id']}", f"loadbalancers/{balancer['id']}/statuses", "listeners"):
            self.expect(200, "GET", f"/v2.0/lbaas/{path}")
        for plural in ("vips", "pools", "members", "health_monitors"):
            self.all(plural)
        self.assertEqual(before, self.rows())

    def test_a_vip_goes_on_in_v2(self) -> None:
        (balancer,) = self.listed("loadbalancers")
        second = self.add_listener(balancer, protocol_port=81, name="second", default_pool_id=self.web["id"])
        third = self.add_listener(balancer, protocol_port=82, name="third")
        self.add_rule(self.add_policy(third))
        shown = [(each["id"], each["address"], each["pool_id"]) for each in self.all("vips")]
        address, pool_id = self.front["address"], self.web["id"]
        expected = [
            (self.front["id"], address, pool_id),
            (second["id"], address, pool_id),
            (third["id"], address, None),
        ]
        self.assertEqual(expected, shown)
        self.assertEqual(self.front["id"], self.one(f"pools/{pool_id}")["vip_id"])
        # What can be said is done, and what would change another vip too is not.
        self.assertEqual("n", self.change(f"vips/{second['id']}", name="n", connection_limit=3)["name"])
        for vip in (self.front, second):
            body: Body = {"vip": {"session_persistence": {"type": "SOURCE_IP"}}}
            self.no(409, "PUT", f"vips/{vip['id']}", body)
        self.no(409, "PUT", f"vips/{third['id']}", {"vip": {"session_persistence": {"type": "SOURCE_IP"}}})
        other = self.pool(tenant_id="foo")
        self.no(409, "PUT", f"vips/{second['id']}", {"vip": {"pool_id": other["id"]}})
        # A pool of the same load balancer is no trouble.
        api = self.add_pool(loadbalancer_id=balancer["id"], name="api")
        self.assertEqual(api["id"], self.change(f"vips/{third['id']}", pool_id=api["id"])["pool_id"])
        self.no(409, "DELETE", f"pools/{api['id']}", kind="PoolInUse")
        # The persistence is the pool's as long as one vip has it.
        self.drop(f"vips/{second['id']}")
        self.assertEqual("APP_COOKIE", self.one(f"vips/{self.front['id']}")["session_persistence"]["type"])
        self.drop(f"vips/{self.front['id']}")
        self.assertIsNone(self.show(f"pools/{self.web['id']}", "pool")["session_persistence"])
        # The third one listens at all addresses there are, so they stay.
        self.assertEqual(address, self.one(f"vips/{third['id']}")["address"])
        # The pool may have a vip at the address that its load balancer has, and at no other.
        wanted: Body = {"pool_id": pool_id, "protocol": "HTTP", "protocol_port": 83, "subnet_id": self.subnet_id}
        self.no(409, "POST", "vips", {"vip": {**wanted, "address": "203.0.113.99"}})
        self.no(409, "POST", "vips", {"vip": {**wanted, "subnet_id": self.subnet6_id}})
        self.assertEqual(address, self.vip(self.web, protocol_port=83)["address"])
        self.drop(f"vips/{third['id']}")
        self.drop(f"pools/{api['id']}")
        self.assertEqual([balancer["id"]], [each["id"] for each in self.listed("loadbalancers?name=web-pool")])

    def test_a_pool_that_an_l7_policy_needs(self) -> None:
        (balancer,) = self.listed("loadbalancers")
        other = self.add_pool(loadbalancer_id=balancer["id"])
        self.add_policy(self.front, action="REDIRECT_TO_POOL", redirect_pool_id=other["id"])
        self.no(409, "DELETE", f"pools/{other['id']}")
        self.add_policy(self.front, action="REDIRECT_TO_POOL", redirect_pool_id=self.web["id"])
        bare = self.pool(tenant_id="foo")
        self.no(409, "PUT", f"vips/{self.front['id']}", {"vip": {"pool_id": bare["id"]}})


class TestMadeElsewhere(LbaasV1Case):
    worker = False

    def test_the_persistence_of_a_pool_that_others_l7_policies_use_stays(self) -> None:
        balancer = self.add_balancer()
        front, other = self.add_listener(balancer), self.add_listener(balancer, protocol_port=81)
        by_address, by_cookie = {"type": "SOURCE_IP"}, {"type": "HTTP_COOKIE"}
        first = self.add_pool(listener_id=front["id"], session_persistence=by_address)
        second = self.add_pool(loadbalancer_id=balancer["id"], session_persistence=by_cookie)
        for pool in (first, second):
            self.add_policy(other, action="REDIRECT_TO_POOL", redirect_pool_id=pool["id"])
        path = f"vips/{front['id']}"
        for change in ({"pool_id": second["id"]}, {"session_persistence": by_cookie}, {"session_persistence": None}):
            self.no(409, "PUT", path, {"vip": change}, kind="Conflict")
        # The same once more is no change.
        self.assertEqual(by_address, self.change(path, session_persistence=by_address)["session_persistence"])
        third = self.add_pool(loadbalancer_id=balancer["id"])
        self.assertEqual(by_address, self.change(path, pool_id=third["id"])["session_persistence"])
        self.drop(path)
        wanted: Body = {"pool_id": second["id"], "protocol": "HTTP", "protocol_port": 82, "subnet_id": self.subnet_id}
        self.no(409, "POST", "vips", {"vip": {**wanted, "session_persistence": by_address}}, kind="Conflict")
        vip = self.vip(second, protocol_port=82)
        self.assertEqual(by_cookie, vip["session_persistence"])
        self.drop(f"vips/{vip['id']}")
        kept = [self.show(f"pools/{pool['id']}", "pool")["session_persistence"] for pool in (first, second, third)]
        self.assertEqual(["SOURCE_IP", "HTTP_COOKIE", None], [each and each["type"] for each in kept])

    def test_in_v2(self) -> None:
        balancer = self.add_balancer(project_id="foo", additional_vips=[{"subnet_id": self.subnet6_id}])
        listener = self.add_listener(balancer, name="l")
        pool = self.add_pool(listener_id=listener["id"], name="p")
        member = self.add_member(pool, name="m", backup=True)
        monitor = self.add_monitor(pool, type="TLS-HELLO")
        (vip,) = self.all("vips")
        self.assertEqual(
            (listener["id"], balancer["vip_address"], pool["id"], "foo"),
            (vip["id"], vip["address"], vip["pool_id"], vip["tenant_id"]),
        )
        (shown,) = self.all("pools")
        self.assertEqual(
            (vip["id"], self.subnet_id, [member["id"]], [monitor["id"]]),
            (shown["vip_id"], shown["subnet_id"], shown["members"], shown["health_monitors"]),
        )
        self.assertEqual("TLS-HELLO", self.one(f"health_monitors/{monitor['id']}")["type"])
        self.change(f"members/{member['id']}", weight=3)
        kept = self.show(f"pools/{pool['id']}/members/{member['id']}", "member")
        self.assertEqual((3, "m", True), (kept["weight"], kept["name"], kept["backup"]))
        # Its address stays, as v2 has it, and so does its load balancer when its last pool goes.
        self.drop(f"vips/{vip['id']}")
        self.drop(f"pools/{pool['id']}")
        self.assertEqual(
            balancer["vip_address"], self.show(f"loadbalancers/{balancer['id']}", "loadbalancer")["vip_address"]
        )
        # The monitor stays as well, and is nobody's but this dialect's until a pool has it again.
        self.assertEqual([], self.one(f"health_monitors/{monitor['id']}")["pools"])
        self.refused(404, "GET", f"healthmonitors/{monitor['id']}")

    def test_what_this_api_has_no_words_for_is_shown_in_those_of_others(self) -> None:
        balancer = self.add_balancer()
        for protocol, port in (("UDP", 53), ("PROMETHEUS", 9100), ("HTTPS", 443)):
            self.add_listener(balancer, protocol=protocol, protocol_port=port)
        self.add_pool(loadbalancer_id=balancer["id"], protocol="PROXYV2", lb_algorithm="SOURCE_IP_PORT")
        self.add_pool(loadbalancer_id=balancer["id"], protocol="SCTP")
        self.assertEqual(["UDP", "PROMETHEUS", "HTTPS"], [each["protocol"] for each in self.all("vips")])
        pools = self.all("pools")
        self.assertEqual(["PROXYV2", "SCTP"], [each["protocol"] for each in pools])
        self.assertEqual("SOURCE_IP_PORT", pools[0]["lb_method"])
        monitor = self.monitor(type="HTTP")
        self.associate(pools[0], monitor)
        # A health monitor that cannot check the pool.
        ping = {"health_monitor": {"id": self.monitor(type="PING")["id"]}}
        self.no(400, "POST", f"pools/{pools[1]['id']}/health_monitors", ping)

    def test_in_the_balancer_api(self) -> None:
        check: Body = {"type": "HTTP", "delay": 5, "timeout": 2, "attemptsBeforeDeactivation": 4}
        fields: dict[str, Any] = {
            "nodes": [NODE],
            "virtualIps": [VIRTUAL_IP, {"address": "0.0.0.0", "port": 81}],
            "healthMonitor": [check, {**check, "type": "CONNECT"}],
            "sessionPersistence": [{"type": "HTTP_COOKIE", "cookie_name": "mine"}],
        }
        path = self.create(**fields)
        first, second = self.all("vips")
        self.assertEqual([VIRTUAL_IP["address"], "0.0.0.0"], [first["address"], second["address"]])
        self.assertEqual({"type": "HTTP_COOKIE", "cookie_name": "mine"}, first["session_persistence"])
        (pool,) = self.all("pools")
        self.assertEqual((first["id"], self.subnet_id), (pool["vip_id"], pool["subnet_id"]))
        self.assertCountEqual(["HTTP", "TCP"], [each["type"] for each in self.all("health_monitors")])
        self.assertEqual([4, 4], [each["max_retries"] for each in self.all("health_monitors")])
        self.no(409, "DELETE", f"pools/{pool['id']}", kind="PoolInUse")
        # The pool is the load balancer's only one, and it is none without it.
        for vip in (first, second):
            self.drop(f"vips/{vip['id']}")
        self.drop(f"pools/{pool['id']}")
        self.refuse(404, "GET", path)

    def test_a_monitor_of_v2_may_be_shared_here(self) -> None:
        balancer = self.add_balancer()
        pool = self.add_pool(listener_id=self.add_listener(balancer)["id"])
        monitor, other = self.add_monitor(pool), self.pool()
        self.associate(other, monitor)
        self.refused(409, "DELETE", f"healthmonitors/{monitor['id']}")
        # Its first pool goes with the load balancer; the other one keeps it.
        self.remove(f"loadbalancers/{balancer['id']}", query="?cascade=true")
        (of,) = self.one(f"health_monitors/{monitor['id']}")["pools"]
        self.assertEqual(other["id"], of["pool_id"])
        self.assertEqual([monitor["id"]], self.one(f"pools/{other['id']}")["health_monitors"])
