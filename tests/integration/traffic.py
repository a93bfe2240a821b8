"""Clients that ask all the time while a test does something else, in a process of their own, so that neither holds up
the other. Every answer is looked at.

As a program: reads clients as JSON from its first line of input, tells what it has seen several times a second, ends
with the end of its input.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Self

_TIMEOUT = 15.0
# For the least number of requests, on a machine under load.
_PATIENCE = 60.0
_TOLD_EVERY = 0.05
# What went wrong a hundred times is wrong enough.
_MOST_FAILURES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One who asks for `path` on one connection (`keep`), or on a new one each time, with `pause` seconds between, from
    the address `source` of ours, with `cookie` if there is one. `page`: what the answer must be."""

    port: int
    path: str = "/"
    keep: bool = True
    pause: float = 0.0
    host: str = "127.0.0.1"
    source: str | None = None
    cookie: str = ""
    page: str | None = None


class Traffic:
    """A context manager. `count` requests were made so far; `failures` says what went wrong. The block begins when the
    first request was made; it ends when at least `least` were."""

    def __init__(self, *clients: Client, least: int = 60) -> None:
        self.count = 0
        self.failures: list[str] = []
        self._clients = clients
        self._least = least
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @classmethod
    def to(cls, port: int, path: str = "/", *, pause: float = 0.005, host: str = "127.0.0.1") -> Traffic:
        """One client that keeps its connection, and one that makes new ones."""
        return cls(*(Client(port=port, path=path, keep=keep, pause=pause, host=host) for keep in (True, False)))

    @classmethod
    def heavy(cls, port: int, *, least: int = 60) -> Traffic:
        """As fast as they can: two that keep their connections, and one that makes new ones."""
        return cls(*(Client(port=port, keep=keep) for keep in (True, True, False)), least=least)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([asdict(each) for each in self._clients]) + "\n")
        self._process.stdin.flush()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._await(1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None and self._process.stdin is not None and self._reader is not None
        # However short the block was, what came after it is to be seen too.
        self._await(self._least)
        self._process.stdin.close()
        try:
            status = self._process.wait(_TIMEOUT + 5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait(5)
        self._reader.join(5)
        if status != 0:
            self.failures.append(f"the clients ended with status {status}")

    def _await(self, count: int) -> None:
        deadline = time.monotonic() + _PATIENCE
        while self.count < count and time.monotonic() < deadline:
            time.sleep(0.01)

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        with self._process.stdout as told:
            for line in told:
                seen = json.loads(line)
                self.failures.extend(seen["failures"])
                self.count = seen["count"]


# --- the program --------------------------------------------------------------------------


class _Asking:
    def __init__(self, client: Client) -> None:
        self.count = 0
        self.failures: list[str] = []
        self._client = client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        client = self._client
        source = None if client.source is None else (client.source, 0)
        connection = http.client.HTTPConnection(client.host, client.port, timeout=_TIMEOUT, source_address=source)
        while not self._stop.wait(client.pause) if client.pause else not self._stop.is_set():
            try:
                self._one(connection)
            except (OSError, http.client.HTTPException) as error:
                self._fail(repr(error))
                connection.close()
            self.count += 1
            if not client.keep:
                connection.close()
        connection.close()

    def _one(self, connection: http.client.HTTPConnection) -> None:
        client = self._client
        connection.request("GET", client.path, headers={"Cookie": client.cookie} if client.cookie else {})
        answer = connection.getresponse()
        page = answer.read().decode()
        if answer.status != 200:
            self._fail(f"status {answer.status}")
        elif client.page not in (None, page):
            self._fail(f"{page.strip()!r} instead of {str(client.page).strip()!r}")

    def _fail(self, what: str) -> None:
        if len(self.failures) < _MOST_FAILURES:
            self.failures.append(f"{time.strftime('%H:%M:%S')} port {self._client.port}: {what}")


def _main() -> None:
    clients: Sequence[Client] = [Client(**each) for each in json.loads(sys.stdin.readline())]
    asking = [_Asking(each) for each in clients]
    ended = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    told = [0] * len(asking)

    def tell() -> None:
        failures = []
        for number, each in enumerate(asking):
            new = each.failures[told[number] :]
            told[number] += len(new)
            failures += new
        print(json.dumps({"count": sum(each.count for each in asking), "failures": failures}), flush=True)

    while not ended.wait(_TOLD_EVERY):
        tell()
    for each in asking:
        each.end()
    tell()


if __name__ == "__main__":
    _main()
