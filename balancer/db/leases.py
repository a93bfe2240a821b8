"""Leases over SQL: `balancer.core.ports.Leases`, and who an owner is.

An owner is written ``<host>:<kernel>/<pid namespace>/<pid>/<start>:<uuid>``. Where kernel (boot id) and namespace
are this process's own, /proc tells whether the owner still runs; the start time tells it from a later process of
the same number. Everything else, another host or a container, is left to expiry.
"""

from __future__ import annotations

import os
import re
import socket
import uuid
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, Engine, bindparam, select, update

from balancer.core.model import Lease
from balancer.db import mapping
from balancer.db.engine import db_now, read, write
from balancer.db.prepared import Prepared
from balancer.db.tables import leases
from balancer.exceptions import LeaseLost

_UNKNOWN = "-"
_OWNER = re.compile(r".*:(?P<kernel>[0-9a-f]+/[0-9]+)/(?P<pid>[0-9]+)/(?P<start>[0-9]+):[0-9a-f]+")


def make_owner() -> str:
    """The name of this process among all owners of leases, unlike any before and after it."""
    kernel = _kernel()
    start = _start_time(os.getpid()) if kernel else None
    process = f"{kernel}/{os.getpid()}/{start}" if kernel and start else _UNKNOWN
    return f"{socket.gethostname()[:64]}:{process}:{uuid.uuid4().hex}"


def is_gone(owner: str) -> bool:
    """Whether the owner was a process of this host that surely ended. In doubt: no."""
    match = _OWNER.fullmatch(owner)
    if match is None or match["kernel"] != _kernel():
        return False
    pid = int(match["pid"])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # It runs, as somebody else.
    there_now = _start_time(pid)
    return there_now is not None and there_now != match["start"]


def gone_owners(engine: Engine) -> list[str]:
    """Owners of live leases whose process is gone."""
    with read(engine) as connection:
        query = select(leases.c.owner).where(leases.c.owner.is_not(None), leases.c.expires_at > db_now())
        owners = connection.scalars(query.distinct()).all()
    return [owner for owner in owners if owner is not None and is_gone(owner)]


def _kernel() -> str:
    """``<boot id>/<pid namespace>``; empty when /proc is not that of this process's own namespace, where process
    numbers found in it would mean others."""
    try:
        if os.readlink("/proc/self") != str(os.getpid()):
            return ""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip().replace("-", "")
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


def _start_time(pid: int) -> str | None:
    """Clock ticks since boot, ``"ended"`` for a process that is dead but not waited for, None if unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    # The second field is the command in parentheses, which may hold anything.
    state, *rest = stat.rpartition(")")[2].split()
    return "ended" if state in "ZX" else rest[18]


def is_mine(lease: Lease) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Conditions on the row of the lease's device: nobody took it since."""
    return leases.c.owner == lease.owner, leases.c.epoch == lease.epoch


def lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"The lease of device {lease.device_id} was lost")


_CLAIMED = Prepared(
    select(leases.c.owner, leases.c.epoch, leases.c.expires_at, db_now().label("now"))
    .where(leases.c.device_id == bindparam("device_id"))
    .with_for_update()
)
_CLAIM = Prepared(update(leases).where(leases.c.device_id == bindparam("this")))
_RELEASE = Prepared(
    update(leases).where(
        leases.c.device_id == bindparam("this"),
        leases.c.owner == bindparam("holder"),
        leases.c.epoch == bindparam("held_epoch"),
    )
)


class SqlLeases:
    """The leases that one process (`owner`) takes, each for `lease_seconds`."""

    def __init__(self, engine: Engine, owner: str, lease_seconds: float) -> None:
        self._engine = engine
        self._owner = owner
        self._seconds = lease_seconds

    def claim(self, device_id: str) -> Lease | None:
        """See `Leases.claim`; None also when the device is gone. One process has a lease once: a second claim
        of its own waits for the end of the first."""
        lease, holder = self._claim(device_id, None)
        if lease is None and holder is not None and is_gone(holder):
            lease, _ = self._claim(device_id, holder)
        return lease

    def _claim(self, device_id: str, gone: str | None) -> tuple[Lease | None, str | None]:
        """The lease, also when it is that of the owner who is `gone`, or else who has it."""
        with write(self._engine) as connection:
            row = next(iter(_CLAIMED.rows(connection, {"device_id": device_id})), None)
            if row is None:
                return None, None
            if row["owner"] not in (None, gone) and row["expires_at"] > row["now"]:
                return None, row["owner"]
            lease = Lease(
                device_id=device_id,
                owner=self._owner,
                epoch=row["epoch"] + 1,
                expires_at=float(row["now"]) + self._seconds,
            )
            values = {"owner": lease.owner, "last_owner": lease.owner, "epoch": lease.epoch}
            _CLAIM.run(connection, {"this": device_id, "expires_at": lease.expires_at, **values})
            return lease, None

    def renew(self, lease: Lease) -> Lease:
        """Also of a lease that has expired, as long as nobody took it meanwhile."""
        with write(self._engine) as connection:
            renewed = connection.execute(
                update(leases)
                .where(leases.c.device_id == lease.device_id, *is_mine(lease))
                .values(expires_at=db_now() + self._seconds)
            )
            if not renewed.rowcount:
                raise lost(lease)
            return self._stored(connection, lease.device_id)

    def release(self, lease: Lease) -> None:
        with write(self._engine) as connection:
            mine = {"this": lease.device_id, "holder": lease.owner, "held_epoch": lease.epoch}
            _RELEASE.run(connection, {**mine, "owner": None, "expires_at": 0.0})

    @staticmethod
    def _stored(connection: Connection, device_id: str) -> Lease:
        row = connection.execute(select(leases).where(leases.c.device_id == device_id)).mappings().one()
        return mapping.lease_from(row)
