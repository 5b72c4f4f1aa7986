"""Checkpoints: a project as it was, kept and put back."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from harness.failures import fails
from harness.planning import Planning, bare, code_of
from harness.states import TASK, USABLE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quartet.projects.v1 import batch_pb2, history_pb2
from quartet.projects.v1 import plans_pb2 as pb

pytestmark = pytest.mark.asyncio(loop_scope="session")
CODE = grpc.StatusCode


async def plan(planning: Planning) -> None:
    """A project with something in each table that belongs to its state."""
    await planning.project(description="d")
    await planning.feature()
    await planning.part()
    await planning.task("a", tags=["x"])
    await planning.task("b", sub_feature_id="s", depends_on=["a"])
    await planning.CreateRequirement(
        requirement=history_pb2.Requirement(
            id="r", project_id="p", category="c", description="d", linked_features=["f"], confidence=0.25
        )
    )


async def everything(planning: Planning) -> dict[str, Any]:
    """All that belongs to the state of the project, by table, without what says when it was written."""
    return {
        "project": bare(await planning.GetProject(id="p")),
        "features": [bare(one.feature) for one in (await planning.ListFeatures(project_id="p")).features],
        "parts": [bare(one.sub_feature) for one in (await planning.ListSubFeatures()).sub_features],
        "tasks": [bare(one) for one in (await planning.ListTasks(project_id="p")).tasks],
        "requirements": [bare(one) for one in (await planning.ListRequirements(project_id="p")).requirements],
    }


async def keep(planning: Planning, **said: Any) -> history_pb2.Checkpoint:
    return await planning.CreateCheckpoint(  # type: ignore[no-any-return]
        checkpoint=history_pb2.Checkpoint(**{"project_id": "p", **said})
    )


async def test_a_checkpoint_brings_back_what_was_and_nothing_else(planning: Planning) -> None:
    await plan(planning)
    before = await everything(planning)
    kept = await keep(planning, name="one", git_commit="abc")
    await planning.UpdateProject(project=pb.Project(id="p", name="other"))
    await planning.set_status("a", "completed")
    await planning.DeleteTask(id="b")
    await planning.DeleteSubFeature(id="s")
    await planning.DeleteRequirement(id="r")
    await planning.feature("later")
    await planning.task("later", feature_id="later")
    changed = await everything(planning)
    dry = await planning.RestoreCheckpoint(id=kept.id, dry_run=True)
    assert await everything(planning) == changed
    done = await planning.RestoreCheckpoint(id=kept.id, project_id="p", request_id="r")
    assert await everything(planning) == before
    assert (done.git_commit, done.project.name) == ("abc", "p")
    told = {one.table: (one.created, one.updated, one.deleted, one.unchanged) for one in done.tables}
    assert told == {
        "projects": (0, 1, 0, 0),
        "features": (0, 0, 1, 1),
        "sub_features": (1, 0, 0, 0),
        "tasks": (1, 1, 1, 0),
        "requirements": (1, 0, 0, 0),
    }
    assert list(dry.tables) == list(done.tables)
    assert int((await planning.GetTask(id="a")).etag) == 3  # etags count on
    assert await planning.RestoreCheckpoint(id=kept.id, project_id="p", request_id="r") == done
    again = await planning.RestoreCheckpoint(id=kept.id)
    assert all(not (one.created or one.updated or one.deleted) for one in again.tables)


async def test_lists_leave_the_state_out_and_a_read_has_it_unless_it_is_not_wanted(planning: Planning) -> None:
    await plan(planning)
    made = await keep(planning)
    assert not made.HasField("state")
    (listed,) = (await planning.ListCheckpoints(project_id="p")).checkpoints
    assert listed == await planning.GetCheckpoint(id=made.id, without_state=True) == made
    full = await planning.GetCheckpoint(id=made.id)
    document = json.loads(full.state)
    assert document["format"] == 1
    assert [one["id"] for one in document["tasks"]] == ["a", "b"]
    assert document["tasks"][0]["tags"] == ["x"]
    renamed = await planning.UpdateCheckpoint(checkpoint=history_pb2.Checkpoint(id=made.id, name="new"))
    assert (renamed.name, renamed.HasField("state")) == ("new", False)
    assert (await planning.GetCheckpoint(id=made.id)).state == full.state


async def test_a_state_that_fits_into_no_answer_can_be_restored_all_the_same(planning: Planning) -> None:
    await planning.project()
    for number in range(4):
        await planning.task(str(number), description="d" * 900_000)
    kept = await keep(planning)
    for call in (planning.GetCheckpoint(id=kept.id), planning.GetProjectTree(id="p")):
        with fails(CODE.RESOURCE_EXHAUSTED, "LIMIT_REACHED"):
            await call
    await planning.DeleteTask(id="0")
    done = await planning.RestoreCheckpoint(id=kept.id)
    assert [(one.created, one.unchanged) for one in done.tables if one.table == "tasks"] == [(1, 3)]
    assert len((await planning.GetTask(id="0")).description) == 900_000


async def test_a_state_of_another_project_is_refused(planning: Planning) -> None:
    await plan(planning)
    await planning.project("q")
    kept = await keep(planning)
    with fails(CODE.FAILED_PRECONDITION, "CHECKPOINT_FOREIGN"):
        await planning.RestoreCheckpoint(id=kept.id, project_id="q")
    text = (await planning.GetCheckpoint(id=kept.id)).state
    other = await keep(planning, project_id="q", state=text)
    with fails(CODE.FAILED_PRECONDITION, "CHECKPOINT_FOREIGN"):
        await planning.RestoreCheckpoint(id=other.id)


async def test_a_state_whose_ids_are_taken_or_whose_tasks_go_in_a_circle_is_refused(planning: Planning) -> None:
    await plan(planning)
    await planning.project("q")
    kept = await keep(planning)
    await planning.DeleteTask(id="b")
    await planning.task("b", "q")
    with fails(CODE.FAILED_PRECONDITION, "CHECKPOINT_UNUSABLE"):
        await planning.RestoreCheckpoint(id=kept.id)
    circle = {**USABLE, "tasks": [{**TASK, "depends_on": ["t"]}]}
    kept = await keep(planning, state=json.dumps(circle))
    with fails(CODE.FAILED_PRECONDITION, "TASK_CYCLE"):
        await planning.RestoreCheckpoint(id=kept.id)


async def test_a_state_of_another_tool_is_taken_with_its_words_for_statuses(planning: Planning) -> None:
    await planning.project()
    tasks = [{**TASK, "id": "a", "status": "assigned"}, {**TASK, "id": "b", "status": "skipped"}]
    kept = await keep(planning, state=json.dumps({**USABLE, "tasks": tasks}))
    await planning.RestoreCheckpoint(id=kept.id)
    found = {one.id: one.status for one in (await planning.ListTasks(project_id="p")).tasks}
    assert found == {"a": pb.TASK_STATUS_QUEUED, "b": pb.TASK_STATUS_COMPLETED}


STEPS: dict[str, Callable[[Planning, int], Awaitable[object]]] = {
    "rename": lambda planning, n: planning.UpdateProject(project=pb.Project(id="p", name=f"n{n}")),
    "status": lambda planning, _: planning.set_status("a", "completed"),
    "delete a task": lambda planning, _: planning.DeleteTask(id="b"),
    "add a task": lambda planning, n: planning.task(f"t{n}", depends_on=["a"], feature_id="f"),
    "delete a part": lambda planning, _: planning.Batch(
        operations=[
            batch_pb2.BatchOperation(delete=batch_pb2.BatchDelete(table=batch_pb2.TABLE_TASKS, id="b")),
            batch_pb2.BatchOperation(delete=batch_pb2.BatchDelete(table=batch_pb2.TABLE_SUB_FEATURES, id="s")),
        ]
    ),
    "add a feature": lambda planning, n: planning.feature(f"f{n}"),
    "validate": lambda planning, _: planning.ValidateRequirement(id="r"),
    "reorder": lambda planning, n: planning.UpdateTask(task=pb.Task(id="a", priority=n)),
}
"""What may be done to a project between a checkpoint and going back to it."""


@given(done=st.lists(st.sampled_from(sorted(STEPS)), max_size=8))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_is_done_to_a_project_a_checkpoint_undoes_it(planning: Planning, done: list[str]) -> None:
    planning = planning.elsewhere()
    await plan(planning)
    kept = await keep(planning)
    before = await everything(planning)
    for number, step in enumerate(done):
        call = STEPS[step](planning, number)
        assert await code_of(call) in (CODE.OK, CODE.NOT_FOUND, CODE.FAILED_PRECONDITION)
    await planning.RestoreCheckpoint(id=kept.id)
    assert await everything(planning) == before
