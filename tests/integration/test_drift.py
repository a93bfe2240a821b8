"""Drift as an operator sees it: the whole service, and somebody who edits a device behind its back."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path
from typing import Any

from balancer.devbox.backends import Backend, page
from balancer.devbox.host import Host, isolation_refused
from balancer.devbox.processes import free_port
from tests.integration.running import RunningService, eventually, fetch

INTERVAL = 1.0


@unittest.skipIf(isolation_refused(), "needs root and the right to make namespaces")
class DriftOfAServedDevice(unittest.TestCase):
    def test_is_shown_within_an_interval_and_put_right(self) -> None:
        root = Path(self.enterContext(tempfile.TemporaryDirectory(prefix="balancer-test-")))
        host = self.enterContext(Host(root / "device", run_as="root"))
        backend = self.enterContext(Backend(root / "backend"))
        # No scan comes before long.
        options = {"worker": {"observe_interval": str(INTERVAL), "scan_interval": "3600"}}
        service = self.enterContext(RunningService(root / "service", options))
        device, port = f"/devices/{service.register(host)}", free_port()
        service.create(
            {
                "protocol": "HTTP",
                "algorithm": "RoundRobin",
                "virtualIps": [{"address": "0.0.0.0", "mask": "255.255.255.255", "port": str(port)}],
                "nodes": [{"address": "127.0.0.1", "port": str(backend.port)}],
            }
        )
        deployed = host.read_config()

        def info() -> dict[str, Any]:
            found: dict[str, Any] = service.call("GET", f"{device}/info").json["device"]
            return found

        def serves() -> bool:
            try:
                return fetch(port).text == page(backend.port)
            except OSError:
                return False

        # An edit stays, and is shown.
        host.write_config(deployed.replace(b"    retries 3\n", b"    retries 1\n"))
        eventually(lambda: info()["drift"], "the edit is shown")
        self.assertIn("\n-    retries 3\n+    retries 1\n", info()["drift"]["diff"])
        # A dead process is mended by itself, and so is all of the file then.
        host.write_config(deployed)
        eventually(lambda: info()["drift"] is None, "nothing is shown any more")
        host.stop_haproxy()
        eventually(serves, "HAProxy is started again")
        # A file that was replaced comes back when somebody asks for it.
        host.write_config(deployed[: deployed.index(b"# ----- BEGIN")])
        eventually(lambda: info()["drift"], "the removal is shown")
        self.assertEqual(200, service.call("POST", f"/foo{device}/resync").status)
        eventually(lambda: host.read_config() == deployed, "the block is back")
        eventually(lambda: info()["drift"] is None and info()["status"] == "ONLINE", "all is well")
        self.assertTrue(serves())
        newest = service.call("GET", f"{device}/deployments").json["deployments"][0]
        self.assertIn("because the generated block was removed", newest["reason"])
        diff = service.call("GET", f"{device}/deployments/{newest['n']}").json["deployment"]["diff"]
        self.assertTrue(diff.startswith("--- as deployed\n+++ as found\n"), diff)
