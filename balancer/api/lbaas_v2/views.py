"""What LBaaS v2 answers: objects of the model as JSON-able maps. Reads are total: what was made in another dialect is
shown as far as this one has words for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from balancer.api.attributes import Resource, show_uuid
from balancer.api.lbaas_v2 import schemas
from balancer.core import status
from balancer.core.model import (
    Counters,
    HealthMonitor,
    L7Policy,
    L7Rule,
    Listener,
    LoadBalancer,
    Member,
    OperatingStatus,
    Placement,
    PlacementProfile,
    Pool,
    Quotas,
    SessionPersistence,
    Statistics,
    VirtualIp,
)
from balancer.core.rules import WILDCARD
from balancer.core.shown import Shown
from balancer.core.statistics import ZERO, total
from balancer.core.status import ProvisioningStatus, part_provisioning_status

View = dict[str, Any]

_PENDING_CREATE = ProvisioningStatus.PENDING_CREATE


def _ids(parts: Iterable[Any]) -> list[View]:
    return [{"id": show_uuid(part.id)} for part in parts]


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _shown(resource: Resource, values: Mapping[str, Any]) -> View:
    """In the order of the schema; attributes that have no values here have their default."""
    return {
        name: values.get(name, attribute.default) for name, attribute in resource.attributes.items() if attribute.shown
    }


def _part(shown: Shown, part: Any, provisioning: ProvisioningStatus, operating: OperatingStatus | None) -> View:
    """What all objects have. Nothing seen is OFFLINE."""
    project_id = shown.tree.load_balancer.project_id
    return {
        "id": show_uuid(part.id),
        "provisioning_status": provisioning.value,
        "operating_status": (operating or OperatingStatus.OFFLINE).value,
        "admin_state_up": part.admin_up,
        "project_id": project_id,
        "tenant_id": project_id,
        "created_at": _time(part.created_at),
        "updated_at": None if provisioning is _PENDING_CREATE else _time(part.updated_at),
        "tags": list(part.tags),
    }


def _unmeasured(part: Any, provisioning: ProvisioningStatus) -> OperatingStatus:
    """Of what no device reports on."""
    on = part.admin_up and provisioning is not _PENDING_CREATE
    return OperatingStatus.ONLINE if on else OperatingStatus.OFFLINE


# --- load balancers -----------------------------------------------------------


def load_balancer(shown: Shown, balancer: LoadBalancer) -> View:
    vips = balancer.virtual_ips
    first = vips[0] if vips else None
    seen = shown.statistics
    operating = status.load_balancer_operating_status(balancer, seen)
    if operating is None and seen.sampled_at is not None and balancer.applied_generation:
        # Nothing that could be wrong, and the device has been seen since.
        operating = OperatingStatus.ONLINE
    provider = balancer.provider
    device = shown.devices.get(balancer.device_id)
    if provider is None and device is not None:
        provider = device.type.lower()
    return _shown(
        schemas.LOAD_BALANCER,
        {
            **_part(shown, balancer, status.provisioning_status(balancer), operating),
            "name": balancer.name,
            "description": balancer.description,
            "vip_address": _address(first),
            "vip_port_id": first and show_uuid(first.port_id),
            "vip_subnet_id": first and show_uuid(first.subnet_id),
            "vip_network_id": first and show_uuid(first.network_id),
            "vip_qos_policy_id": first and show_uuid(first.qos_policy_id),
            "additional_vips": [
                {
                    "subnet_id": show_uuid(vip.subnet_id),
                    "ip_address": _address(vip),
                    "port_id": show_uuid(vip.port_id),
                }
                for vip in vips[1:]
            ],
            "listeners": _ids(balancer.listeners),
            "pools": _ids(balancer.pools),
            "provider": provider,
            "flavor_id": show_uuid(balancer.flavor_id),
            "availability_zone": balancer.availability_zone,
        },
    )


def _address(vip: VirtualIp | None) -> str | None:
    if vip is None:
        return None
    return "0.0.0.0" if vip.address == WILDCARD else vip.address  # noqa: S104 - shown, not bound


def load_balancer_with_all(shown: Shown) -> View:
    """The answer to a create: listeners and pools in full, without what refers back."""
    balancer = shown.tree.load_balancer
    view = load_balancer(shown, balancer)
    listeners = []
    for each in balancer.listeners:
        policies = [
            {**l7_policy(shown, policy), "rules": [l7_rule(shown, rule) for rule in policy.rules]}
            for policy in each.l7_policies
        ]
        listeners.append({**listener(shown, each), "l7policies": policies})
    pools = []
    for pool_ in balancer.pools:
        monitor = next((each for each in shown.tree.monitors if each.id in pool_.health_monitor_ids[:1]), None)
        pools.append(
            {
                **pool(shown, pool_),
                "members": [member(shown, each) for each in pool_.members],
                "healthmonitor": None if monitor is None else _without(health_monitor(shown, monitor), "pools"),
            }
        )
    return {
        **view,
        "listeners": [_without(each, "loadbalancers") for each in listeners],
        "pools": [_without(each, "loadbalancers") for each in pools],
    }


def _without(view: View, name: str) -> View:
    return {key: value for key, value in view.items() if key != name}


def statistics(seen: Statistics, listener_id: str | None = None) -> View:
    """Of that listener, or of all there are and were."""
    if listener_id is None:
        counted: Counters = total(seen)
    else:
        state = seen.states.get(listener_id)
        counted = ZERO if state is None else state.counters
    return {
        "bytes_in": counted.bytes_in,
        "bytes_out": counted.bytes_out,
        "active_connections": counted.active_connections,
        "total_connections": counted.total_connections,
        "request_errors": counted.request_errors,
    }


def status_tree(shown: Shown) -> View:
    balancer = shown.tree.load_balancer
    pools = {each.id: each for each in balancer.pools}
    listeners = []
    for each in balancer.listeners:
        used = (pools[pool_id] for pool_id in _used_pool_ids(each) if pool_id in pools)
        node = _node(listener(shown, each))
        listeners.append({**node, "pools": [_pool_node(shown, pool) for pool in used]})
    return {"loadbalancer": {**_node(load_balancer(shown, balancer)), "listeners": listeners}}


def _node(view: View, *more: str) -> View:
    return {name: view[name] for name in ("id", "name", "operating_status", "provisioning_status", *more)}


def _pool_node(shown: Shown, item: Pool) -> View:
    monitor = next((each for each in shown.tree.monitors if each.id in item.health_monitor_ids[:1]), None)
    return {
        **_node(pool(shown, item)),
        "health_monitor": None if monitor is None else _node(health_monitor(shown, monitor), "type"),
        "members": [_node(member(shown, each), "address", "protocol_port") for each in item.members],
    }


def _used_pool_ids(item: Listener) -> list[str]:
    """Its default pool, and those that its L7 policies can send requests to."""
    redirects = (policy.redirect.get("pool_id") for policy in item.l7_policies if policy.admin_up and policy.rules)
    return list(dict.fromkeys(each for each in (item.default_pool_id, *redirects) if each))


# --- listeners ----------------------------------------------------------------


def listener(shown: Shown, item: Listener) -> View:
    balancer = shown.tree.load_balancer
    used = set(_used_pool_ids(item))
    below = [part for pool_ in balancer.pools if pool_.id in used for part in (pool_, *_below(shown, pool_))]
    below += [part for policy in item.l7_policies for part in (policy, *policy.rules)]
    timeouts = {
        "client_data": item.timeouts.client,
        "member_connect": item.timeouts.member_connect,
        "member_data": item.timeouts.member_data,
        "tcp_inspect": item.timeouts.tcp_inspect,
    }
    return _shown(
        schemas.LISTENER,
        {
            **_part(
                shown,
                item,
                part_provisioning_status(balancer, item, below),
                status.listener_operating_status(balancer, item, shown.statistics),
            ),
            "name": item.name,
            "description": item.description,
            "protocol": item.protocol.value,
            "protocol_port": item.port,
            "connection_limit": -1 if item.connection_limit is None else item.connection_limit,
            "default_pool_id": show_uuid(item.default_pool_id),
            "insert_headers": dict(item.insert_headers),
            "l7policies": _ids(item.l7_policies),
            "loadbalancers": _ids([balancer]),
            "allowed_cidrs": list(item.allowed_cidrs) or None,
            **{
                f"timeout_{name}": schemas.DEFAULT_TIMEOUTS[name] if value is None else value
                for name, value in timeouts.items()
            },
        },
    )


# --- pools and members ---------------------------------------------------------


def _below(shown: Shown, item: Pool) -> list[Any]:
    return [*item.members, *(each for each in shown.tree.monitors if each.id in item.health_monitor_ids)]


def pool(shown: Shown, item: Pool) -> View:
    balancer = shown.tree.load_balancer
    users = [each for each in balancer.listeners if item.id in _used_pool_ids(each)]
    # A device may run it, but nothing comes to it.
    operating = status.pool_operating_status(item, shown.statistics) if users else OperatingStatus.OFFLINE
    monitor_id = item.health_monitor_ids[0] if item.health_monitor_ids else None
    return _shown(
        schemas.POOL,
        {
            **_part(shown, item, part_provisioning_status(balancer, item, _below(shown, item)), operating),
            "name": item.name,
            "description": item.description,
            "protocol": item.protocol.value,
            "lb_algorithm": item.algorithm.value,
            "session_persistence": session_persistence(item.session_persistence),
            "loadbalancers": _ids([balancer]),
            "listeners": _ids(each for each in balancer.listeners if each.default_pool_id == item.id),
            "healthmonitor_id": show_uuid(monitor_id),
            "members": _ids(item.members),
        },
    )


def session_persistence(item: SessionPersistence | None) -> View | None:
    if item is None:
        return None
    return {
        "type": item.kind.value,
        "cookie_name": item.cookie_name,
        "persistence_timeout": item.timeout,
        "persistence_granularity": item.granularity,
    }


def member(shown: Shown, item: Member) -> View:
    balancer = shown.tree.load_balancer
    return _shown(
        schemas.MEMBER,
        {
            **_part(shown, item, part_provisioning_status(balancer, item), _member_operating(shown, item)),
            "name": item.name,
            "address": item.address,
            "protocol_port": item.port,
            "weight": item.weight,
            "backup": item.backup,
            "subnet_id": show_uuid(item.subnet_id),
            "monitor_address": item.monitor_address,
            "monitor_port": item.monitor_port,
        },
    )


def _member_operating(shown: Shown, item: Member) -> OperatingStatus | None:
    """Without a health monitor nothing is known of it, whatever was known before; not even that it is switched off
    as long as its device has never reported."""
    if not item.admin_up and shown.statistics.sampled_at is not None:
        return OperatingStatus.OFFLINE
    monitored = item.id in _monitored(shown)
    return status.member_operating_status(item, shown.statistics) if monitored else OperatingStatus.NO_MONITOR


@lru_cache(maxsize=100)
def _monitored(shown: Shown) -> frozenset[str]:
    """The ids of its members that are checked: there may be thousands, and each is asked about."""
    pools = shown.tree.load_balancer.pools
    return frozenset(member.id for pool in pools if pool.health_monitor_ids for member in pool.members)


# --- health monitors -----------------------------------------------------------


def health_monitor(shown: Shown, item: HealthMonitor) -> View:
    balancer = shown.tree.load_balancer
    provisioning = part_provisioning_status(balancer, item)
    http = item.http
    view = {
        **_part(shown, item, provisioning, _unmeasured(item, provisioning)),
        "name": item.name,
        "type": item.type.value,
        "delay": _number(item.delay),
        "timeout": _number(item.timeout),
        "max_retries": item.rise,
        "max_retries_down": item.fall,
        "pools": _ids(pool for pool in balancer.pools if item.id in pool.health_monitor_ids),
    }
    if http is not None:
        view |= {
            "http_method": http.method,
            "url_path": http.path,
            "expected_codes": http.expected_codes,
            "http_version": None if http.version is None else float(http.version),
            "domain_name": http.domain_name,
        }
    return _shown(schemas.HEALTH_MONITOR, view)


def _number(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value


# --- L7 policies and rules -------------------------------------------------------


def l7_policy(shown: Shown, item: L7Policy) -> View:
    balancer = shown.tree.load_balancer
    provisioning = part_provisioning_status(balancer, item, item.rules)
    owner = next(each for each in balancer.listeners if item in each.l7_policies)
    return _shown(
        schemas.L7_POLICY,
        {
            **_part(shown, item, provisioning, _unmeasured(item, provisioning)),
            "name": item.name,
            "description": item.description,
            "action": item.action,
            "listener_id": show_uuid(owner.id),
            "redirect_pool_id": show_uuid(item.redirect.get("pool_id")),
            "redirect_url": item.redirect.get("url"),
            "redirect_prefix": item.redirect.get("prefix"),
            "redirect_http_code": item.redirect.get("http_code"),
            "position": item.position,
            "rules": _ids(item.rules),
        },
    )


def l7_rule(shown: Shown, item: L7Rule) -> View:
    provisioning = part_provisioning_status(shown.tree.load_balancer, item)
    return _shown(
        schemas.L7_RULE,
        {
            **_part(shown, item, provisioning, _unmeasured(item, provisioning)),
            "type": item.type,
            "compare_type": item.compare_type,
            "key": item.key,
            "value": item.value,
            "invert": item.invert,
        },
    )


# --- quotas -----------------------------------------------------------


def quota(project_id: str | None, limits: Quotas) -> View:
    """What has no limit of its own is null. No project: the limits alone."""
    shown = {name: limits.get(resource) for name, resource in schemas.QUOTA_RESOURCES.items()}
    return shown if project_id is None else {"project_id": project_id, "tenant_id": project_id, **shown}


# --- flavors and availability zones ---------------------------------------


def profile(item: PlacementProfile, data: str) -> View:
    return {"id": show_uuid(item.id), "name": item.name, "provider_name": item.provider, data: item.data}


def placement(item: Placement, resource: Resource, profile_id: str) -> View:
    return _shown(
        resource,
        {
            "id": show_uuid(item.id),
            "name": item.name,
            "description": item.description,
            "enabled": item.enabled,
            profile_id: show_uuid(item.profile_id),
        },
    )
