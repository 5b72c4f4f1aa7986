"""Brings the tables of a database to this version's form, by the committed revisions of its folder `migrations/`.

All that a start has to do to a database happens in one transaction, in both SQLs: it is at the old revision or at the new
one, whatever fails in between.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

import quartet_server
from quartet_server.record_errors import MigrationFailed, SchemaNewer, SchemaOlder
from quartet_server.records.contract import Dialect
from quartet_server.records.schema import Schema

VERSION_TABLE = "alembic_version"
_one_at_a_time = threading.Lock()  # Alembic's `op` is one for the process


@dataclass(frozen=True, slots=True)
class Revision:
    """A step of a database's history.

    Attributes:
        name: What the database notes as the revision that it is at.
        about: What it does, a sentence.
    """

    name: str
    about: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a database is in its history.

    Attributes:
        revision: What it is at; empty before the first.
        pending: What it lacks, oldest first.
    """

    revision: str
    pending: tuple[Revision, ...]


class History:
    """The revisions of a database, oldest first; read from files once."""

    def __init__(self, database: str, folder: Path) -> None:
        """Read the revisions in `folder`. Raises MigrationFailed where they are no line from a first to a last."""
        self.database = database
        self.folder = folder
        self.script = ScriptDirectory(str(folder), version_locations=[str(folder)])
        try:
            found = [Revision(str(one.revision), one.doc) for one in self.script.walk_revisions()]
        except CommandError as error:
            raise MigrationFailed(f"the migrations of {database} are no line: {error}", database=database) from error
        self.revisions: tuple[Revision, ...] = tuple(reversed(found))

    @property
    def head(self) -> str:
        """The newest revision; empty where there is none."""
        return self.revisions[-1].name if self.revisions else ""

    def standing(self, revision: str) -> Standing:
        """Return what a database at `revision` lacks. Raises SchemaNewer where this version does not know the revision."""
        names = [one.name for one in self.revisions]
        if revision and revision not in names:
            raise SchemaNewer(
                f"database {self.database} is at revision {revision}, which this version does not know",
                database=self.database,
                revision=revision,
                known=self.head,
            )
        return Standing(revision, self.revisions[names.index(revision) + 1 if revision else 0 :])


def folder_of(database: str) -> Path:
    """Return where the revisions of a database of this distribution are: in the folder of the service that owns it."""
    return Path(quartet_server.__file__).parent / database / "migrations"


def revision_of(connection: sa.Connection, version_schema: str | None = None) -> str:
    """Return the revision that the database at `connection` is at; empty where it has none."""
    options = {"version_table": VERSION_TABLE, "version_table_schema": version_schema}
    heads = MigrationContext.configure(connection, opts=options).get_current_heads()
    return ", ".join(heads)


def bring_up(
    connection: sa.Connection, history: History, *, allowed: bool, version_schema: str | None = None
) -> Standing:
    """Run the revisions that the database lacks, and return where it was; the transaction is the caller's to end.

    Raises:
        SchemaNewer: A newer version of this program was here.
        SchemaOlder: It lacks revisions and that is not `allowed` to change.
        MigrationFailed: A revision cannot be run; the transaction has to be undone.
    """
    was = history.standing(revision_of(connection, version_schema))
    if not was.pending:
        return was
    if not allowed:
        raise SchemaOlder(
            f"database {history.database} is at revision {was.revision or 'none'} and lacks {len(was.pending)}",
            database=history.database,
            revision=was.revision,
            known=history.head,
        )
    try:
        _upgrade(connection, history, version_schema)
    except (sa.exc.SQLAlchemyError, CommandError) as error:
        cause = getattr(error, "orig", None) or error
        raise MigrationFailed(
            f"database {history.database} cannot be brought from revision {was.revision or 'none'} to {history.head}:"
            f" {str(cause).splitlines()[0]}",
            database=history.database,
            revision=was.revision,
        ) from error
    return was


def create(connection: sa.Connection, schema: Schema) -> None:
    """Make all tables of `schema` as they are, without a history: for databases that have no folder of migrations."""
    schema.metadata.create_all(connection, checkfirst=False)
    _execute(connection, schema.ddl.get(Dialect(connection.dialect.name), ()))


def run(statements: Mapping[str, Sequence[str]]) -> None:
    """Run in a migration the statements of the dialect (`sqlite`, `postgresql`) that the database speaks, as they are."""
    connection = op.get_bind()
    _execute(connection, statements.get(connection.dialect.name, ()))


def _execute(connection: sa.Connection, statements: Sequence[str]) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})  # a % is a %


def _upgrade(connection: sa.Connection, history: History, version_schema: str | None) -> None:
    script = history.script

    def steps(revision: Any, _context: MigrationContext) -> Any:
        return script._upgrade_revs(history.head, revision)

    with _one_at_a_time, EnvironmentContext(Config(), script, fn=steps) as environment:
        environment.configure(
            connection=connection,
            version_table=VERSION_TABLE,
            version_table_schema=version_schema,
            transactional_ddl=True,
        )
        environment.run_migrations()
