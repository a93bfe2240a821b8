"""What projects may point at, as pure decisions."""

from __future__ import annotations

import unittest
from dataclasses import replace

from balancer.core import tenants
from balancer.core.model import DeviceSpec, LoadBalancer, Pool, VirtualIp
from balancer.core.tenants import DEFAULT_CONFINES, parse_range, range_text
from balancer.drivers.haproxy import render
from balancer.exceptions import ConfigurationError, Forbidden
from tests.golden import builders
from tests.unit.objects import device, member, tree

HOSTS = ("192.0.2.7", "2001:db8::7", "lb.example")


def balancer(*addresses: str, members: tuple[str, ...] = ()) -> LoadBalancer:
    listening = ((address, 80) for address in addresses)
    return tree(*listening, members=tuple(member(address=each) for each in members)).load_balancer


def only_pool(load_balancer: LoadBalancer) -> Pool:
    (pool,) = load_balancer.pools
    return pool


class TestRanges(unittest.TestCase):
    def test_texts_come_back_as_short_as_possible(self) -> None:
        for text, shown in (
            ("192.0.2.0/28", "192.0.2.0/28"),
            ("192.0.2.0-192.0.2.15", "192.0.2.0/28"),
            ("192.0.2.1 - 192.0.2.9", "192.0.2.1-192.0.2.9"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8::/64", "2001:db8::/64"),
            ("2001:db8::1-2001:db8::9", "2001:db8::1-2001:db8::9"),
            ("::/0", "::/0"),
        ):
            self.assertEqual(shown, range_text(parse_range(text)))
            self.assertEqual(parse_range(text), parse_range(shown))

    def test_a_wrong_option_is_named(self) -> None:
        with self.assertRaisesRegex(ConfigurationError, r"\[tenants\] forbidden_member_ranges: .*nowhere"):
            tenants.confines(["10.0.0.0/8", "nowhere"])


class TestMembers(unittest.TestCase):
    def test_infrastructure_is_refused_however_it_is_written(self) -> None:
        for address in (
            *("127.0.0.1", "127.255.0.9", "0.0.0.0", "0.1.2.3", "169.254.169.254", "224.0.0.1", "240.0.0.1"),
            *("255.255.255.255", "::", "::1", "fe80::1", "ff02::1", "fd00:ec2::254", "FD00:EC2:0:0::254"),
            # The kernel, or a router on the way, would send these to an IPv4 address.
            *("::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "2002:7f00:1::", "2002:a9fe:a9fe::1", "64:ff9b::169.254.169.254"),
            *("192.0.2.7", "2001:db8:0:0::7", "::ffff:192.0.2.7"),
        ):
            with self.subTest(address):
                self.assertTrue(tenants.member_refusal(address, DEFAULT_CONFINES, HOSTS))
                with self.assertRaises(Forbidden) as caught:
                    tenants.check_members(balancer("*", members=(address,)), None, DEFAULT_CONFINES, HOSTS)
                self.assertEqual("members", caught.exception.field)
                self.assertIn(address, str(caught.exception))

    def test_ordinary_addresses_are_not(self) -> None:
        for address in (
            "192.0.2.8",
            "10.0.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "2001:db8::8",
            "fd00::1",
            "64:ff9b::8.8.8.8",
        ):
            self.assertIsNone(tenants.member_refusal(address, DEFAULT_CONFINES, HOSTS), address)

    def test_more_can_be_forbidden_and_less(self) -> None:
        confines = tenants.confines(["10.9.0.0/16", "2001:db8:9::1-2001:db8:9::5"])
        for address, refused in (
            *(("10.9.3.4", True), ("10.8.0.1", False), ("2001:db8:9::5", True), ("2001:db8:9::6", False)),
            ("127.0.0.1", False),
        ):
            self.assertEqual(refused, tenants.member_refusal(address, confines, ()) is not None, address)

    def test_where_checks_go_counts_as_well(self) -> None:
        good = balancer("*", members=("192.0.2.8",))
        pool = only_pool(good)
        watched = replace(pool.members[0], monitor_address="169.254.169.254")
        bad = replace(good, pools=(replace(pool, members=(watched,)),))
        with self.assertRaisesRegex(Forbidden, r"169\.254\.169\.254:8001"):
            tenants.check_members(bad, good, DEFAULT_CONFINES, HOSTS)

    def test_what_was_there_may_stay_and_nothing_may_be_added_to_it(self) -> None:
        old = balancer("*", members=("127.0.0.1",))
        pool = only_pool(old)
        (given,) = pool.members

        def with_member(**changes: object) -> LoadBalancer:
            return replace(old, pools=(replace(pool, members=(replace(given, **changes),)),))  # type: ignore[arg-type]

        tenants.check_members(with_member(weight=7, name="x"), old, DEFAULT_CONFINES, HOSTS)
        for change in ({"port": 22}, {"address": "127.0.0.2"}, {"monitor_port": 22}, {"monitor_address": "::1"}):
            with self.subTest(change), self.assertRaises(Forbidden):
                tenants.check_members(with_member(**change), old, DEFAULT_CONFINES, HOSTS)


class TestVirtualIps(unittest.TestCase):
    DEVICE = device(vip_ranges=(parse_range("203.0.113.0/28"), parse_range("2001:db8:5::1-2001:db8:5::9")))

    def test_only_what_the_device_opens_or_a_subnet_gave(self) -> None:
        for address, closed in (
            *(("203.0.113.1", False), ("203.0.113.16", True), ("2001:db8:5::9", False), ("2001:db8:5::a", True)),
            *(("*", True), ("::", True)),
        ):
            self.assertEqual((address,) if closed else (), tenants.closed(balancer(address), None, self.DEVICE))
        given = balancer("198.51.100.1")
        (vip,) = given.virtual_ips
        taken = replace(given, virtual_ips=(replace(vip, subnet_id="s", port_id="p"),))
        self.assertEqual((), tenants.closed(taken, None, self.DEVICE))
        self.assertEqual(("198.51.100.1",), tenants.closed(given, None, device()))

    def test_a_wildcard_is_not_opened_by_any_range(self) -> None:
        wide = device(vip_ranges=(parse_range("0.0.0.0/0"), parse_range("::/0")))
        self.assertEqual((), tenants.closed(balancer("203.0.113.99"), None, wide))
        for wildcard in ("*", "::"):
            self.assertEqual((wildcard,), tenants.closed(balancer(wildcard), None, wide))

    def test_where_a_device_is_managed_is_not_opened_by_any_range(self) -> None:
        wide = device(host="203.0.113.7", vip_ranges=(parse_range("0.0.0.0/0"),))
        self.assertEqual(("203.0.113.7",), tenants.closed(balancer("203.0.113.7"), None, wide))
        taken = balancer("203.0.113.7")
        vip = replace(taken.virtual_ips[0], subnet_id="s", port_id="p")
        self.assertEqual(("203.0.113.7",), tenants.closed(replace(taken, virtual_ips=(vip,)), None, wide))

    def test_an_address_that_was_given_may_get_another_port_and_a_wildcard_may_not(self) -> None:
        for address, closed in (("198.51.100.1", ()), ("*", ("*",))):
            old = balancer(address)
            (listener,) = old.listeners
            new = replace(old, listeners=(listener, replace(listener, id="other", port=81)))
            self.assertEqual((), tenants.closed(old, old, self.DEVICE))
            self.assertEqual(closed, tenants.closed(new, old, self.DEVICE))

    def test_an_address_without_a_listener_counts(self) -> None:
        bare = replace(balancer("203.0.113.1"), virtual_ips=(VirtualIp(id="v", address="198.51.100.1"),), listeners=())
        self.assertEqual(("198.51.100.1",), tenants.closed(bare, None, self.DEVICE))


class TestLastLine(unittest.TestCase):
    def test_what_no_request_should_have_stored_is_not_rendered(self) -> None:
        good = balancer("203.0.113.1", members=("198.51.100.1",))
        member_bad = balancer("203.0.113.2", members=("127.0.0.1",))
        wildcard = balancer("*", members=("198.51.100.1",))
        given = replace(balancer("*", members=("127.0.0.1",)), exempt=True)
        spec = DeviceSpec(
            device=replace(builders.DEVICE, vip_ranges=(parse_range("203.0.113.0/28"),)),
            load_balancers=(good, member_bad, wildcard, given),
            monitors=(),
            revision=1,
            accepted_blocks={member_bad.id: "# before\n"},
        )
        made = render.candidate(spec, confines=DEFAULT_CONFINES)
        self.assertEqual({member_bad.id, wildcard.id}, set(made.rejected))
        self.assertIn("127.0.0.1 is in 127.0.0.0/8", made.rejected[member_bad.id])
        self.assertEqual(("# before\n", ""), (made.blocks[member_bad.id], made.blocks[wildcard.id]))
        self.assertTrue(made.blocks[good.id] and made.blocks[given.id])
