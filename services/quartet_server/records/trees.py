"""Messages inside of records as plain values that JSON knows, and back: compiled once a type, since every row passes here.

A field is there if it is set, under its name in the proto: numbers as numbers, enums as they are stored, bytes in base64, times
as RFC 3339 has them, a Struct as the object that it is.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from functools import cache
from typing import Any

from google.protobuf import struct_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from quartet_server.errors import FieldInvalid
from quartet_server.records.fields import STRUCT, TIMESTAMP, SchemaError, numbers, spellings

VALUE = "google.protobuf.Value"
_EXACT = 2**53  # integers up to here are what a double says they are
_F = FieldDescriptor
Dump = Callable[[Any, str], object]
"""Takes a value and the path of its field; returns what JSON knows. Raises FieldInvalid."""
Load = Callable[[Any, Any], None]
"""Takes an empty message, or a repeated field, and what JSON gave; fills it."""


def plain(value: struct_pb2.Value, path: str) -> object:
    """Return what a Value holds as Python's own; whole numbers are int. Raises FieldInvalid for a number without end."""
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        number = finite(value.number_value, path)
        whole = number.is_integer() and abs(number) <= _EXACT and (number or math.copysign(1, number) > 0)
        return int(number) if whole else number
    if kind == "struct_value":
        return {key: plain(one, path) for key, one in value.struct_value.fields.items()}
    if kind == "list_value":
        return [plain(one, path) for one in value.list_value.values]
    return value.bool_value if kind == "bool_value" else None


def finite(number: float, path: str) -> float:
    """Return `number`. Raises FieldInvalid where it is none, or has no end."""
    if not math.isfinite(number):
        raise FieldInvalid.of(path, f"has {number}, no finite number")
    return number


def struct(value: struct_pb2.Struct, path: str) -> dict[str, object]:
    """Return what a Struct holds as Python's own. Raises FieldInvalid."""
    return {key: plain(one, path) for key, one in value.fields.items()}


def put(target: struct_pb2.Value, value: object) -> None:
    """Set an empty Value to what JSON gave."""
    match value:
        case str():
            target.string_value = value
        case bool():
            target.bool_value = value
        case int() | float():
            target.number_value = value
        case dict():
            fill_struct(target.struct_value, value)
        case list():
            target.list_value.SetInParent()
            add = target.list_value.values.add
            for one in value:
                put(add(), one)
        case _:
            target.null_value = struct_pb2.NULL_VALUE


def fill_struct(target: struct_pb2.Struct, value: dict[str, Any]) -> None:
    """Put into an empty Struct what JSON gave."""
    target.SetInParent()
    fields = target.fields
    for key, one in value.items():
        if type(one) is str:
            fields[key].string_value = one
        else:
            put(fields[key], one)


@cache
def dumping(kind: Descriptor) -> Dump:
    """Return what turns a message of this type into an object. Raises SchemaError."""
    if kind.full_name == STRUCT:
        return struct
    if kind.full_name == VALUE:
        return plain
    if kind.full_name == TIMESTAMP:
        return lambda value, path: value.ToJsonString()
    by_number = {one.number: (one.name, _dump_field(one)) for one in kind.fields}

    def dump(value: Message, path: str) -> object:
        made = {}
        for field, content in value.ListFields():
            name, one = by_number[field.number]
            made[name] = one(content, path)
        return made

    return dump


def _dump_field(field: FieldDescriptor) -> Dump:
    one = dump_value(field)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return one
    if field.is_repeated:
        return lambda values, path: [one(value, path) for value in values]
    return one


def dump_value(field: FieldDescriptor) -> Dump:
    """Return what turns one value of a field into what JSON knows; of a map, all of it. Raises SchemaError."""
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        if kind.fields_by_name["value"].message_type is not None:
            raise SchemaError(f"{field.full_name}: a map of messages is no column; take a Struct")
        inner = dump_value(kind.fields_by_name["value"])
        return lambda values, path: {str(key): inner(value, path) for key, value in values.items()}
    if kind is not None:
        return dumping(kind)
    if field.enum_type is not None:
        return _enum(field)
    if field.type == _F.TYPE_BYTES:
        return lambda value, path: base64.b64encode(value).decode()
    if field.type in (_F.TYPE_DOUBLE, _F.TYPE_FLOAT):
        return finite
    return lambda value, path: value


def _enum(field: FieldDescriptor) -> Dump:
    assert field.enum_type is not None
    spelled = spellings(field.enum_type)

    def dump(value: int, path: str) -> object:
        if value not in spelled:
            raise FieldInvalid.of(path, f"has {value}; it takes: {', '.join(spelled.values())}")
        return spelled[value]

    return dump


@cache
def loading(kind: Descriptor) -> Load:
    """Return what fills a message of this type from an object; names it does not know are passed over."""
    if kind.full_name == STRUCT:
        return fill_struct
    if kind.full_name == VALUE:
        return put
    if kind.full_name == TIMESTAMP:
        return lambda message, value: message.FromJsonString(value)
    by_name = {one.name: load_field(one) for one in kind.fields}

    def load(message: Message, value: dict[str, Any]) -> None:
        message.SetInParent()
        for name, content in value.items():
            if (one := by_name.get(name)) is not None:
                one(message, content)

    return load


def load_field(field: FieldDescriptor) -> Load:
    """Return what sets a field of a message from what JSON gave."""
    name, kind = field.name, field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        read: Callable[[str], Any] = str if kind.fields_by_name["key"].type == _F.TYPE_STRING else int
        value = _reading(kind.fields_by_name["value"])
        return lambda message, found: getattr(message, name).update({read(k): value(v) for k, v in found.items()})
    if kind is not None:
        inner = loading(kind)
        if not field.is_repeated:
            return lambda message, found: inner(getattr(message, name), found)

        def add(message: Any, found: list[Any]) -> None:
            make = getattr(message, name).add
            for one in found:
                inner(make(), one)

        return add
    one = _reading(field)
    if field.is_repeated:
        return lambda message, found: getattr(message, name).extend(map(one, found))
    return lambda message, found: setattr(message, name, one(found))


def _reading(field: FieldDescriptor) -> Callable[[Any], Any]:
    """Return what turns a plain value into one of a field without messages."""
    if field.enum_type is not None:
        known = numbers(field.enum_type)
        return lambda value: known.get(value, 0)
    if field.type == _F.TYPE_BYTES:
        return _decoded
    return lambda value: value


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return b""
