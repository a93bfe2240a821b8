"""Two texts of a load balancer, and what HAProxy is told to come from the one to the other: exact commands, or why it
must be reloaded instead."""

from __future__ import annotations

import unittest
from dataclasses import replace
from typing import Any

from balancer.core.model import (
    Algorithm,
    LoadBalancer,
    Member,
    MemberCheck,
    MemberLimits,
    MonitorType,
    PersistenceKind,
    Rotation,
    SessionPersistence,
)
from balancer.drivers.haproxy import live, render
from tests.golden.builders import DEVICE, balancer, member, monitor, oid

BE = f"be-{oid(0x20)}"
ONE, TWO, THREE = (f"{BE}/{oid(0x100 + number)}" for number in (1, 2, 3))
TCP = monitor(0, MonitorType.TCP)
HTTP = monitor(1, MonitorType.HTTP)
PING = monitor(2, MonitorType.PING)
COOKIE = SessionPersistence(id=oid(0x60), kind=PersistenceKind.HTTP_COOKIE, cookie_name="SRV")
SOURCE = SessionPersistence(id=oid(0x60), kind=PersistenceKind.SOURCE_IP)
PAIR = (member(1), member(2))
CHECKED = (member(1, monitor_address="2001:db8::9"), member(2))


def text(one: LoadBalancer, *others: LoadBalancer, ping: str | None = None) -> bytes:
    blocks = [render.block(each, (TCP, HTTP, PING), device_id=DEVICE.id, ping=ping).text for each in (one, *others)]
    return f"# by hand\n\nglobal\n    maxconn 7\n{''.join(blocks)}# end\n".encode()


def both(old: tuple[Member, ...], new: tuple[Member, ...], **fields: Any) -> tuple[bytes, bytes]:
    ping = fields.pop("ping", None)
    return text(balancer(*old, **fields), ping=ping), text(balancer(*new, **fields), ping=ping)


def changed(**fields: Any) -> tuple[Member, ...]:
    """With the first of two members changed."""
    return (replace(PAIR[0], **fields), PAIR[1])


def difference(old: bytes, new: bytes, version: str = "2.6.12") -> live.Change | str:
    return live.difference(old, new, live.abilities(version))


class TestLive(unittest.TestCase):
    maxDiff = None

    def test_what_a_running_haproxy_is_told(self) -> None:
        limits = MemberLimits(max_connections=5)
        cases: dict[str, tuple[tuple[bytes, bytes], tuple[tuple[str, ...], ...]]] = {
            "weight": (both(PAIR, changed(weight=7)), ((f"set weight {ONE} 7",),)),
            "weight of one that is checked at another address": (
                both(CHECKED, (replace(CHECKED[0], weight=7), CHECKED[1]), monitors=(TCP,)),
                ((f"set weight {ONE} 7",),),
            ),
            "weight with several algorithms": (
                both(PAIR, changed(weight=7), algorithm=Algorithm.SOURCE_IP),
                ((f"set weight {ONE} 7",),),
            ),
            "run dry, and back": (both(PAIR, changed(rotation=Rotation.DRAIN)), ((f"set weight {ONE} 0",),)),
            "out": (both(PAIR, changed(rotation=Rotation.OUT)), ((f"set server {ONE} state maint",),)),
            "down": (both(PAIR, changed(admin_up=False)), ((f"set server {ONE} state maint",),)),
            "in, with another weight": (
                both(changed(admin_up=False), changed(weight=3)),
                ((f"set weight {ONE} 3", f"set server {ONE} state ready"),),
            ),
            "most connections": (both(PAIR, changed(limits=limits)), ((f"set maxconn server {ONE} 5",),)),
            "address and port": (
                both(PAIR, changed(address="192.0.2.99", port=99)),
                ((f"set server {ONE} addr 192.0.2.99 port 99",),),
            ),
            "address of the other family": (
                both(PAIR, changed(address="2001:db8::1")),
                ((f"set server {ONE} addr 2001:db8::1 port 8001",),),
            ),
            "who takes traffic does so before another one gives it up": (
                both(changed(weight=0), (PAIR[0], replace(PAIR[1], weight=0))),
                ((f"set weight {ONE} 1",), (f"set weight {TWO} 0",)),
            ),
            "one is added": (
                both(PAIR, (*PAIR, member(3, weight=9, limits=limits))),
                ((f"add server {THREE} 192.0.2.10:8003 weight 9 maxconn 5", f"enable server {THREE}"),),
            ),
            "one with IPv6": (
                both(PAIR, (*PAIR, member(3, address="2001:db8::1"))),
                ((f"add server {THREE} [2001:db8::1]:8003 weight 1", f"enable server {THREE}"),),
            ),
            "one that is switched off is added": (
                both(PAIR, (*PAIR, member(3, admin_up=False))),
                ((f"add server {THREE} 192.0.2.10:8003 weight 1 disabled",),),
            ),
            "one that is checked is added, and asked nothing before it is known to be well": (
                both(PAIR, (*PAIR, member(3, weight=9, check=MemberCheck(rise=4))), monitors=(TCP,)),
                (
                    (
                        f"add server {THREE} 192.0.2.10:8003 check inter 15s fall 3 rise 4 weight 0",
                        f"enable health {THREE}",
                        f"enable server {THREE}",
                        f"set server {THREE} health down",
                        f"set weight {THREE} 9",
                    ),
                ),
            ),
            "one that is checked elsewhere, and slowly started": (
                both(
                    PAIR,
                    (*PAIR, member(3, monitor_port=99, limits=MemberLimits(slow_start=20), rotation=Rotation.DRAIN)),
                    monitors=(HTTP,),
                ),
                (
                    (
                        f"add server {THREE} 192.0.2.10:8003 check inter 15s fall 3 rise 2 port 99 slowstart 20s "
                        "weight 0",
                        f"enable health {THREE}",
                        f"enable server {THREE}",
                    ),
                ),
            ),
            "the first one of all": (
                (text(replace_members(())), text(replace_members((member(1),)))),
                ((f"add server {ONE} 192.0.2.10:8001 weight 1", f"enable server {ONE}"),),
            ),
            "one is replaced by another": (
                both(PAIR, (PAIR[0], member(3))),
                (
                    (f"add server {THREE} 192.0.2.10:8003 weight 1", f"enable server {THREE}"),
                    (f"set server {TWO} state maint",),
                    (f"del server {TWO}",),
                ),
            ),
            "one that is down is removed": (both(changed(admin_up=False), PAIR[1:]), ((f"del server {ONE}",),)),
            "with stick tables": (
                both(PAIR, changed(weight=2), persistence=SOURCE),
                ((f"set weight {ONE} 2",),),
            ),
            "one with a cookie is removed": (
                both(PAIR, PAIR[1:], persistence=COOKIE),
                ((f"set server {ONE} state maint",), (f"del server {ONE}",)),
            ),
            "weight where several monitors check": (
                both(PAIR, changed(weight=2), monitors=(TCP, HTTP)),
                ((f"set weight {ONE} 2",),),
            ),
        }
        for name, ((old, new), expected) in cases.items():
            with self.subTest(name):
                found = difference(old, new)
                assert isinstance(found, live.Change), found
                leaving = (tuple(f"del server {each}" for each in found.leaving),) if found.leaving else ()
                self.assertEqual(expected, (*found.phases, *leaving))

    def test_what_needs_a_reload(self) -> None:
        limits = MemberLimits(max_connections=5, min_connections=2)
        cases: dict[str, tuple[tuple[bytes, bytes], str]] = {
            "another load balancer": (
                (text(balancer()), text(balancer(), other())),
                "the configuration changed",
            ),
            "a listener": ((text(balancer()), text(balancer(listener={"port": 81}))), "the configuration changed"),
            "an algorithm": (
                (text(balancer()), text(balancer(algorithm=Algorithm.URI))),
                "the configuration changed",
            ),
            "a monitor": ((text(balancer()), text(balancer(monitors=(TCP,)))), "the configuration changed"),
            "what is hand-written": (
                (text(balancer()), text(balancer()).replace(b"maxconn 7", b"maxconn 8")),
                "the configuration changed",
            ),
            "weight with static-rr": (
                both(PAIR, changed(weight=2), algorithm=Algorithm.STATIC_ROUND_ROBIN),
                "static-rr keeps weights as they were at the start",
            ),
            "one more with static-rr": (
                both(PAIR, (*PAIR, member(3)), algorithm=Algorithm.STATIC_ROUND_ROBIN),
                "static-rr keeps its servers as they were at the start",
            ),
            "one more with a cookie": (
                both(PAIR, (*PAIR, member(3)), persistence=COOKIE),
                "this version of HAProxy adds no server with a cookie while it runs",
            ),
            "one more that is pinged": (
                both(PAIR, (*PAIR, member(3)), monitors=(PING,), ping="/etc/ping"),
                "a server that is pinged is added",
            ),
            "one more backup": (
                both((*PAIR, member(4, backup=True)), (*PAIR, member(3, backup=True), member(4, backup=True))),
                "a backup server comes or goes",
            ),
            "a backup less": (
                both((*PAIR, member(3, backup=True), member(4, backup=True)), (*PAIR, member(4, backup=True))),
                "a backup server comes or goes",
            ),
            "the first backup": (both(PAIR, (*PAIR, member(3, backup=True))), "the configuration changed"),
            "becomes a backup": (
                both((*PAIR, member(4, backup=True)), (*changed(backup=True), member(4, backup=True))),
                OTHER_SETTINGS,
            ),
            "another interval": (both(PAIR, changed(check=MemberCheck(interval=3)), monitors=(TCP,)), OTHER_SETTINGS),
            "another cookie": (both(PAIR, changed(cookie="x"), persistence=COOKIE), OTHER_SETTINGS),
            "slowstart": (both(PAIR, changed(limits=MemberLimits(slow_start=9)), monitors=(TCP,)), OTHER_SETTINGS),
            "a limit less": (
                both(changed(limits=MemberLimits(max_connections=5)), PAIR),
                "a server gets any number of connections",
            ),
            "a limit that shrinks": (
                both(changed(limits=limits), changed(limits=replace(limits, max_connections=6))),
                "the most connections of a server with minconn change",
            ),
            "another order": (both(PAIR, PAIR[::-1]), "the order of servers changed"),
            "one more where several monitors check": (
                both(PAIR, (*PAIR, member(3)), monitors=(TCP, HTTP)),
                "the configuration changed",
            ),
            "an address where several monitors check": (
                both(PAIR, changed(address="192.0.2.7"), monitors=(TCP, HTTP)),
                "the configuration changed",
            ),
        }
        for name, ((old, new), expected) in cases.items():
            with self.subTest(name):
                self.assertEqual(expected, difference(old, new))

    def test_one_command_too_many_for_a_pool_spoils_those_of_all(self) -> None:
        old = text(balancer(), other())
        new = text(balancer(*changed(weight=2)), other(algorithm=Algorithm.URI))
        self.assertEqual("the configuration changed", difference(old, new))

    def test_several_pools_at_once(self) -> None:
        old, new = text(balancer(), other()), text(balancer(*changed(weight=2)), other(*changed(weight=3)))
        found = difference(old, new)
        assert isinstance(found, live.Change), found
        self.assertEqual(
            ((f"set weight {ONE} 2", f"set weight be-{oid(0x21)}/{oid(0x101)} 3"),),
            found.phases,
        )

    def test_what_a_version_can_do(self) -> None:
        weight, more, cookie = (
            both(PAIR, changed(weight=2)),
            both(PAIR, (*PAIR, member(3))),
            both(PAIR, (*PAIR, member(3)), persistence=COOKIE),
        )
        for version, expected in (
            ("2.4.22", (False, False, False)),
            ("2.6.12-1+deb12u4", (True, True, False)),
            ("2.8.3", (True, True, False)),
            ("3.0.11", (True, True, True)),
            ("3.5-dev2", (True, True, True)),
            ("10.0", (True, True, True)),
        ):
            with self.subTest(version):
                told = (isinstance(difference(*each, version), live.Change) for each in (weight, more, cookie))
                self.assertEqual(expected, tuple(told))

    def test_so_many_changes_that_a_reload_is_quicker(self) -> None:
        def many(count: int, weight: int) -> bytes:
            return text(balancer(*(member(number, weight=weight) for number in range(count))))

        self.assertIsInstance(difference(many(3000, 1), many(3000, 2)), live.Change)
        self.assertEqual(
            "so much changed that a reload is sooner over",
            difference(many(3001, 1), many(3001, 2)),
        )


OTHER_SETTINGS = "a server has other settings than its weight, state, address or most connections"


def replace_members(members: tuple[Member, ...]) -> LoadBalancer:
    one = balancer()
    return replace(one, pools=(replace(one.pools[0], members=members),))


def other(*members: Member, **fields: Any) -> LoadBalancer:
    """A second load balancer, with ids of its own."""
    one = balancer(*members, id=oid(0x11), **fields)
    (pool,), (listener,) = one.pools, one.listeners
    return replace(
        one,
        pools=(replace(pool, id=oid(0x21)),),
        listeners=(replace(listener, id=oid(0x31), port=8081, default_pool_id=oid(0x21)),),
    )
