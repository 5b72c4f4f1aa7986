"""A store of blobs that is not this cluster's alone is not collected, whatever its Metastore knows, until it is adopted."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import s3
from harness.blobs import TOUCH_SECONDS, Clock, bucket
from harness.stores import start_nodes
from quartet_server.config import Objects
from quartet_server.errors import ObjectsNotOwned
from quartet_server.meta import system
from quartet_server.objects.contract import MarkedBlobs
from quartet_server.objects.digest import Digest
from quartet_server.objects.disk import DiskBlobs, DiskLimits
from quartet_server.objects.gc.ownership import NEW, UNKNOWN, Ownership, cluster_id
from quartet_server.objects.gc.upkeep import Upkeep
from quartet_server.objects.memory import MemoryBlobs

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

GRACE = 100.0
CONFIG = Objects(gc_grace=GRACE)


class Nobody:
    """A holder of nothing; the Metastore is emptied while it reads it, if that is asked for."""

    def __init__(self) -> None:
        self.emptied: Metastore | None = None

    async def held(self, zone: str, digests: Iterable[Digest]) -> set[Digest]:
        return set()

    async def reached(self, zone: str) -> AsyncGenerator[Digest, None]:
        if self.emptied is not None:
            await forget(self.emptied)
        return
        yield


class Cluster:
    """A cluster of one node, over a store that others may have too."""

    def __init__(self, metastore: Metastore, blobs: MarkedBlobs, clock: Clock) -> None:
        self.clock, self.metastore, self.blobs, self.holder = clock, metastore, blobs, Nobody()
        self.ownership = Ownership(blobs, metastore, lambda: os.urandom(16).hex(), shared=False)
        self.upkeep = Upkeep(
            "n1", blobs, metastore, [self.holder], CONFIG, self.ownership, shared=False, clock=clock,
            draw=random.Random(1).randbytes,
        )  # fmt: skip

    async def begin(self) -> None:
        """Do what a node does before it serves, and at once when it has a leader."""
        await self.ownership.begin()
        self.ownership.start()
        mine = await cluster_id(self.metastore, lambda: os.urandom(16).hex())
        async with asyncio.timeout(30):
            while mine not in (marks := await self.blobs.marks()) or NEW in marks:
                await asyncio.sleep(0.001)
        await self.ownership.close()

    async def collect(self, *, dry: bool = False) -> int:
        """Do two rounds a grace apart; return how many blobs went."""
        swept = 0
        for _ in range(2):
            self.clock.now += GRACE + TOUCH_SECONDS
            swept += sum([tally.swept async for tally, done in self.upkeep.collect(dry=dry) if done])
        return swept

    async def refused(self) -> ObjectsNotOwned:
        """Try to collect twice; return why it was refused."""
        before, failures = await self.blobs.usage(), self.upkeep.totals.failures
        for _ in range(2):
            with pytest.raises(ObjectsNotOwned) as raised:
                await self.collect()
        assert await self.blobs.usage() == before
        [report] = [told for told in await self.upkeep.reports() if told.node == "n1"]
        assert report.collect_failure == raised.value.message
        assert self.upkeep.totals.failures == failures + 2
        return raised.value


@dataclass
class Place:
    """Where blobs are kept, and opened again."""

    kind: str
    folder: Path
    name: str
    clock: Clock
    stack: AsyncExitStack
    memory: MemoryBlobs

    async def opened(self, folder: Path | None = None) -> MarkedBlobs:
        if self.kind == "memory":
            return self.memory
        if self.kind == "disk":
            limits = DiskLimits(touch_seconds=TOUCH_SECONDS)
            store: MarkedBlobs = await DiskBlobs.open(folder or self.folder, limits, self.clock, os.urandom)
        else:
            store = await bucket(f"s3://{self.name}/prefix", s3.endpoint(), self.clock)
        self.stack.push_async_callback(store.close)
        return store

    async def reopened(self) -> MarkedBlobs:
        await self.stack.aclose()
        return await self.opened()


@pytest.fixture(params=["memory", "disk", "s3"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """An empty place of each kind."""
    clock, name = Clock(), s3.new_bucket() if request.param == "s3" else ""
    async with AsyncExitStack() as stack:
        yield Place(request.param, tmp_path / "blobs", name, clock, stack, MemoryBlobs(clock, TOUCH_SECONDS))


@pytest.fixture
async def metastores(tmp_path: Path) -> AsyncIterator[tuple[Metastore, Metastore]]:
    """The Metastores of two clusters."""
    [node] = await start_nodes(tmp_path / "raft", 1)
    yield node.metastore(0), node.metastore(1)
    await node.stop()


async def forget(metastore: Metastore) -> None:
    """Empty a Metastore."""
    await metastore.delete_range(pb.DeleteRangeRequest(key=b"\0", range_end=b"\0"))


async def test_a_new_store_is_its_first_clusters_and_stays_so(
    place: Place, metastores: tuple[Metastore, Metastore]
) -> None:
    mine, _ = metastores
    for life in range(2):
        one = Cluster(mine, await place.reopened(), place.clock)
        await one.begin()
        assert await one.blobs.marks() == {await cluster_id(mine, lambda: "another")}
        await one.blobs.put("a", b"garbage %d" % life)
        assert await one.collect(dry=True) == 0
        assert await one.collect() == 1


async def test_blobs_that_nobody_marked_stay_until_the_store_is_adopted(
    place: Place, metastores: tuple[Metastore, Metastore]
) -> None:
    blobs = await place.opened()
    await blobs.put("a", b"from before there were marks")
    one = Cluster(metastores[0], blobs, place.clock)
    await one.begin()
    assert (await one.refused()).metadata["owners"] == UNKNOWN
    one = Cluster(metastores[0], await place.reopened(), place.clock)
    await one.begin()
    assert "before stores were marked" in str(await one.refused())
    assert UNKNOWN in await one.ownership.adopt()
    assert await one.collect() == 1


async def test_a_store_of_two_clusters_is_collected_by_neither(
    place: Place, metastores: tuple[Metastore, Metastore]
) -> None:
    one = Cluster(metastores[0], await place.opened(), place.clock)
    await one.begin()
    kept = await one.blobs.put("a", b"one's")
    other = Cluster(metastores[1], await place.reopened(), place.clock)
    one.blobs = one.upkeep._collector._store = one.ownership._store = other.blobs  # a disk is opened by one at a time
    await other.begin()
    theirs = await other.blobs.put("b", b"the other's")
    first, second = [await cluster_id(store, lambda: "none") for store in metastores]
    assert (await one.refused()).metadata["owners"] == second
    assert (await other.refused()).metadata["owners"] == first
    assert await other.blobs.get("a", kept) == b"one's"
    assert await one.blobs.missing("b", [theirs]) == []
    assert await other.ownership.adopt() == {first, second}
    await one.refused()  # it is there still, and leaves its mark again
    await other.refused()
    await other.ownership.adopt()
    assert await other.collect() == 2


async def test_a_store_with_an_emptied_metastore_is_not_collected(
    place: Place, metastores: tuple[Metastore, Metastore]
) -> None:
    mine, _ = metastores
    one = Cluster(mine, await place.opened(), place.clock)
    await one.begin()
    await one.blobs.put("a", b"what the Metastore led to")
    [before] = (await mine.range(pb.RangeRequest(key=system.OWNER))).kvs
    one.holder.emptied = mine  # in the middle of the round, which has been allowed to begin
    with pytest.raises(ObjectsNotOwned):
        await one.collect()
    one.holder.emptied = None
    assert before.value.decode() in (await one.refused()).metadata["owners"]
    [info] = await one.blobs.scan("a")
    assert info.condemned is None
    await forget(mine)
    await mine.put(pb.PutRequest(key=system.OWNER, value=before.value))  # as a restore does, with all else
    await one.refused()  # by the mark of the empty one
    await one.ownership.adopt()
    assert await one.collect() == 1


async def test_two_clusters_that_come_at_once_see_each_other(
    place: Place, metastores: tuple[Metastore, Metastore]
) -> None:
    blobs = await place.opened()
    both = [Cluster(metastore, blobs, place.clock) for metastore in metastores]
    await asyncio.gather(*(one.begin() for one in both))
    await blobs.put("a", b"whoever's")
    await asyncio.gather(*(one.ownership.demand() for one in both), return_exceptions=True)
    for one in both:
        await one.refused()


async def test_nodes_of_one_cluster_draw_one_id(metastores: tuple[Metastore, Metastore]) -> None:
    drawn = iter(range(100))
    ids = await asyncio.gather(*(cluster_id(metastores[0], lambda: str(next(drawn))) for _ in range(10)))
    assert len(set(ids)) == 1


@pytest.mark.parametrize("step", ["opened", "claiming", "claimed", "put"])
async def test_a_kill_before_the_first_blob_leaves_the_store_to_its_cluster(
    tmp_path: Path, metastores: tuple[Metastore, Metastore], step: str
) -> None:
    clock = Clock()
    async with AsyncExitStack() as stack:
        place = Place("disk", tmp_path / "blobs", "", clock, stack, MemoryBlobs(clock))
        one = Cluster(metastores[0], await place.opened(), clock)
        await one.ownership.begin()
        if step == "put":  # before the Metastore has said whose it is
            await one.blobs.put("a", b"garbage")
        if step == "claiming":
            await one.blobs.mark(await cluster_id(metastores[0], lambda: "mine"))
        if step == "claimed":
            await one.ownership.demand()
        shutil.copytree(place.folder, tmp_path / "killed")
        again = Cluster(metastores[0], await place.opened(tmp_path / "killed"), clock)
        await again.begin()
        await again.blobs.put("a", b"garbage")
        assert await again.collect() == 1
        assert await again.blobs.marks() == {await cluster_id(metastores[0], lambda: "another")}


@pytest.mark.parametrize("damage", [b"", b"\n", b"\xff\0\xff\n", b"../up\n", b"A" * 70_000], ids=range(5))
async def test_marks_that_cannot_be_read_are_nobodys(
    tmp_path: Path, metastores: tuple[Metastore, Metastore], damage: bytes
) -> None:
    clock = Clock()
    async with AsyncExitStack() as stack:
        place = Place("disk", tmp_path / "blobs", "", clock, stack, MemoryBlobs(clock))
        one = Cluster(metastores[0], await place.opened(), clock)
        await one.begin()
        await one.blobs.put("a", b"garbage")
        (place.folder / "owners").write_bytes(damage)
        assert (await one.refused()).metadata["owners"] == "unreadable"
        await one.ownership.adopt()
        assert await one.collect() == 1


async def test_a_store_that_keeps_no_mark_is_not_collected(metastores: tuple[Metastore, Metastore]) -> None:
    class Forgetful(MemoryBlobs):
        async def mark(self, name: str) -> None:
            pass

    clock = Clock()
    one = Cluster(metastores[0], Forgetful(clock), clock)
    await one.blobs.put("a", b"whoever's")
    assert (await one.refused()).metadata["owners"] == UNKNOWN
