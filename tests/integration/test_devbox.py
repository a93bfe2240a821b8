"""The DevBox as a newcomer uses it, and the scripts of tests/manual as they are written down."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import unittest
from dataclasses import replace
from pathlib import Path
from typing import Any

from balancer.devbox.backends import page
from balancer.devbox.box import State
from tests.integration.ordinary_user import ORDINARY_USER, as_ordinary_user
from tests.integration.running import ROOT, eventually, fetch

SCRIPTS = ROOT / "tests/manual"


def devbox(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "balancer.cmd.devbox", *arguments, "--state-dir", str(state)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=ROOT,
    )


def port_of(url: str) -> int:
    return int(url.rstrip("/").rpartition(":")[2])


class DevBoxCase(unittest.TestCase):
    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="balancer-test-"))
        self.addCleanup(shutil.rmtree, self.root)
        self.state_dir = self.root / "box"
        self.addCleanup(devbox, self.state_dir, "down")

    def state(self) -> State:
        state = State.load(self.state_dir / "state.json")
        assert state is not None
        return state

    def assert_gone(self, state: State) -> None:
        self.assertEqual([one for one in state.services if one.process.alive()], [])
        self.assertFalse(self.state_dir.exists())
        for url in (state.api_url, state.traffic_url):
            if url:
                with self.assertRaises(OSError, msg=url):
                    fetch(port_of(url))


class CommandTest(DevBoxCase):
    def test_demo_shows_answers_in_turn_and_leaves_nothing(self) -> None:
        done = devbox(self.state_dir, "demo")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        answers = re.findall(r"^ +back end (\d+)$", done.stdout, re.MULTILINE)
        self.assertGreaterEqual(len(answers), 6)
        self.assertEqual(len(set(answers[:3])), 3)
        self.assertEqual(answers[3:6], answers[:3])
        self.assertIn("+frontend fe-", done.stdout)
        self.assertNotRegex(done.stdout, r"(?m)^ +-[^-]", "the diff takes nothing away")
        self.assertFalse(self.state_dir.exists())

    def test_up_twice_status_and_down(self) -> None:
        self.assertEqual(devbox(self.state_dir, "status").returncode, 3)
        first = devbox(self.state_dir, "up")
        self.assertEqual(first.returncode, 0, first.stdout + first.stderr)
        state = self.state()
        second = devbox(self.state_dir)
        self.assertEqual(second.returncode, 0, second.stdout + second.stderr)
        self.assertIn("already up", second.stdout)
        self.assertEqual(self.state(), state)
        status = devbox(self.state_dir, "status")
        self.assertEqual(status.returncode, 0, status.stdout)
        for service in state.services:
            self.assertIn(f"pid {service.process.pid}", status.stdout)
        self.assertEqual(devbox(self.state_dir, "down").returncode, 0)
        self.assert_gone(state)
        self.assertEqual(devbox(self.state_dir, "down").returncode, 0)

    def test_what_has_died_is_started_again_and_the_rest_is_kept(self) -> None:
        done = devbox(self.state_dir, "up")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        state = self.state()
        config = Path(state.config).read_bytes()
        for names in ([one.name] for one in state.services), ([one.name for one in state.services],):
            for dead in names:
                with self.subTest(dead=dead):
                    before = {one.name: one for one in self.state().services}
                    for name in dead:
                        before[name].process.kill()
                    status = devbox(self.state_dir, "status")
                    self.assertEqual((status.returncode, status.stdout.count("NOT RUNNING")), (3, len(dead)))
                    done = devbox(self.state_dir, "up")
                    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                    self.assertIn(f"has died: {', '.join(dead)}", done.stdout)
                    now = self.state()
                    self.assertEqual(replace(now, services=()), replace(state, services=()))
                    self.assertEqual([one.name for one in now.services], list(before))
                    changed = [one.name for one in now.services if one.process != before[one.name].process]
                    self.assertEqual(changed, dead)
                    self.assertEqual(devbox(self.state_dir, "status").returncode, 0)
                    self.assertEqual(Path(state.config).read_bytes(), config)
        # The service works on: what is registered is there, and a change reaches the device.
        node = self.script("getLBNodes.sh", state.load_balancer)["nodes"][0]
        self.script("changeNodeStatus.sh", state.load_balancer, node["id"], "outofservice")
        left = {page(port) for port in state.backend_ports} - {page(int(node["port"]))}
        eventually(lambda: {fetch(port_of(state.traffic_url)).text for _ in range(6)} == left, "the node is left out")
        # A DevBox whose back ends do not answer in turn is told by the exit status too.
        done = devbox(self.state_dir, "up")
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn("did NOT answer in turn", done.stdout)
        state = self.state()
        self.assertEqual(devbox(self.state_dir, "down").returncode, 0)
        self.assert_gone(state)

    def script(self, name: str, *arguments: str) -> Any:
        done = subprocess.run(
            [SCRIPTS / name, *arguments],
            env={**os.environ, "BALANCER_URL": self.state().api_url, "JSON_DIR": str(SCRIPTS)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return json.loads(done.stdout)

    def test_what_cannot_be_started_again_is_told_and_nothing_is_taken_down(self) -> None:
        done = devbox(self.state_dir, "up")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        state = self.state()
        backend = state.services[0]
        port = state.backend_ports[0]
        backend.process.kill()
        with socket.create_server(("127.0.0.1", port)):
            done = devbox(self.state_dir, "up")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn(f"port {port} is in use", done.stderr)
        self.assertIn("`down`", done.stderr)
        self.assertEqual(self.state(), state)
        self.assertEqual([one for one in state.services if not one.process.alive()], [backend])
        # A device without its files cannot come back.
        device = next(one for one in state.services if "device" in one.name)
        device.process.kill()
        Path(state.config).rename(self.root / "haproxy.cfg")
        done = devbox(self.state_dir, "up")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("is lost", done.stderr)
        self.assertEqual(self.state().load_balancer, state.load_balancer)
        (self.root / "haproxy.cfg").rename(state.config)
        done = devbox(self.state_dir, "up")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_a_demo_leaves_one_that_is_up_alone(self) -> None:
        done = devbox(self.state_dir, "up")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        state = self.state()
        done = devbox(self.state_dir, "demo")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("--state-dir", done.stderr)
        other = devbox(self.root / "other", "demo")
        self.assertEqual(other.returncode, 0, other.stdout + other.stderr)
        self.assertEqual(self.state(), state)
        self.assertEqual(devbox(self.state_dir, "status").returncode, 0)
        answers = {fetch(port_of(state.traffic_url)).text for _ in range(6)}
        self.assertEqual(answers, {page(port) for port in state.backend_ports})

    def test_taken_ports_are_replaced_and_told(self) -> None:
        for port in (22, 80, 8001, 8181):
            with contextlib.suppress(OSError):  # somebody else takes it, or we may not
                self.enterContext(socket.create_server(("0.0.0.0", port)))
        done = devbox(self.state_dir, "up")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        state = self.state()
        for port in (state.ssh_port, port_of(state.traffic_url), port_of(state.api_url), *state.backend_ports):
            self.assertNotIn(port, (22, 80, 8001, 8181))
            self.assertIn(str(port), done.stdout)
        self.assertIn(f"export BALANCER_URL={state.api_url}", done.stdout)

    def test_demo_as_an_ordinary_user(self) -> None:
        others = set(Path("/tmp").glob("balancer-devbox-*"))
        # The checkout's default has a leading dot; and a path may have any characters.
        for number, name in enumerate((".devbox", "it's a $box")):
            with self.subTest(name=name):
                code = "import sys; from balancer.cmd.devbox import main; "
                code += f"sys.exit(main(['demo', '--state-dir', sys.argv[1] + {'/' + name!r}]))"
                root = self.root / str(number)
                root.mkdir()
                self.root.chmod(0o755)
                done = as_ordinary_user(root, code, timeout=120)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                self.assertIn(f"run as {ORDINARY_USER}", done.stdout)
                self.assertEqual(len(re.findall(r"^ +back end (\d+)$", done.stdout, re.MULTILINE)), 6)
                self.assertLessEqual(set(Path("/tmp").glob("balancer-devbox-*")), others)

    def test_a_device_of_an_ordinary_user_is_started_again_where_it_was(self) -> None:
        # A path that a device's files may not have, and one that is too long for sockets: both get something in /tmp.
        for number, name in enumerate(("it's a $box", "x" * 80)):
            with self.subTest(name=name):
                code = """
                    import os, sys
                    from dataclasses import replace
                    from pathlib import Path
                    from balancer.cmd.devbox import main
                    from balancer.devbox.box import State
                    box = Path(sys.argv[1]) / NAME
                    assert main(["up", "--state-dir", str(box)]) == 0
                    state = first = State.load(box / "state.json")
                    for dead in (["the device's sshd"], ["the device's haproxy"], [one.name for one in state.services]):
                        for one in state.services:
                            if one.name in dead:
                                one.process.kill()
                        assert main(["up", "--state-dir", str(box)]) == 0
                        state = State.load(box / "state.json")
                        assert replace(state, services=()) == replace(first, services=()), (state, first)
                    assert main(["down", "--state-dir", str(box)]) == 0
                    assert not box.exists()
                    print("left:", *(path for path in first.outside_paths if os.path.exists(path)))
                """
                root = self.root / str(number)
                root.mkdir()
                self.root.chmod(0o755)
                done = as_ordinary_user(root, textwrap.dedent(code).replace("NAME", repr(name)), timeout=120)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                self.assertEqual(done.stdout.count("answered in turn."), 4)
                self.assertEqual(done.stdout.splitlines()[-1], "left:")

    def test_a_reader_that_goes_away_leaves_nothing(self) -> None:
        """As `bin/balancer-devbox | head` does."""
        with subprocess.Popen(
            [sys.executable, "-m", "balancer.cmd.devbox", "demo", "--state-dir", str(self.state_dir)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            errors = process.stderr.read()
            self.assertNotEqual(process.wait(60), 0)
        self.assertFalse(self.state_dir.exists(), errors)
        self.assertNotIn("Traceback", errors)

    def test_an_interrupted_up_leaves_nothing(self) -> None:
        with subprocess.Popen(
            [sys.executable, "-m", "balancer.cmd.devbox", "up", "--state-dir", str(self.state_dir)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
        ) as process:
            assert process.stdout is not None
            eventually((self.state_dir / "device").exists, "it has come to the device")
            process.send_signal(signal.SIGTERM)
            output = process.stdout.read()
            self.assertEqual(process.wait(60), 130, output)
        self.assertFalse(self.state_dir.exists(), output)

    def test_what_a_killed_up_left_is_taken_down(self) -> None:
        with subprocess.Popen(
            [sys.executable, "-m", "balancer.cmd.devbox", "up", "--state-dir", str(self.state_dir)],
            stdout=subprocess.DEVNULL,
            cwd=ROOT,
        ) as process:
            eventually((self.state_dir / "balancer-api.log").exists, "it has come to the API", seconds=30)
            process.kill()
        state = self.state()
        self.assertGreater(len(state.services), 3)
        self.assertEqual(devbox(self.state_dir, "down").returncode, 0)
        self.assert_gone(state)

    def test_a_directory_with_other_things_is_left_alone(self) -> None:
        self.state_dir.mkdir()
        (self.state_dir / "letter").write_text("dear")
        for command, status in (("up", 1), ("demo", 1), ("down", 0)):
            self.assertEqual(devbox(self.state_dir, command).returncode, status, command)
        self.assertEqual((self.state_dir / "letter").read_text(), "dear")

    def test_the_help_needs_nothing(self) -> None:
        for shell in ("sh", "bash"):
            done = subprocess.run(
                [shell, ROOT / "bin/balancer-devbox", "--help"],
                capture_output=True,
                text=True,
                env={"PATH": "/usr/bin:/bin"},
                cwd="/",
                check=True,
            )
            for word in ("up", "demo", "status", "down", "--state-dir"):
                self.assertIn(word, done.stdout)


class ManualScriptsTest(DevBoxCase):
    """The walk-through, with one DevBox for all steps: each step needs the one before."""

    def setUp(self) -> None:
        super().setUp()
        done = devbox(self.state_dir, "up")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.environment = {"BALANCER_URL": self.state().api_url, "JSON_DIR": str(SCRIPTS)}

    def script(self, name: str, *arguments: str, status: int = 0) -> str:
        """Runs it from elsewhere; asserts its exit status; returns its output."""
        done = subprocess.run(
            [SCRIPTS / name, *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd="/",
        )
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stderr if status else done.stdout

    def ask(self, name: str, *arguments: str) -> Any:
        return json.loads(self.script(name, *arguments))

    def answers(self, count: int = 12) -> set[str]:
        return {fetch(port_of(self.state().traffic_url)).text for _ in range(count)}

    def test_the_walk_through(self) -> None:
        state = self.state()
        pages = {port: page(port) for port in state.backend_ports}
        config = Path(state.config)
        lb = state.load_balancer
        (device,) = self.ask("listDevice.sh")["devices"]
        self.assertEqual(device["name"], "HAP-001")
        self.assertEqual([one["id"] for one in self.ask("listLB.sh")["loadbalancers"]], [lb])
        self.assertEqual(self.ask("getLBDetails.sh", lb)["status"], "ACTIVE")
        nodes = self.ask("getLBNodes.sh", lb)["nodes"]
        self.assertEqual({int(one["port"]) for one in nodes}, set(pages))
        self.assertEqual(self.answers(), set(pages.values()))

        first = nodes[0]
        self.ask("changeNodeStatus.sh", lb, first["id"], "outofservice")
        self.assertEqual(self.answers(), set(pages.values()) - {pages[int(first["port"])]})
        self.ask("changeNodeStatus.sh", lb, first["id"], "inservice")
        # After its next good check.
        eventually(lambda: self.answers() == set(pages.values()), "the node is back", seconds=60)

        self.script("deleteNode.sh", lb, first["id"])
        self.assertEqual(self.answers(), set(pages.values()) - {pages[int(first["port"])]})
        bodies = self.root / "bodies"
        shutil.copytree(SCRIPTS, bodies)
        body = json.loads((bodies / "addNode").read_text())
        body["nodes"][0]["port"] = str(first["port"])
        (bodies / "addNode").write_text(json.dumps(body))
        self.environment["JSON_DIR"] = str(bodies)
        (added,) = self.ask("addNodeToLB.sh", lb)["nodes"]
        self.assertEqual(added["name"], "node-4")
        self.assertEqual(self.answers(), set(pages.values()))

        self.script("deleteLB.sh", lb)
        self.assertEqual(self.ask("listLB.sh")["loadbalancers"], [])
        self.assertEqual(config.read_bytes(), (self.state_dir / "haproxy.cfg.before").read_bytes())
        self.assertIn("HTTP 404", self.script("getLBDetails.sh", lb, status=1))
        self.environment["JSON_DIR"] = str(self.state_dir / "json")
        again = self.ask("createLB.sh", "HAProxy")["loadbalancer"]
        self.assertEqual(again["status"], "ACTIVE")
        self.assertEqual(self.answers(), set(pages.values()))

    def test_usage_and_failures(self) -> None:
        words = {
            "createDevice.sh": ["NAME"],
            "listDevice.sh": [],
            "createLB.sh": ["NAME"],
            "listLB.sh": [],
            "getLBDetails.sh": ["LB"],
            "updateLB.sh": ["LB"],
            "deleteLB.sh": ["LB"],
            "getLBNodes.sh": ["LB"],
            "addNodeToLB.sh": ["LB"],
            "updateNode.sh": ["LB", "NODE"],
            "changeNodeStatus.sh": ["LB", "NODE", "STATUS"],
            "deleteNode.sh": ["LB", "NODE"],
            "listProbes.sh": ["LB"],
            "addProbeToLB.sh": ["LB"],
            "deleteProbe.sh": ["LB", "PROBE"],
        }
        self.assertEqual({path.name for path in SCRIPTS.glob("*.sh")} - {"request.sh"}, set(words))
        for name, arguments in words.items():
            with self.subTest(script=name):
                usage = " ".join(["Usage:", name, *arguments])
                self.assertEqual(self.script(name, *arguments, "more", status=2).strip(), usage)
                if arguments:
                    self.assertEqual(self.script(name, status=2).strip(), usage)
                if "LB" in arguments:
                    unknown = ["0" * 32 for _ in arguments]
                    self.assertRegex(self.script(name, *unknown, status=1), r"HTTP 40\d")
        self.environment["BALANCER_URL"] = "http://127.0.0.1:1"
        self.assertIn("no answer", self.script("listLB.sh", status=1))
