"""`quartet db schema|health|check-references|backfill`: databases of records, asked of running nodes."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter
from quartet.ops.v1 import ops_pb2 as pb

from quartet_server.cli.connection import Endpoints, Zone, connected
from quartet_server.cli.output import Output, print_json, print_table, say

_HEALTH = ("database", "healthy", "dialect", "wal_mode", "foreign_keys", "tables", "size_bytes", "revision", "queue")


def register(db: App) -> None:
    """Add the commands to `db`."""

    @db.command
    def schema(
        database: Annotated[str, Parameter(help="Name of one; without it, all of them.")] = "",
        /,
        *,
        zone: Zone = "",
        endpoints: Endpoints = None,
        output: Output = "table",
    ) -> None:
        """Show what is in the databases: whose each is, its tables, and how many rows the zone has in them.

        `-o json` shows columns and indexes too.

        **Example**: `quartet db schema events -o json`
        """
        with connected(endpoints, zone, timeout=60.0) as client:
            found = client.ops.schema(database).databases
        if output == "json":
            print_json([_schema(one) for one in found])
            return
        rows = [
            {
                "database": one.database,
                "owner": one.owner,
                "table": table.name,
                "columns": len(table.columns),
                "indexes": len(table.indexes),
                "rows": table.rows,
            }
            for one in found
            for table in one.tables
        ]
        print_table(rows, ("database", "owner", "table", "columns", "indexes", "rows"))

    @db.command
    def health(*, endpoints: Endpoints = None, output: Output = "table") -> int:
        """Show how the databases of a running node are. Ends with 1 when one is not healthy.

        **Example**: `quartet db health --endpoints 127.0.0.1:7400`
        """
        with connected(endpoints) as client:
            found = client.ops.health()
        rows: list[dict[str, Any]] = [
            {
                **{name: getattr(one, name) for name in _HEALTH if name != "tables"},
                "tables": list(one.tables),
                "problem": one.problem,
            }
            for one in found.databases
        ]
        if output == "json":
            print_json(rows)
        else:
            print_table([{**row, "tables": len(row["tables"])} for row in rows], _HEALTH)
            for row in rows:
                if row["problem"]:
                    say(f"{row['database']}: {row['problem']}")
        return 0 if found.healthy else 1

    @db.command(name="check-references")
    def check_references(*, zone: Zone = "", endpoints: Endpoints = None, output: Output = "table") -> int:
        """Look for rows of the zone that name a row of another database which is not there. Ends with 1 when there are any.

        **Example**: `quartet db check-references --zone red -o json`
        """
        rows, summary = [], pb.ReferenceSummary()
        with connected(endpoints, zone) as client:
            for told in client.ops.check_references():
                if told.WhichOneof("told") == "summary":
                    summary = told.summary
                else:
                    one = told.dangling
                    rows.append({"column": one.column, "key": one.key, "value": one.value, "target": one.target})
        if output == "json":
            print_json({"references": summary.references, "checked": summary.checked, "dangling": rows})
        else:
            print_table(rows, ("column", "key", "value", "target"))
            say(f"{summary.checked} rows looked at, {summary.dangling} name what is not there")
        return 1 if rows else 0

    @db.command
    def backfill(
        job: Annotated[str, Parameter(help="Name of the job; without it, jobs are listed.")] = "",
        /,
        *,
        resume: Annotated[str, Parameter(help="Token of a run that was ended, to go on from there.")] = "",
        batch_size: Annotated[int, Parameter(help="Rows of a batch, up to 1,000; 0 for 500.")] = 0,
        zone: Zone = "",
        endpoints: Endpoints = None,
        output: Output = "table",
    ) -> None:
        """Run a job over all rows of the zone, a batch at a time; it can be ended at any time and gone on with.

        **Example**: `quartet db backfill events.derived --zone red`
        """
        with connected(endpoints, zone) as client:
            if not job:
                jobs = [{"name": one.name, "description": one.description} for one in client.ops.backfills()]
                if output == "json":
                    print_json(jobs)
                else:
                    print_table(jobs, ("name", "description"))
                return
            last = pb.BackfillResponse(resume_token=resume)
            try:
                for told in client.ops.backfill(job, resume_token=resume, batch_size=batch_size):
                    last = told
            finally:
                if last.resume_token:
                    say(f"go on with: quartet db backfill {job} --resume {last.resume_token}")
        if output == "json":
            print_json({"examined": last.examined, "changed": last.changed})
        else:
            say(f"{last.examined} rows looked at, {last.changed} changed")


def _schema(one: pb.DatabaseSchema) -> dict[str, Any]:
    return {
        "database": one.database,
        "owner": one.owner,
        "tables": [
            {
                "name": table.name,
                "message": table.message,
                "rows": table.rows,
                "columns": [
                    {
                        "name": column.name,
                        "type": column.type,
                        "nullable": column.nullable,
                        "default": column.default,
                        "primary_key": column.primary_key,
                        "references": column.references,
                    }
                    for column in table.columns
                ],
                "indexes": [
                    {"name": i.name, "columns": list(i.columns), "unique": i.unique, "where": i.where}
                    for i in table.indexes
                ],
            }
            for table in one.tables
        ],
    }
