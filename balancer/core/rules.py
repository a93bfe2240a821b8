"""What a load balancer must fulfil whatever the dialect: pure checks that raise, and pure answers."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from balancer.core import regex
from balancer.core.model import (
    Bind,
    HealthMonitor,
    L7Policy,
    L7Rule,
    Listener,
    LoadBalancer,
    MonitorType,
    PersistenceKind,
    Pool,
    Protocol,
    Reservation,
    SessionPersistence,
    Tree,
)
from balancer.exceptions import Conflict, InvalidInput, NotFound, Unsupported

WILDCARD = "*"
Address = tuple[str, int]

_DATAGRAM = (Protocol.UDP, Protocol.SCTP)
_PROXIES = (Protocol.PROXY, Protocol.PROXYV2)
_POOLS_BEHIND: Mapping[Protocol, tuple[Protocol, ...]] = {
    Protocol.TCP: (Protocol.TCP, Protocol.HTTP, Protocol.HTTPS, *_PROXIES),
    Protocol.HTTP: (Protocol.HTTP, *_PROXIES),
    Protocol.HTTPS: (Protocol.HTTPS, Protocol.TCP, *_PROXIES),
    Protocol.TERMINATED_HTTPS: (Protocol.HTTP, *_PROXIES),
    Protocol.UDP: (Protocol.UDP,),
    Protocol.SCTP: (Protocol.SCTP,),
    Protocol.PROMETHEUS: (),
}
_READ_AS_HTTP = (Protocol.HTTP, Protocol.TERMINATED_HTTPS)
_STREAM_MONITORS = (
    MonitorType.HTTP,
    MonitorType.HTTPS,
    MonitorType.PING,
    MonitorType.TCP,
    MonitorType.TLS_HELLO,
)
_DATAGRAM_MONITORS = (MonitorType.UDP_CONNECT, MonitorType.SCTP, MonitorType.HTTP, MonitorType.TCP)
_LEAST_UDP_DELAY = 3
_HEADERS = (
    "X-Forwarded-For",
    "X-Forwarded-Port",
    "X-Forwarded-Proto",
    "X-Forwarded-IP",
    "X-Client-IP",
    "X-Real-IP",
)
MOST_RULES = 50
"""Of one L7 policy."""


@lru_cache(maxsize=4096)
def normalise_address(text: str) -> str:
    """The one form in which addresses are stored and compared: ``"*"``, or a canonical IP address.

    Raises `ValueError` when it is neither.
    """
    if text in ("", WILDCARD, "0.0.0.0"):  # noqa: S104 - compared, not bound
        return WILDCARD
    return str(host_address(text))


@lru_cache(maxsize=4096)
def host_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address that can be bound and connected to as it is. Raises `ValueError` when it is none: a link-local one of
    IPv6 means nothing without a zone, which is the host's affair, and an IPv4 address in IPv6's notation is another
    spelling that a socket for IPv6 cannot be bound to."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id or address.is_link_local:
            raise ValueError("a link-local address, or one with a zone, cannot be used")
        if address.ipv4_mapped:
            raise ValueError(f"an IPv4 address is written as such: {address.ipv4_mapped}")
    return address


def say(address: Address) -> str:
    """For messages: ``192.0.2.1:80``, ``[2001:db8::1]:80``, ``every address, port 80``."""
    host, port = address
    if host == WILDCARD:
        return f"port {port} on every address"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listener_addresses(load_balancer: LoadBalancer) -> list[tuple[str, Address]]:
    """(listener id, address) of everything the load balancer listens on, admin-down or not."""
    by_id = {vip.id: vip.address for vip in load_balancer.virtual_ips}
    return [
        (listener.id, (by_id[vip_id], listener.port))
        for listener in load_balancer.listeners
        for vip_id in (listener.virtual_ip_ids or by_id)
    ]


def wanted_addresses(load_balancer: LoadBalancer) -> set[Address]:
    """The (address, port) pairs a load balancer needs on its device."""
    return {address for _, address in listener_addresses(load_balancer)}


def wanted_reservations(load_balancer: LoadBalancer) -> list[Reservation]:
    return [
        Reservation(device_id=load_balancer.device_id, address=address, port=port, load_balancer_id=load_balancer.id)
        for address, port in sorted(wanted_addresses(load_balancer))
    ]


def check(tree: Tree) -> None:
    """Whether the tree makes sense in itself. Raises `InvalidInput` or `Conflict`."""
    balancer = tree.load_balancer
    pool_ids = {pool.id for pool in balancer.pools}
    virtual_ip_ids = {vip.id for vip in balancer.virtual_ips}
    for listener in balancer.listeners:
        pool_id = listener.default_pool_id
        if pool_id is not None and pool_id not in pool_ids:
            raise InvalidInput(f"Pool {pool_id} is not of this load balancer", field="default_pool_id")
        if not virtual_ip_ids.issuperset(listener.virtual_ip_ids):
            raise InvalidInput("A listener names a virtual IP of another load balancer", field="virtual_ip_ids")
        _check_allowed_cidrs(balancer, listener)
    protocols = {listener.id: listener.protocol for listener in balancer.listeners}
    for transport in (Protocol.TCP, *_DATAGRAM):
        # What UDP and SCTP listen on is not what TCP listens on.
        _refuse_twice(
            (
                address
                for listener_id, address in listener_addresses(balancer)
                if (protocols[listener_id] if protocols[listener_id] in _DATAGRAM else Protocol.TCP) is transport
            ),
            "virtual_ips",
            "asked for twice by this load balancer",
        )
    _refuse_itself(balancer)
    for pool in balancer.pools:
        members = (member_key(member.address, member.port) for member in pool.members)
        _refuse_twice(members, "members", "a node of this load balancer already")


def _refuse_itself(balancer: LoadBalancer) -> None:
    """A load balancer that is its own member asks itself until it has no connection left."""
    listens = wanted_addresses(balancer)
    for pool in balancer.pools:
        for member in pool.members:
            at = member_key(member.address, member.port)
            if at in listens or (_every_address(at[0]), at[1]) in listens:
                raise InvalidInput(f"{say(at)} is where this load balancer itself listens", field="members")


def _every_address(address: str) -> str | None:
    """What listens at a loopback address as well."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    return ("::" if parsed.version == 6 else WILDCARD) if parsed.is_loopback else None


def member_key(address: str, port: int) -> Address:
    """What makes two members of a pool the same, however the address is spelled."""
    try:
        return normalise_address(address), port
    except ValueError:
        return address, port


def _refuse_twice(addresses: Iterable[Address], field: str, what: str) -> None:
    for address, times in Counter(addresses).items():
        if times > 1:
            raise Conflict(f"{say(address)} is {what}", field=field)


def binds_overlap(address: Address, binds: Iterable[Bind]) -> bool:
    """Whether one of the binds takes exactly this address and port.

    A wildcard beside a specific address does not count: the kernel gives the connection to the specific one.
    """
    host, port = address
    return any(bind.address == host and bind.first_port <= port <= bind.last_port for bind in binds)


def check_foreign_binds(load_balancer: LoadBalancer, binds: Iterable[Bind]) -> None:
    """Raises `Conflict` when a hand-written section of the device listens there."""
    binds = tuple(binds)
    for address in sorted(wanted_addresses(load_balancer)):
        if binds_overlap(address, binds):
            sentence = f"{say(address)} is used by a hand-written section of the device's configuration"
            raise Conflict(sentence, field="virtual_ips")


# --- what goes together: of objects that are being made or changed -------------------------------


def check_listener(balancer: LoadBalancer, listener: Listener, before: Listener | None = None) -> None:
    """Whether the listener makes sense where it is, as far as it differs from what it was `before`.

    Raises `NotFound` for its pool, `InvalidInput`, `Conflict`.
    """
    if before is None and not balancer.virtual_ips:
        raise Conflict(f"Load balancer {balancer.id} has no address to listen at", field="loadbalancer_id")
    if listener.default_pool_id not in (None, before and before.default_pool_id):
        check_behind(listener, _pool(balancer, listener.default_pool_id or ""), "default_pool_id")
    if before is None or listener.insert_headers != before.insert_headers:
        _check_headers(listener)


def _check_allowed_cidrs(balancer: LoadBalancer, listener: Listener) -> None:
    addresses = [vip.address for vip in balancer.virtual_ips]
    if not listener.allowed_cidrs or WILDCARD in addresses:
        return
    versions = {ipaddress.ip_address(address).version for address in addresses}
    for cidr in listener.allowed_cidrs:
        version = ipaddress.ip_network(cidr).version
        if version not in versions:
            raise InvalidInput(
                f"allowed_cidrs: {cidr} is IPv{version}, and the load balancer has no such address",
                field="allowed_cidrs",
            )


def _pool(balancer: LoadBalancer, pool_id: str) -> Pool:
    for pool in balancer.pools:
        if pool.id == pool_id:
            return pool
    raise NotFound("Pool", pool_id)


def check_behind(listener: Listener, pool: Pool, field: str) -> None:
    """Whether the pool's protocol can serve behind the listener's."""
    allowed = _POOLS_BEHIND[listener.protocol]
    if pool.protocol not in allowed:
        names = f"pools of protocol {', '.join(allowed)}" if allowed else "no pool"
        raise InvalidInput(
            f"{field}: a listener of protocol {listener.protocol} takes {names}, not one of {pool.protocol}",
            field=field,
        )


def _check_headers(listener: Listener) -> None:
    if listener.insert_headers and listener.protocol not in _READ_AS_HTTP:
        raise InvalidInput(
            f"insert_headers needs a listener of protocol HTTP, not {listener.protocol}", field="insert_headers"
        )
    for header in listener.insert_headers:
        if header not in _HEADERS:
            raise InvalidInput(
                f"insert_headers: {header} is none of {', '.join(_HEADERS)}",
                field="insert_headers",
            )


def check_persistence(protocol: Protocol, persistence: SessionPersistence) -> None:
    """Of a pool of that protocol."""
    kind = persistence.kind
    if kind is PersistenceKind.APP_COOKIE and not persistence.cookie_name:
        raise InvalidInput("session_persistence: APP_COOKIE needs a cookie_name", field="session_persistence")
    if kind is PersistenceKind.SOURCE_IP and persistence.cookie_name:
        raise InvalidInput("session_persistence: SOURCE_IP has no cookie_name", field="session_persistence")
    if protocol in _DATAGRAM and kind is not PersistenceKind.SOURCE_IP:
        raise InvalidInput(f"session_persistence of a {protocol} pool must be SOURCE_IP", field="session_persistence")
    if protocol not in _DATAGRAM and persistence.granularity is not None:
        raise InvalidInput(
            "session_persistence: persistence_granularity is of UDP and SCTP pools only", field="session_persistence"
        )


def check_monitor(pool: Pool, monitor: HealthMonitor) -> None:
    """Whether the health monitor can check members of the pool."""
    allowed = _DATAGRAM_MONITORS if pool.protocol in _DATAGRAM else _STREAM_MONITORS
    if monitor.type not in allowed:
        raise InvalidInput(
            f"type: a pool of protocol {pool.protocol} takes health monitors of type {', '.join(allowed)}, "
            f"not {monitor.type}",
            field="type",
        )
    if monitor.type is MonitorType.UDP_CONNECT and monitor.delay < _LEAST_UDP_DELAY:
        raise InvalidInput(f"delay of a UDP-CONNECT health monitor must be {_LEAST_UDP_DELAY} or more", field="delay")
    http = monitor.http
    if http is not None and http.domain_name is not None and http.version != "1.1":
        raise InvalidInput("domain_name needs http_version 1.1", field="domain_name")


# --- L7 policies and rules ------------------------------------------------------------------------

REDIRECT_TARGETS: Mapping[str, str | None] = {
    "REJECT": None,
    "REDIRECT_TO_POOL": "pool_id",
    "REDIRECT_TO_URL": "url",
    "REDIRECT_PREFIX": "prefix",
}
"""L7 action to the key in `L7Policy.redirect` that it needs."""
REDIRECT_CODES = (301, 302, 303, 307, 308)
DEFAULT_REDIRECT_CODE = 302

_SPACE_OR_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_COOKIE_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]+")
_VISIBLE = re.compile(r"[!-~]+")
_QUOTED = re.compile(r'"[\t !#-\[\]-~]*"')
_DN_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9-]*")


def check_l7_policy(balancer: LoadBalancer, listener: Listener, policy: L7Policy) -> None:
    """Raises `NotFound` for the pool that it redirects to, `InvalidInput`, `Unsupported`, `Conflict`."""
    if listener.protocol is Protocol.PROMETHEUS:
        raise InvalidInput("listener_id: a PROMETHEUS listener has no L7 policies", field="listener_id")
    if listener.protocol not in _READ_AS_HTTP:
        raise Unsupported(
            f"listener_id: L7 policies need a listener of protocol HTTP, not {listener.protocol}", field="listener_id"
        )
    target = REDIRECT_TARGETS[policy.action]
    if target is not None and not policy.redirect.get(target):
        field = f"redirect_{target}"
        raise InvalidInput(f"{field} is required for the action {policy.action}", field=field)
    if target == "pool_id":
        check_behind(listener, _pool(balancer, policy.redirect["pool_id"]), "redirect_pool_id")
    elif target is not None:
        _check_url(policy.redirect[target], f"redirect_{target}")
    if len(policy.rules) > MOST_RULES:
        raise Conflict(f"An L7 policy may have {MOST_RULES} rules at most", field="rules")
    for rule in policy.rules:
        check_l7_rule(rule)


def _check_url(text: str, field: str) -> None:
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or _SPACE_OR_CONTROL.search(text) or not text.isascii():
        raise InvalidInput(
            f"{field} must be a URL with http or https and a host, without spaces or control characters", field=field
        )


def check_l7_rule(rule: L7Rule) -> None:
    """Raises `InvalidInput`."""
    problem = _rule_problem(rule)
    if problem is not None:
        field, sentence = problem
        raise InvalidInput(f"Error parsing L7Rule: {sentence}", field=field)


def _rule_problem(rule: L7Rule) -> tuple[str, str] | None:
    kind, key, value = rule.type, rule.key, rule.value
    if not value:
        return "value", "value must not be empty"
    if kind in ("SSL_CONN_HAS_CERT", "SSL_VERIFY_RESULT"):
        if key is not None:
            return "key", f"{kind} has no key"
        if rule.compare_type != "EQUAL_TO":
            return "compare_type", f"{kind} is compared with EQUAL_TO"
        if kind == "SSL_CONN_HAS_CERT":
            return None if value.lower() == "true" else ("value", "value must be true for SSL_CONN_HAS_CERT")
        return None if value.isascii() and value.isdigit() else ("value", "value must be a number, 0 or more")
    if kind == "SSL_DN_FIELD" and (key is None or not _DN_FIELD.fullmatch(key)):
        return "key", "SSL_DN_FIELD needs a key of letters, digits and dashes"
    if kind in ("HEADER", "COOKIE") and (key is None or not _TOKEN.fullmatch(key)):
        return "key", f"{kind} needs a key, a name without spaces and separators"
    if kind == "FILE_TYPE" and rule.compare_type not in ("EQUAL_TO", "REGEX"):
        return "compare_type", "FILE_TYPE is compared with EQUAL_TO or REGEX"
    if rule.compare_type == "REGEX":
        return _regex_problem(value)
    if kind == "COOKIE":
        return None if _COOKIE_VALUE.fullmatch(value) else ("value", "value must be what a cookie can hold")
    if _VISIBLE.fullmatch(value) or _QUOTED.fullmatch(value):
        return None
    return "value", "value must be visible ASCII without spaces, or a text in double quotes"


def _regex_problem(value: str) -> tuple[str, str] | None:
    problem = regex.problem(value)
    return None if problem is None else ("value", f"value is no regular expression that can be used ({problem})")
