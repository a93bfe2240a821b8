"""Load balancers as callers see them, remembered for as long as nothing of them changes.

Most requests ask for what was asked for before. What of the database makes up an answer is a dozen queries; that it is
still the same is one (`Transaction.stamps`). Every process may remember on its own account: what counts is always the
database.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from balancer.core.model import Device, HealthMonitor, LoadBalancer, Stamp, Statistics, Tree
from balancer.core.moves import devices_at
from balancer.core.ports import Transaction


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """A load balancer with the devices that it is on or comes from, by their ids, and what was seen of it, without the
    age of that.

    As long as nothing of it changes it is one and the same object, and compared as such: what was made of it can be
    remembered with it.
    """

    tree: Tree
    devices: Mapping[str, Device]
    statistics: Statistics


class Memory:
    """For any number of threads. `most`: how many load balancers are remembered; who comes first goes first."""

    def __init__(self, most: int = 5000) -> None:
        self._most = most
        self._kept: dict[str, tuple[Stamp, Shown]] = {}
        self._lock = threading.Lock()

    def known(self, stamps: Sequence[Stamp]) -> list[Shown] | None:
        """The load balancers of the stamps, in their order, when all of them are remembered as they are."""
        found = []
        for stamp in stamps:
            kept = self._kept.get(stamp.load_balancer_id)
            if kept is None or kept[0] != stamp:
                return None
            found.append(kept[1])
        return found

    def shown(self, tx: Transaction, stamps: Sequence[Stamp]) -> list[Shown]:
        """The load balancers of the stamps, which were read in the same transaction, in their order."""
        found = {
            stamp.load_balancer_id: known[1]
            for stamp in stamps
            if (known := self._kept.get(stamp.load_balancer_id)) is not None and known[0] == stamp
        }
        stale = [stamp for stamp in stamps if stamp.load_balancer_id not in found]
        if stale:
            found |= self._load(tx, stale)
        return [found[stamp.load_balancer_id] for stamp in stamps]

    def _load(self, tx: Transaction, stamps: Sequence[Stamp]) -> dict[str, Shown]:
        ids = [stamp.load_balancer_id for stamp in stamps]
        read = trees(tx, tx.load_balancers(ids=ids))
        devices = devices_of(tx, [tree.load_balancer for tree in read])
        seen = tx.statistics(ids)
        made = {
            tree.load_balancer.id: Shown(
                tree=tree,
                devices={key: devices[key] for key in devices_at(tree.load_balancer) if key in devices},
                statistics=replace(seen.get(tree.load_balancer.id, Statistics()), age=None),
            )
            for tree in read
        }
        with self._lock:
            for stamp in stamps:
                self._kept.pop(stamp.load_balancer_id, None)
                self._kept[stamp.load_balancer_id] = stamp, made[stamp.load_balancer_id]
            for oldest in list(self._kept)[: -self._most]:
                del self._kept[oldest]
        return made


def devices_of(tx: Transaction, balancers: Sequence[LoadBalancer]) -> dict[str, Device]:
    """Device id to device, for all that the load balancers are on or come from."""
    ids = sorted({device_id for balancer in balancers for device_id in devices_at(balancer)})
    return {each.id: each for each in tx.devices(ids=ids)}


def trees(tx: Transaction, balancers: list[LoadBalancer]) -> list[Tree]:
    """Each load balancer with its monitors."""
    ids = sorted({monitor_id for balancer in balancers for monitor_id in _monitor_ids(balancer)})
    monitors = tx.monitors(ids) if ids else []
    return [tree_of(balancer, monitors) for balancer in balancers]


def tree_of(balancer: LoadBalancer, monitors: Iterable[HealthMonitor]) -> Tree:
    """The load balancer with those of the monitors that it uses."""
    found = {each.id: each for each in monitors}
    return Tree(load_balancer=balancer, monitors=tuple(found[i] for i in _monitor_ids(balancer) if i in found))


def _monitor_ids(balancer: LoadBalancer) -> tuple[str, ...]:
    """Those its pools use, each once, in the order of their first use."""
    return tuple(dict.fromkeys(i for pool in balancer.pools for i in pool.health_monitor_ids))
