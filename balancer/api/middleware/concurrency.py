"""Bounds how many requests are worked on at once."""

from __future__ import annotations

import threading
from collections import Counter
from http import HTTPStatus
from typing import Any

from balancer.api.errors import HttpError
from balancer.api.wsgi import CALLER, Application
from balancer.core.model import Caller

EXEMPT = ("/healthcheck", "/metrics")
"""Whoever watches the service must see it also when it is busy."""


class Concurrency:
    """Refuses with 503 what comes while `most` requests are being worked on, or `most_of_project` (0: any number) of
    the project that asks. Requests that wait for a deployment are among them; those whose body has not come yet, when
    it is read before, are not."""

    def __init__(self, app: Application, most: int, most_of_project: int = 0) -> None:
        self._app = app
        self._most = most
        self._most_of_project = most_of_project
        self._lock = threading.Lock()
        self._busy = 0
        self._busy_of: Counter[str] = Counter()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ.get("PATH_INFO", "").rstrip("/") in EXEMPT:
            return self._app(environ, start_response)
        caller = environ.get(CALLER)
        project_id = caller.project_id if isinstance(caller, Caller) else None
        self._begin(project_id)
        try:
            return self._app(environ, start_response)
        finally:
            self._end(project_id)

    def _begin(self, project_id: str | None) -> None:
        with self._lock:
            if self._busy >= self._most:
                raise _busy("The service has as many requests as it works on at once; try again")
            if project_id is not None and 0 < self._most_of_project <= self._busy_of[project_id]:
                raise _busy("The service works on as many requests of this project as it does at once; try again")
            self._busy += 1
            if project_id is not None:
                self._busy_of[project_id] += 1

    def _end(self, project_id: str | None) -> None:
        with self._lock:
            self._busy -= 1
            if project_id is not None:
                self._busy_of[project_id] -= 1
                if not self._busy_of[project_id]:
                    del self._busy_of[project_id]


def _busy(sentence: str) -> HttpError:
    return HttpError(HTTPStatus.SERVICE_UNAVAILABLE, sentence, headers=[("Retry-After", "1")])
