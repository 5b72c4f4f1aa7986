"""What is done to a record in a transaction, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from harness.records import Clock, open_sqlite
from quartet.projects.v1 import plans_pb2 as pb
from quartet_server.errors import EtagStale, FieldInvalid, QuartetError
from quartet_server.record_errors import RecordExists, RecordNotFound, RecordReferenced, ReferenceMissing
from quartet_server.records import rows
from quartet_server.records.contract import Database, Session
from quartet_server.records.schema import schema

SCHEMA = schema("projects", owner="Test", messages=(pb.Project, pb.Feature, pb.SubFeature, pb.Task))
PROJECTS, FEATURES, TASKS = SCHEMA.record(pb.Project), SCHEMA.record(pb.Feature), SCHEMA.record(pb.Task)
PROJECT = pb.Project(id="p", name="x", mode=pb.PROJECT_MODE_GENESIS, root_path="/x")


@pytest_asyncio.fixture
async def projects(tmp_path: Path, clock: Clock) -> AsyncIterator[Database]:
    """A database with a project, a feature and a task of it."""

    def fill(session: Session) -> None:
        rows.insert(session, PROJECTS, PROJECT)
        rows.insert(session, FEATURES, pb.Feature(id="f", project_id="p", name="f"))
        rows.insert(session, TASKS, pb.Task(id="t", project_id="p", feature_id="f", name="t"))

    opened = open_sqlite(tmp_path, SCHEMA, clock=clock)
    await opened.write("a", fill)
    yield opened
    await opened.close()


async def test_a_new_record_gets_an_id_times_defaults_and_an_etag(projects: Database, clock: Clock) -> None:
    made = await projects.write("a", lambda session: rows.insert(session, TASKS, pb.Task(project_id="p", name="n")))
    assert len(made.id) == 36
    assert (made.status, made.priority, made.etag) == (pb.TASK_STATUS_PENDING, 5, "1")
    assert made.created_at.ToSeconds() == made.updated_at.ToSeconds() == int(clock.now)
    assert await projects.read("a", lambda session: rows.fetch(session, TASKS, made.id)) == made


async def test_an_update_changes_what_it_names_and_the_etag(projects: Database, clock: Clock) -> None:
    clock.now += 60
    change = pb.Task(id="t", name="other", description="d", priority=1)
    now = await projects.write("a", lambda session: rows.update(session, TASKS, change, ["name", "priority"]))
    assert (now.name, now.priority, now.description, now.etag) == ("other", 1, "", "2")
    assert now.updated_at.ToSeconds() - now.created_at.ToSeconds() == 60
    assert await projects.read("a", lambda session: rows.fetch(session, TASKS, "t")) == now


async def test_a_field_that_is_named_and_unset_becomes_null(projects: Database) -> None:
    now = await projects.write("a", lambda session: rows.update(session, TASKS, pb.Task(id="t"), ["feature_id"]))
    assert not now.HasField("feature_id")


@pytest.mark.parametrize(
    ("work", "error"),
    [
        (lambda s: rows.insert(s, PROJECTS, PROJECT), RecordExists),
        (lambda s: rows.insert(s, TASKS, pb.Task(project_id="none", name="n")), ReferenceMissing),
        (lambda s: rows.insert(s, TASKS, pb.Task(id="a\tb", project_id="p", name="n")), FieldInvalid),
        (lambda s: rows.insert(s, PROJECTS, pb.Project(name="n", root_path="/")), FieldInvalid),
        (lambda s: rows.update(s, TASKS, pb.Task(id="none", name="n"), ["name"]), RecordNotFound),
        (lambda s: rows.update(s, TASKS, pb.Task(name="n"), ["name"]), FieldInvalid),
        (lambda s: rows.update(s, TASKS, pb.Task(id="t", name="n"), ["name"], etag="7"), EtagStale),
        (lambda s: rows.update(s, TASKS, pb.Task(id="t", feature_id="none"), ["feature_id"]), ReferenceMissing),
        (lambda s: rows.delete(s, TASKS, "none"), RecordNotFound),
        (lambda s: rows.delete(s, TASKS, "t", etag="7"), EtagStale),
        (lambda s: rows.delete(s, FEATURES, "f"), RecordReferenced),
        (lambda s: rows.fetch(s, TASKS, "none"), RecordNotFound),
        (lambda s: rows.fetch(s, TASKS, ""), FieldInvalid),
        (lambda s: rows.fetch(s, TASKS, "x" * 513), FieldInvalid),
    ],
)
async def test_what_cannot_be_done_says_why_and_changes_nothing(
    projects: Database, work: Callable[[Session], Any], error: type[QuartetError]
) -> None:
    def everything(session: Session) -> list[Any]:
        return [rows.select(session, record) for record in SCHEMA.records]

    before = await projects.read("a", everything)
    with pytest.raises(error):
        await projects.write("a", work)
    assert await projects.read("a", everything) == before


async def test_deleting_a_project_takes_along_what_is_of_it_and_nothing_of_other_zones(projects: Database) -> None:
    await projects.write("b", lambda session: rows.insert(session, PROJECTS, PROJECT))
    await projects.write("b", lambda session: rows.insert(session, TASKS, pb.Task(id="t", project_id="p", name="t")))
    await projects.write("a", lambda session: rows.delete(session, PROJECTS, "p"))
    assert not await projects.read("a", lambda session: rows.select(session, TASKS))
    assert len(await projects.read("b", lambda session: rows.select(session, TASKS))) == 1


async def test_a_reference_does_not_reach_into_another_zone(projects: Database) -> None:
    with pytest.raises(ReferenceMissing):
        await projects.write("b", lambda session: rows.insert(session, TASKS, pb.Task(project_id="p", name="t")))


async def test_many_are_stored_or_those_that_are_new(projects: Database) -> None:
    wanted = [pb.Task(id=key, project_id="p", name=key) for key in ("t", "u", "v")]
    with pytest.raises(RecordExists):
        await projects.write("a", lambda session: rows.insert_all(session, TASKS, wanted))
    made = await projects.write("a", lambda session: rows.insert_all(session, TASKS, wanted, skip_existing=True))
    assert [one and one.id for one in made] == [None, "u", "v"]


async def test_many_are_changed_at_once_each_to_its_next_revision(projects: Database) -> None:
    await projects.write("a", lambda session: rows.insert(session, TASKS, pb.Task(id="u", project_id="p", name="u")))
    await projects.write("a", lambda session: rows.update(session, TASKS, pb.Task(id="u", name="v"), ["name"]))
    where = TASKS.table.c.project_id == "p"
    assert await projects.write("a", lambda session: rows.change(session, TASKS, where, {"status": "queued"})) == 2
    found = await projects.read("a", lambda session: rows.select(session, TASKS, order=[TASKS.table.c.id]))
    assert [(one.id, one.status, one.etag) for one in found] == [
        ("t", pb.TASK_STATUS_QUEUED, "2"),
        ("u", pb.TASK_STATUS_QUEUED, "3"),
    ]
