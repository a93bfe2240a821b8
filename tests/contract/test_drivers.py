"""What every driver promises. For a new driver: one more class like those at the end."""

from __future__ import annotations

import abc
import tempfile
import unittest
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from balancer.core.model import (
    Applied,
    Candidate,
    Counters,
    Credential,
    Device,
    DeviceSpec,
    Endpoint,
    LoadBalancer,
    ObjectKind,
    Preview,
    Protocol,
    new_id,
)
from balancer.core.ports import Driver
from balancer.devbox.host import Host
from balancer.devbox.processes import free_port
from balancer.drivers.fake import FakeDriver
from balancer.drivers.haproxy.driver import HAProxyDriver
from balancer.exceptions import LaterOwner, LeaseLost, TransientDeviceError
from tests.integration.deploying import SETTINGS, device_of, load_balancer, with_members


class DriverContract:
    """One suite over every driver."""

    class Suite(unittest.TestCase, abc.ABC):
        @abc.abstractmethod
        def make_driver(self) -> Driver: ...

        @abc.abstractmethod
        def make_device(self) -> Device:
            """A device that runs nothing yet."""

        @abc.abstractmethod
        def unreachable(self, device: Device) -> Device:
            """The same device, out of reach."""

        def setUp(self) -> None:
            self.driver = self.make_driver()
            self.device = self.driver.validate_device(self.make_device())
            self.balancers = [load_balancer([8001, 8002], free_port()) for _ in range(3)]

        def render(self, balancers: Sequence[LoadBalancer], accepted: Mapping[str, str] | None = None) -> Candidate:
            ordered = tuple(sorted(balancers, key=lambda each: each.id))
            spec = DeviceSpec(
                device=self.device, load_balancers=ordered, monitors=(), revision=1, accepted_blocks=accepted or {}
            )
            return self.driver.render(spec)

        def apply(
            self, balancers: Sequence[LoadBalancer], *, epoch: int = 1, check: Callable[[], None] = lambda: None
        ) -> Applied:
            return self.driver.apply(self.device, self.render(balancers), epoch=epoch, last={}, check=check)

        def test_capabilities_name_algorithms_and_protocols(self) -> None:
            able = self.driver.capabilities()
            self.assertTrue(able.algorithms)
            self.assertIn(Protocol.HTTP, able.protocols)
            self.assertEqual(len(able.algorithms), len(set(able.algorithms)))

        def test_what_it_can_do_passes_its_validation(self) -> None:
            for protocol in self.driver.capabilities().protocols:
                self.driver.validate(load_balancer([8001], 80, protocol=protocol), ())

        def test_a_validated_device_stays_as_it_is(self) -> None:
            self.assertEqual(self.device, self.driver.validate_device(self.device))

        def test_rendering_is_repeatable_and_shows_every_change(self) -> None:
            first = self.render(self.balancers)
            self.assertEqual(first, self.render(self.balancers))
            self.assertEqual({each.id for each in self.balancers}, set(first.blocks))
            changed = [with_members(self.balancers[0], weight=9), *self.balancers[1:]]
            second = self.render(changed)
            self.assertNotEqual(first.digest, second.digest)
            self.assertEqual(
                [self.balancers[0].id], [key for key in first.blocks if first.blocks[key] != second.blocks[key]]
            )

        def test_what_leaves_a_device_runs_on_as_it_is(self) -> None:
            leaves, *stay = self.balancers
            before = self.apply(self.balancers).accepted_blocks
            spec = DeviceSpec(
                device=self.device,
                load_balancers=tuple(sorted(stay, key=lambda each: each.id)),
                monitors=(),
                revision=2,
                kept={leaves.id: before[leaves.id]},
                withheld=("203.0.113.5",),
            )
            candidate = self.driver.render(spec)
            self.assertEqual(self.render(self.balancers).blocks, candidate.blocks)
            self.assertEqual(spec.withheld, candidate.withheld)
            applied = self.driver.apply(self.device, candidate, epoch=1, last={}, check=lambda: None)
            self.assertEqual(before, applied.accepted_blocks)

        def preview(
            self,
            balancers: Sequence[LoadBalancer],
            accepted: Mapping[str, str],
            removed: Sequence[LoadBalancer] = (),
            before: Device | None = None,
        ) -> Preview:
            spec = DeviceSpec(
                device=self.device,
                load_balancers=tuple(balancers),
                monitors=(),
                revision=1,
                accepted_blocks=accepted,
                removed={each.id: each.generation for each in removed},
            )
            return self.driver.preview(spec, before=before or self.device)

        def test_a_preview_shows_what_each_load_balancer_would_change(self) -> None:
            accepted = self.render(self.balancers).blocks
            one, two, three = self.balancers
            self.assertEqual(("noop", {}), (self.preview([one], accepted).plan, self.preview([one], accepted).diffs))
            changed = self.preview([with_members(one, weight=9), two], accepted)
            self.assertIn(changed.plan, ("runtime", "reload"))
            self.assertTrue(changed.sentence)
            self.assertEqual([one.id], list(changed.diffs))
            self.assertRegex(changed.diffs[one.id], r"(?m)^\+[^+].*\b9\b")
            without = self.preview([], accepted, removed=[three])
            self.assertEqual([three.id], list(without.diffs))
            self.assertNotRegex(without.diffs[three.id], r"(?m)^\+(?!\+\+ )")
            first = self.preview([one], {})
            self.assertNotRegex(first.diffs[one.id], r"(?m)^-(?!-- )")
            self.assertLessEqual(set(first.diffs), {one.id, ""})

        def test_what_a_preview_says_is_done(self) -> None:
            for balancers in (self.balancers, [with_members(self.balancers[0], weight=9), *self.balancers[1:]], []):
                accepted = self.apply([*self.balancers]).accepted_blocks
                self.device = replace(self.device, observation=self.driver.observe(self.device))
                removed = [] if balancers else self.balancers
                told = self.preview(balancers, accepted, removed=removed)
                self.assertEqual(told.plan, self.apply(balancers).plan)

        def test_a_preview_leaves_no_trace(self) -> None:
            before = self.render(self.balancers)
            self.apply(self.balancers)
            self.preview([with_members(self.balancers[0], weight=9)], before.blocks, removed=self.balancers[1:])
            self.assertEqual(before, self.render(self.balancers))
            self.assertEqual("noop", self.apply(self.balancers).plan)

        def test_every_load_balancer_runs_after_apply(self) -> None:
            candidate = self.render(self.balancers)
            made = self.driver.apply(self.device, candidate, epoch=1, last={}, check=lambda: None)
            self.assertIn(made.plan, ("runtime", "reload"))
            self.assertTrue(made.sentence)
            self.assertEqual({}, made.rejected)
            self.assertEqual(candidate.blocks, made.accepted_blocks)

        def test_applying_the_same_again_changes_nothing(self) -> None:
            self.apply(self.balancers)
            self.assertEqual("noop", self.apply(self.balancers, epoch=2).plan)

        def test_everything_can_be_removed_again(self) -> None:
            self.assertEqual("noop", self.apply([]).plan)
            self.apply(self.balancers)
            made = self.apply([], epoch=2)
            self.assertEqual({}, made.accepted_blocks)
            self.assertEqual("noop", self.apply([], epoch=3).plan)

        def test_an_earlier_epoch_is_refused_and_changes_nothing(self) -> None:
            self.apply(self.balancers, epoch=5)
            with self.assertRaises(LaterOwner) as caught:
                self.apply([with_members(each, weight=7) for each in self.balancers], epoch=4)
            self.assertEqual((5, 5), (caught.exception.epoch, self.driver.observe(self.device).epoch))
            self.assertEqual("noop", self.apply(self.balancers, epoch=5).plan)

        def test_a_lost_lease_stops_it_before_any_change(self) -> None:
            def lost() -> None:
                raise LeaseLost("gone")

            self.apply(self.balancers)
            with self.assertRaises(LeaseLost):
                self.apply(self.balancers[:1], epoch=2, check=lost)
            self.assertEqual("noop", self.apply(self.balancers, epoch=2).plan)

        def test_an_observation_describes_the_device(self) -> None:
            seen = self.driver.observe(self.device)
            self.assertTrue(seen.reachable)
            self.assertTrue(seen.sentence)
            self.assertTrue(seen.version)
            self.assertEqual("noop", self.apply([]).plan)

        def test_an_observation_counts_for_everything_that_runs(self) -> None:
            self.apply(self.balancers)
            wanted = {each.id: ObjectKind.LISTENER for balancer in self.balancers for each in balancer.listeners}
            for pool in (pool for balancer in self.balancers for pool in balancer.pools):
                wanted |= {pool.id: ObjectKind.POOL, **{each.id: ObjectKind.MEMBER for each in pool.members}}
            sample = self.driver.observe(self.device).sample
            assert sample is not None
            self.assertEqual(wanted, {each.object_id: each.kind for each in sample.objects})
            self.assertEqual({Counters()}, {each.counters for each in sample.objects})
            self.apply([], epoch=2)
            sample = self.driver.observe(self.device).sample
            assert sample is not None
            self.assertEqual((), sample.objects)

        def test_an_unreachable_device_is_an_answer_to_observe_and_transient_to_apply(self) -> None:
            away = self.unreachable(self.device)
            seen = self.driver.observe(away)
            self.assertFalse(seen.reachable)
            self.assertTrue(seen.sentence)
            self.assertIsNone(seen.sample)
            with self.assertRaises(TransientDeviceError):
                self.driver.apply(away, self.render(self.balancers), epoch=1, last={}, check=lambda: None)

        def test_a_forgotten_device_can_be_used_again(self) -> None:
            self.apply(self.balancers)
            self.driver.forget(self.device.id)
            self.driver.forget("never seen")
            self.assertEqual("noop", self.apply(self.balancers, epoch=2).plan)

        def test_two_devices_do_not_disturb_each_other(self) -> None:
            other = self.driver.validate_device(self.make_device())
            self.apply(self.balancers)
            spec = DeviceSpec(device=other, load_balancers=(), monitors=(), revision=1)
            made = self.driver.apply(other, self.driver.render(spec), epoch=1, last={}, check=lambda: None)
            self.assertEqual({}, made.accepted_blocks)
            self.assertEqual("noop", self.apply(self.balancers, epoch=2).plan)


class TestFakeDriver(DriverContract.Suite):
    def make_driver(self) -> Driver:
        return FakeDriver()

    def make_device(self) -> Device:
        endpoint = Endpoint(host="192.0.2.1", username="user", credential=Credential())
        return Device(id=new_id(), name="in memory", type="dummy", endpoint=endpoint)

    def unreachable(self, device: Device) -> Device:
        return replace(device, extras={"behaviour": "unreachable"})


class TestHAProxyDriver(DriverContract.Suite):
    def make_driver(self) -> Driver:
        driver = HAProxyDriver(SETTINGS)
        self.addCleanup(driver.close)
        return driver

    def make_device(self) -> Device:
        directory = tempfile.TemporaryDirectory(prefix="balancer-test-")
        self.addCleanup(directory.cleanup)
        host = Host(Path(directory.name) / "host", run_as="root")
        self.addCleanup(host.stop)
        return device_of(host.start())

    def unreachable(self, device: Device) -> Device:
        return replace(device, endpoint=replace(device.endpoint, port=free_port()))
