"""kill -9 of the API: what was answered is never lost, what was not is there as a whole or not at all."""

from __future__ import annotations

import contextlib
import threading
import time

from balancer.devbox.processes import free_port
from tests.integration.running import eventually
from tests.scenarios.stops import UPLOADED, Stop, locked
from tests.scenarios.world import BY_RESTART, ScenarioCase, World, answers


class Request(threading.Thread):
    """A load balancer asked for in the background; `status` is None when there was no answer."""

    def __init__(self, world: World) -> None:
        super().__init__(daemon=True)
        self._world = world
        self.port = free_port()
        self.status: int | None = None
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError):
            self.status = self._world.ask("POST", "/foo/loadbalancers", self._world.order(self.port)).status

    def stored(self) -> list[str]:
        """The load balancers that hold the port."""
        query = "SELECT load_balancer_id FROM reservations WHERE port = ?"
        return [found for (found,) in self._world.stored(query, self.port)]


class KilledApi(ScenarioCase):
    def test_before_the_commit_nothing_is_stored(self) -> None:
        before = self.world.revisions()
        with self.traffic() as traffic:
            with locked(self.world.database):
                request = Request(self.world)
                time.sleep(0.5)
                # It waits for the database, and keeps nobody from reading.
                self.assertTrue(request.is_alive())
                self.assertEqual(200, self.world.ask("GET", "/foo/loadbalancers").status)
                self.world.kill_api()
            request.join(30)
            self.assertIsNone(request.status)
            self.service.launch()
            self.well_within(BY_RESTART, "killed before the commit")
        self.assertEqual([], request.stored())
        self.assertEqual(before, self.world.revisions())
        self.no_request_failed(traffic)

    def test_after_the_commit_before_the_wake_up_it_is_deployed(self) -> None:
        desired, _ = self.world.revisions()
        with self.traffic() as traffic:
            # Nobody is there to be woken: the next worker is a second away.
            self.world.kill_worker()
            request = Request(self.world)
            eventually(lambda: self.world.revisions()[0] > desired, "committed")
            self.world.kill_api()
            request.join(30)
            (balancer,) = request.stored()
            self.world.balancers[balancer] = [request.port]
            self.assertFalse(answers(request.port))
            self.service.launch()
            self.well_within(BY_RESTART, "killed after the commit")
        self.no_request_failed(traffic)

    def test_at_any_moment_it_is_all_or_nothing(self) -> None:
        for delay in (0.0, 0.004, 0.012, 0.03):
            with self.subTest(delay):
                request = Request(self.world)
                time.sleep(delay)
                self.world.kill_all()
                request.join(30)
                stored = request.stored()
                if request.status is not None:
                    self.assertEqual((202, 1), (request.status, len(stored)))
                self.world.balancers |= {each: [request.port] for each in stored}
                self.service.launch()
                self.well_within(BY_RESTART, f"killed {delay * 1000:.0f} ms after the request")

    def test_its_worker_finishes_what_it_has_in_hand(self) -> None:
        with self.traffic() as traffic:
            with Stop(self.host, UPLOADED) as stop:
                balancer = self.world.add()
                stop.await_reached()
                self.world.kill_api()
            eventually(lambda: answers(self.world.balancers[balancer][0]), "deployed by the worker that is left")
            eventually(self.world.step_is_over, "the device is done")
            self.service.launch()
            self.well_within(BY_RESTART, "killed while its worker deploys")
        self.no_request_failed(traffic)
