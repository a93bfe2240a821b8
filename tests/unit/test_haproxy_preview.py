"""What a deployment would do to an HAProxy host, told without looking at it."""

from __future__ import annotations

import unittest
from dataclasses import replace
from typing import Any

from balancer.config import Settings
from balancer.core.model import (
    Device,
    DeviceSpec,
    LoadBalancer,
    Observation,
    PersistenceKind,
    Preview,
    SessionPersistence,
    new_id,
)
from balancer.drivers.haproxy import render
from balancer.drivers.haproxy.driver import HAProxyDriver
from balancer.drivers.haproxy.plan import preview
from tests.unit.objects import device, tree

HEAD = ""


class TestPreview(unittest.TestCase):
    def setUp(self) -> None:
        self.device = device(type="haproxy", socket="/run/haproxy/balancer.sock")
        self.one, self.two = (tree(("*", port)).load_balancer for port in (80, 81))
        self.texts = {each.id: self.text(each) for each in (self.one, self.two)}

    def text(self, balancer: LoadBalancer) -> str:
        return render.block(balancer, (), device_id=self.device.id).text

    def preview(self, *balancers: LoadBalancer, before: Device | None = None, **fields: Any) -> Preview:
        spec = DeviceSpec(
            **{
                "device": self.device,
                "load_balancers": balancers,
                "monitors": (),
                "revision": 1,
                "accepted_blocks": self.texts,
                **fields,
            }
        )
        return preview(spec, before or self.device)

    def test_what_stays_as_it_is_is_nothing_to_do(self) -> None:
        self.assertEqual(
            Preview(plan="noop", sentence="nothing to do: the configuration is what it shall be"),
            self.preview(self.one),
        )

    def test_a_change_is_shown_with_the_lines_of_its_own_load_balancer_only(self) -> None:
        (pool,) = self.one.pools
        member = replace(pool.members[0], weight=7)
        told = self.preview(replace(self.one, pools=(replace(pool, members=(member, *pool.members[1:])),)))
        self.assertEqual("reload", told.plan)
        self.assertIn("HAProxy would be reloaded because", told.sentence)
        self.assertEqual([self.one.id], list(told.diffs))
        lines = told.diffs[self.one.id].splitlines()
        self.assertEqual([f"--- before/{self.one.id}", f"+++ after/{self.one.id}"], lines[:2])
        written = [line for line in lines[2:] if line[0] in "+-"]
        self.assertEqual(2, len(written), lines)
        self.assertIn("weight 7", written[1])
        self.assertNotIn(self.two.listeners[0].id, told.diffs[self.one.id])

    def test_what_the_seen_version_can_change_while_it_runs_needs_no_reload(self) -> None:
        (pool,) = self.one.pools
        member = replace(pool.members[0], weight=7)
        changed = replace(self.one, pools=(replace(pool, members=(member, *pool.members[1:])),))
        for version, plan, sentence in (
            (
                "2.6.12",
                "runtime",
                "HAProxy would be told over its socket, without a reload: "
                f"`set weight be-{pool.id}/{pool.members[0].id} 7`",
            ),
            (
                "2.4.22",
                "reload",
                "HAProxy would be reloaded because this version of HAProxy takes no changes while it runs",
            ),
        ):
            with self.subTest(version):
                seen = Observation(reachable=True, sentence="", version=version)
                told = self.preview(changed, before=replace(self.device, observation=seen))
                self.assertEqual((plan, sentence), (told.plan, told.sentence))

    def test_the_first_one_brings_what_all_share_and_the_last_one_takes_it_along(self) -> None:
        first = self.preview(self.one, accepted_blocks={})
        self.assertEqual([HEAD, self.one.id], list(first.diffs))
        self.assertRegex(first.diffs[HEAD], r"(?m)^\+\+\+ after/head$")
        self.assertRegex(first.diffs[HEAD], r"(?m)^\+defaults balancer-http$")
        gone = self.preview(accepted_blocks={self.one.id: self.text(self.one)}, removed={self.one.id: 1})
        self.assertEqual([HEAD, self.one.id], list(gone.diffs))
        self.assertRegex(gone.diffs[HEAD], r"(?m)^-defaults balancer-http$")
        # While another one stays, so does that.
        self.assertEqual([self.one.id], list(self.preview(removed={self.one.id: 1}).diffs))

    def test_the_first_stick_table_brings_the_peers(self) -> None:
        (pool,) = self.one.pools
        sticky = SessionPersistence(id=new_id(), kind=PersistenceKind.SOURCE_IP)
        told = self.preview(replace(self.one, pools=(replace(pool, session_persistence=sticky),)))
        self.assertEqual([HEAD, self.one.id], list(told.diffs))
        self.assertRegex(told.diffs[HEAD], r"(?m)^\+peers balancer$")

    def test_what_was_registered_anew_shows(self) -> None:
        told = self.preview(before=replace(self.device, socket="/run/haproxy/old.sock"))
        self.assertEqual([HEAD], list(told.diffs))
        self.assertRegex(told.diffs[HEAD], r"(?m)^-.*/run/haproxy/old\.sock")

    def test_a_haproxy_that_was_seen_not_to_run_would_be_started(self) -> None:
        idle = Observation(reachable=True, sentence="", facts={"running": False})
        told = self.preview(replace(self.one, admin_up=False), before=replace(self.device, observation=idle))
        self.assertEqual("reload", told.plan)
        self.assertEqual("HAProxy would be started because HAProxy is not running", told.sentence)
        unseen = Observation(reachable=False, sentence="")
        told = self.preview(replace(self.one, admin_up=False), before=replace(self.device, observation=unseen))
        self.assertIn("reloaded", told.sentence)

    def test_the_texts_that_rendering_keeps_are_left_alone(self) -> None:
        driver = HAProxyDriver(Settings())
        self.addCleanup(driver.close)
        given = tuple(replace(each, exempt=True) for each in (self.one, self.two))
        spec = DeviceSpec(device=self.device, load_balancers=given, monitors=(), revision=1)
        kept = driver.render(spec).blocks
        driver.preview(replace(spec, load_balancers=(replace(given[0], admin_up=False),)), before=self.device)
        again = driver.render(spec).blocks
        for each in (self.one, self.two):
            self.assertTrue(kept[each.id])
            self.assertIs(kept[each.id], again[each.id])
