"""The boundaries of the core: what it needs of a database, of a driver and of the cluster."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from balancer.core.model import (
    AddressUse,
    Applied,
    Caller,
    Candidate,
    Capabilities,
    Deployment,
    Device,
    DeviceSpec,
    Figures,
    HealthMonitor,
    Host,
    Lease,
    LoadBalancer,
    Network,
    Observation,
    Placement,
    PlacementKind,
    PlacementProfile,
    Port,
    Preview,
    QuotaResource,
    Quotas,
    Reservation,
    Stamp,
    Statistics,
    Subnet,
    VirtualIp,
    WorkerRecord,
)

NOTHING_DEPLOYED: Mapping[str, str] = MappingProxyType({})


class Driver(Protocol):
    """Six verbs over a whole device. The last two talk to the device, the others are pure.

    `description` is one line for people who choose among drivers. `profile_words` is what the data of profiles of
    flavors and availability zones may say to this driver beside ``devices``, and what that means.
    """

    name: str
    description: str
    profile_words: Mapping[str, str]

    def capabilities(self) -> Capabilities:
        """What this driver can do at best; a device's own `capabilities` may be narrower."""

    def validate(self, load_balancer: LoadBalancer, monitors: Sequence[HealthMonitor]) -> None:
        """Raise `InvalidInput` when no device of this driver could ever run this load balancer."""

    def validate_device(self, device: Device) -> Device:
        """The device with this driver's defaults filled in; raises `InvalidInput` on bad attributes."""

    def render(self, spec: DeviceSpec) -> Candidate: ...

    def preview(self, spec: DeviceSpec, *, before: Device) -> Preview:
        """What deploying would do to a device that runs `spec.accepted_blocks`.

        `spec.load_balancers` would be brought up to date and those of `spec.removed` taken away; all others stay as
        they are. `before` is the device as it was registered until now. Called within requests, at the same time as
        `render` in other threads, and leaves no trace.
        """

    def observe(self, device: Device, deployed: Mapping[str, str] = NOTHING_DEPLOYED) -> Observation:
        """Look at the device. An unreachable device is an answer, not an error. `deployed` maps load balancer ids to
        what should be found there."""

    def apply(
        self,
        device: Device,
        candidate: Candidate,
        *,
        epoch: int,
        last: Mapping[str, str],
        check: Callable[[], None],
        deployed: Mapping[str, str] = NOTHING_DEPLOYED,
    ) -> Applied:
        """Make the device run the candidate, or change nothing and raise.

        `last` maps load balancer ids to the last accepted block, `deployed` to what should be found there; `check`
        raises `LeaseLost` when the lease is gone, or about to end (`balancer.config.assured_seconds`), and is called
        before every step that changes the device, but not before the device was found to remember no epoch later than
        `device.deployed_epoch` (else `LaterOwner`, unless it is being adopted).
        Raises `TransientDeviceError`, `TerminalDeviceError`, `LeaseLost`, or `NotYet` when the device needs a rest.
        """

    def forget(self, device_id: str) -> None:
        """Drop whatever is kept open for a device."""


class Notifier(Protocol):
    """Wakes the workers. Losing a wake-up costs latency, never correctness."""

    def notify(self, device_id: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a load balancer is: the last generation that was applied, and the one that could not be, if any."""

    applied_generation: int
    failed_generation: int | None
    rests: bool
    """The device that has to do something next is in MAINTENANCE."""

    def is_settled(self, generation: int) -> bool:
        """Whether that generation, or a later one, has been applied or refused, or is left alone for now."""
        return self.rests or max(self.applied_generation, self.failed_generation or 0) >= generation


class NetworkRows(Protocol):
    """The registered networks within a transaction. What is not there raises `NotFound`; lists are in the order of
    creation."""

    def networks(self) -> list[Network]: ...
    def network(self, network_id: str) -> Network: ...
    def add_network(self, network: Network) -> None: ...
    def save_network(self, network: Network) -> None: ...
    def delete_network(self, network_id: str) -> None:
        """With its subnets. Raises `Conflict` while there are ports."""

    def subnets(self) -> list[Subnet]: ...
    def subnet(self, subnet_id: str) -> Subnet:
        """When writing: nobody else takes an address of it until the transaction ends."""

    def add_subnet(self, subnet: Subnet) -> None:
        """Its network must be there."""

    def save_subnet(self, subnet: Subnet) -> None: ...
    def delete_subnet(self, subnet_id: str) -> None:
        """Raises `Conflict` while one of its addresses is taken."""

    def ports(self) -> list[Port]: ...
    def port(self, port_id: str) -> Port: ...
    def port_at(self, subnet_id: str, address: str) -> Port | None:
        """The port that holds the address."""

    def taken(self, subnet_id: str) -> set[str]:
        """The addresses of the subnet that ports hold."""

    def add_port(self, port: Port) -> None:
        """Raises `Conflict` when an address is taken, `NotFound` for an unknown network or subnet."""

    def delete_port(self, port_id: str) -> None:
        """Raises `Conflict` while a load balancer has it."""

    def users_of_all(self) -> Mapping[str, str]:
        """Port id to the id of a load balancer that has it, for each that one has."""

    def users(self, port_id: str) -> Mapping[str, str]:
        """Load balancer id to device id, for each that has the port, deleted ones that still run included."""


class PlacementRows(Protocol):
    """Flavors, availability zones and their profiles within a transaction, in the order of their ids. What is not there
    raises `NotFound`."""

    def profiles(self, kind: PlacementKind) -> list[PlacementProfile]: ...
    def profile(self, kind: PlacementKind, profile_id: str) -> PlacementProfile: ...
    def add_profile(self, profile: PlacementProfile) -> None: ...
    def save_profile(self, profile: PlacementProfile) -> None: ...
    def delete_profile(self, profile_id: str) -> None: ...
    def placements(self, kind: PlacementKind) -> list[Placement]: ...
    def placement(self, kind: PlacementKind, placement_id: str) -> Placement: ...
    def add_placement(self, placement: Placement) -> None: ...
    def save_placement(self, placement: Placement) -> None: ...
    def delete_placement(self, placement_id: str) -> None: ...


class Transaction(Protocol):
    """One transaction of the repository: everything or nothing. It holds nothing but SQL."""

    @property
    def networks(self) -> NetworkRows: ...
    @property
    def placements(self) -> PlacementRows: ...

    def undone(self) -> AbstractContextManager[None]:
        """What is written in the block is there until its end, and is undone then."""

    def clock(self) -> float:
        """Seconds, of the database's clock."""

    # devices
    def devices(self, *, ids: Sequence[str] | None = None) -> list[Device]:
        """All, or those of the ids that exist."""

    def device(self, device_id: str) -> Device:
        """Raises `NotFound`."""

    def hosts(self) -> tuple[Host, ...]:
        """The addresses of every device, as far as they are known."""

    def address_uses(self, addresses: Collection[str]) -> list[AddressUse]:
        """Which load balancers have any of these normalised addresses for virtual IPs, on whatever device and port."""

    def lock_device(self, device: Device) -> Device | None:
        """Nobody else changes the device, or what is on it, until the transaction ends. Returns it as it is now, None
        when it is gone. Whatever else a write transaction asks for of one device or load balancer is locked by itself;
        only lists are not."""

    def lock_devices(self, device_ids: Iterable[str]) -> None:
        """The same for several, in the order of their ids."""

    def add_device(self, device: Device) -> None:
        """Raises `Conflict` when host, port and configuration path are those of another device."""

    def save_device(self, device: Device) -> None:
        """Store its own attributes (not its revisions, observation or error). Raises `NotFound`, `Conflict`."""

    def delete_device(self, device_id: str) -> tuple[str, ...]:
        """With its lease and reservations and whatever load balancers are still on it; those that leave it, or were to
        come, do so no more. Returns the other devices that this gives something to deploy. Raises `NotFound`."""

    def bump(self, device_id: str) -> None:
        """desired_revision += 1, back-off forgotten."""

    def ask_observation(self, device_id: str) -> float:
        """The device is due to be looked at; returns the time of asking, in seconds of the database's clock."""

    def adopt(self, device_id: str, *, epoch: int) -> None:
        """The next deployment may replace what another database left there, under an epoch above `epoch`."""

    def resync(self, device_id: str) -> None:
        """The next deployment makes the device run what is stored even when it seems to."""

    # load balancers
    def load_balancers(
        self,
        *,
        ids: Sequence[str] | None = None,
        project_id: str | None = None,
        device_id: str | None = None,
        include_deleted: bool = False,
    ) -> list[LoadBalancer]: ...
    def load_balancer_counts(self) -> Mapping[str, int]:
        """Device id to how many load balancers are on it that are not deleted; devices without any are left out."""

    def stamps(self, *, project_id: str, load_balancer_id: str | None = None) -> list[Stamp]:
        """Of the project's load balancers that are not deleted, in the order of `load_balancers`, or of that one."""

    def stamps_having(self, kind: type, equal: Mapping[str, object], *, project_id: str | None = None) -> list[Stamp]:
        """Of the load balancers that are not deleted and hold an object of that `kind` (a class of the model:
        `LoadBalancer`, `Listener`, `Pool`, `Member`, `HealthMonitor`, `L7Policy`, `L7Rule`) whose stored columns have
        those values; these are named as in the model. In the order of `load_balancers`."""

    def load_balancer(self, load_balancer_id: str, *, include_deleted: bool = False) -> LoadBalancer:
        """Raises `NotFound`, also for a deleted one unless asked for."""

    def leaving(self, device_id: str) -> list[str]:
        """The ids of the load balancers that move away from the device and may still run there."""

    def progress(self, load_balancer_id: str) -> Progress | None:
        """Of a deleted one, too; None when it is gone for good."""

    def add_load_balancer(self, load_balancer: LoadBalancer) -> LoadBalancer:
        """Returns it as it is stored."""

    def save_load_balancer(self, load_balancer: LoadBalancer, *, seen: int) -> LoadBalancer:
        """Store it when its generation is still `seen`, else raise `StaleGeneration`. `load_balancer.generation`
        is the new one. Applied generation, accepted texts and notices are not touched; `error` and `move` are.
        Returns it as it is stored."""

    def hand_over(self, *, pools: Mapping[str, str], members: Mapping[str, str]) -> None:
        """Pools go to other load balancers (pool id to load balancer id), members to other pools, with all that is
        known of them. The load balancers that have them then are to be saved."""

    def exempt(self, load_balancer_ids: Collection[str]) -> None:
        """What they have may stay, although a project may not ask for it any more."""

    # health monitors
    def monitors(self, ids: Sequence[str]) -> list[HealthMonitor]:
        """Those of the ids that exist, in that order."""

    def monitor(self, monitor_id: str) -> HealthMonitor:
        """When writing: nobody else changes it, deletes it or makes a pool use it until the transaction ends. After
        every lock of a device. Raises `NotFound`, also for one that only deleted load balancers use."""

    def monitors_of(self, project_id: str | None) -> list[HealthMonitor]:
        """Those of the project, or all, the oldest first, without those that only deleted load balancers use."""

    def monitor_users(self, ids: Collection[str]) -> dict[str, tuple[str, ...]]:
        """Monitor id to the ids of the load balancers that use it and are not deleted, in the order of their ids; for
        each of the ids."""

    def save_monitor(self, monitor: HealthMonitor) -> HealthMonitor:
        """Add or replace. Returns it as it is stored."""

    def delete_monitor(self, monitor_id: str) -> None: ...

    # statistics
    def statistics(self, load_balancer_ids: Sequence[str]) -> dict[str, Statistics]:
        """Load balancer id to what is known of it, for those of the ids that exist."""

    # deployments
    def accepted_blocks(self, device_id: str) -> dict[str, tuple[str, bool]]:
        """Load balancer id to the last text of it that the device accepted, and whether it is deleted; in the order of
        the ids."""

    def is_accepted(self, device_id: str, load_balancer_id: str) -> bool:
        """Whether the device accepted it, be it in an older form."""

    def deployments(self, device_id: str, *, limit: int) -> list[Deployment]:
        """The newest ones, the newest first, without their diffs. Raises `NotFound` for an unknown device."""

    def deployment(self, device_id: str, number: int) -> Deployment:
        """Raises `NotFound`, also for one that is no longer kept."""

    # the service as a whole
    def workers(self) -> list[WorkerRecord]:
        """Those that are alive and some that were, in the order of their start."""

    def save_worker(self, worker: WorkerRecord) -> None:
        """Whether it is enabled, and its description. Raises `NotFound`."""

    def delete_worker(self, worker_id: str) -> None:
        """One that lives is there again when it tells so the next time. Raises `NotFound`."""

    def figures(self) -> Figures: ...

    # quotas
    def quotas(self, project_id: str) -> Quotas:
        """Those of the project's own; what is not among them is the default."""

    def all_quotas(self) -> dict[str, Quotas]:
        """Project id to its own quotas, for every project that has some, in the order of the ids."""

    def save_quotas(self, project_id: str, quotas: Quotas) -> None:
        """These are the project's own from now on, and no others."""

    def lock_project(self, project_id: str) -> None:
        """Nobody else who asks for this goes on before the transaction ends. After every lock of a device."""

    def usage(self, project_id: str, resources: Collection[QuotaResource]) -> dict[QuotaResource, int]:
        """How many of each count: what there is, and what a device may still run although it was deleted."""

    # reservations
    def reservations(self, device_id: str) -> list[Reservation]: ...
    def holders(self, addresses: Collection[tuple[str, int]]) -> list[Reservation]:
        """Who has any of these normalised addresses and ports, on whatever device."""

    def add_reservations(self, reservations: Sequence[Reservation]) -> None:
        """Raises `Conflict` naming address and port when one belongs to another load balancer."""


class Networks(Protocol):
    """Where the addresses of load balancers come from. Every call is part of the transaction that it is given."""

    def allot(self, tx: Transaction, caller: Caller, load_balancer: LoadBalancer, wanted: VirtualIp) -> VirtualIp:
        """The virtual IP with an address, and with whatever else was left open filled in.

        Raises `InvalidInput` (field ``address``, ``network_id``, ``subnet_id`` or ``port_id``) for one that is unknown
        or does not fit the others, `Forbidden` (field ``address``), and `Conflict` when the address is taken or none
        is left.
        """

    def device_ids(self, tx: Transaction, load_balancer: LoadBalancer) -> frozenset[str] | None:
        """The devices that can serve all its addresses, which were allotted before; None: all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DueDevice:
    device_id: str
    reason: str  # "deploy" or "observe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """`revision` is the desired one; `look_asked`: somebody waits for an observation."""

    revision: int
    look_asked: bool


class Transactions(Protocol):
    """All that a request needs of the database."""

    def read(self) -> AbstractContextManager[Transaction]:
        """A plain transaction for reading only."""

    def write(self) -> AbstractContextManager[Transaction]:
        """A write transaction: committed on leaving, rolled back on any exception. Do not nest, do no I/O in it."""

    def stamps(self, *, project_id: str, load_balancer_id: str | None = None) -> list[Stamp]:
        """Those of `Transaction.stamps`, at less expense than a transaction: they compare only with one another."""

    def now(self) -> float:
        """Seconds, of the database's clock."""


class Repository(Transactions, Protocol):
    def check_synced(self) -> None:
        """Raises `DatabaseNotSynced`."""

    def heartbeat(self, worker: str, seconds: float) -> None:
        """The worker of that name is alive, for so long unless it tells again."""

    def retire(self, worker: str) -> None:
        """It ends."""

    def may_work(self, worker: str) -> bool:
        """Whether nobody switched it off."""

    # deployment state, each its own transaction
    def due(self, *, observe_interval: float, limit: int) -> list[DueDevice]:
        """Devices with something to do and no live lease: a revision to deploy (back-off over), or an observation
        older than `observe_interval` seconds. Devices in MAINTENANCE are never due."""

    def next_due_in(self, *, observe_interval: float | None = None) -> float | None:
        """Seconds until the earliest back-off or lease ends that something waits for, or, with an interval, until the
        next device is to be observed; None when nothing waits."""

    def load_spec(self, device_id: str) -> DeviceSpec | None:
        """Everything the renderer needs, read in one transaction; None when the device is gone."""

    def pending(self, device_id: str) -> Pending | None:
        """What is left to be done on the device; None when it is gone, or when nothing is to be deployed and nobody
        waits for an observation."""

    def record_observation(self, lease: Lease, observation: Observation) -> None:
        """Its host key is stored with the device when none was pinned, its sample is added to the statistics.
        Raises `LeaseLost`."""

    def begin_deployment(self, lease: Lease) -> None:
        """From now on the device may remember the lease's epoch. Raises `LeaseLost`."""

    def record_applied(
        self, lease: Lease, spec: DeviceSpec, candidate: Candidate, applied: Applied, *, duration: float = 0.0
    ) -> None:
        """One transaction under the lease's epoch: applied revision and generations, accepted blocks, notices,
        errors of the rejected; deleted load balancers go; reservations that nothing needs any more are freed;
        the observation that came with it, else the present one without its `repair`; the history, in which it took
        `duration` seconds, unless nothing was to do and nobody had asked. Raises `LeaseLost`."""

    def record_failure(
        self, lease: Lease, spec: DeviceSpec, sentence: str, *, retry_after: float | None, duration: float = 0.0
    ) -> None:
        """The device's error; `retry_after` seconds until the next try, None to wait for a change. A terminal
        failure marks every load balancer that waited for this deployment. It took `duration` seconds, for the
        history. Raises `LeaseLost`."""

    def postpone(self, lease: Lease, spec: DeviceSpec, seconds: float, reason: str) -> None:
        """Nothing failed, but the device is not deployed to for so long, unless something is asked for meanwhile;
        until it is, `reason` says what that waits for. Raises `LeaseLost`."""


class Leases(Protocol):
    def claim(self, device_id: str) -> Lease | None:
        """Take the lease when it is free, expired, or its owner was a process of this host that is gone;
        None when somebody else holds it. Every claim adds one to the epoch."""

    def renew(self, lease: Lease) -> Lease:
        """Raises `LeaseLost`."""

    def release(self, lease: Lease) -> None:
        """Give it up; nothing happens when it was lost already."""
