"""HAProxy's sockets: the stats socket of a worker, the socket of a master. Every answer is checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from balancer.drivers.ssh import Connection
from balancer.exceptions import TransientDeviceError

_TIMEOUT = 3.0


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
    answer = ask(connection, path, "show info")
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


def reload_by_master(connection: Connection, path: str) -> None:
    """Asks the master process to reload. Its answer says nothing on 2.x: the new worker does."""
    ask(connection, path, "reload")
