"""Databases with a history, in a place of one driver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from quartet_server.records import pgpreparing
from quartet_server.records.postgres import create_engine
from quartet_server.records.preparing import prepare_sqlite
from quartet_server.records.schema import Schema
from quartet_server.records.sqlite import engine

from harness import postgres


class Store:
    """A place for databases of one driver."""

    def __init__(self, driver: str, folder: Path) -> None:
        """Have files in `folder`, or a database of PostgreSQL's own."""
        self.driver = driver
        self._folder = folder
        self.url = postgres.fresh_database() if driver == "postgresql" else ""

    def prepare(self, schema: Schema, history: Path | None = None, *, allowed: bool = True) -> Sequence[str]:
        """Bring a database to the form of `schema`; return the names of the revisions that it lacked."""
        if self.url:
            names = {schema.database: history}
            was = pgpreparing.standings_of_postgres(self.url, [schema], folders=names.get)
            pgpreparing.prepare_postgres(self.url, [schema], allowed=allowed, folders=names.get)
            return [one.name for one in was[schema.database].pending]
        done = prepare_sqlite(self.path(schema), schema, allowed=allowed, folder=history)
        return [one.name for one in done.pending]

    def path(self, schema: Schema) -> Path:
        """Return the file of a database, with SQLite."""
        return self._folder / f"{schema.database}.db"

    @contextmanager
    def connected(self, schema: Schema) -> Iterator[sa.Connection]:
        """Look into a database as its owner, in a transaction that is undone."""
        made = create_engine(self.url, connect_seconds=2) if self.url else engine(self.path(schema))
        try:
            with made.connect() as connection:
                if self.url:
                    types = connection.exec_driver_sql("SHOW search_path").scalar_one()
                    connection.exec_driver_sql(f'SET search_path = "{schema.database}", {types}')
                    connection.exec_driver_sql("SET quartet.zone = '*'")
                yield connection
        finally:
            made.dispose()

    def close(self) -> None:
        """Delete it."""
        if self.url:
            postgres.drop_database(self.url)
