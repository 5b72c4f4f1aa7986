"""Tasks: how their status changes and what follows, who gets which, what depends on what."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import grpc
import pytest
from harness.failures import fails
from harness.planning import Planning, code_of, task
from harness.records import Clock
from quartet.projects.v1 import agents_pb2, task_calls_pb2
from quartet.projects.v1 import plans_pb2 as pb
from quartet_server.projects import tasks

pytestmark = pytest.mark.asyncio(loop_scope="session")
CODE = grpc.StatusCode
STATUSES = {text: number for number, text in tasks.SPELLED.items()}
REFUSED = [
    ("pending", "in_review"),
    ("queued", "in_review"),
    ("in_review", "queued"),
    ("completed", "in_review"),
    ("completed", "failed"),
    ("completed", "blocked"),
    ("failed", "completed"),
    ("failed", "in_review"),
    ("failed", "blocked"),
    ("blocked", "in_review"),
    ("blocked", "completed"),
]
WAYS = {"in_review": ["in_progress", "in_review"]}
"""How a task comes to a status that it cannot take at once."""


async def come_to(planning: Planning, id_: str, status: str) -> None:
    for step in WAYS.get(status, [status]):
        await planning.set_status(id_, step)


async def test_a_status_changes_along_the_ways_that_are_there_and_no_others(planning: Planning) -> None:
    await planning.project()
    for before in STATUSES:
        for after in STATUSES:
            id_ = f"{before}-{after}"
            await planning.task(id_)
            await come_to(planning, id_, before)
            if (before, after) in REFUSED:
                with fails(CODE.FAILED_PRECONDITION, "TRANSITION_REFUSED"):
                    await planning.set_status(id_, after)
            else:
                assert (await planning.set_status(id_, after)).status == STATUSES[after]
    with fails(CODE.INVALID_ARGUMENT, "FIELD_INVALID"):
        await planning.SetTaskStatus(id="pending-pending", status=77)


async def test_a_task_knows_when_it_began_and_ended_and_how_long_it_took(planning: Planning, now: Clock) -> None:
    await planning.project()
    await planning.task()
    begun = await planning.set_status("t", "in_progress")
    now.now += 61
    assert (await planning.set_status("t", "pending")).started_at == begun.started_at
    again = await planning.set_status("t", "in_progress")
    assert again.started_at == begun.started_at
    done = await planning.set_status("t", "completed")
    assert done.completed_at.seconds == begun.started_at.seconds + 61
    assert done.actual_minutes == 2  # rounded up
    assert not (await planning.set_status("t", "pending")).HasField("completed_at")


async def test_a_stale_etag_changes_no_status(planning: Planning) -> None:
    await planning.project()
    await planning.task()
    with fails(CODE.ABORTED, "ETAG_STALE"):
        await planning.SetTaskStatus(id="t", status=STATUSES["queued"], etag="7")
    done = await planning.SetTaskStatus(id="t", status=STATUSES["queued"], etag="1", note="soon")
    assert list(done.task.notes) == ["soon"]


async def test_an_agent_works_on_what_it_claims_until_that_is_over(planning: Planning) -> None:
    await planning.project()
    await planning.agent()
    for id_, end in (("t", "completed"), ("u", "failed")):
        await planning.task(id_)
        got = (await planning.ClaimTask(agent_id="a", project_id="p")).task
        assert (got.id, got.assigned_agent, got.status) == (id_, "a", STATUSES["in_progress"])
        agent = await planning.GetAgent(id="a")
        assert (agent.status, agent.current_task_id) == (agents_pb2.AGENT_STATUS_WORKING, id_)
        assert (await planning.set_status(id_, end)).assigned_agent == "a"
        agent = await planning.GetAgent(id="a")
        assert (agent.status, agent.HasField("current_task_id")) == (agents_pb2.AGENT_STATUS_IDLE, False)
    assert (agent.tasks_completed, agent.tasks_failed) == (1, 1)


async def test_completing_a_task_frees_those_it_had_blocked(planning: Planning) -> None:
    await planning.project()
    for id_ in ("a", "b", "c"):
        await planning.task(id_)
    blocked = await planning.SetTaskStatus(id="b", status=STATUSES["blocked"], blocked_by="a")
    assert blocked.task.blocked_by == "a"
    await planning.set_status("c", "blocked")  # by nobody's task
    with fails(CODE.FAILED_PRECONDITION, "REFERENCE_MISSING"):
        await planning.SetTaskStatus(id="c", status=STATUSES["blocked"], blocked_by="none")
    done = await planning.SetTaskStatus(id="a", status=STATUSES["completed"])
    assert list(done.unblocked_task_ids) == ["b"]
    freed = await planning.GetTask(id="b")
    assert (freed.status, freed.HasField("blocked_by")) == (STATUSES["pending"], False)


async def test_a_task_that_quality_assurance_sends_back_too_often_is_escalated(planning: Planning) -> None:
    await planning.project()
    await planning.task(max_iterations=2)
    with fails(CODE.FAILED_PRECONDITION, "TRANSITION_REFUSED"):
        await planning.BumpQaIteration(id="t")
    await come_to(planning, "t", "in_review")
    first = await planning.BumpQaIteration(id="t", note="tests fail")
    assert (first.escalated, first.task.qa_iterations, first.task.status) == (False, 1, STATUSES["in_progress"])
    second = await planning.BumpQaIteration(id="t", request_id="r")
    assert (second.escalated, second.task.qa_iterations, second.task.status) == (True, 2, STATUSES["blocked"])
    assert list(second.task.notes) == ["tests fail", "escalated: quality assurance sent it back 2 times"]
    assert await planning.BumpQaIteration(id="t", request_id="r") == second
    with fails(CODE.FAILED_PRECONDITION, "TRANSITION_REFUSED"):
        await planning.BumpQaIteration(id="t")


async def test_of_sixteen_who_claim_at_once_no_two_get_the_same_task(planning: Planning) -> None:
    await planning.project()
    wanted = [f"t{number:02}" for number in range(40)]
    await planning.BatchCreateTasks(requests=[task_calls_pb2.CreateTaskRequest(task=task(id_)) for id_ in wanted])

    async def work(agent: str) -> list[str]:
        got = []
        while (answer := await planning.ClaimTask(agent_id=agent, project_id="p")).HasField("task"):
            assert answer.task.assigned_agent == agent
            got.append(answer.task.id)
        return got

    claimed = await asyncio.gather(*(work(f"a{number}") for number in range(16)))
    assert Counter(id_ for got in claimed for id_ in got) == Counter(wanted)


async def test_of_sixteen_who_claim_one_task_one_gets_it(planning: Planning) -> None:
    await planning.project()
    await planning.task()

    claims = (code_of(planning.ClaimTask(agent_id=f"a{number}", task_id="t")) for number in range(16))
    assert Counter(await asyncio.gather(*claims)) == {CODE.OK: 1, CODE.FAILED_PRECONDITION: 15}


async def test_the_task_that_is_claimed_is_the_first_that_is_ready(planning: Planning) -> None:
    await planning.project()
    await planning.feature()
    await planning.task("later", priority=9)
    await planning.task("first", priority=1, depends_on=["later"])
    await planning.task("tested", priority=8, type=pb.TASK_TYPE_TDD, feature_id="f")

    async def claim(**said: Any) -> str:
        answer = await planning.ClaimTask(agent_id="a", project_id="p", **said)
        return str(answer.task.id or answer.waiting)

    assert await claim(type=pb.TASK_TYPE_CHECKPOINT) == "0"
    assert await claim(feature_id="f", type=pb.TASK_TYPE_TDD) == "tested"
    assert await claim() == "later"
    assert await claim() == "1"  # what is left waits
    await planning.set_status("later", "completed")
    assert await claim() == "first"


async def test_a_ready_task_is_found_behind_many_that_wait(planning: Planning) -> None:
    await planning.project()
    waiting = [task(f"w{number:03}", depends_on=["last"], priority=number % 3) for number in range(450)]
    made = [*waiting, task("last", priority=9), task("never", depends_on=["last"], priority=9)]
    await planning.BatchCreateTasks(requests=[task_calls_pb2.CreateTaskRequest(task=one) for one in made])
    assert (await planning.ClaimTask(agent_id="a", project_id="p")).task.id == "last"
    assert (await planning.ClaimTask(agent_id="a", project_id="p")).waiting == 451
    await planning.set_status("last", "completed")
    assert (await planning.ClaimTask(agent_id="a", project_id="p")).task.id == "w000"


@pytest.mark.parametrize(
    ("said", "status"),
    [({}, "in_progress"), ({}, "completed"), ({"depends_on": ["other"]}, ""), ({"assigned_agent": "b"}, "")],
)
async def test_a_named_task_that_is_not_ready_is_not_given(
    planning: Planning, said: dict[str, Any], status: str
) -> None:
    await planning.project()
    await planning.task("other")
    await planning.task(**said)
    if status:
        await planning.set_status("t", status)
    with fails(CODE.FAILED_PRECONDITION, "TASK_NOT_READY"):
        await planning.ClaimTask(agent_id="a", task_id="t")


async def test_claims_name_an_agent_that_has_not_ended_and_a_project_that_is_there(planning: Planning) -> None:
    await planning.project()
    await planning.agent()
    await planning.TerminateAgent(id="a")
    with fails(CODE.FAILED_PRECONDITION, "TRANSITION_REFUSED"):
        await planning.ClaimTask(agent_id="a", project_id="p")
    with fails(CODE.NOT_FOUND, "RECORD_NOT_FOUND"):
        await planning.ClaimTask(agent_id="b", project_id="none")
    for said in ({"agent_id": "b"}, {"project_id": "p"}):
        with fails(CODE.INVALID_ARGUMENT, "FIELD_INVALID"):
            await planning.ClaimTask(**said)


async def test_a_task_depends_on_tasks_of_its_project_that_are_there(planning: Planning) -> None:
    await planning.project()
    await planning.project("q")
    await planning.task("other", "q")
    for wrong in ("none", "other"):
        with fails(CODE.FAILED_PRECONDITION, "REFERENCE_MISSING"):
            await planning.task(depends_on=[wrong])
    with fails(CODE.INVALID_ARGUMENT, "FIELD_INVALID"):
        await planning.task(depends_on=[str(number) for number in range(1001)])
    assert not (await planning.ListTasks(project_id="p")).tasks


async def test_a_cycle_is_refused_and_named(planning: Planning) -> None:
    await planning.project()
    await planning.task("a")
    await planning.task("b", depends_on=["a"])
    await planning.task("c", depends_on=["b"])
    with pytest.raises(grpc.aio.AioRpcError, match="a -> c -> b -> a"):
        await planning.UpdateTask(task=pb.Task(id="a", depends_on=["c"]))
    for given in (task("d", depends_on=["d"]), task("a", depends_on=["a"])):
        call = planning.CreateTask if given.id == "d" else planning.UpdateTask
        with fails(CODE.FAILED_PRECONDITION, "TASK_CYCLE"):
            await call(task=given)
    assert not (await planning.GetTask(id="a")).depends_on


async def test_tasks_of_one_batch_may_depend_on_later_ones_but_in_no_circle(planning: Planning) -> None:
    await planning.project()

    def of(*made: pb.Task) -> list[task_calls_pb2.CreateTaskRequest]:
        return [task_calls_pb2.CreateTaskRequest(task=one) for one in made]

    with fails(CODE.FAILED_PRECONDITION, "TASK_CYCLE"):
        await planning.BatchCreateTasks(requests=of(task("a", depends_on=["b"]), task("b", depends_on=["a"])))
    made = await planning.BatchCreateTasks(requests=of(task("a", depends_on=["b"]), task("b")))
    assert [one.id for one in made.tasks] == ["a", "b"]
    with fails(CODE.ALREADY_EXISTS, "RECORD_EXISTS"):
        await planning.BatchCreateTasks(requests=of(task("c"), task("a")))
    assert len((await planning.ListTasks(project_id="p")).tasks) == 2


async def test_a_task_on_which_another_depends_stays(planning: Planning) -> None:
    await planning.project()
    await planning.task("%_'\"")
    await planning.task("b", depends_on=["%_'\""])
    with fails(CODE.FAILED_PRECONDITION, "RECORD_REFERENCED"):
        await planning.DeleteTask(id="%_'\"")
    await planning.DeleteTask(id="b")
    await planning.DeleteTask(id="%_'\"")


async def test_the_graph_comes_in_an_order_in_which_it_can_be_done(planning: Planning) -> None:
    await planning.project()
    await planning.task("last", depends_on=[])
    await planning.task("base", priority=1)
    await planning.task("left", depends_on=["base"])
    await planning.task("right", depends_on=["base"], priority=2)
    await planning.UpdateTask(task=pb.Task(id="last", depends_on=["left", "right"]))
    await planning.set_status("base", "completed")
    nodes = (await planning.TaskGraph(project_id="p")).nodes
    assert [(one.id, one.depth, one.ready) for one in nodes] == [
        ("base", 0, False),
        ("right", 1, True),
        ("left", 1, True),
        ("last", 2, False),
    ]
    assert list(nodes[3].depends_on) == ["left", "right"]
    with fails(CODE.NOT_FOUND, "RECORD_NOT_FOUND"):
        await planning.TaskGraph(project_id="none")


async def test_the_board_has_a_column_for_each_status(planning: Planning) -> None:
    await planning.project()
    for number in range(3):
        await planning.task(f"t{number}", priority=9 - number)
    await planning.set_status("t0", "in_progress")
    board = await planning.Board(project_id="p", column_size=1)
    assert [one.status for one in board.columns] == list(STATUSES.values())
    shown = {tasks.SPELLED[one.status]: (one.count, [t.id for t in one.tasks]) for one in board.columns if one.count}
    assert shown == {"pending": (2, ["t2"]), "in_progress": (1, ["t0"])}
    with fails(CODE.NOT_FOUND, "RECORD_NOT_FOUND"):
        await planning.Board(project_id="none")


async def test_a_feature_counts_its_completed_tasks_whatever_happens_to_them(planning: Planning) -> None:
    await planning.project()
    await planning.feature("f")
    await planning.feature("g")

    async def counts() -> tuple[int, ...]:
        return tuple([(await planning.GetFeature(id=one)).completed_tasks for one in ("f", "g")])

    await planning.task("a", feature_id="f", status=pb.TASK_STATUS_COMPLETED)
    await planning.task("b", feature_id="f")
    assert await counts() == (1, 0)
    await planning.set_status("b", "completed")
    assert await counts() == (2, 0)
    await planning.UpdateTask(task=pb.Task(id="b", feature_id="g"))
    assert await counts() == (1, 1)
    await planning.set_status("a", "pending")
    await planning.DeleteTask(id="b")
    assert await counts() == (0, 0)
    before = await planning.GetFeature(id="f")
    await planning.UpdateTask(task=pb.Task(id="a", name="other"))
    assert await planning.GetFeature(id="f") == before  # what does not change is not written
