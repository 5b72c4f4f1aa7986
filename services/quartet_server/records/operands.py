"""What a filter compares a column with: values of its type, and clear words about all others."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import sqlalchemy as sa
from google.protobuf.descriptor import EnumDescriptor

from quartet_server.record_errors import ColumnUnusable, FilterTypeMismatch
from quartet_server.records.fields import Kind, spellings
from quartet_server.records.filters import Comparison

_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


Stored: TypeAlias = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Asked:
    """A comparison of a filter, and the name under which errors speak of its left side."""

    comparison: Comparison

    @property
    def name(self) -> str:
        """The path as it was written."""
        return ".".join(self.comparison.path)

    def mismatch(self, wanted: str) -> FilterTypeMismatch:
        """Return the error for a value that is not `wanted`."""
        return self._mismatch(wanted, f"is compared with {wanted}, not with {self.comparison.value.raw!r}")

    def unordered(self, wanted: str) -> FilterTypeMismatch:
        """Return the error for an operator that `wanted` does not have."""
        return self._mismatch(wanted, f"is {wanted}, compared by = and !=, not by {self.comparison.operator}")

    def _mismatch(self, wanted: str, why: str) -> FilterTypeMismatch:
        position = self.comparison.value.position
        what = f"{self.name} {why}"
        message = f"filter, character {position}: {what}"
        return FilterTypeMismatch(
            message, violations={"filter": what}, column=self.name, wanted=wanted, position=position
        )

    def unusable(self, why: str, hint: str = "") -> ColumnUnusable:
        """Return the error for a column that cannot be asked so."""
        position = self.comparison.position
        what = f"{self.name} {why}"
        message = f"filter, character {position}: {what}"
        return ColumnUnusable(message, hint=hint, violations={"filter": what}, position=position, column=self.name)


@dataclass(frozen=True, slots=True)
class Operand:
    """How values of a type are taken.

    Attributes:
        wanted: The type in words.
        sql: Its type in SQL.
        take: Returns what is stored for a value, None where it is of another type.
        ordered: Whether it has < and >.
        wild: Whether it takes a wildcard.
    """

    wanted: str
    sql: sa.types.TypeEngine[Any]
    take: Callable[[object], Stored | None]
    ordered: bool = True
    wild: bool = False

    def stored(self, asked: Asked) -> Stored:
        """Return the value of a comparison as it is stored. Raises FilterTypeMismatch."""
        found = self.take(asked.comparison.value.value)
        if found is None or (asked.comparison.value.star and not self.wild):
            raise asked.mismatch(self.wanted)
        return found


def _text(value: object) -> Stored | None:
    return value if isinstance(value, str) else None


def _whole(value: object) -> Stored | None:
    return value if type(value) is int and _SMALLEST <= value <= _LARGEST else None


def _real(value: object) -> Stored | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _truth(value: object) -> Stored | None:
    return value if isinstance(value, bool) else None


def _moment(value: object) -> Stored | None:
    if not isinstance(value, str) or not _STAMP.fullmatch(value.upper()):
        return None
    try:
        return (datetime.fromisoformat(value.upper()) - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        return None


TEXT = Operand('text, as "abc" or "abc*"', sa.Text(), _text, wild=True)
WHOLE = Operand("a whole number of 64 bits", sa.BigInteger(), _whole)
REAL = Operand("a number", sa.Double(), _real)
TRUTH = Operand("true or false", sa.Boolean(), _truth, ordered=False)
MOMENT = Operand("a moment, as 2026-01-31T08:00:00Z", sa.BigInteger(), _moment)


def choice(enum: EnumDescriptor) -> Operand:
    """Return the operand of an enum: its values as they are stored, or as the proto names them."""
    stored = spellings(enum)
    taken = {text: text for text in stored.values()} | {enum.values_by_number[n].name: t for n, t in stored.items()}

    def take(value: object) -> Stored | None:
        return taken.get(value) if isinstance(value, str) else None

    return Operand(f"one of {', '.join(stored.values())}", sa.Text(), take, ordered=False)


SCALARS = {
    Kind.TEXT: TEXT,
    Kind.INTEGER: WHOLE,
    Kind.REAL: REAL,
    Kind.BOOLEAN: TRUTH,
    Kind.TIME: MOMENT,
}
"""Operands by the kind of the column; an enum has a `choice` of its own."""
