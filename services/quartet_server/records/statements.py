"""The SQL that every record needs all the time, as text for the drivers' own cursors, made once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa

from quartet_server.records.contract import Dialect
from quartet_server.records.schema import REVISION, ZONE, Record


def quoted(name: str) -> str:
    """Return a name as both databases quote it; names are those of protos, which have no quotes in them."""
    return f'"{name}"'


def mark(dialect: Dialect) -> str:
    """Return what stands for a parameter."""
    return "?" if dialect is Dialect.SQLITE else "%s"


def _matching(record: Record[Any], dialect: Dialect) -> str:
    return " AND ".join(f"{quoted(name)} = {mark(dialect)}" for name in (ZONE, *record.key))


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(quoted, names))


@cache
def find(record: Record[Any], dialect: Dialect) -> str:
    """SELECT of a record's columns, and of its revision; parameters: zone, key."""
    names = _names((*record.codec.names, REVISION))
    return f"SELECT {names} FROM {quoted(record.name)} WHERE {_matching(record, dialect)}"  # noqa: S608


@cache
def insert(record: Record[Any], dialect: Dialect, *, skip: bool = False) -> str:
    """INSERT of a row, one that is there already left alone with `skip`; parameters: zone, columns, revision."""
    names = (ZONE, *record.codec.names, REVISION)
    marks = ", ".join([mark(dialect)] * len(names))
    end = " ON CONFLICT DO NOTHING" if skip else ""
    return f"INSERT INTO {quoted(record.name)} ({_names(names)}) VALUES ({marks}){end}"  # noqa: S608


@cache
def update(record: Record[Any], dialect: Dialect, names: tuple[str, ...]) -> str:
    """UPDATE of columns of a row; parameters: columns, revision, zone, key."""
    settings = ", ".join(f"{quoted(name)} = {mark(dialect)}" for name in (*names, REVISION))
    return f"UPDATE {quoted(record.name)} SET {settings} WHERE {_matching(record, dialect)}"  # noqa: S608


@cache
def delete(record: Record[Any], dialect: Dialect) -> str:
    """DELETE of a row; parameters: zone, key."""
    return f"DELETE FROM {quoted(record.name)} WHERE {_matching(record, dialect)}"  # noqa: S608


@cache
def columns(record: Record[Any]) -> sa.Select[Any]:
    """A SELECT of a record's columns and its revision, in SQLAlchemy's words, as `Codec.decode` takes them."""
    table = record.table
    return sa.select(*(table.c[name] for name in record.codec.names), table.c[REVISION])
