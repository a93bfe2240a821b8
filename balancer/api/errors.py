"""From errors to HTTP: which error is which status, and what the body looks like."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from balancer import exceptions
from balancer.api.response import Response, reply
from balancer.api.terms import ALGORITHMS
from balancer.core.model import Algorithm

log = logging.getLogger(__name__)


class HttpError(exceptions.BalancerError):
    """The request fails as HTTP, before it means anything to the service: unknown path, method, media type."""

    def __init__(
        self, status: HTTPStatus, message: str, *, headers: Iterable[tuple[str, str]] = (), type_: str = ""
    ) -> None:
        """`type_`: what Neutron calls an error that is of its API only."""
        super().__init__(message)
        self.status = status
        self.headers = tuple(headers)
        self.type = type_


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
    """What a dialect needs to word an error. `field` is the path of the offending field, or empty; `error` is None
    when it is not to be shown."""

    status: HTTPStatus
    message: str
    field: str = ""
    error: exceptions.BalancerError | None = None
    headers: tuple[tuple[str, str], ...] = ()


def problem_of(
    error: Exception, request_id: str, statuses: Mapping[type[exceptions.BalancerError], HTTPStatus] = STATUSES
) -> Problem:
    """The problem behind an error. One that nobody raised on purpose is logged and not shown."""
    if isinstance(error, HttpError):
        return Problem(status=error.status, message=str(error), headers=error.headers, error=error)
    status = next((statuses[kind] for kind in type(error).__mro__ if kind in statuses), None)
    if status is None or not isinstance(error, exceptions.BalancerError):
        log.error("%s failed", request_id, exc_info=error)
        message = f"The request failed for a reason that is logged under {request_id}"
        return Problem(status=HTTPStatus.INTERNAL_SERVER_ERROR, message=message)
    retry = (("Retry-After", "1"),) if status is HTTPStatus.SERVICE_UNAVAILABLE else ()
    field = getattr(error, "field", "")
    return Problem(status=status, message=str(error), field=field, headers=retry, error=error)


# The model's words in those of the balancer API.
_BALANCER_FIELDS: Mapping[str, str] = {"members": "nodes", "virtual_ips": "virtualIps", "host": "ip"}


def balancer_body(problem: Problem) -> dict[str, Any]:
    """The body of the balancer API, also used outside every dialect."""
    body: dict[str, Any] = {
        "code": int(problem.status),
        "title": problem.status.phrase,
        "message": _balancer_message(problem),
    }
    if problem.field:
        body["field"] = _BALANCER_FIELDS.get(problem.field, problem.field)
    return {"error": body}


def _balancer_message(problem: Problem) -> str:
    message = problem.message
    for term in () if problem.error is None else problem.error.terms:
        message = re.sub(rf"\b{re.escape(term)}\b", ALGORITHMS[Algorithm(term)], message)
    return message


# --- LBaaS v2 and whatever else is below /v2 and /v2.0 --------------------------------------------------

OPENSTACK_STATUSES: Mapping[type[exceptions.BalancerError], HTTPStatus] = {
    **STATUSES,
    exceptions.Unsupported: HTTPStatus.NOT_IMPLEMENTED,
    exceptions.NotOffered: HTTPStatus.NOT_IMPLEMENTED,
    exceptions.NotOwned: HTTPStatus.FORBIDDEN,
    exceptions.NoSuitableDevice: HTTPStatus.SERVICE_UNAVAILABLE,
}
# The core's nouns in those of Octavia, and the types that NeutronError has names of its own for.
_NOUNS: Mapping[str, str] = {
    "Load balancer": "Load Balancer",
    "Virtual IP": "Listener",
    "Node": "Member",
    "Health monitor": "Health Monitor",
}
_TYPES: Mapping[type[exceptions.BalancerError], str] = {
    exceptions.NotFound: "EntityNotFound",
    exceptions.NotOwned: "PolicyNotAuthorized",
    exceptions.OverQuota: "OverQuota",
    exceptions.Forbidden: "PolicyNotAuthorized",
    exceptions.Unsupported: "NotSupported",
    exceptions.InvalidInput: "InvalidInput",
    exceptions.Conflict: "Conflict",
    exceptions.NoSuitableDevice: "NoEligibleBackend",
}
_QUOTA_KINDS: Mapping[str, str] = {
    "load_balancer": "Load Balancer",
    "health_monitor": "Health Monitor",
    "l7_policy": "L7Policy",
    "l7_rule": "L7Rule",
}
_OBJECT_ID = re.compile(
    r"(?<![0-9a-z-])([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})(?![0-9a-z-])"
)


def openstack_body(problem: Problem) -> dict[str, Any]:
    """What the clients of Octavia read, and beside it what those of Neutron do."""
    if problem.status is HTTPStatus.NOT_ACCEPTABLE:
        return {
            "errors": [
                {
                    "status": int(problem.status),
                    "title": problem.status.phrase,
                    "detail": problem.message,
                    "request_id": "",
                }
            ]
        }
    message = _openstack_message(problem)
    if isinstance(problem.error, exceptions.InUse):
        kind: str | None = f"{problem.error.kind}InUse"
    else:
        kind = next((_TYPES[each] for each in type(problem.error).__mro__ if each in _TYPES), None)
    return {
        "faultcode": "Server" if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "Client",
        "faultstring": message,
        "debuginfo": None,
        "NeutronError": {
            "type": kind or f"HTTP{problem.status.phrase.replace(' ', '')}",
            "message": message,
            "detail": "",
        },
    }


def _openstack_message(problem: Problem) -> str:
    error = problem.error
    # What a project may not point at is told with the rule; who may do what is not.
    if isinstance(error, exceptions.NotOwned) or (isinstance(error, exceptions.Forbidden) and not error.field):
        return "Policy does not allow this request to be performed."
    if isinstance(error, exceptions.OverQuota):
        kinds = ", ".join(_QUOTA_KINDS.get(each, each.capitalize()) for each in error.resources)
        return f"Quota has been met for resources: {kinds}. {error}"
    if isinstance(error, exceptions.NotFound):
        return f"{_NOUNS.get(error.kind, error.kind)} {dashed(error.object_id)} not found."
    return dashed(problem.message)


# --- LBaaS v1 -------------------------------------------------------------------------------------------

LBAAS_V1_STATUSES: Mapping[type[exceptions.BalancerError], HTTPStatus] = {
    **STATUSES,
    exceptions.OverQuota: HTTPStatus.CONFLICT,
}
_V1_NOUNS: Mapping[str, str] = {
    "Listener": "Vip",
    "Virtual IP": "Vip",
    "Load balancer": "Pool",
    "Node": "Member",
    "Health monitor": "HealthMonitor",
}
_V1_TYPES: Mapping[type[exceptions.BalancerError], str] = {
    exceptions.Forbidden: "PolicyNotAuthorized",
    exceptions.OverQuota: "OverQuota",
    exceptions.Malformed: "MalformedRequestBody",
    exceptions.Rejected: "HTTPBadRequest",
    exceptions.InvalidInput: "InvalidInput",
    exceptions.NoSuitableDevice: "NoEligibleBackend",
    exceptions.Conflict: "Conflict",
}
_V1_TYPES_OF_FIELDS: Mapping[tuple[type[exceptions.BalancerError], str], str] = {
    (exceptions.InvalidInput, "provider"): "ServiceProviderNotFound",
    (exceptions.InvalidInput, "limit"): "BadRequest",
    (exceptions.Conflict, "members"): "MemberExists",
    (exceptions.Conflict, "address"): "IpAddressInUse",
    (exceptions.Conflict, "virtual_ips"): "IpAddressInUse",
    (exceptions.Conflict, "subnet_id"): "IpAddressGenerationFailure",
}


def lbaas_v1_body(problem: Problem) -> dict[str, Any]:
    return {"NeutronError": {"type": _v1_type(problem), "message": _v1_message(problem), "detail": ""}}


def _v1_type(problem: Problem) -> str:
    error = problem.error
    if isinstance(error, HttpError) and error.type:
        return error.type
    if isinstance(error, exceptions.NotFound):
        return f"{_V1_NOUNS.get(error.kind, error.kind)}NotFound"
    if isinstance(error, exceptions.InUse):
        return f"{_V1_NOUNS.get(error.kind, error.kind)}InUse"
    named = _V1_TYPES_OF_FIELDS.get((type(error), problem.field))  # type: ignore[arg-type]
    kind = named or next((_V1_TYPES[each] for each in type(error).__mro__ if each in _V1_TYPES), None)
    return kind or f"HTTP{problem.status.phrase.replace(' ', '')}"


def _v1_message(problem: Problem) -> str:
    error = problem.error
    if isinstance(error, exceptions.NotFound):
        # Whether it is there or another project's makes no difference.
        return f"{_V1_NOUNS.get(error.kind, error.kind)} {dashed(error.object_id)} could not be found"
    if isinstance(error, exceptions.OverQuota):
        return f"Quota has been met for resources: {', '.join(error.resources)}. {error}".replace("listener", "vip")
    return _openstack_message(problem)


def dashed(text: str) -> str:
    """With the ids in it as UUIDs."""
    return _OBJECT_ID.sub(r"\1-\2-\3-\4-\5", text)


# --- which is worded how ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    statuses: Mapping[type[exceptions.BalancerError], HTTPStatus]
    body: Callable[[Problem], dict[str, Any]]


_BALANCER = Wording(statuses=STATUSES, body=balancer_body)
_OPENSTACK = Wording(statuses=OPENSTACK_STATUSES, body=openstack_body)
_LBAAS_V1 = Wording(statuses=LBAAS_V1_STATUSES, body=lbaas_v1_body)
OPENSTACK_PREFIXES = ("v2", "v2.0")


def wording_of(path: str) -> Wording:
    """How errors are told to whoever asked for that path."""
    prefix, _, rest = path.lstrip("/").partition("/")
    if prefix not in OPENSTACK_PREFIXES:
        return _BALANCER
    return _LBAAS_V1 if rest.partition("/")[0] == "lb" else _OPENSTACK


def response_to(error: Exception, request_id: str, path: str) -> Response:
    wording = wording_of(path)
    problem = problem_of(error, request_id, wording.statuses)
    response = reply(wording.body(problem), problem.status)
    response.headers.update(problem.headers)
    return response
