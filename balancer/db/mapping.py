"""Rows to objects and back, and what a deployment changes in rows: pure functions.

A row is a mapping of column names to values, as read or as to be written. `created_at` and `updated_at` are never
among what is to be written: the repository knows the time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from balancer.core import moves
from balancer.core.model import (
    AddressRange,
    AdminState,
    Algorithm,
    Applied,
    Bind,
    Capabilities,
    Counters,
    Credential,
    Deployment,
    DeploymentTotal,
    Device,
    DeviceSpec,
    Drift,
    Endpoint,
    HealthMonitor,
    Host,
    HttpCheck,
    L7Policy,
    L7Rule,
    Lease,
    Listener,
    LoadBalancer,
    LoadBalancerError,
    Member,
    MemberCheck,
    MemberLimits,
    MonitorType,
    Move,
    MovePhase,
    ObjectKind,
    ObjectSample,
    ObjectState,
    Observation,
    OperatingStatus,
    Outcome,
    PersistenceKind,
    Pool,
    Protocol,
    QuotaResource,
    Quotas,
    Reservation,
    Rotation,
    Sealed,
    SessionPersistence,
    Timeouts,
    VirtualIp,
    WorkerRecord,
)
from balancer.core.rules import wanted_addresses
from balancer.core.statistics import ZERO, accumulate

Row = Mapping[Any, Any]
Values = dict[str, Any]
Key = tuple[Any, ...]

DIFF_LENGTH = 64 * 1024
"""Characters kept of a diff."""


def shortened(diff: str) -> str:
    """Whole lines from the beginning, and how many are left out."""
    if len(diff) <= DIFF_LENGTH:
        return diff
    end = diff.rfind("\n", 0, DIFF_LENGTH) + 1 or DIFF_LENGTH
    left = diff[end:].count("\n") + (not diff.endswith("\n"))
    return f"{diff[:end]}... {left} more lines\n"


# --- devices -----------------------------------------------------------------------


def device_values(device: Device, seal: Callable[[str], str]) -> Values:
    """The device's own attributes: not its revisions, error or observation. `seal` encrypts."""
    endpoint, offered = device.endpoint, device.capabilities

    def sealed(secret: str | None) -> str | None:
        return secret if secret is None or isinstance(secret, Sealed) else seal(secret)

    return {
        "id": device.id,
        "name": device.name,
        "type": device.type,
        "version": device.version,
        "host": endpoint.host,
        "port": endpoint.port,
        "username": endpoint.username,
        "password": sealed(endpoint.credential.password),
        "private_key": sealed(endpoint.credential.private_key),
        "key_filename": endpoint.credential.key_filename,
        "host_key": endpoint.host_key,
        "capabilities": offered and {"algorithms": offered.algorithms, "protocols": offered.protocols},
        "supports_ipv6": device.supports_ipv6,
        "admin_state": device.admin_state.value,
        "interface": device.interface,
        "config_path": device.config_path or "",
        "socket": device.socket,
        "vip_ranges": [asdict(each) for each in device.vip_ranges],
        "extras": dict(device.extras),
    }


def device_from(row: Row, observation: Observation | None) -> Device:
    offered = row["capabilities"]
    return Device(
        id=row["id"],
        name=row["name"],
        type=row["type"],
        version=row["version"],
        endpoint=Endpoint(
            host=row["host"],
            port=row["port"],
            username=row["username"],
            credential=Credential(
                password=None if row["password"] is None else Sealed(row["password"]),
                private_key=None if row["private_key"] is None else Sealed(row["private_key"]),
                key_filename=row["key_filename"],
            ),
            host_key=row["host_key"],
        ),
        capabilities=None
        if offered is None
        else Capabilities(
            algorithms=tuple(map(Algorithm, offered["algorithms"])),
            protocols=tuple(map(Protocol, offered["protocols"])),
        ),
        supports_ipv6=row["supports_ipv6"],
        admin_state=AdminState(row["admin_state"]),
        interface=row["interface"],
        config_path=row["config_path"] or None,
        socket=row["socket"],
        vip_ranges=tuple(AddressRange(**each) for each in row["vip_ranges"]),
        extras=row["extras"],
        adopting=row["adopting"],
        deployed_epoch=row["deployed_epoch"],
        resyncing=row["resyncing"],
        desired_revision=row["desired_revision"],
        applied_revision=row["applied_revision"],
        error=row["error"],
        waiting_for=row["waiting_for"],
        observation=observation,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def opened(device: Device, open_sealed: Callable[[str], str]) -> Device:
    """The device with its credential open."""
    credential = device.endpoint.credential

    def plain(secret: str | None) -> str | None:
        return open_sealed(secret) if isinstance(secret, Sealed) else secret

    credential = replace(credential, password=plain(credential.password), private_key=plain(credential.private_key))
    return replace(device, endpoint=replace(device.endpoint, credential=credential))


def observation_values(observation: Observation) -> Values:
    """All but `at`, which the database's clock tells."""
    return {
        "reachable": observation.reachable,
        "sentence": observation.sentence,
        "version": observation.version,
        "host_key": observation.host_key,
        "foreign_binds": [asdict(bind) for bind in observation.foreign_binds],
        "findings": list(observation.findings),
        "repair": observation.repair,
        "drift": observation.drift and {**asdict(observation.drift), "diff": shortened(observation.drift.diff)},
        "epoch": observation.epoch,
        "own_addresses": list(observation.own_addresses),
        "managed_at": observation.managed_at,
        "facts": dict(observation.facts),
    }


def observation_from(row: Row) -> Observation:
    return Observation(
        reachable=row["reachable"],
        sentence=row["sentence"],
        version=row["version"],
        host_key=row["host_key"],
        foreign_binds=tuple(Bind(**bind) for bind in row["foreign_binds"]),
        findings=tuple(row["findings"]),
        repair=row["repair"],
        drift=row["drift"] and Drift(**row["drift"]),
        epoch=row["epoch"],
        own_addresses=tuple(row["own_addresses"]),
        managed_at=row["managed_at"],
        facts=row["facts"],
        at=row["observed_at"],
    )


def worker_from(row: Row, *, alive: bool, device_ids: Iterable[str]) -> WorkerRecord:
    return WorkerRecord(
        id=row["id"],
        name=row["name"],
        enabled=bool(row["enabled"]),
        description=row["description"],
        alive=alive,
        started_at=_moment(row["started_at"]),
        seen_at=_moment(row["seen_at"]),
        device_ids=tuple(device_ids),
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def host_from(row: Row) -> Host:
    """`row`: of a device, with the addresses of its observation, which are None when there is none."""
    return Host(
        device_id=row["id"],
        managed=tuple(dict.fromkeys(each for each in (row["host"], row["managed_at"]) if each is not None)),
        own=tuple(row["own_addresses"] or ()),
        vip_ranges=tuple(AddressRange(**each) for each in row["vip_ranges"]),
    )


def lease_from(row: Row) -> Lease:
    return Lease(
        device_id=row["device_id"], owner=row["owner"], epoch=row["epoch"], expires_at=float(row["expires_at"])
    )


def reservation_values(reservation: Reservation) -> Values:
    return asdict(reservation)


def reservation_from(row: Row) -> Reservation:
    return Reservation(
        device_id=row["device_id"],
        address=row["address"],
        port=row["port"],
        load_balancer_id=row["load_balancer_id"],
    )


# --- health monitors ------------------------------------------------------------------


def monitor_values(monitor: HealthMonitor) -> Values:
    return {
        "id": monitor.id,
        "project_id": monitor.project_id,
        "name": monitor.name,
        "type": monitor.type.value,
        "delay": float(monitor.delay),
        "timeout": float(monitor.timeout),
        "rise": monitor.rise,
        "fall": monitor.fall,
        "http": None if monitor.http is None else asdict(monitor.http),
        "admin_up": monitor.admin_up,
        "tags": list(monitor.tags),
        "extras": dict(monitor.extras),
    }


def monitor_from(row: Row) -> HealthMonitor:
    return HealthMonitor(
        id=row["id"],
        project_id=row["project_id"],
        name=row["name"],
        type=MonitorType(row["type"]),
        delay=row["delay"],
        timeout=row["timeout"],
        rise=row["rise"],
        fall=row["fall"],
        http=None if row["http"] is None else HttpCheck(**row["http"]),
        admin_up=row["admin_up"],
        tags=tuple(row["tags"]),
        extras=row["extras"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


# --- load balancers ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Children:
    """The rows below load balancers, one field per table of that name, each ordered by `ordinal`.

    The fields are in an order in which rows can be inserted: what is referred to comes first.
    """

    virtual_ips: Sequence[Row] = ()
    pools: Sequence[Row] = ()
    members: Sequence[Row] = ()
    pool_health_monitors: Sequence[Row] = ()
    session_persistences: Sequence[Row] = ()
    listeners: Sequence[Row] = ()
    l7_policies: Sequence[Row] = ()
    l7_rules: Sequence[Row] = ()


def load_balancer_values(balancer: LoadBalancer) -> Values:
    """The load balancer's own row, without what deployments record: applied generation and notices."""
    return {
        "id": balancer.id,
        "project_id": balancer.project_id,
        "name": balancer.name,
        "description": balancer.description,
        "admin_up": balancer.admin_up,
        "exempt": balancer.exempt,
        "device_id": balancer.device_id,
        "pinned": balancer.pinned,
        **move_values(balancer.move),
        "generation": balancer.generation,
        "deleted": balancer.deleted,
        "error_sentence": balancer.error.sentence if balancer.error else None,
        "error_generation": balancer.error.generation if balancer.error else None,
        "error_public": balancer.error.public if balancer.error else False,
        "provider": balancer.provider,
        "flavor_id": balancer.flavor_id,
        "availability_zone": balancer.availability_zone,
        "tags": list(balancer.tags),
        "extras": dict(balancer.extras),
    }


def move_values(move: Move | None) -> Values:
    return {
        "moving_from": None if move is None else move.device_id,
        "move_phase": None if move is None else move.phase.value,
    }


def move_from(row: Row) -> Move | None:
    if row["moving_from"] is None:
        return None
    return Move(device_id=row["moving_from"], phase=MovePhase(row["move_phase"]))


def children_values(balancer: LoadBalancer) -> Children:
    """The rows below one load balancer as they are to be written."""
    return _children(balancer, lambda each: {})


def stored_children(balancer: LoadBalancer) -> Children:
    """The rows below one load balancer that was read, as they are stored."""
    return _children(balancer, lambda each: {"created_at": each.created_at, "updated_at": each.updated_at})


def _children(balancer: LoadBalancer, times: Callable[[Any], Values]) -> Children:
    """`times`: those of an object that has some."""
    policies = [
        (listener.id, i, policy) for listener in balancer.listeners for i, policy in enumerate(listener.l7_policies)
    ]
    return Children(
        virtual_ips=[
            {
                "load_balancer_id": balancer.id,
                "ordinal": i,
                **{field.name: getattr(vip, field.name) for field in fields(VirtualIp)},
            }
            for i, vip in enumerate(balancer.virtual_ips)
        ],
        pools=[{**_pool_values(pool, balancer.id, i), **times(pool)} for i, pool in enumerate(balancer.pools)],
        members=[
            {**_member_values(member, pool.id, i), **times(member)}
            for pool in balancer.pools
            for i, member in enumerate(pool.members)
        ],
        pool_health_monitors=[
            {"pool_id": pool.id, "health_monitor_id": monitor_id, "ordinal": i}
            for pool in balancer.pools
            for i, monitor_id in enumerate(dict.fromkeys(pool.health_monitor_ids))
        ],
        session_persistences=[
            _persistence_values(pool.session_persistence, pool.id)
            for pool in balancer.pools
            if pool.session_persistence is not None
        ],
        listeners=[
            {**_listener_values(listener, balancer.id, i), **times(listener)}
            for i, listener in enumerate(balancer.listeners)
        ],
        l7_policies=[
            {**_policy_values(policy, listener_id, i), **times(policy)} for listener_id, i, policy in policies
        ],
        l7_rules=[
            {**_rule_values(rule, policy.id, i), **times(rule)}
            for _, _, policy in policies
            for i, rule in enumerate(policy.rules)
        ],
    )


def load_balancers_from(rows: Iterable[Row], children: Children) -> list[LoadBalancer]:
    """The load balancers of `rows`, in their order; `children` may hold those of others too."""
    rules = _by(children.l7_rules, "l7_policy_id")
    policies = _by(children.l7_policies, "listener_id")
    members = _by(children.members, "pool_id")
    monitors = _by(children.pool_health_monitors, "pool_id")
    persistences = {row["pool_id"]: row for row in children.session_persistences}
    virtual_ips = _by(children.virtual_ips, "load_balancer_id")
    listeners = _by(children.listeners, "load_balancer_id")
    pools = _by(children.pools, "load_balancer_id")
    return [
        LoadBalancer(
            virtual_ips=tuple(map(_virtual_ip_from, virtual_ips[row["id"]])),
            listeners=tuple(
                _listener_from(
                    each, tuple(_policy_from(policy, rules[policy["id"]]) for policy in policies[each["id"]])
                )
                for each in listeners[row["id"]]
            ),
            pools=tuple(
                _pool_from(each, members[each["id"]], monitors[each["id"]], persistences.get(each["id"]))
                for each in pools[row["id"]]
            ),
            **_own_fields(row),
        )
        for row in rows
    ]


def with_row(parts: LoadBalancer, row: Row) -> LoadBalancer:
    """The load balancer of the row; what is below it is the same as with `parts`."""
    return replace(parts, **_own_fields(row))


def _own_fields(row: Row) -> Values:
    """All fields of a load balancer but those of what is below it."""
    return {
        "id": row["id"],
        "project_id": row["project_id"],
        "name": row["name"],
        "description": row["description"],
        "admin_up": row["admin_up"],
        "exempt": row["exempt"],
        "device_id": row["device_id"],
        "pinned": row["pinned"],
        "move": move_from(row),
        "generation": row["generation"],
        "applied_generation": row["applied_generation"],
        "deleted": row["deleted"],
        "error": None
        if row["error_sentence"] is None
        else LoadBalancerError(
            sentence=row["error_sentence"], generation=row["error_generation"], public=row["error_public"]
        ),
        "notices": tuple(row["notices"]),
        "provider": row["provider"],
        "flavor_id": row["flavor_id"],
        "availability_zone": row["availability_zone"],
        "tags": tuple(row["tags"]),
        "extras": row["extras"],
        "changed_at": row["changed_at"],
        "applied_changed_at": row["applied_changed_at"],
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }


def _by(rows: Iterable[Row], column: str) -> Mapping[str, list[Row]]:
    groups: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row[column]].append(row)
    return groups


def _virtual_ip_from(row: Row) -> VirtualIp:
    return VirtualIp(
        id=row["id"],
        address=row["address"],
        prefix_length=row["prefix_length"],
        asked_length=row["asked_length"],
        network_id=row["network_id"],
        subnet_id=row["subnet_id"],
        port_id=row["port_id"],
        qos_policy_id=row["qos_policy_id"],
        interface=row["interface"],
        lasting=row["lasting"],
    )


def _listener_values(listener: Listener, load_balancer_id: str, ordinal: int) -> Values:
    return {
        "id": listener.id,
        "load_balancer_id": load_balancer_id,
        "ordinal": ordinal,
        "name": listener.name,
        "description": listener.description,
        "virtual_ip_ids": list(listener.virtual_ip_ids),
        "protocol": listener.protocol.value,
        "port": listener.port,
        "default_pool_id": listener.default_pool_id,
        "connection_limit": listener.connection_limit,
        "timeout_client": listener.timeouts.client,
        "timeout_member_connect": listener.timeouts.member_connect,
        "timeout_member_data": listener.timeouts.member_data,
        "timeout_tcp_inspect": listener.timeouts.tcp_inspect,
        "insert_headers": dict(listener.insert_headers),
        "allowed_cidrs": list(listener.allowed_cidrs),
        "tls": None if listener.tls is None else dict(listener.tls),
        "admin_up": listener.admin_up,
        "tags": list(listener.tags),
        "extras": dict(listener.extras),
    }


def _listener_from(row: Row, policies: tuple[L7Policy, ...]) -> Listener:
    return Listener(
        id=row["id"],
        name=row["name"],
        description=row["description"],
        virtual_ip_ids=tuple(row["virtual_ip_ids"]),
        protocol=Protocol(row["protocol"]),
        port=row["port"],
        default_pool_id=row["default_pool_id"],
        connection_limit=row["connection_limit"],
        timeouts=Timeouts(
            client=row["timeout_client"],
            member_connect=row["timeout_member_connect"],
            member_data=row["timeout_member_data"],
            tcp_inspect=row["timeout_tcp_inspect"],
        ),
        insert_headers=row["insert_headers"],
        allowed_cidrs=tuple(row["allowed_cidrs"]),
        tls=row["tls"],
        l7_policies=policies,
        admin_up=row["admin_up"],
        tags=tuple(row["tags"]),
        extras=row["extras"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _policy_values(policy: L7Policy, listener_id: str, ordinal: int) -> Values:
    return {
        "id": policy.id,
        "listener_id": listener_id,
        "ordinal": ordinal,
        "name": policy.name,
        "description": policy.description,
        "position": policy.position,
        "action": policy.action,
        "redirect": dict(policy.redirect),
        "admin_up": policy.admin_up,
        "tags": list(policy.tags),
    }


def _policy_from(row: Row, rules: Iterable[Row]) -> L7Policy:
    return L7Policy(
        id=row["id"],
        name=row["name"],
        description=row["description"],
        position=row["position"],
        action=row["action"],
        redirect=row["redirect"],
        rules=tuple(map(_rule_from, rules)),
        admin_up=row["admin_up"],
        tags=tuple(row["tags"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _rule_values(rule: L7Rule, policy_id: str, ordinal: int) -> Values:
    return {
        "id": rule.id,
        "l7_policy_id": policy_id,
        "ordinal": ordinal,
        "type": rule.type,
        "compare_type": rule.compare_type,
        "value": rule.value,
        "key": rule.key,
        "invert": rule.invert,
        "admin_up": rule.admin_up,
        "tags": list(rule.tags),
    }


def _rule_from(row: Row) -> L7Rule:
    return L7Rule(
        id=row["id"],
        type=row["type"],
        compare_type=row["compare_type"],
        value=row["value"],
        key=row["key"],
        invert=row["invert"],
        admin_up=row["admin_up"],
        tags=tuple(row["tags"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _pool_values(pool: Pool, load_balancer_id: str, ordinal: int) -> Values:
    return {
        "id": pool.id,
        "load_balancer_id": load_balancer_id,
        "ordinal": ordinal,
        "name": pool.name,
        "description": pool.description,
        "subnet_id": pool.subnet_id,
        "protocol": pool.protocol.value,
        "algorithm": pool.algorithm.value,
        "admin_up": pool.admin_up,
        "tags": list(pool.tags),
    }


def _pool_from(row: Row, members: Iterable[Row], monitors: Iterable[Row], persistence: Row | None) -> Pool:
    return Pool(
        id=row["id"],
        name=row["name"],
        description=row["description"],
        subnet_id=row["subnet_id"],
        protocol=Protocol(row["protocol"]),
        algorithm=Algorithm(row["algorithm"]),
        members=tuple(map(_member_from, members)),
        health_monitor_ids=tuple(each["health_monitor_id"] for each in monitors),
        session_persistence=None if persistence is None else _persistence_from(persistence),
        admin_up=row["admin_up"],
        tags=tuple(row["tags"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _member_values(member: Member, pool_id: str, ordinal: int) -> Values:
    return {
        "id": member.id,
        "pool_id": pool_id,
        "ordinal": ordinal,
        "name": member.name,
        "address": member.address,
        "port": member.port,
        "weight": member.weight,
        "backup": member.backup,
        "subnet_id": member.subnet_id,
        "monitor_address": member.monitor_address,
        "monitor_port": member.monitor_port,
        "max_connections": member.limits.max_connections,
        "min_connections": member.limits.min_connections,
        "slow_start": member.limits.slow_start,
        "check_interval": None if member.check.interval is None else float(member.check.interval),
        "check_rise": member.check.rise,
        "check_fall": member.check.fall,
        "cookie": member.cookie,
        "admin_up": member.admin_up,
        "tags": list(member.tags),
        "rotation": member.rotation.value,
        "extras": dict(member.extras),
    }


def _member_from(row: Row) -> Member:
    return Member(
        id=row["id"],
        name=row["name"],
        address=row["address"],
        port=row["port"],
        weight=row["weight"],
        backup=row["backup"],
        subnet_id=row["subnet_id"],
        monitor_address=row["monitor_address"],
        monitor_port=row["monitor_port"],
        limits=MemberLimits(
            max_connections=row["max_connections"],
            min_connections=row["min_connections"],
            slow_start=row["slow_start"],
        ),
        check=MemberCheck(interval=row["check_interval"], rise=row["check_rise"], fall=row["check_fall"]),
        cookie=row["cookie"],
        admin_up=row["admin_up"],
        rotation=Rotation(row["rotation"]),
        tags=tuple(row["tags"]),
        extras=row["extras"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _persistence_values(persistence: SessionPersistence, pool_id: str) -> Values:
    return {
        "id": persistence.id,
        "pool_id": pool_id,
        "kind": persistence.kind.value,
        "cookie_name": persistence.cookie_name,
        "timeout": persistence.timeout,
        "granularity": persistence.granularity,
        "extras": dict(persistence.extras),
    }


def _persistence_from(row: Row) -> SessionPersistence:
    return SessionPersistence(
        id=row["id"],
        kind=PersistenceKind(row["kind"]),
        cookie_name=row["cookie_name"],
        timeout=row["timeout"],
        granularity=row["granularity"],
        extras=row["extras"],
    )


# --- differences ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What turns the stored rows of a table into the wanted ones.

    `changed` pairs each wanted row with whether more than its place in the order differs.
    """

    added: Sequence[Row]
    changed: Sequence[tuple[Row, bool]]
    gone: Sequence[Key]


def difference(stored: Iterable[Row], wanted: Iterable[Row], key: Collection[str]) -> Difference:
    """`key` names the columns that tell rows apart; columns that wanted rows do not name are not compared."""
    before = {tuple(row[name] for name in key): row for row in stored}
    after = {tuple(row[name] for name in key): row for row in wanted}
    changed = []
    for identity, row in after.items():
        if identity in before:
            differing = {name for name, value in row.items() if _differs(before[identity][name], value)}
            if differing:
                changed.append((row, differing != {"ordinal"}))
    return Difference(
        added=[row for identity, row in after.items() if identity not in before],
        changed=changed,
        gone=[identity for identity in before if identity not in after],
    )


def parents(difference: Difference, stored: Iterable[Row], parent: str) -> set[str]:
    """Whose children those rows are; the table's key is an id, `parent` the column that names the parent."""
    rows = [*difference.added, *(row for row, _ in difference.changed)]
    rows += [row for row in stored if (row["id"],) in difference.gone]
    return {row[parent] for row in rows}


def touched(difference: Difference, wanted: Iterable[Row], ids: Collection[str]) -> Difference:
    """With the wanted rows of those ids among the changed ones, unless they are new."""
    listed = {row["id"]: really for row, really in difference.changed}
    new = {row["id"] for row in difference.added}
    changed = [(row, really or row["id"] in ids) for row, really in difference.changed]
    changed += [(row, True) for row in wanted if row["id"] in ids and row["id"] not in listed.keys() | new]
    return Difference(added=difference.added, changed=changed, gone=difference.gone)


def rows_after(
    stored: Iterable[Row], wanted: Iterable[Row], difference: Difference, key: Collection[str], times: Values
) -> list[Row]:
    """What is stored once the difference was written, in the order of the wanted rows. `times` are the `created_at` and
    the `updated_at` of what is new, empty where rows have none."""
    before = {tuple(row[name] for name in key): row for row in stored}
    updated = {name: time for name, time in times.items() if name == "updated_at"}
    really = {tuple(row[name] for name in key): changed for row, changed in difference.changed}
    found: list[Row] = []
    for row in wanted:
        identity = tuple(row[name] for name in key)
        if identity not in before:
            found.append({**row, **times})
        elif identity in really:
            found.append({**before[identity], **row, **(updated if really[identity] else {})})
        else:
            found.append(before[identity])
    return found


def changed_values(stored: Row, wanted: Values) -> Values:
    """The wanted columns that differ."""
    return {name: value for name, value in wanted.items() if _differs(stored[name], value)}


def _differs(stored: Any, wanted: Any) -> bool:
    """In free-form values 1, 1.0 and true are different things, and so is another order of keys."""
    return repr(stored) != repr(wanted) if isinstance(wanted, (dict, list)) else bool(stored != wanted)


def deployment_total_from(row: Row) -> DeploymentTotal:
    return DeploymentTotal(
        device_id=row["device_id"],
        outcome=Outcome(row["outcome"]),
        plan=row["plan"] or None,
        number=row["number"],
        seconds=row["seconds"],
    )


# --- quotas ----------------------------------------------------------------------------------


def quotas_from(row: Row) -> Quotas:
    return {resource: row[resource.value] for resource in QuotaResource if row[resource.value] is not None}


def quotas_values(quotas: Quotas) -> Values:
    return {resource.value: quotas.get(resource) for resource in QuotaResource}


# --- statistics ------------------------------------------------------------------------------


def sampled_values(row: Row | None, sample: ObjectSample, *, same_process: bool) -> Values:
    """What a sample makes of the stored `row` of its object, None when there is none yet."""
    now = sample.counters
    before, last = (ZERO, ZERO) if row is None else (_counters(row), _last(row))
    total = accumulate(before, last, now, same_process=same_process)
    stored = None if row is None else row["status"]
    return {
        "kind": sample.kind.value,
        "status": stored if sample.status is None else sample.status.value,
        "active_connections": total.active_connections,
        "bytes_in": total.bytes_in,
        "bytes_out": total.bytes_out,
        "total_connections": total.total_connections,
        "request_errors": total.request_errors,
        "last_bytes_in": now.bytes_in,
        "last_bytes_out": now.bytes_out,
        "last_total_connections": now.total_connections,
        "last_request_errors": now.request_errors,
    }


def unreported_values(status: OperatingStatus | None) -> Values:
    """What it makes of an object's row that a sample does not tell of it: whoever tells of it next begins at zero."""
    return {
        "status": None if status is None else status.value,
        "active_connections": 0,
        "last_bytes_in": 0,
        "last_bytes_out": 0,
        "last_total_connections": 0,
        "last_request_errors": 0,
    }


def state_from(row: Row) -> ObjectState:
    return ObjectState(
        kind=ObjectKind(row["kind"]),
        object_id=row["object_id"],
        status=None if row["status"] is None else OperatingStatus(row["status"]),
        counters=_counters(row),
    )


def _counters(row: Row) -> Counters:
    return Counters(
        bytes_in=row["bytes_in"],
        bytes_out=row["bytes_out"],
        active_connections=row["active_connections"],
        total_connections=row["total_connections"],
        request_errors=row["request_errors"],
    )


def _last(row: Row) -> Counters:
    return Counters(
        bytes_in=row["last_bytes_in"],
        bytes_out=row["last_bytes_out"],
        total_connections=row["last_total_connections"],
        request_errors=row["last_request_errors"],
    )


# --- deployments ------------------------------------------------------------------------------


def deployment_from(row: Row) -> Deployment:
    """A row without `diff` gives a deployment without one."""
    return Deployment(
        device_id=row["device_id"],
        number=row["number"],
        revision=row["revision"],
        outcome=Outcome(row["outcome"]),
        plan=row["plan"],
        sentence=row["sentence"],
        rejected=row["rejected"],
        diff=row.get("diff", ""),
        started_at=row["started_at"],
        last_started_at=row["last_started_at"],
        duration=row["duration"],
        attempts=row["attempts"],
    )


# --- what a deployment changes -----------------------------------------------------------


def applied_values(
    row: Row, deployed: LoadBalancer, applied: Applied, notices: tuple[str, ...], *, public: bool
) -> Values:
    """What a deployment of `deployed` makes of its stored `row`, which may be of a later generation by now, or on its
    way to another device. `public` is as in `LoadBalancerError`."""
    rejection = applied.rejected.get(deployed.id)
    values = {
        "applied_generation": row["applied_generation"],
        "applied_changed_at": row["applied_changed_at"],
        "error_sentence": row["error_sentence"],
        "error_generation": row["error_generation"],
        "error_public": row["error_public"],
        "notices": list(notices),
    }
    # What was made ready without its addresses does not serve yet.
    serves = deployed.move is None or deployed.move.phase not in moves.WITHOUT_ADDRESSES
    if rejection is None and serves and deployed.generation >= row["applied_generation"]:
        values["applied_generation"] = deployed.generation
        values["applied_changed_at"] = deployed.changed_at
    if row["device_id"] != deployed.device_id:
        # The device that it moves to has the last word.
        return {**values, "notices": row["notices"]}
    if row["error_generation"] is None or row["error_generation"] <= deployed.generation:
        values["error_sentence"] = rejection
        values["error_generation"] = None if rejection is None else deployed.generation
        values["error_public"] = rejection is not None and public
    return values


def failed_values(row: Row, asked: LoadBalancer, sentence: str) -> Values:
    """What a failed deployment makes of the stored `row` of a load balancer that `asked` for it."""
    waited = asked.generation > row["applied_generation"]
    if waited and (row["error_generation"] is None or row["error_generation"] <= asked.generation):
        return {"error_sentence": sentence, "error_generation": asked.generation, "error_public": False}
    return {name: row[name] for name in ("error_sentence", "error_generation", "error_public")}


def freed_reservations(
    held: Iterable[Reservation], spec: DeviceSpec, applied: Applied, rows: Mapping[str, Row]
) -> list[Reservation]:
    """Those of the device that nothing needs any more now that it runs `spec`.

    `rows` are the load balancers that are on the device or leave it at present, deleted ones included, by their ids. A
    load balancer that was rejected or changed since keeps all that it holds: its next deployment will tell.
    """
    runs = {
        balancer.id: wanted_addresses(balancer)
        for balancer in spec.load_balancers
        if balancer.id not in applied.rejected
        and (row := rows.get(balancer.id)) is not None
        and row["device_id"] == spec.device.id
        and row["generation"] == balancer.generation
    }
    stay = {key for key, row in rows.items() if not row["deleted"] and _runs_on(row, spec.device.id)}
    left = spec.removed.keys() - stay
    return [
        each
        for each in held
        if each.load_balancer_id in left
        or (each.load_balancer_id in runs and (each.address, each.port) not in runs[each.load_balancer_id])
    ]


def next_step(row: Row, spec: DeviceSpec, applied: Applied) -> Move | None:
    """What the deployment of `spec` makes of the move of the load balancer of `row`."""
    move = move_from(row)
    if row["device_id"] == spec.device.id:
        deployed = next((each for each in spec.load_balancers if each.id == row["id"]), None)
        if deployed is None:
            return move
        return moves.after_taking(
            move,
            deployed.move,
            rejected=deployed.id in applied.rejected,
            latest=deployed.generation == row["generation"],
        )
    return move and moves.after_leaving(move, runs=bool(applied.accepted_blocks.get(row["id"])))


def _runs_on(row: Row, device_id: str) -> bool:
    """Whether the device is to run the load balancer of the row, be it only until another one has it."""
    move = move_from(row)
    leaves = move is not None and move.device_id == device_id and move.phase in moves.RUNS_ON
    return leaves or row["device_id"] == device_id


def accepted_texts(
    stored: Mapping[str, str], applied: Applied, rows: Mapping[str, Row], device_id: str
) -> dict[str, str]:
    """Load balancer id to the text that is to be remembered for the device after a deployment.

    What is to run on there keeps its text even when the device has just been without it: it is put back.
    """
    texts = {key: text for key, text in applied.accepted_blocks.items() if text and key in rows}
    for key, row in rows.items():
        if key in stored and row["device_id"] != device_id and _runs_on(row, device_id):
            texts.setdefault(key, stored[key])
    return texts
