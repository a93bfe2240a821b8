"""The whole service as real processes, for tests: API and worker, a database, and an HTTP client."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from balancer.devbox.host import Host
from balancer.devbox.processes import free_port, wait_until

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def fetch(
    port: int,
    path: str = "/",
    *,
    host: str = "127.0.0.1",
    headers: dict[str, str] | None = None,
    timeout: float = 15.0,
) -> Answer:
    """One GET over a connection of its own. Raises `OSError` when nobody answers."""
    return _exchange(host, port, "GET", path, None, headers or {}, timeout)


def _exchange(
    host: str, port: int, method: str, path: str, body: bytes | None, headers: dict[str, str], timeout: float
) -> Answer:
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        # A front end that closes without an answer is an outage like a refused connection.
        return Answer(status=answer.status, headers=dict(answer.getheaders()), text=answer.read().decode())
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP answer: {error!r}") from error
    finally:
        connection.close()


def eventually(holds: Callable[[], Any], what: str, *, seconds: float = 30.0) -> None:
    """Wait until it holds; an `AssertionError` says what did not happen.

    The deadline is one that a machine under load keeps, too. What is to show that something happens soon sets up its
    service or device so that nothing else could bring it about before the deadline.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)


class RunningService:
    """`bin/balancer-api` with its worker, on a loopback port and a new SQLite database below `root`.

    `options` are further lines of the configuration file, by section. `debug`: whether its log tells everything.
    """

    def __init__(self, root: Path, options: dict[str, dict[str, str]] | None = None, *, debug: bool = True) -> None:
        self.root = root
        self.port = free_port()
        self.log = root / "balancer.log"
        self._verbosity = ("--debug",) if debug else ()
        self._sections: dict[str, dict[str, str]] = {
            "DEFAULT": {"bind_host": "127.0.0.1", "bind_port": str(self.port)},
            "sql": {"connection": f"sqlite:///{root / 'balancer.sqlite'}"},
        }
        self.config_file = root / "balancer-api.conf"
        root.mkdir(parents=True, exist_ok=True)
        self.configure(options or {})
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, options: dict[str, dict[str, str]]) -> None:
        """Adds lines to the configuration file, or replaces them; the next start reads it."""
        for section, values in options.items():
            self._sections.setdefault(section, {}).update(values)
        lines = (
            line
            for section, values in self._sections.items()
            for line in (f"[{section}]", *(f"{key} = {value}" for key, value in values.items()))
        )
        self.config_file.write_text("\n".join(lines) + "\n")

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(ROOT / "bin/balancer-api"), "--config-file", str(self.config_file), *arguments]

    def start(self) -> Self:
        subprocess.run(self.command("--dbsync"), check=True, capture_output=True, timeout=120, cwd=self.root)
        self.launch()
        return self

    def launch(self) -> None:
        """Start the processes on the database as it is; returns when the API answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(*self._verbosity), stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.root
            )
        wait_until(self._answers, "the API does not answer", self.log, timeout=60)

    def _answers(self) -> bool:
        try:
            return self.call("GET", "/").status == 200
        except OSError:
            return False

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Answer:
        data = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        return _exchange("127.0.0.1", self.port, method, path, data, sent, timeout)

    def deployments(self) -> str:
        """What the worker said it did, for messages of failed tests."""
        return "\n".join(line for line in self.log.read_text().splitlines() if " balancer.core." in line)[-5000:]

    def register(self, host: Host, **fields: Any) -> str:
        """Registers the device; returns its id. Further fields go into the registration."""
        body: dict[str, Any] = {
            "name": "HAP-001",
            "type": "HAPROXY",
            "version": "1",
            "ip": host.address,
            "port": str(host.ssh_port),
            "user": host.user,
            "remote_config_path": host.config_path,
            "socket": host.socket,
            "host_key": host.host_key,
        }
        if host.password is not None:
            body["password"] = host.password
        else:
            body["private_key"] = host.private_key
        answer = self.call("POST", "/devices", {**body, **fields})
        assert answer.status == 200, answer
        return str(answer.json["device"]["id"])

    def create(self, body: dict[str, Any], *, status: str = "ACTIVE", tenant: str = "foo") -> str:
        """Creates a load balancer and asserts the status that the answer tells; returns its id."""
        answer = self.call("POST", f"/{tenant}/loadbalancers", body)
        assert answer.status == 202, answer
        assert answer.json["loadbalancer"]["status"] == status, answer
        return str(answer.json["loadbalancer"]["id"])


def is_running(pid: int) -> bool:
    """Whether there is such a process that is not a zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """The process ids of its children."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found.append(int(entry.parent.name))
    return found
