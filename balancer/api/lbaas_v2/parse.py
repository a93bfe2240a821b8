"""Bodies of LBaaS v2, turned into objects of the model and into changes of them.

Values were read by `balancer.api.lbaas_v2.schemas`. All raise `InvalidInput` with the attribute's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from balancer.api.attributes import Resource, Uuid
from balancer.api.lbaas_v2 import schemas
from balancer.core import changes
from balancer.core.changes import Change
from balancer.core.model import (
    Algorithm,
    HealthMonitor,
    HttpCheck,
    L7Policy,
    L7Rule,
    Listener,
    LoadBalancer,
    Member,
    MonitorType,
    PersistenceKind,
    Placement,
    PlacementKind,
    PlacementProfile,
    Pool,
    Protocol,
    QuotaResource,
    SessionPersistence,
    Tree,
    VirtualIp,
    new_id,
)
from balancer.exceptions import InvalidInput, NotFound

Body = Mapping[str, Any]
Values = Mapping[str, Any]

HTTP_MONITORS = (MonitorType.HTTP, MonitorType.HTTPS)
DATAGRAM = (Protocol.UDP, Protocol.SCTP)
_COMMON = {"name": "name", "description": "description", "admin_up": "admin_state_up", "tags": "tags"}
_HTTP = {"method": "http_method", "path": "url_path", "expected_codes": "expected_codes"}
_REDIRECTS = {"pool_id": "redirect_pool_id", "url": "redirect_url", "prefix": "redirect_prefix"}
_ACTIONS = {"pool_id": "REDIRECT_TO_POOL", "url": "REDIRECT_TO_URL", "prefix": "REDIRECT_PREFIX"}


def path_id(kind: str, text: str) -> str:
    """An id of a path. What is no id cannot be found: raises `NotFound`."""
    try:
        return Uuid().read(text)
    except ValueError:
        raise NotFound(kind, text) from None


def _pick(values: Values, names: Mapping[str, str]) -> dict[str, Any]:
    """Fields of the model, for the attributes that are among the values."""
    return {field: values[name] for field, name in names.items() if name in values}


# --- load balancers -----------------------------------------------------------


def load_balancer(body: Body, default_project: str | None) -> Tree:
    """A new one, with all that the body holds."""
    values = schemas.LOAD_BALANCER_WITH_ALL.created(body)
    balancer = LoadBalancer(
        id=new_id(),
        project_id=_project(values, default_project),
        device_id="",
        virtual_ips=_virtual_ips(values),
        provider=provider(values["provider"]),
        flavor_id=values["flavor_id"],
        availability_zone=values["availability_zone"],
        **_pick(values, _COMMON),
    )
    return _Whole(values).of(Tree(load_balancer=balancer))


def _project(values: Values, default: str | None) -> str:
    given = {values[name] for name in ("project_id", "tenant_id") if values[name]}
    if len(given) > 1:
        raise InvalidInput("project_id and tenant_id contradict each other", field="tenant_id")
    project = given.pop() if given else default
    if not project:
        raise InvalidInput("project_id is required: the token has no project", field="project_id")
    return project


def provider(name: str | None) -> str | None:
    """In lower case; any, for the names that Octavia's own provider goes by."""
    return None if name is None or name.lower() in schemas.ANY_PROVIDER else name.lower()


def _virtual_ips(values: Values) -> tuple[VirtualIp, ...]:
    if not (values["vip_port_id"] or values["vip_subnet_id"] or values["vip_network_id"]):
        raise InvalidInput("VIP must contain one of: vip_port_id, vip_subnet_id, vip_network_id", field="vip_subnet_id")
    first = VirtualIp(
        id=new_id(),
        address=_vip_address(values["vip_address"], "vip_address"),
        network_id=values["vip_network_id"],
        subnet_id=values["vip_subnet_id"],
        port_id=values["vip_port_id"],
        qos_policy_id=values["vip_qos_policy_id"],
        lasting=True,
    )
    seen = {first.subnet_id}
    more = []
    for number, each in enumerate(values["additional_vips"]):
        if each["subnet_id"] in seen:
            field = f"additional_vips[{number}].subnet_id"
            raise InvalidInput(f"{field}: a subnet may be there once", field=field)
        seen.add(each["subnet_id"])
        address = _vip_address(each["ip_address"], f"additional_vips[{number}].ip_address")
        wanted = VirtualIp(id=new_id(), address=address, subnet_id=each["subnet_id"], port_id=each["port_id"])
        more.append(replace(wanted, lasting=True))
    return (first, *more)


def _vip_address(given: str | None, field: str) -> str:
    """Canonical; "" leaves it open."""
    if given is None:
        return ""
    address = ip_address(given)
    if address.is_unspecified or address.is_multicast:
        raise InvalidInput(f"{field} must be an address that one host can have", field=field)
    return str(address)


def load_balancer_change(body: Body) -> Change:
    values = schemas.LOAD_BALANCER.changed(body)

    def apply(balancer: LoadBalancer) -> LoadBalancer:
        virtual_ips = balancer.virtual_ips
        if "vip_qos_policy_id" in values and virtual_ips:
            virtual_ips = (replace(virtual_ips[0], qos_policy_id=values["vip_qos_policy_id"]), *virtual_ips[1:])
        return replace(balancer, virtual_ips=virtual_ips, **_pick(values, _COMMON))

    return changes.update_load_balancer(apply)


class _Whole:
    """The listeners and pools of a body that makes a load balancer with all its parts."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self._pools: dict[str, Values] = {}
        """Name to definition, in the order of the body."""
        self._ids: dict[str, str] = {}

    def of(self, tree: Tree) -> Tree:
        self._define(self._values["pools"], "pools")
        for number, listener in enumerate(self._values["listeners"]):
            where = f"listeners[{number}]"
            self._define([listener["default_pool"]], f"{where}.default_pool")
            for place, policy in enumerate(listener["l7policies"]):
                self._define([policy["redirect_pool"]], f"{where}.l7policies[{place}].redirect_pool")
        for name, values in self._pools.items():
            tree = self._made(name, values)(tree)
        for number, listener in enumerate(self._values["listeners"]):
            tree = changes.add_listener(self._listener(listener, f"listeners[{number}]"))(tree)
        return tree

    def _define(self, pools: Any, where: str) -> None:
        for pool in pools:
            if pool is None:
                continue
            name = pool["name"]
            if not name:
                raise InvalidInput(f"{where}: a pool needs a name here", field=where)
            if _is_reference(pool):
                continue
            for required in ("protocol", "lb_algorithm"):
                if pool[required] is None:
                    raise InvalidInput(f"{where}.{required} is required", field=f"{where}.{required}")
            if name in self._pools:
                raise InvalidInput(f"{where}: there is a pool named {name} already", field=where)
            self._pools[name] = pool
            self._ids[name] = new_id()

    def _made(self, name: str, values: Values) -> Change:
        return new_pool(values, self._ids[name])

    def _pool_id(self, pool: Values | None, where: str) -> str | None:
        if pool is None:
            return None
        if pool["name"] not in self._ids:
            raise InvalidInput(f"{where}: there is no pool named {pool['name']}", field=where)
        return self._ids[pool["name"]]

    def _listener(self, values: Values, where: str) -> Listener:
        listener = new_listener(values)
        pool_id = self._pool_id(values["default_pool"], f"{where}.default_pool")
        if pool_id is not None:
            listener = replace(listener, default_pool_id=pool_id)
        policies = []
        for number, policy in enumerate(values["l7policies"]):
            made = new_l7_policy(policy)
            target = self._pool_id(policy["redirect_pool"], f"{where}.l7policies[{number}].redirect_pool")
            if target is not None:
                made = replace(made, redirect={**made.redirect, "pool_id": target})
            policies.append(changes.settle_redirect(made))
        return replace(listener, l7_policies=tuple(policies))


def _is_reference(pool: Values) -> bool:
    """One of which only the name was said."""
    blank = schemas.NESTED_POOL.read_new({"name": pool["name"]})
    return all(pool[key] == value for key, value in blank.items())


# --- listeners -----------------------------------------------------------


def listener(body: Body) -> tuple[str, Listener]:
    """The id of its load balancer, and the new listener."""
    values = schemas.LISTENER.created(body)
    return values["loadbalancer_id"], new_listener(values)


def new_listener(values: Values) -> Listener:
    protocol = Protocol(values["protocol"])
    if protocol is Protocol.TERMINATED_HTTPS:
        raise InvalidInput(f"protocol: TERMINATED_HTTPS is {schemas.NOT_HERE}", field="protocol")
    return _listener(Listener(id=new_id(), protocol=protocol, port=values["protocol_port"]), values)


def listener_change(body: Body) -> Callable[[Listener], Listener]:
    values = schemas.LISTENER.changed(body)
    return lambda old: _listener(old, values)


def _listener(old: Listener, values: Values) -> Listener:
    fields = _pick(values, {**_COMMON, "default_pool_id": "default_pool_id", "insert_headers": "insert_headers"})
    if "connection_limit" in values:
        limit = values["connection_limit"]
        fields["connection_limit"] = None if limit == -1 else limit
    if "allowed_cidrs" in values:
        fields["allowed_cidrs"] = tuple(dict.fromkeys(values["allowed_cidrs"] or ()))
    timeouts = {}
    for name, default in schemas.DEFAULT_TIMEOUTS.items():
        if f"timeout_{name}" in values:
            value = values[f"timeout_{name}"]
            timeouts["client" if name == "client_data" else name] = None if value == default else value
    return replace(old, timeouts=replace(old.timeouts, **timeouts), **fields)


# --- pools -----------------------------------------------------------


def pool(body: Body) -> tuple[Values, str, Change]:
    """What was said, the id of the new pool and the change that adds it, with its members and its health monitor."""
    values = schemas.POOL.created(body)
    if not (values["loadbalancer_id"] or values["listener_id"]):
        raise InvalidInput("Either loadbalancer_id or listener_id is required", field="loadbalancer_id")
    pool_id = new_id()
    return values, pool_id, new_pool(values, pool_id, listener_id=values["listener_id"])


def new_pool(values: Values, pool_id: str, *, listener_id: str | None = None) -> Change:
    protocol = Protocol(values["protocol"])
    made = Pool(
        id=pool_id,
        protocol=protocol,
        algorithm=Algorithm(values["lb_algorithm"]),
        session_persistence=_persistence(None, values["session_persistence"], protocol),
        members=tuple(new_member(each) for each in values["members"]),
        **_pick(values, _COMMON),
    )
    change = changes.add_pool(made, listener_id=listener_id)
    if values["healthmonitor"] is None:
        return change
    wanted = values["healthmonitor"]

    def apply(tree: Tree) -> Tree:
        monitor = new_monitor(wanted, tree.load_balancer.project_id)
        return changes.add_only_monitor(monitor, pool_id)(change(tree))

    return apply


def pool_change(body: Body) -> Callable[[Pool], Pool]:
    values = schemas.POOL.changed(body)

    def apply(old: Pool) -> Pool:
        fields = _pick(values, _COMMON)
        if "lb_algorithm" in values:
            fields["algorithm"] = Algorithm(values["lb_algorithm"])
        if "session_persistence" in values:
            wanted = values["session_persistence"]
            fields["session_persistence"] = _persistence(old.session_persistence, wanted, old.protocol)
        return replace(old, **fields)

    return apply


def _persistence(
    old: SessionPersistence | None, values: Values | None, protocol: Protocol
) -> SessionPersistence | None:
    if values is None:
        return None
    if old is None and "type" not in values:
        raise InvalidInput("session_persistence.type is required", field="session_persistence.type")
    kind = PersistenceKind(values["type"]) if "type" in values else old.kind if old else PersistenceKind.SOURCE_IP
    new = old
    if new is None or kind is not new.kind:
        new = SessionPersistence(id=new.id if new else new_id(), kind=kind)
    cookie = values.get("cookie_name", new.cookie_name)
    if kind is not PersistenceKind.APP_COOKIE and values.get("cookie_name") is not None:
        field = "session_persistence.cookie_name"
        raise InvalidInput(f"{field} is of APP_COOKIE only", field=field)
    for name in ("persistence_timeout", "persistence_granularity"):
        if values.get(name) is not None and protocol not in DATAGRAM:
            field = f"session_persistence.{name}"
            raise InvalidInput(f"{field} is of UDP and SCTP pools only", field=field)
    return replace(
        new,
        cookie_name=cookie,
        **_pick(values, {"timeout": "persistence_timeout", "granularity": "persistence_granularity"}),
    )


# --- members -----------------------------------------------------------

_MEMBER = {
    "name": "name",
    "admin_up": "admin_state_up",
    "tags": "tags",
    "weight": "weight",
    "backup": "backup",
    "monitor_address": "monitor_address",
    "monitor_port": "monitor_port",
}


def member(body: Body) -> Member:
    return new_member(schemas.MEMBER.created(body))


def members(body: Body) -> tuple[Member, ...]:
    """Several new ones, as the clients of neutron-lbaas send them."""
    return tuple(new_member(values) for values, _ in schemas.MEMBER.items(body))


def new_member(values: Values) -> Member:
    return Member(
        id=new_id(),
        address=values["address"],
        port=values["protocol_port"],
        subnet_id=values["subnet_id"],
        **_pick(values, _MEMBER),
    )


def member_change(body: Body) -> Callable[[Member], Member]:
    values = schemas.MEMBER.changed(body)
    return lambda old: replace(old, **_pick(values, _MEMBER))


def member_batch(pool_id: str, body: Body, *, additive: bool) -> Change:
    """What of an attribute with a default was left out goes back to it; a name and tags stay."""
    wanted = []
    for values, sent in schemas.MEMBER.items(body):
        kept = {name: value for name, value in values.items() if name in sent or name not in ("name", "tags")}
        fields = _pick(kept, _MEMBER)
        wanted.append((new_member(values), lambda old, fields=fields: replace(old, **fields)))
    return changes.set_members(pool_id, wanted, additive=additive)


# --- health monitors -----------------------------------------------------------

_MONITOR = {
    "name": "name",
    "admin_up": "admin_state_up",
    "tags": "tags",
    "delay": "delay",
    "timeout": "timeout",
    "rise": "max_retries",
    "fall": "max_retries_down",
}


def health_monitor(body: Body) -> tuple[str, Values]:
    """The id of its pool, and what was said: whose project it is of is known only with the pool."""
    values = schemas.HEALTH_MONITOR.created(body)
    _check_http(MonitorType(values["type"]), {name: value for name, value in values.items() if value is not None})
    return values["pool_id"], values


def new_monitor(values: Values, project_id: str) -> HealthMonitor:
    kind = MonitorType(values["type"])
    given = {name: value for name, value in values.items() if value is not None}
    _check_http(kind, given)
    http = HttpCheck() if kind in HTTP_MONITORS else None
    return HealthMonitor(
        id=new_id(), project_id=project_id, type=kind, http=_http(http, given), **_pick(values, _MONITOR)
    )


def health_monitor_change(body: Body) -> Callable[[HealthMonitor], HealthMonitor]:
    values = schemas.HEALTH_MONITOR.changed(body)

    def apply(old: HealthMonitor) -> HealthMonitor:
        _check_http(old.type, values)
        return replace(old, http=_http(old.http, values), **_pick(values, _MONITOR))

    return apply


def _check_http(kind: MonitorType, values: Values) -> None:
    for name in (*_HTTP.values(), "http_version", "domain_name"):
        if name in values and kind not in HTTP_MONITORS:
            raise InvalidInput(f"{name} is of HTTP and HTTPS health monitors only, not of {kind}", field=name)


def _http(old: HttpCheck | None, values: Values) -> HttpCheck | None:
    """A null is what a new one would have."""
    if old is None:
        return None
    blank = HttpCheck()
    fields = {field: values[name] or getattr(blank, field) for field, name in _HTTP.items() if name in values}
    fields |= _pick(values, {"version": "http_version", "domain_name": "domain_name"})
    return replace(old, **fields)


# --- L7 policies and rules -----------------------------------------------------------


def l7_policy(body: Body) -> tuple[str, L7Policy]:
    """The id of its listener, and the new policy."""
    values = schemas.L7_POLICY.created(body)
    return values["listener_id"], new_l7_policy(values)


def new_l7_policy(values: Values) -> L7Policy:
    blank = L7Policy(id=new_id(), action=values["action"], position=values["position"])
    policy = _l7_policy(blank, {name: value for name, value in values.items() if value is not None})
    return replace(policy, rules=tuple(new_l7_rule(each) for each in values["rules"]))


def l7_policy_change(body: Body) -> Callable[[L7Policy], L7Policy]:
    values = schemas.L7_POLICY.changed(body)
    if not values:
        raise InvalidInput("l7policy has nothing to change", field="l7policy")
    return lambda old: _l7_policy(old, values)


def _l7_policy(old: L7Policy, values: Values) -> L7Policy:
    """A new target without an action is an action, too."""
    targets = {key: name for key, name in _REDIRECTS.items() if values.get(name) is not None}
    if "pool_id" in targets and len(targets) > 1:
        other = next(name for key, name in targets.items() if key != "pool_id")
        raise InvalidInput(f"redirect_pool_id and {other} exclude each other", field="redirect_pool_id")
    fields = _pick(values, {**_COMMON, "action": "action", "position": "position"})
    if "action" not in values and targets:
        fields["action"] = _ACTIONS[next(iter(targets))]
    redirect = {**old.redirect, **_pick(values, {**_REDIRECTS, "http_code": "redirect_http_code"})}
    return replace(old, redirect=redirect, **fields)


_RULE = {
    "type": "type",
    "compare_type": "compare_type",
    "key": "key",
    "value": "value",
    "invert": "invert",
    "admin_up": "admin_state_up",
    "tags": "tags",
}
_KEYLESS = ("HOST_NAME", "PATH", "FILE_TYPE")


def l7_rule(body: Body) -> L7Rule:
    return new_l7_rule(schemas.L7_RULE.created(body))


def l7_rules(body: Body) -> tuple[L7Rule, ...]:
    """Several new ones, as the clients of neutron-lbaas send them."""
    return tuple(new_l7_rule(values) for values, _ in schemas.L7_RULE.items(body))


def new_l7_rule(values: Values) -> L7Rule:
    blank = L7Rule(id=new_id(), type=values["type"], compare_type=values["compare_type"], value=values["value"])
    return _l7_rule(blank, values)


def l7_rule_change(body: Body) -> Callable[[L7Rule], L7Rule]:
    values = schemas.L7_RULE.changed(body)
    return lambda old: _l7_rule(old, values)


def _l7_rule(old: L7Rule, values: Values) -> L7Rule:
    new = replace(old, **_pick(values, _RULE))
    return replace(new, key=None) if new.type in _KEYLESS else new


# --- quotas -----------------------------------------------------------


def quota_change(body: Body) -> dict[QuotaResource, int | None]:
    values = schemas.QUOTA.changed(body)
    changed: dict[QuotaResource, int | None] = {}
    for name, limit in values.items():
        resource = schemas.QUOTA_RESOURCES[name]
        if changed.setdefault(resource, limit) != limit:
            raise InvalidInput(f"{name} contradicts its other spelling", field=name)
    return changed


# --- flavors and availability zones -------------------------------------


def profile(body: Body, resource: Resource, kind: PlacementKind, data: str) -> PlacementProfile:
    values = resource.created(body)
    return PlacementProfile(
        id=new_id(), kind=kind, name=values["name"], provider=values["provider_name"].lower(), data=values[data]
    )


def profile_change(body: Body, resource: Resource, data: str) -> Callable[[PlacementProfile], PlacementProfile]:
    values = resource.changed(body)
    fields = _pick(values, {"name": "name", "data": data})
    if "provider_name" in values:
        fields["provider"] = values["provider_name"].lower()
    return lambda old: replace(old, **fields)


def placement(body: Body, resource: Resource, kind: PlacementKind, profile_id: str) -> Placement:
    values = resource.created(body)
    return Placement(
        id=new_id(),
        kind=kind,
        profile_id=values[profile_id],
        **_pick(values, {"name": "name", "description": "description", "enabled": "enabled"}),
    )


def placement_change(body: Body, resource: Resource) -> Callable[[Placement], Placement]:
    values = resource.changed(body)
    names = {"name": "name", "description": "description", "enabled": "enabled"}
    return lambda old: replace(old, **_pick(values, names))
