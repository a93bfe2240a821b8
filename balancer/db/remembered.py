"""What was read last of load balancers and health monitors, so that what has not changed is not read again.

Reading a load balancer is a query for every table below it, and making it of its rows takes longer still. A row of its
own tells whether it is the same: what is below a load balancer changes with its generation, and `changed_at` tells two
changes apart that were called the same generation, one of which was undone. What counts is always the database; every
process remembers on its own account.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TypeVar

from balancer.core.model import HealthMonitor, LoadBalancer
from balancer.db.mapping import Row, move_from

_Kept = TypeVar("_Kept", LoadBalancer, HealthMonitor)


class Remembered:
    """For any number of threads. `most`: how many of each kind; who comes first goes first."""

    def __init__(self, most: int = 5000) -> None:
        self._most = most
        self._balancers: dict[str, LoadBalancer] = {}
        self._monitors: dict[str, HealthMonitor] = {}
        self._lock = threading.Lock()

    def parts(self, row: Row) -> LoadBalancer | None:
        """A load balancer with the same virtual IPs, listeners and pools as that of the row has now."""
        known = self._balancers.get(row["id"])
        if known is None or (known.generation, known.changed_at) != (row["generation"], row["changed_at"]):
            return None
        return known

    def balancer(self, row: Row) -> LoadBalancer | None:
        """The one of the row, of which the columns of `balancer.db.transaction` that change are enough."""
        known = self.parts(row)
        if known is None or (
            known.applied_generation,
            known.updated_at,
            known.device_id,
            known.exempt,
            known.deleted,
            known.move,
        ) != (
            row["applied_generation"],
            row["updated_at"],
            row["device_id"],
            row["exempt"],
            row["deleted"],
            move_from(row),
        ):
            return None
        return known

    def monitor(self, row: Row) -> HealthMonitor | None:
        known = self._monitors.get(row["id"])
        return known if known is not None and known.updated_at == row["updated_at"] else None

    def keep(self, found: Iterable[LoadBalancer | HealthMonitor]) -> None:
        """What is stored; not what a transaction has written that may yet be undone."""
        with self._lock:
            for each in found:
                if isinstance(each, LoadBalancer):
                    self._put(self._balancers, each)
                else:
                    self._put(self._monitors, each)

    def _put(self, kept: dict[str, _Kept], each: _Kept) -> None:
        kept.pop(each.id, None)
        kept[each.id] = each
        if len(kept) > self._most:
            del kept[next(iter(kept))]
