"""The calls of the old command line, one after the other: every value is text, its project precedes every path."""

from __future__ import annotations

from tests.functional.case import ApiCase


class TestOldClient(ApiCase):
    def test_all_subcommands(self) -> None:
        # device-create, -list, -show; algorithms-list, protocols-list
        sent = {
            "name": "d",
            "type": "DUMMY",
            "version": "1",
            "ip": "192.0.2.1",
            "port": "22",
            "user": "u",
            "password": "p",
            "interface": "eth0",
        }
        device = self.expect(200, "POST", "/foo/devices", sent)["device"]
        self.assertEqual(sent, {key: device[key] for key in sent})
        self.assertEqual(1, len(self.get("/foo/devices")["devices"]))
        self.assertEqual("d", self.get(f"/foo/devices/{device['id']}")["device"]["name"])
        self.assertIn("ROUND_ROBIN", self.get("/foo/algorithms")["algorithms"])
        self.assertIn("HTTP", self.get("/foo/protocols")["protocols"])
        # lb-create (which then shows it), -list, -update
        body = {"name": "l", "algorithm": "ROUND_ROBIN", "protocol": "HTTP", "transport": "TCP"}
        created = self.expect(202, "POST", "/foo/loadbalancers", body)
        path = f"/foo/loadbalancers/{created['loadbalancer']['id']}"
        self.assertEqual("TCP", self.get(path)["loadbalancer"]["transport"])
        self.assertEqual(1, len(self.get("/foo/loadbalancers")["loadbalancers"]))
        self.expect(202, "PUT", path, {"name": "l2", "algorithm": "LEAST_CONNECTION", "protocol": "TCP"})
        self.assertEqual("l2", self.get(path)["loadbalancer"]["name"])
        # vip-create, -list, -show, -update (flat), -delete
        vip_body = {
            "name": "v",
            "address": "203.0.113.1",
            "mask": "255.255.255.0",
            "port": "80",
            "type": "PUBLIC",
            "VLAN": "7",
        }
        vip = self.expect(200, "POST", f"{path}/virtualIps", {"virtualIp": vip_body})["virtualIp"]
        self.assertEqual(vip_body, {key: vip[key] for key in vip_body})
        self.assertEqual([vip], self.get(f"{path}/virtualIps")["virtualIps"])
        self.assertEqual(vip, self.get(f"{path}/virtualIps/{vip['id']}")["virtualIp"])
        changed = self.expect(200, "PUT", f"{path}/virtualIps/{vip['id']}", {"name": "v2", "port": "81"})["virtualIp"]
        self.assertEqual(("v2", "81", "7"), (changed["name"], changed["port"], changed["VLAN"]))
        # node-create, -list, -show, -update (flat), -delete
        node_body = {
            "name": "n",
            "type": "HW",
            "address": "198.51.100.1",
            "port": "8001",
            "weight": "10",
            "condition": "ENABLED",
            "colour": "red",
        }
        node = self.expect(200, "POST", f"{path}/nodes", {"nodes": [node_body]})["nodes"][0]
        self.assertEqual(node_body, {key: node[key] for key in node_body})
        self.assertEqual([node], self.get(f"{path}/nodes")["nodes"])
        changed = self.expect(200, "PUT", f"{path}/nodes/{node['id']}", {"weight": "5"})["node"]
        # What was seen of it when it was changed.
        self.assertEqual({**node, "weight": "5", "operating_status": "NO_MONITOR"}, changed)
        self.assertEqual(changed, self.get(f"{path}/nodes/{node['id']}")["node"])
        # probe-create, -list, -show, -delete
        probe_body = {"name": "p", "type": "HTTP", "url": "/", "status": "200"}
        probe = self.expect(200, "POST", f"{path}/healthMonitoring", {"healthMonitoring": probe_body})
        self.assertEqual(probe_body, {key: probe["healthMonitoring"][key] for key in probe_body})
        probe_path = f"{path}/healthMonitoring/{probe['healthMonitoring']['id']}"
        self.assertEqual([probe["healthMonitoring"]], self.get(f"{path}/healthMonitoring")["healthMonitoring"])
        self.assertEqual(probe, self.get(probe_path))
        # sticky-create (flat), -list, -show, -delete
        sticky_body = {"name": "s", "type": "SOURCE_IP"}
        sticky = self.expect(200, "POST", f"{path}/sessionPersistence", sticky_body)
        self.assertEqual(sticky_body, {key: sticky["sessionPersistence"][key] for key in sticky_body})
        sticky_path = f"{path}/sessionPersistence/{sticky['sessionPersistence']['id']}"
        self.assertEqual([sticky["sessionPersistence"]], self.get(f"{path}/sessionPersistence")["sessionPersistence"])
        self.assertEqual(sticky, self.get(sticky_path))
        for gone in (sticky_path, probe_path, f"{path}/nodes/{node['id']}", f"{path}/virtualIps/{vip['id']}", path):
            self.expect(204, "DELETE", gone)
        self.expect(204, "DELETE", f"/foo/devices/{device['id']}")
