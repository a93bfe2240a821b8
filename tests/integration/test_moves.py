"""A load balancer moves between two real devices on one network while clients ask it."""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
import unittest
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from balancer.devbox.backends import Backend, page
from balancer.devbox.host import Host, isolation_refused
from tests.integration.running import RunningService, eventually, fetch

ROUND_ROBIN = {"algorithms": ["ROUND_ROBIN"], "protocols": ["HTTP"]}


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=10)


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
                answer = fetch(port, host=address)
            except OSError as error:
                self.failed.append(repr(error))
            else:
                assert answer.status == 200, answer
                self.answered.append(time.monotonic())

    @property
    def gap(self) -> float:
        """The longest time without an answer, in seconds."""
        return max(after - before for before, after in pairwise(self.answered))


@unittest.skipIf(isolation_refused(), "needs root and the right to make namespaces")
class Moves(unittest.TestCase):
    """Two devices on one bridge; `net` begins the addresses of their network, .1 is here."""

    net: ClassVar[str]
    hosts: ClassVar[list[Host]]
    backend: ClassVar[Backend]
    service: ClassVar[RunningService]
    old: ClassVar[str]
    new: ClassVar[str]

    @classmethod
    def setUpClass(cls) -> None:
        root = Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="balancer-test-")))
        cls.hosts = [cls.enterClassContext(Host(root / f"device{each}", netns=True)) for each in range(2)]
        numbers = [host.address.split(".")[2] for host in cls.hosts]
        cls.net = f"198.18.{numbers[0]}"
        bridge = f"balbr{numbers[0]}"
        ip("link", "add", bridge, "type", "bridge")
        cls.addClassCleanup(ip, "link", "delete", bridge)
        ip("link", "set", bridge, "up")
        for number, host in zip(numbers, cls.hosts, strict=True):
            ip("link", "set", f"bal{number}", "master", bridge)
            ip("address", "delete", f"198.18.{number}.1/24", "dev", f"bal{number}")
            ip("address", "add", f"198.18.{number}.1/24", "dev", bridge)
            if number != numbers[0]:
                host.run(["ip", "route", "add", f"{cls.net}.0/24", "dev", "eth0"], check=True)
        cls.backend = cls.enterClassContext(Backend(root / "backend", address=f"{cls.net}.1"))
        cls.service = cls.enterClassContext(RunningService(root / "service"))
        cls.old = cls.service.register(cls.hosts[0], name="old", capabilities=ROUND_ROBIN)
        cls.new = cls.service.register(cls.hosts[1], name="new", admin_state="DRAINED")

    def setUp(self) -> None:
        self.allow(self.new, "DRAINED")

    def tearDown(self) -> None:
        for balancer in self.service.call("GET", "/foo/loadbalancers").json["loadbalancers"]:
            self.service.call("DELETE", f"/foo/loadbalancers/{balancer['id']}")

    def allow(self, device_id: str, state: str) -> None:
        self.service.call("PUT", f"/devices/{device_id}", {"admin_state": state})

    def created(self, address: str, port: int) -> str:
        """On the old device; then the new one takes load balancers as well."""
        balancer_id = self.service.create(
            {
                "name": "lb",
                "protocol": "HTTP",
                "algorithm": "ROUND_ROBIN",
                "virtualIps": [{"address": address, "port": port, "type": "PUBLIC"}],
                "nodes": [{"address": f"{self.net}.1", "port": self.backend.port}],
            }
        )
        self.allow(self.new, "ENABLED")
        return balancer_id

    def change(self, balancer_id: str, algorithm: str) -> dict[str, Any]:
        answer = self.service.call("PUT", f"/foo/loadbalancers/{balancer_id}", {"algorithm": algorithm})
        self.assertEqual(202, answer.status, answer)
        shown: dict[str, Any] = answer.json["loadbalancer"]
        return shown

    def shown(self, balancer_id: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.service.call("GET", f"/foo/loadbalancers/{balancer_id}").json["loadbalancer"]
        return shown

    def assert_moved(self, balancer_id: str) -> None:
        eventually(lambda: not self.shown(balancer_id)["status_reason"], "both devices are done")
        shown = self.shown(balancer_id)
        self.assertEqual((self.new, "ACTIVE"), (shown["device_id"], shown["status"]))
        self.assertNotIn(balancer_id.encode(), self.hosts[0].read_config())

    def addresses(self, host: Host) -> str:
        return host.run(["ip", "-o", "address"], check=True).stdout.decode()

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
        self.assertLess(client.gap, 10)

    def _answers(self, address: str) -> bool:
        try:
            return fetch(80, host=address).status == 200
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
                time.sleep(0.3)
        self.assertEqual((0, []), (still, other.failed))
        self.assertGreater(len(other.answered), 10)
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
