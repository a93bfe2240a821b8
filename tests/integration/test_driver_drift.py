"""What somebody else did to a device is found, shown and put right: a real sshd and haproxy, edited by hand."""

from __future__ import annotations

import contextlib
import unittest
from dataclasses import replace

from balancer.config import DriftSettings
from balancer.core.model import Applied, Device, Drift, LoadBalancer, Observation, VirtualIp, new_id
from balancer.devbox.backends import page
from balancer.devbox.host import isolation_refused
from balancer.drivers.haproxy import deploy, runtime
from balancer.drivers.haproxy.driver import HAProxyDriver
from balancer.drivers.ssh import Pool
from balancer.exceptions import TransientDeviceError
from tests.integration.deploying import SETTINGS, DeployingCase, device_of, load_balancer, with_members
from tests.integration.running import eventually, fetch

DISTRIBUTIONS = b"""\
global
    daemon
defaults
    mode http
    timeout connect 5s
    timeout client 50s
    timeout server 50s
listen packaged
    bind 127.0.0.1:9
"""


@unittest.skipIf(isolation_refused(), "needs root and the right to make namespaces")
class TestDrift(DeployingCase):
    def setUp(self) -> None:
        super().setUp()
        (self.backend,) = self.backends(1)
        self.serving = self.port()
        self.good = load_balancer([self.backend.port], self.serving)
        self.host_ = self.host(run_as="root")
        self.device = device_of(self.host_)
        self.made = self.deploy(self.device, self.good)

    def look(self, driver: HAProxyDriver | None = None) -> Observation:
        return (driver or self.driver).observe(self.device, self.made.accepted_blocks)

    def drift(self) -> Drift:
        seen = self.look()
        self.assertIsNotNone(seen.drift, seen)
        assert seen.drift is not None
        return seen.drift

    def again(self, *balancers: LoadBalancer, device: Device | None = None) -> Applied:
        return self.deploy(device or self.device, *balancers, last=self.made.accepted_blocks)

    def edit(self, old: bytes, new: bytes) -> bytes:
        before = self.host_.read_config()
        self.assertIn(old, before)
        self.host_.write_config(before.replace(old, new, 1))
        return before

    def well_again(self, before: bytes) -> None:
        self.assertEqual(before, self.host_.read_config())
        self.assertEqual(page(self.backend.port), fetch(self.serving).text)
        seen = self.look()
        self.assertEqual((None, None), (seen.drift, seen.repair))

    def test_what_was_deployed_is_no_drift(self) -> None:
        self.assertIsNone(self.look().drift)
        # Nor is what the administrator writes for himself.
        self.host_.write_config(b"# by hand\n" + self.host_.read_config() + b"# behind it\n")
        self.assertIsNone(self.look().drift)

    def test_an_edited_block_is_shown_and_stays_until_something_is_deployed(self) -> None:
        before = self.edit(b"    retries 3\n", b"    retries 3\n    stats auth admin:hush\n    timeout check 9s\n")
        drift = self.drift()
        self.assertIn("edited by hand", drift.sentence)
        number = before[: before.index(b"    retries 3")].count(b"\n") - 1
        lines = drift.diff.splitlines()
        self.assertEqual(["--- as deployed", "+++ as found"], lines[:2])
        self.assertTrue(lines[2].startswith(f"@@ -{number},"), lines[2])
        self.assertIn("+    timeout check 9s", lines)
        self.assertNotIn("hush", drift.diff)
        self.assertIsNone(self.look().repair)
        made = self.again(with_members(self.good, weight=3))
        self.assertEqual("reload", made.plan)
        self.assertIn("because the generated block in /etc/haproxy/haproxy.cfg was edited", made.sentence)
        self.assertTrue(made.diff.startswith(drift.diff), made.diff)
        self.assertIn(" weight 3", made.diff)
        self.assertNotIn("hush", made.diff)
        self.made = made
        self.again(self.good)
        self.well_again(before)

    def test_it_is_put_right_by_itself_where_that_is_wanted(self) -> None:
        driver = HAProxyDriver(replace(SETTINGS, drift=DriftSettings(repair="automatic")))
        self.addCleanup(driver.close)
        before = self.edit(b"    retries 3\n", b"    retries 4\n")
        seen = self.look(driver)
        assert seen.drift is not None
        self.assertEqual(seen.drift.sentence, seen.repair)
        self.again(self.good)
        self.well_again(before)

    def test_a_removed_block_and_a_file_of_the_distribution(self) -> None:
        before = self.host_.read_config()
        hand_written, _, _ = before.partition(b"# ----- BEGIN")
        for name, content, sidecar in (
            ("block", hand_written, True),
            ("file", DISTRIBUTIONS, True),
            ("all that was ours", hand_written, False),
        ):
            with self.subTest(name):
                self.host_.write_config(content)
                if not sidecar:
                    self.host_.run(["rm", f"{self.host_.config_path}.balancer"], check=True)
                drift = self.drift()
                self.assertIn("the generated block was removed", drift.sentence)
                self.assertIn(f"\n-    bind *:{self.serving}\n", drift.diff)
                self.assertIsNone(self.look().repair)
                if name == "file":
                    # Whatever else was done, HAProxy must run.
                    self.host_.stop_haproxy()
                    self.assertEqual("HAProxy is not running", self.look().repair)
                made = self.again(self.good)
                self.assertIn(drift.sentence, made.sentence)
                self.assertTrue(self.host_.read_config().startswith(content + b"# ----- BEGIN"))
                self.well_again(self.host_.read_config())
                self.host_.write_config(before)
                self.again(self.good)

    def test_a_removed_block_does_not_take_the_addresses_with_it(self) -> None:
        vip = VirtualIp(id=new_id(), address="203.0.113.7", prefix_length=32)
        self.device = replace(self.device, interface="lo")
        self.made = self.again(replace(self.good, virtual_ips=(vip,)))
        before = self.host_.read_config()
        self.host_.write_config(before[: before.index(b"# ----- BEGIN")])
        self.assertIsNone(self.look().repair)
        self.host_.run(["ip", "address", "del", "203.0.113.7/32", "dev", "lo"], check=True)
        self.assertIn("203.0.113.7", self.look().repair or "")

    def test_a_lost_sidecar_is_written_again(self) -> None:
        before = self.host_.read_config()
        self.host_.run(["rm", f"{self.host_.config_path}.balancer"], check=True)
        seen = self.look()
        self.assertIsNone(seen.drift)
        self.assertIn("haproxy.cfg.balancer is missing", seen.repair or "")
        self.again(self.good)
        self.well_again(before)
        # Unless the block is not what it should be either.
        self.edit(b"    retries 3\n", b"    retries 4\n")
        self.host_.run(["rm", f"{self.host_.config_path}.balancer"], check=True)
        self.assertIn("+    retries 4", self.drift().diff)
        self.assertIsNone(self.look().repair)

    def test_half_a_block_is_shown_without_what_may_be_by_hand(self) -> None:
        self.edit(b"# ----- END balancer", b"# -----")
        drift = self.drift()
        self.assertIn("BEGIN to its END marker", drift.sentence)
        self.assertEqual("", drift.diff)

    def test_an_old_block_that_came_back_is_seen(self) -> None:
        before = self.host_.read_config()
        self.again()
        self.made = replace(self.made, accepted_blocks={})
        self.host_.write_config(before)
        self.assertIn("nothing was deployed", self.drift().sentence)
        self.again()
        self.assertIsNone(self.look().drift)

    def test_a_resync_reloads_what_seems_to_be_right(self) -> None:
        """Somebody edits the file, reloads HAProxy and puts the file back: nothing of that shows in the file."""
        device = self.device
        pool = Pool(connect_timeout=5)
        self.addCleanup(pool.close)
        connection = pool.connection(device.id, device.endpoint)

        def serving() -> int:
            with contextlib.suppress(TransientDeviceError):
                return runtime.show_info(connection, deploy.socket_of(device)).pid
            return 0

        first, before = serving(), self.edit(f"bind *:{self.serving}\n".encode(), b"bind 127.0.0.1:7\n")
        self.host_.run(["kill", "-USR2", str(self.host_.haproxy_pids()[0])], check=True)
        eventually(lambda: serving() not in (0, first), "HAProxy is reloaded")
        self.host_.write_config(before)
        self.assertEqual("noop", self.again(self.good).plan)
        old = serving()
        made = self.again(self.good, device=replace(device, resyncing=True))
        self.assertEqual("reload", made.plan)
        self.assertIn("because an administrator asked for it", made.sentence)
        self.assertNotEqual(old, runtime.show_info(connection, deploy.socket_of(device)).pid)
        self.well_again(before)

    def test_a_device_of_another_database_is_not_compared(self) -> None:
        other = replace(self.device, id=new_id())
        seen = self.driver.observe(other, {"x": "frontend fe-x\n"})
        self.assertIsNone(seen.drift)
        self.assertIn("belongs to device", " ".join(seen.findings))
