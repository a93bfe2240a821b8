"""Networks, subnets and ports over HTTP, in Neutron's form, and load balancers that live on them."""

from __future__ import annotations

from typing import Any

from balancer.api.middleware.context import ContextMiddleware
from tests.functional.case import LOAD_BALANCER, ApiCase
from tests.functional.lbaas_v2 import NO_UUID
from tests.functional.test_context import Token

Body = dict[str, Any]


class NetworksCase(ApiCase):
    def setUp(self) -> None:
        super().setUp()
        self.device_id = self.register(supports_ipv6=1)

    def made(self, path: str, **fields: Any) -> Body:
        key = path.rstrip("s")
        shown: Body = self.expect(201, "POST", f"/v2.0/{path}", {key: fields})[key]
        return shown

    def network(self, **fields: Any) -> Body:
        return self.made("networks", **{"name": "public", **fields})

    def subnet(self, network: Body, **fields: Any) -> Body:
        return self.made("subnets", **{"network_id": network["id"], "cidr": "203.0.113.0/28", **fields})

    def refused(self, status: int, method: str, path: str, body: Any = None) -> str:
        before = self.rows()
        answer = self.call(method, path, body)
        self.assertEqual(status, answer.status, answer.json)
        self.assertEqual(before, self.rows())
        self.assertEqual(answer.json["faultstring"], answer.json["NeutronError"]["message"])
        told: str = answer.json["faultstring"]
        return told


class TestObjects(NetworksCase):
    def test_a_subnet_has_neutrons_defaults(self) -> None:
        network = self.network()
        keys = ("gateway_ip", "allocation_pools", "ip_version", "device_ids", "interface", "enable_dhcp")
        for cidr, gateway, first, last, version in (
            ("203.0.113.7/28", "203.0.113.1", "203.0.113.1", "203.0.113.14", 4),
            ("2001:db8::/64", "2001:db8::1", "2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", 6),
        ):
            subnet = self.subnet(network, cidr=cidr, name="s", ip_version=version)
            self.assertEqual(
                (gateway, [{"start": first, "end": last}], version, [], None, False),
                tuple(subnet[key] for key in keys),
            )
        shown = self.get(f"/v2/networks/{network['id']}")["network"]
        self.assertEqual(2, len(shown["subnets"]))
        self.assertTrue(shown["shared"] and shown["admin_state_up"])
        self.assertEqual(shown["project_id"], shown["tenant_id"])
        self.assertEqual(shown, self.get(f"/v2.0/networks/{network['id'].replace('-', '')}.json")["network"])

    def test_everything_that_can_be_set_comes_back(self) -> None:
        network = self.network(description="d", shared=False, project_id="foo")
        fields = {
            "name": "s",
            "description": "d",
            "gateway_ip": None,
            "allocation_pools": [
                {"start": "203.0.113.2", "end": "203.0.113.3"},
                {"start": "203.0.113.9", "end": "203.0.113.9"},
            ],
            "device_ids": [self.device_id],
            "interface": "eth1",
        }
        subnet = self.subnet(network, **fields)
        dashed = f"{self.device_id[:8]}-{self.device_id[8:12]}-{self.device_id[12:16]}-{self.device_id[16:20]}-"
        self.assertEqual({**fields, "device_ids": [dashed + self.device_id[20:]]}, {k: subnet[k] for k in fields})
        changed: Body = {"name": "t", "gateway_ip": "203.0.113.14", "device_ids": [], "interface": None}
        after = self.expect(200, "PUT", f"/v2.0/subnets/{subnet['id']}", {"subnet": changed})["subnet"]
        self.assertEqual({**subnet, **changed, "updated_at": after["updated_at"]}, after)
        renamed = self.expect(200, "PUT", f"/v2.0/networks/{network['id']}", {"network": {"shared": True}})["network"]
        self.assertEqual((True, [subnet["id"]]), (renamed["shared"], renamed["subnets"]))

    def test_bad_input_is_refused_by_name(self) -> None:
        network = self.network()
        own = {"network_id": network["id"], "cidr": "203.0.113.0/28"}
        backwards = {"start": "203.0.113.9", "end": "203.0.113.1"}
        for path, body, word in (
            ("networks", {"network": {"nme": "x"}}, "nme"),
            ("networks", {"network": {"admin_state_up": False}}, "admin_state_up"),
            ("subnets", {"subnet": {"cidr": "203.0.113.0/28"}}, "network_id"),
            ("subnets", {"subnet": {**own, "cidr": "x"}}, "cidr"),
            ("subnets", {"subnet": {**own, "ip_version": 6}}, "ip_version"),
            ("subnets", {"subnet": {**own, "enable_dhcp": True}}, "enable_dhcp"),
            ("subnets", {"subnet": {**own, "gateway_ip": "192.0.2.1"}}, "gateway"),
            ("subnets", {"subnet": {**own, "allocation_pools": [{"start": "203.0.113.1"}]}}, "end"),
            ("subnets", {"subnet": {**own, "allocation_pools": [backwards]}}, "behind"),
            ("subnets", {"subnet": {**own, "device_ids": [NO_UUID]}}, "device_ids"),
            ("subnets", {"subnet": {**own, "interface": "eth0; id"}}, "interface"),
            ("ports", {"port": {"network_id": network["id"]}}, "fixed_ips"),
            ("ports", {"port": {"network_id": network["id"], "fixed_ips": [{"ip_address": "x"}]}}, "ip_address"),
        ):
            with self.subTest(body):
                self.assertIn(word, self.refused(400, "POST", f"/v2.0/{path}", body))
        for path, body in (
            ("subnets", {"subnet": {**own, "network_id": NO_UUID}}),
            ("ports", {"port": {"network_id": NO_UUID}}),
        ):
            self.assertIn(f"Network {NO_UUID} not found.", self.refused(404, "POST", f"/v2.0/{path}", body))

    def test_lists(self) -> None:
        networks = [self.network(name=name)["id"] for name in ("a", "b", "c")]
        for query, found in (
            ("", networks),
            ("?name=b", networks[1:2]),
            ("?name=b&no_such=1", networks[1:2]),
            ("?shared=False", []),
            ("?sort_key=name&sort_dir=desc", networks[::-1]),
            (f"?limit=1&marker={networks[0]}", networks[1:2]),
        ):
            self.assertEqual(found, [each["id"] for each in self.get(f"/v2.0/networks{query}")["networks"]], query)
        self.assertEqual([{"name": "a"}], self.get("/v2.0/networks?name=a&fields=name")["networks"])
        self.assertIn("networks_links", self.get("/v2.0/networks?limit=2"))
        self.assertNotIn("networks_links", self.get("/v2.0/networks"))
        self.assertIn("fixed_ips", self.refused(400, "GET", "/v2.0/ports?fixed_ips=x"))
        for path in ("networks", "subnets", "ports"):
            for wrong in (NO_UUID, "public"):
                self.assertIn(f"{wrong} not found.", self.refused(404, "GET", f"/v2.0/{path}/{wrong}"))


class TestAddresses(NetworksCase):
    def test_a_load_balancers_port_shows_its_address_and_goes_with_it(self) -> None:
        subnet = self.subnet(self.network())
        sent = {"name": "web", "vip_subnet_id": subnet["id"], "project_id": "foo"}
        balancer = self.expect(201, "POST", "/v2.0/lbaas/loadbalancers", {"loadbalancer": sent})["loadbalancer"]
        self.assertEqual("203.0.113.2", balancer["vip_address"])
        port = self.get(f"/v2.0/ports/{balancer['vip_port_id']}")["port"]
        self.assertEqual(
            ([{"subnet_id": subnet["id"], "ip_address": "203.0.113.2"}], f"lb-{balancer['id']}", "Octavia", "foo"),
            (port["fixed_ips"], port["device_id"], port["device_owner"], port["project_id"]),
        )
        for path in (f"ports/{port['id']}", f"subnets/{subnet['id']}", f"networks/{subnet['network_id']}"):
            self.refused(409, "DELETE", f"/v2.0/{path}")
        self.expect(204, "DELETE", f"/v2.0/lbaas/loadbalancers/{balancer['id']}")
        self.until(lambda: not self.get("/v2.0/ports")["ports"])
        self.expect(204, "DELETE", f"/v2.0/networks/{subnet['network_id']}")
        self.assertEqual([], self.get("/v2.0/subnets")["subnets"])

    def test_the_balancer_api_takes_addresses_of_subnets_too(self) -> None:
        subnet = self.subnet(self.network())
        path = self.create(virtualIps=[{"address": "203.0.113.9", "port": 80}])
        (port,) = self.get("/v2.0/ports")["ports"]
        self.assertEqual([{"subnet_id": subnet["id"], "ip_address": "203.0.113.9"}], port["fixed_ips"])
        body = {**LOAD_BALANCER, "virtualIps": [{"address": "203.0.113.9", "port": 81}]}
        self.refuse(409, "POST", "/bar/loadbalancers", body, field="address")
        self.expect(202, "POST", "/foo/loadbalancers", body)
        self.assertEqual(1, len(self.get("/v2.0/ports")["ports"]))
        self.expect(204, "DELETE", path)

    def test_a_port_of_an_administrator(self) -> None:
        subnet = self.subnet(self.network())
        port = self.made("ports", network_id=subnet["network_id"], project_id="foo", name="mine")
        self.assertEqual(("203.0.113.2", ""), (port["fixed_ips"][0]["ip_address"], port["device_id"]))
        taken = {"network_id": subnet["network_id"], "fixed_ips": [{"ip_address": "203.0.113.2"}]}
        self.refused(409, "POST", "/v2.0/ports", {"port": taken})
        sent = {"vip_port_id": port["id"], "project_id": "foo"}
        balancer = self.expect(201, "POST", "/v2.0/lbaas/loadbalancers", {"loadbalancer": sent})["loadbalancer"]
        self.assertEqual(
            ("203.0.113.2", subnet["id"], subnet["network_id"]),
            tuple(balancer[key] for key in ("vip_address", "vip_subnet_id", "vip_network_id")),
        )
        again = self.call("POST", "/v2.0/lbaas/loadbalancers", {"loadbalancer": sent})
        self.assertEqual(400, again.status, again.json)

    def test_a_project_is_told_why_it_may_not_have_an_address(self) -> None:
        pools = [{"start": "203.0.113.2", "end": "203.0.113.3"}]
        subnet = self.subnet(self.network(), allocation_pools=pools)
        app = self.app
        self.app = ContextMiddleware(app)
        member = Token("foo", roles=("member",)).environ()
        sent = {"vip_subnet_id": subnet["id"], "vip_address": "203.0.113.9"}
        answer = self.call("POST", "/v2.0/lbaas/loadbalancers", {"loadbalancer": sent}, environ=member)
        self.assertEqual(403, answer.status)
        self.assertIn("203.0.113.9 is not among the addresses", answer.json["faultstring"])
        self.app = app


class TestRoles(NetworksCase):
    worker = False

    def setUp(self) -> None:
        super().setUp()
        shared, hidden = self.network(), self.network(shared=False, project_id="bar")
        subnet = self.subnet(shared)
        self.subnet(hidden, cidr="198.51.100.0/28")
        ports = [self.made("ports", network_id=shared["id"], project_id=project)["id"] for project in ("foo", "bar")]
        self.mine = {"networks": shared["id"], "subnets": subnet["id"], "ports": ports[0]}
        self.theirs = {"networks": hidden["id"], "ports": ports[1]}
        self.app = ContextMiddleware(self.app)

    def test_a_project_sees_what_it_may_use(self) -> None:
        token = Token("foo", roles=("member",)).environ()
        for kind, own in self.mine.items():
            listed = self.call("GET", f"/v2.0/{kind}", environ=token).json[kind]
            self.assertEqual([own], [each["id"] for each in listed])
        for kind, hidden in self.theirs.items():
            self.assertEqual(404, self.call("GET", f"/v2.0/{kind}/{hidden}", environ=token).status)
