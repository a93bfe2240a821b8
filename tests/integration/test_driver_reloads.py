"""How often a device is reloaded, and in which way."""

from __future__ import annotations

import socket
import time
import unittest
from dataclasses import replace

from balancer.config import HAProxySettings
from balancer.core.model import LoadBalancer, Protocol
from balancer.devbox.host import isolation_refused
from balancer.drivers.haproxy.driver import HAProxyDriver
from balancer.exceptions import InvalidInput, NotYet, TerminalDeviceError
from tests.integration.answering import Answering
from tests.integration.deploying import SETTINGS, DeployingCase, device_of, load_balancer
from tests.integration.running import eventually, fetch


@unittest.skipIf(isolation_refused(), "needs root and the right to make namespaces")
class TestOldWorkers(DeployingCase):
    def test_reloads_become_rarer_while_many_of_them_live(self) -> None:
        self.driver.close()
        few = HAProxySettings(old_workers=1, reload_interval_max=4)
        patient, hasty = HAProxyDriver(replace(SETTINGS, haproxy=few)), HAProxyDriver(SETTINGS)
        for each in (patient, hasty):
            self.addCleanup(each.close)
        self.driver = patient
        backend, serving = self.enterContext(Answering()), self.port()
        host = self.host()
        device = device_of(host)
        balancers = [load_balancer([backend.port], serving, protocol=Protocol.TCP)]
        held: list[socket.socket] = []

        def hold() -> None:
            """A client that stays for long, as those of chats and databases do."""
            held.append(self.enterContext(socket.create_connection(("127.0.0.1", serving), 15)))
            eventually(lambda: backend.connections >= len(held), "the connection goes through")

        def one_more() -> None:
            made: LoadBalancer = load_balancer([backend.port], self.port())
            self.assertEqual("reload", self.deploy(device, *balancers, made).plan)
            balancers.append(made)

        self.deploy(device, *balancers)
        # One old worker, then two: until then there is no reason to wait.
        for _ in range(2):
            hold()
            one_more()
        # Two more, so that there is some time to wait: whoever comes late need not.
        self.driver = hasty
        for _ in range(2):
            hold()
            one_more()
        self.driver = patient
        hold()
        before, began = host.read_config(), time.monotonic()
        waited = 0
        while True:
            try:
                one_more()
                break
            except NotYet as rest:
                waited += 1
                self.assertLessEqual(rest.seconds, 4.0)
                self.assertIn("4 workers of earlier reloads", str(rest))
                self.assertEqual(before, host.read_config())
                self.assertLess(time.monotonic() - began, 60, "it never ends")
                time.sleep(rest.seconds)
        self.assertGreaterEqual(waited, 1)
        # What an administrator asks for is not put off.
        hold()
        self.assertEqual("reload", self.deploy(replace(device, resyncing=True), *balancers).plan)
        for client in held:
            client.close()
        self.assertEqual(backend.page, fetch(balancers[-1].listeners[0].port).text)

    def test_their_life_is_as_long_as_it_is_set_to(self) -> None:
        self.driver.close()
        self.driver = HAProxyDriver(replace(SETTINGS, haproxy=HAProxySettings(hard_stop_after=2)))
        self.addCleanup(self.driver.close)
        backend, serving = self.enterContext(Answering()), self.port()
        host = self.host()
        device, balancer = device_of(host), load_balancer([backend.port], serving, protocol=Protocol.TCP)
        self.deploy(device, balancer)
        with socket.create_connection(("127.0.0.1", serving), 15) as client:
            eventually(lambda: backend.connections >= 1, "the connection goes through")
            began = time.monotonic()
            self.deploy(device, balancer, load_balancer([backend.port], self.port()))
            client.settimeout(30)
            self.assertEqual(b"", client.recv(1), "the old worker ends what it has")
            self.assertGreater(time.monotonic() - began, 1.5)
        # Master and worker.
        eventually(lambda: len(host.haproxy_pids()) == 2, "the old worker is gone")


@unittest.skipIf(isolation_refused(), "needs root and the right to make namespaces")
class TestReloadMethod(DeployingCase):
    def test_the_one_of_the_registration_is_used(self) -> None:
        backend, serving = self.enterContext(Answering()), self.port()
        # Two ways would do here: root may send a signal, and there is a master socket.
        host = self.host(run_as="group")
        balancer = load_balancer([backend.port], serving)
        device = device_of(host, extras={"reload_method": "master socket"})
        self.assertIn("reloaded (master socket)", self.deploy(device, balancer).sentence)
        self.assertEqual(backend.page, fetch(serving).text)
        for method, why in (
            ("systemctl", "HAProxy does not run as a service"),
            ("handover", "HAProxy has a master process"),
        ):
            there = replace(device, extras={"reload_method": method})
            with self.assertRaisesRegex(TerminalDeviceError, f"reload_method is {method}, but {why}"):
                self.deploy(there, balancer)
            self.assertIn(why, " ".join(self.driver.observe(there).findings))

    def test_another_word_is_refused(self) -> None:
        host = self.host(haproxy="none")
        for method in ("restart", "", 1, ["signal"]):
            with self.subTest(method), self.assertRaisesRegex(InvalidInput, "systemctl, signal, master socket"):
                self.driver.validate_device(device_of(host, extras={"reload_method": method}))
