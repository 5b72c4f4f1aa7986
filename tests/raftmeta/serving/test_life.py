"""How a server begins and ends, and how a connection is told to go elsewhere."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from harness import certificates
from harness.http2 import SERVICE, Methods, Wire, chat, echo, message, port_of, serving, wait

from raftmeta.serving import Limits, Server, frames
from raftmeta.serving.frames import DATA, END_STREAM, GOAWAY, PING, frame
from raftmeta.tls import TlsError, client_context, grpc_channel_credentials

METHODS: Methods = {"Unary": ("unary", echo), "Wait": ("unary", wait), "Bidi": ("bidi", chat)}
NEVER = 2**31 - 1


def last_of(goaway: bytes) -> tuple[int, int]:
    return int.from_bytes(goaway[:4], "big"), int.from_bytes(goaway[4:8], "big")


async def test_a_server_that_stops_lets_calls_in_flight_finish_and_sends_new_ones_elsewhere() -> None:
    release, began = asyncio.Event(), asyncio.Event()

    async def late(request: bytes, context: Any) -> bytes:
        began.set()
        await release.wait()
        return request

    async with serving({"Late": ("unary", late)}) as server, Wire.to(server) as wire:
        wire.request(1, "Late", message(b"1"))
        await began.wait()
        stopping = asyncio.create_task(server.stop(30))
        assert last_of((await wire.until(GOAWAY)).payload) == (NEVER, 0)
        asked = await wire.until(PING)
        wire.request(3, "Late", message(b"3"))  # it was on its way
        wire.send(frame(PING, 1, 0, asked.payload))
        assert last_of((await wire.until(GOAWAY)).payload) == (3, 0)
        wire.request(5, "Late", message(b"5"))
        assert await wire.fault() == ("stream", "REFUSED_STREAM")
        release.set()
        answers = {found.stream: found.payload for found in [await wire.until(DATA) for _ in range(2)]}
        assert answers == {1: message(b"1"), 3: message(b"3")}
        await wire.ended()
        await asyncio.wait_for(stopping, 10)


@pytest.mark.parametrize("grace", [None, 0, 0.1])
async def test_calls_that_last_longer_than_the_grace_are_cancelled(grace: float | None) -> None:
    began = asyncio.Event()

    async def late(request: bytes, context: Any) -> bytes:
        began.set()
        return await wait(request, context)

    async with serving({"Late": ("unary", late)}) as server, Wire.to(server) as wire:
        wire.request(1, "Late", message(b"x"))
        await began.wait()
        await asyncio.wait_for(server.stop(grace), 10)
        assert (await wire.answer(1)).status == "1"
        await wire.ended()
    assert server.connections == set()


async def test_a_stopped_server_leaves_its_port_to_others() -> None:
    server = Server()
    port = server.add_insecure_port("127.0.0.1:0")
    with pytest.raises(OSError, match="in use"):
        Server().add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    assert server.ports == [port]
    waiting = asyncio.create_task(server.wait_for_termination())
    assert await server.wait_for_termination(0.01)
    await server.stop(None)
    assert not await asyncio.wait_for(waiting, 10)
    with socket.create_server(("127.0.0.1", port)):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536", ":-1"])
async def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        Server().listen(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::]", "0.0.0.0"])
async def test_a_server_listens_where_it_is_told(host: str) -> None:
    server = Server()
    server.add_registered_method_handlers(SERVICE, {"Unary": grpc.unary_unary_rpc_method_handler(echo)})
    try:
        port = server.listen(f"{host}:0")
    except OSError:
        pytest.skip("no IPv6 here")
    await server.start()
    target = f"[::1]:{port}" if "::1" in host else f"127.0.0.1:{port}"
    try:
        async with aio.insecure_channel(target) as channel:
            call: Any = channel.unary_unary(f"/{SERVICE}/Unary")
            assert await call(b"x") == b"x"
    finally:
        await server.stop(0)


async def test_a_connection_made_before_the_start_is_served_after_it() -> None:
    server = Server()
    server.add_registered_method_handlers(SERVICE, {"Unary": grpc.unary_unary_rpc_method_handler(echo)})
    server.add_insecure_port("127.0.0.1:0")
    try:
        async with Wire.to(server) as wire:
            wire.request(1, "Unary", message(b"x"))
            await server.start()
            assert (await wire.answer(1)).messages == [b"x"]
    finally:
        await server.stop(0)


async def tls_server(tmp_path: Path, limits: Limits | None = None) -> Server:
    server = Server(limits)
    server.add_registered_method_handlers(SERVICE, {"Unary": grpc.unary_unary_rpc_method_handler(echo)})
    server.listen("127.0.0.1:0", certificates.node(tmp_path, "n1"))
    await server.start()
    return server


async def test_a_client_that_does_not_choose_http_2_in_its_handshake_is_refused(tmp_path: Path) -> None:
    server = await tls_server(tmp_path)
    context = client_context(certificates.client(tmp_path, "z"))
    context.set_alpn_protocols(["http/1.1"])
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server), ssl=context)
        writer.write(frames.PREFACE + frames.settings({}))
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
    finally:
        await server.stop(0)


async def test_large_messages_pass_through_tls(tmp_path: Path) -> None:
    server = await tls_server(tmp_path)
    credentials = grpc_channel_credentials(certificates.client(tmp_path, "z"))
    try:
        async with aio.secure_channel(f"127.0.0.1:{port_of(server)}", credentials) as channel:
            call: Any = channel.unary_unary(f"/{SERVICE}/Unary")
            sent = bytes(range(256)) * 12_000
            assert await call(sent) == sent
    finally:
        await server.stop(0)


async def test_handshakes_that_do_not_go_on_are_bounded_in_number_and_time(tmp_path: Path) -> None:
    server = await tls_server(tmp_path, Limits(handshakes=2, handshake_seconds=1.5))
    silent = [await asyncio.open_connection("127.0.0.1", port_of(server)) for _ in range(4)]
    credentials = grpc_channel_credentials(certificates.client(tmp_path, "z"))
    try:
        async with aio.secure_channel(f"127.0.0.1:{port_of(server)}", credentials) as channel:
            call: Any = channel.unary_unary(f"/{SERVICE}/Unary")
            assert await call(b"x", timeout=20, wait_for_ready=True) == b"x"
        for reader, _ in silent:
            assert await asyncio.wait_for(reader.read(), 10) == b""
    finally:
        for _, writer in silent:
            writer.close()
        await server.stop(0)


async def test_a_port_without_its_files_does_not_open(tmp_path: Path) -> None:
    files = certificates.node(tmp_path, "n1")
    files.key.unlink()
    with pytest.raises(TlsError, match="key"):
        Server().listen("127.0.0.1:0", files)


async def test_a_stream_of_a_client_that_closes_its_half_goes_on() -> None:
    async def later(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        got = [request async for request in requests]
        for one in got:
            yield one

    async with serving({"Later": ("bidi", later)}) as server, Wire.to(server) as wire:
        wire.request(1, "Later", None)
        wire.send(frame(DATA, 0, 1, message(b"a")), frame(DATA, END_STREAM, 1, message(b"b")))
        assert (await wire.answer(1)).messages == [b"a", b"b"]


@pytest.mark.parametrize("began", [True, False])
async def test_a_server_can_be_stopped_twice_and_before_it_began(began: bool) -> None:
    server = Server()
    port = server.add_insecure_port("127.0.0.1:0")
    if began:
        await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for grace in (None, 1):
        await asyncio.wait_for(server.stop(grace), 10)
        assert not await server.wait_for_termination(10)
        assert (server.ports, server.connections) == ([], set())
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    with suppress(ConnectionResetError):  # one that was never taken
        await asyncio.wait_for(reader.read(), 10)
    assert reader.at_eof() or reader.exception() is not None
    writer.close()


async def test_an_answer_that_waits_for_its_window_is_waited_for_at_the_end() -> None:
    none = {frames.INITIAL_WINDOW_SIZE: 0}
    async with serving(METHODS) as server, Wire.to(server, settings=none) as wire:
        wire.request(1, "Unary", message(b"x" * 100))
        await wire.until(frames.HEADERS)
        stopping = asyncio.create_task(server.stop(30))
        asked = await wire.until(PING)
        wire.send(frame(PING, 1, 0, asked.payload), frames.window_update(1, 1000))
        assert (await wire.until(DATA)).payload == message(b"x" * 100)
        await wire.ended()
        await asyncio.wait_for(stopping, 10)
