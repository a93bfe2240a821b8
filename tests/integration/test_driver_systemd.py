"""The packaged HAProxy under a real systemd: its unit, chroot and sockets, and reloads by `systemctl`."""

from __future__ import annotations

import unittest
from typing import Any

from balancer.devbox.backends import page
from balancer.devbox.host import Host, isolation_refused
from balancer.devbox.systemd import systemd_refused
from balancer.drivers.haproxy import rights
from balancer.exceptions import TerminalDeviceError
from tests.integration.deploying import DeployingCase, device_of, load_balancer, with_limit
from tests.integration.running import eventually, fetch
from tests.integration.traffic import Traffic


def by_unit(*words: str) -> str:
    """Of all sudoers lines, those with one of the words."""
    lines = rights.sudoers_lines("user", unit=rights.DEFAULT_UNIT)
    return "\n".join(line for line in lines if any(word in line for word in words))


@unittest.skipIf(isolation_refused() or systemd_refused(), isolation_refused() or systemd_refused())
class TestSystemd(DeployingCase):
    def unit(self, host: Host, name: str) -> str:
        shown = host.run(["systemctl", "show", "--value", "-p", name, rights.DEFAULT_UNIT], check=True)
        return shown.stdout.decode().strip()

    def test_it_is_reloaded_through_its_unit_and_restored_byte_for_byte(self) -> None:
        (backend,) = self.backends(1)
        cases: tuple[tuple[str, dict[str, Any]], ...] = (
            ("systemctl", {"run_as": "sudo"}),
            ("signal", {"run_as": "root"}),
            ("systemctl", {"run_as": "group", "sudoers": by_unit("systemctl")}),
        )
        for method, how in cases:
            with self.subTest(how["run_as"]):
                host, port = self.host(haproxy="systemd", **how), self.port()
                device, before, main = device_of(host), host.read_config(), self.unit(host, "MainPID")
                seen = self.driver.observe(device)
                self.assertEqual((method, rights.DEFAULT_UNIT), (seen.facts["method"], seen.facts["unit"]))
                balancer = load_balancer([backend.port], port)
                made = self.deploy(device, balancer)
                self.assertIn(f"reloaded ({method})", made.sentence)
                self.assertEqual(page(backend.port), fetch(port).text)
                self.assertEqual("reload", self.deploy(device, with_limit(balancer, 99)).plan)
                self.deploy(device)
                self.assertEqual(before, host.read_config())
                self.assertEqual([], self.left_behind(host))
                # Its master says when it is done with the last reload.
                eventually(lambda: self.unit(host, "ActiveState") != "reloading", "it is done")  # noqa: B023
                self.assertEqual((main, "0", "active"), tuple(self.unit(host, name) for name in _LASTING))
                host.stop()

    def test_no_request_fails_during_reloads(self) -> None:
        (backend,) = self.backends(1)
        host, port = self.host(haproxy="systemd"), self.port()
        device, balancer = device_of(host), load_balancer([backend.port], port)
        self.deploy(device, balancer)
        with Traffic.heavy(port, least=200) as traffic:
            for number in range(8):
                self.deploy(device, with_limit(balancer, 900 + number))
        self.assertEqual([], traffic.failures)
        self.assertGreaterEqual(traffic.count, 200)

    def test_one_that_was_stopped_is_started_through_its_unit(self) -> None:
        (backend,) = self.backends(1)
        host, port = self.host(haproxy="systemd"), self.port()
        device, balancer = device_of(host), load_balancer([backend.port], port)
        self.deploy(device, balancer)
        host.stop_haproxy()
        self.assertEqual("HAProxy is not running", self.driver.observe(device).repair)
        self.assertIn("started", self.deploy(device, balancer).sentence)
        self.assertEqual("active", self.unit(host, "ActiveState"))
        self.assertEqual(page(backend.port), fetch(port).text)
        self.assertIn("systemctl", self.deploy(device, with_limit(balancer, 99)).sentence)

    def test_one_that_died_is_back_by_systemd_with_what_it_served(self) -> None:
        (backend,) = self.backends(1)
        host, port = self.host(haproxy="systemd"), self.port()
        device, balancer = device_of(host), load_balancer([backend.port], port)
        self.deploy(device, balancer)
        main = self.unit(host, "MainPID")
        host.run(["kill", "-KILL", main], check=True)
        eventually(lambda: self.unit(host, "NRestarts") == "1", "systemd starts it again")
        eventually(lambda: self.unit(host, "ActiveState") == "active" and self.answers_again(port), "it serves again")
        self.assertNotIn(self.unit(host, "MainPID"), (main, "0"))
        self.assertIsNone(self.driver.observe(device).repair)
        self.assertEqual("noop", self.deploy(device, balancer).plan)

    def test_a_reboot(self) -> None:
        (backend,) = self.backends(1)
        host, port = self.host(haproxy="systemd"), self.port()
        device, balancer = device_of(host), load_balancer([backend.port], port)
        self.deploy(device, balancer)
        host.stop()
        with self.assertRaises(OSError):
            fetch(port)
        host.ssh_port = device.endpoint.port
        host.start()
        self.assertEqual(page(backend.port), fetch(port).text)
        self.assertEqual("noop", self.deploy(device, balancer).plan)

    def test_the_sudoers_line_that_lacks_is_named(self) -> None:
        (backend,) = self.backends(1)
        host = self.host(haproxy="systemd", sudoers=by_unit("/tee ", "/cp ", "/mv ", "/rm ", "haproxy -c"))
        before = host.read_config()
        with self.assertRaisesRegex(TerminalDeviceError, "NOPASSWD: /usr/bin/systemctl reload haproxy.service"):
            self.deploy(device_of(host), load_balancer([backend.port], self.port()))
        self.assertEqual(before, host.read_config())

    def answers_again(self, port: int) -> bool:
        try:
            return fetch(port).status == 200
        except OSError:
            return False


_LASTING = ("MainPID", "NRestarts", "ActiveState")
