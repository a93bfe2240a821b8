"""Connections, transactions and what differs between databases. Nothing outside this module knows a dialect.

SQLite: a transaction that waits for a lock inside SQLite freezes every green thread of the process, and one that
reads before it writes can fail without a chance to wait. So write transactions begin with BEGIN IMMEDIATE behind
one lock of this process, SQLite itself waits some milliseconds only, and what is left of the waiting is done here
with `time.sleep`.

PostgreSQL, MariaDB and MySQL: writing transactions are READ COMMITTED and lock the rows that their decisions rest on
(`locks_rows`); reading ones see one snapshot. Every wait has an end: for a lock, for an answer, and of the server for
us.

Whatever SQLAlchemy raises leaves as one of `balancer.exceptions`, without the text or the values of a statement.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, ExceptionContext, make_url
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import QueuePool
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql.compiler import DDLCompiler, SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from balancer.exceptions import (
    BalancerError,
    ConfigurationError,
    Conflict,
    DatabaseNotSynced,
    DatabaseUnavailable,
    InvalidInput,
    StaleGeneration,
)

_T = TypeVar("_T")

_LOG = logging.getLogger(__name__)

SYNC_COMMAND = "balancer-api --dbsync"

_BUSY_TIMEOUT = 0.02
"""Seconds that SQLite may wait by itself, during which the whole process stands still under eventlet."""

_ANSWER_SECONDS = 30
"""How long a server may take for a statement, or leave us with a transaction in which nothing happens."""

_DRIVERS = {"postgresql": "psycopg", "mysql": "pymysql", "mariadb": "pymysql"}
"""Dialect to the one driver that is tested; others stop all green threads while they wait."""

_POSTGRESQL_ARGUMENTS = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": _ANSWER_SECONDS * 1000,
}
_MYSQL_ARGUMENTS = {"connect_timeout": 10, "read_timeout": _ANSWER_SECONDS, "write_timeout": _ANSWER_SECONDS}

_LOCK_NAME = "balancer migration"
_LOCK_NUMBER = 0x62616C616E636572

# Execution options: how SQLite begins a transaction, the seconds that one waits for its turn, and what is kept open for
# SQLite from one to the next.
_BEGIN = "sqlite_begin"
_PATIENCE = "patience"
_KEPT = "kept"
_MOST_KEPT = 4
_WRITE_LOCK = threading.Lock()


@dataclass(slots=True)
class _Kept:
    """Connections that nothing is going on on. The pool counts them as lent: lending and giving back, with all that is
    made for it, takes longer than most statements do. `drivers` are for glances, and the pool has forgotten them."""

    drivers: list[sqlite3.Connection] = field(default_factory=list)
    reading: list[Connection] = field(default_factory=list)
    writing: list[Connection] = field(default_factory=list)

    def of(self, *, write: bool) -> list[Connection]:
        return self.writing if write else self.reading

    def close(self) -> None:
        for connections in (self.reading, self.writing):
            while connections:
                connection = connections.pop()
                connection.detach()
                connection.close()
        while self.drivers:
            self.drivers.pop().close()


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


# --- what tables are made of ------------------------------------------------------


@compiles(CreateTable, "mysql", "mariadb")
def _mysql_create_table(element: CreateTable, compiler: DDLCompiler, **kw: Any) -> str:
    """Whatever the server's defaults are: rows that can be locked, every character, and texts that are equal only when
    they are the same to the letter (a project's name opens its load balancers)."""
    # The family is known from the server, not from the URL.
    collation = "utf8mb4_nopad_bin" if getattr(compiler.dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
    return f"{compiler.visit_create_table(element, **kw).rstrip()} ENGINE=InnoDB CHARSET=utf8mb4 COLLATE={collation}"


# --- engines -------------------------------------------------------------------


def make_engine(url: str, *, patience: float = 10.0) -> Engine:
    """The engine of an SQLAlchemy URL. Opens nothing yet.

    A transaction waits `patience` seconds for its turn. A relative SQLite path is made absolute now. Raises
    `ConfigurationError`.
    """
    try:
        parsed = make_url(url)
        engine = _sqlite_engine(parsed, patience) if _dialect(parsed) == "sqlite" else _server_engine(parsed, patience)
    except ImportError as error:
        extra = _dialect(parsed)
        raise ConfigurationError(
            f"[sql] connection needs a driver that is not there: pip install 'balancer[{extra}]'"
        ) from error
    except sa.exc.ArgumentError as error:
        # The URL itself may hold a password and is not repeated.
        raise ConfigurationError(f"[sql] connection is not usable: {type(error).__name__}: {error}") from error
    event.listen(engine, "handle_error", _log_refusal)
    event.listen(engine, "handle_error", _translate)
    return engine


def _dialect(url: URL) -> str:
    dialect = url.get_backend_name()
    if dialect not in ("sqlite", *_DRIVERS):
        raise ConfigurationError(f"[sql] connection: {dialect} is not one of sqlite, postgresql, mysql, mariadb")
    return dialect


def _server_engine(url: URL, patience: float) -> Engine:
    dialect, _, driver = url.drivername.partition("+")
    if driver not in ("", _DRIVERS[dialect]):
        raise ConfigurationError(
            f"[sql] connection: write {dialect}+{_DRIVERS[dialect]}://… (not {url.drivername}): other drivers hold up "
            "every request while one of them waits for the database"
        )
    own = _POSTGRESQL_ARGUMENTS if dialect == "postgresql" else _MYSQL_ARGUMENTS
    engine = sa.create_engine(
        url.set(drivername=f"{dialect}+{_DRIVERS[dialect]}"),
        connect_args={name: value for name, value in own.items() if name not in url.query},
        isolation_level="READ COMMITTED",
        hide_parameters=True,
        # A dead connection is found before it is used, so that a restarted database needs no restart of ours.
        pool_pre_ping=True,
        pool_size=10,
        max_overflow=20,
        pool_timeout=patience,
        execution_options={_PATIENCE: patience},
    )
    setup = (_POSTGRESQL_SESSION if dialect == "postgresql" else _MYSQL_SESSION).format(
        milliseconds=max(1, round(patience * 1000)), seconds=max(1, round(patience)), answer=_ANSWER_SECONDS
    )

    @event.listens_for(engine, "connect")
    def connect(connection: Any, record: object) -> None:
        with contextlib.closing(connection.cursor()) as cursor:
            cursor.execute(setup)
        connection.commit()

    return engine


# A process that died or was cut off in a transaction must not keep its locks for hours.
_POSTGRESQL_SESSION = (
    "SELECT set_config('lock_timeout', '{milliseconds}', false), set_config('statement_timeout', '{answer}s', false),"
    " set_config('idle_in_transaction_session_timeout', '{answer}s', false)"
)
# now() counts on a zone without summer time; what does not fit is an error, never cut off; `M!` is for MariaDB only.
_MYSQL_SESSION = (
    "SET SESSION time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION',"
    " innodb_lock_wait_timeout = {seconds} /*M! , idle_transaction_timeout = {answer} */"
)


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

    kept = _Kept()
    engine = sa.create_engine(
        url.set(database=str(path)),
        creator=connect,
        poolclass=QueuePool,
        pool_size=10,
        max_overflow=20,
        pool_timeout=patience,
        execution_options={_PATIENCE: patience, _KEPT: kept},
        hide_parameters=True,
    )

    @event.listens_for(engine, "engine_disposed")
    def dispose(engine: Engine) -> None:
        kept.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        _sqlite_statement(connection, f"BEGIN {connection.get_execution_options().get(_BEGIN, 'DEFERRED')}")

    return engine


def _sqlite_statement(connection: Connection, statement: str) -> None:
    """Past SQLAlchemy, which would take several times as long for it, at every transaction."""
    driver = sqlite_driver(connection)
    assert driver is not None
    try:
        driver.execute(statement).close()
    except sqlite3.Error as error:
        raise sqlite_error(error) from error


def sqlite_driver(connection: Connection) -> sqlite3.Connection | None:
    """What SQLAlchemy itself gives statements to; None for every other kind of database."""
    if connection.dialect.name != "sqlite":
        return None
    return connection.connection.dbapi_connection  # type: ignore[return-value]


def sqlite_error(error: Exception) -> Exception:
    """What is to be raised for an error of `sqlite_driver`; the error itself when it is a mistake of ours."""
    translated = _translate_sqlite(error) if isinstance(error, sqlite3.Error) else _unfit()
    return translated or error


# --- transactions ----------------------------------------------------------------


@contextlib.contextmanager
def read(engine: Engine) -> Iterator[Connection]:
    """A transaction that sees one moment of the database and changes nothing. Raises `DatabaseUnavailable`."""
    with _transaction(engine, _deadline(engine), write=False) as connection:
        yield connection


def glance(engine: Engine, statement: sa.Select[Any], parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The rows of one statement, which sees one moment of the database by itself; `statement` is to be one that is made
    once. Raises `DatabaseUnavailable`.

    For SQLite past SQLAlchemy, which takes several times as long as the database for a transaction of one statement;
    values are as the driver gives them.
    """
    kept = _kept(engine)
    if kept is not None:
        text, names = _plain(statement, engine.dialect)
        try:
            driver = _taken(kept.drivers) or _own_driver(engine)
            found = driver.execute(text, [parameters[name] for name in names]).fetchall()
            # One that something went wrong with is not used again.
            kept.drivers.append(driver)
            return found
        except (sqlite3.Error, sa.exc.TimeoutError, _Locked):
            # What is to be waited for, and what is to be said, is known there.
            _LOG.debug("A glance at the database failed", exc_info=True)
    with read(engine) as connection:
        return [tuple(row) for row in connection.execute(statement, parameters)]


def _own_driver(engine: Engine) -> sqlite3.Connection:
    """One that the pool forgets: lending and giving back takes longer than a glance."""
    lent = engine.raw_connection()
    driver: sqlite3.Connection = lent.dbapi_connection  # type: ignore[assignment]
    lent.detach()
    return driver


@functools.lru_cache
def _plain(statement: sa.Select[Any], dialect: sa.Dialect) -> tuple[str, tuple[str, ...]]:
    """Its text, and the names of its parameters in their order. None of them may be a list."""
    compiled = statement.compile(dialect=dialect)
    assert isinstance(compiled, SQLCompiler) and not compiled.params.keys() - set(compiled.positiontup or ())
    return str(compiled), tuple(compiled.positiontup or ())


@contextlib.contextmanager
def write(engine: Engine) -> Iterator[Connection]:
    """A transaction that is committed on leaving and rolled back on any exception. Not to be nested.

    Raises `DatabaseUnavailable`, `Conflict` when a constraint refuses what was written, and `StaleGeneration` when
    the database gave way to another transaction: the whole is to be repeated.
    """
    with _turn(engine) as deadline, _transaction(engine, deadline, write=True) as connection:
        yield connection
        try:
            connection.commit()
        except BaseException:
            # On SQLite it may still be going on, with the lock of all writers, and nobody would roll it back.
            connection.invalidate()
            raise


@contextlib.contextmanager
def migration(engine: Engine) -> Iterator[Connection]:
    """A write transaction to change tables in. On SQLite foreign keys are checked at its end only, because
    tables are changed there by making them anew, and dropping the old one would empty those that refer to it."""
    with (
        _turn(engine) as deadline,
        contextlib.closing(_open(engine, deadline, write=True, detach=True)) as connection,
        _alone(connection),
    ):
        yield connection
        if engine.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
            raise DatabaseUnavailable("The change of the tables would leave rows that refer to nothing")
        connection.commit()


@contextlib.contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Nobody else migrates meanwhile. SQLite's transactions are alone anyhow."""
    if connection.dialect.name == "postgresql":
        # Both until the transaction ends.
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_NUMBER)))
        yield
    elif connection.dialect.name in ("mysql", "mariadb"):
        patience = float(connection.get_execution_options()[_PATIENCE])
        if connection.scalar(sa.select(sa.func.get_lock(_LOCK_NAME, patience))) != 1:
            raise DatabaseUnavailable(_STAYED_LOCKED)
        try:
            yield
        finally:
            connection.execute(sa.select(sa.func.release_lock(_LOCK_NAME)))
    else:
        yield


def locks_rows(connection: Connection) -> bool:
    """Whether others may write while this transaction does, so that it must lock (SELECT … FOR UPDATE) what it reads
    and relies on. False: it is alone."""
    return connection.dialect.name != "sqlite"


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


@contextlib.contextmanager
def _transaction(engine: Engine, deadline: float, *, write: bool) -> Iterator[Connection]:
    """One that ends with the `with` block: what is not committed there is rolled back."""
    connection = _open(engine, deadline, write=write)
    kept = _kept(engine)
    idle = [] if kept is None else kept.of(write=write)
    stays = False
    try:
        yield connection
        if kept is not None and len(idle) < _MOST_KEPT:
            connection.rollback()
            stays = True
    finally:
        if stays:
            idle.append(connection)
        else:
            # Rolls back by itself, and asks a server for that once only.
            connection.close()


def _kept(engine: Engine) -> _Kept | None:
    """None for every other kind of database than SQLite."""
    kept: _Kept | None = engine.get_execution_options().get(_KEPT)
    return kept


def _begin(engine: Engine, *, write: bool, detach: bool) -> Connection:
    kept = _kept(engine)
    again = None if kept is None or detach else _taken(kept.of(write=write))
    connection = again or engine.connect()
    try:
        if kept is None:
            connection.begin()
            if not write:
                # One snapshot over several statements.
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            return connection
        if detach:
            driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
            driver.execute("PRAGMA foreign_keys = OFF")
            # It must not go back to the pool like this.
            connection.detach()
        if again is None:
            connection = connection.execution_options(**{_BEGIN: "IMMEDIATE" if write else "DEFERRED"})
        connection.begin()
        if not write:
            # Takes the snapshot while being locked out (recovery after a crash) can still be waited for.
            _sqlite_statement(connection, "SELECT 1 FROM sqlite_master LIMIT 1")
    except BaseException:
        connection.close()
        raise
    return connection


def _taken(idle: list[_T]) -> _T | None:
    """One of what other threads take from, too."""
    try:
        return idle.pop()
    except IndexError:
        return None


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


def _log_refusal(context: ExceptionContext) -> None:
    """Why there is no connection is for the operator's eyes: it tells names of hosts and accounts."""
    if context.connection is None and not context.is_pre_ping:
        _LOG.error("No connection to the database: %s", str(context.original_exception).partition("\n")[0])


def _translate(context: ExceptionContext) -> BalancerError | None:
    """Our error for one of the driver's; None leaves it as it is: a mistake of ours."""
    original = context.original_exception
    if isinstance(original, sqlite3.Error):
        return _translate_sqlite(original)
    return _translate_server(context)


def _translate_server(context: ExceptionContext) -> BalancerError | None:
    original, wrapped = context.original_exception, context.sqlalchemy_exception
    if context.is_pre_ping:
        # Whatever is wrong with an idle connection, a new one is tried.
        context.is_disconnect = True
        return None
    first = original.args[0] if original.args else None
    if isinstance(first, str):
        # What follows the first line of PostgreSQL's text may be the whole row, passwords included.
        original.args = (first.partition("\n")[0],)
        state = getattr(original, "sqlstate", None) or ""
        if state:
            return _BY_SQLSTATE.get(state, _BY_SQLSTATE.get(state[:2], _nothing))()
    if isinstance(original, (OverflowError, UnicodeEncodeError)) or isinstance(wrapped, sa.exc.DataError):
        return _unfit()
    if (context.statement or "").startswith(("DESCRIBE", "SHOW")):
        # SQLAlchemy asks whether a table is there, and the error is the answer.
        return None
    if isinstance(first, int) and first in _BY_MYSQL_NUMBER:
        return _BY_MYSQL_NUMBER[first]()
    if context.is_disconnect or isinstance(wrapped, (sa.exc.OperationalError, sa.exc.InterfaceError)):
        return DatabaseUnavailable("The database cannot be reached or does not answer")
    return None


def _translate_sqlite(error: sqlite3.Error) -> BalancerError | None:
    if isinstance(error, sqlite3.IntegrityError):
        return _contradiction()
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return _Locked("The database is locked")
    if code in _SQLITE_SENTENCES:
        return DatabaseUnavailable(_SQLITE_SENTENCES[code])
    if isinstance(error, sqlite3.DataError):
        return _unfit()
    if str(error).startswith(("no such table", "no such column")) or "has no column named" in str(error):
        return _lacking()
    return None


def _nothing() -> None:
    return None


def _unfit() -> InvalidInput:
    return InvalidInput("A value is too long, too large or holds characters that cannot be stored")


def _contradiction() -> Conflict:
    return Conflict("The change contradicts what was stored meanwhile")


def _lacking() -> DatabaseNotSynced:
    return not_synced("The database lacks tables or columns that this version needs")


def _gave_way() -> StaleGeneration:
    return StaleGeneration("Somebody else changed the same at the same moment")


def _unavailable(sentence: str) -> Callable[[], DatabaseUnavailable]:
    return lambda: DatabaseUnavailable(sentence)


_REFUSED_LOGIN = _unavailable("The database refuses the login of [sql] connection")
_NO_DATABASE = _unavailable("The database of [sql] connection does not exist, or its login may not use it")
_NO_RIGHT = _unavailable("The database account lacks a right that is needed")
_CROWDED = _unavailable("The database takes no more connections")
_FULL = _unavailable("The disk that holds the database is full")
_READ_ONLY = _unavailable("The database takes no changes")
_LOCKED_LONG = _unavailable(_STAYED_LOCKED)

# By SQLSTATE, or by the first two characters of it.
_BY_SQLSTATE: Mapping[str, Callable[[], BalancerError | None]] = {
    "22": _unfit,
    "23503": _contradiction,
    "23505": _contradiction,
    "25006": _READ_ONLY,
    "25P02": _gave_way,  # the error before was the one that counts, and was got over
    "40": _gave_way,
    "42501": _NO_RIGHT,
    "42703": _lacking,
    "42P01": _lacking,
    "53": _unavailable("The database lacks resources"),
    "53100": _FULL,
    "53300": _CROWDED,
    "55P03": _LOCKED_LONG,
    "08": _unavailable("The database cannot be reached"),
    "57": _unavailable("The database is being stopped or started"),
    "58": _unavailable("The database failed"),
    "XX": _unavailable("The database failed"),
}
# By the number of MariaDB's and MySQL's message.
_BY_MYSQL_NUMBER: Mapping[int, Callable[[], BalancerError | None]] = {
    **dict.fromkeys((1264, 1300, 1366, 1367, 1406, 3988), _unfit),
    **dict.fromkeys((1062, 1451, 1452, 1586), _contradiction),
    **dict.fromkeys((1054, 1146), _lacking),
    # 1305: a savepoint, which went when the transaction gave way.
    **dict.fromkeys((1020, 1213, 1305), _gave_way),
    **dict.fromkeys((1045, 1698), _REFUSED_LOGIN),
    **dict.fromkeys((1044, 1049), _NO_DATABASE),
    **dict.fromkeys((1142, 1143, 1227), _NO_RIGHT),
    **dict.fromkeys((1040, 1203, 1226), _CROWDED),
    **dict.fromkeys((1021, 1114), _FULL),
    **dict.fromkeys((1290, 1792, 1836), _READ_ONLY),
    1205: _LOCKED_LONG,
}
