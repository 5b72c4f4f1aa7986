"""Windows: nothing is sent that the peer did not ask for, nothing is kept that it could not have been stopped from sending."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from harness.http2 import Methods, Wire, chat, echo, message, serving

from raftmeta.serving import Limits, frames
from raftmeta.serving.faults import ErrorCode
from raftmeta.serving.frames import DATA, END_STREAM, HEADERS, PING, WINDOW_UPDATE, frame

METHODS: Methods = {"Unary": ("unary", echo), "Bidi": ("bidi", chat)}


async def settled(wire: Wire) -> list[bytes]:
    """Return the DATA that has come by the time a PING is answered: what is not there then is held back."""
    wire.send(frame(PING, 0, 0, b"settled?"))
    came = []
    while True:
        found = await wire.frame()
        assert found is not None
        if found.kind == DATA:
            came.append(found.payload)
        elif found.kind == PING:
            return came


async def answered(wire: Wire) -> None:
    """Wait until the headers of an answer are there."""
    found = await wire.until(HEADERS)
    assert not found.flags & END_STREAM


async def test_an_answer_waits_for_the_window_of_its_stream_byte_by_byte() -> None:
    async with serving(METHODS) as server, Wire.to(server, settings={frames.INITIAL_WINDOW_SIZE: 3}) as wire:
        wire.request(1, "Unary", message(b"hello"))
        await answered(wire)
        body = b"".join(await settled(wire))
        assert body == message(b"hello")[:3]
        for _ in range(7):
            wire.send(frames.window_update(1, 1))
            came = await settled(wire)
            assert [len(one) for one in came] == [1]
            body += came[0]
        assert body == message(b"hello")


async def test_a_smaller_initial_window_makes_open_windows_negative() -> None:
    async with serving(METHODS) as server, Wire.to(server, settings={frames.INITIAL_WINDOW_SIZE: 100}) as wire:
        wire.request(1, "Unary", message(bytes(400)))
        await answered(wire)
        assert len(b"".join(await settled(wire))) == 100
        wire.send(frames.settings({frames.INITIAL_WINDOW_SIZE: 40}))  # the stream's is -60 now
        wire.send(frames.window_update(1, 60))
        assert await settled(wire) == []
        wire.send(frames.window_update(1, 1))
        assert len(b"".join(await settled(wire))) == 1
        wire.send(frames.settings({frames.INITIAL_WINDOW_SIZE: 65_535}))
        assert len(b"".join(await settled(wire))) == 304


async def test_the_connection_s_window_is_shared_in_turns() -> None:
    async with serving(METHODS) as server, Wire.to(server, settings={frames.INITIAL_WINDOW_SIZE: 2**31 - 1}) as wire:
        for number in (1, 3, 5):
            wire.request(number, "Unary", message(bytes(100_000)))
        got = dict.fromkeys((1, 3, 5), 0)
        while sum(got.values()) < 65_535:
            found = await wire.until(DATA)
            got[found.stream] += len(found.payload)
        assert await settled(wire) == []
        wire.send(frames.window_update(0, 3 * 16_384))
        turn = [await wire.until(DATA) for _ in range(3)]
        assert {one.stream for one in turn} == {1, 3, 5}
        wire.send(frames.window_update(0, 10**6))
        done: set[int] = set()
        while len(done) < 3:
            found = await wire.until(DATA, HEADERS)
            got[found.stream] += len(found.payload) if found.kind == DATA else 0
            if found.flags & END_STREAM:
                done.add(found.stream)
        assert sum(got.values()) + sum(len(one.payload) for one in turn) == 3 * 100_005


async def test_a_stream_without_window_does_not_hold_up_another() -> None:
    async with serving(METHODS) as server, Wire.to(server, settings={frames.INITIAL_WINDOW_SIZE: 0}) as wire:
        wire.request(1, "Unary", message(b"stuck"))
        await answered(wire)
        wire.send(frames.settings({frames.INITIAL_WINDOW_SIZE: 0}))
        wire.request(3, "Unary", message(b"free"))
        wire.send(frames.window_update(3, 1000))
        assert (await wire.answer(3)).messages == [b"free"]


@pytest.mark.parametrize(
    ("taken", "largest"), [(None, 16_384), (16_384, 16_384), (20_000, 20_000), (2**24 - 1, frames.LARGEST)]
)
async def test_frames_are_never_larger_than_the_peer_takes(taken: int | None, largest: int) -> None:
    asked = {frames.INITIAL_WINDOW_SIZE: 2**31 - 1} | ({} if taken is None else {frames.MAX_FRAME_SIZE: taken})
    async with serving(METHODS) as server, Wire.to(server, settings=asked) as wire:
        wire.send(frames.window_update(0, 10**6))
        wire.request(1, "Unary", message(bytes(200_000)))
        assert (await wire.answer(1)).messages == [bytes(200_000)]
    assert max(len(one.payload) for one in wire.seen) == largest


@pytest.mark.parametrize("size", [16_384, 16_385, frames.LARGEST])
@pytest.mark.parametrize(("name", "number"), [("Unary", 1), ("Bidi", 3)])
async def test_frames_are_taken_as_large_as_was_said(size: int, name: str, number: int) -> None:
    body = bytes(range(256)) * 1200
    async with serving(METHODS) as server, Wire.to(server) as wire:
        found = await wire.until(frames.SETTINGS)
        assert dict(frames.read_settings(found.payload))[frames.MAX_FRAME_SIZE] == frames.LARGEST
        wire.request(number, name, None)
        wire.send(frames.window_update(0, 10**6), frames.window_update(number, 10**6))
        sent = message(body)
        pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
        for piece in pieces:
            wire.send(frame(DATA, END_STREAM if piece is pieces[-1] else 0, number, piece))
        assert (await wire.answer(number)).messages == [body]


async def test_a_stream_s_writer_waits_for_a_peer_that_gives_no_window() -> None:
    written: list[int] = []

    async def flood(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for number in range(1000):
            yield bytes(1000)
            written.append(number)

    small = {frames.INITIAL_WINDOW_SIZE: 10_000}
    async with serving({"Flood": ("server", flood)}) as server, Wire.to(server, settings=small) as wire:
        wire.request(1, "Flood", message(b""))
        got = 0
        while got < 10_000:
            got += len((await wire.until(DATA)).payload)
        assert await settled(wire) == []
        assert len(written) == 9  # of the tenth, a part is left
        wire.send(frames.window_update(1, 10_000))
        while got < 20_000:
            got += len((await wire.until(DATA)).payload)
        await settled(wire)
        assert len(written) == 19


async def test_a_peer_that_does_not_read_stops_what_writes_to_it() -> None:
    written = 0
    ended = asyncio.Event()

    async def flood(request: bytes, context: Any) -> AsyncIterator[bytes]:
        nonlocal written
        context.add_done_callback(lambda one: ended.set())
        while True:
            yield bytes(10_000)
            written += 10_000

    async with serving({"Flood": ("server", flood), **METHODS}) as server:
        async with Wire.to(server, settings={frames.INITIAL_WINDOW_SIZE: 2**31 - 1}) as wire:
            wire.send(frames.window_update(0, 2**31 - 1 - 65_535))
            wire.request(1, "Flood", message(b""))
            before = -1
            async with asyncio.timeout(30):
                while before != written:
                    before = written
                    await asyncio.sleep(0.2)
            assert written < 32 * 1024**2  # what the kernel's buffers and the reader's take
        await asyncio.wait_for(ended.wait(), 10)


async def test_a_request_that_nobody_reads_is_not_asked_for() -> None:
    release = asyncio.Event()

    async def late(requests: AsyncIterator[bytes], context: Any) -> bytes:
        await release.wait()
        return b"%d" % len([one async for one in requests])

    async with serving({"Late": ("client", late)}, Limits(stream_window=65_535)) as server, Wire.to(server) as wire:
        wire.request(1, "Late", None)
        for _ in range(6):
            wire.send(frame(DATA, 0, 1, message(bytes(10_000))))
        await settled(wire)
        assert [one for one in wire.seen if one.kind == WINDOW_UPDATE and one.stream == 1] == []
        release.set()
        assert (await wire.until(WINDOW_UPDATE)).stream == 1
        wire.send(frame(DATA, END_STREAM, 1, message(b"")))
        assert (await wire.answer(1)).messages == [b"7"]


async def test_a_message_larger_than_the_window_is_asked_for_as_it_comes() -> None:
    async with serving(METHODS, Limits(stream_window=65_535, message_bytes=10**6)) as server, Wire.to(server) as wire:
        for name, number in (("Unary", 1), ("Bidi", 3)):
            wire.request(number, name, None)
            wire.send(frames.window_update(0, 600_000), frames.window_update(number, 600_000))
            body, window = message(bytes(500_000)), 65_535
            while body:
                piece = body[: min(window, 16_384)]
                if piece:
                    body, window = body[len(piece) :], window - len(piece)
                    wire.send(frame(DATA, 0 if body else END_STREAM, number, piece))
                    continue
                found = await wire.until(WINDOW_UPDATE)
                window += int.from_bytes(found.payload, "big") if found.stream == number else 0
            assert (await wire.answer(number)).messages == [bytes(500_000)]


@pytest.mark.parametrize("end", ["reset", "deadline"])
async def test_what_waits_for_a_window_is_forgotten_with_its_stream(end: str) -> None:
    async with serving(METHODS) as server, Wire.to(server, settings={frames.INITIAL_WINDOW_SIZE: 10}) as wire:
        wire.request(1, "Unary", message(bytes(10_000)), *((("grpc-timeout", "200m"),) if end == "deadline" else ()))
        await answered(wire)
        connection = next(iter(server.connections))
        assert connection.sender.unsent == 9_995
        if end == "reset":
            wire.send(frames.rst_stream(1, ErrorCode.CANCEL))
        else:
            assert await wire.fault() == ("stream", "CANCEL")
        await settled(wire)
        assert (connection.sender.unsent, connection.streams) == (0, {})


@pytest.mark.parametrize("size", [0, 60, 103, 104, 4096, 2**32 - 1])
async def test_a_peer_may_choose_the_size_of_its_header_table_at_any_time(size: int) -> None:
    async with serving(METHODS) as server, Wire.to(server) as wire:
        for number in (1, 3, 5):
            wire.request(number, "Unary", message(b"x"))
            answer = await wire.answer(number)
            assert (answer.headers["content-type"], answer.status) == ("application/grpc", "0")
            if number == 1:
                wire.send(frames.settings({frames.HEADER_TABLE_SIZE: size}))
                wire.decoder.max_allowed_table_size = min(size, 4096)
                wire.decoder.header_table_size = min(size, 4096)
        wire.request(7, "Nothing", message(b"x"))
        assert (await wire.answer(7)).status == "12"
