"""A project's full state as JSON: captured from its rows, read again without trust, compared and put back.

    {"format": 1, "project": {COLUMN: VALUE, ...}, "features": [{...}, ...], "sub_features": [...], "tasks": [...],
     "requirements": [...]}

A row is an object of its columns as they are stored: times in microseconds, enums in the seed's spelling, what is JSON in
its column as JSON, NULL left out. `revision` and `zone` are not part of it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from google.protobuf.descriptor import FieldDescriptor

from quartet_server.errors import LimitReached
from quartet_server.project_errors import CheckpointUnusable
from quartet_server.projects import schema
from quartet_server.records import documents
from quartet_server.records.contract import Session
from quartet_server.records.fields import Field, Kind, spellings
from quartet_server.records.rows import MAX_ID
from quartet_server.records.schema import Record

MAX_ROWS = 20_000
MAX_LENGTH = 32 * 1024 * 1024
"""Longest state, in characters."""
PARTS: Mapping[str, Record[Any]] = {
    "features": schema.FEATURES,
    "sub_features": schema.SUB_FEATURES,
    "tasks": schema.TASKS,
    "requirements": schema.REQUIREMENTS,
}
"""What belongs to a project's state besides itself, parents first."""
IMPORTED: Mapping[str, str] = {"assigned": "queued", "skipped": "completed"}
"""What other tools call the status of a task, and what it is here."""
_FORMAT = 1
MAX_DEPTH = 32
"""Most lists and objects inside of one another in a Struct."""
_INT32 = FieldDescriptor.CPPTYPE_INT32
_SMALL, _WHOLE = range(-(2**31), 2**31), range(-(2**63), 2**63)
_TIMES = range(-62_135_596_800_000_000, 253_402_300_800_000_000)  # the years 1 to 9999
_SURROGATES = re.compile("[\ud800-\udfff]")

Row = dict[str, Any]
"""Columns as they are stored, JSON as text."""


@dataclass(frozen=True, slots=True)
class State:
    """A project as it is, or was.

    Attributes:
        project: Its row.
        parts: Rows by table and id.
    """

    project: Row
    parts: Mapping[str, Mapping[str, Row]]


def capture(session: Session, project: str) -> str:
    """Return the state of a project as JSON. Raises LimitReached."""
    current = read(session, project)
    if (count := sum(len(one) for one in current.parts.values())) > MAX_ROWS:
        raise LimitReached(f"project {project} has {count} rows, and a checkpoint keeps {MAX_ROWS} at most")
    document: dict[str, Any] = {"format": _FORMAT, "project": _shown(schema.PROJECTS, current.project)}
    for name, record in PARTS.items():
        document[name] = [_shown(record, row) for row in current.parts[name].values()]
    text = documents.dump(document)
    if len(text) > MAX_LENGTH:
        raise LimitReached(f"the state of project {project} has {len(text)} characters, more than {MAX_LENGTH}")
    return text


def read(session: Session, project: str) -> State:
    """Return a project that is there as it is now."""
    found = _rows(session, schema.PROJECTS, schema.PROJECTS.table.c.id == project)
    features = schema.FEATURES.table
    of_project = sa.select(features.c.id).where(features.c.zone == session.zone, features.c.project_id == project)
    where = {
        name: schema.SUB_FEATURES.table.c.feature_id.in_(of_project)
        if name == "sub_features"
        else record.table.c.project_id == project
        for name, record in PARTS.items()
    }
    return State(found[project], {name: _rows(session, record, where[name]) for name, record in PARTS.items()})


def parse(text: str) -> State:
    """Return what a state says, every value of its column's type. Raises CheckpointUnusable."""
    if len(text) > MAX_LENGTH:
        raise _unusable(f"it has more than {MAX_LENGTH} characters")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise _unusable("it is no JSON") from None
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise _unusable(f"it is no object of format {_FORMAT}")
    project = _row(schema.PROJECTS, document.get("project"), "project")
    parts, count = {}, 0
    for name, record in PARTS.items():
        listed = document.get(name, [])
        if not isinstance(listed, list):
            raise _unusable(f"{name} is no list")
        count += len(listed)
        if count > MAX_ROWS:
            raise _unusable(f"it has more than {MAX_ROWS} rows")
        rows = [_row(record, one, f"{name}[{place}]") for place, one in enumerate(listed)]
        parts[name] = {row["id"]: row for row in rows}
        if len(parts[name]) != len(rows):
            raise _unusable(f"{name} has an id twice")
    state = State(project, parts)
    _check_parents(state)
    return state


def _check_parents(state: State) -> None:
    """See that everything belongs to the project, and tasks to its features. Raises CheckpointUnusable."""
    project, parts = state.project["id"], state.parts
    for name in ("features", "tasks", "requirements"):
        for row in parts[name].values():
            if row["project_id"] != project:
                raise _unusable(f"{name} {row['id']} is of another project")
    for row in parts["sub_features"].values():
        if row["feature_id"] not in parts["features"]:
            raise _unusable(f"sub-feature {row['id']} is of a feature that it does not have")
    for row in parts["tasks"].values():
        feature, part = row["feature_id"], row["sub_feature_id"]
        if (feature and feature not in parts["features"]) or (part and part not in parts["sub_features"]):
            raise _unusable(f"task {row['id']} is of a feature that it does not have")
        if any(one not in parts["tasks"] for one in json.loads(row["depends_on"] or "[]")):
            raise _unusable(f"task {row['id']} depends on a task that it does not have")


def _rows(session: Session, record: Record[Any], where: sa.ColumnElement[bool]) -> dict[str, Row]:
    names = record.codec.names
    table = record.table
    chosen = (
        sa.select(*(table.c[name] for name in names))
        .where(table.c.zone == session.zone, where)
        .order_by(table.c.id)
        .limit(MAX_ROWS + 1)
    )
    found = [dict(zip(names, row, strict=True)) for row in session.connection.execute(chosen)]
    return {row["id"]: row for row in found}


def _shown(record: Record[Any], row: Row) -> dict[str, Any]:
    """Return a row as the state has it."""
    return {
        name: json.loads(value) if record.fields[name].kind is Kind.JSON else value
        for name, value in row.items()
        if value is not None
    }


def _row(record: Record[Any], value: object, path: str) -> Row:
    """Return a row of the state as it is stored. Raises CheckpointUnusable."""
    if not isinstance(value, dict):
        raise _unusable(f"{path} is no object")
    if unknown := sorted(value.keys() - record.fields.keys()):
        raise _unusable(f"{path} has {unknown[0][:64]!r}, which is no column of {record.name}")
    return {name: _value(one, value.get(name), f"{path}.{name}") for name, one in record.fields.items()}


def _value(field: Field, value: Any, path: str) -> object:
    if value is None:
        if field.default is not None:
            return field.value(field.default)
        if field.nullable:
            return None
        zero = {Kind.INTEGER: 0, Kind.BOOLEAN: False, Kind.REAL: 0.0}.get(field.kind)
        if zero is None:
            raise _unusable(f"{path} is not there")
        return zero
    match field.kind:
        case Kind.TEXT if isinstance(value, str) and _text(value) and _fits(field, value):
            return value
        case Kind.INTEGER if type(value) is int and value in (
            _SMALL if field.descriptor.cpp_type == _INT32 else _WHOLE
        ):
            return value
        case Kind.TIME if type(value) is int and value in _TIMES:
            return value
        case Kind.REAL if type(value) in (int, float) and _finite(value):
            return float(value)
        case Kind.BOOLEAN if value in (True, False):
            return bool(value)
        case Kind.ENUM if isinstance(value, str):
            spelled = IMPORTED.get(value, value) if field.enum.name == "TaskStatus" else value
            if spelled in spellings(field.enum).values():
                return spelled
        case Kind.JSON if field.descriptor.is_repeated and isinstance(value, list):
            if all(isinstance(one, str) and _text(one) for one in value):  # all lists of these records are of texts
                return documents.dump(value) if value else None
        case Kind.JSON if isinstance(value, dict) and _plain(value, MAX_DEPTH):
            return documents.dump(value)
    raise _unusable(f"{path} is no {field.kind.value} that the column takes")


def _fits(field: Field, value: str) -> bool:
    """Tell whether a text can be the id that it is to be."""
    return not (field.key or field.references) or (0 < len(value.encode()) <= MAX_ID and value.isprintable())


def _plain(value: object, depth: int) -> bool:
    """Tell whether a value of a Struct can be kept and sent: not too deep, and of numbers and texts that are some."""
    match value:
        case str():
            return _text(value)
        case None | bool():
            return True
        case int() | float():
            return _finite(value)
        case list():
            return depth > 0 and all(_plain(one, depth - 1) for one in value)
        case dict():
            return depth > 0 and all(_text(key) and _plain(one, depth - 1) for key, one in value.items())
    return False


def _text(value: str) -> bool:
    return "\0" not in value and (value.isascii() or not _SURROGATES.search(value))


def _finite(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _unusable(why: str) -> CheckpointUnusable:
    return CheckpointUnusable(f"the state of the checkpoint cannot be used: {why}")
