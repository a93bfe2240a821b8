"""The description of the balancer API (OpenAPI 3.1), served at ``/openapi.json``.

Everything in it comes from what serves and validates: the table of routes and the schemas. What these do not know of an
operation, a sentence and the shapes of its body and its answer, stands here, and the reference's table of routes is
made of it, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any

from balancer.api.policy import PUBLIC, READ, Rule
from balancer.api.response import Response, reply, to_json
from balancer.api.v1 import objects, schemas
from balancer.api.v1.names import RESERVED
from balancer.api.validation import FORMATS
from balancer.api.wsgi import Request, Route, Table

Schema = Mapping[str, Any]
Json = dict[str, Any]

PATH = "/openapi.json"
REFERENCE = "#/components/schemas/"

_OK, _ACCEPTED, _NO_CONTENT = HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT


# --- shapes of bodies and answers ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class One:
    """``{key: object}``. `flat`: as a body also the object itself."""

    schema: Schema
    key: str = ""
    flat: bool = False


@dataclass(frozen=True, slots=True)
class Many:
    """``{key: [object, …]}``."""

    schema: Schema
    key: str
    least: int = 0


@dataclass(frozen=True, slots=True)
class Bare:
    """The object itself."""

    schema: Schema


@dataclass(frozen=True, slots=True)
class Text:
    """No JSON."""

    media: str


Shape = One | Many | Bare | Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """`does` is for the reference, with `code` in backticks. `answer` None: without a body. `also` are statuses beyond
    those that follow from path, method and body. `query` names parameters of `_QUERY`."""

    does: str
    answer: Shape | None = None
    status: HTTPStatus = _OK
    body: Shape | None = None
    query: tuple[str, ...] = ()
    also: tuple[HTTPStatus, ...] = ()


_DEVICE = One(schemas.DEVICE, "device")
_BALANCER = One(schemas.LOAD_BALANCER, "loadbalancer")
_NODE = One(schemas.NODE, "node")
_VIRTUAL_IP = One(schemas.VIRTUAL_IP, "virtualIp")
_MONITOR = One(schemas.HEALTH_MONITORING, "healthMonitoring")
_PERSISTENCE = One(schemas.SESSION_PERSISTENCE, "sessionPersistence")
_NAMES = {"type": "array", "items": {"type": "string"}}
_ALGORITHMS = Bare({"type": "object", "properties": {"algorithms": _NAMES}, "required": ["algorithms"]})
_PROTOCOLS = Bare({"type": "object", "properties": {"protocols": _NAMES}, "required": ["protocols"]})
_DRY_RUN = One(schemas.DRY_RUN, "dry_run")
_PAGE = ("limit", "marker")

_BALANCERS = "/{tenant}/loadbalancers"
_ITS = "/{tenant}/loadbalancers/{lb_id}"


# Children are validated one by one, by schemas of their own.
_CREATION: Schema = {
    **schemas.LOAD_BALANCER,
    "title": "loadbalancer creation",
    "properties": {
        **schemas.LOAD_BALANCER["properties"],
        **schemas.LOAD_BALANCER_CHILDREN["properties"],
        **{
            key: {**schemas.LOAD_BALANCER_CHILDREN["properties"][key], "items": items}
            for key, items in (
                ("nodes", schemas.NODE),
                ("virtualIps", schemas.VIRTUAL_IP),
                ("healthMonitor", schemas.HEALTH_MONITORING),
                ("sessionPersistence", schemas.SESSION_PERSISTENCE),
            )
        },
    },
}


def _listing(description: str, schema: Schema) -> Schema:
    return {"type": "array", "readOnly": True, "description": description, "items": schema}


_DETAILS: Schema = {
    "title": "loadbalancer, with all its children",
    "type": "object",
    "properties": {
        **schemas.LOAD_BALANCER["properties"],
        "nodes": _listing("Its nodes.", schemas.NODE),
        "virtualIps": _listing("Its virtual IPs.", schemas.VIRTUAL_IP),
        "healthMonitor": _listing("Its health monitors.", schemas.HEALTH_MONITORING),
        "sessionPersistence": _listing("Its session persistence.", schemas.SESSION_PERSISTENCE),
    },
}


def _flat(shape: One) -> One:
    return One(shape.schema, shape.key, flat=True)


def _listed(shape: One, key: str = "") -> Many:
    return Many(shape.schema, key or f"{shape.key}s")


OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("GET", "/"): Operation(does="the dialects that are served and where", answer=Many(schemas.VERSION, "versions")),
    ("GET", PATH): Operation(does="this description", answer=Bare({"type": "object"})),
    ("GET", "/healthcheck"): Operation(
        does="whether the service can read its database and has a worker, else 503; to administrators also which "
        "workers, and how many devices are in which state",
        answer=Bare(schemas.HEALTH),
    ),
    ("GET", "/metrics"): Operation(does="figures for Prometheus (administrators)", answer=Text("text/plain")),
    ("GET", "/devices"): Operation(does="all devices (administrators)", answer=_listed(_DEVICE), query=_PAGE),
    ("POST", "/devices"): Operation(
        does="register a device (administrators). A device that cannot be reached is registered too",
        body=_flat(_DEVICE),
        answer=_DEVICE,
    ),
    ("GET", "/devices/{device_id}"): Operation(
        does="one device (administrators). Passwords and keys are masked", answer=_DEVICE
    ),
    ("PUT", "/devices/{device_id}"): Operation(
        does="change what was registered (administrators); the device is looked at and deployed anew",
        body=_flat(_DEVICE),
        answer=_DEVICE,
    ),
    ("DELETE", "/devices/{device_id}"): Operation(
        does="remove a device (administrators). Refused with 409 while load balancers are on it; `?force=1` drops them "
        "with it (those that are on their way to it stay where they are served), and the host must then be cleaned by "
        "hand",
        status=_NO_CONTENT,
        query=("force",),
    ),
    ("GET", "/devices/{device_id}/info"): Operation(
        does="what was last seen of a device (administrators): reachability, version, host key, last deployment, "
        "findings, drift. `?refresh=1` looks now",
        answer=One(schemas.DEVICE_INFO, "device"),
        query=("refresh",),
    ),
    ("GET", "/devices/{device_id}/deployments"): Operation(
        does="what was done to a device, the newest first (administrators); `?limit=` says how many, 20 unless given, "
        "1000 at most",
        answer=Many(schemas.DEPLOYMENT, "deployments"),
        query=("limit",),
    ),
    ("GET", "/devices/{device_id}/deployments/{n}"): Operation(
        does="one of them, with its `diff` (administrators)", answer=One(schemas.DEPLOYMENT, "deployment")
    ),
    ("POST", "/devices/{device_id}/retry"): Operation(
        does="deploy anew at once, whatever failed before (administrators)", answer=_DEVICE
    ),
    ("POST", "/devices/{device_id}/resync"): Operation(
        does="make the device run what is stored, whatever was changed on it by hand, with a reload even where nothing "
        "seems to differ (administrators)",
        answer=_DEVICE,
    ),
    ("POST", "/devices/{device_id}/adopt"): Operation(
        does="let the next deployment replace what another database, or a later state of this one, has left on the "
        "device (administrators)",
        answer=_DEVICE,
    ),
    ("GET", "/algorithms"): Operation(does="algorithms that the registered devices offer", answer=_ALGORITHMS),
    ("GET", "/protocols"): Operation(does="protocols that the registered devices offer", answer=_PROTOCOLS),
    ("GET", "/{tenant}/quotas"): Operation(
        does="how many objects the project may have, and how many count", answer=Bare(schemas.QUOTAS)
    ),
    ("PUT", "/{tenant}/quotas"): Operation(
        does="change some of the limits (administrators); null: the default",
        body=One(schemas.QUOTA, "quota", flat=True),
        answer=Bare(schemas.QUOTAS),
    ),
    ("DELETE", "/{tenant}/quotas"): Operation(does="the defaults hold again (administrators)", status=_NO_CONTENT),
    ("GET", _BALANCERS): Operation(
        does="the project's load balancers, without children", answer=_listed(_BALANCER), query=_PAGE
    ),
    ("POST", _BALANCERS): Operation(
        does="create one with all its children; `device_id` pins it to a device. 404 when no device fits",
        body=One(_CREATION, "loadbalancer", flat=True),
        answer=One(schemas.ACCEPTED, "loadbalancer"),
        status=_ACCEPTED,
        also=(HTTPStatus.NOT_FOUND,),
    ),
    ("GET", f"{_BALANCERS}/find_for_VM/{{vm_id}}"): Operation(
        does="load balancers with a node of that `vm_id`", answer=_listed(_BALANCER)
    ),
    ("GET", _ITS): Operation(does="one, without children", answer=_BALANCER),
    ("PUT", _ITS): Operation(
        does="change name, algorithm, protocol or fields of your own; it moves to another device when the present one "
        "cannot do that, and is served by that one until the new one serves it (pinned: 409)",
        body=_flat(_BALANCER),
        answer=One(schemas.ACCEPTED, "loadbalancer"),
        status=_ACCEPTED,
    ),
    ("DELETE", _ITS): Operation(
        does="delete it with all its children; it is gone from every reply at once", status=_NO_CONTENT
    ),
    ("GET", f"{_ITS}/details"): Operation(
        does="one with nodes, virtual IPs, health monitors and session persistence, not wrapped in a key",
        answer=Bare(_DETAILS),
    ),
    ("GET", f"{_ITS}/stats"): Operation(
        does="its counters and states, as the device was last seen; `?refresh=1` looks now",
        answer=One(schemas.STATISTICS, "stats"),
        query=("refresh",),
    ),
    ("GET", f"{_ITS}/nodes"): Operation(does="its nodes", answer=_listed(_NODE)),
    ("POST", f"{_ITS}/nodes"): Operation(
        does='add the nodes of `{"nodes": […]}`; answers with the new ones',
        body=Many(schemas.NODE, "nodes", least=1),
        answer=_listed(_NODE),
    ),
    ("PUT", f"{_ITS}/nodes"): Operation(
        does='add the node of `{"node": {…}}`, a form that old scripts use', body=_NODE, answer=_listed(_NODE)
    ),
    ("GET", f"{_ITS}/nodes/{{node_id}}"): Operation(does="one node", answer=_NODE),
    ("PUT", f"{_ITS}/nodes/{{node_id}}"): Operation(
        does='change a node; flat, or `{"node": {…}}`', body=_flat(_NODE), answer=_NODE
    ),
    ("DELETE", f"{_ITS}/nodes/{{node_id}}"): Operation(does="remove a node", status=_NO_CONTENT),
    ("PUT", f"{_ITS}/nodes/{{node_id}}/{{status}}"): Operation(
        does="`inservice` puts it in rotation, `outofservice` takes it out, `drain`, `suspend` and `standby` let it "
        "run dry; no body",
        answer=_NODE,
    ),
    ("GET", f"{_ITS}/virtualIps"): Operation(does="its virtual IPs", answer=_listed(_VIRTUAL_IP)),
    ("POST", f"{_ITS}/virtualIps"): Operation(
        does='add one, `{"virtualIp": {…}}`', body=_flat(_VIRTUAL_IP), answer=_VIRTUAL_IP
    ),
    ("GET", f"{_ITS}/virtualIps/{{vip_id}}"): Operation(does="one virtual IP", answer=_VIRTUAL_IP),
    ("PUT", f"{_ITS}/virtualIps/{{vip_id}}"): Operation(does="change it", body=_flat(_VIRTUAL_IP), answer=_VIRTUAL_IP),
    ("DELETE", f"{_ITS}/virtualIps/{{vip_id}}"): Operation(does="remove it", status=_NO_CONTENT),
    ("GET", f"{_ITS}/healthMonitoring"): Operation(
        does="its health monitors", answer=_listed(_MONITOR, "healthMonitoring")
    ),
    ("POST", f"{_ITS}/healthMonitoring"): Operation(
        does='add one, `{"healthMonitoring": {…}}`', body=_flat(_MONITOR), answer=_MONITOR
    ),
    ("PUT", f"{_ITS}/healthMonitoring"): Operation(
        does="the same, a form that old scripts use", body=_flat(_MONITOR), answer=_MONITOR
    ),
    ("GET", f"{_ITS}/healthMonitoring/{{probe_id}}"): Operation(does="one health monitor", answer=_MONITOR),
    ("DELETE", f"{_ITS}/healthMonitoring/{{probe_id}}"): Operation(does="remove it", status=_NO_CONTENT),
    ("GET", f"{_ITS}/sessionPersistence"): Operation(
        does="its session persistence, a list", answer=_listed(_PERSISTENCE, "sessionPersistence")
    ),
    ("POST", f"{_ITS}/sessionPersistence"): Operation(
        does='set it; flat, or `{"sessionPersistence": {…}}`', body=_flat(_PERSISTENCE), answer=_PERSISTENCE
    ),
    ("GET", f"{_ITS}/sessionPersistence/{{sticky_id}}"): Operation(does="one of the list", answer=_PERSISTENCE),
    ("DELETE", f"{_ITS}/sessionPersistence/{{sticky_id}}"): Operation(does="remove it", status=_NO_CONTENT),
}

_ID: Schema = {"type": "string", **FORMATS["object-id"].schema}
_FLAG: Schema = {"type": "string", "enum": ["0", "1"]}
_QUERY: Mapping[str, tuple[str, Schema]] = {
    "limit": ("How many at most.", {"type": "integer", "minimum": 1, "maximum": 1000}),
    "marker": ("After the one of this id.", _ID),
    "force": ("Whatever is on it.", _FLAG),
    "refresh": ("Have the device looked at before the answer.", _FLAG),
    "dry_run": ("Only tell what would be done: 200 and `dry_run`, or the error.", _FLAG),
}
_PARTS: Mapping[str, tuple[str, Schema]] = {
    "tenant": (
        "The project's id.",
        {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$", "not": {"enum": list(RESERVED)}},
    ),
    "n": ("The deployment's number.", {"type": "integer", "minimum": 1, "maximum": 10**18 - 1}),
    "vm_id": ("The `vm_id` of a node.", {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}),
    "status": ("What to do with the node.", {"type": "string", "enum": list(objects.ROTATION_NAMES)}),
}


def of(method: str, path: str) -> Operation:
    """The operation of a route. Raises `KeyError`: it is to be written down above."""
    known = OPERATIONS.get((method, path))
    return known or OPERATIONS[method, path.removeprefix("/{tenant}")]


# --- from the schemas that validate to those that describe --------------------------------------


def sent(schema: Schema, *, whole: bool = True) -> Json:
    """What a caller may send as an object; `whole` False: of a change, which need not name every field."""
    fields = {name: field for name, field in schema["properties"].items() if not field.get("readOnly")}
    described: Json = {
        "type": "object",
        "properties": {name: _sent_field(field) for name, field in fields.items()},
        "required": list(schema.get("required", ())) if whole else [],
        "additionalProperties": schema.get("additionalProperties", {"$ref": f"{REFERENCE}extra"}),
    }
    if described["additionalProperties"]:
        described["propertyNames"] = _EXTRA_NAME
    spellings = [[field["x-alias-of"], name] for name, field in fields.items() if "x-alias-of" in field]
    if spellings:
        described["allOf"] = [{"not": {"required": both}} for both in spellings]
    one_of = schema.get("x-one-of", ())
    if one_of and whole:
        described["oneOf"] = [{"required": [name]} for name in one_of]
    return described


def _sent_field(field: Schema) -> Json:
    """In the words of JSON Schema alone. A null stands for the default."""
    kept = {key: value for key, value in field.items() if not key.startswith("x-") and key not in ("format", "default")}
    if "title" in kept:
        return sent(field)
    if field.get("default") is not None:
        kept["default"] = field["default"]
    if "items" in field:
        kept["items"] = _sent_field(field["items"])
    if "properties" in field:
        kept["properties"] = {name: _sent_field(each) for name, each in field["properties"].items()}
    if "format" in field:
        kept["allOf"] = [FORMATS[field["format"]].schema]
    if "x-alias-of" in field:
        kept["deprecated"] = True
    return kept


def shown(schema: Schema) -> Json:
    """What an answer shows of an object: what was sent in the spelling in which it was sent, and fields of its own."""
    return {
        "type": "object",
        "properties": {name: _shown_field(field) for name, field in schema["properties"].items()},
        "required": [
            name
            for name, field in schema["properties"].items()
            if field.get("readOnly") and not field.get("x-optional")
        ],
    }


def _shown_field(field: Schema) -> Json:
    if "title" in field:
        return shown(field)
    if field.get("readOnly"):
        kept = {key: value for key, value in field.items() if not key.startswith("x-")}
        if "items" in kept:
            kept["items"] = shown(kept["items"]) if "title" in kept["items"] else kept["items"]
        if "properties" in kept:
            kept |= shown(kept)
        return kept
    return {"description": field["description"]} if "description" in field else {}


# --- the description ------------------------------------------------------------------------------


_EXTRA_NAME: Json = {"minLength": 1, "maxLength": 255, "pattern": FORMATS["text"].schema["pattern"]}
_SIMPLE: list[Json] = [
    {"type": "string", "pattern": r"^[^\x00]*$"},
    {"type": "integer", "minimum": -(2**63) + 1, "maximum": 2**63 - 1},
    {"type": "number", "minimum": -1e300, "maximum": 1e300},
    {"type": ["boolean", "null"]},
]
_EXTRA: Json = {
    "description": "Any JSON, nested at most 16 deep and 16 KiB long with all others of the object.",
    "anyOf": [
        *_SIMPLE,
        {"type": "array", "items": {"anyOf": _SIMPLE}},
        {
            "type": "object",
            "propertyNames": {"pattern": r"^[^\x00]*$"},
            "additionalProperties": {"anyOf": _SIMPLE},
        },
    ],
}


@cache
def _problem() -> Json:
    error = {
        "type": "object",
        "properties": {
            "code": {"type": "integer"},
            "title": {"type": "string"},
            "message": {"type": "string"},
            "field": {"type": "string", "description": "The field of the request that is to blame."},
        },
        "required": ["code", "title", "message"],
        "additionalProperties": False,
    }
    return {"type": "object", "properties": {"error": error}, "required": ["error"], "additionalProperties": False}


class Description:
    """Collects the schemas that operations refer to."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._schemas: Json = {"error": _problem(), "extra": _EXTRA}

    def document(self) -> Json:
        paths: dict[str, Json] = {}
        for path, methods in self._table.items():
            parts = re.findall(r"{(\w+)}", path)
            paths[path] = {
                **({"parameters": [_part(name) for name in parts]} if parts else {}),
                **{method.lower(): self._operation(method, path, route) for method, route in methods.items()},
            }
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "balancer API",
                "version": "1.0",
                "description": "Numbers and flags may be sent as text, and names in any case. Fields that are not "
                "listed are stored and returned as they were sent. A method that a path does not have gets 405.",
            },
            "servers": [{"url": "/"}],
            "security": [{"token": []}, {}],
            "paths": paths,
            "components": {
                "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}},
                "schemas": dict(sorted(self._schemas.items())),
                "responses": {"error": self._response(HTTPStatus.BAD_REQUEST, self._refer("error"), "It was refused.")},
                "headers": {
                    "request-id": {
                        "description": "Under this id the request is in the log.",
                        "required": True,
                        "schema": {"type": "string", "pattern": "^req-[0-9a-f-]{36}$"},
                    }
                },
            },
        }

    def _operation(self, method: str, path: str, route: Route) -> Json:
        does = of(method, path)
        query = (*does.query, *(("dry_run",) if method != "GET" else ()))
        described: Json = {
            "summary": does.does,
            "operationId": f"{method.lower()}{re.sub(r'[^A-Za-z]+', '_', path)}".rstrip("_"),
            "responses": self._responses(method, path, does, route),
        }
        if route.rule == PUBLIC:
            described["security"] = [{}]
        if query:
            described["parameters"] = [
                {"name": name, "in": "query", "description": _QUERY[name][0], "schema": dict(_QUERY[name][1])}
                for name in query
            ]
        if does.body is not None:
            # What PUT has at a path of one object is a change of it.
            whole = method == "POST" or (not path.endswith("_id}") and not path.endswith("quotas"))
            body = self._body(does.body, whole=whole)
            described["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
        return described

    def _responses(self, method: str, path: str, does: Operation, route: Route) -> Json:
        found = {does.status: self._response(does.status, self._answer(does.answer), "It was done.", does.answer)}
        if method != "GET":
            tried = self._answer(_DRY_RUN)
            if does.status is _OK:
                assert does.answer is not None
                tried = {"anyOf": [self._answer(does.answer), tried]}
            found[_OK] = self._response(_OK, tried, "It was done, or with `dry_run` only tried out.")
        refusals = {*does.also, HTTPStatus.BAD_REQUEST, HTTPStatus.INTERNAL_SERVER_ERROR}
        refusals |= {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.SERVICE_UNAVAILABLE}
        if route.rule != PUBLIC:
            refusals |= {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
        if "{" in path:
            refusals.add(HTTPStatus.NOT_FOUND)
        if method != "GET":
            refusals.add(HTTPStatus.CONFLICT)
        if does.body is not None:
            refusals.add(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        responses: Json = {str(int(status)): response for status, response in found.items()}
        responses |= {str(int(status)): {"$ref": "#/components/responses/error"} for status in refusals}
        if path == "/healthcheck":
            responses["503"] = self._response(HTTPStatus.SERVICE_UNAVAILABLE, self._answer(does.answer), "It does not.")
        return dict(sorted(responses.items()))

    @staticmethod
    def _response(status: HTTPStatus, schema: Json | None, says: str, shape: Shape | None = None) -> Json:
        response: Json = {
            "description": says,
            "headers": {"X-Openstack-Request-Id": {"$ref": "#/components/headers/request-id"}},
        }
        if isinstance(shape, Text):
            response["content"] = {shape.media: {"schema": {"type": "string"}}}
        elif schema is not None and status is not _NO_CONTENT:
            response["content"] = {"application/json": {"schema": schema}}
        return response

    def _answer(self, shape: Shape | None) -> Json:
        match shape:
            case One(schema, key):
                return _wrapped(key, self._object(schema, shown(schema)))
            case Many(schema, key):
                return _wrapped(key, {"type": "array", "items": self._object(schema, shown(schema))})
            case Bare(schema):
                return self._object(schema, shown(schema)) if "title" in schema else dict(schema)
            case _:
                return {}

    def _body(self, shape: Shape, *, whole: bool) -> Json:
        assert isinstance(shape, One | Many)
        name = "sent" if whole else "change"
        item = self._object(shape.schema, sent(shape.schema, whole=whole), name)
        if isinstance(shape, Many):
            most = {"minItems": shape.least} if shape.least else {}
            return _wrapped(shape.key, {"type": "array", "items": item, **most}, alone=True)
        wrapped = _wrapped(shape.key, item, alone=True)
        return {"anyOf": [wrapped, item]} if shape.flat else wrapped

    def _object(self, schema: Schema, described: Json, suffix: str = "") -> Json:
        name = re.sub(r"\W+", "-", f"{schema['title']} {suffix}".strip())
        self._schemas[name] = described
        return self._refer(name)

    @staticmethod
    def _refer(name: str) -> Json:
        return {"$ref": f"{REFERENCE}{name}"}


def _wrapped(key: str, schema: Json, *, alone: bool = False) -> Json:
    closed = {"additionalProperties": False} if alone else {}
    return {"type": "object", "properties": {key: schema}, "required": [key], **closed}


def _part(name: str) -> Json:
    says, schema = _PARTS.get(name, ("An id.", _ID))
    return {"name": name, "in": "path", "required": True, "description": says, "schema": dict(schema)}


def rows(table: Table) -> Iterator[tuple[str, str, str, str]]:
    """Method, path, meaning and status of each route, for the reference."""
    for path, methods in table.items():
        for method in methods:
            does = of(method, path)
            yield method, path, does.does, str(int(does.status))


def table(described: Table) -> Table:
    """The route that serves the description of the others."""
    whole: dict[str, Mapping[str, Route]] = {**described}
    document = cache(lambda: to_json(Description(whole).document()))

    def show(request: Request) -> Response:
        return reply(document())

    own = {PATH: {"GET": Route(Rule("balancer:description:show", READ), show)}}
    whole |= own
    return own
