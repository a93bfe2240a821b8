"""Projects point only at what is theirs to point at; administrators at everything."""

from __future__ import annotations

from typing import Any

from balancer.api.wsgi import CALLER
from balancer.core.model import Caller
from tests.functional.case import LOAD_BALANCER, ApiCase

TENANT = {CALLER: Caller(project_id="foo", user_id="someone", roles=frozenset({"member"}))}
NODE = {"address": "198.51.100.1", "port": 8001}
VIRTUAL_IP = {"address": "203.0.113.5", "port": 80}


class TestTenants(ApiCase):
    worker = False

    def setUp(self) -> None:
        super().setUp()
        self.device_id = self.register(vip_ranges=["203.0.113.0/28"])

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        answer = self.call(method, path, body, environ=TENANT)
        return answer.status, answer.json

    def forbidden(self, method: str, path: str, body: Any, field: str, *words: str) -> None:
        before = self.rows()
        status, told = self.ask(method, path, body)
        self.assertEqual((403, field), (status, told.get("error", {}).get("field")), told)
        for word in words:
            self.assertIn(word, told["error"]["message"])
        self.assertEqual(before, self.rows())

    def made(self, **fields: Any) -> str:
        status, told = self.ask("POST", "/foo/loadbalancers", {**LOAD_BALANCER, **fields})
        self.assertEqual(202, status, told)
        return f"/foo/loadbalancers/{told['loadbalancer']['id']}"

    def exempt(self) -> list[bool]:
        with self.repository.read() as tx:
            return [each.exempt for each in tx.load_balancers()]

    def test_a_device_shows_its_ranges_as_they_were_sent(self) -> None:
        path = f"/devices/{self.device_id}"
        self.assertEqual(["203.0.113.0/28"], self.get(path)["device"]["vip_ranges"])
        for sent in (["203.0.113.0-203.0.113.15", "2001:DB8::/64"], "203.0.113.7", []):
            shown = self.expect(200, "PUT", path, {"vip_ranges": sent})["device"]
            self.assertEqual(sent, shown.get("vip_ranges", []))

    def test_virtual_ips(self) -> None:
        create = "/foo/loadbalancers"
        for address, word in (
            ("203.0.113.99", "203.0.113.99: no device offers that"),
            ("0.0.0.0", "for administrators"),
            ("", "for administrators"),
            ("::", "for administrators"),
        ):
            body = {**LOAD_BALANCER, "virtualIps": [{"address": address, "port": 80}]}
            self.call("PUT", f"/devices/{self.device_id}", {"supports_ipv6": 1})
            self.forbidden("POST", create, body, "virtualIps", word)
            self.forbidden("POST", create, {**body, "device_id": self.device_id}, "virtualIps", word)
        path = self.made(virtualIps=[VIRTUAL_IP])
        for body in ({"address": "203.0.113.99", "port": 81}, {"address": "*", "port": 81}):
            self.forbidden("POST", f"{path}/virtualIps", {"virtualIp": body}, "virtualIps")
        status, told = self.ask("POST", f"{path}/virtualIps", {"virtualIp": {"address": "203.0.113.6", "port": 81}})
        self.assertEqual(200, status, told)
        self.forbidden("PUT", f"{path}/virtualIps/{told['virtualIp']['id']}", {"address": "203.0.113.99"}, "virtualIps")
        self.assertEqual([False], self.exempt())

    def test_the_scheduler_takes_a_device_where_the_address_is_open(self) -> None:
        other = self.register(ip="192.0.2.11", vip_ranges=["198.51.100.0/28"])
        for number in (1, 2):
            path = self.made(virtualIps=[{"address": "198.51.100.5", "port": number}])
            self.assertEqual(other, self.get(path)["loadbalancer"]["device_id"])

    def test_nodes(self) -> None:
        path = self.made(virtualIps=[VIRTUAL_IP], nodes=[NODE])
        node_id = self.get(f"{path}/nodes")["nodes"][0]["id"]
        for address, word in (
            ("127.0.0.1", "127.0.0.0/8"),
            ("169.254.169.254", "169.254.0.0/16"),
            ("::ffff:127.0.0.1", "127.0.0.0/8"),
            ("fd00:ec2::254", "fd00:ec2::254"),
            ("192.0.2.10", "device is managed"),
        ):
            bad = {**NODE, "address": address}
            body = {**LOAD_BALANCER, "virtualIps": [{**VIRTUAL_IP, "port": 81}], "nodes": [NODE, bad]}
            self.forbidden("POST", "/foo/loadbalancers", body, "nodes", word)
            self.forbidden("POST", "/foo/loadbalancers?dry_run=1", body, "nodes", word)
            self.forbidden("POST", f"{path}/nodes", {"nodes": [bad]}, "nodes", word)
            self.forbidden("PUT", f"{path}/nodes/{node_id}", {"address": address}, "nodes", word)
        self.assertEqual(200, self.ask("PUT", f"{path}/nodes/{node_id}", {"address": "198.51.100.2"})[0])

    def test_lbaas_v2_is_no_way_around(self) -> None:
        path = self.made(virtualIps=[VIRTUAL_IP], nodes=[NODE])
        balancer = self.get(path.replace("/foo", "/v2.0/lbaas"))["loadbalancer"]
        members = f"/v2.0/lbaas/pools/{balancer['pools'][0]['id']}/members"
        for fields, word in (
            ({"address": "::ffff:7f00:1"}, "127.0.0.0/8"),
            ({"address": "198.51.100.2", "monitor_address": "169.254.169.254"}, "169.254.0.0/16"),
            ({"address": "198.51.100.2", "monitor_address": "192.0.2.10"}, "device is managed"),
        ):
            member = {"protocol_port": 80, **fields}
            for method, body in (("POST", {"member": member}), ("PUT", {"members": [member]})):
                status, told = self.ask(method, members, body)
                self.assertEqual(403, status)
                self.assertIn(word, told["faultstring"])
        self.assertEqual(1, len(self.get(f"{path}/nodes")["nodes"]))
        listener = {"loadbalancer_id": balancer["id"], "protocol": "HTTP", "protocol_port": 81}
        self.assertEqual(201, self.ask("POST", "/v2.0/lbaas/listeners", {"listener": listener})[0])

    def test_what_an_administrator_gave_may_stay(self) -> None:
        path = self.create(
            virtualIps=[{"address": "0.0.0.0", "port": 80}], nodes=[{"address": "127.0.0.1", "port": 8001}]
        )
        self.assertEqual([True], self.exempt())
        (node,), (vip,) = self.get(f"{path}/nodes")["nodes"], self.get(f"{path}/virtualIps")["virtualIps"]
        for change, part in (({"weight": 7}, f"nodes/{node['id']}"), ({"name": "x"}, f"virtualIps/{vip['id']}")):
            self.assertEqual(200, self.ask("PUT", f"{path}/{part}", change)[0])
        self.assertEqual(202, self.ask("PUT", path, {"name": "renamed", "algorithm": "SOURCE_IP"})[0])
        self.assertEqual([True], self.exempt())
        self.forbidden("PUT", f"{path}/nodes/{node['id']}", {"port": 22}, "nodes")
        self.forbidden("PUT", f"{path}/virtualIps/{vip['id']}", {"port": 22}, "virtualIps")
        # What is gone does not come back, and the exemption goes with it.
        self.assertEqual(204, self.ask("DELETE", f"{path}/nodes/{node['id']}")[0])
        self.assertEqual(204, self.ask("DELETE", f"{path}/virtualIps/{vip['id']}")[0])
        self.assertEqual([False], self.exempt())
        self.forbidden("POST", f"{path}/nodes", {"nodes": [{"address": "127.0.0.1", "port": 8001}]}, "nodes")

    def test_ranges_that_are_taken_away_are_for_what_comes(self) -> None:
        path = self.made(virtualIps=[VIRTUAL_IP])
        self.expect(200, "PUT", f"/devices/{self.device_id}", {"vip_ranges": ["203.0.113.8/29"]})
        self.assertEqual([True], self.exempt())
        self.assertEqual(202, self.ask("PUT", path, {"name": "renamed"})[0])
        self.forbidden(
            "POST", "/foo/loadbalancers", {**LOAD_BALANCER, "virtualIps": [{**VIRTUAL_IP, "port": 81}]}, "virtualIps"
        )

    def test_without_a_device_it_is_the_device_that_is_missing(self) -> None:
        self.expect(204, "DELETE", f"/devices/{self.device_id}")
        status, told = self.ask("POST", "/foo/loadbalancers", {**LOAD_BALANCER, "virtualIps": [VIRTUAL_IP]})
        self.assertEqual(404, status, told)

    def test_administrators_are_not_confined(self) -> None:
        path = self.create(
            virtualIps=[{"address": "*", "port": 80}], nodes=[{"address": "169.254.169.254", "port": 80}]
        )
        self.assertEqual(1, len(self.get(f"{path}/nodes")["nodes"]))
