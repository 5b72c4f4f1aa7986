"""What a PostgreSQL gets before it is used: the role of services, a schema for each database, its tables and fences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import sqlalchemy as sa

from quartet_server.failure import QuartetError
from quartet_server.record_errors import DatabaseUnsuitable
from quartet_server.records.fields import VectorType
from quartet_server.records.migrating import VERSION_TABLE, Standing, bring_up, create, revision_of
from quartet_server.records.outages import driver_error, is_lost, of_postgresql
from quartet_server.records.postgres import create_engine, lock_of
from quartet_server.records.preparing import NOTHING, history_of
from quartet_server.records.roles import (
    EVERY_ZONE,
    check_service_role,
    ensure_service_role,
    secure,
    unfenced,
    vectors_schema,
)
from quartet_server.records.schema import Schema
from quartet_server.records.status import DatabaseStatus, status_of_postgres

Folders = Callable[[str], Path | None]
"""Returns where the revisions of a database are; None where it has none, and its tables are made as they are."""
SETUP = ("", "")
"""Name and zone whose lock is held while something is made that all databases use."""
_LOCK_WAIT = "600s"
"""How long a node waits for another one that migrates."""


def _nowhere(_database: str) -> None:
    """No database has revisions."""


def prepare_postgres(
    url: str,
    schemas: Sequence[Schema],
    *,
    allowed: bool = True,
    connect_seconds: float = 2.0,
    folders: Folders = _nowhere,
) -> dict[str, str]:
    """Bring the database that `url` names to the form of `schemas`; return the search path of each, by name.

    Several nodes may do so at once. `folders` has the revisions of each.

    Raises:
        DatabaseUnreachable: The server does not answer.
        DatabaseUnsuitable: The user of the URL may not do what is needed, or the server cannot.
        SchemaNewer, SchemaOlder, MigrationFailed: See `migrating.bring_up`.
    """
    engine = create_engine(url, connect_seconds=connect_seconds).execution_options(isolation_level="READ COMMITTED")
    name = ""
    try:
        types = _set_up(engine, schemas, allowed=allowed)
        paths = {}
        for schema in schemas:
            name = schema.database
            with engine.begin() as connection:
                _bring_up(connection, schema, types, allowed=allowed, folder=folders(name))
            paths[name] = search_path(name, types)
        return paths
    except sa.exc.DBAPIError as error:
        raise _told(error, name) from error
    finally:
        engine.dispose()


def standings_of_postgres(
    url: str, schemas: Sequence[Schema], *, connect_seconds: float = 2.0, folders: Folders = _nowhere
) -> dict[str, Standing]:
    """Return where each database is in its history, and change nothing. Raises SchemaNewer, DatabaseUnreachable."""
    engine = create_engine(url, connect_seconds=connect_seconds)
    try:
        with engine.connect() as connection:
            found = {}
            for schema in schemas:
                history = history_of(schema, folders(schema.database))
                known = history.standing(revision_of(connection, schema.database)) if history else NOTHING
                found[schema.database] = known
            return found
    except sa.exc.DBAPIError as error:
        raise _told(error, "") from error
    finally:
        engine.dispose()


def statuses_of_postgres(
    url: str, schemas: Sequence[Schema], *, connect_seconds: float = 2.0, folders: Folders = _nowhere
) -> list[DatabaseStatus]:
    """Return how each database is. Raises DatabaseUnreachable."""
    engine = create_engine(url, connect_seconds=connect_seconds)
    try:
        with engine.connect() as connection:
            return [status_of_postgres(connection, schema, folder=folders(schema.database)) for schema in schemas]
    except sa.exc.DBAPIError as error:
        raise _told(error, "") from error
    finally:
        engine.dispose()


def search_path(database: str, types: str) -> str:
    """Return where the tables of a database are, and the types they need."""
    return ", ".join(f'"{name}"' for name in (database, types) if name)


def has_vectors(schema: Schema) -> bool:
    """Tell whether a table of the schema has a column of vectors."""
    return any(isinstance(one.type, VectorType) for table in schema.metadata.tables.values() for one in table.c)


def _set_up(engine: sa.Engine, schemas: Sequence[Schema], *, allowed: bool) -> str:
    """Make what all databases use; return the schema of pgvector's type, empty where nothing needs it."""
    with engine.begin() as connection:
        _lock(connection, lock_of(*SETUP))
        if allowed:
            ensure_service_role(connection)
        check_service_role(connection)
        return vectors_schema(connection) if any(map(has_vectors, schemas)) else ""


def _bring_up(connection: sa.Connection, schema: Schema, types: str, *, allowed: bool, folder: Path | None) -> None:
    """Give a database its schema, tables and fences."""
    name = schema.database
    _lock(connection, lock_of(name, ""))
    history = history_of(schema, folder)
    run = connection.exec_driver_sql
    there = run("SELECT 1 FROM pg_namespace WHERE nspname = %s", (name,)).first() is not None
    if not there and allowed:
        run(f'CREATE SCHEMA "{name}"')
    run(f"SET LOCAL search_path = {search_path(name, types)}")
    run(f"SET LOCAL quartet.zone = '{EVERY_ZONE}'")  # revisions that change rows change those of all zones
    if history is not None:
        changed = bool(bring_up(connection, history, allowed=allowed, version_schema=name).pending)
    elif changed := not there:
        create(connection, schema)
    if changed:
        secure(connection, name)
    if found := unfenced(connection, name, besides=VERSION_TABLE):
        raise DatabaseUnsuitable(
            f"tables of database {name} have no row-level security: {', '.join(found)}",
            hint="quartet migrate --url URL, as the owner of the tables",
        )


def _lock(connection: sa.Connection, key: int) -> None:
    """Wait for other nodes that prepare the same; a migration may take longer than any other statement."""
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'")
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (key,))


def _told(error: sa.exc.DBAPIError, name: str) -> BaseException:
    told = of_postgresql(error, name or "of records")
    if isinstance(told, QuartetError):
        return told
    cause = driver_error(error)
    if cause is not None and (cause.sqlstate or "").startswith(("42", "28", "3D")) and not is_lost(error):
        first = str(cause).splitlines()[0]  # not permitted, not let in, no such database
        return DatabaseUnsuitable(f"the database of records.url cannot be prepared: {first}", database=name)
    return told
