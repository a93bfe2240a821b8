"""What every database tells of the service as a whole: its workers, and how far deployments have come."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from balancer.core.model import AdminState, Applied, Device, Figures, LoadBalancer, Outcome
from balancer.db.leases import SqlLeases, make_owner
from balancer.exceptions import NotFound
from tests.contract import samples
from tests.contract.databases import DatabaseCase, Mariadb, Postgresql, SqliteFile
from tests.unit.objects import device, tree

if TYPE_CHECKING:
    Suite = DatabaseCase
else:
    Suite = object


class FiguresContract(Suite):
    def figures(self) -> Figures:
        with self.repository.read() as tx:
            return tx.figures()

    def add_device(self) -> Device:
        new = device()
        with self.repository.write() as tx:
            tx.add_device(new)
        return new

    def add(self, there: Device) -> LoadBalancer:
        balancer = tree(device_id=there.id).load_balancer
        with self.repository.write() as tx:
            tx.add_load_balancer(balancer)
            tx.bump(there.id)
        return balancer

    def deploy(self, there: Device, *, plan: str = "reload", duration: float = 0.5) -> None:
        lease, spec = self.leases.claim(there.id), self.repository.load_spec(there.id)
        assert lease is not None and spec is not None
        applied = Applied(plan=plan, sentence="", accepted_blocks={})
        self.repository.record_applied(lease, spec, samples.NO_CANDIDATE, applied, duration=duration)
        self.leases.release(lease)

    def record_failure(self, there: Device, retry_after: float | None) -> None:
        lease, spec = self.leases.claim(there.id), self.repository.load_spec(there.id)
        assert lease is not None and spec is not None
        self.repository.record_failure(lease, spec, "no", retry_after=retry_after, duration=0.25)
        self.leases.release(lease)

    def deployments(self) -> list[tuple[str, Outcome, str | None, int, float]]:
        return sorted(
            (each.device_id, each.outcome, each.plan, each.number, each.seconds) for each in self.figures().deployments
        )

    def test_nothing(self) -> None:
        nothing = Figures(
            devices=(), load_balancers=(), deployments=(), waiting_devices=0, longest_wait=0.0, workers=()
        )
        self.assertEqual(nothing, self.figures())

    def test_workers_are_alive_for_as_long_as_they_said(self) -> None:
        for name in ("two", "one", "one"):
            self.repository.heartbeat(name, 30)
        self.repository.heartbeat("over", -1)
        # In the order of their start.
        self.assertEqual(("two", "one"), self.figures().workers)
        self.repository.heartbeat("one", -1)
        self.repository.retire("two")
        self.repository.retire("unknown")
        self.assertEqual((), self.figures().workers)

    def test_a_process_of_this_host_that_is_gone_is_no_worker(self) -> None:
        alive = make_owner()
        self.repository.heartbeat(alive, 30)
        # The same number, of a process that started at another time.
        head, start = alive.rsplit("/", 1)
        self.repository.heartbeat(f"{head}/1{start}", 30)
        self.assertEqual((alive,), self.figures().workers)

    def test_a_worker_is_known_with_what_it_looked_after(self) -> None:
        there = self.add_device()
        names = [make_owner(), make_owner()]
        for name in names:
            self.repository.heartbeat(name, 60)
        lease = SqlLeases(self.engine, names[1], 60).claim(there.id)
        assert lease is not None
        SqlLeases(self.engine, names[1], 60).release(lease)
        with self.repository.read() as tx:
            workers = {each.name: each for each in tx.workers()}
        self.assertEqual([(), (there.id,)], [workers[name].device_ids for name in names])
        self.assertEqual(2, len({each.id for each in workers.values()}))
        now = self.repository.now()
        for each in workers.values():
            self.assertTrue(each.works)
            for moment in (each.started_at, each.seen_at):
                self.assertTrue(abs(moment.timestamp() - now) < 60)

    def test_a_worker_can_be_switched_off_and_forgotten(self) -> None:
        for name in ("one", "two"):
            self.repository.heartbeat(name, 60)
        with self.repository.write() as tx:
            one = next(each for each in tx.workers() if each.name == "one")
            tx.save_worker(replace(one, enabled=False, description="resting"))
        self.repository.heartbeat("one", 60)
        self.assertEqual(
            [False, True, True], [self.repository.may_work(name) for name in ("one", "two", "never heard of")]
        )
        self.assertEqual(("two",), self.figures().workers)
        with self.repository.read() as tx:
            one = next(each for each in tx.workers() if each.name == "one")
        self.assertEqual((False, "resting", True), (one.enabled, one.description, one.alive))
        with self.repository.write() as tx:
            tx.delete_worker(one.id)
        for what in (lambda tx: tx.delete_worker(one.id), lambda tx: tx.save_worker(one)):
            with self.assertRaises(NotFound), self.repository.write() as tx:
                what(tx)

    def test_workers_of_long_ago_are_forgotten(self) -> None:
        self.repository.heartbeat("long ago", -4000)
        self.repository.heartbeat("lately", -10)
        self.repository.heartbeat("new", 10)
        self.assertEqual([("lately",), ("new",)], sorted(self.query("SELECT name FROM workers")))

    def test_devices_that_wait(self) -> None:
        waiting, done, resting = (self.add_device() for _ in range(3))
        for each in (waiting, done, resting):
            self.add(each)
        self.deploy(done)
        with self.repository.write() as tx:
            tx.save_device(replace(resting, admin_state=AdminState.MAINTENANCE))
        figures = self.figures()
        self.assertEqual(1, figures.waiting_devices)
        self.assertTrue(0 < figures.longest_wait < 60, figures.longest_wait)
        self.assertEqual(3, len(figures.devices))

    def test_load_balancers_are_counted_by_their_generations(self) -> None:
        there = self.add_device()
        applied, _ = self.add(there), self.add(there)
        self.deploy(there)
        with self.repository.write() as tx:
            tx.save_load_balancer(replace(applied, generation=2), seen=1)
        self.add(there)
        deleted = self.add(there)
        with self.repository.write() as tx:
            tx.save_load_balancer(replace(deleted, generation=2, deleted=True), seen=1)
        groups = {
            (each.generation, each.applied_generation, each.failed): each.number
            for each in self.figures().load_balancers
        }
        self.assertEqual({(2, 1, False): 1, (1, 1, False): 1, (1, 0, False): 1}, groups)
        self.record_failure(there, retry_after=None)
        self.assertEqual(2, sum(each.number for each in self.figures().load_balancers if each.failed))

    def test_deployments_are_counted_for_ever(self) -> None:
        one, two = self.add_device(), self.add_device()
        self.add(one)
        self.add(two)
        for _ in range(2):
            self.record_failure(one, retry_after=0.1)
        self.deploy(one)
        self.record_failure(two, retry_after=None)
        expected = [
            (one.id, Outcome.APPLIED, "reload", 1, 0.5),
            (one.id, Outcome.RETRYING, None, 2, 0.5),
            (two.id, Outcome.FAILED, None, 1, 0.25),
        ]
        self.assertEqual(sorted(expected), self.deployments())
        with self.repository.write() as tx:
            tx.delete_device(two.id)
        self.assertEqual(expected[:2], self.deployments())


class FiguresOnSqlite(FiguresContract, SqliteFile):
    pass


class FiguresOnPostgresql(FiguresContract, Postgresql):
    pass


class FiguresOnMariadb(FiguresContract, Mariadb):
    pass
