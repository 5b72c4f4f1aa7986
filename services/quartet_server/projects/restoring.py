"""Putting a project's state back: rows that are gone come back, different ones change, later ones go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from quartet.projects.v1 import history_calls_pb2 as pb

from quartet_server.project_errors import CheckpointForeign, CheckpointUnusable
from quartet_server.projects import graph, schema
from quartet_server.projects.state import PARTS, Row, State, parse, read
from quartet_server.projects.unit import Unit
from quartet_server.records import rows
from quartet_server.records.contract import Session
from quartet_server.records.schema import REVISION, Record

_AT_ONCE = 500  # ids in one statement
_OURS = frozenset(("updated_at",))
"""Columns that say when a row was written, which is now."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What has to be done to one table.

    Attributes:
        created: Rows to make.
        updated: Rows to change, as they are to be.
        deleted: Ids of rows to delete.
        unchanged: How many rows are as they had been.
    """

    created: list[Row]
    updated: list[Row]
    deleted: list[str]
    unchanged: int


def restore(unit: Unit, request: pb.RestoreCheckpointRequest) -> pb.RestoreCheckpointResponse:
    """Make a project what a checkpoint says, or tell what that would change.

    Raises:
        RecordNotFound: There is no such checkpoint.
        CheckpointForeign: It is not of the project that was named, or its state is of another than its own.
        CheckpointUnusable: Its state is none, or ids of it belong to other projects by now.
        TaskCycle: Its tasks depend on each other.
    """
    session = unit.session
    checkpoint = rows.fetch(session, schema.CHECKPOINTS, request.id)
    if request.project_id and request.project_id != checkpoint.project_id:
        raise _foreign(checkpoint.id, checkpoint.project_id, request.project_id)
    then = parse(checkpoint.state)
    if then.project["id"] != checkpoint.project_id:
        raise _foreign(checkpoint.id, str(then.project["id"])[:64], checkpoint.project_id)
    now = read(session, checkpoint.project_id)
    differences = {"projects": _compare({then.project["id"]: then.project}, {now.project["id"]: now.project})}
    differences |= {name: _compare(then.parts[name], now.parts[name]) for name in PARTS}
    for name, record in PARTS.items():
        _check_free(session, record, differences[name].created)
    graph.check({id_: graph.listed(row["depends_on"]) for id_, row in then.parts["tasks"].items()})
    if not request.dry_run:
        _apply(unit, then, differences)
    told = [
        pb.RestoredTable(
            table=name,
            created=len(one.created),
            updated=len(one.updated),
            deleted=len(one.deleted),
            unchanged=one.unchanged,
        )
        for name, one in differences.items()
    ]
    project = rows.fetch(session, schema.PROJECTS, checkpoint.project_id)
    return pb.RestoreCheckpointResponse(project=project, tables=told, git_commit=checkpoint.git_commit)


def _compare(then: Mapping[str, Row], now: Mapping[str, Row]) -> Difference:
    updated = [row for id_, row in then.items() if id_ in now and not _same(row, now[id_])]
    return Difference(
        created=[row for id_, row in then.items() if id_ not in now],
        updated=updated,
        deleted=[id_ for id_ in now if id_ not in then],
        unchanged=sum(1 for id_ in then if id_ in now) - len(updated),
    )


def _same(then: Row, now: Row) -> bool:
    return all(then[name] == value for name, value in now.items() if name not in _OURS)


def _check_free(session: Session, record: Record[Any], created: Iterable[Row]) -> None:
    """See that the ids of rows that come back are nobody else's by now. Raises CheckpointUnusable."""
    ids = [row["id"] for row in created]
    for some in _pieces(ids):
        taken = sa.select(record.table.c.id).where(record.table.c.zone == session.zone, record.table.c.id.in_(some))
        if found := session.connection.scalars(taken.limit(1)).first():
            raise CheckpointUnusable(f"{found} of {record.name} belongs to another project now", id=found)


def _apply(unit: Unit, then: State, differences: Mapping[str, Difference]) -> None:
    """Write parents before what refers to them, and delete them after it."""
    session = unit.session
    records: dict[str, Record[Any]] = {"projects": schema.PROJECTS, **PARTS}
    for name, record in records.items():
        _insert(session, record, differences[name].created)
        for row in differences[name].updated:
            _update(session, record, row)
    for name, record in reversed(list(PARTS.items())):
        for some in _pieces(differences[name].deleted):
            session.connection.execute(
                record.table.delete().where(record.table.c.zone == session.zone, record.table.c.id.in_(some))
            )
    for feature in then.parts["features"]:
        unit.counts(feature)


def _insert(session: Session, record: Record[Any], created: list[Row]) -> None:
    made = [{**row, **_written(session, record), "zone": session.zone, REVISION: 1} for row in created]
    if made:
        session.connection.execute(record.table.insert(), made)


def _update(session: Session, record: Record[Any], row: Row) -> None:
    table = record.table
    values = {**row, **_written(session, record), REVISION: table.c[REVISION] + 1}
    del values["id"]
    session.connection.execute(
        table.update().where(table.c.zone == session.zone, table.c.id == row["id"]).values(values)
    )


def _written(session: Session, record: Record[Any]) -> dict[str, int]:
    return {name: session.now for name in _OURS if name in record.fields}


def _pieces(ids: list[str]) -> Iterable[list[str]]:
    return (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE))


def _foreign(id_: str, has: str, wanted: str) -> CheckpointForeign:
    return CheckpointForeign(
        f"checkpoint {id_} is of project {has}, not of {wanted[:64]}", id=id_, project=has, wanted=wanted[:64]
    )
