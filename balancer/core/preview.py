"""A write that is tried out inside a transaction and undone: what the service needs for that."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from dataclasses import replace

from balancer.core.model import AdminState, Device, DeviceSpec, HealthMonitor, Preview, Stamp, Tree
from balancer.core.ports import Transaction


class Inside:
    """`Transactions` that are all the one given, which somebody else ends."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def read(self) -> AbstractContextManager[Transaction]:
        return contextlib.nullcontext(self._transaction)

    def write(self) -> AbstractContextManager[Transaction]:
        return contextlib.nullcontext(self._transaction)

    def stamps(self, *, project_id: str, load_balancer_id: str | None = None) -> list[Stamp]:
        return self._transaction.stamps(project_id=project_id, load_balancer_id=load_balancer_id)

    def now(self) -> float:
        return self._transaction.clock()


class Listed:
    """A notifier that wakes nobody and remembers which devices there was something to tell of."""

    def __init__(self) -> None:
        self.device_ids: dict[str, None] = {}

    def notify(self, device_id: str) -> None:
        self.device_ids[device_id] = None


def wanted(tx: Transaction, device_id: str, tree: Tree | None) -> DeviceSpec:
    """What the device shall run after the write: of the tree, when it changed one, else all of it."""
    device = tx.device(device_id)
    monitors: tuple[HealthMonitor, ...]
    if tree is None:
        balancers = tuple(sorted(tx.load_balancers(device_id=device_id), key=lambda each: each.id))
        monitors = tuple(tx.monitors(sorted({i for b in balancers for p in b.pools for i in p.health_monitor_ids})))
    else:
        balancer = tree.load_balancer
        balancers = (balancer,) if balancer.device_id == device_id and not balancer.deleted else ()
        monitors = tree.monitors
    return DeviceSpec(device=device, load_balancers=balancers, monitors=monitors, revision=device.desired_revision)


def compared(tx: Transaction, spec: DeviceSpec, tree: Tree | None) -> DeviceSpec:
    """The same with what the device runs before the write: load balancers that the write does not concern stay."""
    accepted = {key: text for key, (text, _) in tx.accepted_blocks(spec.device.id).items()}
    stay = {balancer.id for balancer in spec.load_balancers}
    concerned = accepted.keys() if tree is None else {tree.load_balancer.id}
    removed = {each: 0 for each in accepted if each in concerned and each not in stay}
    return replace(spec, accepted_blocks=accepted, removed=removed)


def postponed(preview: Preview, device: Device) -> Preview:
    """What keeps a deployment from being made now is told."""
    if device.admin_state is AdminState.MAINTENANCE and preview.plan != "noop":
        return replace(preview, sentence=f"{preview.sentence}; not before the device leaves maintenance")
    return preview
