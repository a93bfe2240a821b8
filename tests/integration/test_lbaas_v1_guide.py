"""The guide from LBaaS v1 to v2, command by command, with the real clients, against a DevBox."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
import unittest
from collections import Counter
from pathlib import Path

from balancer.devbox.backends import page
from balancer.devbox.box import State
from balancer.devbox.processes import free_port
from tests.functional import command_line
from tests.integration.guides import blocks
from tests.integration.older_neutron import Neutron
from tests.integration.running import eventually
from tests.integration.test_devbox import devbox


class TestGuide(unittest.TestCase):
    """On a machine where the ports of the page may be taken: others stand for them."""

    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="balancer-test-"))
        self.addCleanup(shutil.rmtree, self.root)
        self.box = self.root / "box"
        self.addCleanup(devbox, self.box, "down")
        done = devbox(self.box, "up")
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        state = State.load(self.box / "state.json")
        assert state is not None
        self.url = state.api_url
        self.backends = state.backend_ports
        self.ports = {"8001": self.backends[0], "8002": self.backends[1], "80": free_port(), "81": free_port()}
        self.blocks = {
            name: [line.strip() for line in text.splitlines() if line.strip()]
            for name, text in blocks("lbaas-v1-guide").items()
        }
        self.names: dict[str, str] = {}
        self.older = self.enterContext(Neutron(self.url))
        # The load balancer that the DevBox comes with is seen here, too.
        self.there = {what: self.listed(what) for what in ("pool", "vip", "member", "healthmonitor")}

    def commands(self, name: str) -> list[str]:
        """Of the block of that name, with the ports that are free and the names that were given."""

        def port(found: re.Match[str]) -> str:
            return str(self.ports[found[0]])

        numbers = "|".join(self.ports)
        lines = (re.sub(rf"(?<=[ :])({numbers})(?=[ /]|$)", port, line) for line in self.blocks[name])
        return [re.sub(r"\$([A-Z]+)", lambda found: self.names.get(found[1], found[0]), line) for line in lines]

    def run_line(self, line: str) -> tuple[int, str]:
        if given := re.fullmatch(r"([A-Z]+)=\$\((.*)\)", line):
            status, output = self.run_line(given[2])
            self.names[given[1]] = output.strip()
            return status, output
        program, *words = shlex.split(line)
        return {"openstack": self.openstack, "neutron": self.older.run}[program](words)

    def done(self, name: str) -> list[str]:
        """What each command of the block printed."""
        printed = []
        # One by one: what one command has given a name to the next one uses.
        for number in range(len(self.blocks[name])):
            line = self.commands(name)[number]
            status, output = self.run_line(line)
            self.assertEqual(0, status, f"{line}\n{output}")
            printed.append(output)
        return printed

    def openstack(self, words: list[str]) -> tuple[int, str]:
        status, out, errors = command_line.openstack(self.url, words)
        return status, out + errors

    def answers(self) -> Counter[str]:
        """Who answered the requests of the block."""
        (line,) = self.commands("curl")
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False)
        return Counter(done.stdout.splitlines())

    def listed(self, what: str) -> list[str]:
        """Ids."""
        status, output = self.older.run([f"lb-{what}-list", "-f", "value", "-c", "id"])
        self.assertEqual(0, status, output)
        return output.split()

    def member_statuses(self) -> set[str]:
        """Of the pool of the guide: port and status."""
        status, pool_id = self.older.run(["lb-pool-show", "web-pool", "-f", "value", "-c", "id"])
        columns = ["-f", "value", "-c", "protocol_port", "-c", "status"]
        status, output = self.older.run(["lb-member-list", "--pool-id", pool_id.strip(), *columns])
        self.assertEqual(0, status, output)
        return set(output.splitlines())

    def test_the_session(self) -> None:
        pages = [page(port).strip() for port in self.backends[:2]]
        self.done("addresses")
        self.done("create")
        in_turn = {pages[0]: 2, pages[1]: 2}
        eventually(lambda: self.answers() == in_turn, "both answer in turn")
        with self.subTest("looking"):
            pools, pool, members, monitor, vips, vip, _, agent = self.done("look")
            self.assertRegex(pools, r"\| web-pool +\| haproxy +\| ROUND_ROBIN +\| HTTP +\| True ")
            self.assertRegex(pool, rf"health_monitors +\| {self.names['MONITOR']} ")
            self.assertEqual(3 + 2, members.count("127.0.0.1"))
            self.assertRegex(monitor, r"max_retries +\| 3 ")
            self.assertRegex(vips, r"\| web-vip +\| 127\.0\.20\.10 +\| HTTP +\| True +\| ACTIVE ")
            self.assertRegex(vip, r"status +\| ACTIVE ")
            self.assertIn(":-)", agent)
        with self.subTest("statistics"):
            eventually(
                lambda: re.search(r"total_connections +\| [1-9]", self.run_line("neutron lb-pool-stats web-pool")[1]),
                "they are counted",
                seconds=30,
            )
        self._kill_a_member(pages)
        with self.subTest("by id"):
            shown = self.run_line("neutron lb-pool-show web-pool -f value -c id")[1].strip()
            self.assertIn("web-pool", self.run_line(f"neutron lb-pool-show {shown}")[1])
        self._persistence()
        self._more_commands()
        self._refusals()
        self._second_listener()
        self.done("deletes")
        self.assertEqual(self.there, {what: self.listed(what) for what in self.there})

    def _kill_a_member(self, pages: list[str]) -> None:
        with self.subTest("a killed member leaves and returns"):
            state = State.load(self.box / "state.json")
            assert state is not None
            (backend,) = (each for each in state.services if f"back end {self.backends[1]} " in each.name)
            backend.process.kill()
            gone = f"{self.backends[1]} INACTIVE"
            eventually(lambda: gone in self.member_statuses(), "it is inactive", seconds=60)
            self.assertEqual({pages[0]: 4}, self.answers())
            self.assertEqual(0, devbox(self.box, "up").returncode)
            back = f"{self.backends[1]} ACTIVE"
            eventually(lambda: back in self.member_statuses(), "it is back", seconds=60)
            self.assertEqual(set(pages), set(self.answers()))

    def _persistence(self) -> None:
        lines = self.commands("persistence")
        for line, kind in zip(lines, ("HTTP_COOKIE", "APP_COOKIE", "SOURCE_IP"), strict=True):
            with self.subTest(kind):
                self.assertEqual(0, self.run_line(line)[0])
                shown = self.run_line("neutron lb-vip-show web-vip -f value -c session_persistence")[1]
                self.assertIn(kind, shown)
        # The last one is there to be seen: every request goes to the same member.
        eventually(lambda: len(self.answers()) == 1, "all requests go to one member")
        clear = "neutron lb-vip-update web-vip --session-persistence action=clear"
        self.assertEqual(0, self.run_line(clear)[0])
        eventually(lambda: len(self.answers()) == 2, "they no longer do")

    def _more_commands(self) -> None:
        member = self.listed("member")[-1]
        for command, says in (
            ("vip-update web-vip --connection-limit 100 --description front", ""),
            ("vip-show web-vip", "| connection_limit    | 100 "),
            ("vip-update web-vip --connection-limit -1", ""),
            ("pool-update web-pool --lb-method ROUND_ROBIN --description both --admin-state-up True", ""),
            ("pool-show web-pool -f value -c description", "both"),
            (f"member-update {member} --weight 3", ""),
            (f"member-show {member} -f value -c weight", "3"),
            (f"member-update {member} --weight 1", ""),
            (f"healthmonitor-update {self.names['MONITOR']} --max-retries 2 --expected-codes 200-204", ""),
            (f"healthmonitor-show {self.names['MONITOR']} -f value -c expected_codes", "200-204"),
            # One page after the other.
            ("pool-list -P 1 --sort-key name --sort-dir desc -f value -c name", "web-pool\n"),
            ("pool-list --name web-pool --protocol HTTP -f value -c name", "web-pool\n"),
            ("vip-list --protocol HTTPS -f value -c id", ""),
        ):
            with self.subTest(command):
                status, output = self.run_line(f"neutron lb-{command}")
                self.assertEqual(0, status, output)
                self.assertIn(says, output)
        self.assertEqual(2, self.run_line("neutron lb-pool-list -P 1 -f value -c name")[1].count("\n"))
        agent = self.run_line("neutron agent-list -f value -c id")[1].strip()
        self.assertIn("web-pool", self.run_line(f"neutron lb-pool-list-on-agent {agent}")[1])
        self.assertIn("lbaas", self.run_line("neutron ext-list -f value -c alias")[1].split())

    def _refusals(self) -> None:
        told = ("in use by vip", "used by a pool", "already", "already", "already", "delay")
        for line, words in zip(self.commands("refusals"), told, strict=True):
            with self.subTest(line):
                status, output = self.run_line(line)
                self.assertNotEqual(0, status, output)
                self.assertIn(words, output)

    def _second_listener(self) -> None:
        balancers, listeners, *_ = self.done("second")
        self.assertIn("web-pool", balancers)
        self.assertIn("web-vip", listeners)
        self.assertRegex(self.run_line("neutron lb-vip-list")[1], r"\| second +\| 127\.0\.20\.10 ")
        second, first = self.ports["81"], self.ports["80"]

        def redirected() -> bool:
            command = ["curl", "-s", "-o", "/dev/null", "-w", "%{redirect_url}", f"http://127.0.20.10:{first}/old"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            return done.stdout == f"http://127.0.20.10:{second}/"

        eventually(redirected, "the rule works")
        answer = subprocess.run(
            ["curl", "-s", f"http://127.0.20.10:{second}/"], capture_output=True, timeout=60, check=False
        )
        self.assertIn(b"back end", answer.stdout)
