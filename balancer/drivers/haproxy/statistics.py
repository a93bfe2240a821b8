"""What HAProxy says in ``show stat`` about what we made it run. Pure."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from balancer.core.model import Counters, DeviceSample, ObjectKind, ObjectSample, OperatingStatus
from balancer.core.statistics import ZERO, add
from balancer.core.status import worst
from balancer.drivers.haproxy import names

# Newer versions append columns; one of these that is missing is no statistics of HAProxy.
_COLUMNS = (
    *("pxname", "svname", "status", "weight", "check_status"),
    *("scur", "slim", "stot", "bin", "bout", "ereq", "econ", "eresp"),
)
_FRONTEND, _BACKEND = "FRONTEND", "BACKEND"


@dataclass(slots=True)
class _Seen:
    """One object while its rows are read: a pool may have a backend for each mode."""

    kind: ObjectKind
    statuses: list[OperatingStatus | None] = field(default_factory=list)
    counters: Counters = ZERO

    def add(self, status: OperatingStatus | None, counters: Counters) -> None:
        self.statuses.append(status)
        self.counters = add(self.counters, counters)


def device_sample(process: str, table: str) -> DeviceSample:
    """The sample of a process from its CSV table, whose first line is ``# pxname,svname,…``. Sections that are not
    ours are left out. Raises `ValueError` when the text is no such table."""
    lines = table.strip().removeprefix("# ").splitlines()
    rows = csv.reader(lines)
    header = next(rows, [])
    try:
        columns = [header.index(name) for name in _COLUMNS]
    except ValueError:
        raise ValueError(f"no table of statistics: {table[:80]!r}") from None
    found = [
        dict(zip(_COLUMNS, (row[column] for column in columns), strict=True))
        for row in rows
        if len(row) >= len(header) - 1
    ]
    return DeviceSample(process=process, objects=_objects(found))


def _objects(rows: Sequence[Mapping[str, str]]) -> tuple[ObjectSample, ...]:
    seen: dict[str, _Seen] = {}
    undecided = _undecided(rows)
    servers: dict[str, list[OperatingStatus | None]] = {}
    # The row of a backend comes after those of its servers.
    for row in rows:
        section, name = names.section_of(row["pxname"]), row["svname"]
        if section is None:
            continue
        kind, object_id = section
        if kind == "fe" and name == _FRONTEND:
            seen.setdefault(object_id, _Seen(ObjectKind.LISTENER)).add(_frontend_status(row), _counters(row, "ereq"))
        elif kind == "be" and name == _BACKEND:
            status = _backend_status(row, servers.get(row["pxname"], ()))
            seen.setdefault(object_id, _Seen(ObjectKind.POOL)).add(status, _counters(row, "econ", "eresp"))
        elif kind == "be" and names.is_object_id(name):
            server_status = _server_status(row)
            if server_status is OperatingStatus.ONLINE and (object_id, name) in undecided:
                server_status = None
            servers.setdefault(row["pxname"], []).append(server_status)
            seen.setdefault(name, _Seen(ObjectKind.MEMBER)).add(server_status, _counters(row, "econ", "eresp"))
    return tuple(
        ObjectSample(kind=each.kind, object_id=object_id, status=worst(each.statuses), counters=each.counters)
        for object_id, each in seen.items()
    )


def _undecided(rows: Iterable[Mapping[str, str]]) -> frozenset[tuple[str, str]]:
    """(pool, member) of servers whose first check is not over; until then HAProxy counts them as up. With several
    monitors the backends that these check in tell."""
    return frozenset(
        (section[1], row["svname"])
        for row in rows
        if row["check_status"].endswith("INI")
        and row["status"].startswith("UP")
        and (section := names.section_of(row["pxname"])) is not None
    )


def _frontend_status(row: Mapping[str, str]) -> OperatingStatus:
    status = row["status"]
    if status == "OPEN":
        full = _number(row["slim"]) and _number(row["scur"]) >= _number(row["slim"])
        return OperatingStatus.DEGRADED if full else OperatingStatus.ONLINE
    return OperatingStatus.DEGRADED if status == "FULL" else OperatingStatus.OFFLINE


def _server_status(row: Mapping[str, str]) -> OperatingStatus | None:
    """None for a word that no version is known to say."""
    status = row["status"]
    if status.startswith("UP"):
        # A server that is up with weight 0 runs dry.
        return OperatingStatus.ONLINE if _number(row["weight"]) else OperatingStatus.DRAINING
    for beginning, meaning in (
        ("DOWN", OperatingStatus.ERROR),
        ("MAINT", OperatingStatus.OFFLINE),
        ("DRAIN", OperatingStatus.DRAINING),
        ("NOLB", OperatingStatus.DRAINING),
        ("no check", OperatingStatus.NO_MONITOR),
    ):
        if status.startswith(beginning):
            return meaning
    return None


def _backend_status(row: Mapping[str, str], servers: Sequence[OperatingStatus | None]) -> OperatingStatus | None:
    if row["status"] == "DOWN":
        return OperatingStatus.ERROR
    serves = {OperatingStatus.ONLINE, OperatingStatus.NO_MONITOR} & set(servers)
    # Up, but only because no check is over.
    return None if None in servers and not serves else OperatingStatus.ONLINE


def _counters(row: Mapping[str, str], *errors: str) -> Counters:
    return Counters(
        bytes_in=_number(row["bin"]),
        bytes_out=_number(row["bout"]),
        active_connections=_number(row["scur"]),
        total_connections=_number(row["stot"]),
        request_errors=sum(_number(row[name]) for name in errors),
    )


def _number(text: str) -> int:
    """A cell that does not apply is empty."""
    return int(text) if text.isdigit() else 0
