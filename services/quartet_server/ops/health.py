"""How a database is at the moment, seen by the node that uses it."""

from __future__ import annotations

import asyncio

from quartet.ops.v1 import ops_pb2 as pb

from quartet_server.errors import QuartetError
from quartet_server.records.contract import Database, Dialect, Session
from quartet_server.records.engine import OpenDatabases
from quartet_server.records.migrating import folder_of
from quartet_server.records.status import DatabaseStatus, sqlite_status, status_of_postgres

PATIENCE = 5.0
"""Seconds after which a database that does not answer is told to be ill."""
_ZONE = ""
"""Of no zone: nothing here is anybody's row."""


async def of(opened: OpenDatabases, name: str) -> pb.DatabaseHealth:
    """Return how a database is; that it cannot be asked is an answer too."""
    database = opened.database(name)
    told = pb.DatabaseHealth(database=name, dialect=database.dialect.value, queue=queued(database))
    try:
        async with asyncio.timeout(PATIENCE):
            status = await database.read(_ZONE, lambda session: _seen(session, opened, name))
            await database.write(_ZONE, _nothing)
    except TimeoutError:
        told.problem = f"it does not answer within {PATIENCE:g} s"
    except QuartetError as error:
        told.problem = error.message[:300]
    else:
        told.healthy, told.problem = status.healthy, status.problem[:300]
        told.wal_mode, told.foreign_keys = status.wal_mode, status.foreign_keys
        told.tables.extend(status.tables)
        told.size_bytes, told.revision = status.size, status.revision
    return told


def queued(database: Database) -> int:
    """Return how many writes wait for a database."""
    writers = database.writers  # type: ignore[attr-defined]  # every driver has them, and no service needs them
    return sum(writer.waiting for writer in writers)


def _seen(session: Session, opened: OpenDatabases, name: str) -> DatabaseStatus:
    schema, folder = opened.schemas[name], folder_of(name)
    if session.dialect is not Dialect.SQLITE:
        return status_of_postgres(session.connection, schema, folder=folder)
    path = opened.database(name).path  # type: ignore[attr-defined]  # SQLite's is in a file
    return sqlite_status(session.connection, schema, path, folder=folder)


def _nothing(session: Session) -> None:
    """Show that the writer lives."""
