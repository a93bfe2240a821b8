"""Connections, transactions and what differs between databases. Nothing outside this module knows a dialect.

SQLite: a transaction that waits for a lock inside SQLite freezes every green thread of the process, and one that
reads before it writes can fail without a chance to wait. So write transactions begin with BEGIN IMMEDIATE behind
one lock of this process, SQLite itself waits some milliseconds only, and what is left of the waiting is done here
with `time.sleep`.

Whatever SQLAlchemy raises leaves as one of `balancer.exceptions`, without the text or the values of a statement.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, ExceptionContext, make_url
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import QueuePool
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from balancer.exceptions import (
    BalancerError,
    ConfigurationError,
    Conflict,
    DatabaseNotSynced,
    DatabaseUnavailable,
    InvalidInput,
)

SYNC_COMMAND = "balancer-api --dbsync"

_BUSY_TIMEOUT = 0.02
"""Seconds that SQLite may wait by itself, during which the whole process stands still under eventlet."""

# Execution options: how SQLite begins a transaction, and the seconds that one waits for its turn.
_BEGIN = "sqlite_begin"
_PATIENCE = "patience"
_WRITE_LOCK = threading.Lock()


# --- the database's clock ------------------------------------------------------


class db_now(FunctionElement[float]):
    """Seconds since 1970 of the database's clock, with fractions: the one clock that all processes share."""

    type = sa.Double()
    inherit_cache = True
    name = "db_now"


@compiles(db_now, "sqlite")
def _sqlite_now(element: db_now, compiler: SQLCompiler, **kw: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(db_now, "postgresql")
def _postgresql_now(element: db_now, compiler: SQLCompiler, **kw: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


@compiles(db_now, "mysql", "mariadb")
def _mysql_now(element: db_now, compiler: SQLCompiler, **kw: Any) -> str:
    return "(unix_timestamp(now(6)) + 0e0)"


# --- engines -------------------------------------------------------------------


def make_engine(url: str, *, patience: float = 10.0) -> Engine:
    """The engine of an SQLAlchemy URL. Opens nothing yet.

    A transaction waits `patience` seconds for its turn. A relative SQLite path is made absolute now. Raises
    `ConfigurationError`.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            engine = _sqlite_engine(parsed, patience)
        elif parsed.get_backend_name() in ("postgresql", "mysql", "mariadb"):
            # A dead connection is found before it is used, so that a restarted database needs no restart of ours.
            engine = sa.create_engine(
                parsed,
                hide_parameters=True,
                pool_pre_ping=True,
                pool_size=10,
                max_overflow=20,
                pool_timeout=patience,
                execution_options={_PATIENCE: patience},
            )
        else:
            raise ConfigurationError(
                f"[sql] connection: {parsed.get_backend_name()} is not one of sqlite, postgresql, mysql, mariadb"
            )
    except (sa.exc.ArgumentError, ImportError) as error:
        # The URL itself may hold a password and is not repeated.
        raise ConfigurationError(f"[sql] connection is not usable: {type(error).__name__}: {error}") from error
    event.listen(engine, "handle_error", _translate)
    return engine


def sqlite_path(engine: Engine) -> Path | None:
    """The file of an SQLite database, None for every other kind."""
    return Path(engine.url.database or "") if engine.dialect.name == "sqlite" else None


def _sqlite_engine(url: URL, patience: float) -> Engine:
    database = url.database or ""
    if database in ("", ":memory:") or database.startswith("file:") or url.query:
        raise ConfigurationError(
            "[sql] connection: an SQLite database must be a plain file, sqlite:///FILE, because the API and its "
            "worker are processes of their own that share it"
        )
    path = Path(database).resolve()
    # mode=rw: a missing file must not come into being by being looked at, with the rights of any other file.
    uri = f"file:{quote(str(path))}?mode=rw"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            uri, uri=True, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            connection.close()
            raise
        return connection

    engine = sa.create_engine(
        url.set(database=str(path)),
        creator=connect,
        poolclass=QueuePool,
        pool_size=10,
        max_overflow=20,
        pool_timeout=patience,
        execution_options={_PATIENCE: patience},
        hide_parameters=True,
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get(_BEGIN, 'DEFERRED')}")

    return engine


# --- transactions ----------------------------------------------------------------


@contextlib.contextmanager
def read(engine: Engine) -> Iterator[Connection]:
    """A transaction that sees one moment of the database and changes nothing. Raises `DatabaseUnavailable`."""
    with contextlib.closing(_open(engine, _deadline(engine), write=False)) as connection:
        yield connection


@contextlib.contextmanager
def write(engine: Engine) -> Iterator[Connection]:
    """A transaction that is committed on leaving and rolled back on any exception. Not to be nested.

    Raises `DatabaseUnavailable`, and `Conflict` when a constraint refuses what was written.
    """
    with _turn(engine) as deadline, contextlib.closing(_open(engine, deadline, write=True)) as connection:
        try:
            yield connection
            connection.commit()
        except sa.exc.IntegrityError as error:
            raise Conflict("The change contradicts what was stored meanwhile") from error


@contextlib.contextmanager
def migration(engine: Engine) -> Iterator[Connection]:
    """A write transaction to change tables in. On SQLite foreign keys are checked at its end only, because
    tables are changed there by making them anew, and dropping the old one would empty those that refer to it."""
    with _turn(engine) as deadline, contextlib.closing(_open(engine, deadline, write=True, detach=True)) as connection:
        yield connection
        if engine.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
            raise DatabaseUnavailable("The change of the tables would leave rows that refer to nothing")
        connection.commit()


@contextlib.contextmanager
def _turn(engine: Engine) -> Iterator[float]:
    """Wait for this process's turn to write; gives the deadline (monotonic) for what is left of the waiting."""
    deadline = _deadline(engine)
    if engine.dialect.name != "sqlite":
        yield deadline
        return
    if not _WRITE_LOCK.acquire(timeout=deadline - time.monotonic()):
        raise DatabaseUnavailable(_STAYED_LOCKED)
    try:
        yield deadline
    finally:
        _WRITE_LOCK.release()


def _deadline(engine: Engine) -> float:
    return time.monotonic() + float(engine.get_execution_options()[_PATIENCE])


def _open(engine: Engine, deadline: float, *, write: bool, detach: bool = False) -> Connection:
    """A connection inside a transaction, waited for until `deadline` when another process has the lock."""
    while True:
        try:
            return _begin(engine, write=write, detach=detach)
        except _Locked as error:
            if time.monotonic() >= deadline:
                raise DatabaseUnavailable(_STAYED_LOCKED) from error
        except sa.exc.TimeoutError as error:
            raise DatabaseUnavailable("Too many requests wait for a connection to the database") from error
        time.sleep(random.uniform(0.002, 0.03))  # noqa: S311 - jitter


def _begin(engine: Engine, *, write: bool, detach: bool) -> Connection:
    connection = engine.connect()
    try:
        if engine.dialect.name != "sqlite":
            # Reading wants one snapshot over several statements; writing uses conditional updates and row locks.
            connection = connection.execution_options(isolation_level="READ COMMITTED" if write else "REPEATABLE READ")
            connection.begin()
            return connection
        if detach:
            driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
            driver.execute("PRAGMA foreign_keys = OFF")
            # It must not go back to the pool like this.
            connection.detach()
        connection = connection.execution_options(**{_BEGIN: "IMMEDIATE" if write else "DEFERRED"})
        connection.begin()
        if not write:
            # Takes the snapshot while being locked out (recovery after a crash) can still be waited for.
            connection.exec_driver_sql("SELECT 1 FROM sqlite_master LIMIT 1").first()
    except BaseException:
        connection.close()
        raise
    return connection


# --- errors ------------------------------------------------------------------------


class _Locked(DatabaseUnavailable):
    """Another process writes; worth waiting for."""


_STAYED_LOCKED = "The database stayed locked for too long"
_SQLITE_SENTENCES = {
    sqlite3.SQLITE_CANTOPEN: "The database file cannot be opened",
    sqlite3.SQLITE_FULL: "The disk that holds the database is full",
    sqlite3.SQLITE_READONLY: "The database file cannot be written",
    sqlite3.SQLITE_PERM: "The database file cannot be opened",
    sqlite3.SQLITE_CORRUPT: "The database file is damaged",
    sqlite3.SQLITE_NOTADB: "The database file is no SQLite database",
    sqlite3.SQLITE_IOERR: "The database file cannot be read or written",
    sqlite3.SQLITE_NOMEM: "The database ran out of memory",
}


def not_synced(what: str) -> DatabaseNotSynced:
    """`what` is a sentence without its full stop."""
    return DatabaseNotSynced(f"{what}. Run: {SYNC_COMMAND}")


def _translate(context: ExceptionContext) -> BalancerError | None:
    """Our error for one of the driver's; None leaves it as it is: a broken constraint, or a mistake of ours."""
    original, wrapped = context.original_exception, context.sqlalchemy_exception
    if isinstance(original, (OverflowError, UnicodeEncodeError)) or isinstance(wrapped, sa.exc.DataError):
        return InvalidInput("A value is too long, too large or holds characters that cannot be stored")
    if isinstance(original, sqlite3.Error):
        return _translate_sqlite(original)
    if context.is_disconnect or isinstance(wrapped, (sa.exc.OperationalError, sa.exc.InterfaceError)):
        return DatabaseUnavailable("The database cannot be reached or is overloaded")
    return None


def _translate_sqlite(error: sqlite3.Error) -> BalancerError | None:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return _Locked("The database is locked")
    if code in _SQLITE_SENTENCES:
        return DatabaseUnavailable(_SQLITE_SENTENCES[code])
    if str(error).startswith(("no such table", "no such column")) or "has no column named" in str(error):
        return not_synced("The database lacks tables or columns that this version needs")
    return None
