"""What every database must do with samples: counters that only grow, statuses as they were seen last."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from balancer.core import rules
from balancer.core.model import (
    Applied,
    Counters,
    DeviceSample,
    LoadBalancer,
    Member,
    ObjectSample,
    OperatingStatus,
    Statistics,
    new_id,
)
from balancer.core.statistics import total
from tests.contract import samples
from tests.contract.databases import DatabaseCase, Mariadb, Postgresql, SqliteFile
from tests.contract.samples import counters, device_sample, sample_of
from tests.contract.test_repository import Steps

if TYPE_CHECKING:
    Suite = DatabaseCase
else:
    Suite = object


class StatisticsContract(Steps):
    def setUp(self) -> None:
        super().setUp()
        self.device = self.add_device()
        self.balancer = self.add(samples.load_balancer(self.device.id))

    def observe(self, *objects: ObjectSample, process: str = "1", device_id: str | None = None) -> None:
        self.record_sample(DeviceSample(process=process, objects=objects), device_id=device_id)

    def record_sample(self, sample: DeviceSample | None, *, device_id: str | None = None) -> None:
        lease = self.lease(device_id or self.device.id)
        self.repository.record_observation(lease, samples.observation(sample=sample))
        self.leases.release(lease)

    def applied(self, sample: DeviceSample | None) -> None:
        """A deployment that had seen that before it changed anything."""
        lease = self.lease(self.device.id)
        applied = Applied(
            plan="reload", sentence="", accepted_blocks={}, observation=samples.observation(sample=sample)
        )
        self.repository.record_applied(lease, self.spec(self.device.id), samples.NO_CANDIDATE, applied)
        self.leases.release(lease)

    def known(self, load_balancer_id: str | None = None) -> Statistics:
        wanted = load_balancer_id or self.balancer.id
        with self.repository.read() as tx:
            return tx.statistics([wanted])[wanted]

    def counted(self, balancer: LoadBalancer | None = None) -> list[Counters]:
        """Of its listener, its pool and its first member."""
        balancer = balancer or self.get(self.balancer.id)
        states = self.known(balancer.id).states
        pool = balancer.pools[0]
        return [states[each].counters for each in (balancer.listeners[0].id, pool.id, pool.members[0].id)]

    def statuses(self) -> set[OperatingStatus | None]:
        return {state.status for state in self.known().states.values()}

    def test_nothing_is_known_before_the_first_sample(self) -> None:
        self.assertEqual(Statistics(), self.known())
        self.record_sample(None)
        self.assertEqual(Statistics(), self.known())
        with self.repository.read() as tx:
            self.assertEqual({}, tx.statistics(["0" * 32]))
            self.assertEqual({}, tx.statistics([]))

    def test_a_sample_is_kept_with_its_time(self) -> None:
        before = self.repository.now()
        self.observe(*sample_of(self.balancer, 3, status=OperatingStatus.DRAINING))
        known = self.known()
        self.assertEqual({each.object_id for each in sample_of(self.balancer, 3)}, set(known.states))
        for each in sample_of(self.balancer, 3):
            state = known.states[each.object_id]
            self.assertEqual(
                (each.kind, each.object_id, OperatingStatus.DRAINING, counters(3, active=3)),
                (state.kind, state.object_id, state.status, state.counters),
            )
        assert known.sampled_at is not None
        assert known.age is not None
        self.assertTrue(before <= known.sampled_at <= self.repository.now())
        self.assertTrue(0 <= known.age < 10)
        # One that could not ask leaves everything as it was.
        self.record_sample(None)
        again = self.known()
        self.assertEqual((known.states, known.sampled_at), (again.states, again.sampled_at))

    def test_counters_grow_by_what_the_process_counts(self) -> None:
        for number in (3, 3, 8):
            self.observe(*sample_of(self.balancer, number))
            self.assertEqual([counters(number, active=number)] * 3, self.counted())

    def test_counters_survive_another_process_and_one_that_forgets(self) -> None:
        self.observe(*sample_of(self.balancer, 5))
        self.observe(*sample_of(self.balancer, 2), process="2")
        self.assertEqual([counters(7, active=2)] * 3, self.counted())
        # Another process that has counted more than the one before.
        self.observe(*sample_of(self.balancer, 9), process="3")
        self.assertEqual([counters(16, active=9)] * 3, self.counted())
        # The same process, whose counters were cleared.
        self.observe(*sample_of(self.balancer, 1), process="3")
        self.assertEqual([counters(17, active=1)] * 3, self.counted())

    def test_what_is_not_served_is_offline_and_counts_on_when_it_is_again(self) -> None:
        self.observe(*sample_of(self.balancer, 5))
        self.observe()
        self.assertEqual({OperatingStatus.OFFLINE}, self.statuses())
        self.assertEqual([counters(5)] * 3, self.counted())
        self.observe(*sample_of(self.balancer, 6))
        self.assertEqual([counters(11, active=6)] * 3, self.counted())
        self.assertEqual({OperatingStatus.ONLINE}, self.statuses())

    def test_an_undecided_status_leaves_the_one_before(self) -> None:
        self.observe(*sample_of(self.balancer, 1, status=None))
        self.assertEqual({None}, self.statuses())
        self.observe(*sample_of(self.balancer, 1, status=OperatingStatus.ERROR))
        self.observe(*sample_of(self.balancer, 1, status=None))
        self.assertEqual({OperatingStatus.ERROR}, self.statuses())

    def test_a_deployment_brings_the_last_word_of_the_process_that_ends(self) -> None:
        self.observe(*sample_of(self.balancer, 5))
        self.applied(device_sample(*sample_of(self.balancer, 8)))
        self.observe(*sample_of(self.balancer, 2), process="2")
        self.assertEqual([counters(10, active=2)] * 3, self.counted())

    def test_what_was_not_served_before_a_deployment_is_unknown_after_it(self) -> None:
        self.observe()
        self.observe(*sample_of(self.balancer, 5))
        self.observe()
        self.applied(device_sample())
        self.assertEqual({None}, self.statuses())
        self.applied(None)
        self.assertEqual({None}, self.statuses())

    def test_objects_of_nobody_are_left_out(self) -> None:
        other = samples.load_balancer(self.device.id)
        self.observe(*sample_of(other, 1), *sample_of(self.balancer, 1))
        self.assertEqual(4, len(self.known().states))
        self.assertEqual([(4,)], self.query("SELECT count(*) FROM object_statistics"))

    def test_a_removed_listener_stays_in_the_sum_and_a_removed_member_goes(self) -> None:
        self.observe(*sample_of(self.balancer, 5))
        old = self.balancer.listeners[0]

        def renew(each: LoadBalancer) -> LoadBalancer:
            pool = each.pools[0]
            return replace(
                each,
                listeners=(replace(old, id=new_id(), port=81),),
                pools=(replace(pool, members=(Member(id=new_id(), address="192.0.2.9", port=80),)),),
            )

        changed = self.change(self.balancer.id, renew)
        self.observe(*sample_of(changed, 2), process="2")
        known = self.known()
        self.assertEqual(counters(7, active=2), total(known))
        present = {each.object_id for each in sample_of(changed, 0)}
        self.assertEqual({*present, old.id}, set(known.states))

    def test_a_load_balancer_that_moves_goes_on_counting(self) -> None:
        other = self.add_device()
        self.observe(*sample_of(self.balancer, 5))
        self.change(self.balancer.id, lambda each: replace(each, device_id=other.id))
        # The old one serves it until the new one does.
        self.assertEqual({OperatingStatus.ONLINE}, self.statuses())
        self.deploy(other.id)
        self.assertEqual(({None}, None), (self.statuses(), self.known().sampled_at))
        # Both serve it for a while.
        self.observe(*sample_of(self.balancer, 2), process="7", device_id=other.id)
        self.observe(*sample_of(self.balancer, 6, status=OperatingStatus.ERROR))
        self.assertEqual([counters(8, active=8)] * 3, self.counted())
        self.assertEqual({OperatingStatus.ONLINE}, self.statuses())
        self.observe()
        self.observe(*sample_of(self.balancer, 3), process="7", device_id=other.id)
        self.assertEqual([counters(9, active=3)] * 3, self.counted())

    def test_nothing_stays_of_a_load_balancer_that_is_gone(self) -> None:
        kept = self.add(samples.load_balancer(self.device.id, port=81))
        self.observe(*sample_of(self.balancer, 1), *sample_of(kept, 1))
        self.remove(self.balancer.id)
        self.applied(device_sample(*sample_of(self.balancer, 2), *sample_of(kept, 2)))
        self.assertEqual([(kept.id,)], self.query("SELECT DISTINCT load_balancer_id FROM object_statistics"))
        self.assertEqual([counters(2, active=2)] * 3, self.counted(kept))

    def test_a_large_device_is_recorded_fast(self) -> None:
        balancers = []
        with self.repository.write() as tx:
            for port in range(1000, 2000):
                balancer = samples.load_balancer(self.device.id, port=port, members=3)
                tx.add_load_balancer(balancer)
                tx.add_reservations(rules.wanted_reservations(balancer))
                balancers.append(balancer)
        # All are new, then all have changed, then none, then all are counted by another process.
        for number, process in ((1, "1"), (2, "1"), (2, "1"), (1, "2")):
            objects = tuple(sample for each in balancers for sample in sample_of(each, number))
            self.assertEqual(5000, len(objects))
            started = time.monotonic()
            self.observe(*objects, process=process)
            self.assertLess(time.monotonic() - started, 10.0)
        started = time.monotonic()
        with self.repository.read() as tx:
            known = tx.statistics([each.id for each in balancers])
        self.assertLess(time.monotonic() - started, 10.0)
        self.assertEqual({counters(3, active=1)}, {total(each) for each in known.values()})


class StatisticsOnSqlite(StatisticsContract, SqliteFile):
    pass


class StatisticsOnPostgresql(StatisticsContract, Postgresql):
    pass


class StatisticsOnMariadb(StatisticsContract, Mariadb):
    pass
