"""What a field of a message is as a column: its kind, whether it may be NULL, its default."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import sqlalchemy as sa
from google.api.field_behavior_pb2 import FieldBehavior, field_behavior
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from quartet.options.v1 import options_pb2
from sqlalchemy.ext.compiler import compiles

from quartet_server.records.contract import Dialect

TIMESTAMP = "google.protobuf.Timestamp"
STRUCT = "google.protobuf.Struct"
ETAG = "etag"
"""A field of this name is no column: it is the row's revision, as text."""
MAINTAINED = ("created_at", "updated_at")
"""Times that the engine sets where they are OUTPUT_ONLY: at creation, and at every change."""

_F = FieldDescriptor
_INTEGERS = frozenset((_F.TYPE_INT32, _F.TYPE_INT64, _F.TYPE_UINT32, _F.TYPE_SINT32, _F.TYPE_SINT64, _F.TYPE_SFIXED32))
_REALS = frozenset((_F.TYPE_DOUBLE, _F.TYPE_FLOAT))


class SchemaError(Exception):
    """A message cannot be the table that its options make it: a mistake in a proto, found when the process starts."""


class Kind(Enum):
    """How a field is stored."""

    TEXT = "text"
    INTEGER = "integer"
    REAL = "real"
    BOOLEAN = "boolean"
    BYTES = "bytes"
    TIME = "time"
    ENUM = "enum"
    JSON = "json"
    VECTOR = "vector"


class VectorType(sa.types.UserDefinedType[bytes]):
    """Numbers of a vector: float32, little-endian, in a BLOB; with PostgreSQL pgvector's `vector` without a dimension."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Return PostgreSQL's name of the type; SQLite's is said by the dialect's compiler below."""
        return "vector"


@compiles(VectorType, Dialect.SQLITE.value)
def _blob(_type: VectorType, _compiler: object, **_: object) -> str:
    return "BLOB"


_TYPES: dict[Kind, sa.types.TypeEngine[Any]] = {
    Kind.TEXT: sa.Text(),
    Kind.INTEGER: sa.BigInteger(),
    Kind.REAL: sa.Double(),
    Kind.BOOLEAN: sa.Boolean(),
    Kind.BYTES: sa.LargeBinary(),
    Kind.TIME: sa.BigInteger(),
    Kind.ENUM: sa.Text(),
    Kind.JSON: sa.Text(),
    Kind.VECTOR: VectorType(),
}

_ZEROS = {Kind.TEXT: "", Kind.INTEGER: "0", Kind.REAL: "0", Kind.BOOLEAN: "false"}


@dataclass(frozen=True, slots=True)
class Field:
    """A field that is a column.

    Attributes:
        descriptor: The field.
        kind: How it is stored.
        nullable: Whether NULL stands for its absence.
        required: A record cannot be made without it.
        output_only: Only the server sets it.
        immutable: It cannot be changed once it is set.
        key: It is part of the primary key.
        default: Text of the value of a field that was left empty; None without one.
        references: (table, column) it refers to; None where it refers to nothing.
        cascade: The row is deleted with the one it refers to.
    """

    descriptor: FieldDescriptor
    kind: Kind
    nullable: bool
    required: bool
    output_only: bool
    immutable: bool
    key: bool
    default: str | None
    references: tuple[str, str] | None
    cascade: bool

    @property
    def name(self) -> str:
        """Name of the field and of the column."""
        return self.descriptor.name

    @property
    def enum(self) -> EnumDescriptor:
        """The enum of a field of that kind."""
        found = self.descriptor.enum_type
        assert found is not None
        return found

    def value(self, text: str) -> object:
        """Return what is stored for the default `text`. Raises SchemaError."""
        try:
            match self.kind:
                case Kind.TEXT:
                    return text
                case Kind.INTEGER:
                    return int(text)
                case Kind.REAL:
                    return float(text)
                case Kind.BOOLEAN:
                    return {"true": True, "false": False}[text]
                case Kind.ENUM:
                    return spellings(self.enum)[numbers(self.enum)[text]]
        except (ValueError, KeyError):
            pass
        raise SchemaError(f"{self.descriptor.full_name}: {text!r} is no default of a {self.kind.value} column")

    def column(self) -> sa.Column[Any]:
        """Return its column. Raises SchemaError."""
        text = self.default
        if text is None and not self.nullable and not self.required and not self.key:
            text = _ZEROS.get(self.kind)
        server_default: Any = None
        if text is not None:
            value = self.value(text)
            if isinstance(value, bool):
                server_default = sa.true() if value else sa.false()
            else:
                server_default = sa.text("'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value))
        return sa.Column(self.name, _TYPES[self.kind], nullable=self.nullable, server_default=server_default)


def field(descriptor: FieldDescriptor) -> Field:
    """Return what `descriptor` is as a column. Raises SchemaError."""
    options = descriptor.GetOptions()
    column = options.Extensions[options_pb2.column]
    behaviour = set(options.Extensions[field_behavior])
    kind = _kind(descriptor)
    default = column.default if column.HasField("default") else None
    required = FieldBehavior.REQUIRED in behaviour
    many = descriptor.is_repeated
    absent = many or descriptor.has_presence or kind is Kind.ENUM
    references = _references(column.references, descriptor)
    output_only = FieldBehavior.OUTPUT_ONLY in behaviour
    maintained = kind is Kind.TIME and output_only and descriptor.name in MAINTAINED
    found = Field(
        descriptor=descriptor,
        kind=kind,
        nullable=absent and not (required or maintained or column.primary_key) and default is None,
        required=required,
        output_only=output_only,
        immutable=FieldBehavior.IMMUTABLE in behaviour or column.primary_key,
        key=column.primary_key,
        default=default,
        references=references,
        cascade=column.on_delete == options_pb2.ON_DELETE_CASCADE,
    )
    if default is not None:
        found.value(default)
    if references is not None and not (found.nullable or required or found.key):
        raise SchemaError(f"{descriptor.full_name} refers to another record: it must be `optional`, REQUIRED or a key")
    return found


def _kind(descriptor: FieldDescriptor) -> Kind:
    if descriptor.is_repeated:
        return Kind.VECTOR if descriptor.type == _F.TYPE_FLOAT else Kind.JSON
    if descriptor.message_type is not None:
        return Kind.TIME if descriptor.message_type.full_name == TIMESTAMP else Kind.JSON
    if descriptor.type in _INTEGERS:
        return Kind.INTEGER
    if descriptor.type in _REALS:
        return Kind.REAL
    kinds = {_F.TYPE_STRING: Kind.TEXT, _F.TYPE_BOOL: Kind.BOOLEAN, _F.TYPE_BYTES: Kind.BYTES, _F.TYPE_ENUM: Kind.ENUM}
    if descriptor.type not in kinds:
        raise SchemaError(f"{descriptor.full_name}: no column holds every value of this type; take int64")
    return kinds[descriptor.type]


def _references(text: str, descriptor: FieldDescriptor) -> tuple[str, str] | None:
    if not text:
        return None
    table, dot, column = text.partition(".")
    if not (table and dot and column):
        raise SchemaError(f"{descriptor.full_name}: references {text!r} is not TABLE.COLUMN")
    return table, column


def spellings(enum: EnumDescriptor) -> dict[int, str]:
    """Return how each value of `enum` is stored, by number; the unspecified one is not."""
    start = _prefix(enum)
    return {value.number: value.name.removeprefix(start).lower() for value in enum.values if value.number}


def numbers(enum: EnumDescriptor) -> dict[str, int]:
    """Return the number of each value of `enum` by how it is stored."""
    return {text: number for number, text in spellings(enum).items()}


def _prefix(enum: EnumDescriptor) -> str:
    zero = enum.values_by_number[0].name
    if not zero.endswith("UNSPECIFIED"):
        raise SchemaError(f"{enum.full_name}: its zero is not *_UNSPECIFIED")
    return zero.removesuffix("UNSPECIFIED")
