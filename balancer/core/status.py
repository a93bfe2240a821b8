"""Statuses are derived, never stored: pure functions over what is known."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Protocol

from balancer.core.model import (
    AdminState,
    Device,
    Listener,
    LoadBalancer,
    LoadBalancerError,
    Member,
    MovePhase,
    OperatingStatus,
    Pool,
    Statistics,
)
from balancer.core.moves import RUNS_ON


class LoadBalancerStatus(enum.StrEnum):
    BUILD = "BUILD"
    ACTIVE = "ACTIVE"
    PENDING_UPDATE = "PENDING_UPDATE"
    ERROR = "ERROR"


class ProvisioningStatus(enum.StrEnum):
    """Of a load balancer and of each of its parts: what was asked for and where it stands."""

    PENDING_CREATE = "PENDING_CREATE"
    PENDING_UPDATE = "PENDING_UPDATE"
    ACTIVE = "ACTIVE"
    ERROR = "ERROR"


class DeviceStatus(enum.StrEnum):
    UNKNOWN = "UNKNOWN"
    ONLINE = "ONLINE"
    UNREACHABLE = "UNREACHABLE"
    ERROR = "ERROR"


def load_balancer_status(load_balancer: LoadBalancer) -> LoadBalancerStatus:
    return status_of(load_balancer.generation, load_balancer.applied_generation, failed=load_balancer.error is not None)


def status_of(generation: int, applied_generation: int, *, failed: bool) -> LoadBalancerStatus:
    if failed:
        return LoadBalancerStatus.ERROR
    if applied_generation >= generation:
        return LoadBalancerStatus.ACTIVE
    return LoadBalancerStatus.PENDING_UPDATE if applied_generation else LoadBalancerStatus.BUILD


class Part(Protocol):
    """A listener, pool, member, health monitor, L7 policy or rule as it is stored."""

    @property
    def created_at(self) -> datetime | None: ...
    @property
    def updated_at(self) -> datetime | None: ...


def provisioning_status(load_balancer: LoadBalancer) -> ProvisioningStatus:
    status = load_balancer_status(load_balancer)
    return ProvisioningStatus("PENDING_CREATE" if status is LoadBalancerStatus.BUILD else status.value)


def part_provisioning_status(load_balancer: LoadBalancer, part: Part, below: Iterable[Part] = ()) -> ProvisioningStatus:
    """`below`: what hangs on the part and keeps it pending while it is. An error is only of the parts whose change
    could not be deployed."""
    if load_balancer.applied_generation >= load_balancer.generation:
        return ProvisioningStatus.ACTIVE

    def waits(moment: datetime | None) -> bool:
        applied = load_balancer.applied_changed_at
        return applied is None or (moment is not None and moment > applied)

    if load_balancer.error is not None:
        return ProvisioningStatus.ERROR if waits(part.updated_at) else ProvisioningStatus.ACTIVE
    if waits(part.created_at):
        return ProvisioningStatus.PENDING_CREATE
    pending = any(waits(each.updated_at) for each in (part, *below))
    return ProvisioningStatus.PENDING_UPDATE if pending else ProvisioningStatus.ACTIVE


_TO_BE_ASKED = "administrators can see why"


def error_reason(error: LoadBalancerError, *, whole: bool) -> str:
    """`whole`: also what concerns the device, such as paths and addresses there; that is for administrators."""
    if whole or error.public:
        return error.sentence
    return f"The device did not accept this, or could not be changed; {_TO_BE_ASKED}"


def load_balancer_reason(load_balancer: LoadBalancer, devices: Mapping[str, Device], *, whole: bool) -> str:
    """Sentences on why the status is what it is, and on what could not be expressed; empty when all is said.

    `devices` has those that it is on or comes from, as far as they are there, by their ids. `whole` as in
    `error_reason`.
    """
    device = devices.get(load_balancer.device_id)
    sentences = [*_move_sentences(load_balancer, devices, whole=whole), *load_balancer.notices]
    if load_balancer.error is not None:
        sentences.insert(0, error_reason(load_balancer.error, whole=whole))
    elif load_balancer.applied_generation < load_balancer.generation:
        if device is not None and device.admin_state is AdminState.MAINTENANCE:
            sentences.insert(0, "The device is in maintenance.")
        elif device is not None and device.error:
            sentences.insert(0, device.error if whole else f"The device cannot be changed at present; {_TO_BE_ASKED}")
        elif device is not None and device.waiting_for:
            sentences.insert(0, f"It waits: {device.waiting_for}")
    return " ".join(sentence if sentence.endswith(".") else f"{sentence}." for sentence in sentences)


def _move_sentences(load_balancer: LoadBalancer, devices: Mapping[str, Device], *, whole: bool) -> list[str]:
    move = load_balancer.move
    if move is None:
        return []
    old, new = f"device {move.device_id}", f"device {load_balancer.device_id}"
    if move.phase is MovePhase.CLEAR:
        sentence = f"It was moved from {old}, which is still to remove it"
    elif move.phase is MovePhase.RELEASE:
        sentence = f"It moves from {old}, which serves it until its addresses can go to {new}"
    else:
        sentence = f"It moves from {old}, which serves it until {new} is ready"
    left = devices.get(move.device_id)
    if left is None or move.phase in RUNS_ON:
        return [sentence]
    status, reason = device_status(left)
    if left.admin_state is AdminState.MAINTENANCE:
        reason = "the device is in maintenance"
    elif status not in (DeviceStatus.UNREACHABLE, DeviceStatus.ERROR):
        return [sentence]
    elif not whole:
        reason = f"that cannot be done at present; {_TO_BE_ASKED}"
    return [f"{sentence}, and waits for that: {reason}"]


def device_status(device: Device) -> tuple[DeviceStatus, str]:
    """The status and a sentence."""
    seen = device.observation
    if seen is not None and not seen.reachable:
        return DeviceStatus.UNREACHABLE, seen.sentence
    if device.error:
        return DeviceStatus.ERROR, device.error
    if seen is None:
        return DeviceStatus.UNKNOWN, "Not looked at yet."
    sentences = [seen.sentence]
    if seen.drift is not None:
        sentences.append(seen.drift.sentence)
    if device.waiting_for:
        sentences.append(f"a deployment waits: {device.waiting_for}")
    return DeviceStatus.ONLINE, "; ".join(sentences)


# --- operating statuses: what was seen, None when nothing was ------------------------------------


def worst(statuses: Iterable[OperatingStatus | None]) -> OperatingStatus | None:
    """The one that says most about what is wrong; None when nothing is known."""
    known = [status for status in statuses if status is not None]
    return min(known, key=_WORST_FIRST.index, default=None)


_WORST_FIRST = (
    OperatingStatus.ERROR,
    OperatingStatus.DEGRADED,
    OperatingStatus.OFFLINE,
    OperatingStatus.DRAINING,
    OperatingStatus.NO_MONITOR,
    OperatingStatus.ONLINE,
)


def _seen(object_id: str, seen: Statistics) -> OperatingStatus | None:
    state = seen.states.get(object_id)
    return None if state is None else state.status


def member_operating_status(member: Member, seen: Statistics) -> OperatingStatus | None:
    return _seen(member.id, seen)


def pool_operating_status(pool: Pool, seen: Statistics) -> OperatingStatus | None:
    """DEGRADED when it serves, but not with all members that should."""
    if not pool.admin_up:
        return OperatingStatus.OFFLINE
    status = _seen(pool.id, seen)
    if status is OperatingStatus.ONLINE and any(
        _seen(member.id, seen) is OperatingStatus.ERROR for member in pool.members
    ):
        return OperatingStatus.DEGRADED
    return status


def listener_operating_status(balancer: LoadBalancer, listener: Listener, seen: Statistics) -> OperatingStatus | None:
    """ERROR when it should be served and is not."""
    status = _seen(listener.id, seen)
    if not (balancer.admin_up and listener.admin_up):
        return OperatingStatus.OFFLINE
    if status is OperatingStatus.OFFLINE and load_balancer_status(balancer) is LoadBalancerStatus.ACTIVE:
        return OperatingStatus.ERROR
    return status


def load_balancer_operating_status(balancer: LoadBalancer, seen: Statistics) -> OperatingStatus | None:
    """The worst of its listeners and of the pools they use; what is switched off counts only when all is."""
    if not balancer.admin_up:
        return OperatingStatus.OFFLINE
    used = {listener.default_pool_id for listener in balancer.listeners if listener.admin_up}
    statuses = [listener_operating_status(balancer, listener, seen) for listener in balancer.listeners]
    statuses += [pool_operating_status(pool, seen) for pool in balancer.pools if pool.id in used]
    return worst(status for status in statuses if status is not OperatingStatus.OFFLINE) or worst(statuses)
