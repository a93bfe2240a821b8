"""Where things are and what they are called."""

import ast
import re
import subprocess
import tomllib
import unittest
from pathlib import Path

from tests.lint import ROOT

TEST_FILES = sorted((ROOT / "tests").rglob("test_*.py"))


class TestTestDirectories(unittest.TestCase):
    def test_every_directory_above_a_test_has_an_init(self) -> None:
        """The runner passes over a directory without one, and says nothing."""
        directories = {
            parent for path in TEST_FILES for parent in path.parents if parent.is_relative_to(ROOT / "tests")
        }
        self.assertIn(ROOT / "tests" / "lint", directories)
        self.assertEqual([], [str(d) for d in sorted(directories) if not (d / "__init__.py").is_file()])

    def test_every_directory_with_tests_is_run_by_default(self) -> None:
        """A directory that run_tests.sh does not name would never run."""
        door = re.search(r'^ *all\) tiers="(.*?)" beside=(\w+)', (ROOT / "run_tests.sh").read_text(), re.MULTILINE)
        assert door is not None
        tiers = {path.relative_to(ROOT / "tests").parts[0] for path in TEST_FILES}
        self.assertEqual(set(), tiers - {*door[1].split(), door[2]})

    def test_every_test_case_is_in_a_file_that_is_found(self) -> None:
        """Test methods in a file that is not named test_*.py run only if somebody inherits them."""
        forgotten = []
        inherited = {name for path in TEST_FILES for name in base_names(path)}
        for path in sorted((ROOT / "tests").rglob("*.py")):
            if path in TEST_FILES:
                continue
            forgotten += [
                f"{path.relative_to(ROOT)}: {node.name}"
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.ClassDef) and node.name not in inherited and has_tests(node)
            ]
        self.assertEqual([], forgotten)


class TestPackageData(unittest.TestCase):
    def test_every_data_file_is_installed(self) -> None:
        """A file beside the modules is installed only when pyproject.toml says so."""
        patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
        covered = {
            path
            for package, globs in patterns.items()
            for g in globs
            for path in ROOT.glob(f"{package.replace('.', '/')}/{g}")
        }
        there = {
            path
            for path in (ROOT / "balancer").rglob("*")
            if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
        }
        self.assertEqual(there, covered)


class TestNames(unittest.TestCase):
    def test_no_module_has_a_name_that_says_nothing(self) -> None:
        empty = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
        paths = [path for tree in ("balancer", "tests") for path in (ROOT / tree).rglob("*.py")]
        self.assertTrue(paths)
        self.assertEqual([], [str(p.relative_to(ROOT)) for p in paths if p.stem in empty or p.stem.endswith("_ref")])


class TestShellScripts(unittest.TestCase):
    def test_every_shell_script_parses(self) -> None:
        scripts = [*ROOT.glob("*/*.sh"), ROOT / "run_tests.sh"]
        scripts += (ROOT / "balancer").rglob("*.sh")
        scripts += [p for p in (ROOT / "bin").glob("*") if p.read_bytes().startswith(b"#!/bin/sh")]
        scripts += (ROOT / "tests").rglob("*.sh")
        for script in scripts:
            with self.subTest(script=str(script.relative_to(ROOT))):
                done = subprocess.run(["sh", "-n", script], capture_output=True, text=True)
                self.assertEqual((0, ""), (done.returncode, done.stderr))


def base_names(path: Path) -> set[str]:
    """Last parts of the names of all base classes in a file."""
    classes = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.ClassDef)]
    return {ast.unparse(base).rpartition(".")[-1] for node in classes for base in node.bases}


def has_tests(node: ast.ClassDef) -> bool:
    return any(isinstance(item, ast.FunctionDef) and item.name.startswith("test_") for item in node.body)
