"""What goes together in a load balancer, by the tables of the rules."""

from __future__ import annotations

import unittest
from collections.abc import Callable
from dataclasses import replace

from balancer.core import changes, rules
from balancer.core.model import (
    Algorithm,
    HealthMonitor,
    L7Policy,
    Listener,
    LoadBalancer,
    MonitorType,
    Pool,
    Protocol,
    Tree,
    VirtualIp,
    new_id,
)
from balancer.exceptions import BalancerError, Conflict, InvalidInput, NotFound
from tests.unit.objects import member, monitor, tree

POOLS_BEHIND = {
    Protocol.TCP: "TCP HTTP HTTPS PROXY PROXYV2",
    Protocol.HTTP: "HTTP PROXY PROXYV2",
    Protocol.HTTPS: "HTTPS TCP PROXY PROXYV2",
    Protocol.TERMINATED_HTTPS: "HTTP PROXY PROXYV2",
    Protocol.UDP: "UDP",
    Protocol.SCTP: "SCTP",
    Protocol.PROMETHEUS: "",
}
POOL_PROTOCOLS = [each for each in Protocol if each not in (Protocol.TERMINATED_HTTPS, Protocol.PROMETHEUS)]


def pool(protocol: Protocol) -> Pool:
    return Pool(id=new_id(), protocol=protocol, algorithm=Algorithm.ROUND_ROBIN)


def accepted(check: Callable[..., object], *what: object) -> bool:
    try:
        check(*what)
    except InvalidInput:
        return False
    return True


class Together(unittest.TestCase):
    def test_pools_behind_listeners(self) -> None:
        for protocol, allowed in POOLS_BEHIND.items():
            listener = Listener(id=new_id(), protocol=protocol, port=80)
            found = {each for each in POOL_PROTOCOLS if accepted(rules.check_behind, listener, pool(each), "x")}
            self.assertEqual(set(allowed.split()), {each.value for each in found}, protocol)

    def test_health_monitors_of_pools(self) -> None:
        for protocol in POOL_PROTOCOLS:
            datagram = protocol in (Protocol.UDP, Protocol.SCTP)
            expected = "UDP-CONNECT SCTP HTTP TCP" if datagram else "HTTP HTTPS PING TCP TLS-HELLO"
            found = {
                each
                for each in MonitorType
                if accepted(rules.check_monitor, pool(protocol), monitor(type=each, delay=3.0))
            }
            self.assertEqual(set(expected.split()), {each.value for each in found}, protocol)

    def test_one_port_of_each_transport(self) -> None:
        def at(*protocols: Protocol) -> Tree:
            listeners = tuple(Listener(id=new_id(), protocol=each, port=53) for each in protocols)
            vip = VirtualIp(id=new_id(), address="192.0.2.1")
            balancer = LoadBalancer(id=new_id(), project_id="p", device_id="", virtual_ips=(vip,), listeners=listeners)
            return Tree(load_balancer=balancer)

        rules.check(at(Protocol.TCP, Protocol.UDP, Protocol.SCTP))
        for one, other in (
            (Protocol.TCP, Protocol.HTTP),
            (Protocol.PROMETHEUS, Protocol.HTTPS),
            (Protocol.UDP, Protocol.UDP),
            (Protocol.SCTP, Protocol.SCTP),
        ):
            with self.assertRaises(Conflict):
                rules.check(at(one, other))

    def test_members_are_the_same_however_they_are_spelled(self) -> None:
        twice = (member(80, "2001:db8::1"), member(80, "2001:DB8:0::1"))
        with self.assertRaises(Conflict):
            rules.check(tree(members=twice))


class Whole(unittest.TestCase):
    """Changes that check what they make, on a load balancer that was there before."""

    before = tree(("192.0.2.1", 80))

    def refused(self, error: type[BalancerError], change: changes.Change, on: Tree | None = None) -> None:
        with self.assertRaises(error):
            change(on or self.before)

    def test_what_was_there_before_is_no_reason_to_refuse(self) -> None:
        listener = self.before.load_balancer.listeners[0]
        odd = replace(self.before.load_balancer.pools[0], protocol=Protocol.TCP)
        mixed = replace(self.before, load_balancer=replace(self.before.load_balancer, pools=(odd,)))
        renamed = changes.change_listener(listener.id, lambda each: replace(each, name="new"))(mixed)
        self.assertEqual("new", renamed.load_balancer.listeners[0].name)
        self.refused(InvalidInput, changes.add_listener(replace(listener, id=new_id(), port=81)), mixed)

    def test_unknown_parts(self) -> None:
        for change in (
            changes.change_listener("x", lambda each: each),
            changes.change_pool("x", lambda each: each),
            changes.remove_pool("x"),
            changes.add_pool(pool(Protocol.HTTP), listener_id="x"),
            changes.set_members("x", ()),
            changes.add_only_monitor(monitor(), "x"),
            changes.change_monitor("x", lambda each: each),
            changes.remove_only_monitor("x"),
            changes.add_l7_policy("x", L7Policy(id="y", position=1, action="REJECT")),
            changes.change_l7_policy("x", lambda each: each),
            changes.remove_l7_policy("x"),
            changes.remove_l7_rule("x", "y"),
        ):
            self.refused(NotFound, change)

    def test_a_monitor_that_pools_share_is_left_alone(self) -> None:
        shared: HealthMonitor = monitor()
        one = tree(monitors=(shared,))
        other = replace(pool(Protocol.HTTP), health_monitor_ids=(shared.id,))
        both = replace(one, load_balancer=replace(one.load_balancer, pools=(*one.load_balancer.pools, other)))
        self.refused(Conflict, changes.change_monitor(shared.id, lambda each: replace(each, delay=9.0)), both)
        self.refused(Conflict, changes.remove_only_monitor(shared.id), both)
        # The monitor goes with the last pool that uses it.
        after = changes.remove_pool(other.id)(both)
        self.assertEqual((shared,), after.monitors)
        self.assertEqual((), changes.remove_pool(after.load_balancer.pools[0].id)(after).monitors)
