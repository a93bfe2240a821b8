"""The whole service over a database server instead of a file."""

from __future__ import annotations

import tempfile
import threading
import time
import unittest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from balancer.db.engine import make_engine
from balancer.db.repository import SqlRepository
from balancer.devbox.backends import Backend, page
from balancer.devbox.host import Host
from balancer.devbox.processes import free_port
from tests.contract import servers
from tests.integration.running import Answer, RunningService, eventually, fetch

if TYPE_CHECKING:
    Suite = unittest.TestCase
else:
    Suite = object


class OverAServer(Suite):
    url: str
    host: Host
    backends: list[Backend]
    service: RunningService
    before: bytes
    device_id: str

    @classmethod
    def server(cls) -> servers.Server:
        raise NotImplementedError

    @classmethod
    def setUpClass(cls) -> None:
        state = tempfile.TemporaryDirectory()
        cls.addClassCleanup(state.cleanup)
        root = Path(state.name)
        name = cls.server().free_name()
        cls.url = cls.server().make_database(name)
        cls.addClassCleanup(cls.server().drop_database, name)
        cls.host = cls.enterClassContext(Host(root / "device"))
        cls.backends = [cls.enterClassContext(Backend(root / f"backend-{number}")) for number in range(2)]
        options = {"sql": {"connection": cls.url}, "worker": {"scan_interval": "1"}}
        cls.service = cls.enterClassContext(RunningService(root / "service", options))
        cls.before = cls.host.read_config()
        cls.device_id = cls.service.register(cls.host)

    def setUp(self) -> None:
        self.port = free_port()
        self.balancer = self.service.create(self.body(self.port))

    def tearDown(self) -> None:
        answer = self.service.call("DELETE", f"/foo/loadbalancers/{self.balancer}")
        self.assertEqual(204, answer.status, answer.text)
        self.assertEqual(self.before, self.host.read_config())

    def body(self, port: int) -> dict[str, Any]:
        return {
            "name": "testLB001",
            "protocol": "HTTP",
            "algorithm": "RoundRobin",
            "virtualIps": [{"address": "0.0.0.0", "port": str(port)}],
            "nodes": [{"address": "127.0.0.1", "port": str(each.port)} for each in self.backends],
        }

    def test_from_the_request_to_the_answer_through_haproxy(self) -> None:
        answers = [fetch(self.port).text for _ in range(4)]
        self.assertEqual({page(each.port) for each in self.backends}, set(answers))
        self.assertEqual(answers[:2], answers[2:])
        refused = self.service.call("POST", "/foo/loadbalancers", self.body(self.port))
        # No other device is there that could take it.
        self.assertEqual(404, refused.status, refused.text)

    def test_requests_are_answered_while_others_wait_for_the_database(self) -> None:
        engine = make_engine(self.url)
        self.addCleanup(engine.dispose)
        late: list[Answer] = []

        def rename() -> None:
            late.append(self.service.call("PUT", f"/foo/loadbalancers/{self.balancer}", {"name": "late"}))

        writers = [threading.Thread(target=rename) for _ in range(3)]
        with SqlRepository(engine).write() as tx:
            tx.device(self.device_id)
            for writer in writers:
                writer.start()
            time.sleep(0.5)
            for path in ("/", "/foo/loadbalancers"):
                # Nobody lets the device go before.
                self.assertEqual(200, self.service.call("GET", path).status)
            self.assertEqual([], late)
        for writer in writers:
            writer.join(timeout=60)
        self.assertEqual([202] * 3, [each.status for each in late], late)

    def test_the_database_may_stop_and_return(self) -> None:
        self.server().stop()
        try:
            answer = self.service.call("GET", "/foo/loadbalancers")
            self.assertEqual(503, answer.status, answer.text)
            self.assertEqual(200, fetch(self.port).status)
            time.sleep(2.0)  # The worker sees it too.
        finally:
            self.server().start()
        self.assertEqual(200, self.service.call("GET", "/foo/loadbalancers").status)
        path = f"/foo/loadbalancers/{self.balancer}/nodes"
        node = self.service.call("GET", path).json["nodes"][0]
        self.assertEqual(200, self.service.call("PUT", f"{path}/{node['id']}/outofservice").status)
        eventually(lambda: len({fetch(self.port).text for _ in range(4)}) == 1, "the worker goes on")


class ServiceOnPostgresql(OverAServer, unittest.TestCase):
    @classmethod
    def server(cls) -> servers.Server:
        return servers.postgresql()


class ServiceOnMariadb(OverAServer, unittest.TestCase):
    @classmethod
    def server(cls) -> servers.Server:
        return servers.mariadb()
