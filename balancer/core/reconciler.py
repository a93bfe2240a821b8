"""Bring one device to what the database says.

`Reconciler.reconcile` takes a device id and nothing else, so that a lost, doubled or late wake-up makes no
difference. Its answer is one sentence on what was done, for the log.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from balancer.config import assured_seconds
from balancer.core.model import AdminState, DeviceSpec, Lease
from balancer.core.ports import Driver, Leases, Repository
from balancer.exceptions import (
    DatabaseUnavailable,
    LaterOwner,
    LeaseLost,
    NotYet,
    TerminalDeviceError,
    TransientDeviceError,
)

_LOG = logging.getLogger(__name__)

_ROUNDS = 20
"""Deployments in a row under one lease before other devices get their turn."""

_QUIET = 0.1
"""Seconds without a change after which no more are waited for."""
_LONGEST_GATHERING = {False: 2.0, True: 5.0}
"""Seconds after which changes are not waited for anyhow; True: the deployment before was a reload, of which there are
to be few."""


def backoff(failures: int, first: float, longest: float, jitter: Callable[[], float] = random.random) -> float:
    """Seconds until the next try after `failures` failures before this one: doubling, and up to a quarter of
    it more or less, so that devices that failed together do not come back together."""
    pause = min(longest, first * 2.0 ** min(failures, 30))
    return pause * (0.75 + 0.5 * jitter())


class Holder:
    """Keeps a lease alive in a thread of its own while the `with` block runs; releases it at the end."""

    def __init__(self, leases: Leases, lease: Lease, lease_seconds: float, *, asked: float | None = None) -> None:
        """`asked`: when the lease was asked for, by this process's monotonic clock; now if None."""
        self._leases = leases
        self.lease = lease
        self.deploys = False
        """Whether the database knows that there may be a deployment under this lease."""
        self._seconds = lease_seconds
        # The database may have kept us waiting after it looked at its clock.
        self._good_until = (time.monotonic() if asked is None else asked) + lease_seconds
        self._done = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease-{lease.device_id[:8]}", daemon=True)

    def __enter__(self) -> Holder:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        if not self._lost.is_set():
            self._leases.release(self.lease)

    def check(self) -> None:
        """Raise `LeaseLost` unless the lease is surely ours, now and for `assured_seconds`."""
        if self._lost.is_set() or time.monotonic() >= self._good_until - assured_seconds(self._seconds):
            raise LeaseLost(f"the lease of device {self.lease.device_id} was lost")

    def _renew(self) -> None:
        while not self._done.wait(self._seconds / 3):
            asked = time.monotonic()
            try:
                self.lease = self._leases.renew(self.lease)
            except LeaseLost:
                self._lost.set()
                return
            except Exception:
                # The database may be back before the lease ends; if not, check() says so.
                _LOG.warning("Lease of device %s not renewed", self.lease.device_id, exc_info=True)
            else:
                self._good_until = asked + self._seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """What was done, in words."""

    sentence: str
    reloaded: bool = False


class Reconciler:
    """`driver_for` returns the driver of a device type. Times in seconds."""

    def __init__(
        self,
        repository: Repository,
        leases: Leases,
        driver_for: Callable[[str], Driver],
        *,
        lease_seconds: float,
        observe_interval: float,
        retry_first: float,
        retry_max: float,
    ) -> None:
        self._repository = repository
        self._leases = leases
        self._driver_for = driver_for
        self._lease_seconds = lease_seconds
        self._observe_interval = observe_interval
        self._retry_first = retry_first
        self._retry_max = retry_max

    def reconcile(self, device_id: str) -> str:
        """Observe when that is due, deploy until nothing is due any more. Never raises for a device's sake."""
        asked = time.monotonic()
        lease = self._leases.claim(device_id)
        if lease is None:
            return "another worker has it"
        with Holder(self._leases, lease, self._lease_seconds, asked=asked) as holder:
            try:
                return self._converge(device_id, holder)
            except LeaseLost as error:
                return f"gave up: {error}"

    def _converge(self, device_id: str, holder: Holder) -> str:
        done: list[str] = []
        took, reloaded = 0.0, False
        first = time.monotonic()
        for _ in range(_ROUNDS):
            if done:
                patience = max(2 * took, 3 * (time.monotonic() - first) if reloaded else 0.0)
                if not self._gather(device_id, min(patience, _LONGEST_GATHERING[reloaded])):
                    break
            spec = self._repository.load_spec(device_id)
            if spec is None:
                return "the device was removed"
            if spec.device.admin_state is AdminState.MAINTENANCE:
                return "the device is in maintenance"
            began = time.monotonic()
            try:
                step = self._step(spec, holder)
            except TransientDeviceError as error:
                took, pause = time.monotonic() - began, backoff(spec.failures, self._retry_first, self._retry_max)
                self._repository.record_failure(holder.lease, spec, str(error), retry_after=pause, duration=took)
                return f"failed, next try in {pause:.1f} s: {error}"
            except TerminalDeviceError as error:
                took = time.monotonic() - began
                self._repository.record_failure(holder.lease, spec, str(error), retry_after=None, duration=took)
                return f"failed, waiting for a change: {error}"
            except LaterOwner as error:
                took, sentence = time.monotonic() - began, _restored(error, device_id)
                # Refused when the lease is no longer ours: then it is one of this database that came later.
                self._repository.record_failure(holder.lease, spec, sentence, retry_after=None, duration=took)
                return f"failed, waiting for an adoption: {sentence}"
            except NotYet as error:
                self._repository.postpone(holder.lease, spec, error.seconds, str(error))
                return "; ".join((*done, f"not for {error.seconds:.1f} s: {error}"))
            except (LeaseLost, DatabaseUnavailable):
                raise
            except Exception:
                # A mistake of ours must neither stop the worker nor make it spin on one device.
                _LOG.exception("Device %s: internal error", device_id)
                took, pause = time.monotonic() - began, backoff(spec.failures, self._retry_first, self._retry_max)
                sentence = "Internal error, see the worker's log"
                self._repository.record_failure(holder.lease, spec, sentence, retry_after=pause, duration=took)
                return f"failed by an internal error, next try in {pause:.1f} s"
            if step is None:
                break
            done.append(step.sentence)
            took, reloaded = time.monotonic() - began if holder.deploys else 0.0, step.reloaded
        return "; ".join(done) or "nothing to do"

    def _gather(self, device_id: str, patience: float) -> bool:
        """Whether there is more to do.

        Changes that go on arriving become one deployment: the next one waits until none has come for a moment, but no
        longer than `patience` seconds: twice what the last deployment took, and between reloads, if that is more, three
        times as long as changes have been arriving. What came alone never waits.
        """
        pending = self._repository.pending(device_id)
        end = time.monotonic() + patience
        while pending is not None and not pending.look_asked and (left := end - time.monotonic()) > 0:
            time.sleep(min(_QUIET, left))
            before, pending = pending, self._repository.pending(device_id)
            if pending == before:
                break
        return pending is not None

    def _step(self, spec: DeviceSpec, holder: Holder) -> _Done | None:
        """One observation or one deployment; None when neither is due."""
        device = spec.device
        driver = self._driver_for(device.type)
        if spec.seen_ago is None or spec.look_asked or spec.seen_ago >= self._observe_interval:
            return _Done(sentence=self._observe(spec, driver, holder))
        if spec.deployable:
            return self._deploy(spec, driver, holder)
        return None

    def _observe(self, spec: DeviceSpec, driver: Driver, holder: Holder) -> str:
        device = spec.device
        observation = driver.observe(device, spec.deployed)
        self._repository.record_observation(holder.lease, observation)
        before = device.observation.drift if device.observation is not None else None
        if observation.drift is not None and observation.drift != before:
            _LOG.warning("Device %s: %s", device.id, observation.drift.sentence)
        if not observation.reachable:
            # What it means for a deployment that waits is for the deployment to find out.
            _LOG.warning("Device %s: %s", device.id, observation.sentence)
        seen = observation.epoch
        # One that this very lease has begun came after `device` was read.
        known = max(device.deployed_epoch or 0, holder.lease.epoch if holder.deploys else 0)
        if seen is not None and seen > known:
            raise LaterOwner(f"a later owner (epoch {seen}) has deployed to this device", epoch=seen)
        return f"observed: {observation.sentence}"

    def _deploy(self, spec: DeviceSpec, driver: Driver, holder: Holder) -> _Done:
        started = time.monotonic()
        candidate = driver.render(spec)

        def check() -> None:
            holder.check()
            if not holder.deploys:
                self._repository.begin_deployment(holder.lease)
                holder.deploys = True

        try:
            applied = driver.apply(
                spec.device,
                candidate,
                epoch=holder.lease.epoch,
                last=spec.accepted_blocks,
                check=check,
                deployed=spec.deployed,
            )
        except LaterOwner:
            # The epoch that an adoption has to exceed is learnt by observing.
            self._observe(spec, driver, holder)
            raise
        holder.check()
        took = time.monotonic() - started
        self._repository.record_applied(holder.lease, spec, candidate, applied, duration=took)
        for load_balancer_id, reason in applied.rejected.items():
            _LOG.error("Load balancer %s was refused by device %s: %s", load_balancer_id, spec.device.id, reason)
        sentence = f"revision {spec.revision} applied ({applied.plan}: {applied.sentence}) in {took * 1000:.0f} ms"
        return _Done(sentence=sentence, reloaded=applied.plan == "reload")


def _restored(error: LaterOwner, device_id: str) -> str:
    """Every deployment is noted in the database before it begins, so a device that remembers one that is not was
    deployed to from a later state of the database, or from a copy of it."""
    return (
        f"{error}, which this database does not know: it was restored from an older state, or a copy of it is at work "
        "elsewhere. Nothing is deployed. If this database is the one that counts, adopt the device: POST "
        f"/devices/{device_id}/adopt"
    )
