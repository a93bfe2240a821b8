"""The objects of LBaaS v2: which attributes they have, and who may send them when. The reference is generated from it.

Shown attributes come in the order in which they are listed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from balancer.api.attributes import (
    DEFAULT,
    REFUSED,
    Address,
    Attribute,
    Boolean,
    Choice,
    Cidr,
    Integer,
    ListOf,
    Resource,
    Schema,
    Text,
    TextMap,
    Uuid,
)
from balancer.api.patterns import CODES, COOKIE_NAME, METHODS, PATH, PATH_PART
from balancer.core.model import Algorithm, MonitorType, PersistenceKind, Protocol, QuotaResource
from balancer.core.quotas import LARGEST
from balancer.core.rules import REDIRECT_CODES, REDIRECT_TARGETS

NOT_HERE = "not allowed in this deployment"
ANY_PROVIDER = ("octavia", "amphora", "amphorav2")
"""What clients of Octavia call the provider that they mean when they mean none in particular."""

PROTOCOLS = (
    Protocol.HTTP,
    Protocol.HTTPS,
    Protocol.TCP,
    Protocol.TERMINATED_HTTPS,
    Protocol.UDP,
    Protocol.SCTP,
    Protocol.PROMETHEUS,
)
POOL_PROTOCOLS = (
    Protocol.HTTP,
    Protocol.HTTPS,
    Protocol.TCP,
    Protocol.PROXY,
    Protocol.PROXYV2,
    Protocol.UDP,
    Protocol.SCTP,
)
ALGORITHMS = (
    Algorithm.ROUND_ROBIN,
    Algorithm.LEAST_CONNECTIONS,
    Algorithm.SOURCE_IP,
    Algorithm.SOURCE_IP_PORT,
)
RULE_TYPES = (
    "HOST_NAME",
    "PATH",
    "FILE_TYPE",
    "HEADER",
    "COOKIE",
    "SSL_CONN_HAS_CERT",
    "SSL_VERIFY_RESULT",
    "SSL_DN_FIELD",
)
COMPARE_TYPES = ("REGEX", "STARTS_WITH", "ENDS_WITH", "CONTAINS", "EQUAL_TO")
LAST_POSITION = 2**31 - 1
LONGEST_TIMEOUT = 2_073_600_000
DEFAULT_TIMEOUTS = {"client_data": 50000, "member_connect": 5000, "member_data": 50000, "tcp_inspect": 0}
_IDS = ListOf(item=Uuid())

_HOST = r"(?=.{1,253}\.?$)(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?"
_ONE_LINE = r"[^\r\n]*"


class HttpVersion:
    """A number; kept as text."""

    def read(self, value: Any) -> str:
        text = "1.0" if value == 1 and not isinstance(value, bool) else str(value)
        if text not in ("1.0", "1.1"):
            raise ValueError("it must be 1.0 or 1.1")
        return text

    def query(self, text: str) -> Any:
        try:
            return float(text[:20])
        except ValueError:
            raise ValueError("it must be 1.0 or 1.1") from None

    def schema(self) -> Schema:
        return {"type": "number", "enum": [1.0, 1.1]}


def _id(of: str = "The id.") -> Attribute:
    return Attribute(kind=Uuid(), says=of, stored="id")


def _name() -> Attribute:
    return Attribute(kind=Text(), says="A name, for people.", create=True, update=True, default="", stored="name")


def _description() -> Attribute:
    return Attribute(kind=Text(), says="A description, for people.", create=True, update=True, default="")


def _admin_state_up() -> Attribute:
    return Attribute(
        kind=Boolean(), says="Whether it is switched on.", create=True, update=True, default=True, null=False
    )


def _tags() -> Attribute:
    return Attribute(
        kind=ListOf(item=Text()),
        says="Labels, for people; those sent replace those there are.",
        create=True,
        update=True,
        default=(),
        since="2.5",
    )


def _statuses() -> dict[str, Attribute]:
    return {
        "provisioning_status": Attribute(
            kind=Text(), says="PENDING_CREATE, PENDING_UPDATE, ACTIVE or ERROR: whether it is deployed as stored."
        ),
        "operating_status": Attribute(
            kind=Text(), says="ONLINE, OFFLINE, DEGRADED, ERROR, DRAINING or NO_MONITOR: how it was seen last."
        ),
    }


def _project(*, ignored: bool = True) -> dict[str, Attribute]:
    says = "The project of its load balancer, whatever is sent." if ignored else "Default: that of the token."
    return {
        "project_id": Attribute(kind=Text(longest=36), says=says, create=True),
        "tenant_id": Attribute(kind=Text(longest=36), says="The same as `project_id`.", create=True),
    }


def _times() -> dict[str, Attribute]:
    return {
        "created_at": Attribute(kind=Text(), says="When it was made, UTC."),
        "updated_at": Attribute(kind=Text(), says="When it was changed last, UTC; null until it was deployed first."),
    }


def _references(of: str) -> Attribute:
    return Attribute(kind=_IDS, says=f"Ids of its {of}.")


def _timeout(name: str, says: str) -> Attribute:
    return Attribute(
        kind=Integer(least=0, most=LONGEST_TIMEOUT),
        says=f"{says} Milliseconds; 0 leaves the device's default.",
        create=True,
        update=True,
        default=DEFAULT_TIMEOUTS[name],
        since="2.1",
    )


def _tls(says: str, since: str, *, longest: int = 255) -> Attribute:
    return Attribute(kind=Text(longest=longest), says=says, create=True, update=True, refused=NOT_HERE, since=since)


def _tls_list(says: str, since: str) -> Attribute:
    return Attribute(kind=ListOf(item=Text()), says=says, create=True, update=True, refused=NOT_HERE, since=since)


# --- load balancers -----------------------------------------------------------

ADDITIONAL_VIP = Resource(
    name="additional_vip",
    plural="additional_vips",
    title="Additional virtual IP",
    attributes={
        "subnet_id": Attribute(kind=Uuid(), says="The subnet it is of.", create=True, required=True),
        "ip_address": Attribute(kind=Address(), says="The address.", create=True),
        "port_id": Attribute(kind=Uuid(), says="The port that has it.", create=True),
    },
)

LOAD_BALANCER = Resource(
    name="loadbalancer",
    plural="loadbalancers",
    title="Load balancer",
    attributes={
        "id": _id(),
        "name": _name(),
        "description": _description(),
        **_statuses(),
        "admin_state_up": _admin_state_up(),
        **_project(ignored=False),
        **_times(),
        "vip_address": Attribute(kind=Address(), says="The address it listens at.", create=True),
        "vip_port_id": Attribute(kind=Uuid(), says="The port that has the address.", create=True),
        "vip_subnet_id": Attribute(kind=Uuid(), says="The subnet of the address.", create=True),
        "vip_network_id": Attribute(kind=Uuid(), says="The network of the address.", create=True),
        "vip_qos_policy_id": Attribute(
            kind=Uuid(), says="A QoS policy of the network service.", create=True, update=True
        ),
        "additional_vips": Attribute(
            kind=ListOf(item=Text()),
            says="Further addresses it listens at.",
            create=True,
            default=(),
            since="2.26",
            nested=ADDITIONAL_VIP,
            many=True,
        ),
        "listeners": _references("listeners"),
        "pools": _references("pools"),
        "provider": Attribute(
            kind=Text(longest=64, shortest=1), says="The type of its devices. Default: any.", create=True
        ),
        "flavor_id": Attribute(kind=Uuid(), says="The flavor that chooses its devices.", create=True, since="2.6"),
        "availability_zone": Attribute(
            kind=Text(shortest=1), says="The name of the zone of its devices.", create=True, since="2.14"
        ),
        "tags": _tags(),
    },
)

# --- listeners -----------------------------------------------------------

LISTENER = Resource(
    name="listener",
    plural="listeners",
    title="Listener",
    attributes={
        "id": _id(),
        "name": _name(),
        "description": _description(),
        **_statuses(),
        "admin_state_up": _admin_state_up(),
        "protocol": Attribute(kind=Choice(values=PROTOCOLS), says="What it speaks.", create=True, required=True),
        "protocol_port": Attribute(
            kind=Integer(least=1, most=65535), says="The port it listens on.", create=True, required=True
        ),
        "connection_limit": Attribute(
            kind=Integer(least=-1),
            says="Connections at once; -1: any number.",
            create=True,
            update=True,
            default=-1,
        ),
        "default_tls_container_ref": _tls("The certificate.", "2.0"),
        "sni_container_refs": Attribute(
            kind=ListOf(item=Text()),
            says="Further certificates.",
            create=True,
            update=True,
            default=[],
            refused=NOT_HERE,
        ),
        **_project(),
        "loadbalancer_id": Attribute(kind=Uuid(), says="The load balancer.", create=True, required=True, shown=False),
        "default_pool_id": Attribute(
            kind=Uuid(), says="The pool that gets what no L7 policy sends elsewhere.", create=True, update=True
        ),
        "l7policies": _references("L7 policies"),
        "insert_headers": Attribute(
            kind=TextMap(),
            says='Headers that members are sent: names to "true" or "false".',
            create=True,
            update=True,
            default={},
        ),
        **_times(),
        "loadbalancers": _references("load balancers"),
        "timeout_client_data": _timeout("client_data", "How long a client may be silent."),
        "timeout_member_connect": _timeout("member_connect", "How long connecting to a member may take."),
        "timeout_member_data": _timeout("member_data", "How long a member may be silent."),
        "timeout_tcp_inspect": _timeout("tcp_inspect", "How long to wait for the beginning of what a client sends."),
        "tags": _tags(),
        "client_ca_tls_container_ref": _tls("Who signs certificates of clients.", "2.8"),
        "client_authentication": Attribute(
            kind=Text(),
            says="Whether clients need a certificate.",
            create=True,
            update=True,
            default="NONE",
            refused=NOT_HERE,
            since="2.8",
        ),
        "client_crl_container_ref": _tls("Certificates of clients that are revoked.", "2.8"),
        "allowed_cidrs": Attribute(
            kind=ListOf(item=Cidr()),
            says="Who may connect; null: everybody.",
            create=True,
            update=True,
            since="2.12",
        ),
        "tls_ciphers": _tls("Ciphers, in the language of OpenSSL.", "2.15", longest=2048),
        "tls_versions": _tls_list("Versions of TLS.", "2.17"),
        "alpn_protocols": _tls_list("Protocols that are offered in ALPN.", "2.20"),
    },
)

# --- pools and members -----------------------------------------------------------

SESSION_PERSISTENCE = Resource(
    name="session_persistence",
    plural="session_persistences",
    title="Session persistence",
    attributes={
        "type": Attribute(
            kind=Choice(values=tuple(PersistenceKind)),
            says="What makes requests one session. When updating, default: as it was.",
            create=True,
            update=True,
            required=True,
        ),
        "cookie_name": Attribute(
            kind=Text(pattern=COOKIE_NAME, says="a cookie's name: no spaces, separators or control characters"),
            says="The cookie of the application, for APP_COOKIE only.",
            create=True,
            update=True,
        ),
        "persistence_timeout": Attribute(
            kind=Integer(least=0),
            says="Seconds that a session lasts, of UDP and SCTP pools only.",
            create=True,
            update=True,
            since="2.2",
        ),
        "persistence_granularity": Attribute(
            kind=Address(),
            says="The netmask that makes several clients one, of UDP and SCTP pools only.",
            create=True,
            update=True,
            since="2.2",
        ),
    },
)

MEMBER = Resource(
    name="member",
    plural="members",
    title="Member",
    ignored_filters=frozenset({"pool_id"}),
    attributes={
        "id": _id(),
        "name": _name(),
        **_statuses(),
        "admin_state_up": _admin_state_up(),
        "address": Attribute(kind=Address(), says="Its address.", create=True, required=True),
        "protocol_port": Attribute(kind=Integer(least=1, most=65535), says="Its port.", create=True, required=True),
        "weight": Attribute(
            kind=Integer(least=0, most=256),
            says="Its share of the traffic; 0: only what belongs to sessions it has.",
            create=True,
            update=True,
            default=1,
        ),
        "backup": Attribute(
            kind=Boolean(),
            says="Whether it only serves when no other member does.",
            create=True,
            update=True,
            default=False,
            since="2.1",
        ),
        "subnet_id": Attribute(kind=Uuid(), says="The subnet of its address.", create=True),
        **_project(),
        **_times(),
        "monitor_address": Attribute(
            kind=Address(), says="The address that is checked, if another.", create=True, update=True
        ),
        "monitor_port": Attribute(
            kind=Integer(least=1, most=65535), says="The port that is checked, if another.", create=True, update=True
        ),
        "tags": _tags(),
    },
)

HEALTH_MONITOR = Resource(
    name="healthmonitor",
    plural="healthmonitors",
    title="Health monitor",
    attributes={
        "id": _id(),
        "name": _name(),
        "type": Attribute(
            kind=Choice(values=tuple(MonitorType)), says="How members are checked.", create=True, required=True
        ),
        "delay": Attribute(
            kind=Integer(least=0),
            says="Seconds between two checks.",
            create=True,
            required=True,
            update=True,
            null=REFUSED,
        ),
        "timeout": Attribute(
            kind=Integer(least=0),
            says="Seconds that a check may take.",
            create=True,
            required=True,
            update=True,
            null=REFUSED,
        ),
        "max_retries": Attribute(
            kind=Integer(least=1, most=10),
            says="Checks that must succeed in a row before a member is up.",
            create=True,
            required=True,
            update=True,
            null=REFUSED,
        ),
        "max_retries_down": Attribute(
            kind=Integer(least=1, most=10),
            says="Checks that must fail in a row before a member is down.",
            create=True,
            update=True,
            default=3,
        ),
        "http_method": Attribute(
            kind=Choice(values=METHODS),
            says="Of HTTP and HTTPS only; GET unless another is sent.",
            create=True,
            update=True,
        ),
        "url_path": Attribute(
            kind=Text(pattern=PATH, says="a path that begins with / and has no spaces"),
            says="Of HTTP and HTTPS only; / unless another is sent.",
            create=True,
            update=True,
        ),
        "expected_codes": Attribute(
            kind=Text(longest=64, pattern=CODES, says="200, a list like 200,202 or a range like 200-204"),
            says="Of HTTP and HTTPS only; 200 unless others are sent.",
            create=True,
            update=True,
        ),
        "admin_state_up": _admin_state_up(),
        **_project(),
        "pool_id": Attribute(
            kind=Uuid(), says="The pool whose members it checks.", create=True, required=True, shown=False
        ),
        "pools": _references("pools"),
        **_statuses(),
        **_times(),
        "tags": _tags(),
        "http_version": Attribute(
            kind=HttpVersion(), says="1.0 or 1.1, of HTTP and HTTPS only.", create=True, update=True, since="2.10"
        ),
        "domain_name": Attribute(
            kind=Text(pattern=_HOST, says="a host name"),
            says="The Host header, for `http_version` 1.1.",
            create=True,
            update=True,
            since="2.10",
        ),
    },
)

POOL = Resource(
    name="pool",
    plural="pools",
    title="Pool",
    attributes={
        "id": _id(),
        "name": _name(),
        "description": _description(),
        **_statuses(),
        "admin_state_up": _admin_state_up(),
        "protocol": Attribute(
            kind=Choice(values=POOL_PROTOCOLS), says="What its members speak.", create=True, required=True
        ),
        "lb_algorithm": Attribute(
            kind=Choice(values=ALGORITHMS),
            says="How members are chosen.",
            create=True,
            required=True,
            update=True,
            null=REFUSED,
        ),
        "session_persistence": Attribute(
            kind=Text(),
            says="Whether a client stays with a member.",
            create=True,
            update=True,
            nested=SESSION_PERSISTENCE,
        ),
        **_project(),
        "loadbalancer_id": Attribute(
            kind=Uuid(), says="The load balancer; this or `listener_id` must be sent.", create=True, shown=False
        ),
        "listener_id": Attribute(
            kind=Uuid(), says="The listener whose default pool it becomes.", create=True, shown=False
        ),
        "loadbalancers": _references("load balancers"),
        "listeners": _references("listeners"),
        **_times(),
        "healthmonitor_id": Attribute(kind=Uuid(), says="Its health monitor."),
        "members": Attribute(
            kind=_IDS,
            says="Ids of its members. When creating: members to be made with it.",
            create=True,
            default=(),
            nested=MEMBER,
            many=True,
        ),
        "healthmonitor": Attribute(
            kind=Text(),
            says="A health monitor to be made with it.",
            create=True,
            shown=False,
            nested=HEALTH_MONITOR.without("pool_id"),
        ),
        "tags": _tags(),
        "tls_enabled": Attribute(
            kind=Boolean(),
            says="Whether members are spoken to in TLS.",
            create=True,
            update=True,
            default=False,
            refused=NOT_HERE,
            since="2.8",
        ),
        "tls_container_ref": _tls("The certificate that members are shown.", "2.8"),
        "ca_tls_container_ref": _tls("Who signs certificates of members.", "2.8"),
        "crl_container_ref": _tls("Certificates of members that are revoked.", "2.8"),
        "tls_ciphers": _tls("Ciphers, in the language of OpenSSL.", "2.15", longest=2048),
        "tls_versions": _tls_list("Versions of TLS.", "2.18"),
        "alpn_protocols": _tls_list("Protocols that are offered in ALPN.", "2.24"),
    },
)

# --- L7 policies and rules -----------------------------------------------------------

L7_RULE = Resource(
    name="rule",
    plural="rules",
    title="L7 rule",
    ignored_filters=frozenset({"l7policy_id"}),
    attributes={
        "id": _id(),
        "type": Attribute(
            kind=Choice(values=RULE_TYPES), says="What is looked at.", create=True, required=True, update=True
        ),
        "compare_type": Attribute(
            kind=Choice(values=COMPARE_TYPES), says="How it is compared.", create=True, required=True, update=True
        ),
        "key": Attribute(
            kind=Text(pattern=_ONE_LINE, says="one line"),
            says="The name of the header, the cookie or the field.",
            create=True,
            update=True,
        ),
        "value": Attribute(
            kind=Text(shortest=1, pattern=_ONE_LINE, says="one line"),
            says="What it is compared with.",
            create=True,
            required=True,
            update=True,
            null=REFUSED,
        ),
        "invert": Attribute(
            kind=Boolean(),
            says="Whether it matches when the comparison does not.",
            create=True,
            update=True,
            default=False,
        ),
        **_statuses(),
        "admin_state_up": _admin_state_up(),
        **_project(),
        **_times(),
        "tags": _tags(),
    },
)

L7_POLICY = Resource(
    name="l7policy",
    plural="l7policies",
    title="L7 policy",
    attributes={
        "id": _id(),
        "name": _name(),
        "description": _description(),
        **_statuses(),
        "admin_state_up": _admin_state_up(),
        **_project(),
        "action": Attribute(
            kind=Choice(values=tuple(REDIRECT_TARGETS)),
            says="What happens to a request that all rules match.",
            create=True,
            required=True,
            update=True,
            null=REFUSED,
        ),
        "listener_id": Attribute(kind=Uuid(), says="The listener.", create=True, required=True),
        "redirect_pool_id": Attribute(kind=Uuid(), says="Of REDIRECT_TO_POOL: the pool.", create=True, update=True),
        "redirect_url": Attribute(
            kind=Text(), says="Of REDIRECT_TO_URL: where the client is sent.", create=True, update=True
        ),
        "redirect_prefix": Attribute(
            kind=Text(), says="Of REDIRECT_PREFIX: what the path is put behind.", create=True, update=True
        ),
        "redirect_http_code": Attribute(
            kind=Choice(values=REDIRECT_CODES),
            says="Of REDIRECT_TO_URL and REDIRECT_PREFIX: the status; 302 unless another is sent.",
            create=True,
            update=True,
            since="2.9",
        ),
        "position": Attribute(
            kind=Integer(least=1, most=LAST_POSITION),
            says="Its place among the policies of the listener; those behind it move on. Default: the last.",
            create=True,
            update=True,
            default=LAST_POSITION,
        ),
        "rules": Attribute(
            kind=_IDS,
            says="Ids of its rules. When creating: rules to be made with it.",
            create=True,
            default=(),
            nested=L7_RULE,
            many=True,
        ),
        **_times(),
        "tags": _tags(),
    },
)

# --- quotas and providers ------------------------------------------------------------

_LIMIT = Integer(least=-1, most=LARGEST)


def _limit(of: str) -> Attribute:
    return Attribute(kind=_LIMIT, says=f"How many {of} there may be; -1: any number. null: the default.", update=True)


QUOTA = Resource(
    name="quota",
    plural="quotas",
    title="Quota",
    attributes={
        "project_id": Attribute(kind=Text(), says="The project."),
        "tenant_id": Attribute(kind=Text(), says="The project."),
        "loadbalancer": _limit("load balancers"),
        "load_balancer": _limit("load balancers"),
        "listener": _limit("listeners"),
        "pool": _limit("pools"),
        "member": _limit("members"),
        "healthmonitor": _limit("health monitors"),
        "health_monitor": _limit("health monitors"),
        "l7policy": _limit("L7 policies"),
        "l7rule": _limit("L7 rules"),
    },
)
QUOTA_RESOURCES: Mapping[str, QuotaResource] = {
    "loadbalancer": QuotaResource.LOAD_BALANCER,
    "load_balancer": QuotaResource.LOAD_BALANCER,
    "listener": QuotaResource.LISTENER,
    "pool": QuotaResource.POOL,
    "member": QuotaResource.MEMBER,
    "healthmonitor": QuotaResource.HEALTH_MONITOR,
    "health_monitor": QuotaResource.HEALTH_MONITOR,
    "l7policy": QuotaResource.L7_POLICY,
    "l7rule": QuotaResource.L7_RULE,
}
PROVIDER = Resource(
    name="provider",
    plural="providers",
    title="Provider",
    attributes={
        "name": Attribute(kind=Text(), says="What load balancers ask for it by."),
        "description": Attribute(kind=Text(), says="What it is."),
    },
)

# --- flavors and availability zones ----------------------------------------------------


def _profile(name: str, title: str, data: str, links: str) -> Resource:
    return Resource(
        name=name,
        plural=f"{name}s",
        title=title,
        links=links,
        attributes={
            "id": Attribute(kind=Uuid(), says="The id."),
            "name": Attribute(
                kind=Text(), says="A name, for people.", create=True, required=True, update=True, null=REFUSED
            ),
            "provider_name": Attribute(
                kind=Text(shortest=1), says="The provider.", create=True, required=True, update=True, null=REFUSED
            ),
            data: Attribute(
                kind=Text(longest=4096),
                says='JSON as text: `{"devices": "HAP-001,HAP-002"}`, names or ids; `{}` is all of the provider.',
                create=True,
                required=True,
                update=True,
                null=REFUSED,
            ),
        },
    )


_FLAVOR_NAME = Text(shortest=1)
_ZONE_NAME = Text(
    shortest=1, pattern=PATH_PART, says="text that a path can have: no /, no control characters, no .json at the end"
)


def _placement(name: str, title: str, profile: str, kind: Text, *, renamed: bool) -> Resource:
    attributes = {
        "id": Attribute(kind=Uuid(), says="The id."),
        "name": Attribute(
            kind=kind, says="A name of its own.", create=True, required=True, update=renamed, null=REFUSED
        ),
        "description": _description(),
        "enabled": Attribute(
            kind=Boolean(),
            says="Whether new load balancers can have it.",
            create=True,
            update=True,
            default=True,
            null=True,
        ),
        profile: Attribute(kind=Uuid(), says="The profile.", create=True, required=True),
    }
    if not renamed:
        del attributes["id"]
    return Resource(name=name, plural=f"{name}s", title=title, attributes=attributes)


FLAVOR_PROFILE = _profile("flavorprofile", "Flavor profile", "flavor_data", "flavorprofile_links")
FLAVOR = _placement("flavor", "Flavor", "flavor_profile_id", _FLAVOR_NAME, renamed=True)
AVAILABILITY_ZONE_PROFILE = _profile(
    "availability_zone_profile",
    "Availability zone profile",
    "availability_zone_data",
    "availability_zone_profile_links",
)
AVAILABILITY_ZONE = _placement(
    "availability_zone", "Availability zone", "availability_zone_profile_id", _ZONE_NAME, renamed=False
)
CAPABILITY = Resource(
    name="capability",
    plural="capabilities",
    title="Capability",
    attributes={
        "name": Attribute(kind=Text(), says="A key of the data of profiles."),
        "description": Attribute(kind=Text(), says="What it means."),
    },
)

REFERENCE = (
    LOAD_BALANCER,
    ADDITIONAL_VIP,
    LISTENER,
    POOL,
    SESSION_PERSISTENCE,
    MEMBER,
    HEALTH_MONITOR,
    L7_POLICY,
    L7_RULE,
    QUOTA,
    PROVIDER,
    FLAVOR,
    FLAVOR_PROFILE,
    AVAILABILITY_ZONE,
    AVAILABILITY_ZONE_PROFILE,
    CAPABILITY,
)
"""What the documentation tells, in this order."""

# --- a load balancer with all its parts -----------------------------------------------------------

# A pool of which only the name is said is one that is defined elsewhere in the body.
NESTED_POOL = POOL.without("loadbalancer_id", "listener_id").having(
    **{name: replace(POOL.attributes[name], required=False, null=DEFAULT) for name in ("protocol", "lb_algorithm")}
)
_ONE_POOL = Attribute(kind=Text(), says="A pool, or the name of one in the body.", create=True, nested=NESTED_POOL)
NESTED_L7_POLICY = L7_POLICY.without("listener_id").having(redirect_pool=_ONE_POOL)
NESTED_LISTENER = LISTENER.without("loadbalancer_id").having(
    default_pool=_ONE_POOL,
    l7policies=Attribute(kind=Text(), says="L7 policies.", create=True, default=(), nested=NESTED_L7_POLICY, many=True),
)
LOAD_BALANCER_WITH_ALL = LOAD_BALANCER.having(
    listeners=Attribute(kind=Text(), says="Listeners.", create=True, default=(), nested=NESTED_LISTENER, many=True),
    pools=Attribute(kind=Text(), says="Pools.", create=True, default=(), nested=NESTED_POOL, many=True),
)
