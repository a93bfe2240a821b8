"""The benchmarks work: what they tell is not looked at here."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from tests.integration.running import ROOT


class TestBench(unittest.TestCase):
    def test_rows_are_measured_printed_and_written(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            written = Path(directory, "bench.json")
            done = subprocess.run(
                [sys.executable, "-m", "tests.bench", "--quick", "--json", written, "b", "e"],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=300,
            )
            # 1: it was measured, and some target was not met.
            self.assertIn(done.returncode, (0, 1), done.stdout + done.stderr)
            told = json.loads(written.read_text())
        self.assertEqual(11, len(told["results"]))
        for each in told["results"]:
            with self.subTest(each["what"]):
                self.assertGreater(each["value"], 0)
                self.assertIn(f"| {each['what']} ", done.stdout)

    def test_one_api_beside_another(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench", "--quick", "f"], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        self.assertEqual(8, done.stdout.count("LBaaS v2, "))

    def test_an_unknown_row_is_refused(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench", "z"], cwd=ROOT, capture_output=True, text=True, timeout=60
        )
        self.assertEqual(2, done.returncode)
        self.assertIn("no such row: z", done.stderr)
