"""Whole nodes on a PostgreSQL: two that share one, and one that is told to leave its tables alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from grpc import aio
from harness import postgres
from harness.planning import Planning
from quartet.ops.v1 import ops_pb2, ops_pb2_grpc
from quartet_server.config import Config, Records, Serve
from quartet_server.node import RunningNode
from quartet_server.record_errors import SchemaOlder
from quartet_server.records.migrating import History, folder_of


@pytest.fixture
def url() -> str:
    """A database of the test's own."""
    return postgres.fresh_database()


def config(folder: Path, url: str, *, migrate: bool = True) -> Config:
    serve = Serve(name=folder.name, data_dir=folder, listen="127.0.0.1:0", listen_http="", services="ops,projects")
    return Config(serve=serve, records=Records(url=url, scope="shared", migrate=migrate))


@pytest_asyncio.fixture
async def nodes(url: str, tmp_path: Path) -> AsyncIterator[list[aio.Channel]]:
    """Channels to two nodes that start on the same empty database at once."""
    async with AsyncExitStack() as undo:
        undo.callback(postgres.drop_database, url)
        started = await asyncio.gather(*(RunningNode.start(config(tmp_path / name, url)) for name in ("n1", "n2")))
        channels = []
        for node in started:
            undo.push_async_callback(node.stop)
        for node in started:
            async with asyncio.timeout(60):
                await node.wait_ready()
            channels.append(await undo.enter_async_context(aio.insecure_channel(str(node.address))))
        yield channels


async def test_nodes_that_share_a_database_are_one_store(nodes: list[aio.Channel]) -> None:
    one = Planning(nodes[0])
    other = one.over(nodes[1])
    made = await one.project("p")
    assert await other.GetProject(id="p") == made
    for number in range(12):
        await one.task(f"t{number:02}")

    claimed = await asyncio.gather(
        *((one, other)[n % 2].ClaimTask(agent_id=f"a{n}", project_id="p") for n in range(12))
    )
    assert sorted(answer.task.id for answer in claimed) == [f"t{n:02}" for n in range(12)]

    first = await one.CreateTask(task={"project_id": "p", "name": "x"}, request_id="r")
    assert await other.CreateTask(task={"project_id": "p", "name": "x"}, request_id="r") == first

    first.name = "mine"
    await other.UpdateTask(task=first, update_mask={"paths": ["name"]})
    with pytest.raises(aio.AioRpcError) as stale:
        await one.UpdateTask(task=first, update_mask={"paths": ["name"]})
    assert stale.value.code() == grpc.StatusCode.ABORTED

    for channel in nodes:
        health = await ops_pb2_grpc.OpsServiceStub(channel).Health(ops_pb2.HealthRequest(), timeout=30)
        (database,) = health.databases
        assert (database.database, database.healthy, database.dialect) == ("projects", True, "postgresql")
        assert database.revision == History("projects", folder_of("projects")).head


async def test_a_node_that_may_not_migrate_does_not_start_on_an_empty_database(url: str, tmp_path: Path) -> None:
    try:
        async with await RunningNode.start(config(tmp_path / "n1", url)):
            pass
        async with await RunningNode.start(config(tmp_path / "n2", url, migrate=False)):
            pass
        empty = postgres.fresh_database()
        with pytest.raises(SchemaOlder, match="lacks"):
            await RunningNode.start(config(tmp_path / "n3", empty, migrate=False))
        postgres.drop_database(empty)
    finally:
        postgres.drop_database(url)
