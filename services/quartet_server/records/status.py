"""How a database is, seen from outside of a node: its form, its settings, its tables and what they take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pysqlite3
import sqlalchemy as sa

from quartet_server.failure import QuartetError
from quartet_server.records.migrating import Standing, revision_of
from quartet_server.records.preparing import NOTHING, history_of
from quartet_server.records.schema import Schema
from quartet_server.records.sqlite import engine, tables


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """How a database is.

    Attributes:
        database: Its name.
        healthy: It answers, and has the form that this version needs.
        wal_mode: What is committed goes to a log first.
        foreign_keys: References are kept.
        tables: Its tables, by name.
        size: Bytes on disk.
        revision: What its form is; empty before the first migration.
        pending: Revisions that it lacks.
        problem: What is wrong; empty when it is healthy.
    """

    database: str
    healthy: bool
    wal_mode: bool = False
    foreign_keys: bool = False
    tables: tuple[str, ...] = ()
    size: int = 0
    revision: str = ""
    pending: tuple[str, ...] = ()
    problem: str = ""


def status_of_sqlite(path: Path, schema: Schema, *, folder: Path | None = None) -> DatabaseStatus:
    """Return how the file at `path` is; it is only read, and may be in use."""
    if not path.exists():
        return DatabaseStatus(schema.database, healthy=False, problem="there is no such file yet")
    made = engine(path, readonly=True)
    try:
        with made.connect() as connection:
            return sqlite_status(connection, schema, path, folder=folder)
    except (sa.exc.DBAPIError, pysqlite3.Error) as error:
        return DatabaseStatus(schema.database, healthy=False, problem=_first_line(error))
    finally:
        made.dispose()


def sqlite_status(
    connection: sa.Connection, schema: Schema, path: Path, *, folder: Path | None = None
) -> DatabaseStatus:
    """Return how the database is that `connection` reads from the file at `path`. Raises DBAPIError."""
    run = connection.exec_driver_sql
    sizes = [one.stat().st_size for one in (path, path.with_name(f"{path.name}-wal")) if one.exists()]
    return _judged(
        schema,
        folder,
        revision_of(connection),
        wal_mode=run("PRAGMA journal_mode").scalar() == "wal",
        foreign_keys=bool(run("PRAGMA foreign_keys").scalar()),
        found=tables(connection),
        size=sum(sizes),
    )


def status_of_postgres(connection: sa.Connection, schema: Schema, *, folder: Path | None = None) -> DatabaseStatus:
    """Return how a schema of the PostgreSQL at `connection` is. Raises DBAPIError."""
    run = connection.exec_driver_sql
    name = schema.database
    found = run("SELECT tablename FROM pg_tables WHERE schemaname = %s ORDER BY tablename", (name,)).scalars().all()
    if not found:
        return DatabaseStatus(name, healthy=False, problem="there is no such schema yet")
    size = run(
        "SELECT COALESCE(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relkind = 'r'",
        (name,),
    ).scalar_one()
    return _judged(
        schema,
        folder,
        revision_of(connection, name),
        wal_mode=True,  # a PostgreSQL has nothing else
        foreign_keys=run("SHOW session_replication_role").scalar() != "replica",
        found=list(found),
        size=int(size),
    )


def _judged(
    schema: Schema,
    folder: Path | None,
    revision: str,
    *,
    wal_mode: bool,
    foreign_keys: bool,
    found: Sequence[str],
    size: int,
) -> DatabaseStatus:
    standing, problem = NOTHING, ""
    try:
        history = history_of(schema, folder)
        standing = history.standing(revision) if history is not None else Standing(revision, ())
    except QuartetError as error:
        problem = error.message
    missing = sorted(set(schema.metadata.tables) - set(found))
    checks: list[tuple[object, Callable[[], str]]] = [
        (standing.pending, lambda: f"it lacks {len(standing.pending)} revisions: quartet migrate"),
        (missing, lambda: f"tables are missing: {', '.join(missing)}"),
        (not wal_mode, lambda: "it does not write a log first"),
        (not foreign_keys, lambda: "references are not kept"),
    ]
    problem = problem or next((say() for wrong, say in checks if wrong), "")
    return DatabaseStatus(
        schema.database,
        healthy=not problem,
        wal_mode=wal_mode,
        foreign_keys=foreign_keys,
        tables=tuple(found),
        size=size,
        revision=revision,
        pending=tuple(one.name for one in standing.pending),
        problem=problem,
    )


def _first_line(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    return str(cause).splitlines()[0] if str(cause) else type(cause).__name__
