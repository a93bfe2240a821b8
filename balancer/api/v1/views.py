"""What the balancer API answers: objects of the model as JSON-able maps. Reads are total: objects made in another
dialect are shown as far as this one has words for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from balancer.api.v1 import names, objects
from balancer.api.v1.objects import Balancer, ListenerAt
from balancer.core.model import (
    Counters,
    Credential,
    Deployment,
    Device,
    HealthMonitor,
    Listener,
    Member,
    OperatingStatus,
    Preview,
    QuotaResource,
    Quotas,
    SessionPersistence,
    Statistics,
    Tree,
)
from balancer.core.statistics import ZERO, total
from balancer.core.status import (
    device_status,
    listener_operating_status,
    load_balancer_operating_status,
    load_balancer_reason,
    load_balancer_status,
    member_operating_status,
)
from balancer.exceptions import NotFound

View = dict[str, Any]
_Child = TypeVar("_Child", Member, Listener, HealthMonitor, SessionPersistence)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(seconds: float) -> str | None:
    return _time(datetime.fromtimestamp(seconds, UTC))


def _times(item: Any) -> View:
    return {"created_at": _time(item.created_at), "updated_at": _time(item.updated_at)}


def _deployed(tree: Tree) -> str:
    balancer = tree.load_balancer
    return str(balancer.applied_generation >= balancer.generation)


# --- devices -------------------------------------------------------------------------------


def device(item: Device, *, sent: Credential | None = None) -> View:
    """`sent`: its secrets, for the reply to the one who just sent them."""
    status, reason = device_status(item)
    view = {**objects.DEVICE.view(item), "status": status.value, "status_reason": reason, **_times(item)}
    if sent is not None:
        view |= {key: value for key, value in (("password", sent.password), ("private_key", sent.private_key)) if value}
    return view


def device_info(item: Device, *, last: Deployment | None, age: float | None) -> View:
    """The last observation, `age` seconds old, and the `last` deployment."""
    status, reason = device_status(item)
    seen = item.observation
    view: View = {
        "id": item.id,
        "name": item.name,
        "status": status.value,
        "status_reason": reason,
        "reachable": None if seen is None else seen.reachable,
        "host_key": item.endpoint.host_key,
        "desired_revision": item.desired_revision,
        "applied_revision": item.applied_revision,
        "deployment_error": item.error,
        "last_deployment": None if last is None else deployment(last),
        "observed_at": None,
        "age": None if age is None else round(age, 3),
        "version": None,
        "findings": [],
        "drift": None,
        "facts": {},
    }
    if seen is not None:
        view |= {
            "observed_at": _time(datetime.fromtimestamp(seen.at, UTC)),
            "version": seen.version,
            "findings": list(seen.findings),
            "drift": seen.drift and {"reason": seen.drift.sentence, "diff": seen.drift.diff},
            "facts": dict(seen.facts),
        }
    return view


def deployment(item: Deployment) -> View:
    """Without its diff."""
    return {
        "n": item.number,
        "device_id": item.device_id,
        "revision": item.revision,
        "outcome": item.outcome.value,
        "plan": item.plan,
        "reason": item.sentence,
        "rejected": dict(item.rejected),
        "started_at": _moment(item.started_at),
        "last_started_at": _moment(item.last_started_at),
        "duration": round(item.duration, 3),
        "attempts": item.attempts,
    }


def dry_run(previews: Mapping[str, Preview]) -> View:
    """What would be done where; above it the plan that matters most of all."""
    most = max(previews.values(), key=lambda each: _PLANS.index(each.plan), default=_NOWHERE)
    return {
        "plan": most.plan,
        "reason": most.sentence,
        "devices": [
            {
                "device_id": device_id,
                "plan": each.plan,
                "reason": each.sentence,
                "diff": "".join(each.diffs.values()),
            }
            for device_id, each in previews.items()
        ],
    }


_PLANS = ("noop", "runtime", "reload")
_NOWHERE = Preview(plan="noop", sentence="no device is concerned")


# --- quotas ------------------------------------------------------------------------------------


def quota(limits: Quotas, used: Mapping[QuotaResource, int]) -> View:
    return {
        "quota": {name: limits[resource] for resource, name in names.QUOTAS.items()},
        "used": {name: used[resource] for resource, name in names.QUOTAS.items()},
    }


# --- load balancers ----------------------------------------------------------------------------


def _status(tree: Tree, devices: Mapping[str, Device], *, whole: bool) -> View:
    balancer = tree.load_balancer
    return {
        "status": load_balancer_status(balancer).value,
        "status_reason": load_balancer_reason(balancer, devices, whole=whole),
    }


def accepted(tree: Tree, devices: Mapping[str, Device], *, whole: bool) -> View:
    """The short reply to a create and an update."""
    return {"id": tree.load_balancer.id, **_status(tree, devices, whole=whole)}


def load_balancer(tree: Tree, devices: Mapping[str, Device], seen: Statistics, *, whole: bool) -> View:
    """`devices` as from `Service.devices_of`. `whole`: with what is for administrators."""
    balancer = tree.load_balancer
    pool = balancer.pools[0] if balancer.pools else None
    return {
        **objects.BALANCER.view(Balancer(balancer, pool)),
        "device_id": balancer.device_id,
        "tenant_id": balancer.project_id,
        **_status(tree, devices, whole=whole),
        "operating_status": _operating(load_balancer_operating_status(balancer, seen)),
        "deployed": _deployed(tree),
        **_times(balancer),
    }


def details(tree: Tree, devices: Mapping[str, Device], seen: Statistics, *, whole: bool) -> View:
    return {
        **load_balancer(tree, devices, seen, whole=whole),
        "nodes": nodes(tree, seen),
        "virtualIps": virtual_ips(tree, seen),
        "healthMonitor": health_monitors(tree),
        "sessionPersistence": session_persistences(tree),
    }


def _operating(status: OperatingStatus | None) -> str | None:
    return None if status is None else status.value


def statistics(tree: Tree, seen: Statistics) -> View:
    """What was counted for each of its virtual IPs and nodes, and what was seen of them."""
    balancer = tree.load_balancer

    def counted(item_id: str) -> View:
        state = seen.states.get(item_id)
        return _counters(ZERO if state is None else state.counters)

    return {
        "observed_at": None if seen.sampled_at is None else _time(datetime.fromtimestamp(seen.sampled_at, UTC)),
        "age": None if seen.age is None else round(seen.age, 3),
        "status": _operating(load_balancer_operating_status(balancer, seen)),
        "virtualIps": [
            {
                "id": listener.id,
                "status": _operating(listener_operating_status(balancer, listener, seen)),
                **counted(listener.id),
            }
            for listener in balancer.listeners
        ],
        "nodes": [
            {"id": member.id, "status": _operating(member_operating_status(member, seen)), **counted(member.id)}
            for member in _members(tree)
        ],
        "total": _counters(total(seen)),
    }


def _counters(counters: Counters) -> View:
    return {
        "bytes_in": counters.bytes_in,
        "bytes_out": counters.bytes_out,
        "active_connections": counters.active_connections,
        "total_connections": counters.total_connections,
        "request_errors": counters.request_errors,
    }


def serves_vm(tree: Tree, vm_id: str) -> bool:
    """Whether one of its nodes is that virtual machine."""
    sent = (member.extras.get("vm_id") for member in _members(tree))
    return any(value is not None and str(value) == vm_id for value in sent)


# --- children ---------------------------------------------------------------------------------------


def _members(tree: Tree) -> Iterable[Member]:
    return (member for pool in tree.load_balancer.pools for member in pool.members)


def _node(tree: Tree, seen: Statistics, member: Member) -> View:
    return {
        **objects.NODE.view(member),
        "operating_status": _operating(member_operating_status(member, seen)),
        "deployed": _deployed(tree),
    }


def nodes(tree: Tree, seen: Statistics, ids: Iterable[str] | None = None) -> list[View]:
    """All of them, or those of the ids."""
    wanted = None if ids is None else set(ids)
    return [_node(tree, seen, member) for member in _members(tree) if wanted is None or member.id in wanted]


def node(tree: Tree, seen: Statistics, node_id: str) -> View:
    return _node(tree, seen, _one(_members(tree), "Node", node_id))


def _virtual_ip(tree: Tree, seen: Statistics, listener: Listener) -> View:
    balancer = tree.load_balancer
    ids = listener.virtual_ip_ids
    at = next((vip for vip in balancer.virtual_ips if not ids or vip.id in ids), None)
    shown = objects.VIRTUAL_IP.view(ListenerAt(listener, at)) if at else {"id": listener.id, "name": listener.name}
    return {
        **shown,
        "lb_id": balancer.id,
        "status": load_balancer_status(balancer).value,
        "operating_status": _operating(listener_operating_status(balancer, listener, seen)),
        "deployed": _deployed(tree),
    }


def virtual_ips(tree: Tree, seen: Statistics) -> list[View]:
    return [_virtual_ip(tree, seen, listener) for listener in tree.load_balancer.listeners]


def virtual_ip(tree: Tree, seen: Statistics, virtual_ip_id: str) -> View:
    return _virtual_ip(tree, seen, _one(tree.load_balancer.listeners, "Virtual IP", virtual_ip_id))


def health_monitors(tree: Tree) -> list[View]:
    return [objects.HEALTH_MONITORING.view(monitor) for monitor in tree.monitors]


def health_monitor(tree: Tree, monitor_id: str) -> View:
    return objects.HEALTH_MONITORING.view(_one(tree.monitors, "Health monitor", monitor_id))


def _persistences(tree: Tree) -> list[SessionPersistence]:
    return [p for pool in tree.load_balancer.pools if (p := pool.session_persistence) is not None]


def session_persistences(tree: Tree) -> list[View]:
    return [objects.SESSION_PERSISTENCE.view(item) for item in _persistences(tree)]


def session_persistence(tree: Tree, sticky_id: str) -> View:
    return objects.SESSION_PERSISTENCE.view(_one(_persistences(tree), "Session persistence", sticky_id))


def _one(items: Iterable[_Child], kind: str, item_id: str) -> _Child:
    for item in items:
        if item.id == item_id:
            return item
    raise NotFound(kind, item_id)
