"""Measurements: which are meant, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from quartet.projects.v1 import metric_calls_pb2 as pb

from quartet_server.errors import FieldInvalid, LimitReached
from quartet_server.projects import fields, schema
from quartet_server.records.codec import MICROSECONDS, stamp
from quartet_server.records.contract import Session

MOST_GROUPS = 10_000
LONGEST_BUCKET = 366 * 86_400
"""Seconds."""
DIMENSIONS: Mapping[int, str] = {
    pb.METRIC_DIMENSION_TYPE: "type",
    pb.METRIC_DIMENSION_AGENT: "agent_id",
    pb.METRIC_DIMENSION_TASK: "task_id",
    pb.METRIC_DIMENSION_PROJECT: "project_id",
}
"""The column of each dimension."""
_TABLE = schema.METRICS.table
_AT_ONCE = 500  # ids in one statement


def selected(selection: Any) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of a MetricSelection, or of any message that has some of its fields. Raises FieldInvalid."""
    names = selection.DESCRIPTOR.fields_by_name
    found = [
        _TABLE.c[name] == fields.column(schema.METRICS, name, getattr(selection, name))
        for name in ("project_id", "type", "agent_id", "task_id")
        if name in names and getattr(selection, name)
    ]
    if selection.HasField("start_time"):
        found.append(_TABLE.c.timestamp >= fields.moment(selection.start_time, "start_time"))
    if selection.HasField("end_time"):
        found.append(_TABLE.c.timestamp < fields.moment(selection.end_time, "end_time"))
    return found


def aggregate(
    session: Session, where: Sequence[sa.ColumnElement[bool]], dimensions: Sequence[int] = (), bucket_seconds: int = 0
) -> list[pb.MetricGroup]:
    """Return what the measurements come to that fulfil `where`, by time, then dimension.

    Args:
        session: Of the zone.
        where: See `selected`.
        dimensions: By what they are told apart: METRIC_DIMENSION_*.
        bucket_seconds: Length of the pieces of time by which they are told apart; 0 for none.

    Raises:
        FieldInvalid: There is no such dimension, or the pieces are too long.
        LimitReached: There are more than `MOST_GROUPS` groups.
    """
    if not 0 <= bucket_seconds <= LONGEST_BUCKET:
        raise FieldInvalid.of("bucket_seconds", f"0 to {LONGEST_BUCKET} are taken")
    if any(one not in DIMENSIONS for one in dimensions) or len(set(dimensions)) != len(dimensions):
        raise FieldInvalid.of("group_by", "names dimensions of METRIC_DIMENSION, each once")
    keys: list[sa.ColumnElement[Any]] = [_TABLE.c[DIMENSIONS[one]].label(DIMENSIONS[one]) for one in dimensions]
    if bucket_seconds:
        keys.insert(0, _bucket(bucket_seconds * MICROSECONDS).label("bucket"))
    value = _TABLE.c.value
    sums = (
        sa.func.count().label("number"),
        sa.func.sum(value).label("total"),
        sa.func.avg(value).label("mean"),
        sa.func.min(value).label("least"),
        sa.func.max(value).label("greatest"),
    )
    chosen = sa.select(*keys, *sums).where(_TABLE.c.zone == session.zone, *where)
    if keys:
        places: list[sa.ColumnElement[Any]] = [sa.literal_column(str(place)) for place in range(1, len(keys) + 1)]
        chosen = chosen.group_by(*places).order_by(*(one.nulls_first() for one in places))
    found = session.connection.execute(chosen.limit(MOST_GROUPS + 1)).mappings().all()
    if len(found) > MOST_GROUPS:
        raise LimitReached(
            f"there are more than {MOST_GROUPS} groups", hint="ask for longer pieces of time, or a shorter time"
        )
    return [_group(row) for row in found if row["number"]]


def tokens_by_agent(session: Session, agents: Sequence[str], selection: Any = None) -> dict[str, pb.MetricGroup]:
    """Return what the metrics token_usage of each of `agents` come to, of those that have any."""
    where = [*(selected(selection) if selection is not None else ()), _TABLE.c.type == "token_usage"]
    found: dict[str, pb.MetricGroup] = {}
    for start in range(0, len(agents), _AT_ONCE):
        some = _TABLE.c.agent_id.in_(agents[start : start + _AT_ONCE])
        for one in aggregate(session, [*where, some], (pb.METRIC_DIMENSION_AGENT,)):
            found[one.agent_id] = one
    return found


def _bucket(width: int) -> sa.ColumnElement[int]:
    """Return the begin of the piece of time of a measurement, in microseconds; also right before 1970."""
    time, length = _TABLE.c.timestamp, sa.literal(width, sa.BigInteger)
    return time - ((time % length) + length) % length


def _group(row: Mapping[Any, Any]) -> pb.MetricGroup:
    made = pb.MetricGroup(count=row["number"], sum=row["total"], avg=row["mean"], min=row["least"], max=row["greatest"])
    for name in DIMENSIONS.values():
        if row.get(name):
            setattr(made, name, row[name])
    if "bucket" in row:
        made.bucket_time.CopyFrom(stamp(row["bucket"]))
    return made
