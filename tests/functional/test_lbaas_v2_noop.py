"""LBaaS v2 with the network driver ``noop`` and a device that never reports: what conformance is looked for with."""

from __future__ import annotations

from balancer.api.attributes import show_uuid
from balancer.core import scheduler
from balancer.core.model import new_id
from balancer.core.networks import networks_of
from balancer.core.service import Service
from tests.functional.lbaas_v2 import LbaasCase


class NoopCase(LbaasCase):
    def setUp(self) -> None:
        super().setUp()
        self.expect(200, "PUT", f"/devices/{self.device_id}", {"behaviour": "silent"})

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
        self.add_monitor(other := self.add_pool(loadbalancer_id=balancer["id"]))
        checked = self.add_member(other)
        self.settled(f"loadbalancers/{balancer['id']}", "loadbalancer")
        self.get(f"/devices/{self.device_id}/info?refresh=1")
        for path, key, status in (
            (f"loadbalancers/{balancer['id']}", "loadbalancer", "OFFLINE"),
            (f"listeners/{listener['id']}", "listener", "OFFLINE"),
            (f"pools/{pool['id']}", "pool", "OFFLINE"),
            (f"pools/{pool['id']}/members/{plain['id']}", "member", "NO_MONITOR"),
            (f"pools/{other['id']}/members/{checked['id']}", "member", "OFFLINE"),
        ):
            with self.subTest(key):
                shown = self.show(path, key)
                self.assertEqual(("ACTIVE", status), (shown["provisioning_status"], shown["operating_status"]))
