"""Two nodes that share one PostgreSQL: what one writes the other serves, and both keep the same promises."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from harness.planning import Planning, task
from harness.records import Clock, Opening
from quartet.projects.v1 import task_calls_pb2
from quartet_server.projects.schema import SCHEMA
from quartet_server.projects.service import start

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def nodes(tmp_path: Path, now: Clock) -> AsyncIterator[tuple[Planning, Planning]]:
    """A client of each of two nodes, in one zone."""
    async with AsyncExitStack() as undo:
        opening = Opening("postgresql", tmp_path, now, undo)
        one = Planning(await opening.served(SCHEMA, start))
        await opening.database_again(SCHEMA)  # over connections of its own, as another node has them
        yield one, one.over(await opening.served(SCHEMA, start))


async def test_claims_at_both_nodes_never_give_a_task_to_two_and_either_tells_of_them(
    nodes: tuple[Planning, Planning],
) -> None:
    one, other = nodes
    await one.project()
    await one.agent("watched")
    watch = aiter(other.WatchAgents())
    async with asyncio.timeout(20):
        first = await anext(watch)
    assert [each.id for each in first.agents] == ["watched"]
    wanted = [f"t{number:02}" for number in range(30)]
    made = [task_calls_pb2.CreateTaskRequest(task=task(id_)) for id_ in wanted]
    await one.BatchCreateTasks(requests=made)

    async def work(planning: Planning, agent: str) -> list[str]:
        got = []
        while (answer := await planning.ClaimTask(agent_id=agent, project_id="p")).HasField("task"):
            got.append(answer.task.id)
        return got

    claims = [work(nodes[number % 2], f"a{number}") for number in range(15)]
    claimed = await asyncio.gather(*claims)
    assert Counter(id_ for got in claimed for id_ in got) == Counter(wanted)
    await one.Heartbeat(id="watched")
    async with asyncio.timeout(20):
        told = await anext(watch)
    assert [each.id for each in told.agents] == ["watched"]
    assert await other.Dashboard() == await one.Dashboard()
