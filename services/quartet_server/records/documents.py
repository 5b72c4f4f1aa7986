"""Fields that are stored as JSON: lists, maps, Structs, messages; canonical, so that equal values are equal text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from quartet_server.errors import FieldInvalid
from quartet_server.records import trees
from quartet_server.records.fields import STRUCT

REMEMBERED, SHORT = 1024, 512
"""How many texts of a field are remembered as wire bytes, and of how many characters at most: recipients and tags come again."""
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False).encode
_decode = json.JSONDecoder().decode


def dump(value: object) -> str:
    """Return canonical JSON: sorted keys, no spaces, characters as they are. Raises ValueError for a number without end."""
    return _encode(value)


def check(text: str, path: str) -> str:
    """Return JSON if PostgreSQL can look into it. Raises FieldInvalid where a string in it has a NUL character."""
    if "\\u0000" in text and _NUL.search(text):
        raise FieldInvalid.of(path, "has a NUL character")
    return text


def dumper(field: FieldDescriptor) -> Callable[[Any, str], str]:
    """Return what turns the value of a field into JSON; it takes the field's path for what it refuses. Raises SchemaError."""
    one = trees.dump_value(field)
    kind = field.message_type
    if field.is_repeated and not (kind is not None and kind.GetOptions().map_entry):
        return lambda value, path: _encode([one(each, path) for each in value])
    return lambda value, path: _encode(one(value, path))


def loader(field: FieldDescriptor, message: type[Message]) -> Callable[[Any, str], None]:
    """Return what sets a field of a `message` from its JSON."""
    load = trees.load_field(field)
    kind = field.message_type
    if kind is not None and kind.full_name == STRUCT:  # no two are the same
        return lambda target, text: load(target, _decode(text))

    @lru_cache(REMEMBERED)
    def wire(text: str) -> bytes:
        made = message()
        load(made, _decode(text))
        return made.SerializeToString()

    def from_text(target: Any, text: str) -> None:
        if len(text) <= SHORT:
            target.MergeFromString(wire(text))
        else:
            load(target, _decode(text))

    return from_text
