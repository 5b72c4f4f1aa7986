"""Filters as SQL: what `filters` reads, held against the columns of a record.

Logic has two values. A comparison with what is absent, NULL or a member that is not there, is false, but `!=` is true there: it
is the negation of `=`. So negations are carried down to the comparisons, and no NULL is left for SQL to decide.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from quartet_server.record_errors import ColumnUnknown
from quartet_server.records import filters, operands
from quartet_server.records.comparisons import compared
from quartet_server.records.fields import Kind
from quartet_server.records.filters import Comparison, Junction, Negation, Tree
from quartet_server.records.nested import inside
from quartet_server.records.operands import Asked
from quartet_server.records.schema import Record


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
        return inside(asked, field, column, wanted)
    if len(said.path) > 1:
        raise asked.unusable(f"is no path: {name} has no members")
    if said.operator == ":":
        raise asked.unusable("is no list and no map, which : asks", hint=f"write {name} = VALUE")
    operand = operands.choice(field.enum) if field.kind is Kind.ENUM else operands.SCALARS[field.kind]
    return compared(asked, column, operand, field.nullable, wanted)


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
