"""Find devices with something to do and reconcile them, several at once, each by one thread at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from balancer.core.ports import Repository
from balancer.core.reconciler import Reconciler
from balancer.exceptions import BalancerError

_LOG = logging.getLogger(__name__)


class Worker:
    """A periodic scan finds what is due; `wake` only shortens the wait. Times in seconds. While it is switched off it
    takes nothing new into hand.

    A device that somebody names is taken in hand at once if it can be, without a look for what else is due.
    """

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
        self._pool: ThreadPoolExecutor | None = None
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._busy: set[str] = set()
        self._scan_wanted = True
        self._next_scan = 0.0
        self._lock = threading.Lock()
        # A look for work may be late by as much again, and the database may keep it waiting.
        self._alive_seconds = 2 * scan_interval + 20
        self._alive_until = 0.0

    def wake(self, device_ids: Iterable[str] = ()) -> None:
        """There is work on these devices; without any: look for work now."""
        named = set(device_ids)
        with self._lock:
            new = named - self._busy
            fit = len(new) <= self._threads - len(self._busy)
            started = self._start(new, self._reconcile_if_enabled) if fit else {}
            # Who comes first is for the database to say. Those in hand are looked after when that is done.
            self._scan_wanted = self._scan_wanted or not named or started.keys() != new
            scan = self._scan_wanted
        self._await(started)
        if scan:
            self._wake.set()

    def stop(self) -> None:
        """Take nothing new; `run` returns when what is in hand is done."""
        self._stop.set()
        self._wake.set()

    def run(self) -> None:
        """Work until `stop`. Others can see meanwhile that this worker is alive."""
        with ThreadPoolExecutor(self._threads, thread_name_prefix="reconcile") as pool:
            with self._lock:
                self._pool = pool
            while not self._stop.is_set():
                try:
                    if self._is_time_to_scan():
                        self._next_scan = time.monotonic() + self._scan()
                except BalancerError as error:
                    _LOG.error("Cannot look for work: %s", error)
                    self._next_scan = time.monotonic() + self._scan_interval
                except Exception:
                    _LOG.exception("Cannot look for work")
                    self._next_scan = time.monotonic() + self._scan_interval
                self._wake.wait(max(0.0, self._next_scan - time.monotonic()))
                # Before the question whether this is the end, which woke us, too.
                self._wake.clear()
            with self._lock:
                self._pool = None
        try:
            self._repository.retire(self._name)
        except BalancerError as error:
            _LOG.warning("Others will take this worker for alive for some seconds: %s", error)

    def _is_time_to_scan(self) -> bool:
        with self._lock:
            wanted, self._scan_wanted = self._scan_wanted, False
        return wanted or time.monotonic() >= self._next_scan

    def _tell_alive(self) -> None:
        """Some time before it would no longer be known."""
        now = time.monotonic()
        if now > self._alive_until - self._alive_seconds + self._scan_interval:
            self._repository.heartbeat(self._name, self._alive_seconds)
            self._alive_until = now + self._alive_seconds

    def _scan(self) -> float:
        """Hand out what is due; returns how long to wait for the next look."""
        self._tell_alive()
        if not self._repository.may_work(self._name):
            return self._scan_interval
        # First, so that what becomes due in between is found by the look that follows.
        soon = self._repository.next_due_in(observe_interval=self._observe_interval)
        with self._lock:
            free = len(self._busy) < self._threads
        if free:
            # Those in hand may be due again already: ask for enough to find others behind them.
            for due in self._repository.due(observe_interval=self._observe_interval, limit=self._threads):
                with self._lock:
                    fits = due.device_id not in self._busy and len(self._busy) < self._threads
                    started = self._start({due.device_id}, self._reconciler.reconcile) if fits else {}
                self._await(started)
        return self._scan_interval if soon is None else max(0.05, min(self._scan_interval, soon))

    def _start(self, device_ids: Iterable[str], reconcile: Callable[[str], str]) -> dict[str, Future[str]]:
        """Within the lock; nothing is started once the end has come."""
        if self._pool is None or self._stop.is_set():
            return {}
        started = {}
        for each in device_ids:
            try:
                started[each] = self._pool.submit(reconcile, each)
            except RuntimeError as error:
                # No thread can be had. Whoever wakes us must be able to do so again.
                _LOG.error("Cannot begin with device %s: %s", each, error)
        self._busy |= started.keys()
        return started

    def _await(self, started: Mapping[str, Future[str]]) -> None:
        for device_id, future in started.items():
            future.add_done_callback(partial(self._finished, device_id))

    def _reconcile_if_enabled(self, device_id: str) -> str:
        if not self._repository.may_work(self._name):
            return "left to others: this worker is switched off"
        return self._reconciler.reconcile(device_id)

    def _finished(self, device_id: str, future: Future[str]) -> None:
        error = future.exception()
        with self._lock:
            self._busy.discard(device_id)
            # When it is due again is known from now on, and others may have waited for a thread.
            self._scan_wanted = self._scan_wanted or error is None
        if error is None:
            _LOG.info("Device %s: %s", device_id, future.result())
        else:
            _LOG.error("Device %s: reconciling failed", device_id, exc_info=error)
        self._wake.set()
