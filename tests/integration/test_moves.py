"""A load balancer moves between two real devices on one network while clients ask it."""

from __future__ import annotations

import subprocess
import threading
import time
from itertools import pairwise
from types import TracebackType
from typing import Self

from balancer.devbox.backends import page
from tests.integration.bridged import TwoDevices
from tests.integration.running import eventually, fetch


def neighbour(address: str) -> str:
    """Where this host believes the address to be."""
    done = subprocess.run(["ip", "neigh", "show", address], check=True, capture_output=True, text=True, timeout=10)
    return done.stdout.partition("lladdr ")[2].partition(" ")[0]


class Client:
    """Asks all the time, over new connections."""

    def __init__(self, address: str, port: int) -> None:
        self._at = address, port
        self.answered: list[float] = []
        self.failed: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        time.sleep(0.2)
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        address, port = self._at
        while not self._stop.wait(0.005):
            try:
                answer = fetch(port, host=address, timeout=5)
            except OSError as error:
                self.failed.append(repr(error))
            else:
                assert answer.status == 200, answer
                self.answered.append(time.monotonic())

    @property
    def gap(self) -> float:
        """The longest time without an answer, in seconds."""
        return max(after - before for before, after in pairwise(self.answered))


class Moves(TwoDevices):
    def test_an_address_changes_hands_and_everybody_learns_of_it(self) -> None:
        virtual = f"{self.net}.50"
        balancer_id = self.created(virtual, 80)
        self.assertEqual(page(self.backend.port), fetch(80, host=virtual).text)
        before = neighbour(virtual)
        with Client(virtual, 80) as client:
            time.sleep(0.3)
            self.assertEqual([], client.failed)
            self.assertEqual("ACTIVE", self.change(balancer_id, "LEAST_CONNECTION")["status"])
            eventually(lambda: self._answers(virtual), "the new device answers")
        self.assert_moved(balancer_id)
        self.assertNotIn(virtual, self.addresses(self.hosts[0]))
        self.assertIn(virtual, self.addresses(self.hosts[1]))
        self.assertNotEqual(before, neighbour(virtual))
        asked = len(client.answered) + len(client.failed)
        print(f"an address changed hands in {client.gap:.2f} s: {len(client.failed)} of {asked} requests failed")
        # Whoever is not told believes in the old device for half a minute. A request that hangs has its own time-out.
        self.assertLess(client.gap, 20)

    def _answers(self, address: str) -> bool:
        try:
            return fetch(80, host=address, timeout=5).status == 200
        except OSError:
            return False

    def test_without_an_address_no_request_fails(self) -> None:
        balancer_id = self.created("0.0.0.0", 8080)
        old, new = (host.address for host in self.hosts)
        with Client(old, 8080) as client:
            self.assertEqual("ACTIVE", self.change(balancer_id, "LEAST_CONNECTION")["status"])
            # From here on clients may go to the new device; the old one may end.
            still = len(client.failed)
            with Client(new, 8080) as other:
                eventually(lambda: len(other.answered) > 10, "the new device serves")
        self.assertEqual((0, []), (still, other.failed))
        self.assert_moved(balancer_id)

    def test_what_the_new_device_refuses_stays_on_the_old_one_and_not_a_request_fails(self) -> None:
        virtual = f"{self.net}.51"
        balancer_id = self.created(virtual, 81)
        # Somebody has the port there.
        blocker = self.hosts[1].run(
            ["sh", "-c", "socat TCP4-LISTEN:81,reuseaddr,fork EXEC:true </dev/null >/dev/null 2>&1 & echo $!"],
            check=True,
        )
        try:
            with Client(virtual, 81) as client:
                shown = self.change(balancer_id, "LEAST_CONNECTION")
                self.assertEqual("ERROR", shown["status"], shown)
                self.assertIn("in use", shown["status_reason"])
                self.assertIn(self.old, shown["status_reason"])
                back = self.change(balancer_id, "ROUND_ROBIN")
            self.assertEqual("ACTIVE", back["status"], back)
            self.assertEqual(self.old, self.shown(balancer_id)["device_id"])
            self.assertEqual([], client.failed)
            self.assertGreater(len(client.answered), 20)
        finally:
            self.hosts[1].run(["kill", blocker.stdout.decode().strip()], check=True)
