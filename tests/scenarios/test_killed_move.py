"""kill -9 of the worker while a load balancer moves from one device to another, with an address that changes hands."""

from __future__ import annotations

import os
import signal
import time
from typing import ClassVar

from balancer.devbox.backends import page
from tests.integration.bridged import TwoDevices
from tests.integration.running import children, eventually, fetch, is_running
from tests.scenarios.stops import COMMITTED, RENAMED, Step, Stop
from tests.scenarios.world import BY_RESTART, SLACK

ADDING = Step(name="the address is about to be added", command="/usr/bin/ip", word='"address add"')


class KilledMove(TwoDevices):
    options: ClassVar = {"api": {"deploy_wait_seconds": "0"}}

    def kill_worker(self) -> None:
        """The API starts another one."""
        api = self.service.process
        assert api is not None
        (victim,) = children(api.pid)
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: not is_running(victim), "the worker is gone")

    def answers(self, address: str) -> bool:
        try:
            # Where nobody has the address, nobody says so.
            return fetch(80, host=address, timeout=2).text == page(self.backend.port)
        except OSError:
            return False

    def moved(self, device: int, step: Step, virtual: str, *, serves: bool) -> None:
        """Killed when that device, 0 the old and 1 the new one, is at the step; `serves`: one of them serves then."""
        balancer_id = self.created(virtual, 80, status="BUILD")
        eventually(lambda: self.answers(virtual), "the old device serves", seconds=BY_RESTART + SLACK)
        with Stop(self.hosts[device], step) as stop:
            self.change(balancer_id, "LEAST_CONNECTION")
            stop.await_reached()
            self.kill_worker()
            self.assertEqual(serves, self.answers(virtual))
        end = time.monotonic() + BY_RESTART + SLACK
        eventually(lambda: self.answers(virtual), "it is served", seconds=end - time.monotonic())
        self.assert_moved(balancer_id, seconds=end - time.monotonic())
        self.assertNotIn(virtual, self.addresses(self.hosts[0]))
        self.assertIn(virtual, self.addresses(self.hosts[1]))
        self.assertTrue(self.answers(virtual))

    def test_before_it_is_known_that_the_new_device_is_ready(self) -> None:
        self.moved(1, COMMITTED, f"{self.net}.60", serves=True)

    def test_while_the_old_device_gives_up_the_address(self) -> None:
        self.moved(0, RENAMED, f"{self.net}.61", serves=True)

    def test_when_nobody_has_the_address(self) -> None:
        self.moved(1, ADDING, f"{self.net}.62", serves=False)
