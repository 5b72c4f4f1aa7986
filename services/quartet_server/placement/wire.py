"""Rows as they travel: the columns of a table with a type each, the same from both databases."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from google.protobuf.message import DecodeError
from quartet.cluster.peers.v1 import peers_pb2 as pb

from quartet_server.errors import FieldInvalid
from quartet_server.placement_errors import RowsDamaged
from quartet_server.records import floats
from quartet_server.records.contract import Dialect
from quartet_server.records.fields import VectorType
from quartet_server.records.schema import ZONE

SUM_BYTES = 16
_MODULUS = 1 << 8 * SUM_BYTES


def columns(table: sa.Table) -> tuple[sa.Column[Any], ...]:
    """Return the columns that travel: all but the zone and what the database computes."""
    return tuple(column for column in table.c if column.name != ZONE and column.computed is None)


def key(table: sa.Table) -> tuple[sa.Column[Any], ...]:
    """Return the columns of the primary key behind the zone."""
    return tuple(column for column in table.primary_key.columns if column.name != ZONE)


def late(tables: Sequence[sa.Table]) -> dict[str, tuple[str, ...]]:
    """Return, by table, the columns that refer to rows which may come later: of the same table, or of one further on."""
    found: dict[str, tuple[str, ...]] = {}
    for at, table in enumerate(tables):
        further = {one.name for one in tables[at:]}
        names = {
            element.parent.name
            for constraint in table.foreign_key_constraints
            if constraint.referred_table.name in further
            for element in constraint.elements
            if element.parent.name != ZONE and element.parent.nullable
        }
        if names:
            found[table.name] = tuple(column.name for column in table.c if column.name in names)
    return found


def encode(kinds: Sequence[sa.Column[Any]], row: Iterable[Any]) -> pb.Row:
    """Return a row's values as they travel."""
    return pb.Row(values=[_encoded(kind, value) for kind, value in zip(kinds, row, strict=True)])


def _encoded(kind: sa.Column[Any], value: Any) -> pb.Value:
    if value is None:
        return pb.Value()
    if isinstance(kind.type, VectorType):
        return pb.Value(vector=floats.pack(floats.unpack(value), kind.name))
    if isinstance(value, bool):
        return pb.Value(boolean=value)
    if isinstance(value, int):
        return pb.Value(integer=value)
    if isinstance(value, float):
        return pb.Value(real=value)
    if isinstance(value, str):
        return pb.Value(text=value)
    return pb.Value(blob=bytes(value))


def decode(kinds: Sequence[sa.Column[Any]], row: pb.Row, dialect: Dialect) -> dict[str, Any]:
    """Return what a row that arrived has in each column, as the database takes it. Raises FieldInvalid."""
    if len(row.values) != len(kinds):
        raise FieldInvalid.of("rows", f"a row has {len(row.values)} values for {len(kinds)} columns")
    return {kind.name: _decoded(kind, value, dialect) for kind, value in zip(kinds, row.values, strict=True)}


def _decoded(kind: sa.Column[Any], value: pb.Value, dialect: Dialect) -> Any:
    which = value.WhichOneof("kind")
    if which is None:
        return None
    if which != "vector":
        return getattr(value, which)
    if len(value.vector) % 4:
        raise FieldInvalid.of("rows", f"a vector in {kind.name} has {len(value.vector)} bytes")
    if dialect is Dialect.SQLITE:
        return value.vector
    return floats.text(floats.unpack(value.vector), kind.name)


class Sum:
    """The sum over rows that tells whether two databases hold the same: it does not depend on their order.

    Attributes:
        rows: How many there are.
    """

    def __init__(self, rows: int = 0, total: bytes = b"") -> None:
        """Begin with what was summed up before."""
        self.rows = rows
        self._total = int.from_bytes(total, "big")

    def add(self, row: pb.Row) -> None:
        """Add a row."""
        digest = hashlib.sha256(row.SerializeToString(deterministic=True)).digest()
        self._total = (self._total + int.from_bytes(digest[:SUM_BYTES], "big")) % _MODULUS
        self.rows += 1

    @property
    def total(self) -> bytes:
        """The sum, 16 bytes."""
        return self._total.to_bytes(SUM_BYTES, "big")

    def __eq__(self, other: object) -> bool:
        """Tell whether as many rows had the same sum."""
        return isinstance(other, Sum) and (self.rows, self.total) == (other.rows, other.total)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        """Say both."""
        return f"{self.rows} rows, {self.total.hex()}"


def digest(data: bytes) -> bytes:
    """Return what goes with rows in bytes, to be held against what arrives."""
    return hashlib.sha256(data).digest()


def parse(data: bytes, sent: bytes) -> pb.Rows:
    """Return the rows that bytes are. Raises RowsDamaged when they are not those that were `sent`, or no rows."""
    if digest(data) != sent:
        raise RowsDamaged("rows arrived with other bytes than they were sent with")
    try:
        return pb.Rows.FromString(data)
    except DecodeError as error:
        raise RowsDamaged(f"what arrived are no rows: {error}") from error
