"""Starting programs that outlive us, knowing them again later, ending them."""

from __future__ import annotations

import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_ENOUGH_PORTS = 1000
_TRIES = 50


class StartError(RuntimeError):
    """Something did not start; the message holds the end of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessId:
    """A process that can be told from a later one with the same number.

    `created` is in seconds of the wall clock, as psutil computes it (right to about a second).
    """

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """Raises `StartError` when there is no such process."""
        try:
            return cls(pid=pid, created=psutil.Process(pid).create_time())
        except psutil.NoSuchProcess as error:
            raise StartError(f"process {pid} ended at once") from error

    def find(self) -> psutil.Process | None:
        """The live process, or None when it has ended (a zombie has)."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < 2
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    def alive(self) -> bool:
        return self.find() is not None

    def stop(self, grace: float = 5.0) -> None:
        """Ends it and its descendants: SIGTERM, after `grace` seconds SIGKILL. Raises `TimeoutError` when that fails.

        Descendants that are already at work for somebody else do not exist here: what we start, we own.
        """
        process = self.find()
        if process is None:
            return
        family = [process]
        try:
            family += process.children(recursive=True)
        except psutil.NoSuchProcess:
            return
        _signal(family[:1], psutil.Process.terminate)
        _, left = _wait(family, grace / 2)
        _signal(left, psutil.Process.terminate)
        _, left = _wait(left, grace / 2)
        _signal(left, psutil.Process.kill)
        _, left = _wait(left, 15.0)
        if left:
            raise TimeoutError(f"still running after SIGKILL: {', '.join(str(one.pid) for one in left)}")

    def kill(self) -> None:
        """SIGKILL to it alone, and waits for its end."""
        process = self.find()
        if process is not None:
            _signal([process], psutil.Process.kill)
            _wait([process], 15.0)


def _signal(processes: Sequence[psutil.Process], send: Callable[[psutil.Process], object]) -> None:
    for process in processes:
        try:
            send(process)
        except psutil.NoSuchProcess:
            continue


def _wait(processes: Sequence[psutil.Process], timeout: float) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """(gone, left) after at most `timeout` seconds; a zombie that is not ours to reap is gone."""
    deadline = time.monotonic() + timeout
    while True:
        left = [one for one in processes if not _gone(one)]
        if not left or time.monotonic() >= deadline:
            return [one for one in processes if one not in left], left
        time.sleep(0.01)


def _gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# The shell forks the program and ends, so that the program belongs to init and nobody has to wait for it. `env`
# undoes that shells make background programs ignore SIGINT and SIGQUIT.
_SPAWN = 'env --default-signal=INT,QUIT "$@" </dev/null >&2 & echo $!'


def spawn(
    argv: Sequence[str],
    log: Path,
    *,
    inside: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path | str = "/",
) -> int:
    """Starts a program in the background, its output appended to `log`; returns its pid.

    `inside`: a command prefix such as ``nsenter …``; the pid is then that of the namespace entered.
    """
    with log.open("ab") as output:
        shell = subprocess.run(
            [*inside, "/bin/sh", "-c", _SPAWN, "spawn", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            env=env,
            cwd=cwd,
            start_new_session=True,
            timeout=60,
            check=True,
        )
    return int(shell.stdout)


def tail(log: Path, lines: int = 15) -> str:
    """The end of a log file, indented; a remark when there is none."""
    try:
        text = log.read_text(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        text = []
    return "\n".join(f"    {line}" for line in text) or f"    ({log.name} is empty)"


def wait_until(ready: Callable[[], bool], what: str, log: Path, timeout: float = 30.0) -> None:
    """Waits for a condition. Raises `StartError` with `what` and the end of the log when it does not come true."""
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() >= deadline:
            raise StartError(f"{what} (waited {timeout:.0f} s). {log} ends:\n{tail(log)}")
        time.sleep(0.01)


def accepts(address: str, port: int, timeout: float = 1.0) -> bool:
    """Whether something listens there."""
    try:
        with socket.create_connection((address, port), timeout):
            return True
    except OSError:
        return False


def port_is_free(port: int, address: str = "127.0.0.1") -> bool:
    """Whether it can be bound now; one that the user may not bind is not free."""
    with socket.socket() as probe:
        # As servers do: connections in TIME_WAIT do not count, listeners do.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """Any TCP port that can be bound now at every address, and that the kernel does not give to clients meanwhile."""
    try:
        first_of_clients = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        first_of_clients = 0
    below = range(10_000, first_of_clients)
    if len(below) >= _ENOUGH_PORTS:
        for _ in range(_TRIES):
            port = secrets.choice(below)
            if port_is_free(port, ""):
                return port
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def first_free_port(wanted: Iterable[int], address: str = "127.0.0.1") -> int:
    """The first of `wanted` that is free. Raises `StartError` when none is."""
    tried = []
    for port in wanted:
        if port_is_free(port, address):
            return port
        tried.append(port)
    raise StartError(f"no free port on {address} from {tried[0]} to {tried[-1]}")
