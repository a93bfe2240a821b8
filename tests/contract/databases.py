"""The databases that the contract suites run on. A suite is a mixin; each database has a class that brings it."""

from __future__ import annotations

import functools
import tempfile
import unittest
from pathlib import Path

import sqlalchemy as sa

from balancer.core.ports import Repository
from balancer.db import migrations
from balancer.db.engine import make_engine
from balancer.db.leases import SqlLeases, make_owner
from balancer.db.repository import SqlRepository


class DatabaseCase(unittest.TestCase):
    """Gives every test an empty database at this version."""

    url: str
    engine: sa.Engine
    repository: Repository
    leases: SqlLeases

    def make_database(self) -> str:
        """Make one and return its URL; whatever needs cleaning is left to `addCleanup`."""
        raise NotImplementedError

    def setUp(self) -> None:
        self.url = self.make_database()
        self.engine = make_engine(self.url)
        self.addCleanup(self.engine.dispose)
        self.repository = SqlRepository(self.engine)
        self.leases = SqlLeases(self.engine, make_owner(), 60.0)

    def query(self, statement: str, **parameters: object) -> list[tuple[object, ...]]:
        """Rows of a plain SELECT, for what no port shows."""
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(statement), parameters)]


class SqliteFile(DatabaseCase):
    def make_database(self) -> str:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = Path(directory.name, "balancer.sqlite")
        path.write_bytes(_empty_sqlite())
        return f"sqlite:///{path}"


@functools.cache
def _empty_sqlite() -> bytes:
    """A database file at this version; made once, since making it takes longer than most tests."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "template.sqlite")
        engine = make_engine(f"sqlite:///{path}")
        migrations.sync(engine)
        engine.dispose()
        return path.read_bytes()
