"""The steps by which the tables came to be what `balancer.db.tables` says, and the means to take them (alembic).

A new step is a module in `versions`, begun with ``alembic.command.revision(configuration(), "what it does")``.
"""

from __future__ import annotations

import os
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect
from sqlalchemy.exc import DBAPIError

from balancer.db.engine import migration, not_synced, read, sqlite_path
from balancer.db.tables import metadata
from balancer.exceptions import ConfigurationError, DatabaseNotSynced, DatabaseUnavailable


def configuration(connection: Connection | None = None) -> Config:
    """For alembic's commands; those that touch a database want the `connection`."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def sync(engine: Engine) -> None:
    """Bring the tables to this version; an SQLite file is made when it is missing, for its owner's eyes only.

    All or nothing where the database can do that. Raises `ConfigurationError`, `DatabaseUnavailable`.
    """
    _create_file(engine)
    with migration(engine) as connection:
        if _refuse_newer(connection) is None:
            _refuse_others(connection)
        try:
            command.upgrade(configuration(connection), "head")
        except DBAPIError as error:
            raise DatabaseUnavailable(f"The tables could not be brought to this version: {error.orig}") from error


def downgrade(engine: Engine, revision: str) -> None:
    """Back to that revision; ``"base"`` drops everything."""
    with migration(engine) as connection:
        command.downgrade(configuration(connection), revision)


def check(engine: Engine) -> None:
    """Raises `DatabaseNotSynced` unless the tables are of this version."""
    path = sqlite_path(engine)
    if path is not None and not path.exists():
        raise not_synced(f"The database file {path} does not exist")
    with read(engine) as connection:
        present = _refuse_newer(connection)
    if present is None:
        raise not_synced("The database has no tables yet")
    if present != _scripts().get_current_head():
        raise not_synced("The tables of the database are of an older version")


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(configuration())


def _refuse_newer(connection: Connection) -> str | None:
    """The database's revision, None when it has none. Raises `DatabaseNotSynced` for an unknown one."""
    present = MigrationContext.configure(connection).get_current_revision()
    if present is not None and present not in {script.revision for script in _scripts().walk_revisions()}:
        raise DatabaseNotSynced(
            f"The tables of the database are of a newer version (revision {present}) than this program: "
            "upgrade the program, or give it another database"
        )
    return present


def _refuse_others(connection: Connection) -> None:
    """Raises `DatabaseUnavailable` when tables with our names are there and no revision is: not every database could
    undo what is done before one of them is in the way."""
    there = sorted(set(inspect(connection).get_table_names()) & set(metadata.tables))
    if there:
        raise DatabaseUnavailable(
            f"The database has tables that are not of any version of this program: {', '.join(there)}. Give the "
            "program a database of its own, or drop them if an interrupted --dbsync left them"
        )


def _create_file(engine: Engine) -> None:
    """It will hold the devices' passwords and keys. SQLite gives its other files the same rights."""
    path = sqlite_path(engine)
    if path is None:
        return
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigurationError(f"[sql] connection: cannot create {path}: {error.strerror}") from error
