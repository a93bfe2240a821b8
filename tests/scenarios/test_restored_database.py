"""The database is restored from an older state: the device remembers what the database does not know."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import ClassVar

from tests.scenarios.world import BY_RESTART, ScenarioCase, answers


class RestoredDatabase(ScenarioCase):
    options: ClassVar = {"worker": {"observe_interval": "4"}}

    def copy_to(self, path: Path) -> None:
        with closing(sqlite3.connect(self.world.database)) as source, closing(sqlite3.connect(path)) as target:
            source.backup(target)

    def restore_from(self, path: Path) -> None:
        self.assertEqual(0, self.service.stop())
        # Not the key file, which is no part of the database.
        for suffix in ("", "-wal", "-shm"):
            self.world.database.with_name(f"{self.world.database.name}{suffix}").unlink(missing_ok=True)
        self.world.database.write_bytes(path.read_bytes())
        # It was at work for a long time since, and the device was away: epochs count up with every attempt.
        with closing(sqlite3.connect(self.world.database)) as database:
            database.execute("UPDATE leases SET epoch = epoch + 1000")
            database.commit()
        self.service.launch()

    def test_it_is_told_what_to_do_and_converges_then(self) -> None:
        copy = self.service.root / "copy"
        self.copy_to(copy)
        known = dict(self.world.balancers)
        for _ in range(5):
            later = self.world.add()
            self._await(BY_RESTART, "added")
        (port,) = self.world.balancers[later]
        config = self.world.config()
        adopt = f"POST /devices/{self.world.device}/adopt"
        with self.traffic() as traffic:
            self.restore_from(copy)
            self.says([adopt, "restored from an older state"])
            self.assertEqual("ERROR", self.world.device_status()[0])
            # The same goes for changes; the device is left alone.
            change = self.world.add()
            self.says([adopt], balancer=change)
            self.assertTrue(answers(port))
            self.assertEqual(config, self.world.config())
            # Nobody tries again and again.
            self.assertLess(self.service.log.read_text().count("waiting for an adoption"), 6)
            self.world.closed = {each for ports in self.world.balancers.values() for each in ports}
            self.world.balancers = {**known, change: self.world.balancers[change]}
            self.world.closed -= set(self.world.ports)
            self.assertEqual(200, self.world.ask("POST", f"/devices/{self.world.device}/adopt").status)
            self.well_within(BY_RESTART, "adopted")
        self.no_request_failed(traffic)
