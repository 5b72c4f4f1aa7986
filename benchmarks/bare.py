"""The databases without us: the ledger's own table and index, written and read by a program that does nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from quartet.events.v1 import event_pb2
from quartet_server.events.schema import SCHEMA
from quartet_server.records import sqlite, statements
from quartet_server.records.contract import Dialect
from quartet_server.records.schema import ZONE

RECORD = SCHEMA.record(event_pb2.Event)
_SECOND = 1_000_000


class Bare(Protocol):
    """A database with the ledger's tables, by its driver alone; all of it blocks."""

    dialect: Dialect

    def insert(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows in a transaction of their own, durably."""

    def query(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        """Run a query and fetch all it finds."""

    def close(self) -> None:
        """Give it up."""


class BareSqlite:
    """The standard way to use SQLite, with the settings that keep what was committed: WAL, synchronous=FULL."""

    dialect = Dialect.SQLITE

    def __init__(self, path: Path) -> None:
        """Open the file at `path`, with the ledger's tables, full text and triggers included."""
        made = sqlite.engine(path)
        with made.connect() as connection:
            create(connection, Dialect.SQLITE)
        made.dispose()
        self._connection = sqlite.connect(path, readonly=False)
        self._cursor = self._connection.cursor()

    def insert(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """See Bare."""
        self._cursor.execute("BEGIN IMMEDIATE")
        self._cursor.executemany(statements.insert(RECORD, self.dialect), rows)
        self._cursor.execute("COMMIT")

    def query(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        """See Bare."""
        found: list[Any] = self._cursor.execute(sql, tuple(parameters)).fetchall()
        return found

    def close(self) -> None:
        """See Bare."""
        self._connection.close()


class BarePostgres:
    """psycopg on a database of its own."""

    dialect = Dialect.POSTGRESQL

    def __init__(self, url: str) -> None:
        """Connect to the empty database at `url` and make the ledger's tables, full text included."""
        import psycopg

        made = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))
        with made.begin() as connection:
            create(connection, Dialect.POSTGRESQL)
        made.dispose()
        self._connection = psycopg.connect(url, autocommit=True)
        self._cursor = self._connection.cursor()

    def insert(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """See Bare."""
        with self._connection.transaction():
            self._cursor.executemany(statements.insert(RECORD, self.dialect), rows)

    def query(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        """See Bare."""
        return self._cursor.execute(sql, parameters).fetchall()

    def close(self) -> None:
        """See Bare."""
        self._connection.close()


def create(connection: sa.Connection, dialect: Dialect) -> None:
    """Make the tables of the events database."""
    SCHEMA.metadata.create_all(connection)
    for statement in SCHEMA.ddl.get(dialect, ()):
        connection.exec_driver_sql(statement)
    if dialect is Dialect.POSTGRESQL:
        connection.commit()


def rows(events: Sequence[event_pb2.Event], dialect: Dialect, first: int) -> list[tuple[Any, ...]]:
    """Return the rows of events, whose positions begin with `first`."""
    made = []
    for number, event in enumerate(events, first):
        event.id = f"{event.source}:{event.source_id}"
        event.position = number
        made.append(("default", *RECORD.codec.encode(event, dialect), 1))
    return made


def page(dialect: Dialect) -> str:
    """SELECT of a page of 1,000, newest first; parameter: a microsecond to begin before."""
    names = ", ".join(f'"{name}"' for name in RECORD.codec.names)
    mark = statements.mark(dialect)
    return (
        f"SELECT {names} FROM events WHERE {ZONE} = 'default' AND timestamp < {mark}"
        " ORDER BY timestamp DESC, id DESC LIMIT 1000"
    )


def search(dialect: Dialect) -> str:
    """The ten best events of a word, ranked; parameters: the word, once or twice."""
    if dialect is Dialect.SQLITE:
        return (
            "SELECT events.id, bm25(events_fts) AS rank, snippet(events_fts, 0, '[', ']', '...', 16) FROM events_fts"
            " JOIN events ON events.rowid = events_fts.rowid WHERE events_fts MATCH ? AND events.zone = 'default'"
            " ORDER BY rank LIMIT 10"
        )
    return (
        "SELECT id, ts_rank(events_fts, query) AS rank, ts_headline('english', content, query) FROM events,"
        " to_tsquery('english', %s) AS query WHERE events_fts @@ query AND zone = 'default' ORDER BY rank DESC LIMIT 10"
    )
