"""Calls that begin without a task: taken or left to their handler, answered at once or later, and however their callers leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc import aio
from harness.http2 import SERVICE, port_of

from raftmeta.serving import Server
from raftmeta.serving.call import Call

PATH = f"/{SERVICE}/Unary"
CODES = grpc.StatusCode


class Taker:
    """Takes calls, all but those that say `leave`, and answers `now` at once."""

    def __init__(self) -> None:
        self.taken: list[Call] = []
        self.settled = 0
        self.handled = 0

    def begin(self, data: bytes, call: Call) -> bool:
        if data == b"leave":
            return False
        if data == b"raise early":
            raise ValueError(data)
        call.start()
        self.taken.append(call)
        if data == b"raise late":
            raise ValueError(data)
        if data == b"now":
            answer(call, b"at once")
        return True

    def settle(self) -> None:
        self.settled += 1

    async def handle(self, request: bytes, context: Any) -> bytes:
        self.handled += 1
        return b"handled " + request


def answer(call: Call, message: bytes) -> None:
    call.end(message)
    call.finished()


@asynccontextmanager
async def taking(taker: Taker, **options: Any) -> AsyncIterator[tuple[Server, Any]]:
    server = Server(**options)
    server.begin_at_once({PATH: taker.begin}, taker.settle)
    handler: Any = grpc.unary_unary_rpc_method_handler(taker.handle)
    server.add_registered_method_handlers(SERVICE, {"Unary": handler})
    server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with aio.insecure_channel(f"127.0.0.1:{port_of(server)}") as opened:
            yield server, opened.unary_unary(PATH)
    finally:
        await server.stop(0)


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def status(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def test_what_is_taken_is_answered_whenever_and_the_rest_is_handled() -> None:
    taker = Taker()
    async with taking(taker) as (_, unary):
        later = unary(b"later")
        assert await unary(b"now") == b"at once"
        assert await unary(b"leave") == b"handled leave"
        await until(lambda: len(taker.taken) == 2)
        waiting = next(call for call in taker.taken if not call.done())
        answer(waiting, b"in the end")
        assert await later == b"in the end"
        assert (taker.handled, 1 <= taker.settled <= 2) == (1, True)


@pytest.mark.parametrize("request_", [b"raise early", b"raise late"])
async def test_an_exception_is_unknown_and_the_next_call_is_served(request_: bytes) -> None:
    taker = Taker()
    async with taking(taker) as (_, unary):
        assert (await status(unary(request_)))[0] is CODES.UNKNOWN
        assert await unary(b"now") == b"at once"


@pytest.mark.parametrize("how", ["cancel", "deadline"])
async def test_a_caller_that_left_is_done_and_an_answer_to_it_does_no_harm(how: str) -> None:
    taker = Taker()
    async with taking(taker) as (server, unary):
        assert await unary(b"leave") == b"handled leave"  # connected
        if how == "cancel":
            call = unary(b"later")
            await until(lambda: taker.taken)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        for seconds in (0.2, 2.0, 10.0):  # on a busy machine the first may pass before the call is there
            if not taker.taken:
                assert (await status(unary(b"later", timeout=seconds)))[0] is CODES.DEADLINE_EXCEEDED
        await until(taker.taken[0].done)
        assert taker.taken[0].cancelled()
        taker.taken[0].end(b"too late")
        assert await unary(b"now") == b"at once"
        assert not server._calls


async def test_a_server_that_stops_cancels_what_has_begun() -> None:
    taker = Taker()
    async with taking(taker) as (server, unary):
        call = unary(b"later")
        await until(lambda: taker.taken)
        await server.stop(0)
        assert (await status(call))[0] is CODES.CANCELLED
        assert taker.taken[0].done()


async def test_a_connection_that_is_lost_ends_what_has_begun_on_it() -> None:
    taker = Taker()
    async with taking(taker) as (server, unary):
        call = unary(b"later")
        await until(lambda: taker.taken)
        next(iter(server.connections)).abort()
        assert (await status(call))[0] is CODES.UNAVAILABLE
        await until(taker.taken[0].done)


async def test_a_server_that_wraps_its_handlers_has_them_see_every_call() -> None:
    taker = Taker()
    async with taking(taker, wrap=lambda path, handler: handler) as (_, unary):
        assert await unary(b"now") == b"handled now"
    assert not taker.taken
