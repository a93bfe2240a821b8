"""Statements that are made once and run again and again.

What SQLAlchemy does around a statement takes several times as long as SQLite needs for most of ours. So on SQLite a
statement is compiled once, for each length of its lists and each set of columns that it writes, and is then given to
the driver: inside the transaction that SQLAlchemy has begun, with what SQLAlchemy knows of the types. Other databases,
which are asked over a network, are asked by SQLAlchemy.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.sql import visitors
from sqlalchemy.sql.compiler import SQLCompiler

from balancer.db.engine import sqlite_driver, sqlite_error
from balancer.db.mapping import Row, Values

_Process = Callable[[Any], Any]

_MOST_FORMS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bind:
    """What a placeholder stands for: a parameter, or one value of one that is a list. `process` makes it what is
    stored."""

    name: str
    position: int | None
    process: _Process | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """A statement as the driver gets it. `constants` are its parameters that callers do not give; `columns` and
    `processes` make rows of what the driver returns."""

    text: str
    binds: Sequence[_Bind]
    constants: Values
    columns: Sequence[str]
    processes: Sequence[tuple[str, _Process]]

    def values(self, parameters: Values) -> list[Any]:
        given = {**self.constants, **parameters} if self.constants else parameters
        values = []
        for bind in self.binds:
            value = given[bind.name]
            if bind.position is not None:
                value = value[bind.position]
            values.append(value if bind.process is None else bind.process(value))
        return values

    def row(self, values: Sequence[Any]) -> Row:
        row = dict(zip(self.columns, values, strict=True))
        for name, process in self.processes:
            row[name] = process(row[name])
        return row


class Prepared:
    """Every parameter of the statement that callers are to give has a name. Those that are lists are ``expanding``, and
    are given as sequences."""

    def __init__(self, statement: sa.Select[Any] | sa.Insert | sa.Update | sa.Delete) -> None:
        self.statement = statement
        binds = (each for each in visitors.iterate(statement) if isinstance(each, sa.BindParameter))
        self._lists = tuple(sorted({each.key for each in binds if each.expanding}))
        self._form = lru_cache(maxsize=_MOST_FORMS)(self._make_form)

    def rows(self, connection: Connection, parameters: Values | None = None) -> Sequence[Row]:
        """Of a SELECT."""
        driver = sqlite_driver(connection)
        if driver is None:
            return connection.execute(self.statement, parameters).mappings().all()
        form = self._form_for(connection, parameters or {})
        try:
            found = driver.execute(form.text, form.values(parameters or {})).fetchall()
        except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
            raise sqlite_error(error) from error
        return [form.row(each) for each in found]

    def run(self, connection: Connection, parameters: Values) -> int:
        """Write; returns how many rows that concerned."""
        driver = sqlite_driver(connection)
        if driver is None:
            return connection.execute(self.statement, parameters).rowcount
        form = self._form_for(connection, parameters)
        try:
            return driver.execute(form.text, form.values(parameters)).rowcount
        except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
            raise sqlite_error(error) from error

    def run_each(self, connection: Connection, parameters: Sequence[Values]) -> None:
        """Write once for each of the parameters, which all have the same names."""
        driver = sqlite_driver(connection)
        if driver is None:
            connection.execute(self.statement, parameters)
            return
        form = self._form_for(connection, parameters[0])
        try:
            driver.executemany(form.text, [form.values(each) for each in parameters])
        except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
            raise sqlite_error(error) from error

    def _form_for(self, connection: Connection, parameters: Values) -> _Form:
        lengths = tuple(len(parameters[name]) for name in self._lists)
        return self._form(connection.dialect, tuple(parameters), lengths)

    def _make_form(self, dialect: Dialect, names: tuple[str, ...], lengths: tuple[int, ...]) -> _Form:
        # Columns that nobody names are neither inserted nor updated.
        compiled = self.statement.compile(dialect=dialect, column_keys=list(names))
        assert isinstance(compiled, SQLCompiler)
        lists = {name: range(length) for name, length in zip(self._lists, lengths, strict=True)}
        expanded = compiled.construct_expanded_state({**dict.fromkeys(names), **lists})
        places = {
            part: (name, position)
            for name, parts in expanded.parameter_expansion.items()
            for position, part in enumerate(parts)
        }
        binds = [places.get(part, (part, None)) for part in expanded.positiontup or ()]
        columns = self.statement.column_descriptions if isinstance(self.statement, sa.Select) else []
        processes = ((each["name"], _reading(each["type"], dialect)) for each in columns)
        return _Form(
            text=expanded.statement,
            binds=[
                _Bind(name=name, position=position, process=_writing(compiled.binds[name].type, dialect))
                for name, position in binds
            ],
            constants={name: value for name, value in expanded.parameters.items() if name not in {*names, *places}},
            columns=[each["name"] for each in columns],
            processes=[(name, process) for name, process in processes if process is not None],
        )


def _writing(kind: sa.types.TypeEngine[Any], dialect: Dialect) -> _Process | None:
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _reading(kind: sa.types.TypeEngine[Any], dialect: Dialect) -> _Process | None:
    return kind.dialect_impl(dialect).result_processor(dialect, None)
