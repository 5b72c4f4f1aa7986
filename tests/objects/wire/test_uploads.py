"""Uploads: how many at once, how long they wait for their caller, and who owns them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from quartet_server.errors import Contention, DeadlinePassed, DigestMismatch, FieldInvalid, TooManyRequests
from quartet_server.objects.contract import BlobWriter
from quartet_server.objects.digest import Digest
from quartet_server.objects.memory import MemoryBlobs
from quartet_server.objects.wire.flow import Places, next_request
from quartet_server.objects.wire.packing import Unpacker
from quartet_server.objects.wire.resources import Resource
from quartet_server.objects.wire.uploads import Uploads

DATA = b"abcdef"


def named(upload: str, data: bytes = DATA) -> Resource:
    return Resource("", Digest.of(data), packed=False, upload=upload)


class Scene:
    """Uploads with few places over a store in memory."""

    def __init__(self, most: int = 2, seconds: float = 60.0) -> None:
        self.blobs = MemoryBlobs(lambda: 0.0)
        self.places = Places(most)
        self.uploads = Uploads(self.blobs, self.places, seconds)

    async def half(self, upload: str) -> None:
        """An upload of which half has arrived when its caller is gone."""
        session = await self.uploads.begin("z", named(upload), 0)
        await session.write(DATA[:3])
        await session.leave(keep=True)


async def test_the_oldest_that_broke_off_makes_room_for_a_new_one() -> None:
    scene = Scene(most=2)
    await scene.half("a")
    await scene.half("b")
    await (await scene.uploads.begin("z", named("a"), 3)).leave(keep=True)  # b is older now
    await scene.uploads.begin("z", named("c"), 0)
    assert [scene.uploads.size("z", named(name)) for name in "abc"] == [3, None, 0]


async def test_uploads_that_go_on_are_not_given_up_for_new_ones() -> None:
    scene = Scene(most=2)
    sessions = [await scene.uploads.begin("z", named(name), 0) for name in "ab"]
    with pytest.raises(TooManyRequests) as refused:
        await scene.uploads.begin("z", named("c"), 0)
    assert refused.value.retry_after is not None
    await sessions[0].leave(keep=False)
    await scene.uploads.begin("z", named("c"), 0)


async def test_an_upload_that_nobody_goes_on_with_is_forgotten() -> None:
    scene = Scene(most=1, seconds=0.01)
    await scene.half("a")
    async with asyncio.timeout(20):
        while scene.uploads.size("z", named("a")) is not None:
            await asyncio.sleep(0.005)
    assert scene.places.left
    with pytest.raises(FieldInvalid):
        await scene.uploads.begin("z", named("a"), 3)


async def test_an_upload_that_goes_on_is_not_forgotten_meanwhile() -> None:
    scene = Scene(seconds=0.02)
    await scene.half("a")
    session = await scene.uploads.begin("z", named("a"), 3)
    await scene.half("b")
    async with asyncio.timeout(20):
        while scene.uploads.size("z", named("b")) is not None:
            await asyncio.sleep(0.005)
    await session.write(DATA[3:])
    await session.finish()
    assert await scene.blobs.get("z", Digest.of(DATA)) == DATA


async def test_the_last_that_came_owns_the_upload() -> None:
    scene = Scene()
    first = await scene.uploads.begin("z", named("a"), 0)
    await first.write(DATA[:3])
    second = await scene.uploads.begin("z", named("a"), 3)
    with pytest.raises(Contention):
        await first.write(b"late")
    with pytest.raises(Contention):
        await first.finish()
    await first.leave(keep=False)  # is no longer its to give up
    await second.write(DATA[3:])
    await second.finish()
    assert await scene.blobs.get("z", Digest.of(DATA)) == DATA
    assert scene.places.left


@pytest.mark.parametrize("offset", [0, 3])
async def test_of_many_that_come_at_once_one_owns_the_upload_and_no_place_is_lost(offset: int) -> None:
    scene = Scene(most=1)
    if offset:
        await scene.half("a")
    begun = await asyncio.gather(
        *(scene.uploads.begin("z", named("a"), offset) for _ in range(20)), return_exceptions=True
    )
    owners = []
    for one in begun:
        if isinstance(one, BaseException):
            assert isinstance(one, Contention)
            continue
        try:
            one.check()
        except Contention:
            continue
        owners.append(one)
    assert len(owners) == 1
    await owners[0].leave(keep=False)
    assert scene.places.left


async def test_after_wrong_bytes_nothing_is_left() -> None:
    scene = Scene(most=1)
    session = await scene.uploads.begin("z", named("a"), 0)
    with pytest.raises(DigestMismatch):
        await session.write(DATA + b"more")
    assert scene.uploads.size("z", named("a")) is None
    session = await scene.uploads.begin("z", named("a"), 0)
    await session.write(b"ABCDEF")
    with pytest.raises(DigestMismatch):
        await session.finish()
    assert scene.uploads.size("z", named("a")) is None
    assert scene.places.left


class Slow:
    """A writer that waits until it is let go on."""

    def __init__(self, inner: BlobWriter) -> None:
        self.inner = inner
        self.began, self.go_on = asyncio.Event(), asyncio.Event()

    @property
    def size(self) -> int:
        return self.inner.size

    async def write(self, data: bytes) -> None:
        self.began.set()
        await self.go_on.wait()
        await self.inner.write(data)

    async def commit(self) -> Digest:
        return await self.inner.commit()

    async def abort(self) -> None:
        await self.inner.abort()


async def test_a_piece_that_is_being_written_when_its_caller_goes_is_written_to_its_end() -> None:
    scene = Scene()
    session = await scene.uploads.begin("z", named("a"), 0)
    slow = session._upload.writer = Slow(session._upload.writer)  # type: ignore[assignment]
    writing = asyncio.create_task(session.write(DATA[:3]))
    await slow.began.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await session.leave(keep=True)
    resumed = asyncio.create_task(scene.uploads.begin("z", named("a"), 3))
    await asyncio.sleep(0)
    slow.go_on.set()
    again = await asyncio.wait_for(resumed, 20)
    await again.write(DATA[3:])
    await again.finish()
    assert await scene.blobs.get("z", Digest.of(DATA)) == DATA


async def test_all_is_given_up_at_the_end() -> None:
    scene = Scene()
    await scene.half("a")
    await scene.uploads.begin("z", named("b"), 0)
    await scene.uploads.close()
    assert [scene.uploads.size("z", named(name)) for name in "ab"] == [None, None]
    assert scene.places.left


async def test_a_caller_that_sends_nothing_is_not_waited_for() -> None:
    async def silent() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    with pytest.raises(DeadlinePassed):
        await next_request(silent(), idle=0.01)


async def test_large_pieces_are_unpacked_beside_the_loop_and_within_their_size() -> None:
    import zstandard

    data = bytes(30 << 20)
    frame = zstandard.compress(data) + zstandard.compress(b"", 1) * 10_000
    unpacker = Unpacker(len(data))
    pieces = [piece async for piece in unpacker.pieces(frame)]
    assert sum(map(len, pieces)) == len(data)
    with pytest.raises(FieldInvalid):
        [piece async for piece in Unpacker(len(data) - 1).pieces(frame)]


async def test_a_window_larger_than_decoders_must_have_is_refused() -> None:
    import zstandard

    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    frame = stream.compress(b"abc" * 1000) + stream.flush()
    with pytest.raises(FieldInvalid):
        Unpacker(3000).unpacked(frame)
