"""Calls of every shape, with a client of gRPC's own: messages, metadata, statuses, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc import aio
from harness.http2 import SERVICE, Methods, Wire, chat, echo, message, port_of, serving, wait

from raftmeta.serving import Limits, Server

CODES = grpc.StatusCode
MIB = 1024**2


def channel(server: Server, **options: Any) -> Any:
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    return aio.insecure_channel(f"127.0.0.1:{port_of(server)}", options=unlimited, **options)


def unary(opened: Any, name: str = "Unary") -> Any:
    return opened.unary_unary(f"/{SERVICE}/{name}")


async def fails(call: Any) -> aio.AioRpcError:
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return caught.value


async def count(request: bytes, context: Any) -> AsyncIterator[bytes]:
    for number in range(int(request)):
        yield b"%d" % number


async def joined(requests: AsyncIterator[bytes], context: Any) -> bytes:
    return b",".join([request async for request in requests])


async def several(*requests: bytes) -> AsyncIterator[bytes]:
    for request in requests:
        yield request


@pytest.mark.parametrize("size", [0, 1, 16_379, 16_380, 65_531, 200_000, 4 * MIB - 64])
async def test_a_message_of_any_size_goes_there_and_back(size: int) -> None:
    async with serving({"Unary": ("unary", echo)}) as server, channel(server) as opened:
        sent = bytes(range(256)) * (size // 256) + bytes(size % 256)
        answers = await asyncio.gather(*(unary(opened)(sent) for _ in range(3)))
    assert all(answer == sent for answer in answers)


async def test_an_answer_may_be_larger_than_any_request_may() -> None:
    async def large(request: bytes, context: Any) -> bytes:
        return bytes(20 * MIB)

    async with serving({"Unary": ("unary", large)}) as server, channel(server) as opened:
        assert len(await unary(opened)(b"")) == 20 * MIB


async def test_all_four_shapes_are_served() -> None:
    table: Methods = {
        "Unary": ("unary", echo),
        "Count": ("server", count),
        "Join": ("client", joined),
        "Chat": ("bidi", chat),
    }
    async with serving(table) as server, channel(server) as opened:
        assert await unary(opened)(b"x") == b"x"
        assert [one async for one in opened.unary_stream(f"/{SERVICE}/Count")(b"5")] == [b"%d" % n for n in range(5)]
        assert [one async for one in opened.unary_stream(f"/{SERVICE}/Count")(b"0")] == []
        assert await opened.stream_unary(f"/{SERVICE}/Join")(several(b"a", b"", b"c")) == b"a,,c"
        assert await opened.stream_unary(f"/{SERVICE}/Join")(several()) == b""
        talk = opened.stream_stream(f"/{SERVICE}/Chat")()
        for number in range(20):
            await talk.write(b"%d" % number)
            assert await talk.read() == b"%d" % number
        await talk.done_writing()
        assert await talk.read() is aio.EOF
        assert await talk.code() is CODES.OK


async def test_a_stream_s_responses_may_come_in_parts() -> None:
    parts = [(b"",), (b"a", memoryview(b"bcd")[1:]), (b"x" * 10, bytes(100_000), b"y"), (b"end",)]

    async def behaviour(request: bytes, context: Any) -> AsyncIterator[Any]:
        for one in parts:
            yield one

    async with serving({"Parts": ("server", behaviour)}) as server, channel(server) as opened:
        found = [one async for one in opened.unary_stream(f"/{SERVICE}/Parts")(b"")]
    assert found == [b"".join(one) for one in parts]


async def test_a_coroutine_may_write_its_responses_itself_one_or_several_at_a_time() -> None:
    async def behaviour(request: bytes, context: Any) -> None:
        await context.send_initial_metadata((("first", "1"),))
        await context.write(b"a")
        await context.write([b"b", b"c"])

    async with serving({"Write": ("server", behaviour)}) as server, channel(server) as opened:
        call = opened.unary_stream(f"/{SERVICE}/Write")(b"")
        assert [one async for one in call] == [b"a", b"b", b"c"]
        assert dict(await call.initial_metadata())["first"] == "1"


async def test_metadata_goes_both_ways_binary_values_as_bytes() -> None:
    seen: list[Any] = []

    async def behaviour(request: bytes, context: Any) -> bytes:
        seen.extend(context.invocation_metadata())
        await context.send_initial_metadata((("early", "x y"), ("early-bin", bytes(range(256)))))
        context.set_trailing_metadata((("late", "%41"), ("late-bin", b"\0"), ("late", "again")))
        return request

    sent = (("key", "value with % and ~"), ("key", "twice"), ("key-bin", b"\0\xff"), ("empty", ""), ("empty-bin", b""))
    async with serving({"Unary": ("unary", behaviour)}) as server, channel(server) as opened:
        call = unary(opened)(b"", metadata=sent)
        await call
        early, late = list(await call.initial_metadata()), list(await call.trailing_metadata())
    assert [pair for pair in seen if pair[0] != "user-agent"] == list(sent)
    assert [pair[0] for pair in seen if pair[0] == "user-agent"] == ["user-agent"]
    assert [tuple(pair) for pair in early] == [("early", "x y"), ("early-bin", bytes(range(256)))]
    assert sorted(map(tuple, late)) == [("late", "%41"), ("late", "again"), ("late-bin", b"\0")]


@pytest.mark.parametrize(
    "text", ["", "plain", "100 %", "näher\nbeschrieben\t\0", "😀", "x" * 2000, "a\x7fb"], ids=lambda text: text[:8]
)
@pytest.mark.parametrize("shape", ["unary", "server"])
async def test_an_abort_reaches_the_caller_with_code_text_and_metadata(text: str, shape: str) -> None:
    async def one(request: bytes, context: Any) -> None:
        await context.abort(CODES.ABORTED, text, (("why-bin", b"\1"),))

    async def many(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        await context.abort(CODES.ABORTED, text, (("why-bin", b"\1"),))

    async with serving({"M": (shape, one if shape == "unary" else many)}) as server, channel(server) as opened:
        call = (opened.unary_unary if shape == "unary" else opened.unary_stream)(f"/{SERVICE}/M")(b"")
        if shape == "server":
            assert await call.read() == b"first"
        error = await fails(call if shape == "unary" else call.read())
    assert (error.code(), error.details()) == (CODES.ABORTED, text)
    assert dict(error.trailing_metadata() or ())["why-bin"] == b"\1"


async def test_a_status_set_beforehand_is_sent() -> None:
    async def behaviour(request: bytes, context: Any) -> bytes:
        context.set_code(CODES.DATA_LOSS)
        context.set_details("gone")
        assert (context.code(), context.details(), context.trailing_metadata()) == (CODES.DATA_LOSS, "gone", ())
        return b""

    async with serving({"Unary": ("unary", behaviour)}) as server, channel(server) as opened:
        error = await fails(unary(opened)(b""))
    assert (error.code(), error.details()) == (CODES.DATA_LOSS, "gone")


@pytest.mark.parametrize("bad", [(("Key", "x"),), (("grpc-own", "x"),), (("k", "a\nb"),), (("k y", "x"),), (("", ""),)])
async def test_metadata_that_cannot_be_sent_is_the_service_s_fault(bad: Any) -> None:
    async def behaviour(request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata(bad)
        return b""

    async with serving({"Unary": ("unary", behaviour)}) as server, channel(server) as opened:
        assert (await fails(unary(opened)(b""))).code() is CODES.UNKNOWN


async def test_an_unforeseen_exception_is_unknown_and_the_next_call_is_served() -> None:
    async def behaviour(request: bytes, context: Any) -> bytes:
        if request == b"bad":
            raise ZeroDivisionError("oh")
        return request

    async with serving({"Unary": ("unary", behaviour)}) as server, channel(server) as opened:
        error = await fails(unary(opened)(b"bad"))
        assert error.code() is CODES.UNKNOWN
        assert "oh" in (error.details() or "")
        assert await unary(opened)(b"good") == b"good"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (f"/{SERVICE}/Nothing", f"unknown method Nothing for service {SERVICE}"),
        ("/no.Service/Unary", "unknown service no.Service"),
        ("/", "unknown service "),
    ],
)
async def test_what_is_not_offered_is_unimplemented(path: str, text: str) -> None:
    async with serving({"Unary": ("unary", echo)}) as server, channel(server) as opened:
        error = await fails(opened.unary_unary(path)(b""))
        assert (error.code(), error.details()) == (CODES.UNIMPLEMENTED, text)
        stream = opened.stream_stream(path)()
        assert await stream.code() is CODES.UNIMPLEMENTED


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_requests_are_read(compression: grpc.Compression) -> None:
    table: Methods = {"Unary": ("unary", echo), "Chat": ("bidi", chat)}
    async with serving(table) as server, channel(server, compression=compression) as opened:
        assert await unary(opened)(b"x" * 3 * MIB) == b"x" * 3 * MIB
        talk = opened.stream_stream(f"/{SERVICE}/Chat")(several(b"y" * 100_000, b"z"))
        assert [one async for one in talk] == [b"y" * 100_000, b"z"]


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
@pytest.mark.parametrize("shape", ["unary", "bidi"])
async def test_a_message_above_the_limit_is_refused_compressed_or_not(
    compression: grpc.Compression, shape: str
) -> None:
    table: Methods = {"Unary": ("unary", echo), "Chat": ("bidi", chat)}
    limits = Limits(message_bytes=100_000)
    async with serving(table, limits) as server, channel(server, compression=compression) as opened:
        assert len(await unary(opened)(bytes(100_000))) == 100_000
        if shape == "unary":
            error = await fails(unary(opened)(bytes(100_001)))
            assert (error.code(), "larger than max" in (error.details() or "")) == (CODES.RESOURCE_EXHAUSTED, True)
        else:
            talk = opened.stream_stream(f"/{SERVICE}/Chat")(several(bytes(100_001)))
            assert await talk.code() is CODES.RESOURCE_EXHAUSTED
        assert server.budget.held == 0


async def test_the_context_knows_the_caller_and_calls_back_at_the_end() -> None:
    ended: list[bool] = []

    async def behaviour(request: bytes, context: Any) -> bytes:
        context.add_done_callback(lambda one: ended.append(one.done()))
        assert context.auth_context() == {}
        assert context.peer_identities() is context.peer_identity_key() is None
        assert context.time_remaining() > 0
        assert (context.done(), context.cancelled()) == (False, False)
        return str(context.peer()).encode()

    async with serving({"Unary": ("unary", behaviour)}) as server, channel(server) as opened:
        assert (await unary(opened)(b"", timeout=30)).startswith(b"ipv4:127.0.0.1:")
    assert ended == [True]


async def test_without_a_deadline_time_does_not_run_out() -> None:
    async def behaviour(request: bytes, context: Any) -> bytes:
        return b"%a" % context.time_remaining()

    async with serving({"Unary": ("unary", behaviour)}) as server, channel(server) as opened:
        assert await unary(opened)(b"") == b"None"


class Watched:
    """A behaviour that waits for ever and tells how it ended."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.ended = asyncio.Event()
        self.how = ""

    async def unary(self, request: bytes, context: Any) -> bytes:
        context.add_done_callback(lambda one: self.ended.set())
        self.began.set()
        try:
            return await wait(request, context)
        except asyncio.CancelledError:
            self.how = f"cancelled, {context.cancelled()}"
            raise

    async def many(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        await self.unary(request, context)


@pytest.mark.parametrize("shape", ["unary", "server"])
@pytest.mark.parametrize("how", ["cancel", "disconnect"])
async def test_a_call_whose_caller_is_gone_is_cancelled(shape: str, how: str) -> None:
    watched = Watched()
    behaviour = watched.unary if shape == "unary" else watched.many
    async with serving({"M": (shape, behaviour)}) as server, channel(server) as opened:
        make = opened.unary_unary if shape == "unary" else opened.unary_stream
        call = make(f"/{SERVICE}/M")(b"")
        await asyncio.wait_for(watched.began.wait(), 10)
        if how == "cancel":
            call.cancel()
        else:
            await opened.close()
        await asyncio.wait_for(watched.ended.wait(), 10)
    assert watched.how == "cancelled, True"


@pytest.mark.parametrize("shape", ["unary", "server"])
async def test_the_server_itself_ends_a_call_at_its_deadline(shape: str) -> None:
    watched = Watched()
    behaviour = watched.unary if shape == "unary" else watched.many
    async with serving({"M": (shape, behaviour)}) as server, Wire.to(server) as wire:
        wire.request(1, "M", message(b""), ("grpc-timeout", "50m"))
        answer = await wire.answer(1)
        await asyncio.wait_for(watched.ended.wait(), 10)
    assert (answer.status, watched.how) == ("4", "cancelled, True")


async def test_a_deadline_passes_also_before_the_request_is_whole() -> None:
    async with serving({"M": ("unary", echo)}) as server, Wire.to(server) as wire:
        wire.request(1, "M", None, ("grpc-timeout", "1m"))
        assert (await wire.answer(1)).status == "4"


async def test_generic_handlers_are_asked_for_paths_that_nobody_registered() -> None:
    class Everything(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> Any:
            found: Any = grpc.unary_unary_rpc_method_handler(echo)
            return found if details.method.startswith("/any.") else None

    async with serving({}) as server, channel(server) as opened:
        server.add_generic_rpc_handlers((Everything(),))
        assert await opened.unary_unary("/any.Thing/At/All")(b"x") == b"x"
        assert (await fails(opened.unary_unary("/other.Thing/M")(b"x"))).code() is CODES.UNIMPLEMENTED


async def test_every_handler_is_wrapped_once() -> None:
    paths: list[str] = []

    def wrap(path: str, handler: Any) -> Any:
        paths.append(path)
        return handler

    server = Server(wrap=wrap)
    server.add_registered_method_handlers("t.T", {"M": grpc.unary_unary_rpc_method_handler(echo)})
    server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with channel(server) as opened:
            for _ in range(3):
                await opened.unary_unary("/t.T/M")(b"x")
    finally:
        await server.stop(0)
    assert paths == ["/t.T/M"]
