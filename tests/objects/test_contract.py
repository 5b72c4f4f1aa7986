"""What every driver of the ObjectStore promises about keeping, reading and writing blobs."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing

import pytest
from quartet_server import errors
from quartet_server.objects.contract import BlobStore, Put, Usage
from quartet_server.objects.digest import EMPTY, Digest

MIB = 1 << 20
SIZES = [1, 1000, 64 * 1024, 64 * 1024 + 1, MIB, 3 * MIB + 17]
"""Around every border at which a driver changes its way: packed, a file of its own, compressed in one piece, cut in parts."""


def noise(size: int, seed: int = 1) -> bytes:
    """Return bytes that no compressor makes smaller."""
    return random.Random(seed * 1_000_003 + size).randbytes(size)


def prose(size: int) -> bytes:
    """Return bytes that every compressor makes smaller."""
    return (b"all work and no play makes jack a dull boy\n" * (size // 43 + 1))[:size]


async def all_of(
    store: BlobStore, digest: Digest, zone: str = "a", offset: int = 0, length: int | None = None
) -> bytes:
    pieces = [piece async for piece in store.read(zone, digest, offset, length)]
    assert all(0 < len(piece) <= MIB for piece in pieces)
    return b"".join(pieces)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("make", [noise, prose])
async def test_what_was_put_is_read_back_whole_and_in_ranges(store: BlobStore, make: type, size: int) -> None:
    data: bytes = make(size)
    digest = await store.put("a", data)
    assert digest == Digest.of(data)
    assert await store.get("a", digest) == data
    assert await all_of(store, digest) == data
    for offset in {0, 1, size // 2, size - 1, size}:
        for length in (None, 0, 1, MIB, size, 2 * size):
            expected = data[offset:] if length is None else data[offset : offset + length]
            assert await all_of(store, digest, offset=offset, length=length) == expected


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("declare", [True, False])
async def test_a_blob_written_in_pieces_is_the_same_blob(store: BlobStore, size: int, declare: bool) -> None:
    data, step = noise(size), 100_003
    digest = Digest.of(data)
    async with store.writer("a", digest if declare else None) as writer:
        for start in range(0, size, step):
            await writer.write(data[start : start + step])
            assert await store.stat("a", digest) is None  # nobody sees it before it is whole
        assert writer.size == size
        assert await writer.commit() == digest
        assert await writer.commit() == digest
    assert await store.get("a", digest) == data


async def test_a_writer_without_a_byte_makes_the_empty_blob(store: BlobStore) -> None:
    async with store.writer("a") as writer:
        assert await writer.commit() == EMPTY
    assert await store.usage() == Usage()


async def test_the_empty_blob_is_everywhere_and_cannot_be_deleted(store: BlobStore) -> None:
    assert await store.missing("never-used", [EMPTY]) == []
    assert await store.get("a", EMPTY) == b""
    assert await all_of(store, EMPTY) == b""
    assert await store.get_many("a", [EMPTY], 0) == {EMPTY: b""}
    assert await store.put("a", b"") == EMPTY
    assert await store.put_many("a", [Put(EMPTY, b"")]) == [None]
    assert await store.delete("a", [EMPTY]) == 0
    assert await store.stat("a", EMPTY) is not None
    assert list(await store.scan("a")) == []
    assert list(await store.zones()) == []


async def test_a_zone_sees_nothing_of_another(store: BlobStore) -> None:
    data = noise(5000)
    digest = await store.put("a", data)
    assert await store.missing("b", [digest]) == [digest]
    assert await store.stat("b", digest) is None
    with pytest.raises(errors.BlobNotFound):
        await store.get("b", digest)
    assert await store.usage("b") == Usage()
    assert await store.delete("b", [digest]) == 0
    await store.put("b", data)
    assert list(await store.zones()) == ["a", "b"]
    assert await store.delete("b", [digest]) == 1
    assert await store.get("a", digest) == data
    assert list(await store.zones()) == ["a"]


async def test_one_zone_may_be_the_beginning_of_anothers_name(store: BlobStore) -> None:
    first, second = [await store.put(zone, noise(100, seed)) for seed, zone in enumerate(("a", "ab"))]
    assert [info.digest for info in await store.scan("a")] == [first]
    assert [info.digest for info in await store.scan("ab")] == [second]
    assert (await store.usage("a")).blobs == 1


@pytest.mark.parametrize("size", [100, 100_000])
async def test_equal_bytes_are_kept_once_in_a_zone(store: BlobStore, size: int) -> None:
    data = noise(size)
    for _ in range(3):
        await store.put("a", data)
    async with store.writer("a") as writer:
        await writer.write(data)
        await writer.commit()
    usage = await store.usage("a")
    assert (usage.blobs, usage.logical) == (1, size)


async def test_equal_bytes_put_at_once_are_kept_once(store: BlobStore) -> None:
    small, large = noise(500), noise(200_000)
    digests = await asyncio.gather(*(store.put("a", data) for data in [small, large] * 8))
    assert set(digests) == {Digest.of(small), Digest.of(large)}
    assert (await store.usage("a")).blobs == 2
    assert await store.get("a", Digest.of(large)) == large


async def test_many_blobs_are_put_and_read_at_once_and_each_has_its_own_outcome(store: BlobStore) -> None:
    good = [Put(Digest.of(data), data) for data in (noise(size) for size in (1, 300, 70_000))]
    wrong = Put(Digest.of(b"this"), b"that")
    short = Put(Digest.of(b"longer"), b"long")
    outcomes = await store.put_many("a", [good[0], wrong, good[1], short, good[2], good[0]])
    assert [type(outcome) for outcome in outcomes] == [
        type(None), errors.DigestMismatch, type(None), errors.DigestMismatch, type(None), type(None),
    ]  # fmt: skip
    found = await store.get_many("a", [blob.digest for blob in (*good, wrong, good[0])], MIB)
    assert {digest: found[digest] for digest in (blob.digest for blob in good)} == {b.digest: b.data for b in good}
    assert isinstance(found[wrong.digest], errors.BlobNotFound)


async def test_reading_many_is_bounded_by_what_the_caller_allows(store: BlobStore) -> None:
    digest = await store.put("a", noise(1000))
    with pytest.raises(errors.LimitReached):
        await store.get_many("a", [digest], 999)
    assert len(await store.get_many("a", [digest, digest], 1000)) == 1


async def test_bytes_that_are_not_the_declared_ones_leave_nothing(store: BlobStore) -> None:
    for size in (10, 100_000):
        data = noise(size)
        declared = Digest.of(data)
        with pytest.raises(errors.DigestMismatch):
            await store.put("a", data[:-1] + bytes([data[-1] ^ 1]), declared)
        for sent in (data[:-1], data[:-1] + bytes([data[-1] ^ 1])):
            async with store.writer("a", declared) as writer:
                await writer.write(sent)
                with pytest.raises(errors.DigestMismatch):
                    await writer.commit()
        async with store.writer("a", declared) as writer:
            await writer.write(data)
            with pytest.raises(errors.DigestMismatch):
                await writer.write(b"x")
        assert await store.missing("a", [declared]) == [declared]
    assert await store.usage() == Usage()


async def test_a_writer_takes_no_more_than_its_limit(store: BlobStore) -> None:
    async with store.writer("a", limit=150_000) as writer:
        await writer.write(noise(150_000))
        with pytest.raises(errors.LimitReached):
            await writer.write(b"x")
    assert await store.usage() == Usage()


@pytest.mark.parametrize("size", [100, 100_000, 3 * MIB])
async def test_an_upload_that_is_given_up_leaves_nothing(store: BlobStore, size: int) -> None:
    data = noise(size)
    async with store.writer("a") as writer:
        await writer.write(data)
    held = store.writer("a", Digest.of(data))
    await held.write(data)
    await held.abort()
    await held.abort()
    assert await store.missing("a", [Digest.of(data)]) == [Digest.of(data)]
    assert await store.usage() == Usage()


async def test_missing_tells_each_absent_blob_once_and_in_order(store: BlobStore) -> None:
    there = await store.put("a", b"there")
    one, two = Digest.of(b"one"), Digest.of(b"two")
    assert await store.missing("a", [two, there, one, two, EMPTY]) == [two, one]
    assert await store.missing("a", []) == []


async def test_a_read_outside_the_blob_is_refused(store: BlobStore) -> None:
    digest = await store.put("a", b"four")
    for offset, length in ((5, None), (-1, None), (0, -1)):
        with pytest.raises(errors.RangeInvalid):
            await all_of(store, digest, offset=offset, length=length)


async def test_what_is_not_there_is_not_found(store: BlobStore) -> None:
    digest = Digest.of(b"nobody put this")
    with pytest.raises(errors.BlobNotFound):
        await store.get("a", digest)
    with pytest.raises(errors.BlobNotFound):
        await all_of(store, digest)
    assert await store.stat("a", digest) is None
    assert await store.delete("a", [digest]) == 0


@pytest.mark.parametrize("size", [100, 100_000])
async def test_a_deleted_blob_is_gone_and_may_be_put_again(store: BlobStore, size: int) -> None:
    data = noise(size)
    digest = await store.put("a", data)
    assert await store.delete("a", [digest, digest, Digest.of(b"other")]) == 1
    assert await store.missing("a", [digest]) == [digest]
    assert (await store.usage("a")).blobs == 0
    assert await store.put("a", data) == digest
    assert await store.get("a", digest) == data


async def test_a_read_that_has_begun_ends_well_or_says_so_when_its_blob_is_deleted(store: BlobStore) -> None:
    data = noise(3 * MIB)
    digest = await store.put("a", data)
    pieces, iterator = [], store.read("a", digest)
    try:
        async for piece in iterator:
            pieces.append(piece)
            await store.delete("a", [digest])
    except errors.BlobNotFound:
        return
    assert b"".join(pieces) == data


@pytest.mark.parametrize("stop", ["close", "cancel"])
async def test_a_read_that_is_given_up_harms_nobody(store: BlobStore, stop: str) -> None:
    data = noise(4 * MIB)
    digest = await store.put("a", data)

    async def some() -> None:
        async with aclosing(store.read("a", digest)) as pieces:
            async for _ in pieces:
                if stop == "close":
                    break
                await asyncio.sleep(0)

    for delay in range(8):
        task = asyncio.create_task(some())
        for _ in range(delay):
            await asyncio.sleep(0)
        if stop == "cancel":
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await store.missing("a", [digest]) == []
    assert await store.get("a", digest) == data


async def test_pages_list_every_blob_of_the_zone_once_in_order_of_hash(store: BlobStore) -> None:
    digests = sorted([await store.put("a", noise(size, 7)) for size in (1, 2, 3, 70_000, 5)])
    await store.put("b", b"another zone's")
    assert [info.digest for info in await store.scan("a")] == digests
    seen, after = list[Digest](), None
    while page := await store.scan("a", after, 2):
        assert len(page) <= 2
        seen += [info.digest for info in page]
        after = seen[-1]
    assert seen == digests
    assert list(await store.scan("nowhere")) == []
    for limit in (0, 1001):
        with pytest.raises(errors.FieldInvalid):
            await store.scan("a", None, limit)


async def test_usage_counts_blobs_and_their_bytes_by_zone_and_in_all(store: BlobStore) -> None:
    await store.put("a", noise(100))
    await store.put("a", prose(50_000))
    await store.put("b", noise(200_000))
    first, second, both = await store.usage("a"), await store.usage("b"), await store.usage()
    assert (first.blobs, first.logical) == (2, 50_100)
    assert (second.blobs, second.logical) == (1, 200_000)
    assert (both.blobs, both.logical) == (3, 250_100)
    assert 0 < first.physical <= getattr(store, "copies", 1) * (50_100 + 1000)
