"""The thin layer over WebOb and Routes: one table of paths and methods, JSON in, JSON out.

A path that is known answers 405 for a method that it lacks, a trailing slash is the same resource, and HEAD is
GET without a body. Bodies were bounded before (`balancer.api.middleware.size`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs

import routes
import webob

from balancer.api.errors import OPENSTACK_PREFIXES, HttpError
from balancer.api.policy import Policy, Rule
from balancer.api.response import Response
from balancer.core.model import Caller
from balancer.exceptions import InvalidInput, Malformed, Rejected

CALLER = "balancer.caller"
REQUEST_ID = "balancer.request_id"
ROUTE = "balancer.route"
URL_PARTS = "balancer.url_parts"

_DEEPEST = 16
_LARGEST_INTEGER = 2**63 - 1
_UNUSABLE_TEXT = re.compile("[\x00\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Clients of OpenStack may say in the path what they want to get.
_SUFFIXED = tuple(f"/{prefix}/" for prefix in OPENSTACK_PREFIXES)
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")

Application = Callable[..., Any]
_EVERYBODY = Caller(admin=True)


def caller_of(environ: Mapping[str, Any]) -> Caller:
    """Whoever the `context` filter found; without that filter, an administrator."""
    caller = environ.get(CALLER)
    return caller if isinstance(caller, Caller) else _EVERYBODY


class NotAnObject(Rejected):
    """The body is JSON, but no object."""


class Request(webob.Request):
    """One request, whose `environ` the router has filled."""

    @property
    def caller(self) -> Caller:
        """As the policy lets it act."""
        return caller_of(self.environ)

    def part(self, name: str) -> str:
        """The part of the path with that name in the table."""
        value: str = self.environ[URL_PARTS][name]
        return value

    def flag(self, name: str) -> bool:
        """A yes-or-no of the query string; absent is no."""
        value = (self.query_text(name) or "0").lower()
        if value not in (*_TRUE, *_FALSE):
            raise InvalidInput(f"{name} must be 1 or 0", field=name)
        return value in _TRUE

    def number(self, name: str, default: int, *, least: int, most: int) -> int:
        """A whole number of the query string. Raises `InvalidInput`."""
        text = self.query_text(name)
        if text is None:
            return default
        value = int(text) if re.fullmatch(r"[0-9]{1,18}", text) else least - 1
        if not least <= value <= most:
            raise InvalidInput(f"{name} must be a whole number from {least} to {most}", field=name)
        return value

    def query_text(self, name: str) -> str | None:
        """A text of the query string; the last one of that name."""
        query = parse_qs(self.environ.get("QUERY_STRING", ""), keep_blank_values=True, errors="replace")
        values: list[str] = query.get(name, [])
        return values[-1] if values else None

    def prefers(self, preference: str) -> bool:
        """Whether the header ``Prefer`` (RFC 7240) has this preference."""
        listed = self.environ.get("HTTP_PREFER", "")
        return any(item.split(";")[0].strip().lower() == preference for item in listed.split(",")) if listed else False

    def json_object(self) -> dict[str, Any]:
        """The body, a JSON object. Raises `InvalidInput`, or `HttpError` 415 for another media type."""
        declared = self.environ.get("CONTENT_TYPE") or ""
        media, _, parameters = declared.partition(";")
        media = media.strip().lower()
        if media and media != "application/json" and not media.endswith("+json"):
            raise HttpError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "The body must be JSON: send it with Content-Type: application/json",
            )
        charset = re.search(r'charset\s*=\s*"?([^";\s]*)', parameters, re.IGNORECASE)
        if charset and charset[1].lower() not in ("utf-8", "utf8"):
            raise HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "JSON is read as UTF-8 only")
        return _parse_object(self.body)


def _parse_object(body: bytes) -> dict[str, Any]:
    if not body.strip():
        raise Rejected("The body is empty; a JSON object is expected")
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_bounded,
        )
    except UnicodeDecodeError:
        raise Malformed("The body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise Malformed(f"The body is not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise InvalidInput(f"The body is nested more than {_DEEPEST} deep") from None
    if not isinstance(value, dict):
        raise NotAnObject("The body must be a JSON object")
    _check_values(value)
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidInput("The body has the same key twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise Malformed(f"The body is not JSON: {name} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidInput("The body has a number that is too large")
    return number


def _bounded(text: str) -> int:
    # The length first: turning very long digits into a number is slow, and refused by Python itself.
    if len(text) > 20 or abs(int(text)) > _LARGEST_INTEGER:
        raise InvalidInput("The body has an integer of more than 64 bits")
    return int(text)


def _check_values(value: Any) -> None:
    """Depth, and text that no database and no reply could carry."""
    level = [value]
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.keys()
                below += item.values()
            elif isinstance(item, list):
                below += item
            elif isinstance(item, str) and _UNUSABLE_TEXT.search(item):
                raise InvalidInput("The body has text with a NUL or with half a surrogate pair")
        if not below:
            return
        level = below
    raise InvalidInput(f"The body is nested more than {_DEEPEST} deep")


Handler = Callable[[Request], Response]


@dataclass(frozen=True, slots=True)
class Route:
    """What answers, and the policy rule that is asked before."""

    rule: Rule
    handler: Handler


@dataclass(frozen=True, slots=True)
class Guard:
    """Makes routes of a dialect whose rules all have the same default: ``read("node:show", does.show_node)``."""

    prefix: str
    default: str

    def __call__(self, name: str, handler: Handler) -> Route:
        return Route(Rule(f"{self.prefix}:{name}", self.default), handler)


Table = Mapping[str, Mapping[str, Route]]
"""Path (in the syntax of Routes) to method to route. An earlier path wins over a later one."""

# The parts of paths that are a project's id.
_PROJECT_PARTS = ("tenant", "project_id")


def operations(table: Table) -> Iterator[tuple[Rule, str, str]]:
    """Rule, method and path of every route."""
    for path, methods in table.items():
        for method, route in methods.items():
            yield route.rule, method, path


class Router:
    """A WSGI application that serves a table. `requirements` are regular expressions for parts of paths."""

    def __init__(self, table: Table, requirements: Mapping[str, str], policy: Policy) -> None:
        self._policy = policy
        self._paths = list(table)
        self._methods = list(table.values())
        self._mapper = routes.Mapper(register=False, controller_scan=None)
        self._mapper.minimization = False
        for number, path in enumerate(table):
            wanted = {part: regex for part, regex in requirements.items() if f"{{{part}}}" in path}
            self._mapper.connect(None, path, row=str(number), requirements=wanted)
        self._mapper.create_regs([])
        # Most paths are asked for again and again.
        self._found = lru_cache(maxsize=1000)(self._find)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        return self._answer(environ)(environ, start_response)

    def _find(self, path: str) -> tuple[int, Mapping[str, str]] | None:
        """The number of its row in the table and its parts, which others may see, too."""
        found = self._mapper.match(path)
        if found is None:
            return None
        return int(found["row"]), MappingProxyType({name: part for name, part in found.items() if name != "row"})

    def _answer(self, environ: dict[str, Any]) -> Response:
        found = self._found(_path(environ))
        if found is None:
            raise HttpError(HTTPStatus.NOT_FOUND, "There is nothing at this path")
        row, parts = found
        methods, method = self._methods[row], environ["REQUEST_METHOD"]
        environ[ROUTE], environ[URL_PARTS] = self._paths[row], parts
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            allowed = sorted({*methods, *(("HEAD",) if "GET" in methods else ())})
            raise HttpError(
                HTTPStatus.METHOD_NOT_ALLOWED,
                f"This path knows {', '.join(allowed)}",
                headers=[("Allow", ", ".join(allowed))],
            )
        project_id = next((parts[part] for part in _PROJECT_PARTS if part in parts), None)
        environ[CALLER] = self._policy.authorise(route.rule, caller_of(environ), project_id)
        return route.handler(Request(environ))


def _path(environ: Mapping[str, Any]) -> str:
    try:
        path: str = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8")
    except UnicodeError:
        raise HttpError(HTTPStatus.BAD_REQUEST, "The path is not UTF-8") from None
    if _CONTROL.search(path):
        raise HttpError(HTTPStatus.BAD_REQUEST, "The path has a control character")
    if path.startswith(_SUFFIXED):
        path = path.removesuffix(".json")
    return path.rstrip("/") or "/"
