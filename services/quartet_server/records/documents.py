"""Fields that are stored as JSON: lists, maps, Structs, messages; canonical, so that equal values are equal text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from quartet_server.errors import FieldInvalid
from quartet_server.records.fields import STRUCT, SchemaError, numbers, spellings

_EXACT = 2**53  # integers up to here are what a double says they are
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_F = FieldDescriptor


def dump(value: object) -> str:
    """Return canonical JSON: sorted keys, no spaces, characters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)


def check(text: str, path: str) -> str:
    """Return JSON if PostgreSQL can look into it. Raises FieldInvalid where a string in it has a NUL character."""
    if "\\u0000" in text and _NUL.search(text):
        raise FieldInvalid.of(path, "has a NUL character")
    return text


def plain(value: struct_pb2.Value, path: str) -> object:
    """Return what a Value holds as Python's own; whole numbers are int. Raises FieldInvalid for a number without end."""
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        number = value.number_value
        if not math.isfinite(number):
            raise FieldInvalid.of(path, f"has {number}, no finite number")
        whole = number.is_integer() and abs(number) <= _EXACT and (number or math.copysign(1, number) > 0)
        return int(number) if whole else number
    if kind == "struct_value":
        return {key: plain(one, path) for key, one in value.struct_value.fields.items()}
    if kind == "list_value":
        return [plain(one, path) for one in value.list_value.values]
    return value.bool_value if kind == "bool_value" else None


def struct(value: struct_pb2.Struct, path: str) -> dict[str, object]:
    """Return what a Struct holds as Python's own. Raises FieldInvalid."""
    return {key: plain(one, path) for key, one in value.fields.items()}


def put(target: struct_pb2.Value, value: object) -> None:
    """Set `target` to a value as JSON gives it."""
    match value:
        case None:
            target.null_value = struct_pb2.NULL_VALUE
        case bool():
            target.bool_value = value
        case str():
            target.string_value = value
        case int() | float():
            target.number_value = value
        case dict():
            target.struct_value.SetInParent()
            for key, one in value.items():
                put(target.struct_value.fields[key], one)
        case list():
            target.list_value.SetInParent()
            for one in value:
                put(target.list_value.values.add(), one)


def fill(target: struct_pb2.Struct, text: str) -> None:
    """Put into an empty Struct what stored `text` says."""
    target.SetInParent()
    for key, one in json.loads(text).items():
        put(target.fields[key], one)


def dumper(field: FieldDescriptor) -> Callable[[Any, str], str]:
    """Return what turns the value of a field into JSON; it takes the field's path for what it refuses."""
    kind = field.message_type
    if kind is None:
        if field.enum_type is not None:
            spelled = spellings(field.enum_type)
            return lambda value, path: dump([_spelled(spelled, one, path) for one in value])
        return lambda value, path: _finite(list(value), path)
    if kind.GetOptions().map_entry:
        if kind.fields_by_name["value"].message_type is not None:
            raise SchemaError(f"{field.full_name}: a map of messages is no column; take a Struct")
        return lambda value, path: _finite({str(key): one for key, one in value.items()}, path)
    if kind.full_name == STRUCT:
        if field.is_repeated:
            return lambda value, path: dump([struct(one, path) for one in value])
        return lambda value, path: dump(struct(value, path))
    if field.is_repeated:
        return lambda value, path: dump([_document(one, path) for one in value])
    return lambda value, path: dump(_document(value, path))


def loader(field: FieldDescriptor) -> Callable[[Any, str], None]:
    """Return what sets a field of a message from its JSON."""
    name, kind = field.name, field.message_type
    if kind is None:
        if field.enum_type is not None:
            known = numbers(field.enum_type)
            return lambda message, text: getattr(message, name).extend(known.get(one, 0) for one in json.loads(text))
        return lambda message, text: getattr(message, name).extend(json.loads(text))
    if kind.GetOptions().map_entry:
        key = kind.fields_by_name["key"]
        read: Callable[[str], Any] = str if key.type == _F.TYPE_STRING else int
        return lambda message, text: getattr(message, name).update(
            {read(one): value for one, value in json.loads(text).items()}
        )
    if not field.is_repeated:
        return lambda message, text: _parse(json.loads(text), getattr(message, name))

    def add(message: Any, text: str) -> None:
        values = getattr(message, name)
        for one in json.loads(text):
            _parse(one, values.add())

    return add


def _spelled(spelled: Mapping[int, str], value: int, path: str) -> str:
    if value not in spelled:
        raise FieldInvalid.of(path, f"has {value}; it takes: {', '.join(spelled.values())}")
    return spelled[value]


def _finite(value: object, path: str) -> str:
    try:
        return dump(value)
    except ValueError:
        raise FieldInvalid.of(path, "has a number that is not finite") from None


def _document(message: Message, path: str) -> object:
    try:
        return json_format.MessageToDict(message, preserving_proto_field_name=True)
    except (json_format.Error, ValueError) as error:
        raise FieldInvalid.of(path, str(error)) from None


def _parse(value: Any, message: Message) -> None:
    message.SetInParent()
    json_format.ParseDict(value, message, ignore_unknown_fields=True)
