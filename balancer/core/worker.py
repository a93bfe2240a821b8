"""Find devices with something to do and reconcile them, several at once, each by one thread at a time."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor

from balancer.core.ports import Repository
from balancer.core.reconciler import Reconciler
from balancer.exceptions import BalancerError

_LOG = logging.getLogger(__name__)


class Worker:
    """A periodic scan finds what is due; `wake` only shortens the wait. Times in seconds."""

    def __init__(
        self,
        repository: Repository,
        reconciler: Reconciler,
        *,
        threads: int,
        scan_interval: float,
        observe_interval: float,
    ) -> None:
        self._repository = repository
        self._reconciler = reconciler
        self._threads = threads
        self._scan_interval = scan_interval
        self._observe_interval = observe_interval
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    def wake(self) -> None:
        """Look for work now."""
        self._wake.set()

    def stop(self) -> None:
        """Take nothing new; `run` returns when what is in hand is done."""
        self._stop.set()
        self._wake.set()

    def run(self) -> None:
        """Work until `stop`."""
        with ThreadPoolExecutor(self._threads, thread_name_prefix="reconcile") as pool:
            while not self._stop.is_set():
                self._wake.clear()
                try:
                    pause = self._scan(pool)
                except BalancerError as error:
                    _LOG.error("Cannot look for work: %s", error)
                    pause = self._scan_interval
                except Exception:
                    _LOG.exception("Cannot look for work")
                    pause = self._scan_interval
                self._wake.wait(pause)

    def _scan(self, pool: ThreadPoolExecutor) -> float:
        """Hand out what is due; returns how long to wait for the next look."""
        with self._lock:
            busy = set(self._busy)
        free = self._threads - len(busy)
        if free:
            # Those in hand may be due again already: ask for enough to find others behind them.
            for due in self._repository.due(observe_interval=self._observe_interval, limit=free + len(busy)):
                if due.device_id not in busy and free:
                    free -= 1
                    self._start(pool, due.device_id)
        soon = self._repository.next_due_in(observe_interval=self._observe_interval)
        return self._scan_interval if soon is None else max(0.05, min(self._scan_interval, soon))

    def _start(self, pool: ThreadPoolExecutor, device_id: str) -> None:
        with self._lock:
            self._busy.add(device_id)
        pool.submit(self._reconciler.reconcile, device_id).add_done_callback(
            lambda future: self._finished(device_id, future)
        )

    def _finished(self, device_id: str, future: Future[str]) -> None:
        with self._lock:
            self._busy.discard(device_id)
        error = future.exception()
        if error is None:
            _LOG.info("Device %s: %s", device_id, future.result())
            # What was asked for while it was in hand must not wait for the next scan.
            self._wake.set()
        else:
            _LOG.error("Device %s: reconciling failed", device_id, exc_info=error)
