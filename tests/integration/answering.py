"""Back ends that do as a test says: a code and a delay for each path, with or without TLS, every request remembered."""

from __future__ import annotations

import datetime
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request. `at` in seconds of the monotonic clock."""

    at: float
    method: str
    path: str
    headers: Mapping[str, str]


class Answering:
    """A web server whose page names its port. `codes`, `delays` (seconds) and `holds` (no answer before that) are by
    path, and may be changed any time; `headers` are sent with every answer. `certificate`: a PEM file with key and
    certificate makes it speak TLS. `most_at_once` is how many requests it had in hand at once, at most, `connections`
    how many connections there were."""

    def __init__(self, *, address: str = "127.0.0.1", certificate: Path | None = None) -> None:
        self.codes: dict[str, int] = {}
        self.delays: dict[str, float] = {}
        self.holds: dict[str, threading.Event] = {}
        self.headers: dict[str, str] = {}
        self.asked: list[Asked] = []
        self.most_at_once = 0
        self.connections = 0
        self._at_once = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 20

            def answer(self) -> None:
                path = self.path.partition("?")[0]
                outer._begin(Asked(at=time.monotonic(), method=self.command, path=path, headers=dict(self.headers)))
                # No longer in hand once the answer is on its way: the next request may be here before that has ended.
                time.sleep(outer.delays.get(path, 0.0))
                if (hold := outer.holds.get(path)) is not None:
                    hold.wait(60)
                outer._end()
                try:
                    self.send_response(outer.codes.get(path, 200))
                    body = f"back end {outer.port}\n".encode()
                    for key, value in outer.headers.items():
                        self.send_header(key, value)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(body)
                except OSError:
                    self.close_connection = True  # whoever asked has gone

            do_GET = do_HEAD = do_POST = do_OPTIONS = answer

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # a check that ends its connection without a request, or speaks no TLS

            def finish_request(self, request: object, client_address: object) -> None:
                outer.connections += 1
                # Not when accepting: one client that does not speak would keep the others out.
                if context is not None:
                    request = context.wrap_socket(request, server_side=True)  # type: ignore[arg-type]
                super().finish_request(request, client_address)  # type: ignore[arg-type]

        context: ssl.SSLContext | None = None
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
        self._server = Server((address, 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def page(self) -> str:
        return f"back end {self.port}\n"

    def count(self, path: str = "/") -> int:
        with self._lock:
            return sum(each.path == path for each in self.asked)

    def times(self, path: str) -> list[float]:
        with self._lock:
            return [each.at for each in self.asked if each.path == path]

    def _begin(self, asked: Asked) -> None:
        with self._lock:
            self.asked.append(asked)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)

    def _end(self) -> None:
        with self._lock:
            self._at_once -= 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nobody listens any more; may be called again."""
        self._server.shutdown()
        self._server.server_close()


def self_signed(path: Path) -> Path:
    """Writes a new key and certificate of localhost there, as one PEM file."""
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, SHA256())
    )
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
    )
    return path
