"""Messages to rows and back: one closure a field, made once a type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from quartet_server.errors import FieldInvalid
from quartet_server.records import documents, floats
from quartet_server.records.contract import Dialect
from quartet_server.records.fields import STRUCT, Field, Kind, numbers, spellings

M = TypeVar("M", bound=Message)
Encode = Callable[[Any], object]
"""Takes a message, returns what is stored of one of its fields, None for NULL. Raises FieldInvalid."""
Decode = Callable[[Any, Any], None]
"""Takes a message and what is stored, which is not NULL, and sets the field."""

MAX_TEXT = 1024 * 1024
"""Longest text of a column in characters, its JSON included; contents that are larger belong into the ObjectStore."""
MICROSECONDS = 1_000_000
_FIRST, _LAST = -62_135_596_800, 253_402_300_799  # seconds of the years 1 and 9999, which a Timestamp may have


class Codec(Generic[M]):
    """Turns messages of one type into rows, values in the order of `names`, and back.

    Values are those that both drivers take and give: text, int, float, bool (SQLite gives 0 and 1), bytes; vectors are
    bytes with SQLite and text with PostgreSQL.

    Attributes:
        names: Names of the columns, in order, without `zone` and `revision`.
    """

    def __init__(self, message: type[M], fields: Sequence[Field]) -> None:
        """Compile the closures for `fields` of `message`."""
        self.names = tuple(one.name for one in fields)
        self._message = message
        self._encode = {dialect: tuple(_encoder(one, dialect) for one in fields) for dialect in Dialect}
        self._by_name = {dialect: dict(zip(self.names, self._encode[dialect], strict=True)) for dialect in Dialect}
        self._decode = tuple(_decoder(one) for one in fields)
        self._etag = "etag" in message.DESCRIPTOR.fields_by_name

    def encode(self, message: M, dialect: Dialect) -> list[object]:
        """Return the values of all columns. Raises FieldInvalid where a value cannot be stored."""
        return [one(message) for one in self._encode[dialect]]

    def encode_field(self, message: M, name: str, dialect: Dialect) -> object:
        """Return the value of one column. Raises FieldInvalid."""
        return self._by_name[dialect][name](message)

    def decode(self, row: Sequence[Any], revision: int | None = None) -> M:
        """Return the message of a row: values in the order of `names`. `revision` becomes its etag, if it has one."""
        message = self._message()
        for value, one in zip(row, self._decode, strict=False):
            if value is not None:
                one(message, value)
        if revision is not None and self._etag:
            message.etag = str(revision)  # type: ignore[attr-defined]
        return message


def micros(stamp: Timestamp) -> int:
    """Return microseconds since 1970; what is finer is cut off. Raises ValueError beyond the years 1 to 9999."""
    if not (_FIRST <= stamp.seconds <= _LAST and 0 <= stamp.nanos < 1_000_000_000):
        raise ValueError("is no moment of the years 1 to 9999")
    return stamp.seconds * MICROSECONDS + stamp.nanos // 1000


def stamp(value: int) -> Timestamp:
    """Return the moment `value` microseconds after 1970."""
    seconds, rest = divmod(value, MICROSECONDS)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def check_text(text: str, path: str, limit: int = MAX_TEXT) -> str:
    """Return `text` if it can be stored. Raises FieldInvalid where it is too long or has a NUL, which no database keeps."""
    if len(text) > limit:
        raise FieldInvalid.of(path, f"has {len(text)} characters, more than {limit}")
    if "\0" in text:
        raise FieldInvalid.of(path, "has a NUL character")
    return text


def _encoder(one: Field, dialect: Dialect) -> Encode:
    name = one.name
    present = one.descriptor.has_presence
    default = one.value(one.default) if one.default is not None else None
    take = _taker(one, dialect)

    def when_set(message: Any) -> object:
        return take(getattr(message, name)) if message.HasField(name) else default

    def when_any(message: Any) -> object:
        value = getattr(message, name)
        return take(value) if value else default

    if present:
        return when_set
    if default is not None or one.kind in (Kind.ENUM, Kind.JSON, Kind.VECTOR):
        return when_any
    return lambda message: take(getattr(message, name))


def _taker(one: Field, dialect: Dialect) -> Encode:
    """Return what turns the value of a field that is set into what is stored."""
    name = one.name
    match one.kind:
        case Kind.TEXT:
            limit = 512 if one.key or one.references else MAX_TEXT

            def text(value: str) -> object:
                return value if len(value) <= 512 and "\0" not in value else check_text(value, name, limit)

            return text
        case Kind.TIME:

            def moment(value: Timestamp) -> object:
                try:
                    return micros(value)
                except ValueError as error:
                    raise FieldInvalid.of(name, str(error)) from None

            return moment
        case Kind.ENUM:
            spelled = spellings(one.enum)

            def choice(value: int) -> object:
                found = spelled.get(value)
                if found is None:
                    raise FieldInvalid.of(name, f"is one of: {', '.join(spelled.values())}")
                return found

            return choice
        case Kind.JSON:
            dump = documents.dumper(one.descriptor)
            return lambda value: check_text(documents.check(dump(value, name), name), name)
        case Kind.VECTOR:
            as_bytes = dialect is Dialect.SQLITE
            return lambda value: floats.pack(value, name) if as_bytes else floats.text(value, name)
        case Kind.REAL:
            return lambda value: floats.finite(value, name)
    return lambda value: value


def _decoder(one: Field) -> Decode:
    name = one.name
    match one.kind:
        case Kind.TIME:

            def moment(message: Any, value: int) -> None:
                found = getattr(message, name)
                found.seconds, rest = divmod(value, MICROSECONDS)
                found.nanos = rest * 1000
                if not value:
                    found.SetInParent()

            return moment
        case Kind.ENUM:
            known = numbers(one.enum)
            return lambda message, value: setattr(message, name, known.get(value, 0))
        case Kind.JSON:
            load = documents.loader(one.descriptor)
            struct = one.descriptor.message_type is not None and one.descriptor.message_type.full_name == STRUCT
            if struct and not one.descriptor.is_repeated:
                return lambda message, value: documents.fill(getattr(message, name), value)
            return load
        case Kind.VECTOR:
            return lambda message, value: getattr(message, name).extend(floats.unpack(value))
        case Kind.BYTES:
            return lambda message, value: setattr(message, name, bytes(value))
        case Kind.BOOLEAN:
            return lambda message, value: setattr(message, name, bool(value))
    return lambda message, value: setattr(message, name, value)
