"""How blobs are condemned, saved by a hit and swept, the same in every driver."""

from __future__ import annotations

import pytest
from harness.blobs import TOUCH_SECONDS, Clock
from quartet_server.objects.contract import BlobStore, Put
from quartet_server.objects.digest import EMPTY, Digest

SMALL, LARGE = b"small", bytes(range(256)) * 500
BOTH = [Digest.of(SMALL), Digest.of(LARGE)]


async def filled(store: BlobStore) -> None:
    await store.put("a", SMALL)
    await store.put("a", LARGE)


async def test_a_condemned_blob_is_there_until_it_is_swept(store: BlobStore, clock: Clock) -> None:
    await filled(store)
    clock.now += 100
    assert await store.condemn("a", BOTH, clock.now) == BOTH
    assert await store.get("a", BOTH[1]) == LARGE
    [small, large] = [await store.stat("a", digest) for digest in BOTH]
    assert small is not None
    assert large is not None
    assert (small.condemned, large.condemned) == (clock.now, clock.now)
    assert await store.sweep("a", BOTH, clock.now - 1) == []  # the grace is not over
    clock.now += 100
    assert await store.condemn("a", BOTH, clock.now) == BOTH  # again: nothing new, the time stays
    assert await store.sweep("a", [*BOTH, Digest.of(b"x")], clock.now - 100) == BOTH
    assert await store.missing("a", BOTH) == BOTH
    assert await store.sweep("a", BOTH, clock.now) == []


@pytest.mark.parametrize("hit", ["put", "put_many", "missing", "writer"])
@pytest.mark.parametrize("data", [SMALL, LARGE])
async def test_a_hit_saves_a_condemned_blob(store: BlobStore, clock: Clock, hit: str, data: bytes) -> None:
    digest = await store.put("a", data)
    clock.now += 100
    assert await store.condemn("a", [digest], clock.now) == [digest]
    clock.now += 1
    if hit == "put":
        await store.put("a", data)
    elif hit == "put_many":
        await store.put_many("a", [Put(digest, data)])
    elif hit == "writer":
        async with store.writer("a", digest) as writer:
            await writer.write(data)
            await writer.commit()
    else:
        assert await store.missing("a", [digest]) == []
    info = await store.stat("a", digest)
    assert info is not None
    assert (info.condemned, info.touched) == (None, clock.now)
    assert await store.sweep("a", [digest], clock.now + 1000) == []
    assert await store.get("a", digest) == data


async def test_reading_and_looking_save_nothing(store: BlobStore, clock: Clock) -> None:
    digest = await store.put("a", SMALL)
    assert await store.condemn("a", [digest], clock.now) == [digest]
    await store.stat("a", digest)
    await store.get("a", digest)
    await store.scan("a")
    assert await store.sweep("a", [digest], clock.now) == [digest]


async def test_what_was_touched_of_late_is_not_condemned(store: BlobStore, clock: Clock) -> None:
    await filled(store)
    put_at = clock.now
    clock.now += TOUCH_SECONDS + 1
    assert await store.missing("a", [BOTH[0]]) == []
    assert await store.condemn("a", BOTH, put_at + 1) == [BOTH[1]]
    info = await store.stat("a", BOTH[0])
    assert info is not None
    assert (info.touched, info.condemned) == (clock.now, None)


async def test_touches_lag_no_more_than_the_store_says(store: BlobStore, clock: Clock) -> None:
    assert store.touch_seconds == TOUCH_SECONDS
    digest = await store.put("a", SMALL)
    for _ in range(5):
        clock.now += TOUCH_SECONDS - 1
        await store.missing("a", [digest])
        info = await store.stat("a", digest)
        assert info is not None
        assert clock.now - info.touched <= TOUCH_SECONDS


async def test_condemning_in_one_zone_leaves_the_others(store: BlobStore, clock: Clock) -> None:
    for zone in ("a", "b"):
        await store.put(zone, SMALL)
    assert await store.condemn("a", [BOTH[0], EMPTY], clock.now) == [BOTH[0]]
    assert await store.sweep("b", [BOTH[0]], clock.now) == []
    assert await store.sweep("a", [BOTH[0], EMPTY], clock.now) == [BOTH[0]]
    assert await store.get("b", BOTH[0]) == SMALL
