"""An HTTP client that costs little, so that what is measured is the server: requests are written beforehand, answers
are read as far as their length says, over connections that are kept."""

from __future__ import annotations

import math
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """`wrong` holds status lines that were not expected, each once."""

    requests: int
    seconds: float
    wrong: frozenset[bytes]

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def request(method: str, path: str, body: bytes = b"", *, headers: str = "") -> bytes:
    """`headers`: further lines, each with its CRLF."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n".encode() + body


class Asker:
    """Connections to one port of loopback, each with one request under way at a time."""

    def __init__(self, port: int, connections: int) -> None:
        self._sockets = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(connections)]
        self._poll = select.epoll()
        for each in self._sockets:
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._poll.register(each.fileno(), select.EPOLLIN)

    def ask(self, write: Callable[[], bytes | None], *, seconds: float = math.inf, status: int = 200) -> Pace:
        """Asks as fast as it can for about `seconds`, or until `write` gives None; every answer is waited for."""
        by_number = {each.fileno(): each for each in self._sockets}
        expected = f"HTTP/1.1 {status} ".encode()
        wrong: set[bytes] = set()
        count, began = 0, time.perf_counter()
        end = began + seconds
        under_way = 0
        for each in self._sockets:
            under_way += self._write(each, write())
        while under_way:
            ready = self._poll.poll(30)
            if not ready:
                raise TimeoutError("no answer within 30 s")
            for number, _ in ready:
                connection = by_number[number]
                status_line = _read_answer(connection)
                count += 1
                if not status_line.startswith(expected):
                    wrong.add(status_line)
                under_way -= 1
                if time.perf_counter() < end:
                    under_way += self._write(connection, write())
        return Pace(requests=count, seconds=time.perf_counter() - began, wrong=frozenset(wrong))

    @staticmethod
    def _write(connection: socket.socket, asked: bytes | None) -> int:
        """How many requests that were."""
        if asked is None:
            return 0
        connection.sendall(asked)
        return 1

    def close(self) -> None:
        self._poll.close()
        for each in self._sockets:
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _read_answer(connection: socket.socket) -> bytes:
    """The status line of an answer that was read to its end. Raises `OSError`."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += _received(connection)
    head = data[:end].lower()
    at = head.find(b"content-length:")
    length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    left = end + 4 + length - len(data)
    while left > 0:
        left -= len(_received(connection))
    return data[: data.find(b"\r\n")]


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(_CHUNK)
    if not data:
        raise ConnectionError("the server closed the connection")
    return data
