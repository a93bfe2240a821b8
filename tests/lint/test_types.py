"""The type check: mypy over the service and its tests."""

import subprocess
import sys
import unittest

from tests.lint import ROOT


class TestTypes(unittest.TestCase):
    def test_mypy_finds_nothing(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--no-error-summary"], cwd=ROOT, capture_output=True, text=True
        )
        self.assertEqual(0, done.returncode, f"\n{done.stdout}{done.stderr}")
