"""Several writes at once, and the views that read much at once."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from harness.failures import fails
from harness.planning import Planning, task
from quartet.projects.v1 import agents_pb2, history_pb2
from quartet.projects.v1 import batch_pb2 as pb
from quartet.projects.v1 import plans_pb2 as plans

pytestmark = pytest.mark.asyncio(loop_scope="session")
CODE = grpc.StatusCode


def create(**record: Any) -> pb.BatchOperation:
    return pb.BatchOperation(create=pb.AnyRecord(**record))


def update(*paths: str, **record: Any) -> pb.BatchOperation:
    changed = pb.BatchUpdate(record=pb.AnyRecord(**record), update_mask=FieldMask(paths=paths))
    return pb.BatchOperation(update=changed)


def delete(table: Any, id_: str, etag: str = "") -> pb.BatchOperation:
    return pb.BatchOperation(delete=pb.BatchDelete(table=table, id=id_, etag=etag))


def project(id_: str) -> plans.Project:
    return plans.Project(id=id_, name=id_, mode=plans.PROJECT_MODE_GENESIS, root_path="/")


async def test_a_batch_writes_to_several_tables_in_order(planning: Planning) -> None:
    operations = [
        create(project=project("p")),
        create(feature=plans.Feature(id="f", project_id="p", name="f")),
        create(task=task("a", feature_id="f", depends_on=["b"], status=plans.TASK_STATUS_COMPLETED)),
        create(task=task("b")),
        create(agent=agents_pb2.Agent(id="x", type=agents_pb2.AGENT_TYPE_CODER)),
        update("priority", task=plans.Task(id="b", priority=1)),
        create(metric=history_pb2.Metric(project_id="p", type="token_usage", value=1)),
        delete(pb.TABLE_AGENTS, "x"),
    ]
    done = await planning.Batch(operations=operations, request_id="r")
    kinds = [one.WhichOneof("record") for one in done.results]
    assert kinds == ["project", "feature", "task", "task", "agent", "task", "metric", None]
    assert done.results[5].task.priority == 1
    assert (await planning.GetFeature(id="f")).completed_tasks == 1
    assert await planning.Batch(operations=operations, request_id="r") == done


async def test_a_batch_with_a_mistake_writes_nothing_and_says_where_it_is(planning: Planning) -> None:
    await planning.project()
    for wrong, code, reason in (
        (create(task=task("a", feature_id="none")), CODE.FAILED_PRECONDITION, "REFERENCE_MISSING"),
        (create(project=project("p")), CODE.ALREADY_EXISTS, "RECORD_EXISTS"),
        (update(task=plans.Task(id="none", name="n")), CODE.NOT_FOUND, "RECORD_NOT_FOUND"),
        (update("nothing", task=plans.Task(id="first")), CODE.INVALID_ARGUMENT, "MASK_INVALID"),
        (delete(pb.TABLE_PROJECTS, "p", "7"), CODE.ABORTED, "ETAG_STALE"),
        (delete(77, "p"), CODE.INVALID_ARGUMENT, "FIELD_INVALID"),
        (pb.BatchOperation(), CODE.INVALID_ARGUMENT, "FIELD_INVALID"),
        (create(), CODE.INVALID_ARGUMENT, "FIELD_INVALID"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await planning.Batch(operations=[create(task=task("first")), wrong, create(task=task("last"))])
        info = facts(caught.value)
        assert (caught.value.code(), info.reason, info.metadata["operation"]) == (code, reason, "1")
    assert not (await planning.ListTasks(project_id="p")).tasks


def facts(error: grpc.aio.AioRpcError) -> ErrorInfo:
    found = dict(error.trailing_metadata() or ())
    status, info = Status.FromString(found["grpc-status-details-bin"]), ErrorInfo()
    assert status.details[0].Unpack(info)
    return info


async def test_what_a_batch_owes_at_its_end_undoes_it_too(planning: Planning) -> None:
    await planning.project()
    await planning.task("a")
    with fails(CODE.FAILED_PRECONDITION, "TASK_CYCLE"):
        await planning.Batch(
            operations=[
                create(task=task("b", depends_on=["a"])),
                update("depends_on", task=plans.Task(id="a", depends_on=["b"])),
            ]
        )
    with fails(CODE.FAILED_PRECONDITION, "REFERENCE_MISSING"):
        await planning.Batch(operations=[create(task=task("b", depends_on=["a"])), delete(pb.TABLE_TASKS, "a")])
    assert [one.id for one in (await planning.ListTasks(project_id="p")).tasks] == ["a"]


async def test_a_batch_has_a_limit(planning: Planning) -> None:
    with fails(CODE.INVALID_ARGUMENT, "BATCH_TOO_LARGE"):
        await planning.Batch(operations=[delete(pb.TABLE_TASKS, "t")] * 1001)


async def work(planning: Planning) -> None:
    """A project with tasks of several statuses, agents, metrics, checkpoints and continue points."""
    await planning.project()
    await planning.agent("busy")
    await planning.agent("gone")
    await planning.TerminateAgent(id="gone")
    for id_ in ("a", "b", "c"):
        await planning.task(id_)
    await planning.set_status("c", "failed")
    await planning.ClaimTask(agent_id="busy", task_id="a")
    await planning.AddTokens(id="busy", tokens=50, project_id="p")
    await planning.CreateCheckpoint(checkpoint=history_pb2.Checkpoint(id="k", project_id="p"))
    for step in ("1", "2"):
        point = history_pb2.ContinuePoint(id=step, project_id="p", task_id="a", last_action=step)
        await planning.SaveContinuePoint(continue_point=point)


async def test_the_dashboard_shows_projects_tasks_metrics_and_agents(planning: Planning) -> None:
    await work(planning)
    await planning.project("q")
    for said in ({}, {"project_id": "p"}):
        shown = await planning.Dashboard(**said)
        assert {one.project.id for one in shown.projects} == ({"p"} if said else {"p", "q"})
        assert sum(one.count for one in shown.projects_by_status) == len(shown.projects)
        assert {one.status: one.count for one in shown.tasks_by_status} == {
            plans.TASK_STATUS_PENDING: 1,
            plans.TASK_STATUS_IN_PROGRESS: 1,
            plans.TASK_STATUS_FAILED: 1,
        }
        assert [(one.type, one.sum) for one in shown.metrics] == [("token_usage", 50)]
        assert [one.id for one in shown.agents] == ["busy"]
        assert {one.status: one.count for one in shown.agents_by_status} == {
            agents_pb2.AGENT_STATUS_WORKING: 1,
            agents_pb2.AGENT_STATUS_TERMINATED: 1,
        }
    with fails(CODE.NOT_FOUND, "RECORD_NOT_FOUND"):
        await planning.Dashboard(project_id="none")


async def test_the_overview_shows_agents_with_what_they_do_and_took(planning: Planning) -> None:
    await work(planning)
    (card,) = (await planning.AgentOverview()).agents
    assert (card.agent.id, [one.id for one in card.tasks], card.token_usage.sum) == ("busy", ["a"], 50)
    (card,) = (await planning.AgentOverview(agent_id="gone")).agents
    assert (card.agent.id, len(card.tasks), card.HasField("token_usage")) == ("gone", 0, False)


async def test_the_view_of_the_execution_shows_what_is_at_work_and_where_to_go_back_to(planning: Planning) -> None:
    await work(planning)
    view = await planning.ExecutionView(project_id="p")
    assert [one.id for one in view.tasks] == ["a", "c"]
    assert [(one.id, one.state) for one in view.checkpoints] == [("k", "")]
    assert [one.id for one in view.continue_points] == ["2"]
    assert sum(one.count for one in view.tasks_by_status) == 3
