"""Find devices with something to do and reconcile them, several at once, each by one thread at a time."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

from balancer.core.ports import Repository
from balancer.core.reconciler import Reconciler
from balancer.exceptions import BalancerError

_LOG = logging.getLogger(__name__)


class Worker:
    """A periodic scan finds what is due; `wake` only shortens the wait. Times in seconds. While it is switched off it
    takes nothing new into hand."""

    def __init__(
        self,
        repository: Repository,
        reconciler: Reconciler,
        *,
        name: str,
        threads: int,
        scan_interval: float,
        observe_interval: float,
    ) -> None:
        self._repository = repository
        self._name = name
        self._reconciler = reconciler
        self._threads = threads
        self._scan_interval = scan_interval
        self._observe_interval = observe_interval
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        # A look for work may be late by as much again, and the database may keep it waiting.
        self._alive_seconds = 2 * scan_interval + 20
        self._alive_until = 0.0

    def wake(self) -> None:
        """Look for work now."""
        self._wake.set()

    def stop(self) -> None:
        """Take nothing new; `run` returns when what is in hand is done."""
        self._stop.set()
        self._wake.set()

    def run(self) -> None:
        """Work until `stop`. Others can see meanwhile that this worker is alive."""
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
        try:
            self._repository.retire(self._name)
        except BalancerError as error:
            _LOG.warning("Others will take this worker for alive for some seconds: %s", error)

    def _tell_alive(self) -> None:
        """Some time before it would no longer be known."""
        now = time.monotonic()
        if now > self._alive_until - self._alive_seconds + self._scan_interval:
            self._repository.heartbeat(self._name, self._alive_seconds)
            self._alive_until = now + self._alive_seconds

    def _scan(self, pool: ThreadPoolExecutor) -> float:
        """Hand out what is due; returns how long to wait for the next look."""
        self._tell_alive()
        if not self._repository.may_work(self._name):
            return self._scan_interval
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
