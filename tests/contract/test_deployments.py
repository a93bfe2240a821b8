"""Service, reconciler and worker over every database and the shipped dummy driver."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import update

from balancer.cluster.local import NoNotifier
from balancer.config import Settings
from balancer.core import changes, scheduler
from balancer.core.model import (
    AdminState,
    Algorithm,
    Applied,
    Caller,
    Candidate,
    Capabilities,
    Device,
    LoadBalancer,
    Member,
    Observation,
    Protocol,
    Rotation,
    Tree,
    new_id,
)
from balancer.core.ports import NOTHING_DEPLOYED, Driver, DueDevice
from balancer.core.reconciler import Holder, Reconciler
from balancer.core.service import Service
from balancer.core.status import load_balancer_status
from balancer.core.worker import Worker
from balancer.db import engine as database
from balancer.db.leases import SqlLeases, make_owner
from balancer.db.repository import SqlRepository
from balancer.db.tables import device_observations, devices, leases
from balancer.drivers.fake import FakeDriver
from balancer.drivers.registry import Registry
from balancer.exceptions import CapabilityConflict, Conflict, LeaseLost, NoSuitableDevice, NotFound
from tests.contract.databases import DatabaseCase, Mariadb, Postgresql, SqliteFile
from tests.unit.objects import device, tree

if TYPE_CHECKING:
    Suite = DatabaseCase
else:
    Suite = object

ADMIN = Caller(admin=True)


class SlowDriver(FakeDriver):
    """Deployments take as long as reloads do, and call themselves `plan`; `began` is when each did."""

    def __init__(self, plan: str, seconds: float) -> None:
        super().__init__()
        self.plan = plan
        self.seconds = seconds
        self.began: list[float] = []

    def apply(self, device: Device, candidate: Candidate, **how: Any) -> Applied:
        self.began.append(time.monotonic())
        time.sleep(self.seconds)
        return replace(super().apply(device, candidate, **how), plan=self.plan)


class DeploymentsContract(Suite):
    def setUp(self) -> None:
        super().setUp()
        registry = Registry(Settings())
        self.addCleanup(registry.close)
        self.placing = scheduler.from_names(Settings().device_filters, Settings().device_cost_functions, {})
        self.service = Service(self.repository, registry.driver_for, self.placing, NoNotifier())
        self.leases = SqlLeases(self.engine, make_owner(), 15)
        self.reconciler = self.make_reconciler(registry.driver_for)

    def make_reconciler(self, driver_for: Callable[[str], Driver], *, observe_interval: float = 60) -> Reconciler:
        return Reconciler(
            self.repository,
            self.leases,
            driver_for,
            lease_seconds=15,
            observe_interval=observe_interval,
            retry_first=1.0,
            retry_max=2,
        )

    def register(self, **fields: object) -> Device:
        return self.service.register_device(ADMIN, device(**fields))

    def create(self, wanted: Tree | None = None, **fields: str) -> LoadBalancer:
        return self.service.create(ADMIN, wanted or tree(), **fields).load_balancer

    def status(self, balancer: LoadBalancer) -> str:
        return load_balancer_status(self.service.load_balancer(ADMIN, "foo", balancer.id).tree.load_balancer)

    def behave(self, there: Device, behaviour: str) -> None:
        self.service.change_device(ADMIN, there.id, lambda item: replace(item, extras={"behaviour": behaviour}))

    def reconcile(self, there: Device) -> str:
        return self.reconciler.reconcile(there.id)

    # --- one device ---

    def test_what_was_asked_for_is_applied_once(self) -> None:
        there = self.register()
        balancer = self.create()
        self.assertEqual(self.status(balancer), "BUILD")
        self.assertIn("applied", self.reconcile(there))
        self.assertEqual(self.status(balancer), "ACTIVE")
        self.assertEqual(self.reconcile(there), "nothing to do")

    def test_a_change_that_changes_nothing_is_no_deployment(self) -> None:
        there = self.register()
        balancer = self.create()
        self.reconcile(there)
        member = balancer.pools[0].members[0]
        self.service.change(
            ADMIN,
            "foo",
            balancer.id,
            changes.replace_member(member.id, lambda each: replace(each, rotation=Rotation.IN)),
        )
        self.assertEqual(self.reconcile(there), "nothing to do")

    def test_a_deleted_load_balancer_frees_its_address_when_applied(self) -> None:
        there = self.register()
        balancer = self.create()
        self.reconcile(there)
        self.service.delete(ADMIN, "foo", balancer.id)
        with self.assertRaises(NotFound):
            self.service.load_balancer(ADMIN, "foo", balancer.id)
        with self.assertRaises(NoSuitableDevice):
            self.create()
        with self.assertRaisesRegex(Conflict, "still runs"):
            self.service.remove_device(ADMIN, there.id)
        self.reconcile(there)
        self.create()

    def test_the_culprit_alone_is_in_error_and_a_change_mends_it(self) -> None:
        there = self.register()
        good = self.create()
        bad = self.create(tree(("*", 81)))
        self.behave(there, f"reject:{bad.id}")
        self.reconcile(there)
        self.assertEqual([self.status(good), self.status(bad)], ["ACTIVE", "ERROR"])
        self.behave(there, "")
        self.reconcile(there)
        self.assertEqual([self.status(good), self.status(bad)], ["ACTIVE", "ACTIVE"])

    def test_transient_failures_back_off_and_recover_alone(self) -> None:
        there = self.register()
        self.reconcile(there)
        self.behave(there, "unreachable")
        balancer = self.create()
        self.assertIn("next try", self.reconcile(there))
        self.assertEqual(self.status(balancer), "BUILD")
        self.assertEqual(self.repository.due(observe_interval=60, limit=5), [])
        pause = self.repository.next_due_in()
        assert pause is not None
        self.assertGreater(pause, 0)
        time.sleep(pause)
        self.assertEqual([due.device_id for due in self.repository.due(observe_interval=60, limit=5)], [there.id])

    def test_terminal_failures_wait_for_a_change(self) -> None:
        there = self.register()
        self.reconcile(there)
        self.behave(there, "broken")
        balancer = self.create()
        self.assertIn("waiting for a change", self.reconcile(there))
        self.assertEqual(self.status(balancer), "ERROR")
        self.assertEqual(self.repository.due(observe_interval=60, limit=5), [])
        self.behave(there, "")
        self.reconcile(there)
        self.assertEqual(self.status(balancer), "ACTIVE")

    def test_a_device_in_maintenance_is_not_touched(self) -> None:
        there = self.register(admin_state=AdminState.MAINTENANCE)
        self.assertEqual(self.reconcile(there), "the device is in maintenance")
        self.assertIsNone(self.service.device(ADMIN, there.id).observation)

    def test_a_removed_device_is_no_error(self) -> None:
        there = self.register()
        self.service.remove_device(ADMIN, there.id)
        self.assertIn(self.reconcile(there), ("the device was removed", "another worker has it"))

    def test_a_failed_deployment_waits_also_when_the_device_is_looked_at(self) -> None:
        there = self.register(extras={"behaviour": "broken"})
        self.create()
        self.assertIn("waiting for a change", self.reconcile(there))
        self.service.refresh_device(ADMIN, there.id, 0)
        self.assertNotIn("fail", self.reconcile(there))

    def test_retry_deploys_without_a_change(self) -> None:
        there = self.register(extras={"behaviour": "broken"})
        self.create()
        self.reconcile(there)
        self.service.retry_device(ADMIN, there.id)
        self.assertIn("waiting for a change", self.reconcile(there))

    def test_only_one_worker_has_a_device(self) -> None:
        there = self.register()
        lease = self.leases.claim(there.id)
        assert lease is not None
        self.assertEqual(self.reconcile(there), "another worker has it")
        with Holder(self.leases, lease, 15) as holder:
            holder.check()
        self.assertIn("observed", self.reconcile(there))

    def test_a_lost_lease_is_noticed(self) -> None:
        there = self.register()
        lease = self.leases.claim(there.id)
        assert lease is not None
        with Holder(self.leases, lease, 0.3) as holder:
            self.service.remove_device(ADMIN, there.id)
            time.sleep(0.5)
            with self.assertRaises(LeaseLost):
                holder.check()

    def test_a_restored_database_waits_for_an_adoption_and_says_so(self) -> None:
        """A device that remembers a later epoch than the one who has the lease was deployed to from elsewhere."""
        there = self.register()
        balancer = self.create()
        self.reconcile(there)

        def switched(on: bool) -> changes.Change:
            return lambda tree: replace(tree, load_balancer=replace(tree.load_balancer, admin_up=on))

        def restore() -> None:
            with database.write(self.engine) as connection:
                connection.execute(update(leases).values(epoch=0))
                connection.execute(update(devices).values(deployed_epoch=0))
                connection.execute(update(device_observations).values(observed_at=0.0))

        with database.write(self.engine) as connection:
            connection.execute(update(leases).values(epoch=100))
        self.service.retry_device(ADMIN, there.id)
        self.service.change(ADMIN, "foo", balancer.id, switched(False))
        self.reconcile(there)
        for asked in ("nothing", "a change"):
            with self.subTest(asked):
                restore()
                if asked == "a change":
                    self.service.change(ADMIN, "foo", balancer.id, switched(True))
                self.assertIn("waiting for an adoption", self.reconcile(there))
                self.assertIn(f"POST /devices/{there.id}/adopt", self.service.device(ADMIN, there.id).error or "")
                self.assertEqual([], self.repository.due(observe_interval=60, limit=10))
        self.service.adopt_device(ADMIN, there.id)
        self.assertIn("applied", self.reconcile(there))
        self.assertEqual("ACTIVE", self.status(balancer))

    def test_a_restored_database_is_noticed_however_long_it_was_at_work_since(self) -> None:
        """Every claim of a lease counts the epoch up, so that it overtakes what the device remembers."""
        there = self.register()
        balancer = self.create()
        self.reconcile(there)
        old = self.service.device(ADMIN, there.id).deployed_epoch

        def switched(on: bool) -> changes.Change:
            return lambda tree: replace(tree, load_balancer=replace(tree.load_balancer, admin_up=on))

        self.service.change(ADMIN, "foo", balancer.id, switched(False))
        self.reconcile(there)
        self.assertNotEqual(old, self.service.device(ADMIN, there.id).deployed_epoch)
        with database.write(self.engine) as connection:
            connection.execute(update(devices).values(deployed_epoch=old))
            connection.execute(update(leases).values(epoch=1000))
        for _ in range(2):
            self.service.change(ADMIN, "foo", balancer.id, switched(True))
            self.assertIn("waiting for an adoption", self.reconcile(there))
            self.service.change(ADMIN, "foo", balancer.id, switched(False))
            self.assertIn("waiting for an adoption", self.reconcile(there))
        self.service.adopt_device(ADMIN, there.id)
        self.assertIn("applied", self.reconcile(there))
        self.assertEqual("ACTIVE", self.status(balancer))
        self.service.change(ADMIN, "foo", balancer.id, switched(True))
        self.assertIn("applied", self.reconcile(there))

    # --- placing ---

    def test_the_emptier_device_gets_the_next_one(self) -> None:
        self.register()
        self.register()
        chosen = {self.create(tree(("*", port))).device_id for port in (80, 81)}
        self.assertEqual(len(chosen), 2)

    def test_the_same_port_goes_to_another_device(self) -> None:
        self.register()
        self.register()
        self.assertNotEqual(self.create().device_id, self.create().device_id)
        with self.assertRaises(NoSuitableDevice):
            self.create()

    def test_what_a_device_no_longer_offers_stays_and_can_be_changed(self) -> None:
        there = self.register()
        balancer = self.create()
        self.reconcile(there)
        offer = Capabilities(algorithms=(Algorithm.URI,), protocols=(Protocol.TCP,))
        self.service.change_device(ADMIN, there.id, lambda item: replace(item, capabilities=offer))
        other = self.register()
        member = balancer.pools[0].members[0]
        change = changes.replace_member(member.id, lambda each: replace(each, weight=2))
        self.assertEqual(self.service.change(ADMIN, "foo", balancer.id, change).load_balancer.device_id, there.id)
        change = changes.update_pool(lambda pool: replace(pool, algorithm=Algorithm.LEAST_CONNECTIONS))
        self.assertEqual(self.service.change(ADMIN, "foo", balancer.id, change).load_balancer.device_id, other.id)

    def test_pinning(self) -> None:
        there, drained = self.register(), self.register(admin_state=AdminState.DRAINED)
        self.assertEqual(self.create(device_id=there.id).device_id, there.id)
        with self.assertRaisesRegex(CapabilityConflict, "DRAINED"):
            self.create(tree(("*", 81)), device_id=drained.id)
        with self.assertRaises(NotFound):
            self.create(tree(("*", 81)), device_id="0" * 32)
        with self.assertRaisesRegex(Conflict, "[Pp]ort 80 on every address"):
            self.create(device_id=there.id)

    def test_a_refused_request_leaves_nothing(self) -> None:
        there = self.register()
        self.create()
        revision = self.service.device(ADMIN, there.id).desired_revision
        with self.assertRaises(Conflict):
            self.create(tree(("*", 81), ("*", 80)), device_id=there.id)
        self.assertEqual(self.service.device(ADMIN, there.id).desired_revision, revision)
        self.assertEqual(len(self.service.load_balancers(ADMIN, "foo")), 1)
        self.create(tree(("*", 81)))

    # --- waking a worker ---

    def test_devices_that_are_named_are_deployed_to_at_once(self) -> None:
        """More of them than threads, and again and again, with no look for work of the worker's own to help."""
        devices = [self.register() for _ in range(4)]
        worker = Worker(
            self.repository, self.reconciler, name="tests", threads=2, scan_interval=3600, observe_interval=3600
        )
        runner = threading.Thread(target=worker.run)
        runner.start()
        self.addCleanup(runner.join, 10)
        self.addCleanup(worker.stop)
        for port in range(1000, 1005):
            made = [self.create(tree(("*", port)), device_id=there.id) for there in devices]
            worker.wake(there.id for there in devices)
            # Nothing comes of the names of what is not there.
            worker.wake(["0" * 32])
            for balancer in made:
                shown = self.service.load_balancer(ADMIN, "foo", balancer.id).tree
                done = self.service.wait(ADMIN, shown, 20).load_balancer
                self.assertEqual((done.generation, None), (done.applied_generation, done.error))

    # --- many at once ---

    def test_changes_that_go_on_arriving_are_few_deployments(self) -> None:
        """And the first of them does not wait for the others."""
        driver, seconds = self.deployed_while_changes_arrive("runtime", 0.4)
        # Each takes that long, and so does twice what is waited for.
        self.assertLessEqual(len(driver.began), 2 + seconds / (2.5 * driver.seconds))

    def test_changes_that_go_on_arriving_are_even_fewer_reloads(self) -> None:
        driver, _ = self.deployed_while_changes_arrive("reload", 0.2)
        self.assertLessEqual(len(driver.began), 4)

    def deployed_while_changes_arrive(self, plan: str, seconds: float) -> tuple[SlowDriver, float]:
        """For two seconds and a half; also how long they arrived."""
        driver = SlowDriver(plan, seconds)
        there = self.register()
        reconciler = self.make_reconciler(lambda _: driver)
        reconciler.reconcile(there.id)
        self.create()
        done_at: list[float] = []

        def ask() -> None:
            end = time.monotonic() + 2.5
            while time.monotonic() < end:
                with self.repository.write() as tx:
                    tx.bump(there.id)
                time.sleep(0.01)
            done_at.append(time.monotonic())

        asker = threading.Thread(target=ask)
        asker.start()
        asked = time.monotonic()
        while not done_at or reconciler.reconcile(there.id) != "nothing to do":
            reconciler.reconcile(there.id)
        asker.join(30)
        self.assertLess(driver.began[0], done_at[0])
        stored = self.service.device(ADMIN, there.id)
        self.assertEqual(stored.desired_revision, stored.applied_revision)
        return driver, done_at[0] - asked

    def test_a_worker_that_gets_no_thread_can_be_woken_again(self) -> None:
        there = self.register()
        made = self.create(tree(("*", 80)), device_id=there.id)
        worker = Worker(
            self.repository, self.reconciler, name="tests", threads=2, scan_interval=3600, observe_interval=3600
        )
        # As while it runs, with no look for work of its own to help.
        worker._pool = ThreadPoolExecutor(2)
        self.addCleanup(worker._pool.shutdown)
        before = threading.stack_size()
        # No machine has so much memory for the next thread.
        threading.stack_size(1 << 46)
        try:
            with self.assertLogs("balancer.core.worker", "ERROR") as logged:
                worker.wake([there.id])
        finally:
            threading.stack_size(before)
        self.assertIn("can't start new thread", logged.output[0])
        worker.wake([there.id])
        shown = self.service.load_balancer(ADMIN, "foo", made.id).tree
        done = self.service.wait(ADMIN, shown, 20).load_balancer
        self.assertEqual((done.generation, None), (done.applied_generation, done.error))

    def test_a_worker_that_is_told_to_stop_as_it_goes_to_sleep_stops(self) -> None:
        worker = Worker(
            self.repository, self.reconciler, name="tests", threads=1, scan_interval=3600, observe_interval=3600
        )

        class Wake(threading.Event):
            def clear(self) -> None:
                # The moment at which it would be forgotten that somebody has called.
                worker.stop()
                super().clear()

        worker._wake = Wake()
        worker.wake()
        runner = threading.Thread(target=worker.run, daemon=True)
        runner.start()
        runner.join(30)
        self.assertFalse(runner.is_alive())

    def test_a_worker_deploys_what_many_threads_ask_for(self) -> None:
        devices = [self.register() for _ in range(5)]
        worker = Worker(
            self.repository, self.reconciler, name="tests", threads=3, scan_interval=0.1, observe_interval=60
        )
        runner = threading.Thread(target=worker.run)
        runner.start()
        self.addCleanup(runner.join, 10)
        self.addCleanup(worker.stop)
        made: list[LoadBalancer] = []

        def ask(there: Device, first_port: int) -> None:
            for port in range(first_port, first_port + 10):
                made.append(self.create(tree(("*", port)), device_id=there.id))

        askers = [threading.Thread(target=ask, args=(there, base)) for there in devices for base in (1000, 2000)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join(60)
        self.assertEqual(len(made), 100)
        for balancer in made:
            settled = self.service.wait(ADMIN, Tree(load_balancer=balancer), 20)
            self.assertEqual(load_balancer_status(settled.load_balancer), "ACTIVE")

    def test_many_who_want_the_same_port_get_a_device_each_as_long_as_there_are_some(self) -> None:
        devices = [self.register() for _ in range(4)]
        outcomes = at_once([self.create for _ in range(8)])
        made = [each.device_id for each in outcomes if isinstance(each, LoadBalancer)]
        self.assertEqual(sorted(each.id for each in devices), sorted(made))
        self.assertEqual({NoSuitableDevice}, {type(each) for each in outcomes if not isinstance(each, LoadBalancer)})

    def test_changes_of_one_load_balancer_at_once_are_all_made(self) -> None:
        self.register()
        balancer = self.create()
        new = [Member(id=new_id(), address="192.0.2.99", port=port) for port in range(1, 13)]

        make = partial(self.service.change, ADMIN, "foo", balancer.id)
        outcomes = at_once([partial(make, changes.add_members(member)) for member in new])
        self.assertEqual({Tree}, {type(each) for each in outcomes}, outcomes)
        after = self.service.load_balancer(ADMIN, "foo", balancer.id).tree.load_balancer
        self.assertLessEqual({each.id for each in new}, {each.id for each in after.pools[0].members})
        self.assertEqual(balancer.generation + len(new), after.generation)

    def test_changes_of_one_device_at_once_are_all_made(self) -> None:
        there = self.register()
        changing: list[Callable[[Device], Device]] = [
            lambda old: replace(old, name="other"),
            lambda old: replace(old, interface="eth7"),
            lambda old: replace(old, version="9"),
            lambda old: replace(old, supports_ipv6=True),
        ]

        at_once([partial(self.service.change_device, ADMIN, there.id, each) for each in changing])
        after = self.service.device(ADMIN, there.id)
        self.assertEqual(("other", "eth7", "9"), (after.name, after.interface, after.version))
        self.assertTrue(after.supports_ipv6)

    def test_a_device_goes_while_others_want_it(self) -> None:
        """Either it goes, and they get none, or it stays with theirs; never a load balancer without a device."""
        for _ in range(5):
            there = self.register()

            create = [partial(self.create, tree(("*", port))) for port in range(80, 84)]
            removed, *made = at_once([partial(self.service.remove_device, ADMIN, there.id), *create])
            stored = self.service.load_balancers(ADMIN, "foo")
            self.assertEqual(sum(isinstance(each, LoadBalancer) for each in made), len(stored))
            if isinstance(removed, Conflict):
                self.assertTrue(stored)
                self.assertEqual({there.id}, {each.tree.load_balancer.device_id for each in stored})
            else:
                self.assertEqual([], stored)
                self.assertEqual({NoSuitableDevice}, {type(each) for each in made})
            for each in self.service.devices(ADMIN):
                self.service.remove_device(ADMIN, each.id, force=True)

    def test_deleting_and_changing_at_once_ends_deleted(self) -> None:
        there = self.register()
        for port in range(80, 85):
            balancer = self.create(tree(("*", port)))
            out = changes.replace_member(
                balancer.pools[0].members[0].id, lambda each: replace(each, rotation=Rotation.DRAIN)
            )
            drain = partial(self.service.change, ADMIN, "foo", balancer.id, out)
            outcomes = at_once([drain, partial(self.service.delete, ADMIN, "foo", balancer.id), drain])
            self.assertLessEqual({type(each) for each in outcomes}, {Tree, NotFound}, outcomes)
            self.assertIsInstance(outcomes[1], Tree)
            with self.assertRaises(NotFound):
                self.service.load_balancer(ADMIN, "foo", balancer.id)
        self.assertIn("applied", self.reconcile(there))
        with self.repository.read() as tx:
            self.assertEqual(([], []), (tx.reservations(there.id), tx.load_balancers(include_deleted=True)))


def at_once(calls: Sequence[Callable[[], object]]) -> list[object]:
    """What each returned or raised, all of them called at the same moment."""
    barrier, outcomes = threading.Barrier(len(calls), timeout=30), dict[int, object]()

    def run(number: int, call: Callable[[], object]) -> None:
        barrier.wait()
        try:
            outcomes[number] = call()
        except Exception as error:
            outcomes[number] = error

    threads = [threading.Thread(target=run, args=each) for each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [outcomes[number] for number in range(len(calls))]


class LateRepository(SqlRepository):
    """Whose looks for work take longer than an observation keeps."""

    def due(self, **how: Any) -> list[DueDevice]:
        found = super().due(**how)
        time.sleep(0.8)
        return found


class WatchingDriver(FakeDriver):
    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def observe(self, device: Device, deployed: Mapping[str, str] = NOTHING_DEPLOYED) -> Observation:
        self.looks += 1
        return super().observe(device, deployed)


class DeploymentsOnSqlite(DeploymentsContract, SqliteFile):
    def test_what_becomes_due_during_a_look_for_work_is_not_forgotten(self) -> None:
        self.register()
        driver = WatchingDriver()
        reconciler = self.make_reconciler(lambda _: driver, observe_interval=0.5)
        worker = Worker(
            LateRepository(self.engine), reconciler, name="tests", threads=1, scan_interval=3600, observe_interval=0.5
        )
        runner = threading.Thread(target=worker.run)
        runner.start()
        self.addCleanup(runner.join, 10)
        self.addCleanup(worker.stop)
        end = time.monotonic() + 20
        while driver.looks < 3 and time.monotonic() < end:
            time.sleep(0.05)
        self.assertGreaterEqual(driver.looks, 3)


class DeploymentsOnPostgresql(DeploymentsContract, Postgresql):
    pass


class DeploymentsOnMariadb(DeploymentsContract, Mariadb):
    pass
