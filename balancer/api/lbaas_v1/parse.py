"""Bodies of LBaaS v1, turned into objects of the model and into changes of them.

A pool of this dialect has a load balancer of its own; its vip is a listener of that and the virtual IP it listens at,
and brings the session persistence of the pool with it. Changes refuse with 409 what this dialect cannot say of a load
balancer that was made, or went on, in another one.

All raise `InvalidInput` with the attribute's name, and `HttpError` for what is an error of this dialect only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any

from balancer.api.attributes import Uuid, show_uuid
from balancer.api.errors import HttpError
from balancer.api.lbaas_v1 import schemas
from balancer.core import changes, rules
from balancer.core.changes import Change
from balancer.core.model import (
    Algorithm,
    Caller,
    HealthMonitor,
    HttpCheck,
    Listener,
    LoadBalancer,
    Member,
    MonitorType,
    PersistenceKind,
    Pool,
    Protocol,
    SessionPersistence,
    Tree,
    VirtualIp,
    new_id,
)
from balancer.exceptions import Conflict, InUse, InvalidInput, NotFound, Rejected

Body = Mapping[str, Any]
Values = Mapping[str, Any]
TwoChange = Callable[[Tree, Tree], tuple[Tree, Tree]]

# Without Keystone there are no projects; what is made has to be of one.
DEFAULT_PROJECT = "default"
HTTP_MONITORS = (MonitorType.HTTP, MonitorType.HTTPS)
_FORWARDED_FOR = {"X-Forwarded-For": "true"}
_COMMON = {"name": "name", "description": "description", "admin_up": "admin_state_up"}
_HTTP = {"method": "http_method", "path": "url_path", "expected_codes": "expected_codes"}
# HAProxy's own number of checks that make a member come back, which the services of old left alone.
_RISE = 2


def path_id(noun: str, text: str) -> str:
    """An id of a path. What is no id cannot be found: raises `NotFound`."""
    try:
        return Uuid().read(text)
    except ValueError:
        raise NotFound(noun, text) from None


def refusal(status: HTTPStatus, kind: str, message: str) -> HttpError:
    """An error that only Neutron has a name for."""
    return HttpError(status, message, type_=kind)


def _pick(values: Values, names: Mapping[str, str]) -> dict[str, Any]:
    """Fields of the model, for the attributes that are among the values."""
    return {field: values[name] for field, name in names.items() if name in values}


def _own_tenant(values: Values, caller: Caller) -> str | None:
    """The project that was named, which only administrators may do for another than their own."""
    given: str | None = values["tenant_id"]
    if given is not None and not caller.acts_in(given):
        raise Rejected("tenant_id must be your own: only administrators name another", field="tenant_id")
    return given


def _tenant(values: Values, caller: Caller) -> str:
    own = DEFAULT_PROJECT if caller.project_id is None and caller.user_id is None else caller.project_id
    found = _own_tenant(values, caller) or own
    if not found:
        raise Rejected("tenant_id is required: the token has no project", field="tenant_id")
    return found


def check_tenant(values: Values, caller: Caller, owner: str, noun: str) -> None:
    """What is below a pool is of the pool's project. Raises `HttpError`."""
    given = _own_tenant(values, caller)
    if given not in (None, owner):
        raise refusal(HTTPStatus.FORBIDDEN, "NotAuthorized", f"A {noun} must be of the project of its pool, {owner}")


# --- pools -----------------------------------------------------------


def pool(body: Body, caller: Caller) -> tuple[str, Tree]:
    """The id of a new pool, and the load balancer that is made for it."""
    values = schemas.POOL.created(body)
    made = Pool(
        id=new_id(),
        subnet_id=values["subnet_id"],
        protocol=Protocol(values["protocol"]),
        algorithm=Algorithm(values["lb_method"]),
        **_pick(values, _COMMON),
    )
    provider = values["provider"]
    balancer = LoadBalancer(
        id=new_id(),
        project_id=_tenant(values, caller),
        name=values["name"],
        device_id="",
        provider=None if provider is None else provider.lower(),
        pools=(made,),
    )
    return made.id, Tree(load_balancer=balancer)


def pool_change(body: Body) -> Callable[[Pool], Pool]:
    values = schemas.POOL.changed(body)
    fields = _pick(values, _COMMON)
    if "lb_method" in values:
        fields["algorithm"] = Algorithm(values["lb_method"])
    return lambda old: replace(old, **fields)


def without_pool(pool_id: str) -> Change:
    """With the load balancer that was made for it, if nothing else has come to that; health monitors stay."""

    def apply(tree: Tree) -> Tree:
        balancer = tree.load_balancer
        users = [each.id for each in balancer.listeners if each.default_pool_id == pool_id]
        if users:
            raise InUse(f"Pool {pool_id} is in use by vip {users[0]}", kind="Pool")
        # The last one that uses them says that they are to stay.
        for monitor_id in _pool_of(tree, pool_id).health_monitor_ids:
            tree = changes.disassociate_monitor(monitor_id, pool_id)(tree)
        if len(balancer.pools) == 1 and not balancer.listeners and not balancer.virtual_ips:
            return changes.delete(tree)
        return changes.remove_pool(pool_id)(tree)

    return apply


def _pool_of(tree: Tree, pool_id: str) -> Pool:
    for each in tree.load_balancer.pools:
        if each.id == pool_id:
            return each
    raise NotFound("Pool", pool_id)


# --- vips -----------------------------------------------------------


def vip(body: Body, caller: Caller) -> tuple[Values, Listener, Change]:
    """What was said, the new listener, and the change that adds it to the load balancer of its pool."""
    values = schemas.VIP.created(body)
    _own_tenant(values, caller)
    protocol = Protocol(values["protocol"])
    listener = _listener(
        Listener(
            id=new_id(),
            protocol=protocol,
            port=values["protocol_port"],
            default_pool_id=values["pool_id"],
            insert_headers=_FORWARDED_FOR if protocol is Protocol.HTTP else {},
        ),
        values,
    )
    wanted = VirtualIp(id=new_id(), address=_vip_address(values["address"]), subnet_id=values["subnet_id"])

    def apply(tree: Tree) -> Tree:
        pool = _free_pool(tree, values["pool_id"])
        _check_protocol(listener.protocol, pool)
        placed = changes.place_listener(listener, _place(tree.load_balancer, wanted))(tree)
        if values["session_persistence"]:
            placed = _persisting(placed, listener.id, pool.id, _persistence(None, values["session_persistence"]))
        return placed

    return values, listener, apply


def _vip_address(given: str | None) -> str:
    """Canonical; "" leaves it open."""
    if given is None:
        return ""
    address = ip_address(given)
    if address.is_unspecified or address.is_multicast:
        raise InvalidInput("address must be an address that one host can have", field="address")
    return str(address)


def _place(balancer: LoadBalancer, wanted: VirtualIp) -> VirtualIp:
    """Where a listener is put: at an address of its own, or at one that the load balancer has already."""
    if not balancer.virtual_ips:
        return wanted
    for present in balancer.virtual_ips:
        if present.subnet_id == wanted.subnet_id and wanted.address in ("", present.address):
            return present
    raise Conflict(
        f"Load balancer {balancer.id} of the pool has other addresses already: use the API of LBaaS v2", field="pool_id"
    )


def _free_pool(tree: Tree, pool_id: str) -> Pool:
    for each in tree.load_balancer.listeners:
        if each.default_pool_id == pool_id:
            raise refusal(
                HTTPStatus.CONFLICT,
                "VipExists",
                f"Pool {show_uuid(pool_id)} has the vip {show_uuid(each.id)} already",
            )
    return _pool_of(tree, pool_id)


def _check_protocol(protocol: Protocol, pool: Pool) -> None:
    if pool.protocol is not protocol:
        raise refusal(
            HTTPStatus.BAD_REQUEST,
            "ProtocolMismatch",
            f"Protocol {protocol} of the vip and {pool.protocol} of pool {show_uuid(pool.id)} must be the same",
        )


def _listener(old: Listener, values: Values) -> Listener:
    fields = _pick(values, _COMMON)
    if "connection_limit" in values:
        limit = values["connection_limit"]
        fields["connection_limit"] = None if limit == -1 else limit
    return replace(old, **fields)


def _persistence(old: SessionPersistence | None, wanted: Values) -> SessionPersistence | None:
    if not wanted:
        return None
    kind, cookie = PersistenceKind(wanted["type"]), wanted.get("cookie_name")
    if old is not None and old.kind is kind and old.cookie_name == cookie:
        return old
    return SessionPersistence(id=old.id if old else new_id(), kind=kind, cookie_name=cookie)


def vip_change(body: Body) -> Values:
    return schemas.VIP.changed(body)


def changed_vip(vip_id: str, values: Values) -> Change:
    """In its load balancer, where its new pool is, too, if it gets another one."""

    def apply(tree: Tree) -> Tree:
        before = _vip_of(tree, vip_id)
        after = changes.change_listener(vip_id, lambda old: _listener(old, values))(tree)
        pool_id = values.get("pool_id", before.default_pool_id)
        if pool_id != before.default_pool_id:
            after = _to_pool(after, before, _free_pool(tree, pool_id))
        if "session_persistence" not in values:
            return after
        if pool_id is None:
            raise Conflict("The vip has no pool, and its sessions nothing to stay with", field="session_persistence")
        pool = _pool_of(after, pool_id)
        wanted = _persistence(pool.session_persistence, values["session_persistence"])
        return _persisting(after, vip_id, pool_id, wanted)

    return apply


def _vip_of(tree: Tree, vip_id: str) -> Listener:
    for each in tree.load_balancer.listeners:
        if each.id == vip_id:
            return each
    raise NotFound("Listener", vip_id)


def _persisting(tree: Tree, vip_id: str, pool_id: str, wanted: SessionPersistence | None) -> Tree:
    """The pool with the persistence of its vip. Raises `Conflict` when others would have it, too."""
    present = _pool_of(tree, pool_id).session_persistence
    if _said(present) == _said(wanted):
        return tree
    if _is_others(tree, pool_id, vip_id):
        raise _not_expressible("session_persistence", f"Pool {pool_id} is in use by another vip or its L7 policies")
    return changes.change_pool(pool_id, lambda pool: replace(pool, session_persistence=wanted))(tree)


def _said(persistence: SessionPersistence | None) -> tuple[object, ...] | None:
    return None if persistence is None else (persistence.kind, persistence.cookie_name)


def _is_others(tree: Tree, pool_id: str, vip_id: str) -> bool:
    """Whether a listener other than the vip has it, or an L7 policy of one."""
    return any(
        each.default_pool_id == pool_id or any(policy.redirect.get("pool_id") == pool_id for policy in each.l7_policies)
        for each in tree.load_balancer.listeners
        if each.id != vip_id
    )


def _to_pool(tree: Tree, vip: Listener, pool: Pool) -> Tree:
    """The persistence goes with the vip; whatever else uses its old pool keeps it as well."""
    _check_protocol(vip.protocol, pool)
    after = changes.change_listener(vip.id, lambda old: replace(old, default_pool_id=pool.id))(tree)
    left = vip.default_pool_id
    if left is None:
        return after
    persistence = _pool_of(tree, left).session_persistence
    if persistence is not None:
        persistence = replace(persistence, id=new_id())
    after = _persisting(after, vip.id, pool.id, persistence)
    return after if _is_needed(after, left, besides=vip.id) else changes.set_persistence(None, left)(after)


def moved_vip(vip_id: str, pool_id: str, values: Values) -> TwoChange:
    """The vip gets the pool of another load balancer, which nothing else uses there, and that one gets the pool that
    the vip has now: addresses stay where they are."""

    def apply(here: Tree, there: Tree) -> tuple[Tree, Tree]:
        vip = _vip_of(here, vip_id)
        _free_pool(there, pool_id)
        left = vip.default_pool_id
        if left is None or _is_needed(here, left, besides=vip_id):
            raise _not_expressible("pool_id", "The vip's load balancer needs the pool that it would leave")
        if there.load_balancer.listeners or there.load_balancer.virtual_ips or len(there.load_balancer.pools) != 1:
            raise _not_expressible("pool_id", "The pool is part of another load balancer")
        both = _with_pool_of(here, there, pool_id)
        moved = changed_vip(vip_id, {**values, "pool_id": pool_id})(both)
        return _without_pool(moved, left), _only_pool(there, moved, left)

    return apply


def _not_expressible(field: str, why: str) -> Conflict:
    return Conflict(f"{why}: use the API of LBaaS v2", field=field)


def _is_needed(tree: Tree, pool_id: str, *, besides: str) -> bool:
    """By a listener or an L7 policy other than the vip itself."""
    for each in tree.load_balancer.listeners:
        if each.id != besides and each.default_pool_id == pool_id:
            return True
        if any(policy.redirect.get("pool_id") == pool_id for policy in each.l7_policies):
            return True
    return False


def _with_pool_of(tree: Tree, other: Tree, pool_id: str) -> Tree:
    pools = (*tree.load_balancer.pools, _pool_of(other, pool_id))
    return _with_pools(tree, pools, {each.id: each for each in (*tree.monitors, *other.monitors)})


def _without_pool(tree: Tree, pool_id: str) -> Tree:
    left = tuple(each for each in tree.load_balancer.pools if each.id != pool_id)
    return _with_pools(tree, left, {each.id: each for each in tree.monitors})


def _only_pool(tree: Tree, source: Tree, pool_id: str) -> Tree:
    return _with_pools(
        tree, (_pool_of(source, pool_id),), {each.id: each for each in (*tree.monitors, *source.monitors)}
    )


def _with_pools(tree: Tree, pools: Sequence[Pool], monitors: Mapping[str, HealthMonitor]) -> Tree:
    """Monitors that it does not use then are another load balancer's."""
    used = tuple(dict.fromkeys(each for pool in pools for each in pool.health_monitor_ids))
    return replace(
        tree,
        load_balancer=replace(tree.load_balancer, pools=tuple(pools)),
        monitors=tuple(monitors[each] for each in used),
        released=tuple(each for each in tree.monitors if each.id not in used),
    )


def without_vip(vip_id: str) -> Change:
    """The persistence goes with it, unless another vip or its L7 policies have the same pool."""

    def apply(tree: Tree) -> Tree:
        pool_id = _vip_of(tree, vip_id).default_pool_id
        after = changes.remove_listener(vip_id)(tree)
        if pool_id is None or _is_others(after, pool_id, vip_id):
            return after
        return changes.set_persistence(None, pool_id)(after)

    return apply


# --- members -----------------------------------------------------------


def member(body: Body, caller: Caller) -> tuple[Values, Member]:
    values = schemas.MEMBER.created(body)
    _own_tenant(values, caller)
    made = Member(id=new_id(), address=values["address"], port=values["protocol_port"])
    return values, _member(made, values)


def member_change(body: Body) -> Values:
    return schemas.MEMBER.changed(body)


def _member(old: Member, values: Values) -> Member:
    return replace(old, **_pick(values, {"weight": "weight", "admin_up": "admin_state_up"}))


def changed_member(member_id: str, values: Values) -> Change:
    """In its load balancer, where its new pool is, too, if it gets another one."""

    def apply(tree: Tree) -> Tree:
        pool_id, _ = _pool_with(tree, member_id)
        after = changes.replace_member(member_id, lambda old: _member(old, values), pool_id)(tree)
        to = values.get("pool_id", pool_id)
        if to == pool_id:
            return after
        _, moved = _pool_with(after, member_id)
        return changes.together(changes.remove_member(member_id, pool_id), changes.add_members(moved, pool_id=to))(
            after
        )

    return apply


def moved_member(member_id: str, pool_id: str, values: Values) -> TwoChange:
    """To the pool of another load balancer."""

    def apply(here: Tree, there: Tree) -> tuple[Tree, Tree]:
        left, member = _pool_with(here, member_id)
        return (
            changes.remove_member(member_id, left)(here),
            changes.add_members(_member(member, values), pool_id=pool_id)(there),
        )

    return apply


def _pool_with(tree: Tree, member_id: str) -> tuple[str, Member]:
    for pool in tree.load_balancer.pools:
        for each in pool.members:
            if each.id == member_id:
                return pool.id, each
    raise NotFound("Member", member_id)


def without_member(member_id: str) -> Change:
    return lambda tree: changes.remove_member(member_id, _pool_with(tree, member_id)[0])(tree)


# --- health monitors -----------------------------------------------------------


def health_monitor(body: Body, caller: Caller) -> HealthMonitor:
    values = schemas.HEALTH_MONITOR.created(body)
    kind = MonitorType(values["type"])
    made = HealthMonitor(
        id=new_id(),
        project_id=_tenant(values, caller),
        type=kind,
        delay=values["delay"],
        timeout=values["timeout"],
        rise=_RISE,
        http=HttpCheck() if kind in HTTP_MONITORS else None,
    )
    return _health_monitor(made, values)


def health_monitor_change(body: Body) -> Callable[[HealthMonitor], HealthMonitor]:
    values = schemas.HEALTH_MONITOR.changed(body)
    return lambda old: _health_monitor(old, values)


def _health_monitor(old: HealthMonitor, values: Values) -> HealthMonitor:
    """What only HTTP checks have is passed over for others."""
    names = {"delay": "delay", "timeout": "timeout", "fall": "max_retries", "admin_up": "admin_state_up"}
    new = replace(
        old,
        http=None if old.http is None else replace(old.http, **_pick(values, _HTTP)),
        **_pick(values, names),
    )
    if ("delay" in values or "timeout" in values) and new.delay < new.timeout:
        raise refusal(HTTPStatus.BAD_REQUEST, "DelayOrTimeoutInvalid", "delay must not be less than timeout")
    return new


def associations(body: Body) -> tuple[str, ...]:
    """The ids of health monitors that are to check the members of a pool: one, or several."""
    if schemas.ASSOCIATION.plural in body:
        found = tuple(values["id"] for values, _ in schemas.ASSOCIATION.items(body))
        if not found:
            raise Rejected("health_monitors must have one item at least", field="health_monitors")
        return found
    return (schemas.ASSOCIATION.created(body)["id"],)


def associate(pool_id: str) -> Callable[[Sequence[HealthMonitor]], Change]:
    def change(monitors: Sequence[HealthMonitor]) -> Change:
        return changes.together(*(_associated(monitor, pool_id) for monitor in monitors))

    return change


def _associated(monitor: HealthMonitor, pool_id: str) -> Change:
    def apply(tree: Tree) -> Tree:
        pool = _pool_of(tree, pool_id)
        if monitor.id in pool.health_monitor_ids:
            raise refusal(
                HTTPStatus.CONFLICT,
                "PoolMonitorAssociationExists",
                f"Health monitor {show_uuid(monitor.id)} checks pool {show_uuid(pool_id)} already",
            )
        rules.check_monitor(pool, monitor)
        return changes.associate_monitor(monitor, pool_id)(tree)

    return apply


def disassociated(monitor_id: str, pool_id: str) -> Change:
    def apply(tree: Tree) -> Tree:
        if monitor_id not in _pool_of(tree, pool_id).health_monitor_ids:
            raise not_associated(monitor_id, pool_id)
        return changes.disassociate_monitor(monitor_id, pool_id)(tree)

    return apply


def not_associated(monitor_id: str, pool_id: str) -> HttpError:
    return refusal(
        HTTPStatus.NOT_FOUND,
        "PoolMonitorAssociationNotFound",
        f"Health monitor {show_uuid(monitor_id)} does not check pool {show_uuid(pool_id)}",
    )
