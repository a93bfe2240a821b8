"""The DevBox's decisions."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

from balancer.devbox.box import Service, State, in_turn
from balancer.devbox.processes import ProcessId, StartError, first_free_port, port_is_free


class InTurnTest(unittest.TestCase):
    def test_only_a_repeating_order_of_all_is_in_turn(self) -> None:
        cases = (
            ("abcabc", True),
            ("bcabca", True),
            ("cbacba", True),
            ("abc", False),  # one round shows no turn
            ("abcacb", False),
            ("aabbcc", False),
            ("ababab", False),
            ("abcabd", False),
            ("abcab", False),
            ("", False),
        )
        for answers, expected in cases:
            with self.subTest(answers=answers):
                self.assertEqual(in_turn(answers, "abc"), expected)


class StateTest(unittest.TestCase):
    def test_it_is_read_as_it_was_written(self) -> None:
        process = ProcessId(pid=1, created=12.5)
        state = State(
            services=(Service(name="x", process=process, where="127.0.0.1:1", log="/x.log"),),
            outside_paths=("/tmp/x",),
            backend_ports=(1, 2),
            api_url="http://127.0.0.1:1",
        )
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "state.json"
            self.assertIsNone(State.load(path))
            state.save(path)
            self.assertEqual(State.load(path), state)
            state = replace(state, ready=True)
            state.save(path)
            self.assertEqual(State.load(path), state)
            self.assertEqual(os.listdir(directory), ["state.json"])


class ProcessIdTest(unittest.TestCase):
    def test_a_later_process_with_the_same_number_is_another_one(self) -> None:
        with subprocess.Popen(["sleep", "60"]) as child:
            process = ProcessId.of(child.pid)
            self.assertTrue(process.alive())
            earlier = replace(process, created=process.created - 60)
            self.assertFalse(earlier.alive())
            earlier.stop()
            self.assertIsNone(child.poll(), "it ended a process that is not its own")
            process.stop()
            self.assertFalse(process.alive())
        with self.assertRaises(StartError):
            ProcessId.of(child.pid)

    def test_descendants_end_too_and_deaf_ones_are_killed(self) -> None:
        script = "trap '' TERM; (trap '' TERM; sleep 61 & echo $!; wait) & wait"
        with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            grandchild = ProcessId.of(int(child.stdout.readline()))
            ProcessId.of(child.pid).stop(grace=0.2)
            self.assertFalse(grandchild.alive())


class PortTest(unittest.TestCase):
    def test_the_first_free_one_is_taken(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.assertFalse(port_is_free(port))
            self.assertFalse(port_is_free(port, "0.0.0.0"))
            free = next(one for one in range(port + 1, 65536) if port_is_free(one))
            self.assertEqual(first_free_port(range(port, free + 1)), free)
            with self.assertRaisesRegex(StartError, f"from {port} to {port}"):
                first_free_port([port])
