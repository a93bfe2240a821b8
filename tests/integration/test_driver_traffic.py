"""Real requests through a real device: who gets them, for every algorithm, state, address and limit."""

from __future__ import annotations

import http.client
import random
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from balancer.core.model import (
    Algorithm,
    Device,
    HealthMonitor,
    Listener,
    LoadBalancer,
    Member,
    MemberLimits,
    MonitorType,
    PersistenceKind,
    Protocol,
    Rotation,
    SessionPersistence,
    VirtualIp,
    new_id,
)
from tests.integration.answering import Answering, self_signed
from tests.integration.deploying import DeployingCase, device_of, load_balancer
from tests.integration.running import eventually, fetch
from tests.integration.traffic import Client, Traffic


def ask(
    port: int, path: str = "/", *, source: str = "127.0.0.1", headers: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Status, page and Set-Cookie of one GET from that address of ours."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(source, 0))
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.getheader("Set-Cookie", "")
    finally:
        connection.close()


def at_once(tasks: Iterable[Callable[[], Any]]) -> list[Any]:
    todo = list(tasks)
    with ThreadPoolExecutor(len(todo)) as pool:
        return [each.result() for each in [pool.submit(task) for task in todo]]


CLIENTS = [f"127.0.0.{number}" for number in range(2, 42)]


class TrafficCase(DeployingCase):
    def setUp(self) -> None:
        super().setUp()
        self.device: Device = device_of(self.host())
        self.servers = [self.enterContext(Answering()) for _ in range(3)]

    def balancer(self, port: int, **fields: Any) -> LoadBalancer:
        members: Sequence[Mapping[str, Any]] = fields.pop("members", [{}] * len(self.servers))
        pool = {
            "members": tuple(
                Member(**{"id": new_id(), "address": "127.0.0.1", "port": server.port, **each})
                for server, each in zip(self.servers, members, strict=False)
            ),
            **fields.pop("pool", {}),
        }
        return load_balancer([], port, pool=pool, **fields)

    def asked(self, path: str = "/") -> list[int]:
        return [each.count(path) for each in self.servers]

    def shares(self, port: int, count: int, **how: Any) -> list[int]:
        """How many of the requests each server got."""
        pages = Counter(ask(port, **how)[1] for _ in range(count))
        return [pages[each.page] for each in self.servers]


class TestAlgorithms(TrafficCase):
    def test_round_robin_by_weight(self) -> None:
        ports, members = [self.port(), self.port()], [{"weight": 1}, {"weight": 2}, {"weight": 3}]
        kinds = (Algorithm.ROUND_ROBIN, Algorithm.STATIC_ROUND_ROBIN)
        self.deploy(
            self.device,
            *(
                self.balancer(port, members=members, pool={"algorithm": kind})
                for port, kind in zip(ports, kinds, strict=True)
            ),
        )
        for port, kind in zip(ports, kinds, strict=True):
            with self.subTest(kind):
                self.assertEqual([10, 20, 30], self.shares(port, 60))

    def test_weight_zero_gets_nothing(self) -> None:
        port = self.port()
        self.deploy(self.device, self.balancer(port, members=[{"weight": 0}, {}, {"weight": 256}]))
        none, _, many = self.shares(port, 60)
        self.assertEqual(0, none)
        self.assertGreater(many, 50)

    def test_least_connections_spares_the_one_that_is_busy(self) -> None:
        port = self.port()
        self.deploy(self.device, self.balancer(port, pool={"algorithm": Algorithm.LEAST_CONNECTIONS}))
        self.servers[0].delays["/"] = 1.0

        def client() -> Counter[str]:
            return Counter(ask(port)[1] for _ in range(15))

        pages: Counter[str] = sum(at_once([client] * 4), Counter())
        slow, *others = (pages[each.page] for each in self.servers)
        self.assertEqual(60, slow + sum(others))
        self.assertLess(slow, 10)
        self.assertGreater(min(others), 15)

    def test_a_source_address_stays_and_few_move_when_a_member_goes(self) -> None:
        port = self.port()
        balancer = self.balancer(port, pool={"algorithm": Algorithm.SOURCE_IP})
        self.deploy(self.device, balancer)
        first = {each: ask(port, source=each)[1] for each in CLIENTS}
        self.assertEqual(3, len(set(first.values())))
        self.assertEqual(first, {each: ask(port, source=each)[1] for each in random.sample(CLIENTS, len(CLIENTS))})
        (pool,) = balancer.pools
        self.deploy(self.device, replace(balancer, pools=(replace(pool, members=pool.members[:2]),)))
        left = {self.servers[0].page, self.servers[1].page}
        second = {each: ask(port, source=each)[1] for each in CLIENTS}
        self.assertEqual(left, set(second.values()))
        moved = [each for each in CLIENTS if first[each] in left and second[each] != first[each]]
        self.assertEqual([], moved, "who was on a member that stays")

    def test_a_uri_stays_with_its_member(self) -> None:
        port = self.port()
        self.deploy(self.device, self.balancer(port, pool={"algorithm": Algorithm.URI}))
        paths = [f"/things/{number}" for number in range(40)]
        first = {each: ask(port, each)[1] for each in paths}
        self.assertEqual(3, len(set(first.values())))
        self.assertEqual(first, {each: ask(port, each, source="127.0.0.9")[1] for each in paths})


class TestProtocols(TrafficCase):
    def test_tcp_is_passed_through_unread(self) -> None:
        port = self.port()
        self.deploy(self.device, self.balancer(port, protocol=Protocol.TCP))
        self.assertEqual([2, 2, 2], self.shares(port, 6))
        self.assertNotIn("X-Forwarded-For", self.servers[0].asked[0].headers)

    def test_https_is_passed_through_with_the_members_certificate(self) -> None:
        certificate = self_signed(self.directory / "server.pem")
        self.servers = [self.enterContext(Answering(certificate=certificate)) for _ in range(2)]
        port = self.port()
        self.deploy(self.device, self.balancer(port, protocol=Protocol.HTTPS))
        context = ssl.create_default_context(cafile=str(certificate))
        context.check_hostname = False
        pages = set()
        for _ in range(4):
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=15, context=context)
            connection.request("GET", "/")
            pages.add(connection.getresponse().read().decode())
            connection.close()
        self.assertEqual({each.page for each in self.servers}, pages)

    def test_http_inserts_the_clients_address(self) -> None:
        port = self.port()
        balancer = self.balancer(port)
        (listener,) = balancer.listeners
        listener = replace(listener, insert_headers={"X-Forwarded-For": "true"})
        self.deploy(self.device, replace(balancer, listeners=(listener,)))
        ask(port, source="127.0.0.7")
        (seen,) = (each for server in self.servers for each in server.asked)
        self.assertEqual("127.0.0.7", {key.lower(): value for key, value in seen.headers.items()}["x-forwarded-for"])


class TestAddresses(TrafficCase):
    def test_wildcards_and_single_addresses_of_both_families(self) -> None:
        for address, reached, closed in (
            ("*", ("127.0.0.1", "127.0.0.77"), ("::1",)),
            ("::", ("::1",), ("127.0.0.1",)),
            ("127.0.0.77", ("127.0.0.77",), ("127.0.0.1", "::1")),
            ("::1", ("::1",), ("127.0.0.1",)),
        ):
            with self.subTest(address):
                port = self.port()
                vip = VirtualIp(id=new_id(), address=address)
                self.assertEqual({}, self.deploy(self.device, self.balancer(port, virtual_ips=(vip,))).rejected)
                for host in reached:
                    self.assertIn("back end", fetch(port, host=host).text)
                for host in closed:
                    with self.assertRaises(OSError):
                        fetch(port, host=host)

    def test_several_with_ports_of_their_own(self) -> None:
        one, two = (VirtualIp(id=new_id(), address=each) for each in ("127.0.0.77", "127.0.0.78"))
        first, second = self.port(), self.port()
        balancer = self.balancer(first, virtual_ips=(one, two))
        (listener,) = balancer.listeners
        listeners = (
            replace(listener, virtual_ip_ids=(one.id,)),
            Listener(
                id=new_id(),
                protocol=Protocol.HTTP,
                port=second,
                default_pool_id=listener.default_pool_id,
                virtual_ip_ids=(two.id,),
            ),
        )
        self.deploy(self.device, replace(balancer, listeners=listeners))
        for address, port in (("127.0.0.77", first), ("127.0.0.78", second)):
            self.assertIn("back end", fetch(port, host=address).text)
        for address, port in (("127.0.0.77", second), ("127.0.0.78", first)):
            with self.assertRaises(OSError):
                fetch(port, host=address)


class TestMemberStates(TrafficCase):
    def rotated(self, balancer: LoadBalancer, **fields: Any) -> LoadBalancer:
        """With the first member changed."""
        (pool,) = balancer.pools
        members = (replace(pool.members[0], **fields), *pool.members[1:])
        return replace(balancer, pools=(replace(pool, members=members),))

    def test_out_of_rotation_and_back_with_the_stored_weight(self) -> None:
        port = self.port()
        balancer = self.balancer(port, members=[{"weight": 4}, {}, {}])
        for fields, expected in (
            ({}, [24, 6, 6]),
            ({"rotation": Rotation.OUT}, [0, 18, 18]),
            ({"rotation": Rotation.IN}, [24, 6, 6]),
            ({"rotation": Rotation.DRAIN}, [0, 18, 18]),
            ({"admin_up": False}, [0, 18, 18]),
            ({}, [24, 6, 6]),
        ):
            with self.subTest(fields):
                self.deploy(self.device, self.rotated(balancer, **fields))
                # A change that HAProxy takes while it runs counts from its next round on.
                self.shares(port, 100)
                self.assertEqual(expected, self.shares(port, 36))

    def test_a_member_that_runs_dry_keeps_its_clients_and_one_that_is_out_does_not(self) -> None:
        port = self.port()
        persistence = SessionPersistence(id=new_id(), kind=PersistenceKind.HTTP_COOKIE)
        balancer = self.balancer(port, pool={"session_persistence": persistence})
        self.deploy(self.device, balancer)
        cookies = {page: cookie.partition(";")[0] for _, page, cookie in (ask(port) for _ in range(3))}
        mine = {"Cookie": cookies[self.servers[0].page]}
        self.deploy(self.device, self.rotated(balancer, rotation=Rotation.DRAIN))
        self.assertEqual([4, 0, 0], self.shares(port, 4, headers=mine))
        self.assertEqual([0, 3, 3], self.shares(port, 6))
        self.deploy(self.device, self.rotated(balancer, rotation=Rotation.OUT))
        self.assertEqual(0, self.shares(port, 4, headers=mine)[0])

    def test_a_backup_serves_when_nobody_else_does(self) -> None:
        port = self.port()
        check = HealthMonitor(id=new_id(), project_id="foo", type=MonitorType.TCP, delay=0.2, timeout=5, rise=1, fall=1)
        balancer = self.balancer(port, members=[{}, {}, {"backup": True}], pool={"health_monitor_ids": (check.id,)})
        self.deploy(self.device, balancer, monitors=[check])
        self.assertEqual([3, 3, 0], self.shares(port, 6))
        self.servers[0].close()
        eventually(lambda: self.shares(port, 4) == [0, 4, 0], "the second alone")
        self.servers[1].close()
        eventually(lambda: self.shares(port, 4) == [0, 0, 4], "the backup")

    def test_slowstart_gives_a_returning_member_its_share_little_by_little(self) -> None:
        ports = [self.port(), self.port()]
        check = HealthMonitor(
            id=new_id(), project_id="foo", type=MonitorType.HTTP, delay=0.2, timeout=5, rise=1, fall=1
        )
        slow = MemberLimits(slow_start=60)
        balancers = [
            self.balancer(
                port,
                members=[{"weight": 100, "limits": limits}, {"weight": 100}],
                pool={"health_monitor_ids": (check.id,)},
            )
            for port, limits in zip(ports, (slow, MemberLimits()), strict=True)
        ]
        self.deploy(self.device, *balancers, monitors=[check])
        self.servers[0].codes["/"] = 500
        for port in ports:
            eventually(lambda: self.shares(port, 6)[1] == 6, "the first is out")  # noqa: B023
        self.servers[0].codes["/"] = 200
        eventually(lambda: self.shares(ports[1], 6)[0] > 0, "without slowstart it is back")
        gradual, at_once_back = (self.shares(port, 60)[0] for port in ports)
        self.assertLess(gradual, 15)
        self.assertAlmostEqual(30, at_once_back, delta=2)
        time.sleep(6)
        self.assertGreater(self.shares(ports[0], 60)[0], gradual)


class TestLimits(TrafficCase):
    def test_connections_beyond_the_most_wait_and_are_answered(self) -> None:
        port = self.port()
        self.deploy(self.device, self.balancer(port, members=[{"limits": MemberLimits(max_connections=2)}]))
        self.servers[0].delays["/"] = 0.2
        began = time.monotonic()
        self.assertEqual([200] * 8, [status for status, *_ in at_once([lambda: ask(port)] * 8)])
        self.assertEqual(2, self.servers[0].most_at_once)
        self.assertGreater(time.monotonic() - began, 0.75)

    def test_at_low_load_the_least_is_the_limit(self) -> None:
        port = self.port()
        limits = MemberLimits(max_connections=100, min_connections=1)
        self.deploy(self.device, self.balancer(port, members=[{"limits": limits}]))
        self.servers[0].delays["/"] = 0.1
        self.assertEqual([200] * 6, [status for status, *_ in at_once([lambda: ask(port)] * 6)])
        self.assertLess(self.servers[0].most_at_once, 6)

    def test_the_listeners_limit_holds_back_whole_connections(self) -> None:
        port = self.port()
        balancer = self.balancer(port, members=[{}])
        (listener,) = balancer.listeners
        self.deploy(self.device, replace(balancer, listeners=(replace(listener, connection_limit=3),)))
        self.servers[0].delays["/"] = 0.2
        self.assertEqual([200] * 9, [status for status, *_ in at_once([lambda: ask(port)] * 9)])
        self.assertEqual(3, self.servers[0].most_at_once)


class TestPersistence(TrafficCase):
    RELOADS = 20

    def setUp(self) -> None:
        super().setUp()
        self.other_port, self.other_id = self.port(), new_id()

    def sticky(self, port: int, kind: PersistenceKind, **fields: Any) -> LoadBalancer:
        persistence = SessionPersistence(id=new_id(), kind=kind, **fields)
        return self.balancer(port, pool={"session_persistence": persistence})

    def test_clients_of_one_network_count_as_one(self) -> None:
        port = self.port()
        self.deploy(self.device, self.sticky(port, PersistenceKind.SOURCE_IP, extras={"mask": "255.255.255.0"}))
        self.assertEqual(1, len({ask(port, source=each)[1] for each in CLIENTS[:10]}))
        self.assertEqual(2, len({ask(port, source=each)[1] for each in ("127.0.1.2", "127.0.2.2")}))

    def test_a_client_keeps_its_member_over_reloads(self) -> None:
        by_address, by_cookie, by_session = [self.port(), self.port(), self.port()]
        balancers = [
            self.sticky(by_address, PersistenceKind.SOURCE_IP),
            self.sticky(by_cookie, PersistenceKind.HTTP_COOKIE, cookie_name="STICK"),
            self.sticky(by_session, PersistenceKind.APP_COOKIE, cookie_name="SESSION"),
        ]
        self.deploy(self.device, *balancers)
        for number, each in enumerate(self.servers):
            # As long as signed ones are, and alike in the beginning.
            each.headers["Set-Cookie"] = f"SESSION={'x' * 200}of-{number}; Path=/"
        clients = CLIENTS[:20]
        pages = {each: ask(by_address, source=each)[1] for each in clients}
        self.assertEqual(3, len(set(pages.values())))
        cookies: dict[str, str] = {}
        for _ in range(3):
            connection = http.client.HTTPConnection("127.0.0.1", by_cookie, timeout=15)
            connection.request("GET", "/")
            answer = connection.getresponse()
            page = answer.read().decode()
            given = [each.partition(";")[0] for each in answer.headers.get_all("Set-Cookie", [])]
            (cookies[page],) = (each for each in given if each.startswith("STICK="))
            connection.close()
        self.assertEqual({each.page for each in self.servers}, set(cookies))
        sessions = {page: cookie.partition(";")[0] for _, page, cookie in (ask(by_session) for _ in range(3))}
        self.assertEqual({each.page for each in self.servers}, set(sessions))
        for number in range(self.RELOADS):
            # Another load balancer of the device changes.
            other = self.balancer(self.other_port, members=[{"weight": 1 + number % 2}])
            self.assertEqual("reload", self.deploy(self.device, *balancers, replace(other, id=self.other_id)).plan)
            for client in random.sample(clients, len(clients)):
                self.assertEqual(pages[client], ask(by_address, source=client)[1], f"{client}, reload {number}")
            for port, known in ((by_cookie, cookies), (by_session, sessions)):
                for page in random.sample(list(known), len(known)):
                    self.assertEqual(page, ask(port, headers={"Cookie": known[page]})[1], f"reload {number}")

    def test_who_asks_within_a_reload_gets_his_member_too(self) -> None:
        """All the time, on kept and on new connections, while the device is reloaded."""
        by_address, by_connection, by_session = [self.port(), self.port(), self.port()]
        balancers = [
            self.sticky(by_address, PersistenceKind.SOURCE_IP),
            self.sticky(by_connection, PersistenceKind.SOURCE_IP),
            self.sticky(by_session, PersistenceKind.APP_COOKIE, cookie_name="SESSION"),
        ]
        (listener,), (pool,) = balancers[1].listeners, balancers[1].pools
        balancers[1] = replace(
            balancers[1],
            listeners=(replace(listener, protocol=Protocol.TCP),),
            pools=(replace(pool, protocol=Protocol.TCP),),
        )
        self.deploy(self.device, *balancers)
        for number, each in enumerate(self.servers):
            each.headers["Set-Cookie"] = f"SESSION=of-{number}; Path=/"
        clients = []
        for number, source in enumerate(CLIENTS[:12]):
            port = (by_address, by_connection)[number % 2]
            page = ask(port, source=source)[1]
            clients.append(Client(port=port, source=source, page=page, keep=number % 4 < 2, pause=0.005))
        for _ in self.servers:
            _, page, cookie = ask(by_session)
            for keep in (True, False):
                name = cookie.partition(";")[0]
                clients.append(Client(port=by_session, cookie=name, page=page, keep=keep, pause=0.005))
        with Traffic(*clients, least=50 * self.RELOADS) as traffic:
            for number in range(self.RELOADS):
                other = self.balancer(self.other_port, members=[{"weight": 1 + number % 2}])
                self.assertEqual("reload", self.deploy(self.device, *balancers, replace(other, id=self.other_id)).plan)
        self.assertEqual([], traffic.failures, f"{traffic.count} requests, {self.RELOADS} reloads")
        self.assertGreaterEqual(traffic.count, 50 * self.RELOADS)

    def test_a_haproxy_that_was_just_started_loses_nobody(self) -> None:
        """It hands its tables over only some seconds after its start; the deployment waits for that, once there is
        something in them."""
        self.device = device_of(self.host(haproxy="none"))
        port = self.port()
        balancer = self.sticky(port, PersistenceKind.SOURCE_IP)
        self.assertIn("started", self.deploy(self.device, balancer).sentence)
        self.deploy(self.device, balancer, self.balancer(self.other_port))
        self.assertEqual(0, self.put_off, "there is nothing to wait for")
        clients = CLIENTS[:10]
        pages = {each: ask(port, source=each)[1] for each in clients}
        self.deploy(self.device, balancer)
        self.assertEqual(pages, {each: ask(port, source=each)[1] for each in random.sample(clients, len(clients))})

    def test_a_client_whose_member_is_gone_gets_another_one(self) -> None:
        port = self.port()
        check = HealthMonitor(id=new_id(), project_id="foo", type=MonitorType.TCP, delay=0.2, timeout=5, rise=1, fall=1)
        balancer = self.sticky(port, PersistenceKind.SOURCE_IP)
        (pool,) = balancer.pools
        balancer = replace(balancer, pools=(replace(pool, health_monitor_ids=(check.id,)),))
        self.deploy(self.device, balancer, monitors=[check])
        page = ask(port)[1]
        next(each for each in self.servers if each.page == page).close()
        eventually(lambda: ask(port)[1] not in (page, "") and ask(port)[0] == 200, "another one")
        self.assertEqual(1, len({ask(port)[1] for _ in range(5)}))
