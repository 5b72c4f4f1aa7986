"""`quartet migrate` and `quartet db status`: the form of the databases of records, and how they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Annotated, Any

import sqlalchemy as sa
from cyclopts import App, Parameter

from quartet_server.catalog import SCHEMAS
from quartet_server.cli.connection import Endpoints, connected
from quartet_server.cli.output import CommandError, Output, print_json, print_table, say
from quartet_server.cli.serve import ConfigFile
from quartet_server.config import Config
from quartet_server.failure import QuartetError
from quartet_server.records.engine import FOLDER, database_file
from quartet_server.records.migrating import Standing, folder_of
from quartet_server.records.preparing import held, prepare_sqlite, standing_of_sqlite
from quartet_server.records.schema import Schema
from quartet_server.records.status import DatabaseStatus, status_of_sqlite

_Configured = Annotated[Config | None, Parameter(show=False)]
_Url = Annotated[str, Parameter(help="postgresql://USER@HOST:PORT/NAME, in place of --records-url.")]
_COLUMNS = (
    "database",
    "healthy",
    "revision",
    "pending",
    "wal_mode",
    "foreign_keys",
    "tables",
    "size",
    "queue",
    "problem",
)


def register(app: App) -> App:
    """Add the commands to `app`; returns `db`, for others."""

    @app.command
    def migrate(
        database: Annotated[str, Parameter(help="Name of one database; without it, all of them.")] = "",
        /,
        *,
        dry_run: Annotated[bool, Parameter(negative="", help="Only show what would be done.")] = False,
        url: _Url = "",
        config: _Configured = None,
        config_file: ConfigFile = None,
        output: Output = "table",
    ) -> None:
        """Bring the tables of databases to the form that this version needs; nodes do so by themselves unless told not to.

        Takes --data-dir, --records-url and --config as `quartet serve` does. A database is at its old revision or at the
        new one, whatever fails in between. Refused while a node uses the files.

        **Examples**: `quartet migrate --dry-run`, `quartet migrate events --data-dir /var/lib/quartet`
        """
        config = _configured(config, url)
        with _told():
            standings = _migrate(config, _chosen(database), dry_run=dry_run)
        rows: list[dict[str, Any]] = [
            {"database": name, "revision": was.revision, "migrations": [one.name for one in was.pending]}
            for name, was in standings.items()
        ]
        if output == "json":
            print_json(rows)
            return
        shown = [{**row, "migrations": ", ".join(row["migrations"]) or None} for row in rows]
        print_table(shown, ("database", "revision", "migrations"))
        if dry_run:
            say("nothing was changed")

    db = App(name="db", help="Databases of records.")
    app.command(db)

    @db.command
    def status(
        *,
        endpoints: Endpoints = None,
        url: _Url = "",
        config: _Configured = None,
        config_file: ConfigFile = None,
        output: Output = "table",
    ) -> int:
        """Show how the databases of a running node are, or read it from their files or server. Ends with 1 when one is not healthy.

        With --data-dir, --records-url or --config, as `quartet serve` takes them, no node is asked, whether one runs or not:
        then it can tell which migrations are pending, and not how many writes are queued.

        **Examples**: `quartet db status`, `quartet db status --data-dir /var/lib/quartet -o json`
        """
        if config is None and not url:
            rows = _told_by_node(endpoints)
        elif endpoints:
            raise CommandError(
                "--endpoints goes with none of --data-dir, --records-url, --config and --url", exit_code=2
            )
        else:
            with _told():
                rows = [
                    {**asdict(one), "queue": None} for one in _status(_configured(config, url), list(SCHEMAS.values()))
                ]
        if output == "json":
            print_json(rows)
        else:
            print_table([_counted(row) for row in rows], _COLUMNS)
        return 0 if all(row["healthy"] for row in rows) else 1

    return db


def _told_by_node(endpoints: str | None) -> list[dict[str, Any]]:
    with connected(endpoints) as client:
        found = client.ops.health()
    return [
        {
            "database": one.database,
            "healthy": one.healthy,
            "wal_mode": one.wal_mode,
            "foreign_keys": one.foreign_keys,
            "tables": list(one.tables),
            "size": one.size_bytes,
            "revision": one.revision,
            "pending": None,
            "problem": one.problem,
            "queue": one.queue,
        }
        for one in found.databases
    ]


def _counted(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as people read it: how many tables and migrations there are, and not which."""
    pending = row["pending"]
    return {
        **row,
        "tables": len(row["tables"]),
        "pending": pending if pending is None else len(pending),
        "problem": row["problem"] or None,
    }


def _configured(config: Config | None, url: str) -> Config:
    config = config or Config()
    return replace(config, records=replace(config.records, url=url)) if url else config


def _chosen(database: str) -> list[Schema]:
    if not database:
        return list(SCHEMAS.values())
    if database not in SCHEMAS:
        raise CommandError(f"there is no database {database}", f"databases: {', '.join(SCHEMAS)}", exit_code=2)
    return [SCHEMAS[database]]


def _migrate(config: Config, schemas: Sequence[Schema], *, dry_run: bool) -> dict[str, Standing]:
    """Return where each database was. Raises QuartetError."""
    if config.records.url:
        from quartet_server.records import pgpreparing  # a node with SQLite needs no driver of PostgreSQL

        found = pgpreparing.standings_of_postgres(config.records.url, schemas, folders=folder_of)
        if not dry_run:
            pgpreparing.prepare_postgres(config.records.url, schemas, folders=folder_of)
        return found
    named = {schema.database: schema for schema in schemas}
    files = {name: database_file(config, name) for name in named}
    if dry_run:
        return {name: standing_of_sqlite(files[name], schema, folder=folder_of(name)) for name, schema in named.items()}
    folder = config.serve.data_dir / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with held(folder):
        return {name: prepare_sqlite(files[name], schema, folder=folder_of(name)) for name, schema in named.items()}


def _status(config: Config, schemas: Sequence[Schema]) -> list[DatabaseStatus]:
    if not config.records.url:
        return [
            status_of_sqlite(database_file(config, one.database), one, folder=folder_of(one.database))
            for one in schemas
        ]
    from quartet_server.records.pgpreparing import statuses_of_postgres

    return statuses_of_postgres(config.records.url, schemas, folders=folder_of)


@contextmanager
def _told() -> Iterator[None]:
    """Turn what keeps a database from being used into the command's error."""
    try:
        yield
    except QuartetError as error:
        raise CommandError(f"{error.message} [{error.reason}]", error.hint) from error
    except ModuleNotFoundError as error:
        raise CommandError(f"{error.name} is not installed", "pip install 'quartet[postgres]'") from error
    except (OSError, sa.exc.SQLAlchemyError) as error:
        raise CommandError(str(error), "quartet db status") from error
