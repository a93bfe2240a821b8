"""The databases that the contract suites run on. A suite is a mixin; each database has a class that brings it."""

from __future__ import annotations

import contextlib
import functools
import tempfile
import unittest
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import sqlalchemy as sa

from balancer.core.model import DeviceSpec, LoadBalancer
from balancer.core.ports import Repository
from balancer.db import migrations, tables
from balancer.db.engine import make_engine
from balancer.db.leases import SqlLeases, make_owner
from balancer.db.repository import SqlRepository
from balancer.db.secrets import Keys, new_key
from balancer.db.transaction import SqlTransaction
from tests.contract import servers


class Compared(SqlRepository):
    """What it remembers, and what a transaction says that it has written, must be what is stored: whatever is loaded or
    committed is compared with what a repository says that has just been made."""

    def __init__(self, case: unittest.TestCase, engine: sa.Engine, secrets: Keys) -> None:
        super().__init__(engine, secrets=secrets)
        self._case = case
        self._forgetful = functools.partial(SqlRepository, engine, secrets=secrets)

    @contextlib.contextmanager
    def write(self) -> Iterator[SqlTransaction]:
        with super().write() as tx:
            yield tx
            fresh = SqlTransaction(tx._connection)
            for each in tx.written.values():
                if isinstance(each, LoadBalancer):
                    self._case.assertEqual(fresh.load_balancers(ids=[each.id], include_deleted=True), [each])
                else:
                    self._case.assertEqual(fresh.monitors([each.id]), [each])

    def load_spec(self, device_id: str) -> DeviceSpec | None:
        """Twice, so that most of it is remembered."""
        super().load_spec(device_id)
        for _ in range(5):
            before = _timeless(self._forgetful().load_spec(device_id))
            loaded = super().load_spec(device_id)
            # What others do meanwhile is not compared.
            if before == _timeless(self._forgetful().load_spec(device_id)):
                self._case.assertEqual(before, _timeless(loaded))
                break
        return loaded


def _timeless(spec: DeviceSpec | None) -> DeviceSpec | None:
    return None if spec is None else replace(spec, seen_ago=None, deployable=False)


class DatabaseCase(unittest.TestCase):
    """Gives every test an empty database at this version."""

    url: str
    engine: sa.Engine
    repository: Repository
    leases: SqlLeases

    def make_database(self) -> tuple[str, sa.Engine]:
        """Its URL and its engine; whatever needs cleaning is left to `addCleanup`."""
        raise NotImplementedError

    def setUp(self) -> None:
        self.url, self.engine = self.make_database()
        self.secrets = Keys([new_key()])
        self.repository = Compared(self, self.engine, self.secrets)
        self.leases = SqlLeases(self.engine, make_owner(), 60.0)

    def query(self, statement: str, **parameters: object) -> list[tuple[object, ...]]:
        """Rows of a plain SELECT, for what no port shows."""
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(statement), parameters)]


class SqliteFile(DatabaseCase):
    def make_database(self) -> tuple[str, sa.Engine]:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = Path(directory.name, "balancer.sqlite")
        path.write_bytes(_empty_sqlite())
        url = f"sqlite:///{path}"
        engine = make_engine(url)
        self.addCleanup(engine.dispose)
        return url, engine


@functools.cache
def _empty_sqlite() -> bytes:
    """A database file at this version; made once, since making it takes longer than most tests."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "template.sqlite")
        engine = make_engine(f"sqlite:///{path}")
        migrations.sync(engine)
        engine.dispose()
        return path.read_bytes()


class OnServer(DatabaseCase):
    """One database for a class, emptied for each test. A class that changes tables gets a new one for each."""

    changes_tables: ClassVar[bool] = False
    _shared: ClassVar[tuple[str, sa.Engine] | None] = None

    @classmethod
    def server(cls) -> servers.Server:
        raise NotImplementedError

    @classmethod
    def _new(cls) -> tuple[str, sa.Engine]:
        server = cls.server()
        name = server.free_name()
        url = server.make_database(name)
        cls.addClassCleanup(server.drop_database, name)
        engine = make_engine(url)
        cls.addClassCleanup(engine.dispose)
        migrations.sync(engine)
        return url, engine

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        if not cls.changes_tables:
            cls._shared = cls._new()

    def make_database(self) -> tuple[str, sa.Engine]:
        if self._shared is None:
            return self._new()
        url, engine = self._shared
        with engine.begin() as connection:
            for table in reversed(tables.metadata.sorted_tables):
                connection.execute(table.delete())
        return url, engine


class Postgresql(OnServer):
    @classmethod
    def server(cls) -> servers.Server:
        return servers.postgresql()


class Mariadb(OnServer):
    @classmethod
    def server(cls) -> servers.Server:
        return servers.mariadb()
