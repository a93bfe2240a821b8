"""Health monitors on a real device, each with back ends that fail in just its way."""

from __future__ import annotations

import csv
import http.client
import ssl
import time
import unittest
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from balancer.core.model import (
    Device,
    HealthMonitor,
    HttpCheck,
    LoadBalancer,
    Member,
    MemberCheck,
    MonitorType,
    Protocol,
    VirtualIp,
    new_id,
)
from balancer.devbox.host import isolation_refused
from balancer.drivers.haproxy import runtime
from balancer.drivers.ssh import Pool
from tests.integration.answering import Answering, self_signed
from tests.integration.deploying import DeployingCase, device_of, load_balancer, with_members
from tests.integration.running import eventually, fetch


def monitor(kind: MonitorType, path: str = "/health", **fields: Any) -> HealthMonitor:
    http = HttpCheck(path=path, **fields.pop("http", {})) if kind in (MonitorType.HTTP, MonitorType.HTTPS) else None
    return HealthMonitor(
        **{
            "id": new_id(),
            "project_id": "foo",
            "type": kind,
            "delay": 0.2,
            "timeout": 5,
            "rise": 1,
            "fall": 1,
            "http": http,
            **fields,
        }
    )


def fetch_tls(port: int) -> str:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=15, context=context)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


class MonitorCase(DeployingCase):
    def answering(self, count: int, **how: Any) -> list[Answering]:
        made = [self.enterContext(Answering(**how)) for _ in range(count)]
        return made

    def certificate(self) -> Path:
        return self_signed(self.directory / f"{new_id()}.pem")

    def monitored(
        self, backends: Sequence[Answering], monitors: Sequence[HealthMonitor], **fields: Any
    ) -> tuple[LoadBalancer, int]:
        port = self.port()
        return load_balancer([each.port for each in backends], port, monitors=monitors, **fields), port

    def served_by(self, port: int, backends: Sequence[Answering], *, tls: bool = False, what: str = "") -> None:
        """Within some seconds all of the back ends get requests, and no other one."""
        pages = {each.page for each in backends}
        count = 2 * len(backends) + 2
        try:
            eventually(
                lambda: {fetch_tls(port) if tls else fetch(port).text for _ in range(count)} == pages,
                f"{what}: {pages}",
            )
        except OSError as error:
            raise AssertionError(f"{what}: {error}") from error

    def assert_interval(self, seconds: float, server: Answering, path: str, *, count: int = 8) -> None:
        """Of the next requests. The one in the middle: some come late on a machine that has much to do."""
        before = len(server.times(path))
        eventually(lambda: len(server.times(path)) > before + count, f"{path} is asked")
        middle = median(after - earlier for earlier, after in pairwise(server.times(path)[before:]))
        self.assertTrue(0.6 * seconds < middle < 1.8 * seconds, f"{path}: {middle}")

    def counts(self, device: Device, member: Member) -> tuple[int, int]:
        """How many failures take it out, as HAProxy says, and how many good checks bring it back."""
        pool = Pool(connect_timeout=5)
        self.addCleanup(pool.close)
        told = runtime.ask(pool.connection(device.id, device.endpoint), device.socket or "", "show stat")
        rows = csv.DictReader(told.removeprefix("# ").splitlines())
        row = next(row for row in rows if row["svname"] == member.id and row["pxname"].startswith("be-"))
        return int(row["check_fall"]), int(row["check_rise"])

    def settled(self, device: Device, balancer: LoadBalancer, states: dict[int, str]) -> None:
        """Port of a member -> how HAProxy sees it."""
        pool = Pool(connect_timeout=5)
        self.addCleanup(pool.close)
        connection = pool.connection(device.id, device.endpoint)
        ids = {each.id: each.port for each in balancer.pools[0].members}

        def seen() -> dict[int, str]:
            lines = runtime.ask(connection, device.socket or "", "show stat").splitlines()
            rows = [line.split(",") for line in lines if line.startswith("be-")]
            return {ids[row[1]]: row[17] for row in rows if row[1] in ids}

        eventually(lambda: seen() == states, f"{states}, but {seen()}")


class TestEachKind(MonitorCase):
    def test_a_back_end_that_fails_in_just_that_way_is_taken_out_and_comes_back(self) -> None:
        device = device_of(self.host())
        certificate = self.certificate()
        plain: dict[str, Any] = {}
        secure: dict[str, Any] = {"certificate": certificate}

        def down(server: Answering) -> None:
            server.codes["/health"] = 500

        def up(server: Answering) -> None:
            server.codes["/health"] = 200
            server.delays["/health"] = 0

        def slow(server: Answering) -> None:
            server.delays["/health"] = 4

        cases: list[tuple[str, dict[str, Any], HealthMonitor, Any]] = [
            ("HTTP", plain, monitor(MonitorType.HTTP), down),
            ("HTTP that is slow", plain, monitor(MonitorType.HTTP, timeout=1), slow),
            ("HTTP with HEAD", plain, monitor(MonitorType.HTTP, http={"method": "HEAD"}), down),
            ("HTTPS", secure, monitor(MonitorType.HTTPS), down),
            ("HTTPS that is slow", secure, monitor(MonitorType.HTTPS, timeout=1), slow),
        ]
        balancers, running = [], []
        for name, how, kind, fail in cases:
            servers = self.answering(2, **how)
            protocol = Protocol.HTTPS if how else Protocol.HTTP
            balancer, port = self.monitored(servers, [kind], protocol=protocol)
            balancers.append(balancer)
            running.append((name, servers, port, bool(how), fail))
        made = self.deploy(device, *balancers, monitors=[kind for _, _, kind, _ in cases])
        self.assertEqual({}, made.rejected)
        for name, servers, port, tls, fail in running:
            with self.subTest(name):
                self.served_by(port, servers, tls=tls, what="both")
                fail(servers[1])
                self.served_by(port, servers[:1], tls=tls, what="the other one")
                up(servers[1])
                self.served_by(port, servers, tls=tls, what="both again")
        self.assertEqual({"HEAD"}, {each.method for each in running[2][1][0].asked if each.path == "/health"})

    def test_connections_refused(self) -> None:
        device = device_of(self.host())
        for kind in MonitorType.TCP, MonitorType.PING:  # on this device, a PING is done as a connection
            with self.subTest(kind):
                servers, check = self.answering(2), monitor(kind)
                balancer, port = self.monitored(servers, [check])
                self.deploy(device, balancer, monitors=[check])
                self.served_by(port, servers)
                servers[1].close()
                eventually(lambda: self.failures(port, 6) == 0, "the closed one is out")  # noqa: B023
                self.served_by(port, servers[:1])

    def failures(self, port: int, count: int) -> int:
        return sum(fetch(port).status != 200 for _ in range(count))

    def test_tls_or_none(self) -> None:
        device = device_of(self.host())
        certificate = self.certificate()
        for kind in MonitorType.HTTPS, MonitorType.TLS_HELLO:
            with self.subTest(kind):
                (secure,), (plain,) = self.answering(1, certificate=certificate), self.answering(1)
                check = monitor(kind)
                balancer, port = self.monitored([plain, secure], [check], protocol=Protocol.HTTPS)
                self.deploy(device, balancer, monitors=[check])
                # The plain one is out before its first request: who speaks TLS would fail there.
                self.settled(device, balancer, {plain.port: "DOWN", secure.port: "UP"})
                self.assertEqual({secure.page}, {fetch_tls(port) for _ in range(4)})
                if kind is MonitorType.TLS_HELLO:
                    # What is said inside is no matter to it.
                    secure.codes["/health"] = 500
                    time.sleep(1)
                    self.assertEqual({secure.page}, {fetch_tls(port) for _ in range(4)})

    def test_which_codes_are_expected(self) -> None:
        device = device_of(self.host())
        servers = self.answering(3)
        codes = {"200": {200}, "200-204": {200, 204}, "301,404": {301, 404}, "200, 500-503": {200, 503}}
        checks = [monitor(MonitorType.HTTP, http={"expected_codes": each}) for each in codes]
        monitored = [self.monitored(servers, [each]) for each in checks]
        self.deploy(device, *(balancer for balancer, _ in monitored), monitors=checks)
        for answered in (200, 204, 301, 404, 503):
            servers[0].codes["/health"] = answered
            for (_, port), (expected, good) in zip(monitored, codes.items(), strict=True):
                with self.subTest(expected=expected, answered=answered):
                    others = servers[1:] if 200 in good else []
                    wanted = {each.page for each in others} | ({servers[0].page} if answered in good else set())
                    eventually(
                        lambda: {each.text for each in (fetch(port) for _ in range(6)) if each.status == 200} == wanted,  # noqa: B023
                        f"{wanted}",
                    )


class TestSeveral(MonitorCase):
    def test_all_of_them_must_agree(self) -> None:
        device = device_of(self.host())
        servers = self.answering(3)
        checks = [
            monitor(MonitorType.HTTP, "/a"),
            monitor(MonitorType.HTTP, "/b", http={"method": "OPTIONS"}),
            monitor(MonitorType.TCP),
        ]
        balancer, port = self.monitored(servers, checks)
        self.deploy(device, balancer, monitors=checks)
        self.served_by(port, servers, what="all")
        for path in ("/a", "/b"):
            servers[1].codes[path] = 404
            self.served_by(port, [servers[0], servers[2]], what=f"without {path}")
            servers[1].codes[path] = 200
            self.served_by(port, servers, what=f"{path} again")
        servers[2].close()
        self.served_by(port, servers[:2], what="one is gone")
        for each in servers[:2]:
            each.codes["/a"] = 500
        eventually(lambda: fetch(port).status == 503, "none is left")

    def test_http_and_https_and_icmp_together(self) -> None:
        device = device_of(self.host())
        servers = self.answering(2, certificate=self.certificate())
        checks = [
            monitor(MonitorType.HTTPS, "/a"),
            monitor(MonitorType.TLS_HELLO),
            monitor(MonitorType.PING),
        ]
        balancer, port = self.monitored(servers, checks, protocol=Protocol.HTTPS)
        made = self.render(device, [balancer], checks)
        self.assertIn("ICMP", " ".join(made.notices[balancer.id]))
        self.deploy(device, balancer, monitors=checks)
        self.served_by(port, servers, tls=True)
        servers[0].codes["/a"] = 500
        self.served_by(port, servers[1:], tls=True)

    def test_each_has_its_own_interval_timeout_and_counts(self) -> None:
        device = device_of(self.host())
        servers = self.answering(2)
        checks = [
            monitor(MonitorType.HTTP, "/often", delay=0.2, timeout=0.3, fall=5, rise=3),
            monitor(MonitorType.HTTP, "/seldom", delay=1, timeout=10),
        ]
        balancer, port = self.monitored(servers, checks)
        self.deploy(device, balancer, monitors=checks)
        self.served_by(port, servers)
        for path, interval, count in (("/often", 0.2, 8), ("/seldom", 1.0, 2)):
            self.assert_interval(interval, servers[0], path, count=count)
        # What is too slow for one is not for the other.
        servers[1].delays["/seldom"] = 1
        time.sleep(2.5)
        self.served_by(port, servers)
        servers[1].delays["/seldom"] = 0
        servers[1].delays["/often"] = 1
        self.served_by(port, servers[:1])
        servers[1].delays["/often"] = 0
        self.served_by(port, servers)
        # Five times in a row it must fail.
        asked = servers[1].count("/often")
        servers[1].codes["/often"] = 500
        self.served_by(port, servers[:1])
        self.assertGreaterEqual(servers[1].count("/often") - asked, 5)
        asked = servers[1].count("/often")
        servers[1].codes["/often"] = 200
        self.served_by(port, servers)
        self.assertGreaterEqual(servers[1].count("/often") - asked, 3)


class TestCounts(MonitorCase):
    def test_rise_and_fall_of_the_monitor_and_of_the_member(self) -> None:
        device = device_of(self.host())
        servers = self.answering(2)
        check = monitor(MonitorType.HTTP, delay=0.4, fall=6, rise=4)
        balancer, port = self.monitored(servers, [check])
        (pool,) = balancer.pools
        hasty = replace(pool.members[1], check=MemberCheck(interval=0.1, fall=2, rise=1))
        balancer = replace(balancer, pools=(replace(pool, members=(pool.members[0], hasty)),))
        self.deploy(device, balancer, monitors=[check])
        self.served_by(port, servers)
        for server, other, member, fall, rise, interval in (
            (servers[0], servers[1], pool.members[0], 6, 4, 0.4),
            (servers[1], servers[0], hasty, 2, 1, 0.1),
        ):
            with self.subTest(fall=fall):
                self.assertEqual((fall, rise), self.counts(device, member))
                self.assert_interval(interval, server, "/health")
                asked = server.count("/health")
                server.codes["/health"] = 500
                self.served_by(port, [other])
                self.assertGreaterEqual(server.count("/health") - asked, fall)
                asked = server.count("/health")
                server.codes["/health"] = 200
                self.served_by(port, servers)
                self.assertGreaterEqual(server.count("/health") - asked, rise)


NO_CHROOT = b"""\
global
    maxconn 200
    stats socket /run/haproxy/admin.sock mode 660 level admin
listen status
    bind 127.0.0.1:1
    mode http
    option idle-close-on-response
    timeout connect 1s
    timeout client 5s
    timeout server 5s
"""
PING = b"""\
#!/bin/sh
exec ping -c 1 -W 1 "$3" >/dev/null 2>&1
"""


@unittest.skipIf(isolation_refused(), "needs root and the right to make namespaces")
class TestPing(MonitorCase):
    def test_where_the_device_lets_haproxy_ping_it_does(self) -> None:
        host = self.host(netns=True, haproxy_config=NO_CHROOT)
        net = host.address.rpartition(".")[0]
        device = device_of(host)
        self.assertIsNone(self.driver.observe(device).facts["ping"])
        command = f"{host.config_path}.balancer-ping"
        host.run(["tee", command], input=PING, check=True)
        host.run(["chmod", "755", command], check=True)
        seen = self.driver.observe(device)
        self.assertEqual(command, seen.facts["ping"])
        device = replace(device, observation=seen)
        check = monitor(MonitorType.PING, delay=0.5, timeout=2)
        (server,) = self.answering(1, address=f"{net}.1")
        (closed,) = self.answering(1, address=f"{net}.1")
        closed.close()
        vip = VirtualIp(id=new_id(), address="*")
        balancer = load_balancer([server.port, closed.port, 80], 80, monitors=[check], virtual_ips=(vip,))
        balancer = with_members(balancer, address=f"{net}.1")
        (pool,) = balancer.pools
        # Nobody is at .99.
        members = (*pool.members[:2], replace(pool.members[2], address=f"{net}.99"))
        balancer = replace(balancer, pools=(replace(pool, members=members),))
        candidate = self.render(device, [balancer], [check])
        self.assertEqual({}, dict(candidate.notices))
        self.assertEqual({}, self.deploy(device, balancer, monitors=[check]).rejected)
        # The closed port answers pings all the same.
        self.settled(device, balancer, {server.port: "UP", closed.port: "UP", 80: "DOWN"})
        self.assertEqual(server.page, fetch(80, host=host.address).text)
        # An administrator shuts HAProxy in: it must not take everything out.
        host.write_config(host.read_config().replace(b"global\n", b"global\n    chroot /var/lib/haproxy\n", 1))
        seen = self.driver.observe(device)
        self.assertEqual("HAProxy cannot ping any more", seen.repair)
        device = replace(device, observation=seen)
        self.assertIn("ICMP", " ".join(self.render(device, [balancer], [check]).notices[balancer.id]))
        self.deploy(device, balancer, monitors=[check])
        self.assertIsNone(self.driver.observe(device).repair)
        self.settled(device, balancer, {server.port: "UP", closed.port: "DOWN", 80: "DOWN"})
