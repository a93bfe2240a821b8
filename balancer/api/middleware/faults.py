"""Turns every error below it into a response."""

from __future__ import annotations

from typing import Any

from balancer.api.errors import response_to
from balancer.api.wsgi import REQUEST_ID, Application


class Faults:
    def __init__(self, app: Application) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        try:
            return self._app(environ, start_response)
        except Exception as error:
            return response_to(error, environ.get(REQUEST_ID, ""))(environ, start_response)
