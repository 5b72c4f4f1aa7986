"""What a caller, or ten thousand of them, may ask of a server, and what happens above it."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest
from harness.http2 import Methods, Wire, chat, echo, message, serving, wait

from raftmeta.serving import Limits, frames
from raftmeta.serving.faults import ErrorCode
from raftmeta.serving.frames import DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, frame

METHODS: Methods = {"Unary": ("unary", echo), "Wait": ("unary", wait), "Bidi": ("bidi", chat)}
BOTH = END_HEADERS | END_STREAM


async def test_calls_above_the_limit_are_refused_with_a_status() -> None:
    async with (
        serving(METHODS, Limits(concurrent_calls=2)) as server,
        Wire.to(server) as wire,
        Wire.to(server) as other,
    ):
        wire.request(1, "Wait", message(b""))
        wire.request(3, "Bidi", None)
        wire.send(frame(DATA, 0, 3, message(b"x")))
        await wire.until(DATA)
        for one, number in ((wire, 5), (other, 1)):
            one.request(number, "Unary", message(b"x"))
            refused = await one.answer(number)
            assert (refused.status, refused.headers["grpc-message"]) == ("8", "Concurrent RPC limit exceeded!")
        wire.send(frames.rst_stream(1, ErrorCode.CANCEL))
        async with asyncio.timeout(10):
            number, status = 3, ""
            while status != "0":  # the call that was taken back still has to end
                other.request(number, "Unary", message(b"x"))
                status, number = (await other.answer(number)).status, number + 2


async def test_streams_above_the_limit_of_a_connection_are_refused_unseen() -> None:
    async with serving(METHODS, Limits(streams=2)) as server, Wire.to(server) as wire, Wire.to(server) as other:
        greeting = await wire.until(SETTINGS)
        assert dict(frames.read_settings(greeting.payload))[frames.MAX_CONCURRENT_STREAMS] == 2
        for number in (1, 3, 5):
            wire.request(number, "Wait", message(b""))
        assert await wire.fault() == ("stream", "REFUSED_STREAM")
        other.request(1, "Unary", message(b"x"))
        assert (await other.answer(1)).status == "0"


async def test_connections_above_the_limit_are_closed() -> None:
    async with serving(METHODS, Limits(connections=1)) as server, Wire.to(server) as first:
        await first.until(SETTINGS)
        async with Wire.to(server, greet=False) as second:
            assert await second.rest() == b""
        first.request(1, "Unary", message(b"x"))
        assert (await first.answer(1)).status == "0"


@pytest.mark.parametrize(
    "flood",
    [
        frame(PING, 0, 0, bytes(8)),
        frame(SETTINGS, 0, 0),
        frame(PRIORITY, 0, 1, bytes(5)),
        frame(99, 0, 0),
        frames.window_update(0, 1),
        frame(DATA, 0, 1),
    ],
    ids=["ping", "settings", "priority", "unknown", "window", "empty"],
)
async def test_a_flood_of_frames_without_use_ends_the_connection(flood: bytes) -> None:
    async with serving(METHODS, Limits(idle_frames=50)) as server, Wire.to(server) as wire:
        wire.request(1, "Bidi", None)
        wire.send(flood * 60)
        assert await wire.fault() == ("connection", "ENHANCE_YOUR_CALM")
        await wire.ended()


async def test_pings_of_a_peer_that_is_being_answered_do_not_count() -> None:
    async with serving(METHODS, Limits(idle_frames=5)) as server, Wire.to(server) as wire:
        for number in range(1, 41, 2):
            wire.send(frame(PING, 0, 0, bytes(8)) * 3)
            wire.request(number, "Unary", message(b"x"))
            assert (await wire.answer(number)).status == "0"


async def test_calls_taken_back_as_fast_as_they_are_made_end_the_connection() -> None:
    async with serving(METHODS, Limits(resets=20)) as server, Wire.to(server) as wire, Wire.to(server) as other:
        for number in range(1, 61, 2):
            wire.request(number, "Wait", message(b""))
            wire.send(frames.rst_stream(number, ErrorCode.CANCEL))
        assert await wire.fault() == ("connection", "ENHANCE_YOUR_CALM")
        await wire.ended()
        other.request(1, "Unary", message(b"x"))
        assert (await other.answer(1)).status == "0"


async def test_malformed_requests_count_as_much_as_those_taken_back() -> None:
    async with serving(METHODS, Limits(resets=20)) as server, Wire.to(server) as wire:
        for number in range(1, 61, 2):
            wire.send(frame(HEADERS, BOTH, number, wire.encoder.encode([(":method", "POST")])))
        seen = [await wire.fault() for _ in range(21)]
    assert seen[-1] == ("connection", "ENHANCE_YOUR_CALM")


async def test_calls_that_are_answered_make_good_for_those_taken_back() -> None:
    async with serving(METHODS, Limits(resets=5)) as server, Wire.to(server) as wire:
        for number in range(1, 121, 4):
            wire.request(number, "Wait", message(b""))
            wire.send(frames.rst_stream(number, ErrorCode.CANCEL))
            wire.request(number + 2, "Unary", message(b"x"))
            assert (await wire.answer(number + 2)).status == "0"


async def test_metadata_above_the_limit_is_refused_and_the_connection_goes_on() -> None:
    async with serving(METHODS, Limits(header_bytes=2000)) as server, Wire.to(server) as wire:
        wire.request(1, "Unary", message(b"x"), ("big", "x" * 2000))
        assert (await wire.answer(1)).status == "8"
        wire.request(3, "Unary", message(b"x"), ("small", "x" * 1000))
        assert (await wire.answer(3)).status == "0"


async def test_a_small_block_may_not_stand_for_a_huge_list() -> None:
    async with serving(METHODS) as server, Wire.to(server) as wire:
        wire.request(1, "Unary", message(b"x"), ("big", "x" * 3000))
        assert (await wire.answer(1)).status == "0"
        again = wire.encoder.encode([("big", "x" * 3000)])
        assert len(again) == 1
        wire.send(frame(HEADERS, BOTH, 3, wire.block("Unary") + again * 16_000))
        assert (await wire.answer(3)).status == "8"


async def test_a_compressed_bomb_is_refused_before_it_is_whole() -> None:
    bomb = message(gzip.compress(bytes(20_000_000)), flag=1)
    async with serving(METHODS, Limits(message_bytes=250_000)) as server, Wire.to(server) as wire:
        wire.request(1, "Unary", bomb, ("grpc-encoding", "gzip"))
        assert (await wire.answer(1)).status == "8"


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (b"", "identity", "13"),
        (b"\0\0\0\0", "identity", "13"),
        (b"\0\0\0\0\5abc", "identity", "13"),
        (message(b"a") + message(b"b"), "identity", "13"),
        (message(b"a") + b"\0", "identity", "13"),
        (b"\2\0\0\0\1a", "identity", "13"),
        (message(b"a", flag=1), "identity", "13"),
        (message(b"not gzip", flag=1), "gzip", "13"),
        (message(gzip.compress(b"abc", mtime=0)[:-9], flag=1), "gzip", "13"),
        (message(gzip.compress(b"abc", mtime=0), flag=1), "gzip", "0"),
        (message(b"abc"), "gzip", "0"),
        (message(b"abc"), "snappy", "12"),
        (b"\0\xff\xff\xff\xff", "identity", "8"),
    ],
)
async def test_a_unary_request_is_one_message(body: bytes, encoding: str, status: str) -> None:
    async with serving(METHODS) as server, Wire.to(server) as wire:
        wire.request(1, "Unary", body, ("grpc-encoding", encoding))
        answer = await wire.answer(1)
        assert answer.status == status
        if encoding == "snappy":
            assert answer.headers["grpc-accept-encoding"] == "identity,deflate,gzip"
        wire.request(3, "Unary", message(b"x"))
        assert (await wire.answer(3)).status == "0"
    assert server.budget.held == 0


async def test_requests_that_wait_to_be_whole_have_a_common_bound() -> None:
    limits = Limits(buffered_bytes=50_000)
    async with serving(METHODS, limits) as server, Wire.to(server) as wire, Wire.to(server) as other:
        for number in range(1, 9, 2):
            wire.request(number, "Unary", None)
            wire.send(frame(DATA, 0, number, message(bytes(20_000))[:15_000]))
        assert (await wire.answer(7)).status == "8"
        wire.send(frames.rst_stream(1, ErrorCode.CANCEL))
        wire.send(frame(DATA, END_STREAM, 3, message(bytes(20_000))[15_000:]))
        assert (await wire.answer(3)).messages == [bytes(20_000)]
        other.request(1, "Unary", message(bytes(15_000)))
        assert (await other.answer(1)).status == "0"
    assert server.budget.held == 0


async def test_a_peer_that_takes_no_answers_gets_no_more_calls() -> None:
    none = {frames.INITIAL_WINDOW_SIZE: 0}
    async with serving(METHODS, Limits(unsent_bytes=50_000)) as server, Wire.to(server, settings=none) as wire:
        for number in (1, 3, 5):
            wire.request(number, "Unary", message(bytes(20_000)))
            await wire.until(HEADERS)
        wire.request(7, "Unary", message(bytes(20_000)))
        assert (await wire.answer(7)).status == "8"
        wire.send(frames.window_update(1, 30_000))
        assert len((await wire.until(DATA)).payload) == 16_384


async def test_who_says_nothing_is_cut_off() -> None:
    async with serving(METHODS, Limits(handshake_seconds=0.2)) as server:
        async with Wire.to(server, greet=False) as wire:
            assert await wire.fault() == ("connection", "SETTINGS_TIMEOUT")
            await wire.ended()
        async with Wire.to(server, greet=False) as wire:
            wire.send(frames.PREFACE)
            assert await wire.fault() == ("connection", "SETTINGS_TIMEOUT")


async def test_a_unary_request_that_does_not_become_whole_is_given_up() -> None:
    async with serving(METHODS, Limits(request_seconds=0.2)) as server, Wire.to(server) as wire:
        wire.request(1, "Bidi", None)  # a stream may take its time
        wire.request(3, "Unary", None)
        wire.send(frame(DATA, 0, 3, message(b"x")[:3]))
        found = await wire.until(RST_STREAM)
        assert found.stream == 3
        wire.send(frame(DATA, END_STREAM, 1, message(b"x")))
        assert (await wire.answer(1)).messages == [b"x"]


async def test_a_silent_peer_with_an_open_call_is_asked_for_a_sign_of_life() -> None:
    ended = asyncio.Event()

    async def listen(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        context.add_done_callback(lambda one: ended.set())
        async for request in requests:
            yield request

    limits = Limits(silence_seconds=0.3, answer_seconds=3.0)
    async with serving({"Bidi": ("bidi", listen)}, limits) as server, Wire.to(server) as wire:
        wire.request(1, "Bidi", None)
        for _ in range(2):
            asked = await wire.until(PING)
            wire.send(frame(PING, 1, 0, asked.payload))
        assert not ended.is_set()
        await wire.until(PING)
        await wire.ended()
        await asyncio.wait_for(ended.wait(), 10)


async def test_ten_thousand_calls_at_once_are_all_answered() -> None:
    async with serving(METHODS, Limits(concurrent_calls=200, streams=10_000)) as server, Wire.to(server) as wire:
        for number in range(1, 20_001, 2):
            wire.request(number, "Unary", message(b"x"))
        wire.send(frames.window_update(0, 2**30))
        statuses: dict[str, int] = {}
        while sum(statuses.values()) < 10_000:
            found = await wire.until(HEADERS)
            if found.flags & END_STREAM:
                status = found.fields["grpc-status"]
                statuses[status] = statuses.get(status, 0) + 1
        assert set(statuses) <= {"0", "8"}
        assert statuses["0"] >= 200


async def test_windows_and_pings_of_a_long_answer_do_not_count() -> None:
    async def long(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for _ in range(50):
            yield bytes(1000)

    small = {frames.INITIAL_WINDOW_SIZE: 500}
    table: Methods = {"Long": ("server", long)}
    async with serving(table, Limits(idle_frames=10)) as server, Wire.to(server, settings=small) as wire:
        wire.request(1, "Long", message(b""))
        got = 0
        while got < 50 * 1005:
            got += len((await wire.until(DATA)).payload)
            wire.send(frame(PING, 0, 0, bytes(8)), frames.window_update(1, 500), frames.window_update(0, 500))
        assert (await wire.until(HEADERS)).fields["grpc-status"] == "0"
