"""Moves from one device to another without an interruption: pure decisions.

Whatever happens on the way, one of the two devices serves the load balancer. The new one comes first:

    TAKE: the new device is to run it, the old one runs on what it accepted last
    -> CLEAR: the new device serves it, the old one is to remove it -> done

An address cannot be on two hosts. When one has to change hands, the new device first makes everything ready without it,
so that what it refuses interrupts nothing; then the address follows, in as short a time as the two steps take:

    PREPARE: the new device is to run it without the addresses, the old one runs on what it accepted last
    -> RELEASE: all is ready, the old device is to remove it -> the new device takes the addresses, done

A step is done when the device that it is for has applied it; until then it waits. A change in the middle of a move is
for the new device: when it was made ready already, it has to be made ready again.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from balancer.core.model import Device, LoadBalancer, Move, MovePhase
from balancer.core.rules import WILDCARD

RUNS_ON = frozenset({MovePhase.TAKE, MovePhase.PREPARE})
"""The old device keeps what it accepted last."""

WITHOUT_ADDRESSES = frozenset({MovePhase.PREPARE, MovePhase.RELEASE})
"""The new device runs it, but has not got the addresses yet."""


def serving_device_id(balancer: LoadBalancer) -> str:
    """The device whose word on it counts: the old one until the new one has taken over."""
    move = balancer.move
    return balancer.device_id if move is None or move.phase is MovePhase.CLEAR else move.device_id


def exclusive_addresses(balancer: LoadBalancer) -> frozenset[str]:
    """Those of its addresses that only one host can have: no wildcards, and nothing that every host has."""
    return frozenset(vip.address for vip in balancer.virtual_ips if _is_exclusive(vip.address))


def _is_exclusive(address: str) -> bool:
    if address == WILDCARD:
        return False
    parsed = ipaddress.ip_address(address)
    return not (parsed.is_unspecified or parsed.is_loopback)


def withheld_addresses(balancers: Iterable[LoadBalancer]) -> tuple[str, ...]:
    """Of a device that is to run the load balancers: the addresses that another device has still to give up. One that
    some load balancer has there already is not among them."""
    listed = list(balancers)
    ready = [each for each in listed if each.move is not None and each.move.phase in WITHOUT_ADDRESSES]
    if not ready:
        return ()
    waiting = {each.id for each in ready}
    waits = frozenset[str]().union(*map(exclusive_addresses, ready))
    has = frozenset[str]().union(*(exclusive_addresses(each) for each in listed if each.id not in waiting))
    return tuple(sorted(waits - has))


def awaited(device_id: str, move: Move | None, *, deleted: bool) -> tuple[str, ...]:
    """Those that have to deploy before anything more becomes of a load balancer that is on that device."""
    if move is None:
        return (device_id,)
    if deleted:
        return (device_id, move.device_id)
    return (move.device_id if move.phase is MovePhase.RELEASE else device_id,)


def next_move(before: LoadBalancer, after: LoadBalancer, to: Device, *, accepted: bool) -> Move | None:
    """The move that is going on once `before` was changed to `after` and sent to the device `to`.

    `accepted`: the device that serves it has accepted it, so there is something that could be interrupted.
    """
    source = serving_device_id(before)
    if to.id == source:
        # Either it stays, or it comes back and the device that it was sent to has to forget it.
        return before.move if to.id == before.device_id else Move(device_id=before.device_id, phase=MovePhase.CLEAR)
    there_already = set() if to.observation is None else set(to.observation.own_addresses)
    changes_hands = accepted and not exclusive_addresses(after) <= there_already
    return Move(device_id=source, phase=MovePhase.PREPARE if changes_hands else MovePhase.TAKE)


def devices_at(balancer: LoadBalancer) -> tuple[str, ...]:
    """The device that the load balancer is on, and the one that it comes from, if any."""
    return (balancer.device_id,) if balancer.move is None else (balancer.device_id, balancer.move.device_id)


def concerned(before: LoadBalancer, after: LoadBalancer) -> tuple[str, ...]:
    """Every device that has a part in what becomes of the load balancer, the one that shall run it first."""
    return tuple(dict.fromkeys((*devices_at(after), *devices_at(before))))


def to_deploy(before: LoadBalancer, after: LoadBalancer) -> tuple[str, ...]:
    """Those of the concerned that have something to do now: not one that goes on as it does."""
    rests = None
    if after.move is not None and after.move.phase in RUNS_ON:
        released = before.move is not None and before.move.phase is MovePhase.RELEASE
        rests = None if released else after.move.device_id
    return tuple(each for each in concerned(before, after) if each != rests)


def after_taking(now: Move | None, deployed: Move | None, *, rejected: bool, latest: bool) -> Move | None:
    """What a deployment on the new device makes of the move `now`, which was `deployed` when it began.

    `latest`: no change came meanwhile.
    """
    if now is None or now != deployed:
        return now
    if rejected:
        # What was ready is so no more: the old device keeps it, or gets it back.
        return _in(now, MovePhase.PREPARE) if now.phase is MovePhase.RELEASE else now
    if now.phase is MovePhase.TAKE:
        return _in(now, MovePhase.CLEAR)
    if now.phase is MovePhase.PREPARE and latest:
        return _in(now, MovePhase.RELEASE)
    return now


def after_leaving(now: Move, *, runs: bool) -> Move | None:
    """What a deployment on the old device makes of the move `now`; `runs`: that device still runs it."""
    return now if runs or now.phase in RUNS_ON else None


def _in(move: Move, phase: MovePhase) -> Move:
    return Move(device_id=move.device_id, phase=phase)
