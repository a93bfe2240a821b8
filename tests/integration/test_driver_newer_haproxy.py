"""The driver on a HAProxy of a later Debian release: what depends on HAProxy's version is tested once more."""

from __future__ import annotations

import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Any

from balancer.devbox.host import Host, isolation_refused
from balancer.drivers.haproxy.host import version_number
from tests.golden.test_render import CASES, on_host, rendered
from tests.integration import newer_haproxy
from tests.integration.test_driver_deploy import TestDeploy as OfDeploying
from tests.integration.test_driver_deploy import TestRefusals as OfRefusals
from tests.integration.test_driver_deploy import TestUnderLoad as OfLoad
from tests.integration.test_driver_monitors import TestSeveral as OfMonitors
from tests.integration.test_driver_states import TestStates as OfStates
from tests.integration.test_driver_traffic import TestPersistence as OfPersistence


@unittest.skipIf(isolation_refused(), "needs root and the right to make namespaces")
class NewerCase(unittest.TestCase):
    def test_it_is_newer(self) -> None:
        self.assertGreaterEqual(version_number(newer_haproxy.version()) or (0, 0), (3, 0))

    def test_it_accepts_every_golden_file(self) -> None:
        for case in CASES:
            with self.subTest(case), tempfile.TemporaryDirectory() as directory:
                argv = [*newer_haproxy.command(), "-c", "-f", str(on_host(rendered(case), Path(directory)))]
                done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
                self.assertEqual(0, done.returncode, done.stderr)
                self.assertNotIn("WARNING", done.stderr)


class Newer:
    """Hosts of the tests below have the newer HAProxy."""

    def host(self, **how: Any) -> Host:
        host: Host = super().host(release=newer_haproxy.newer_haproxy(), **how)  # type: ignore[misc]
        seen = host.run(["haproxy", "-v"], check=True).stdout.decode()
        assert f"version {newer_haproxy.version()}" in seen, seen
        return host


@unittest.skipIf(isolation_refused(), "needs root and the right to make namespaces")
class TestDeployOnNewer(Newer, OfDeploying):
    pass


@unittest.skipIf(isolation_refused(), "needs root and the right to make namespaces")
class TestRefusalsOfNewer(Newer, OfRefusals):
    pass


@unittest.skipIf(isolation_refused(), "needs root and the right to make namespaces")
class TestNewerUnderLoad(Newer, OfLoad):
    pass


@unittest.skipIf(isolation_refused(), "needs root and the right to make namespaces")
class TestMonitorsOfNewer(Newer, OfMonitors):
    pass


@unittest.skipIf(isolation_refused(), "needs root and the right to make namespaces")
class TestStatesOfNewer(Newer, OfStates):
    pass


@unittest.skipIf(isolation_refused(), "needs root and the right to make namespaces")
class TestPersistenceOnNewer(Newer, OfPersistence):
    pass


del OfDeploying, OfRefusals, OfLoad, OfMonitors, OfStates, OfPersistence
