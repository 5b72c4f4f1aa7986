"""What a node does for its store by itself: what is due, alone where nodes share, told to everybody."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path

import pytest
from harness.blobs import Clock
from quartet.maintenance.v1 import maintenance_pb2 as pb
from quartet_server.config import Objects
from quartet_server.errors import CollectionRunning, ObjectStoreUnreachable
from quartet_server.objects.contract import MarkedBlobs
from quartet_server.objects.digest import Digest
from quartet_server.objects.disk import DiskBlobs, DiskLimits
from quartet_server.objects.gc.ownership import Ownership
from quartet_server.objects.gc.turn import Turn
from quartet_server.objects.gc.upkeep import Upkeep
from quartet_server.objects.memory import MemoryBlobs

from raftmeta.metastore import Metastore

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("store", ["embedded"], indirect=True),
]
CONFIG = Objects(gc_every=1000.0, gc_grace=100.0, touch_seconds=0.0, scrub_every=5000.0, scrub_bytes_per_second=1e9)


class Nobody:
    """A holder of nothing, which may be out of order, or slow."""

    def __init__(self, lags_in: str = "") -> None:
        self.fails = False
        self.lags_in = lags_in
        self.asked = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def held(self, zone: str, digests: Iterable[Digest]) -> set[Digest]:
        return set()

    async def reached(self, zone: str) -> AsyncGenerator[Digest, None]:
        self.asked.set()
        await self.goes_on.wait()
        if self.fails or zone == self.lags_in:
            raise ObjectStoreUnreachable("the observer lags")
        return
        yield


class Ours(Ownership):
    """Of a store that is ours, whatever is in it: `test_ownership.py` has the others."""

    async def demand(self) -> None:
        pass


class Time:
    """Pauses that move a clock, and let nobody wait."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    async def pause(self, seconds: float) -> None:
        self.clock.now += seconds
        await asyncio.sleep(0)


def upkeep(
    node: str, blobs: MarkedBlobs, store: Metastore, clock: Clock, holder: Nobody, *, shared: bool = False
) -> Upkeep:
    return Upkeep(
        node, blobs, store, [holder], CONFIG, Ours(blobs, store, lambda: "ours", shared=shared), shared=shared, clock=clock, draw=random.Random(1).randbytes,
        pause=Time(clock).pause,
    )  # fmt: skip


async def collect(one: Upkeep, *, dry: bool = False) -> list[str]:
    return [tally.zone async for tally, done in one.collect(dry=dry) if done]


async def report(one: Upkeep, node: str) -> pb.NodeUpkeep:
    found = {told.node: told for told in await one.reports()}
    return found.get(node, pb.NodeUpkeep())


async def test_what_is_due_is_done_and_told_and_what_fails_is_tried_again(store: Metastore) -> None:
    clock, holder = Clock(), Nobody()
    blobs = MemoryBlobs(clock, 0.0)
    await blobs.put("a", b"garbage")
    one = upkeep("n1", blobs, store, clock, holder)
    holder.fails = True
    one.start()
    async with asyncio.timeout(30):
        while (await report(one, "n1")).collect_failure != "the observer lags":
            await asyncio.sleep(0)
        assert one.totals.failures > 0
        assert one.totals.condemned == 0
        holder.fails = False
        while not one.totals.swept or one.totals.rounds < 2 or not (await report(one, "n1")).HasField("scrub_time"):
            await asyncio.sleep(0)
    await one.close()
    told = await report(one, "n1")
    assert told.collect_failure == ""
    assert told.HasField("collect_time")
    assert await blobs.zones() == []


async def test_rounds_come_no_more_often_than_they_should(store: Metastore) -> None:
    clock = Clock()
    one = upkeep("n1", MemoryBlobs(clock, 0.0), store, clock, Nobody())
    one.start()
    began = clock.now
    async with asyncio.timeout(30):
        while one.totals.rounds < 4:
            await asyncio.sleep(0)
    await one.close()
    assert clock.now - began >= 3 * CONFIG.gc_every


async def test_a_node_does_one_round_at_a_time_and_dry_ones_whenever(store: Metastore) -> None:
    clock, holder = Clock(), Nobody()
    blobs = MemoryBlobs(clock, 0.0)
    await blobs.put("a", b"garbage")
    one = upkeep("n1", blobs, store, clock, holder)
    holder.goes_on.clear()
    first = asyncio.create_task(collect(one))
    async with asyncio.timeout(30):
        await holder.asked.wait()
    with pytest.raises(CollectionRunning):
        await collect(one)
    holder.goes_on.set()
    assert await first == ["a"]
    assert await collect(one, dry=True) == ["a"]


async def test_a_zone_that_cannot_be_collected_keeps_no_other_from_it(store: Metastore) -> None:
    clock = Clock()
    blobs = MemoryBlobs(clock, 0.0)
    for zone in ("a", "b", "c"):
        await blobs.put(zone, b"garbage")
    one = upkeep("n1", blobs, store, clock, Nobody(lags_in="b"))
    for _ in range(2):
        clock.now += CONFIG.gc_grace
        with pytest.raises(ObjectStoreUnreachable):
            await collect(one)
    assert await blobs.zones() == ["b"]


async def test_of_nodes_that_share_a_store_one_works_at_a_time(store: Metastore) -> None:
    clock = Clock()
    blobs = MemoryBlobs(clock, 0.0)
    await blobs.put("a", b"garbage")
    one, other = (upkeep(name, blobs, store, clock, Nobody(), shared=True) for name in ("n1", "n2"))
    async with Turn(store, "n2").taken() as who:
        assert who == "n2"
        with pytest.raises(CollectionRunning, match="n2"):
            await collect(one)
        with pytest.raises(CollectionRunning, match="n2"):
            await one.scrub()
        assert await collect(one, dry=True) == ["a"]
    assert await collect(one) == ["a"]
    other.start()
    async with asyncio.timeout(30):
        while not other.totals.rounds:
            await asyncio.sleep(0)
    await other.close()
    first, second = await report(one, "n1"), await report(one, "n2")
    apart = second.collect_time.ToMicroseconds() - first.collect_time.ToMicroseconds()
    assert apart >= CONFIG.gc_every * 1_000_000  # the other's round was its own, too


async def test_a_scrub_tells_damage_and_removes_what_a_kill_left(store: Metastore, tmp_path: Path) -> None:
    clock = Clock()
    blobs = await DiskBlobs.open(tmp_path / "blobs", DiskLimits(packed_bytes=10), clock, os.urandom)
    try:
        digest = await blobs.put("a", b"x" * 100)
        [path] = [path for path in (tmp_path / "blobs" / "files").rglob("*") if path.is_file()]
        stray = path.with_name(path.name[:-2] + ("00" if path.name[-2:] != "00" else "01"))
        stray.write_bytes(b"left behind")
        path.write_bytes(b"y" * path.stat().st_size)
        one = upkeep("n1", blobs, store, clock, Nobody())
        found = await one.scrub()
        assert (found.blobs, found.damaged, list(found.examples)) == (1, 1, [f"a/{digest}"])
        assert not stray.exists()
        told = await report(one, "n1")
        assert (told.tidied, told.scrub) == (1, found)
        assert await blobs.missing("a", [digest]) == [digest]
    finally:
        await blobs.close()
