"""Nodes come, go and lose their disks; every blob ends where it should be, and nowhere else."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from harness.trio import Trio, trio
from quartet_server import errors
from quartet_server.objects.contract import Put
from quartet_server.objects.digest import Digest
from quartet_server.objects.replicas import group as groups
from quartet_server.objects.replicas import keys
from quartet_server.objects.replicas.place import Place

from raftmeta.etcd import rpc_pb2 as pb


async def fill(group: Trio, count: int = 60, node: int = 1, seed: int = 1) -> dict[Digest, bytes]:
    made = random.Random(seed)
    data = [made.randbytes(made.choice((10, 3_000, 70_000))) for _ in range(count)]
    blobs = {Digest.of(one): one for one in data}
    outcomes = await group.nodes[node].blobs.put_many("a", [Put(digest, one) for digest, one in blobs.items()])
    assert outcomes == [None] * len(blobs)
    return blobs


async def each_is_where_it_should_be(group: Trio, blobs: dict[Digest, bytes]) -> bool:
    placement = next(iter(group.nodes.values())).replication.group.view.placement
    for digest in blobs:
        there = {number for number, node in group.nodes.items() if await node.disk.stat("a", digest) is not None}
        if there != set(placement.owners(digest)):
            return False
    return True


async def check(group: Trio, blobs: dict[Digest, bytes]) -> None:
    await group.until(lambda: each_is_where_it_should_be(group, blobs))
    for node in group.nodes.values():
        assert dict(await node.blobs.get_many("a", list(blobs), 1 << 30)) == blobs


async def test_a_disk_that_is_lost_for_good_is_filled_again() -> None:
    async with trio() as group:
        blobs = await fill(group)
        await group.die(2)
        await group.add(2)  # the same node with an empty disk
        await group.settled([1, 2, 3])
        await check(group, blobs)
        assert sum(node.replication.progress.copied_blobs for node in group.nodes.values()) > 0


async def test_what_is_written_while_a_disk_is_filled_again_is_there_too() -> None:
    async with trio() as group:
        blobs = await fill(group)
        await group.die(3)
        blobs |= await fill(group, seed=2)
        await group.add(3)
        blobs |= await fill(group, node=2, seed=3)
        await group.settled([1, 2, 3])
        await check(group, blobs)


async def test_a_node_that_comes_takes_its_share_and_the_others_drop_theirs() -> None:
    async with trio() as group:
        blobs = await fill(group)
        await group.add(4)
        await group.settled([1, 2, 3, 4])
        await check(group, blobs)
        assert (await group.nodes[4].disk.usage()).blobs > 0


async def test_the_share_of_a_node_that_was_removed_is_copied_by_the_others() -> None:
    async with trio() as group:
        blobs = await fill(group)
        await group.die(3)
        await group.remove(3)
        await group.settled([1, 2])
        await check(group, blobs)


async def test_the_share_of_a_node_that_is_gone_for_long_is_copied_and_taken_back_when_it_returns() -> None:
    async with trio(absent_seconds=0.2) as group:
        blobs = await fill(group)
        store_id = group.nodes[3].replication.group._store_id
        kept = await group.die(3)
        await group.settled([1, 2])
        await check(group, blobs)
        with pytest.raises(errors.BlobUnreachable):  # it is a member, and who knows what it has
            await group.nodes[1].blobs.get("a", Digest.of(b"never put"))
        await group.add(3, kept, store_id=store_id)
        await group.settled([1, 2, 3])
        await check(group, blobs)


async def test_what_a_node_wrote_while_it_was_alone_is_copied_when_company_comes() -> None:
    async with trio(size=1) as group:
        blobs = await fill(group)
        await group.add(2)
        await group.add(3)
        await group.settled([1, 2, 3])
        await check(group, blobs)


async def test_a_node_alone_asks_nobody_and_writes_nothing_down() -> None:
    async with trio(size=1) as group:
        await fill(group)
        found = await group.metastore.range(pb.RangeRequest(key=b"/system/objects/", range_end=b"/system/objects0"))
        assert found.kvs == []


async def test_a_restart_with_the_same_disk_copies_nothing() -> None:
    async with trio() as group:
        blobs = await fill(group)
        await group.settled()
        number = group.nodes[1].replication.group.view.placement.number
        store_id = group.nodes[2].replication.group._store_id
        kept = await group.die(2)
        await group.add(2, kept, store_id=store_id)
        await group.settled()
        await check(group, blobs)
        assert group.nodes[1].replication.group.view.placement.number == number
        assert sum(node.replication.progress.copied_blobs for node in group.nodes.values()) == 0


async def test_debts_beyond_what_is_written_down_one_by_one_are_found_by_looking_through_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(groups, "MOST_DEBTS", 5)
    async with trio() as group:
        store_id = group.nodes[3].replication.group._store_id
        kept = await group.die(3)
        blobs: dict[Digest, bytes] = {}
        for seed in range(12):
            blobs |= await fill(group, count=4, seed=seed)

        async def behind() -> bool:
            found = await group.metastore.range(pb.RangeRequest(key=keys.behind(3)))
            return bool(found.kvs)

        await group.until(behind)
        blobs |= await fill(group, count=4, seed=100)
        await group.add(3, kept, store_id=store_id)
        await group.settled([1, 2, 3])
        await check(group, blobs)


async def test_a_condemned_blob_is_not_copied_about() -> None:
    async with trio() as group:
        blobs = await fill(group, count=10)
        for node in group.nodes.values():
            await node.replication.own.condemn("a", blobs, time.time() + 1)
        await group.die(2)
        await group.add(2)
        await group.settled([1, 2, 3])
        assert (await group.nodes[2].disk.usage()).blobs == 0


async def test_a_hit_while_a_copy_too_many_is_dropped_waits_and_finds_what_is_so() -> None:
    async with trio() as group:
        own = group.nodes[1].replication.own
        await own.put("a", b"data")
        digest = Digest.of(b"data")
        with own.dropping("a", [digest]):
            hit = asyncio.create_task(own.missing("a", [digest]))
            put = asyncio.create_task(own.put("a", b"data"))
            await asyncio.sleep(0.01)
            assert not hit.done()
            assert not put.done()
            await own.delete("a", [digest])
        await put
        assert await own.stat("a", digest) is not None
        await hit


async def test_only_an_owner_holds_and_only_under_the_placement_in_force() -> None:
    async with trio() as group:
        digest = await group.nodes[1].blobs.put("a", b"data")
        view = group.nodes[1].replication.group.view
        first, second = view.placement.owners(digest)
        [other] = {1, 2, 3} - {first, second}
        asker = group.nodes[other].replication
        assert await asker.place(first).hold("a", [digest], view.placement.number) == {digest}
        with pytest.raises(errors.PlacementStale):
            await asker.place(first).hold("a", [digest], view.placement.number + 1)
        await group.nodes[other].disk.put("a", b"data")
        asking = group.nodes[first].replication
        assert await asking.place(other).hold("a", [digest], view.placement.number) == set()


async def streamed(place: Place, blob: Put, number: int) -> None:
    async with place.writer("a", blob.digest, number) as writer:
        await writer.write(blob.data)
        await writer.commit()


@pytest.mark.parametrize("many", [True, False])
async def test_a_write_by_an_old_placement_is_refused_and_goes_by_the_new_one(many: bool) -> None:
    async with trio() as group:
        stale = group.nodes[1].replication.place(2)
        blob = Put(Digest.of(b"data"), b"data")
        number = group.nodes[2].replication.group.view.placement.number
        await stale.put("a", blob, number)
        await group.add(4)
        await group.settled([1, 2, 3, 4])
        with pytest.raises(errors.PlacementStale):
            await (stale.put_many("a", [blob], number) if many else stale.put("a", blob, number))
        with pytest.raises((errors.PlacementStale, errors.ObjectStoreUnreachable)):  # gRPC may lose the status
            await streamed(stale, blob, number)
