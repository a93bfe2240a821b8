"""Provisioning statuses of load balancers and of their parts, from counters and times."""

from __future__ import annotations

import unittest
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from balancer.core.model import LoadBalancer, LoadBalancerError, Member
from balancer.core.status import ProvisioningStatus, part_provisioning_status, provisioning_status
from tests.unit.objects import member, tree

START = datetime(2024, 5, 1, tzinfo=UTC)
CREATE, UPDATE = ProvisioningStatus.PENDING_CREATE, ProvisioningStatus.PENDING_UPDATE
ACTIVE, ERROR = ProvisioningStatus.ACTIVE, ProvisioningStatus.ERROR


def at(seconds: int) -> datetime:
    return START + timedelta(seconds=seconds)


def part(created: int, updated: int) -> Member:
    return replace(member(), created_at=at(created), updated_at=at(updated))


class Provisioning(unittest.TestCase):
    new = replace(tree().load_balancer, generation=1, applied_generation=0, changed_at=at(0))
    # Three generations were made, at the seconds 0, 10 and 20; the first one is what runs.
    changed = replace(new, generation=3, applied_generation=1, changed_at=at(20), applied_changed_at=at(0))
    settled = replace(changed, applied_generation=3, applied_changed_at=at(20))
    failed = replace(changed, error=LoadBalancerError(sentence="refused", generation=3))

    def test_of_the_load_balancer(self) -> None:
        for expected, balancer in ((CREATE, self.new), (UPDATE, self.changed), (ACTIVE, self.settled)):
            self.assertIs(expected, provisioning_status(balancer))
        self.assertIs(ERROR, provisioning_status(self.failed))

    def check(self, expected: ProvisioningStatus, balancer: LoadBalancer, created: int, updated: int) -> None:
        with self.subTest(created=created, updated=updated):
            self.assertIs(expected, part_provisioning_status(balancer, part(created, updated)))

    def test_of_what_a_new_one_came_with(self) -> None:
        self.check(CREATE, self.new, 0, 0)

    def test_only_what_was_changed_since_is_pending(self) -> None:
        self.check(ACTIVE, self.changed, 0, 0)
        self.check(UPDATE, self.changed, 0, 10)
        self.check(CREATE, self.changed, 10, 10)
        self.check(CREATE, self.changed, 10, 20)

    def test_everything_is_active_once_all_is_applied_whatever_the_clocks_say(self) -> None:
        self.check(ACTIVE, self.settled, 0, 20)
        self.check(ACTIVE, self.settled, 25, 30)

    def test_an_error_is_of_what_was_changed_only(self) -> None:
        self.check(ACTIVE, self.failed, 0, 0)
        self.check(ERROR, self.failed, 0, 20)
        self.check(ERROR, self.failed, 10, 10)

    def test_what_hangs_on_it_keeps_it_pending(self) -> None:
        pool = part(0, 0)
        self.assertIs(UPDATE, part_provisioning_status(self.changed, pool, [part(0, 0), part(10, 10)]))
        self.assertIs(ACTIVE, part_provisioning_status(self.changed, pool, [part(0, 0)]))
        self.assertIs(ACTIVE, part_provisioning_status(self.failed, pool, [part(10, 10)]))
