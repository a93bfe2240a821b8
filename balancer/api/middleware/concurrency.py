"""Bounds how many requests are worked on at once."""

from __future__ import annotations

import threading
from http import HTTPStatus
from typing import Any

from balancer.api.errors import HttpError
from balancer.api.wsgi import Application

EXEMPT = ("/healthcheck", "/metrics")
"""Whoever watches the service must see it also when it is busy."""


class Concurrency:
    """Refuses with 503 what comes while `most` requests are being worked on. Requests that wait for a deployment are
    among them; those whose body has not come yet, when it is read before, are not."""

    def __init__(self, app: Application, most: int) -> None:
        self._app = app
        self._free = threading.BoundedSemaphore(most)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ.get("PATH_INFO", "").rstrip("/") in EXEMPT:
            return self._app(environ, start_response)
        if not self._free.acquire(blocking=False):
            raise HttpError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "The service has as many requests as it works on at once; try again",
                headers=[("Retry-After", "1")],
            )
        try:
            return self._app(environ, start_response)
        finally:
            self._free.release()
