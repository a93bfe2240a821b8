from __future__ import annotations

import ipaddress
import unittest
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from balancer.drivers.haproxy import rights
from balancer.drivers.haproxy.addresses import (
    AddressAction,
    Changes,
    changes,
    entry,
    leftover,
    missing,
    named_interfaces,
    needed,
    remark,
    routes,
    strangers,
)
from balancer.exceptions import InvalidInput

HOST = {"lo": ("127.0.0.1/8", "::1/128"), "eth0": ("192.0.2.1/24", "2001:db8::1/64")}


def planned(
    wanted: Mapping[str, int],
    *,
    present: Mapping[str, Sequence[str]] = HOST,
    recorded: Sequence[str] = (),
    **fields: Any,
) -> Changes:
    return changes(
        **{
            "wanted": wanted,
            "present": present,
            "recorded": [entry(each) for each in recorded],
            "ways": {"192.0.2.7": "eth0", "2001:db8::7": "eth0", "203.0.113.7": "local"},
            "interface": None,
            "limit": 100,
            **fields,
        }
    )


def spoken(steps: Sequence[tuple[AddressAction, object]]) -> list[str]:
    return [f"{action} {each}" for action, each in steps]


class TestRemarks(unittest.TestCase):
    def test_a_remark_is_found_again(self) -> None:
        text = "".join(
            f"    bind {address}:80 transparent{remark(address, length)}\n"
            for address, length in (("192.0.2.7", None), ("192.0.2.8", 24), ("2001:db8::7", None), ("2001:db8::8", 64))
        )
        self.assertEqual({"192.0.2.7": 32, "192.0.2.8": 24, "2001:db8::7": 128, "2001:db8::8": 64}, needed([text]))

    def test_an_interface_is_found_again(self) -> None:
        text = f"    bind :80{remark('192.0.2.7', 24, 'eth1.5')}\n    bind :80{remark('192.0.2.8', 24)}\n"
        self.assertEqual({"192.0.2.7": 24, "192.0.2.8": 24}, needed([text]))
        self.assertEqual({"192.0.2.7": "eth1.5"}, named_interfaces([text]))
        made = planned({"192.0.2.7": 24, "192.0.2.8": 24}, interface="eth0", interfaces=named_interfaces([text]))
        self.assertEqual(["add 192.0.2.7/24 dev eth1.5", "add 192.0.2.8/24 dev eth0"], spoken(made.before))
        for hostile in ("eth0\n    bind :1", "eth0; id", "", "x" * 16):
            with self.assertRaises(InvalidInput):
                remark("192.0.2.7", 24, hostile)

    def test_addresses_that_every_host_has_need_nothing(self) -> None:
        for address in ("127.0.0.1", "127.3.4.5", "::1", "::", "0.0.0.0"):
            self.assertEqual("", remark(address, 8))

    def test_a_prefix_length_that_is_none_is_refused(self) -> None:
        for address, length in (("192.0.2.7", 33), ("192.0.2.7", 0), ("2001:db8::7", 129), ("192.0.2.7", -1)):
            with self.assertRaisesRegex(InvalidInput, "prefix_length must be a whole number from 1 to"):
                remark(address, length)

    def test_other_remarks_mean_nothing(self) -> None:
        self.assertEqual({}, needed(["# address 192.0.2.7/32\n    bind :80 # address; rm -rf/1\n"]))


class TestEntries(unittest.TestCase):
    def test_text_and_back(self) -> None:
        for text in ("192.0.2.7/32 dev eth0", "2001:db8::7/64 dev ens3.100"):
            self.assertEqual(text, str(entry(text)))

    def test_anything_else_is_refused(self) -> None:
        for text in ("192.0.2.7/32", "192.0.2.7/99 dev eth0", "192.0.2.7/32 dev -x", "192.0.2.7/32 dev a dev b", ""):
            with self.subTest(text), self.assertRaises((ValueError, InvalidInput)):
                entry(text)


class TestChanges(unittest.TestCase):
    def test_what_is_not_there_is_added_where_its_route_leads_and_recorded(self) -> None:
        made = planned({"192.0.2.7": 32, "2001:db8::7": 128, "192.0.2.1": 32})
        self.assertEqual(["add 192.0.2.7/32 dev eth0", "add 2001:db8::7/128 dev eth0"], spoken(made.before))
        self.assertEqual(made.recorded, made.kept)
        self.assertEqual(["192.0.2.7/32 dev eth0", "2001:db8::7/128 dev eth0"], [str(each) for each in made.kept])

    def test_the_given_interface_wins_over_the_route(self) -> None:
        made = planned({"192.0.2.7": 32}, interface="vlan7")
        self.assertEqual(["add 192.0.2.7/32 dev vlan7"], spoken(made.before))

    def test_what_the_host_takes_for_its_own_needs_nothing(self) -> None:
        self.assertEqual(Changes(), planned({"203.0.113.7": 32, "192.0.2.1": 24}, interface="eth0"))

    def test_nothing_says_where(self) -> None:
        made = planned({"198.51.100.7": 32})
        self.assertEqual(((), ["198.51.100.7"]), (made.before, list(made.impossible)))

    def test_without_means_nothing_is_touched(self) -> None:
        present = {**HOST, "eth0": (*HOST["eth0"], "192.0.2.9/32")}
        made = planned({"192.0.2.7": 32}, present=present, recorded=["192.0.2.9/32 dev eth0"], unable="no ip")
        self.assertEqual(((), (), {"192.0.2.7": "no ip"}), (made.before, made.after, made.impossible))
        self.assertEqual(["192.0.2.9/32 dev eth0"], [str(each) for each in made.kept])

    def test_only_what_is_recorded_is_removed(self) -> None:
        present = {**HOST, "eth0": (*HOST["eth0"], "192.0.2.8/32", "192.0.2.9/32")}
        made = planned({}, present=present, recorded=["192.0.2.9/32 dev eth0", "192.0.2.10/32 dev eth0"])
        self.assertEqual(["del 192.0.2.9/32 dev eth0"], spoken(made.after))
        self.assertEqual((["192.0.2.9/32 dev eth0"], ()), ([str(each) for each in made.recorded], made.kept))
        self.assertEqual(("192.0.2.9",), leftover({}, present, [entry("192.0.2.9/32 dev eth0")]))

    def test_what_the_kernel_takes_along_is_put_back(self) -> None:
        present = {"eth0": ("192.0.2.5/24", "192.0.2.6/24", "192.0.2.7/24", "192.0.2.8/24")}
        recorded = ["192.0.2.5/24 dev eth0", "192.0.2.7/24 dev eth0"]
        self.assertEqual(
            [
                "del 192.0.2.7/24 dev eth0",
                "del 192.0.2.5/24 dev eth0",
                "add 192.0.2.6/24 dev eth0",
                "add 192.0.2.8/24 dev eth0",
            ],
            spoken(planned({}, present=present, recorded=recorded).after),
        )

    def test_more_than_the_limit_is_postponed(self) -> None:
        wanted = {f"192.0.2.{number}": 32 for number in range(10, 20)}
        made = planned(wanted, interface="eth0", limit=4)
        self.assertEqual((4, 6), (len(made.before), len(made.postponed)))

    def test_after_the_steps_nothing_is_left_to_do(self) -> None:
        wanted = {"192.0.2.7": 32, "2001:db8::7": 128}
        made = planned(wanted)
        after = {**HOST, "eth0": (*HOST["eth0"], "192.0.2.7/32", "2001:db8::7/128")}
        again = planned(wanted, present=after, recorded=[str(each) for each in made.kept])
        self.assertEqual(((), (), made.kept), (again.before, again.after, again.kept))
        self.assertEqual((), missing(wanted, after))


class TestStrangers(unittest.TestCase):
    PRESENT: ClassVar = {"eth0": ("192.0.2.9/24", "198.51.100.1/30"), "eth1": ("203.0.113.1/31", "2001:db8::1/64")}

    def of(self, text: str) -> list[ipaddress.IPv4Address]:
        return [ipaddress.IPv4Address(each) for each in strangers(entry(text), self.PRESENT)]

    def test_they_are_of_the_addresses_network_and_never_the_host(self) -> None:
        found = self.of("192.0.2.50/32 dev eth0")
        self.assertGreater(len(found), 3)
        network = ipaddress.ip_network("192.0.2.0/24")
        for each in found:
            self.assertIn(each, network)
            self.assertNotIn(str(each), ("192.0.2.50", "192.0.2.9", "192.0.2.0", "192.0.2.255"))
        self.assertEqual(found, self.of("192.0.2.50/32 dev eth0"))

    def test_its_own_prefix_length_makes_a_network_too(self) -> None:
        self.assertTrue(all(each in ipaddress.ip_network("10.1.2.0/24") for each in self.of("10.1.2.3/24 dev eth1")))

    def test_in_a_small_network_few_are_left(self) -> None:
        self.assertEqual([], self.of("198.51.100.2/32 dev eth0"))

    def test_any_network_of_the_interface_will_do(self) -> None:
        network = ipaddress.ip_network("192.0.2.0/24")
        self.assertTrue(all(each in network for each in self.of("203.0.113.5/32 dev eth0")))

    def test_without_a_network_or_with_ipv6_there_are_none(self) -> None:
        self.assertEqual([], self.of("203.0.113.5/32 dev eth1"))
        self.assertEqual((), strangers(entry("2001:db8::5/64 dev eth1"), self.PRESENT))


class TestRoutes(unittest.TestCase):
    def test_answers_of_ip(self) -> None:
        text = (
            "192.0.2.7 dev eth0 src 192.0.2.1 uid 1000 \\    cache \n"
            "local 203.0.113.7 dev lo src 203.0.113.7 uid 0 \\    cache <local> \n"
            "198.51.100.1 via 192.0.2.254 dev eth1 src 192.0.2.1 uid 0 \\    cache \n"
            "2001:db8::7 from :: dev eth0 proto kernel src 2001:db8::1 metric 256 pref medium\n"
            "unreachable 10.0.0.1\nRTNETLINK answers: Network is unreachable\n"
        )
        self.assertEqual(
            {"192.0.2.7": "eth0", "203.0.113.7": "local", "198.51.100.1": "eth1", "2001:db8::7": "eth0"}, routes(text)
        )


class TestRights(unittest.TestCase):
    def test_ipv6_does_not_wait_for_somebody_to_object(self) -> None:
        add, remove = AddressAction.ADD, AddressAction.REMOVE
        four, six = entry("192.0.2.7/32 dev eth0"), entry("2001:db8::7/128 dev eth0")
        self.assertEqual(
            [
                "/usr/bin/ip address add 192.0.2.7/32 dev eth0",
                "/usr/bin/ip address add 2001:db8::7/128 dev eth0 nodad",
                "/usr/bin/ip address del 2001:db8::7/128 dev eth0",
            ],
            [" ".join(rights.address_step(*step)) for step in ((add, four), (add, six), (remove, six))],
        )
