"""The workers, as an administrator sees and steers them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from balancer.core.model import Caller, WorkerRecord
from balancer.core.ports import Transactions
from balancer.core.retry import after_lost_race
from balancer.exceptions import Conflict, Forbidden, NotFound


class WorkerService:
    """For administrators: others get `Forbidden`. A worker that is not there raises `NotFound`."""

    def __init__(self, repository: Transactions) -> None:
        self._repository = repository

    def all(self, caller: Caller) -> list[WorkerRecord]:
        """In the order of their start, those that died lately included."""
        _require_admin(caller)
        with self._repository.read() as tx:
            return tx.workers()

    @after_lost_race
    def change(self, caller: Caller, worker_id: str, change: Callable[[WorkerRecord], WorkerRecord]) -> WorkerRecord:
        """Whether it is enabled, and its description."""
        _require_admin(caller)
        with self._repository.write() as tx:
            changed = change(_of(tx.workers(), worker_id))
            tx.save_worker(changed)
        return changed

    @after_lost_race
    def remove(self, caller: Caller, worker_id: str) -> None:
        """Forget one that ended without saying so. Raises `Conflict` for one that is alive."""
        _require_admin(caller)
        with self._repository.write() as tx:
            if _of(tx.workers(), worker_id).alive:
                raise Conflict(f"Worker {worker_id} is alive; it is forgotten when it stops")
            tx.delete_worker(worker_id)


def in_charge(workers: Sequence[WorkerRecord], device_id: str) -> WorkerRecord | None:
    """Who looks after the device: whoever did last, or, when that one is gone or switched off, the one that works for
    the longest time: any of them can. None: nobody works."""
    working = [each for each in workers if each.works]
    last = [each for each in working if device_id in each.device_ids]
    return next(iter(last or working), None)


def _of(workers: Sequence[WorkerRecord], worker_id: str) -> WorkerRecord:
    for each in workers:
        if each.id == worker_id:
            return each
    raise NotFound("Worker", worker_id)


def _require_admin(caller: Caller) -> None:
    if not caller.acts_everywhere:
        raise Forbidden("This is for administrators")
