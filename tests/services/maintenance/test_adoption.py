"""A node on a folder of blobs of another cluster's serves them, collects nothing, and says so, until an operator adopts them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from quartet import AsyncClient, CallError
from quartet_server.cli import create
from quartet_server.cli.output import CommandError
from quartet_server.config import Config, Objects, Serve
from quartet_server.node import RunningNode

BLOB = b"what another cluster's files refer to"


@asynccontextmanager
async def node(folder: Path, name: str) -> AsyncIterator[str]:
    """A cluster of one node with its Metastore below `folder`/`name` and its blobs in `folder`/blobs; yields its address."""
    serve = Serve(name=name, data_dir=folder / name, listen="127.0.0.1:0", listen_http="")
    objects = Objects(url=f"file://{folder}/blobs", gc_grace=0.2, touch_seconds=0.0)
    async with await RunningNode.start(Config(serve=serve, objects=objects)) as running:
        async with asyncio.timeout(60):
            await running.wait_ready()
            while (
                "new" in (folder / "blobs" / "owners").read_text().split()
            ):  # the cluster says whose it is in a moment
                await asyncio.sleep(0.01)
        yield str(running.address)


async def collected(client: AsyncClient) -> int:
    """Collect until nothing is left; return how much went."""
    swept = 0
    async with asyncio.timeout(60):
        while True:
            rounds = [told.collection async for told in client.maintenance.collect(run=True) if told.done]
            swept += sum(one.swept for one in rounds)
            if not any(one.examined - one.swept for one in rounds):
                return swept
            await asyncio.sleep(0.05)


async def commanded(address: str, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[Any, str]:
    """Run `quartet gc` in a thread; return what it printed and said."""

    def run(line: Sequence[str]) -> None:
        create({})(["gc", *line, "--endpoints", address])

    capsys.readouterr()  # what the node has logged
    await asyncio.to_thread(run, arguments)
    printed = capsys.readouterr()
    return json.loads(printed.out.splitlines()[-1]) if "json" in arguments else printed.out, printed.err


async def test_blobs_of_another_cluster_are_served_and_kept_until_adopted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with node(tmp_path, "first") as address, AsyncClient(address) as client:
        digest = await client.objects.put(BLOB)
    async with node(tmp_path, "second") as address, AsyncClient(address) as client:
        await client.objects.put(b"the second's")
        for _ in range(2):
            with pytest.raises(CallError) as raised:
                await collected(client)
            assert raised.value.reason == "OBJECTS_NOT_OWNED"
        with pytest.raises(CommandError, match="OBJECTS_NOT_OWNED") as refused:
            await commanded(address, capsys, "--run")
        assert "quartet gc --adopt" in refused.value.hint
        assert await client.objects.get(digest) == BLOB
        [row], words = await commanded(address, capsys, "-o", "json")
        assert row["examined"] == 2
        [told], _ = await commanded(address, capsys, "--report", "-o", "json")
        assert "another cluster" in told["collect_failure"]
        with pytest.raises(CommandError, match="--adopt"):
            await commanded(address, capsys, "--adopt", "--run")
        [adopted], _ = await commanded(address, capsys, "--adopt", "-o", "json")
        assert (adopted["node"], len(adopted["owners"])) == ("second", 2)
        printed, words = await commanded(address, capsys, "--adopt")
        assert "second" in printed
        assert "this cluster's alone" in words
        assert (await client.maintenance.adopt()).owners == (await client.maintenance.adopt()).owners
        assert await collected(client) == 2
    async with node(tmp_path, "first") as address, AsyncClient(address) as client:
        await client.objects.put(BLOB)
        with pytest.raises(CallError) as raised:
            await collected(client)
        assert raised.value.reason == "OBJECTS_NOT_OWNED"


async def test_blobs_that_move_with_their_metastore_are_collected_as_before(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    async with node(before, "first") as address, AsyncClient(address) as client:
        await client.objects.put(BLOB)
    before.rename(after)
    async with node(after, "first") as address, AsyncClient(address) as client:
        assert await collected(client) == 1
