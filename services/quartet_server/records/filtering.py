"""Filters as SQL: what `filters` reads, held against the columns of a record.

Logic has two values. A comparison with what is absent, NULL or a member that is not there, is false, but `!=` is true there: it
is the negation of `=`. So negations are carried down to the comparisons, and no NULL is left for SQL to decide.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from google.protobuf.descriptor import FieldDescriptor

from quartet_server.record_errors import ColumnUnknown
from quartet_server.records import filters, members, operands
from quartet_server.records.fields import STRUCT, Field, Kind
from quartet_server.records.filters import Comparison, Junction, Negation, Tree
from quartet_server.records.operands import Asked, Operand
from quartet_server.records.schema import Record

_HOLDS = {"=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_FAILS = {"=": operator.ne, "<": operator.ge, "<=": operator.gt, ">": operator.le, ">=": operator.lt}
_F = FieldDescriptor
_ELEMENTS = {
    _F.CPPTYPE_STRING: operands.TEXT,
    _F.CPPTYPE_BOOL: operands.TRUTH,
    _F.CPPTYPE_DOUBLE: operands.REAL,
    _F.CPPTYPE_FLOAT: operands.REAL,
    _F.CPPTYPE_INT32: operands.WHOLE,
    _F.CPPTYPE_INT64: operands.WHOLE,
    _F.CPPTYPE_UINT32: operands.WHOLE,
    _F.CPPTYPE_UINT64: operands.WHOLE,
}


def where(record: Record[Any], text: str) -> sa.ColumnElement[bool]:
    """Return the condition that a filter is on the rows of `record`; one that always holds for an empty filter.

    Raises:
        FilterInvalid: It cannot be read, or is larger than the limits of `filters`.
        ColumnUnknown: The record has no such column.
        ColumnUnusable: The column cannot be asked so.
        FilterTypeMismatch: A value is not of the column's type.
    """
    tree = filters.parse(text)
    return sa.true() if tree is None else _condition(record, tree, True)


def _condition(record: Record[Any], tree: Tree, wanted: bool) -> sa.ColumnElement[bool]:
    """Return the condition that `tree` holds, or does not, as `wanted`."""
    match tree:
        case Negation(term):
            return _condition(record, term, not wanted)
        case Junction(every, terms):
            parts = [_condition(record, one, wanted) for one in terms]
            return sa.and_(*parts) if every is wanted else sa.or_(*parts)
    return _comparison(record, tree, wanted)


def _comparison(record: Record[Any], said: Comparison, wanted: bool) -> sa.ColumnElement[bool]:
    asked, name = Asked(said), said.path[0]
    field = record.fields.get(name)
    if field is None:
        raise unknown(record, name, "filter", said.position)
    if field.kind in (Kind.BYTES, Kind.VECTOR):
        raise asked.unusable("is not filtered: it holds bytes or numbers of a vector")
    column: sa.ColumnElement[Any] = record.table.c[name]
    if said.operator in (":", "=", "!=") and len(said.path) == 1:
        absent = said.value.value is None and said.operator != ":"
        if absent or (said.value.anything and said.operator == ":"):
            if not field.nullable:
                raise asked.unusable("is never absent")
            return column.is_(None) if (absent and said.operator == "=") is wanted else column.is_not(None)
    if field.kind is Kind.JSON:
        return _document(asked, field, column, wanted)
    if len(said.path) > 1:
        raise asked.unusable(f"is no path: {name} has no members")
    if said.operator == ":":
        raise asked.unusable("is no list and no map, which : asks", hint=f"write {name} = VALUE")
    operand = operands.choice(field.enum) if field.kind is Kind.ENUM else operands.SCALARS[field.kind]
    return _value(asked, column, operand, field.nullable, wanted)


def unknown(record: Record[Any], name: str, field: str, position: int) -> ColumnUnknown:
    """Return the error for a column that `record` does not have, named in a `field` of the request."""
    what = f"{record.descriptor.name} has no column {name[:64]}"
    return ColumnUnknown(
        f"{field}, character {position}: {what}",
        hint=f"it has: {', '.join(record.fields)}",
        violations={field: what},
        column=name[:64],
        record=record.descriptor.name,
        position=position,
    )


def _value(
    asked: Asked, left: sa.ColumnElement[Any], operand: Operand, nullable: bool, wanted: bool
) -> sa.ColumnElement[bool]:
    """Compare `left`, which may be NULL if `nullable`, with the value that was asked for."""
    said = asked.comparison
    sign = said.operator
    if sign == "!=":
        sign, wanted = "=", not wanted
    if sign != "=" and (not operand.ordered or said.value.star):
        raise asked.unordered(operand.wanted)
    right = sa.literal(operand.stored(asked), operand.sql)
    found: sa.ColumnElement[bool]
    if said.value.star:
        found = _begins(left, str(said.value.value), wanted)
    else:
        found = (_HOLDS if wanted else _FAILS)[sign](left, right)
    return found if wanted or not nullable else sa.or_(found, left.is_(None))


def _document(asked: Asked, field: Field, column: sa.ColumnElement[Any], wanted: bool) -> sa.ColumnElement[bool]:
    """Ask a list, a map or a Struct."""
    said, kind = asked.comparison, field.descriptor.message_type
    keys = said.path[1:]
    if field.descriptor.is_repeated and (kind is None or not kind.GetOptions().map_entry):
        if kind is not None or keys or said.operator != ":":
            hint = f"ask whether it has a value: {field.name}:VALUE" if kind is None else ""
            raise asked.unusable("is a list" if kind is None else "is a list of messages", hint=hint)
        enum = field.descriptor.enum_type
        element = operands.choice(enum) if enum is not None else _ELEMENTS.get(field.descriptor.cpp_type)
        if element is None or said.value.star:
            raise asked.mismatch(element.wanted if element else "nothing")
        return _either(members.has(column, (), element.stored(asked)), wanted)
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
            return _either(members.member(members.Present, column, keys), wanted)
        if value.value is None or value.star:
            raise asked.mismatch("a key or a value")
        if entry is not None and keys:
            raise asked.unusable("is no list and no map, which : asks", hint=f"write {asked.name} = VALUE")
        key = str(value.value) if value.quoted else value.raw
        if not keys:
            _check_key(asked, key)
            return _either(members.member(members.Present, column, (key,)), wanted)
        found = members.has(column, keys, value.value)
        if isinstance(value.value, str) and _sayable(key):
            found = sa.or_(found, members.member(members.Present, column, (*keys, key)))
        return _either(found, wanted)
    if value.value is None and said.operator in ("=", "!="):
        return _either(members.member(members.Absent, column, keys), wanted is (said.operator == "="))
    operand = _ELEMENTS.get(entry.cpp_type, operands.WHOLE) if entry is not None else _by_value(value.value)
    kind = {operands.TEXT: members.Text, operands.TRUTH: members.Truth}.get(operand, members.Number)
    return _value(asked, members.member(kind, column, keys), operand, True, wanted)


def _by_value(value: object) -> Operand:
    if isinstance(value, bool):
        return operands.TRUTH
    return operands.REAL if isinstance(value, int | float) else operands.TEXT


def _either(found: sa.ColumnElement[bool], wanted: bool) -> sa.ColumnElement[bool]:
    return found if wanted else sa.not_(found)


def _sayable(key: str) -> bool:
    return key.isprintable() and not members.FORBIDDEN.intersection(key)


def _check_key(asked: Asked, key: str) -> None:
    if not _sayable(key):
        raise asked.unusable("is asked for a key with quotes, backslashes or characters that are not printed")


def _begins(left: sa.ColumnElement[Any], start: str, wanted: bool) -> sa.ColumnElement[bool]:
    """Return whether a text begins with `start`, as a range, which an index knows: texts are ordered by their characters."""
    last = len(start) - 1
    while last >= 0 and start[last] == "\U0010ffff":
        last -= 1
    least = sa.literal(start, sa.Text())
    if last < 0:
        return left >= least if wanted else left < least
    following = ord(start[last]) + 1
    bound = sa.literal(start[:last] + chr(0xE000 if following == 0xD800 else following), sa.Text())
    return sa.and_(left >= least, left < bound) if wanted else sa.or_(left < least, left >= bound)
