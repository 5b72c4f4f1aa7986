"""Members that talk over real sockets: delivery, reconnects, allow-list, back-pressure, refusals and rotation."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from harness import certificates

from raftmeta.tls import TlsError, TlsFiles, client_context
from raftmeta.transport import MAX_FRAME, Peer, PeerTransport
from raftmeta.transport.frame import encode
from raftmeta.transport.hello import Self

CLUSTER = 0xC1


class Member:
    """A transport that writes down what happens to it."""

    def __init__(self, number: int, tls: TlsFiles | None, **given: Any) -> None:
        self.got: list[tuple[int, bytes]] = []
        self.events: list[tuple[str, int]] = []
        self.changed = asyncio.Event()
        options: dict[str, Any] = {"name": f"n{number}", "cluster_id": CLUSTER, "listen": "127.0.0.1:0", "timeout": 1.0}
        options |= given
        loop = asyncio.get_running_loop()
        self.id = number
        self.transport = PeerTransport(loop, member_id=number, tls=tls, insecure=tls is None, **options)
        self.transport.on_payload = lambda peer, payload, _: self.note(self.got, (peer, payload))
        self.transport.on_connected = lambda peer: self.note(self.events, ("up", peer))
        self.transport.on_disconnected = lambda peer: self.note(self.events, ("down", peer))

    def note(self, where: list[Any], what: Any) -> None:
        where.append(what)
        self.changed.set()

    def peer(self, name: str | None = None) -> Peer:
        return Peer(self.transport.address, f"n{self.id}" if name is None else name)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    made: list[Member] = []

    async def member(number: int, secure: bool = True, tls: TlsFiles | None = None, **options: Any) -> Member:
        if secure and tls is None:
            tls = certificates.node(tmp_path, f"n{number}", overwrite=True)
        found = Member(number, tls if secure else None, **options)
        await found.transport.start()
        made.append(found)
        return found

    yield member
    for found in made:
        await found.transport.stop()


def introduce(*members: Member) -> None:
    for member in members:
        member.transport.set_peers({other.id: other.peer() for other in members})


@pytest.mark.parametrize("secure", [True, False])
async def test_three_members_deliver_everything_in_order(make: Any, secure: bool) -> None:
    members = [await make(number, secure) for number in (1, 2, 3)]
    introduce(*members)
    await until(lambda: all(len(member.events) == 2 for member in members))
    for count in range(200):
        for member in members:
            for other in members:
                if other is not member:
                    assert member.transport.send(other.id, b"%d " % count * (count * 7))
    await until(lambda: all(len(member.got) == 400 for member in members))
    for member in members:
        for other in members:
            if other is not member:
                payloads = [payload for sender, payload in member.got if sender == other.id]
                assert payloads == [b"%d " % count * (count * 7) for count in range(200)]
                counters = member.transport.counters()[other.id]
                assert (counters.frames_sent, counters.frames_received, counters.connects) == (200, 200, 1)


async def test_the_longest_frame_passes_and_a_longer_one_is_refused_here(make: Any) -> None:
    one, two = await make(1), await make(2)
    introduce(one, two)
    await until(lambda: one.transport.connected(2))
    payload = os.urandom(1024) * (MAX_FRAME // 1024)
    assert one.transport.send(2, payload)
    await until(lambda: len(two.got) == 1)
    assert two.got == [(1, payload)]
    with pytest.raises(ValueError, match="longer than"):
        one.transport.send(2, payload + b"x")
    with pytest.raises(KeyError):
        one.transport.send(9, b"")


async def test_a_member_that_restarts_is_connected_again(make: Any) -> None:
    one, two = await make(1), await make(2)
    introduce(one, two)
    await until(lambda: one.transport.connected(2) and two.transport.connected(1))
    address = two.transport.address
    await two.transport.stop()
    await until(lambda: ("down", 2) in one.events)
    assert not one.transport.send(2, b"lost")
    assert one.transport.counters()[2].dropped_disconnected == 1
    again = await make(2, listen=address)
    introduce(one, again)
    await until(lambda: one.transport.connected(2) and again.transport.connected(1))
    assert one.transport.send(2, b"found")
    await until(lambda: again.got == [(1, b"found")])
    assert one.events == [("up", 2), ("down", 2), ("up", 2)]


async def test_a_removed_member_is_cut_off_and_refused(make: Any) -> None:
    one, two = await make(1), await make(2)
    introduce(one, two)
    await until(lambda: one.transport.connected(2) and two.transport.connected(1))
    one.transport.set_peers({})
    await until(lambda: ("down", 1) in two.events)
    assert one.events == [("up", 2), ("down", 2)]
    refused = two.transport.counters()[1].refusals
    await until(lambda: two.transport.counters()[1].refusals > refused + 1)
    assert not two.transport.connected(1)


async def test_a_member_that_moves_is_dialled_at_its_new_address(make: Any) -> None:
    one, two = await make(1), await make(2)
    introduce(one, two)
    await until(lambda: one.transport.connected(2))
    await two.transport.stop()
    moved = await make(2)
    introduce(one, moved)
    await until(lambda: one.transport.connected(2) and moved.transport.connected(1))


async def test_a_name_that_becomes_known_cuts_a_connection_under_another(make: Any) -> None:
    one, two = await make(1), await make(2)
    two.transport.set_peers({1: one.peer()})
    one.transport.set_peers({2: two.peer(name="")})
    await until(lambda: one.transport.connected(2) and two.transport.connected(1))
    one.transport.set_peers({2: two.peer()})
    assert one.transport.send(2, b"kept")
    one.transport.set_peers({2: two.peer(name="someone")})
    await until(lambda: ("down", 2) in one.events and ("down", 1) in two.events)


async def test_a_peer_that_does_not_read_costs_bounded_memory_and_never_blocks(make: Any) -> None:
    one = await make(1, secure=False, queue_bytes=1_000_000)
    release = asyncio.Event()

    async def stuck(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(encode(Self(2, "n2", CLUSTER, "").hello(0)))
        await release.wait()
        writer.close()

    server = await asyncio.start_server(stuck, "127.0.0.1", 0, limit=1024)
    port = server.sockets[0].getsockname()[1]
    one.transport.set_peers({2: f"127.0.0.1:{port}"})
    await until(lambda: one.transport.connected(2))
    payload = bytes(100_000)
    results = [one.transport.send(2, payload) for _ in range(1000)]
    counters = one.transport.counters()[2]
    assert results[0]
    assert not results[-1]
    assert counters.dropped_full == results.count(False) > 800
    release.set()
    server.close()
    await one.transport.close()


@pytest.mark.parametrize("trouble", ["wrong ca", "expired", "wrong name", "client certificate"])
async def test_a_stranger_with_a_bad_certificate_is_refused(make: Any, tmp_path: Path, trouble: str) -> None:
    one = await make(1)
    tls = {
        "wrong ca": lambda: certificates.node(tmp_path / "other", "n2"),
        "expired": lambda: certificates.node(tmp_path, "n2", expired=True),
        "wrong name": lambda: certificates.node(tmp_path, "n3"),
        "client certificate": lambda: certificates.client(tmp_path, "n2", "default"),
    }[trouble]()
    two = await make(2, tls=tls)
    introduce(one, two)
    await until(lambda: min(m.transport.counters()[3 - m.id].refusals for m in (one, two)) > 1)
    assert one.events == two.events == []
    assert not one.transport.send(2, b"secret")


async def test_a_stranger_without_a_certificate_or_without_tls_is_refused(make: Any, tmp_path: Path) -> None:
    one = await make(1)
    two = await make(2, secure=False)
    introduce(one, two)
    await until(lambda: min(m.transport.counters()[3 - m.id].refusals for m in (one, two)) > 1)
    context = ssl.create_default_context(cafile=tmp_path / "ca.crt")
    host, port = one.transport.address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    with contextlib.suppress(OSError):
        writer.write(encode(Self(2, "n2", CLUSTER, "").hello(1)))
        assert await reader.read() == b""
    writer.transport.abort()
    assert one.got == two.got == []
    assert one.events == two.events == []


@pytest.mark.parametrize("other", [{"cluster_id": 5}, {"name": "n9"}])
async def test_another_cluster_or_name_is_refused_without_tls_too(make: Any, other: dict[str, Any]) -> None:
    one, two = await make(1, secure=False), await make(2, secure=False, **other)
    introduce(one, two)
    await until(lambda: min(m.transport.counters()[3 - m.id].refusals for m in (one, two)) > 1)
    assert one.events == two.events == []


CODE = b"cos\nsystem\n(S'touch %s'\ntR."


def attacks(canary: Path) -> dict[str, bytes]:
    bomb = CODE % str(canary).encode()
    return {
        "random": os.urandom(5000),
        "http": b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        "serialized code": bomb,
        "serialized code, framed": encode(bomb),
        "serialized code, as the stock engine frames it": struct.pack("i", len(bomb)) + bomb,
        "giant length": b"\xff\xff\xff\xff" + bytes(5000),
        "greeting of the wrong kind": encode(b"\x0a\x05hello"),
        "wrong checksum": encode(Self(2, "n2", CLUSTER, "").hello(1))[:-1] + b"x",
        "no greeting": b"",
        "slow": encode(Self(2, "n2", CLUSTER, "").hello(1))[:9],
        "good greeting, then garbage": encode(Self(2, "n2", CLUSTER, "").hello(1)) + b"\xff" * 100,
    }


@pytest.mark.parametrize("attack", list(attacks(Path("x"))))
@pytest.mark.parametrize("layer", ["plain on plain", "plain on tls", "inside tls"])
async def test_garbage_closes_its_own_connection_only_and_runs_nothing(
    make: Any, tmp_path: Path, attack: str, layer: str
) -> None:
    secure = layer != "plain on plain"
    one, two, three = [await make(number, secure, timeout=0.4) for number in (1, 2, 3)]
    introduce(one, three)
    one.transport.set_peers({2: Peer("127.0.0.1:1", "n2"), 3: three.peer()})
    await until(lambda: one.transport.connected(3) and three.transport.connected(1))
    canary = tmp_path / "canary"
    context = client_context(certificates.node(tmp_path, "n2", overwrite=True)) if layer == "inside tls" else None
    host, port = one.transport.address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    with contextlib.suppress(OSError):
        writer.write(attacks(canary)[attack])
        async with asyncio.timeout(10):
            await reader.read()  # returns when the other end closes
    writer.transport.abort()
    assert three.transport.send(1, b"still here")
    await until(lambda: (3, b"still here") in one.got)
    assert [peer for peer, _ in one.got] == [3]
    assert not canary.exists()
    assert ("down", 1) not in three.events
    await two.transport.stop()


async def test_many_strangers_at_once_leave_members_alone(make: Any) -> None:
    one, two = await make(1, secure=False, timeout=0.5), await make(2, secure=False)
    introduce(one, two)
    await until(lambda: one.transport.connected(2) and two.transport.connected(1))
    host, port = one.transport.address.rsplit(":", 1)
    streams = [await asyncio.open_connection(host, int(port)) for _ in range(100)]
    for _, writer in streams:
        with contextlib.suppress(OSError):
            writer.write(b"\0")
    assert two.transport.send(1, b"through")
    await until(lambda: one.got == [(2, b"through")])
    async with asyncio.timeout(10):
        for reader, writer in streams:
            with contextlib.suppress(OSError):
                await reader.read()
            writer.transport.abort()


async def test_certificates_rotate_without_a_restart(make: Any, tmp_path: Path) -> None:
    certificates.node(tmp_path, "n1", expired=True)
    one = await make(1, tls=TlsFiles(tmp_path / "ca.crt", tmp_path / "n1.crt", tmp_path / "n1.key"))
    two = await make(2)
    introduce(one, two)
    await until(lambda: min(m.transport.counters()[3 - m.id].refusals for m in (one, two)) > 0)
    (tmp_path / "n1.crt").write_text("half a certifi")
    refused = two.transport.counters()[1].refusals
    await until(lambda: two.transport.counters()[1].refusals > refused)
    certificates.node(tmp_path, "n1", overwrite=True)
    await until(lambda: one.transport.connected(2) and two.transport.connected(1))


async def test_tls_is_left_out_only_when_that_is_said_aloud(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    options: dict[str, Any] = {"member_id": 1, "name": "n1", "cluster_id": 1, "listen": "127.0.0.1:0"}
    for tls, insecure in [(None, False), (certificates.node(tmp_path, "n1"), True)]:
        with pytest.raises(ValueError, match="insecure"):
            PeerTransport(loop, tls=tls, insecure=insecure, **options)
    with pytest.raises(TlsError, match="quartet cert node"):
        PeerTransport(loop, tls=TlsFiles(tmp_path / "a", tmp_path / "b", tmp_path / "c"), **options)


async def test_a_bad_or_taken_address_is_reported(make: Any) -> None:
    one = await make(1, secure=False)
    with pytest.raises(OSError, match="in use"):
        await make(2, secure=False, listen=one.transport.address)
    with pytest.raises(ValueError, match="not HOST:PORT"):
        one.transport.set_peers({2: Peer("nowhere")})
    assert one.transport.counters() == {}
