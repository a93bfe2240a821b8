"""Counters that outlive the processes that count: pure functions."""

from __future__ import annotations

from balancer.core.model import Counters, ObjectKind, Statistics

ZERO = Counters()


def accumulate(total: Counters, last: Counters, now: Counters, *, same_process: bool) -> Counters:
    """The new total of an object of which its device said `last` when the total was made, and says `now`.

    Another process, or a counter that went back, has begun at zero. What the process before counted after `last` is
    lost.
    """
    grown = same_process and all(
        new >= old
        for new, old in (
            (now.bytes_in, last.bytes_in),
            (now.bytes_out, last.bytes_out),
            (now.total_connections, last.total_connections),
            (now.request_errors, last.request_errors),
        )
    )
    since = last if grown else ZERO
    return Counters(
        bytes_in=total.bytes_in + now.bytes_in - since.bytes_in,
        bytes_out=total.bytes_out + now.bytes_out - since.bytes_out,
        active_connections=now.active_connections,
        total_connections=total.total_connections + now.total_connections - since.total_connections,
        request_errors=total.request_errors + now.request_errors - since.request_errors,
    )


def add(one: Counters, other: Counters) -> Counters:
    return Counters(
        bytes_in=one.bytes_in + other.bytes_in,
        bytes_out=one.bytes_out + other.bytes_out,
        active_connections=one.active_connections + other.active_connections,
        total_connections=one.total_connections + other.total_connections,
        request_errors=one.request_errors + other.request_errors,
    )


def total(statistics: Statistics) -> Counters:
    """What came in through the listeners of a load balancer, those included that it has no more."""
    counted = ZERO
    for state in statistics.states.values():
        if state.kind is ObjectKind.LISTENER:
            counted = add(counted, state.counters)
    return counted
