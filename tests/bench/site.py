"""What the rows about deployments are measured on: a service, a device of real sshd and haproxy, a back end."""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from balancer.devbox.backends import Backend
from balancer.devbox.host import Host, RunAs
from balancer.devbox.processes import free_port
from tests.bench.asking import Asker, request
from tests.integration.running import Answer, RunningService, eventually

# Nobody looks at the device by himself while something is measured.
OPTIONS = {"api": {"deploy_wait_seconds": "20"}, "worker": {"observe_interval": "3600"}}
_WAIT = 300.0
_AT_ONCE = 16


@dataclass(slots=True)
class Site:
    """`port` is that of every listener; each has a loopback address of its own."""

    service: RunningService
    host: Host
    backend: Backend
    device: str
    port: int
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def order(self, nodes: int = 3) -> tuple[str, dict[str, Any]]:
        """A new address and the request for a load balancer that listens there."""
        number = next(self._numbers)
        address = f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
        return address, {
            "name": "bench",
            "device_id": self.device,
            "protocol": "HTTP",
            "algorithm": "ROUND_ROBIN",
            "virtualIps": [{"address": address, "port": self.port}],
            "nodes": [{"address": f"127.0.0.{each}", "port": self.backend.port} for each in range(1, nodes + 1)],
        }

    def fill(self, count: int, nodes: int = 3) -> list[str]:
        """As many more load balancers, deployed; their ids."""
        orders = [json.dumps(self.order(nodes)[1]).encode() for _ in range(count)]
        self.at_once([request("POST", "/foo/loadbalancers", each, headers=ASYNC) for each in orders], 202)
        self.await_deployed()
        listed = self.call("GET", "/foo/loadbalancers").json["loadbalancers"]
        return [str(each["id"]) for each in listed[-count:]]

    def at_once(self, requests: Sequence[bytes], status: int, *, concurrency: int = _AT_ONCE) -> float:
        """Sends them, several at once; the seconds until all were answered."""
        waiting = iter(requests)
        with Asker(self.service.port, concurrency) as asker:
            pace = asker.ask(lambda: next(waiting, None), status=status)
        assert not pace.wrong, pace.wrong
        return pace.seconds

    def call(self, method: str, path: str, body: Any = None) -> Answer:
        answer = self.service.call(method, path, body, timeout=60)
        assert answer.status < 300, answer
        return answer

    def delete(self, load_balancer: str) -> None:
        self.call("DELETE", f"/foo/loadbalancers/{load_balancer}")

    def await_deployed(self, device: str | None = None, *, seconds: float = _WAIT) -> None:
        """Until the device runs all that was asked for."""

        def deployed() -> bool:
            info = self.call("GET", f"/devices/{device or self.device}/info").json["device"]
            assert info["deployment_error"] is None, info
            return bool(info["desired_revision"] == info["applied_revision"])

        eventually(deployed, "all is deployed", seconds=seconds)

    def plans(self) -> Mapping[str, int]:
        """How many deployments there were, by plan."""
        path = f"/devices/{self.device}/deployments?limit=1000"
        found: dict[str, int] = {}
        for each in self.call("GET", path).json["deployments"]:
            found[each["plan"]] = found.get(each["plan"], 0) + each["attempts"]
        return found

    @property
    def stats_socket(self) -> Path:
        """HAProxy's, as it is reached from outside the device."""
        (init,) = self.host.processes()
        return Path(f"/proc/{init.pid}/root{self.host.socket}")

    def ask_haproxy(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.stats_socket))
            connection.sendall(command.encode() + b"\n")
            said = b""
            while data := connection.recv(1 << 16):
                said += data
        return said.decode()


ASYNC = "Prefer: respond-async\r\n"


@contextmanager
def site(root: Path, *, run_as: RunAs = "group", options: Mapping[str, dict[str, str]] | None = None) -> Iterator[Site]:
    with (
        Backend(root / "backend", address="0.0.0.0") as backend,
        Host(root / "device", isolated=True, run_as=run_as) as host,
        RunningService(root / "service", {**OPTIONS, **(options or {})}, debug=False) as service,
    ):
        made = Site(service=service, host=host, backend=backend, device=service.register(host), port=free_port())
        eventually(lambda: _online(made), "the device is online")
        yield made


def _online(made: Site) -> bool:
    return bool(made.call("GET", f"/devices/{made.device}").json["device"]["status"] == "ONLINE")


def seconds_until_served(address: str, port: int, began: float, *, timeout: float = 30.0) -> float:
    """From `began` (perf_counter) until an HTTP request there is answered with 200."""
    return _until(lambda: _answers(address, port), began, timeout, f"{address}:{port} answers")


def until_closed(address: str, port: int, *, timeout: float = 30.0) -> None:
    _until(lambda: not _accepts(address, port), time.perf_counter(), timeout, f"{address}:{port} is closed")


def _until(holds: Callable[[], bool], began: float, timeout: float, what: str) -> float:
    while not holds():
        if time.perf_counter() - began > timeout:
            raise TimeoutError(f"not within {timeout:g} s: {what}")
        time.sleep(0.0005)
    return time.perf_counter() - began


def _accepts(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), 5):
            return True
    except OSError:
        return False


def _answers(address: str, port: int) -> bool:
    connection = http.client.HTTPConnection(address, port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
