"""The rest of what LBaaS v2 can say of listeners, members and monitors, seen with real traffic."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from balancer.core.model import (
    HealthMonitor,
    HttpCheck,
    LoadBalancer,
    MonitorType,
    Pool,
    Protocol,
    Timeouts,
    new_id,
)
from tests.integration.answering import Answering
from tests.integration.running import eventually, fetch
from tests.integration.test_driver_listeners import policy, rule
from tests.integration.test_driver_traffic import TrafficCase, ask, at_once

NO_MEMBER = 503


def listening(balancer: LoadBalancer, **fields: Any) -> LoadBalancer:
    """With its listener changed."""
    (listener,) = balancer.listeners
    return replace(balancer, listeners=(replace(listener, **fields),))


def until_closed(port: int, said: bytes = b"") -> tuple[float, bytes]:
    """How many seconds a client that says no more than that is borne with, and what it is told."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        began, answer = time.monotonic(), b""
        client.sendall(said)
        with contextlib.suppress(ConnectionError):
            while received := client.recv(65536):
                answer += received
        return time.monotonic() - began, answer


@contextlib.contextmanager
def taking_nobody() -> Iterator[int]:
    """A port whose queue of connections is full: further ones get no answer, not even a refusal."""
    with socket.socket() as server, contextlib.ExitStack() as waiting:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port: int = server.getsockname()[1]
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        time.sleep(0.1)
        yield port


class TestTimeouts(TrafficCase):
    def test_a_client_that_says_nothing_is_left(self) -> None:
        ports = [self.port() for _ in range(3)]
        self.deploy(
            self.device,
            listening(self.balancer(ports[0]), timeouts=Timeouts(client=500)),
            listening(self.balancer(ports[1], protocol=Protocol.TCP), timeouts=Timeouts(client=500)),
            listening(self.balancer(ports[2]), timeouts=Timeouts(client=2500)),
        )
        head = b"GET / HTTP/1.1\r\nHo"
        hasty, silent, patient = at_once(
            partial(until_closed, port, said) for port, said in zip(ports, (head, b"", head), strict=True)
        )
        self.assertIn(b" 408 ", hasty[1])
        self.assertEqual(b"", silent[1])
        self.assertGreater(patient[0], 2.4)
        for took, _ in (hasty, silent):
            self.assertTrue(0.4 < took < patient[0], took)

    def test_a_member_that_takes_no_connection_is_given_up(self) -> None:
        with taking_nobody() as silent:
            port = self.port()
            balancer = self.balancer(port, members=[{"port": silent}])
            self.deploy(self.device, listening(balancer, timeouts=Timeouts(member_connect=200)))
            began = time.monotonic()
            self.assertEqual(NO_MEMBER, ask(port)[0])
            # Three more tries, where the default would be 5 s for each.
            self.assertLess(time.monotonic() - began, 15)

    def test_a_time_for_inspection_keeps_nobody_waiting(self) -> None:
        for protocol in (Protocol.HTTP, Protocol.TCP):
            port = self.port()
            self.deploy(
                self.device,
                listening(self.balancer(port, protocol=protocol), timeouts=Timeouts(tcp_inspect=30000)),
            )
            began = time.monotonic()
            self.assertEqual(200, ask(port)[0])
            self.assertLess(time.monotonic() - began, 15)


class TestListener(TrafficCase):
    def test_every_header(self) -> None:
        port = self.port()
        names = ("For", "Port", "Proto", "IP")
        headers = [*(f"X-Forwarded-{each}" for each in names), "X-Client-IP", "X-Real-IP"]
        forged = dict.fromkeys(headers, "forged")
        balancer = self.balancer(port)
        self.deploy(self.device, listening(balancer, insert_headers=dict.fromkeys(headers, "True")))
        ask(port, "/on", source="127.0.0.9", headers={key: value for key, value in forged.items() if "For" not in key})
        seen = self.seen("/on")
        address = ("x-forwarded-for", "x-forwarded-ip", "x-client-ip", "x-real-ip")
        self.assertEqual(
            {**dict.fromkeys(address, "127.0.0.9"), "x-forwarded-port": str(port), "x-forwarded-proto": "http"},
            {key: seen.get(key) for key in (*address, "x-forwarded-port", "x-forwarded-proto")},
        )
        self.deploy(self.device, listening(balancer, insert_headers=dict.fromkeys(headers, "false")))
        ask(port, "/off", source="127.0.0.9")
        self.assertEqual(set(), {each.lower() for each in headers} & set(self.seen("/off")))

    def seen(self, path: str) -> dict[str, str]:
        (asked,) = [each for server in self.servers for each in server.asked if each.path == path]
        return {key.lower(): value for key, value in asked.headers.items()}

    def test_a_limit_of_no_connections(self) -> None:
        port = self.port()
        self.deploy(self.device, listening(self.balancer(port), connection_limit=0))
        with self.assertRaises(OSError):
            fetch(port)

    def test_who_is_allowed_may_be_of_either_ip_version(self) -> None:
        port = self.port()
        balancer = self.balancer(port)
        vips = (replace(balancer.virtual_ips[0], address="127.0.0.77"), replace(balancer.virtual_ips[0], address="::1"))
        both = replace(balancer, virtual_ips=tuple(replace(each, id=new_id()) for each in vips))
        self.deploy(self.device, listening(both, allowed_cidrs=("192.0.2.0/24", "::1/128")))
        self.assertEqual(200, fetch(port, host="::1").status)
        with self.assertRaises(OSError):
            fetch(port, host="127.0.0.77")
        self.deploy(self.device, listening(both, allowed_cidrs=("127.0.0.0/8", "2001:db8::/32")))
        self.assertEqual(200, fetch(port, host="127.0.0.77").status)
        with self.assertRaises(OSError):
            fetch(port, host="::1")


class TestL7(TrafficCase):
    """The default pool is server 0; pools of servers 1 and 2 are there too."""

    def setUp(self) -> None:
        super().setUp()
        self.listen_port = self.port()
        self.one = self.balancer(self.listen_port)
        (pool,) = self.one.pools
        self.pools = [
            replace(pool, id=pool.id if n == 0 else new_id(), members=pool.members[n : n + 1]) for n in range(3)
        ]

    def serve(self, *policies: Any, pools: list[Pool] | None = None) -> None:
        balancer = replace(self.one, pools=tuple(pools or self.pools))
        self.deploy(self.device, listening(balancer, l7_policies=policies))

    def went_to(self, path: str = "/x") -> int:
        status, page, _ = ask(self.listen_port, path)
        self.assertEqual(200, status)
        return [each.page for each in self.servers].index(page)

    def test_the_first_position_of_a_kind_wins(self) -> None:
        everything = ("PATH", "STARTS_WITH", "/")
        for order in ((1, 2), (2, 1)):
            self.serve(
                *(
                    policy(position, "REDIRECT_TO_POOL", rule(*everything), pool_id=self.pools[number].id)
                    for number, position in zip((1, 2), order, strict=True)
                )
            )
            self.assertEqual(order.index(1) + 1, self.went_to())
            self.serve(
                *(
                    policy(position, "REDIRECT_TO_URL", rule(*everything), url=f"http://{number}.example/")
                    for number, position in zip((1, 2), order, strict=True)
                )
            )
            answer = {key.lower(): value for key, value in fetch(self.listen_port).headers.items()}
            self.assertEqual(f"http://{order.index(1) + 1}.example/", answer["location"])

    def test_all_rules_of_a_policy_must_hold(self) -> None:
        rules = (rule("PATH", "STARTS_WITH", "/x"), rule("PATH", "ENDS_WITH", "y", invert=True))
        self.serve(policy(1, "REDIRECT_TO_POOL", *rules, pool_id=self.pools[1].id))
        self.assertEqual([1, 0, 0], [self.went_to(path) for path in ("/x", "/xy", "/z")])

    def test_what_is_switched_off_or_empty_does_not_count(self) -> None:
        of = {"pool_id": self.pools[1].id}
        all_paths = rule("PATH", "STARTS_WITH", "/")
        never = rule("PATH", "EQUAL_TO", "/never")
        off = replace(self.pools[1], admin_up=False)
        for what, policies, pools, expected in (
            ("policy", [replace(policy(1, "REJECT", all_paths), admin_up=False)], None, 0),
            ("without rules", [policy(1, "REJECT")], None, 0),
            ("its only rule", [policy(1, "REJECT", replace(all_paths, admin_up=False))], None, 0),
            ("one of two", [policy(1, "REDIRECT_TO_POOL", all_paths, replace(never, admin_up=False), **of)], None, 1),
            ("pool", [policy(1, "REDIRECT_TO_POOL", all_paths, **of)], [self.pools[0], off, self.pools[2]], 0),
        ):
            with self.subTest(what):
                self.serve(*policies, pools=pools)
                self.assertEqual(expected, self.went_to())

    def test_every_code_of_a_redirect(self) -> None:
        for code in (301, 302, 303, 307, 308):
            url = f"https://www.example.com/{code}?a=b"
            self.serve(policy(1, "REDIRECT_TO_URL", rule("PATH", "STARTS_WITH", "/x"), url=url, http_code=code))
            answer = fetch(self.listen_port, "/x")
            location = {key.lower(): value for key, value in answer.headers.items()}["location"]
            self.assertEqual((code, url), (answer.status, location))


class TestMembers(TrafficCase):
    def check(self, **fields: Any) -> HealthMonitor:
        values = {"type": MonitorType.HTTP, "delay": 0.2, "timeout": 5, "rise": 1, "fall": 1}
        return HealthMonitor(**{"id": new_id(), "project_id": "foo", **values, "http": HttpCheck(path="/h"), **fields})

    def test_one_is_checked_where_it_says(self) -> None:
        elsewhere = self.enterContext(Answering(address="127.0.0.9"))
        port, check = self.port(), self.check()
        members = [{}, {"monitor_address": "127.0.0.9", "monitor_port": elsewhere.port}]
        self.deploy(
            self.device,
            self.balancer(port, members=members, pool={"health_monitor_ids": (check.id,)}),
            monitors=[check],
        )
        eventually(lambda: elsewhere.count("/h") > 1, "it is asked there")
        self.assertEqual([3, 3, 0], self.shares(port, 6))
        # What it says of itself is nobody's business.
        self.servers[1].codes["/h"] = 500
        time.sleep(1)
        self.assertEqual([3, 3, 0], self.shares(port, 6))
        self.assertEqual(0, self.servers[1].count("/h"))
        elsewhere.codes["/h"] = 500
        eventually(lambda: self.shares(port, 4) == [4, 0, 0], "it is out")
        elsewhere.codes["/h"] = 200
        eventually(lambda: self.shares(port, 4) == [2, 2, 0], "it is back")

    def test_all_backups_serve_when_nobody_else_does(self) -> None:
        port, check = self.port(), self.check()
        members = [{}, {"backup": True}, {"backup": True}]
        self.deploy(
            self.device,
            self.balancer(port, members=members, pool={"health_monitor_ids": (check.id,)}),
            monitors=[check],
        )
        self.assertEqual([4, 0, 0], self.shares(port, 4))
        self.servers[0].codes["/h"] = 500
        eventually(lambda: self.shares(port, 4) == [0, 2, 2], "both backups")

    def test_the_version_and_the_host_of_a_check(self) -> None:
        port = self.port()
        for version, domain, host in (
            ("1.1", "www.example.com", "www.example.com"),
            ("1.1", None, "localhost"),
            ("1.0", None, None),
        ):
            with self.subTest(version, domain=domain):
                path = f"/{version}-{domain}"
                check = self.check(http=HttpCheck(path=path, version=version, domain_name=domain))
                self.deploy(
                    self.device, self.balancer(port, pool={"health_monitor_ids": (check.id,)}), monitors=[check]
                )
                eventually(lambda: self.servers[0].count(path) > 0, "it is asked")  # noqa: B023
                asked = next(each for each in self.servers[0].asked if each.path == path)
                self.assertEqual(host, {key.lower(): value for key, value in asked.headers.items()}.get("host"))
