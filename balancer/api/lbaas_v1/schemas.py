"""The objects of LBaaS v1: which attributes they have, and who may send them when. The reference is generated from it.

Shown attributes come in the order in which they are listed here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from balancer.api.attributes import (
    REFUSED,
    Address,
    Attribute,
    Boolean,
    Choice,
    Integer,
    ListOf,
    Resource,
    Schema,
    Text,
    Uuid,
)
from balancer.api.patterns import CODES, COOKIE_NAME, METHODS, PATH
from balancer.core.model import Algorithm, MonitorType, PersistenceKind, Protocol

PROTOCOLS = (Protocol.TCP, Protocol.HTTP, Protocol.HTTPS)
METHODS_OF_BALANCING = (Algorithm.ROUND_ROBIN, Algorithm.LEAST_CONNECTIONS, Algorithm.SOURCE_IP)
MONITOR_TYPES = (MonitorType.PING, MonitorType.TCP, MonitorType.HTTP, MonitorType.HTTPS)
_PORT = Integer(least=1, most=65535)


@dataclass(frozen=True, slots=True, kw_only=True)
class Persistence:
    """Kept as an object of what was said. Keys that mean nothing are passed over, as Neutron did."""

    def read(self, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise ValueError("it must be an object")
        if not value:
            return {}
        kind = value.get("type")
        if not isinstance(kind, str) or kind not in tuple(PersistenceKind):
            raise ValueError(f"type must be one of {', '.join(PersistenceKind)}")
        if kind != PersistenceKind.APP_COOKIE:
            if "cookie_name" in value:
                raise ValueError(f"cookie_name is of APP_COOKIE only, not of {kind}")
            return {"type": kind}
        cookie = value.get("cookie_name")
        if not isinstance(cookie, str) or len(cookie) > 255 or not re.fullmatch(COOKIE_NAME, cookie):
            raise ValueError("cookie_name must be a cookie's name: no spaces, separators or control characters")
        return {"type": kind, "cookie_name": cookie}

    def query(self, text: str) -> str:
        return text

    def schema(self) -> Schema:
        return {"type": "object", "x-pattern": "`type`: SOURCE_IP, HTTP_COOKIE or APP_COOKIE; `cookie_name`"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """One status, a list of them or one range, whose first is not behind its last."""

    def read(self, value: Any) -> str:
        text = Text(longest=64, pattern=CODES, says="200, a list like 200,202 or a range like 200-204").read(value)
        first, dash, last = text.partition("-")
        if dash and first > last:
            raise ValueError(f"the range {text} has nothing in it")
        return text

    def query(self, text: str) -> str:
        return text

    def schema(self) -> Schema:
        return {"type": "string", "x-pattern": "200, a list like 200,202 or a range like 200-204"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ids:
    """Without repetitions."""

    def read(self, value: Any) -> tuple[str, ...]:
        ids = ListOf(item=Uuid()).read(value)
        if len(set(ids)) != len(ids):
            raise ValueError("an id is there twice")
        return ids

    def query(self, text: str) -> str:
        return Uuid().query(text)

    def schema(self) -> Schema:
        return {"type": "array", "items": Uuid().schema()}


def _id() -> Attribute:
    return Attribute(kind=Uuid(), says="The id.", stored="id")


def _tenant() -> Attribute:
    return Attribute(
        kind=Text(), says="The project. Default: that of the token; only administrators name another.", create=True
    )


def _name() -> Attribute:
    return Attribute(
        kind=Text(), says="A name, for people.", create=True, update=True, default="", null=REFUSED, stored="name"
    )


def _description() -> Attribute:
    return Attribute(kind=Text(), says="A description, for people.", create=True, update=True, default="", null=REFUSED)


def _admin_state_up() -> Attribute:
    return Attribute(
        kind=Boolean(strict=True),
        says="Whether it is switched on.",
        create=True,
        update=True,
        default=True,
        null=REFUSED,
    )


def _statuses(says: str) -> dict[str, Attribute]:
    return {
        "status": Attribute(kind=Text(), says=says),
        "status_description": Attribute(kind=Text(), says="Why it is in `ERROR`, else null."),
    }


_STATUS = "PENDING_CREATE, PENDING_UPDATE, ACTIVE, DOWN (switched off) or ERROR."

VIP = Resource(
    name="vip",
    plural="vips",
    title="Vip",
    attributes={
        "id": _id(),
        "tenant_id": _tenant(),
        "name": _name(),
        "description": _description(),
        "subnet_id": Attribute(kind=Uuid(), says="The subnet of its address.", create=True, required=True),
        "address": Attribute(
            kind=Address(), says="The address. Default: a free one of the subnet.", create=True, null=None
        ),
        "port_id": Attribute(kind=Uuid(), says="The port that has the address."),
        "protocol_port": Attribute(kind=_PORT, says="The port it listens on.", create=True, required=True),
        "protocol": Attribute(
            kind=Choice(values=PROTOCOLS), says="What it speaks: that of its pool.", create=True, required=True
        ),
        "pool_id": Attribute(
            kind=Uuid(),
            says="The pool, which may have one vip.",
            create=True,
            required=True,
            update=True,
            null=REFUSED,
        ),
        "session_persistence": Attribute(
            kind=Persistence(),
            says="Whether a client stays with a member; null or `{}`: it does not.",
            create=True,
            update=True,
            null={},
        ),
        "connection_limit": Attribute(
            kind=Integer(least=-1),
            says="Connections at once; -1: any number.",
            create=True,
            update=True,
            default=-1,
            null=REFUSED,
        ),
        "admin_state_up": _admin_state_up(),
        **_statuses(_STATUS),
    },
)

POOL = Resource(
    name="pool",
    plural="pools",
    title="Pool",
    attributes={
        "id": _id(),
        "tenant_id": _tenant(),
        "vip_id": Attribute(kind=Uuid(), says="Its vip."),
        "name": _name(),
        "description": _description(),
        "subnet_id": Attribute(
            kind=Uuid(),
            says="The subnet of its members; whether there is one is not looked at.",
            create=True,
            required=True,
        ),
        "protocol": Attribute(
            kind=Choice(values=PROTOCOLS), says="What its members speak.", create=True, required=True
        ),
        "provider": Attribute(
            kind=Text(longest=64, shortest=1),
            says="The type of its devices, in any case. Default: any.",
            create=True,
            null=REFUSED,
        ),
        "lb_method": Attribute(
            kind=Choice(values=METHODS_OF_BALANCING),
            says="How members are chosen.",
            create=True,
            required=True,
            update=True,
            null=REFUSED,
        ),
        "members": Attribute(kind=ListOf(item=Uuid()), says="Ids of its members."),
        "health_monitors": Attribute(
            kind=Ids(),
            says="Ids of the health monitors that check its members. What is sent is checked and then passed over: "
            "they are associated one by one.",
            create=True,
            update=True,
            default=(),
        ),
        "health_monitors_status": Attribute(
            kind=Text(), says="For each of them `monitor_id`, `status` and `status_description`."
        ),
        "admin_state_up": _admin_state_up(),
        **_statuses(_STATUS),
    },
)

MEMBER = Resource(
    name="member",
    plural="members",
    title="Member",
    attributes={
        "id": _id(),
        "tenant_id": _tenant(),
        "pool_id": Attribute(kind=Uuid(), says="Its pool.", create=True, required=True, update=True, null=REFUSED),
        "address": Attribute(kind=Address(), says="Its address.", create=True, required=True),
        "protocol_port": Attribute(kind=_PORT, says="Its port.", create=True, required=True),
        "weight": Attribute(
            kind=Integer(least=0, most=256),
            says="Its share of the traffic; 0: only what belongs to sessions it has.",
            create=True,
            update=True,
            default=1,
            null=REFUSED,
        ),
        "admin_state_up": _admin_state_up(),
        **_statuses(f"{_STATUS[:-1]}; INACTIVE when its health monitors say so."),
    },
)


def _seconds(says: str) -> Attribute:
    return Attribute(kind=Integer(least=0), says=says, create=True, required=True, update=True, null=REFUSED)


HEALTH_MONITOR = Resource(
    name="health_monitor",
    plural="health_monitors",
    title="Health monitor",
    attributes={
        "id": _id(),
        "tenant_id": _tenant(),
        "type": Attribute(
            kind=Choice(values=MONITOR_TYPES), says="How members are checked.", create=True, required=True
        ),
        "delay": _seconds("Seconds between two checks."),
        "timeout": _seconds("Seconds that a check may take, not more than `delay`."),
        "max_retries": Attribute(
            kind=Integer(least=1, most=10),
            says="Checks that must fail in a row before a member is inactive.",
            create=True,
            required=True,
            update=True,
            null=REFUSED,
        ),
        "http_method": Attribute(
            kind=Choice(values=METHODS),
            says="Of HTTP and HTTPS.",
            create=True,
            update=True,
            default="GET",
            null=REFUSED,
        ),
        "url_path": Attribute(
            kind=Text(pattern=PATH, says="a path that begins with / and has no spaces"),
            says="Of HTTP and HTTPS.",
            create=True,
            update=True,
            default="/",
            null=REFUSED,
        ),
        "expected_codes": Attribute(
            kind=Codes(), says="Of HTTP and HTTPS.", create=True, update=True, default="200", null=REFUSED
        ),
        "admin_state_up": _admin_state_up(),
        "pools": Attribute(kind=Text(), says="For each pool `pool_id`, `status` and `status_description`."),
    },
)

ASSOCIATION = Resource(
    name="health_monitor",
    plural="health_monitors",
    title="Association of a health monitor",
    attributes={
        "id": Attribute(kind=Uuid(), says="The health monitor.", create=True, required=True),
        "tenant_id": Attribute(kind=Text(), says="Passed over.", create=True),
    },
)

REFERENCE = (VIP, POOL, MEMBER, HEALTH_MONITOR, ASSOCIATION)
"""What the documentation tells, in this order."""
