"""Health monitors of their own, shared by load balancers, and two load balancers changed at once, on every database."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import select

from balancer.cluster.local import NoNotifier
from balancer.config import Settings
from balancer.core import changes, scheduler
from balancer.core.changes import Change
from balancer.core.model import (
    Caller,
    Counters,
    DeviceSample,
    HealthMonitor,
    ObjectKind,
    ObjectSample,
    Observation,
    OperatingStatus,
    QuotaResource,
    Tree,
)
from balancer.core.reconciler import Reconciler
from balancer.core.service import Service
from balancer.db import tables
from balancer.drivers.registry import Registry
from balancer.exceptions import Conflict, InUse, NotFound, NotOwned, OverQuota
from tests.contract.databases import DatabaseCase, Mariadb, Postgresql, SqliteFile
from tests.contract.test_deployments import at_once
from tests.unit.objects import device, monitor, tree

if TYPE_CHECKING:
    Suite = DatabaseCase
else:
    Suite = object

ADMIN = Caller(admin=True)
BAR = Caller(project_id="bar")


def delay(seconds: float, of: HealthMonitor) -> HealthMonitor:
    return replace(of, delay=seconds)


class MonitorsContract(Suite):
    def setUp(self) -> None:
        super().setUp()
        registry = Registry(Settings())
        self.addCleanup(registry.close)
        placing = scheduler.from_names(Settings().device_filters, Settings().device_cost_functions, {})
        self.service = Service(self.repository, registry.driver_for, placing, NoNotifier())
        self.reconciler = Reconciler(
            self.repository,
            self.leases,
            registry.driver_for,
            lease_seconds=60,
            observe_interval=600,
            retry_first=0.2,
            retry_max=1,
        )
        self.devices = [self.service.register_device(ADMIN, device()) for _ in range(2)]
        self.shared = self.service.monitors.add(ADMIN, monitor())
        self.trees = [
            self.service.create(ADMIN, tree(("*", port)), device_id=each.id)
            for port, each in zip((80, 81), self.devices, strict=True)
        ]

    def change(self, of: Tree, change: Change) -> Tree:
        return self.service.change(ADMIN, "foo", of.load_balancer.id, change)

    def associate(self, of: Tree, *monitors: HealthMonitor) -> Tree:
        pool_id = of.load_balancer.pools[0].id
        return self.service.change_using(
            ADMIN,
            "foo",
            of.load_balancer.id,
            [each.id for each in monitors],
            lambda found: changes.together(*(changes.associate_monitor(each, pool_id) for each in found)),
        )

    def disassociate(self, of: Tree) -> Tree:
        return self.change(of, changes.disassociate_monitor(self.shared.id, of.load_balancer.pools[0].id))

    def now(self, of: Tree) -> Tree:
        return self.service.load_balancer(ADMIN, "foo", of.load_balancer.id).tree

    def revisions(self) -> list[int]:
        return [self.service.device(ADMIN, each.id).desired_revision for each in self.devices]

    def users(self) -> list[str]:
        return [each.tree.load_balancer.id for each in self.service.monitors.one(ADMIN, self.shared.id).users]

    # --- on their own ---

    def test_one_may_be_there_before_and_after_its_pools(self) -> None:
        self.assertEqual([], self.users())
        self.associate(self.trees[0], self.shared)
        self.assertEqual([self.trees[0].load_balancer.id], self.users())
        self.disassociate(self.trees[0])
        self.assertEqual([], self.users())
        (listed,) = self.service.monitors.readable(Caller(project_id="foo"))
        self.assertEqual(self.shared.id, listed.monitor.id)
        self.assertEqual([], self.service.monitors.readable(Caller(project_id="bar")))
        self.service.monitors.remove(ADMIN, self.shared.id)
        with self.assertRaises(NotFound):
            self.service.monitors.one(ADMIN, self.shared.id)

    def test_one_that_is_used_stays(self) -> None:
        self.associate(self.trees[0], self.shared)
        with self.assertRaises(InUse):
            self.service.monitors.remove(ADMIN, self.shared.id)
        # What only deleted load balancers use goes with them.
        self.service.delete(ADMIN, "foo", self.trees[0].load_balancer.id)
        self.assertEqual([], self.service.monitors.readable(ADMIN))
        for call in (
            partial(self.service.monitors.one, ADMIN, self.shared.id),
            partial(self.service.change_monitor, ADMIN, self.shared.id, partial(delay, 9.0)),
            partial(self.associate, self.trees[1], self.shared),
        ):
            with self.assertRaises(NotFound):
                call()
        self.reconciler.reconcile(self.devices[0].id)
        self.assertEqual([], self.query("SELECT id FROM health_monitors"))

    def test_another_project_does_not_get_at_it(self) -> None:
        other = Caller(project_id="bar")
        for call in (
            partial(self.service.monitors.one, other, self.shared.id),
            partial(self.service.monitors.remove, other, self.shared.id),
            partial(self.service.change_monitor, other, self.shared.id, partial(delay, 9.0)),
        ):
            with self.assertRaises(NotOwned):
                call()

    def test_one_of_another_project_is_left_to_that(self) -> None:
        theirs = self.service.monitors.add(ADMIN, monitor(project_id="bar"))
        for leave in (
            lambda: self.change(self.trees[0], changes.remove_monitor(theirs.id)),
            lambda: self.service.delete(ADMIN, "foo", self.trees[0].load_balancer.id),
        ):
            self.associate(self.trees[0], theirs)
            for refused in (
                changes.remove_only_monitor(theirs.id),
                changes.change_monitor(theirs.id, partial(delay, 9.0)),
            ):
                with self.assertRaises(Conflict):
                    self.change(self.trees[0], refused)
            leave()
            # It is there all the time, also before the device runs without what was deleted.
            self.assertEqual(theirs, self.service.monitors.one(ADMIN, theirs.id).monitor)
            self.assertEqual([theirs.id], [each.monitor.id for each in self.service.monitors.readable(BAR)])
            self.reconciler.reconcile(self.devices[0].id)
            self.assertEqual(theirs, self.service.monitors.one(ADMIN, theirs.id).monitor)

    def test_quotas_count_it_once(self) -> None:
        self.service.set_quotas(ADMIN, "foo", {QuotaResource.HEALTH_MONITOR: 1})
        with self.assertRaises(OverQuota):
            self.service.monitors.add(ADMIN, monitor())
        for each in self.trees:
            self.associate(each, self.shared)
        self.assertEqual(1, self.service.usage(ADMIN, "foo")[QuotaResource.HEALTH_MONITOR])

    # --- shared ---

    def test_a_change_concerns_every_user(self) -> None:
        for each in self.trees:
            self.associate(each, self.shared)
        for change in (
            lambda: self.service.change_monitor(ADMIN, self.shared.id, partial(delay, 9.0)),
            lambda: self.change(self.trees[0], self.with_monitor(10.0)),
        ):
            generations = [self.now(each).load_balancer.generation for each in self.trees]
            revisions = self.revisions()
            change()
            after = [self.now(each) for each in self.trees]
            self.assertEqual([each + 1 for each in generations], [each.load_balancer.generation for each in after])
            self.assertEqual([each + 1 for each in revisions], self.revisions())
            self.assertEqual(1, len({each.monitors[0].delay for each in after}))
        before = self.revisions()
        self.service.change_monitor(ADMIN, self.shared.id, partial(delay, 10.0))
        self.assertEqual(before, self.revisions())

    def with_monitor(self, seconds: float) -> Change:
        return lambda of: replace(of, monitors=tuple(delay(seconds, each) for each in of.monitors))

    def test_it_outlives_all_users_but_the_last(self) -> None:
        for each in self.trees:
            self.associate(each, self.shared)
        self.change(self.trees[0], changes.remove_monitor(self.shared.id))
        self.assertEqual([self.trees[1].load_balancer.id], self.users())
        self.assertEqual((), self.now(self.trees[0]).monitors)
        self.change(self.trees[1], changes.remove_monitor(self.shared.id))
        self.assertEqual([], self.service.monitors.readable(ADMIN))

    def test_who_begins_to_use_it_while_others_change_or_leave_it(self) -> None:
        for number in range(6):
            seconds = 20.0 + number
            self.associate(self.trees[0], self.shared)
            at_once(
                [
                    partial(self.associate, self.trees[1], self.shared),
                    partial(self.change, self.trees[0], self.with_monitor(seconds)),
                ]
            )
            self.assertEqual(seconds, self.now(self.trees[1]).monitors[0].delay)
            self.disassociate(self.trees[1])
            outcomes = at_once(
                [
                    partial(self.associate, self.trees[1], self.shared),
                    partial(self.change, self.trees[0], changes.remove_monitor(self.shared.id)),
                ]
            )
            used = isinstance(outcomes[0], Tree)
            self.assertEqual([self.shared.id] if used else [], [each.id for each in self.now(self.trees[1]).monitors])
            if used:
                self.disassociate(self.trees[1])
            else:
                self.assertIsInstance(outcomes[0], NotFound)
                self.shared = self.service.monitors.add(ADMIN, monitor())

    # --- two load balancers at once ---

    def exchanged(self, here: Tree, there: Tree) -> tuple[Tree, Tree]:
        """Their members, and what was counted for those."""
        one, other = here.load_balancer.pools[0], there.load_balancer.pools[0]
        return (
            changes.update_pool(lambda pool: replace(pool, members=other.members))(here),
            changes.update_pool(lambda pool: replace(pool, members=one.members))(there),
        )

    def test_members_are_exchanged(self) -> None:
        self.service.set_quotas(ADMIN, "foo", {QuotaResource.MEMBER: 4})
        first, second = self.trees
        moved = first.load_balancer.pools[0].members[0]
        lease = self.leases.claim(self.devices[0].id)
        assert lease is not None
        counters = Counters(bytes_in=5)
        sample = ObjectSample(
            kind=ObjectKind.MEMBER, object_id=moved.id, status=OperatingStatus.ONLINE, counters=counters
        )
        seen = Observation(reachable=True, sentence="seen", sample=DeviceSample(process="1", objects=(sample,)))
        self.repository.record_observation(lease, seen)
        self.leases.release(lease)
        ids = (first.load_balancer.id, second.load_balancer.id)
        after = self.service.change_two(ADMIN, "foo", ids, self.exchanged)
        members = [[each.id for each in of.load_balancer.pools[0].members] for of in self.trees]
        self.assertEqual(members[::-1], [[each.id for each in of.load_balancer.pools[0].members] for of in after])
        self.assertEqual(list(after), [self.now(each) for each in self.trees])
        # They are the same as before, with all that is known of them.
        there = next(each for each in after[1].load_balancer.pools[0].members if each.id == moved.id)
        self.assertEqual(moved.created_at, there.created_at)
        self.assertEqual(counters, self.service.statistics_of(after[1]).states[moved.id].counters)
        self.assertNotIn(moved.id, self.service.statistics_of(after[0]).states)
        self.assertEqual(4, self.service.usage(ADMIN, "foo")[QuotaResource.MEMBER])

    def test_members_that_came_from_elsewhere_have_places_of_their_own(self) -> None:
        """Or databases could list them in another order every time."""

        def give(here: Tree, there: Tree) -> tuple[Tree, Tree]:
            mine, others = here.load_balancer.pools[0].members, there.load_balancer.pools[0].members
            return (
                changes.update_pool(lambda pool: replace(pool, members=mine[1:]))(here),
                changes.update_pool(
                    lambda pool: replace(pool, members=(*others, replace(mine[0], port=mine[0].port + 1000)))
                )(there),
            )

        for first, second in (self.trees, self.trees[::-1]):
            self.service.change_two(ADMIN, "foo", (first.load_balancer.id, second.load_balancer.id), give)
            with self.engine.connect() as connection:
                places = connection.execute(select(tables.members.c.pool_id, tables.members.c.ordinal)).all()
            self.assertEqual(len(places), len(set(places)), places)
            for each in self.trees:
                (pool,) = self.now(each).load_balancer.pools
                count = len(pool.members)
                self.assertEqual(list(range(count)), sorted(place for of, place in places if of == pool.id))

    def test_both_at_once_the_other_way_round(self) -> None:
        ids = tuple(each.load_balancer.id for each in self.trees)
        calls = [
            partial(self.service.change_two, ADMIN, "foo", (ids[number % 2], ids[(number + 1) % 2]), self.exchanged)
            for number in range(4)
        ]
        for outcome in at_once(calls):
            self.assertIsInstance(outcome, tuple, outcome)
        before = [sorted(each.id for each in of.load_balancer.pools[0].members) for of in self.trees]
        self.assertEqual(
            before, [sorted(each.id for each in self.now(of).load_balancer.pools[0].members) for of in self.trees]
        )


class MonitorsOnSqlite(MonitorsContract, SqliteFile):
    pass


class MonitorsOnPostgresql(MonitorsContract, Postgresql):
    pass


class MonitorsOnMariadb(MonitorsContract, Mariadb):
    pass
