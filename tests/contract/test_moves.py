"""Moves over every database: which of two devices runs a load balancer, and has its address, at every step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from balancer.cluster.local import NoNotifier
from balancer.config import Settings
from balancer.core import scheduler
from balancer.core.changes import Change
from balancer.core.model import (
    AdminState,
    Algorithm,
    Applied,
    Caller,
    Candidate,
    Capabilities,
    Device,
    LoadBalancer,
    MovePhase,
    Protocol,
    Tree,
)
from balancer.core.reconciler import Reconciler
from balancer.core.service import Service
from balancer.core.status import load_balancer_reason, load_balancer_status
from balancer.db.leases import SqlLeases, make_owner
from balancer.drivers.fake import FakeDriver
from balancer.exceptions import Conflict, NotFound
from tests.contract.databases import DatabaseCase, Mariadb, Postgresql, SqliteFile
from tests.unit.objects import device, tree

if TYPE_CHECKING:
    Suite = DatabaseCase
else:
    Suite = object

ADMIN = Caller(admin=True)
ADDRESS = "203.0.113.5"
ROUND_ROBIN = Capabilities(algorithms=(Algorithm.ROUND_ROBIN,), protocols=tuple(Protocol))
EVERYTHING = Capabilities(algorithms=tuple(Algorithm), protocols=tuple(Protocol))


def using(algorithm: Algorithm) -> Change:
    return lambda old: replace(
        old,
        load_balancer=replace(
            old.load_balancer, pools=tuple(replace(pool, algorithm=algorithm) for pool in old.load_balancer.pools)
        ),
    )


def named(name: str) -> Change:
    return lambda old: replace(old, load_balancer=replace(old.load_balancer, name=name))


class InterruptedDriver(FakeDriver):
    """`after_apply` is called once, before anybody learns that something was applied."""

    after_apply: Callable[[], object] | None = None

    def apply(self, device: Device, candidate: Candidate, **how: Any) -> Applied:
        applied = super().apply(device, candidate, **how)
        act, self.after_apply = self.after_apply, None
        if act is not None:
            act()
        return applied


class Steps(Suite):
    """One load balancer on the device `old`, which cannot do URI; `new` can, and nothing is deployed by itself."""

    def setUp(self) -> None:
        super().setUp()
        self.driver = InterruptedDriver()
        placing = scheduler.from_names(Settings().device_filters, Settings().device_cost_functions, {})
        self.service = Service(self.repository, lambda _: self.driver, placing, NoNotifier())
        self.reconciler = Reconciler(
            self.repository,
            SqlLeases(self.engine, make_owner(), 15),
            lambda _: self.driver,
            lease_seconds=15,
            observe_interval=3600,
            retry_first=0.05,
            retry_max=0.05,
        )
        self.old = self.register(capabilities=ROUND_ROBIN)

    def register(self, **fields: Any) -> Device:
        there = self.service.register_device(ADMIN, device(**fields))
        self.run_on(there)
        return there

    def run_on(self, *devices: Device) -> str:
        """What a worker does there; the last answer."""
        return [self.reconciler.reconcile(there.id) for there in devices][-1]

    def placed(self, wanted: Tree | None = None) -> str:
        """The id of a load balancer that the old device serves; then there is a new one."""
        balancer = self.service.create(ADMIN, wanted or tree((ADDRESS, 80))).load_balancer
        self.run_on(self.old)
        self.new = self.register(capabilities=EVERYTHING)
        return balancer.id

    def change(self, balancer_id: str, change: Change) -> LoadBalancer:
        return self.service.change(ADMIN, "foo", balancer_id, change).load_balancer

    def moved(self, balancer_id: str) -> LoadBalancer:
        """By a change that the old device is not able to do."""
        return self.change(balancer_id, using(Algorithm.URI))

    def behave(self, there: Device, behaviour: str = "") -> None:
        self.service.change_device(ADMIN, there.id, lambda item: replace(item, extras={"behaviour": behaviour}))

    def get(self, balancer_id: str) -> LoadBalancer:
        return self.service.load_balancer(ADMIN, "foo", balancer_id).tree.load_balancer

    def reason(self, balancer_id: str) -> str:
        shown = self.service.load_balancer(ADMIN, "foo", balancer_id)
        return load_balancer_reason(shown.tree.load_balancer, shown.devices, whole=True)

    def state(self, balancer_id: str) -> str:
        """Status, phase, who runs it, who has the address: ``"ACTIVE CLEAR old+new new"``."""
        balancer = self.get(balancer_id)
        devices = [("old", self.old), ("new", self.new)]
        runs = [name for name, there in devices if self.driver.running(there.id).get(balancer_id)]
        has = [name for name, there in devices if ADDRESS in self.driver.addresses(there.id)]
        phase = balancer.move.phase.value if balancer.move is not None else "-"
        return f"{load_balancer_status(balancer)} {phase} {'+'.join(runs) or '-'} {'+'.join(has) or '-'}"

    def text(self, there: Device, balancer_id: str) -> str:
        return self.driver.running(there.id).get(balancer_id, "")

    def assert_clean(self, *devices: Device) -> None:
        """Nothing is held on the devices, and they are free to go."""
        for there in devices:
            with self.repository.read() as tx:
                self.assertEqual([], tx.reservations(there.id))
                self.assertEqual({}, tx.accepted_blocks(there.id))
            self.assertEqual({}, self.driver.running(there.id))
            self.service.remove_device(ADMIN, there.id)

    def during_apply(self, act: Callable[[], object]) -> None:
        """Something happens once, in the middle of the next deployment."""
        self.driver.after_apply = act

    def rows(self, table: str) -> list[tuple[object, ...]]:
        return self.query(f"SELECT * FROM {table}")

    def progress(self, balancer_id: str) -> tuple[object, int]:
        balancer = self.get(balancer_id)
        return balancer.move, balancer.applied_generation


class MovesContract(Steps):
    """What the database has its part in."""

    def test_an_address_follows_when_all_is_ready(self) -> None:
        one = self.placed()
        before = self.text(self.old, one)
        self.moved(one)
        self.assertEqual("PENDING_UPDATE PREPARE old old", self.state(one))
        self.run_on(self.old)
        self.assertEqual(before, self.text(self.old, one))
        self.run_on(self.new)
        self.assertEqual("PENDING_UPDATE RELEASE old+new old", self.state(one))
        self.assertEqual(before, self.text(self.old, one))
        self.run_on(self.old)
        self.assertEqual("PENDING_UPDATE - new -", self.state(one))
        self.run_on(self.new)
        self.assertEqual("ACTIVE - new new", self.state(one))
        self.assertEqual("", self.reason(one))
        self.assertEqual("nothing to do", self.run_on(self.old, self.new))
        self.assert_clean(self.old)

    def test_without_an_address_the_new_device_comes_first(self) -> None:
        one = self.placed(tree(("*", 80)))
        self.moved(one)
        self.run_on(self.old)
        self.assertEqual("PENDING_UPDATE TAKE old -", self.state(one))
        self.assertRegex(self.reason(one), f"{self.old.id}.*serves it until.*{self.new.id}")
        self.run_on(self.new)
        self.assertEqual("ACTIVE CLEAR old+new -", self.state(one))
        self.run_on(self.old)
        self.assertEqual("ACTIVE - new -", self.state(one))
        self.assert_clean(self.old)

    def test_a_change_while_the_old_device_gives_up_the_address_puts_it_back(self) -> None:
        one = self.placed()
        self.moved(one)
        self.run_on(self.new)
        self.during_apply(lambda: self.change(one, using(Algorithm.SOURCE_IP)))
        self.reconciler.reconcile(self.old.id)
        self.assertEqual("PENDING_UPDATE PREPARE old+new old", self.state(one))
        self.run_on(self.new, self.old, self.new)
        self.assertEqual("ACTIVE - new new", self.state(one))

    def test_deleted_on_the_way_it_leaves_nothing_anywhere(self) -> None:
        for steps in (0, 1, 2):
            for order in ((0, 1), (1, 0)):
                with self.subTest(steps=steps, order=order):
                    one = self.placed()
                    self.moved(one)
                    devices = (self.old, self.new)
                    for there in (self.new, self.old)[:steps]:
                        self.run_on(there)
                    self.service.delete(ADMIN, "foo", one)
                    self.run_on(*(devices[i] for i in order))
                    self.run_on(*devices)
                    self.assertEqual(([], []), (list(self.rows("load_balancers")), list(self.rows("reservations"))))
                    self.assert_clean(self.new)

    def test_without_the_old_device_the_new_one_takes_the_address(self) -> None:
        for phase in ("PREPARE", "RELEASE"):
            with self.subTest(phase):
                one = self.placed()
                self.moved(one)
                if phase == "RELEASE":
                    self.run_on(self.new)
                self.assertIn(phase, self.state(one))
                self.service.remove_device(ADMIN, self.old.id, force=True)
                self.run_on(self.new)
                self.assertEqual((None, 2, {ADDRESS}), (*self.progress(one), self.driver.addresses(self.new.id)))
                self.service.delete(ADMIN, "foo", one)
                self.run_on(self.new)
                self.assert_clean(self.new)
                self.old = self.register(capabilities=ROUND_ROBIN)

    def test_without_the_new_device_it_stays_on_the_old_one(self) -> None:
        one = self.placed()
        self.moved(one)
        self.run_on(self.new)
        self.service.remove_device(ADMIN, self.new.id, force=True)
        self.run_on(self.old)
        self.assertEqual((self.old.id, None, 3), (self.get(one).device_id, *self.progress(one)))
        self.assertEqual({ADDRESS}, self.driver.addresses(self.old.id))

    def test_any_worker_goes_on_with_it_and_nothing_more_is_done_than_needed(self) -> None:
        one = self.placed()
        self.moved(one)
        deadline = time.monotonic() + 20
        steps = []
        while due := self.repository.due(observe_interval=3600, limit=10):
            self.assertLess(time.monotonic(), deadline)
            steps.append({self.old.id: "old", self.new.id: "new"}[due[0].device_id])
            self.reconciler.reconcile(due[0].device_id)
        self.assertEqual(["new", "old", "new"], steps)
        self.assertEqual("ACTIVE - new new", self.state(one))
        for there, expected in ((self.old, 2), (self.new, 1)):
            self.assertEqual(expected, self.driver.deployments(there.id), "further deployments change no text")


class DecisionsContract(Steps):
    """What happens on the way, and what becomes of it then."""

    def test_what_was_never_served_has_nothing_to_lose(self) -> None:
        self.behave(self.old, "unreachable")
        one = self.service.create(ADMIN, tree((ADDRESS, 80))).load_balancer.id
        self.run_on(self.old)
        self.new = self.register(capabilities=EVERYTHING)
        self.moved(one)
        self.run_on(self.new)
        self.assertEqual("ACTIVE CLEAR new new", self.state(one))

    def test_on_purpose_it_goes_to_another_device_and_stays_there(self) -> None:
        one = self.placed()
        self.service.move(ADMIN, "foo", one)
        self.run_on(self.new, self.old, self.new)
        self.assertEqual("ACTIVE - new new", self.state(one))
        self.change(one, named("other"))
        self.assertEqual(self.new.id, self.get(one).device_id)

    def test_on_purpose_its_own_device_deploys_it_anew_when_no_other_is_suitable(self) -> None:
        one = self.placed()
        self.behave(self.new, "unreachable")
        self.reconciler.reconcile(self.new.id)
        pinned = self.service.create(ADMIN, tree((ADDRESS, 81)), device_id=self.old.id).load_balancer.id
        self.run_on(self.old)
        for balancer_id in (one, pinned):
            self.service.move(ADMIN, "foo", balancer_id)
            self.assertEqual("PENDING_UPDATE - old old", self.state(balancer_id))
            self.run_on(self.old)
            self.assertEqual("ACTIVE - old old", self.state(balancer_id))
        self.behave(self.new)
        self.run_on(self.new)
        self.service.move(ADMIN, "foo", pinned)
        self.assertEqual(self.old.id, self.get(pinned).device_id)

    def test_another_project_may_not_move_it(self) -> None:
        one = self.placed()
        with self.assertRaises(NotFound):
            self.service.move(Caller(project_id="bar"), "bar", one)

    def test_what_the_new_device_refuses_the_old_one_goes_on_serving(self) -> None:
        for addresses, phase in (((ADDRESS, 80), "PREPARE"), (("*", 80), "TAKE")):
            with self.subTest(phase):
                one = self.placed(tree(addresses))
                self.behave(self.new, f"reject:{one}")
                before = self.text(self.old, one)
                self.moved(one)
                self.run_on(self.new, self.old)
                self.assertRegex(self.state(one), f"^ERROR {phase} old (old|-)$")
                self.assertRegex(self.reason(one), f"pretends to refuse.*{self.old.id}.*serves it until")
                self.assertEqual(before, self.text(self.old, one))
                # The way back: what fits the old device again is for it.
                self.change(one, using(Algorithm.ROUND_ROBIN))
                self.assertEqual(self.old.id, self.get(one).device_id)
                self.run_on(self.old, self.new)
                self.assertRegex(self.state(one), "^ACTIVE - old (old|-)$")
                self.assert_clean(self.new)
                self.service.delete(ADMIN, "foo", one)
                self.run_on(self.old)

    def test_an_unreachable_new_device_is_waited_for(self) -> None:
        one = self.placed()
        self.behave(self.new, "unreachable")
        self.moved(one)
        self.run_on(self.new)
        self.assertEqual("PENDING_UPDATE PREPARE old old", self.state(one))
        self.assertIn("unreachable", self.reason(one))
        self.change(one, named("other"))
        self.assertEqual(self.new.id, self.get(one).device_id)
        self.behave(self.new)
        self.run_on(self.new, self.old, self.new)
        self.assertEqual("ACTIVE - new new", self.state(one))

    def test_a_change_takes_it_elsewhere(self) -> None:
        one = self.placed()
        self.behave(self.new, f"reject:{one}")
        self.moved(one)
        self.run_on(self.new)
        third = self.register(capabilities=replace(EVERYTHING, algorithms=(Algorithm.SOURCE_IP,)))
        self.service.change_device(ADMIN, self.new.id, lambda item: replace(item, capabilities=ROUND_ROBIN))
        self.change(one, using(Algorithm.SOURCE_IP))
        self.assertEqual(third.id, self.get(one).device_id)
        self.run_on(self.new, third, self.old, third)
        self.assertEqual("ACTIVE - - -", self.state(one))
        self.assertEqual({ADDRESS}, self.driver.addresses(third.id))
        self.assert_clean(self.old, self.new)

    def test_a_device_that_refuses_what_it_had_made_ready_gives_it_back(self) -> None:
        one = self.placed()
        self.moved(one)
        self.run_on(self.new)
        self.assertEqual("PENDING_UPDATE RELEASE old+new old", self.state(one))
        self.behave(self.new, f"reject:{one}")
        self.run_on(self.new, self.old)
        self.assertEqual("ERROR PREPARE old old", self.state(one))

    def test_a_change_is_made_ready_before_the_address_follows(self) -> None:
        one = self.placed()
        self.moved(one)
        self.run_on(self.new)
        self.change(one, named("other"))
        self.change(one, using(Algorithm.SOURCE_IP))
        self.assertEqual("PENDING_UPDATE PREPARE old+new old", self.state(one))
        self.run_on(self.old)
        self.assertEqual("PENDING_UPDATE PREPARE old+new old", self.state(one))
        self.run_on(self.new, self.old, self.new)
        self.assertEqual("ACTIVE - new new", self.state(one))
        self.assertIn("SOURCE_IP", self.text(self.new, one))

    def test_a_change_while_the_new_device_makes_it_ready_has_to_be_ready_itself(self) -> None:
        one = self.placed()
        self.moved(one)
        self.during_apply(lambda: self.change(one, named("other")))
        self.reconciler.reconcile(self.new.id)
        self.assertEqual("PENDING_UPDATE RELEASE old+new old", self.state(one))
        self.run_on(self.old, self.new)
        self.assertEqual(("ACTIVE - new new", "other"), (self.state(one), self.get(one).name))

    def test_an_unreachable_old_device_keeps_the_address_until_it_can_be_reached(self) -> None:
        one = self.placed()
        self.moved(one)
        self.run_on(self.new)
        self.behave(self.old, "unreachable")
        self.run_on(self.old)
        self.assertEqual("PENDING_UPDATE RELEASE old+new old", self.state(one))
        self.assertRegex(self.reason(one), "waits for that: .*unreachable")
        self.behave(self.old)
        self.run_on(self.old, self.new)
        self.assertEqual("ACTIVE - new new", self.state(one))

    def test_an_unreachable_old_device_is_cleaned_later(self) -> None:
        one = self.placed(tree(("*", 80)))
        self.behave(self.old, "unreachable")
        self.moved(one)
        self.run_on(self.new, self.old)
        self.assertEqual("ACTIVE CLEAR old+new -", self.state(one))
        self.assertRegex(self.reason(one), "still to remove it, and waits for that: .*unreachable")
        with self.assertRaisesRegex(Conflict, "move"):
            self.service.remove_device(ADMIN, self.old.id)
        self.behave(self.old)
        self.run_on(self.old)
        self.assertEqual("ACTIVE - new -", self.state(one))
        self.assert_clean(self.old)

    def test_a_device_in_maintenance_is_waited_for(self) -> None:
        one = self.placed()
        self.moved(one)
        self.run_on(self.new)
        self.service.change_device(ADMIN, self.old.id, lambda item: replace(item, admin_state=AdminState.MAINTENANCE))
        self.run_on(self.old)
        self.assertEqual("PENDING_UPDATE RELEASE old+new old", self.state(one))
        self.assertIn("maintenance", self.reason(one))

    def test_without_the_new_device_and_without_its_place_it_is_given_up(self) -> None:
        one = self.placed(tree((ADDRESS, 80)))
        self.service.change_device(ADMIN, self.new.id, lambda item: replace(item, admin_state=AdminState.ENABLED))

        def to_port_81(old: Tree) -> Tree:
            listeners = tuple(replace(each, port=81) for each in old.load_balancer.listeners)
            return using(Algorithm.URI)(replace(old, load_balancer=replace(old.load_balancer, listeners=listeners)))

        self.change(one, to_port_81)
        other = self.service.create(ADMIN, tree((ADDRESS, 81)), device_id=self.old.id).load_balancer.id
        self.service.remove_device(ADMIN, self.new.id, force=True)
        self.run_on(self.old)
        self.assertEqual([other], list(self.driver.running(self.old.id)))
        with self.assertRaises(NotFound):
            self.get(one)

    def test_the_first_phase_depends_on_the_address_alone(self) -> None:
        for address, expected in (("*", MovePhase.TAKE), ("127.0.0.9", MovePhase.TAKE), (ADDRESS, MovePhase.PREPARE)):
            one = self.placed(tree((address, 80)))
            move = self.moved(one).move
            assert move is not None
            self.assertEqual((expected, self.old.id), (move.phase, move.device_id))
            self.service.delete(ADMIN, "foo", one)
            self.run_on(self.new, self.old, self.new)
            self.service.remove_device(ADMIN, self.new.id)


class MovesOnSqlite(MovesContract, SqliteFile):
    pass


class MovesOnPostgresql(MovesContract, Postgresql):
    pass


class MovesOnMariadb(MovesContract, Mariadb):
    pass


class DecisionsOnSqlite(DecisionsContract, SqliteFile):
    pass
