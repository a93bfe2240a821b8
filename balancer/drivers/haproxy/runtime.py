"""HAProxy's sockets: the stats socket of a worker, the socket of a master. Every answer is checked."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from balancer.core.model import DeviceSample
from balancer.drivers.haproxy import live, statistics
from balancer.drivers.haproxy.render import PEERS
from balancer.drivers.ssh import Connection, ForwardingRefused, Stream
from balancer.exceptions import TransientDeviceError

_TIMEOUT = 3.0
_BUSY_TIMEOUT, _BUSY_POLL = 2.0, 0.02
# Of the local and of the remote peers, in the flags of `show peers`.
_RESYNC_FINISHED = 0x3


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """`show info` of a worker; `uptime` in seconds."""

    pid: int
    version: str
    uptime: int
    values: Mapping[str, str]


def ask(connection: Connection, path: str, command: str) -> str:
    """One command to a socket. Raises `ForwardingRefused` when nobody listens there."""
    with connection.stream(path, timeout=_TIMEOUT) as stream:
        return stream.ask(command)


def show_info(connection: Connection, path: str) -> Info:
    """Raises `ForwardingRefused`, or `TransientDeviceError` for an answer that is none."""
    return _info(connection, path, ask(connection, path, "show info"))


def _info(connection: Connection, path: str, answer: str) -> Info:
    values = {match[1]: match[2] for match in re.finditer(r"^([A-Za-z_0-9]+): (.*)$", answer, re.MULTILINE)}
    if not values.get("Pid", "").isdigit():
        said = answer.strip().splitlines()[:1]
        raise TransientDeviceError(f"{connection.where}: {path} does not answer as HAProxy does: {said}")
    return Info(
        pid=int(values["Pid"]),
        version=values.get("Version", ""),
        uptime=int(values.get("Uptime_sec", "0") or 0),
        values=values,
    )


def ask_statistics(connection: Connection, path: str) -> str:
    """What `read_statistics` reads: one answer, so that one and the same worker gives all of it. Raises
    `ForwardingRefused`."""
    # Frontends, backends and servers (1 + 2 + 4) of all proxies.
    return ask(connection, path, "show info;show stat -1 7 -1")


def read_statistics(connection: Connection, path: str, answer: str) -> DeviceSample:
    """Raises `TransientDeviceError` for an answer that is none."""
    about, mark, table = answer.partition("\n# ")
    info = _info(connection, path, about)
    # A number alone may be another process's next time, in a container even regularly. Before 2.5 there is no time.
    process = f"{info.pid}-{info.values.get('Start_time_sec', '')}"
    try:
        return statistics.device_sample(process, mark + table)
    except ValueError as error:
        raise TransientDeviceError(f"{connection.where}: {path}: {error}") from None


def servers_state(connection: Connection, path: str) -> str:
    """What `states.carried` reads. Raises `ForwardingRefused`."""
    return ask(connection, path, "show servers state")


def reload_by_master(connection: Connection, path: str, opened: Stream | None = None) -> None:
    """Asks the master process to reload. Its answer says nothing on 2.x: the new worker does. A master that is busy
    with the reload before refuses connections for some moments. `opened`: a channel to it that is there already.
    Raises `ForwardingRefused`."""
    if opened is not None:
        with contextlib.suppress(TransientDeviceError):
            opened.ask("reload")
            return
    deadline = time.monotonic() + _BUSY_TIMEOUT
    while True:
        try:
            ask(connection, path, "reload")
            return
        except ForwardingRefused:
            if time.monotonic() > deadline:
                raise
        time.sleep(_BUSY_POLL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The stick tables of a worker: whether they hold anything, and whether it has got, or no longer expects, those of
    the worker before it. Only then it hands them over to the next one. That takes some milliseconds after a reload, and
    up to ten seconds after a start."""

    used: bool
    settled: bool


def stick_tables(connection: Connection, path: str) -> Tables:
    answer = ask(connection, path, "show table;show peers")
    state = re.search(rf"\bid={PEERS} disabled=\d+ flags=0x([0-9a-f]+)", answer)
    return Tables(
        # But for the one that only tells that the others were handed over.
        used=re.search(rf"^# table: (?!{PEERS}/).*\bused:[1-9]", answer, re.MULTILINE) is not None,
        settled=state is None or int(state[1], 16) & _RESYNC_FINISHED == _RESYNC_FINISHED,
    )


# --- changing what runs ----------------------------------------------------------------

_PROMPT = b"\n> "
_ANSWERS_MAX = 64 * 1024 * 1024
_GET_MARK = "get var proc.balancer"
# Sessions of a server that leaves, and connections kept for reuse, may end by themselves so soon.
_LEAVING_TIMEOUT = 0.3
_LEAVING_POLL = 0.01
# Newer versions change addresses a moment after they said so.
_SETTLING_TIMEOUT = 0.5
_SETTLING_POLL = 0.005


class Surprise(Exception):
    """HAProxy did not answer as it must; in words."""


class Unfamiliar(Exception):
    """It is not the process that was expected, or somebody else has changed it. Nothing was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What we write into a worker: which block (its digest) we last brought it to, and who did (the epoch). It is gone
    with the process, as everything is that was changed over the socket."""

    epoch: int
    digest: str

    def __str__(self) -> str:
        return f"{self.epoch}-{self.digest}"


class _Conversation:
    """Several commands in one session: all of them, from beginning to end, are answered by one and the same process.
    HAProxy ends it after `idle` seconds without a command: what was delayed for longer is not done any more."""

    def __init__(self, stream: Stream, where: str) -> None:
        self._stream = stream
        self._where = where
        self._buffer = b""

    def ask(self, commands: Sequence[str]) -> list[str]:
        """Sends all, then reads the answers."""
        self._stream.write("".join(f"{each}\n" for each in commands).encode("ascii"))
        answers = []
        for _ in commands:
            while _PROMPT not in self._buffer:
                data = self._stream.read()
                if not data or len(self._buffer) > _ANSWERS_MAX:
                    raise TransientDeviceError(f"{self._where}: HAProxy ended the session on its socket")
                self._buffer += data
            answer, _, self._buffer = self._buffer.partition(_PROMPT)
            answers.append(answer.decode("utf-8", "replace"))
        return answers

    def must(self, commands: Sequence[str]) -> None:
        """Raises `Surprise` unless every one was done."""
        for command, answer in zip(commands, self.ask(commands), strict=True):
            if not live.accepted(command, answer):
                raise Surprise(f"it answered `{command}` with {' '.join(answer.split())!r}")


@contextlib.contextmanager
def _conversation(connection: Connection, path: str, idle: int, question: str) -> Iterator[tuple[_Conversation, str]]:
    """With the answer to a first question."""
    with connection.stream(path, timeout=_TIMEOUT) as stream:
        talk = _Conversation(stream, connection.where)
        limit = f"set timeout cli {idle}"
        _, limited, answer = talk.ask(["prompt", limit, question])
        if not live.accepted(limit, limited):
            raise Surprise(f"it answered `{limit}` with {' '.join(limited.split())!r}")
        yield talk, answer


def _mark(answer: str) -> Mark | None:
    match = re.fullmatch(r"proc\.balancer: type=str value=<([0-9]{1,18})-([0-9a-f]{64})>", answer.strip())
    return Mark(epoch=int(match[1]), digest=match[2]) if match else None


def _set_mark(mark: Mark) -> tuple[str, str]:
    # Variables may be read at any time, but older versions let them be set in this mode only.
    return "experimental-mode on", f"set var proc.balancer str({mark})"


def read_mark(connection: Connection, path: str) -> Mark | None:
    """None when nothing was changed over the socket since the process was started. Raises `ForwardingRefused`."""
    return _mark(ask(connection, path, _GET_MARK))


def write_mark(connection: Connection, path: str, mark: Mark, *, pid: int, idle: int) -> bool:
    """Into that process. Whether that was possible."""
    with (
        contextlib.suppress(Surprise, TransientDeviceError),
        _conversation(connection, path, idle, "show info") as (talk, answer),
    ):
        if _info(connection, path, answer).pid == pid:
            talk.must(_set_mark(mark))
            return True
    return False


def change(
    connection: Connection,
    path: str,
    wanted: live.Change,
    *,
    known: Mark | None,
    mark: Mark,
    idle: int,
    check: Callable[[], None],
) -> tuple[str, ...]:
    """Has the worker that bears the mark `known` make the change, and sees that it did; it bears `mark` from before
    the first command on. Returns ``backend/server`` of those that could not be deleted: they are in maintenance and
    serve the sessions that they have. `check` as in `balancer.core.ports.Driver.apply`, which must hold for `idle`
    seconds.

    Raises `Unfamiliar`, `Surprise`, `TransientDeviceError`, `LeaseLost`.
    """
    with _conversation(connection, path, idle, _GET_MARK) as (talk, answer):
        if _mark(answer) != known:
            raise Unfamiliar
        first, *others = wanted.phases or ((),)
        check()
        talk.must([*_set_mark(mark), *first])
        for phase in others:
            check()
            talk.must(phase)
        staying = _delete(talk, wanted.leaving, check)
        _verify(talk, wanted.expected)
    return staying


def _delete(talk: _Conversation, leaving: Sequence[str], check: Callable[[], None]) -> tuple[str, ...]:
    deadline = time.monotonic() + _LEAVING_TIMEOUT
    while leaving:
        check()
        commands = [f"del server {each}" for each in leaving]
        refused = []
        for server, command, answer in zip(leaving, commands, talk.ask(commands), strict=True):
            if live.STILL_USED.search(answer):
                refused.append(server)
            elif not live.accepted(command, answer):
                raise Surprise(f"it answered `{command}` with {' '.join(answer.split())!r}")
        leaving = tuple(refused)
        if time.monotonic() > deadline:
            break
        if leaving:
            time.sleep(_LEAVING_POLL)
    return tuple(leaving)


def _verify(talk: _Conversation, expected: Mapping[str, live.State]) -> None:
    backends = list(dict.fromkeys(each.partition("/")[0] for each in expected))
    deadline = time.monotonic() + _SETTLING_TIMEOUT
    while expected:
        seen: dict[str, live.State] = {}
        try:
            for answer in talk.ask([f"show servers state {each}" for each in backends]):
                seen |= live.server_states(answer)
        except ValueError as error:
            raise Surprise(str(error)) from None
        wrong = live.differing(expected, seen)
        if not wrong:
            return
        if time.monotonic() > deadline:
            raise Surprise(f"server {wrong[0]} is {seen.get(wrong[0])} afterwards")
        time.sleep(_SETTLING_POLL)
