"""The documentation builds, and nothing that users can set, call or be answered with is missing from it."""

import ast
import html
import re
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from typing import cast

from oslo_config import cfg
from oslo_policy import generator

from balancer import config
from balancer.api import app, errors
from balancer.api.lbaas_v1 import routes as lbaas_v1
from balancer.api.lbaas_v2 import routes as lbaas_v2
from balancer.api.neutron import routes as neutron
from balancer.api.v1 import schemas
from balancer.config import Settings
from balancer.core.service import Service
from balancer.drivers.haproxy.rights import sudoers_lines
from tests.conformance.differences import DIFFERENCES, SKIPS
from tests.lint import ROOT


class TestPages(unittest.TestCase):
    pages: dict[str, str]

    @classmethod
    def setUpClass(cls) -> None:
        with tempfile.TemporaryDirectory() as directory:
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "sphinx",
                    "-W",
                    "--keep-going",
                    "-q",
                    "-E",
                    "-b",
                    "html",
                    "-d",
                    f"{directory}/doctrees",
                    ROOT / "doc" / "source",
                    f"{directory}/html",
                ],
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise AssertionError(f"The documentation does not build:\n{done.stdout}{done.stderr}")
            cls.pages = {path.stem: page_text(path) for path in Path(directory, "html").glob("*.html")}

    def test_every_page_is_there(self) -> None:
        self.assertLessEqual({path.stem for path in (ROOT / "doc" / "source").glob("*.rst")}, set(self.pages))

    def test_every_route_of_the_balancer_api_is_documented(self) -> None:
        # A table needs no service before it is asked.
        served = app.balancer_table(cast(Service, None), Settings())
        paths = {path for path in served if path.removeprefix("/{tenant}") not in served.keys() - {path}}
        self.assertIn("/openapi.json", paths)
        for path in paths:
            for method in served[path]:
                self.assertRegex(self.pages["api-v1"], rf"(?m)^{method}\n+{re.escape(path)}$")

    def test_every_option_is_documented(self) -> None:
        page = self.pages["configuration"]
        for group, options in config.list_opts():
            section = re.split(rf"^{group}¶?$", page, maxsplit=1, flags=re.MULTILINE)[1]
            for option in options:
                with self.subTest(group=group, option=option.name):
                    self.assertRegex(section, rf"(?m)^{option.name}¶?$")
                    self.assertTrue(option.help, "an option without a help text")

    def test_every_error_code_is_documented_and_no_other(self) -> None:
        api = ROOT / "balancer" / "api"
        # Which error is which status is a table for each dialect; the rest is raised as a status.
        shared = [path for path in api.glob("*.py") if path.name != "errors.py"] + list(api.glob("middleware/*.py"))
        for page, statuses, modules in (
            ("api-v1", errors.STATUSES, api.glob("v1/*.py")),
            ("api-lbaas-v1", errors.LBAAS_V1_STATUSES, api.glob("lbaas_v1/*.py")),
            ("api-lbaas-v2", errors.OPENSTACK_STATUSES, (*api.glob("lbaas_v2/*.py"), *api.glob("neutron/*.py"))),
        ):
            answered = {*statuses.values(), *raised_statuses([*shared, *modules]), HTTPStatus.INTERNAL_SERVER_ERROR}
            section = re.split(r"(?m)^Errors¶?$", self.pages[page])[1]
            section = re.split(r"(?m)^\w.*¶$", section)[0]
            with self.subTest(page):
                self.assertEqual(
                    sorted(int(status) for status in answered if status >= HTTPStatus.BAD_REQUEST),
                    sorted({int(code) for code in re.findall(r"\b[45][0-9]{2}\b", section)}),
                )


class TestFields(unittest.TestCase):
    """The reference of the balancer API's objects is made of the schemas, so these must say everything."""

    def test_every_field_says_what_it_is_and_what_becomes_of_it_in_haproxy(self) -> None:
        shown = [
            schemas.LOAD_BALANCER,
            schemas.LOAD_BALANCER_CHILDREN,
            schemas.NODE,
            schemas.VIRTUAL_IP,
            schemas.HEALTH_MONITORING,
            schemas.SESSION_PERSISTENCE,
        ]
        for schema in (schemas.DEVICE, *shown):
            for name, field in schema["properties"].items():
                with self.subTest(object=schema["title"], field=name):
                    self.assertTrue(field["type"])
                    self.assertTrue(field["description"])
                    # Most of a device's fields only say how it is reached.
                    if not field.get("readOnly") and schema is not schemas.DEVICE:
                        self.assertTrue(field["x-haproxy"])


class TestRoutes(unittest.TestCase):
    """The hand-written table of routes in the reference is the one that is served."""

    def test_exactly_what_is_served_is_documented(self) -> None:
        # A table needs no service before it is asked.
        service = cast(Service, None)
        for page, table in (
            ("api-lbaas-v1", lbaas_v1.table(service, Settings())),
            ("api-lbaas-v2", lbaas_v2.table(service, Settings())),
            ("api-networks", neutron.table(service, Settings())),
        ):
            text = (ROOT / "doc" / "source" / f"{page}.rst").read_text(encoding="utf-8")
            documented = set(re.findall(r"(?m)^   \* - ([A-Z]+)\n     - ``(/.*?)``$", text))
            with self.subTest(page):
                self.assertEqual({(method, path) for path, methods in table.items() for method in methods}, documented)


class TestReadme(unittest.TestCase):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    def test_it_quotes_exactly_the_rights_that_the_driver_needs(self) -> None:
        quoted = re.findall(r"(?m)^    (\S+ ALL=.*)$", self.readme)
        self.assertEqual(sudoers_lines("balancer", unit="haproxy.service"), quoted)

    def test_what_it_names_is_there(self) -> None:
        named = set(re.findall(r"(?<![\w/])(?:bin|doc|etc|tests)/[\w./-]*\w|\./\w+\.sh|(?<=\]\()[\w.]+", self.readme))
        self.assertIn("bin/balancer-devbox", named)
        # What is built, and the scripts that are called in their own directory.
        made = {"doc/html/index.html"}
        there = {name for name in named if (ROOT / name).exists() or (ROOT / "tests" / "manual" / name).exists()}
        self.assertEqual(set(), named - there - made)

    def test_the_tests_are_run_as_it_says(self) -> None:
        self.assertIn("./run_tests.sh -V -f", self.readme)
        self.assertIn("./run_tests.sh -V -f", (ROOT / ".ci" / "run").read_text())


class TestSampleConfiguration(unittest.TestCase):
    def test_every_option_is_there_with_its_default(self) -> None:
        sample = (ROOT / "etc" / "balancer-api.conf").read_text(encoding="utf-8")
        sections = dict(zip(*[iter(re.split(r"(?m)^\[(\w+)\]\n", sample)[1:])] * 2, strict=True))
        for group, options in config.list_opts():
            for option in options:
                with self.subTest(group=group, option=option.name):
                    line = re.search(rf"(?m)^# {option.name} = *(.*)$", sections[group])
                    assert line is not None
                    if option.default is not None:
                        self.assertEqual(option.default, option.type(line[1]))


class TestConformance(unittest.TestCase):
    def test_what_differs_from_octavia_is_announced(self) -> None:
        text = " ".join((ROOT / "doc/source/api-lbaas-v2.rst").read_text(encoding="utf-8").split())
        for known in (*DIFFERENCES, *SKIPS):
            with self.subTest(known.reason):
                self.assertIn(known.announced, text)


class TestSamplePolicy(unittest.TestCase):
    def test_it_is_what_the_generator_writes(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            written = Path(directory, "policy.yaml.sample")
            generator.generate_sample(["--namespace", "balancer", "--output-file", str(written)], cfg.ConfigOpts())
            wanted = written.read_text(encoding="utf-8")
        self.assertIn("balancer:device:create", wanted)
        sample = (ROOT / "etc" / "policy.yaml.sample").read_text(encoding="utf-8")
        self.assertEqual(
            wanted, sample, "oslopolicy-sample-generator --namespace balancer --output-file etc/policy.yaml.sample"
        )


def raised_statuses(modules: Iterable[Path]) -> set[HTTPStatus]:
    """Every `HTTPStatus.…` that is named in the modules."""
    return {
        HTTPStatus[node.attr]
        for path in modules
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "HTTPStatus"
    }


def page_text(path: Path) -> str:
    """What a reader sees of a page, without navigation; an element's end is a line's end."""
    page = path.read_text(encoding="utf-8")
    body = re.search(r'<div class="body" role="main">(.*)<div class="sphinxsidebar"', page, re.DOTALL)
    assert body is not None, path
    lines = re.sub(r"</(h\d|dt|dd|p|li|td|th|pre)>", "\n", body[1])
    return html.unescape(re.sub(r"<[^>]+>", "", lines))
