"""Counters and operating states of real traffic through a real HAProxy."""

from __future__ import annotations

import socket
import tempfile
import unittest
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from balancer.core.model import (
    Counters,
    HealthMonitor,
    Member,
    MonitorType,
    ObjectKind,
    ObjectSample,
    OperatingStatus,
    Protocol,
    Rotation,
    new_id,
)
from balancer.devbox.backends import Backend
from balancer.devbox.host import Host
from balancer.devbox.processes import free_port
from tests.integration.deploying import DeployingCase, device_of, load_balancer
from tests.integration.running import RunningService, eventually, fetch

MONITOR = {"type": "HTTP", "delay": 0.5, "timeout": 0.5, "attemptsBeforeDeactivation": 1}
REQUEST = b"GET / HTTP/1.0\r\n\r\n"


def exchange(port: int) -> int:
    """One request over a connection of its own; the number of bytes that came back."""
    with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
        connection.sendall(REQUEST)
        received = 0
        while data := connection.recv(65536):
            received += len(data)
    return received


def monitor(kind: MonitorType) -> HealthMonitor:
    return HealthMonitor(id=new_id(), project_id="foo", type=kind, delay=0.3, timeout=5, rise=1, fall=1)


class TheDriverAsks(DeployingCase):
    def setUp(self) -> None:
        super().setUp()
        self.machine = self.host(run_as="root")
        self.device = device_of(self.machine)

    def seen(self) -> Mapping[str, ObjectSample]:
        sample = self.driver.observe(self.device).sample
        assert sample is not None
        return {each.object_id: each for each in sample.objects}

    def test_traffic_is_counted_to_the_byte(self) -> None:
        (backend,) = self.backends(1)
        balancer = load_balancer([backend.port], self.port(), protocol=Protocol.TCP)
        self.deploy(self.device, balancer)
        (listener,), (pool,) = balancer.listeners, balancer.pools
        received = sum(exchange(listener.port) for _ in range(7))
        counted = Counters(bytes_in=7 * len(REQUEST), bytes_out=received, total_connections=7)
        eventually(lambda: self.seen()[listener.id].counters == counted, "all is counted")
        found = self.seen()
        self.assertEqual(
            {
                listener.id: (ObjectKind.LISTENER, OperatingStatus.ONLINE, counted),
                pool.id: (ObjectKind.POOL, OperatingStatus.ONLINE, counted),
                pool.members[0].id: (ObjectKind.MEMBER, OperatingStatus.NO_MONITOR, counted),
            },
            {key: (each.kind, each.status, each.counters) for key, each in found.items()},
        )

    def test_connections_and_errors_are_counted(self) -> None:
        (backend,) = self.backends(1)
        balancer = load_balancer([backend.port], self.port())
        self.deploy(self.device, balancer)
        port, object_id = balancer.listeners[0].port, balancer.listeners[0].id
        with socket.create_connection(("127.0.0.1", port)):
            eventually(lambda: self.seen()[object_id].counters.active_connections == 1, "the open connection is seen")
        eventually(lambda: self.seen()[object_id].counters.active_connections == 0, "it is seen no more")
        before = self.seen()[object_id].counters.request_errors
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"no HTTP at all\r\n\r\n")
            connection.recv(100)
        self.assertEqual(before + 1, self.seen()[object_id].counters.request_errors, "the malformed request counts")
        backend.kill()
        self.assertEqual(503, fetch(port).status)
        member = balancer.pools[0].members[0].id
        eventually(lambda: self.seen()[member].counters.request_errors >= 1, "the refused connection is counted")

    def test_states_of_members(self) -> None:
        dead = free_port()
        (backend,) = self.backends(1)
        check = monitor(MonitorType.TCP)
        members = {
            OperatingStatus.ONLINE: self.member(backend.port),
            OperatingStatus.ERROR: self.member(dead),
            OperatingStatus.OFFLINE: self.member(backend.port, rotation=Rotation.OUT),
            OperatingStatus.DRAINING: self.member(backend.port, rotation=Rotation.DRAIN),
        }
        balancer = load_balancer([], self.port(), monitors=[check], pool={"members": tuple(members.values())})
        self.deploy(self.device, balancer, monitors=[check])

        def as_expected() -> bool:
            found = self.seen()
            return all(found[member.id].status is status for status, member in members.items())

        eventually(as_expected, "every member has its state")
        self.assertIs(OperatingStatus.ONLINE, self.seen()[balancer.pools[0].id].status)
        backend.kill()
        eventually(lambda: self.seen()[balancer.pools[0].id].status is OperatingStatus.ERROR, "no member is left")

    def test_before_the_first_check_nothing_is_known(self) -> None:
        slow = HealthMonitor(id=new_id(), project_id="foo", type=MonitorType.TCP, delay=3600, timeout=1)
        for monitors in ([slow], [slow, monitor(MonitorType.TCP)]):
            with self.subTest(monitors=len(monitors)):
                ports = [each.port for each in self.backends(2)]
                balancer = load_balancer(ports, self.port(), monitors=monitors)
                self.deploy(self.device, balancer, monitors=monitors)
                found = self.seen()
                # HAProxy spreads first checks over the interval; the first server's comes at once.
                last = balancer.pools[0].members[-1].id
                self.assertIsNone(found[last].status)

    def test_several_monitors_must_agree(self) -> None:
        (backend,) = self.backends(1)
        (backend.pages / "ok.html").write_text("ok")
        monitors = [monitor(MonitorType.TCP), monitor(MonitorType.HTTP)]
        balancer = load_balancer([backend.port], self.port(), monitors=monitors)
        self.deploy(self.device, balancer, monitors=monitors)
        member = balancer.pools[0].members[0].id
        eventually(lambda: self.seen()[member].status is OperatingStatus.ONLINE, "both are content")
        self.assertEqual(
            {balancer.listeners[0].id, balancer.pools[0].id, member}, set(self.seen()), "what checks is no object"
        )
        (backend.pages / "index.html").unlink()
        eventually(lambda: self.seen()[member].status is OperatingStatus.ERROR, "one of them is not")

    def test_each_process_has_a_name_of_its_own(self) -> None:
        first = self.driver.observe(self.device).sample
        assert first is not None
        self.assertEqual(((), ""), (first.objects, first.process), "nothing of ours is served")
        names = []
        balancer = load_balancer([8001], self.port())
        for port in (8002, 8003):
            balancer = load_balancer([port], balancer.listeners[0].port)
            self.deploy(self.device, balancer)
            for _ in range(2):
                sample = self.driver.observe(self.device).sample
                assert sample is not None
                names.append(sample.process)
        self.assertEqual((names[0], names[2], 2), (names[1], names[3], len(set(names))))

    def test_a_deployment_tells_what_the_process_before_had_counted(self) -> None:
        (backend,) = self.backends(1)
        balancer = load_balancer([backend.port], self.port())
        started = self.deploy(self.device, balancer).observation
        assert started is not None
        assert started.sample is not None
        self.assertEqual((), started.sample.objects)
        for _ in range(5):
            fetch(balancer.listeners[0].port)
        other = load_balancer([backend.port], self.port())
        seen = self.deploy(self.device, balancer, other).observation
        assert seen is not None
        assert seen.sample is not None
        counted = {each.object_id: each.counters.total_connections for each in seen.sample.objects}
        self.assertEqual(5, counted[balancer.listeners[0].id])
        self.assertNotIn(other.listeners[0].id, counted)
        noop = self.deploy(self.device, balancer, other).observation
        assert noop is not None
        self.assertIsNone(noop.sample)

    def test_a_stopped_haproxy_serves_nothing_and_a_mute_one_is_a_finding(self) -> None:
        balancer = load_balancer([8001], self.port())
        self.deploy(self.device, balancer)
        self.machine.run(["mv", self.machine.socket, f"{self.machine.socket}.away"], check=True)
        mute = self.driver.observe(self.device)
        self.assertTrue(mute.reachable)
        self.assertIsNone(mute.sample)
        self.assertIn("no statistics", " ".join(mute.findings))
        self.machine.stop_haproxy()
        self.assertEqual({}, self.seen())

    def member(self, port: int, **fields: Any) -> Member:
        return Member(id=new_id(), address="127.0.0.1", port=port, **fields)


class ThroughTheService(unittest.TestCase):
    """One service that looks every second, one device, two back ends; each test has a load balancer of its own."""

    @classmethod
    def setUpClass(cls) -> None:
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        root = Path(directory.name)
        cls.host = cls.enterClassContext(Host(root / "device"))
        cls.backends = [cls.enterClassContext(Backend(root / f"backend-{number}")) for number in range(2)]
        options = {"worker": {"observe_interval": "1", "scan_interval": "3600"}}
        cls.service = cls.enterClassContext(RunningService(root / "service", options))
        cls.service.register(cls.host)

    host: Host
    backends: list[Backend]
    service: RunningService

    def setUp(self) -> None:
        self.port = free_port()
        body = {
            "name": "web",
            "protocol": "HTTP",
            "virtualIps": [{"address": "0.0.0.0", "port": self.port}],
            "nodes": [{"address": "127.0.0.1", "port": each.port} for each in self.backends],
            "healthMonitor": [MONITOR],
        }
        self.path = f"/foo/loadbalancers/{self.service.create(body)}"
        self.addCleanup(self.service.call, "DELETE", self.path)

    def get(self, path: str = "") -> Any:
        answer = self.service.call("GET", f"{self.path}{path}")
        self.assertEqual(answer.status, 200, answer.text)
        return answer.json

    def stats(self, query: str = "?refresh=1") -> dict[str, Any]:
        shown: dict[str, Any] = self.get(f"/stats{query}")["stats"]
        return shown

    def requests(self, count: int) -> None:
        for _ in range(count):
            self.assertEqual(200, fetch(self.port).status)

    def assert_counted(self, count: int) -> dict[str, Any]:
        """That so many requests are counted, once HAProxy has closed the last connection; the statistics."""
        eventually(lambda: self.stats()["total"]["total_connections"] >= count, f"{count} requests are counted")
        stats = self.stats()
        self.assertEqual(count, stats["total"]["total_connections"])
        self.assertEqual(count, stats["virtualIps"][0]["total_connections"])
        self.assertEqual(count, sum(node["total_connections"] for node in stats["nodes"]))
        return stats

    def operating(self) -> list[str | None]:
        """As it was last seen: of the load balancer, the virtual IP and the nodes."""
        shown = self.get("/details")
        parts = [shown, *shown["virtualIps"], *shown["nodes"]]
        return [each["operating_status"] for each in parts]

    def reload(self) -> None:
        """A change that HAProxy must be reloaded for."""
        pids = self.host.haproxy_pids()
        (sticky,) = self.service.call(
            "POST", f"{self.path}/sessionPersistence", {"type": "HTTP_COOKIE", "name": "s"}
        ).json.values()
        self.assertNotEqual(pids, self.host.haproxy_pids())
        answer = self.service.call("DELETE", f"{self.path}/sessionPersistence/{sticky['id']}")
        self.assertEqual(204, answer.status, answer.text)

    def test_counters_survive_reloads_and_restarts(self) -> None:
        self.requests(20)
        # Nobody has looked since: the deployment itself does.
        self.reload()
        stats = self.assert_counted(20)
        self.assertEqual([10, 10], [node["total_connections"] for node in stats["nodes"]])
        size = len(fetch(self.port).text)
        self.assertGreaterEqual(stats["total"]["bytes_out"], 20 * size)
        self.requests(9)
        before = self.assert_counted(30)
        self.host.stop_haproxy()
        eventually(self.host.haproxy_pids, "the service starts it again")
        eventually(lambda: fetch_or_none(self.port) == 200, "it serves again")
        self.requests(4)
        # One more answered the question whether it serves again.
        after = self.assert_counted(35)
        for name in ("bytes_in", "bytes_out"):
            self.assertGreater(after["total"][name], before["total"][name])

    def test_a_dead_back_end_is_seen_within_one_interval(self) -> None:
        eventually(lambda: self.operating() == ["ONLINE"] * 4, "all are well")
        victim = self.backends[1]
        victim.kill()
        self.addCleanup(lambda: victim.process or victim.start())
        # A check each half a second, a look each second: no refresh is needed, and no scan comes before long.
        eventually(lambda: self.operating() == ["DEGRADED", "ONLINE", "ONLINE", "ERROR"], "it is seen")
        self.assertLess(self.stats("")["age"], 30)
        node = self.get("/nodes")["nodes"][1]
        self.assertEqual(("INSERVICE", "True"), (node["status"], node["deployed"]))
        # Neither a reload nor its first check makes it look well.
        self.reload()
        for _ in range(8):
            self.assertEqual("ERROR", self.stats()["nodes"][1]["status"])
        self.backends[0].kill()
        self.addCleanup(lambda: self.backends[0].process or self.backends[0].start())
        eventually(lambda: self.operating() == ["ERROR", "ONLINE", "ERROR", "ERROR"], "no node is left")
        for each in self.backends:
            each.start()
        eventually(lambda: self.operating() == ["ONLINE"] * 4, "they are back")


def fetch_or_none(port: int) -> int | None:
    try:
        return fetch(port).status
    except OSError:
        return None
