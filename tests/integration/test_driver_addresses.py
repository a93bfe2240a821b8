"""Virtual IP addresses on the interface of a real device with a network of its own, and traffic to them."""

from __future__ import annotations

import unittest
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from balancer.core.model import Applied, Device, LoadBalancer, VirtualIp, new_id
from balancer.devbox.backends import page
from balancer.devbox.host import Host, isolation_refused
from balancer.drivers.haproxy import rights
from balancer.drivers.haproxy.file import load_sidecar
from balancer.exceptions import LeaseLost
from tests.integration.deploying import DeployingCase, device_of, load_balancer, with_members
from tests.integration.running import RunningService, eventually, fetch


@unittest.skipIf(isolation_refused(), "needs root and the right to make namespaces")
class AddressCase(DeployingCase):
    """`self.net` begins the IPv4 addresses of the device's network, `self.net6` the IPv6 ones; .1 is here."""

    def networked(self, **how: Any) -> tuple[Host, Device]:
        host = self.host(netns=True, **how)
        self.net = host.address.rpartition(".")[0]
        self.net6 = f"fd00:198:18:{self.net.split('.')[2]}::"
        (self.backend,) = self.backends(1, f"{self.net}.1")
        return host, device_of(host)

    def at(self, *addresses: str, port: int = 80, prefix_length: int | None = None) -> LoadBalancer:
        vips = tuple(VirtualIp(id=new_id(), address=each, prefix_length=prefix_length) for each in addresses)
        balancer = load_balancer([self.backend.port], port, virtual_ips=vips)
        return with_members(balancer, address=f"{self.net}.1")

    def present(self, host: Host) -> dict[str, str]:
        """Address with prefix length -> interface."""
        text = host.run(["ip", "-o", "address"], check=True).stdout.decode()
        return {words[3]: words[1] for words in (line.split() for line in text.splitlines())}

    def recorded(self, host: Host) -> list[str]:
        text = host.run(["cat", f"{host.config_path}.balancer"], check=True).stdout
        return sorted(str(each) for each in load_sidecar(text).addresses)

    def assert_answers(self, address: str, port: int = 80) -> None:
        self.assertEqual(page(self.backend.port), fetch(port, host=address).text)

    def assert_silent(self, address: str, port: int = 80) -> None:
        with self.assertRaises(OSError):
            fetch(port, host=address)

    def findings(self, made: Applied) -> str:
        assert made.observation is not None
        return "\n".join(made.observation.findings)


class TestAddresses(AddressCase):
    def test_they_are_added_answer_and_go_again_whoever_logs_in(self) -> None:
        for how in (
            {"run_as": "root"},
            {"run_as": "sudo"},
            {"run_as": "group", "sudoers": rights.address_line("user")},
        ):
            with self.subTest(how["run_as"]):
                host, device = self.networked(**how)
                before = self.present(host)
                four, six = f"{self.net}.50", f"{self.net6}50"
                made = self.deploy(device, self.at(four, six))
                self.assertEqual("", self.findings(made))
                self.assertEqual({**before, f"{four}/32": "eth0", f"{six}/128": "eth0"}, self.present(host))
                self.assertEqual([f"{four}/32 dev eth0", f"{six}/128 dev eth0"], self.recorded(host))
                self.assert_answers(four)
                self.assert_answers(six)
                self.assertIsNone(self.driver.observe(device).repair)
                gone = self.deploy(device)
                self.assertIn(f"removed the addresses {four}, {six}", gone.sentence)
                self.assertEqual(before, self.present(host))
                self.assertEqual([], self.recorded(host))
                self.assertIsNone(self.driver.observe(device).repair)
                host.stop()

    def test_an_address_that_was_there_is_used_and_stays(self) -> None:
        host, device = self.networked()
        own = f"{self.net}.60"
        host.run(["ip", "address", "add", f"{own}/24", "dev", "eth0"], check=True)
        before = self.present(host)
        self.deploy(device, self.at(own, host.address))
        self.assertEqual(before, self.present(host))
        self.assertEqual([], self.recorded(host))
        self.assert_answers(own)
        self.assert_answers(host.address)
        self.deploy(device)
        self.assertEqual(before, self.present(host))

    def test_an_address_of_several_load_balancers_goes_with_the_last_one(self) -> None:
        host, device = self.networked()
        shared = f"{self.net}.50"
        first, second = self.at(shared, port=80), self.at(shared, port=81)
        self.deploy(device, first, second)
        self.deploy(device, second)
        self.assert_answers(shared, 81)
        self.assert_silent(shared, 80)
        self.deploy(device, replace(second, admin_up=False))
        self.assertNotIn(f"{shared}/32", self.present(host))

    def test_a_withheld_address_is_listened_at_and_not_missed_until_it_comes_without_a_reload(self) -> None:
        host, device = self.networked()
        withheld, other = f"{self.net}.50", f"{self.net}.51"
        balancer = self.at(withheld, other)
        candidate = self.render(device, [balancer])
        made = self.driver.apply(device, replace(candidate, withheld=(withheld,)), epoch=1, last={}, check=lambda: None)
        self.assertEqual({}, made.rejected)
        self.assertNotIn(f"{withheld}/32", self.present(host))
        self.assert_answers(other)
        seen = self.driver.observe(device)
        self.assertIsNone(seen.repair)
        self.assertIn(host.address, seen.own_addresses)
        self.assertNotIn(other, seen.own_addresses)
        again = self.driver.apply(
            device, replace(candidate, withheld=(withheld,)), epoch=1, last={}, check=lambda: None
        )
        self.assertEqual("noop", again.plan)
        came = self.driver.apply(device, candidate, epoch=1, last={}, check=lambda: None)
        self.assertEqual("runtime", came.plan, came.sentence)
        self.assert_answers(withheld)
        # Withheld again, it goes.
        self.driver.apply(device, replace(candidate, withheld=(withheld,)), epoch=1, last={}, check=lambda: None)
        self.assertNotIn(f"{withheld}/32", self.present(host))

    def test_a_changed_address_is_there_before_the_old_one_goes(self) -> None:
        host, device = self.networked()
        old, new = f"{self.net}.50", f"{self.net}.51"
        self.deploy(device, self.at(old))
        made = self.deploy(device, self.at(new))
        self.assertIn(f"added the address {new}; removed the address {old}", made.sentence)
        self.assert_answers(new)
        self.assert_silent(old)
        self.assertEqual([f"{new}/32 dev eth0"], self.recorded(host))

    def test_a_deployment_that_fails_takes_no_address_away(self) -> None:
        host, device = self.networked()
        old, new = f"{self.net}.50", f"{self.net}.51"
        self.deploy(device, self.at(old))
        calls: list[int] = []

        def lost() -> None:
            calls.append(1)
            if len(calls) == 3:  # after the reload, before it is confirmed
                raise LeaseLost("gone")

        with self.assertRaises(LeaseLost):
            self.deploy(device, self.at(new), check=lost)
        self.assert_answers(old)
        # What was added for it is known to be ours, so the next deployment takes it away.
        self.assertEqual([f"{old}/32 dev eth0", f"{new}/32 dev eth0"], self.recorded(host))
        self.assertIn(new, self.driver.observe(device).repair or "")
        made = self.deploy(device, self.at(old))
        self.assertNotIn(f"{new}/32", self.present(host))
        self.assertEqual([f"{old}/32 dev eth0"], self.recorded(host))
        self.assert_answers(old)
        self.assertIn(f"removed the address {new}", made.sentence)

    def test_the_interface_of_the_registration_is_used(self) -> None:
        host, device = self.networked()
        address = f"{self.net}.50"
        self.deploy(replace(device, interface="lo"), self.at(address))
        self.assertEqual("lo", self.present(host)[f"{address}/32"])
        self.assert_answers(address)
        self.deploy(device)
        made = self.deploy(replace(device, interface="eth9"), self.at(address))
        self.assertIn('Cannot find device "eth9"', self.findings(made))
        # That of an address's own subnet counts for more.
        self.deploy(device)
        there = self.at(address)
        there = replace(there, virtual_ips=tuple(replace(vip, interface="lo") for vip in there.virtual_ips))
        self.deploy(replace(device, interface="eth9"), there)
        self.assertEqual("lo", self.present(host)[f"{address}/32"])
        self.assert_answers(address)

    def test_what_leads_nowhere_is_said_and_the_rest_is_served(self) -> None:
        host, device = self.networked()
        here, nowhere = self.at(f"{self.net}.50"), self.at("203.0.113.7", port=81)
        made = self.deploy(device, here, nowhere)
        self.assertEqual({}, made.rejected)
        self.assert_answers(f"{self.net}.50")
        self.assertIn("the address 203.0.113.7: no route", self.findings(made))
        self.assertEqual([nowhere.id], list(made.notices))
        self.assertIn("203.0.113.7", made.notices[nowhere.id][0])
        # A route says where it belongs.
        host.run(["ip", "route", "add", "203.0.113.0/24", "dev", "eth0"], check=True)
        self.assertIn("203.0.113.7", self.driver.observe(device).repair or "")
        self.assertEqual({}, dict(self.deploy(device, here, nowhere).notices))
        self.assertEqual("eth0", self.present(host)["203.0.113.7/32"])

    def test_without_the_right_the_sudoers_line_is_named_and_it_serves_all_the_same(self) -> None:
        lines = [line for line in rights.sudoers_lines("user") if "/ip " not in line]
        host, device = self.networked(sudoers="\n".join(lines))
        wild, lacking = load_balancer([self.backend.port], 81), self.at(f"{self.net}.50", f"{self.net6}50")
        wild = with_members(wild, address=f"{self.net}.1")
        made = self.deploy(device, wild, lacking)
        self.assertEqual({}, made.rejected)
        self.assertIn(f"the addresses {self.net}.50, {self.net6}50: sudo refused", self.findings(made))
        self.assertIn(f"Add to the device's sudoers: {rights.address_line('user')}", self.findings(made))
        self.assertEqual([lacking.id], list(made.notices))
        self.assertNotIn("sudo", " ".join(made.notices[lacking.id]))
        self.assert_answers(host.address, 81)
        self.assert_silent(f"{self.net}.50")
        # Once it is allowed, the next look finds out.
        host.run(["tee", "-a", "/etc/sudoers"], input=f"{rights.address_line('user')}\n".encode(), check=True)
        self.assertIn(f"{self.net}.50", self.driver.observe(device).repair or "")
        made = self.deploy(device, wild, lacking)
        self.assertEqual(("runtime", ""), (made.plan, self.findings(made)))
        self.assert_answers(f"{self.net}.50")
        self.assert_answers(f"{self.net6}50")

    def test_more_addresses_than_fit_into_one_deployment_follow_in_the_next(self) -> None:
        host, device = self.networked(run_as="root")
        many = [f"10.77.{number // 200}.{number % 200 + 1}" for number in range(210)]
        host.run(["ip", "route", "add", "10.77.0.0/16", "dev", "eth0"], check=True)
        balancer = self.at(*many)
        made = self.deploy(device, balancer)
        assert made.observation is not None
        self.assertIn("more addresses", made.observation.repair or "")
        made = self.deploy(device, balancer)
        self.assertEqual("runtime", made.plan)
        self.assertEqual(set(many), set(many) & {each.partition("/")[0] for each in self.present(host)})
        self.assertEqual("noop", self.deploy(device, balancer).plan)
        self.deploy(device)
        self.assertEqual([], self.recorded(host))


class TestPrefixLengths(AddressCase):
    """The kernel takes the other addresses of a network away with the first one; nobody shall notice."""

    def networks(self, host: Host) -> Sequence[str]:
        return sorted(each for each in self.present(host) if each.startswith("203.0.113."))

    def test_addresses_of_one_network_do_not_go_with_their_first(self) -> None:
        for promote in ("0", "1"):
            with self.subTest(promote_secondaries=promote):
                host, device = self.networked()
                for scope in ("all", "eth0"):
                    host.run(
                        ["sh", "-c", f"echo {promote} >/proc/sys/net/ipv4/conf/{scope}/promote_secondaries"], check=True
                    )
                host.run(["ip", "route", "add", "203.0.113.0/24", "dev", "eth0"], check=True)
                first, second, third = (
                    self.at(f"203.0.113.{number}", port=80 + number, prefix_length=24) for number in (7, 8, 9)
                )
                self.deploy(device, first)
                host.run(["ip", "address", "add", "203.0.113.200/24", "dev", "eth0"], check=True)
                self.deploy(device, first, second, third)
                self.assertEqual([f"203.0.113.{each}/24" for each in (200, 7, 8, 9)], self.networks(host))
                self.deploy(device, third)
                self.assertEqual(["203.0.113.200/24", "203.0.113.9/24"], self.networks(host))
                self.assertEqual(["203.0.113.9/24 dev eth0"], self.recorded(host))
                self.deploy(device)
                self.assertEqual(["203.0.113.200/24"], self.networks(host))
                host.stop()

    def test_another_prefix_length_replaces_the_address(self) -> None:
        host, device = self.networked()
        for address, before, after in ((f"{self.net}.50", 32, 25), (f"{self.net6}50", 128, 64)):
            with self.subTest(address):
                self.deploy(device, self.at(address, prefix_length=before))
                self.assertIn(f"{address}/{before}", self.present(host))
                self.deploy(device, self.at(address, prefix_length=after))
                self.assertNotIn(f"{address}/{before}", self.present(host))
                self.assertEqual([f"{address}/{after} dev eth0"], self.recorded(host))
                self.assert_answers(address)


class TestReboot(AddressCase):
    def reboot(self, host: Host) -> None:
        """In effect: HAProxy starts anew, and what was added to interfaces is gone."""
        host.stop_haproxy()
        for entry in self.recorded(host):
            host.run(["ip", "address", "del", *entry.split()], check=True)
        host.start_haproxy()

    def test_haproxy_starts_without_the_controller_and_the_addresses_come_back_with_it(self) -> None:
        host, device = self.networked()
        four, six = f"{self.net}.50", f"{self.net6}50"
        wild = with_members(load_balancer([self.backend.port], 81), address=f"{self.net}.1")
        balancers = (self.at(four, six), wild)
        self.deploy(device, *balancers)
        self.reboot(host)
        self.assert_answers(host.address, 81)
        self.assert_silent(four)
        seen = self.driver.observe(device)
        self.assertEqual(f"the device lacks the addresses {four}, {six}", seen.repair)
        before = host.haproxy_pids()
        made = self.deploy(device, *balancers)
        self.assertEqual("runtime", made.plan)
        self.assertEqual(before, host.haproxy_pids(), "HAProxy need not be reloaded for that")
        self.assert_answers(four)
        self.assert_answers(six)
        self.assertIsNone(self.driver.observe(device).repair)
        # Only in part.
        host.run(["ip", "address", "del", f"{six}/128", "dev", "eth0"], check=True)
        self.assertEqual(f"the device lacks the address {six}", self.driver.observe(device).repair)
        self.deploy(device, *balancers)
        self.assert_answers(six)

    def test_addresses_that_are_routed_to_the_host_need_no_interface_and_no_controller(self) -> None:
        host, device = self.networked()
        routed = ("203.0.113.7", "2001:db8:77::7")
        for network in ("203.0.113.0/24", "2001:db8:77::/64"):
            host.run(["ip", "route", "add", "local", network, "dev", "lo"], check=True)
        before = self.present(host)
        made = self.deploy(device, self.at(*routed))
        self.assertEqual("", self.findings(made))
        self.assertEqual(before, self.present(host))
        self.assertIsNone(self.driver.observe(device).repair)
        self.reboot(host)
        for url in ("http://203.0.113.7/", "http://[2001:db8:77::7]/"):
            self.assertEqual(page(self.backend.port), host.run(["curl", "-s", url]).stdout.decode())

    def test_they_are_back_within_one_observation_interval(self) -> None:
        host, _ = self.networked()
        four, six = f"{self.net}.50", f"{self.net6}50"
        # No scan comes before long.
        options = {"worker": {"observe_interval": "2", "scan_interval": "3600"}}
        with RunningService(self.directory / "service", options) as service:
            device_id = service.register(host, supports_ipv6=1)
            body = {
                "name": "addressed",
                "protocol": "HTTP",
                "algorithm": "ROUND_ROBIN",
                "virtualIps": [
                    {"address": four, "mask": "255.255.255.0", "port": "80"},
                    {"address": six, "port": "80"},
                ],
                "nodes": [{"address": f"{self.net}.1", "port": str(self.backend.port)}],
            }
            balancer = service.create(body)
            self.assert_answers(four)
            self.assertIn(f"{four}/24", self.present(host))
            self.reboot(host)
            eventually(lambda: {f"{four}/24", f"{six}/128"} <= self.present(host).keys(), "back")
            self.assert_answers(four)
            self.assert_answers(six)
            shown = service.call("GET", f"/devices/{device_id}").json["device"]
            self.assertNotIn("error", {key for key, value in shown.items() if value})
            self.assertEqual(204, service.call("DELETE", f"/foo/loadbalancers/{balancer}").status)
            self.assertNotIn(f"{four}/24", self.present(host))

    def test_the_user_is_told_when_the_device_may_not_have_the_address(self) -> None:
        host, _ = self.networked(sudoers="\n".join(each for each in rights.sudoers_lines("user") if "/ip " not in each))
        with RunningService(self.directory / "service") as service:
            device_id = service.register(host)
            nodes = [{"address": f"{self.net}.1", "port": str(self.backend.port)}]
            vips = [{"address": f"{self.net}.50", "port": "80"}]
            balancer = service.create(
                {"name": "x", "protocol": "HTTP", "algorithm": "ROUND_ROBIN", "virtualIps": vips, "nodes": nodes}
            )
            shown = service.call("GET", f"/foo/loadbalancers/{balancer}").json["loadbalancer"]
            self.assertEqual("ACTIVE", shown["status"])
            self.assertIn(f"the address {self.net}.50 could not be added", shown["status_reason"])
            info = service.call("GET", f"/devices/{device_id}/info").json["device"]
            self.assertIn(rights.address_line("user", "/usr/bin/ip"), " ".join(info["findings"]))
