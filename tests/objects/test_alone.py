"""A store on one node's disk takes nothing while others may share the Metastore, and gives what it has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from quartet_server.errors import ObjectsNotShared
from quartet_server.objects.alone import OneNodesBlobs
from quartet_server.objects.contract import BlobStore, Put
from quartet_server.objects.digest import EMPTY, Digest
from quartet_server.objects.memory import MemoryBlobs

Write = Callable[[BlobStore], Awaitable[None]]


@pytest.fixture
def inner() -> BlobStore:
    return MemoryBlobs(lambda: 1.0)


@pytest.fixture
def guarded(inner: BlobStore) -> BlobStore:
    return OneNodesBlobs(inner)


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
async def test_nothing_is_written_and_it_is_said_why(guarded: BlobStore, write: Write) -> None:
    with pytest.raises(ObjectsNotShared, match="external Metastore"):
        await write(guarded)
    assert await guarded.missing("z", [Digest.of(b"new")]) == [Digest.of(b"new")]


async def test_what_is_there_is_read_and_deleted(guarded: BlobStore, inner: BlobStore) -> None:
    digest = await inner.put("z", b"old")
    assert await guarded.get("z", digest) == b"old"
    assert b"".join([piece async for piece in guarded.read("z", digest, 1)]) == b"ld"
    assert [info.digest for info in await guarded.scan("z")] == [digest]
    assert (await guarded.usage("z")).blobs == 1
    assert await guarded.delete("z", [digest]) == 1
    assert await guarded.zones() == []


async def test_the_empty_blob_can_be_put_anywhere(guarded: BlobStore) -> None:
    assert await guarded.put("z", b"") == EMPTY
    assert await guarded.put_many("z", [Put(EMPTY, b"")]) == [None]
