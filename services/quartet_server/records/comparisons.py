"""One comparison as SQL, of a column or a member with a value: holding, or not holding, without leaving a NULL to decide."""

from __future__ import annotations

import operator
from typing import Any

import sqlalchemy as sa

from quartet_server.records.operands import Asked, Operand

_HOLDS = {"=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_FAILS = {"=": operator.ne, "<": operator.ge, "<=": operator.gt, ">": operator.le, ">=": operator.lt}


def compared(
    asked: Asked, left: sa.ColumnElement[Any], operand: Operand, nullable: bool, wanted: bool
) -> sa.ColumnElement[bool]:
    """Return whether `left`, which may be NULL if `nullable`, is as it is asked for, or is not, as `wanted`. Raises FilterTypeMismatch."""
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


def either(found: sa.ColumnElement[bool], wanted: bool) -> sa.ColumnElement[bool]:
    """Return what is `found`, which is never NULL, or its opposite, as `wanted`."""
    return found if wanted else sa.not_(found)


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
