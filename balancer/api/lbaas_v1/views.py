"""What LBaaS v1 answers: objects of the model in Neutron's words, the attributes in the order of `schemas`.

Reads are total: what was made in another dialect is shown as far as this one has words for it, else with the others'.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from balancer.api.attributes import Resource, show_uuid
from balancer.api.lbaas_v1 import schemas
from balancer.api.lbaas_v1.parse import HTTP_MONITORS
from balancer.core import status
from balancer.core.model import (
    HealthMonitor,
    Listener,
    LoadBalancer,
    Member,
    OperatingStatus,
    Pool,
    Rotation,
    SessionPersistence,
    VirtualIp,
)
from balancer.core.monitors import Monitored
from balancer.core.rules import WILDCARD
from balancer.core.shown import Shown
from balancer.core.statistics import ZERO
from balancer.core.status import ProvisioningStatus, part_provisioning_status

View = dict[str, Any]

ACTIVE, DOWN, INACTIVE = "ACTIVE", "DOWN", "INACTIVE"


def _shown(resource: Resource, values: Mapping[str, Any]) -> View:
    return {name: values[name] for name in resource.attributes if name in values}


def _statuses(shown: Shown, part: Any, below: Iterable[Any] = ()) -> View:
    balancer = shown.tree.load_balancer
    provisioning = part_provisioning_status(balancer, part, below)
    text: str = provisioning.value
    if provisioning is ProvisioningStatus.ACTIVE and not (part.admin_up and balancer.admin_up):
        text = DOWN
    return {"status": text, "status_description": _reason(balancer, provisioning)}


def _reason(balancer: LoadBalancer, provisioning: ProvisioningStatus) -> str | None:
    failed = provisioning is ProvisioningStatus.ERROR and balancer.error is not None
    # Without what is for administrators: they have the balancer API.
    return status.error_reason(balancer.error, whole=False) if failed and balancer.error else None


# --- vips -----------------------------------------------------------


def vip(shown: Shown, item: Listener) -> View:
    balancer = shown.tree.load_balancer
    pool = next((each for each in balancer.pools if each.id == item.default_pool_id), None)
    at = _virtual_ip(balancer, item)
    return _shown(
        schemas.VIP,
        {
            "id": show_uuid(item.id),
            "tenant_id": balancer.project_id,
            "name": item.name,
            "description": item.description,
            "subnet_id": at and show_uuid(at.subnet_id),
            "address": at and ("0.0.0.0" if at.address == WILDCARD else at.address),  # noqa: S104 - shown, not bound
            "port_id": at and show_uuid(at.port_id),
            "protocol_port": item.port,
            "protocol": item.protocol.value,
            "pool_id": show_uuid(item.default_pool_id),
            "session_persistence": None if pool is None else _session_persistence(pool.session_persistence),
            "connection_limit": -1 if item.connection_limit is None else item.connection_limit,
            "admin_state_up": item.admin_up,
            # The persistence is stored with the pool.
            **_statuses(shown, item, () if pool is None else (pool,)),
        },
    )


def _virtual_ip(balancer: LoadBalancer, item: Listener) -> VirtualIp | None:
    """The first one that it listens at."""
    ids = item.virtual_ip_ids
    return next((each for each in balancer.virtual_ips if not ids or each.id in ids), None)


def _session_persistence(item: SessionPersistence | None) -> View | None:
    if item is None:
        return None
    cookie = {} if item.cookie_name is None else {"cookie_name": item.cookie_name}
    return {"type": item.kind.value, **cookie}


# --- pools and members ---------------------------------------------------------


def pool(shown: Shown, item: Pool) -> View:
    balancer = shown.tree.load_balancer
    front = next((each for each in balancer.listeners if each.default_pool_id == item.id), None)
    device = shown.devices.get(balancer.device_id)
    subnet_id = item.subnet_id
    if subnet_id is None and balancer.virtual_ips:
        subnet_id = balancer.virtual_ips[0].subnet_id
    return _shown(
        schemas.POOL,
        {
            "id": show_uuid(item.id),
            "tenant_id": balancer.project_id,
            "vip_id": front and show_uuid(front.id),
            "name": item.name,
            "description": item.description,
            "subnet_id": show_uuid(subnet_id),
            "protocol": item.protocol.value,
            "provider": balancer.provider or (device and device.type.lower()),
            "lb_method": item.algorithm.value,
            "members": [show_uuid(each.id) for each in item.members],
            "health_monitors": [show_uuid(each) for each in item.health_monitor_ids],
            "health_monitors_status": [
                {"monitor_id": show_uuid(each), **_association_status(balancer)} for each in item.health_monitor_ids
            ],
            "admin_state_up": item.admin_up,
            **_statuses(shown, item),
        },
    )


def _association_status(balancer: LoadBalancer) -> View:
    """An association has no times of its own: it is as far as its load balancer is."""
    provisioning = status.provisioning_status(balancer)
    return {"status": provisioning.value, "status_description": _reason(balancer, provisioning)}


def statistics(shown: Shown, item: Pool) -> View:
    state = shown.statistics.states.get(item.id)
    counted = ZERO if state is None else state.counters
    return {
        "bytes_in": counted.bytes_in,
        "bytes_out": counted.bytes_out,
        "active_connections": counted.active_connections,
        "total_connections": counted.total_connections,
    }


def member(shown: Shown, item: Member) -> View:
    balancer = shown.tree.load_balancer
    owner = next(each for each in balancer.pools if item in each.members)
    statuses = _statuses(shown, item)
    if statuses["status"] == ACTIVE and item.rotation is Rotation.OUT:
        statuses["status"] = DOWN
    seen = status.member_operating_status(item, shown.statistics)
    if statuses["status"] == ACTIVE and owner.health_monitor_ids and seen is OperatingStatus.ERROR:
        statuses["status"] = INACTIVE
    return _shown(
        schemas.MEMBER,
        {
            "id": show_uuid(item.id),
            "tenant_id": balancer.project_id,
            "pool_id": show_uuid(owner.id),
            "address": item.address,
            "protocol_port": item.port,
            "weight": item.weight,
            "admin_state_up": item.admin_up,
            **statuses,
        },
    )


# --- health monitors -----------------------------------------------------------


def health_monitor(item: Monitored) -> View:
    monitor = item.monitor
    view = {
        "id": show_uuid(monitor.id),
        "tenant_id": monitor.project_id,
        "type": monitor.type.value,
        "delay": _number(monitor.delay),
        "timeout": _number(monitor.timeout),
        "max_retries": monitor.fall,
        "admin_state_up": monitor.admin_up,
        "pools": [
            {"pool_id": show_uuid(pool.id), **_association_status(shown.tree.load_balancer)}
            for shown in item.users
            for pool in shown.tree.load_balancer.pools
            if monitor.id in pool.health_monitor_ids
        ],
    }
    if monitor.http is not None and monitor.type in HTTP_MONITORS:
        view |= {
            "http_method": monitor.http.method,
            "url_path": monitor.http.path,
            "expected_codes": monitor.http.expected_codes,
        }
    return _shown(schemas.HEALTH_MONITOR, view)


def association(shown: Shown, monitor: HealthMonitor, pool_id: str) -> View:
    return {
        "id": show_uuid(monitor.id),
        "monitor_id": show_uuid(monitor.id),
        "pool_id": show_uuid(pool_id),
        "tenant_id": monitor.project_id,
        **_association_status(shown.tree.load_balancer),
    }


def _number(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value
