"""The proxies between members do what they say, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from faults.links import Counts, Network, Rule
from harness.ports import free_ports

from raftmeta.transport.frame import FrameReader, encode
from raftmeta.v1.hello_pb2 import Hello

A, B = "a", "b"


class End:
    """A member behind its front: keeps the payloads it gets, and can dial the other.

    Attributes:
        got: Payloads that arrived, greetings left out.
        greeted: Who greeted.
    """

    def __init__(self, front: str) -> None:
        self.front = front
        self.got: list[bytes] = []
        self.greeted: list[str] = []
        self.closed = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = FrameReader(1 << 20)
        hello = ""
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                frames.push(data)
                while (payload := frames.next()) is not None:
                    if hello:
                        self.got.append(payload)
                    else:
                        hello = Hello.FromString(payload).address
                        self.greeted.append(hello)
                        writer.write(encode(b"welcome"))
        self.closed += 1
        writer.transport.abort()

    async def dial(self, other: End) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = other.front.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(encode(Hello(address=self.front).SerializeToString()))
        return reader, writer


@contextlib.asynccontextmanager
async def two() -> AsyncIterator[tuple[Network, End, End]]:
    """Two members and the network between them."""
    ports = free_ports(4)
    fronts, backs = [f"127.0.0.1:{port}" for port in ports[:2]], ports[2:]
    ends = [End(front) for front in fronts]
    servers = [await asyncio.start_server(end.serve, "127.0.0.1", back) for end, back in zip(ends, backs, strict=True)]
    network = Network(7)
    try:
        for name, front, back in zip((A, B), fronts, backs, strict=True):
            await network.open(name, front, f"127.0.0.1:{back}")
        yield network, ends[0], ends[1]
    finally:
        await network.close()
        for server in servers:
            server.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.005)


def send(writer: asyncio.StreamWriter, count: int, size: int = 10) -> list[bytes]:
    payloads = [b"%d " % number + bytes(size) for number in range(count)]
    writer.write(b"".join(map(encode, payloads)))
    return payloads


async def test_frames_pass_whole_and_in_order_and_greetings_name_the_link() -> None:
    async with two() as (network, a, b):
        reader, writer = await a.dial(b)
        sent = send(writer, 300, 3_000)
        await until(lambda: len(b.got) == 300)
        assert b.got == sent
        assert b.greeted == [a.front]
        assert encode(b"welcome") == await reader.readexactly(len(encode(b"welcome")))
        assert network.link(A, B).counts == Counts(passed=301)
        assert network.link(B, A).counts == Counts()
        writer.close()


async def test_a_cut_takes_frames_one_way_only_and_keeps_the_connection() -> None:
    async with two() as (network, a, b):
        (_, there), (_, back) = await a.dial(b), await b.dial(a)
        await until(lambda: bool(b.greeted and a.greeted))
        network.set(Rule(cut=True), (A, B))
        send(there, 5)
        send(back, 5)
        await until(lambda: len(a.got) == 5 and network.link(A, B).counts.cut == 5)
        assert b.got == []
        network.heal()
        sent = send(there, 3)
        await until(lambda: len(b.got) == 3)
        assert b.got == sent, "what was cut does not come back"
        there.close()
        back.close()


async def test_nobody_connects_through_a_cut() -> None:
    async with two() as (network, a, b):
        network.set(Rule(cut=True), (A, B))
        _, writer = await a.dial(b)
        await until(lambda: network.link(A, B).counts.cut == 1)
        assert b.greeted == []
        writer.close()


async def test_what_is_held_arrives_late_and_in_its_order() -> None:
    async with two() as (network, a, b):
        _, writer = await a.dial(b)
        await until(lambda: bool(b.greeted))
        network.set(Rule(hold=True), (A, B))
        held = send(writer, 4)
        await until(lambda: network.link(A, B).counts.held == 4)
        assert b.got == []
        network.heal()
        await until(lambda: len(b.got) == 4)
        assert b.got == held
        writer.close()


async def test_losses_and_delays_are_counted_and_jitter_lets_frames_overtake() -> None:
    async with two() as (network, a, b):
        _, writer = await a.dial(b)
        await until(lambda: bool(b.greeted))
        counts = network.link(A, B).counts
        network.set(Rule(loss=0.5), (A, B))
        send(writer, 200)
        await until(lambda: len(b.got) + counts.lost == 200)
        assert 50 < counts.lost < 150
        b.got.clear()
        network.set(Rule(delay=0.02), (A, B))
        sent = send(writer, 20)
        await until(lambda: len(b.got) == 20)
        assert b.got == sent
        assert counts.delayed == 20
        b.got.clear()
        network.set(Rule(jitter=0.05), (A, B))
        sent = send(writer, 50)
        await until(lambda: len(b.got) == 50)
        assert b.got != sent
        assert sorted(b.got) == sorted(sent)
        assert counts.overtaken > 0
        writer.close()


async def test_a_reset_breaks_the_connection_at_both_ends() -> None:
    async with two() as (network, a, b):
        reader, writer = await a.dial(b)
        await until(lambda: bool(b.greeted))
        assert network.reset((B, A)) == 0
        assert network.reset((A, B)) == 1
        await until(lambda: b.closed == 1)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        assert reader.at_eof() or reader.exception() is not None
        writer.transport.abort()


async def test_a_member_that_is_down_refuses_through_its_front() -> None:
    ports = free_ports(3)
    a = End(f"127.0.0.1:{ports[0]}")
    b = End(f"127.0.0.1:{ports[1]}")
    network = Network(7)
    await network.open(B, b.front, f"127.0.0.1:{ports[2]}")
    try:
        reader, writer = await a.dial(b)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                assert await reader.read() == b""
        writer.transport.abort()
    finally:
        await network.close()
