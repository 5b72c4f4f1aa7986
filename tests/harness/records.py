"""Databases of records for tests: a schema of notes, and what opens it in each driver."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from grpc import aio
from quartet_server.config import Config
from quartet_server.domain import Domain, Resources
from quartet_server.records.contract import Database
from quartet_server.records.engine import OpenDatabases
from quartet_server.records.ids import Ids
from quartet_server.records.schema import Schema, schema
from quartet_server.records.sqlite import SqliteDatabase, prepare

from harness.served import away, served


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


class Opening:
    """Opens databases of a driver in a test's folder."""

    def __init__(self, driver: str, folder: Path, clock: Callable[[], float], undo: AsyncExitStack) -> None:
        """Open databases of `driver`, below `folder`; `undo` ends what was begun.

        With `-away` behind the driver's name services are called through a node that is not the home of any zone.
        """
        self.driver, _, away = driver.partition("-")
        self.away = bool(away)
        self._folder = folder
        self._clock = clock
        self._undo = undo

    async def database(self, made: Schema, *, queue: int = 1000) -> Database:
        """Return an empty database with the tables of `made`, or the one that it opened before, opened again."""
        opened = open_sqlite(self._folder, made, queue=queue, clock=self._clock)
        self._undo.push_async_callback(opened.close)
        return opened

    async def served(self, made: Schema, start: Callable[[Resources], Awaitable[Domain]]) -> aio.Channel:
        """Return a channel to a domain service over an empty database of the schema `made`, or to another node if `away`.

        The zone of a call is what its metadata `quartet-zone` says, as ever.
        """
        databases = OpenDatabases({made.database: await self.database(made)}, {made.database: made}, shared=False)
        nothing: Any = None  # what has records has no metadata
        resources = Resources(
            config=Config(),
            metastore=nothing,
            member=None,
            address="127.0.0.1:0",
            clock=self._clock,
            new_id=lambda: uuid.uuid4().hex,
            records=databases,
        )
        domain = await start(resources)
        address = await self._undo.enter_async_context(served([domain]))
        if self.away:
            address = await self._undo.enter_async_context(away([domain], address))
        options = [("grpc.max_receive_message_length", 64 * 1024**2)]
        return await self._undo.enter_async_context(aio.insecure_channel(address, options=options))


def open_sqlite(
    folder: Path, made: Schema = NOTES, *, queue: int = 1000, clock: Callable[[], float] | None = None
) -> SqliteDatabase:
    """Open a database in a file below `folder`, its tables made if need be."""
    path = folder / f"{made.database}.db"
    prepare(path, made)
    clock = clock or Clock()
    return SqliteDatabase(made.database, path, queue=queue, clock=clock, new_id=Ids(clock, bytes))
