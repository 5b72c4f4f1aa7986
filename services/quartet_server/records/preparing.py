"""What SQLite's files get before they are used: a lock for the process, and their tables."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pysqlite3
import sqlalchemy as sa

from quartet_server.record_errors import DatabaseUnsuitable, MigrationFailed, SchemaOlder
from quartet_server.records.failures import of_sqlite
from quartet_server.records.migrating import History, Standing, bring_up, create, revision_of
from quartet_server.records.schema import Schema
from quartet_server.records.sqlite import engine, tables

NOTHING = Standing("", ())
"""Where a database is that has no history."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Have the files in `folder` for this process alone. Raises DatabaseUnsuitable where another one has them."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise DatabaseUnsuitable(
            f"another process uses the databases in {folder}", hint="stop the node first; quartet db status asks it"
        ) from None
    try:
        yield
    finally:
        os.close(descriptor)


def prepare_sqlite(path: Path, schema: Schema, *, allowed: bool = True, folder: Path | None = None) -> Standing:
    """Bring the file at `path`, made if need be, to the form of `schema`, and return where it was.

    `folder` has its revisions; without one its tables are made as they are.

    Raises:
        SchemaNewer, SchemaOlder, MigrationFailed: See `migrating.bring_up`.
        DatabaseDamaged, DatabaseFull: As it is.
    """
    history = history_of(schema, folder)
    if not (allowed or path.exists()):
        raise SchemaOlder(f"there is no database {schema.database} yet", database=schema.database)
    made = engine(path)
    try:
        with made.connect() as connection:
            run = connection.exec_driver_sql
            run("PRAGMA foreign_keys = OFF")  # a table that is made anew must not take along what refers to it
            run("BEGIN IMMEDIATE")
            try:
                if history is not None:
                    was = bring_up(connection, history, allowed=allowed)
                    _check_references(connection, schema.database, was)
                else:
                    was = NOTHING
                    if not tables(connection):
                        create(connection, schema)
                run("COMMIT")
            except BaseException:
                run("ROLLBACK")
                raise
            return was
    except (sa.exc.DBAPIError, pysqlite3.Error) as error:
        raise of_sqlite(error, schema.database) from error
    finally:
        made.dispose()


def standing_of_sqlite(path: Path, schema: Schema, *, folder: Path | None = None) -> Standing:
    """Return where the file at `path` is in its history, and change nothing. Raises SchemaNewer."""
    history = history_of(schema, folder)
    if history is None:
        return NOTHING
    if not path.exists():
        return history.standing("")
    made = engine(path, readonly=True)
    try:
        with made.connect() as connection:
            return history.standing(revision_of(connection))
    except (sa.exc.DBAPIError, pysqlite3.Error) as error:
        raise of_sqlite(error, schema.database) from error
    finally:
        made.dispose()


def history_of(schema: Schema, folder: Path | None) -> History | None:
    """Return the history of a database; None where no folder has one."""
    return History(schema.database, folder) if folder is not None and folder.is_dir() else None


def _check_references(connection: sa.Connection, database: str, was: Standing) -> None:
    """Make sure that the revisions left no row whose parent is gone. Raises MigrationFailed."""
    if was.pending and was.revision and (first := connection.exec_driver_sql("PRAGMA foreign_key_check").first()):
        raise MigrationFailed(
            f"after the migration a row of {first[0]} in database {database} would refer to one that is not there",
            database=database,
        )
