"""What callers can ask for, whatever the dialect.

Every change is one database transaction: authorise, load, change, check, schedule and reserve, save, bump the
device, commit; then the workers are woken. Nothing here talks to a device.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from balancer.core import changes, moves, placements, preview, quotas, rules, tenants
from balancer.core.changes import Change
from balancer.core.model import (
    WHOLE,
    AdminState,
    Algorithm,
    Caller,
    Capabilities,
    Deployment,
    Device,
    DeviceSpec,
    Figures,
    HealthMonitor,
    L7Policy,
    L7Rule,
    Listener,
    LoadBalancer,
    Member,
    Page,
    Pool,
    Preview,
    Protocol,
    QuotaResource,
    Quotas,
    Stamp,
    Statistics,
    Tree,
    VirtualIp,
)
from balancer.core.monitors import MonitorService
from balancer.core.networks import AddressPools, NetworkService
from balancer.core.ports import Driver, Networks, Notifier, Transaction, Transactions
from balancer.core.retry import after_lost_race
from balancer.core.scheduler import Option, Refusal, Scheduler, filter_capabilities, filter_served, needs
from balancer.core.shown import Memory, Shown, devices_of, tree_of, trees
from balancer.core.status import DeviceStatus, device_status
from balancer.core.workers import WorkerService
from balancer.exceptions import (
    CapabilityConflict,
    Conflict,
    Forbidden,
    InvalidInput,
    NoSuitableDevice,
    NotFound,
    NotOwned,
    StaleGeneration,
)

_T = TypeVar("_T")

_POLL_FIRST, _POLL_LONGEST = 0.005, 0.1


class Service:
    """Over its repository, of which it remembers what was shown last; one instance serves every thread.

    `driver_for` returns the driver of a device type and raises `InvalidInput` for an unknown one. `default_quotas` are
    those of projects that have none of their own.
    """

    def __init__(
        self,
        repository: Transactions,
        driver_for: Callable[[str], Driver],
        scheduler: Scheduler,
        notifier: Notifier,
        default_quotas: Quotas = quotas.UNLIMITED,
        networks: Networks | None = None,
        confines: tenants.Confines = tenants.DEFAULT_CONFINES,
        device_types: Sequence[str] = (),
    ) -> None:
        """`networks`: where addresses come from, the registered subnets if None. `confines` are those of projects.
        `device_types`: those that there is a driver for."""
        self._repository = repository
        self._driver_for = driver_for
        self._scheduler = scheduler
        self._notifier = notifier
        self.default_quotas = default_quotas
        self._networks = networks or AddressPools()
        self._confines = confines
        self._device_types = tuple(device_types)
        self.networks = NetworkService(repository)
        self.placements = placements.PlacementService(repository, self._profile_words)
        self.workers = WorkerService(repository)
        self._memory = Memory()
        self.monitors = MonitorService(repository, self._memory, default_quotas)

    # --- devices ---------------------------------------------------------------

    def devices(self, caller: Caller, page: Page = WHOLE) -> list[Device]:
        """The oldest first. Raises `InvalidInput` for a page after a device that is not there."""
        _require_admin(caller)
        with self._repository.read() as tx:
            return _cut(tx.devices(), page, lambda each: each.id)

    def device(self, caller: Caller, device_id: str) -> Device:
        _require_admin(caller)
        with self._repository.read() as tx:
            return tx.device(device_id)

    @after_lost_race
    def register_device(self, caller: Caller, device: Device) -> Device:
        """Store a device; whether it can be reached is found out afterwards by a worker."""
        _require_admin(caller)
        device = self._driver_for(device.type).validate_device(device)
        with self._repository.write() as tx:
            tx.add_device(device)
            stored = tx.device(device.id)
        self._notifier.notify(device.id)
        return stored

    @after_lost_race
    def change_device(self, caller: Caller, device_id: str, change: Callable[[Device], Device]) -> Device:
        """Change what was registered, and look at the device and deploy anew with it."""
        _require_admin(caller)
        with self._repository.write() as tx:
            old = tx.device(device_id)
            new = change(old)
            if new == old:
                return old
            new = self._driver_for(new.type).validate_device(new)
            if new.type.lower() != old.type.lower():
                # The other driver would know nothing of what this one left there.
                self._refuse_in_use(tx, old, "its type cannot be changed before they are gone", field="type")
            tx.save_device(new)
            if new.vip_ranges != old.vip_ranges:
                # What projects no longer may have is for what comes, not for what is there.
                there = tx.load_balancers(device_id=device_id)
                tx.exempt([each.id for each in there if not each.exempt and tenants.closed(each, None, new, ())])
            tx.bump(device_id)
            stored = tx.device(device_id)
        self._notifier.notify(device_id)
        return stored

    @after_lost_race
    def remove_device(self, caller: Caller, device_id: str, *, force: bool = False) -> Device:
        """Returns what was removed. Raises `Conflict` while load balancers are on it; `force` drops them with it,
        unseen by the device. Those that have not arrived there yet stay on the device that they come from."""
        _require_admin(caller)
        with self._repository.write() as tx:
            device = tx.device(device_id)
            if not force:
                advice = "?force=1 removes the device with them, and its configuration must then be cleaned by hand"
                self._refuse_in_use(tx, device, advice)
            _send_back(tx, device)
            others = tx.delete_device(device_id)
        for each in others:
            self._notifier.notify(each)
        return device

    def observation_age(self, device: Device) -> float | None:
        """Seconds since the device was looked at, None when it never was."""
        return None if device.observation is None else max(0.0, self._repository.now() - device.observation.at)

    def refresh_device(self, caller: Caller, device_id: str, seconds: float) -> Device:
        """Have a worker look at the device; the device as it is then, or after `seconds` at the latest."""
        _require_admin(caller)
        return self._refresh(device_id, seconds)

    def _refresh(self, device_id: str, seconds: float) -> Device:
        with self._repository.write() as tx:
            asked = tx.ask_observation(device_id)
        self._notifier.notify(device_id)
        for _ in _polls(seconds):
            with self._repository.read() as tx:
                device = tx.device(device_id)
            # Nobody touches one in maintenance.
            if device.admin_state is AdminState.MAINTENANCE:
                break
            if device.observation is not None and device.observation.at >= asked:
                break
        return device

    @after_lost_race
    def retry_device(self, caller: Caller, device_id: str) -> Device:
        """Deploy anew, whatever failed before."""
        _require_admin(caller)
        with self._repository.write() as tx:
            tx.bump(device_id)
            device = tx.device(device_id)
        self._notifier.notify(device_id)
        return device

    @after_lost_race
    def resync_device(self, caller: Caller, device_id: str) -> Device:
        """Make the device run what is stored, whatever somebody else did to it."""
        _require_admin(caller)
        with self._repository.write() as tx:
            tx.resync(device_id)
            device = tx.device(device_id)
        self._notifier.notify(device_id)
        return device

    @after_lost_race
    def adopt_device(self, caller: Caller, device_id: str) -> Device:
        """Take over what another database, or a later state of this one, has left on the device."""
        _require_admin(caller)
        with self._repository.write() as tx:
            seen = tx.device(device_id).observation
            tx.adopt(device_id, epoch=0 if seen is None or seen.epoch is None else seen.epoch)
            device = tx.device(device_id)
        self._notifier.notify(device_id)
        return device

    def deployments(self, caller: Caller, device_id: str, *, limit: int) -> list[Deployment]:
        """The newest ones, the newest first, without their diffs."""
        _require_admin(caller)
        with self._repository.read() as tx:
            return tx.deployments(device_id, limit=limit)

    def deployment(self, caller: Caller, device_id: str, number: int) -> Deployment:
        _require_admin(caller)
        with self._repository.read() as tx:
            return tx.deployment(device_id, number)

    @staticmethod
    def _refuse_in_use(tx: Transaction, device: Device, advice: str, *, field: str = "") -> None:
        there = tx.load_balancers(device_id=device.id, include_deleted=True)
        alive = sum(1 for balancer in there if not balancer.deleted)
        if alive:
            raise Conflict(f"Device {device.id} has {alive} load balancer(s); {advice}", field=field)
        if tx.leaving(device.id):
            raise Conflict(
                f"Device {device.id} still runs load balancers that move to another device; {advice}", field=field
            )
        if there or tx.reservations(device.id):
            raise Conflict(f"Device {device.id} still runs load balancers that were deleted; {advice}", field=field)

    def providers(self) -> dict[str, str]:
        """Device types in lower case, and what their drivers say of themselves."""
        return {kind.lower(): self._driver_for(kind).description for kind in self._device_types}

    def _check_provider(self, provider: str | None) -> None:
        if provider is not None:
            self._profile_words(provider)

    def _profile_words(self, provider: str) -> Mapping[str, str]:
        try:
            return self._driver_for(provider).profile_words
        except InvalidInput:
            names = ", ".join(self.providers())
            raise InvalidInput(f"provider must be one of {names}, not {provider}", field="provider") from None

    def capabilities(self, caller: Caller) -> Capabilities:
        """The union over the registered devices; a device whose driver is not loaded is left out."""
        with self._repository.read() as tx:
            offers = [offer for device in tx.devices() if (offer := self._offer(device)) is not None]
        return Capabilities(
            algorithms=tuple(a for a in Algorithm if any(a in offer.algorithms for offer in offers)),
            protocols=tuple(p for p in Protocol if any(p in offer.protocols for offer in offers)),
        )

    def _offer(self, device: Device) -> Capabilities | None:
        """What the device offers: its own word, as far as its driver can. None without a driver."""
        try:
            able = self._driver_for(device.type).capabilities()
        except InvalidInput:
            return None
        own = device.capabilities
        if own is None:
            return able
        return Capabilities(
            algorithms=tuple(a for a in able.algorithms if a in own.algorithms),
            protocols=tuple(p for p in able.protocols if p in own.protocols),
        )

    # --- load balancers ----------------------------------------------------------

    def load_balancers(self, caller: Caller, project_id: str, page: Page = WHOLE) -> list[Shown]:
        """Those of the project, the oldest first. Raises `InvalidInput` for a page after one that is not there."""
        _require_project(caller, project_id)
        stamps = self._repository.stamps(project_id=project_id)
        known = self._memory.known(_cut(stamps, page, _id_of_stamp))
        if known is not None:
            return known
        with self._repository.read() as tx:
            stamps = tx.stamps(project_id=project_id)
            return self._memory.shown(tx, _cut(stamps, page, _id_of_stamp))

    def load_balancer(self, caller: Caller, project_id: str, load_balancer_id: str) -> Shown:
        """Raises `NotFound`."""
        _require_project(caller, project_id)
        known = self._memory.known(self._repository.stamps(project_id=project_id, load_balancer_id=load_balancer_id))
        if known:
            return known[0]
        with self._repository.read() as tx:
            stamps = tx.stamps(project_id=project_id, load_balancer_id=load_balancer_id)
            if not stamps:
                raise NotFound("Load balancer", load_balancer_id)
            return self._memory.shown(tx, stamps)[0]

    def readable(
        self,
        caller: Caller,
        *,
        project_id: str | None = None,
        kind: type = LoadBalancer,
        equal: Mapping[str, object] | None = None,
    ) -> list[Shown]:
        """The load balancers of the project, or all that the caller may read; with `equal` only those that have an
        object of that kind with these values, as `Transaction.stamps_having` finds them. The oldest first."""
        if project_id is None and not caller.acts_everywhere:
            if caller.project_id is None:
                raise Forbidden("A token of a project is needed")
            project_id = caller.project_id
        if project_id is not None:
            _require_project(caller, project_id)
        with self._repository.read() as tx:
            return self._memory.shown(tx, tx.stamps_having(kind, equal or {}, project_id=project_id))

    def holder(self, caller: Caller, kind: type, object_id: str) -> Shown:
        """The load balancer that holds the object of that kind. Raises `NotFound` and `NotOwned`, for the object."""
        with self._repository.read() as tx:
            stamps = tx.stamps_having(kind, {"id": object_id})
            if not stamps:
                raise NotFound(_NOUNS[kind], object_id)
            if not caller.acts_in(stamps[0].project_id):
                raise NotOwned(_NOUNS[kind], object_id)
            return self._memory.shown(tx, stamps[:1])[0]

    def shown(self, tree: Tree) -> Shown:
        """What a write returned, with what callers are told beside it."""
        balancer = tree.load_balancer
        with self._repository.read() as tx:
            devices = devices_of(tx, [balancer])
            seen = tx.statistics([balancer.id]).get(balancer.id, Statistics())
        return Shown(tree=tree, devices=devices, statistics=seen)

    def devices_of(self, tree: Tree) -> Mapping[str, Device]:
        """Device id to device, for the devices that it is on or comes from: for the words of its status."""
        with self._repository.read() as tx:
            return devices_of(tx, [tree.load_balancer])

    def statistics_of(self, tree: Tree) -> Statistics:
        """States and counters of a load balancer and its parts, as they were last seen."""
        load_balancer_id = tree.load_balancer.id
        with self._repository.read() as tx:
            return tx.statistics([load_balancer_id]).get(load_balancer_id, Statistics())

    def refresh_statistics(self, caller: Caller, project_id: str, load_balancer_id: str, seconds: float) -> None:
        """Have a worker ask the device now; returns when that was done, or after `seconds` at the latest."""
        tree = self.load_balancer(caller, project_id, load_balancer_id).tree
        self._refresh(moves.serving_device_id(tree.load_balancer), seconds)

    @after_lost_race
    def create(self, caller: Caller, tree: Tree, *, device_id: str | None = None) -> Tree:
        """Store a new load balancer on the device of that id, else on one that the scheduler chooses.

        The tree's own device id does not matter. A virtual IP may leave its address open (see there). Raises
        `NotFound` (unknown device), `CapabilityConflict`, `NoSuitableDevice`, `OverQuota`, `Conflict` (address taken),
        `InvalidInput`, `Forbidden`.
        """
        _require_project(caller, tree.load_balancer.project_id)
        self._check_provider(tree.load_balancer.provider)
        with self._repository.write() as tx:
            tree = replace(tree, load_balancer=placements.settle(tx.placements, tree.load_balancer))
            tree = self._with_addresses(tx, caller, tree, ())
            rules.check(tree)
            self._check_tenant(tx, caller, tree.load_balancer, None)
            device = self._pinned(tx, caller, tree, device_id) if device_id else self._choose(tx, caller, tree)
            balancer = replace(tree.load_balancer, device_id=device.id, pinned=device_id is not None)
            balancer = replace(balancer, exempt=self._is_exempt(tx, caller, balancer, None, device))
            self._check_on(device, replace(tree, load_balancer=balancer))
            quotas.check_change(tx, self.default_quotas, None, tree)
            monitors = [tx.save_monitor(monitor) for monitor in tree.monitors]
            stored = tree_of(tx.add_load_balancer(balancer), monitors)
            tx.add_reservations(rules.wanted_reservations(balancer))
            tx.bump(device.id)
        self._notifier.notify(device.id)
        return stored

    def change(self, caller: Caller, project_id: str, load_balancer_id: str, change: Change) -> Tree:
        """Apply a pure change; a change that changes nothing stores nothing.

        A load balancer whose device lacks what it needs now moves to one that has it, unless it was pinned. One whose
        move fails goes back to the device that still serves it, if that has what it needs now. A health monitor that
        other load balancers use, too, is changed for all of them. Raises what `create` raises, and `NotFound` for the
        load balancer or a child.
        """
        return self.change_using(caller, project_id, load_balancer_id, (), lambda _: change)

    def change_using(
        self,
        caller: Caller,
        project_id: str,
        load_balancer_id: str,
        monitor_ids: Sequence[str],
        change: Callable[[Sequence[HealthMonitor]], Change],
    ) -> Tree:
        """The same with health monitors that are there already: `change` is given those of the ids. Raises `NotFound`,
        `NotOwned`."""
        _require_project(caller, project_id)
        stored, concerned = self._store_change(caller, project_id, load_balancer_id, monitor_ids, change)
        self._notify(concerned)
        return stored

    def change_two(
        self,
        caller: Caller,
        project_id: str,
        load_balancer_ids: tuple[str, str],
        change: Callable[[Tree, Tree], tuple[Tree, Tree]],
    ) -> tuple[Tree, Tree]:
        """One change of two load balancers of a project, between which pools and members may be exchanged; all that
        there was must be in one of them, and nothing more. Raises what `change` raises."""
        _require_project(caller, project_id)
        stored, concerned = self._store_two(caller, project_id, load_balancer_ids, change)
        self._notify(concerned)
        return stored

    def _notify(self, device_ids: Iterable[str]) -> None:
        for device_id in device_ids:
            self._notifier.notify(device_id)

    def move(self, caller: Caller, project_id: str, load_balancer_id: str) -> Tree:
        """To another suitable device that is not known to be in trouble. Where there is none, and for a load balancer
        that is pinned, its own device deploys it anew. Raises `NotFound`."""
        _require_project(caller, project_id)
        stored, concerned = self._store_move(caller, project_id, load_balancer_id)
        self._notify(concerned)
        return stored

    @after_lost_race
    def _store_move(self, caller: Caller, project_id: str, load_balancer_id: str) -> tuple[Tree, tuple[str, ...]]:
        with self._repository.write() as tx:
            old = _load(tx, project_id, load_balancer_id)
            return self._store(tx, caller, old, old, self._elsewhere(tx, caller, old))

    @after_lost_race
    def _store_change(
        self,
        caller: Caller,
        project_id: str,
        load_balancer_id: str,
        monitor_ids: Sequence[str],
        change: Callable[[Sequence[HealthMonitor]], Change],
    ) -> tuple[Tree, tuple[str, ...]]:
        """The stored tree and the devices that it concerns."""
        with self._repository.write() as tx:
            old = _load(tx, project_id, load_balancer_id)
            new = change([_own_monitor(tx, caller, each) for each in monitor_ids])(old)
            if new == old:
                return old, ()
            if new.load_balancer.deleted:
                return self._store_deleted(tx, old, new)
            return self._check_and_store(tx, caller, old, new)

    def _check_and_store(
        self, tx: Transaction, caller: Caller, old: Tree, new: Tree, *, exchanged: bool = False
    ) -> tuple[Tree, tuple[str, ...]]:
        new = self._with_addresses(tx, caller, new, old.load_balancer.virtual_ips)
        rules.check(new)
        self._check_tenant(tx, caller, new.load_balancer, old.load_balancer)
        device = self._stay_or_move(tx, caller, old, new)
        return self._store(tx, caller, old, new, device, exchanged=exchanged)

    @after_lost_race
    def _store_two(
        self,
        caller: Caller,
        project_id: str,
        load_balancer_ids: tuple[str, str],
        change: Callable[[Tree, Tree], tuple[Tree, Tree]],
    ) -> tuple[tuple[Tree, Tree], tuple[str, ...]]:
        with self._repository.write() as tx:
            read = {each: _load(tx, project_id, each) for each in sorted(load_balancer_ids)}
            olds = tuple(read[each] for each in load_balancer_ids)
            news = change(olds[0], olds[1])
            tx.hand_over(
                pools=_exchanged(
                    olds, news, lambda tree: {p.id: tree.load_balancer.id for p in tree.load_balancer.pools}
                ),
                members=_exchanged(olds, news, _pool_ids_of_members),
            )
            stored: list[Tree] = []
            concerned: list[str] = []
            for old, new in zip(olds, news, strict=True):
                after, devices = (
                    self._check_and_store(tx, caller, old, new, exchanged=True) if new != old else (old, ())
                )
                stored.append(after)
                concerned += devices
            return (stored[0], stored[1]), tuple(dict.fromkeys(concerned))

    def _store(
        self, tx: Transaction, caller: Caller, old: Tree, new: Tree, device: Device, *, exchanged: bool = False
    ) -> tuple[Tree, tuple[str, ...]]:
        """`old`, as changed to `new`, is to run on the device from now on. `exchanged`: with another load balancer of
        the project, so that there is not more than there was."""
        before = old.load_balancer
        seen = before.generation
        source = moves.serving_device_id(before)
        accepted = source != device.id and tx.is_accepted(source, before.id)
        move = moves.next_move(before, new.load_balancer, device, accepted=accepted)
        balancer = replace(new.load_balancer, device_id=device.id, move=move, generation=seen + 1, error=None)
        balancer = replace(balancer, exempt=self._is_exempt(tx, caller, balancer, before, device))
        new = replace(new, load_balancer=balancer)
        self._check_on(device, new)
        if not exchanged:
            quotas.check_change(tx, self.default_quotas, old, new)
        monitors, others = self._store_monitors(tx, old, new)
        stored = tree_of(tx.save_load_balancer(balancer, seen=seen), monitors)
        _delete_monitors(tx, old, new)
        # What it has on the device it keeps.
        has = set(rules.wanted_reservations(before))
        tx.add_reservations([each for each in rules.wanted_reservations(balancer) if each not in has])
        for device_id in moves.to_deploy(before, balancer):
            tx.bump(device_id)
        return stored, (*moves.concerned(before, balancer), *others)

    def delete(self, caller: Caller, project_id: str, load_balancer_id: str) -> Tree:
        """Gone from every reply at once; its addresses are free when its device, and the one that it may come from,
        run without it. A change that deletes the load balancer does the same."""
        return self.change(caller, project_id, load_balancer_id, changes.delete)

    @staticmethod
    def _store_deleted(tx: Transaction, old: Tree, new: Tree) -> tuple[Tree, tuple[str, ...]]:
        seen = old.load_balancer.generation
        balancer = replace(new.load_balancer, generation=seen + 1, error=None)
        tx.save_load_balancer(balancer, seen=seen)
        concerned = moves.concerned(balancer, balancer)
        for device_id in concerned:
            tx.bump(device_id)
        return replace(new, load_balancer=balancer), concerned

    # --- health monitors -------------------------------------------------------------

    def change_monitor(
        self, caller: Caller, monitor_id: str, change: Callable[[HealthMonitor], HealthMonitor]
    ) -> HealthMonitor:
        """For all pools that use it, if any does. Raises `NotFound`, `NotOwned`, `InvalidInput`."""
        stored, concerned = self._store_monitor_change(caller, monitor_id, change)
        self._notify(concerned)
        return stored

    @after_lost_race
    def _store_monitor_change(
        self, caller: Caller, monitor_id: str, change: Callable[[HealthMonitor], HealthMonitor]
    ) -> tuple[HealthMonitor, tuple[str, ...]]:
        with self._repository.write() as tx:
            users = tx.monitor_users([monitor_id])[monitor_id]
            olds = [_load(tx, None, each) for each in users]
            monitor = _own_monitor(tx, caller, monitor_id)
            if tx.monitor_users([monitor_id])[monitor_id] != users:
                raise StaleGeneration(f"Health monitor {monitor_id} is used by others meanwhile")
            new = change(monitor)
            if new == monitor:
                return monitor, ()
            tx.save_monitor(new)
            concerned = [device_id for old in olds for device_id in self._store_around(tx, old, new)]
            return tx.monitor(monitor_id), tuple(dict.fromkeys(concerned))

    def _store_monitors(self, tx: Transaction, old: Tree, new: Tree) -> tuple[list[HealthMonitor], tuple[str, ...]]:
        """Returns them as they are stored, and the devices of the other load balancers that this concerns."""
        before = {monitor.id: monitor for monitor in old.monitors}
        stored: list[HealthMonitor] = []
        concerned: list[str] = []
        for monitor in new.monitors:
            if before.get(monitor.id) == monitor:
                stored.append(monitor)
                continue
            stored.append(tx.save_monitor(monitor))
            # From here on nobody else begins to use it.
            users = tx.monitor_users([monitor.id])[monitor.id] if monitor.id in before else ()
            for user in users:
                if user != old.load_balancer.id:
                    concerned += self._store_around(tx, _load(tx, None, user), monitor)
        return stored, tuple(concerned)

    def _store_around(self, tx: Transaction, old: Tree, monitor: HealthMonitor) -> tuple[str, ...]:
        """The load balancer as it is, with a health monitor that was changed. Returns the devices that this
        concerns."""
        before = old.load_balancer
        for pool in before.pools:
            if monitor.id in pool.health_monitor_ids:
                rules.check_monitor(pool, monitor)
        monitors = tuple(monitor if each.id == monitor.id else each for each in old.monitors)
        balancer = replace(before, generation=before.generation + 1, error=None)
        self._check_on(tx.device(balancer.device_id), replace(old, load_balancer=balancer, monitors=monitors))
        tx.save_load_balancer(balancer, seen=before.generation)
        for device_id in moves.to_deploy(before, balancer):
            tx.bump(device_id)
        return moves.concerned(before, balancer)

    def wait(self, caller: Caller, tree: Tree, seconds: float) -> Tree:
        """Until the tree's generation is applied or refused, a deleted one is gone, or `seconds` are over. A device in
        MAINTENANCE is not waited for.

        Returns the tree as it is then.
        """
        for _ in _polls(seconds):
            with self._repository.read() as tx:
                progress = tx.progress(tree.load_balancer.id)
            if progress is None or progress.is_settled(tree.load_balancer.generation):
                break
        with self._repository.read() as tx:
            try:
                return trees(tx, [tx.load_balancer(tree.load_balancer.id)])[0]
            except NotFound:
                return tree

    # --- quotas --------------------------------------------------------------------

    def quotas(self, caller: Caller, project_id: str) -> Quotas:
        """What holds for the project: its own quotas, and the defaults for the rest."""
        _require_project(caller, project_id)
        with self._repository.read() as tx:
            return {**self.default_quotas, **tx.quotas(project_id)}

    def usage(self, caller: Caller, project_id: str) -> dict[QuotaResource, int]:
        """How many of each count for the project, those included that a device may still run."""
        _require_project(caller, project_id)
        with self._repository.read() as tx:
            return tx.usage(project_id, tuple(QuotaResource))

    def all_quotas(self, caller: Caller) -> dict[str, Quotas]:
        """Project id to its own quotas, which may be some of all, for every project that has any and that the caller
        may look at."""
        with self._repository.read() as tx:
            return {project_id: own for project_id, own in tx.all_quotas().items() if caller.acts_in(project_id)}

    @after_lost_race
    def set_quotas(self, caller: Caller, project_id: str, changed: Mapping[QuotaResource, int | None]) -> Quotas:
        """Change some of the project's own quotas; None: the default holds again. Below what there is is allowed.

        Returns what holds then.
        """
        _require_admin(caller)
        with self._repository.write() as tx:
            tx.lock_project(project_id)
            own = {**tx.quotas(project_id), **changed}
            stored = {resource: limit for resource, limit in own.items() if limit is not None}
            tx.save_quotas(project_id, stored)
        return {**self.default_quotas, **stored}

    @after_lost_race
    def reset_quotas(self, caller: Caller, project_id: str) -> bool:
        """The defaults hold again. Returns whether the project had quotas of its own."""
        _require_admin(caller)
        with self._repository.write() as tx:
            if not tx.quotas(project_id):
                return False
            tx.lock_project(project_id)
            tx.save_quotas(project_id, {})
        return True

    # --- the service as a whole ------------------------------------------------------

    def working(self) -> tuple[str, ...]:
        """Names of the workers that are alive and not switched off."""
        with self._repository.read() as tx:
            return tuple(each.name for each in tx.workers() if each.works)

    def load_balancers_of_devices(self, caller: Caller) -> Mapping[str, int]:
        """Device id to how many load balancers are on it; devices without any are left out."""
        _require_admin(caller)
        with self._repository.read() as tx:
            return tx.load_balancer_counts()

    def figures(self, caller: Caller) -> Figures:
        _require_admin(caller)
        with self._repository.read() as tx:
            return tx.figures()

    # --- trying out ----------------------------------------------------------------

    @after_lost_race
    def preview(self, caller: Caller, write: Callable[[Service], object]) -> dict[str, Preview]:
        """What a write would do: device id to what a deployment would change there, for each device that it concerns.

        `write` calls a method of the service that it is given, which raises whatever it would raise in earnest. What
        it stores is undone, and nobody is woken. Who is no administrator sees the diff of the load balancer alone.
        """
        concerned = preview.Listed()
        with self._repository.write() as tx:
            with tx.undone():
                inside = preview.Inside(tx)
                trial = Service(
                    inside,
                    self._driver_for,
                    self._scheduler,
                    concerned,
                    self.default_quotas,
                    self._networks,
                    self._confines,
                    self._device_types,
                )
                result = write(trial)
                tree = result if isinstance(result, Tree) else None
                wanted = [preview.wanted(tx, device_id, tree) for device_id in concerned.device_ids]
            before = {device.id: device for device in tx.devices() if device.id in concerned.device_ids}
            specs = [preview.compared(tx, spec, tree) for spec in wanted if spec.device.id in before]
        found = {spec.device.id: self._preview(spec, before[spec.device.id]) for spec in specs}
        if caller.admin:
            return found
        own = None if tree is None else tree.load_balancer.id
        return {
            device_id: replace(each, diffs={key: diff for key, diff in each.diffs.items() if key == own})
            for device_id, each in found.items()
        }

    def _preview(self, spec: DeviceSpec, before: Device) -> Preview:
        try:
            driver = self._driver_for(spec.device.type)
        except InvalidInput:
            return Preview(plan="noop", sentence=f"no driver for devices of type {spec.device.type} is loaded")
        return preview.postponed(driver.preview(spec, before=before), spec.device)

    # --- addresses -----------------------------------------------------------------

    def _with_addresses(self, tx: Transaction, caller: Caller, tree: Tree, before: tuple[VirtualIp, ...]) -> Tree:
        """Virtual IPs that are new, or at another address than before, get what they left open. The prefix length that
        somebody asked for is for administrators: with it a device gets a route to a whole network."""
        balancer = tree.load_balancer
        known = {(vip.address, vip.port_id): vip for vip in before}
        left = {vip.port_id: vip.address for vip in before if vip.port_id is not None}
        virtual_ips = []
        for vip in balancer.virtual_ips:
            asked = vip.asked_length if caller.acts_everywhere else None
            present = known.get((vip.address, vip.port_id))
            if present is not None:
                changed = None if vip.asked_length == present.asked_length else asked
                virtual_ips.append(replace(vip, prefix_length=present.prefix_length if changed is None else changed))
                continue
            wanted = replace(vip, prefix_length=asked)
            if left.get(vip.port_id or "", vip.address) != vip.address:
                # It still names the port of the address that it had.
                wanted = replace(wanted, network_id=None, subnet_id=None, port_id=None, interface=None)
            virtual_ips.append(self._networks.allot(tx, caller, balancer, wanted))
        return replace(tree, load_balancer=replace(balancer, virtual_ips=tuple(virtual_ips)))

    # --- what projects may point at --------------------------------------------------

    def _check_tenant(
        self, tx: Transaction, caller: Caller, balancer: LoadBalancer, before: LoadBalancer | None
    ) -> None:
        """What can be said before a device is chosen. Raises `Forbidden`, and `Conflict` for another project's address.
        Administrators pass."""
        if not (caller.admin or caller.exports):
            tenants.check_exports(balancer, before)
        if caller.acts_everywhere or (before is not None and _addresses(balancer) == _addresses(before)):
            return
        known = self._known(tx, balancer)
        tenants.check_members(balancer, before, self._confines, known)
        tenants.check_chain(balancer, before, known)
        added = tenants.unregistered(balancer, before)
        if added:
            # Two projects may ask for one address at two devices.
            tx.lock_devices(
                host.device_id for host in known.hosts if any(tenants.opens(each, host.vip_ranges) for each in added)
            )
            taken = tenants.of_others(balancer, tx.address_uses(added))
            if taken:
                raise Conflict(f"{' and '.join(sorted(taken))} is taken", field="virtual_ips")

    @staticmethod
    def _known(tx: Transaction, balancer: LoadBalancer) -> tenants.Known:
        uses = tx.address_uses(tenants.sent_to([balancer]))
        # What it is to listen at is not stored yet.
        return tenants.know(tx.hosts(), tenants.addresses(balancer) | {each.address for each in uses})

    def _is_exempt(
        self, tx: Transaction, caller: Caller, balancer: LoadBalancer, before: LoadBalancer | None, device: Device
    ) -> bool:
        """Whether it has what only an administrator may give, and one gave it: this one, or one before."""
        if before is not None and _addresses(balancer) == _addresses(before):
            return before.exempt
        if not caller.acts_everywhere and (before is None or not before.exempt):
            return False
        return tenants.beyond(balancer, device, self._confines, self._known(tx, balancer)) is not None

    # --- placing -------------------------------------------------------------------

    def _options(self, tx: Transaction, caller: Caller, tree: Tree, devices: Iterable[Device]) -> list[Option]:
        """Of the devices that have a driver. As many queries for all devices as for one."""
        balancer = tree.load_balancer
        wanted = rules.wanted_addresses(balancer)
        held = {
            (each.device_id, each.address, each.port)
            for each in tx.holders(wanted)
            if each.load_balancer_id != balancer.id
        }
        counts = tx.load_balancer_counts()
        served_at = self._served_at(tx, caller, balancer)
        taken = self._taken(tx, caller, balancer)
        options = []
        for device in devices:
            offer = self._offer(device)
            if offer is None:
                continue
            binds = device.observation.foreign_binds if device.observation else ()
            blocked = (each for each in wanted if (device.id, *each) in held or rules.binds_overlap(each, binds))
            options.append(
                Option(
                    device=device,
                    capabilities=offer,
                    blocked=frozenset(blocked),
                    serves=served_at is None or device.id in served_at,
                    closed=() if caller.acts_everywhere else tenants.closed(balancer, None, device, taken),
                    load_balancers=counts.get(device.id, 0),
                )
            )
        return options

    @staticmethod
    def _taken(tx: Transaction, caller: Caller, balancer: LoadBalancer) -> frozenset[str]:
        """Its addresses that are devices' or other projects', if that concerns the caller."""
        if caller.acts_everywhere:
            return frozenset()
        uses = tx.address_uses(tenants.unregistered(balancer))
        return tenants.of_devices(tenants.addresses(balancer), tx.hosts()) | tenants.of_others(balancer, uses)

    def _served_at(self, tx: Transaction, caller: Caller, balancer: LoadBalancer) -> frozenset[str] | None:
        """The devices that can serve its addresses and are of its flavor and zone; None: all."""
        found = [self._networks.device_ids(tx, balancer), placements.device_ids(tx, balancer)]
        if not caller.acts_everywhere:
            found.append(tenants.shared_at(balancer, tx.address_uses(tenants.unregistered(balancer))))
        some = [each for each in found if each is not None]
        return frozenset.intersection(*some) if some else None

    def _option(self, tx: Transaction, caller: Caller, tree: Tree, device: Device) -> Option | None:
        return next(iter(self._options(tx, caller, tree, [device])), None)

    def _choose(self, tx: Transaction, caller: Caller, tree: Tree, devices: Sequence[Device] | None = None) -> Device:
        """Of the devices, or of all. Raises `NoSuitableDevice`, `Forbidden` when an administrator could have one."""
        options = self._options(tx, caller, tree, tx.devices() if devices is None else devices)
        try:
            chosen = self._scheduler.choose(tree, [option for option in options if not option.closed])
        except NoSuitableDevice:
            for option in options:
                if option.closed and self._scheduler.refusal(tree, option) is None:
                    raise Forbidden(tenants.say_closed(option.closed), field="virtual_ips") from None
            # With the reasons of all.
            chosen = self._scheduler.choose(tree, options)
        device = tx.lock_device(chosen)
        if device == chosen:
            return device
        # Others were there first; it may still do.
        again = None if device is None else self._option(tx, caller, tree, device)
        if device is None or again is None or again.closed or self._scheduler.refusal(tree, again):
            raise StaleGeneration(f"Device {chosen.id} was changed meanwhile")
        return device

    def _pinned(self, tx: Transaction, caller: Caller, tree: Tree, device_id: str) -> Device:
        device = tx.device(device_id)
        option = self._option(tx, caller, tree, device)
        if option is None:
            raise CapabilityConflict(f"No driver for devices of type {device.type} is loaded", field="device_id")
        # An address that is taken has a better message of its own, from the rules and the reservations.
        refusal = self._scheduler.refusal(tree, replace(option, blocked=frozenset()))
        if refusal:
            raise CapabilityConflict(f"Device {device_id} {refusal}", field="device_id", terms=refusal.terms)
        if option.closed:
            raise Forbidden(tenants.say_closed(option.closed), field="virtual_ips")
        return device

    def _stay_or_move(self, tx: Transaction, caller: Caller, before: Tree, tree: Tree) -> Device:
        """The present device when it can do what the tree needs, or needed before, else another one: the one that still
        serves the load balancer is the first choice. Raises `Forbidden` for an address that it is not to have there."""
        old = before.load_balancer
        device, source = tx.device(old.device_id), moves.serving_device_id(old)
        server = tx.device(source) if source != device.id else None
        in_trouble = old.error is not None or _in_trouble(device)
        if server is not None and in_trouble and self._may_take(tx, caller, tree, server):
            return server
        served_at = self._served_at(tx, caller, tree.load_balancer)
        serves = served_at is None or device.id in served_at
        # What an administrator took from a device's capabilities is for what comes, not for what is there.
        refusal = None if serves and needs(tree) == needs(before) else self._refusal(tree, device, serves=serves)
        if refusal is None:
            taken = self._taken(tx, caller, tree.load_balancer)
            added = () if caller.acts_everywhere else tenants.closed(tree.load_balancer, old, device, taken)
            if added:
                raise Forbidden(tenants.say_closed(added), field="virtual_ips")
            return device
        if old.pinned:
            sentence = f"Device {device.id}, to which this load balancer is pinned, {refusal}"
            raise CapabilityConflict(sentence, field=refusal.field, terms=refusal.terms)
        if server is not None and self._may_take(tx, caller, tree, server):
            return server
        return self._choose(tx, caller, tree)

    def _refusal(self, tree: Tree, device: Device, *, serves: bool) -> Refusal | None:
        """Why the device, where the tree is, cannot have it any longer."""
        offer = self._offer(device)
        if offer is None:
            return Refusal("has no driver")
        option = Option(device=device, capabilities=offer, serves=serves)
        return filter_served(tree, option) or filter_capabilities(tree, option)

    def _elsewhere(self, tx: Transaction, caller: Caller, tree: Tree) -> Device:
        """Another device for the load balancer, or its own if there is none."""
        own = tx.device(tree.load_balancer.device_id)
        others = [device for device in tx.devices() if device.id != own.id and not _in_trouble(device)]
        if tree.load_balancer.pinned:
            return own
        try:
            return self._choose(tx, caller, tree, others)
        except (NoSuitableDevice, Forbidden):
            return own

    def _may_take(self, tx: Transaction, caller: Caller, tree: Tree, device: Device) -> bool:
        option = self._option(tx, caller, tree, device)
        return option is not None and not option.closed and self._scheduler.refusal(tree, option) is None

    def _check_on(self, device: Device, tree: Tree) -> None:
        binds = device.observation.foreign_binds if device.observation else ()
        rules.check_foreign_binds(tree.load_balancer, binds)
        self._driver_for(device.type).validate(tree.load_balancer, tree.monitors)


_NOUNS: Mapping[type, str] = {
    LoadBalancer: "Load balancer",
    Listener: "Listener",
    Pool: "Pool",
    Member: "Member",
    HealthMonitor: "Health monitor",
    L7Policy: "L7Policy",
    L7Rule: "L7Rule",
}


def _polls(seconds: float) -> Iterator[None]:
    """Once at once, then again with growing pauses; the last time when `seconds` are over."""
    deadline = time.monotonic() + seconds
    pause = _POLL_FIRST
    yield
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, _POLL_LONGEST)
        yield


def _cut(listed: list[_T], page: Page, id_of: Callable[[_T], str]) -> list[_T]:
    first = 0
    if page.marker is not None:
        ids = [id_of(each) for each in listed]
        if page.marker not in ids:
            raise InvalidInput("marker must be the id of something in the list", field="marker")
        first = ids.index(page.marker) + 1
    return listed[first:] if page.limit is None else listed[first : first + page.limit]


def _id_of_stamp(stamp: Stamp) -> str:
    return stamp.load_balancer_id


def _addresses(balancer: LoadBalancer) -> tuple[object, ...]:
    """All that says where it listens and what it points at."""
    return balancer.device_id, balancer.virtual_ips, balancer.listeners, tenants.targets(balancer)


def _in_trouble(device: Device) -> bool:
    return device_status(device)[0] in (DeviceStatus.UNREACHABLE, DeviceStatus.ERROR)


def _send_back(tx: Transaction, device: Device) -> None:
    """What was to move to the device goes back to where it is still served. It is given up there when one of its
    addresses belongs to another load balancer by now."""
    for listed in tx.load_balancers(device_id=device.id):
        if moves.serving_device_id(listed) == device.id:
            continue
        balancer = tx.load_balancer(listed.id)
        source = moves.serving_device_id(balancer)
        back = replace(balancer, device_id=source, move=None, generation=balancer.generation + 1, error=None)
        try:
            tx.add_reservations(rules.wanted_reservations(back))
        except Conflict:
            back = replace(back, deleted=True)
        tx.save_load_balancer(back, seen=balancer.generation)
        tx.bump(source)


def _require_admin(caller: Caller) -> None:
    if not caller.acts_everywhere:
        raise Forbidden("This is for administrators")


def _require_project(caller: Caller, project_id: str) -> None:
    if not caller.acts_in(project_id):
        raise Forbidden("This is another project's path")


def _load(tx: Transaction, project_id: str | None, load_balancer_id: str) -> Tree:
    """`project_id` None: whosever it is."""
    balancer = tx.load_balancer(load_balancer_id)
    if project_id not in (None, balancer.project_id):
        raise NotOwned("Load balancer", load_balancer_id)
    tree = trees(tx, [balancer])[0]
    if not tree.monitors:
        return tree
    users = tx.monitor_users([monitor.id for monitor in tree.monitors])
    return replace(tree, shared=frozenset(key for key, ids in users.items() if set(ids) - {load_balancer_id}))


def _own_monitor(tx: Transaction, caller: Caller, monitor_id: str) -> HealthMonitor:
    monitor = tx.monitor(monitor_id)
    if not caller.acts_in(monitor.project_id):
        raise NotOwned("Health monitor", monitor_id)
    return monitor


def _delete_monitors(tx: Transaction, old: Tree, new: Tree) -> None:
    """Those that are no longer used; after the load balancer was saved without them. Another project's stays."""
    kept = {*old.shared, *(monitor.id for monitor in (*new.monitors, *new.released))}
    for monitor in old.monitors:
        if monitor.id in kept or monitor.project_id != new.load_balancer.project_id:
            continue
        with contextlib.suppress(NotFound):
            # From here on nobody else begins to use it, and whoever just did keeps it.
            tx.monitor(monitor.id)
        if not tx.monitor_users([monitor.id])[monitor.id]:
            tx.delete_monitor(monitor.id)


def _exchanged(
    olds: Sequence[Tree], news: Sequence[Tree], places: Callable[[Tree], Mapping[str, str]]
) -> dict[str, str]:
    """What is somewhere else now: its id to that of where it is. `places` gives that for all there is."""
    before = {key: place for tree in olds for key, place in places(tree).items()}
    after = {key: place for tree in news for key, place in places(tree).items()}
    return {key: place for key, place in after.items() if before[key] != place}


def _pool_ids_of_members(tree: Tree) -> Mapping[str, str]:
    return {member.id: pool.id for pool in tree.load_balancer.pools for member in pool.members}
