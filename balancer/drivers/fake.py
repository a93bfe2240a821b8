"""A device in memory: device type ``dummy``.

Real code, for trying out the API without a host and for tests: it keeps every promise of a driver, and claims every
capability, so that what an API answers for a capable driver can be seen without one. Devices of one process share
nothing; a device is gone with its process.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from balancer.config import Settings
from balancer.core.model import (
    Algorithm,
    Applied,
    Candidate,
    Capabilities,
    Device,
    DeviceSpec,
    HealthMonitor,
    LoadBalancer,
    Observation,
    Protocol,
)
from balancer.exceptions import InvalidInput, LeaseLost, TerminalDeviceError, TransientDeviceError

_VERSION = "1.0"


@dataclass(slots=True)
class _Memory:
    """What one device runs. `deployments` counts real changes."""

    blocks: dict[str, str] = field(default_factory=dict)
    epoch: int = 0
    deployments: int = 0


class FakeDriver:
    """A device's extra ``behaviour`` makes it misbehave: ``unreachable`` and ``broken`` fail every deployment, for the
    time being or until somebody changes it; ``reject:ID`` refuses that load balancer."""

    name = "dummy"

    def __init__(self, settings: Settings | None = None) -> None:
        self._lock = threading.Lock()
        self._devices: dict[str, _Memory] = {}

    def capabilities(self) -> Capabilities:
        return Capabilities(algorithms=tuple(Algorithm), protocols=tuple(Protocol))

    def validate(self, load_balancer: LoadBalancer, monitors: Sequence[HealthMonitor]) -> None:
        """There is nothing that it cannot do."""

    def validate_device(self, device: Device) -> Device:
        behaviour = _behaviour(device)
        if behaviour not in ("", "unreachable", "broken") and not behaviour.startswith("reject:"):
            raise InvalidInput("behaviour must be unreachable, broken or reject:ID", field="behaviour")
        return device

    def render(self, spec: DeviceSpec) -> Candidate:
        blocks = {each.id: _text(each, spec.monitors) for each in spec.load_balancers}
        sha = hashlib.sha256("".join(f"{key}\0{text}\0" for key, text in blocks.items()).encode())
        return Candidate(head="", blocks=blocks, digest=sha.hexdigest())

    def observe(self, device: Device) -> Observation:
        if _behaviour(device) == "unreachable":
            return Observation(reachable=False, sentence="the device in memory pretends to be unreachable")
        with self._lock:
            memory = self._devices.setdefault(device.id, _Memory())
            count = len(memory.blocks)
        return Observation(reachable=True, sentence=f"a device in memory with {count} load balancers", version=_VERSION)

    def apply(
        self,
        device: Device,
        candidate: Candidate,
        *,
        epoch: int,
        last: Mapping[str, str],
        check: Callable[[], None],
    ) -> Applied:
        check()
        behaviour = _behaviour(device)
        if behaviour == "unreachable":
            raise TransientDeviceError("the device in memory pretends to be unreachable")
        if behaviour == "broken":
            raise TerminalDeviceError("the device in memory pretends to be broken")
        blocks, rejected = dict(candidate.blocks), dict(candidate.rejected)
        refused = behaviour.removeprefix("reject:")
        if refused in blocks:
            rejected[refused] = "the device in memory pretends to refuse it"
            blocks[refused] = last.get(refused, "")
        observation = self.observe(device)
        with self._lock:
            memory = self._devices.setdefault(device.id, _Memory())
            if epoch < memory.epoch:
                raise LeaseLost(f"a later owner (epoch {memory.epoch}) has deployed to this device")
            check()
            memory.epoch = epoch
            if memory.blocks == blocks:
                return Applied(
                    plan="noop",
                    sentence="nothing to do",
                    accepted_blocks=blocks,
                    rejected=rejected,
                    observation=observation,
                )
            memory.blocks = blocks
            memory.deployments += 1
        return Applied(
            plan="reload",
            sentence=f"{len(blocks)} load balancers are remembered",
            accepted_blocks=blocks,
            rejected=rejected,
            observation=observation,
        )

    def forget(self, device_id: str) -> None:
        """Nothing is kept open; what the device runs stays, as on a real one."""

    # --- for whoever looks at the device itself ---

    def running(self, device_id: str) -> dict[str, str]:
        """The text of every load balancer that the device runs."""
        with self._lock:
            return dict(self._devices.get(device_id, _Memory()).blocks)

    def deployments(self, device_id: str) -> int:
        """How often what it runs has changed."""
        with self._lock:
            return self._devices.get(device_id, _Memory()).deployments


def _behaviour(device: Device) -> str:
    return str(device.extras.get("behaviour", ""))


def _text(balancer: LoadBalancer, monitors: Sequence[HealthMonitor]) -> str:
    """Whatever changes what a device has to do changes the text."""
    used = {each for pool in balancer.pools for each in pool.health_monitor_ids}
    lines = [f"load balancer {balancer.id} {'up' if balancer.admin_up else 'down'}"]
    lines += [f"address {vip.address}" for vip in balancer.virtual_ips]
    lines += [repr((each.id, each.protocol, each.port, each.admin_up)) for each in balancer.listeners]
    for pool in balancer.pools:
        lines.append(repr((pool.id, pool.algorithm, pool.admin_up, pool.session_persistence)))
        lines += [repr(member) for member in pool.members]
    lines += [repr(monitor) for monitor in monitors if monitor.id in used]
    return "".join(f"{line}\n" for line in lines)
