"""A device in memory: device type ``dummy``.

Real code, for trying out the API without a host and for tests: it keeps every promise of a driver, and claims every
capability, so that what an API answers for a capable driver can be seen without one. Devices of one process share
nothing; a device is gone with its process.
"""

from __future__ import annotations

import difflib
import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from balancer.config import Settings
from balancer.core.model import (
    Algorithm,
    Applied,
    Candidate,
    Capabilities,
    Counters,
    Device,
    DeviceSample,
    DeviceSpec,
    Drift,
    HealthMonitor,
    LoadBalancer,
    Member,
    ObjectKind,
    ObjectSample,
    Observation,
    OperatingStatus,
    Preview,
    Protocol,
    Rotation,
)
from balancer.core.ports import NOTHING_DEPLOYED
from balancer.core.statistics import ZERO, add
from balancer.exceptions import InvalidInput, LaterOwner, NotYet, TerminalDeviceError, TransientDeviceError

_VERSION = "1.0"
# The usual ones of Octavia. They change nothing.
_PROFILE_WORDS: Mapping[str, str] = {
    "loadbalancer_topology": "SINGLE or ACTIVE_STANDBY.",
    "compute_flavor": "A size of virtual machines.",
    "compute_zone": "A zone of virtual machines.",
    "management_network": "A network between the service and its virtual machines.",
}


@dataclass(slots=True)
class _Memory:
    """What one device runs, and the addresses that it has for that. `deployments` counts real changes of the former. As
    on a real one, each of them starts a new process, which counts from zero."""

    blocks: dict[str, str] = field(default_factory=dict)
    addresses: frozenset[str] = frozenset()
    epoch: int = 0
    deployments: int = 0
    counters: dict[str, Counters] = field(default_factory=dict)
    edited: bool = False


class FakeDriver:
    """A device's extra ``behaviour`` makes it misbehave: ``unreachable`` and ``broken`` fail every deployment, for the
    time being or until somebody changes it; ``busy`` puts each off; ``reject:ID`` refuses that load balancer, and
    ``dead:ID`` has that member fail its checks. One that is ``silent`` deploys and never tells what runs. Traffic is
    what `serve` says."""

    name = "dummy"
    description = "A device in memory for trying out the API."
    profile_words = _PROFILE_WORDS

    def __init__(self, settings: Settings | None = None) -> None:
        self._lock = threading.Lock()
        self._devices: dict[str, _Memory] = {}

    def capabilities(self) -> Capabilities:
        return Capabilities(algorithms=tuple(Algorithm), protocols=tuple(Protocol))

    def validate(self, load_balancer: LoadBalancer, monitors: Sequence[HealthMonitor]) -> None:
        """There is nothing that it cannot do."""

    def validate_device(self, device: Device) -> Device:
        behaviour = _behaviour(device)
        words = ("", "unreachable", "broken", "busy", "silent")
        if behaviour not in words and not behaviour.startswith(("reject:", "dead:")):
            raise InvalidInput(
                "behaviour must be unreachable, broken, busy, silent, reject:ID or dead:ID", field="behaviour"
            )
        return device

    def render(self, spec: DeviceSpec) -> Candidate:
        made = {each.id: _text(each, spec.monitors) for each in spec.load_balancers}
        blocks = dict(sorted({**made, **spec.kept}.items()))
        sha = hashlib.sha256("".join(f"{key}\0{text}\0" for key, text in blocks.items()).encode())
        return Candidate(head="", blocks=blocks, digest=sha.hexdigest(), withheld=spec.withheld)

    def preview(self, spec: DeviceSpec, *, before: Device) -> Preview:
        old = dict(spec.accepted_blocks)
        new = {key: text for key, text in old.items() if key not in spec.removed} | dict(self.render(spec).blocks)
        diffs = _diffs(old, new)
        if not diffs and not spec.device.resyncing:
            return Preview(plan="noop", sentence="nothing to do")
        return Preview(plan="reload", sentence=f"{len(new)} load balancers would be remembered", diffs=diffs)

    def observe(self, device: Device, deployed: Mapping[str, str] = NOTHING_DEPLOYED) -> Observation:
        if _behaviour(device) == "unreachable":
            return Observation(reachable=False, sentence="the device in memory pretends to be unreachable")
        with self._lock:
            memory = self._devices.setdefault(device.id, _Memory())
            count = len(memory.blocks)
            drift = _drift(memory, deployed)
            silent = _behaviour(device) == "silent"
            sample = None if silent else _sample(memory, dead=_behaviour(device).removeprefix("dead:"))
        return Observation(
            reachable=True,
            sentence=f"a device in memory with {count} load balancers",
            version=_VERSION,
            drift=drift,
            epoch=memory.epoch or None,
            sample=sample,
        )

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
        behaviour = _behaviour(device)
        if behaviour == "unreachable":
            raise TransientDeviceError("the device in memory pretends to be unreachable")
        if behaviour == "broken":
            raise TerminalDeviceError("the device in memory pretends to be broken")
        if behaviour == "busy":
            raise NotYet("the device in memory pretends to be busy", seconds=0.2)
        blocks, rejected = dict(candidate.blocks), dict(candidate.rejected)
        refused = behaviour.removeprefix("reject:")
        if refused in blocks:
            rejected[refused] = "the device in memory pretends to refuse it"
            blocks[refused] = last.get(refused, "")
        observation = replace(self.observe(device), drift=None)
        with self._lock:
            memory = self._devices.setdefault(device.id, _Memory())
            known = epoch if device.deployed_epoch is None or device.adopting else device.deployed_epoch
            if memory.epoch > min(epoch, known):
                sentence = f"a later owner (epoch {memory.epoch}) has deployed to this device"
                raise LaterOwner(sentence, epoch=memory.epoch)
            check()
            memory.epoch = epoch
            memory.addresses = _addresses(blocks.values()) - set(candidate.withheld)
            memory.edited = False
            if memory.blocks == blocks and not device.resyncing:
                return Applied(
                    plan="noop",
                    sentence="nothing to do",
                    accepted_blocks=blocks,
                    rejected=rejected,
                    observation=observation,
                )
            diffs = _diffs(memory.blocks, blocks)
            memory.blocks = blocks
            memory.deployments += 1
            memory.counters.clear()
        return Applied(
            plan="reload",
            sentence=f"{len(blocks)} load balancers are remembered",
            accepted_blocks=blocks,
            rejected=rejected,
            diff="".join(diffs.values()),
            observation=observation,
        )

    def forget(self, device_id: str) -> None:
        """Nothing is kept open; what the device runs stays, as on a real one."""

    # --- for whoever looks at the device itself ---

    def running(self, device_id: str) -> dict[str, str]:
        """The text of every load balancer that the device runs."""
        with self._lock:
            return dict(self._devices.get(device_id, _Memory()).blocks)

    def addresses(self, device_id: str) -> frozenset[str]:
        """The addresses that the device has."""
        with self._lock:
            return self._devices.get(device_id, _Memory()).addresses

    def deployments(self, device_id: str) -> int:
        """How often what it runs has changed."""
        with self._lock:
            return self._devices.get(device_id, _Memory()).deployments

    def edit(self, device_id: str, load_balancer_id: str, text: str) -> None:
        """Change what the device runs behind the service's back."""
        with self._lock:
            memory = self._devices.setdefault(device_id, _Memory())
            memory.blocks = {**memory.blocks, load_balancer_id: text}
            memory.edited = True

    def serve(self, device_id: str, object_ids: Sequence[str], traffic: Counters) -> None:
        """Have that traffic pass a listener, a pool and a member, or some of them."""
        with self._lock:
            counters = self._devices.setdefault(device_id, _Memory()).counters
            for each in object_ids:
                counters[each] = add(counters.get(each, ZERO), traffic)


def _behaviour(device: Device) -> str:
    return str(device.extras.get("behaviour", ""))


def _drift(memory: _Memory, deployed: Mapping[str, str]) -> Drift | None:
    if not memory.edited:
        return None
    return Drift(sentence="the device in memory was edited", diff="".join(_diffs(deployed, memory.blocks).values()))


def _diffs(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """Load balancer id to a unified diff, for each whose text differs."""
    found = {}
    for each in sorted({**old, **new}):
        before, after = old.get(each, ""), new.get(each, "")
        if before != after:
            labels = f"before/{each}", f"after/{each}"
            lines = difflib.unified_diff(before.splitlines(), after.splitlines(), *labels, lineterm="")
            found[each] = "".join(f"{line}\n" for line in lines)
    return found


def _text(balancer: LoadBalancer, monitors: Sequence[HealthMonitor]) -> str:
    """Whatever changes what a device has to do changes the text. `_sample` reads the lines that begin with "runs"."""
    used = {each for pool in balancer.pools for each in pool.health_monitor_ids}
    checked = [monitor for monitor in monitors if monitor.id in used]
    lines = [f"load balancer {balancer.id} {'up' if balancer.admin_up else 'down'}"]
    lines += [f"address {vip.address}" for vip in balancer.virtual_ips]
    for listener in balancer.listeners:
        lines.append(repr((listener.id, listener.protocol, listener.port, listener.admin_up)))
        if balancer.admin_up and listener.admin_up:
            lines.append(_runs(ObjectKind.LISTENER, listener.id, OperatingStatus.ONLINE))
    for pool in balancer.pools:
        lines.append(repr((pool.id, pool.algorithm, pool.admin_up, pool.session_persistence)))
        lines += [repr(member) for member in pool.members]
        if balancer.admin_up and pool.admin_up:
            lines.append(_runs(ObjectKind.POOL, pool.id, OperatingStatus.ONLINE))
            lines += [_runs(ObjectKind.MEMBER, each.id, _member_status(each, bool(checked))) for each in pool.members]
    lines += [repr(monitor) for monitor in checked]
    return "".join(f"{line}\n" for line in lines)


def _addresses(texts: Iterable[str]) -> frozenset[str]:
    lines = (line.split(" ") for text in texts for line in text.splitlines())
    return frozenset(words[1] for words in lines if words[0] == "address")


def _runs(kind: ObjectKind, object_id: str, status: OperatingStatus) -> str:
    return f"runs {kind} {object_id} {status}"


def _member_status(member: Member, checked: bool) -> OperatingStatus:
    if not member.admin_up or member.rotation is Rotation.OUT:
        return OperatingStatus.OFFLINE
    if not checked:
        return OperatingStatus.NO_MONITOR
    runs_dry = member.rotation is Rotation.DRAIN or not member.weight
    return OperatingStatus.DRAINING if runs_dry else OperatingStatus.ONLINE


def _sample(memory: _Memory, *, dead: str) -> DeviceSample:
    objects = []
    for text in memory.blocks.values():
        for line in text.splitlines():
            word, _, rest = line.partition(" ")
            if word != "runs":
                continue
            kind, object_id, status = rest.split(" ")
            objects.append(
                ObjectSample(
                    kind=ObjectKind(kind),
                    object_id=object_id,
                    status=OperatingStatus.ERROR if object_id == dead else OperatingStatus(status),
                    counters=memory.counters.get(object_id, ZERO),
                )
            )
    return DeviceSample(process=str(memory.deployments), objects=tuple(objects))
