"""The objects of the service, as frozen values.

Every dialect translates from and to these types; nothing else in the program describes a load balancer.
Collections are tuples, free-form mappings are read-only by convention. Ids are UUIDs written as 32 hex digits.
`extras` holds what a caller of the balancer API sent and these types do not express; it is returned as sent
and never rendered.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Extras = Mapping[str, Any]


def new_id() -> str:
    """A fresh object id: 32 hex digits."""
    return uuid.uuid4().hex


class Algorithm(enum.StrEnum):
    ROUND_ROBIN = "ROUND_ROBIN"
    STATIC_ROUND_ROBIN = "STATIC_ROUND_ROBIN"
    LEAST_CONNECTIONS = "LEAST_CONNECTIONS"
    SOURCE_IP = "SOURCE_IP"
    SOURCE_IP_PORT = "SOURCE_IP_PORT"
    URI = "URI"


class Protocol(enum.StrEnum):
    """Of listeners and pools. HTTPS is passed through, not terminated."""

    HTTP = "HTTP"
    HTTPS = "HTTPS"
    TCP = "TCP"
    TERMINATED_HTTPS = "TERMINATED_HTTPS"
    PROMETHEUS = "PROMETHEUS"
    PROXY = "PROXY"
    PROXYV2 = "PROXYV2"
    UDP = "UDP"
    SCTP = "SCTP"


class MonitorType(enum.StrEnum):
    PING = "PING"
    TCP = "TCP"
    HTTP = "HTTP"
    HTTPS = "HTTPS"
    TLS_HELLO = "TLS-HELLO"
    UDP_CONNECT = "UDP-CONNECT"
    SCTP = "SCTP"


class PersistenceKind(enum.StrEnum):
    SOURCE_IP = "SOURCE_IP"
    HTTP_COOKIE = "HTTP_COOKIE"
    APP_COOKIE = "APP_COOKIE"


class Rotation(enum.StrEnum):
    """What an operator asked of a member: take traffic, run dry, or take none at once."""

    IN = "IN"
    DRAIN = "DRAIN"
    OUT = "OUT"


class OperatingStatus(enum.StrEnum):
    """How an object was seen to be on its device, whatever was asked of it."""

    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"
    DEGRADED = "DEGRADED"
    ERROR = "ERROR"
    DRAINING = "DRAINING"
    NO_MONITOR = "NO_MONITOR"


class ObjectKind(enum.StrEnum):
    """What a device counts for."""

    LISTENER = "LISTENER"
    POOL = "POOL"
    MEMBER = "MEMBER"


class QuotaResource(enum.StrEnum):
    """What a project may have only so many of, whatever the dialect it is made in."""

    LOAD_BALANCER = "load_balancer"
    LISTENER = "listener"
    POOL = "pool"
    MEMBER = "member"
    HEALTH_MONITOR = "health_monitor"
    L7_POLICY = "l7_policy"
    L7_RULE = "l7_rule"


Quotas = Mapping[QuotaResource, int]
"""How many of each there may be. Negative: any number."""


class Outcome(enum.StrEnum):
    """How a deployment ended: it was applied (as far as nothing was rejected), it failed and is tried again by itself,
    or it failed and waits for a change."""

    APPLIED = "APPLIED"
    RETRYING = "RETRYING"
    FAILED = "FAILED"


class AdminState(enum.StrEnum):
    """Of a device: everything, nothing new is scheduled there, nothing is touched."""

    ENABLED = "ENABLED"
    DRAINED = "DRAINED"
    MAINTENANCE = "MAINTENANCE"


class MovePhase(enum.StrEnum):
    """How far a load balancer is on its way to another device: `balancer.core.moves`."""

    TAKE = "TAKE"
    CLEAR = "CLEAR"
    PREPARE = "PREPARE"
    RELEASE = "RELEASE"


# --- devices -----------------------------------------------------------------


class Sealed(str):
    """A secret in the form in which it is stored. Only the repository can open it, and does so for whoever deploys."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Sealed()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """How to log in: one of a password, a private key (PEM text) or the path of a key file on this host.

    Password and private key are `Sealed` in a device that comes from a transaction, and open in a `DeviceSpec`.
    """

    password: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    key_filename: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a device is managed. `host_key` is the pinned server key, ``"ssh-ed25519 AAAA…"``, or None."""

    host: str
    port: int = 22
    username: str
    credential: Credential
    host_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    algorithms: tuple[Algorithm, ...]
    protocols: tuple[Protocol, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A listening address of a device: normalised `address` (``"*"`` for every address) and a port range."""

    address: str
    first_port: int
    last_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Traffic as clients see it: `bytes_in` came from them. `active_connections` is of one moment, the others only
    grow. `request_errors`: of a listener, requests that could not be understood or were cut off; of a pool or member,
    connections and answers that failed."""

    bytes_in: int = 0
    bytes_out: int = 0
    active_connections: int = 0
    total_connections: int = 0
    request_errors: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectSample:
    """One object as its device reports it. `status` None: not decided yet, so what was seen before still holds.
    `counters` are the process's own, from its start."""

    kind: ObjectKind
    object_id: str
    status: OperatingStatus | None
    counters: Counters


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSample:
    """All objects that a device runs at one moment; one that is not among them is not served. `process` names the
    one that counts: another name says that it has begun at zero."""

    process: str
    objects: tuple[ObjectSample, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What a device runs is not what was deployed to it. `diff` is a unified diff from that to what was found, without
    secrets; "" when it cannot be shown. The next deployment puts it right, whatever it is made for."""

    sentence: str
    diff: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What was last seen of a device. `facts` is the driver's own, small and JSON-able.

    `sentence` says in one line what was found, `host_key` is the server key that was seen. `repair` is None, or
    says what is missing that a deployment puts right (a dead process, a lost address). `drift`: somebody else
    changed what was deployed; it is put right when `repair` says so, or by the next deployment. `epoch` is that of the
    last deployment under this very device id that the device remembers, None when it remembers none. `own_addresses`
    are the IP addresses, canonical, that the host has whatever is deployed there, and `managed_at` is where it was
    reached; while it cannot be reached, the repository keeps both as they were. `sample` is None when the device
    could not be asked; the repository adds it to the statistics and does not give it back. `at` is when, in seconds of
    the database's clock: the repository sets it when it records the observation.
    """

    reachable: bool
    sentence: str
    version: str | None = None
    host_key: str | None = None
    foreign_binds: tuple[Bind, ...] = ()
    findings: tuple[str, ...] = ()
    repair: str | None = None
    drift: Drift | None = None
    epoch: int | None = None
    own_addresses: tuple[str, ...] = ()
    managed_at: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    sample: DeviceSample | None = None
    at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRange:
    """From `first` to `last`, both included and in canonical form."""

    first: str
    last: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A host that serves load balancers.

    `type` names a driver. `capabilities` None means whatever the driver can do. `desired_revision` grows with
    every change that concerns the device, `applied_revision` is the last one it is known to run.
    `error` is the sentence of the last failed deployment, None when the last one succeeded. `adopting`: an
    administrator said that what another database left on the device may be replaced; true until that was done.
    `resyncing`: the same for making it run what is stored even when it seems to.
    `deployed_epoch` is the epoch of the last deployment that the database knows to have begun, 0 for none, and None
    where no database is asked: when the device remembers a later one, that was of a later state of the database, or of
    a copy.
    `vip_ranges` are the addresses that projects may choose for virtual IPs there.
    """

    id: str
    name: str
    type: str
    version: str | None = None
    endpoint: Endpoint
    capabilities: Capabilities | None = None
    supports_ipv6: bool = False
    admin_state: AdminState = AdminState.ENABLED
    interface: str | None = None
    config_path: str | None = None
    socket: str | None = None
    vip_ranges: tuple[AddressRange, ...] = ()
    extras: Extras = field(default_factory=dict)
    desired_revision: int = 0
    applied_revision: int = 0
    error: str | None = None
    waiting_for: str | None = None
    adopting: bool = False
    deployed_epoch: int | None = None
    resyncing: bool = False
    observation: Observation | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What is known of a device's addresses: `managed` are those where the service logs in, as registered (which may be
    a name) and as reached; `own` are all that it has whatever is deployed; those of `vip_ranges` it opens to projects.
    """

    device_id: str
    managed: tuple[str, ...]
    own: tuple[str, ...] = ()
    vip_ranges: tuple[AddressRange, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressUse:
    """A load balancer has the address for a virtual IP, or a device may still serve it there. `project_id` is None when
    the load balancer is gone."""

    address: str
    load_balancer_id: str
    device_id: str
    project_id: str | None


# --- load balancers ----------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualIp:
    """An address of a load balancer. A wildcard is stored as ``"*"``, IPv6 in canonical form.

    In what a dialect asks for, `address` may be ``""``: the service chooses one of the network, subnet or port that is
    named instead, and fills in the others. `port_id` names the port that holds the address for the load balancer, None
    for an address that is of no registered subnet. `prefix_length` is the one that the address gets on the device, None
    the longest; `asked_length` is the one that a caller asked for, which an administrator gets and a project does not.
    `interface`: where a device adds it, None leaves it to the device. One that is `lasting` belongs to the load
    balancer as long as that exists; any other goes with its last listener.
    """

    id: str
    address: str
    prefix_length: int | None = None
    asked_length: int | None = None
    network_id: str | None = None
    subnet_id: str | None = None
    port_id: str | None = None
    qos_policy_id: str | None = None
    interface: str | None = None
    lasting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Milliseconds; None leaves the driver's default."""

    client: int | None = None
    member_connect: int | None = None
    member_data: int | None = None
    tcp_inspect: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class L7Rule:
    id: str
    type: str
    compare_type: str
    value: str
    key: str | None = None
    invert: bool = False
    admin_up: bool = True
    tags: tuple[str, ...] = ()
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class L7Policy:
    """`redirect` holds what the action needs: ``pool_id``, ``url``, ``prefix``, ``http_code``."""

    id: str
    name: str = ""
    description: str = ""
    position: int
    action: str
    redirect: Mapping[str, Any] = field(default_factory=dict)
    rules: tuple[L7Rule, ...] = ()
    admin_up: bool = True
    tags: tuple[str, ...] = ()
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A port that is listened on, at the virtual IPs of `virtual_ip_ids`; () means all of them.

    `connection_limit` None means unlimited.
    """

    id: str
    name: str = ""
    description: str = ""
    virtual_ip_ids: tuple[str, ...] = ()
    protocol: Protocol
    port: int
    default_pool_id: str | None = None
    connection_limit: int | None = None
    timeouts: Timeouts = Timeouts()
    insert_headers: Mapping[str, str] = field(default_factory=dict)
    allowed_cidrs: tuple[str, ...] = ()
    tls: Mapping[str, Any] | None = None
    l7_policies: tuple[L7Policy, ...] = ()
    admin_up: bool = True
    tags: tuple[str, ...] = ()
    extras: Extras = field(default_factory=dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPersistence:
    """`timeout` in seconds; None leaves the driver's default. `granularity`: the netmask that makes addresses one
    client, of UDP and SCTP only."""

    id: str
    kind: PersistenceKind
    cookie_name: str | None = None
    timeout: int | None = None
    granularity: str | None = None
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberLimits:
    """Connections at once (`max_connections`, shrinking to `min_connections` at low load) and the seconds over
    which a member that returns gets its full share (`slow_start`)."""

    max_connections: int | None = None
    min_connections: int | None = None
    slow_start: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberCheck:
    """A member's own interval in seconds and counts, over those of the health monitor."""

    interval: float | None = None
    rise: int | None = None
    fall: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """`address` and `monitor_address` are kept as they were spelled. `weight` 0..256. It takes traffic when `admin_up`
    and `rotation` is IN. `cookie` is the value that a cookie persistence uses for it; None leaves it to the driver."""

    id: str
    name: str = ""
    address: str
    port: int
    weight: int = 1
    backup: bool = False
    subnet_id: str | None = None
    monitor_address: str | None = None
    monitor_port: int | None = None
    limits: MemberLimits = MemberLimits()
    check: MemberCheck = MemberCheck()
    cookie: str | None = None
    admin_up: bool = True
    rotation: Rotation = Rotation.IN
    tags: tuple[str, ...] = ()
    extras: Extras = field(default_factory=dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCheck:
    """`expected_codes` as given, ``"200,202,210-214"``."""

    method: str = "GET"
    path: str = "/"
    expected_codes: str = "200"
    version: str | None = None
    domain_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthMonitor:
    """Its own aggregate, associated with any number of pools, or with none. `delay` and `timeout` in seconds, `rise`
    and `fall` counts."""

    id: str
    project_id: str
    name: str = ""
    type: MonitorType
    delay: float
    timeout: float
    rise: int = 2
    fall: int = 3
    http: HttpCheck | None = None
    admin_up: bool = True
    tags: tuple[str, ...] = ()
    extras: Extras = field(default_factory=dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """`subnet_id` is the subnet that its members are said to be in, None when nobody said so."""

    id: str
    name: str = ""
    description: str = ""
    subnet_id: str | None = None
    protocol: Protocol
    algorithm: Algorithm
    members: tuple[Member, ...] = ()
    health_monitor_ids: tuple[str, ...] = ()
    session_persistence: SessionPersistence | None = None
    admin_up: bool = True
    tags: tuple[str, ...] = ()
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancerError:
    """Why generation `generation` could not be deployed. `public`: the sentence speaks of the load balancer alone, not
    of its device."""

    sentence: str
    generation: int
    public: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A load balancer is on its way from the device `device_id` to the one that it names itself."""

    device_id: str
    phase: MovePhase


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancer:
    """The unit of consistency: every change adds one to `generation`.

    It belongs to the device `device_id`; `move` is None unless it comes from another one that is not done with it.
    `deleted` hides it from every reply while a device still runs it. `notices` are sentences on what the
    driver could not express; they do not make it fail.

    `provider` (a device type, in lower case), `flavor_id` and `availability_zone` are what was asked of its placement.
    `changed_at` is when the present generation was made, `applied_changed_at` when the applied one was: what below it
    was created or updated later than that is not applied yet.

    `exempt`: an administrator gave it addresses that a project may not ask for itself.
    """

    id: str
    project_id: str
    name: str = ""
    description: str = ""
    admin_up: bool = True
    exempt: bool = False
    virtual_ips: tuple[VirtualIp, ...] = ()
    listeners: tuple[Listener, ...] = ()
    pools: tuple[Pool, ...] = ()
    device_id: str
    pinned: bool = False
    move: Move | None = None
    generation: int = 1
    applied_generation: int = 0
    deleted: bool = False
    error: LoadBalancerError | None = None
    notices: tuple[str, ...] = ()
    provider: str | None = None
    flavor_id: str | None = None
    availability_zone: str | None = None
    tags: tuple[str, ...] = ()
    extras: Extras = field(default_factory=dict)
    changed_at: datetime | None = None
    applied_changed_at: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A load balancer with the health monitors that its pools use, in the order of their first use.

    `shared` are the ids of those that other load balancers use, too. It is known inside of a change, and empty outside.
    What a change takes out of `monitors` is deleted, unless it is shared or the change has it in `released`.
    """

    load_balancer: LoadBalancer
    monitors: tuple[HealthMonitor, ...] = ()
    shared: frozenset[str] = frozenset()
    released: tuple[HealthMonitor, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Of one load balancer: `state` is another one whenever anything has changed that callers are shown of it."""

    load_balancer_id: str
    project_id: str
    state: tuple[object, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectState:
    """An object's status when its device was last asked, None when that is not known, and what was counted for it
    ever since it was first seen, whatever was reloaded or restarted meanwhile."""

    kind: ObjectKind
    object_id: str
    status: OperatingStatus | None
    counters: Counters


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Of one load balancer: object id to state. Listeners that were removed are still among them, so that the sum
    over all does not shrink. `sampled_at` (seconds of the database's clock) is when its device was last asked, `age`
    how many seconds ago that was when this was read; both None when it never was."""

    states: Mapping[str, ObjectState] = field(default_factory=dict)
    sampled_at: float | None = None
    age: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks: the project of the request, the user, its roles in that project (lower case).

    `admin`: an administrator, who may do everything. `every_project`: may do what this request asks for in any project,
    and on what belongs to none. `exports`: may let listeners show what a device counts for everybody.
    """

    project_id: str | None = None
    user_id: str | None = None
    roles: frozenset[str] = frozenset()
    admin: bool = False
    every_project: bool = False
    exports: bool = False

    def acts_in(self, project_id: str) -> bool:
        return self.acts_everywhere or self.project_id == project_id

    @property
    def acts_everywhere(self) -> bool:
        return self.admin or self.every_project


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Of a list: what comes after the object of the id `marker`, `limit` at most; all of it when they are None."""

    marker: str | None = None
    limit: int | None = None


WHOLE = Page()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """(device, address, port) belongs to one load balancer. `address` is normalised, ``"*"`` the wildcard."""

    device_id: str
    address: str
    port: int
    load_balancer_id: str


# --- flavors and availability zones -------------------------------------------


class PlacementKind(enum.StrEnum):
    FLAVOR = "FLAVOR"
    AVAILABILITY_ZONE = "AVAILABILITY_ZONE"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementProfile:
    """What flavors or zones mean: load balancers are of that `provider` (a device type in lower case) and go where
    `data`, the text of a JSON object, says."""

    id: str
    kind: PlacementKind
    name: str
    provider: str
    data: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A flavor or an availability zone; names are unique among each. One that is not `enabled` cannot be asked for."""

    id: str
    kind: PlacementKind
    name: str
    description: str = ""
    enabled: bool = True
    profile_id: str


# --- networks ----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Subnets that belong together. `shared`: every project may take addresses from them, else `project_id` only."""

    id: str
    project_id: str
    name: str = ""
    description: str = ""
    shared: bool = True
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """Addresses that load balancers may be given.

    `cidr` is canonical. Addresses are chosen from `ranges`; one that is asked for by an administrator may be any of
    the `cidr`. Nobody is given the `gateway`. `device_ids` are the devices where they can be served, () means every
    one, at `interface`, None leaves that to the device.
    """

    id: str
    network_id: str
    project_id: str
    name: str = ""
    description: str = ""
    cidr: str
    gateway: str | None = None
    ranges: tuple[AddressRange, ...]
    device_ids: tuple[str, ...] = ()
    interface: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedIp:
    subnet_id: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """Addresses that are taken. `load_balancer_id` is the load balancer that it was made for; it goes when no load
    balancer and no device needs it any more. None: an administrator made it, and removes it."""

    id: str
    network_id: str
    project_id: str
    name: str = ""
    description: str = ""
    fixed_ips: tuple[FixedIp, ...]
    load_balancer_id: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


# --- deployment --------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSpec:
    """All that a renderer may see: one device and what it shall run, at `revision`.

    `load_balancers` are the ones to run, in the order of their ids; deleted ones are not among them. `accepted_blocks`
    maps a load balancer's id to the last text of it that the device accepted. `deployed` has all that the device was
    last made to run, of whatever load balancer, in the order of their ids. `removed` names load balancers that are
    deleted or moved away, with the generation seen. `kept` maps those that are about to move away to the text that the
    device accepted last: it runs on, as it is, until another device has them. `withheld` are addresses that the device
    must not have yet, because another one has them: what listens there is made ready all the same. `hosts` are all
    devices, and `virtual` those of the addresses that the load balancers send traffic to that are virtual IPs of some
    load balancer. `failures` counts the deployments that failed in a row. `look_asked`: somebody waits for a new
    observation. `seen_ago`: seconds since the last one, None when there was none. `deployable`: there is something to
    deploy or to repair, and no failure before forbids trying it now.
    """

    device: Device
    load_balancers: tuple[LoadBalancer, ...]
    monitors: tuple[HealthMonitor, ...]
    revision: int
    accepted_blocks: Mapping[str, str] = field(default_factory=dict)
    deployed: Mapping[str, str] = field(default_factory=dict)
    removed: Mapping[str, int] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()
    hosts: tuple[Host, ...] = ()
    virtual: frozenset[str] = frozenset()
    failures: int = 0
    look_asked: bool = False
    seen_ago: float | None = None
    deployable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Output of a renderer: a `head` shared by all, then one block of text per load balancer, in order.

    `notices` maps a load balancer's id to what could not be expressed. `digest` is over head and blocks.
    `rejected` maps those that could not be rendered to the reason; their block is the last accepted one or "".
    `withheld` as in `DeviceSpec`.
    """

    head: str
    blocks: Mapping[str, str]
    digest: str
    notices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rejected: Mapping[str, str] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a device runs after a successful `apply`.

    `plan` is ``"noop"``, ``"runtime"`` or ``"reload"`` with `sentence` saying why and what was done.
    `rejected` maps the id of each load balancer that could not be deployed as asked to the reason; its last
    accepted block, if any, is what runs. `accepted_blocks` is what runs for every load balancer. `observation`
    is how the device was seen to be, None when the driver did not look; its sample was taken before anything changed.
    `notices` maps a load balancer's id to what was found out only on the device; they come after the candidate's.
    """

    plan: str
    sentence: str
    accepted_blocks: Mapping[str, str]
    rejected: Mapping[str, str] = field(default_factory=dict)
    diff: str = ""
    observation: Observation | None = None
    notices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a deployment would do, as far as that can be told without looking at the device.

    `plan` and `sentence` as in `Applied`. `diffs` maps the ids of load balancers whose text would change to a unified
    diff of it; ``""`` stands for the text that all of them share.
    """

    plan: str
    sentence: str
    diffs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What one deployment did to a device; the device's deployments are numbered from 1.

    `plan` and `sentence` as in `Applied`; after a failure `plan` is None and `sentence` says why. `started_at` is in
    seconds of the database's clock, `duration` in seconds. The same again (a failure with the same sentence, a repair
    that nobody asked for) is one deployment of several `attempts`: it has the start of the first one, and the revision
    and duration of the last one, which started at `last_started_at`.
    """

    device_id: str
    number: int
    revision: int
    outcome: Outcome
    plan: str | None
    sentence: str
    rejected: Mapping[str, str] = field(default_factory=dict)
    diff: str = ""
    started_at: float
    last_started_at: float
    duration: float
    attempts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentTotal:
    """All deployments of a device so far that ended like this, repeated ones included; `seconds` is what they took
    together. `plan` as in `Deployment`."""

    device_id: str
    outcome: Outcome
    plan: str | None
    number: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancerGroup:
    """How many load balancers are at these generations, `failed` with an error."""

    generation: int
    applied_generation: int
    failed: bool
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The state of the whole service. `workers` are the names of those that deploy; `longest_wait` is for how many
    seconds the first of `waiting_devices` has had something to deploy, 0.0 when there is none."""

    devices: tuple[Device, ...]
    load_balancers: tuple[LoadBalancerGroup, ...]
    deployments: tuple[DeploymentTotal, ...]
    waiting_devices: int
    longest_wait: float
    workers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """A process that deploys, or did lately. One that is not `enabled` takes nothing new into hand. `device_ids`: whom
    it was the last to look after."""

    id: str
    name: str
    enabled: bool = True
    description: str = ""
    alive: bool
    started_at: datetime
    seen_at: datetime
    device_ids: tuple[str, ...] = ()

    @property
    def works(self) -> bool:
        return self.alive and self.enabled

    @property
    def host(self) -> str:
        return self.name.partition(":")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to touch a device until `expires_at` (seconds of the database's clock). `epoch` grows with
    every owner and fences out the ones before."""

    device_id: str
    owner: str
    epoch: int
    expires_at: float
