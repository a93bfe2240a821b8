"""What every database must keep of deployments, and how a write is tried out on it."""

from __future__ import annotations

import re
import time
import unittest
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import sqlalchemy as sa

from balancer.cluster.local import NoNotifier
from balancer.config import Settings
from balancer.core import scheduler
from balancer.core.changes import Change
from balancer.core.model import (
    AdminState,
    Algorithm,
    Applied,
    Caller,
    Capabilities,
    Deployment,
    Device,
    LoadBalancer,
    Outcome,
    Preview,
    Protocol,
    Tree,
)
from balancer.core.ports import Driver
from balancer.core.preview import Inside
from balancer.core.reconciler import Reconciler
from balancer.core.service import Service
from balancer.db import tables
from balancer.db.mapping import DIFF_LENGTH, shortened
from balancer.db.repository import SqlRepository
from balancer.drivers.registry import Registry
from balancer.exceptions import Conflict, Forbidden, LeaseLost, NoSuitableDevice, NotFound
from tests.contract import samples
from tests.contract.databases import DatabaseCase, Mariadb, Postgresql, SqliteFile
from tests.contract.test_repository import Steps
from tests.unit.objects import device, tree

if TYPE_CHECKING:
    Suite = DatabaseCase
else:
    Suite = object

ADMIN = Caller(admin=True)
KEPT = 5


def renamed(name: str) -> Change:
    return lambda tree: replace(tree, load_balancer=replace(tree.load_balancer, name=name))


def without_times(diff: str) -> str:
    return re.sub(r"datetime\.datetime\([^)]*\)", "", diff)


class HistoryContract(Steps):
    def setUp(self) -> None:
        super().setUp()
        self.repository = SqlRepository(self.engine, secrets=self.secrets, keep_deployments=KEPT)
        self.device = self.add_device()
        self.lease_held = self.lease(self.device.id)

    def bump(self) -> int:
        """The revision that is to be deployed now."""
        with self.repository.write() as tx:
            tx.bump(self.device.id)
        return self.get_device(self.device.id).desired_revision

    def applied(self, plan: str = "reload", *, duration: float = 0.5, **fields: object) -> None:
        made = Applied(**{"plan": plan, "sentence": f"{plan}, as asked", "accepted_blocks": {}, **fields})  # type: ignore[arg-type]
        spec = self.spec(self.device.id)
        self.repository.record_applied(self.lease_held, spec, samples.NO_CANDIDATE, made, duration=duration)

    def failed(
        self, sentence: str = "out of reach", *, retry_after: float | None = 60.0, duration: float = 0.5
    ) -> None:
        spec = self.spec(self.device.id)
        self.repository.record_failure(self.lease_held, spec, sentence, retry_after=retry_after, duration=duration)

    def history(self, limit: int = 100) -> list[Deployment]:
        with self.repository.read() as tx:
            return tx.deployments(self.device.id, limit=limit)

    def one(self, number: int) -> Deployment:
        with self.repository.read() as tx:
            return tx.deployment(self.device.id, number)

    def test_a_new_device_has_none(self) -> None:
        self.assertEqual([], self.history())
        self.assertRaises(NotFound, self.one, 1)

    def test_nothing_is_known_of_an_unknown_device(self) -> None:
        with self.repository.read() as tx:
            self.assertRaises(NotFound, tx.deployments, "0" * 32, limit=1)
            self.assertRaises(NotFound, tx.deployment, "0" * 32, 1)

    def test_what_was_done_comes_back_whole(self) -> None:
        revision, before = self.bump(), self.repository.now()
        diff = "--- before\n+++ after\n@@ -1 +1 @@\n-ä\n+😀\n"
        self.applied(duration=2.5, diff=diff, rejected={"a" * 32: "HAProxy does not accept it"})
        made = self.one(1)
        self.assertAlmostEqual(before - 2.5, made.started_at, delta=5)
        expected = Deployment(
            device_id=self.device.id,
            number=1,
            revision=revision,
            outcome=Outcome.APPLIED,
            plan="reload",
            sentence="reload, as asked",
            rejected={"a" * 32: "HAProxy does not accept it"},
            diff=diff,
            started_at=made.started_at,
            last_started_at=made.started_at,
            duration=2.5,
        )
        self.assertEqual(expected, made)
        self.assertEqual([replace(expected, diff="")], self.history())

    def test_a_failure_is_one_that_is_tried_again_or_not(self) -> None:
        revision = self.bump()
        self.failed()
        self.failed("wrong host key", retry_after=None)
        told = [(each.outcome, each.sentence, each.plan, each.revision) for each in self.history()]
        self.assertEqual(
            [
                (Outcome.FAILED, "wrong host key", None, revision),
                (Outcome.RETRYING, "out of reach", None, revision),
            ],
            told,
        )

    def test_the_same_failure_again_and_again_is_one_entry(self) -> None:
        self.bump()
        for number in range(KEPT * 2):
            self.failed(duration=float(number))
        revision = self.bump()
        self.failed(duration=3.0)
        (entry,) = self.history()
        self.assertEqual((1, KEPT * 2 + 1), (entry.number, entry.attempts))
        self.assertEqual((revision, 3.0), (entry.revision, entry.duration))
        self.assertAlmostEqual(self.repository.now() - 3.0, entry.last_started_at, delta=5)
        # Another sentence, and the same one after a success, are entries of their own.
        self.failed("it is busy")
        self.failed()
        self.applied()
        self.failed()
        self.assertEqual(
            [(5, "out of reach"), (4, "reload, as asked"), (3, "out of reach"), (2, "it is busy"), (1, "out of reach")],
            [(each.number, each.sentence) for each in self.history()],
        )

    def test_what_succeeds_again_is_no_repetition(self) -> None:
        for _ in range(2):
            self.bump()
            self.applied()
        self.assertEqual([(2, 1), (1, 1)], [(each.number, each.attempts) for each in self.history()])

    def test_a_repair_that_does_not_last_is_one_entry(self) -> None:
        self.bump()
        self.applied()
        for _ in range(3):
            self.applied("reload", sentence="an address was put back")
        self.applied("reload", sentence="an address was put back", rejected={"a" * 32: "its port is taken"})
        self.assertEqual([(3, 1), (2, 3), (1, 1)], [(each.number, each.attempts) for each in self.history()])

    def test_nothing_done_and_nothing_asked_for_is_no_entry(self) -> None:
        self.bump()
        self.applied("noop")
        self.assertEqual(["noop"], [each.plan for each in self.history()])
        self.applied("noop")
        self.assertEqual(1, len(self.history()))
        # What mends a device nobody asked for either, but it was done.
        self.applied("reload")
        self.assertEqual(["reload", "noop"], [each.plan for each in self.history()])
        # It ends a failure.
        self.failed()
        self.applied("noop")
        self.assertEqual(["noop", None, "reload", "noop"], [each.plan for each in self.history()])

    def test_the_newest_are_kept_and_go_on_counting(self) -> None:
        for _ in range(KEPT + 3):
            self.bump()
            self.applied()
        self.assertEqual([8, 7, 6, 5, 4], [each.number for each in self.history()])
        self.assertEqual([8, 7], [each.number for each in self.history(limit=2)])
        self.assertRaises(NotFound, self.one, 3)
        self.assertEqual(4, self.one(4).number)
        # With fewer to be kept, the next one removes the others.
        self.repository = SqlRepository(self.engine, secrets=self.secrets, keep_deployments=1)
        self.bump()
        self.applied()
        self.assertEqual([9], [each.number for each in self.history()])

    def test_devices_have_histories_of_their_own(self) -> None:
        self.bump()
        self.applied()
        other = self.add_device()
        with self.repository.read() as tx:
            self.assertEqual([], tx.deployments(other.id, limit=10))
        lease = self.lease(other.id)
        self.repository.record_failure(lease, self.spec(other.id), "out of reach", retry_after=None)
        with self.repository.read() as tx:
            self.assertEqual([1], [each.number for each in tx.deployments(other.id, limit=10)])

    def test_whoever_lost_the_lease_adds_nothing(self) -> None:
        self.bump()
        self.leases.release(self.lease_held)
        self.lease(self.device.id)
        self.assertRaises(LeaseLost, self.applied)
        self.assertRaises(LeaseLost, self.failed)
        self.assertEqual([], self.history())

    def test_a_long_diff_is_cut(self) -> None:
        self.bump()
        self.applied(diff="+" + "ä" * 200 + "\n" + "+line\n" * DIFF_LENGTH)
        kept = self.one(1).diff
        self.assertLess(len(kept), DIFF_LENGTH + 50)
        self.assertRegex(kept, r"\+line\n\.\.\. \d+ more lines\n$")

    def test_texts_that_a_device_accepted(self) -> None:
        stays = self.add(samples.load_balancer(self.device.id, port=80))
        goes = self.add(samples.load_balancer(self.device.id, port=81))
        self.record(self.lease_held, self.spec(self.device.id))
        new = self.add(samples.load_balancer(self.device.id, port=82))
        self.remove(goes.id)
        with self.repository.read() as tx:
            every = tx.accepted_blocks(self.device.id)
            self.assertEqual([], list(tx.accepted_blocks("0" * 32)))
        self.assertEqual({stays.id: (f"{stays.id} 1", False), goes.id: (f"{goes.id} 1", True)}, every)
        self.assertEqual(sorted([stays.id, goes.id]), list(every))
        self.assertNotIn(new.id, every)


class TryingOutContract(Steps):
    """`undone`: what is written is there until the end of the block."""

    def contents(self) -> list[list[tuple[object, ...]]]:
        return [sorted(self.query(f"SELECT * FROM {table}"), key=repr) for table in sorted(self.stored_rows())]

    def test_it_is_seen_inside_and_gone_afterwards(self) -> None:
        device, monitor = self.add_device(), samples.full_monitor()
        self.add(replace(samples.full_load_balancer(device.id, (monitor.id,)), deleted=False), monitor)
        before, other = self.contents(), samples.device()
        with self.repository.write() as tx:
            with tx.undone():
                tx.add_device(other)
                tx.bump(device.id)
                tx.save_device(replace(device, name="another name"))
                self.assertEqual(other.id, tx.device(other.id).id)
                self.assertEqual("another name", tx.device(device.id).name)
                tx.delete_device(device.id)
            self.assertRaises(NotFound, tx.device, other.id)
            self.assertEqual(device.name, tx.device(device.id).name)
        self.assertEqual(before, self.contents())

    def test_what_is_written_around_it_stays(self) -> None:
        device, other = samples.device(), samples.device()
        with self.repository.write() as tx:
            tx.add_device(device)
            with tx.undone():
                tx.add_device(other)
            tx.bump(device.id)
        self.assertEqual(1, self.get_device(device.id).desired_revision)
        self.assertRaises(NotFound, self.get_device, other.id)

    def test_an_error_comes_out_and_undoes_everything(self) -> None:
        device = self.add_device()
        before = self.contents()
        lb = self.add(samples.load_balancer(device.id))
        self.change(lb.id, lambda each: replace(each, deleted=True))
        taken = self.contents()
        for error, write in (
            (NotFound, lambda tx: tx.bump("0" * 32)),
            # Found by the database itself.
            (Conflict, lambda tx: tx.add_load_balancer(samples.load_balancer(device.id, id=lb.id))),
        ):
            with (
                self.subTest(error.__name__),
                self.assertRaises(error),
                self.repository.write() as tx,
                tx.undone(),
            ):
                tx.bump(device.id)
                write(tx)
            self.assertEqual(taken, self.contents())
        self.assertNotEqual(before, taken)

    def test_transactions_inside_of_it_are_the_same_one(self) -> None:
        device = samples.device()
        with self.repository.write() as tx, tx.undone():
            inside = Inside(tx)
            with inside.write() as writing:
                writing.add_device(device)
            with inside.read() as reading:
                self.assertEqual(device.id, reading.device(device.id).id)
            self.assertAlmostEqual(tx.clock(), inside.now(), delta=5)
        self.assertRaises(NotFound, self.get_device, device.id)


class ServiceContract(Suite):
    """Service and reconciler over the shipped dummy driver."""

    def setUp(self) -> None:
        super().setUp()
        self.registry = Registry(Settings())
        self.addCleanup(self.registry.close)
        placing = scheduler.from_names(Settings().device_filters, Settings().device_cost_functions, {})
        self.service = Service(self.repository, self.registry.driver_for, placing, NoNotifier())
        self.reconciler = self.make_reconciler(self.registry.driver_for)

    def make_reconciler(self, driver_for: Callable[[str], Driver]) -> Reconciler:
        return Reconciler(
            self.repository,
            self.leases,
            driver_for,
            lease_seconds=15,
            observe_interval=60,
            retry_first=0.2,
            retry_max=1,
        )

    def register(self, **fields: object) -> Device:
        return self.service.register_device(ADMIN, device(**fields))

    def create(self, wanted: Tree | None = None) -> LoadBalancer:
        return self.service.create(ADMIN, wanted or tree()).load_balancer

    def behave(self, there: Device, behaviour: str) -> None:
        self.service.change_device(ADMIN, there.id, lambda item: replace(item, extras={"behaviour": behaviour}))

    def reconcile(self, there: Device) -> str:
        return self.reconciler.reconcile(there.id)

    # --- the history ---

    def history(self, there: Device) -> list[Deployment]:
        return self.service.deployments(ADMIN, there.id, limit=100)

    def test_every_deployment_is_recorded(self) -> None:
        there = self.register()
        balancer = self.create()
        self.reconcile(there)
        self.reconcile(there)
        (made,) = self.history(there)
        revision = self.service.device(ADMIN, there.id).applied_revision
        self.assertEqual((1, revision), (made.number, made.revision))
        self.assertEqual(("reload", Outcome.APPLIED), (made.plan, made.outcome))
        self.assertTrue(made.sentence)
        self.assertGreater(made.duration, 0)
        self.assertAlmostEqual(self.repository.now(), made.started_at, delta=10)
        self.assertIn(f"+++ after/{balancer.id}", self.service.deployment(ADMIN, there.id, 1).diff)

    def test_whom_the_device_refused_is_recorded(self) -> None:
        there = self.register()
        good, bad = self.create(), self.create(tree(("*", 81)))
        self.behave(there, f"reject:{bad.id}")
        self.reconcile(there)
        (made,) = self.history(there)
        self.assertEqual({bad.id: "the device in memory pretends to refuse it"}, made.rejected)
        self.assertEqual(Outcome.APPLIED, made.outcome)
        self.assertIn(good.id, self.service.deployment(ADMIN, there.id, 1).diff)

    def test_failures_are_recorded_and_counted(self) -> None:
        there = self.register()
        self.reconcile(there)
        self.behave(there, "unreachable")
        for _ in range(3):
            self.reconcile(there)
            time.sleep(self.repository.next_due_in() or 0)
        self.behave(there, "broken")
        self.reconcile(there)
        self.behave(there, "")
        self.create()
        self.reconcile(there)
        self.assertEqual(
            [(Outcome.APPLIED, "reload", 1), (Outcome.FAILED, None, 1), (Outcome.RETRYING, None, 3)],
            [(each.outcome, each.plan, each.attempts) for each in self.history(there)],
        )
        self.assertTrue(all(each.sentence and each.duration > 0 for each in self.history(there)))

    def test_a_mistake_of_ours_is_recorded_without_its_words(self) -> None:
        there = self.register()
        self.reconcile(there)
        self.create()

        def mistaken(kind: str) -> Driver:
            raise ZeroDivisionError("hush")

        with self.assertLogs("balancer.core.reconciler", "ERROR"):
            self.make_reconciler(mistaken).reconcile(there.id)
        (made,) = self.history(there)
        self.assertEqual((Outcome.RETRYING, "Internal error, see the worker's log"), (made.outcome, made.sentence))

    # --- trying out ---

    def preview(self, write: Callable[[Service], Tree | Device], caller: Caller = ADMIN) -> Mapping[str, Preview]:
        before = self.contents()
        told = self.service.preview(caller, write)
        self.assertEqual(before, self.contents())
        return told

    def contents(self) -> dict[str, list[tuple[object, ...]]]:
        with self.engine.connect() as connection:
            return {
                table.name: [tuple(row) for row in connection.execute(sa.select(table))]
                for table in tables.metadata.sorted_tables
            }

    def test_what_is_tried_out_is_not_done(self) -> None:
        there = self.register()
        wanted = tree()
        told = self.preview(lambda service: service.create(ADMIN, wanted))
        self.assertEqual([there.id], list(told))
        self.assertEqual("reload", told[there.id].plan)
        self.assertIn(f"+load balancer {wanted.load_balancer.id} up", told[there.id].diffs[wanted.load_balancer.id])
        # Done in earnest it is the same.
        self.create(wanted)
        self.reconcile(there)
        done = self.service.deployment(ADMIN, there.id, 1)
        self.assertEqual(without_times(told[there.id].diffs[wanted.load_balancer.id]), without_times(done.diff))

    def test_it_raises_what_it_would_raise_in_earnest(self) -> None:
        there = self.register()
        self.create()
        for error, write in (
            (Conflict, lambda service: service.create(ADMIN, tree(), device_id=there.id)),
            (NoSuitableDevice, lambda service: service.create(ADMIN, tree())),
            (NotFound, lambda service: service.delete(ADMIN, "foo", "0" * 32)),
            (Conflict, lambda service: service.remove_device(ADMIN, there.id)),
            (Forbidden, lambda service: service.deployments(Caller(project_id="foo"), there.id, limit=1)),
            (Forbidden, lambda service: service.deployment(Caller(project_id="foo"), there.id, 1)),
            (Forbidden, lambda service: service.retry_device(Caller(project_id="foo"), there.id)),
            (Forbidden, lambda service: service.create(Caller(project_id="bar"), tree(("*", 81)))),
        ):
            before = self.contents()
            with self.subTest(error.__name__), self.assertRaises(error):
                self.service.preview(ADMIN, write)
            self.assertEqual(before, self.contents())

    def test_only_what_the_write_concerns_is_compared(self) -> None:
        there = self.register()
        one = self.create()
        self.reconcile(there)
        # Not deployed yet, and somebody else's.
        other = self.create(tree(("*", 81)))
        told = self.preview(lambda service: service.change(ADMIN, "foo", one.id, renamed("new name")))
        self.assertEqual(("noop", {}), (told[there.id].plan, told[there.id].diffs))
        told = self.preview(lambda service: service.delete(ADMIN, "foo", one.id))
        self.assertEqual([one.id], list(told[there.id].diffs))
        # Whoever deploys the device anew deploys it whole.
        told = self.preview(lambda service: service.retry_device(ADMIN, there.id))
        self.assertEqual([other.id], list(told[there.id].diffs))

    def test_what_changes_nothing_concerns_no_device(self) -> None:
        there = self.register()
        one = self.create()
        self.assertEqual({}, self.preview(lambda service: service.change(ADMIN, "foo", one.id, lambda old: old)))
        self.assertEqual({}, self.preview(lambda service: service.change_device(ADMIN, there.id, lambda old: old)))
        self.assertEqual({}, self.preview(lambda service: service.remove_device(ADMIN, there.id, force=True)))
        self.assertEqual({}, self.preview(lambda service: service.register_device(ADMIN, device())))

    def test_a_move_is_shown_on_both_devices(self) -> None:
        tcp = Capabilities(algorithms=(Algorithm.ROUND_ROBIN,), protocols=(Protocol.TCP,))
        first = self.register(capabilities=tcp)
        one = self.create(tree(protocol=Protocol.TCP))
        self.reconcile(first)
        second = self.register(capabilities=replace(tcp, protocols=(Protocol.HTTP,)))

        def to_http(old: Tree) -> Tree:
            listeners = tuple(replace(each, protocol=Protocol.HTTP) for each in old.load_balancer.listeners)
            pools = tuple(replace(each, protocol=Protocol.HTTP) for each in old.load_balancer.pools)
            return replace(old, load_balancer=replace(old.load_balancer, listeners=listeners, pools=pools))

        told = self.preview(lambda service: service.change(ADMIN, "foo", one.id, to_http))
        self.assertEqual({first.id, second.id}, set(told))
        self.assertRegex(told[first.id].diffs[one.id], r"(?m)^-load balancer ")
        self.assertRegex(told[second.id].diffs[one.id], r"(?m)^\+load balancer ")

    def test_a_device_in_maintenance_says_that_it_will_take_a_while(self) -> None:
        there = self.register()
        one = self.create()
        self.service.change_device(ADMIN, there.id, lambda item: replace(item, admin_state=AdminState.MAINTENANCE))
        told = self.preview(lambda service: service.change(ADMIN, "foo", one.id, renamed("x")))
        self.assertIn("maintenance", told[there.id].sentence)

    def test_tenants_see_nothing_of_each_other(self) -> None:
        there = self.register()
        mine = self.create()
        others = self.create(tree(("*", 81), project_id="bar"))
        told = self.preview(lambda service: service.delete(ADMIN, "foo", mine.id), Caller(project_id="foo"))
        self.assertNotIn(others.id, str(told))
        self.reconcile(there)
        told = self.preview(lambda service: service.delete(ADMIN, "foo", mine.id), Caller(project_id="foo"))
        self.assertEqual([mine.id], list(told[there.id].diffs))
        self.assertNotIn(others.id, str(told))


class HistoryOnSqlite(HistoryContract, TryingOutContract, SqliteFile):
    pass


class HistoryOnPostgresql(HistoryContract, TryingOutContract, Postgresql):
    pass


class HistoryOnMariadb(HistoryContract, TryingOutContract, Mariadb):
    pass


class ServiceOnSqlite(ServiceContract, SqliteFile):
    pass


class ServiceOnPostgresql(ServiceContract, Postgresql):
    pass


class ServiceOnMariadb(ServiceContract, Mariadb):
    pass


class TestShortened(unittest.TestCase):
    def test_whole_lines_are_kept(self) -> None:
        self.assertEqual("", shortened(""))
        exact = "x" * (DIFF_LENGTH - 1) + "\n"
        self.assertEqual(exact, shortened(exact))
        self.assertEqual(exact + "... 1 more lines\n", shortened(exact + "y"))
        self.assertEqual(exact + "... 2 more lines\n", shortened(exact + "y\nz\n"))
        self.assertEqual("a\n... 2 more lines\n", shortened("a\n" + "x" * DIFF_LENGTH + "\ny\n"))
        self.assertEqual("x" * DIFF_LENGTH + "... 1 more lines\n", shortened("x" * DIFF_LENGTH + "x"))
