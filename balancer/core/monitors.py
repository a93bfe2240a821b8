"""Health monitors on their own: they belong to a project and may be there before, between and after the pools that use
them. How pools come to use them is a change of a load balancer (`balancer.core.changes`)."""

from __future__ import annotations

from dataclasses import dataclass

from balancer.core import quotas
from balancer.core.model import Caller, HealthMonitor, LoadBalancer, QuotaResource, Quotas, Stamp
from balancer.core.ports import Transaction, Transactions
from balancer.core.retry import after_lost_race
from balancer.core.shown import Memory, Shown
from balancer.exceptions import Forbidden, InUse, NotOwned


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Monitored:
    """A health monitor with the load balancers whose pools use it."""

    monitor: HealthMonitor
    users: tuple[Shown, ...]


class MonitorService:
    """What callers can ask of health monitors. `memory` is what was shown last, `default_quotas` those of projects that
    have none of their own."""

    def __init__(self, repository: Transactions, memory: Memory, default_quotas: Quotas) -> None:
        self._repository = repository
        self._memory = memory
        self._default_quotas = default_quotas

    def readable(self, caller: Caller) -> list[Monitored]:
        """All that the caller may read, the oldest first."""
        if not caller.acts_everywhere and caller.project_id is None:
            raise Forbidden("A token of a project is needed")
        project_id = None if caller.acts_everywhere else caller.project_id
        with self._repository.read() as tx:
            monitors = tx.monitors_of(project_id)
            stamps = {each.load_balancer_id: each for each in tx.stamps_having(LoadBalancer, {}, project_id=project_id)}
            return self._monitored(tx, monitors, stamps)

    def one(self, caller: Caller, monitor_id: str) -> Monitored:
        """Raises `NotFound`, `NotOwned`."""
        with self._repository.read() as tx:
            monitor = tx.monitor(monitor_id)
            if not caller.acts_in(monitor.project_id):
                raise NotOwned("Health monitor", monitor_id)
            return self._monitored(tx, [monitor], {})[0]

    def _monitored(self, tx: Transaction, monitors: list[HealthMonitor], stamps: dict[str, Stamp]) -> list[Monitored]:
        """`stamps`: those that are known already, by the ids of the load balancers."""
        users = tx.monitor_users([monitor.id for monitor in monitors])
        wanted = sorted({user for some in users.values() for user in some})
        # Of another project, which an administrator brought together with this one's.
        for user in wanted:
            if user not in stamps:
                (stamps[user],) = tx.stamps_having(LoadBalancer, {"id": user})
        shown = dict(zip(wanted, self._memory.shown(tx, [stamps[user] for user in wanted]), strict=True))
        return [
            Monitored(monitor=monitor, users=tuple(shown[user] for user in users[monitor.id])) for monitor in monitors
        ]

    @after_lost_race
    def add(self, caller: Caller, monitor: HealthMonitor) -> HealthMonitor:
        """One that no pool uses yet. Raises `OverQuota`."""
        if not caller.acts_in(monitor.project_id):
            raise Forbidden("This is another project's")
        with self._repository.write() as tx:
            quotas.check(tx, self._default_quotas, monitor.project_id, {QuotaResource.HEALTH_MONITOR: 1})
            tx.save_monitor(monitor)
            return tx.monitor(monitor.id)

    @after_lost_race
    def remove(self, caller: Caller, monitor_id: str) -> None:
        """Raises `NotFound`, `NotOwned`, and `InUse` while a pool uses it."""
        with self._repository.write() as tx:
            monitor = tx.monitor(monitor_id)
            if not caller.acts_in(monitor.project_id):
                raise NotOwned("Health monitor", monitor_id)
            if tx.monitor_users([monitor_id])[monitor_id]:
                raise InUse(f"Health monitor {monitor_id} is used by a pool", kind="Health monitor")
            tx.delete_monitor(monitor_id)
