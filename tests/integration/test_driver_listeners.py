"""What LBaaS v2 can say of a listener or a pool beyond the balancer API, seen with real traffic."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from balancer.core.model import (
    Algorithm,
    HealthMonitor,
    HttpCheck,
    L7Policy,
    L7Rule,
    Listener,
    Member,
    MonitorType,
    Protocol,
    Timeouts,
    new_id,
)
from tests.integration.deploying import load_balancer
from tests.integration.running import eventually, fetch
from tests.integration.test_driver_traffic import CLIENTS, TrafficCase, ask


def rule(kind: str, compare: str, value: str, **fields: Any) -> L7Rule:
    return L7Rule(id=new_id(), type=kind, compare_type=compare, value=value, **fields)


def policy(position: int, action: str, *rules: L7Rule, **redirect: Any) -> L7Policy:
    return L7Policy(id=new_id(), position=position, action=action, rules=rules, redirect=redirect)


class TestL7(TrafficCase):
    """One listener: the default pool is server 0, another pool is server 1."""

    def setUp(self) -> None:
        super().setUp()
        self.listen_port = self.port()
        one = self.balancer(self.listen_port, members=[{}])
        other = replace(
            one.pools[0], id=new_id(), members=(Member(id=new_id(), address="127.0.0.1", port=self.servers[1].port),)
        )
        self.one = replace(one, pools=(*one.pools, other))
        self.other_pool = other.id

    def serve(self, *policies: L7Policy) -> None:
        (listener,) = self.one.listeners
        self.deploy(self.device, replace(self.one, listeners=(replace(listener, l7_policies=policies),)))

    def went_to(self, path: str = "/", **headers: str) -> int:
        """The number of the server that answered."""
        status, page, _ = ask(self.listen_port, path, headers={key.replace("_", "-"): v for key, v in headers.items()})
        self.assertEqual(200, status)
        return [each.page for each in self.servers].index(page)

    def test_every_type_and_comparison_chooses_the_pool(self) -> None:
        cases: Sequence[tuple[L7Rule, tuple[str, dict[str, str]], tuple[str, dict[str, str]]]] = (
            (rule("HOST_NAME", "EQUAL_TO", "WWW.example.com"), ("/", {"Host": "www.EXAMPLE.com:80"}), ("/", {})),
            (rule("HOST_NAME", "REGEX", r"^a\d+\."), ("/", {"Host": "a12.x"}), ("/", {"Host": "b.a12.x"})),
            (rule("PATH", "STARTS_WITH", "/it's;1%"), ("/it's;1%20x", {}), ("/its", {})),
            (rule("PATH", "ENDS_WITH", "/end"), ("/x/end?q=1", {}), ("/end/x", {})),
            (rule("PATH", "CONTAINS", "-mid-"), ("/x-mid-y", {}), ("/?-mid-", {})),
            (rule("HEADER", "EQUAL_TO", "-f", key="X"), ("/", {"X": "-f"}), ("/-f", {})),
            (rule("FILE_TYPE", "EQUAL_TO", "jpg"), ("/a/b.jpg", {}), ("/jpg", {})),
            (rule("FILE_TYPE", "REGEX", "^(png|gif)$"), ("/a.b/c.gif", {}), ("/a.gif/c", {})),
            (rule("HEADER", "EQUAL_TO", "yes", key="X-Api"), ("/", {"X_Api": "yes"}), ("/", {"X_Api": "yes!"})),
            (rule("COOKIE", "STARTS_WITH", "ab", key="sess"), ("/", {"Cookie": "a=b; sess=abc"}), ("/", {})),
        )  # fmt: skip
        for wanted, (path, headers), (other_path, other_headers) in cases:
            with self.subTest(wanted.type, compare=wanted.compare_type):
                self.serve(policy(1, "REDIRECT_TO_POOL", wanted, pool_id=self.other_pool))
                self.assertEqual(1, self.went_to(path, **headers))
                self.assertEqual(0, self.went_to(other_path, **other_headers))
                self.serve(policy(1, "REDIRECT_TO_POOL", replace(wanted, invert=True), pool_id=self.other_pool))
                self.assertEqual(0, self.went_to(path, **headers))
                self.assertEqual(1, self.went_to(other_path, **other_headers))

    def test_rejects_win_over_redirects_and_these_over_pools(self) -> None:
        of_all = [rule("PATH", "STARTS_WITH", "/x") for _ in range(4)]
        self.serve(
            policy(1, "REDIRECT_TO_POOL", of_all[0], pool_id=self.other_pool),
            policy(2, "REDIRECT_TO_URL", of_all[1], rule("PATH", "CONTAINS", "url"), url="https://e.org/%41?b='c'"),
            policy(3, "REDIRECT_PREFIX", of_all[2], rule("PATH", "CONTAINS", "pre"), prefix="https://p", http_code=307),
            policy(4, "REJECT", of_all[3], rule("PATH", "ENDS_WITH", "no")),
        )
        self.assertEqual(1, self.went_to("/x"))
        self.assertEqual(0, self.went_to("/y"))
        for path, status, location in (
            ("/x-url", 302, "https://e.org/%41?b='c'"),
            ("/x-pre?q", 307, "https://p/x-pre?q"),
            ("/x-url-no", 403, None),
        ):
            answer = fetch(self.listen_port, path)
            headers = {key.lower(): value for key, value in answer.headers.items()}
            self.assertEqual((status, location), (answer.status, headers.get("location")), path)


class TestListener(TrafficCase):
    def listening(self, **fields: Any) -> int:
        port = self.port()
        one = self.balancer(port)
        self.deploy(self.device, replace(one, listeners=(replace(one.listeners[0], **fields),)))
        return port

    def test_headers_reach_the_member(self) -> None:
        port = self.listening(
            insert_headers={"X-Forwarded-For": "true", "X-Forwarded-Port": "true", "X-Forwarded-Proto": "true"}
        )
        ask(port, "/h", source="127.0.0.9")
        (asked,) = [each for server in self.servers for each in server.asked if each.path == "/h"]
        seen = {key.lower(): value for key, value in asked.headers.items()}
        self.assertEqual(
            ("127.0.0.9", str(port), "http"),
            tuple(seen[f"x-forwarded-{each}"] for each in ("for", "port", "proto")),
        )

    def test_only_the_allowed_get_in(self) -> None:
        port = self.listening(allowed_cidrs=("127.0.0.16/28", "2001:db8::/32"))
        self.assertEqual(200, ask(port, source="127.0.0.17")[0])
        with self.assertRaises(OSError):
            ask(port, source="127.0.0.32")

    def test_a_member_that_is_slower_than_the_timeout_is_given_up(self) -> None:
        for each in self.servers:
            each.delays["/slow"] = 3.0
        port = self.listening(timeouts=Timeouts(member_data=300))
        self.assertEqual(504, ask(port, "/slow")[0])

    def test_metrics(self) -> None:
        port = self.listening(protocol=Protocol.PROMETHEUS)
        metrics = fetch(port, "/metrics")
        self.assertEqual(200, metrics.status)
        self.assertIn("haproxy_frontend_bytes_in_total", metrics.text)
        self.assertEqual(404, fetch(port, "/").status)

    def test_address_and_port_together_choose_the_member(self) -> None:
        port = self.port()
        self.deploy(self.device, self.balancer(port, pool={"algorithm": Algorithm.SOURCE_IP_PORT}))
        # Every connection has a port of its own, so one client is spread over the members.
        self.assertGreater(min(self.shares(port, 60, source=CLIENTS[0])), 0)


class WantsProxyHeader(socketserver.ThreadingTCPServer):
    """Answers HTTP only to who introduces the client by the PROXY protocol; says which version it was and, for the
    first one, from where."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port: int = self.server_address[1]


class _Handler(socketserver.StreamRequestHandler):
    timeout = 10

    def handle(self) -> None:
        line = self.rfile.readline()
        if line == b"\r\n":  # the second version's signature begins like this
            if self.rfile.read(10) != b"\r\n\0\r\nQUIT\n":
                return
            self.rfile.read(2)
            self.rfile.read(int.from_bytes(self.rfile.read(2), "big"))
            said = "second version"
        elif line.startswith(b"PROXY "):
            said = line.decode().strip()
        else:
            return
        if not self.rfile.readline():
            return
        while self.rfile.readline() not in (b"\r\n", b"\n", b""):
            pass
        body = said.encode()
        head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)


class TestProxyProtocol(TrafficCase):
    def test_members_and_their_checks_get_the_header(self) -> None:
        server = WantsProxyHeader()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monitor = HealthMonitor(
            id=new_id(), project_id="foo", type=MonitorType.HTTP, delay=0.5, timeout=2, rise=1, fall=1, http=HttpCheck()
        )
        both = (monitor, replace(monitor, id=new_id(), type=MonitorType.TCP, http=None))
        for protocol, monitors, said in (
            (Protocol.PROXY, both[:1], "PROXY TCP4 127.0.0.9 127.0.0.1"),
            (Protocol.PROXYV2, both[:1], "second version"),
            (Protocol.PROXYV2, both, "second version"),
        ):
            with self.subTest(protocol, monitors=len(monitors)):
                ports = [self.port(), self.port()]
                one = load_balancer([server.port], ports[0], pool={"protocol": protocol}, monitors=monitors)
                (listener,) = one.listeners
                tcp: Listener = replace(listener, id=new_id(), protocol=Protocol.TCP, port=ports[1])
                one = replace(one, listeners=(listener, tcp))
                self.deploy(self.device, one, monitors=monitors)
                for port in ports:
                    self.assertIn(said, ask(port, source="127.0.0.9")[1])
                # Checks that did not pass would have taken the only member out by now.
                (member,) = one.pools[0].members
                eventually(partial(self.online, member.id), "the member's checks pass")

    def online(self, member_id: str) -> bool:
        sample = self.driver.observe(self.device).sample
        return sample is not None and any(
            each.object_id == member_id and each.status == "ONLINE" for each in sample.objects
        )
