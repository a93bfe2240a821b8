"""Clients that are slow, many, or speak something else, over real sockets: the others are served all the same."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import ipaddress
import json
import os
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from balancer.cmd.tls import tls_context
from balancer.config import ApiSettings
from balancer.devbox.processes import free_port
from balancer.exceptions import ConfigurationError
from tests.integration.running import Answer, RunningService, children, eventually, fetch

DEVICE = {"name": "d", "type": "dummy", "ip": "192.0.2.1", "user": "u", "password": "p"}
HEAD = b"POST /devices HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n"


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def until_closed(client: socket.socket, *, drip: bytes = b"", every: float = 0.2) -> tuple[float, bytes]:
    """How long the other end let us go on, sending the bytes one by one, and what it said."""
    began, said = time.monotonic(), b""
    client.settimeout(every if drip else 30)
    with contextlib.suppress(ConnectionError):
        while time.monotonic() - began < 30:
            try:
                received = client.recv(65536)
            except TimeoutError:
                client.sendall(drip[:1])
                drip = drip[1:] + drip[:1]
                continue
            if not received:
                break
            said += received
    return time.monotonic() - began, said


class Case(unittest.TestCase):
    """A service without a worker; `times` are options of its API."""

    times: ClassVar[dict[str, str]]
    service: RunningService
    port: int

    @classmethod
    def setUpClass(cls) -> None:
        root = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        options = {
            "DEFAULT": {"workers": "0"},
            "api": {"max_requests": "3", "max_connections": "100", **cls.times},
        }
        cls.service = cls.enterClassContext(RunningService(root / "service", options))
        cls.port = cls.service.port


class TestSlowClients(Case):
    times: ClassVar = {"deploy_wait_seconds": "1.5", "client_timeout": "1", "request_timeout": "3"}

    def test_the_head_of_a_request_has_its_time(self) -> None:
        for head, drip in (
            (b"", b""),
            (b"GET / HTTP/1.1\r\nHo", b""),
            (b"GET /", b"xyz"),
            (b"GET / HTTP/1.1\r\nHost: x\r\n", b"A: b\r\n"),
        ):
            with self.subTest(head=head, drip=drip), connect(self.port) as client:
                client.sendall(head)
                took, said = until_closed(client, drip=drip)
                self.assertEqual(b"", said)
                self.assertLess(took, 20)

    def test_a_body_has_its_time(self) -> None:
        for drip, least, status in ((b"", 0.9, b"408 Request Timeout"), (b" ", 2.9, b"503 Service Unavailable")):
            with self.subTest(drip=drip), connect(self.port) as client:
                client.sendall(HEAD)
                took, said = until_closed(client, drip=drip)
                self.assertTrue(said.startswith(b"HTTP/1.1 " + status + b"\r\n"), said)
                self.assertIn(b"application/json", said)
                self.assertTrue(least < took < 20, took)

    def test_where_a_body_ends_is_said_in_one_way_only(self) -> None:
        """Who is in front of this service may have taken the other one, and the rest for another request."""
        head = b"POST /devices HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
        for line in (b"Content-Length: 5", b"Transfer-Encoding: chunked"):
            with self.subTest(line), connect(self.port) as client:
                client.sendall(head + line + b"\r\n\r\n{}   ")
                _, said = until_closed(client)
                self.assertRegex(said, rb"^HTTP/1\.[01] 400 ")
                self.assertNotIn(b"name is required", said)

    def test_a_request_has_its_time_and_leaves_nothing_locked(self) -> None:
        database = self.service.root / "balancer.sqlite"
        with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            answers = [self.service.call("POST", "/devices", {**DEVICE, "port": port}) for port in (1, 2)]
            self.assertTrue(5.5 < time.monotonic() - began < 25)
            other.execute("ROLLBACK")
        for answer in answers:
            self.assertEqual((503, "5"), (answer.status, answer.headers["Retry-After"]))
            self.assertIn("within 3 seconds", answer.json["error"]["message"])
        self.assertEqual(200, self.service.call("POST", "/devices", {**DEVICE, "port": 3}).status)

    def test_more_connections_than_there_may_be_wait_until_slow_ones_are_closed(self) -> None:
        with contextlib.ExitStack() as stack:
            for _ in range(130):
                stack.enter_context(connect(self.port))
            self.assertEqual(200, fetch(self.port, "/algorithms").status)

    def test_whoever_takes_no_answer_is_left(self) -> None:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(60)
            client.connect(("127.0.0.1", self.port))
            # Each answer repeats the path.
            asked = b"GET /foo/loadbalancers/%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * 7000)
            sent = threading.Thread(target=_send, args=(client, asked * 1000))
            sent.start()
            eventually(lambda: not sent.is_alive(), "the connection is closed")
        sent.join()
        self.assertEqual(200, fetch(self.port, "/algorithms").status)


class TestOthers(Case):
    """The slow ones are borne with for longer than these tests last."""

    times: ClassVar = {"deploy_wait_seconds": "5", "client_timeout": "60", "request_timeout": "60"}

    def test_many_slow_ones_do_not_keep_others_from_being_served(self) -> None:
        with contextlib.ExitStack() as stack:
            for number in range(60):
                client = stack.enter_context(connect(self.port))
                client.sendall(HEAD if number % 2 else b"GET / HT")
            for _ in range(5):
                self.assertEqual(200, fetch(self.port, "/algorithms").status)

    def test_no_more_requests_at_once_than_there_may_be(self) -> None:
        if not self.service.call("GET", "/devices").json["devices"]:
            self.service.call("POST", "/devices", DEVICE)
        answers: list[Answer] = []

        def create(port: int) -> None:
            vip = {"address": "203.0.113.1", "port": port}
            answers.append(self.service.call("POST", "/foo/loadbalancers", {"protocol": "TCP", "virtualIps": [vip]}))

        # Nobody deploys, so each waits its time.
        threads = [threading.Thread(target=create, args=(port,)) for port in range(8001, 8004)]
        for thread in threads:
            thread.start()
        with contextlib.closing(sqlite3.connect(self.service.root / "balancer.sqlite")) as stored:
            eventually(lambda: stored.execute("SELECT count(*) FROM load_balancers").fetchall() == [(3,)], "all wait")
        refused = fetch(self.port, "/algorithms")
        self.assertEqual((503, "1"), (refused.status, refused.headers.get("Retry-After")))
        self.assertEqual(503, refused.json["error"]["code"])
        self.assertIn("healthy", fetch(self.port, "/healthcheck").json)
        for thread in threads:
            thread.join(60)
        self.assertEqual([202] * 3, [answer.status for answer in answers])
        self.assertEqual(200, fetch(self.port, "/algorithms").status)


def _send(client: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        client.sendall(data)


class TestFilters(unittest.TestCase):
    """A filter in front of the application that hangs or fails gets an answer all the same."""

    def test_they_are_bounded_and_tell_nothing(self) -> None:
        root = Path(self.enterContext(tempfile.TemporaryDirectory()))
        service = RunningService(root / "service", {"DEFAULT": {"workers": "0"}})
        service.configure({"api": {"deploy_wait_seconds": "0", "request_timeout": "3"}})
        service.config_file.write_text(
            service.config_file.read_text()
            + "[pipeline:main]\npipeline = bad apiv1app\n"
            + "[app:apiv1app]\npaste.app_factory = balancer.bootstrap:app_factory\n"
            + f"[filter:bad]\npaste.filter_factory = {__name__}:bad_filter\n"
        )
        with service:
            for path, status in (("/hangs", 503), ("/fails", 500), ("/algorithms", 200)):
                with self.subTest(path):
                    answer = fetch(service.port, path)
                    self.assertEqual(status, answer.status)
                    self.assertNotIn("secret", answer.text)


def bad_filter(global_conf: object, **local_conf: object) -> Callable[[Any], Any]:
    def wrap(app: Any) -> Any:
        def bad(environ: dict[str, Any], start_response: Any) -> Any:
            if environ["PATH_INFO"] == "/hangs":
                time.sleep(40)
            if environ["PATH_INFO"] == "/fails":
                raise RuntimeError("a secret")
            return app(environ, start_response)

        return bad

    return wrap


class TestOperations(unittest.TestCase):
    """The API and its worker are two processes: both show in the figures."""

    def test_health_metrics_and_audit(self) -> None:
        root = Path(self.enterContext(tempfile.TemporaryDirectory()))
        port = free_port()
        options = {"DEFAULT": {"audit_file": str(root / "audit.log")}, "api": {"metrics_port": str(port)}}
        with RunningService(root / "service", options) as service:
            assert service.process is not None
            eventually(lambda: service.call("GET", "/healthcheck").status == 200, "the worker is alive")
            (worker,) = service.call("GET", "/healthcheck").json["workers"]
            self.assertIn(f"/{children(service.process.pid)[0]}/", worker)
            device_id = service.call("POST", "/devices", DEVICE).json["device"]["id"]
            service.create({"protocol": "TCP"})
            text = fetch(port, "/metrics").text
            applied = re.search(rf'balancer_deployments_total{{device="{device_id}",outcome="applied",.*}} (.*)', text)
            assert applied is not None, text
            self.assertGreaterEqual(float(applied[1]), 1)
            self.assertIn('balancer_http_requests_total{method="POST",route="/devices",status="200"} 1.0', text)
            self.assertEqual(404, fetch(port, "/devices").status)
            self.assertEqual(200, fetch(service.port, "/metrics").status)
            worker_pid = children(service.process.pid)[0]
            os.kill(worker_pid, signal.SIGKILL)
            eventually(
                lambda: worker not in service.call("GET", "/healthcheck").json["workers"], "a dead worker is missed"
            )
            eventually(lambda: service.call("GET", "/healthcheck").status == 200, "its successor is alive")
        events = [json.loads(line) for line in (root / "audit.log").read_text().splitlines()]
        self.assertEqual(
            ["POST /devices", "POST /{tenant}/loadbalancers"], [event["action"] for event in events], events
        )
        self.assertNotIn(" balancer.audit ", service.log.read_text())
        self.assertRegex(service.log.read_text(), rf"balancer.api.\S+ \[{events[0]['request_id']}\]: ")


class TestTls(unittest.TestCase):
    root: Path
    certificate: Path
    key: Path

    @classmethod
    def setUpClass(cls) -> None:
        cls.root = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.certificate, cls.key = make_certificate(cls.root)

    def test_files_that_will_not_do_are_told(self) -> None:
        empty, locked, other = (self.root / f"{name}.pem" for name in ("empty", "locked", "other"))
        empty.write_text("")
        locked.write_bytes(make_key(serialization.BestAvailableEncryption(b"a passphrase")))
        other.write_bytes(make_key(serialization.NoEncryption()))
        certificate, key = str(self.certificate), str(self.key)
        for cert_file, key_file, says in (
            ("/nowhere/cert.pem", None, "tls_cert_file /nowhere/cert.pem cannot be read"),
            (certificate, "/nowhere/key.pem", "tls_key_file /nowhere/key.pem cannot be read"),
            (None, key, "tls_cert_file is not"),
            (certificate, None, certificate),
            (str(empty), key, str(empty)),
            (certificate, str(other), "KEY_VALUES_MISMATCH"),
            (certificate, str(locked), "without a passphrase"),
        ):
            with self.subTest(says=says), self.assertRaises(ConfigurationError) as caught:
                tls_context(ApiSettings(tls_cert_file=cert_file, tls_key_file=key_file))
            self.assertIn(says, str(caught.exception))

    def test_a_start_that_fails_for_them_says_so_in_one_line(self) -> None:
        service = RunningService(self.root / "failing", {"api": {"tls_cert_file": str(self.key)}})
        done = subprocess.run(service.command(), capture_output=True, text=True, timeout=60)
        self.assertEqual((1, 1), (done.returncode, done.stderr.count("\n")), done.stderr)
        self.assertIn(f"balancer-api: [api] tls_cert_file {self.key}", done.stderr)

    def test_https(self) -> None:
        options = {
            "DEFAULT": {"workers": "0"},
            "api": {"tls_cert_file": str(self.certificate), "tls_key_file": str(self.key), "client_timeout": "4"},
        }
        with RunningTls(self.root / "service", options, self.certificate) as service:
            answer = service.call("POST", "/devices", DEVICE)
            self.assertEqual(200, answer.status)
            link = service.call("GET", "/").json["versions"][0]["links"][0]["href"]
            self.assertTrue(link.startswith("https://"), link)
            with self.subTest("keep-alive"), service.connection() as connection:
                for _ in range(2):
                    connection.request("GET", "/devices")
                    self.assertEqual(1, len(json.loads(connection.getresponse().read())["devices"]))
            with self.subTest("plain text"), connect(service.port) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertNotIn(b"200", until_closed(client)[1])
            with self.subTest("old TLS"), self.assertRaises(ssl.SSLError):
                old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
                old.maximum_version = ssl.TLSVersion.TLSv1_1
                old.set_ciphers("ALL:@SECLEVEL=0")
                old.wrap_socket(connect(service.port))
            with self.subTest("a handshake that does not go on"), contextlib.ExitStack() as stack:
                waiting = [stack.enter_context(connect(service.port)) for _ in range(20)]
                began = time.monotonic()
                self.assertEqual(200, service.call("GET", "/").status)
                self.assertLess(time.monotonic() - began, 3.5)
                self.assertLess(until_closed(waiting[0])[0], 20)
            self.assertEqual(200, service.call("GET", "/").status)
            self.assertNotIn("Traceback", service.log.read_text())


class RunningTls(RunningService):
    def __init__(self, root: Path, options: dict[str, dict[str, str]], certificate: Path) -> None:
        super().__init__(root, options)
        self._context = ssl.create_default_context(cafile=str(certificate))

    @contextlib.contextmanager
    def connection(self) -> Iterator[http.client.HTTPSConnection]:
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self._context, timeout=30)
        with contextlib.closing(connection):
            yield connection

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: dict[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Answer:
        with self.connection() as connection:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, body=data, headers={"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            return Answer(status=answer.status, headers=dict(answer.getheaders()), text=answer.read().decode())


def make_key(encryption: serialization.KeySerializationEncryption) -> bytes:
    """A new private key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """The files of a certificate for 127.0.0.1 that vouches for itself, and of its key."""
    pem = make_key(serialization.NoEncryption())
    key = serialization.load_pem_private_key(pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = directory / "cert.pem", directory / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(pem)
    return files
