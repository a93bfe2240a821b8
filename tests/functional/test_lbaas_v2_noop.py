"""LBaaS v2 with the network driver ``noop`` and a device that never reports: what conformance is looked for with."""

from __future__ import annotations

from balancer.api.attributes import show_uuid
from balancer.core import scheduler
from balancer.core.model import new_id
from balancer.core.networks import networks_of
from balancer.core.service import Service
from tests.functional.lbaas_v2 import LbaasCase

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


class NoopCase(LbaasCase):
    device_behaviour = "silent"

    def _make_service(self) -> Service:
        placing = scheduler.from_names(self.settings.device_filters, self.settings.device_cost_functions, {})
        return Service(
            self.repository,
            self.registry.driver_for,
            placing,
            self.notifier,
            device_types=self.registry.types(),
            networks=networks_of("noop"),
        )

    def made_up(self) -> str:
        return show_uuid(new_id()) or ""


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
