"""What is in a database, told from the code that made it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from quartet.ops.v1 import ops_pb2 as pb
from sqlalchemy.dialects import postgresql, sqlite

from quartet_server.records.contract import Database, Dialect, Session
from quartet_server.records.schema import ZONE, Schema

_DIALECTS: dict[Dialect, sa.Dialect] = {
    Dialect.SQLITE: sqlite.dialect(),
    Dialect.POSTGRESQL: postgresql.dialect(),  # type: ignore[no-untyped-call]  # SQLAlchemy's own
}


def described(schema: Schema, dialect: Dialect) -> pb.DatabaseSchema:
    """Return what a schema is with one dialect, without numbers of rows."""
    messages = {record.table.name: record.descriptor.full_name for record in schema.records}
    spelt = _DIALECTS[dialect]
    return pb.DatabaseSchema(
        database=schema.database,
        owner=schema.owner,
        tables=[
            pb.TableSchema(
                name=table.name,
                message=messages.get(table.name, ""),
                columns=[_column(column, spelt) for column in table.columns],
                indexes=sorted((_index(index, dialect, spelt) for index in table.indexes), key=lambda one: one.name),
            )
            for table in schema.metadata.sorted_tables
        ],
    )


async def count(told: pb.DatabaseSchema, schema: Schema, database: Database, zone: str) -> None:
    """Add how many rows of a zone there are in each table. Raises what reading does."""

    def work(session: Session) -> dict[str, int]:
        tables = schema.metadata.sorted_tables
        return {
            table.name: session.connection.execute(
                sa.select(sa.func.count()).select_from(table).where(table.c[ZONE] == zone)
            ).scalar_one()
            for table in tables
        }

    rows = await database.read(zone, work)
    for table in told.tables:
        table.rows = rows[table.name]


def _column(column: sa.Column[Any], dialect: sa.Dialect) -> pb.ColumnSchema:
    default = column.server_default
    return pb.ColumnSchema(
        name=column.name,
        type=column.type.compile(dialect=dialect),
        nullable=bool(column.nullable),
        default=str(default.arg) if isinstance(default, sa.DefaultClause) else "",
        primary_key=column.primary_key,
        references=next(
            (
                f"{key.column.table.name}.{key.column.name}"
                for key in sorted(column.foreign_keys, key=lambda one: one.target_fullname)
                if key.column.name != ZONE
            ),
            "",
        ),
    )


def _index(index: sa.Index, dialect: Dialect, spelt: sa.Dialect) -> pb.IndexSchema:
    where = index.dialect_options[dialect.value].get("where")
    return pb.IndexSchema(
        name=str(index.name),
        columns=[_sql(one, spelt) for one in index.expressions],
        unique=bool(index.unique),
        where="" if where is None else _sql(where, spelt),
    )


def _sql(one: Any, dialect: sa.Dialect) -> str:
    if isinstance(one, sa.Column):
        return one.name
    compiled = one.compile(dialect=dialect, compile_kwargs={"include_table": False, "literal_binds": True})
    return str(compiled)
