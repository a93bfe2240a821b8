"""What every scenario starts from, and what it must come back to: one service, one device, real traffic.

A scenario asks the service for something, breaks something, and then waits until the world is well again. `World.wrong`
says what is not: the objects, the database behind them, the files on the device, and what its ports answer.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from balancer.devbox.backends import Backend, page
from balancer.devbox.host import Host
from balancer.devbox.processes import free_port
from tests.integration.running import ROOT, Answer, RunningService, children, eventually, fetch, is_running
from tests.integration.traffic import Traffic
from tests.scenarios.stops import Proxy

# Promised in doc/source/crash-safety.rst; both with the options' defaults.
BY_RESTART = 20.0
BY_ANOTHER_WORKER = 60.0
# What a machine that runs other tests beside may add; nothing, when the scenarios are run alone (run.sh here). How long
# it took is printed.
SLACK = float(os.environ.get("BALANCER_SCENARIO_SLACK", "15"))

# Writes are answered at once, so that a scenario goes on while they are deployed.
_OPTIONS = {"api": {"deploy_wait_seconds": "0"}}
# As many as a scenario must see answered to be believed.
_REQUESTS = 60
_LISTEN = re.compile(rb"^    bind \*:(\d+)", re.MULTILINE)
_SERVER = re.compile(r"^    server (\S+) (\S+) .*?weight (\d+)(?: .*?)??( disabled)?$", re.MULTILINE)


class Worker:
    """A `balancer-worker` of its own on the service's database, in a process namespace of its own: as on another
    machine, it cannot be seen from there whether other workers' processes are gone."""

    def __init__(self, service: RunningService) -> None:
        program = [
            sys.executable,
            str(ROOT / "bin/balancer-worker"),
            "--config-file",
            str(service.config_file),
            "--debug",
        ]
        number = len(list(service.root.glob("worker-*.log"))) + 1
        self.log = service.root / f"worker-{number}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--", *program],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=service.root,
            )
        eventually(lambda: "Worker started" in self.log.read_text(), "the worker starts", seconds=60)
        (self._pid,) = children(self.process.pid)

    def stop(self) -> None:
        """kill -9, whatever state it is in."""
        if self.process.poll() is None:
            os.kill(self._pid, signal.SIGKILL)
            self.process.wait(30)

    def freeze(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._pid, signal.SIGCONT)

    def says(self, text: str) -> bool:
        return text in self.log.read_text()


class World:
    """`balancers` are those that were accepted and not deleted: id to the ports that must answer."""

    def __init__(self, service: RunningService, host: Host, backend: Backend, *, behind: Proxy | None = None) -> None:
        self.service = service
        self.host = host
        self.backend = backend
        self.balancers: dict[str, list[int]] = {}
        self.closed: set[int] = set()
        self.hand_written = host.read_config()
        before = {"ip": "127.0.0.1", "port": str(behind.port)} if behind else {}
        self.device = service.register(host, **before)

    # --- asking the service -----------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        return self.service.call(method, path, body)

    def order(self, port: int | None = None, *, idle: int = 0) -> dict[str, Any]:
        """A load balancer in front of the back end, as a request. `idle`: nodes besides that are out of service."""
        nodes = [{"address": "127.0.0.1", "port": str(self.backend.port)}]
        nodes += [{"address": f"127.0.1.{each}", "port": "9", "condition": "DISABLED"} for each in range(1, idle + 1)]
        return {
            "name": "scenario",
            "protocol": "HTTP",
            "algorithm": "ROUND_ROBIN",
            "virtualIps": [{"address": "0.0.0.0", "port": str(port or free_port())}],
            "nodes": nodes,
        }

    def add(self, port: int | None = None, *, idle: int = 0) -> str:
        """Asks for a load balancer and keeps in mind that it was accepted; its id."""
        order = self.order(port, idle=idle)
        answer = self.ask("POST", "/foo/loadbalancers", order)
        assert answer.status == 202, answer
        balancer = str(answer.json["loadbalancer"]["id"])
        self.balancers[balancer] = [int(order["virtualIps"][0]["port"])]
        self.closed.difference_update(self.balancers[balancer])
        return balancer

    def add_port(self, balancer: str) -> str:
        """Asks for one more port of a load balancer; the id of its virtual IP."""
        port = free_port()
        answer = self.ask("POST", f"/foo/loadbalancers/{balancer}/virtualIps", {"address": "0.0.0.0", "port": port})
        assert answer.status == 200, answer
        self.balancers[balancer].append(port)
        return str(answer.json["virtualIp"]["id"])

    def weigh(self, balancer: str, weight: int) -> None:
        """Asks for that weight of its nodes."""
        for node in self.ask("GET", f"/foo/loadbalancers/{balancer}/nodes").json["nodes"]:
            answer = self.ask("PUT", f"/foo/loadbalancers/{balancer}/nodes/{node['id']}", {"weight": weight})
            assert answer.status == 200, answer

    def remove(self, balancer: str) -> None:
        answer = self.ask("DELETE", f"/foo/loadbalancers/{balancer}")
        assert answer.status == 204, answer
        self.closed.update(self.balancers.pop(balancer))

    @property
    def ports(self) -> list[int]:
        """All that must answer."""
        return sorted(port for ports in self.balancers.values() for port in ports)

    def status(self, balancer: str) -> tuple[str, str]:
        """Status and reason."""
        shown = self.ask("GET", f"/foo/loadbalancers/{balancer}").json["loadbalancer"]
        return shown["status"], shown["status_reason"]

    def device_status(self) -> tuple[str, str]:
        """Status and reason."""
        shown = self.ask("GET", f"/devices/{self.device}").json["device"]
        return shown["status"], shown["status_reason"]

    def retry(self) -> None:
        assert self.ask("POST", f"/devices/{self.device}/retry").status == 200

    # --- ending processes ----------------------------------------------------------------------------

    def worker_pid(self) -> int:
        """The worker beside the API."""
        api = self.service.process
        assert api is not None
        eventually(lambda: len(children(api.pid)) == 1, "the API has a worker")
        return children(api.pid)[0]

    def kill_worker(self) -> None:
        """The API starts another one."""
        victim = self.worker_pid()
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: not is_running(victim), "the worker is gone")

    def kill_api(self) -> None:
        """Its worker ends by itself, as soon as it has done what it has in hand."""
        assert self.service.process is not None
        self.service.process.kill()
        self.service.process.wait(30)

    def kill_all(self) -> None:
        victim = self.worker_pid()
        os.kill(victim, signal.SIGSTOP)
        self.kill_api()
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: not is_running(victim), "the worker is gone")

    # --- how things are --------------------------------------------------------------------------------

    @property
    def database(self) -> Path:
        return self.service.root / "balancer.sqlite"

    def stored(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30)
        try:
            return connection.execute(query, values).fetchall()
        finally:
            connection.close()

    def revisions(self) -> tuple[int, int]:
        """Desired and applied."""
        query = "SELECT desired_revision, applied_revision FROM devices WHERE id = ?"
        ((desired, applied),) = self.stored(query, self.device)
        return desired, applied

    def on_device(self, path: str) -> bytes:
        """A file as the device sees it, also one on a file system that only it has; b"" when there is none."""
        return self.host.run(["cat", path]).stdout

    def config(self) -> bytes:
        return self.on_device(self.host.config_path)

    def step_is_over(self) -> bool:
        """Nobody deploys on the device."""
        return self.host.run(["flock", "-n", "/etc/haproxy", "true"]).returncode == 0

    def wrong(self) -> list[str]:
        """Everything that is not as it was asked for; empty when all is well."""
        try:
            # Looking at the device costs more than asking the service.
            return self._wrong_objects() or [
                *self._wrong_rows(),
                *self._wrong_files(),
                *self._wrong_servers(),
                *self._wrong_ports(),
            ]
        except (OSError, sqlite3.Error) as error:
            return [f"cannot look: {error!r}"]

    def _wrong_objects(self) -> list[str]:
        shown = {each["id"]: each for each in self.ask("GET", "/foo/loadbalancers").json["loadbalancers"]}
        found = [f"load balancer {each} is lost" for each in self.balancers.keys() - shown.keys()]
        found += [f"load balancer {each} is there unasked" for each in shown.keys() - self.balancers.keys()]
        found += [
            f"load balancer {each['id']} is {each['status']}: {each['status_reason']}"
            for each in shown.values()
            if each["status"] != "ACTIVE" or each["deployed"] != "True"
        ]
        status, reason = self.device_status()
        return found if status == "ONLINE" else [*found, f"the device is {status}: {reason}"]

    def _wrong_rows(self) -> list[str]:
        found = []
        desired, applied = self.revisions()
        if desired != applied:
            found.append(f"revision {desired} is desired, {applied} applied")
        if self.stored("SELECT id FROM load_balancers WHERE deleted"):
            found.append("deleted load balancers are kept")
        held = sorted(port for (port,) in self.stored("SELECT port FROM reservations"))
        if held != self.ports:
            found.append(f"ports {held} are reserved, not {self.ports}")
        return found

    def _wrong_files(self) -> list[str]:
        found = []
        here = Path(self.host.config_path)
        names = set(self.host.run(["ls", "-A", str(here.parent)], check=True).stdout.decode().split())
        left = {name for name in names if "balancer" in name} - {
            f"{here.name}.balancer",
            f"{here.name}.balancer-states",
        }
        if left:
            found.append(f"left behind: {', '.join(sorted(left))}")
        config = self.config()
        if not config.startswith(self.hand_written):
            found.append("the hand-written part is not what it was")
        block = config.removeprefix(self.hand_written)
        listening = sorted(int(port) for port in _LISTEN.findall(block))
        if listening != self.ports:
            found.append(f"the file has the ports {listening}, not {self.ports}")
        sidecar = self.on_device(f"{here}.balancer").decode()
        digest = hashlib.sha256(block).hexdigest() if block else ""
        if f'"digest": "{digest}"' not in sidecar or f'"device_id": "{self.device}"' not in sidecar:
            found.append(f"the sidecar is not that of the file: {sidecar}")
        remembered = re.search(r'"epoch": (\d+)', sidecar)
        ((epoch,),) = self.stored("SELECT epoch FROM leases WHERE device_id = ?", self.device)
        if remembered is None or int(remembered[1]) > epoch:
            found.append(f"the device remembers another epoch than the database ({epoch}): {sidecar}")
        return found

    def servers(self) -> dict[str, tuple[str, str, bool]]:
        """What HAProxy runs: server to its address, weight and whether it is in maintenance."""
        command = ["socat", "-t5", "-", f"UNIX-CONNECT:{self.host.socket}"]
        told = self.host.run(command, input=b"show servers state\n").stdout.decode()
        rows = [line.split() for line in told.splitlines() if len(line.split()) > 18]
        names = ("srv_name", "srv_addr", "srv_port", "srv_uweight", "srv_admin_state")
        places = [rows[0].index(name) - 1 for name in names] if rows else []
        found = ([row[place] for place in places] for row in rows[1:])
        return {
            name: (f"{address}:{port}", weight, bool(int(admin) & 1)) for name, address, port, weight, admin in found
        }

    def _wrong_servers(self) -> list[str]:
        written = {
            name: (address, weight, bool(disabled))
            for name, address, weight, disabled in _SERVER.findall(self.config().decode())
        }
        running = self.servers()
        return [] if running == written else [f"HAProxy runs the servers {running}, the file has {written}"]

    def _wrong_ports(self) -> list[str]:
        found = []
        for port in self.ports:
            try:
                answer = fetch(port)
            except OSError as error:
                found.append(f"port {port}: {error!r}")
            else:
                if (answer.status, answer.text) != (200, page(self.backend.port)):
                    found.append(f"port {port} answers {answer.status} {answer.text!r}")
        return found + [f"port {port} still answers" for port in self.closed if answers(port)]


def answers(port: int) -> bool:
    try:
        fetch(port)
    except OSError:
        return False
    return True


class ScenarioCase(unittest.TestCase):
    """One world for the tests of a class; each begins when it is well. `options` are of the service's configuration
    file; with `proxied` the service reaches the device through `proxy`."""

    options: ClassVar[dict[str, dict[str, str]]] = {}
    proxied = False

    host: Host
    service: RunningService
    world: World
    proxy: Proxy
    first: str

    @classmethod
    def setUpClass(cls) -> None:
        root = Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="balancer-test-")))
        cls.host = cls.enterClassContext(Host(root / "device", isolated=True))
        backend = cls.enterClassContext(Backend(root / "backend"))
        cls.service = cls.enterClassContext(RunningService(root / "service", {**_OPTIONS, **cls.options}))
        cls.proxy = cls.enterClassContext(Proxy(cls.host.ssh_port))
        cls.world = World(cls.service, cls.host, backend, behind=cls.proxy if cls.proxied else None)
        cls.first = cls.world.add()

    def setUp(self) -> None:
        if self.options.get("DEFAULT", {}).get("workers") != "0":
            self._await(BY_RESTART, "to begin with")

    def worker(self) -> Worker:
        made = Worker(self.service)
        self.addCleanup(made.stop)
        return made

    def traffic(self) -> Traffic:
        """Requests to the load balancer that was there first, as long as the `with` block lasts."""
        return Traffic.to(self.world.balancers[self.first][0])

    @contextlib.contextmanager
    def while_the_worker_sleeps(self) -> Iterator[None]:
        """What is asked for in the block is deployed together, and nothing before."""
        worker = self.world.worker_pid()
        os.kill(worker, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(worker, signal.SIGCONT)

    def no_request_failed(self, traffic: Traffic) -> None:
        self.assertEqual([], traffic.failures)
        self.assertGreaterEqual(traffic.count, _REQUESTS)

    def well_within(self, seconds: float, after: str) -> None:
        """Waits until everything is as it was asked for; prints how long that took."""
        took = self._await(seconds, after)
        print(f"[{took:.1f} s: {after}] ", end="", file=sys.stderr, flush=True)

    def _await(self, seconds: float, after: str) -> float:
        began = time.monotonic()
        wrong = self.world.wrong()
        while wrong:
            if time.monotonic() - began > seconds + SLACK:
                self.fail(f"not within {seconds + SLACK:g} s, {after}: {'; '.join(wrong)}\n{self._logs()}")
            time.sleep(0.05)
            wrong = self.world.wrong()
        return time.monotonic() - began

    def stays_well(self, seconds: float) -> None:
        """Nothing changes by itself any more."""
        config, deadline = self.world.config(), time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.assertEqual([], self.world.wrong())
            self.assertEqual(config, self.world.config())
            time.sleep(0.1)

    def says(self, tell: Sequence[str], *, balancer: str | None = None, seconds: float = 40.0) -> None:
        """Waits until the reason of the device's status, or of a load balancer's, has every one of these texts."""
        world = self.world

        def reason() -> str:
            return world.device_status()[1] if balancer is None else world.status(balancer)[1]

        deadline = time.monotonic() + seconds
        while not all(each in reason() for each in tell):
            if time.monotonic() > deadline:
                self.fail(f"not within {seconds:g} s: {tell}, but: {reason()}\n{self._logs()}")
            time.sleep(0.05)

    def _logs(self) -> str:
        found = []
        for log in sorted(self.service.root.glob("*.log")):
            lines = [line for line in log.read_text(errors="replace").splitlines() if "middleware.access" not in line]
            found += [f"--- {log.name}", *(line[:300] for line in lines[-30:])]
        return "\n".join(found)
