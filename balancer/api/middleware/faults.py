"""Turns every error below it into a response."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from balancer.api.errors import HttpError, response_to
from balancer.api.wsgi import REQUEST_ID, Application


class OutOfTime(BaseException):
    """A request took longer than `seconds`. Whatever it was waiting in must pass this on and clean up, so it is no
    `Exception`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"not done within {seconds:g} s")
        self.seconds = seconds


class Faults:
    def __init__(self, app: Application) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        try:
            return self._app(environ, start_response)
        except OutOfTime as error:
            problem: Exception = HttpError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"The request was not done within {error.seconds:g} seconds; a change may be stored all the same",
                headers=[("Retry-After", "5")],
            )
        except Exception as error:
            problem = error
        response = response_to(problem, environ.get(REQUEST_ID, ""), environ.get("PATH_INFO", ""))
        return response(environ, start_response)
