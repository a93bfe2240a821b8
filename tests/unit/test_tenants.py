"""What projects may point at, as pure decisions."""

from __future__ import annotations

import unittest
from dataclasses import replace

from balancer.core import tenants
from balancer.core.model import AddressUse, DeviceSpec, Host, LoadBalancer, Pool, VirtualIp
from balancer.core.tenants import DEFAULT_CONFINES, parse_range, range_text
from balancer.drivers.haproxy import render
from balancer.exceptions import ConfigurationError, Forbidden
from tests.golden import builders
from tests.unit.objects import device, member, tree

HOSTS = (
    Host(device_id="a", managed=("192.0.2.7",), own=("198.51.100.7",)),
    Host(device_id="b", managed=("2001:db8::7",)),
    Host(device_id="c", managed=("lb.example", "192.0.2.77")),
)
KNOWN = tenants.know(HOSTS, ["203.0.113.1", "2001:db8:5::1"])


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
            # Registered by a name, reached at an address; further addresses of a device; virtual IPs.
            *("192.0.2.77", "198.51.100.7", "::ffff:198.51.100.7", "203.0.113.1", "64:ff9b::203.0.113.1"),
            *("2001:db8:5::1", "2001:db8:5:0:0::1"),
        ):
            with self.subTest(address):
                self.assertTrue(tenants.member_refusal(address, DEFAULT_CONFINES, KNOWN))
                with self.assertRaises(Forbidden) as caught:
                    tenants.check_members(balancer("*", members=(address,)), None, DEFAULT_CONFINES, KNOWN)
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
            self.assertIsNone(tenants.member_refusal(address, DEFAULT_CONFINES, KNOWN), address)

    def test_more_can_be_forbidden_and_less(self) -> None:
        confines = tenants.confines(["10.9.0.0/16", "2001:db8:9::1-2001:db8:9::5"])
        for address, refused in (
            *(("10.9.3.4", True), ("10.8.0.1", False), ("2001:db8:9::5", True), ("2001:db8:9::6", False)),
            ("127.0.0.1", False),
        ):
            self.assertEqual(refused, tenants.member_refusal(address, confines, tenants.Known()) is not None, address)

    def test_where_checks_go_counts_as_well(self) -> None:
        good = balancer("*", members=("192.0.2.8",))
        pool = only_pool(good)
        watched = replace(pool.members[0], monitor_address="169.254.169.254")
        bad = replace(good, pools=(replace(pool, members=(watched,)),))
        with self.assertRaisesRegex(Forbidden, r"169\.254\.169\.254:8001"):
            tenants.check_members(bad, good, DEFAULT_CONFINES, KNOWN)

    def test_what_was_there_may_stay_and_nothing_may_be_added_to_it(self) -> None:
        old = balancer("*", members=("127.0.0.1",))
        pool = only_pool(old)
        (given,) = pool.members

        def with_member(**changes: object) -> LoadBalancer:
            return replace(old, pools=(replace(pool, members=(replace(given, **changes),)),))  # type: ignore[arg-type]

        tenants.check_members(with_member(weight=7, name="x"), old, DEFAULT_CONFINES, KNOWN)
        for change in ({"port": 22}, {"address": "127.0.0.2"}, {"monitor_port": 22}, {"monitor_address": "::1"}):
            with self.subTest(change), self.assertRaises(Forbidden):
                tenants.check_members(with_member(**change), old, DEFAULT_CONFINES, KNOWN)


class TestLoops(unittest.TestCase):
    """A loop of load balancers is closed by a new member or by a new place to listen."""

    def test_whoever_points_at_a_virtual_ip_listens_nowhere_new(self) -> None:
        ahead = balancer("203.0.113.9", members=("203.0.113.1",))
        for before in (None, balancer(members=("203.0.113.1",)), balancer("203.0.113.8", members=("203.0.113.1",))):
            with self.assertRaises(Forbidden) as caught:
                tenants.check_chain(ahead, before, KNOWN)
            self.assertEqual("virtual_ips", caught.exception.field)
        (listener,) = ahead.listeners
        further = replace(ahead, listeners=(listener, replace(listener, id="other", port=81)))
        with self.assertRaises(Forbidden):
            tenants.check_chain(further, ahead, KNOWN)

    def test_an_administrators_chain_may_be_renamed_and_made_shorter(self) -> None:
        chain = balancer("203.0.113.9", "203.0.113.10", members=("203.0.113.1",))
        tenants.check_chain(replace(chain, name="x"), chain, KNOWN)
        tenants.check_chain(balancer("203.0.113.9", members=("203.0.113.1",)), chain, KNOWN)
        tenants.check_chain(balancer("203.0.113.9", members=("192.0.2.8",)), None, KNOWN)

    def test_where_checks_go_counts_as_well(self) -> None:
        plain = balancer("203.0.113.9", members=("192.0.2.8",))
        pool = only_pool(plain)
        watched = replace(pool.members[0], monitor_address="::ffff:203.0.113.1")
        with self.assertRaises(Forbidden):
            tenants.check_chain(replace(plain, pools=(replace(pool, members=(watched,)),)), None, KNOWN)


class TestVirtualIps(unittest.TestCase):
    DEVICE = device(vip_ranges=(parse_range("203.0.113.0/28"), parse_range("2001:db8:5::1-2001:db8:5::9")))

    def test_only_what_the_device_opens_or_a_subnet_gave(self) -> None:
        for address, closed in (
            *(("203.0.113.1", False), ("203.0.113.16", True), ("2001:db8:5::9", False), ("2001:db8:5::a", True)),
            *(("*", True), ("::", True)),
        ):
            self.assertEqual((address,) if closed else (), tenants.closed(balancer(address), None, self.DEVICE, ()))
        given = balancer("198.51.100.1")
        (vip,) = given.virtual_ips
        taken = replace(given, virtual_ips=(replace(vip, subnet_id="s", port_id="p"),))
        self.assertEqual((), tenants.closed(taken, None, self.DEVICE, ()))
        self.assertEqual(("198.51.100.1",), tenants.closed(given, None, device(), ()))

    def test_a_wildcard_is_not_opened_by_any_range(self) -> None:
        wide = device(vip_ranges=(parse_range("0.0.0.0/0"), parse_range("::/0")))
        self.assertEqual((), tenants.closed(balancer("203.0.113.99"), None, wide, ()))
        for wildcard in ("*", "::"):
            self.assertEqual((wildcard,), tenants.closed(balancer(wildcard), None, wide, ()))

    def test_where_a_device_is_managed_is_not_opened_by_any_range(self) -> None:
        wide = device(host="203.0.113.7", vip_ranges=(parse_range("0.0.0.0/0"),))
        self.assertEqual(("203.0.113.7",), tenants.closed(balancer("203.0.113.7"), None, wide, ()))
        taken = balancer("203.0.113.7")
        vip = replace(taken.virtual_ips[0], subnet_id="s", port_id="p")
        self.assertEqual(("203.0.113.7",), tenants.closed(replace(taken, virtual_ips=(vip,)), None, wide, ()))

    def test_what_is_a_devices_is_for_no_load_balancer_unless_that_device_opens_it(self) -> None:
        opened = (parse_range("203.0.113.0/28"),)
        hosts = (
            Host(device_id="a", managed=("203.0.113.2", "198.51.100.1"), own=("203.0.113.3",), vip_ranges=opened),
            Host(device_id="b", managed=("lb.example",), own=("203.0.113.4", "2001:db8:5::4")),
        )
        for address, taken in (
            *(("203.0.113.2", True), ("198.51.100.1", True), ("203.0.113.3", False), ("203.0.113.4", True)),
            *(("2001:db8:5::4", True), ("203.0.113.5", False), ("*", False), ("::", False)),
        ):
            self.assertEqual({address} if taken else set(), tenants.of_devices([address], hosts), address)
        of_other = tenants.closed(balancer("203.0.113.4"), None, self.DEVICE, {"203.0.113.4"})
        self.assertEqual(("203.0.113.4",), of_other)

    def test_an_address_is_one_projects_and_at_one_device(self) -> None:
        mine = balancer("203.0.113.1", "203.0.113.2", "*")
        self.assertEqual({"203.0.113.1", "203.0.113.2"}, tenants.unregistered(mine))
        self.assertEqual(set(), tenants.unregistered(mine, mine))

        def use(address: str, project_id: str | None, device_id: str = "d", of: str = "x") -> AddressUse:
            return AddressUse(address=address, load_balancer_id=of, device_id=device_id, project_id=project_id)

        own = [use("203.0.113.1", mine.project_id), use("203.0.113.2", "other", of=mine.id)]
        self.assertEqual(frozenset(), tenants.of_others(mine, own))
        self.assertEqual({"203.0.113.1"}, tenants.of_others(mine, [use("203.0.113.1", "other")]))
        self.assertEqual({"203.0.113.1"}, tenants.of_others(mine, [use("203.0.113.1", None)]))
        self.assertIsNone(tenants.shared_at(mine, [use("203.0.113.2", "other", of=mine.id)]))
        self.assertEqual({"d"}, tenants.shared_at(mine, own))
        both = [use("203.0.113.1", mine.project_id, "d"), use("203.0.113.2", mine.project_id, "e")]
        self.assertEqual(frozenset(), tenants.shared_at(mine, both))

    def test_an_address_that_was_given_may_get_another_port_and_a_wildcard_may_not(self) -> None:
        for address, closed in (("198.51.100.1", ()), ("*", ("*",))):
            old = balancer(address)
            (listener,) = old.listeners
            new = replace(old, listeners=(listener, replace(listener, id="other", port=81)))
            self.assertEqual((), tenants.closed(old, old, self.DEVICE, ()))
            self.assertEqual(closed, tenants.closed(new, old, self.DEVICE, ()))

    def test_an_address_without_a_listener_counts(self) -> None:
        bare = replace(balancer("203.0.113.1"), virtual_ips=(VirtualIp(id="v", address="198.51.100.1"),), listeners=())
        self.assertEqual(("198.51.100.1",), tenants.closed(bare, None, self.DEVICE, ()))


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

    def test_neither_are_loops_masks_and_other_devices(self) -> None:
        loop = balancer("203.0.113.1", members=("203.0.113.2",))
        mask = balancer("203.0.113.3")
        mask = replace(mask, virtual_ips=(replace(mask.virtual_ips[0], prefix_length=8),))
        managed, own = balancer("203.0.113.4"), balancer("203.0.113.5", members=("192.0.2.9",))
        good = balancer("203.0.113.6", members=("198.51.100.1",))
        spec = DeviceSpec(
            device=replace(builders.DEVICE, vip_ranges=(parse_range("203.0.113.0/28"),)),
            load_balancers=(loop, mask, managed, own, good),
            monitors=(),
            revision=1,
            hosts=(Host(device_id="x", managed=("203.0.113.4",), own=("192.0.2.9",)),),
            virtual=frozenset({"203.0.113.2"}),
        )
        made = render.candidate(spec, confines=DEFAULT_CONFINES)
        self.assertEqual({loop.id, mask.id, managed.id, own.id}, set(made.rejected))
        self.assertIn("is a virtual IP", made.rejected[loop.id])
        self.assertIn("203.0.113.3/8", made.rejected[mask.id])
        self.assertIn("is an address of a device", made.rejected[own.id])
