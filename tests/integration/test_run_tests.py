"""The test door itself: run_tests.sh in a small checkout of its own."""

import shutil
import stat
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAD = "import os, unittest\nclass TestIt(unittest.TestCase):\n"
GOOD = HEAD + "    def test_good(self): pass\n"
BAD = HEAD + "    def test_bad(self): self.fail('no')\n"


class TestRunTests(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.checkout = Path(directory.name, "checkout")
        self.checkout.mkdir()
        shutil.copy2(ROOT / "run_tests.sh", self.checkout)
        shutil.copytree(ROOT / "tools", self.checkout / "tools")
        (self.checkout / "tests").mkdir()
        (self.checkout / "tests" / "__init__.py").touch()
        shutil.copytree(ROOT / "tests" / "runner", self.checkout / "tests" / "runner")
        # The python3 that -N finds in PATH: this one, with all its libraries.
        self.path = Path(directory.name, "bin")
        self.path.mkdir()
        python = self.path / "python3"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(python.stat().st_mode | stat.S_IXUSR)

    def test_everything_runs_and_the_last_line_counts(self) -> None:
        for tier in ("unit", "golden", "contract", "functional", "lint", "integration", "scenarios"):
            self.add(tier, GOOD)
        self.assertEqual((0, "7 passed, 0 failed, 0 skipped"), self.run_tests("-N"))

    def test_a_failure_fails_the_run(self) -> None:
        self.add("unit", GOOD)
        self.add("scenarios", BAD)
        self.assertEqual((1, "1 passed, 1 failed, 0 skipped"), self.run_tests("-N"))

    def test_a_failure_of_those_that_run_beside_fails_the_run(self) -> None:
        self.add("unit", GOOD)
        self.add("integration", BAD)
        done = self.start("-N")
        self.assertEqual(1, done.returncode)
        self.assertIn("self.fail('no')", done.stdout)
        self.assertEqual("1 passed, 1 failed, 0 skipped", done.stdout.splitlines()[-1])

    def test_one_of_those_that_run_beside_ends_its_runner(self) -> None:
        self.add("unit", GOOD)
        self.add("integration", HEAD + "    def test_gone(self): os._exit(0)\n")
        self.assertEqual((1, "0 passed, 1 failed, 0 skipped"), self.run_tests("-N"))

    def test_unittests_only(self) -> None:
        self.add("unit", GOOD)
        for tier in ("lint", "integration", "scenarios"):
            self.add(tier, BAD)
        self.assertEqual((0, "1 passed, 0 failed, 0 skipped"), self.run_tests("-N", "--unittests-only"))

    def test_names_and_paths(self) -> None:
        self.add("unit", GOOD)
        self.add("golden", BAD)
        for name in (
            "tests.unit",
            "tests/unit/",
            "tests/unit/test_it.py",
            "tests.unit.test_it.TestIt.test_good",
        ):
            with self.subTest(name=name):
                self.assertEqual((0, "1 passed, 0 failed, 0 skipped"), self.run_tests("-N", name))
        self.assertEqual((1, "1 passed, 1 failed, 0 skipped"), self.run_tests("-N", "tests.unit", "tests.golden"))
        self.assertEqual((1, "1 passed, 1 failed, 0 skipped"), self.run_tests("-N", "tests.unit", "tests.nothing"))

    def test_no_tests(self) -> None:
        (self.checkout / "tests" / "unit").mkdir()
        (self.checkout / "tests" / "unit" / "__init__.py").touch()
        self.assertEqual((1, "0 passed, 0 failed, 0 skipped"), self.run_tests("-N"))

    def test_a_test_that_ends_the_runner(self) -> None:
        self.add("unit", HEAD + "    def test_gone(self): os._exit(0)\n")
        self.assertEqual((1, "0 passed, 1 failed, 0 skipped"), self.run_tests("-N"))

    def test_coverage(self) -> None:
        self.add("unit", GOOD)
        (self.checkout / "pyproject.toml").write_text("[tool.coverage.run]\nsource = ['tests']\nparallel = true\n")
        done = self.start("-N", "-c")
        self.assertEqual(0, done.returncode, done.stdout)
        self.assertRegex(done.stdout, r"tests/runner/tally\.py +\d+")
        self.assertEqual("1 passed, 0 failed, 0 skipped", done.stdout.splitlines()[-1])

    def test_help(self) -> None:
        done = self.start("-h")
        self.assertEqual(0, done.returncode)
        for option in ("-V", "-N", "-f", "-c", "-p", "-h", "--unittests-only"):
            self.assertIn(f" {option}", done.stdout)

    def test_unknown_option(self) -> None:
        for arguments in (("--nonsense",), ("-N", "tests.unit", "-V")):
            done = self.start(*arguments)
            self.assertEqual(2, done.returncode)
            self.assertIn(arguments[-1], done.stdout)

    def add(self, tier: str, module: str) -> None:
        directory = self.checkout / "tests" / tier
        directory.mkdir()
        (directory / "__init__.py").touch()
        (directory / "test_it.py").write_text(module)

    def run_tests(self, *arguments: str) -> tuple[int, str]:
        """Exit status and last line of a run."""
        done = self.start(*arguments)
        return done.returncode, done.stdout.splitlines()[-1]

    def start(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.checkout / "run_tests.sh", *arguments],
            cwd="/",
            env={"PATH": f"{self.path}:/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
