"""balancer-manage, and what --dbsync does for it."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from balancer import bootstrap, config
from balancer.cmd import manage
from balancer.drivers.ssh import check_private_key
from balancer.exceptions import KeysUnavailable
from tests.contract import samples

ROOT = Path(__file__).resolve().parents[2]


class ManageCase(unittest.TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.options = self.directory / "balancer.conf"
        self.options.write_text(f"[sql]\nconnection = sqlite:///{self.directory}/balancer.sqlite\n")

    def manage(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status, output, errors."""
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            status = manage.main(["--config-file", str(self.options), *arguments])
        return status, out.getvalue(), err.getvalue()


class TestRotateKeys(ManageCase):
    def setUp(self) -> None:
        super().setUp()
        self.settings, _ = config.load(["--config-file", str(self.options)])
        self.key_file = self.directory / "balancer.sqlite.key"

    def test_the_keys_are_beside_the_database_and_are_exchanged(self) -> None:
        bootstrap.sync(self.settings)
        old = self.key_file.read_text()
        parts = bootstrap.make_parts(self.settings)
        self.addCleanup(parts.engine.dispose)
        with parts.repository.write() as tx:
            tx.add_device(device := samples.device())
        status, out, err = self.manage("rotate-keys")
        self.assertEqual((0, ""), (status, err))
        self.assertIn("credentials of 1 devices", out)
        self.assertIn(str(self.key_file), out)
        self.assertNotEqual(old, self.key_file.read_text())
        # The service that runs meanwhile goes on, and one that starts now as well.
        spec = parts.repository.load_spec(device.id)
        assert spec is not None
        self.assertEqual(device.endpoint, spec.device.endpoint)
        bootstrap.check(parts)
        self.assertEqual(0, self.manage("rotate-keys", "--keep-old")[0])
        self.assertEqual(2, len(self.key_file.read_text().split()))

    def test_a_configured_file_is_used_instead(self) -> None:
        elsewhere = self.directory / "vault" / "keys"
        elsewhere.parent.mkdir()
        with self.options.open("a") as options:
            options.write(f"[secrets]\nkey_file = {elsewhere}\n")
        settings, _ = config.load(["--config-file", str(self.options)])
        bootstrap.sync(settings)
        self.assertEqual(0o600, stat.S_IMODE(elsewhere.stat().st_mode))
        self.assertFalse(self.key_file.exists())

    def test_what_is_missing_is_named(self) -> None:
        status, _, err = self.manage("rotate-keys")
        self.assertEqual(1, status)
        self.assertIn(f"Run: balancer-api --dbsync --config-file {self.options}\n", err)
        bootstrap.sync(self.settings)
        self.key_file.unlink()
        status, _, err = self.manage("rotate-keys")
        self.assertEqual(1, status)
        self.assertIn(f"{self.key_file} is not there", err)
        with self.assertRaises(KeysUnavailable):
            bootstrap.sync(self.settings)
        self.assertFalse(self.key_file.exists())

    def test_a_directory_is_no_configuration(self) -> None:
        self.options = self.directory
        status, _, err = self.manage("rotate-keys")
        self.assertEqual((1, f"balancer-manage: {self.directory}: Is a directory\n"), (status, err))

    def test_neither_api_nor_worker_starts_with_other_keys(self) -> None:
        bootstrap.sync(self.settings)
        self.key_file.unlink()
        for name in ("balancer-api", "balancer-worker"):
            done = subprocess.run(
                [sys.executable, ROOT / "bin" / name, "--config-file", self.options, "--bind_port", "1"],
                capture_output=True,
                text=True,
                timeout=60,
                cwd=self.directory,
            )
            self.assertEqual(1, done.returncode)
            self.assertIn(f"{name}: [secrets] key_file: {self.key_file} is not there", done.stderr)


class TestDeviceKeygen(ManageCase):
    def test_a_pair_and_the_line_for_it(self) -> None:
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        path = self.directory / "login"
        status, out, err = self.manage("device-keygen", str(path), "--from", "192.0.2.1, 2001:db8::/64")
        self.assertEqual((0, ""), (status, err))
        public = path.with_name("login.pub").read_text().strip()
        self.assertIn(f'\nrestrict,port-forwarding,from="192.0.2.1/32,2001:db8::/64" {public}\n', out)
        self.assertIn(f'"key_filename": "{path}"', out)
        self.assertEqual(0o600, stat.S_IMODE(path.stat().st_mode))
        check_private_key(path.read_text())
        self.assertNotIn(path.read_text().splitlines()[1], out)
        self.assertRegex(public, "^ssh-ed25519 [A-Za-z0-9+/]+=* balancer$")

    def test_nothing_is_overwritten_and_nothing_left_half_made(self) -> None:
        path = self.directory / "login"
        self.manage("device-keygen", str(path))
        private = path.read_text()
        status, _, err = self.manage("device-keygen", str(path))
        self.assertEqual((1, private), (status, path.read_text()))
        self.assertIn(f"Cannot make {path}: File exists", err)
        path.unlink()
        self.assertEqual(1, self.manage("device-keygen", str(path))[0])
        self.assertFalse(path.exists())

    def test_what_would_open_the_line_up_is_refused(self) -> None:
        for arguments in (
            ("--comment", "x\nssh-ed25519 AAAA"),
            ("--comment", ""),
            ("--from", '10.0.0.1",command="id'),
            ("--from", "somewhere"),
            ("--from", ""),
        ):
            with self.subTest(arguments):
                status, out, err = self.manage("device-keygen", str(self.directory / "login"), *arguments)
                self.assertEqual((1, ""), (status, out))
                self.assertTrue(err)
                self.assertFalse((self.directory / "login").exists())

    def test_it_runs_from_a_checkout(self) -> None:
        done = subprocess.run(
            [sys.executable, ROOT / "bin" / "balancer-manage", "device-keygen", "login"],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=self.directory,
        )
        self.assertEqual((0, ""), (done.returncode, done.stderr))
        self.assertTrue((self.directory / "login.pub").exists())
