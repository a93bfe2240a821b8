"""Imports point one way, and every library that is imported is asked for in pyproject.toml."""

import ast
import contextlib
import io
import re
import sys
import tomllib
import unittest
from importlib import metadata

from importlinter.cli import lint_imports

from tests.lint import ROOT


class TestLayers(unittest.TestCase):
    def test_every_contract_is_kept(self) -> None:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.chdir(ROOT):
            status = lint_imports(config_filename="pyproject.toml", no_cache=True, show_timings=False)
        self.assertEqual(0, status, f"\n{printed.getvalue()}")


class TestDependencies(unittest.TestCase):
    def test_every_imported_library_is_declared(self) -> None:
        declared = {
            normalised(re.split(r"[^A-Za-z0-9._-]", requirement)[0])
            for requirement in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
        }
        providers = metadata.packages_distributions()
        missing = []
        for path in sorted((ROOT / "balancer").rglob("*.py")):
            for module in imported_modules(path.read_text(encoding="utf-8")):
                package = module.partition(".")[0]
                if package == "balancer" or package in sys.stdlib_module_names:
                    continue
                names = {normalised(name) for name in providers.get(package, [package])}
                if not names & declared:
                    missing.append(f"{path.relative_to(ROOT)}: {module}")
        self.assertEqual([], missing)

    def test_a_relative_import_is_not_mistaken_for_a_library(self) -> None:
        self.assertEqual(["os.path", "yaml"], imported_modules("import os.path\nfrom . import x\nfrom yaml import y\n"))


def imported_modules(source: str) -> list[str]:
    """Dotted names of all absolute imports, at any depth."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.append(node.module)
    return found


def normalised(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()
