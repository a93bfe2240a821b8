"""Passwords and private keys of devices: encrypted in the database, by keys that can be exchanged, told to nobody."""

from __future__ import annotations

import os
import secrets as random
import stat
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from balancer.core.model import Credential, Device, Sealed
from balancer.db import secrets
from balancer.db.engine import write
from balancer.db.repository import SqlRepository
from balancer.db.secrets import KeyFile, Keys, new_key
from balancer.db.tables import devices, metadata
from balancer.exceptions import DatabaseNotSynced, KeysUnavailable
from tests.contract import samples
from tests.contract.databases import DatabaseCase, Mariadb, Postgresql, SqliteFile

if TYPE_CHECKING:
    Suite = DatabaseCase
else:
    Suite = object


class SecretsContract(Suite):
    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.keys = KeyFile(self.directory / "balancer.key")
        self.repository = SqlRepository(self.engine, secrets=self.keys)
        self.password, self.private_key = random.token_hex(16), f"KEY\n{random.token_hex(100)}\n"

    # --- steps ---

    def add_device(self) -> Device:
        device = samples.device()
        both = Credential(password=self.password, private_key=self.private_key)
        device = replace(device, endpoint=replace(device.endpoint, credential=both))
        with self.repository.write() as tx:
            tx.add_device(device)
        return device

    def opened(self, device: Device) -> Credential:
        spec = self.repository.load_spec(device.id)
        assert spec is not None
        return spec.device.endpoint.credential

    def everything(self) -> str:
        """All that is stored, as text."""
        with self.engine.connect() as connection:
            rows = [row for table in metadata.sorted_tables for row in connection.execute(sa.select(table))]
        return repr([tuple(map(str, row)) for row in rows])

    def assert_works(self, device: Device) -> None:
        credential = self.opened(device)
        self.assertEqual((self.password, self.private_key), (credential.password, credential.private_key))
        self.assertFalse(isinstance(credential.password, Sealed) or isinstance(credential.private_key, Sealed))

    # --- at rest ---

    def test_what_is_stored_and_what_requests_see_tells_nothing(self) -> None:
        secrets.sync(self.engine, self.keys)
        device = self.add_device()
        self.assertNotIn(self.password, self.everything())
        self.assertNotIn(self.private_key.splitlines()[1], self.everything())
        with self.repository.read() as tx:
            for seen in (tx.device(device.id), *tx.devices()):
                self.assertIsInstance(seen.endpoint.credential.password, Sealed)
                self.assertNotIn(self.password, f"{seen!r} {seen.endpoint.credential.password}")
        self.assert_works(device)
        spec = self.repository.load_spec(device.id)
        self.assertNotIn(self.password, repr(spec))
        self.assertNotIn(self.private_key.splitlines()[1], repr(spec))

    def test_a_key_file_is_made_once_and_for_its_owners_eyes_only(self) -> None:
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        secrets.sync(self.engine, self.keys)
        self.assertEqual(0o600, stat.S_IMODE(self.keys.path.stat().st_mode))
        text = self.keys.path.read_text()
        secrets.sync(self.engine, self.keys)
        self.assertEqual(text, self.keys.path.read_text())
        self.assertEqual([self.keys.path], list(self.directory.iterdir()))

    def test_keys_that_somebody_gave_are_used(self) -> None:
        given = new_key()
        self.keys.path.write_text(f"# of the vault\n{given}\n")
        secrets.sync(self.engine, self.keys)
        device = self.add_device()
        with self.repository.read() as tx:
            sealed = tx.device(device.id).endpoint.credential.password or ""
        self.assertEqual(self.password, Keys([given]).open(sealed))

    def test_a_change_that_leaves_the_secret_alone_does_not_write_it(self) -> None:
        secrets.sync(self.engine, self.keys)
        device = self.add_device()
        before = self.query("SELECT password, private_key FROM devices")
        with self.repository.write() as tx:
            tx.save_device(replace(tx.device(device.id), name="another"))
        self.assertEqual(before, self.query("SELECT password, private_key FROM devices"))
        self.assert_works(device)

    # --- rows from before ---

    def test_rows_stored_in_plain_text_are_encrypted_by_the_next_sync(self) -> None:
        secrets.sync(self.engine, self.keys)
        device = self.add_device()
        with write(self.engine) as connection:
            # As it was before there were keys.
            connection.execute(sa.text("DELETE FROM encryption"))
            connection.execute(sa.update(devices).values(password=self.password, private_key=self.private_key))
        self.assertIn(self.password, self.everything())
        with self.assertRaises(DatabaseNotSynced) as caught:
            secrets.check(self.engine, self.keys)
        self.assertIn("balancer-api --dbsync", str(caught.exception))
        secrets.sync(self.engine, self.keys)
        self.assertNotIn(self.password, self.everything())
        self.assert_works(device)
        stored = self.everything()
        secrets.sync(self.engine, self.keys)
        self.assertEqual(stored, self.everything())

    # --- wrong keys ---

    def test_missing_and_wrong_keys_are_named_and_destroy_nothing(self) -> None:
        secrets.sync(self.engine, self.keys)
        device = self.add_device()
        stored, right = self.everything(), self.keys.path.read_text()

        def missing() -> None:
            self.keys.path.unlink()

        def wrong() -> None:
            self.keys.path.write_text(f"{new_key()}\n")

        def garbage() -> None:
            self.keys.path.write_text("no key at all\n")

        def empty() -> None:
            self.keys.path.write_text("# nothing\n")

        for spoil, word in ((missing, "not there"), (wrong, "not those"), (garbage, "one key"), (empty, "one key")):
            with self.subTest(spoil.__name__):
                spoil()
                there = self.keys.path.exists()
                for attempt in (secrets.sync, secrets.check, secrets.rotate):
                    with self.assertRaises(KeysUnavailable) as caught:
                        attempt(self.engine, self.keys)
                    self.assertIn(word, str(caught.exception))
                    self.assertIn(str(self.keys.path), str(caught.exception))
                self.assertEqual(there, self.keys.path.exists())
                # It concerns those who log in: the driver tells.
                with self.assertLogs("balancer.db.repository", "ERROR") as logged:
                    self.assertIsInstance(self.opened(device).password, Sealed)
                self.assertIn(device.id, "".join(logged.output))
                self.assertEqual(stored, self.everything())
        with self.assertRaises(KeysUnavailable):
            self.add_device()
        self.keys.path.write_text(right)
        secrets.check(self.engine, self.keys)
        self.assert_works(device)

    def test_a_file_that_everybody_can_read_is_told(self) -> None:
        secrets.sync(self.engine, self.keys)
        self.keys.path.chmod(0o644)
        with self.assertLogs("balancer.db.secrets", "WARNING"):
            KeyFile(self.keys.path).seal("x")

    # --- rotation ---

    def test_rotation_encrypts_everything_anew_while_others_go_on(self) -> None:
        secrets.sync(self.engine, self.keys)
        first, old = self.add_device(), self.keys.path.read_text()
        sealed = self.query("SELECT password, private_key FROM devices")
        self.keys.path.chmod(0o640)
        # Another process, with the file as it sees it.
        self.assertEqual(1, secrets.rotate(self.engine, KeyFile(self.keys.path)))
        self.assertEqual(0o640, stat.S_IMODE(self.keys.path.stat().st_mode))
        self.assertEqual(1, len(self.keys.texts()))
        self.assertNotEqual(old, self.keys.path.read_text())
        self.assertTrue(set(sealed[0]).isdisjoint(self.query("SELECT password, private_key FROM devices")[0]))
        self.assert_works(first)
        self.assert_works(self.add_device())
        (self.directory / "old").write_text(old)
        with self.assertRaises(KeysUnavailable):
            secrets.check(self.engine, KeyFile(self.directory / "old"))

    def test_old_keys_may_be_kept_for_others(self) -> None:
        secrets.sync(self.engine, self.keys)
        device, old = self.add_device(), self.keys.texts()
        secrets.rotate(self.engine, self.keys, keep_old=True)
        self.assertEqual(old, self.keys.texts()[1:])
        # Of a host that has the old file still.
        with write(self.engine) as connection:
            connection.execute(sa.update(devices).values(password=Keys(old).seal(self.password)))
        self.assert_works(device)
        secrets.rotate(self.engine, self.keys)
        self.assertEqual(1, len(self.keys.texts()))
        self.assert_works(device)

    def test_a_rotation_that_fails_changes_nothing(self) -> None:
        secrets.sync(self.engine, self.keys)
        good, bad = self.add_device(), self.add_device()
        with write(self.engine) as connection:
            other = Keys([new_key()]).seal("x")
            connection.execute(sa.update(devices).where(devices.c.id == bad.id).values(password=other))
        stored, old = self.everything(), self.keys.texts()
        with self.assertRaises(KeysUnavailable) as caught:
            secrets.rotate(self.engine, self.keys)
        self.assertIn(bad.id, str(caught.exception))
        self.assertEqual(stored, self.everything())
        self.assertEqual(old[0], self.keys.texts()[0])
        self.assert_works(good)

    def test_an_interrupted_rotation_is_simply_repeated(self) -> None:
        secrets.sync(self.engine, self.keys)
        device, old = self.add_device(), self.keys.texts()
        # Killed before the database, and after it.
        self.keys.store([new_key(), *old])
        self.assert_works(device)
        secrets.rotate(self.engine, self.keys, keep_old=True)
        self.assert_works(device)
        secrets.rotate(self.engine, self.keys)
        self.assert_works(device)

    def test_whoever_registers_during_rotations_is_not_locked_out(self) -> None:
        secrets.sync(self.engine, self.keys)
        added: list[Device] = []
        errors: list[Exception] = []

        def register() -> None:
            repository = SqlRepository(self.engine, secrets=KeyFile(self.keys.path))
            try:
                for _ in range(8):
                    device = samples.device()
                    both = Credential(password=self.password, private_key=self.private_key)
                    device = replace(device, endpoint=replace(device.endpoint, credential=both))
                    with repository.write() as tx:
                        tx.add_device(device)
                    added.append(device)
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=register) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(4):
            secrets.rotate(self.engine, KeyFile(self.keys.path))
        for thread in threads:
            thread.join(60)
        self.assertEqual([], errors)
        self.assertEqual(16, len(added))
        for device in added:
            self.assert_works(device)


class SecretsOnSqlite(SecretsContract, SqliteFile):
    pass


class SecretsOnPostgresql(SecretsContract, Postgresql):
    pass


class SecretsOnMariadb(SecretsContract, Mariadb):
    pass
