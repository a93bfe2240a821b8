"""LBaaS v2 with the network driver ``noop`` and a device that never reports: what conformance is looked for with."""

from __future__ import annotations

from typing import Any

from balancer.api.attributes import show_uuid
from balancer.api.wsgi import CALLER
from balancer.core import scheduler
from balancer.core.model import Caller, new_id
from balancer.core.networks import networks_of
from balancer.core.service import Service
from balancer.db.repository import SqlRepository
from tests.functional.case import DEVICE, LOAD_BALANCER
from tests.functional.lbaas_v2 import LbaasCase

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
TENANT = {CALLER: Caller(project_id="foo", user_id="someone", roles=frozenset({"member"}))}


class NoopCase(LbaasCase):
    device_behaviour = "silent"

    def _make_service(self, repository: SqlRepository) -> Service:
        placing = scheduler.from_names(self.settings.device_filters, self.settings.device_cost_functions, {})
        return Service(
            repository,
            self.registry.driver_for,
            placing,
            self.notifier,
            device_types=self.registry.types(),
            networks=networks_of("noop"),
        )

    def made_up(self) -> str:
        return show_uuid(new_id()) or ""


class TestBelieving(NoopCase):
    """What is believed goes to devices in memory, and is nothing that belongs to every host."""

    def ask_for(self, address: str, **more: Any) -> int:
        body = {"loadbalancer": {"vip_subnet_id": self.made_up(), "vip_address": address, **more}}
        return self.call("POST", "/v2.0/lbaas/loadbalancers", body, environ=TENANT).status

    def test_addresses_of_every_host_and_of_devices_are_not_given_to_projects(self) -> None:
        for address in ("127.0.0.1", "169.254.169.254", "::1", "64:ff9b::127.0.0.1", "192.0.2.10"):
            self.assertEqual(403, self.ask_for(address), address)
        self.assertEqual(201, self.ask_for("192.0.2.99"))

    def test_members_are_confined(self) -> None:
        member = {"address": "127.0.0.1", "protocol_port": 80}
        pool = {"name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": [member]}
        self.assertEqual(403, self.ask_for("192.0.2.99", pools=[pool]))

    def test_nothing_goes_to_a_real_device(self) -> None:
        fields = {
            "type": "HAPROXY",
            "ip": "127.0.0.1",
            "port": "1",
            "admin_state": "ENABLED",
            "vip_ranges": ["192.0.2.0/24"],
        }
        real = self.expect(200, "POST", "/devices", {**DEVICE, **fields})["device"]["id"]
        self.expect(200, "PUT", f"/devices/{self.device_id}", {"admin_state": "DRAINED"})
        self.assertEqual(503, self.ask_for("192.0.2.99"))
        body = {"loadbalancer": {"vip_subnet_id": self.made_up(), "vip_address": "192.0.2.99"}}
        self.expect(503, "POST", "/v2.0/lbaas/loadbalancers", body)
        # An address that is named without a network is taken as ever.
        plain = {**LOAD_BALANCER, "virtualIps": [{"address": "192.0.2.98", "port": 80}]}
        made = self.expect(202, "POST", "/foo/loadbalancers", plain)["loadbalancer"]["id"]
        self.assertEqual(real, self.get(f"/foo/loadbalancers/{made}")["loadbalancer"]["device_id"])


class TestStatuses(NoopCase):
    def test_what_never_reports_stays_as_it_was_made(self) -> None:
        balancer = self.add_balancer()
        listener = self.add_listener(balancer)
        pool = self.add_pool(listener_id=listener["id"])
        plain = self.add_member(pool)
        off = self.add_member(pool, address="198.51.100.2", admin_state_up=False)
        self.add_monitor(other := self.add_pool(loadbalancer_id=balancer["id"]))
        checked = self.add_member(other)
        self.settled(f"loadbalancers/{balancer['id']}", "loadbalancer")
        self.get(f"/devices/{self.device_id}/info?refresh=1")
        for path, key, status in (
            (f"loadbalancers/{balancer['id']}", "loadbalancer", "OFFLINE"),
            (f"listeners/{listener['id']}", "listener", "OFFLINE"),
            (f"pools/{pool['id']}", "pool", "OFFLINE"),
            (f"pools/{pool['id']}/members/{plain['id']}", "member", "NO_MONITOR"),
            (f"pools/{pool['id']}/members/{off['id']}", "member", "NO_MONITOR"),
            (f"pools/{other['id']}/members/{checked['id']}", "member", "OFFLINE"),
        ):
            with self.subTest(path):
                shown = self.show(path, key)
                self.assertEqual(("ACTIVE", status), (shown["provisioning_status"], shown["operating_status"]))


class TestNetworks(NoopCase):
    def test_what_is_named_is_believed_and_the_rest_made_up(self) -> None:
        names = ("vip_network_id", "vip_subnet_id", "vip_port_id")
        for given in (names[:1], names[1:2], names[2:], names):
            for address in ("198.18.33.33", "2001:db8:33:33:33:33:33:33", None):
                wanted = {name: self.made_up() for name in given}
                with self.subTest(wanted, address=address):
                    fields = {"vip_subnet_id": None, **wanted} | ({"vip_address": address} if address else {})
                    balancer = self.add_balancer(**fields)
                    self.assertEqual(wanted, {name: balancer[name] for name in given})
                    self.assertRegex(" ".join(balancer[name] for name in names), f"^{UUID} {UUID} {UUID}$")
                    self.assertEqual(address or balancer["vip_address"], balancer["vip_address"])
                    self.assertTrue(balancer["vip_address"])
                    shown = self.settled(f"loadbalancers/{balancer['id']}", "loadbalancer")
                    self.assertEqual(balancer["vip_address"], shown["vip_address"])
                    self.remove(f"loadbalancers/{balancer['id']}")

    def test_an_address_is_one_whatever_networks_are_named(self) -> None:
        first, second = (self.add_balancer(vip_subnet_id=self.made_up(), vip_address="198.18.33.33") for _ in range(2))
        for protocol in ("HTTP", "UDP", "SCTP"):
            self.add_listener(first, protocol=protocol)
        body = {"loadbalancer_id": second["id"], "protocol": "HTTP", "protocol_port": 80}
        self.assertIn("198.18.33.33:80 is taken", self.refused(409, "POST", "listeners", {"listener": body}))
        self.add_listener(second, protocol_port=81)
        whole = {"vip_address": "198.18.33.33", "listeners": [{"protocol": "HTTP", "protocol_port": 80}]}
        other = self.register(name="HAP-002", ip="192.0.2.11")
        third = self.add_balancer(vip_subnet_id=self.made_up(), **whole)
        with self.repository.read() as tx:
            self.assertEqual(other, tx.load_balancer(third["id"].replace("-", "")).device_id)
