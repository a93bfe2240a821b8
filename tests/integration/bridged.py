"""Two real devices on one network, and a service that load balancers move between."""

from __future__ import annotations

import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Any, ClassVar

from balancer.devbox.backends import Backend
from balancer.devbox.host import Host, isolation_refused
from tests.integration.running import RunningService, eventually

ROUND_ROBIN = {"algorithms": ["ROUND_ROBIN"], "protocols": ["HTTP"]}


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=10)


@unittest.skipIf(isolation_refused(), "needs root and the right to make namespaces")
class TwoDevices(unittest.TestCase):
    """Two devices on one bridge; `net` begins the addresses of their network, .1 is here. A load balancer begins on
    the old one, which has one algorithm; the new one has all. `options` are of the service's configuration file."""

    options: ClassVar[dict[str, dict[str, str]]] = {}

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
        cls.service = cls.enterClassContext(RunningService(root / "service", cls.options))
        cls.old = cls.service.register(cls.hosts[0], name="old", capabilities=ROUND_ROBIN)
        cls.new = cls.service.register(cls.hosts[1], name="new", admin_state="DRAINED")

    def setUp(self) -> None:
        self.allow(self.new, "DRAINED")

    def tearDown(self) -> None:
        for balancer in self.service.call("GET", "/foo/loadbalancers").json["loadbalancers"]:
            self.service.call("DELETE", f"/foo/loadbalancers/{balancer['id']}")

    def allow(self, device_id: str, state: str) -> None:
        self.service.call("PUT", f"/devices/{device_id}", {"admin_state": state})

    def created(self, address: str, port: int, *, status: str = "ACTIVE") -> str:
        """On the old device; then the new one takes load balancers as well."""
        balancer_id = self.service.create(
            {
                "name": "lb",
                "protocol": "HTTP",
                "algorithm": "ROUND_ROBIN",
                "virtualIps": [{"address": address, "port": port, "type": "PUBLIC"}],
                "nodes": [{"address": f"{self.net}.1", "port": self.backend.port}],
            },
            status=status,
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

    def assert_moved(self, balancer_id: str, *, seconds: float = 30.0) -> None:
        def done() -> bool:
            shown = self.shown(balancer_id)
            return shown["status"] == "ACTIVE" and not shown["status_reason"]

        eventually(done, "both devices are done", seconds=seconds)
        shown = self.shown(balancer_id)
        self.assertEqual((self.new, "ACTIVE"), (shown["device_id"], shown["status"]))
        self.assertNotIn(balancer_id.encode(), self.hosts[0].read_config())

    def addresses(self, host: Host) -> str:
        return host.run(["ip", "-o", "address"], check=True).stdout.decode()
