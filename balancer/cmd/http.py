"""HTTP with eventlet: listening, with or without TLS, and an end to every wait for a client.

A connection costs little; how many requests are worked on at once is bounded by the application itself.
"""

from __future__ import annotations

import errno
import functools
import logging
import resource
import socket
import ssl
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import eventlet
import eventlet.wsgi

from balancer.api.middleware.faults import Faults, OutOfTime
from balancer.config import ApiSettings
from balancer.exceptions import ConfigurationError

_LOG = logging.getLogger(__name__)

_IDLE_SECONDS = 30
"""How long a connection may wait for its next request."""

_OTHER_FILES = 200
"""Open files besides connections of clients: the database, logs, the worker's pipe, tokens being checked."""

_PASSING = (
    errno.ECONNABORTED,
    errno.ECONNRESET,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOBUFS,
    errno.ENOMEM,
    errno.EPERM,
    errno.EPROTO,
)
_PAUSE = 0.1

Listener = Any
WsgiApp = Callable[..., Any]


class _SteadyListener:
    """Hands out connections; what goes wrong with one of them, or for the moment, does not end the listening."""

    def __init__(self, listener: Any) -> None:
        self._listener = listener

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listener, name)

    def accept(self) -> Any:
        while True:
            try:
                return self._listener.accept()
            except OSError as error:
                if error.errno not in _PASSING:
                    raise
                _LOG.warning("A connection could not be accepted: %s", error.strerror)
                eventlet.sleep(_PAUSE)


class _Connection(eventlet.wsgi.HttpProtocol):
    """One client's connection. The head of its first request must be complete in `head` seconds, the next ones may be
    waited for; a request with its answer may take `whole` seconds."""

    def __init__(self, state: Any, server: Any, *, head: float, whole: float | None) -> None:
        self._head_seconds = head
        self._whole_seconds = whole
        self._waits_for_more = False
        self._head: eventlet.Timeout | None = None
        super().__init__(state, server)

    def handle(self) -> None:
        try:
            super().handle()
        except TimeoutError:
            raise
        except OSError as error:
            # No TLS, or none that we speak; or gone in the middle of it.
            _LOG.debug("Connection from %s ended: %s", self.client_address, error)

    def handle_one_request(self) -> None:
        seconds = _IDLE_SECONDS if self._waits_for_more else self._head_seconds
        self._waits_for_more = True
        self._head = eventlet.Timeout(seconds, TimeoutError("the head of a request did not come in time"))
        try:
            super().handle_one_request()
        finally:
            self._head.cancel()

    def parse_request(self) -> bool:
        """Refuses a request of two lengths: whoever is in front of us may have taken the other one."""
        if not super().parse_request():
            return False
        if len(set(self.headers.get_all("Content-Length", []))) > 1:
            self.send_error(HTTPStatus.BAD_REQUEST, "More than one Content-Length")
            return False
        return True

    def get_environ(self) -> dict[str, Any]:
        assert self._head is not None
        self._head.cancel()
        environ: dict[str, Any] = super().get_environ()
        return environ

    def handle_one_response(self) -> None:
        with eventlet.Timeout(self._whole_seconds, TimeoutError("the answer was not taken in time")):
            super().handle_one_response()


def listen(host: str, port: int, tls: ssl.SSLContext | None = None) -> Listener:
    """Raises `ConfigurationError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = eventlet.listen((host, port), family=family, backlog=1024, reuse_port=False)
    except OSError as error:
        raise ConfigurationError(f"Cannot listen on {host} port {port}: {error.strerror or error}") from error
    # Connections have it from the listener. Without, the end of a long answer waits 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is not None:
        listener = tls.wrap_socket(listener, server_side=True, do_handshake_on_connect=False)
    return _SteadyListener(listener)


def allow_open_files(connections: int) -> None:
    """As many as that many connections need, as far as this process may. What is missing is told in the log."""
    wanted = connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        _LOG.warning("This process may open %s files; [api] max_connections = %s needs %s", hard, connections, wanted)


def serve(listener: Listener, app: WsgiApp, pool: eventlet.GreenPool, settings: ApiSettings) -> None:
    """Serve until the green thread is killed; one green thread of the pool for each connection."""
    limit = settings.request_timeout
    whole = limit + settings.client_timeout if limit else None
    eventlet.wsgi.server(
        listener,
        # Whatever stands in front of the application in the pipeline may fail, or take too long, as well.
        Faults(_ending(app, limit) if limit else app),
        custom_pool=pool,
        protocol=functools.partial(_Connection, head=settings.client_timeout, whole=whole),
        log=logging.getLogger("balancer.server"),
        log_output=False,
        socket_timeout=settings.client_timeout,
        keepalive=_IDLE_SECONDS,
        # Otherwise it answers with a traceback when something fails outside the application.
        debug=False,
    )


def _ending(app: WsgiApp, seconds: float) -> WsgiApp:
    def within(environ: dict[str, Any], start_response: Any) -> Any:
        with eventlet.Timeout(seconds, OutOfTime(seconds)):
            return app(environ, start_response)

    return within
