"""Opens the databases of a node, each with its driver, and closes them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from quartet_server.config import Config
from quartet_server.record_errors import DatabaseUnsuitable
from quartet_server.records.contract import Database
from quartet_server.records.ids import Ids
from quartet_server.records.metrics import RecordsCollector, Watched
from quartet_server.records.migrating import folder_of
from quartet_server.records.preparing import held, prepare_sqlite
from quartet_server.records.schema import Schema
from quartet_server.records.sqlite import SqliteDatabase
from quartet_server.records.watching import Watch

if TYPE_CHECKING:  # a node with SQLite needs no driver of PostgreSQL
    from quartet_server.records.postgres import PostgresDatabase

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


async def open_databases(
    config: Config, schemas: Sequence[Schema], undo: AsyncExitStack, registry: CollectorRegistry | None = None
) -> OpenDatabases:
    """Open a database for each of `schemas`, as `config.records` says, with their tables as the schemas have them.

    `undo` gets what closes them, `registry` their metrics.

    Raises:
        QuartetError: A database cannot be opened, or its tables are not those of this version.
        OSError: A file cannot be made.
    """
    ids = Ids(time.time, secrets.token_bytes)
    watches = {schema.database: _watch(config, schema.database) for schema in schemas}
    databases: Mapping[str, SqliteDatabase | PostgresDatabase]
    if config.records.url:
        databases = await _open_postgres(config, schemas, ids, watches, undo)
    else:
        databases = await _open_sqlite(config, schemas, ids, watches, undo)
    if registry is not None:
        watched = {name: Watched(one.writers, watches[name]) for name, one in databases.items()}
        registry.register(RecordsCollector(watched))
    found = {schema.database: schema for schema in schemas}
    return OpenDatabases(databases, found, shared=config.records.scope == "shared")


def _watch(config: Config, database: str) -> Watch:
    records = config.records
    return Watch(database, debug=records.debug_sql, slow_seconds=records.slow_query_ms / 1000)


async def _open_sqlite(
    config: Config, schemas: Sequence[Schema], ids: Ids, watches: Mapping[str, Watch], undo: AsyncExitStack
) -> dict[str, SqliteDatabase]:
    folder = config.serve.data_dir / FOLDER
    await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)
    undo.enter_context(held(folder))
    databases: dict[str, SqliteDatabase] = {}
    for schema in schemas:
        name, path = schema.database, database_file(config, schema.database)
        await asyncio.to_thread(prepare_sqlite, path, schema, allowed=config.records.migrate, folder=folder_of(name))
        database = SqliteDatabase(
            name, path, queue=config.records.queue, clock=time.time, new_id=ids, watch=watches[name]
        )
        undo.push_async_callback(database.close)
        databases[name] = database
    return databases


async def _open_postgres(
    config: Config, schemas: Sequence[Schema], ids: Ids, watches: Mapping[str, Watch], undo: AsyncExitStack
) -> Mapping[str, PostgresDatabase]:
    try:
        from quartet_server.records.pgpreparing import prepare_postgres
        from quartet_server.records.postgres import PostgresServer
    except ModuleNotFoundError as error:
        raise DatabaseUnsuitable(
            f"records.url names a PostgreSQL, and {error.name} is not installed", hint="pip install 'quartet[postgres]'"
        ) from error
    records = config.records
    paths = await asyncio.to_thread(
        prepare_postgres,
        records.url,
        schemas,
        allowed=records.migrate,
        connect_seconds=records.connect_seconds,
        folders=folder_of,
    )
    server = PostgresServer(
        records.url,
        new_id=ids,
        connections=records.connections,
        connect_seconds=records.connect_seconds,
        idle_seconds=records.idle_seconds,
    )
    undo.push_async_callback(server.close)
    databases = {}
    for name, path in paths.items():
        databases[name] = server.database(name, path, queue=records.queue, watch=watches[name])
        undo.push_async_callback(databases[name].close)
    return databases


def database_file(config: Config, name: str) -> Path:
    """Return where the file of a database is."""
    return config.serve.data_dir / FOLDER / f"{name}.db"
