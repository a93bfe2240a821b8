"""Renders what a device shall run: one head shared by all, and one self-contained block per load balancer.

Pure. Names come from ids only, every value passes through `names`. A block depends on nothing but its load balancer,
the monitors of its pools and the device's id, so that one block can be swapped for another text of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from balancer.core import tenants
from balancer.core.model import (
    Algorithm,
    Candidate,
    Capabilities,
    Device,
    DeviceSpec,
    HealthMonitor,
    HttpCheck,
    Listener,
    LoadBalancer,
    Member,
    MemberCheck,
    MonitorType,
    PersistenceKind,
    Pool,
    Protocol,
    Rotation,
    SessionPersistence,
    VirtualIp,
)
from balancer.core.tenants import Confines
from balancer.drivers.haproxy import addresses, l7, names, rights
from balancer.exceptions import InvalidInput, Unsupported

PEERS = "balancer"
PINGS = "option external-check"
HARD_STOP_AFTER = 3600
# Stands in every backend that has checks.
_CHECK_TIMEOUT = "timeout check"
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

_BALANCE: Mapping[Algorithm, tuple[str, ...]] = {
    Algorithm.ROUND_ROBIN: ("balance roundrobin",),
    Algorithm.STATIC_ROUND_ROBIN: ("balance static-rr",),
    Algorithm.LEAST_CONNECTIONS: ("balance leastconn",),
    Algorithm.SOURCE_IP: ("balance source", "hash-type consistent"),
    Algorithm.URI: ("balance uri", "hash-type consistent"),
    Algorithm.SOURCE_IP_PORT: ("balance hash var(txn.balancer_client)", "hash-type consistent"),
}
# `balance hash` takes one sample without arguments of several, so the pair is put into a variable first.
_CLIENT_AND_PORT = (
    "set-var(txn.balancer_port) src_port",
    "set-var(txn.balancer_client) src,concat(-,txn.balancer_port)",
)
_MODE: Mapping[Protocol, str] = {
    Protocol.HTTP: "http",
    Protocol.HTTPS: "tcp",
    Protocol.TCP: "tcp",
    Protocol.PROMETHEUS: "http",
}
_SEND_PROXY: Mapping[Protocol, str] = {Protocol.PROXY: "send-proxy", Protocol.PROXYV2: "send-proxy-v2"}

# A worker that has just taken over gets the stick tables of the one before it some milliseconds later; this entry comes
# last. Requests that need them wait for it in the first second after the first such request, for up to half of it. HTTP
# requests wait by asking a name server that never answers, several times; connections by the delay of inspection.
_HANDED_OVER = f"{PEERS}/handed"
_WAITS, _WAIT, _DELAY = 10, "50ms", "300ms"
_RESOLVERS = "balancer-wait"
_TABLES_ACLS = (
    "acl balancer-counts var(proc.balancer_began) -m found",
    "acl balancer-young date(0,ms),sub(proc.balancer_began) lt 1000",
    f"acl balancer-handed int(1),in_table({_HANDED_OVER})",
)

# Seconds that sessions are remembered when the load balancer does not say.
_SOURCE_IP_EXPIRE = 1800
_APP_COOKIE_EXPIRE = 10800
# HAProxy takes 64 words in a line, and each monitor is three.
_MONITORS_PER_LINE = 15
_HEADERS: Mapping[str, tuple[str, ...]] = {
    "x-forwarded-for": ("option forwardfor",),
    "x-forwarded-port": ("http-request set-header X-Forwarded-Port %[dst_port]",),
    "x-forwarded-proto": ("http-request set-header X-Forwarded-Proto http",),
    **{
        name.lower(): (f"http-request set-header {name} %[src]",)
        for name in ("X-Forwarded-IP", "X-Client-IP", "X-Real-IP")
    },
}
# Seconds that connecting to a member may take when nothing says otherwise; also in `head`.
_CONNECT = 5
_INEXPRESSIBLE = {"ratebandwidth": "rateBandwidth", "rateconnection": "rateConnection"}
# HAProxy takes 64 words in a line.
_CIDRS_PER_LINE = 50

CAPABILITIES = Capabilities(algorithms=tuple(_BALANCE), protocols=(Protocol.HTTP, Protocol.HTTPS, Protocol.TCP))


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    text: str
    notices: tuple[str, ...] = ()


# --- the whole ---------------------------------------------------------------


def candidate(
    spec: DeviceSpec,
    memo: dict[str, tuple[object, Block]] | None = None,
    *,
    confines: Confines | None = None,
    hard_stop_after: int = HARD_STOP_AFTER,
) -> Candidate:
    """Renders a device. `memo` may be kept between calls: blocks of unchanged load balancers are taken from it.

    A load balancer that cannot be rendered, or that points at what its project may not (`confines`), is `rejected` and
    keeps its last accepted block: it must not keep the others from being deployed.
    """
    monitors = {monitor.id: monitor for monitor in spec.monitors}
    blocks: dict[str, str] = {}
    notices: dict[str, tuple[str, ...]] = {}
    rejected: dict[str, str] = {}
    fresh: dict[str, tuple[object, Block]] = {}
    ping = _ping_command(spec.device)
    around = tenants.know(spec.hosts, spec.virtual)
    for balancer in spec.load_balancers:
        used = tuple(monitors[each] for each in dict.fromkeys(_monitor_ids(balancer)) if each in monitors)
        # Compared by value, so a memo can be stale in no way.
        key = (balancer, used, spec.device.id, ping)
        known = (memo or {}).get(balancer.id)
        try:
            fresh_block = partial(block, balancer, used, device_id=spec.device.id, ping=ping)
            if confines is not None and not balancer.exempt:
                _refuse_beyond(balancer, spec.device, confines, around)
            made = known[1] if known and known[0] == key else fresh_block()
        except InvalidInput as error:
            rejected[balancer.id] = str(error)
            blocks[balancer.id] = spec.accepted_blocks.get(balancer.id, "")
            continue
        fresh[balancer.id] = (key, made)
        blocks[balancer.id] = made.text
        if made.notices:
            notices[balancer.id] = made.notices
    if memo is not None:
        memo.clear()
        memo.update(fresh)
    blocks = dict(sorted({**blocks, **spec.kept}.items()))
    top = head(spec.device, blocks.values(), hard_stop_after=hard_stop_after)
    return Candidate(
        head=top,
        blocks=blocks,
        digest=_digest(top, blocks),
        notices=notices,
        rejected=rejected,
        withheld=spec.withheld,
    )


def _refuse_beyond(balancer: LoadBalancer, device: Device, confines: Confines, known: tenants.Known) -> None:
    """The last line behind what requests are refused for. Raises `InvalidInput`."""
    beyond = tenants.beyond(balancer, device, confines, known)
    if beyond is not None:
        raise InvalidInput(f"Only an administrator can have this deployed: {beyond}")


def _digest(top: str, blocks: Mapping[str, str]) -> str:
    sha = hashlib.sha256(top.encode())
    for load_balancer_id, text in blocks.items():
        sha.update(f"\0{load_balancer_id}\0{text}".encode())
    return sha.hexdigest()


def head(
    device: Device, blocks: Iterable[str], config: str | None = None, *, hard_stop_after: int = HARD_STOP_AFTER
) -> str:
    """Our `global`, the defaults that every section of ours names, and `peers` when a block has a stick table.

    `config`: the real path of haproxy.cfg, when it was looked up just now. `hard_stop_after`: seconds that a worker has
    for its last connections.
    """
    lines = [
        "global",
        f"    stats socket {names.socket_path(device.socket or rights.DEFAULT_SOCKET)} mode 600 level admin"
        f" user {names.login(device.endpoint.username)}",
        f"    hard-stop-after {hard_stop_after}s",
    ]
    blocks = tuple(blocks)
    if any(PINGS in text for text in blocks):
        lines += ["    external-check", "    insecure-fork-wanted"]
    # Whether there are servers to be checked by now or not: one that comes needs no other head.
    checked = any(_CHECK_TIMEOUT in text for text in blocks)
    if checked:
        lines += [f"    server-state-file {_states_path(device, config)}"]
    for mode, log in (("http", "httplog"), ("tcp", "tcplog")):
        lines += [
            f"defaults balancer-{mode}",
            f"    mode {mode}",
            "    log global",
            f"    option {log}",
            "    option dontlognull",
            "    option redispatch",
            "    retries 3",
            f"    timeout connect {_CONNECT}s",
            "    timeout client 50s",
            "    timeout server 50s",
            "    timeout queue 30s",
        ]
        if checked:
            lines += ["    load-server-state-from-file global"]
        if mode == "http":
            lines += [
                "    option idle-close-on-response",
                "    timeout http-request 30s",
                "    timeout http-keep-alive 15s",
            ]
        else:
            lines += ["    timeout tunnel 1h"]
    if any(f" peers {PEERS}\n" in text for text in blocks):
        # HAProxy puts its own name there; with itself as peer it hands its stick tables over at a reload.
        address = peer_address(device.id)
        lines += [
            f"peers {PEERS}",
            f'    peer "$HAPROXY_LOCALPEER" {address}',
            "    table handed type integer size 1 expire 24d",
            f"resolvers {_RESOLVERS}",
            # Its UDP port is nobody's.
            f"    nameserver nobody {address}",
            "    resolve_retries 1",
            f"    timeout resolve {_WAIT}",
            f"    timeout retry {_WAIT}",
            *(f"    hold {each} 0" for each in ("timeout", "other", "refused", "nx")),
        ]
    return "\n".join(lines) + "\n"


def _states_path(device: Device, config: str | None) -> str:
    seen = device.observation.facts.get("config_path") if device.observation is not None else None
    path = config or str(seen or device.config_path or rights.DEFAULT_CONFIG)
    return rights.Paths(config=names.file_path(path, "remote_config_path")).states


def _ping_command(device: Device) -> str | None:
    """The one that was seen on the device, which then may run it."""
    command = device.observation.facts.get("ping") if device.observation is not None else None
    return None if command is None else names.file_path(str(command), "remote_config_path")


def peer_address(device_id: str) -> str:
    """A loopback address and port of the device's own: several HAProxies may share a host."""
    raw = hashlib.sha256(names.object_id(device_id).encode()).digest()
    return f"127.{raw[0]}.{raw[1]}.{1 + raw[2] % 254}:{10000 + int.from_bytes(raw[3:5], 'big') % 20000}"


# --- one load balancer -------------------------------------------------------


@dataclass(slots=True)
class _Lines:
    """Text being written, and sentences on what could not be expressed."""

    lines: list[str] = field(default_factory=list)
    notices: dict[str, None] = field(default_factory=dict)
    ping: str | None = None

    def section(self, kind: str, name: str, mode: str) -> None:
        self.lines.append(f"{kind} {name} from balancer-{mode}")

    def add(self, *lines: str) -> None:
        self.lines.extend(f"    {line}" for line in lines)

    def notice(self, sentence: str) -> None:
        self.notices[sentence] = None


def block(
    balancer: LoadBalancer, monitors: Sequence[HealthMonitor], *, device_id: str, ping: str | None = None
) -> Block:
    """The sections of one load balancer; "" when it is switched off. `ping`: the device's command for that, None when
    it must do without. Raises `InvalidInput`."""
    out = _Lines(ping=ping)
    if not balancer.admin_up:
        return Block(text="")
    pools = {pool.id: pool for pool in balancer.pools if pool.admin_up}
    vips = {vip.id: vip for vip in balancer.virtual_ips}
    used: dict[tuple[str, str], list[Listener]] = {}
    for listener in balancer.listeners:
        if not listener.admin_up:
            continue
        mode = _mode(listener.protocol, "protocol")
        serves = [] if listener.protocol is Protocol.PROMETHEUS else [listener.default_pool_id or ""]
        backends: dict[str, str] = {}
        for pool_id in (*serves, *l7.used_pools(listener.l7_policies)):
            pool = pools.get(pool_id)
            if pool is not None and pool_id not in backends:
                used.setdefault((pool_id, mode), []).append(listener)
                backends[pool_id] = names.backend(pool_id, _suffix(pool, mode))
        _frontend(out, listener, mode, _binds(listener, vips), backends)
    for (pool_id, mode), listeners in used.items():
        pool = pools[pool_id]
        active = [monitor for monitor in monitors if monitor.id in pool.health_monitor_ids and monitor.admin_up]
        _backend(out, pool, mode, listeners, active, device_id)
    for pool_id in dict.fromkeys(pool_id for pool_id, _ in used):
        pool = pools[pool_id]
        active = [monitor for monitor in monitors if monitor.id in pool.health_monitor_ids and monitor.admin_up]
        if len(active) > 1:
            _monitor_sections(out, pool, active, device_id)
    return Block(text="".join(f"{line}\n" for line in out.lines), notices=tuple(out.notices))


def _monitor_ids(balancer: LoadBalancer) -> list[str]:
    return [each for pool in balancer.pools for each in pool.health_monitor_ids]


def _mode(protocol: Protocol, where: str) -> str:
    if protocol not in _MODE:
        allowed = ", ".join(_MODE)
        raise Unsupported(f"HAProxy cannot serve protocol {protocol}; it serves {allowed}", field=where)
    return _MODE[protocol]


def _suffix(pool: Pool, mode: str) -> str:
    """A pool may serve listeners of both modes; HAProxy wants a backend for each."""
    return "" if _MODE.get(pool.protocol, "tcp") == mode else mode


def _binds(listener: Listener, vips: Mapping[str, VirtualIp]) -> list[str]:
    chosen = [vips[each] for each in listener.virtual_ip_ids if each in vips] or list(vips.values())
    if not chosen:
        raise InvalidInput("a listener needs a virtual IP", field="virtual_ips")
    return [bind(vip.address, listener.port, vip.prefix_length, vip.interface) for vip in chosen]


def bind(address: str, port: int, prefix_length: int | None = None, interface: str | None = None) -> str:
    """A wildcard means every IPv4 address, ``::`` every IPv6 address. Any other address is bound even while it is on
    no interface: otherwise one missing address would keep HAProxy from starting. The remark says which address the
    device needs for it."""
    if address == names.WILDCARD:
        return f"bind *:{names.port(port)}"
    parsed = names.ip(address)
    options = " v6only" if parsed.version == 6 else ""
    if not parsed.is_unspecified:
        options += " transparent"
    return f"bind {names.endpoint(address, port)}{options}{addresses.remark(address, prefix_length, interface)}"


def _frontend(out: _Lines, listener: Listener, mode: str, binds: Sequence[str], backends: Mapping[str, str]) -> None:
    """`backends`: pool id to backend, for the pools that the listener may use."""
    out.section("frontend", names.frontend(listener.id), mode)
    if listener.extras.get("VLAN"):
        out.notice("VLAN of a virtual IP has no effect: the device's `interface` says where it is")
    if str(listener.extras.get("ICMPreply", "")).lower() in ("false", "0", "no", "off"):
        out.notice("ICMPreply of a virtual IP has no effect: the device answers pings as it is set up to")
    out.add(*binds)
    if listener.connection_limit == 0:
        # `maxconn 0` would mean unlimited.
        out.add("tcp-request connection reject")
    elif listener.connection_limit is not None and listener.connection_limit > 0:
        out.add(f"maxconn {names.integer(listener.connection_limit, 1, 2**31 - 1, 'connection_limit')}")
    if listener.allowed_cidrs:
        cidrs = [names.network(each, "allowed_cidrs") for each in listener.allowed_cidrs]
        for start in range(0, len(cidrs), _CIDRS_PER_LINE):
            out.add(f"acl balancer-allowed src {' '.join(cidrs[start : start + _CIDRS_PER_LINE])}")
        out.add("tcp-request connection reject unless balancer-allowed")
    if listener.timeouts.client:
        out.add(f"timeout client {names.milliseconds(listener.timeouts.client, 'timeouts.client')}")
    if listener.timeouts.tcp_inspect:
        out.add(f"tcp-request inspect-delay {names.milliseconds(listener.timeouts.tcp_inspect, 'timeouts')}")
    for header, value in listener.insert_headers.items():
        if str(value).lower() != "true":
            continue
        if header.lower() not in _HEADERS:
            out.notice(f"the header {header} is not inserted: HAProxy is not told how")
        elif mode == "http":
            out.add(*_HEADERS[header.lower()])
        else:
            out.notice(f"the header {header} is not inserted: {listener.protocol} is passed through unread")
    if listener.l7_policies:
        if mode != "http":
            raise InvalidInput("layer 7 policies need a listener with protocol HTTP", field="l7_policies")
        out.add(*l7.lines(listener.l7_policies, backends.get))
    if listener.protocol is Protocol.PROMETHEUS:
        out.notice("a PROMETHEUS listener shows the counters of all load balancers of its device, by their ids")
        out.add(
            "http-request use-service prometheus-exporter if { path /metrics }",
            "http-request return status 404",
        )
    elif default := backends.get(listener.default_pool_id or ""):
        out.add(f"default_backend {default}")


def _silences(listeners: Sequence[Listener]) -> list[tuple[int | None, int | None]]:
    return [(each.timeouts.client, each.timeouts.member_data) for each in listeners]


def _backend(
    out: _Lines,
    pool: Pool,
    mode: str,
    listeners: Sequence[Listener],
    monitors: Sequence[HealthMonitor],
    device_id: str,
) -> None:
    out.section("backend", names.backend(pool.id, _suffix(pool, mode)), mode)
    _check_algorithm(pool, [each.protocol for each in listeners])
    if pool.algorithm is Algorithm.SOURCE_IP_PORT:
        out.add(*(f"{'http-request' if mode == 'http' else 'tcp-request content'} {rule}" for rule in _CLIENT_AND_PORT))
    out.add(*_BALANCE[pool.algorithm])
    connect = [value for each in listeners if (value := each.timeouts.member_connect)]
    data = [value for each in listeners if (value := each.timeouts.member_data)]
    if connect:
        out.add(f"timeout connect {names.milliseconds(max(connect), 'timeouts.member_connect')}")
    elif len(monitors) == 1:
        _connect_like_the_monitor(out, monitors[0])
    if data:
        out.add(f"timeout server {names.milliseconds(max(data), 'timeouts.member_data')}")
    # Of what is passed through, HAProxy bears with silence for an hour, and asks for neither side's limit.
    silence = [min(each for each in limits if each) for limits in _silences(listeners) if any(limits)]
    if mode == "tcp" and silence and len(silence) == len(listeners):
        out.add(f"timeout tunnel {names.milliseconds(max(silence), 'timeouts')}")
    if any(each.backup for each in pool.members):
        out.add("option allbackups")
    cookies = _persistence(out, pool.session_persistence, mode)
    if len(monitors) > 1:
        out.add(
            "option httpchk",
            f"http-check connect addr {names.health_address(device_id, pool.id)}",
            "http-check send meth GET uri-lf /%[srv_name]",
            "http-check expect status 200",
            f"{_CHECK_TIMEOUT} 2s",
        )
    elif monitors:
        _checks(out, monitors[0], pool)
    proxy = _SEND_PROXY.get(pool.protocol)
    for member in pool.members:
        words = [_server(out, member)]
        if len(monitors) > 1:
            # The monitors' own backends have the intervals and counts.
            words.append("check inter 1s fall 1 rise 1")
        elif monitors:
            words.append(_check_words(member, monitors[0]))
        if proxy:
            words.append(proxy)
        if cookies:
            words.append(f"cookie {names.cookie(member.cookie or member.id, 'cookie')}")
        elif member.cookie:
            out.notice("cookie of a node has no effect without a session persistence HTTP_COOKIE")
        out.add(" ".join(words + _member_words(out, member, checked=bool(monitors))))
    if cookies and len({member.cookie or member.id for member in pool.members}) < len(pool.members):
        raise InvalidInput("two nodes have the same cookie: a client could not tell them apart", field="cookie")


def _check_algorithm(pool: Pool, behind: Iterable[Protocol] = ()) -> None:
    """`behind`: the protocols of the listeners that it serves."""
    if pool.algorithm not in _BALANCE:
        allowed = ", ".join(_BALANCE)
        sentence = f"HAProxy has no algorithm {pool.algorithm}; it has {allowed}"
        raise Unsupported(sentence, field="algorithm", terms=(pool.algorithm, *_BALANCE))
    if pool.algorithm is Algorithm.URI:
        # Of a pool that is no HTTP, the algorithm is to blame, else the listener.
        for protocol, field in ((pool.protocol, "algorithm"), *((each, "protocol") for each in behind)):
            if _MODE.get(protocol, "tcp") != "http":
                sentence = f"algorithm {pool.algorithm} needs protocol HTTP, not {protocol}"
                raise InvalidInput(sentence, field=field, terms=(pool.algorithm,))


def _connect_like_the_monitor(out: _Lines, monitor: HealthMonitor) -> None:
    """HAProxy gives a check as long to connect as it gives clients' connections: whoever is too slow for the one is
    too slow for the others. It is not made longer for clients, who would wait for members that are gone."""
    if monitor.timeout < _CONNECT:
        out.add(f"timeout connect {names.seconds(monitor.timeout, 'timeout')}")
    elif monitor.timeout > _CONNECT:
        out.notice(f"a health check has {_CONNECT} s at most to connect, and its `timeout` for the answer")


def _server(out: _Lines, member: Member) -> str:
    for key in member.extras:
        if key.lower() in _INEXPRESSIBLE:
            out.notice(f"{_INEXPRESSIBLE[key.lower()]} of a node has no effect: HAProxy has no such limit per server")
    return f"server {names.object_id(member.id)} {names.endpoint(member.address, member.port)}"


def _member_words(out: _Lines, member: Member, *, checked: bool) -> list[str]:
    weight = 0 if member.rotation is Rotation.DRAIN else member.weight
    words = [f"weight {names.integer(weight, 0, 256, 'weight')}"]
    limits = member.limits
    if limits.min_connections:
        least = names.integer(limits.min_connections, 1, 2**31 - 1, "minconn")
        if limits.max_connections:
            words.append(f"minconn {min(least, limits.max_connections)}")
        else:
            # Alone, HAProxy would take it for the most.
            out.notice("minconn of a node has no effect without maxconn")
    if limits.max_connections:
        words.append(f"maxconn {names.integer(limits.max_connections, 1, 2**31 - 1, 'maxconn')}")
    if limits.slow_start:
        pause = names.seconds(limits.slow_start, "slowstart")
        if checked:
            words.append(f"slowstart {pause}")
        else:
            out.notice("slowstart of a node has no effect without a health monitor, which would see it come back")
    if member.check != MemberCheck() and not checked:
        out.notice("inter, rise and fall of a node have no effect without a health monitor")
    if member.backup:
        words.append("backup")
    if not member.admin_up or member.rotation is Rotation.OUT:
        words.append("disabled")
    return words


# --- session persistence -----------------------------------------------------


def _persistence(out: _Lines, persistence: SessionPersistence | None, mode: str) -> bool:
    """Whether servers need cookie values."""
    if persistence is None:
        return False
    kind = persistence.kind
    if kind is PersistenceKind.SOURCE_IP:
        if persistence.cookie_name:
            out.notice("cookie_name of a session persistence SOURCE_IP has no effect")
        prefixes = names.client_prefixes(persistence.granularity or persistence.extras.get("mask"), "mask")
        client = "src" if prefixes == (32, 128) else f"src,ipmask({prefixes[0]},{prefixes[1]})"
        expire = names.seconds(persistence.timeout or _SOURCE_IP_EXPIRE, "timeout")
        _wait_for_the_tables(out, mode)
        out.add(f"stick-table type ipv6 size 100k expire {expire} peers {PEERS}", f"stick on {client}")
        return False
    if mode != "http":
        out.notice(f"session persistence {kind} has no effect: cookies are seen with protocol HTTP only")
        return False
    if kind is PersistenceKind.HTTP_COOKIE:
        name = names.cookie(persistence.cookie_name or "SRV", "cookie_name")
        idle = f" maxidle {names.seconds(persistence.timeout, 'timeout')}" if persistence.timeout else ""
        out.add(f"cookie {name} insert indirect nocache httponly{idle}")
        return True
    if not persistence.cookie_name:
        raise InvalidInput("APP_COOKIE needs the cookie_name of the application", field="cookie_name")
    name = names.cookie(persistence.cookie_name, "cookie_name")
    expire = names.seconds(persistence.timeout or _APP_COOKIE_EXPIRE, "timeout")
    _wait_for_the_tables(out, mode)
    out.add(
        # Sums of the values: these may be long, and alike in the beginning.
        f"stick-table type binary len 20 size 100k expire {expire} peers {PEERS}",
        f"stick store-response res.cook({name}),sha1",
        f"stick match req.cook({name}),sha1",
    )
    return False


def _wait_for_the_tables(out: _Lines, mode: str) -> None:
    rule = "http-request" if mode == "http" else "tcp-request content"
    began = f"{rule} set-var(proc.balancer_began) date(0,ms) unless balancer-counts"
    kept = f"{rule} track-sc2 int(1) table {_HANDED_OVER} unless balancer-young"
    out.add(*_TABLES_ACLS)
    if mode == "http":
        wait = f"{rule} do-resolve(txn.balancer_wait,{_RESOLVERS},ipv4) str(balancer.invalid)"
        out.add(began, *[f"{wait} if balancer-young !balancer-handed"] * _WAITS, kept)
    else:
        out.add(f"tcp-request inspect-delay {_DELAY}", began, kept)
        out.add(f"{rule} accept if !balancer-young or balancer-handed or WAIT_END")


# --- health monitors ---------------------------------------------------------


def _monitor_sections(out: _Lines, pool: Pool, monitors: Sequence[HealthMonitor], device_id: str) -> None:
    """HAProxy has one check per server. So each monitor checks in a backend of its own, and the pool's servers ask
    a frontend that answers 200 for a member when every monitor has it up."""
    for monitor in monitors:
        out.section("backend", names.monitor_backend(pool.id, monitor.id), "tcp")
        out.add(f"timeout connect {names.seconds(monitor.timeout, 'timeout')}")
        _checks(out, monitor, pool)
        proxy = _SEND_PROXY.get(pool.protocol)
        for member in pool.members:
            server = f"server {names.object_id(member.id)} {names.endpoint(member.address, member.port)}"
            out.add(f"{server} {_check_words(member, monitor)}{f' {proxy}' if proxy else ''}")
    out.section("frontend", names.health_frontend(pool.id), "http")
    out.add(f"bind {names.health_address(device_id, pool.id)}", "http-request set-log-level silent")
    for member in pool.members:
        asked = f"{{ path /{member.id} }}"
        up = [f"{{ srv_is_up({names.monitor_backend(pool.id, monitor.id)}/{member.id}) }}" for monitor in monitors]
        out.add(*(f"http-request return status 503 if {asked} !{each}" for each in up[_MONITORS_PER_LINE:]))
        out.add(f"http-request return status 200 if {asked} {' '.join(up[:_MONITORS_PER_LINE])}")
    out.add("http-request return status 503")


def _checks(out: _Lines, monitor: HealthMonitor, pool: Pool) -> None:
    """The lines of a backend for one monitor."""
    # A member that waits for the PROXY header waits for it from checks, too.
    connect = "connect default" if pool.protocol in _SEND_PROXY else "connect"
    if monitor.type is MonitorType.HTTP:
        out.add("option httpchk", f"http-check {connect}", *_http_check(monitor.http or HttpCheck()))
    elif monitor.type is MonitorType.HTTPS:
        http = monitor.http or HttpCheck()
        sni = f" sni {names.host(http.domain_name, 'domain_name')}" if http.domain_name else ""
        out.add("option httpchk", f"http-check {connect} ssl{sni}", *_http_check(http))
    elif monitor.type is MonitorType.TLS_HELLO:
        out.add("option tcp-check", f"tcp-check {connect} ssl")
    elif monitor.type is MonitorType.PING and out.ping:
        out.add(PINGS, f'external-check path "{_PATH}"', f"external-check command {out.ping}")
    elif monitor.type in (MonitorType.UDP_CONNECT, MonitorType.SCTP):
        raise Unsupported(f"HAProxy has no health monitor of type {monitor.type}", field="type")
    else:
        if monitor.type is MonitorType.PING:
            out.notice(
                "an ICMP (PING) health monitor is done as a TCP connection to the node: "
                "HAProxy cannot ping on this device"
            )
        out.add("option tcp-check", f"tcp-check {connect}")
    out.add(f"{_CHECK_TIMEOUT} {names.seconds(monitor.timeout, 'timeout')}")


def _http_check(http: HttpCheck) -> tuple[str, ...]:
    send = f"http-check send meth {names.method(http.method, 'method')} uri {names.http_path(http.path, 'path')}"
    version = str(http.version or ("1.1" if http.domain_name else "1.0"))
    if version not in ("1.0", "1.1"):
        raise InvalidInput("http version of a health monitor must be 1.0 or 1.1", field="version")
    send += f" ver HTTP/{version}"
    if version == "1.1" or http.domain_name:
        send += f" hdr Host {names.host(http.domain_name or 'localhost', 'domain_name')}"
    return send, f"http-check expect status {names.codes(http.expected_codes, 'expected')}"


def _check_words(member: Member, monitor: HealthMonitor) -> str:
    check = member.check
    words = [
        f"check inter {names.seconds(check.interval or monitor.delay, 'inter')}",
        f"fall {names.integer(check.fall or monitor.fall, 1, 1000, 'fall')}",
        f"rise {names.integer(check.rise or monitor.rise, 1, 1000, 'rise')}",
    ]
    if member.monitor_address:
        words.append(f"addr {names.bracketed(member.monitor_address, 'monitor_address')}")
    if member.monitor_port:
        words.append(f"port {names.port(member.monitor_port, 'monitor_port')}")
    if monitor.type in (MonitorType.HTTPS, MonitorType.TLS_HELLO):
        words.append("verify none")
    return " ".join(words)


# --- what no device of this driver could run ---------------------------------


def validate(balancer: LoadBalancer, monitors: Sequence[HealthMonitor]) -> None:
    """Raises `InvalidInput`; renders it on trial, switched on, so that nothing is accepted that cannot be written."""
    for listener in balancer.listeners:
        _mode(listener.protocol, "protocol")
        if listener.tls is not None:
            raise Unsupported("this driver does not terminate TLS", field="tls")
    for pool in balancer.pools:
        _check_algorithm(pool)
    switched_on = replace(
        balancer,
        admin_up=True,
        listeners=tuple(_switched_on(each) for each in balancer.listeners),
        pools=tuple(replace(each, admin_up=True) for each in balancer.pools),
    )
    block(switched_on, [replace(each, admin_up=True) for each in monitors], device_id="0" * 32)


def _switched_on(listener: Listener) -> Listener:
    """With all that is below it."""
    policies = tuple(
        replace(policy, admin_up=True, rules=tuple(replace(rule, admin_up=True) for rule in policy.rules))
        for policy in listener.l7_policies
    )
    return replace(listener, admin_up=True, l7_policies=policies)
