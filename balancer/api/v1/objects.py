"""The balancer API's objects and the model, both ways.

A `Kind` is one object of the dialect. What a caller sent comes back as it was sent: every unknown key, and every
known one whose spelling differs from the canonical view, is kept in the object's `extras`, and a view shows it for
as long as it still means the present value, that is, as long as sending it again would change nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple, TypeVar

from balancer.api import terms
from balancer.api.v1 import names, schemas
from balancer.api.validation import Reader, below
from balancer.core.model import (
    AdminState,
    Algorithm,
    Capabilities,
    Credential,
    Device,
    Endpoint,
    Extras,
    HealthMonitor,
    HttpCheck,
    Listener,
    LoadBalancer,
    Member,
    MemberCheck,
    MemberLimits,
    MonitorType,
    PersistenceKind,
    Pool,
    Protocol,
    Rotation,
    SessionPersistence,
    VirtualIp,
    new_id,
)
from balancer.core.tenants import parse_range, range_text
from balancer.exceptions import InvalidInput

Values = Mapping[str, Any]
View = dict[str, Any]
_T = TypeVar("_T")

MASKED = "***"
_FORWARDED_FOR = "X-Forwarded-For"
_LONGEST_EXTRAS = 16 * 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_ALGORITHM_OF = {name: algorithm for algorithm, name in terms.ALGORITHMS.items()}
_MONITOR_TYPE_OF = {name: kind for kind, name in names.MONITOR_TYPES.items()}
_ROTATION_OF = {name: rotation for rotation, name in names.ROTATIONS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[_T]):
    """One object of the dialect, as a `_T` of the model.

    `apply` gives the object with those canonical values; `show` is its canonical view without extras; `extras`
    and `with_extras` get and set what came as it was sent.
    """

    reader: Reader
    apply: Callable[[_T, Values], _T]
    show: Callable[[_T], View]
    extras: Callable[[_T], Extras]
    with_extras: Callable[[_T, Extras], _T]

    def read(self, sent: Mapping[str, Any], *, path: str = "", partial: bool = False) -> Edit[_T]:
        """What the caller wants, validated. `partial` for a change. Raises `InvalidInput`."""
        values = self.reader.read(sent, path=path, partial=partial)
        with below(path):
            _check_keys(sent)
        return Edit(kind=self, values=values, sent=sent, path=path)

    def view(self, item: _T) -> View:
        """The canonical view, with what was sent in the place of what it still means."""
        view = self.show(item)
        extras = self.extras(item)
        for key, sent in extras.items():
            if not self._still_means(item, key, sent):
                continue
            target = self.reader.target(key)
            if target not in extras:
                view.pop(target, None)
            view[key] = sent
        return view

    def _still_means(self, item: _T, key: str, sent: Any) -> bool:
        schema = self.reader.properties.get(key)
        if schema is None or schema.get("x-stored"):
            return True
        try:
            return self.apply(item, self.reader.read({key: sent}, partial=True)) == item
        except InvalidInput:
            return False

    @staticmethod
    def _is_shown(schema: Mapping[str, Any], canonical: Any, sent: Any) -> bool:
        """Whether the canonical view shows a field just as it was sent."""
        return not schema.get("x-stored") and _same_json(canonical, sent)

    def remember(self, item: _T, sent: Mapping[str, Any]) -> _T:
        """The object with the spelling of what was sent in its extras."""
        canonical = self.show(item)
        extras = dict(self.extras(item))
        # A field that was also sent by another name stays in the view under both.
        twice = {self.reader.target(key) for key in sent if self.reader.target(key) != key}
        for key, value in sent.items():
            schema = self.reader.properties.get(key, {})
            if schema.get("readOnly") or schema.get("writeOnly"):
                continue
            if key in canonical and key not in twice and self._is_shown(schema, canonical[key], value):
                extras.pop(key, None)
            else:
                extras[key] = value
        _check_size(extras)
        return self.with_extras(item, extras)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit(Generic[_T]):
    """What a caller wants an object to be: canonical values, and everything as it was sent."""

    kind: Kind[_T]
    values: Values
    sent: Mapping[str, Any]
    path: str

    def on(self, item: _T) -> _T:
        """The object with the edit made. Raises `InvalidInput` when values contradict each other."""
        with below(self.path):
            return self.kind.remember(self.kind.apply(item, self.values), self.sent)


def _same_json(one: Any, other: Any) -> bool:
    """Whether two values are the same on the wire: 1, 1.0, true and "1" are four."""
    if isinstance(one, (str, int)) and type(one) is type(other):
        return one == other
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _check_keys(sent: Iterable[str]) -> None:
    for key in sent:
        if not key or len(key) > 255 or _CONTROL.search(key):
            raise InvalidInput("A field's name must have 1 to 255 characters and no control characters")


def _check_size(extras: Extras) -> None:
    if extras and len(json.dumps(extras)) > _LONGEST_EXTRAS:
        raise InvalidInput(f"The unknown fields of one object may have {_LONGEST_EXTRAS} bytes at most")


def _pick(values: Values, **attributes: str) -> dict[str, Any]:
    """Attribute to value, for the fields that are among the values."""
    return {attribute: values[key] for attribute, key in attributes.items() if key in values}


def _present(view: View) -> View:
    return {key: value for key, value in view.items() if value is not None}


def _number(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value


# --- devices ---------------------------------------------------------------------------


def new_device() -> Device:
    endpoint = Endpoint(host="", username="", credential=Credential())
    return Device(id=new_id(), name="", type="", endpoint=endpoint)


def _apply_device(device: Device, values: Values) -> Device:
    fields = _pick(
        values,
        name="name",
        type="type",
        version="version",
        supports_ipv6="supports_ipv6",
        interface="interface",
        config_path="remote_config_path",
        socket="socket",
    )
    endpoint = replace(
        device.endpoint,
        credential=_credential(device.endpoint.credential, values),
        **_pick(values, host="ip", port="port", username="user", host_key="host_key"),
    )
    if "admin_state" in values:
        fields["admin_state"] = AdminState(values["admin_state"])
    if "vip_ranges" in values:
        fields["vip_ranges"] = tuple(dict.fromkeys(map(parse_range, values["vip_ranges"] or ())))
    if "capabilities" in values:
        fields["capabilities"] = _capabilities(values["capabilities"])
    return replace(device, endpoint=endpoint, **fields)


def _credential(present: Credential, values: Values) -> Credential:
    """Setting one forgets the others; the mask that a view shows instead of a secret changes nothing."""
    given = {
        key: values[key]
        for key in ("password", "private_key", "key_filename")
        if key in values and values[key] != MASKED
    }
    secrets = [key for key, value in given.items() if value]
    if len(secrets) > 1:
        raise InvalidInput(f"{' and '.join(secrets)} exclude each other", field=secrets[-1])
    if secrets:
        kept = {key: getattr(present, key) for key in ("password", "private_key") if values.get(key) == MASKED}
        return Credential(**{**kept, **given})
    return replace(present, **given)


def _capabilities(value: Mapping[str, list[str]] | None) -> Capabilities | None:
    if value is None:
        return None
    return Capabilities(
        algorithms=tuple(dict.fromkeys(_ALGORITHM_OF[name] for name in value["algorithms"])),
        protocols=tuple(dict.fromkeys(Protocol(name) for name in value["protocols"])),
    )


def _show_device(device: Device) -> View:
    credential, capabilities = device.endpoint.credential, device.capabilities
    return _present(
        {
            "id": device.id,
            "name": device.name,
            "type": device.type,
            "version": device.version,
            "ip": device.endpoint.host,
            "port": device.endpoint.port,
            "user": device.endpoint.username,
            "password": MASKED if credential.password else None,
            "private_key": MASKED if credential.private_key else None,
            "key_filename": credential.key_filename,
            "host_key": device.endpoint.host_key,
            "capabilities": None
            if capabilities is None
            else {
                "algorithms": [terms.ALGORITHMS[algorithm] for algorithm in capabilities.algorithms],
                "protocols": [protocol.value for protocol in capabilities.protocols],
            },
            "supports_ipv6": int(device.supports_ipv6),
            "requires_vip_ip": 1,
            "has_acl": 1,
            "supports_vlan": 1,
            "remote_config_path": device.config_path,
            "interface": device.interface,
            "vip_ranges": list(map(range_text, device.vip_ranges)) or None,
            "socket": device.socket,
            "admin_state": device.admin_state.value,
        }
    )


DEVICE: Kind[Device] = Kind(
    reader=Reader(schemas.DEVICE),
    apply=_apply_device,
    show=_show_device,
    extras=lambda device: device.extras,
    with_extras=lambda device, extras: replace(device, extras=extras),
)


# --- load balancers: a load balancer and its only pool ------------------------------------


class Balancer(NamedTuple):
    """`pool` is None, or the first of several, only for a load balancer made in another dialect."""

    load_balancer: LoadBalancer
    pool: Pool | None


def new_balancer(project_id: str) -> Balancer:
    pool = Pool(id=new_id(), protocol=Protocol.TCP, algorithm=Algorithm.ROUND_ROBIN)
    return Balancer(LoadBalancer(id=new_id(), project_id=project_id, device_id=""), pool)


def _apply_balancer(item: Balancer, values: Values) -> Balancer:
    pool = item.pool
    if pool is not None:
        fields: dict[str, Any] = {}
        if "algorithm" in values:
            fields["algorithm"] = _ALGORITHM_OF[values["algorithm"]]
        if "protocol" in values:
            fields["protocol"] = Protocol(values["protocol"])
        pool = replace(pool, **fields)
    return Balancer(replace(item.load_balancer, **_pick(values, name="name")), pool)


def _show_balancer(item: Balancer) -> View:
    view: View = {"id": item.load_balancer.id, "name": item.load_balancer.name}
    if item.pool is not None:
        view["algorithm"] = terms.ALGORITHMS[item.pool.algorithm]
        view["protocol"] = item.pool.protocol.value
    return view


BALANCER: Kind[Balancer] = Kind(
    reader=Reader(schemas.LOAD_BALANCER),
    apply=_apply_balancer,
    show=_show_balancer,
    extras=lambda item: item.load_balancer.extras,
    with_extras=lambda item, extras: Balancer(replace(item.load_balancer, extras=extras), item.pool),
)


# --- nodes: members ---------------------------------------------------------------------------


def new_member() -> Member:
    return Member(id=new_id(), address="", port=0)


def _apply_node(member: Member, values: Values) -> Member:
    fields = _pick(
        values, name="name", address="address", port="port", weight="weight", backup="backup", cookie="cookie"
    )
    if "condition" in values:
        fields["admin_up"] = values["condition"] == "ENABLED"
    if "status" in values:
        fields["rotation"] = _ROTATION_OF[values["status"]]
    limits = _pick(values, max_connections="maxCon", min_connections="minCon")
    if "slowstart" in values:
        limits["slow_start"] = None if values["slowstart"] is None else math.ceil(values["slowstart"] / 1000)
    check = _pick(values, rise="rise", fall="fall")
    if "inter" in values:
        check["interval"] = None if values["inter"] is None else values["inter"] / 1000
    return replace(member, limits=replace(member.limits, **limits), check=replace(member.check, **check), **fields)


def _show_node(member: Member) -> View:
    limits: MemberLimits = member.limits
    check: MemberCheck = member.check
    return _present(
        {
            "id": member.id,
            "name": member.name,
            "address": member.address,
            "port": member.port,
            "weight": member.weight,
            "status": names.ROTATIONS[member.rotation],
            "condition": "ENABLED" if member.admin_up else "DISABLED",
            "maxCon": limits.max_connections,
            "minCon": limits.min_connections,
            "slowstart": None if limits.slow_start is None else limits.slow_start * 1000,
            "inter": None if check.interval is None else round(check.interval * 1000),
            "rise": check.rise,
            "fall": check.fall,
            "backup": True if member.backup else None,
            "cookie": member.cookie,
        }
    )


NODE: Kind[Member] = Kind(
    reader=Reader(schemas.NODE),
    apply=_apply_node,
    show=_show_node,
    extras=lambda member: member.extras,
    with_extras=lambda member, extras: replace(member, extras=extras),
)


# --- virtual IPs: a listener and its address -----------------------------------------------------


class ListenerAt(NamedTuple):
    """What this dialect calls a virtual IP: a listener at one address."""

    listener: Listener
    virtual_ip: VirtualIp


def new_virtual_ip(protocol: Protocol, pool_id: str) -> ListenerAt:
    virtual_ip = VirtualIp(id=new_id(), address="*")
    listener = Listener(
        id=new_id(),
        protocol=protocol,
        port=0,
        default_pool_id=pool_id,
        virtual_ip_ids=(virtual_ip.id,),
        insert_headers=headers_for(protocol),
    )
    return ListenerAt(listener, virtual_ip)


def headers_for(protocol: Protocol) -> Mapping[str, str]:
    """HTTP load balancers of this dialect tell the nodes who asks."""
    return {_FORWARDED_FOR: "true"} if protocol is Protocol.HTTP else {}


def with_protocol(listener: Listener, protocol: Protocol) -> Listener:
    if listener.protocol is protocol:
        return listener
    return replace(listener, protocol=protocol, insert_headers=headers_for(protocol))


def _apply_virtual_ip(item: ListenerAt, values: Values) -> ListenerAt:
    listener, virtual_ip = item
    address = values.get("address", virtual_ip.address)
    version = 6 if ":" in address else 4
    # A wildcard has neither a netmask nor a family of its own; what was sent of them is only shown.
    length = None if address == "*" else values.get("mask", virtual_ip.asked_length)
    longest = 32 if version == 4 else 128
    if length is not None and not 1 <= length <= longest and address != "::":
        if "mask" in values:
            wanted = "a netmask or a prefix length from 1 to 32" if version == 4 else "a prefix length from 1 to 128"
            allowed = f"mask must be {wanted} for an IPv{version} address"
            raise InvalidInput(allowed, field="mask")
        length = None
    if (address, length) == (virtual_ip.address, virtual_ip.prefix_length) and virtual_ip.asked_length is None:
        # What it is shown with.
        length = None
    if values.get("ipVersion") not in (None, f"IPv{version}"):
        shown = "0.0.0.0; every IPv6 address is ::" if address == "*" else address
        raise InvalidInput(f"ipVersion must be IPv{version} for the address {shown}", field="ipVersion")
    listener = replace(listener, **_pick(values, name="name", port="port"))
    if values.get("protocol") is not None:
        listener = with_protocol(listener, Protocol(values["protocol"]))
    return ListenerAt(listener, replace(virtual_ip, address=address, asked_length=length))


def _show_virtual_ip(item: ListenerAt) -> View:
    listener, virtual_ip = item
    six = ":" in virtual_ip.address
    length = virtual_ip.prefix_length if virtual_ip.asked_length is None else virtual_ip.asked_length
    return _present(
        {
            "id": listener.id,
            "name": listener.name,
            "address": "0.0.0.0" if virtual_ip.address == "*" else virtual_ip.address,  # noqa: S104
            "mask": length if six or length is None else _dotted(length),
            "port": listener.port,
            "ipVersion": "IPv6" if six else "IPv4",
            "protocol": listener.protocol.value,
        }
    )


def _dotted(length: int) -> str:
    bits = (0xFFFFFFFF << (32 - length)) & 0xFFFFFFFF
    return ".".join(str(bits >> shift & 0xFF) for shift in (24, 16, 8, 0))


VIRTUAL_IP: Kind[ListenerAt] = Kind(
    reader=Reader(schemas.VIRTUAL_IP),
    apply=_apply_virtual_ip,
    show=_show_virtual_ip,
    extras=lambda item: item.listener.extras,
    with_extras=lambda item, extras: ListenerAt(replace(item.listener, extras=extras), item.virtual_ip),
)


# --- health monitors --------------------------------------------------------------------------------


def new_monitor(project_id: str) -> HealthMonitor:
    return HealthMonitor(id=new_id(), project_id=project_id, type=MonitorType.TCP, delay=0, timeout=0)


def _apply_monitor(monitor: HealthMonitor, values: Values) -> HealthMonitor:
    fields = _pick(values, name="name", delay="delay", timeout="timeout", fall="attemptsBeforeDeactivation")
    for name in ("delay", "timeout"):
        if name in fields:
            fields[name] = float(fields[name])
    kind = _MONITOR_TYPE_OF[values["type"]] if "type" in values else monitor.type
    http = None
    if kind in names.HTTP_MONITORS:
        http = replace(
            monitor.http or HttpCheck(),
            **_pick(values, method="method", path="path", expected_codes="expected"),
        )
    return replace(monitor, type=kind, http=http, **fields)


def _show_monitor(monitor: HealthMonitor) -> View:
    view: View = {
        "id": monitor.id,
        "name": monitor.name,
        "type": names.MONITOR_TYPES[monitor.type],
        "delay": _number(monitor.delay),
        "timeout": _number(monitor.timeout),
        "attemptsBeforeDeactivation": monitor.fall,
    }
    if monitor.http is not None:
        view |= {
            "method": monitor.http.method,
            "path": monitor.http.path,
            "expected": monitor.http.expected_codes,
        }
    return view


HEALTH_MONITORING: Kind[HealthMonitor] = Kind(
    reader=Reader(schemas.HEALTH_MONITORING),
    apply=_apply_monitor,
    show=_show_monitor,
    extras=lambda monitor: monitor.extras,
    with_extras=lambda monitor, extras: replace(monitor, extras=extras),
)


# --- session persistence ----------------------------------------------------------------------------


def new_persistence() -> SessionPersistence:
    return SessionPersistence(id=new_id(), kind=PersistenceKind.SOURCE_IP)


def _apply_persistence(persistence: SessionPersistence, values: Values) -> SessionPersistence:
    fields = _pick(values, cookie_name="cookie_name", timeout="timeout")
    kind = PersistenceKind(values["type"]) if "type" in values else persistence.kind
    new = replace(persistence, kind=kind, **fields)
    if kind is PersistenceKind.APP_COOKIE and not new.cookie_name:
        raise InvalidInput("cookie_name is required for APP_COOKIE", field="cookie_name")
    return new


def _show_persistence(persistence: SessionPersistence) -> View:
    return _present(
        {
            "id": persistence.id,
            "name": "",
            "type": persistence.kind.value,
            "cookie_name": persistence.cookie_name,
            "timeout": persistence.timeout,
        }
    )


SESSION_PERSISTENCE: Kind[SessionPersistence] = Kind(
    reader=Reader(schemas.SESSION_PERSISTENCE),
    apply=_apply_persistence,
    show=_show_persistence,
    extras=lambda persistence: persistence.extras,
    with_extras=lambda persistence, extras: replace(persistence, extras=extras),
)

CREATION = Reader(schemas.LOAD_BALANCER_CHILDREN)
ROTATION_NAMES: tuple[str, ...] = tuple(
    name.lower() for name in (*(names.ROTATIONS[r] for r in Rotation), *names.ROTATION_SYNONYMS)
)
