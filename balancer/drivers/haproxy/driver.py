"""The driver of ordinary HAProxy hosts: an SSH server and HAProxy are all they need."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from balancer.config import Settings, assured_seconds
from balancer.core import tenants
from balancer.core.model import (
    Applied,
    Candidate,
    Capabilities,
    Device,
    DeviceSample,
    DeviceSpec,
    Drift,
    HealthMonitor,
    LoadBalancer,
    Observation,
    Preview,
    Sealed,
)
from balancer.core.ports import NOTHING_DEPLOYED
from balancer.drivers import ssh
from balancer.drivers.haproxy import addresses, deploy, file, live, names, render, rights, runtime, states
from balancer.drivers.haproxy.addresses import AddressAction
from balancer.drivers.haproxy.file import Composed, FileError, Parts, Sidecar
from balancer.drivers.haproxy.host import Glance, HostState, ping_command
from balancer.drivers.haproxy.plan import (
    ASKED_FOR,
    Action,
    Plan,
    halves,
    hand_written_conflicts,
    plan,
    port_conflicts,
    preview,
    reload_interval,
    say_hand_written,
)
from balancer.drivers.haproxy.stumbles import Stumbles, newcomers
from balancer.exceptions import DeviceError, InvalidInput, NotYet, TerminalDeviceError, TransientDeviceError

LOG = logging.getLogger(__name__)

# How often a file may change under our hands before we wait.
_ATTEMPTS = 3
_NOTHING_TO_SERVE = re.compile(r"No enabled listener found|will not start \(no listener\)")
_MISSING_LF = "Missing LF on last line"
_ALERT = re.compile(r"\[ALERT\]\s*(?:\(\d+\)\s*:\s*)?(?:config\s*:\s*)?")
_SENTENCE = 500
# Addresses added by one deployment: each is a command of its own, and the step has an end. The rest follows at once.
_ADDRESSES_AT_ONCE = 200
_ADDRESSES_SHOWN = 5
_MUTE = (
    "the device has no command ping to announce addresses with (iputils-ping): others on its network that remember an "
    "address elsewhere find out late"
)
# Seconds; what HAProxy needs after a start until it can hand its stick tables over is ten. A short wait is not worth
# the while of coming back.
_TABLES_TIMEOUT = 15
_TABLES_PATIENCE = 0.5
_TABLES_POLL = 0.05
_TABLES_PAUSE = 1.0
_HANDOVER_TIMEOUT = 2.0
_HANDOVER_POLL = 0.02
# What only a whole look shows (tools, versions, rights) may be so old.
_GOOD_SECONDS = 30.0
_ASTRAY = "HAProxy runs something else than its file says"

_Head = Callable[[Device, Iterable[str], str], str]
"""`render.head` with the service's settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A host, its file taken apart. `mark` is what the worker bears that serves: None when nothing was changed since it
    was started, or when it cannot be asked. `good_until`, by the monotonic clock: until then a glance is enough.
    `old_workers`: how many were seen to be there, some of which may have gone."""

    host: HostState
    parts: Parts
    sidecar: Sidecar | None
    mark: runtime.Mark | None = None
    good_until: float = 0.0
    old_workers: int = 0

    @property
    def old(self) -> bytes:
        return self.host.config or b""

    @property
    def verified(self) -> bool:
        """Whether the block in the file was seen serving."""
        if self.host.previous_exists:
            return False
        if self.parts.block is None:
            return True
        return self.sidecar is not None and self.sidecar.digest == file.digest(self.parts.block)

    @property
    def distrust(self) -> str:
        """Why HAProxy may run something else than the file, "" when it does not."""
        return "" if _is_of(self.mark, self.parts) else _ASTRAY


@dataclass(frozen=True, slots=True, kw_only=True)
class _Left:
    """A device as a deployment left it, with what was found out about its addresses. As long as its worker bears the
    mark, nobody else has deployed to it and HAProxy was not reloaded."""

    device: Device
    found: _Found
    moves: addresses.Changes
    refused: Mapping[str, str]


class _LookAgain(Exception):
    """What was known of the device does not do; says why HAProxy is to be distrusted, or nothing."""


def _is_of(mark: runtime.Mark | None, parts: Parts) -> bool:
    return mark is None or mark.digest == file.digest(parts.block or b"")


_NO_PROFILE_WORDS: Mapping[str, str] = {}


class HAProxyDriver:
    """Type ``HAPROXY``. Thread-safe as long as one thread at a time uses a device, which the lease sees to."""

    name = "haproxy"
    description = "HAProxy on ordinary hosts over SSH."
    profile_words = _NO_PROFILE_WORDS

    def __init__(self, settings: Settings) -> None:
        self._pool = ssh.Pool(connect_timeout=settings.ssh.connect_timeout)
        self._step_timeout = settings.ssh.step_timeout
        self._idle = int(assured_seconds(settings.worker.lease_seconds))
        self._confines = tenants.confines(settings.forbidden_member_ranges)
        self._reload_interval = partial(
            reload_interval, free=settings.haproxy.old_workers, longest=settings.haproxy.reload_interval_max
        )
        self._hard_stop_after = settings.haproxy.hard_stop_after
        self._head = partial(render.head, hard_stop_after=self._hard_stop_after)
        self._repairs_edits = settings.drift.repair == "automatic"
        self._memos: dict[str, dict[str, tuple[object, render.Block]]] = {}
        self._left: dict[str, _Left] = {}
        self._stumbles = Stumbles()
        self._spares: dict[str, deploy.Spare] = {}

    # --- pure ---

    def capabilities(self) -> Capabilities:
        return render.CAPABILITIES

    def validate(self, load_balancer: LoadBalancer, monitors: Sequence[HealthMonitor]) -> None:
        render.validate(load_balancer, monitors)

    def validate_device(self, device: Device) -> Device:
        extras, endpoint = device.extras, device.endpoint
        config = device.config_path or extras.get("remote_config_path") or rights.DEFAULT_CONFIG
        socket = device.socket or extras.get("socket") or rights.DEFAULT_SOCKET
        interface = device.interface or extras.get("interface")
        names.login(endpoint.username, "user")
        if extras.get("reload_method") not in (None, *deploy.RELOAD_METHODS):
            raise InvalidInput(
                f"reload_method must be one of {', '.join(deploy.RELOAD_METHODS)}, or be left out",
                field="reload_method",
            )
        if endpoint.host_key is not None:
            try:
                endpoint = replace(endpoint, host_key=ssh.normal_host_key(endpoint.host_key))
            except ValueError as error:
                raise InvalidInput(f"host_key: {error}", field="host_key") from None
        key = endpoint.credential.private_key
        if key is not None and not isinstance(key, Sealed):
            try:
                ssh.check_private_key(key)
            except DeviceError as error:
                raise InvalidInput(str(error), field="private_key") from None
        return replace(
            device,
            endpoint=endpoint,
            config_path=names.file_path(config, "remote_config_path"),
            socket=names.socket_path(socket, "socket"),
            interface=None if interface is None else names.interface(interface),
        )

    def render(self, spec: DeviceSpec) -> Candidate:
        memo = self._memos.setdefault(spec.device.id, {})
        return render.candidate(spec, memo, confines=self._confines, hard_stop_after=self._hard_stop_after)

    def preview(self, spec: DeviceSpec, *, before: Device) -> Preview:
        return preview(spec, before, hard_stop_after=self._hard_stop_after)

    # --- talking to the device ---

    def observe(self, device: Device, deployed: Mapping[str, str] = NOTHING_DEPLOYED) -> Observation:
        connection = self._connection(device)
        try:
            host = deploy.look(connection, device, timeout=self._step_timeout)
            drift = _drift(host, device, deployed, self._head)
            astray = _astray(host, device, connection, self._step_timeout, deployed if drift is not None else None)
            astray = astray or _runs_otherwise(host, device, connection)
        except DeviceError as error:
            return Observation(reachable=False, sentence=str(error), host_key=connection.host_key)
        repair = astray or (drift.sentence if drift is not None and self._repairs_edits else None)
        observation = _observation(host, device, connection, self._head, repair=repair, drift=drift)
        return _sampled(observation, host, device, connection)

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
        connection = self._connection(device)
        left, spare = self._left.pop(device.id, None), self._spares.pop(device.id, None)
        try:
            return self._apply(device, candidate, connection, left, spare, epoch, last, check, deployed)
        finally:
            if spare is not None:
                spare.close()
            there = self._left.get(device.id)
            if there is not None:
                host = there.found.host
                how = deploy.means(host, device, connection.where)
                self._spares[device.id] = deploy.Spare(connection, device, host, how, timeout=self._step_timeout)

    def _apply(
        self,
        device: Device,
        candidate: Candidate,
        connection: ssh.Connection,
        left: _Left | None,
        spare: deploy.Spare | None,
        epoch: int,
        last: Mapping[str, str],
        check: Callable[[], None],
        deployed: Mapping[str, str],
    ) -> Applied:
        distrust = ""
        if device.resyncing:
            self._stumbles.forget(device.id)
        candidate = self._stumbles.spare(device.id, candidate, last)
        # One look more when what is known from the last time does not do.
        began = _Began(check)
        for _ in range(_ATTEMPTS + 1):
            known = left if left is not None and _is_still(left, device) else None
            left = None
            found = known.found if known else self._find(connection, device)
            began.refuse_later_owner(device, found.sidecar, connection.where)
            application = _Application(
                connection,
                device,
                candidate,
                epoch,
                last,
                began.check,
                self._step_timeout,
                self._idle,
                found,
                deployed,
                self._reload_interval,
                self._head,
                spare,
            )
            try:
                applied = application.run_known(known) if known else application.run(distrust)
            except deploy.Changed as error:
                LOG.info("%s", error)
            except deploy.NotStarted as error:
                self._stumbles.note(device.id, newcomers(found.old, application.blocks), str(error), proven=False)
                raise
            except _LookAgain as reason:
                distrust = str(reason) or distrust
            else:
                self._stumbles.served(device.id, application.blocks)
                if application.left is not None:
                    self._left[device.id] = application.left
                return applied
            finally:
                for sentence, texts in application.stumbled.items():
                    self._stumbles.note(device.id, texts, sentence, proven=True)
        raise TransientDeviceError(f"{connection.where}: haproxy.cfg keeps changing while it is deployed")

    def forget(self, device_id: str) -> None:
        self._memos.pop(device_id, None)
        self._left.pop(device_id, None)
        self._stumbles.forget(device_id)
        if spare := self._spares.pop(device_id, None):
            spare.close()
        self._pool.forget(device_id)

    def close(self) -> None:
        self._pool.close()

    def _connection(self, device: Device) -> ssh.Connection:
        return self._pool.connection(device.id, device.endpoint)

    def _find(self, connection: ssh.Connection, device: Device) -> _Found:
        host = deploy.look(connection, device, timeout=self._step_timeout)
        try:
            parts = file.split(host.config or b"")
        except FileError as error:
            raise TerminalDeviceError(f"{connection.where}: {error}") from None
        sidecar = _sidecar(host)
        owner = _foreign_owner(device, parts, sidecar)
        if owner is not None and not device.adopting:
            raise TerminalDeviceError(deploy.foreign_sentence(connection.where, owner))
        return _Found(
            host=host,
            parts=parts,
            sidecar=sidecar,
            mark=_mark(connection, device, host, parts),
            good_until=time.monotonic() + _GOOD_SECONDS,
            old_workers=host.old_workers,
        )


class _Began:
    """The lease is checked before the first change; from then on the device may remember our own epoch."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._began = False

    def check(self) -> None:
        self._check()
        self._began = True

    def refuse_later_owner(self, device: Device, sidecar: Sidecar | None, where: str) -> None:
        known = device.deployed_epoch
        if self._began or known is None or device.adopting or sidecar is None or sidecar.device_id != device.id:
            return
        if sidecar.epoch > known:
            raise deploy.later_owner(where, sidecar.epoch)


def _is_still(left: _Left, device: Device) -> bool:
    """Whether nothing says that the device must be looked at."""
    seen = device.observation
    return (
        _place(left.device) == _place(device)
        and not device.adopting
        and not device.resyncing
        and (seen is None or (seen.repair is None and seen.drift is None))
    )


def _place(device: Device) -> tuple[object, ...]:
    return replace(device.endpoint, host_key=None), device.config_path, device.socket, device.interface


def _mark(connection: ssh.Connection, device: Device, host: HostState, parts: Parts) -> runtime.Mark | None:
    if parts.block is None or parts.owner != device.id or not host.processes:
        return None
    try:
        return runtime.read_mark(connection, deploy.socket_of(device))
    except TransientDeviceError as error:
        LOG.info("%s: not asked what it runs: %s", connection.where, error)
        return None


def _runs_otherwise(host: HostState, device: Device, connection: ssh.Connection) -> str | None:
    """What is wrong with what HAProxy runs, when it was changed over its socket and the file is what we wrote."""
    try:
        parts = file.split(host.config or b"")
    except FileError:
        return None
    sidecar = _sidecar(host)
    if parts.block is None or sidecar is None or sidecar.digest != file.digest(parts.block):
        return None
    return None if _is_of(_mark(connection, device, host, parts), parts) else _ASTRAY


def _sidecar(host: HostState) -> Sidecar | None:
    """One that cannot be read is as good as none: what is then unknown is found out by a reload."""
    if not host.sidecar:
        return None
    try:
        return file.load_sidecar(host.sidecar)
    except FileError as error:
        LOG.warning("%s.balancer: %s", host.path, error)
        return None


def _is_unfinished(host: HostState, sidecar: Sidecar | None) -> bool:
    """Whether the block may be one of ours that nobody has seen serving."""
    return host.previous_exists or (sidecar is not None and sidecar.digest == file.UNKNOWN)


def _withheld(sidecar: Sidecar | None) -> tuple[str, ...]:
    return () if sidecar is None else sidecar.withheld


def _foreign_owner(device: Device, parts: Parts, sidecar: Sidecar | None) -> str | None:
    """The other device, of another database, that has something on this host. A sidecar alone protects nothing: its
    device was removed when it had nothing left there."""
    if parts.owner not in (None, device.id):
        return parts.owner
    if sidecar is not None and sidecar.device_id != device.id and (parts.owner is not None or sidecar.addresses):
        return sidecar.device_id
    return None


class _Application:
    """One attempt to bring a candidate into service on a host as it was found."""

    def __init__(
        self,
        connection: ssh.Connection,
        device: Device,
        candidate: Candidate,
        epoch: int,
        last: Mapping[str, str],
        check: Callable[[], None],
        timeout: float,
        idle: int,
        found: _Found,
        deployed: Mapping[str, str],
        reload_interval: Callable[[int], float],
        head: _Head,
        spare: deploy.Spare | None,
    ) -> None:
        self.connection = connection
        self.device = device
        self.last = last
        self.epoch = epoch
        self.check = check
        self.timeout = timeout
        self.idle = idle
        self.found = found
        self.deployed = deployed
        self.reload_interval = reload_interval
        self.head = head
        self.spare = spare
        self.left: _Left | None = None
        self.old = found.old
        self.blocks = dict(candidate.blocks)
        self.rejected = dict(candidate.rejected)
        self.withheld = candidate.withheld
        self.counted: str | None = None
        self.ways: dict[str, str] = {}
        self.moves = addresses.Changes()
        self.refused: dict[str, str] = {}
        self.drift: Drift | None = None
        # What HAProxy did not start with: sentence -> load balancer -> text.
        self.stumbled: dict[str, dict[str, str]] = {}
        # Whether a glance at the host, just before it is changed, is to show that it is as it was.
        self.glances = False

    def run_known(self, left: _Left) -> Applied:
        """What can be changed while HAProxy runs is, without another look at the host; otherwise a short one may do.
        Raises `_LookAgain`."""
        self.moves, self.refused = left.moves, dict(left.refused)
        if self.withheld != _withheld(left.found.sidecar):
            raise _LookAgain
        composed = self._compose(self.blocks)
        planned = self._plan(composed)
        if planned.action is Action.LIVE:
            how = deploy.means(self.found.host, self.device, self.connection.where)
            return self._live(how, composed, planned, observed=False)
        # When nothing is to be done, the look is the deployment.
        if planned.action is not Action.RELOAD or time.monotonic() > self.found.good_until:
            raise _LookAgain
        # How many of the workers of earlier reloads are still there is not known.
        new = {key: text for key, text in self.blocks.items() if text != self.last.get(key)}
        if self.reload_interval(self.found.old_workers) or self._hand_written_conflicts(new):
            raise _LookAgain
        self.refused, self.glances = {}, True
        how, moves = deploy.means(self.found.host, self.device, self.connection.where), self.moves
        self.moves = self._moves(how)
        return self._converge(how, begun=(composed, planned) if self.moves == moves else None)

    def _judge(self, seen: Glance, mark: runtime.Mark | None) -> None:
        """Whether the host is still as the deployment takes it to be, and HAProxy the process that it was. Raises
        `_LookAgain`."""
        if not self.glances:
            return
        host = self.found.host
        if mark != self.found.mark:
            raise _LookAgain
        if not seen.shows(host, file.digest(host.sidecar or b"")):
            raise _LookAgain
        if port_conflicts(old=self.found.old, blocks=self.blocks, listening=seen.listening, running=True):
            raise _LookAgain

    def run(self, distrust: str = "") -> Applied:
        """`distrust`: why HAProxy may run something else than its file, "" when nothing is known of that. Raises
        `_LookAgain`."""
        host = self.found.host
        how = deploy.means(host, self.device, self.connection.where)
        self.drift = _drift(host, self.device, self.deployed, self.head)
        # What somebody took out of the file may still be served.
        serving = self.found.old + "".join(self.deployed.values() if self.drift is not None else ()).encode()
        conflicts = port_conflicts(
            old=serving, blocks=self.blocks, listening=host.listening, running=bool(host.processes)
        )
        for load_balancer_id, sentence in {**conflicts, **self._hand_written_conflicts(self.blocks)}.items():
            self._reject(load_balancer_id, sentence)
        return self._converge(how, distrust)

    def _converge(self, how: deploy.Means, distrust: str = "", begun: tuple[Composed, Plan] | None = None) -> Applied:
        """`begun`: what is known already of what is to be done for the present blocks and moves."""
        # Each round rejects at least one text: the new one or the last accepted one.
        for _ in range(2 * len(self.blocks) + 2):
            if begun is None:
                composed = self._compose(self.blocks)
                self.moves = self._moves(how)
                planned = self._plan(composed, distrust)
            else:
                (composed, planned), begun = begun, None
            if planned.action is Action.NOOP:
                return self._applied(planned, composed, f"nothing to do: {planned.reason}")
            if planned.action is Action.LIVE:
                return self._live(how, composed, planned)
            if planned.action is Action.RELOAD and not distrust:
                self._rest(planned)
            outcome = self._deploy(how, composed, planned)
            if isinstance(outcome, deploy.Served):
                return self._applied(planned, composed, _spoken(planned, how, outcome))
            if not composed.block_digest and _NOTHING_TO_SERVE.search(outcome.output):
                return self._serve_nothing(how, composed)
            if not composed.block_digest and _MISSING_LF in outcome.output:
                outcome = self._serve_without_lf(how, composed, planned)
                if isinstance(outcome, deploy.Served):
                    return self._applied(planned, composed, _spoken(planned, how, outcome))
                if _NOTHING_TO_SERVE.search(outcome.output):
                    return self._serve_nothing(how, composed)
            # It was seen just now, and what was put back differs in nothing that matters.
            self.glances = False
            self._reject_culprits(how, composed, outcome)
        raise TerminalDeviceError(f"{self.connection.where}: HAProxy refuses every configuration that was tried")

    # --- the steps ---

    def _hand_written_conflicts(self, blocks: Mapping[str, str]) -> dict[str, str]:
        """Of what is new in `blocks`: who was there before the hand-written section stays, and the findings say so."""
        parts = self.found.parts
        block = "" if parts.block is None else parts.block.decode("utf-8", "replace")
        binds = file.parse(parts.hand_written).binds
        found = hand_written_conflicts(hand_written=binds, block=block, blocks=blocks)
        return {key: say_hand_written(bind) for key, (bind, present) in found.items() if not present}

    def _rest(self, planned: Plan) -> None:
        """Raises `NotYet` when many workers are still busy with what was there before, and the last reload was just
        now. What HAProxy must not go on running is not put off."""
        interval = self.reload_interval(self.found.old_workers)
        if not interval or self._insistence() or self.found.distrust or not self.found.verified:
            return
        self._count(planned)
        uptime = re.search(r"^Uptime_sec: (\d+)", self.counted or "", re.MULTILINE)
        left = 0.0 if uptime is None else interval - int(uptime[1])
        if left > 0:
            raise NotYet(
                f"{self.found.old_workers} workers of earlier reloads still serve connections, so that HAProxy is "
                f"reloaded every {interval:g} s at most",
                seconds=left,
            )

    def _plan(self, composed: Composed, distrust: str = "") -> Plan:
        host = self.found.host
        return plan(
            old=self.found.old,
            new=composed.content,
            has_block=bool(composed.block_digest),
            verified=self.found.verified,
            running=bool(host.processes),
            able=live.abilities(host.version),
            moves=bool(self.moves.before or self.moves.after) or self.withheld != _withheld(self.found.sidecar),
            leftovers=host.leftovers,
            distrust=self._insistence() or distrust or self.found.distrust,
        )

    def _insistence(self) -> str:
        """Why HAProxy is reloaded whatever its file says."""
        if self.drift is not None:
            return self.drift.sentence
        return ASKED_FOR if self.device.resyncing else ""

    def _live(self, how: deploy.Means, composed: Composed, planned: Plan, *, observed: bool = True) -> Applied:
        """First HAProxy is told, then the file is written. Raises `_LookAgain` when only a reload can put right what
        HAProxy runs. `observed`: the host was looked at just now."""
        sidecar, began = self.found.sidecar, time.monotonic()
        assert planned.change is not None and sidecar is not None, "a block that was seen serving"
        if sidecar.epoch > self.epoch:
            raise deploy.later_owner(self.connection.where, sidecar.epoch)
        path, mark = deploy.socket_of(self.device), runtime.Mark(epoch=self.epoch, digest=composed.block_digest)
        try:
            staying = runtime.change(
                self.connection,
                path,
                planned.change,
                known=self.found.mark,
                mark=mark,
                idle=self.idle,
                check=self.check,
            )
        except runtime.Unfamiliar:
            raise _LookAgain from None
        except (runtime.Surprise, TransientDeviceError) as error:
            raise _LookAgain(f"HAProxy did not take the change while it ran: {error}") from None
        told = time.monotonic() - began
        note = replace(sidecar, epoch=self.epoch, digest=composed.block_digest)
        order = deploy.Order(content=composed.content, sidecar=note, action=Action.LIVE, has_block=True)
        outcome = deploy.deploy(
            self.connection,
            self.device,
            self.found.host,
            how,
            order,
            timeout=self.timeout,
            check=self.check,
            spare=self.spare,
        )
        if isinstance(outcome, deploy.Rejected):
            raise _LookAgain(f"HAProxy refuses the file for what it runs: {_sentence(outcome.output)}")
        # A deployment that was cut off may have put another worker there before it ended.
        if self._mark() != mark:
            raise _LookAgain(_ASTRAY)
        sentence = f"told over its socket, without a reload, after {told * 1000:.0f} ms: {planned.reason}"
        if staying:
            sentence += f"; {len(staying)} removed servers keep their present sessions to their end"
        applied = self._applied(planned, composed, sentence, observed=observed)
        self._leave(composed, note, mark, good_until=self.found.good_until, old_workers=self.found.old_workers)
        return applied

    def _mark(self) -> runtime.Mark | None:
        try:
            return runtime.read_mark(self.connection, deploy.socket_of(self.device))
        except TransientDeviceError:
            return None

    def _leave(
        self, composed: Composed, sidecar: Sidecar, mark: runtime.Mark, *, good_until: float, old_workers: int
    ) -> None:
        host = replace(
            self.found.host,
            config=composed.content,
            sidecar=file.dump_sidecar(sidecar),
            previous_exists=False,
            leftovers=False,
        )
        parts = file.split(composed.content)
        found = _Found(
            host=host, parts=parts, sidecar=sidecar, mark=mark, good_until=good_until, old_workers=old_workers
        )
        self.left = _Left(device=self.device, found=found, moves=self.moves, refused=self.refused)

    def _compose(self, blocks: Mapping[str, str]) -> Composed:
        found = self.found
        return file.compose(
            found.parts.hand_written,
            device_id=self.device.id,
            head=self.head(self.device, blocks.values(), found.host.path),
            blocks=blocks,
            added_lf=found.sidecar is not None and found.sidecar.added_lf and not found.parts.moved,
        )

    def _deploy(
        self, how: deploy.Means, composed: Composed, planned: Plan, *, ask: bool = True, trial: bool = False
    ) -> deploy.Served | deploy.Rejected:
        sidecar, moves = self.found.sidecar, self.moves
        started = sidecar is not None and sidecar.started and bool(self.found.host.processes)
        note = Sidecar(
            device_id=self.device.id,
            epoch=self.epoch,
            digest=composed.block_digest,
            added_lf=composed.added_lf,
            addresses=moves.recorded,
            withheld=self.withheld,
            started=planned.action is Action.START or (started and planned.action is not Action.STOP),
        )
        there_already = planned.action is Action.INSTALL and not trial and composed.content == self.found.old
        order = deploy.Order(
            content=None if there_already else composed.content,
            sidecar=note,
            action=planned.action,
            has_block=bool(composed.block_digest),
            heir_of=sidecar.device_id if sidecar is not None else "",
            # What no haproxy is to run need not be accepted by one.
            ask=ask and (trial or planned.action is not Action.INSTALL),
            trial=trial,
            look=self.glances,
            before=moves.before,
            after=moves.after,
            sidecar_after=replace(note, addresses=moves.kept) if moves.kept != moves.recorded else None,
        )
        sticky = planned.action is Action.RELOAD and self._await_tables()

        marks: list[runtime.Mark | None] = []

        def prepare() -> bytes | None:
            if self.glances:
                marks.append(self._mark())
            self._count(planned)
            return self._states(composed, planned)

        outcome = deploy.deploy(
            self.connection,
            self.device,
            self.found.host,
            how,
            order,
            timeout=self.timeout,
            check=self.check,
            prepare=prepare,
            judge=lambda seen: self._judge(seen, marks[-1] if marks else None),
            spare=self.spare,
        )
        if isinstance(outcome, deploy.Served):
            self.refused |= outcome.refused
            if planned.action is Action.RELOAD and composed.block_digest and not (moves.before or moves.after):
                # So that it is known again the next time.
                mark = runtime.Mark(epoch=self.epoch, digest=composed.block_digest)
                path = deploy.socket_of(self.device)
                if runtime.write_mark(self.connection, path, mark, pid=outcome.pid, idle=self.idle):
                    # Without a master the process is another one now.
                    good_until = self.found.good_until if how.masters else 0.0
                    self._leave(composed, note, mark, good_until=good_until, old_workers=outcome.old_workers)
            if sticky:
                # Those who ask from now on find what was handed over.
                self._await_handover()
        return outcome

    def _states(self, composed: Composed, planned: Plan) -> bytes | None:
        """The server state file for the next worker, None when it reads none or finds an empty one already."""
        host = self.found.host
        path = rights.Paths(config=host.path).states
        if not file.hands_over(composed.content, path):
            return None
        made = states.EMPTY
        if planned.action is Action.RELOAD and states.CHECKED.encode() in (self.found.parts.block or b""):
            try:
                answer = runtime.servers_state(self.connection, deploy.socket_of(self.device))
                made = states.carried(answer, self.blocks.values())
            except TransientDeviceError as error:
                LOG.info("%s: not asked for the states of its servers: %s", self.connection.where, error)
        # What was handed over when the power went may still be there.
        return None if made == states.EMPTY and host.states and not host.previous_exists else made

    def _tables(self) -> runtime.Tables:
        """Of the worker that serves; none when it does not answer, or has none of ours."""
        if f" peers {render.PEERS}\n".encode() in (self.found.parts.block or b""):
            try:
                return runtime.stick_tables(self.connection, deploy.socket_of(self.device))
            except TransientDeviceError as error:
                LOG.info("%s: not asked for its stick tables: %s", self.connection.where, error)
        return runtime.Tables(used=False, settled=True)

    def _await_handover(self) -> None:
        deadline = time.monotonic() + _HANDOVER_TIMEOUT
        while not self._tables().settled and time.monotonic() < deadline:
            time.sleep(_HANDOVER_POLL)

    def _await_tables(self) -> bool:
        """A reload that follows the start of HAProxy, or another reload, too soon would lose who belongs to which
        member. Raises `NotYet` until none is lost, unless there is nothing to lose; returns whether there is."""
        deadline = time.monotonic() + _TABLES_PATIENCE
        while True:
            tables = self._tables()
            if tables.settled or not tables.used:
                return tables.used
            if time.monotonic() > deadline:
                break
            time.sleep(_TABLES_POLL)
        try:
            uptime = runtime.show_info(self.connection, deploy.socket_of(self.device)).uptime
        except TransientDeviceError:
            uptime = 0
        if uptime < _TABLES_TIMEOUT:
            raise NotYet(
                "HAProxy was started just now, and a reload so soon would lose its stick tables (which client belongs "
                "to which member)",
                seconds=_TABLES_PAUSE,
            )
        LOG.warning("%s: session persistence may be lost: the tables do not settle", self.connection.where)
        return True

    def _moves(self, how: deploy.Means) -> addresses.Changes:
        """What to do with addresses so that the present blocks have theirs."""
        host, sidecar = self.found.host, self.found.sidecar
        needed = addresses.needed(self.blocks.values())
        wanted = {each: length for each, length in needed.items() if each not in self.withheld}
        unasked = [each for each in addresses.missing(wanted, host.addresses) if each not in self.ways]
        if unasked:
            self.ways |= dict.fromkeys(unasked, "")
            self.ways |= deploy.ways(self.connection, host, unasked, timeout=self.timeout)
        return addresses.changes(
            wanted=wanted,
            present=host.addresses,
            recorded=sidecar.addresses if sidecar is not None else (),
            ways=self.ways,
            interface=self.device.interface,
            interfaces=addresses.named_interfaces(self.blocks.values()),
            limit=_ADDRESSES_AT_ONCE,
            unable=how.no_ip,
        )

    def _serve_nothing(self, how: deploy.Means, composed: Composed) -> Applied:
        """What is left has nothing to serve, and HAProxy would not start with it."""
        action = Action.STOP if self.found.host.processes else Action.INSTALL
        planned = Plan(action=action, reason="nothing is left to serve")
        outcome = self._deploy(how, composed, planned, ask=False)
        if isinstance(outcome, deploy.Rejected):
            raise TransientDeviceError(f"{self.connection.where}: {_sentence(outcome.output)}")
        return self._applied(planned, composed, _spoken(planned, how, outcome))

    def _serve_without_lf(
        self, how: deploy.Means, composed: Composed, planned: Plan
    ) -> deploy.Served | deploy.Rejected:
        """HAProxy does not take a file without a final LF, but the administrator's had none: it is loaded with one,
        then the file gets back what it was."""
        with_lf = replace(composed, content=composed.content + b"\n", added_lf=True)
        outcome = self._deploy(how, with_lf, planned)
        if isinstance(outcome, deploy.Served):
            self.found = replace(self.found, host=replace(self.found.host, config=with_lf.content))
            self._deploy(how, composed, Plan(action=Action.INSTALL, reason="the final LF was ours"), ask=False)
        return outcome

    def _count(self, planned: Plan) -> None:
        """What the worker has counted that is about to end. It is read later: the reload is waited for."""
        if self.counted is None and planned.action in (Action.RELOAD, Action.START, Action.STOP):
            self.counted = _ask_statistics(self.found.host, self.device, self.connection)

    def _applied(self, planned: Plan, composed: Composed, sentence: str, *, observed: bool = True) -> Applied:
        changed = planned.action is not Action.NOOP
        drift = self.drift if changed else None
        diff = file.block_diff(self.old, composed.content) if changed else ""
        live_only = planned.action is Action.LIVE or (planned.action is Action.INSTALL and composed.content == self.old)
        # Addresses wait for the next deployment while HAProxy is told.
        waiting = planned.action is Action.LIVE and (
            self.moves.before or self.moves.after or self.withheld != _withheld(self.found.sidecar)
        )
        return Applied(
            plan="noop" if not changed else "runtime" if live_only else "reload",
            sentence=sentence
            + (self._spoken_moves() if changed and not planned.change else "")
            + ("" if drift is None or drift.sentence in sentence else f"; overwritten: {drift.sentence}"),
            accepted_blocks=dict(self.blocks),
            rejected=dict(self.rejected),
            # What somebody did by hand comes first: of a long diff the beginning is kept.
            diff=diff if drift is None else drift.diff + file.without_secrets(diff),
            notices=self._address_notices(),
            observation=None
            if not observed
            else replace(
                _observation(
                    self.found.host,
                    self.device,
                    self.connection,
                    self.head,
                    after=planned.action,
                    repair="more addresses are to be added" if self.moves.postponed or waiting else None,
                    findings=_spoken_reasons({**self.moves.impossible, **self.refused}),
                ),
                sample=_read_statistics(self.counted, self.device, self.connection),
            ),
        )

    def _spoken_moves(self) -> str:
        done = ""
        for action, verb in ((AddressAction.ADD, "added"), (AddressAction.REMOVE, "removed")):
            many = [
                each.address
                for what, each in (*self.moves.before, *self.moves.after)
                if what is action and each.address not in self.refused
            ]
            done += f"; {verb} {_listed(many)}" if many else ""
        return done

    def _address_notices(self) -> dict[str, tuple[str, ...]]:
        """For each load balancer, in words for its user, which of its addresses are not there."""
        absent = {**self.moves.impossible, **self.refused}
        notices = {}
        for load_balancer_id, text in self.blocks.items() if absent else ():
            if lacking := [each for each in addresses.needed([text]) if each in absent]:
                notices[load_balancer_id] = tuple(
                    f"the address {each} could not be added to the device; the findings of the device say why"
                    for each in lacking
                )
        return notices

    # --- who is to blame ---

    def _reject(self, load_balancer_id: str, sentence: str) -> None:
        """Takes the last accepted text instead; when that is what was refused, none."""
        self.rejected.setdefault(load_balancer_id, sentence)
        refused, last = self.blocks[load_balancer_id], self.last.get(load_balancer_id, "")
        self.blocks[load_balancer_id] = last if last != refused else ""

    def _reject_culprits(self, how: deploy.Means, composed: Composed, outcome: deploy.Rejected) -> None:
        guilty, hand_written = composed.culprits(outcome.output, self.blocks)
        what = "start with it" if outcome.started else "accept it"
        if not guilty and hand_written:
            raise TerminalDeviceError(
                f"{self.connection.where}: HAProxy does not {what} because of the hand-written part of "
                f"{self.found.host.path}: {_sentence(outcome.output)}. The configuration before serves on; mend that "
                "part and deploy again"
            )
        if not guilty and not outcome.started:
            guilty = self._bisect(how)
        if not guilty:
            raise TerminalDeviceError(
                f"{self.connection.where}: HAProxy does not {what}: {_sentence(outcome.output)}. The configuration "
                "before serves on"
            )
        for load_balancer_id in guilty:
            alert = composed.alert_of(load_balancer_id, outcome.output, self.blocks) or outcome.output
            sentence = f"HAProxy does not {what}: {_sentence(alert)}"
            if outcome.started:
                self.stumbled.setdefault(sentence, {})[load_balancer_id] = self.blocks[load_balancer_id]
            self._reject(load_balancer_id, sentence)

    def _bisect(self, how: deploy.Means) -> tuple[str, ...]:
        """One load balancer without which HAProxy accepts the file; () when there is none."""

        def accepted(without: Sequence[str]) -> bool:
            blocks = {key: "" if key in without else text for key, text in self.blocks.items()}
            composed = self._compose(blocks)
            if not composed.block_digest:
                return True
            trial = Plan(action=Action.INSTALL, reason="a trial")
            return isinstance(self._deploy(how, composed, trial, trial=True), deploy.Served)

        suspects = tuple(key for key, text in self.blocks.items() if text)
        if not suspects or not accepted(suspects):
            return ()
        while len(suspects) > 1:
            left, right = halves(suspects)
            if accepted(left):
                suspects = left
            elif accepted(right):
                suspects = right
            else:
                break
        return suspects


# --- statistics ------------------------------------------------------------------------


def _ask_statistics(host: HostState, device: Device, connection: ssh.Connection) -> str | None:
    """What HAProxy says, "" when nothing of ours is served there, None when it did not answer."""
    if host.config is None and host.config_exists:
        return None
    try:
        serves = bool(host.processes) and file.split(host.config or b"").owner == device.id
        return runtime.ask_statistics(connection, deploy.socket_of(device)) if serves else ""
    except (DeviceError, FileError) as error:
        LOG.info("%s: not counted: %s", connection.where, error)
        return None


def _read_statistics(answer: str | None, device: Device, connection: ssh.Connection) -> DeviceSample | None:
    if answer is None:
        return None
    if not answer:
        return DeviceSample(process="")
    try:
        return runtime.read_statistics(connection, deploy.socket_of(device), answer)
    except TransientDeviceError as error:
        LOG.warning("%s", error)
        return None


def _sampled(observation: Observation, host: HostState, device: Device, connection: ssh.Connection) -> Observation:
    sample = _read_statistics(_ask_statistics(host, device, connection), device, connection)
    findings = observation.findings
    if sample is None:
        findings += (f"{deploy.socket_of(device)} gives no statistics: states and counters are not up to date",)
    return replace(observation, sample=sample, findings=findings)


# --- what somebody else did to the block ---------------------------------------------------


def _drift(host: HostState, device: Device, deployed: Mapping[str, str], head: _Head) -> Drift | None:
    """`deployed`: what the load balancers' texts on the device should be."""
    found = host.config or b""
    if host.config is None and host.config_exists:
        return None
    try:
        parts = file.split(found)
    except FileError as error:
        # Without its markers nobody knows what of it is whose.
        return Drift(sentence=str(error)) if device.id in found.decode("utf-8", "replace") else None
    sidecar = _sidecar(host)
    if _is_unfinished(host, sidecar) or _foreign_owner(device, parts, sidecar) is not None:
        return None
    remembered = sidecar.digest if sidecar is not None and sidecar.device_id == device.id else None
    there = "" if parts.block is None else file.digest(parts.block)
    if there == remembered:
        return None
    composed = file.compose(
        parts.hand_written,
        device_id=device.id,
        head=head(device, deployed.values(), host.path),
        blocks=deployed,
    )
    expected = composed.block_digest if remembered is None else remembered
    if there == expected:
        return None
    if parts.block is None:
        sentence = f"the generated block was removed from {host.path}"
    elif not expected:
        sentence = f"{host.path} has a generated block, but nothing was deployed"
    else:
        sentence = f"the generated block in {host.path} was edited by hand"
    return Drift(
        sentence=sentence,
        diff=file.without_secrets(file.block_diff(composed.content, found, labels=("as deployed", "as found"))),
    )


# --- addresses ---------------------------------------------------------------


def _astray(
    host: HostState, device: Device, connection: ssh.Connection, timeout: float, texts: Mapping[str, str] | None
) -> str | None:
    """What is wrong with the addresses on the host, if anything. `texts`: what should be in a block that somebody
    edited or removed. Raises `DeviceError`."""
    try:
        parts = file.split(host.config or b"")
    except FileError:
        return None
    ours = parts.owner == device.id and parts.block is not None
    block = (parts.block or b"").decode("utf-8", "replace") if ours else ""
    needed = addresses.needed([block] if texts is None else texts.values())
    sidecar = _sidecar(host)
    wanted = {each: length for each, length in needed.items() if each not in _withheld(sidecar)}
    lost = addresses.missing(wanted, host.addresses)
    local = deploy.ways(connection, host, lost, timeout=timeout)
    lost = tuple(each for each in lost if local.get(each) != addresses.LOCAL)
    if lost:
        return f"the device lacks {_listed(lost)}"
    if sidecar is not None and sidecar.device_id == device.id:
        over = addresses.leftover(wanted, host.addresses, sidecar.addresses)
        if over:
            return f"the device still has {_listed(over)}"
    return None


def _listed(many: Sequence[str]) -> str:
    shown = ", ".join(many[:_ADDRESSES_SHOWN])
    more = f" and {len(many) - _ADDRESSES_SHOWN} more" if len(many) > _ADDRESSES_SHOWN else ""
    return f"the address{'es' if len(many) > 1 else ''} {shown}{more}"


def _spoken_reasons(reasons: Mapping[str, str]) -> list[str]:
    """One sentence per reason, with the addresses that it keeps away."""
    by_reason: dict[str, list[str]] = {}
    for address, reason in reasons.items():
        by_reason.setdefault(reason, []).append(address)
    return [f"{_listed(many)}: {reason}" for reason, many in by_reason.items()]


# --- sentences ---------------------------------------------------------------


def _sentence(output: str) -> str:
    """HAProxy's alerts without their decoration."""
    alerts = [_ALERT.sub("", line).strip() for line in output.splitlines() if "[ALERT]" in line]
    useful = [line for line in alerts if not line.startswith(("Error(s) found", "Fatal errors found"))]
    text = "; ".join(useful or alerts or [" ".join(output.split())])
    return text if len(text) <= _SENTENCE else text[:_SENTENCE] + "…"


def _spoken(planned: Plan, how: deploy.Means, served: deploy.Served) -> str:
    took = f"after {served.seconds * 1000:.0f} ms"
    if planned.action is Action.RELOAD:
        return f"reloaded ({how.method}) because {planned.reason}; worker {served.pid} serves {took}"
    if planned.action is Action.START:
        return f"started because {planned.reason}; process {served.pid} serves {took}"
    if planned.action is Action.STOP:
        return f"stopped because {planned.reason}"
    return f"installed without a reload: {planned.reason}"


def _observation(
    host: HostState,
    device: Device,
    connection: ssh.Connection,
    head: _Head,
    *,
    after: Action | None = None,
    repair: str | None = None,
    findings: Sequence[str] = (),
    drift: Drift | None = None,
) -> Observation:
    """`after`: what was done with HAProxy since the host was looked at. `repair`, `findings` and `drift`: what is known
    of its addresses and of the block."""
    findings = list(findings)
    try:
        parts = file.split(host.config or b"")
    except FileError as error:
        findings.append(str(error))
        parts = Parts(hand_written=host.config or b"")
    written = file.parse(parts.hand_written)
    findings += written.findings
    ours = parts.owner == device.id
    block = (parts.block or b"").decode("utf-8", "replace") if ours else ""
    findings += [
        f"{say_hand_written(bind)} and by a load balancer: HAProxy splits the connections between the two"
        for bind, _ in hand_written_conflicts(hand_written=written.binds, block=block, blocks={"": block}).values()
    ]
    findings += file.fit_head(head(device, (block,), host.path), written)[1]
    sidecar = _sidecar(host)
    owner = _foreign_owner(device, parts, sidecar) if after is None else None
    if owner is not None:
        findings.append(deploy.foreign_sentence(connection.where, owner))
    method = ""
    try:
        method = deploy.means(host, device, connection.where).method
    except TerminalDeviceError as error:
        findings.append(str(error))
    running = (bool(host.processes) or after is Action.START) and after is not Action.STOP
    if after is None and (ours or drift is not None):
        if not running:
            repair = "HAProxy is not running"
        elif ours and _is_unfinished(host, sidecar):
            repair = "the last deployment was not seen through to its end"
        elif ours and sidecar is None and drift is None:
            repair = f"{host.path}.balancer is missing or cannot be read"
    if after is None and repair is None and host.leftovers:
        repair = "files of a deployment that was cut off lie beside the configuration"
    if sidecar is not None and sidecar.addresses and "ping" not in host.tools:
        findings.append(_MUTE)
    ping = ping_command(host, written.settings)
    if after is None and repair is None and ping is None and render.PINGS.encode() in (parts.block or b""):
        repair = "HAProxy cannot ping any more"
    version = f"HAProxy {host.version}" if host.version else "HAProxy of unknown version"
    return Observation(
        reachable=True,
        sentence=f"{version} is {'running' if running else 'not running'}",
        version=host.version,
        host_key=connection.host_key,
        foreign_binds=written.binds,
        findings=tuple(dict.fromkeys(findings)),
        repair=repair,
        drift=drift,
        epoch=sidecar.epoch if sidecar is not None and sidecar.device_id == device.id else None,
        own_addresses=addresses.own(host.addresses, () if sidecar is None else sidecar.addresses),
        managed_at=connection.address,
        facts={
            "config_path": host.path,
            "hostname": host.hostname,
            "method": method,
            "running": running,
            "unit": next((each.unit for each in host.leaders if each.unit), host.unit),
            "addresses": [address for many in host.addresses.values() for address in many],
            "ping": ping,
        },
    )
