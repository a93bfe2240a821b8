"""Projects point only at what is theirs to point at; administrators at everything."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from balancer.api.app import make_app
from balancer.api.wsgi import CALLER
from balancer.core.model import Applied, Caller, Candidate, Observation
from balancer.db.leases import SqlLeases, make_owner
from tests.functional.case import LOAD_BALANCER, ApiCase

TENANT = {CALLER: Caller(project_id="foo", user_id="someone", roles=frozenset({"member"}))}
OTHER = {CALLER: Caller(project_id="bar", user_id="another", roles=frozenset({"member"}))}
NODE = {"address": "198.51.100.1", "port": 8001}
VIRTUAL_IP = {"address": "203.0.113.5", "port": 80}


def _pool(member: Any) -> Any:
    return {"name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": [member]}


class TestTenants(ApiCase):
    worker = False

    def setUp(self) -> None:
        super().setUp()
        self.device_id = self.register(vip_ranges=["203.0.113.0/28"])

    def ask(self, method: str, path: str, body: Any = None, environ: Any = TENANT) -> tuple[int, Any]:
        answer = self.call(method, path, body, environ=environ)
        return answer.status, answer.json

    def forbidden(self, method: str, path: str, body: Any, field: str, *words: str) -> None:
        before = self.rows()
        status, told = self.ask(method, path, body)
        self.assertEqual((403, field), (status, told.get("error", {}).get("field")), told)
        for word in words:
            self.assertIn(word, told["error"]["message"])
        self.assertEqual(before, self.rows())

    def made(self, environ: Any = TENANT, **fields: Any) -> str:
        of = f"/{environ[CALLER].project_id}/loadbalancers"
        status, told = self.ask("POST", of, {**LOAD_BALANCER, **fields}, environ)
        self.assertEqual(202, status, told)
        return f"{of}/{told['loadbalancer']['id']}"

    def observed(self, device_id: str, **fields: Any) -> None:
        """As a worker finds the device."""
        lease = SqlLeases(self.engine, make_owner(), 15).claim(device_id)
        assert lease is not None
        self.repository.record_observation(lease, Observation(reachable=True, sentence="", **fields))
        SqlLeases(self.engine, lease.owner, 15).release(lease)

    def subnet(self, cidr: str, **fields: Any) -> str:
        network = self.expect(201, "POST", "/v2.0/networks", {"network": {"name": "n", "shared": True}})["network"]
        body = {"subnet": {"network_id": network["id"], "cidr": cidr, "ip_version": 4, **fields}}
        subnet_id: str = self.expect(201, "POST", "/v2.0/subnets", body)["subnet"]["id"]
        return subnet_id

    def on_device(self) -> list[tuple[str, int | None, int | None]]:
        """(address, prefix length there, as it was asked for) of all virtual IPs."""
        with self.repository.read() as tx:
            return [
                (vip.address, vip.prefix_length, vip.asked_length)
                for balancer in tx.load_balancers()
                for vip in balancer.virtual_ips
            ]

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
            ("64:ff9b::127.0.0.1", "127.0.0.0/8"),
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
            ({"address": "64:ff9b::7f00:1"}, "127.0.0.0/8"),
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

    def test_no_member_is_a_virtual_ip_or_another_address_of_a_device(self) -> None:
        self.observed(self.device_id, own_addresses=("192.0.2.10", "198.51.100.77"), managed_at="198.51.100.78")
        first = self.made(virtualIps=[VIRTUAL_IP], nodes=[NODE])
        subnet_id = self.subnet("198.51.100.64/28")
        self.made(OTHER, virtualIps=[{"address": "203.0.113.6", "port": 80}])
        node_id = self.get(f"{first}/nodes")["nodes"][0]["id"]
        pool_id = self.get(first.replace("/foo", "/v2.0/lbaas"))["loadbalancer"]["pools"][0]["id"]
        for address, word in (
            ("203.0.113.5", "is a virtual IP"),
            ("64:ff9b::203.0.113.5", "is a virtual IP"),
            ("203.0.113.6", "is a virtual IP"),
            ("198.51.100.77", "address of a device"),
            ("198.51.100.78", "device is managed"),
        ):
            bad = {"address": address, "port": 81}
            self.forbidden("POST", f"{first}/nodes", {"nodes": [bad]}, "nodes", word)
            self.forbidden("PUT", f"{first}/nodes/{node_id}", bad, "nodes", word)
            body = {**LOAD_BALANCER, "virtualIps": [{"address": "203.0.113.7", "port": 80}], "nodes": [bad]}
            self.forbidden("POST", "/foo/loadbalancers", body, "nodes", word)
            for member in (
                {"address": address, "protocol_port": 81},
                {"address": "198.51.100.1", "protocol_port": 81, "monitor_address": address},
            ):
                members = f"/v2.0/lbaas/pools/{pool_id}/members"
                self.assertEqual(403, self.ask("POST", members, {"member": member})[0])
                self.assertEqual(403, self.ask("PUT", members, {"members": [member]})[0])
                whole = {"vip_subnet_id": subnet_id, "pools": [_pool(member)]}
                self.assertEqual(403, self.ask("POST", "/v2.0/lbaas/loadbalancers", {"loadbalancer": whole})[0])
        # A device that does not answer has them all the same.
        lease = SqlLeases(self.engine, make_owner(), 15).claim(self.device_id)
        assert lease is not None
        self.repository.record_observation(lease, Observation(reachable=False, sentence="gone"))
        for address in ("198.51.100.77", "198.51.100.78"):
            self.forbidden("POST", f"{first}/nodes", {"nodes": [{"address": address, "port": 1}]}, "nodes")

    def test_an_address_that_becomes_a_virtual_ip_closes_no_loop(self) -> None:
        first = self.made(nodes=[{"address": "203.0.113.6", "port": 80}])
        second = self.made(OTHER, virtualIps=[{"address": "203.0.113.6", "port": 80}], nodes=[VIRTUAL_IP])
        # Of the first one's own members, however: nobody can keep others from an address by naming it.
        self.forbidden("POST", f"{first}/virtualIps", {"virtualIp": VIRTUAL_IP}, "virtualIps", "203.0.113.6")
        own = self.made(nodes=[{"address": "203.0.113.7", "port": 80}])
        self.forbidden(
            "POST", f"{own}/virtualIps", {"virtualIp": {"address": "203.0.113.7", "port": 81}}, "virtualIps", "virtual"
        )
        self.assertEqual(200, self.ask("POST", f"{second}/nodes", {"nodes": [NODE]}, OTHER)[0])

    def test_administrators_may_let_load_balancers_follow_each_other(self) -> None:
        self.made(virtualIps=[VIRTUAL_IP])
        ahead = self.create(virtualIps=[{"address": "203.0.113.6", "port": 80}], nodes=[VIRTUAL_IP])
        self.assertEqual([False, True], self.exempt())
        self.assertEqual(202, self.ask("PUT", ahead, {"name": "x"})[0])
        self.forbidden(
            "POST", f"{ahead}/virtualIps", {"virtualIp": {"address": "203.0.113.6", "port": 81}}, "virtualIps"
        )

    def test_nobody_points_a_load_balancer_at_itself(self) -> None:
        for vip, node in (
            (VIRTUAL_IP, VIRTUAL_IP),
            ({"address": "0.0.0.0", "port": 80}, {"address": "127.0.0.1", "port": 80}),
            ({"address": "::", "port": 80}, {"address": "::1", "port": 80}),
        ):
            self.call("PUT", f"/devices/{self.device_id}", {"supports_ipv6": 1})
            body = {**LOAD_BALANCER, "virtualIps": [vip], "nodes": [node]}
            self.assertIn("itself", self.refuse(400, "POST", "/foo/loadbalancers", body, field="nodes"))

    def test_a_projects_mask_is_shown_and_not_used(self) -> None:
        path = self.made(virtualIps=[{**VIRTUAL_IP, "mask": "255.0.0.0"}])
        (vip,) = self.get(f"{path}/virtualIps")["virtualIps"]
        self.assertEqual(("255.0.0.0", [("203.0.113.5", None, 8)]), (vip["mask"], self.on_device()))
        status, told = self.ask("PUT", f"{path}/virtualIps/{vip['id']}", {"mask": 1})
        self.assertEqual((200, 1), (status, told["virtualIp"]["mask"]))
        self.assertEqual([("203.0.113.5", None, 1)], self.on_device())
        # An administrator's is used, and stays when the project names another.
        self.expect(200, "PUT", f"{path}/virtualIps/{vip['id']}", {"mask": "255.255.255.0"})
        self.assertEqual(([("203.0.113.5", 24, 24)], [True]), (self.on_device(), self.exempt()))
        self.assertEqual(200, self.ask("PUT", f"{path}/virtualIps/{vip['id']}", {"mask": "255.0.0.0"})[0])
        self.assertEqual([("203.0.113.5", 24, 8)], self.on_device())
        moved = {"address": "203.0.113.6"}
        self.assertEqual(200, self.ask("PUT", f"{path}/virtualIps/{vip['id']}", moved)[0])
        self.assertEqual([("203.0.113.6", None, 8)], self.on_device())

    def test_no_range_opens_what_is_another_devices(self) -> None:
        other = self.register(ip="203.0.113.9", vip_ranges=["198.51.100.0/28"])
        self.observed(other, own_addresses=("203.0.113.10", "198.51.100.3"), managed_at="203.0.113.11")
        for address in ("203.0.113.9", "203.0.113.10", "203.0.113.11"):
            body = {**LOAD_BALANCER, "virtualIps": [{"address": address, "port": 80}]}
            self.forbidden("POST", "/foo/loadbalancers", body, "virtualIps", address)
        # What a device has set up by hand and opens is meant for this.
        self.made(virtualIps=[{"address": "198.51.100.3", "port": 80}])

    def test_subnets_give_nobody_what_is_a_devices(self) -> None:
        self.observed(self.device_id, own_addresses=("198.51.100.66",), managed_at="198.51.100.67")
        subnet_id = self.subnet("198.51.100.64/28", gateway_ip="198.51.100.65")
        body = {"loadbalancer": {"vip_subnet_id": subnet_id}}
        for environ in (TENANT, {}):
            status, told = self.ask("POST", "/v2.0/lbaas/loadbalancers", body, environ)
            self.assertEqual(201, status, told)
            self.assertNotIn(told["loadbalancer"]["vip_address"], ("198.51.100.66", "198.51.100.67"))
        for address in ("198.51.100.66", "198.51.100.67"):
            named = {"loadbalancer": {"vip_subnet_id": subnet_id, "vip_address": address}}
            self.assertEqual(403, self.ask("POST", "/v2.0/lbaas/loadbalancers", named)[0], address)
        port = {"port": {"network_id": self.get(f"/v2.0/subnets/{subnet_id}")["subnet"]["network_id"]}}
        made = self.expect(201, "POST", "/v2.0/ports", port)["port"]
        self.assertEqual("198.51.100.70", made["fixed_ips"][0]["ip_address"])

    def test_a_subnets_mask_is_the_subnets(self) -> None:
        self.subnet("198.51.100.64/28", gateway_ip="198.51.100.65")
        path = self.made(virtualIps=[{"address": "198.51.100.70", "port": 80, "mask": "255.0.0.0"}])
        self.assertEqual([("198.51.100.70", 28, 8)], self.on_device())
        (vip,) = self.get(f"{path}/virtualIps")["virtualIps"]
        self.assertEqual("255.0.0.0", vip["mask"])

    def test_an_address_is_one_projects_and_at_one_device(self) -> None:
        others = [self.register(ip=f"192.0.2.{number}", vip_ranges=["203.0.113.0/28"]) for number in (11, 12)]
        first = self.made(virtualIps=[VIRTUAL_IP])
        taken = {**LOAD_BALANCER, "virtualIps": [{**VIRTUAL_IP, "port": 81}]}
        for body in (taken, *({**taken, "device_id": each} for each in (self.device_id, *others))):
            before = self.rows()
            status, told = self.ask("POST", "/bar/loadbalancers", body, OTHER)
            self.assertEqual((409, "virtualIps"), (status, told["error"]["field"]), told)
            self.assertEqual(before, self.rows())
        theirs = self.made(OTHER, virtualIps=[{"address": "203.0.113.6", "port": 80}])
        body = {"virtualIp": {**VIRTUAL_IP, "port": 81}}
        self.assertEqual(409, self.ask("POST", f"{theirs}/virtualIps", body, OTHER)[0])
        vip_id = self.get(f"{theirs}/virtualIps")["virtualIps"][0]["id"]
        self.assertEqual(409, self.ask("PUT", f"{theirs}/virtualIps/{vip_id}", VIRTUAL_IP, OTHER)[0])
        # The same project has it on further ports, where it is.
        for port in (81, 82, 83):
            path = self.made(virtualIps=[{**VIRTUAL_IP, "port": port}])
            self.assertEqual(self.get(first)["loadbalancer"]["device_id"], self.get(path)["loadbalancer"]["device_id"])

    def test_an_address_stays_its_projects_while_a_device_may_serve_it(self) -> None:
        first = self.made(virtualIps=[VIRTUAL_IP])
        self.assertEqual(204, self.ask("DELETE", first)[0])
        taken = {**LOAD_BALANCER, "virtualIps": [{**VIRTUAL_IP, "port": 81}]}
        self.assertEqual(409, self.ask("POST", "/bar/loadbalancers", taken, OTHER)[0])
        self.make_reconciler().reconcile(self.device_id)
        self.made(OTHER, virtualIps=[{**VIRTUAL_IP, "port": 81}])

    def test_what_shows_everybodys_counters_is_for_administrators(self) -> None:
        path = self.made(virtualIps=[VIRTUAL_IP])
        balancer_id = self.get(path.replace("/foo", "/v2.0/lbaas"))["loadbalancer"]["id"]
        subnet_id = self.subnet("198.51.100.64/28")
        listener = {"protocol": "PROMETHEUS", "protocol_port": 9090}
        body = {"listener": {**listener, "loadbalancer_id": balancer_id}}
        whole = {"loadbalancer": {"vip_subnet_id": subnet_id, "listeners": [listener]}}
        for where, what in (("listeners", body), ("loadbalancers", whole)):
            before = self.rows()
            status, told = self.ask("POST", f"/v2.0/lbaas/{where}", what)
            self.assertEqual((403, before), (status, self.rows()))
            self.assertIn("for administrators", told["faultstring"])
        made = self.expect(201, "POST", "/v2.0/lbaas/listeners", body)["listener"]
        # It may be switched off and on, and be removed.
        change = {"listener": {"admin_state_up": False}}
        self.assertEqual(200, self.ask("PUT", f"/v2.0/lbaas/listeners/{made['id']}", change)[0])
        self.assertEqual(204, self.ask("DELETE", f"/v2.0/lbaas/listeners/{made['id']}")[0])
        # A policy file may say otherwise.
        file = Path(self.enterContext(tempfile.TemporaryDirectory())) / "policy.yaml"
        file.write_text("prometheus: rule:write\n")
        self.settings = replace(self.settings, policy_file=str(file))
        self.app = make_app(self.service, self.settings)
        self.assertEqual(201, self.ask("POST", "/v2.0/lbaas/listeners", body)[0])

    def test_reasons_tell_projects_nothing_of_devices(self) -> None:
        path = self.made(virtualIps=[VIRTUAL_IP])
        internal = "/etc/haproxy/haproxy.cfg:12 at 192.0.2.10:22"
        lease = SqlLeases(self.engine, make_owner(), 15).claim(self.device_id)
        spec = self.repository.load_spec(self.device_id)
        assert lease is not None and spec is not None
        for retry in (5.0, None):
            self.repository.record_failure(lease, spec, internal, retry_after=retry)
            for where in ("", "/details"):
                shown = self.get(path + where)
                self.assertIn(internal, (shown.get("loadbalancer") or shown)["status_reason"])
                status, told = self.ask("GET", path + where)
                reason = (told.get("loadbalancer") or told)["status_reason"]
                self.assertEqual((200, False), (status, internal in json.dumps(told)))
                self.assertIn("administrators can see why", reason)
            self.assertNotIn(internal, json.dumps(self.ask("GET", "/foo/loadbalancers")))
            self.assertNotIn(internal, json.dumps(self.ask("PUT", path, {"description": f"again {retry}"})))
            spec = self.repository.load_spec(self.device_id)
            assert spec is not None
        for public in (True, False):
            rejected = {each.id: "a sentence on members" for each in spec.load_balancers}
            blocks = dict.fromkeys(rejected, "")
            candidate = Candidate(head="", blocks=blocks, digest="", rejected=rejected if public else {})
            applied = Applied(plan="reload", sentence="", accepted_blocks=blocks, rejected={} if public else rejected)
            self.repository.record_applied(lease, spec, candidate, applied)
            self.assertIn("a sentence on members", self.get(path)["loadbalancer"]["status_reason"])
            told = self.ask("GET", path)[1]["loadbalancer"]
            self.assertEqual(("ERROR", public), (told["status"], "a sentence on members" in told["status_reason"]))

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
