"""Mounted stores are collected with the same guards as a node's own: what is held in the zone stays, and another cluster's mark keeps all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from harness.contents import noise
from quartet import AsyncClient
from quartet.maintenance.v1 import maintenance_pb2 as pb
from quartet_server.config import Config, Objects, Serve
from quartet_server.node import RunningNode
from quartet_server.objects.digest import Digest
from quartet_server.objects.mounts.addresses import address

KEPT, GONE = noise(20_000, 1), noise(30_000, 2)


@asynccontextmanager
async def node(folder: Path, name: str) -> AsyncIterator[tuple[AsyncClient, RunningNode]]:
    """A cluster of one node that may mount what is below `folder`/stores, and collects when it is told to."""
    serve = Serve(name=name, data_dir=folder / name, listen="127.0.0.1:0", listen_http="")
    objects = Objects(mounts=(folder / "stores").as_uri(), gc_every=0, gc_grace=0.2, touch_seconds=0.0, scrub_every=0)
    async with await RunningNode.start(Config(serve=serve, objects=objects)) as running:
        async with asyncio.timeout(60):
            await running.wait_ready()
        async with AsyncClient(str(running.address), timeout=60) as client:
            yield client, running


async def rounds(client: AsyncClient, *, run: bool = True) -> list[pb.CollectResponse]:
    """What a round told of each store at its end."""
    return [told async for told in client.maintenance.collect(run=run) if told.done]


async def swept(client: AsyncClient, mount: str) -> int:
    """Collect until something of a mount is gone; return how many blobs."""
    async with asyncio.timeout(60):
        while True:
            for told in await rounds(client):
                if told.collection.mount == mount and told.collection.swept:
                    return told.collection.swept
            await asyncio.sleep(0.05)


async def has(running: RunningNode, number: int, data: bytes) -> bool:
    assert running.blobs is not None
    return await running.blobs.stat(address("default", number), Digest.of(data)) is not None


async def test_what_nothing_leads_to_goes_from_a_mounted_store_and_what_is_held_anywhere_in_the_zone_stays(
    tmp_path: Path,
) -> None:
    url = (tmp_path / "stores" / "one").as_uri()
    async with node(tmp_path, "n1") as (client, running):
        mount = await client.mounts.mount("/m", "one", url, create=True)
        await client.files.write("/m/kept", KEPT)
        await client.files.rename("/m/kept", "/elsewhere")  # its bytes stay where they are
        assert running.blobs is not None
        await running.blobs.put(address("default", mount.number), GONE)  # to which nothing leads
        dry = {told.collection.mount: told for told in await rounds(client, run=False)}
        assert dry["one"].collection.examined == 2
        assert dry["one"].skipped == ""
        assert await swept(client, "one") == 1
        assert not await has(running, mount.number, GONE)
        assert await has(running, mount.number, KEPT)
        assert await client.files.read("/elsewhere") == KEPT
        own = [told async for told in client.maintenance.collect(run=True, own_only=True) if told.done]
        assert "one" not in {told.collection.mount for told in own}


async def test_a_mounted_store_that_another_cluster_has_marked_is_left_alone_until_it_is_adopted(
    tmp_path: Path,
) -> None:
    url = (tmp_path / "stores" / "shared").as_uri()
    async with node(tmp_path, "first") as (client, _):
        await client.mounts.mount("/m", "ours", url, create=True)
        await client.files.write("/m/f", KEPT)
    async with node(tmp_path, "second") as (client, running):
        mount = await client.mounts.mount("/m", "theirs", url, create=True)
        await client.files.write("/m/f", KEPT)
        assert running.blobs is not None
        await running.blobs.put(address("default", mount.number), GONE)
        for _ in range(3):
            [told] = [one for one in await rounds(client) if one.collection.mount == "theirs"]
            assert "another cluster" in told.skipped
            assert (told.collection.condemned, told.collection.swept) == (0, 0)
        assert await has(running, mount.number, GONE)
        [adopted] = (await client.maintenance.adopt()).mounts
        assert (adopted.zone, adopted.name, len(adopted.owners)) == ("default", "theirs", 2)
        assert await swept(client, "theirs") == 1
        assert await client.files.read("/m/f") == KEPT
