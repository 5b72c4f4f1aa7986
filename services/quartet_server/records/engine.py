"""Opens the databases of a node, each with its driver, and closes them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from quartet_server.config import Config
from quartet_server.records.contract import Database
from quartet_server.records.ids import Ids
from quartet_server.records.schema import Schema
from quartet_server.records.sqlite import SqliteDatabase, prepare

FOLDER = "records"
"""Where SQLite's files are, in the data directory."""


class OpenDatabases:
    """The databases of a node; see `Databases`.

    Attributes:
        shared: Whether all nodes use the same ones.
        schemas: What is in each, by name.
    """

    def __init__(self, databases: Mapping[str, Database], schemas: Mapping[str, Schema], *, shared: bool) -> None:
        """Offer `databases`, by name."""
        self._databases = databases
        self.schemas = schemas
        self.shared = shared

    def database(self, name: str) -> Database:
        """See `Databases`."""
        return self._databases[name]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the databases."""
        return tuple(self._databases)


async def open_databases(config: Config, schemas: Sequence[Schema], undo: AsyncExitStack) -> OpenDatabases:
    """Open a database for each of `schemas`, as `config.records` says, with their tables as the schemas have them.

    `undo` gets what closes them.

    Raises:
        QuartetError: A database cannot be opened, or its tables are not those of this version.
        OSError: A file cannot be made.
    """
    ids = Ids(time.time, secrets.token_bytes)
    folder = config.serve.data_dir / FOLDER
    databases: dict[str, Database] = {}
    await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)
    for schema in schemas:
        path = database_file(config, schema.database)
        await asyncio.to_thread(prepare, path, schema)
        database = SqliteDatabase(schema.database, path, queue=config.records.queue, clock=time.time, new_id=ids)
        undo.push_async_callback(database.close)
        databases[schema.database] = database
    return OpenDatabases(databases, {schema.database: schema for schema in schemas}, shared=False)


def database_file(config: Config, name: str) -> Path:
    """Return where the file of a database is."""
    return config.serve.data_dir / FOLDER / f"{name}.db"
