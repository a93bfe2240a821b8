"""The style check: ruff, with the rules of pyproject.toml, over everything written in Python."""

import subprocess
import sys
import unittest

from tests.lint import ROOT

RUFF = (sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise")


class TestStyle(unittest.TestCase):
    def test_ruff_finds_nothing(self) -> None:
        scripts = sorted(path for path in (ROOT / "bin").glob("*") if is_python(path.read_bytes()))
        done = subprocess.run(
            [*RUFF, ".", *map(str, scripts)],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        self.assertEqual(0, done.returncode, f"\n{done.stdout}{done.stderr}")


def is_python(content: bytes) -> bool:
    return content.startswith(b"#!") and b"python" in content.partition(b"\n")[0]
