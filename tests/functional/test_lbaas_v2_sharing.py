"""One set of objects: what the balancer API makes is managed in LBaaS v2, and the other way round."""

from __future__ import annotations

from typing import Any

from tests.functional.case import NODE, VIRTUAL_IP
from tests.functional.lbaas_v2 import Body, LbaasCase

CHECK: Body = {"type": "HTTP", "delay": 5, "timeout": 2, "attemptsBeforeDeactivation": 4}


class TestSharing(LbaasCase):
    worker = False

    def made_in_v1(self, **fields: Any) -> str:
        """The id, as 32 hex digits."""
        return self.create(**{"nodes": [NODE], "virtualIps": [VIRTUAL_IP], **fields}).rpartition("/")[2]

    def test_made_in_the_balancer_api(self) -> None:
        lb_id = self.made_in_v1(
            healthMonitor=[CHECK],
            sessionPersistence=[{"type": "SOURCE_IP"}],
            virtualIps=[VIRTUAL_IP, {"address": "0.0.0.0", "port": 81}],
        )
        shown = self.show(f"loadbalancers/{lb_id}", "loadbalancer")
        self.assertEqual(("web", "foo"), (shown["name"], shown["project_id"]))
        self.assertEqual(VIRTUAL_IP["address"], shown["vip_address"])
        self.assertEqual(["0.0.0.0"], [each["ip_address"] for each in shown["additional_vips"]])
        self.assertEqual([shown], self.listed("loadbalancers?project_id=foo"))
        first, second = self.listed("listeners")
        self.assertEqual(([80, 81], "HTTP"), ([first["protocol_port"], second["protocol_port"]], first["protocol"]))
        self.assertEqual({"X-Forwarded-For": "true"}, first["insert_headers"])
        (pool,) = self.listed("pools")
        self.assertEqual(("ROUND_ROBIN", "SOURCE_IP"), (pool["lb_algorithm"], pool["session_persistence"]["type"]))
        self.assertEqual(pool["id"], first["default_pool_id"])
        (member,) = self.listed(f"pools/{pool['id']}/members")
        self.assertEqual((NODE["address"], NODE["port"]), (member["address"], member["protocol_port"]))
        (monitor,) = self.listed("healthmonitors")
        self.assertEqual(monitor["id"], pool["healthmonitor_id"])
        # Changed here, seen there.
        self.put(f"pools/{pool['id']}/members/{member['id']}", "member", weight=17, name="node")
        self.put(f"loadbalancers/{lb_id}", "loadbalancer", name="renamed", admin_state_up=False)
        self.put(f"listeners/{first['id']}", "listener", name="front")
        self.add_member(pool, address="198.51.100.77")
        details = self.get(f"/foo/loadbalancers/{lb_id}/details")
        self.assertEqual("renamed", details["name"])
        self.assertEqual((17, "node"), (details["nodes"][0]["weight"], details["nodes"][0]["name"]))
        self.assertEqual("198.51.100.77", details["nodes"][1]["address"])
        self.assertEqual("front", details["virtualIps"][0]["name"])
        self.remove(f"healthmonitors/{monitor['id']}")
        self.assertEqual([], self.get(f"/foo/loadbalancers/{lb_id}/healthMonitoring")["healthMonitoring"])
        self.remove(f"loadbalancers/{lb_id}", query="?cascade=true")
        self.refuse(404, "GET", f"/foo/loadbalancers/{lb_id}")

    def test_made_here(self) -> None:
        balancer = self.add_balancer(name="lb", project_id="foo", tags=["t"])
        listener = self.add_listener(balancer, allowed_cidrs=["192.0.2.0/24"], connection_limit=5)
        pool = self.add_pool(listener_id=listener["id"])
        member = self.add_member(pool, tags=["m"], monitor_port=99)
        hexadecimal = balancer["id"].replace("-", "")
        path = f"/foo/loadbalancers/{hexadecimal}"
        self.assertIn(hexadecimal, [each["id"] for each in self.get("/foo/loadbalancers")["loadbalancers"]])
        details = self.get(f"{path}/details")
        self.assertEqual(("lb", balancer["vip_address"]), (details["name"], details["virtualIps"][0]["address"]))
        # Changed there, seen here; what that API has no words for stays.
        node_id = details["nodes"][0]["id"]
        self.expect(200, "PUT", f"{path}/nodes/{node_id}", {"weight": 9})
        shown = self.show(f"pools/{pool['id']}/members/{member['id']}", "member")
        self.assertEqual((9, ["m"], 99), (shown["weight"], shown["tags"], shown["monitor_port"]))
        self.expect(202, "PUT", path, {"name": "new", "algorithm": "LEAST_CONNECTION"})
        self.assertEqual("new", self.show(f"loadbalancers/{balancer['id']}", "loadbalancer")["name"])
        self.assertEqual("LEAST_CONNECTIONS", self.show(f"pools/{pool['id']}", "pool")["lb_algorithm"])
        shown = self.show(f"listeners/{listener['id']}", "listener")
        self.assertEqual((["192.0.2.0/24"], 5), (shown["allowed_cidrs"], shown["connection_limit"]))
        # The address is the load balancer's, also without a listener.
        self.expect(204, "DELETE", f"{path}/virtualIps/{listener['id']}")
        self.refused(404, "GET", f"listeners/{listener['id']}")
        self.assertEqual(
            balancer["vip_address"], self.show(f"loadbalancers/{balancer['id']}", "loadbalancer")["vip_address"]
        )
        self.add_listener(balancer)
        self.expect(204, "DELETE", path)
        self.refused(404, "GET", f"loadbalancers/{balancer['id']}")

    def test_what_the_other_api_cannot_express(self) -> None:
        balancer = self.add_balancer(project_id="foo", additional_vips=[{"subnet_id": self.subnet6_id}])
        listener = self.add_listener(balancer)
        pools = [self.add_pool(loadbalancer_id=balancer["id"]) for _ in range(2)]
        self.add_member(pools[0])
        path = f"/foo/loadbalancers/{balancer['id']}"
        before = self.show(f"listeners/{listener['id']}", "listener")
        self.refuse(409, "POST", f"{path}/nodes", {"nodes": [NODE]})
        self.refuse(409, "PUT", f"{path}/virtualIps/{listener['id']}", {"address": "203.0.113.99"})
        self.refuse(409, "POST", f"{path}/healthMonitoring", {"healthMonitoring": CHECK})
        self.assertEqual(before, self.show(f"listeners/{listener['id']}", "listener"))

    def test_what_this_api_cannot_express(self) -> None:
        several = self.made_in_v1(healthMonitor=[CHECK, {**CHECK, "type": "TCP"}])
        (pool,) = self.listed("pools")
        monitors = self.listed("healthmonitors")
        self.assertEqual(["HTTP", "TCP"], [each["type"] for each in monitors])
        self.assertEqual(monitors[0]["id"], pool["healthmonitor_id"])
        # Each of them is an object; there can be no third.
        self.put(f"healthmonitors/{monitors[1]['id']}", "healthmonitor", delay=9)
        body = {"pool_id": pool["id"], "type": "TCP", "delay": 1, "timeout": 1, "max_retries": 1}
        self.refused(409, "POST", "healthmonitors", {"healthmonitor": body})
        self.remove(f"healthmonitors/{monitors[0]['id']}")
        self.assertEqual(monitors[1]["id"], self.show(f"pools/{pool['id']}", "pool")["healthmonitor_id"])
        self.remove(f"loadbalancers/{several}", query="?cascade=true")
        nowhere = self.made_in_v1(virtualIps=[])
        shown = self.show(f"loadbalancers/{nowhere}", "loadbalancer")
        self.assertIsNone(shown["vip_address"])
        body = {"loadbalancer_id": shown["id"], "protocol": "HTTP", "protocol_port": 80}
        self.refused(409, "POST", "listeners", {"listener": body})
