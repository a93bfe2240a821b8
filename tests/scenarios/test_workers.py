"""Several workers on one database: one that dies, one that was thought dead and comes back."""

from __future__ import annotations

import time
from typing import ClassVar

from tests.integration.running import eventually
from tests.scenarios.stops import UPLOADED, Stop
from tests.scenarios.world import BY_ANOTHER_WORKER, BY_RESTART, ScenarioCase

# The first thing that a device is sent that was deployed to just now is the order with the file, in one packet that is
# worth nothing before it is whole.
_ORDER = 1500


class SeveralWorkers(ScenarioCase):
    options: ClassVar = {"DEFAULT": {"workers": "0"}}
    proxied = True

    def test_two_at_once(self) -> None:
        self.worker()
        self.worker()
        self.well_within(BY_RESTART, "started")
        with self.traffic() as traffic:
            for _ in range(4):
                gone = self.world.add()
                kept = self.world.add()
                self.world.add_port(kept)
                self.world.remove(gone)
            self.well_within(BY_RESTART, "changed sixteen times")
        self.no_request_failed(traffic)

    def test_another_worker_takes_over_from_one_that_died(self) -> None:
        victim = self.worker()
        self._await(BY_RESTART, "started")
        with self.traffic() as traffic:
            with Stop(self.host, UPLOADED) as stop:
                self.world.add()
                stop.await_reached()
                self.worker()
                victim.stop()
            self.well_within(BY_ANOTHER_WORKER, "killed, another worker takes over")
        self.no_request_failed(traffic)

    def test_one_that_slept_during_its_upload_does_not_win(self) -> None:
        stale = self.worker()
        self._await(BY_RESTART, "started")
        with self.traffic() as traffic:
            with Stop(self.host, UPLOADED) as stop:
                taken_back = self.world.add()
                stop.await_reached()
                stale.freeze()
            self.world.remove(taken_back)
            self.world.add()
            self.worker()
            self.well_within(BY_ANOTHER_WORKER, "asleep, another worker takes over")
            stale.thaw()
            eventually(lambda: stale.says("gave up"), "the stale worker notices")
            self.stays_well(2)
        self.no_request_failed(traffic)

    def test_one_whose_push_arrives_after_its_successors_does_not_win(self) -> None:
        stale = self.worker()
        self._await(BY_RESTART, "started")
        self.world.add()
        self._await(BY_RESTART, "its connection is open")
        waiting = ["pgrep", "-f", "^/bin/sh -c echo balancer-deploy 1 "]
        eventually(lambda: self.host.run(waiting).returncode == 0, "a shell is left waiting for the next deployment")
        with self.traffic() as traffic:
            self.proxy.hold_after(_ORDER)
            taken_back = self.world.add()
            self.assertTrue(self.proxy.reached.wait(40))
            # What it does meanwhile is over: it would sleep with the database locked.
            time.sleep(2)
            stale.freeze()
            self.assertTrue(self.world.step_is_over(), "its step must not have begun")
            self.world.remove(taken_back)
            self.world.add()
            self.worker()
            self.well_within(BY_ANOTHER_WORKER, "held up on its way, another worker takes over")
            self.proxy.release()
            time.sleep(1)
            self.stays_well(1)
            stale.thaw()
            eventually(lambda: stale.says("gave up"), "the stale worker notices")
            self.stays_well(2)
        self.no_request_failed(traffic)
