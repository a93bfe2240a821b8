"""Changes, rules, statuses and scheduling: pure decisions."""

from __future__ import annotations

import unittest
from dataclasses import replace

from balancer.core import changes, rules, scheduler, status
from balancer.core.model import (
    AdminState,
    Algorithm,
    Bind,
    Capabilities,
    Drift,
    Listener,
    LoadBalancerError,
    Observation,
    PersistenceKind,
    Protocol,
    Rotation,
    SessionPersistence,
    VirtualIp,
    new_id,
)
from balancer.core.ports import Progress
from balancer.core.reconciler import backoff
from balancer.exceptions import ConfigurationError, Conflict, InvalidInput, NoSuitableDevice, NotFound
from tests.unit.objects import device, member, monitor, tree


class Changes(unittest.TestCase):
    def test_added_member_is_the_last_one(self) -> None:
        new = member(9000)
        after = changes.add_members(new)(tree())
        self.assertEqual(after.load_balancer.pools[0].members[-1], new)
        self.assertEqual(len(after.load_balancer.pools[0].members), 3)

    def test_removed_member_is_gone_and_the_others_stay(self) -> None:
        before = tree()
        first, second = before.load_balancer.pools[0].members
        after = changes.remove_member(first.id)(before)
        self.assertEqual(after.load_balancer.pools[0].members, (second,))

    def test_unknown_children_are_refused(self) -> None:
        for change in (
            changes.remove_member("x"),
            changes.replace_member("x", lambda each: each),
            changes.remove_listener("x"),
            changes.remove_monitor("x"),
            changes.remove_persistence("x"),
            changes.add_members(member(), pool_id="x"),
        ):
            with self.assertRaises(NotFound):
                change(tree())

    def test_rotation(self) -> None:
        before = tree()
        first = before.load_balancer.pools[0].members[0]
        after = changes.replace_member(first.id, lambda each: replace(each, rotation=Rotation.OUT))(before)
        self.assertEqual([m.rotation for m in after.load_balancer.pools[0].members], [Rotation.OUT, Rotation.IN])

    def test_listeners_at_one_address_share_the_virtual_ip(self) -> None:
        before = tree(("192.0.2.1", 80))
        listener = Listener(id=new_id(), protocol=Protocol.HTTP, port=81)
        after = changes.place_listener(listener, VirtualIp(id=new_id(), address="192.0.2.1"))(before)
        self.assertEqual(len(after.load_balancer.virtual_ips), 1)
        self.assertEqual(rules.wanted_addresses(after.load_balancer), {("192.0.2.1", 80), ("192.0.2.1", 81)})

    def test_virtual_ip_goes_with_its_last_listener(self) -> None:
        before = tree(("192.0.2.1", 80), ("192.0.2.1", 81), ("192.0.2.2", 80))
        first, second, third = before.load_balancer.listeners
        after = changes.remove_listener(third.id)(before)
        self.assertEqual([vip.address for vip in after.load_balancer.virtual_ips], ["192.0.2.1"])
        after = changes.remove_listener(first.id)(after)
        self.assertEqual([vip.address for vip in after.load_balancer.virtual_ips], ["192.0.2.1"])
        after = changes.remove_listener(second.id)(after)
        self.assertEqual(after.load_balancer.virtual_ips, ())

    def test_monitors_come_and_go_with_their_association(self) -> None:
        new = monitor()
        after = changes.add_monitor(new)(tree())
        self.assertEqual(after.monitors, (new,))
        self.assertEqual(after.load_balancer.pools[0].health_monitor_ids, (new.id,))
        gone = changes.remove_monitor(new.id)(after)
        self.assertEqual((gone.monitors, gone.load_balancer.pools[0].health_monitor_ids), ((), ()))

    def test_persistence(self) -> None:
        sticky = SessionPersistence(id=new_id(), kind=PersistenceKind.SOURCE_IP)
        after = changes.set_persistence(sticky)(tree())
        self.assertEqual(after.load_balancer.pools[0].session_persistence, sticky)
        after = changes.remove_persistence(sticky.id)(after)
        self.assertIsNone(after.load_balancer.pools[0].session_persistence)


# Without a zone, and IPv4 addresses in IPv6's notation: no socket for IPv6 alone can be bound to them.
ODD = ("fe80::1", "febf::1", "::ffff:192.0.2.1", "::ffff:0:0", "::FFFF:7f00:1")


class Rules(unittest.TestCase):
    def test_addresses_have_one_form(self) -> None:
        for text, normal in (
            ("0.0.0.0", "*"),
            ("*", "*"),
            ("", "*"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8:0::1", "2001:db8::1"),
            ("::", "::"),
        ):
            self.assertEqual(rules.normalise_address(text), normal)
        for text in ("1.2.3", "1.2.3.256", "host", "fe80::1%eth0", "1.2.3.4/24", "01.2.3.4", "1.2.3.4\n", *ODD):
            with self.assertRaises(ValueError, msg=text):
                rules.normalise_address(text)

    def test_the_same_address_or_node_twice_is_refused(self) -> None:
        with self.assertRaisesRegex(Conflict, "192.0.2.1:80"):
            rules.check(tree(("192.0.2.1", 80), ("192.0.2.1", 80)))
        with self.assertRaisesRegex(Conflict, "port 80 on every address"):
            rules.check(tree(("*", 80), ("*", 80)))
        with self.assertRaisesRegex(Conflict, "127.0.0.1:8001"):
            rules.check(tree(members=(member(8001), member(8001))))
        rules.check(tree(("*", 80), ("192.0.2.1", 80), members=(member(8001), member(8001, "127.0.0.2"))))

    def test_foreign_children_are_refused(self) -> None:
        before = tree().load_balancer
        for fields in ({"default_pool_id": "x"}, {"virtual_ip_ids": ("x",)}):
            listener = replace(before.listeners[0], **fields)
            with self.assertRaises(InvalidInput):
                rules.check(replace(tree(), load_balancer=replace(before, listeners=(listener,))))

    def test_hand_written_binds_are_respected(self) -> None:
        everywhere = Bind(address="*", first_port=80, last_port=90)
        for address, taken in ((("*", 80), True), (("*", 90), True), (("*", 91), False), (("192.0.2.1", 80), False)):
            balancer = tree(address).load_balancer
            if taken:
                with self.assertRaisesRegex(Conflict, "hand-written"):
                    rules.check_foreign_binds(balancer, [everywhere])
            else:
                rules.check_foreign_binds(balancer, [everywhere])

    def test_a_listener_without_named_virtual_ips_is_at_all_of_them(self) -> None:
        before = tree(("192.0.2.1", 80), ("192.0.2.2", 81)).load_balancer
        listener = replace(before.listeners[0], virtual_ip_ids=())
        balancer = replace(before, listeners=(listener,))
        self.assertEqual(rules.wanted_addresses(balancer), {("192.0.2.1", 80), ("192.0.2.2", 80)})


class Status(unittest.TestCase):
    def test_load_balancer(self) -> None:
        error = LoadBalancerError(sentence="No.", generation=1)
        for fields, expected in (
            ({}, "BUILD"),
            ({"applied_generation": 1}, "ACTIVE"),
            ({"applied_generation": 1, "generation": 2}, "PENDING_UPDATE"),
            ({"error": error}, "ERROR"),
        ):
            self.assertEqual(status.load_balancer_status(tree(**fields).load_balancer), expected)

    def test_settled_means_applied_or_refused_or_left_alone(self) -> None:
        waiting = Progress(applied_generation=2, failed_generation=None, rests=False)
        self.assertTrue(waiting.is_settled(2))
        self.assertFalse(waiting.is_settled(3))
        self.assertTrue(replace(waiting, failed_generation=3).is_settled(3))
        self.assertFalse(replace(waiting, failed_generation=1).is_settled(3))
        self.assertTrue(replace(waiting, rests=True).is_settled(3))

    def test_reason(self) -> None:
        there = device(error="Connection refused.")
        waiting = tree(device_id=there.id, notices=("Rates are not limited.",)).load_balancer
        self.assertEqual(
            status.load_balancer_reason(waiting, {there.id: there}, whole=True),
            "Connection refused. Rates are not limited.",
        )
        applied = replace(waiting, applied_generation=1, notices=())
        self.assertEqual(status.load_balancer_reason(applied, {there.id: there}, whole=True), "")
        resting = replace(there, admin_state=AdminState.MAINTENANCE)
        self.assertIn("maintenance", status.load_balancer_reason(waiting, {there.id: resting}, whole=True))
        busy = replace(there, error=None, waiting_for="many workers are busy")
        reason = status.load_balancer_reason(waiting, {there.id: busy}, whole=True)
        self.assertIn("It waits: many workers are busy.", reason)
        self.assertEqual(status.load_balancer_reason(applied, {there.id: busy}, whole=True), "")

    def test_device(self) -> None:
        self.assertEqual(status.device_status(device())[0], "UNKNOWN")
        seen = Observation(reachable=True, sentence="HAProxy 2.6 serves.")
        self.assertEqual(status.device_status(device(observation=seen)), ("ONLINE", "HAProxy 2.6 serves."))
        edited = replace(seen, sentence="HAProxy serves", drift=Drift(sentence="it was edited"))
        self.assertEqual(status.device_status(device(observation=edited)), ("ONLINE", "HAProxy serves; it was edited"))
        told = status.device_status(device(observation=edited, waiting_for="many are busy"))
        self.assertEqual(told, ("ONLINE", "HAProxy serves; it was edited; a deployment waits: many are busy"))
        self.assertEqual(status.device_status(device(observation=seen, error="No."))[0], "ERROR")
        away = replace(seen, reachable=False, sentence="Refused.")
        self.assertEqual(status.device_status(device(observation=away)), ("UNREACHABLE", "Refused."))


def option(**fields: object) -> scheduler.Option:
    blocked = fields.pop("blocked", frozenset())
    load_balancers = fields.pop("load_balancers", 0)
    return scheduler.Option(
        device=device(**fields),
        capabilities=Capabilities(algorithms=(Algorithm.ROUND_ROBIN,), protocols=(Protocol.HTTP,)),
        blocked=blocked,  # type: ignore[arg-type]
        load_balancers=load_balancers,  # type: ignore[arg-type]
    )


class Scheduling(unittest.TestCase):
    def setUp(self) -> None:
        names = [f"balancer.core.scheduler.filter_{name}" for name in ("admin_state", "capabilities", "addresses")]
        self.scheduler = scheduler.from_names(names, ["balancer.core.scheduler.lbs_on"], {})

    def test_the_emptiest_device_wins(self) -> None:
        options = [option(load_balancers=count) for count in (2, 0, 1)]
        self.assertEqual(self.scheduler.choose(tree(), options), options[1].device)

    def test_unfit_devices_are_left_out_with_the_reason(self) -> None:
        for unfit, asked, reason in (
            (option(admin_state=AdminState.DRAINED), tree(), "is DRAINED"),
            (option(), tree(algorithm=Algorithm.URI), "does not offer URI"),
            (option(), tree(protocol=Protocol.TCP), "does not offer TCP"),
            (option(), tree(("2001:db8::1", 80)), "does not offer IPv6"),
            (option(blocked=frozenset({("*", 80)})), tree(), "has port 80 taken"),
        ):
            with self.assertRaisesRegex(NoSuitableDevice, f"Suitable device not found: a device {reason}"):
                self.scheduler.choose(asked, [unfit])
        fit = option(load_balancers=9)
        self.assertEqual(self.scheduler.choose(tree(), [option(admin_state=AdminState.DRAINED), fit]), fit.device)

    def test_ipv6_is_for_devices_that_support_it(self) -> None:
        able = option(supports_ipv6=True)
        self.assertEqual(self.scheduler.choose(tree(("2001:db8::1", 80)), [able]), able.device)

    def test_no_device_at_all(self) -> None:
        with self.assertRaisesRegex(NoSuitableDevice, "no device is registered"):
            self.scheduler.choose(tree(), [])

    def test_weights_turn_the_choice(self) -> None:
        name = "balancer.core.scheduler.lbs_on"
        fullest_first = scheduler.from_names([], [name], {name: -1.0})
        options = [option(load_balancers=count) for count in (2, 0, 1)]
        self.assertEqual(fullest_first.choose(tree(), options), options[0].device)

    def test_a_wrong_name_is_a_configuration_error(self) -> None:
        with self.assertRaisesRegex(ConfigurationError, "device_filters.*nothing_of_the_kind"):
            scheduler.from_names(["balancer.core.scheduler.nothing_of_the_kind"], [], {})


class Backoff(unittest.TestCase):
    def test_doubles_up_to_the_longest_with_jitter(self) -> None:
        self.assertEqual([backoff(n, 1, 60, lambda: 0.5) for n in (0, 1, 2, 10, 1000)], [1, 2, 4, 60, 60])
        self.assertEqual([backoff(0, 4, 60, lambda: 0.0), backoff(0, 4, 60, lambda: 1.0)], [3, 5])
