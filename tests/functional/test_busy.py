"""No project keeps the others from being answered."""

from __future__ import annotations

import threading
import unittest
from typing import Any

from balancer.api.errors import HttpError
from balancer.api.middleware.concurrency import Concurrency
from balancer.api.wsgi import CALLER
from balancer.core.model import Caller
from tests.functional.lbaas_v2 import V2, LbaasCase


class TestBusy(unittest.TestCase):
    def setUp(self) -> None:
        self.go_on = threading.Event()
        self.inside = threading.Semaphore(0)
        self.app = Concurrency(self.answer, 5, 2)
        self.busy: list[threading.Thread] = []
        self.addCleanup(self.end)

    def answer(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ.get("waits"):
            self.inside.release()
            self.go_on.wait(30)
        if environ.get("fails"):
            raise ValueError
        return [b"done"]

    def end(self) -> None:
        self.go_on.set()
        for each in self.busy:
            each.join(30)

    def environ(self, project_id: str | None, **more: Any) -> dict[str, Any]:
        return {"PATH_INFO": "/x", CALLER: Caller(project_id=project_id), **more}

    def keep_busy(self, project_id: str | None) -> None:
        thread = threading.Thread(target=self.app, args=(self.environ(project_id, waits=True), None))
        thread.start()
        self.busy.append(thread)
        self.assertTrue(self.inside.acquire(timeout=30))

    def refused(self, project_id: str | None) -> str:
        with self.assertRaises(HttpError) as caught:
            self.app(self.environ(project_id), None)
        self.assertEqual((503, (("Retry-After", "1"),)), (caught.exception.status, tuple(caught.exception.headers)))
        return str(caught.exception)

    def test_a_project_has_its_share_and_no_more(self) -> None:
        for _ in range(2):
            self.keep_busy("a")
        self.assertIn("of this project", self.refused("a"))
        self.assertEqual([b"done"], self.app(self.environ("b"), None))
        for _ in range(2):
            self.keep_busy("b")
        self.keep_busy(None)
        for each in ("a", "c", None):
            self.assertIn("The service has", self.refused(each))
        self.assertEqual([b"done"], self.app({"PATH_INFO": "/healthcheck"}, None))
        self.end()
        self.assertEqual([b"done"], self.app(self.environ("a"), None))

    def test_a_request_that_fails_is_over(self) -> None:
        for _ in range(5):
            with self.assertRaises(ValueError):
                self.app(self.environ("a", fails=True), None)
        self.assertEqual([b"done"], self.app(self.environ("a"), None))

    def test_without_keystone_there_are_no_projects(self) -> None:
        for _ in range(4):
            self.keep_busy(None)
        self.assertEqual([b"done"], self.app({"PATH_INFO": "/x"}, None))


class TestLongLists(LbaasCase):
    """One request has a transaction to itself, and the service one processor."""

    worker = False

    def too_long(self, method: str, path: str, body: Any, field: str) -> None:
        before = self.rows()
        answer = self.call(method, path, body)
        self.assertEqual((400, before), (answer.status, self.rows()))
        self.assertIn(f"{field}. It must have 1000 items at most", answer.json["faultstring"])

    def test_lists_are_bounded_in_every_dialect(self) -> None:
        members = [{"address": f"198.51.{n // 250}.{n % 250 + 1}", "protocol_port": 80} for n in range(1001)]
        pool = self.add_pool(loadbalancer_id=self.add_balancer()["id"])
        whole = {"vip_subnet_id": self.subnet_id}
        of_pool = f"{V2}/pools/{pool['id']}/members"
        for method, path, body, field in (
            ("PUT", of_pool, {"members": members}, "members"),
            ("POST", of_pool, {"members": members}, "members"),
            ("POST", f"{V2}/loadbalancers", {"loadbalancer": {**whole, "tags": ["x"] * 1001}}, "tags"),
            ("POST", f"{V2}/loadbalancers", {"loadbalancer": {**whole, "listeners": [{}] * 1001}}, "listeners"),
            ("POST", f"{V2}/loadbalancers", {"loadbalancer": {**whole, "pools": [{"members": members}]}}, "members"),
            ("POST", "/v2.0/ports", {"port": {"network_id": self.network_id, "fixed_ips": [{}] * 1001}}, "fixed_ips"),
        ):
            with self.subTest(path, field=field):
                self.too_long(method, path, body, field)
        self.assertEqual(202, self.call("PUT", of_pool, {"members": members[1:]}).status)
        listed = self.get(of_pool)["members"]
        self.assertEqual(1000, len(listed))
