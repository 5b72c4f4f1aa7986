"""Databases of records for tests: a schema of notes, and what opens it in each driver."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from quartet_server.records.ids import Ids
from quartet_server.records.schema import Schema, schema
from quartet_server.records.sqlite import SqliteDatabase, prepare


def _notes(metadata: sa.MetaData) -> None:
    sa.Table(
        "notes",
        metadata,
        sa.Column("zone", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("text", sa.Text, nullable=False, server_default=""),
    )


def notes_schema(name: str = "notes") -> Schema:
    """Return the schema of a database with one table, written by hand."""
    return schema(name, owner="NoteService", messages=(), extra=_notes)


NOTES = notes_schema()
TABLE = NOTES.metadata.tables["notes"]


class Clock:
    """Seconds since 1970 that a test moves."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        """Begin at `now`."""
        self.now = now

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def open_sqlite(
    folder: Path, made: Schema = NOTES, *, queue: int = 1000, clock: Callable[[], float] | None = None
) -> SqliteDatabase:
    """Open a database in a file below `folder`, its tables made if need be."""
    path = folder / f"{made.database}.db"
    prepare(path, made)
    clock = clock or Clock()
    return SqliteDatabase(made.database, path, queue=queue, clock=clock, new_id=Ids(clock, bytes))
