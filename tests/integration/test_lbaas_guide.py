"""The walk-through of the documentation, command by command, with the real clients and a real device."""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
import unittest
from collections import Counter
from functools import partial
from pathlib import Path

from balancer.devbox.backends import Backend, page
from balancer.devbox.host import Host
from balancer.devbox.processes import free_port
from tests.functional import command_line
from tests.integration.guides import blocks
from tests.integration.older_neutron import Neutron
from tests.integration.running import RunningService, eventually


class TestGuide(unittest.TestCase):
    """On a machine where the ports of the page may be taken: others stand for them."""

    def setUp(self) -> None:
        self.root = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="balancer-test-")))
        self.service = self.enterContext(RunningService(self.root / "service"))
        host = self.enterContext(Host(self.root / "host"))
        self.service.register(host)
        self.backends = [self.enterContext(Backend(self.root / f"backend{number}")) for number in range(2)]
        self.ports = {"80": free_port(), "443": free_port(), "8441": free_port(), "8442": free_port()}
        self.ports |= {str(8001 + number): each.port for number, each in enumerate(self.backends)}
        self.url = f"http://127.0.0.1:{self.service.port}"
        self.blocks = blocks("lbaas-v2-guide")
        self.addCleanup(self._end_tls_members)

    def _end_tls_members(self) -> None:
        pids = self.root / "pids"
        if pids.exists():
            subprocess.run(["sh", "-c", "kill $(cat pids) 2>/dev/null"], cwd=self.root, check=False)

    def commands(self, name: str) -> str:
        """Of the block of that name, with the ports that are free."""
        text = self.blocks.pop(name)
        for port in sorted(self.ports, key=len, reverse=True):
            text = re.sub(rf"(?<=[ :])port {port}\b|(?<![\d.]){port}\b", self._port, text)
        return text

    def _port(self, found: re.Match[str]) -> str:
        word = found[0].rpartition(" ")[2]
        return found[0].replace(word, str(self.ports[word]))

    def run_block(self, name: str, *, refused: int | None = None) -> list[str]:
        """What each command printed. `refused` is the number of the one that is to fail."""
        printed = []
        for number, line in enumerate(self.commands(name).splitlines()):
            program, *words = shlex.split(line)
            status, output = {"openstack": self.openstack, "neutron": self.neutron}[program](words)
            self.assertEqual(number == refused, status != 0, f"{line}\n{output}")
            printed.append(output)
        return printed

    def openstack(self, words: list[str]) -> tuple[int, str]:
        status, out, errors = command_line.openstack(self.url, words)
        return status, out + errors

    def neutron(self, words: list[str]) -> tuple[int, str]:
        return self.older.run(words)

    def shell(self, name: str) -> list[str]:
        """The lines that a block for the shell prints."""
        done = subprocess.run(
            ["bash", "-c", self.commands(name)], cwd=self.root, capture_output=True, text=True, timeout=60, check=False
        )
        self.assertEqual((0, ""), (done.returncode, done.stderr), done.stdout)
        return done.stdout.splitlines()

    def asked(self, name: str) -> Counter[str]:
        """Who answered the requests of a block, which may be asked again; nobody while nothing listens there."""
        text = self.blocks[name]
        done = subprocess.run(
            ["bash", "-c", self.commands(name)], cwd=self.root, capture_output=True, text=True, timeout=60, check=False
        )
        self.blocks[name] = text
        return Counter(done.stdout.splitlines())

    def test_octavia(self) -> None:
        pages = [page(each.port).strip() for each in self.backends]
        self.run_block("addresses")
        self.run_block("http")
        with self.subTest("in turn"):
            self.assertEqual({pages[0]: 2, pages[1]: 2}, self.asked("curl-http"))
        self.status("ONLINE", "ONLINE", load_balancer="ONLINE")
        self.backends[1].kill()
        eventually(lambda: self.asked("curl-http") == {pages[0]: 4}, "the dead one gets no requests", seconds=30)
        self.status("ONLINE", "ERROR", load_balancer="DEGRADED")
        self.backends[1].start()
        eventually(lambda: self.asked("curl-http") == {pages[0]: 2, pages[1]: 2}, "it is back", seconds=30)
        self.status("ONLINE", "ONLINE", load_balancer="ONLINE")
        self.shell("tls-members")
        self.run_block("https")
        names = {f"TLS back end {self.ports[port]}" for port in ("8441", "8442")}
        eventually(lambda: set(self.asked("curl-https")) == names, "both answer over TLS", seconds=30)
        figures = self.run_block("figures", refused=4)
        self.assertRegex(figures[0], r"total_connections +\| +[1-9]")
        self.assertRegex(figures[1], r"bytes_out +\| +[1-9]")
        self.assertRegex(figures[2], r"load_balancer +\| +-1")
        self.assertIn("Quota has been met", figures[4])
        self.run_block("deletes-clients")
        self.assertEqual([], self.service.call("GET", "/v2/lbaas/loadbalancers").json["loadbalancers"])
        for name in ("curl-http", "curl-https"):
            asking = ["bash", "-c", self.commands(name)]
            eventually(partial(self.is_refused, asking), f"{name} is refused", seconds=30)

    def is_refused(self, asking: list[str]) -> bool:
        done = subprocess.run(asking, cwd=self.root, capture_output=True, timeout=60, check=False)
        return done.returncode != 0 and done.stdout == b""

    def status(self, *members: str, load_balancer: str) -> None:
        """What the clients tell, once the device was looked at."""
        wanted = (list(members), load_balancer)

        def seen() -> tuple[list[str], str]:
            self.blocks["status again"] = self.blocks["status"]
            listed, tree = self.run_block("status")
            self.blocks["status"] = self.blocks.pop("status again")
            rows = [line.split("|") for line in listed.splitlines() if "127.0.0.1" in line]
            top = re.search(r'"operating_status": "(\w+)"', tree)
            assert top is not None, tree
            return [row[7].strip() for row in rows], top[1]

        eventually(lambda: seen() == wanted, f"{wanted}", seconds=60)

    def test_neutron(self) -> None:
        self.older = self.enterContext(Neutron(self.url))
        pages = [page(each.port).strip() for each in self.backends]
        self.run_block("addresses")
        self.run_block("neutron")
        wanted = {pages[0]: 4, pages[1]: 2}
        eventually(lambda: self.asked("curl-neutron") == wanted, "twice as many for one", seconds=30)
        listed, shown, status, stats, agent, agents, extensions, _, quotas, _ = self.run_block("neutron-figures")
        self.assertIn("127.0.10.11", listed)
        self.assertRegex(shown, r"vip_address +\| 127\.0\.10\.11")
        self.assertIn('"name": "test-lb-pool-http"', status)
        self.assertRegex(stats, r"active_connections +\| +\d")
        self.assertIn(":-)", agent)
        self.assertIn("Loadbalancerv2 agent", agents)
        self.assertIn("lbaasv2", extensions)
        self.assertRegex(quotas, r"member +\| 5 ")
        self.run_block("neutron-deletes")
        self.assertEqual([], self.service.call("GET", "/v2/lbaas/loadbalancers").json["loadbalancers"])
