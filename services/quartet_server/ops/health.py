"""How a database is at the moment."""

from __future__ import annotations

import asyncio

import sqlalchemy as sa
from quartet.ops.v1 import ops_pb2 as pb

from quartet_server.errors import QuartetError
from quartet_server.records.contract import Database, Dialect, Session
from quartet_server.records.schema import Schema

PATIENCE = 5.0
"""Seconds after which a database that does not answer is told to be ill."""
_ZONE = ""
"""Of no zone: nothing here is anybody's row."""


async def of(database: Database, schema: Schema) -> pb.DatabaseHealth:
    """Return how a database is; that it cannot be asked is an answer too."""
    told = pb.DatabaseHealth(database=database.name, dialect=database.dialect.value)
    try:
        async with asyncio.timeout(PATIENCE):
            told.MergeFrom(await database.read(_ZONE, _seen))
            told.MergeFrom(await database.write(_ZONE, _settings))
    except TimeoutError:
        told.problem = f"it does not answer within {PATIENCE:g} s"
    except QuartetError as error:
        told.problem = error.message[:300]
    told.queue = queued(database)
    missing = sorted(set(schema.metadata.tables) - set(told.tables))
    if not told.problem and missing:
        told.problem = f"it lacks the tables {', '.join(missing)[:250]}"
    if not told.problem and not (told.wal_mode and told.foreign_keys):
        told.problem = "it does not write ahead, or does not keep foreign keys"
    told.healthy = not told.problem
    return told


def queued(database: Database) -> int:
    """Return how many writes wait for a database."""
    writers = getattr(database, "writers", None) or (getattr(database, "writer"),)  # noqa: B009
    return sum(writer.waiting for writer in writers)


def _seen(session: Session) -> pb.DatabaseHealth:
    """Return what a reader sees: tables, size, revision."""
    run = session.connection.exec_driver_sql
    names = sorted(sa.inspect(session.connection).get_table_names())
    revision = ""
    if "alembic_version" in names:
        revision = ", ".join(run("SELECT version_num FROM alembic_version").scalars())
    if session.dialect is Dialect.SQLITE:
        size = run("PRAGMA page_count").scalar_one() * run("PRAGMA page_size").scalar_one()
    else:
        size = run(
            "SELECT COALESCE(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() AND c.relkind = 'r'"
        ).scalar_one()
    return pb.DatabaseHealth(tables=names, size_bytes=int(size), revision=revision)


def _settings(session: Session) -> pb.DatabaseHealth:
    """Return how the connection that writes is set; that it answers says that the writer lives."""
    if session.dialect is not Dialect.SQLITE:
        return pb.DatabaseHealth(wal_mode=True, foreign_keys=True)
    run = session.connection.exec_driver_sql
    return pb.DatabaseHealth(
        wal_mode=run("PRAGMA journal_mode").scalar_one() == "wal",
        foreign_keys=bool(run("PRAGMA foreign_keys").scalar_one()),
    )
