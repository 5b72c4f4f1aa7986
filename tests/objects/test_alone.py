"""A store on one node's disk takes nothing while the cluster has more nodes, and gives what it has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from quartet_server.errors import ObjectsNotShared
from quartet_server.objects.alone import OneNodesBlobs
from quartet_server.objects.contract import BlobStore, Put
from quartet_server.objects.digest import EMPTY, Digest
from quartet_server.objects.memory import MemoryBlobs

Write = Callable[[BlobStore], Awaitable[None]]


class Nodes:
    """How many nodes there are said to be."""

    def __init__(self) -> None:
        self.count = 1

    def __call__(self) -> int:
        return self.count


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


@pytest.fixture
def guarded(nodes: Nodes) -> BlobStore:
    return OneNodesBlobs(MemoryBlobs(lambda: 1.0), nodes)


async def _by_put(store: BlobStore) -> None:
    await store.put("z", b"new")


async def _by_put_many(store: BlobStore) -> None:
    await store.put_many("z", [Put(EMPTY, b""), Put(Digest.of(b"new"), b"new")])


async def _by_writer(store: BlobStore) -> None:
    async with store.writer("z") as writer:
        await writer.write(b"new")
        await writer.commit()


WRITES: list[Write] = [_by_put, _by_put_many, _by_writer]


@pytest.mark.parametrize("write", WRITES)
async def test_a_node_alone_writes(guarded: BlobStore, write: Write) -> None:
    await write(guarded)
    assert await guarded.get("z", Digest.of(b"new")) == b"new"


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(("count", "words"), [(3, "3 nodes"), (0, "external Metastore")])
async def test_a_node_with_company_writes_nothing_and_says_why(
    guarded: BlobStore, nodes: Nodes, write: Write, count: int, words: str
) -> None:
    nodes.count = count
    with pytest.raises(ObjectsNotShared, match=words):
        await write(guarded)
    assert await guarded.missing("z", [Digest.of(b"new")]) == [Digest.of(b"new")]


async def test_what_was_written_alone_is_read_and_deleted_in_company(guarded: BlobStore, nodes: Nodes) -> None:
    digest = await guarded.put("z", b"old")
    nodes.count = 2
    assert await guarded.get("z", digest) == b"old"
    assert b"".join([piece async for piece in guarded.read("z", digest, 1)]) == b"ld"
    assert [info.digest for info in await guarded.scan("z")] == [digest]
    assert (await guarded.usage("z")).blobs == 1
    assert await guarded.delete("z", [digest]) == 1
    assert await guarded.zones() == []


async def test_the_empty_blob_can_be_put_anywhere(guarded: BlobStore, nodes: Nodes) -> None:
    nodes.count = 3
    assert await guarded.put("z", b"") == EMPTY
    assert await guarded.put_many("z", [Put(EMPTY, b"")]) == [None]
