"""Devices and load balancers for the contract suites of the databases."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from balancer.core.model import (
    AddressRange,
    AdminState,
    Algorithm,
    Bind,
    Candidate,
    Capabilities,
    Counters,
    Credential,
    Device,
    DeviceSample,
    Drift,
    Endpoint,
    HealthMonitor,
    HttpCheck,
    L7Policy,
    L7Rule,
    Listener,
    LoadBalancer,
    LoadBalancerError,
    Member,
    MemberCheck,
    MemberLimits,
    MonitorType,
    Move,
    ObjectKind,
    ObjectSample,
    Observation,
    OperatingStatus,
    PersistenceKind,
    Pool,
    Protocol,
    Rotation,
    SessionPersistence,
    Timeouts,
    VirtualIp,
    new_id,
)

PROJECT = "5f1c7b4e0f6d4a7b8c9d0e1f2a3b4c5d"
NO_CANDIDATE = Candidate(head="", blocks={}, digest="")

EXTRAS = {"z": 1, "a": [True, None, 1.5, {"ä": "\u0000 ' \" 😀"}], "big": 2**70, "": {}}


def device(**changes: Any) -> Device:
    """A device like no other."""
    number = new_id()
    values: dict[str, Any] = {
        "id": number,
        "name": f"device-{number[:6]}",
        "type": "dummy",
        "endpoint": Endpoint(host=f"{number[:8]}.example", username="user", credential=Credential(password="pw")),
        "config_path": "/etc/haproxy/haproxy.cfg",
    }
    return Device(**{**values, **changes})


def full_device() -> Device:
    """Every attribute that an administrator can give, and none of them the default."""
    return device(
        version="2.6",
        endpoint=Endpoint(
            host="2001:db8::7",
            port=2222,
            username="user",
            credential=Credential(password="p'w\"\\", private_key="KEY\nKEY\n", key_filename="~/.ssh/id"),
            host_key="ssh-ed25519 AAAA",
        ),
        capabilities=Capabilities(algorithms=(Algorithm.URI, Algorithm.SOURCE_IP), protocols=(Protocol.TCP,)),
        supports_ipv6=True,
        admin_state=AdminState.DRAINED,
        interface="eth7",
        socket="/run/haproxy/balancer.sock",
        vip_ranges=(
            AddressRange(first="192.0.2.1", last="192.0.2.9"),
            AddressRange(first="2001:db8::", last="2001:db8::f"),
        ),
        extras=EXTRAS,
    )


def observation(**changes: Any) -> Observation:
    values: dict[str, Any] = {"reachable": True, "sentence": "HAProxy 2.6.12 runs"}
    return Observation(**{**values, **changes})


def full_observation() -> Observation:
    return observation(
        version="2.6.12",
        host_key="ssh-ed25519 BBBB",
        foreign_binds=(
            Bind(address="*", first_port=80, last_port=80),
            Bind(address="2001:db8::1", first_port=8000, last_port=8100),
        ),
        findings=("a", "b"),
        repair="HAProxy does not run",
        drift=Drift(sentence="somebody was here", diff="--- a\n+++ b\n"),
        epoch=2**40,
        own_addresses=("192.0.2.1", "2001:db8::1"),
        managed_at="192.0.2.2",
        facts={"localpeer": "host", "sockets": ["/run/a", "/run/b"]},
    )


def counters(number: int, *, active: int = 0) -> Counters:
    """All different, and the more the greater the number."""
    return Counters(
        bytes_in=number * 2**33,
        bytes_out=number * 2**34,
        active_connections=active,
        total_connections=number * 10,
        request_errors=number,
    )


def sample_of(
    load_balancer: LoadBalancer, number: int, *, status: OperatingStatus | None = OperatingStatus.ONLINE
) -> tuple[ObjectSample, ...]:
    """Every listener, pool and member of it with these counters and that status."""
    ids = [(ObjectKind.LISTENER, each.id) for each in load_balancer.listeners]
    ids += [(ObjectKind.POOL, each.id) for each in load_balancer.pools]
    ids += [(ObjectKind.MEMBER, each.id) for pool in load_balancer.pools for each in pool.members]
    return tuple(
        ObjectSample(kind=kind, object_id=object_id, status=status, counters=counters(number, active=number))
        for kind, object_id in ids
    )


def device_sample(*objects: ObjectSample, process: str = "1") -> DeviceSample:
    return DeviceSample(process=process, objects=objects)


def monitor(**changes: Any) -> HealthMonitor:
    values: dict[str, Any] = {
        "id": new_id(),
        "project_id": PROJECT,
        "type": MonitorType.TCP,
        "delay": 5.0,
        "timeout": 2.5,
    }
    return HealthMonitor(**{**values, **changes})


def full_monitor() -> HealthMonitor:
    return monitor(
        name="probe",
        type=MonitorType.TLS_HELLO,
        rise=4,
        fall=5,
        http=HttpCheck(
            method="HEAD", path="/x", expected_codes="200,202,210-214", version="1.1", domain_name="www.example"
        ),
        admin_up=False,
        tags=("a", "ä"),
        extras=EXTRAS,
    )


def load_balancer(
    device_id: str, *, port: int = 80, address: str = "*", members: int = 2, **changes: Any
) -> LoadBalancer:
    """One listener at one address, one pool."""
    pool = Pool(
        id=new_id(),
        protocol=Protocol.HTTP,
        algorithm=Algorithm.ROUND_ROBIN,
        members=tuple(Member(id=new_id(), address=f"192.0.2.{number}", port=80) for number in range(1, members + 1)),
    )
    values: dict[str, Any] = {
        "id": new_id(),
        "project_id": PROJECT,
        "device_id": device_id,
        "virtual_ips": (VirtualIp(id=new_id(), address=address),),
        "listeners": (Listener(id=new_id(), protocol=Protocol.HTTP, port=port, default_pool_id=pool.id),),
        "pools": (pool,),
    }
    return LoadBalancer(**{**values, **changes})


def full_load_balancer(device_id: str, monitor_ids: tuple[str, ...], *, move: Move | None = None) -> LoadBalancer:
    """Every attribute that can be stored, several of each child, and hardly a default among them."""
    vips = tuple(
        VirtualIp(
            id=new_id(),
            address=address,
            prefix_length=24,
            asked_length=20,
            network_id=new_id(),
            subnet_id=new_id(),
            port_id=new_id(),
            qos_policy_id=new_id(),
            interface="eth1",
            lasting=True,
        )
        for address in ("192.0.2.9", "2001:db8::9", "192.0.2.1")
    )
    pools = tuple(_full_pool(algorithm, monitor_ids) for algorithm in (Algorithm.URI, Algorithm.SOURCE_IP))
    return LoadBalancer(
        id=new_id(),
        project_id=PROJECT,
        name="näme",
        description="line\nline",
        admin_up=False,
        exempt=True,
        virtual_ips=vips,
        listeners=tuple(
            _full_listener(port, tuple(vip.id for vip in reversed(vips)), pools[1].id) for port in (443, 80, 8080)
        ),
        pools=pools,
        device_id=device_id,
        pinned=True,
        move=move,
        generation=7,
        applied_generation=6,
        deleted=True,
        error=LoadBalancerError(sentence="refused", generation=5, public=True),
        notices=("no PING", "no UDP"),
        provider="haproxy",
        flavor_id=new_id(),
        availability_zone="zone",
        tags=("b", "a"),
        extras=EXTRAS,
    )


def _full_listener(port: int, virtual_ip_ids: tuple[str, ...], pool_id: str) -> Listener:
    return Listener(
        id=new_id(),
        name="listener",
        description="first",
        virtual_ip_ids=virtual_ip_ids,
        protocol=Protocol.TERMINATED_HTTPS,
        port=port,
        default_pool_id=pool_id,
        connection_limit=1000,
        timeouts=Timeouts(client=1, member_connect=2, member_data=3, tcp_inspect=4),
        insert_headers={"X-Forwarded-For": "true"},
        allowed_cidrs=("192.0.2.0/24", "2001:db8::/32"),
        tls={"certificate": "PEM", "versions": ["TLSv1.3"]},
        l7_policies=tuple(_full_policy(position) for position in (2, 1)),
        admin_up=False,
        tags=("listener",),
        extras=EXTRAS,
    )


def _full_policy(position: int) -> L7Policy:
    return L7Policy(
        id=new_id(),
        name="policy",
        description="second",
        position=position,
        action="REDIRECT_TO_URL",
        redirect={"url": "http://example/", "http_code": 302},
        rules=tuple(
            L7Rule(
                id=new_id(),
                type="HEADER",
                compare_type="REGEX",
                value="^a$",
                key=key,
                invert=True,
                admin_up=False,
                tags=("rule",),
            )
            for key in ("Host", "Accept")
        ),
        admin_up=False,
        tags=("policy",),
    )


def _full_pool(algorithm: Algorithm, monitor_ids: tuple[str, ...]) -> Pool:
    return Pool(
        id=new_id(),
        name="pool",
        description="third",
        subnet_id=new_id(),
        protocol=Protocol.PROXYV2,
        algorithm=algorithm,
        members=tuple(_full_member(number) for number in (3, 1, 2)),
        health_monitor_ids=monitor_ids,
        session_persistence=SessionPersistence(
            id=new_id(),
            kind=PersistenceKind.APP_COOKIE,
            cookie_name="SID",
            timeout=600,
            granularity="255.255.0.0",
            extras=EXTRAS,
        ),
        admin_up=False,
        tags=("pool",),
    )


def _full_member(number: int) -> Member:
    return Member(
        id=new_id(),
        name=f"member-{number}",
        address=f"192.0.2.{number}",
        port=8000 + number,
        weight=number + 1,
        backup=True,
        subnet_id=new_id(),
        monitor_address="192.0.2.200",
        monitor_port=9000,
        limits=MemberLimits(max_connections=100, min_connections=10, slow_start=30),
        check=MemberCheck(interval=1.5, rise=4, fall=5),
        cookie="c1",
        admin_up=False,
        rotation=Rotation.DRAIN,
        tags=("member",),
        extras=EXTRAS,
    )


def defaults_in(value: Any, path: str = "") -> list[str]:
    """Paths of the attributes, all the way down, that have their default: what a comparison would not miss."""
    if isinstance(value, tuple):
        return [found for i, each in enumerate(value) for found in defaults_in(each, f"{path}[{i}]")]
    if not is_dataclass(value):
        return []
    found = []
    for each in fields(value):
        present = getattr(value, each.name)
        default = each.default if each.default_factory is MISSING else each.default_factory()
        found += [f"{path}.{each.name}"] if present == default else defaults_in(present, f"{path}.{each.name}")
    return found
