"""What the servers' health checks have found, handed from one worker to the next in a server state file. Pure.

Health is all that is handed over. Addresses, weights and administrative states are those of the new configuration,
which has every change in it: a state file would bring back what they were.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

EMPTY = b"1\n"
"""A state file that says nothing. Without a file HAProxy warns each time it starts."""

CHECKED = " check inter "
"""Stands in every server line with a health check, and nowhere else."""

# Newer versions append columns; without one of these nothing can be handed over.
_NEEDED = frozenset(
    (
        *("be_name", "srv_name", "srv_addr", "srv_port", "srv_op_state", "srv_admin_state"),
        *("srv_uweight", "srv_iweight", "srv_check_result", "srv_check_state"),
    )
)
# Forced, inherited, or by the resolver; not that the configuration says so.
_IN_MAINTENANCE = 0x01 | 0x02 | 0x20
_CONFIGURED_AND_ENABLED = "6"
_UNKNOWN = "0"
# What a line may say of a check's address is the configuration's affair too.
_NEUTRAL = {"srv_check_port": "0", "srv_check_addr": "-", "srv_agent_addr": "-", "srv_agent_port": "0"}

_SECTION = re.compile(r"(?:backend|frontend) (\S+) ")
_SERVER = re.compile(r"    server (\S+) (\S+):(\d+) ")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    address: str
    port: str
    disabled: bool


def carried(answer: str, blocks: Iterable[str]) -> bytes:
    """The state file for a worker that is to run `blocks`, from the answer of the present one to `show servers state`.

    It holds the servers that are checked before and after and are still where they were. One that was never checked, or
    is kept out of service, has no health to speak of.
    """
    version, _, table = answer.strip().partition("\n")
    header, *rows = table.splitlines() or [""]
    columns = header.removeprefix("# ").split()
    if version.strip() != "1" or not _NEEDED.issubset(columns):
        return EMPTY
    wanted = _checked_servers(blocks)
    lines = []
    for row in rows:
        seen = dict(zip(columns, row.split(), strict=False))
        server = wanted.get((seen.get("be_name", ""), seen.get("srv_name", "")))
        if server is not None and len(seen) == len(columns) and _has_health(seen) and _is_where(seen, server):
            lines.append(" ".join((seen | _as_configured(seen, server))[name] for name in columns))
    return EMPTY + "".join(f"{line}\n" for line in (header, *lines)).encode() if lines else EMPTY


def _has_health(seen: Mapping[str, str]) -> bool:
    if not (seen["srv_admin_state"].isdigit() and seen["srv_check_state"].isdigit()):
        return False
    return (
        seen["srv_check_result"] != _UNKNOWN
        and int(seen["srv_check_state"]) & int(_CONFIGURED_AND_ENABLED) == int(_CONFIGURED_AND_ENABLED)
        and not int(seen["srv_admin_state"]) & _IN_MAINTENANCE
    )


def _is_where(seen: Mapping[str, str], server: _Server) -> bool:
    return (_normal(seen["srv_addr"]), seen["srv_port"]) == (server.address, server.port)


def _as_configured(seen: Mapping[str, str], server: _Server) -> dict[str, str]:
    """HAProxy takes weight and administrative state from its configuration where the line says nothing else. The
    weight of a moment counts only when it is another than the one configured then."""
    return {
        **{name: value for name, value in _NEUTRAL.items() if name in seen},
        "srv_admin_state": "5" if server.disabled else "0",
        "srv_uweight": seen["srv_iweight"],
        "srv_check_state": _CONFIGURED_AND_ENABLED,
    }


def _checked_servers(blocks: Iterable[str]) -> dict[tuple[str, str], _Server]:
    """(backend, server) to where it is, of every server with a health check."""
    found = {}
    for block in blocks:
        if CHECKED not in block:
            continue
        section = ""
        for line in block.splitlines():
            if match := _SECTION.match(line):
                section = match[1]
            elif CHECKED in line and (match := _SERVER.match(line)):
                found[section, match[1]] = _Server(
                    address=_normal(match[2]), port=match[3], disabled=" disabled" in line[match.end() :]
                )
    return found


def _normal(address: str) -> str:
    try:
        return str(ipaddress.ip_address(address.strip("[]")))
    except ValueError:
        return address
