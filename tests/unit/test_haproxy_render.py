"""What rendering decides beside the text, which tests/golden shows."""

from __future__ import annotations

import unittest
from dataclasses import replace
from typing import Any

from balancer.core.model import (
    Algorithm,
    DeviceSpec,
    L7Policy,
    L7Rule,
    LoadBalancer,
    MemberCheck,
    MemberLimits,
    MonitorType,
    PersistenceKind,
    Protocol,
    SessionPersistence,
)
from balancer.drivers.haproxy import render
from balancer.exceptions import InvalidInput
from tests.golden.builders import DEVICE, balancer, member, monitor, oid


def spec(*balancers: LoadBalancer, **fields: object) -> DeviceSpec:
    return DeviceSpec(device=DEVICE, load_balancers=balancers, monitors=(), revision=1, **fields)  # type: ignore[arg-type]


class TestCandidate(unittest.TestCase):
    def test_a_load_balancer_that_cannot_be_rendered_keeps_its_last_text_and_no_other_is_touched(self) -> None:
        bad = replace(balancer(member(1, address="nonsense")), id=oid(0x99))
        good = balancer()
        made = render.candidate(spec(good, bad, accepted_blocks={bad.id: "last\n"}))
        self.assertEqual({bad.id: "address must be an IPv4 or IPv6 address, not a link-local one"}, dict(made.rejected))
        self.assertEqual("last\n", made.blocks[bad.id])
        self.assertEqual(render.candidate(spec(good)).blocks[good.id], made.blocks[good.id])
        self.assertEqual("", render.candidate(spec(bad)).blocks[bad.id])

    def test_a_memo_gives_the_same_texts_and_forgets_what_is_gone(self) -> None:
        memo: dict[str, tuple[object, render.Block]] = {}
        one, two = balancer(), replace(balancer(member(3)), id=oid(0x11))
        first = render.candidate(spec(one, two), memo)
        self.assertEqual(render.candidate(spec(one, two)), first)
        # Changed without a new generation: the text must be new all the same.
        changed = replace(two, pools=(replace(two.pools[0], members=(member(4),)),))
        second = render.candidate(spec(one, changed), memo)
        self.assertEqual(render.candidate(spec(one, changed)), second)
        self.assertNotEqual(first.digest, second.digest)
        render.candidate(spec(one), memo)
        self.assertEqual({one.id}, set(memo))

    def test_peers_are_there_when_a_table_is(self) -> None:
        sticky = balancer(persistence=SessionPersistence(id=oid(1), kind=PersistenceKind.SOURCE_IP))
        self.assertIn("peers balancer\n", render.candidate(spec(sticky)).head)
        self.assertNotIn("peers", render.candidate(spec(balancer())).head)

    def test_devices_have_loopback_addresses_of_their_own(self) -> None:
        addresses = {render.peer_address(oid(number)) for number in range(200)}
        self.assertEqual(200, len(addresses))
        self.assertTrue(all(each.startswith("127.") for each in addresses))


class TestNotices(unittest.TestCase):
    def notices(self, one: LoadBalancer, *monitors: MonitorType) -> str:
        return " ".join(
            render.block(one, [monitor(index, kind) for index, kind in enumerate(monitors)], device_id=oid(1)).notices
        )

    def test_the_mask_of_a_persistence_says_what_a_client_is(self) -> None:
        for mask, client in (
            *((each, "src") for each in (None, "", "255.255.255.255", 32, "128")),
            *((each, "src,ipmask(24,128)") for each in ("255.255.255.0", 24, "24")),
            ("64", "src,ipmask(32,64)"),
        ):
            by_address = SessionPersistence(id=oid(1), kind=PersistenceKind.SOURCE_IP, extras={"mask": mask})
            made = render.block(balancer(persistence=by_address), (), device_id=oid(1))
            self.assertIn(f"    stick on {client}\n", made.text)
            self.assertEqual((), made.notices)

    def test_what_haproxy_cannot_express_is_told(self) -> None:
        check = monitor(0, MonitorType.PING)
        self.assertIn("cannot ping", self.notices(balancer(monitors=(check,)), MonitorType.PING))
        self.assertIn("rateBandwidth", self.notices(balancer(member(1, extras={"rateBandwidth": 12}))))
        self.assertIn("rateConnection", self.notices(balancer(member(1, extras={"rateConnection": 1}))))
        alone = member(1, limits=MemberLimits(min_connections=5))
        self.assertIn("minconn", self.notices(balancer(alone)))
        self.assertNotIn("minconn", render.block(balancer(alone), (), device_id=oid(1)).text)
        slow = member(1, limits=MemberLimits(slow_start=5))
        self.assertIn("slowstart", self.notices(balancer(slow)))
        self.assertEqual("", self.notices(balancer(slow, monitors=(monitor(0, MonitorType.TCP),)), MonitorType.TCP))
        many = member(1, check=MemberCheck(rise=2), cookie="a")
        self.assertIn("rise and fall", self.notices(balancer(many)))
        self.assertIn("cookie of a node", self.notices(balancer(many)))
        by_address = SessionPersistence(id=oid(1), kind=PersistenceKind.SOURCE_IP, cookie_name="x")
        self.assertIn("cookie_name", self.notices(balancer(persistence=by_address)))
        self.assertIn("ICMPreply", self.notices(balancer(listener={"extras": {"ICMPreply": "False"}})))
        patient = monitor(0, MonitorType.TCP, timeout=9)
        told = render.block(balancer(monitors=(patient,)), [patient], device_id=oid(1)).notices
        self.assertIn("5 s at most", " ".join(told))
        self.assertIn("VLAN", self.notices(balancer(listener={"extras": {"VLAN": 7}})))
        cookie = SessionPersistence(id=oid(1), kind=PersistenceKind.HTTP_COOKIE)
        self.assertIn("HTTP_COOKIE has no effect", self.notices(balancer(protocol=Protocol.TCP, persistence=cookie)))
        header = {"insert_headers": {"X-Forwarded-For": "true"}}
        self.assertIn("X-Forwarded-For", self.notices(balancer(protocol=Protocol.TCP, listener=header)))
        self.assertEqual("", self.notices(balancer(listener=header)))


def reject(kind: str, **fields: Any) -> L7Policy:
    rule = L7Rule(**{"id": oid(2), "type": kind, "compare_type": "EQUAL_TO", "value": "x", **fields})
    return L7Policy(id=oid(1), position=1, action="REJECT", rules=(rule,))


class TestValidate(unittest.TestCase):
    def refused(self, one: LoadBalancer, field: str) -> str:
        with self.assertRaises(InvalidInput) as caught:
            render.validate(one, ())
        self.assertEqual(field, caught.exception.field)
        return str(caught.exception)

    def test_what_no_haproxy_host_can_run_is_refused(self) -> None:
        self.assertIn("HTTP, HTTPS, TCP", self.refused(balancer(protocol=Protocol.UDP), "protocol"))
        by_uri = balancer(algorithm=Algorithm.URI, protocol=Protocol.TCP)
        self.assertIn("needs protocol HTTP, not TCP", self.refused(by_uri, "algorithm"))
        # Also while it listens nowhere.
        self.refused(replace(by_uri, listeners=()), "algorithm")
        by_uri = balancer(algorithm=Algorithm.URI, listener={"protocol": Protocol.HTTPS})
        self.assertIn("URI needs protocol HTTP, not HTTPS", self.refused(by_uri, "protocol"))
        inserted = SessionPersistence(id=oid(1), kind=PersistenceKind.HTTP_COOKIE)
        self.refused(balancer(member(1, cookie="a"), member(2, cookie="a"), persistence=inserted), "cookie")
        self.refused(balancer(listener={"tls": {"x": 1}}), "tls")
        self.refused(balancer(protocol=Protocol.TCP, listener={"l7_policies": (reject("PATH"),)}), "l7_policies")
        self.refused(balancer(listener={"l7_policies": (reject("SSL_CONN_HAS_CERT"),)}), "type")
        self.refused(balancer(listener={"l7_policies": (reject("COOKIE", key="a)b"),)}), "key")
        self.refused(balancer(listener={"l7_policies": (reject("PATH", value="/\n"),)}), "value")
        self.refused(balancer(listener={"l7_policies": (reject("PATH", value=""),)}), "value")
        off = replace(reject("FILE_TYPE", compare_type="CONTAINS"), admin_up=False)
        self.refused(balancer(listener={"l7_policies": (off,)}), "compare_type")
        self.refused(
            balancer(persistence=SessionPersistence(id=oid(1), kind=PersistenceKind.APP_COOKIE)), "cookie_name"
        )

    def test_addresses_that_haproxy_could_not_start_with_are_refused(self) -> None:
        for address in ("fe80::1", "::ffff:192.0.2.1", "fe80::1%eth0"):
            at = replace(balancer(), virtual_ips=(replace(balancer().virtual_ips[0], address=address),))
            self.refused(at, "address")
            self.refused(balancer(member(1, address=address)), "address")

    def test_what_is_switched_off_is_validated_too(self) -> None:
        self.refused(balancer(member(1, weight=300), admin_up=False), "weight")
        self.refused(balancer(member(1, weight=300), listener={"admin_up": False}), "weight")
        self.refused(balancer(member(1, weight=300), pool_up=False), "weight")

    def test_what_can_be_run_passes(self) -> None:
        for algorithm in render.CAPABILITIES.algorithms:
            render.validate(balancer(algorithm=algorithm), ())
        for protocol in render.CAPABILITIES.protocols:
            render.validate(balancer(protocol=protocol), ())
