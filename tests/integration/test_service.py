"""From the request to the answer through HAProxy: the service, sshd, haproxy and back ends, all real."""

from __future__ import annotations

import difflib
import http.client
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from balancer.devbox.backends import Backend, page
from balancer.devbox.host import Host
from balancer.devbox.processes import free_port
from tests.integration.running import RunningService, children, eventually, fetch, is_running


class ServiceCase(unittest.TestCase):
    """One service, one device, three back ends for all tests of a class; each test has load balancers of its own."""

    state: tempfile.TemporaryDirectory[str]
    host: Host
    backends: list[Backend]
    service: RunningService
    device_id: str
    tenant = "foo"

    @classmethod
    def setUpClass(cls) -> None:
        cls.state = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.state.cleanup)
        root = Path(cls.state.name)
        cls.host = cls.enterClassContext(Host(root / "device"))
        cls.backends = [cls.enterClassContext(Backend(root / f"backend-{number}")) for number in range(3)]
        cls.service = cls.enterClassContext(RunningService(root / "service"))
        cls.device_id = cls.service.register(cls.host)

    def setUp(self) -> None:
        self.before = self.host.read_config()

    def tearDown(self) -> None:
        for balancer in self.service.call("GET", "/foo/loadbalancers").json["loadbalancers"]:
            answer = self.service.call("DELETE", f"/foo/loadbalancers/{balancer['id']}")
            self.assertEqual(answer.status, 204)
        self.assertEqual(self.host.read_config(), self.before, "the file is not what it was before")

    def body(self, port: int, **fields: Any) -> dict[str, Any]:
        """A load balancer in front of the three back ends."""
        return {
            "name": "testLB001",
            "protocol": "HTTP",
            "algorithm": "RoundRobin",
            "virtualIps": [{"address": "0.0.0.0", "mask": "255.255.255.255", "type": "PUBLIC", "port": str(port)}],
            "nodes": [{"address": "127.0.0.1", "port": str(each.port), "weight": "1"} for each in self.backends],
            **fields,
        }

    def call(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        answer = self.service.call(method, path, body)
        self.assertEqual(answer.status, status, answer.text)
        return answer.json if answer.text else None

    def nodes(self, load_balancer: str) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = self.call("GET", f"/foo/loadbalancers/{load_balancer}/nodes")["nodes"]
        return nodes

    def pages(self, port: int, times: int) -> Counter[str]:
        return Counter(fetch(port).text for _ in range(times))


class TrafficThroughTheService(ServiceCase):
    def test_round_robin_answers_from_all_three_in_turn(self) -> None:
        port = free_port()
        self.service.create(self.body(port))
        answers = [fetch(port).text for _ in range(6)]
        self.assertEqual(set(answers), {page(each.port) for each in self.backends})
        self.assertEqual(answers[:3], answers[3:])

    def test_http_clients_are_named_to_the_nodes(self) -> None:
        port = free_port()
        self.service.create(self.body(port))
        self.assertIn(b"forwardfor", self.host.read_config())

    def test_weights_share_the_traffic(self) -> None:
        port = free_port()
        body = self.body(port)
        for node, weight in zip(body["nodes"], ("1", "2", "3"), strict=True):
            node["weight"] = weight
        self.service.create(body)
        counts = self.pages(port, 60)
        self.assertEqual([counts[page(each.port)] for each in self.backends], [10, 20, 30])

    def test_tcp_and_least_connections(self) -> None:
        port = free_port()
        self.service.create(self.body(port, protocol="TCP", algorithm="LEAST_CONNECTION"))
        busy = []
        for _ in range(3):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
            connection.connect()
            busy.append(connection)
        # Three connections held open: one at each back end.
        seen = set()
        for connection in busy:
            connection.request("GET", "/")
            seen.add(connection.getresponse().read().decode())
        for connection in busy:
            connection.close()
        self.assertEqual(seen, {page(each.port) for each in self.backends})

    def test_several_virtual_ips(self) -> None:
        first, second = free_port(), free_port()
        body = self.body(first)
        body["virtualIps"].append({"address": "127.0.0.1", "port": second})
        self.service.create(body)
        for port in (first, second):
            self.assertEqual(fetch(port).status, 200)

    def test_nodes_out_of_and_in_service(self) -> None:
        port = free_port()
        balancer = self.service.create(self.body(port))
        node = self.nodes(balancer)[0]
        path = f"/foo/loadbalancers/{balancer}/nodes/{node['id']}"
        out = page(self.backends[0].port)
        self.call("PUT", f"{path}/outofservice")
        self.assertNotIn(out, self.pages(port, 9))
        self.call("PUT", f"{path}/inservice")
        self.assertEqual(self.pages(port, 9)[out], 3)

    def test_nodes_come_and_go(self) -> None:
        port = free_port()
        balancer = self.service.create(self.body(port, nodes=[]))
        path = f"/foo/loadbalancers/{balancer}/nodes"
        self.assertEqual(fetch(port).status, 503)
        node = {"address": "127.0.0.1", "port": self.backends[0].port}
        (added,) = self.call("POST", path, {"nodes": [node]})["nodes"]
        self.assertEqual(fetch(port).text, page(self.backends[0].port))
        self.call("DELETE", f"{path}/{added['id']}", status=204)
        self.assertEqual(fetch(port).status, 503)

    def test_a_dead_back_end_is_taken_out_and_returns(self) -> None:
        port = free_port()
        monitor = {"type": "HTTP", "delay": 1, "timeout": 1, "attemptsBeforeDeactivation": 2, "expected": "200"}
        self.service.create(self.body(port, healthMonitor=[monitor]))
        eventually(lambda: len(self.pages(port, 6)) == 3, "all three answer")
        victim = self.backends[1]
        victim.kill()
        self.addCleanup(lambda: victim.process or victim.start())
        eventually(lambda: len(self.pages(port, 6)) == 2, "the dead one is out")
        # Out means: no client waits for it or is refused.
        self.assertEqual({fetch(port).status for _ in range(30)}, {200})
        victim.start()
        eventually(lambda: len(self.pages(port, 6)) == 3, "it is back")

    def test_two_monitors_must_both_agree(self) -> None:
        port = free_port()
        common = {"delay": 1, "timeout": 1, "attemptsBeforeDeactivation": 1}
        monitors = [{"type": "TCP", **common}, {"type": "HTTP", "path": "/ok.html", "expected": "200", **common}]
        for each in self.backends:
            (each.pages / "ok.html").write_text("ok")
        self.service.create(self.body(port, healthMonitor=monitors))
        eventually(lambda: len(self.pages(port, 6)) == 3, "all three answer")
        gone = self.backends[2].pages / "ok.html"
        gone.unlink()
        eventually(lambda: len(self.pages(port, 6)) == 2, "the one that fails one of them is out")
        gone.write_text("ok")
        eventually(lambda: len(self.pages(port, 6)) == 3, "it is back")

    def test_an_update_does_not_fail_one_request(self) -> None:
        port = free_port()
        balancer = self.service.create(self.body(port))
        node = self.nodes(balancer)[0]
        path = f"/foo/loadbalancers/{balancer}/nodes/{node['id']}"
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
        statuses: Counter[int] = Counter()
        for round_ in range(5):
            self.call("PUT", f"{path}/{'outofservice' if round_ % 2 == 0 else 'inservice'}")
            for _ in range(50):
                client.request("GET", "/")
                answer = client.getresponse()
                answer.read()
                statuses[answer.status] += 1
                statuses[fetch(port).status] += 1
        client.close()
        self.assertEqual(statuses, {200: 500})

    def test_many_at_once_are_all_answered_and_deployed(self) -> None:
        ports = [free_port() for _ in range(30)]
        with ThreadPoolExecutor(30) as pool:
            answers = list(
                pool.map(lambda port: self.service.call("POST", "/foo/loadbalancers", self.body(port)), ports)
            )
        self.assertEqual({answer.status for answer in answers}, {202})
        statuses = {answer.json["loadbalancer"]["status"] for answer in answers}
        self.assertEqual(statuses, {"ACTIVE"}, self.service.deployments())
        self.assertEqual({fetch(port).status for port in ports}, {200})
        paths = [f"/foo/loadbalancers/{answer.json['loadbalancer']['id']}" for answer in answers]
        with ThreadPoolExecutor(30) as pool:
            deleted = list(pool.map(lambda path: self.service.call("DELETE", path).status, paths))
        self.assertEqual(set(deleted), {204})

    def test_what_a_dry_run_tells_is_then_done(self) -> None:
        port, other = free_port(), free_port()
        balancer = self.service.create(self.body(port))
        node = self.nodes(balancer)[0]["id"]
        path = f"/foo/loadbalancers/{balancer}"
        sticky = {"type": "SOURCE_IP", "timeout": 60}
        for method, at, body, status in (
            ("PUT", f"{path}/nodes/{node}", {"weight": 5}, 200),
            ("PUT", f"{path}/nodes/{node}/outofservice", None, 200),
            ("POST", f"{path}/sessionPersistence", sticky, 200),
            ("PUT", path, {"algorithm": "LEAST_CONNECTION"}, 202),
            ("DELETE", path, None, 204),
        ):
            with self.subTest(f"{method} {at} {body}"):
                before = self.host.read_config()
                told = self.call(method, f"{at}?dry_run=1", body)["dry_run"]
                self.assertEqual(self.host.read_config(), before)
                self.assertEqual(fetch(port).status, 200)
                self.call(method, at, body, status=status)
                eventually(self._deployed, "it is deployed")
                newest = self.call("GET", f"/devices/{self.device_id}/deployments")["deployments"][0]
                done = self.call("GET", f"/devices/{self.device_id}/deployments/{newest['n']}")["deployment"]
                self.assertEqual((done["plan"], done["outcome"]), (told["plan"], "APPLIED"))
                after = self.host.read_config()
                lines = difflib.ndiff(before.decode().splitlines(), after.decode().splitlines())
                really = sorted(line[0] + line[2:] for line in lines if line[0] in "+-")
                self.assertEqual(changed(done["diff"]), really)
                (device,) = told["devices"]
                if method == "DELETE":
                    # The markers, and what all share, go with the last one.
                    self.assertLessEqual(set(changed(device["diff"], only=balancer)), set(really))
                else:
                    self.assertEqual(changed(device["diff"]), really)
        told = self.call("POST", "/foo/loadbalancers?dry_run=1", self.body(other))["dry_run"]
        self.assertEqual(told["plan"], "reload")
        self.assertIn(f"+    bind *:{other}\n", told["devices"][0]["diff"])
        self.assertFalse(_answers(other))

    def _deployed(self) -> bool:
        info = self.call("GET", f"/devices/{self.device_id}/info")["device"]
        return bool(info["applied_revision"] == info["desired_revision"])

    def test_failures_are_in_the_history(self) -> None:
        others = [{"address": "127.0.0.1", "port": self.backends[1].port}]
        bad = self.service.create(self.body(self.backends[0].port, nodes=others), status="ERROR")
        newest = self.call("GET", f"/devices/{self.device_id}/deployments?limit=1")["deployments"][0]
        self.assertIn(str(self.backends[0].port), newest["rejected"][bad])
        self.assertNotIn(self.host.password or "-", str(newest))

    def test_a_taken_port_is_refused_and_nothing_changes(self) -> None:
        port = free_port()
        self.service.create(self.body(port))
        text = self.host.read_config()
        answer = self.service.call("POST", "/foo/loadbalancers", self.body(port, device_id=self.device_id))
        self.assertEqual(answer.status, 409, answer.text)
        self.assertIn(str(port), answer.json["error"]["message"])
        self.assertEqual(self.host.read_config(), text)

    def test_hostile_names_never_reach_the_device(self) -> None:
        port = free_port()
        self.service.create(self.body(port, name="x'; touch /tmp/y #${HOME}%[src]", note="a\nlisten evil"))
        text = self.host.read_config()
        for word in (b"touch", b"evil", b"HOME", b"[src]"):
            self.assertNotIn(word, text)


class Failures(ServiceCase):
    def test_a_device_with_a_closed_port_is_registered_and_shown_as_unreachable(self) -> None:
        body = {"name": "x", "type": "HAPROXY", "ip": "127.0.0.1", "port": free_port(), "user": "u", "password": "p"}
        device = self.call("POST", "/devices", body)["device"]
        path = f"/devices/{device['id']}"
        eventually(lambda: self.call("GET", path)["device"]["status"] == "UNREACHABLE", "shown as unreachable")
        self.call("DELETE", path, status=204)
        self.call("GET", path, status=404)

    def test_a_busy_port_of_the_host_marks_its_load_balancer_alone(self) -> None:
        good = free_port()
        self.service.create(self.body(good))
        others = [{"address": "127.0.0.1", "port": self.backends[1].port}]
        bad = self.service.create(self.body(self.backends[0].port, nodes=others), status="ERROR")
        reason = self.call("GET", f"/foo/loadbalancers/{bad}")["loadbalancer"]["status_reason"]
        self.assertIn(str(self.backends[0].port), reason)
        self.assertEqual(fetch(good).status, 200)

    def test_an_unreachable_device_catches_up_by_itself(self) -> None:
        port = free_port()
        self.service.create(self.body(port))
        self.host.stop()
        other = free_port()
        answer = self.service.call("POST", "/foo/loadbalancers", self.body(other, device_id=self.device_id))
        self.assertEqual(answer.status, 202)
        self.assertEqual(answer.json["loadbalancer"]["status"], "BUILD")
        self.host.start()
        eventually(lambda: _answers(other), "deployed after the device returned", seconds=60)


class Processes(ServiceCase):
    def test_a_restart_keeps_everything_and_leaves_no_process(self) -> None:
        port = free_port()
        balancer = self.service.create(self.body(port))
        process = self.service.process
        assert process is not None
        workers = children(process.pid)
        self.assertEqual(len(workers), 1)
        self.assertEqual(self.service.stop(), 0)
        self.assertFalse(any(map(is_running, workers)))
        self.assertEqual(fetch(port).status, 200, "traffic does not need the service")
        self.service.launch()
        self.assertEqual(self.call("GET", f"/foo/loadbalancers/{balancer}")["loadbalancer"]["status"], "ACTIVE")

    def test_a_killed_worker_is_started_again(self) -> None:
        process = self.service.process
        assert process is not None
        (worker,) = children(process.pid)
        subprocess.run(["kill", f"-{signal.SIGKILL.value}", str(worker)], check=True)
        eventually(lambda: children(process.pid) not in ([], [worker]), "a new worker")
        port = free_port()
        self.service.create(self.body(port))
        self.assertEqual(fetch(port).status, 200)

    def test_a_killed_api_takes_its_worker_along(self) -> None:
        process = self.service.process
        assert process is not None
        workers = children(process.pid)
        process.kill()
        process.wait(10)
        eventually(lambda: not any(map(is_running, workers)), "the worker stops by itself")
        self.service.launch()


class Commands(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name)
        self.service = RunningService(self.root)

    def test_a_database_that_was_not_synced_names_the_command(self) -> None:
        done = subprocess.run(self.service.command(), capture_output=True, text=True, timeout=60, cwd=self.root)
        self.assertEqual(done.returncode, 1)
        self.assertIn("--dbsync", done.stderr)
        self.assertIn(str(self.service.config_file), done.stderr, "the command is for another database")
        self.assertNotIn("Traceback", done.stderr)

    def test_help_names_every_option(self) -> None:
        done = subprocess.run(self.service.command("--help"), capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0)
        for option in ("--dbsync", "--bind_port", "--debug", "--config-file", "--workers"):
            self.assertIn(option, done.stdout.replace("bind-port", "bind_port"))

    def test_an_idle_api_without_a_worker_stops_at_once(self) -> None:
        self.service = RunningService(self.root, {"DEFAULT": {"workers": "0"}})
        with self.service:
            began = time.monotonic()
            self.assertEqual(self.service.stop(), 0)
        # Far from the 20 s that requests in hand are given, also on a busy machine.
        self.assertLess(time.monotonic() - began, 10)

    def test_a_path_that_cannot_be_used_is_told(self) -> None:
        service = RunningService(self.root / "a $place")
        done = subprocess.run(service.command("--dbsync"), capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn("a $place", done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def test_a_paste_file_is_a_configuration_file(self) -> None:
        paste = self.root / "paste.ini"
        paste.write_text(
            self.service.config_file.read_text()
            + "\n[pipeline:main]\npipeline = apiv1app\n"
            + "[app:apiv1app]\npaste.app_factory = balancer.bootstrap:app_factory\n"
        )
        self.service.config_file = paste
        with self.service:
            self.assertEqual(self.service.call("GET", "/").status, 200)

    def test_a_busy_port_is_told(self) -> None:
        with self.service:
            done = subprocess.run(self.service.command(), capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn(str(self.service.port), done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def test_a_server_that_ends_by_itself_is_an_error(self) -> None:
        subprocess.run(self.service.command("--dbsync"), check=True, capture_output=True, timeout=60)
        for ends, said in (("raise OSError('no more')", "no more"), ("return", "nobody asked")):
            program = (
                "import sys\n"
                "from balancer.cmd import api\n"
                f"def server(*_, **__): {ends}\n"
                "api.eventlet.wsgi.server = server\n"
                f"sys.exit(api.main({self.service.command()[2:]!r}))\n"
            )
            with self.subTest(ends):
                done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
                self.assertEqual(1, done.returncode, done.stderr)
                self.assertIn(said, done.stderr)


def changed(diff: str, *, only: str | None = None) -> list[str]:
    """The lines that a unified diff takes away and adds; of several texts, those of all or of one."""
    parts = diff.split("--- before")[1:]
    return sorted(
        line
        for part in parts
        if only is None or part.startswith(f"/{only}\n")
        for line in part.splitlines()[2:]
        if line[0] in "+-"
    )


def _answers(port: int) -> bool:
    try:
        return fetch(port).status == 200
    except OSError:
        return False
