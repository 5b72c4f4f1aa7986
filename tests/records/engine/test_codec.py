"""Messages become rows and the same messages again, on both databases; what cannot be kept is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from quartet.projects.v1 import plans_pb2 as pb
from quartet_server.errors import FieldInvalid
from quartet_server.records import floats
from quartet_server.records.codec import MAX_TEXT, micros, stamp
from quartet_server.records.contract import Dialect
from quartet_server.records.schema import Record, schema

SCHEMA = schema("projects", owner="Test", messages=(pb.Project, pb.Feature, pb.SubFeature, pb.Task))
PROJECTS, TASKS = SCHEMA.record(pb.Project), SCHEMA.record(pb.Task)

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
moments = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
documents: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | texts | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def again(record: Record[Any], message: Any) -> list[Any]:
    """Return what comes back, by each driver."""
    return [record.codec.decode(record.codec.encode(message, dialect)) for dialect in Dialect]


@st.composite
def tasks(draw: st.DrawFn) -> pb.Task:
    made = pb.Task(
        id=draw(texts),
        project_id=draw(texts),
        name=draw(texts),
        type=draw(st.sampled_from([pb.TASK_TYPE_AUTO, pb.TASK_TYPE_TDD])),
        status=draw(st.sampled_from([pb.TASK_STATUS_PENDING, pb.TASK_STATUS_BLOCKED])),
        size=draw(st.sampled_from([pb.TASK_SIZE_ATOMIC, pb.TASK_SIZE_SMALL])),
        tags=draw(st.lists(texts, max_size=4)),
        qa_iterations=draw(st.integers(-(2**31), 2**31 - 1)),
        max_iterations=draw(st.integers(1, 2**31 - 1)),
    )
    for name in ("description", "feature_id", "assigned_agent"):
        if draw(st.booleans()):
            setattr(made, name, draw(texts))
    for name in ("priority", "estimated_minutes"):  # an unset one gets its default
        setattr(made, name, draw(st.integers(-(2**31), 2**31 - 1)))
    if draw(st.booleans()):
        made.started_at.CopyFrom(stamp(draw(moments)))
    return made


@given(tasks())
def test_a_record_comes_back_as_it_was(task: pb.Task) -> None:
    assert again(TASKS, task) == [task, task]


@given(st.dictionaries(texts, documents, max_size=5))
def test_a_document_comes_back_as_it_was_and_is_canonical(document: dict[str, Any]) -> None:
    made = pb.Project(name="x", mode=pb.PROJECT_MODE_GENESIS, root_path="/", status=pb.PROJECT_STATUS_CREATED)
    made.settings.update(document)
    assert again(PROJECTS, made) == [made, made]
    turned = pb.Project()
    turned.settings.update(dict(reversed(document.items())))
    text = PROJECTS.codec.encode_field(made, "settings", Dialect.SQLITE)
    assert text == PROJECTS.codec.encode_field(turned, "settings", Dialect.SQLITE)
    assert json.loads(str(text)) == document if document else text is None


@given(moments)
def test_a_moment_comes_back_to_the_microsecond(value: int) -> None:
    assert micros(stamp(value)) == value


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=40))
def test_a_vector_is_the_same_numbers_on_both_databases(values: list[float]) -> None:
    assert list(floats.unpack(floats.pack(values, "v"))) == values
    assert list(floats.unpack(floats.text(values, "v"))) == values


def test_what_is_unset_is_null_and_defaults_are_written() -> None:
    values = dict(zip(TASKS.codec.names, TASKS.codec.encode(pb.Task(), Dialect.SQLITE), strict=True))
    unset = {"feature_id", "description", "tags", "depends_on", "actual_minutes", "started_at", "completed_at"}
    assert {name for name in unset if values[name] is None} == unset
    assert (values["status"], values["priority"], values["max_iterations"]) == ("pending", 5, 50)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "a\0b"}, "name"),
        ({"description": "x" * (MAX_TEXT + 1)}, "description"),
        ({"tags": ["a\0"]}, "tags"),
        ({"tags": ["a\\\0"]}, "tags"),
        ({"status": 99}, "status"),
        ({"project_id": "x" * 513}, "project_id"),
        ({"started_at": Timestamp(seconds=253_402_300_800)}, "started_at"),
        ({"started_at": Timestamp(nanos=-1)}, "started_at"),
    ],
)
def test_what_no_database_keeps_is_refused_by_name(change: dict[str, Any], field: str) -> None:
    with pytest.raises(FieldInvalid) as refused:
        TASKS.codec.encode(pb.Task(**change), Dialect.SQLITE)
    assert set(refused.value.violations) == {field}


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan], ids=str)
def test_a_number_without_end_is_refused(number: float) -> None:
    made = pb.Project()
    made.settings.update({"a": [number]})
    with pytest.raises(FieldInvalid, match="settings"):
        PROJECTS.codec.encode_field(made, "settings", Dialect.SQLITE)
    with pytest.raises(FieldInvalid, match="v"):
        floats.pack([number], "v")


def test_what_only_looks_like_a_nul_is_kept() -> None:
    task = pb.Task(name="n", tags=["\\u0000", "a\\\\u0000"])
    assert list(again(TASKS, task)[0].tags) == list(task.tags)
