"""TLS handshakes that go wrong in every way, at the gRPC port and the Raft port: others are let in, memory stays bounded."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random

import psutil
import pytest
from fuzz.budget import rounds
from fuzz.mutation import mutate
from fuzz.targets import GROWTH
from harness.fleet import Fleet

from raftmeta.tls import client_context

BATCH = 150
CROWD = 300
PATIENCE = 60.0


@dataclass
class Node:
    """A node whose ports all speak TLS.

    Attributes:
        fleet: The cluster of one that it is.
        size: Resident bytes of its process when the attacks began.
    """

    fleet: Fleet
    size: int

    @property
    def ports(self) -> dict[str, tuple[str, int]]:
        """Both ports, by name."""
        node = self.fleet.nodes[0]
        found = {"gRPC": node.endpoint, "Raft": node.raft}
        return {name: (one.rpartition(":")[0], int(one.rpartition(":")[2])) for name, one in found.items()}

    def context(self) -> ssl.SSLContext:
        """What a good caller of either port speaks with."""
        context = client_context(self.fleet.files("n1"))
        context.set_alpn_protocols(["h2"])
        return context

    def check(self) -> None:
        """Both ports finish a good handshake, soon if not at once; calls are answered; the process has not grown."""
        process = self.fleet.nodes[0].process
        assert process is not None
        assert process.poll() is None
        for name, address in self.ports.items():
            deadline = time.monotonic() + PATIENCE
            while not self._lets_in(address):
                assert time.monotonic() < deadline, f"the {name} port lets nobody in"
                time.sleep(0.05)
        with self.fleet.client(timeout=PATIENCE) as client:
            assert client.files.stat("/kept").path == "/kept"
            client.settings.set("sane", "yes")
        assert psutil.Process(process.pid).memory_info().rss - self.size < GROWTH

    def _lets_in(self, address: tuple[str, int]) -> bool:
        try:
            with (
                socket.create_connection(address, timeout=PATIENCE) as plain,
                self.context().wrap_socket(plain) as stream,
            ):
                return stream.version() == "TLSv1.3"
        except OSError:
            return False


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Fleet(tmp_path_factory.mktemp("fleet"), 1, secure=True) as fleet:
        with fleet.client(timeout=PATIENCE) as client:
            client.files.mkdir("/kept")
        process = fleet.nodes[0].process
        assert process is not None
        yield Node(fleet, psutil.Process(process.pid).memory_info().rss)


def greeting(context: ssl.SSLContext) -> bytes:
    """Return the first bytes of a good handshake."""
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out).do_handshake()
    return out.read()


async def attack(address: tuple[str, int], data: bytes, dice: Random) -> None:
    """Send and listen for a moment, or go at once, or say that no more will come."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(*address)
            try:
                writer.write(data)
                if dice.random() < 0.5:
                    await writer.drain()
                    if dice.random() < 0.5:
                        writer.write_eof()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(reader.read(65536), 0.2)
            finally:
                writer.close()


@pytest.mark.parametrize("port", ["gRPC", "Raft"])
def test_mutated_greetings_keep_nobody_else_out(node: Node, port: str) -> None:
    good = greeting(node.context())
    assert good.startswith(b"\x16\x03")

    async def batch(dice: Random) -> None:
        for start in range(0, BATCH, 25):
            broken = [mutate(good, dice, [good]) for _ in range(start, start + 25)]
            await asyncio.gather(*(attack(node.ports[port], data, dice) for data in broken))

    for _, dice in rounds(2, 0.02):
        asyncio.run(batch(dice))
        node.check()


@pytest.mark.parametrize("port", ["gRPC", "Raft"])
def test_a_handshake_that_is_good_and_then_nonsense_keeps_nobody_else_out(node: Node, port: str) -> None:
    for _, dice in rounds(2, 0.02):
        for _ in range(20):
            with contextlib.suppress(OSError), socket.create_connection(node.ports[port], timeout=PATIENCE) as plain:
                stream = node.context().wrap_socket(plain)
                raw = socket.socket(
                    fileno=stream.detach()
                )  # under TLS from now on: what is sent is no record, or a false one
                with raw:
                    raw.settimeout(5.0)
                    raw.sendall(mutate(b"\x17\x03\x03\x00\x40" + dice.randbytes(64), dice) * dice.choice((1, 50)))
                    raw.recv(65536)
        node.check()


@pytest.mark.parametrize("port", ["gRPC", "Raft"])
@pytest.mark.parametrize("kept", [0, 5, 200])
def test_a_crowd_whose_handshakes_do_not_go_on_keeps_nobody_out_for_long(node: Node, port: str, kept: int) -> None:
    good = greeting(node.context())
    with ExitStack() as open_ones:
        socks = []
        for _ in range(CROWD):
            sock = open_ones.enter_context(socket.create_connection(node.ports[port], timeout=PATIENCE))
            with contextlib.suppress(OSError):
                sock.sendall(good[:kept])
            socks.append(sock)
        node.check()
        for at in range(kept, min(kept + 20, len(good))):  # and some go on, a byte at a time
            for sock in socks[:20]:
                with contextlib.suppress(OSError):
                    sock.sendall(good[at : at + 1])
        node.check()
