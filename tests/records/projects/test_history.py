"""Sessions, continue points, requirements and metrics."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from harness.failures import fails
from harness.planning import Planning
from harness.records import Clock
from quartet.projects.v1 import history_pb2 as pb
from quartet.projects.v1 import metric_calls_pb2 as metrics_pb2

pytestmark = pytest.mark.asyncio(loop_scope="session")
CODE = grpc.StatusCode
TYPE, AGENT, TASK = (
    metrics_pb2.METRIC_DIMENSION_TYPE,
    metrics_pb2.METRIC_DIMENSION_AGENT,
    metrics_pb2.METRIC_DIMENSION_TASK,
)


def data(**said: Any) -> Struct:
    made = Struct()
    made.update(said)
    return made


async def test_a_session_is_saved_paused_resumed_and_ended(planning: Planning, now: Clock) -> None:
    await planning.project()
    begun = await planning.StartSession(
        session=pb.Session(project_id="p", type=pb.SESSION_TYPE_INTERVIEW, data=data(asked=1))
    )
    assert (begun.status, begun.started_at.seconds) == (pb.SESSION_STATUS_ACTIVE, int(now.now))
    paused = await planning.SaveSession(id=begun.id, status=pb.SESSION_STATUS_PAUSED, etag=begun.etag)
    assert (paused.status, paused.data["asked"]) == (pb.SESSION_STATUS_PAUSED, 1)
    with fails(CODE.ABORTED, "ETAG_STALE"):
        await planning.SaveSession(id=begun.id, data=data(), etag=begun.etag)
    saved = await planning.SaveSession(id=begun.id, data=data(asked=2, open=["what?"]))
    assert (saved.status, saved.data["asked"]) == (pb.SESSION_STATUS_PAUSED, 2)
    now.now += 5
    ended = await planning.EndSession(id=begun.id)
    assert (ended.status, ended.ended_at.seconds) == (pb.SESSION_STATUS_COMPLETED, int(now.now))
    assert await planning.EndSession(id=begun.id) == ended
    for call in (
        planning.SaveSession(id=begun.id, data=data()),
        planning.EndSession(id=begun.id, status=pb.SESSION_STATUS_CANCELLED),
    ):
        with fails(CODE.FAILED_PRECONDITION, "TRANSITION_REFUSED"):
            await call
    listed = await planning.ListSessions(project_id="p", status=pb.SESSION_STATUS_COMPLETED)
    assert list(listed.sessions) == [ended]


@pytest.mark.parametrize("wrong", [pb.SESSION_STATUS_COMPLETED, 77])
async def test_saving_a_session_does_not_end_it(planning: Planning, wrong: int) -> None:
    await planning.project()
    begun = await planning.StartSession(session=pb.Session(project_id="p", type=pb.SESSION_TYPE_PLANNING))
    with fails(CODE.INVALID_ARGUMENT, "FIELD_INVALID"):
        await planning.SaveSession(id=begun.id, status=wrong)
    with fails(CODE.INVALID_ARGUMENT, "FIELD_INVALID"):
        await planning.EndSession(id=begun.id, status=pb.SESSION_STATUS_PAUSED)


async def test_the_latest_continue_point_of_a_task_is_the_one_saved_last(planning: Planning, now: Clock) -> None:
    await planning.project()
    await planning.task(qa_iterations=3)
    saved = []
    for number in range(4):
        now.now += 1
        point = pb.ContinuePoint(
            project_id="p", task_id="t" if number else "u", last_action=f"step {number}", next_steps=["go on"]
        )
        saved.append(await planning.SaveContinuePoint(continue_point=point))
    assert await planning.LatestContinuePoint(task_id="t") == saved[3]
    assert [one.iteration_count for one in saved] == [0, 3, 3, 3]
    cleared = await planning.ClearContinuePoints(project_id="p", keep=1)
    assert cleared.cleared == 2
    left = (await planning.ListContinuePoints(project_id="p")).continue_points
    assert {one.id for one in left} == {saved[0].id, saved[3].id}
    assert (await planning.ClearContinuePoints(task_id="t")).cleared == 1
    with fails(CODE.NOT_FOUND, "RECORD_NOT_FOUND"):
        await planning.LatestContinuePoint(task_id="t")
    with fails(CODE.INVALID_ARGUMENT, "FIELD_INVALID"):
        await planning.ClearContinuePoints()


async def requirement(planning: Planning, **said: Any) -> pb.Requirement:
    return await planning.CreateRequirement(  # type: ignore[no-any-return]
        requirement=pb.Requirement(**{"project_id": "p", "category": "functional", "description": "d", **said})
    )


async def test_a_requirement_is_validated_and_that_can_be_taken_back(planning: Planning) -> None:
    await planning.project()
    made = await requirement(planning)
    done = await planning.ValidateRequirement(id=made.id, confidence=0.5)
    assert (done.validated, done.confidence) == (True, 0.5)
    assert list((await planning.ListRequirements(validated=False)).requirements) == []
    back = await planning.ValidateRequirement(id=made.id, validated=False)
    assert (back.validated, back.confidence) == (False, 0.5)
    assert [one.id for one in (await planning.ListRequirements(validated=False)).requirements] == [made.id]
    for wrong in (1.5, -0.1, float("nan")):
        with fails(CODE.INVALID_ARGUMENT, "FIELD_INVALID"):
            await planning.ValidateRequirement(id=made.id, confidence=wrong)


async def test_a_requirement_is_linked_to_features_of_its_project_that_are_there(planning: Planning) -> None:
    await planning.project()
    await planning.project("q")
    for id_ in ("f", "g"):
        await planning.feature(id_)
    await planning.feature("other", "q")
    made = await requirement(planning, linked_features=["f"])
    linked = await planning.LinkRequirement(id=made.id, feature_ids=["g", "f", "g"])
    assert list(linked.linked_features) == ["f", "g"]
    linked = await planning.LinkRequirement(id=made.id, unlink_feature_ids=["f", "none"])
    assert list(linked.linked_features) == ["g"]
    for wrong in ("none", "other"):
        with fails(CODE.FAILED_PRECONDITION, "REFERENCE_MISSING"):
            await planning.LinkRequirement(id=made.id, feature_ids=[wrong])
        with fails(CODE.FAILED_PRECONDITION, "REFERENCE_MISSING"):
            await requirement(planning, linked_features=[wrong])
    await planning.DeleteFeature(id="g")  # what is linked may go
    assert list((await planning.LinkRequirement(id=made.id, unlink_feature_ids=["g"])).linked_features) == []


def at(seconds: float) -> Timestamp:
    made = Timestamp()
    made.FromMicroseconds(int(seconds * 1_000_000))
    return made


async def measured(planning: Planning) -> None:
    await planning.project()
    for when, value, agent, task in ((-1, 1, "a", "t"), (10, 2, "a", "u"), (59.5, 3, "b", "t"), (60, 4, "b", None)):
        await planning.metric(value, timestamp=at(when), agent_id=agent, task_id=task)
    await planning.metric(100, timestamp=at(30), type="task_duration", agent_id="a")


def selection(**said: Any) -> metrics_pb2.MetricSelection:
    return metrics_pb2.MetricSelection(**{"project_id": "p", "type": "token_usage", **said})


async def test_measurements_are_added_up_by_what_they_are_told_apart(planning: Planning) -> None:
    await measured(planning)
    (whole,) = (await planning.AggregateMetrics(selection=selection())).groups
    assert (whole.count, whole.sum, whole.avg, whole.min, whole.max) == (4, 10, 2.5, 1, 4)
    agents = (await planning.AggregateMetrics(selection=selection(), group_by=[AGENT])).groups
    assert [(one.agent_id, one.count, one.sum) for one in agents] == [("a", 2, 3), ("b", 2, 7)]
    tasks = (await planning.AggregateMetrics(selection=selection(), group_by=[TASK])).groups
    assert [(one.task_id, one.sum) for one in tasks] == [("", 4), ("t", 4), ("u", 2)]
    types = (await planning.AggregateMetrics(selection=selection(type="", agent_id="a"), group_by=[TYPE])).groups
    assert [(one.type, one.sum) for one in types] == [("task_duration", 100), ("token_usage", 3)]
    minutes = (await planning.AggregateMetrics(selection=selection(), bucket_seconds=60)).groups
    assert [(one.bucket_time.seconds, one.sum) for one in minutes] == [(-60, 1), (0, 5), (60, 4)]
    part = selection(start_time=at(10), end_time=at(60))
    cells = (await planning.AggregateMetrics(selection=part, group_by=[AGENT, TYPE], bucket_seconds=30)).groups
    assert [(one.bucket_time.seconds, one.agent_id, one.sum) for one in cells] == [(0, "a", 2), (30, "b", 3)]
    assert list((await planning.AggregateMetrics(selection=selection(project_id="none"))).groups) == []


@pytest.mark.parametrize(
    "said",
    [
        {"group_by": [77]},
        {"group_by": [0]},
        {"group_by": [TYPE, TYPE]},
        {"bucket_seconds": -1},
        {"bucket_seconds": 2**60},
        {"selection": metrics_pb2.MetricSelection(start_time=Timestamp(seconds=2**60))},
        {"selection": metrics_pb2.MetricSelection(type="\0")},
    ],
    ids=str,
)
async def test_sums_that_nobody_can_mean_are_refused(planning: Planning, said: dict[str, Any]) -> None:
    with fails(CODE.INVALID_ARGUMENT, "FIELD_INVALID"):
        await planning.AggregateMetrics(**said)


async def test_measurements_are_read_in_the_order_of_time_page_by_page(planning: Planning) -> None:
    await measured(planning)
    values, token = [], ""
    for _ in range(3):
        page = await planning.QueryMetrics(selection=selection(), page_size=2, page_token=token)
        values.append([one.value for one in page.metrics])
        token = page.next_page_token
        if not token:
            break
    assert values == [[1, 2], [3, 4]]
    newest = await planning.QueryMetrics(selection=selection(agent_id="a"), newest_first=True, page_size=1)
    assert [one.value for one in newest.metrics] == [2]
    with fails(CODE.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"):
        await planning.QueryMetrics(selection=selection(agent_id="b"), page_token=newest.next_page_token)
    with fails(CODE.INVALID_ARGUMENT, "FIELD_INVALID"):
        await planning.metric(float("inf"))
