"""The description of the balancer API: complete, valid, and true of what the application does with thousands of
requests made up from it, good ones and bad ones."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import hypothesis
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from balancer.api import app
from balancer.api.v1 import openapi
from balancer.api.v1.names import RESERVED
from balancer.config import Settings
from balancer.core.service import Service
from tests.functional.case import NODE, VIRTUAL_IP, ApiCase

EXAMPLES = int(os.environ.get("OPENAPI_EXAMPLES", "10"))
"""Good requests for each operation, and half as many bad ones; the same ones in every run."""

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
CHILDREN: dict[str, Any] = {
    "nodes": [NODE],
    "virtualIps": [{**VIRTUAL_IP, "address": "0.0.0.0"}],
    "healthMonitor": [{"type": "TCP"}],
    "sessionPersistence": [{"type": "HTTP_COOKIE"}],
}


class TestDescription(ApiCase):
    worker = False

    def test_it_is_served(self) -> None:
        described = self.get("/openapi.json")
        self.assertEqual("3.1.0", described["openapi"])
        self.assertIn("/{tenant}/loadbalancers/{lb_id}/nodes", described["paths"])

    def test_it_has_every_route_and_nothing_else(self) -> None:
        # A table needs no service before it is asked.
        service = cast(Service, None)
        served = {
            (method.lower(), path)
            for path, methods in app.balancer_table(service, Settings()).items()
            for method in methods
        }
        described = {
            (method, path)
            for path, item in self.get("/openapi.json")["paths"].items()
            for method in item
            if method != "parameters"
        }
        self.assertEqual(served, described)
        without_tenant = {path.removeprefix("/{tenant}") for _, path in served} | {path for _, path in served}
        self.assertLessEqual({path for _, path in openapi.OPERATIONS}, without_tenant)

    def test_no_secret_and_no_word_of_the_inside(self) -> None:
        described = str(self.get("/openapi.json"))
        for word in ("x-stored", "x-alias-of", "x-haproxy", "x-optional", "x-synonyms"):
            self.assertNotIn(word, described)


class TestRequestsMadeFromIt(ApiCase):
    worker = False

    def setUp(self) -> None:
        super().setUp()
        self.seen = Counter[int]()
        self.done = set[str]()
        self.reconciler = self.make_reconciler()
        self.repository.heartbeat("a worker", 600)
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)
        self.schema = schemathesis.openapi.from_wsgi("/openapi.json", self.app)
        self.schema.validate()
        self.ids: dict[str, str] = {}

    def operations(self) -> list[APIOperation[Any, Any, Any, Any]]:
        """Without those that are the same behind a project."""
        found = [each.ok() for each in self.schema.get_all_operations() if isinstance(each, Ok)]
        paths = {operation.path for operation in found}
        return [each for each in found if each.path.removeprefix("/{tenant}") not in paths - {each.path}]

    def check_all(self, belongs: Callable[[str], bool], mode: GenerationMode, examples: int) -> None:
        for operation in self.operations():
            if not belongs(operation.path):
                continue
            with self.subTest(f"{operation.method} {operation.path}"):
                self._check(operation, mode, examples)
        figures = ", ".join(f"{number} x {status}" for status, number in sorted(self.seen.items()))
        print(f"[{self.seen.total()} requests: {figures}]", end=" ")

    def _check(self, operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode, examples: int) -> None:
        if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.path_parameters):
            return

        @hypothesis.given(
            case=operation.as_strategy(generation_mode=mode),
            real=hypothesis.strategies.sampled_from((True, True, True, False)),
        )
        @hypothesis.settings(
            max_examples=examples,
            derandomize=True,
            deadline=None,
            database=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        )
        def one(case: Case, real: bool) -> None:
            parts = case.path_parameters or {}
            if parts.get("tenant") in RESERVED:
                # That would be something else's path.
                parts["tenant"] = "foo"
            if real:
                self._point_at_what_is_there(case)
                self._with_a_driver(case)
            response = case.call()
            self.seen[response.status_code] += 1
            if response.status_code < 300:
                self.done.add(f"{operation.method} {operation.path}")
            case.validate_response(response, checks=CHECKS)

        one()

    def _point_at_what_is_there(self, case: Case) -> None:
        """Otherwise nearly all would end with 404."""
        parts = case.path_parameters or {}
        if "device_id" in parts or "lb_id" in parts:
            ids = self._ids()
            case.path_parameters = {name: ids.get(name, value) for name, value in parts.items()}

    @staticmethod
    def _with_a_driver(case: Case) -> None:
        if isinstance(case.body, dict):
            for device in (case.body, case.body.get("device")):
                if isinstance(device, dict) and isinstance(device.get("ip"), str):
                    device["type"] = "dummy"

    def _ids(self) -> dict[str, str]:
        """Of objects that are there: made anew when a request has removed some of them."""
        known = self.ids
        if known and self.call("GET", f"/devices/{known['device_id']}").status == 200:
            details = self.call("GET", f"/foo/loadbalancers/{known['lb_id']}/details")
            if details.status == 200 and all(details.json[kind] for kind in CHILDREN):
                return known | _children(details.json)
        for device in self.get("/devices")["devices"]:
            self.expect(204, "DELETE", f"/devices/{device['id']}?force=1")
        self.expect(204, "DELETE", "/foo/quotas")
        device_id = self.register()
        path = self.create(**CHILDREN)
        self.reconciler.reconcile(device_id)
        self.ids = {"tenant": "foo", "device_id": device_id, "lb_id": path.rpartition("/")[2], "n": "1"}
        return self.ids | _children(self.get(f"{path}/details"))

    def good(self, belongs: Callable[[str], bool]) -> None:
        self.check_all(belongs, GenerationMode.POSITIVE, EXAMPLES)
        operations = {f"{each.method} {each.path}" for each in self.operations() if belongs(each.path)}
        # A set of good requests that are all refused tells little.
        self.assertLess(len(operations - self.done), len(operations) / 5, operations - self.done)

    def bad(self, belongs: Callable[[str], bool]) -> None:
        self.check_all(belongs, GenerationMode.NEGATIVE, EXAMPLES // 2)

    def test_good_ones_about_load_balancers(self) -> None:
        self.good(_about_a_load_balancer)

    def test_good_ones_about_the_rest(self) -> None:
        self.good(lambda path: not _about_a_load_balancer(path))

    def test_bad_ones_about_load_balancers(self) -> None:
        self.bad(_about_a_load_balancer)

    def test_bad_ones_about_the_rest(self) -> None:
        self.bad(lambda path: not _about_a_load_balancer(path))


def _about_a_load_balancer(path: str) -> bool:
    return "{lb_id}" in path


def _children(details: dict[str, Any]) -> dict[str, str]:
    return {
        "node_id": details["nodes"][0]["id"],
        "vip_id": details["virtualIps"][0]["id"],
        "probe_id": details["healthMonitor"][0]["id"],
        "sticky_id": details["sessionPersistence"][0]["id"],
    }
