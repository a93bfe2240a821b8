"""Statuses are derived, never stored: pure functions over what is known."""

from __future__ import annotations

import enum

from balancer.core.model import AdminState, Device, LoadBalancer


class LoadBalancerStatus(enum.StrEnum):
    BUILD = "BUILD"
    ACTIVE = "ACTIVE"
    PENDING_UPDATE = "PENDING_UPDATE"
    ERROR = "ERROR"


class DeviceStatus(enum.StrEnum):
    UNKNOWN = "UNKNOWN"
    ONLINE = "ONLINE"
    UNREACHABLE = "UNREACHABLE"
    ERROR = "ERROR"


def is_settled(load_balancer: LoadBalancer, generation: int) -> bool:
    """Whether that generation, or a later one, has been applied or refused."""
    if load_balancer.applied_generation >= generation:
        return True
    return load_balancer.error is not None and load_balancer.error.generation >= generation


def load_balancer_status(load_balancer: LoadBalancer) -> LoadBalancerStatus:
    if load_balancer.error is not None:
        return LoadBalancerStatus.ERROR
    if load_balancer.applied_generation >= load_balancer.generation:
        return LoadBalancerStatus.ACTIVE
    return LoadBalancerStatus.PENDING_UPDATE if load_balancer.applied_generation else LoadBalancerStatus.BUILD


def load_balancer_reason(load_balancer: LoadBalancer, device: Device | None) -> str:
    """Sentences on why the status is what it is, and on what could not be expressed; empty when all is said."""
    sentences = list(load_balancer.notices)
    if load_balancer.error is not None:
        sentences.insert(0, load_balancer.error.sentence)
    elif load_balancer.applied_generation < load_balancer.generation:
        if device is not None and device.admin_state is AdminState.MAINTENANCE:
            sentences.insert(0, "The device is in maintenance.")
        elif device is not None and device.error:
            sentences.insert(0, device.error)
    return " ".join(sentences)


def device_status(device: Device) -> tuple[DeviceStatus, str]:
    """The status and a sentence."""
    seen = device.observation
    if seen is not None and not seen.reachable:
        return DeviceStatus.UNREACHABLE, seen.sentence
    if device.error:
        return DeviceStatus.ERROR, device.error
    if seen is None:
        return DeviceStatus.UNKNOWN, "Not looked at yet."
    return DeviceStatus.ONLINE, seen.sentence
