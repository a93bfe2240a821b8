"""HAProxy's sockets: the stats socket of a worker, the socket of a master. Every answer is checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from balancer.core.model import DeviceSample
from balancer.drivers.haproxy import statistics
from balancer.drivers.haproxy.render import PEERS
from balancer.drivers.ssh import Connection
from balancer.exceptions import TransientDeviceError

_TIMEOUT = 3.0
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


def reload_by_master(connection: Connection, path: str) -> None:
    """Asks the master process to reload. Its answer says nothing on 2.x: the new worker does."""
    ask(connection, path, "reload")


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
        used=re.search(r"^# table: .*\bused:[1-9]", answer, re.MULTILINE) is not None,
        settled=state is None or int(state[1], 16) & _RESYNC_FINISHED == _RESYNC_FINISHED,
    )
