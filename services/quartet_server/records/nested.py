"""Comparisons with what is inside of a column: elements of lists, values of maps, members of Structs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from google.protobuf.descriptor import FieldDescriptor

from quartet_server.records import members, operands
from quartet_server.records.comparisons import compared, either
from quartet_server.records.fields import STRUCT, Field
from quartet_server.records.operands import Asked, Operand

_F = FieldDescriptor
_ELEMENTS = {
    _F.TYPE_STRING: operands.TEXT,
    _F.TYPE_BOOL: operands.TRUTH,
    _F.TYPE_DOUBLE: operands.REAL,
    _F.TYPE_FLOAT: operands.REAL,
    _F.TYPE_BYTES: None,
}


def inside(asked: Asked, field: Field, column: sa.ColumnElement[Any], wanted: bool) -> sa.ColumnElement[bool]:
    """Return whether a list, a map or a Struct has what is asked for, or has not, as `wanted`. Raises ColumnUnusable, FilterTypeMismatch."""
    said, kind = asked.comparison, field.descriptor.message_type
    keys = said.path[1:]
    if field.descriptor.is_repeated and (kind is None or not kind.GetOptions().map_entry):
        if kind is not None or keys or said.operator != ":":
            hint = f"ask whether it has a value: {field.name}:VALUE" if kind is None else ""
            raise asked.unusable("is a list" if kind is None else "is a list of messages", hint=hint)
        element = _element(asked, field.descriptor)
        if said.value.star:
            raise asked.mismatch(element.wanted)
        return either(members.has(column, (), element.stored(asked)), wanted)
    entry = kind is not None and kind.GetOptions().map_entry
    if kind is None or not (entry or kind.full_name == STRUCT):
        raise asked.unusable("is a message, of which a filter can only ask whether it is there: = null")
    if not keys and said.operator != ":":
        raise asked.unusable("is a map", hint=f"write {field.name}.KEY = VALUE, or {field.name}:KEY")
    if entry and len(keys) > 1:
        raise asked.unusable("is no path: values of the map have no members")
    return _member(asked, kind.fields_by_name["value"] if entry else None, column, keys, wanted)


def _member(
    asked: Asked,
    entry: FieldDescriptor | None,
    column: sa.ColumnElement[Any],
    keys: Sequence[str],
    wanted: bool,
) -> sa.ColumnElement[bool]:
    """Ask what `keys` lead to in a Struct, or in a map whose values are `entry`s."""
    said = asked.comparison
    for key in keys:
        _check_key(asked, key)
    value = said.value
    if said.operator == ":":
        if value.anything:
            return either(members.member(members.Present, column, keys), wanted)
        if value.value is None or value.star:
            raise asked.mismatch("a key or a value")
        if entry is not None and keys:
            raise asked.unusable("is no list and no map, which : asks", hint=f"write {asked.name} = VALUE")
        key = str(value.value) if value.quoted else value.raw
        if not keys:
            _check_key(asked, key)
            return either(members.member(members.Present, column, (key,)), wanted)
        found = members.has(column, keys, value.value)
        if isinstance(value.value, str) and _sayable(key):
            found = sa.or_(found, members.member(members.Present, column, (*keys, key)))
        return either(found, wanted)
    if value.value is None and said.operator in ("=", "!="):
        return either(members.member(members.Absent, column, keys), wanted is (said.operator == "="))
    operand = _element(asked, entry) if entry is not None else _by_value(value.value)
    kinds = {operands.WHOLE: members.Number, operands.REAL: members.Number, operands.TRUTH: members.Truth}
    kind = kinds.get(operand, members.Text)
    return compared(asked, members.member(kind, column, keys), operand, True, wanted)


def _element(asked: Asked, descriptor: FieldDescriptor) -> Operand:
    """Return the operand of an element of a list, or a value of a map; raises ColumnUnusable for bytes."""
    if descriptor.enum_type is not None:
        return operands.choice(descriptor.enum_type)
    found = _ELEMENTS.get(descriptor.type, operands.WHOLE)
    if found is None:
        raise asked.unusable("is not filtered: it holds bytes")
    return found


def _by_value(value: object) -> Operand:
    if isinstance(value, bool):
        return operands.TRUTH
    return operands.REAL if isinstance(value, int | float) else operands.TEXT


def _sayable(key: str) -> bool:
    return key.isprintable() and not members.FORBIDDEN.intersection(key)


def _check_key(asked: Asked, key: str) -> None:
    if not _sayable(key):
        raise asked.unusable("is asked for a key with quotes, backslashes or characters that are not printed")
