"""JSON Schemas of the balancer API's objects: they validate, and the reference is generated from them.

The keywords beyond JSON Schema are explained in `balancer.api.validation`. A field without ``x-stored`` and
``readOnly`` is part of the model; the others are returned as they were sent.
"""

from __future__ import annotations

from typing import Any

from balancer.api import terms
from balancer.api.v1 import names
from balancer.core.model import AdminState, OperatingStatus, Outcome, Protocol
from balancer.core.status import DeviceStatus, LoadBalancerStatus

Schema = dict[str, Any]

_NO_EFFECT = "none: stored and returned"


def _name(default: str | None = "") -> Schema:
    text: Schema = {"type": "string", "format": "text", "maxLength": 255, "description": "A name, for people."}
    return text if default is None else {**text, "default": default, "x-haproxy": "none"}


def _stored(description: str) -> Schema:
    return {
        "type": ["string", "integer"],
        "format": "text",
        "maxLength": 255,
        "description": description,
        "x-stored": True,
        "x-haproxy": _NO_EFFECT,
    }


def _flag(description: str, shown: int | None = None, effect: str = _NO_EFFECT) -> Schema:
    """`shown`: what a reply has when nothing was sent."""
    flag: Schema = {"type": "boolean", "description": description, "x-stored": True, "x-haproxy": effect}
    return flag if shown is None else {**flag, "x-shown": shown}


def _read_only(description: str, kind: str | list[str] = "string", **more: Any) -> Schema:
    return {"type": kind, "readOnly": True, "description": description, **more}


def _answered(title: str, **fields: Schema) -> Schema:
    """What is answered only. `x-optional` marks what is not always there."""
    return {"title": title, "type": "object", "properties": fields}


def _alias(schema: Schema, of: str) -> Schema:
    renamed = {key: value for key, value in schema.items() if key != "default"}
    return {**renamed, "description": f"Another spelling of `{of}`.", "x-alias-of": of}


_ID = _read_only("The id, 32 hex digits.", pattern="^[0-9a-f]{32}$")
_DEPLOYED = _read_only('"True" when the device runs what is stored, else "False".', enum=["True", "False"])
_CREATED = _read_only("When it was stored, ISO 8601, UTC.")
_UPDATED = _read_only("When it was changed last, ISO 8601, UTC.")
_SEEN = "null while nothing is known. How old this is, `/stats` tells."
_MAYBE_TEXT = ["string", "null"]
_PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}

_ALGORITHM: Schema = {
    "type": "string",
    "enum": list(terms.ALGORITHMS.values()),
    "x-synonyms": dict(names.ALGORITHM_SYNONYMS),
}
_PROTOCOL: Schema = {"type": "string", "enum": [protocol.value for protocol in names.PROTOCOLS]}
# Nothing that a shell, sudoers or haproxy.cfg reads specially, no "." or "..".
_DEVICE_PATH: Schema = {
    "pattern": r"^(/\.?[A-Za-z0-9_][A-Za-z0-9_.+-]*)+$",
    "x-pattern": "an absolute path of letters, digits and . _ + -",
}

_DEVICE_STATUS = _read_only(
    "`ONLINE`, `UNREACHABLE`, `ERROR` or `UNKNOWN` (not looked at yet).", enum=[status.value for status in DeviceStatus]
)
_BALANCER_STATUS = _read_only(
    "`BUILD`, `ACTIVE`, `PENDING_UPDATE` or `ERROR`.", enum=[status.value for status in LoadBalancerStatus]
)
_BALANCER_REASON = _read_only("Why it is in that status, and what the device could not express.")


def _operating(description: str) -> Schema:
    return _read_only(
        f"{description}; {_SEEN}", _MAYBE_TEXT, enum=[*(status.value for status in OperatingStatus), None]
    )


DEVICE: Schema = {
    "title": "device",
    "type": "object",
    "required": ["name", "type", "ip", "user"],
    "x-one-of": ["password", "private_key", "key_filename"],
    "properties": {
        "id": _ID,
        "name": {**_name(None), "minLength": 1},
        "type": {
            "type": "string",
            "format": "text",
            "minLength": 1,
            "maxLength": 64,
            "description": "The driver, in any case: `HAPROXY`; `dummy` keeps everything in memory. Stays as it is "
            "while load balancers are on the device.",
        },
        "version": {
            "type": ["string", "integer"],
            "format": "text",
            "maxLength": 64,
            "description": "The version that was registered; the one that was found is in the device's info.",
        },
        "ip": {
            "type": "string",
            "format": "host",
            "description": "Where its SSH server is: an address or a host name.",
        },
        "port": {**_PORT, "default": 22, "description": "The port of its SSH server."},
        "user": {
            "type": "string",
            "pattern": "^[A-Za-z_][A-Za-z0-9_.-]{0,31}$",
            "x-pattern": "a login name of at most 32 letters, digits, _ . and -",
            "description": "The user to log in as.",
            "x-haproxy": "owner of the service's `stats socket`",
        },
        "password": {
            "type": "string",
            "format": "text",
            "minLength": 1,
            "maxLength": 255,
            "writeOnly": True,
            "description": "Its password. Shown in the reply to the registration only. One of `password`, "
            "`private_key` and `key_filename` is needed; setting one forgets the others.",
        },
        "private_key": {
            "type": "string",
            "format": "multiline",
            "minLength": 1,
            "maxLength": 16384,
            "writeOnly": True,
            "description": "A private key, the text of its PEM file.",
        },
        "key_filename": {
            "type": "string",
            "format": "text",
            "pattern": "^/",
            "x-pattern": "an absolute path",
            "maxLength": 255,
            "description": "The path of a private key on the controller.",
        },
        "host_key": {
            "type": "string",
            "pattern": r"^[a-z0-9@.-]{1,64} [A-Za-z0-9+/]{16,4096}={0,3}( [ -~]{0,255})?$",
            "x-pattern": "a public key like ssh-ed25519 AAAA…",
            "description": "The key that its SSH server must have. Default: the one seen first.",
        },
        "capabilities": {
            "type": "object",
            "required": ["algorithms", "protocols"],
            "properties": {
                "algorithms": {"type": "array", "x-single": True, "maxItems": 32, "items": _ALGORITHM},
                "protocols": {
                    "type": "array",
                    "x-single": True,
                    "maxItems": 32,
                    "items": {"type": "string", "enum": [protocol.value for protocol in Protocol]},
                },
            },
            "description": "What may be scheduled there. Default: all that the driver can do.",
        },
        "supports_ipv6": {
            "type": "boolean",
            "default": False,
            "description": "Whether load balancers with IPv6 addresses may be scheduled there.",
        },
        "requires_vip_ip": _flag("Whether its load balancers need a virtual IP.", 1),
        "has_acl": _flag("Whether it has access lists.", 1),
        "supports_vlan": _flag("Whether it knows VLANs.", 1),
        "remote_config_path": {
            "type": "string",
            **_DEVICE_PATH,
            "maxLength": 200,
            "description": "The configuration file on the device. The driver has a default.",
            "x-haproxy": "the file that is completed by the generated block, `/etc/haproxy/haproxy.cfg`",
        },
        "vip_ranges": {
            "type": "array",
            "x-single": True,
            "maxItems": 256,
            "items": {"type": "string", "format": "address-range"},
            "description": "Addresses that projects may choose for virtual IPs there: networks (`192.0.2.0/28`), "
            "ranges (`192.0.2.1-192.0.2.9`) or single ones. Default: none; then they get only those of registered "
            "subnets. Administrators may choose any.",
        },
        "interface": {
            "type": "string",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$",
            "x-pattern": "a network interface's name",
            "description": "Where virtual IPs are added. Default: the one whose route covers the address.",
        },
        "socket": {
            "type": "string",
            **_DEVICE_PATH,
            "maxLength": 90,
            "description": "The path of the stats socket that the service makes for itself.",
            "x-haproxy": "`stats socket` in the block's own `global`",
        },
        "admin_state": {
            "type": "string",
            "enum": [state.value for state in AdminState],
            "default": AdminState.ENABLED.value,
            "description": "`DRAINED`: nothing new is scheduled there. `MAINTENANCE`: nothing is touched.",
        },
        "status": _DEVICE_STATUS,
        "status_reason": _read_only("A sentence on the status."),
        "created_at": _CREATED,
        "updated_at": _UPDATED,
    },
}

LOAD_BALANCER: Schema = {
    "title": "loadbalancer",
    "type": "object",
    "required": ["protocol"],
    "properties": {
        "id": _ID,
        "name": _name(),
        "algorithm": {
            **_ALGORITHM,
            "default": "ROUND_ROBIN",
            "description": "How a node is chosen; one that a registered device offers.",
            "x-haproxy": "`balance roundrobin`, `static-rr`, `leastconn`, `source` or `uri`, the last two with "
            "`hash-type consistent`",
        },
        "protocol": {
            **_PROTOCOL,
            "description": "What is balanced; one that a registered device offers.",
            "x-haproxy": "`mode http` for HTTP, else `mode tcp`; HTTP also inserts X-Forwarded-For",
        },
        "device_id": _read_only("The device it is on. In the request that creates it: pins it to that device."),
        "status": _BALANCER_STATUS,
        "status_reason": _BALANCER_REASON,
        "operating_status": _operating(
            "How it was last seen: `ONLINE`, `DEGRADED` (some nodes are down, or a virtual IP has as many connections "
            "as it may), `ERROR` (all nodes are down, or a virtual IP is not served), `OFFLINE` (switched off)"
        ),
        "tenant_id": _read_only("The project."),
        "deployed": _DEPLOYED,
        "created_at": _CREATED,
        "updated_at": _UPDATED,
    },
}


def _children(title: str, most: int, description: str) -> Schema:
    return {
        "type": "array",
        "items": {"type": "object"},
        "maxItems": most,
        "default": [],
        "description": f"{description} Each is a {title}.",
        "x-haproxy": f"that of a {title}",
    }


LOAD_BALANCER_CHILDREN: Schema = {
    "title": "loadbalancer, when it is created",
    "type": "object",
    "properties": {
        "device_id": {
            "type": "string",
            "format": "object-id",
            "description": "Pins it to this device. Default: the scheduler chooses.",
            "x-haproxy": "none: says which HAProxy it is",
        },
        "nodes": _children("node", 1000, "Its nodes."),
        "virtualIps": _children("virtualIp", 100, "What it listens on."),
        "healthMonitor": _children("healthMonitoring", 20, "How its nodes are checked; all must be content."),
        "sessionPersistence": _children("sessionPersistence", 1, "How clients stay on their node."),
    },
}

_CONNECTIONS: Schema = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
_MAX_CON: Schema = {
    **_CONNECTIONS,
    "description": "Connections at once; more wait. 0 is unlimited.",
    "x-haproxy": "`maxconn` of the server",
}
_MIN_CON: Schema = {
    **_CONNECTIONS,
    "description": "Connections at once at low load; grows to `maxCon` with the load.",
    "x-haproxy": "`minconn` of the server",
}
_TIMES: Schema = {"type": "integer", "minimum": 1, "maximum": 1000}

NODE: Schema = {
    "title": "node",
    "type": "object",
    "required": ["address", "port"],
    "properties": {
        "id": _ID,
        "name": _name(),
        "type": _stored("Free text."),
        "address": {
            "type": "string",
            "format": "member-address",
            "description": "An IPv4 or IPv6 address; host names are refused, the device might resolve them elsewhere.",
            "x-haproxy": "address of the `server` line",
        },
        "port": {**_PORT, "description": "Its port.", "x-haproxy": "port of the `server` line"},
        "weight": {
            "type": "integer",
            "minimum": 0,
            "maximum": 256,
            "default": 1,
            "description": "Its share, in proportion to the others'. 0: no new clients.",
            "x-haproxy": "`weight` of the server",
        },
        "status": {
            "type": "string",
            "enum": list(names.ROTATIONS.values()),
            "x-synonyms": dict(names.ROTATION_SYNONYMS),
            "default": "INSERVICE",
            "description": "In rotation, running dry, or out of rotation.",
            "x-haproxy": "server state ready, drain or maint",
        },
        "condition": {
            "type": "string",
            "enum": ["ENABLED", "DISABLED"],
            "default": "ENABLED",
            "description": "DISABLED: maintenance.",
            "x-haproxy": "`disabled`, server state maint",
        },
        "vm_id": _stored("The virtual machine; `find_for_VM` looks for it."),
        "parent_id": _stored("Free text."),
        "sf_id": _stored("Free text."),
        "maxCon": _MAX_CON,
        "maxconn": _alias(_MAX_CON, "maxCon"),
        "minCon": _MIN_CON,
        "minconn": _alias(_MIN_CON, "minCon"),
        "rateBandwidth": {
            **_CONNECTIONS,
            "description": "A bandwidth.",
            "x-stored": True,
            "x-haproxy": "none per server: stored, returned, told in `status_reason`",
        },
        "rateConnection": {
            **_CONNECTIONS,
            "description": "A connection rate.",
            "x-stored": True,
            "x-haproxy": "none per server: stored, returned, told in `status_reason`",
        },
        "inter": {
            "type": ["string", "integer"],
            "format": "duration",
            "description": "Between its checks, over the health monitor's delay; milliseconds, or with a unit (2s).",
            "x-haproxy": "`inter` of the server",
        },
        "rise": {
            **_TIMES,
            "description": "Good checks until it is up.",
            "x-haproxy": "`rise` of the server",
        },
        "fall": {
            **_TIMES,
            "description": "Bad checks until it is down, over the health monitor's count.",
            "x-haproxy": "`fall` of the server",
        },
        "slowstart": {
            "type": ["string", "integer"],
            "format": "duration",
            "description": "Until it gets its full share after it came back; milliseconds, or with a unit (30s). "
            "Applied in whole seconds, rounded up.",
            "x-haproxy": "`slowstart` of the server",
        },
        "backup": {
            "type": "boolean",
            "default": False,
            "description": "Used only when no other node is up.",
            "x-haproxy": "`backup` of the server",
        },
        "cookie": {
            "type": "string",
            "pattern": r"^[A-Za-z0-9_.-]{1,64}$",
            "x-pattern": "1 to 64 letters, digits and _ . -",
            "description": "The value that an HTTP_COOKIE persistence uses for it.",
            "x-haproxy": "`cookie` of the server",
        },
        "operating_status": _operating(
            "How it was last seen: `ONLINE`, `ERROR` (its checks fail), `DRAINING`, `OFFLINE` (out of rotation), "
            "`NO_MONITOR` (nobody checks it)"
        ),
        "deployed": _DEPLOYED,
    },
}

VIRTUAL_IP: Schema = {
    "title": "virtualIp",
    "type": "object",
    "required": ["address", "port"],
    "properties": {
        "id": _ID,
        "name": _name(),
        "address": {
            "type": "string",
            "format": "listen-address",
            "description": "An IPv4 or IPv6 address; `0.0.0.0`, `*` and empty text listen on every address.",
            "x-haproxy": "`bind`; the address is added to the device's interface unless it is there",
        },
        "mask": {
            "type": ["string", "integer"],
            "format": "netmask",
            "description": "The address's netmask or prefix length.",
            "x-haproxy": "none; used when the address is added to an interface",
        },
        "port": {**_PORT, "description": "The port to listen on.", "x-haproxy": "`bind`"},
        "type": {
            "type": "string",
            "enum": ["PUBLIC", "PRIVATE"],
            "description": "For the caller.",
            "x-stored": True,
            "x-haproxy": _NO_EFFECT,
        },
        "ipVersion": {
            "type": "string",
            "enum": ["IPv4", "IPv6"],
            "description": "Must be that of the address. Default: that of the address.",
            "x-haproxy": "none",
        },
        "VLAN": {
            "type": "integer",
            "minimum": 0,
            "maximum": 4095,
            "description": "A VLAN.",
            "x-stored": True,
            "x-haproxy": "none: stored, returned, told in `status_reason`",
        },
        "ICMPreply": _flag(
            "Whether the address answers pings.", effect="none: stored; false is told in `status_reason`"
        ),
        "protocol": {
            **_PROTOCOL,
            "description": "Default: the load balancer's.",
            "x-haproxy": "`mode` of the frontend",
        },
        "lb_id": _read_only("The load balancer."),
        "sf_id": _stored("Free text."),
        "status": _read_only("That of the load balancer."),
        "operating_status": _operating(
            "How it was last seen: `ONLINE`, `DEGRADED` (it has as many connections as it may), `ERROR` (it is not "
            "served), `OFFLINE` (switched off)"
        ),
        "deployed": _DEPLOYED,
    },
}

_ATTEMPTS: Schema = {
    **_TIMES,
    "default": 3,
    "description": "Bad checks until a node is taken out. (It comes back after two good ones.)",
    "x-haproxy": "`fall`",
}
_CHECK_PATH: Schema = {
    "type": "string",
    "format": "http-path",
    "maxLength": 1024,
    "default": "/",
    "description": "HTTP and HTTPS: the path to ask for.",
    "x-haproxy": "`http-check send … uri`",
}
_EXPECTED: Schema = {
    "type": ["string", "integer"],
    "format": "http-codes",
    "maxLength": 255,
    "default": "200",
    "description": "HTTP and HTTPS: the status codes of a node that is well: `200`, `200,202`, `200-204`.",
    "x-haproxy": "`http-check expect status`",
}

HEALTH_MONITORING: Schema = {
    "title": "healthMonitoring",
    "type": "object",
    "required": ["type"],
    "properties": {
        "id": _ID,
        "name": _name(),
        "type": {
            "type": "string",
            "enum": [name for kind, name in names.MONITOR_TYPES.items() if kind not in names.FOREIGN_MONITOR_TYPES],
            "x-synonyms": dict(names.MONITOR_TYPE_SYNONYMS),
            "description": "What is tried. `CONNECT` is the same as `TCP`.",
            "x-haproxy": "`option httpchk`, `tcp-check`, or `external-check` with ping where the host allows it",
        },
        "delay": {
            "type": "number",
            "minimum": 0.1,
            "maximum": 86400,
            "default": 5,
            "description": "Seconds between two checks.",
            "x-haproxy": "`inter`",
        },
        "timeout": {
            "type": "number",
            "minimum": 0.1,
            "maximum": 86400,
            "default": 5,
            "description": "Seconds until a check has failed.",
            "x-haproxy": "`timeout check` and `timeout connect` of the checks",
        },
        "attemptsBeforeDeactivation": _ATTEMPTS,
        "attemptsDeforeDeactivation": _alias(_ATTEMPTS, "attemptsBeforeDeactivation"),
        "method": {
            "type": "string",
            "enum": ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"],
            "default": "GET",
            "description": "HTTP and HTTPS: the request's method.",
            "x-haproxy": "`http-check send meth`",
        },
        "path": _CHECK_PATH,
        "url": _alias(_CHECK_PATH, "path"),
        "expected": _EXPECTED,
        "status": _alias(_EXPECTED, "expected"),
    },
}

SESSION_PERSISTENCE: Schema = {
    "title": "sessionPersistence",
    "type": "object",
    "required": ["type"],
    "properties": {
        "id": _ID,
        "name": {**_name(), "x-stored": True},
        "type": {
            "type": "string",
            "enum": [kind.value for kind in names.PERSISTENCE_KINDS],
            "x-synonyms": dict(names.PERSISTENCE_SYNONYMS),
            "description": "By the client's address, by a cookie of our own, or by one of the application's.",
            "x-haproxy": "`stick on src`; `cookie … insert indirect nocache httponly`; `stick` on the cookie",
        },
        "cookie_name": {
            "type": "string",
            "pattern": r"^[A-Za-z0-9_.-]{1,64}$",
            "x-pattern": "1 to 64 letters, digits and _ . -",
            "description": "The cookie. APP_COOKIE needs it.",
            "x-haproxy": "name of the cookie",
        },
        "timeout": {
            "type": "integer",
            "minimum": 1,
            "maximum": 24 * 86400,
            "description": "Seconds without traffic until a client is forgotten. Default: 1800 for SOURCE_IP, 10800 "
            "for APP_COOKIE, none for HTTP_COOKIE.",
            "x-haproxy": "`expire` of the stick table; `maxidle` of the cookie",
        },
        "mask": {
            "type": ["string", "integer"],
            "format": "netmask",
            "description": "SOURCE_IP: clients of one network count as one.",
            "x-stored": True,
            "x-haproxy": "`stick on src,ipmask(…)`",
        },
    },
}

_NUMBER = ["integer", "number"]

_COUNTERS: Schema = {
    "bytes_in": {**_read_only("Bytes that came from clients.", "integer"), "x-haproxy": "`bin`"},
    "bytes_out": {**_read_only("Bytes that went to clients.", "integer"), "x-haproxy": "`bout`"},
    "active_connections": {**_read_only("Connections at that moment.", "integer"), "x-haproxy": "`scur`"},
    "total_connections": {
        **_read_only("Connections so far; of a node, requests with HTTP.", "integer"),
        "x-haproxy": "`stot`",
    },
    "request_errors": {
        **_read_only(
            "Requests that were malformed or cut off; of a node, connections and answers that failed.", "integer"
        ),
        "x-haproxy": "`ereq`; of a server `econ` + `eresp`",
    },
}
_COUNTED: Schema = _answered("counters of an object", id=_ID, status=_operating("`operating_status`"), **_COUNTERS)

STATISTICS: Schema = {
    "title": "stats",
    "type": "object",
    "properties": {
        "observed_at": _read_only(
            "When the device was last asked, ISO 8601, UTC; null when it never was.", _MAYBE_TEXT
        ),
        "age": _read_only("How many seconds ago that was.", ["number", "null"]),
        "status": _operating("`operating_status` of the load balancer"),
        "virtualIps": _read_only(
            "For each virtual IP `id`, `status` (its `operating_status`) and the counters below.",
            "array",
            items=_COUNTED,
        ),
        "nodes": _read_only(
            "For each node `id`, `status` (its `operating_status`) and the counters below.", "array", items=_COUNTED
        ),
        "total": _read_only(
            "The counters of all virtual IPs together, those included that were removed.",
            "object",
            properties=_COUNTERS,
        ),
        **{name: {**counter, "x-optional": True} for name, counter in _COUNTERS.items()},
    },
}

_QUOTA: Schema = {"type": "integer", "minimum": -1, "maximum": 2_000_000_000}

QUOTA: Schema = {
    "title": "quota",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "loadbalancer": {**_QUOTA, "description": "Load balancers."},
        "virtualIp": {**_QUOTA, "description": "Virtual IPs, and listeners of the other dialects."},
        "node": {**_QUOTA, "description": "Nodes, and members of the other dialects."},
        "healthMonitoring": {**_QUOTA, "description": "Health monitors."},
        "pool": {**_QUOTA, "description": "Pools of all dialects; each load balancer of this one has one."},
        "l7policy": {**_QUOTA, "description": "L7 policies of the other dialects."},
        "l7rule": {**_QUOTA, "description": "L7 rules of the other dialects."},
    },
}

QUOTAS: Schema = _answered(
    "quotas",
    quota=_read_only("How many there may be, -1 any number.", "object", properties=QUOTA["properties"]),
    used=_read_only("How many count.", "object", properties=QUOTA["properties"]),
)

ACCEPTED: Schema = _answered(
    "loadbalancer, after a change", id=_ID, status=_BALANCER_STATUS, status_reason=_BALANCER_REASON
)

DEVICE_INFO: Schema = _answered(
    "device, as it was last seen",
    id=_ID,
    name=_read_only("The name it was registered with."),
    status=_DEVICE_STATUS,
    status_reason=_read_only("A sentence on the status."),
    reachable=_read_only("Whether it could be asked; null when it never was.", ["boolean", "null"]),
    host_key=_read_only("The key that its SSH server must have.", _MAYBE_TEXT),
    desired_revision=_read_only("Grows with every change that concerns the device.", "integer"),
    applied_revision=_read_only("The last one that it is known to run.", "integer"),
    deployment_error=_read_only("Why the last deployment failed.", _MAYBE_TEXT),
    observed_at=_read_only("When it was looked at, ISO 8601, UTC.", _MAYBE_TEXT),
    age=_read_only("How many seconds ago that was.", ["number", "null"]),
    version=_read_only("The version that runs there.", _MAYBE_TEXT),
    findings=_read_only("What is worth mending, in sentences.", "array", items={"type": "string"}),
    drift=_read_only(
        "What somebody else changed in the generated part of its configuration: a reason and a diff; null when nobody "
        "did.",
        ["object", "null"],
    ),
    facts=_read_only("What the driver found out.", "object"),
)

_PLAN: Schema = {"enum": ["noop", "runtime", "reload", None]}

DEPLOYMENT: Schema = _answered(
    "deployment",
    n=_read_only("Its number, from 1.", "integer"),
    device_id=_ID,
    revision=_read_only("The revision of the device.", "integer"),
    outcome=_read_only("`APPLIED`, `RETRYING` or `FAILED`.", enum=[outcome.value for outcome in Outcome]),
    plan=_read_only("`noop`, `runtime` or `reload`; null after a failure.", _MAYBE_TEXT, **_PLAN),
    reason=_read_only("Why and what, in a sentence."),
    rejected=_read_only("Load balancer to the reason why it was not deployed as asked.", "object"),
    started_at=_read_only("When the first attempt began, ISO 8601, UTC."),
    last_started_at=_read_only("When the last attempt began."),
    duration=_read_only("Seconds that the last attempt took.", _NUMBER),
    attempts=_read_only("How often the same was done.", "integer"),
    diff={**_read_only("What changed in the generated block. Not in lists."), "x-optional": True},
)

DRY_RUN: Schema = _answered(
    "dry_run",
    plan=_read_only("The greatest of the devices' plans.", **_PLAN),
    reason=_read_only("Why, in a sentence."),
    devices=_read_only(
        "For each device that the write concerns `device_id`, `plan`, `reason` and `diff`.",
        "array",
        items=_answered(
            "dry_run of a device",
            device_id=_ID,
            plan=_read_only("What would be done.", **_PLAN),
            reason=_read_only("Why, in a sentence."),
            diff=_read_only("What would change."),
        ),
    ),
)

VERSION: Schema = _answered(
    "version",
    id=_read_only("The dialect's version."),
    status=_read_only("`CURRENT` or `SUPPORTED`."),
    updated={**_read_only("When it was published, of a dialect that others have made."), "x-optional": True},
    links=_read_only("Where it begins.", "array", items={"type": "object"}),
)

HEALTH: Schema = _answered(
    "health",
    healthy=_read_only("Whether the service works.", "boolean"),
    database={**_read_only("`OK`, or why not (administrators)."), "x-optional": True},
    workers={
        **_read_only("Those that are alive (administrators).", "array", items={"type": "string"}),
        "x-optional": True,
    },
    devices={**_read_only("How many are in which status (administrators).", "object"), "x-optional": True},
    waiting_devices={
        **_read_only("Devices with a change to be deployed (administrators).", "integer"),
        "x-optional": True,
    },
    longest_wait={
        **_read_only("For how many seconds the first of them has had it (administrators).", "number"),
        "x-optional": True,
    },
)
