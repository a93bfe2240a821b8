"""Stopping a deployment at a wanted step, from outside: nothing in the program knows of it.

On the device a command (`tee`, `mv`, `kill`, …) is covered by a script that announces itself, waits until it is let
go and is then that command. Between the device and the service stands a proxy that holds or cuts a connection after
a number of bytes. The service's database is locked by somebody else.
"""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from balancer.devbox.host import Host
from tests.integration.running import eventually

_LONGEST_HOLD = 40
_CHUNK = 65536


# --- on the device ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A moment of a deployment: before or after one command, told from others of its kind by one of its words."""

    name: str
    command: str
    word: str
    after: bool = False


UPLOADED = Step(name="the new file was uploaded", command="/usr/bin/tee", word=".balancer-new", after=True)
CHECKING = Step(name="haproxy checks the new file", command="/usr/sbin/haproxy", word=".balancer-new")
RECORDED = Step(name="the sidecar was written", command="/usr/bin/mv", word=".balancer-note", after=True)
RENAMED = Step(name="the new file was renamed, no reload yet", command="/usr/bin/mv", word=".balancer-new", after=True)
RELOADING = Step(name="haproxy was told to reload", command="/usr/bin/kill", word="-USR2", after=True)
COMMITTED = Step(
    name="the device is done, nothing is recorded", command="/usr/bin/rm", word=".balancer-old", after=True
)

# bash: HAProxy must keep the name that it is started by when it starts itself anew.
_SCRIPT = """\
#!/bin/bash
case " $* " in *{word}*) ;; *) exec -a "$0" {real} "$@" ;; esac
mkdir {directory}/taken 2>/dev/null || exec -a "$0" {real} "$@"
hold() {{
    : >{directory}/reached
    turns=0
    until [ -e {directory}/released ] || [ "$turns" -ge {turns} ]; do sleep 0.02; turns=$((turns + 1)); done
}}
if [ {after} = no ]; then hold; exec -a "$0" {real} "$@"; fi
(exec -a "$0" {real} "$@")
code=$?
hold
exit "$code"
"""


class Stop:
    """The next deployment to the device comes to the step and no further, until `release`. A context manager; the
    device must run when it is entered, and may be gone when it is left."""

    def __init__(self, host: Host, step: Step) -> None:
        self.step = step
        self._host = host
        self._directory = f"/run/stops/{Path(step.command).name}"

    def __enter__(self) -> Self:
        here, command = self._directory, self.step.command
        self._on_device(f"rm -rf {here} && mkdir -p {here} && chmod 1777 {here} && cp -p {command} {here}/real")
        script = _SCRIPT.format(
            word=self.step.word,
            directory=here,
            real=f"{here}/real",
            after="yes" if self.step.after else "no",
            turns=_LONGEST_HOLD * 50,
        )
        self._host.run(["tee", f"{here}/script"], input=script.encode(), check=True)
        self._on_device(f"chmod 755 {here}/script && mount --bind {here}/script {command}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After a power cut nothing of it is left.
        if self._host.processes():
            self.release()

    def await_reached(self, seconds: float = 40.0) -> None:
        """Returns when a deployment stands at the step."""
        reached = f"{self._directory}/reached"
        eventually(
            lambda: self._host.run(["test", "-e", reached]).returncode == 0,
            f"reached: {self.step.name}",
            seconds=seconds,
        )

    def release(self) -> None:
        """Let go whatever stands there, and stop nothing from now on."""
        # Lazily: the script itself may still be running.
        self._host.run(["sh", "-c", f"umount -l {self.step.command}; mkdir -p {self._directory}/taken"])
        self._host.run(["sh", "-c", f": >{self._directory}/released"])

    def _on_device(self, script: str) -> None:
        self._host.run(["sh", "-c", script], check=True)


# --- between the service and the device --------------------------------------------------------


class Proxy:
    """Forwards TCP connections to a port of loopback. `sent` counts the bytes from clients to the server.

    After `hold_after(n)` or `cut_after(n)` the connection that brings the n-th byte from then on is held there until
    `release`, or cut; later connections pass.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.sent = 0
        self.reached = threading.Event()
        self._released = threading.Event()
        self._lock = threading.Lock()
        self._limit: int | None = None
        self._cut = False
        self._open: set[socket.socket] = set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        # Closing alone does not wake who waits in accept.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            everything = list(self._open)
        for each in everything:
            _close(each)

    def hold_after(self, count: int) -> None:
        self._arm(count, cut=False)

    def cut_after(self, count: int) -> None:
        self._arm(count, cut=True)

    def release(self) -> None:
        """What was held goes on, in both directions."""
        self._released.set()

    def _arm(self, count: int, *, cut: bool) -> None:
        with self._lock:
            self._limit, self._cut = self.sent + count, cut
            self.reached.clear()
            self._released.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target), 15)
                except OSError:
                    _close(client)
                    continue
                server.settimeout(None)
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._open |= {client, server}
                threading.Thread(target=self._up, args=(client, server), daemon=True).start()
                threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(_CHUNK):
                allowed = self._allowed(len(data))
                server.sendall(data[:allowed])
                if allowed < len(data):
                    self.reached.set()
                    if self._cut:
                        break
                    self._released.wait(_LONGEST_HOLD)
                    server.sendall(data[allowed:])
        self._end(client, server)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(_CHUNK):
                client.sendall(data)
        self._end(client, server)

    def _allowed(self, count: int) -> int:
        """How many of the next bytes may pass."""
        with self._lock:
            before, self.sent = self.sent, self.sent + count
            if self._limit is None or self.sent < self._limit:
                return count
            allowed, self._limit = max(0, self._limit - before - 1), None
            return allowed

    def _end(self, *both: socket.socket) -> None:
        for each in both:
            _close(each)
        with self._lock:
            self._open -= set(both)


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


# --- in the database ------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Nobody else can write to this SQLite database; reading is possible."""
    connection = sqlite3.connect(database, isolation_level=None, timeout=30)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()
