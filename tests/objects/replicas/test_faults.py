"""What a cluster of disks does when one of them fails: nothing acknowledged is lost, nothing is said that is not so."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from harness.trio import PATIENCE, SETTINGS, Node, Trio, trio
from quartet_server import errors
from quartet_server.objects.contract import BlobStore, Put
from quartet_server.objects.digest import Digest
from quartet_server.objects.memory import MemoryBlobs
from quartet_server.objects.replicas.placement import Placement

MIB = 1 << 20


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed * 1_000_003 + size).randbytes(size)


class Troubled(MemoryBlobs):
    """A disk that can be made full, or so slow that it never answers, or whose bytes rot.

    Attributes:
        full: It has no room.
        stuck: It does not answer.
        rotten: Blobs of which it gives other bytes.
    """

    def __init__(self) -> None:
        super().__init__(time.time)
        self.full = False
        self.stuck = False
        self.rotten = set[Digest]()

    async def _trouble(self, *, write: bool = False) -> None:
        while self.stuck:
            await asyncio.sleep(0.02)
        if write and self.full:
            raise errors.StoreFull("no room")

    def _keep(self, zone: str, digest: Digest, data: bytes) -> None:
        self.rotten.discard(digest)
        super()._keep(zone, digest, data)

    async def missing(self, zone: str, digests: Any) -> list[Digest]:
        await self._trouble()
        named = list(digests)
        absent = await super().missing(zone, named)
        return [digest for digest in named if digest in absent or digest in self.rotten]

    async def put(self, zone: str, data: bytes, digest: Digest | None = None) -> Digest:
        await self._trouble(write=True)
        return await super().put(zone, data, digest)

    async def put_many(self, zone: str, blobs: Sequence[Put]) -> list[errors.QuartetError | None]:
        await self._trouble()
        if self.full:
            return [errors.StoreFull("no room")] * len(blobs)
        return await super().put_many(zone, blobs)

    def writer(self, zone: str, declared: Digest | None = None, *, limit: int | None = None) -> Any:
        inner = super().writer(zone, declared, limit=limit)
        write = inner.write

        async def troubled(data: bytes) -> None:
            await self._trouble(write=True)
            await write(data)

        setattr(inner, "write", troubled)  # noqa: B010 - a method of one object is replaced
        return inner

    async def get(self, zone: str, digest: Digest) -> bytes:
        await self._trouble()
        if digest in self.rotten:
            raise errors.BlobCorrupt("rotten")
        return await super().get(zone, digest)

    async def get_many(self, zone: str, digests: Sequence[Digest], limit: int) -> Any:
        await self._trouble()
        found = dict(await super().get_many(zone, digests, limit))
        return found | {digest: errors.BlobCorrupt("rotten") for digest in digests if digest in self.rotten}

    async def read(
        self, zone: str, digest: Digest, offset: int = 0, length: int | None = None, *, verify: bool | None = None
    ) -> AsyncGenerator[bytes, None]:
        if digest in self.rotten:
            raise errors.BlobCorrupt("rotten")
        async for piece in super().read(zone, digest, offset, length, verify=verify):
            await self._trouble()
            yield piece


async def troubled(number: int) -> BlobStore:
    return Troubled()


def disk(node: Node) -> Troubled:
    assert isinstance(node.disk, Troubled)
    return node.disk


def owners(group: Trio, digest: Digest) -> list[int]:
    return placement(group).owners(digest)


def placement(group: Trio) -> Placement:
    return next(iter(group.nodes.values())).replication.group.view.placement


async def holders(group: Trio, digest: Digest, zone: str = "a") -> set[int]:
    return {number for number, node in group.nodes.items() if await node.disk.stat(zone, digest) is not None}


def someone_else(group: Trio, *others: int) -> Node:
    return next(node for number, node in group.nodes.items() if number not in others)


async def write(store: BlobStore, data: bytes, way: str) -> Digest:
    digest = Digest.of(data)
    if way == "put":
        await store.put("a", data)
    elif way == "put_many":
        assert await store.put_many("a", [Put(digest, data)]) == [None]
    else:
        async with store.writer("a", digest if way == "declared" else None) as writer:
            for at in range(0, len(data), 300_000):
                await writer.write(data[at : at + 300_000])
            await writer.commit()
    return digest


@pytest.mark.parametrize(
    ("way", "size"),
    [("put", 100), ("put", 5 * MIB), ("put_many", 100), ("put_many", 5 * MIB), ("declared", 100), ("declared", 5 * MIB),
     ("undeclared", 5 * MIB)],
)  # fmt: skip
async def test_a_blob_is_on_its_owners_when_a_write_returns_and_every_node_reads_it(way: str, size: int) -> None:
    async with trio(disks=troubled) as group:
        for number, node in group.nodes.items():
            digest = await write(node.blobs, noise(size, number), way)
            assert set(owners(group, digest)) <= await holders(group, digest)
            for reader in group.nodes.values():
                assert await reader.blobs.get("a", digest) == noise(size, number)
                assert await reader.blobs.missing("a", [digest]) == []
        await group.settled()


@pytest.mark.parametrize(
    ("way", "size", "trouble"),
    [
        ("put", 100, "dead"), ("put", 5 * MIB, "full"),
        ("put_many", 100, "full"), ("put_many", 5 * MIB, "stuck"),
        ("declared", 100, "full"), ("declared", 5 * MIB, "dead"), ("declared", 5 * MIB, "stuck"), ("declared", 5 * MIB, "full"),
        ("undeclared", 5 * MIB, "dead"),
    ],
)  # fmt: skip
async def test_where_an_owner_fails_the_next_stands_in_and_the_debt_is_paid_later(
    way: str, trouble: str, size: int
) -> None:
    patience = PATIENCE if trouble == "stuck" else SETTINGS.patience
    async with trio(disks=troubled, patience=patience) as group:
        data = noise(size)
        digest = Digest.of(data)
        first, second = owners(group, digest)
        writer = someone_else(group, first, second)
        lost = group.nodes[first]
        if trouble == "dead":
            kept, store_id = await group.die(first, noticed=False), lost.replication.group._store_id
        disk(lost).full, disk(lost).stuck = trouble == "full", trouble == "stuck"
        async with asyncio.timeout(60):  # whatever the machine does: a write is bounded
            await write(writer.blobs, data, way)
        assert (await holders(group, digest)) - {first} == {second, writer.number}
        await group.until(lambda: owes(writer, first, 1))
        if trouble == "dead":
            await group.add(first, kept, store_id=store_id)
        disk(lost).full = disk(lost).stuck = False
        await group.settled()
        assert {first, second} <= await holders(group, digest)
        await group.until(lambda: only(group, digest, {first, second}))  # the copy too many is dropped
        assert await writer.blobs.get("a", digest) == data


async def owes(at: Node, debtor: int, count: int) -> bool:
    return (await at.replication.debts.counts([debtor]))[debtor] == count


async def only(group: Trio, digest: Digest, nodes: set[int]) -> bool:
    return await holders(group, digest) == nodes


async def test_a_write_that_finds_too_few_disks_is_not_acknowledged() -> None:
    async with trio(disks=troubled) as group:
        digest = Digest.of(b"data")
        writer = group.nodes[owners(group, digest)[0]]
        for number in set(group.nodes) - {writer.number}:
            await group.die(number)
        with pytest.raises(errors.CopiesUnreachable):
            await writer.blobs.put("a", b"data")
        [outcome] = await writer.blobs.put_many("a", [Put(digest, b"data")])
        assert isinstance(outcome, errors.CopiesUnreachable)


async def test_when_every_disk_is_full_that_is_what_is_said() -> None:
    async with trio(disks=troubled) as group:
        for node in group.nodes.values():
            disk(node).full = True
        for node in group.nodes.values():
            with pytest.raises(errors.StoreFull):
                await node.blobs.put("a", b"data")


async def test_with_a_copy_on_each_node_one_may_fail_and_gets_its_copy_later() -> None:
    async with trio(disks=troubled, replicas=3) as group:
        disk(group.nodes[2]).full = True
        digest = await group.nodes[1].blobs.put("a", b"data")
        assert await holders(group, digest) == {1, 3}
        disk(group.nodes[2]).full = False
        await group.settled()
        assert await holders(group, digest) == {1, 2, 3}


@pytest.mark.parametrize("size", [100, 5 * MIB])
async def test_a_read_goes_on_with_another_copy_when_its_node_dies(size: int) -> None:
    async with trio(disks=troubled) as group:
        data = noise(size)
        digest = await group.nodes[1].blobs.put("a", data)
        first, second = owners(group, digest)
        reader = someone_else(group, first, second)
        pieces, dead = [], False
        async for piece in reader.blobs.read("a", digest):
            pieces.append(piece)
            if not dead:
                dead = True
                await group.die(first, noticed=False)
        assert b"".join(pieces) == data
        assert await reader.blobs.get("a", digest) == data
        assert (await reader.blobs.get_many("a", [digest], size))[digest] == data


async def test_a_read_goes_on_when_its_node_says_nothing_more() -> None:
    async with trio(disks=troubled, patience=PATIENCE) as group:
        data = noise(6 * MIB)
        digest = await group.nodes[1].blobs.put("a", data)
        first, second = owners(group, digest)
        reader = someone_else(group, first, second)
        pieces = []
        async for piece in reader.blobs.read("a", digest):
            pieces.append(piece)
            disk(group.nodes[first]).stuck = True
        assert b"".join(pieces) == data
        disk(group.nodes[first]).stuck = False


async def test_what_only_an_unreachable_node_may_have_is_not_said_to_be_absent() -> None:
    async with trio(disks=troubled, replicas=1) as group:
        digest = await group.nodes[1].blobs.put("a", b"data")
        [owner] = owners(group, digest)
        reader = someone_else(group, owner)
        await group.die(owner)
        for call in (reader.blobs.get("a", digest), reader.blobs.stat("a", digest)):
            with pytest.raises(errors.BlobUnreachable):
                await call
        with pytest.raises(errors.BlobUnreachable):
            [piece async for piece in reader.blobs.read("a", digest)]
        assert isinstance((await reader.blobs.get_many("a", [digest], 4))[digest], errors.BlobUnreachable)
        assert await reader.blobs.missing("a", [digest]) == [digest]  # sending it again is right in any case


async def test_lists_and_deletions_need_every_node() -> None:
    async with trio(disks=troubled) as group:
        digest = await group.nodes[1].blobs.put("a", b"data")
        await group.die(3)
        store = group.nodes[1].blobs
        for call in (
            store.scan("a"), store.zones(), store.usage(), store.delete("a", [digest]),
            store.condemn("a", [digest], time.time()), store.sweep("a", [digest], time.time()),
        ):  # fmt: skip
            with pytest.raises(errors.ObjectStoreUnreachable):
                await call


@pytest.mark.parametrize("size", [100, 5 * MIB])
async def test_a_damaged_copy_is_never_sent_and_is_mended_from_another(size: int) -> None:
    async with trio(disks=troubled) as group:
        data = noise(size)
        digest = await group.nodes[1].blobs.put("a", data)
        first = owners(group, digest)[0]
        disk(group.nodes[first]).rotten.add(digest)
        for node in group.nodes.values():
            assert await node.blobs.get("a", digest) == data

        async def mended() -> bool:
            return digest not in disk(group.nodes[first]).rotten

        await group.until(mended)
        await group.settled()


async def test_a_copy_that_an_owner_lacks_becomes_a_debt_when_it_is_asked_for() -> None:
    async with trio(disks=troubled) as group:
        digest = await group.nodes[1].blobs.put("a", b"data")
        await group.settled()
        first, second = owners(group, digest)
        await group.nodes[first].disk.delete("a", [digest])
        assert await group.nodes[3].blobs.missing("a", [digest]) == []
        await group.until(lambda: only(group, digest, {first, second}))
        await group.settled()
