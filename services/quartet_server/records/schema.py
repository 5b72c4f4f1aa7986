"""Tables from messages: what the options of a proto make of it, as SQLAlchemy's tables with indexes named as it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import sqlalchemy as sa
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from quartet.options.v1 import options_pb2

from quartet_server.records import requests
from quartet_server.records.codec import Codec
from quartet_server.records.contract import Dialect
from quartet_server.records.fields import ETAG, Field, Kind, SchemaError, field, spellings

M = TypeVar("M", bound=Message)

ZONE, REVISION = "zone", "revision"
"""Columns of every table that no message has: whose row it is, and how often it was written."""


@dataclass(frozen=True, eq=False)
class Record(Generic[M]):
    """A message that is a table.

    Attributes:
        message: Its class.
        database: Name of its database.
        name: Name of the table.
        table: The table; its columns are `zone`, one a field, `revision`.
        fields: Its columns by name, without `zone` and `revision`, in the order of the message.
        key: Names of the primary key's columns, without the zone.
        codec: Turns messages into rows and back.
    """

    message: type[M]
    database: str
    name: str
    table: sa.Table
    fields: Mapping[str, Field]
    key: tuple[str, ...]
    codec: Codec[M]

    @property
    def descriptor(self) -> Descriptor:
        """The message's descriptor."""
        return cast("Descriptor", self.message.DESCRIPTOR)

    def __repr__(self) -> str:
        """Say which table it is."""
        return f"<Record {self.database}.{self.name}>"


@dataclass(frozen=True, eq=False)
class Schema:
    """All tables of a database.

    Attributes:
        database: Its name.
        owner: The one service that writes to it.
        records: Its tables that are messages.
        metadata: All its tables, also those written by hand; each has a column `zone`.
        ddl: Statements that make what SQLAlchemy has no words for (full-text tables, triggers), by dialect, to be run in
            order when the tables exist.
    """

    database: str
    owner: str
    records: tuple[Record[Any], ...]
    metadata: sa.MetaData
    ddl: Mapping[Dialect, Sequence[str]]

    def record(self, message: type[M]) -> Record[M]:
        """Return the table of a message; raises KeyError."""
        for one in self.records:
            if one.message is message:
                return cast("Record[M]", one)
        raise KeyError(f"{message.DESCRIPTOR.full_name} is no record of {self.database}")


def schema(
    database: str,
    *,
    owner: str,
    messages: Sequence[type[Message]],
    extra: Callable[[sa.MetaData], None] | None = None,
    ddl: Mapping[Dialect, Sequence[str]] | None = None,
) -> Schema:
    """Return the schema of `database` that `messages` make, parents before those that refer to them.

    Args:
        database: Its name, which the options of each message must say too.
        owner: Name of the service that owns it.
        messages: The records.
        extra: Adds tables written by hand to the metadata.
        ddl: See `Schema`.

    Raises:
        SchemaError: A message is not the table that its options make it.
    """
    metadata = sa.MetaData()
    records = tuple(_record(database, message, metadata) for message in messages)
    requests.add_table(metadata)
    if extra is not None:
        extra(metadata)
    for table in metadata.tables.values():
        if ZONE not in table.c:
            raise SchemaError(f"{database}.{table.name} has no column {ZONE}")
    _check_names(database, metadata)
    metadata.sorted_tables  # noqa: B018 - raises where a table refers to one that is not there
    return Schema(database, owner, records, metadata, dict(ddl or {}))


def _record(database: str, message: type[M], metadata: sa.MetaData) -> Record[M]:
    descriptor = message.DESCRIPTOR
    table = descriptor.GetOptions().Extensions[options_pb2.table]
    if table.database != database or not table.name:
        raise SchemaError(f"{descriptor.full_name} is a record of {table.database or 'no database'}, not of {database}")
    fields = {one.name: field(cast("FieldDescriptor", one)) for one in descriptor.fields if one.name != ETAG}
    key = tuple(name for name, one in fields.items() if one.key)
    if not key:
        raise SchemaError(f"{descriptor.full_name} has no primary key")
    if taken := {ZONE, REVISION}.intersection(fields):
        raise SchemaError(f"{descriptor.full_name}: {', '.join(taken)} is a name of the engine's own")
    parts: list[sa.schema.SchemaItem] = [
        sa.Column(ZONE, sa.Text, nullable=False),
        *(one.column() for one in fields.values()),
        sa.Column(REVISION, sa.BigInteger, nullable=False, server_default=sa.text("1")),
        sa.PrimaryKeyConstraint(ZONE, *key),
    ]
    for one in fields.values():
        parts += _constraints(table.name, one)
    made = sa.Table(table.name, metadata, *parts)
    for index in table.index:
        _index(made, index)
    return Record(message, database, table.name, made, fields, key, Codec(message, tuple(fields.values())))


def _constraints(table: str, one: Field) -> list[sa.schema.SchemaItem]:
    made: list[sa.schema.SchemaItem] = []
    if one.references is not None:
        other, column = one.references
        made.append(
            sa.ForeignKeyConstraint(
                [ZONE, one.name],
                [f"{other}.{ZONE}", f"{other}.{column}"],
                name=f"{table}_{one.name}_fkey",
                ondelete="CASCADE" if one.cascade else None,
            )
        )
    if one.kind is Kind.ENUM:
        values = ", ".join(f"'{text}'" for text in spellings(one.enum).values())
        made.append(sa.CheckConstraint(f"{one.name} IN ({values})", name=f"{table}_{one.name}_check"))
    return made


def _index(table: sa.Table, index: options_pb2.Index) -> None:
    """Add an index as the options say it, with the zone first. Raises SchemaError."""
    columns: list[Any] = [table.c[ZONE]]
    for part in index.columns.split(","):
        name, _, direction = part.strip().partition(" ")
        if name not in table.c or direction.strip().upper() not in ("", "ASC", "DESC") or not index.name:
            raise SchemaError(f"index {index.name!r} of {table.name}: there is no column {part.strip()!r}")
        columns.append(table.c[name].desc() if direction.strip().upper() == "DESC" else table.c[name])
    where = sa.text(index.where) if index.where else None
    sa.Index(index.name, *columns, unique=index.unique, sqlite_where=where, postgresql_where=where)


def _check_names(database: str, metadata: sa.MetaData) -> None:
    """Refuse two indexes, or an index and a table, of one name: SQLite and PostgreSQL have one set of names for both."""
    names = list(metadata.tables)
    for table in metadata.tables.values():
        names += [str(index.name) for index in table.indexes]
    if twice := {name for name in names if names.count(name) > 1}:
        raise SchemaError(f"{database}: more than one table or index is called {', '.join(sorted(twice))}")
