"""Agents: how they begin, live and end, what they take, and who hears of it."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from harness.failures import fails
from harness.planning import Planning
from harness.records import Clock
from quartet.projects.v1 import agent_calls_pb2, plans_pb2
from quartet.projects.v1 import agents_pb2 as pb

pytestmark = pytest.mark.asyncio(loop_scope="session")
CODE = grpc.StatusCode


class Watch:
    """A stream of WatchAgents, read with a limit of time."""

    def __init__(self, planning: Planning, **said: Any) -> None:
        self._call = planning.WatchAgents(**said)
        self._answers = aiter(self._call)

    async def next(self) -> agent_calls_pb2.WatchAgentsResponse:
        """The next answer."""
        async with asyncio.timeout(20):
            return await anext(self._answers)

    def end(self) -> None:
        """Stop listening."""
        self._call.cancel()


async def test_an_agent_begins_idle_whatever_it_says(planning: Planning, now: Clock) -> None:
    made = await planning.agent(
        "a", status=pb.AGENT_STATUS_WORKING, tokens_used=7, tools=["read"], temperature=0.0, current_task_id="t"
    )
    assert (made.status, made.tokens_used, made.HasField("current_task_id")) == (pb.AGENT_STATUS_IDLE, 0, False)
    assert (list(made.tools), made.temperature, made.model_name) == (["read"], 0.0, "claude-sonnet-4")
    assert made.spawned_at.seconds == made.last_activity_at.seconds == int(now.now)


async def test_a_heartbeat_tells_that_an_agent_lives_and_what_it_does(planning: Planning, now: Clock) -> None:
    await planning.agent()
    now.now += 10
    beat = await planning.Heartbeat(id="a", status=pb.AGENT_STATUS_PAUSED)
    assert (beat.status, beat.last_activity_at.seconds) == (pb.AGENT_STATUS_PAUSED, int(now.now))
    assert (await planning.Heartbeat(id="a")).status == pb.AGENT_STATUS_PAUSED
    for wrong in (pb.AGENT_STATUS_TERMINATED, 77):
        with fails(CODE.INVALID_ARGUMENT, "FIELD_INVALID"):
            await planning.Heartbeat(id="a", status=wrong)


async def test_an_agent_that_ends_gives_its_task_back(planning: Planning) -> None:
    await planning.project()
    await planning.agent()
    await planning.task()
    await planning.ClaimTask(agent_id="a", project_id="p")
    ended = await planning.TerminateAgent(id="a", reason="out of tokens")
    assert (ended.agent.status, ended.agent.termination_reason) == (pb.AGENT_STATUS_TERMINATED, "out of tokens")
    assert ended.agent.HasField("terminated_at")
    assert not ended.agent.HasField("current_task_id")
    assert (ended.released_task.id, ended.released_task.status) == ("t", plans_pb2.TASK_STATUS_PENDING)
    assert not ended.released_task.HasField("assigned_agent")
    assert (await planning.TerminateAgent(id="a")).agent == ended.agent
    with fails(CODE.FAILED_PRECONDITION, "TRANSITION_REFUSED"):
        await planning.Heartbeat(id="a")


async def test_of_tokens_that_are_added_at_once_none_is_lost(planning: Planning) -> None:
    await planning.project()
    await planning.agent()
    await asyncio.gather(*(planning.AddTokens(id="a", tokens=number, project_id="p") for number in range(20)))
    assert (await planning.GetAgent(id="a")).tokens_used == 190
    first = await planning.AddTokens(id="a", tokens=5, request_id="r")
    assert (await planning.AddTokens(id="a", tokens=5, request_id="r")).tokens_used == first.tokens_used == 195
    with fails(CODE.INVALID_ARGUMENT, "FIELD_INVALID"):
        await planning.AddTokens(id="a", tokens=-1)
    with fails(CODE.FAILED_PRECONDITION, "REFERENCE_MISSING"):
        await planning.AddTokens(id="a", tokens=1, project_id="none")
    assert (await planning.GetAgent(id="a")).tokens_used == 195


async def test_usage_tells_what_agents_took_and_when(planning: Planning, now: Clock) -> None:
    await planning.project()
    for id_ in ("a", "b"):
        await planning.agent(id_)
    await planning.AddTokens(id="a", tokens=10, project_id="p")
    now.now += 100
    since = await planning.AddTokens(id="b", tokens=30, project_id="p")
    await planning.AddTokens(id="a", tokens=5)
    every = (await planning.AgentUsage()).agents
    assert [(one.agent_id, one.tokens_used, one.metric_tokens) for one in every] == [("b", 30, 30), ("a", 15, 10)]
    late = (await planning.AgentUsage(start_time=since.last_activity_at, project_id="p")).agents
    assert [(one.agent_id, one.metric_tokens) for one in late] == [("b", 30), ("a", 0)]
    assert [one.agent_id for one in (await planning.AgentUsage(agent_id="a")).agents] == ["a"]


async def test_a_watch_tells_of_every_agent_that_begins_changes_or_goes(planning: Planning) -> None:
    await planning.project()
    await planning.agent("a")
    watch = Watch(planning)
    first = await watch.next()
    assert [one.id for one in first.agents] == ["a"]
    await planning.agent("b", type=pb.AGENT_TYPE_TESTER)
    assert [one.id for one in (await watch.next()).agents] == ["b"]
    await planning.task()
    await planning.ClaimTask(agent_id="a", project_id="p")
    changed = await watch.next()
    assert [(one.id, one.current_task_id) for one in changed.agents] == [("a", "t")]
    await planning.DeleteAgent(id="b")
    gone = await watch.next()
    assert (list(gone.agents), list(gone.deleted_ids)) == ([], ["b"])
    assert gone.position > changed.position > first.position
    watch.end()


async def test_a_watch_resumes_where_another_ended(planning: Planning) -> None:
    for id_ in ("a", "b", "c"):
        await planning.agent(id_)
    watch = Watch(planning)
    seen = await watch.next()
    watch.end()
    await planning.Heartbeat(id="b")
    await planning.UpdateAgent(agent=pb.Agent(id="c", model_name="other"))
    again = Watch(planning, position=seen.position)
    missed = await again.next()
    assert [(one.id, one.model_name) for one in missed.agents] == [("b", "claude-sonnet-4"), ("c", "other")]
    again.end()
    quiet = Watch(planning, position=missed.position, type=pb.AGENT_TYPE_TESTER)
    assert not (await quiet.next()).agents  # the watch has begun
    await planning.Heartbeat(id="a")
    await planning.agent("t", type=pb.AGENT_TYPE_TESTER)
    assert [one.id for one in (await quiet.next()).agents] == ["t"]
    quiet.end()


@pytest.mark.parametrize(
    ("said", "code", "reason"),
    [
        ({"position": -1}, CODE.INVALID_ARGUMENT, "FIELD_INVALID"),
        ({"type": 77}, CODE.INVALID_ARGUMENT, "FIELD_INVALID"),
        ({"position": 5}, CODE.OUT_OF_RANGE, "REVISION_FUTURE"),
    ],
)
async def test_a_watch_from_nowhere_is_refused(
    planning: Planning, said: dict[str, Any], code: grpc.StatusCode, reason: str
) -> None:
    with fails(code, reason):
        await Watch(planning, **said).next()


async def test_what_is_undone_has_no_position(planning: Planning) -> None:
    await planning.agent()
    with fails(CODE.ALREADY_EXISTS, "RECORD_EXISTS"):
        await planning.agent()
    watch = Watch(planning)
    assert (await watch.next()).position == 1
    watch.end()
