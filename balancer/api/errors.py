"""From errors to HTTP: which error is which status, and what the body looks like."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import webob

from balancer import exceptions

log = logging.getLogger(__name__)


class HttpError(exceptions.BalancerError):
    """The request fails as HTTP, before it means anything to the service: unknown path, method, media type."""

    def __init__(self, status: HTTPStatus, message: str, *, headers: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.headers = tuple(headers)


# The most specific type wins, so the order does not matter.
STATUSES: Mapping[type[exceptions.BalancerError], HTTPStatus] = {
    exceptions.InvalidInput: HTTPStatus.BAD_REQUEST,
    exceptions.Forbidden: HTTPStatus.FORBIDDEN,
    exceptions.OverQuota: HTTPStatus.FORBIDDEN,
    exceptions.NotFound: HTTPStatus.NOT_FOUND,
    exceptions.NoSuitableDevice: HTTPStatus.NOT_FOUND,
    exceptions.Conflict: HTTPStatus.CONFLICT,
    exceptions.StaleGeneration: HTTPStatus.CONFLICT,
    exceptions.DeviceError: HTTPStatus.BAD_GATEWAY,
    exceptions.KeysUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    exceptions.IdentityUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    exceptions.DatabaseUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    exceptions.DatabaseNotSynced: HTTPStatus.SERVICE_UNAVAILABLE,
    exceptions.LeaseLost: HTTPStatus.SERVICE_UNAVAILABLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a dialect needs to word an error. `field` is the path of the offending field, or empty."""

    status: HTTPStatus
    message: str
    field: str = ""
    headers: tuple[tuple[str, str], ...] = ()


def problem_of(error: Exception, request_id: str) -> Problem:
    """The problem behind an error. One that nobody raised on purpose is logged and not shown."""
    if isinstance(error, HttpError):
        return Problem(status=error.status, message=str(error), headers=error.headers)
    status = next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), None)
    if status is None:
        log.error("%s failed", request_id, exc_info=error)
        message = f"The request failed for a reason that is logged under {request_id}"
        return Problem(status=HTTPStatus.INTERNAL_SERVER_ERROR, message=message)
    retry = (("Retry-After", "1"),) if status is HTTPStatus.SERVICE_UNAVAILABLE else ()
    return Problem(status=status, message=str(error), field=getattr(error, "field", ""), headers=retry)


# The model's words in those of the balancer API.
_BALANCER_FIELDS: Mapping[str, str] = {"members": "nodes", "virtual_ips": "virtualIps", "host": "ip"}


def balancer_body(problem: Problem) -> dict[str, Any]:
    """The body of the balancer API, also used outside every dialect."""
    body: dict[str, Any] = {
        "code": int(problem.status),
        "title": problem.status.phrase,
        "message": problem.message,
    }
    if problem.field:
        body["field"] = _BALANCER_FIELDS.get(problem.field, problem.field)
    return {"error": body}


def response_to(error: Exception, request_id: str) -> webob.Response:
    problem = problem_of(error, request_id)
    response = webob.Response(
        status=f"{int(problem.status)} {problem.status.phrase}",
        content_type="application/json",
        body=json.dumps(balancer_body(problem)).encode(),
    )
    for name, value in problem.headers:
        response.headers[name] = value
    return response
