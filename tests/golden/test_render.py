"""The text rendered for a device. Each case has its .cfg beside this file, and HAProxy itself accepts each.

`BALANCER_WRITE_GOLDEN=1` writes the files anew: read the difference before committing it.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import unittest
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from balancer.core.model import (
    Algorithm,
    DeviceSpec,
    HealthMonitor,
    HttpCheck,
    L7Policy,
    L7Rule,
    Listener,
    LoadBalancer,
    MemberCheck,
    MemberLimits,
    MonitorType,
    Observation,
    PersistenceKind,
    Protocol,
    Rotation,
    SessionPersistence,
    Timeouts,
    VirtualIp,
)
from balancer.drivers.haproxy import file, render, rights, states
from tests.golden.builders import DEVICE, balancer, member, monitor, oid

HERE = Path(__file__).parent
HAND_WRITTEN = b"""\
# By hand.
global
    log /dev/log local0
    maxconn 1000

listen status
    bind 127.0.0.1:9
    mode http
    timeout connect 1s
    timeout client 1s
    timeout server 1s
"""

HTTP_CHECK = HttpCheck(method="HEAD", path="/it's?a=%20#b\\c", expected_codes="200,202-204")
Case = tuple[tuple[LoadBalancer, ...], tuple[HealthMonitor, ...]]


def algorithms() -> Case:
    made = []
    for number, algorithm in enumerate(render.CAPABILITIES.algorithms):
        one = balancer(algorithm=algorithm)
        (pool,), (listener,) = one.pools, one.listeners
        pool = replace(pool, id=oid(0x2000 + number))
        listener = replace(listener, id=oid(0x3000 + number), port=8080 + number, default_pool_id=pool.id)
        made.append(replace(one, id=oid(0x1000 + number), pools=(pool,), listeners=(listener,)))
    return tuple(made), ()


def virtual_ips() -> Case:
    vips = (
        VirtualIp(id=oid(0x40), address="*"),
        VirtualIp(id=oid(0x41), address="::"),
        VirtualIp(id=oid(0x42), address="198.51.100.7"),
        VirtualIp(id=oid(0x43), address="2001:db8::7"),
    )
    one = balancer(virtual_ips=vips)
    second = Listener(
        id=oid(0x31), protocol=Protocol.TCP, port=81, default_pool_id=oid(0x20), virtual_ip_ids=(oid(0x42),)
    )
    off = Listener(id=oid(0x32), protocol=Protocol.TCP, port=82, default_pool_id=oid(0x20), admin_up=False)
    return (replace(one, listeners=(*one.listeners, second, off)),), ()


def monitors_of(*kinds: MonitorType, **fields: Any) -> Case:
    monitors = tuple(
        monitor(number, kind, **(fields if kind in (MonitorType.HTTP, MonitorType.HTTPS) else {}))
        for number, kind in enumerate(kinds)
    )
    return (balancer(monitors=monitors, protocol=Protocol.TCP),), monitors


def members() -> Case:
    check = (monitor(0, MonitorType.TCP, fall=6, rise=3),)
    return (
        balancer(
            member(1, weight=0),
            member(2, weight=256, backup=True),
            member(3, limits=MemberLimits(max_connections=100, min_connections=10, slow_start=30)),
            member(4, check=MemberCheck(interval=0.5, rise=1, fall=1)),
            member(5, admin_up=False),
            member(6, rotation=Rotation.OUT),
            member(7, rotation=Rotation.DRAIN, weight=7),
            member(8, monitor_address="192.0.2.99", monitor_port=99),
            member(9, address="2001:db8::9"),
            monitors=check,
        ),
    ), check


def persistence(kind: PersistenceKind, protocol: Protocol = Protocol.HTTP, **fields: Any) -> Case:
    return (
        balancer(
            member(1, cookie="one"),
            member(2),
            protocol=protocol,
            persistence=SessionPersistence(id=oid(0x60), kind=kind, **fields),
        ),
    ), ()


def listener_attributes() -> Case:
    fields = {
        "connection_limit": 500,
        "timeouts": Timeouts(client=10_000, member_connect=1_500, member_data=20_000, tcp_inspect=100),
        "insert_headers": {"X-Forwarded-For": "true", "X-Forwarded-Port": "True", "X-Forwarded-Proto": "false"},
        "allowed_cidrs": tuple(f"198.51.100.{number}/32" for number in range(60)),
    }
    return (balancer(listener=fields),), ()


def l7_policies() -> Case:
    def rule(number: int, kind: str, compare: str, value: str, **fields: Any) -> L7Rule:
        return L7Rule(id=oid(0x90 + number), type=kind, compare_type=compare, value=value, **fields)

    rules = (
        rule(0, "HOST_NAME", "EQUAL_TO", "www.example.com"),
        rule(1, "PATH", "STARTS_WITH", '/it\'s 100% \\ # "q" ${HOME} -f', invert=True),
        rule(2, "FILE_TYPE", "EQUAL_TO", "jpg"),
        rule(3, "FILE_TYPE", "REGEX", "^(jpe?g|png)$"),
        rule(4, "HEADER", "CONTAINS", "x", key="X-Api"),
        rule(5, "COOKIE", "ENDS_WITH", "y", key="sess"),
        rule(6, "PATH", "EQUAL_TO", "/off", admin_up=False),
    )
    asked: tuple[tuple[str, dict[str, Any], tuple[L7Rule, ...]], ...] = (
        ("REDIRECT_TO_POOL", {"pool_id": oid(0x21)}, rules[:2]),
        ("REDIRECT_TO_URL", {"url": "https://www.example.com/100%25?a='b'", "http_code": 308}, rules[2:3]),
        ("REJECT", {}, rules[3:4]),
        ("REDIRECT_PREFIX", {"prefix": "https://p.example.com"}, rules[4:]),
        ("REDIRECT_TO_POOL", {"pool_id": oid(0x22)}, (replace(rules[0], id=oid(0x9A)),)),
        ("REJECT", {}, ()),
    )
    policies = tuple(
        L7Policy(id=oid(0x80 + number), position=number + 1, action=action, redirect=redirect, rules=of_it)
        for number, (action, redirect, of_it) in enumerate(asked)
    )
    one = balancer(listener={"l7_policies": policies})
    other = replace(one.pools[0], id=oid(0x21), members=(member(3),))
    return (replace(one, pools=(*one.pools, other, replace(other, id=oid(0x22), admin_up=False))),), ()


def proxy() -> Case:
    monitors = (monitor(0, MonitorType.HTTP), monitor(1, MonitorType.HTTPS), monitor(2, MonitorType.TCP))
    first = balancer(monitors=monitors[2:], protocol=Protocol.HTTP)
    tcp = replace(first.listeners[0], id=oid(0x31), protocol=Protocol.TCP, port=81)
    pool = replace(first.pools[0], protocol=Protocol.PROXY)
    second = replace(
        pool, id=oid(0x22), protocol=Protocol.PROXYV2, health_monitor_ids=tuple(each.id for each in monitors)
    )
    v2 = replace(tcp, id=oid(0x32), port=82, default_pool_id=second.id)
    return (replace(first, pools=(pool, second), listeners=(*first.listeners, tcp, v2)),), monitors


CASES: dict[str, Callable[[], Case]] = {
    "http": lambda: ((balancer(),), ()),
    "tcp": lambda: ((balancer(protocol=Protocol.TCP),), ()),
    "https": lambda: ((balancer(protocol=Protocol.HTTPS),), ()),
    "algorithms": algorithms,
    "virtual_ips": virtual_ips,
    "members": members,
    "monitor_tcp": lambda: monitors_of(MonitorType.TCP),
    "monitor_ping": lambda: monitors_of(MonitorType.PING),
    "monitor_ping_command": lambda: monitors_of(MonitorType.PING),
    "monitor_http": lambda: monitors_of(MonitorType.HTTP, http=HTTP_CHECK),
    "monitor_https": lambda: monitors_of(
        MonitorType.HTTPS, http=HttpCheck(version="1.1", domain_name="www.example.com")
    ),
    "monitor_tls_hello": lambda: monitors_of(MonitorType.TLS_HELLO),
    "monitors_together": lambda: monitors_of(MonitorType.PING, MonitorType.HTTP, MonitorType.HTTPS, http=HTTP_CHECK),
    "monitors_many": lambda: monitors_of(*[MonitorType.TCP] * 20),
    "source_ip": lambda: persistence(PersistenceKind.SOURCE_IP, timeout=60),
    "source_ip_tcp": lambda: persistence(PersistenceKind.SOURCE_IP, Protocol.TCP, timeout=60),
    "http_cookie": lambda: persistence(PersistenceKind.HTTP_COOKIE, cookie_name="STICK"),
    "app_cookie": lambda: persistence(PersistenceKind.APP_COOKIE, cookie_name="JSESSIONID"),
    "listener_attributes": listener_attributes,
    "l7_policies": l7_policies,
    "proxy": proxy,
    "prometheus": lambda: ((balancer(listener={"protocol": Protocol.PROMETHEUS}),), ()),
    "source_ip_port_tcp": lambda: ((balancer(protocol=Protocol.TCP, algorithm=Algorithm.SOURCE_IP_PORT),), ()),
    "no_connections": lambda: ((balancer(listener={"connection_limit": 0}),), ()),
    "pool_down": lambda: ((balancer(pool_up=False),), ()),
    "down": lambda: ((balancer(admin_up=False),), ()),
    "no_members": lambda: ((replace(balancer(), pools=(replace(balancer().pools[0], members=()),)),), ()),
    "empty": lambda: ((), ()),
}


# Where the device matters.
DEVICES = {
    "monitor_ping_command": replace(
        DEVICE,
        observation=Observation(reachable=True, sentence="", facts={"ping": "/etc/haproxy/haproxy.cfg.balancer-ping"}),
    ),
}


def rendered(case: str) -> bytes:
    balancers, monitors = CASES[case]()
    spec = DeviceSpec(device=DEVICES.get(case, DEVICE), load_balancers=balancers, monitors=monitors, revision=1)
    made = render.candidate(spec)
    assert not made.rejected, made.rejected
    return file.compose(HAND_WRITTEN, device_id=DEVICE.id, head=made.head, blocks=made.blocks).content


def on_host(made: bytes, directory: Path) -> Path:
    """The file in a directory, with all that a host has beside it."""
    path = directory / "haproxy.cfg"
    there = rights.Paths(config=str(path))
    Path(there.states).write_bytes(states.EMPTY)
    path.write_bytes(made.replace(rights.Paths(config=rights.DEFAULT_CONFIG).states.encode(), there.states.encode()))
    return path


class TestGolden(unittest.TestCase):
    maxDiff = None

    def test_rendered_text_is_the_recorded_one_and_haproxy_accepts_it(self) -> None:
        for case in CASES:
            with self.subTest(case):
                made, path = rendered(case), HERE / f"{case}.cfg"
                if os.environ.get("BALANCER_WRITE_GOLDEN"):
                    path.write_bytes(made)
                self.assertEqual(path.read_text(), made.decode())
                with tempfile.TemporaryDirectory() as directory:
                    argv = ["/usr/sbin/haproxy", "-c", "-f", str(on_host(made, Path(directory)))]
                    done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
                self.assertEqual(0, done.returncode, done.stderr)
                self.assertNotIn("WARNING", done.stderr)

    def test_every_recorded_file_has_a_case(self) -> None:
        self.assertEqual(set(CASES), {path.stem for path in HERE.glob("*.cfg")})
