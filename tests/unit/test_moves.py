"""Moves between devices: every step, and what becomes of it when something else happens."""

from __future__ import annotations

import unittest
from dataclasses import replace

from balancer.core import moves, status
from balancer.core.model import AdminState, Device, LoadBalancer, Move, MovePhase, Observation
from tests.unit.objects import device, tree

OLD, NEW, THIRD = (device(id=each * 32) for each in "abc")
SPECIFIC = tree(("203.0.113.5", 80), ("*", 81)).load_balancer
ANYWHERE = tree(("*", 80), ("127.0.0.5", 81), ("::", 82), ("::1", 83)).load_balancer


def at(there: Device, phase: MovePhase | None = None, balancer: LoadBalancer = SPECIFIC) -> LoadBalancer:
    """On that device; with a phase it is still on its way there from the old one."""
    return replace(balancer, device_id=there.id, move=None if phase is None else Move(device_id=OLD.id, phase=phase))


def owning(there: Device, *addresses: str) -> Device:
    return replace(there, observation=Observation(reachable=True, sentence="", own_addresses=addresses))


class Start(unittest.TestCase):
    def sent(self, balancer: LoadBalancer, to: Device, *, accepted: bool = True) -> str:
        move = moves.next_move(balancer, balancer, to, accepted=accepted)
        return "" if move is None else f"{move.phase} from {move.device_id[0]}"

    def test_an_address_that_changes_hands_is_prepared_for(self) -> None:
        self.assertEqual("PREPARE from a", self.sent(at(OLD), NEW))

    def test_without_such_an_address_the_new_device_takes_it_at_once(self) -> None:
        self.assertEqual("TAKE from a", self.sent(at(OLD, balancer=ANYWHERE), NEW))

    def test_so_it_does_when_it_has_the_address_of_its_own_or_nothing_is_served_yet(self) -> None:
        self.assertEqual("TAKE from a", self.sent(at(OLD), owning(NEW, "203.0.113.5")))
        self.assertEqual("PREPARE from a", self.sent(at(OLD), owning(NEW, "203.0.113.6")))
        self.assertEqual("TAKE from a", self.sent(at(OLD), NEW, accepted=False))

    def test_staying_is_no_move(self) -> None:
        self.assertEqual("", self.sent(at(OLD), OLD))
        self.assertEqual("CLEAR from a", self.sent(at(NEW, MovePhase.CLEAR), NEW))

    def test_a_change_on_the_way_has_to_be_made_ready_again(self) -> None:
        for phase in (MovePhase.PREPARE, MovePhase.RELEASE):
            self.assertEqual("PREPARE from a", self.sent(at(NEW, phase), NEW))
        self.assertEqual("TAKE from a", self.sent(at(NEW, MovePhase.TAKE, ANYWHERE), NEW))

    def test_on_the_way_it_can_come_back_or_go_elsewhere(self) -> None:
        for phase in (MovePhase.TAKE, MovePhase.PREPARE, MovePhase.RELEASE):
            self.assertEqual("CLEAR from b", self.sent(at(NEW, phase), OLD))
            self.assertEqual("PREPARE from a", self.sent(at(NEW, phase), THIRD))
        # It has arrived: this is the way back to a device that may still have the address.
        self.assertEqual("PREPARE from b", self.sent(at(NEW, MovePhase.CLEAR), OLD))
        self.assertEqual("PREPARE from b", self.sent(at(NEW, MovePhase.CLEAR), THIRD))


class WhoDeploys(unittest.TestCase):
    def test_whose_turn_it_is(self) -> None:
        for phase in (None, *MovePhase):
            balancer = at(NEW, phase)
            turn = moves.awaited(balancer.device_id, balancer.move, deleted=False)
            self.assertEqual((OLD.id if phase is MovePhase.RELEASE else NEW.id,), turn)
            both = moves.awaited(balancer.device_id, balancer.move, deleted=True)
            self.assertEqual((NEW.id,) if phase is None else (NEW.id, OLD.id), both)

    def deploys(self, before: LoadBalancer, to: Device) -> str:
        after = replace(before, device_id=to.id, move=moves.next_move(before, before, to, accepted=True))
        return "".join(sorted(each[0] for each in moves.to_deploy(before, after)))

    def test_the_old_device_goes_on_as_it_does(self) -> None:
        self.assertEqual("b", self.deploys(at(OLD), NEW))
        self.assertEqual("b", self.deploys(at(NEW, MovePhase.PREPARE), NEW))

    def test_what_it_may_have_given_up_already_it_gets_back(self) -> None:
        self.assertEqual("ab", self.deploys(at(NEW, MovePhase.RELEASE), NEW))
        self.assertEqual("abc", self.deploys(at(NEW, MovePhase.RELEASE), THIRD))

    def test_whoever_was_sent_to_in_vain_forgets_it(self) -> None:
        self.assertEqual("ab", self.deploys(at(NEW, MovePhase.TAKE), OLD))
        self.assertEqual("bc", self.deploys(at(NEW, MovePhase.TAKE), THIRD))


class Steps(unittest.TestCase):
    def taken(self, phase: MovePhase, *, rejected: bool = False, latest: bool = True) -> MovePhase | None:
        move = Move(device_id=OLD.id, phase=phase)
        after = moves.after_taking(move, move, rejected=rejected, latest=latest)
        return None if after is None else after.phase

    def test_what_the_new_device_runs_is_taken_over_or_ready(self) -> None:
        self.assertIs(MovePhase.CLEAR, self.taken(MovePhase.TAKE))
        self.assertIs(MovePhase.RELEASE, self.taken(MovePhase.PREPARE))
        for phase in (MovePhase.CLEAR, MovePhase.RELEASE):
            self.assertIs(phase, self.taken(phase))

    def test_an_older_generation_serves_but_is_not_ready(self) -> None:
        self.assertIs(MovePhase.CLEAR, self.taken(MovePhase.TAKE, latest=False))
        self.assertIs(MovePhase.PREPARE, self.taken(MovePhase.PREPARE, latest=False))

    def test_what_the_new_device_refuses_the_old_one_keeps_or_gets_back(self) -> None:
        for phase in (MovePhase.TAKE, MovePhase.PREPARE, MovePhase.CLEAR):
            self.assertIs(phase, self.taken(phase, rejected=True))
        self.assertIs(MovePhase.PREPARE, self.taken(MovePhase.RELEASE, rejected=True))

    def test_a_deployment_of_another_move_says_nothing(self) -> None:
        now = Move(device_id=OLD.id, phase=MovePhase.TAKE)
        for deployed in (None, Move(device_id=THIRD.id, phase=MovePhase.TAKE)):
            self.assertEqual(now, moves.after_taking(now, deployed, rejected=False, latest=True))
        self.assertIsNone(moves.after_taking(None, now, rejected=False, latest=True))

    def test_a_move_ends_when_the_old_device_runs_without_it(self) -> None:
        for phase, ends in (("TAKE", False), ("PREPARE", False), ("RELEASE", True), ("CLEAR", True)):
            move = Move(device_id=OLD.id, phase=MovePhase(phase))
            self.assertEqual(None if ends else move, moves.after_leaving(move, runs=False))
            self.assertEqual(move, moves.after_leaving(move, runs=True))


class Answers(unittest.TestCase):
    def test_the_old_device_serves_until_the_new_one_does(self) -> None:
        self.assertEqual(OLD.id, moves.serving_device_id(at(OLD)))
        for phase in MovePhase:
            expected = NEW if phase is MovePhase.CLEAR else OLD
            self.assertEqual(expected.id, moves.serving_device_id(at(NEW, phase)))

    def test_an_address_is_withheld_unless_another_load_balancer_has_it_there(self) -> None:
        other = tree(("203.0.113.5", 8080), ("203.0.113.6", 80)).load_balancer
        for phase, expected in (("PREPARE", ("203.0.113.5",)), ("RELEASE", ("203.0.113.5",)), ("TAKE", ())):
            coming = at(NEW, MovePhase(phase))
            self.assertEqual(expected, moves.withheld_addresses([coming]))
            self.assertEqual((), moves.withheld_addresses([coming, other]))

    def test_the_reason_tells_of_the_move_and_of_what_it_waits_for(self) -> None:
        away = replace(OLD, observation=Observation(reachable=False, sentence="Connection refused"))
        resting = replace(OLD, admin_state=AdminState.MAINTENANCE)
        for phase, said, waits in (
            (MovePhase.TAKE, "serves it until", False),
            (MovePhase.PREPARE, "serves it until", False),
            (MovePhase.RELEASE, "until its addresses can go", True),
            (MovePhase.CLEAR, "still to remove it", True),
        ):
            balancer = replace(at(NEW, phase), applied_generation=1)
            for there, word in ((OLD, None), (away, "Connection refused"), (resting, "maintenance")):
                reason = status.load_balancer_reason(balancer, {NEW.id: NEW, OLD.id: there}, whole=True)
                self.assertIn(said, reason)
                self.assertIn(OLD.id, reason)
                if word is not None:
                    self.assertEqual(waits, word in reason, reason)
