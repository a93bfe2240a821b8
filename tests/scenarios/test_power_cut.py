"""The device loses its power in the middle of a deployment, and boots with what is on its disk."""

from __future__ import annotations

from tests.integration.running import eventually
from tests.scenarios.stops import CHECKING, COMMITTED, RELOADING, RENAMED, UPLOADED, Step, Stop
from tests.scenarios.world import BY_RESTART, ScenarioCase, answers


class PowerCut(ScenarioCase):
    def cut_at(self, step: Step) -> str:
        """Returns the load balancer that was being deployed; the device is off."""
        with Stop(self.host, step) as stop:
            balancer = self.world.add()
            stop.await_reached()
            self.host.stop()
        return balancer

    def boot(self) -> None:
        # It does not need the service for that.
        with self.while_the_worker_sleeps():
            self.host.start()
            eventually(lambda: answers(self.world.balancers[self.first][0]), "it serves what it served before")

    def cut_and_booted(self, step: Step) -> None:
        self.cut_at(step)
        self.boot()
        self.well_within(BY_RESTART, f"power cut when {step.name}")

    def test_after_the_upload(self) -> None:
        self.cut_and_booted(UPLOADED)

    def test_while_haproxy_checks_the_new_file(self) -> None:
        self.cut_and_booted(CHECKING)

    def test_after_the_rename_before_the_reload(self) -> None:
        self.cut_and_booted(RENAMED)

    def test_during_the_reload(self) -> None:
        self.cut_and_booted(RELOADING)

    def test_before_the_service_hears_of_it(self) -> None:
        self.cut_and_booted(COMMITTED)

    def test_a_change_that_was_taken_back_meanwhile_leaves_nothing(self) -> None:
        for step in (UPLOADED, RENAMED):
            with self.subTest(step.name):
                self.world.remove(self.cut_at(step))
                self.boot()
                self.well_within(BY_RESTART, f"power cut when {step.name}, and the change taken back")
