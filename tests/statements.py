"""Which statements a database is asked, whoever asks it."""

from __future__ import annotations

import re
import sqlite3
from typing import Any

import sqlalchemy as sa

_KINDS = ("SELECT", "INSERT", "UPDATE", "DELETE")
_VALUE = re.compile(r"'(?:[^']|'')*'|\b[0-9]+(?:\.[0-9]+)?\b")
# What a reading transaction begins with.
_BEGINNING = "SELECT 1 FROM sqlite_master"


def note_statements(engine: sa.Engine, seen: list[str]) -> None:
    """From now on `seen` gets every statement that goes over a connection that the engine hands out, without values:
    SQLite tells of them itself."""

    def note(statement: str) -> None:
        if statement.startswith(_KINDS) and not statement.startswith(_BEGINNING):
            seen.append(_VALUE.sub("?", statement))

    if engine.dialect.name == "sqlite":
        # Those that are kept are not handed out anew.
        engine.dispose()

        @sa.event.listens_for(engine, "checkout")
        def trace(driver: sqlite3.Connection, *rest: object) -> None:
            driver.set_trace_callback(note)

    else:

        @sa.event.listens_for(engine, "before_cursor_execute")
        def execute(connection: object, cursor: object, statement: str, *rest: Any) -> None:
            note(statement)
