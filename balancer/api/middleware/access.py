"""Gives every request an id, in the environ, in ``X-Openstack-Request-Id`` and in every line of the log about it, and
tells what came of it: a line in the log, a line for the audit, the metrics."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from balancer.api import audit, metrics
from balancer.api.wsgi import REQUEST_ID, ROUTE, URL_PARTS, Application, caller_of

log = logging.getLogger(__name__)

GLOBAL_ID_HEADERS = ("HTTP_X_OPENSTACK_REQUEST_ID", "HTTP_X_OPENSTACK_GLOBAL_ID")
_REQUEST_ID = re.compile(r"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_current: ContextVar[str] = ContextVar("request id", default="-")


class RequestIdFilter(logging.Filter):
    """Gives each record the id of the request that it belongs to, ``-`` for none."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = _current.get()
        return True


@dataclass(slots=True, kw_only=True)
class _Answer:
    status: str = "-"
    body: Sequence[bytes] = field(default=())


class AccessLog:
    def __init__(self, app: Application) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        started = time.monotonic()
        request_id = f"req-{uuid.uuid4()}"
        environ[REQUEST_ID] = request_id
        answer = _Answer()

        def start(line: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            answer.status = line.split(" ", 1)[0]
            return start_response(line, [*headers, ("X-Openstack-Request-Id", request_id)], *rest)

        token = _current.set(request_id)
        try:
            result = self._app(environ, start)
            if isinstance(result, list):
                answer.body = result
            return result
        finally:
            self._tell(environ, answer, time.monotonic() - started)
            _current.reset(token)

    @staticmethod
    def _tell(environ: dict[str, Any], answer: _Answer, seconds: float) -> None:
        caller = caller_of(environ)
        global_id = _global_id(environ)
        log.info(
            "%s %s %s %s user=%s project=%s %.3fs %s global=%s",
            environ.get("REMOTE_ADDR", "-"),
            quote(environ.get("REQUEST_METHOD", "-")),
            # Percent-encoded, so that nobody can put a line of his own into the log.
            quote(environ.get("PATH_INFO", "").encode("latin-1", "replace")),
            answer.status,
            caller.user_id or "-",
            caller.project_id or "-",
            seconds,
            environ[REQUEST_ID],
            global_id or "-",
        )
        method, route = environ.get("REQUEST_METHOD", ""), environ.get(ROUTE, "")
        metrics.request(method, route, answer.status, seconds)
        audit.request(
            request_id=environ[REQUEST_ID],
            global_id=global_id,
            caller=caller,
            address=environ.get("REMOTE_ADDR", ""),
            method=method,
            route=route,
            parts=environ.get(URL_PARTS, {}),
            status=answer.status,
            body=answer.body,
        )


def _global_id(environ: dict[str, Any]) -> str | None:
    """The id that the caller gave to all its requests in one matter. Anything else than such an id is passed over."""
    sent = [environ[name] for name in GLOBAL_ID_HEADERS if name in environ]
    return next((text for text in sent if _REQUEST_ID.fullmatch(text)), None)
