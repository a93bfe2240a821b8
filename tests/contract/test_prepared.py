"""Statements that are made once, and the connections that are kept for the next ones."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING

import sqlalchemy as sa

from balancer.core.model import new_id
from balancer.db import engine as database
from balancer.db import tables
from balancer.db.prepared import Prepared
from balancer.db.tables import placement_profiles as profiles
from balancer.exceptions import Conflict, InvalidInput
from tests.contract import samples
from tests.contract.databases import DatabaseCase, Mariadb, Postgresql, SqliteFile

if TYPE_CHECKING:
    Suite = DatabaseCase
else:
    Suite = object

_SOME = Prepared(
    sa.select(profiles.c.id, profiles.c.name.label("what it is called"))
    .where(profiles.c.id.in_(sa.bindparam("ids", expanding=True)), profiles.c.kind != "none")
    .order_by(profiles.c.id)
)
_INSERT = Prepared(sa.insert(profiles))
_RENAME = Prepared(sa.update(profiles).where(profiles.c.id == sa.bindparam("key_id")))
_SHOUT = Prepared(sa.update(profiles).where(profiles.c.id == sa.bindparam("key_id")).values(name="LOUD"))


class PreparedContract(Suite):
    def setUp(self) -> None:
        super().setUp()
        self.rows = [
            {"id": str(number) * 32, "kind": "FLAVOR", "name": f"number {number}", "provider": "dummy", "data": "{}"}
            for number in range(3)
        ]
        with database.write(self.engine) as connection:
            _INSERT.run(connection, self.rows[0])
            _INSERT.run_each(connection, self.rows[1:])

    def names(self, *numbers: int) -> list[str]:
        with database.read(self.engine) as connection:
            rows = _SOME.rows(connection, {"ids": [self.rows[number]["id"] for number in numbers]})
        return [row["what it is called"] for row in rows]

    def test_lists_have_any_length(self) -> None:
        for numbers in ((), (1,), (0, 1, 2), (2, 0), (), (1, 1)):
            self.assertEqual([f"number {each}" for each in sorted({*numbers})], self.names(*numbers))

    def test_what_is_named_is_written_and_nothing_else(self) -> None:
        key = self.rows[1]["id"]
        with database.write(self.engine) as connection:
            self.assertEqual(1, _RENAME.run(connection, {"key_id": key, "name": "new"}))
            self.assertEqual(1, _RENAME.run(connection, {"key_id": key, "data": "[]", "kind": "AVAILABILITY_ZONE"}))
            self.assertEqual(0, _RENAME.run(connection, {"key_id": "nobody", "name": "x"}))
            self.assertEqual(1, _SHOUT.run(connection, {"key_id": self.rows[2]["id"]}))
            _RENAME.run_each(connection, [{"key_id": self.rows[0]["id"], "name": name} for name in ("once", "again")])
        self.assertEqual(["again", "new", "LOUD"], self.names(0, 1, 2))
        with database.read(self.engine) as connection:
            (row,) = connection.execute(sa.select(profiles).where(profiles.c.id == key)).mappings()
        self.assertEqual({**self.rows[1], "name": "new", "data": "[]", "kind": "AVAILABILITY_ZONE"}, dict(row))

    def test_errors_are_those_of_every_other_statement_and_nothing_of_theirs_is_stored(self) -> None:
        with self.assertRaises(Conflict), database.write(self.engine) as connection:
            _SHOUT.run(connection, {"key_id": self.rows[2]["id"]})
            _INSERT.run(connection, self.rows[0])
        with self.assertRaises(InvalidInput), self.repository.write() as tx:
            tx.add_device(samples.device())
            tx.add_device(samples.device(id=new_id(), desired_revision=2**70))
        with self.assertRaises(ZeroDivisionError), database.write(self.engine) as connection:
            _SHOUT.run(connection, {"key_id": self.rows[2]["id"]})
            _ = 1 / 0
        with self.repository.read() as tx:
            self.assertEqual([], tx.devices())
        self.assertEqual(["number 2"], self.names(2))

    def test_a_reading_transaction_sees_one_moment_and_the_next_one_what_was_written_since(self) -> None:
        with database.read(self.engine) as connection:
            before = _SOME.rows(connection, {"ids": [self.rows[0]["id"]]})
            with database.write(self.engine) as other:
                _SHOUT.run(other, {"key_id": self.rows[0]["id"]})
            self.assertEqual(before, _SOME.rows(connection, {"ids": [self.rows[0]["id"]]}))
        self.assertEqual(["LOUD"], self.names(0))


class PreparedOnSqlite(PreparedContract, SqliteFile):
    def test_nothing_stays_open(self) -> None:
        self.repository.stamps(project_id="foo")
        self.names(0)
        self.assertTrue(self.open_files())
        self.engine.dispose()
        self.assertEqual([], self.open_files())
        self.assertEqual(["number 0"], self.names(0))

    def test_what_could_not_be_committed_holds_nobody_up(self) -> None:
        """SQLite leaves the transaction open then."""
        orphan = sa.insert(tables.leases).values(device_id=new_id(), epoch=0, expires_at=0.0)
        for _ in range(2):
            with self.assertRaises(Conflict), database.write(self.engine) as connection:
                connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
                connection.execute(orphan)
        with contextlib.closing(sqlite3.connect(str(database.sqlite_path(self.engine)), timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")

    def open_files(self) -> list[str]:
        path = str(database.sqlite_path(self.engine))
        found = []
        for number in os.listdir("/proc/self/fd"):
            try:
                name = os.readlink(f"/proc/self/fd/{number}")
            except FileNotFoundError:
                continue
            if name.startswith(path):
                found.append(name)
        return found


class OnServerContract(PreparedContract):
    def test_a_server_is_asked_once_to_end_a_reading_transaction(self) -> None:
        ended: list[bool] = []
        sa.event.listen(self.engine, "reset", lambda driver, record, state: ended.append(state.transaction_was_reset))
        self.names(0)
        self.assertEqual([True], ended)


class PreparedOnPostgresql(OnServerContract, Postgresql):
    pass


class PreparedOnMariadb(OnServerContract, Mariadb):
    pass
