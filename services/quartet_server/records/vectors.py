"""The records whose vectors are nearest to one: every vector is looked at, with either database.

SQLite measures with sqlite-vec's functions over BLOBs, PostgreSQL with pgvector's operators; both in float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, TypeVar

import sqlalchemy as sa
from google.protobuf.message import Message

from quartet_server.errors import FieldInvalid
from quartet_server.record_errors import VectorDimension
from quartet_server.records import floats, statements
from quartet_server.records.contract import Dialect, Session
from quartet_server.records.fields import Kind
from quartet_server.records.schema import ZONE, Record

M = TypeVar("M", bound=Message)

MAX_K = 1000
"""Most records that one search returns: as many as a page has."""


class Metric(Enum):
    """How far one vector is from another; the least is the nearest."""

    COSINE = "cosine"
    """1 less the cosine of the angle between them, 0 to 2; of a vector of zeros there is none."""
    L2 = "l2"
    """The length of their difference."""
    INNER_PRODUCT = "inner_product"
    """Their inner product, negative: of vectors of length 1 it sorts as the cosine does."""


_OPERATORS = {Metric.COSINE: "<=>", Metric.L2: "<->", Metric.INNER_PRODUCT: "<#>"}


def nearest(
    session: Session,
    record: Record[M],
    column: str,
    vector: Iterable[float],
    *,
    k: int,
    metric: Metric = Metric.COSINE,
    conditions: Sequence[sa.ColumnElement[bool]] = (),
) -> list[tuple[M, float]]:
    """Return the `k` records of the zone whose vector in `column` is nearest to `vector`, with their distances.

    The nearest come first, those of the same distance by their key. Only records that fulfil all `conditions` and have a vector are
    looked at; with COSINE, none whose vector is all zeros.

    Raises:
        FieldInvalid: `k` is not from 1 to MAX_K, or `vector` is empty, too long, not finite, or all zeros with COSINE.
        VectorDimension: A record that is looked at has a vector of another dimension.
    """
    if not 1 <= k <= MAX_K:
        raise FieldInvalid.of("k", f"is {k}, not from 1 to {MAX_K}")
    numbers = floats.unpack(floats.pack(vector, "vector"))
    if not numbers:
        raise FieldInvalid.of("vector", "is empty")
    if metric is Metric.COSINE and not any(numbers):
        raise FieldInvalid.of("vector", "is all zeros: it has no direction")
    field = record.fields[column]
    assert field.kind is Kind.VECTOR, f"{record.name}.{column} is no vector"
    stored = record.table.c[column]
    dimension, distance = _measures(session.dialect, stored, numbers, metric)
    fits = dimension == len(numbers)
    measured = sa.case((fits, distance), else_=sa.null()).label("distance")
    chosen = (
        statements.columns(record)
        .add_columns(dimension.label("dimension"), measured)
        .where(record.table.c[ZONE] == session.zone, stored.is_not(None), *conditions)
        .order_by(sa.case((fits, 1), else_=0), measured.nulls_last(), *(record.table.c[name] for name in record.key))
        .limit(k)
    )
    rows = session.connection.execute(chosen).all()
    if rows and rows[0].dimension != len(numbers):  # they come first
        raise VectorDimension(
            f"{record.name} has a vector of {rows[0].dimension} numbers, and the one to compare has {len(numbers)}",
            asked=len(numbers),
            stored=rows[0].dimension,
            table=record.name,
            column=column,
        )
    decode = record.codec.decode
    return [
        (decode(row, row[len(record.codec.names)]), float(row.distance))
        for row in rows
        if row.distance is not None and not math.isnan(row.distance)
    ]


def _measures(
    dialect: Dialect, stored: sa.ColumnElement[Any], numbers: Sequence[float], metric: Metric
) -> tuple[sa.ColumnElement[int], sa.ColumnElement[Any]]:
    """Return the dimension of a stored vector and its distance from `numbers`, in SQL."""
    if dialect is Dialect.POSTGRESQL:
        text = f"[{','.join(map(repr, numbers))}]"
        asked = sa.text("CAST(:asked AS vector)").bindparams(asked=text)
        dims = sa.func.vector_dims(stored, type_=sa.BigInteger)
        return dims, stored.op(_OPERATORS[metric], return_type=sa.Double())(asked)
    packed = sa.literal(floats.pack(numbers, "vector"), sa.LargeBinary)
    dimension = sa.func.length(stored, type_=sa.BigInteger) // 4
    match metric:
        case Metric.COSINE:
            return dimension, sa.func.vec_distance_cosine(stored, packed, type_=sa.Double)
        case Metric.L2:
            return dimension, sa.func.vec_distance_L2(stored, packed, type_=sa.Double)
    # sqlite-vec has no inner product, but a.b = (|a|^2 + |b|^2 - |a - b|^2) / 2
    nothing = sa.literal(floats.pack([0.0] * len(numbers), "vector"), sa.LargeBinary)
    difference = sa.func.vec_distance_L2(stored, packed, type_=sa.Double)
    length = sa.func.vec_distance_L2(stored, nothing, type_=sa.Double)
    own = sum(number * number for number in numbers)
    return dimension, sa.type_coerce((difference * difference - length * length - own) / 2.0, sa.Double)
