"""Gives every request an id, in the environ and in ``X-Openstack-Request-Id``, and logs one line about it."""

from __future__ import annotations

import logging
import time
import uuid
from typing import Any
from urllib.parse import quote

from balancer.api.wsgi import CALLER, REQUEST_ID, Application
from balancer.core.model import Caller

log = logging.getLogger(__name__)


class AccessLog:
    def __init__(self, app: Application) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        started = time.monotonic()
        request_id = f"req-{uuid.uuid4()}"
        environ[REQUEST_ID] = request_id
        status = "-"

        def start(line: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            nonlocal status
            status = line.split(" ", 1)[0]
            return start_response(line, [*headers, ("X-Openstack-Request-Id", request_id)], *rest)

        try:
            return self._app(environ, start)
        finally:
            caller = environ.get(CALLER)
            # Percent-encoded, so that nobody can put a line of his own into the log.
            path = environ.get("PATH_INFO", "").encode("latin-1", "replace")
            log.info(
                "%s %s %s %s user=%s %.3fs %s",
                environ.get("REMOTE_ADDR", "-"),
                quote(environ.get("REQUEST_METHOD", "-")),
                quote(path),
                status,
                (caller.user_id if isinstance(caller, Caller) else None) or "-",
                time.monotonic() - started,
                request_id,
            )
