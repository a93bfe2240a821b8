"""kill -9 of the worker, alone and together with the API, at every step of a deployment."""

from __future__ import annotations

import os
import signal
import time

from tests.integration.running import eventually
from tests.scenarios.stops import CHECKING, COMMITTED, RECORDED, RELOADING, RENAMED, UPLOADED, Step, Stop, locked
from tests.scenarios.world import BY_RESTART, ScenarioCase


class KilledWorker(ScenarioCase):
    """The API notices and starts another one, which takes over at once."""

    def kill(self) -> None:
        self.world.kill_worker()

    def restart(self) -> None:
        """Nothing to do."""

    def killed_at(self, step: Step) -> None:
        with self.traffic() as traffic:
            with Stop(self.host, step) as stop:
                self.world.add()
                stop.await_reached()
                self.kill()
            self.restart()
            self.well_within(BY_RESTART, f"killed when {step.name}")
        self.no_request_failed(traffic)

    def test_after_the_upload(self) -> None:
        self.killed_at(UPLOADED)

    def test_while_haproxy_checks_the_new_file(self) -> None:
        self.killed_at(CHECKING)

    def test_after_the_sidecar_was_written(self) -> None:
        self.killed_at(RECORDED)

    def test_after_the_rename_before_the_reload(self) -> None:
        self.killed_at(RENAMED)

    def test_during_the_reload(self) -> None:
        self.killed_at(RELOADING)

    def test_after_haproxy_was_told_what_is_taken_back_meanwhile(self) -> None:
        """The file never said what HAProxy runs by then."""
        with self.traffic() as traffic:
            with Stop(self.host, UPLOADED) as stop:
                self.world.weigh(self.first, 7)
                stop.await_reached()
                self.assertIn("7", {weight for _, weight, _ in self.world.servers().values()})
                self.world.weigh(self.first, 1)
                self.kill()
            self.restart()
            self.well_within(BY_RESTART, "killed after HAProxy was told")
        self.no_request_failed(traffic)

    def test_while_claiming(self) -> None:
        victim = self.world.worker_pid()
        with self.traffic() as traffic:
            os.kill(victim, signal.SIGSTOP)
            self.world.add()
            with locked(self.world.database):
                os.kill(victim, signal.SIGCONT)
                # It has been woken and waits for the database to take the lease.
                time.sleep(0.5)
                self.assertEqual([(None,)], self.world.stored("SELECT owner FROM leases"))
                self.kill()
            self.restart()
            self.well_within(BY_RESTART, "killed while claiming")
        self.no_request_failed(traffic)

    def test_before_recording_what_the_device_did(self) -> None:
        with self.traffic() as traffic:
            with Stop(self.host, COMMITTED) as stop:
                self.world.add()
                stop.await_reached()
                with locked(self.world.database):
                    stop.release()
                    eventually(self.world.step_is_over, "the device is done")
                    time.sleep(0.3)
                    desired, applied = self.world.revisions()
                    self.assertGreater(desired, applied)
                    self.kill()
            self.restart()
            self.well_within(BY_RESTART, "killed before recording")
        self.no_request_failed(traffic)

    def test_requests_are_answered_until_there_is_a_worker_again(self) -> None:
        for _ in range(3):
            self.world.kill_worker()
            began = time.monotonic()
            self.world.remove(self.world.add())
            self.assertLess(time.monotonic() - began, 15)

    def test_again_and_again_at_any_moment(self) -> None:
        """Changes keep coming, and whoever deploys them is killed four times, without regard to what it does."""
        with self.traffic() as traffic:
            for turn in range(4):
                gone = self.world.add()
                self.world.add()
                time.sleep(0.03 + 0.05 * turn)
                self.kill()
                self.restart()
                self.world.remove(gone)
            self.well_within(BY_RESTART, "killed four times")
        self.no_request_failed(traffic)


class HangingDevice(ScenarioCase):
    def test_killed_while_a_command_on_the_device_hangs(self) -> None:
        """The step on the device is given up when its time is over."""
        with self.traffic() as traffic, Stop(self.host, RENAMED) as stop:
            self.world.add()
            stop.await_reached()
            self.world.kill_worker()
            self.well_within(BY_RESTART, f"killed when {RENAMED.name}, and the device hangs")
        self.no_request_failed(traffic)


class KilledWithTheApi(KilledWorker):
    """As when the machine's memory runs out: nothing of the service is left, and somebody starts it again."""

    def kill(self) -> None:
        self.world.kill_all()

    def restart(self) -> None:
        self.service.launch()
