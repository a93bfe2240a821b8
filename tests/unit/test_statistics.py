"""Counters that outlive processes, and what an object's operating status follows from."""

from __future__ import annotations

import unittest
from collections.abc import Mapping
from dataclasses import replace

from balancer.core.model import (
    Counters,
    Listener,
    LoadBalancer,
    LoadBalancerError,
    ObjectKind,
    ObjectState,
    OperatingStatus,
    Statistics,
)
from balancer.core.statistics import ZERO, accumulate, add, total
from balancer.core.status import (
    listener_operating_status,
    load_balancer_operating_status,
    pool_operating_status,
    worst,
)
from tests.unit.objects import tree

ONLINE, OFFLINE, DEGRADED = OperatingStatus.ONLINE, OperatingStatus.OFFLINE, OperatingStatus.DEGRADED
ERROR, DRAINING, NO_MONITOR = OperatingStatus.ERROR, OperatingStatus.DRAINING, OperatingStatus.NO_MONITOR


def counters(number: int) -> Counters:
    return Counters(bytes_in=number, bytes_out=2 * number, total_connections=3 * number, request_errors=4 * number)


class TestAccumulate(unittest.TestCase):
    def test_the_first_sample_counts_whole(self) -> None:
        self.assertEqual(counters(7), accumulate(ZERO, ZERO, counters(7), same_process=False))
        self.assertEqual(counters(7), accumulate(ZERO, ZERO, counters(7), same_process=True))

    def test_the_same_process_adds_what_is_new(self) -> None:
        self.assertEqual(counters(12), accumulate(counters(10), counters(5), counters(7), same_process=True))
        self.assertEqual(counters(10), accumulate(counters(10), counters(5), counters(5), same_process=True))

    def test_another_process_adds_all(self) -> None:
        self.assertEqual(counters(17), accumulate(counters(10), counters(5), counters(7), same_process=False))

    def test_one_counter_that_goes_back_says_that_all_did(self) -> None:
        now = replace(counters(7), request_errors=1)
        self.assertEqual(add(counters(10), now), accumulate(counters(10), counters(5), now, same_process=True))

    def test_connections_at_one_moment_are_not_added_up(self) -> None:
        before, now = replace(counters(5), active_connections=9), replace(counters(5), active_connections=2)
        self.assertEqual(2, accumulate(before, before, now, same_process=True).active_connections)
        self.assertEqual(2, accumulate(before, before, now, same_process=False).active_connections)


class TestOperatingStatus(unittest.TestCase):
    def setUp(self) -> None:
        made = tree(("*", 80), ("*", 81)).load_balancer
        self.balancer = replace(made, applied_generation=made.generation)
        self.first, self.second = self.balancer.listeners
        (self.pool,) = self.balancer.pools
        self.members = self.pool.members

    def seen(self, **statuses: OperatingStatus | None) -> Statistics:
        """All well but for what is given of `listener`, `pool` and `member`, the first of each."""
        ids = {
            "listener": (ObjectKind.LISTENER, self.first.id, ONLINE),
            "other": (ObjectKind.LISTENER, self.second.id, ONLINE),
            "pool": (ObjectKind.POOL, self.pool.id, ONLINE),
            "member": (ObjectKind.MEMBER, self.members[0].id, ONLINE),
            "spare": (ObjectKind.MEMBER, self.members[1].id, NO_MONITOR),
        }
        states: Mapping[str, ObjectState] = {
            object_id: ObjectState(
                kind=kind, object_id=object_id, status=statuses.get(name, status), counters=counters(1)
            )
            for name, (kind, object_id, status) in ids.items()
        }
        return Statistics(states=states)

    def whole(self, balancer: LoadBalancer | None = None, **statuses: OperatingStatus | None) -> OperatingStatus | None:
        return load_balancer_operating_status(balancer or self.balancer, self.seen(**statuses))

    def of_listener(self, balancer: LoadBalancer, which: Listener, **statuses: OperatingStatus) -> object:
        return listener_operating_status(balancer, which, self.seen(**statuses))

    def test_the_sum_is_that_of_the_listeners(self) -> None:
        self.assertEqual(counters(2), total(self.seen()))
        self.assertEqual(ZERO, total(Statistics()))

    def test_the_worst(self) -> None:
        self.assertIsNone(worst(()))
        self.assertIsNone(worst((None, None)))
        for several, one in (
            ((ONLINE, None), ONLINE),
            ((ONLINE, NO_MONITOR), NO_MONITOR),
            ((NO_MONITOR, DRAINING), DRAINING),
            ((DRAINING, OFFLINE), OFFLINE),
            ((OFFLINE, DEGRADED), DEGRADED),
            ((DEGRADED, ERROR, ONLINE), ERROR),
        ):
            self.assertIs(one, worst(several))

    def test_a_pool_is_degraded_while_a_member_is_down(self) -> None:
        def pool(**statuses: OperatingStatus | None) -> OperatingStatus | None:
            return pool_operating_status(self.pool, self.seen(**statuses))

        self.assertIs(ONLINE, pool())
        self.assertIs(DEGRADED, pool(member=ERROR))
        self.assertIs(ERROR, pool(pool=ERROR, member=ERROR))
        # These were asked to be so.
        self.assertIs(ONLINE, pool(member=OFFLINE))
        self.assertIs(ONLINE, pool(member=DRAINING))
        self.assertIsNone(pool(pool=None))
        self.assertIs(OFFLINE, pool_operating_status(replace(self.pool, admin_up=False), self.seen()))

    def test_a_listener_that_is_not_served_is_an_error_unless_that_was_asked_for(self) -> None:
        self.assertIs(DEGRADED, self.of_listener(self.balancer, self.first, listener=DEGRADED))
        self.assertIs(ERROR, self.of_listener(self.balancer, self.first, listener=OFFLINE))
        self.assertIs(OFFLINE, self.of_listener(self.balancer, replace(self.first, admin_up=False), listener=OFFLINE))
        self.assertIs(OFFLINE, self.of_listener(replace(self.balancer, admin_up=False), self.first, listener=OFFLINE))
        pending = replace(self.balancer, generation=5)
        refused = replace(self.balancer, error=LoadBalancerError(sentence="no", generation=1))
        for balancer in (pending, refused):
            self.assertIs(OFFLINE, self.of_listener(balancer, self.first, listener=OFFLINE))

    def test_a_load_balancer_is_as_its_worst_part(self) -> None:
        self.assertIs(ONLINE, self.whole())
        self.assertIs(DEGRADED, self.whole(listener=DEGRADED))
        self.assertIs(DEGRADED, self.whole(member=ERROR))
        self.assertIs(ERROR, self.whole(pool=ERROR))
        self.assertIs(ERROR, self.whole(listener=OFFLINE, member=ERROR))

    def test_what_is_switched_off_counts_only_when_all_is(self) -> None:
        off = replace(self.first, admin_up=False)
        one = replace(self.balancer, listeners=(off, self.second))
        self.assertIs(ONLINE, self.whole(one, listener=OFFLINE))
        both = replace(self.balancer, listeners=(off, replace(self.second, admin_up=False)))
        self.assertIs(OFFLINE, self.whole(both, listener=OFFLINE, other=OFFLINE, pool=OFFLINE))
        self.assertIs(OFFLINE, self.whole(replace(self.balancer, admin_up=False)))

    def test_a_pool_that_no_listener_uses_does_not_count(self) -> None:
        unused = tuple(replace(each, default_pool_id=None) for each in self.balancer.listeners)
        self.assertIs(ONLINE, self.whole(replace(self.balancer, listeners=unused), pool=OFFLINE, member=ERROR))

    def test_nothing_is_known_before_anything_was_seen(self) -> None:
        self.assertIsNone(load_balancer_operating_status(self.balancer, Statistics()))
        self.assertIsNone(load_balancer_operating_status(replace(self.balancer, listeners=(), pools=()), Statistics()))
        # What is known counts.
        self.assertIs(ERROR, self.whole(listener=None, other=None, pool=ERROR))
