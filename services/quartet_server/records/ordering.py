"""Orders of lists: `created_at desc, title`, with the primary key last, so that no two rows are equal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from quartet_server.errors import FieldInvalid
from quartet_server.record_errors import ColumnUnusable
from quartet_server.records.fields import Kind
from quartet_server.records.filtering import unknown
from quartet_server.records.schema import Record

MAX_COLUMNS = 8
MAX_LENGTH = 1024
"""Longest order, in characters."""

_PART = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_.]*)(?:\s+(asc|desc))?\s*", re.IGNORECASE)
_ORDERED = frozenset((Kind.TEXT, Kind.INTEGER, Kind.REAL, Kind.BOOLEAN, Kind.TIME, Kind.ENUM))


@dataclass(frozen=True, slots=True)
class Order:
    """An order of the rows of a record.

    Attributes:
        columns: Names, the primary key's last.
        descending: For each whether it goes down.
    """

    columns: tuple[str, ...]
    descending: tuple[bool, ...]

    def clauses(self, record: Record[Any]) -> list[sa.ColumnElement[Any]]:
        """Return what ORDER BY says."""
        table = record.table
        return [
            table.c[name].desc() if down else table.c[name].asc()
            for name, down in zip(self.columns, self.descending, strict=True)
        ]

    def after(self, record: Record[Any], values: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[bool]:
        """Return the condition that a row comes behind the one with `values`, which may be parameters."""
        columns = [record.table.c[name] for name in self.columns]
        if len(columns) == 1:
            return columns[0] < values[0] if self.descending[0] else columns[0] > values[0]
        if len(set(self.descending)) == 1:
            left, right = sa.tuple_(*columns), sa.tuple_(*values)
            return left < right if self.descending[0] else left > right
        behind: list[sa.ColumnElement[bool]] = []
        for place, (column, down) in enumerate(zip(columns, self.descending, strict=True)):
            same = [one == value for one, value in zip(columns[:place], values, strict=False)]
            behind.append(sa.and_(*same, column < values[place] if down else column > values[place]))
        first = columns[0] <= values[0] if self.descending[0] else columns[0] >= values[0]
        return sa.and_(first, sa.or_(*behind))  # the first says to an index where to begin


def order(record: Record[Any], text: str) -> Order:
    """Return the order that `order_by` asks for; empty is that of the primary key.

    Only columns that are never absent, and are no lists, maps, messages, bytes or vectors, can be ordered by.

    Raises:
        FieldInvalid: It is no list of columns, each with `asc`, `desc` or nothing behind it, or names one twice.
        ColumnUnknown: The record has no such column.
        ColumnUnusable: It cannot be ordered by that column.
    """
    if len(text) > MAX_LENGTH:
        raise FieldInvalid.of("order_by", f"has more than {MAX_LENGTH} characters")
    return _order(record, text)


@lru_cache(maxsize=256)
def _order(record: Record[Any], text: str) -> Order:
    found: dict[str, bool] = {}
    position = 1
    for part in text.split(",") if text.strip() else ():
        said = _PART.fullmatch(part)
        if said is None:
            raise FieldInvalid.of("order_by", f"character {position}: write it like created_at desc, title")
        name = said[1]
        _check(record, name, position + said.start(1))
        if name in found:
            raise FieldInvalid.of("order_by", f"character {position}: {name} is named twice")
        found[name] = (said[2] or "").lower() == "desc"
        position += len(part) + 1
    if len(found) > MAX_COLUMNS:
        raise FieldInvalid.of("order_by", f"names more than {MAX_COLUMNS} columns")
    last = next(reversed(found.values()), False)
    for name in record.key:
        found.setdefault(name, last)  # the same way as the last, which an index can go along
    return Order(tuple(found), tuple(found.values()))


def _check(record: Record[Any], name: str, position: int) -> None:
    field = record.fields.get(name)
    if field is None:
        raise unknown(record, name, "order_by", position)
    if field.kind in _ORDERED and not field.nullable:
        return
    why = "may be absent" if field.kind in _ORDERED else f"is {field.kind.value}"
    able = [one for one, field in record.fields.items() if field.kind in _ORDERED and not field.nullable]
    raise ColumnUnusable(
        f"order_by, character {position}: {name} {why}",
        hint=f"order by one of: {', '.join(able)}",
        violations={"order_by": f"{name} {why}"},
        column=name,
        position=position,
    )
