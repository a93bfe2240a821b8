"""Nodes, virtual IPs, health monitors and session persistence of a load balancer."""

from __future__ import annotations

from typing import Any

from tests.functional.case import NO_ID, NODE, VIRTUAL_IP, ApiCase


class TestNodes(ApiCase):
    def setUp(self) -> None:
        super().setUp()
        self.register()
        self.path = self.create(nodes=[NODE], virtualIps=[VIRTUAL_IP]) + "/nodes"

    def add(self, **fields: Any) -> str:
        (node,) = self.expect(200, "POST", self.path, {"nodes": [{**NODE, "port": 9000, **fields}]})["nodes"]
        return f"{self.path}/{node['id']}"

    def test_defaults(self) -> None:
        (node,) = self.get(self.path)["nodes"]
        defaults = {"name": "", "weight": 1, "status": "INSERVICE", "condition": "ENABLED", "deployed": "True"}
        self.assertEqual({**NODE, **defaults, "operating_status": None, "id": node["id"]}, node)

    def test_add_several_answers_with_the_new_ones(self) -> None:
        sent = [{**NODE, "port": "8002", "name": "two"}, {"address": "2001:db8::2", "port": 8003, "vm_id": "7"}]
        added = self.expect(200, "POST", self.path, {"nodes": sent})["nodes"]
        for one, shown in zip(sent, added, strict=True):
            self.assertEqual(one, {key: shown[key] for key in one})
        self.assertEqual(3, len(self.get(self.path)["nodes"]))
        for shown in added:
            self.assertEqual({"node": shown}, self.get(f"{self.path}/{shown['id']}"))

    def test_the_old_ways_to_add_one(self) -> None:
        for method, body in (
            ("PUT", {"node": {**NODE, "port": 1}}),
            ("POST", {"node": {**NODE, "port": 2}}),
            ("PUT", {"nodes": [{**NODE, "port": 3}]}),
        ):
            self.assertEqual(1, len(self.expect(200, method, self.path, body)["nodes"]))
        self.assertEqual(4, len(self.get(self.path)["nodes"]))

    def test_change_flat_and_wrapped(self) -> None:
        path = self.add(weight="5", extra=[1, {"a": None}])
        node = self.expect(200, "PUT", path, {"weight": "7"})["node"]
        self.assertEqual(("7", [1, {"a": None}], 9000), (node["weight"], node["extra"], node["port"]))
        node = self.expect(200, "PUT", path, {"node": {"port": 9001, "extra": "new"}})["node"]
        self.assertEqual(("7", "new", 9001), (node["weight"], node["extra"], node["port"]))
        self.assertEqual({"node": node}, self.get(path))
        self.assertEqual(path.rpartition("/")[2], node["id"])

    def test_everything_comes_back_as_sent(self) -> None:
        sent = {
            "name": "größer ☃",
            "type": "VM",
            "address": "2001:DB8:0:0::7",
            "port": "08080",
            "weight": "0",
            "status": "suspend",
            "condition": "disabled",
            "vm_id": 12,
            "parent_id": "p",
            "sf_id": "s",
            "maxconn": "10",
            "minCon": 5,
            "rateBandwidth": "12",
            "rateConnection": 1000,
            "inter": "500ms",
            "rise": "2",
            "fall": 3,
            "slowstart": "1500",
            "backup": "True",
            "cookie": "a.b",
            "anything": {"else": [None, 1.5, "x\ny"]},
        }
        path = self.add(**sent)
        node = self.get(path)["node"]
        self.assertEqual(sent, {key: node[key] for key in sent})
        self.assertNotIn("maxCon", node)

    def test_the_model_gets_it(self) -> None:
        path = self.add(maxconn="10", minCon=5, inter="500ms", slowstart="1500", backup="yes", weight=0, rise=4, fall=5)
        with self.repository.read() as tx:
            members = tx.load_balancers()[0].pools[0].members
        member = next(member for member in members if path.endswith(member.id))
        self.assertEqual(
            (10, 5, 2), (member.limits.max_connections, member.limits.min_connections, member.limits.slow_start)
        )
        self.assertEqual((0.5, 4, 5), (member.check.interval, member.check.rise, member.check.fall))
        self.assertEqual((0, True), (member.weight, member.backup))

    def test_a_new_value_replaces_every_spelling(self) -> None:
        path = self.add(maxconn="10")
        node = self.expect(200, "PUT", path, {"maxCon": 20})["node"]
        self.assertEqual(20, node["maxCon"])
        self.assertNotIn("maxconn", node)
        node = self.expect(200, "PUT", path, {"maxCon": None})["node"]
        self.assertIsNone(node.get("maxCon"))
        self.assertEqual(1, self.expect(200, "PUT", path, {"weight": None})["node"]["weight"] or 1)

    def test_status(self) -> None:
        path = self.add(weight=9)
        for word, shown, rotation in (
            ("outofservice", "OUTOFSERVICE", "OUT"),
            ("inservice", "INSERVICE", "IN"),
            ("INSERVICE", "INSERVICE", "IN"),
            ("drain", "DRAIN", "DRAIN"),
            ("suspend", "SUSPEND", "DRAIN"),
            ("standby", "STANDBY", "DRAIN"),
            ("OutOfService", "OUTOFSERVICE", "OUT"),
            ("inservice", "INSERVICE", "IN"),
        ):
            # The body is ignored, whatever it is.
            answer = self.call("PUT", f"{path}/{word}", raw=b"not json")
            self.assertEqual(200, answer.status, answer.json)
            self.assertEqual((shown, 9), (answer.json["node"]["status"], answer.json["node"]["weight"]))
            with self.repository.read() as tx:
                members = tx.load_balancers()[0].pools[0].members
            self.assertEqual(rotation, members[-1].rotation)
        message = self.refuse(400, "PUT", f"{path}/broken", field="status")
        self.assertIn("outofservice", message)
        self.refuse(404, "PUT", f"{self.path}/{NO_ID}/inservice")

    def test_remove(self) -> None:
        path = self.add()
        self.assertIsNone(self.expect(204, "DELETE", path))
        self.refuse(404, "GET", path)
        self.refuse(404, "DELETE", path)
        self.refuse(404, "PUT", path, {"weight": 1})
        self.assertEqual(1, len(self.get(self.path)["nodes"]))

    def test_an_equal_node(self) -> None:
        self.refuse(409, "POST", self.path, {"nodes": [NODE]})
        self.refuse(409, "PUT", self.add(), {"port": str(NODE["port"])})


class TestVirtualIps(ApiCase):
    def setUp(self) -> None:
        super().setUp()
        self.register(supports_ipv6=1)
        self.balancer = self.create(virtualIps=[VIRTUAL_IP])
        self.path = self.balancer + "/virtualIps"

    def add(self, **fields: Any) -> str:
        sent = {"virtualIp": {**VIRTUAL_IP, "port": 81, **fields}}
        return f"{self.path}/{self.expect(200, 'POST', self.path, sent)['virtualIp']['id']}"

    def addresses(self) -> list[tuple[str, int | None]]:
        with self.repository.read() as tx:
            return [(vip.address, vip.prefix_length) for vip in tx.load_balancers()[0].virtual_ips]

    def test_list_and_show(self) -> None:
        (shown,) = self.get(self.path)["virtualIps"]
        expected = {
            **VIRTUAL_IP,
            "name": "",
            "ipVersion": "IPv4",
            "protocol": "HTTP",
            "lb_id": self.balancer.rpartition("/")[2],
            "status": "ACTIVE",
            "operating_status": None,
            "deployed": "True",
            "id": shown["id"],
        }
        self.assertEqual(expected, shown)
        self.assertEqual({"virtualIp": shown}, self.get(f"{self.path}/{shown['id']}"))

    def test_everything_comes_back_as_sent(self) -> None:
        for sent in (
            {
                "name": "v",
                "address": "203.0.113.6",
                "mask": "255.255.255.0",
                "port": "8080",
                "type": "public",
                "ipVersion": "ipv4",
                "VLAN": "200",
                "ICMPreply": "True",
                "protocol": "tcp",
                "sf_id": "9",
                "x": None,
            },
            {"address": "2001:DB8::0", "mask": "/64", "port": 8081, "ipVersion": "IPv6", "ICMPreply": 0},
            {"address": "", "port": 8082, "mask": 8},
            {"address": "*", "port": 8083, "mask": "0.0.0.0"},
        ):
            shown = self.get(self.add(**sent))["virtualIp"]
            self.assertEqual(sent, {key: shown[key] for key in sent})

    def test_flat_body(self) -> None:
        self.expect(200, "POST", self.path, {**VIRTUAL_IP, "port": 82})
        self.assertEqual(2, len(self.get(self.path)["virtualIps"]))

    def test_change(self) -> None:
        path = self.add(mask=24)
        self.assertEqual([("203.0.113.5", 24)], self.addresses(), "a shared address is one")
        shown = self.expect(200, "PUT", path, {"address": "203.0.113.9", "mask": 25, "name": "moved"})["virtualIp"]
        self.assertEqual(("203.0.113.9", 25, "moved", 81), tuple(shown[k] for k in ("address", "mask", "name", "port")))
        self.assertEqual([("203.0.113.5", 24), ("203.0.113.9", 25)], self.addresses())
        shown = self.expect(200, "PUT", path, {"virtualIp": {"address": "2001:db8::9", "port": "443"}})["virtualIp"]
        self.assertEqual(("2001:db8::9", "443", "IPv6"), tuple(shown[k] for k in ("address", "port", "ipVersion")))
        self.expect(200, "PUT", path, {"address": "203.0.113.5"})
        self.assertEqual(1, len(self.addresses()), "an address without a listener is gone")
        self.refuse(409, "PUT", path, {"port": 80})
        self.assertEqual(path.rpartition("/")[2], self.get(path)["virtualIp"]["id"])

    def test_remove(self) -> None:
        path = self.add(address="203.0.113.8")
        self.expect(204, "DELETE", path)
        self.assertEqual(1, len(self.addresses()))
        for method, body in (("GET", None), ("PUT", {"port": 1}), ("DELETE", None)):
            self.refuse(404, method, path, body)

    def test_one_address_has_one_mask(self) -> None:
        path = self.add(mask=24)
        body = {"virtualIp": {**VIRTUAL_IP, "port": 83, "mask": "255.255.0.0"}}
        self.refuse(400, "POST", self.path, body, field="mask")
        other = self.add(address="203.0.113.7", port=84, mask=25)
        moved = {**VIRTUAL_IP, "port": 85}
        self.refuse(400, "PUT", other, {**moved, "mask": 25}, field="mask")
        self.assertEqual("255.255.255.0", self.expect(200, "PUT", other, moved)["virtualIp"]["mask"])
        self.expect(204, "DELETE", other)
        self.expect(200, "PUT", path, {"mask": "255.255.0.0"})
        self.assertEqual({"255.255.0.0"}, {vip["mask"] for vip in self.get(self.path)["virtualIps"]})

    def test_taken_by_another(self) -> None:
        other = self.create(virtualIps=[{"address": "203.0.113.5", "port": 8888}]) + "/virtualIps"
        self.refuse(409, "POST", other, {"virtualIp": VIRTUAL_IP})


class TestHealthMonitoring(ApiCase):
    def setUp(self) -> None:
        super().setUp()
        self.register()
        self.path = self.create(nodes=[NODE]) + "/healthMonitoring"

    def add(self, **fields: Any) -> dict[str, Any]:
        sent = {"healthMonitoring": fields}
        monitor: dict[str, Any] = self.expect(200, "POST", self.path, sent)["healthMonitoring"]
        return monitor

    def test_add_list_show_remove(self) -> None:
        self.assertEqual({"healthMonitoring": []}, self.get(self.path))
        one, other = self.add(type="ICMP"), self.add(type="CONNECT", name="c")
        self.assertEqual({"healthMonitoring": [one, other]}, self.get(self.path))
        self.assertEqual({"healthMonitoring": other}, self.get(f"{self.path}/{other['id']}"))
        self.expect(204, "DELETE", f"{self.path}/{one['id']}")
        self.assertEqual({"healthMonitoring": [other]}, self.get(self.path))
        self.refuse(404, "GET", f"{self.path}/{one['id']}")
        self.refuse(404, "DELETE", f"{self.path}/{one['id']}")

    def test_defaults(self) -> None:
        shown = self.add(type="HTTP")
        expected = {
            "id": shown["id"],
            "name": "",
            "type": "HTTP",
            "delay": 5,
            "timeout": 5,
            "attemptsBeforeDeactivation": 3,
            "method": "GET",
            "path": "/",
            "expected": "200",
        }
        self.assertEqual(expected, shown)

    def test_everything_comes_back_as_sent(self) -> None:
        for sent in (
            {"type": "icmp", "delay": "15", "timeout": 20, "attemptsBeforeDeactivation": "6"},
            {"type": "CONNECT", "delay": 0.5, "timeout": "2.5", "attemptsDeforeDeactivation": 6},
            {"type": "TCP", "path": "/ignored", "x": [1]},
            {"type": "HTTPS", "method": "head", "url": "/a?b=c&d=%20", "status": "200, 202"},
            {"type": "HTTP", "path": "/", "expected": 204},
            {"type": "HTTP", "expected": "200-204,301"},
        ):
            shown = self.get(f"{self.path}/{self.add(**sent)['id']}")["healthMonitoring"]
            self.assertEqual(sent, {key: shown[key] for key in sent})

    def test_other_spellings_of_a_body(self) -> None:
        for method, body in (
            ("PUT", {"healthMonitoring": {"type": "TCP"}}),
            ("POST", {"healthMonitor": {"type": "TCP"}}),
            ("POST", {"type": "TCP"}),
        ):
            self.expect(200, method, self.path, body)
        self.assertEqual(3, len(self.get(self.path)["healthMonitoring"]))


class TestSessionPersistence(ApiCase):
    def setUp(self) -> None:
        super().setUp()
        self.register()
        self.path = self.create(nodes=[NODE]) + "/sessionPersistence"

    def test_add_list_show_remove(self) -> None:
        for sent in (
            {"name": "s", "type": "SOURCE_IP", "timeout": "30", "mask": "255.255.255.0"},
            {"type": "IP"},
            {"name": "c", "type": "cookie", "cookie_name": "SRV", "x": 1},
            {"type": "APP_COOKIE", "cookie_name": "JSESSIONID", "timeout": 1800},
        ):
            self.assertEqual({"sessionPersistence": []}, self.get(self.path))
            shown = self.expect(200, "POST", self.path, sent)["sessionPersistence"]
            self.assertEqual(sent, {key: shown[key] for key in sent})
            self.assertEqual({"sessionPersistence": [shown]}, self.get(self.path))
            one = f"{self.path}/{shown['id']}"
            self.assertEqual({"sessionPersistence": shown}, self.get(one))
            self.refuse(409, "POST", self.path, sent)
            self.expect(204, "DELETE", one)
            self.refuse(404, "GET", one)
            self.refuse(404, "DELETE", one)

    def test_wrapped_body(self) -> None:
        self.expect(200, "POST", self.path, {"sessionPersistence": {"type": "SOURCE_IP"}})
