"""The Raft port of real members: broken greetings and frames, frames that are whole and say nonsense, strangers in crowds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import google_crc32c
import grpc
import pytest
from fuzz.budget import rounds
from fuzz.hostile import message
from fuzz.mutation import mutate
from fuzz.peers import POISON, believable_lie
from fuzz.targets import Target, measured
from harness.ports import free_ports
from harness.raftmeta import RaftmetaCluster

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc
from raftmeta.transport import Peer
from raftmeta.transport.frame import BadFrame, FrameReader, encode
from raftmeta.transport.hello import MAX_HELLO, Refused, Self, judge, parse
from raftmeta.v1 import command_pb2, peer_pb2

STRANGERS = 40
FRAMES = 150
CROWD = 200
METHODS = (
    "propose", "refused", "raft.remove", "lease-renew", "lease-remaining", "member-add", "member-remove",
    "member-update", "member-promote", "member-publish", "member-transfer", "", "x" * 200,
)  # fmt: skip


class Attacked:
    """Three members, and a learner that is only a name: whoever comes as it is believed to be it.

    Attributes:
        target: The members.
        peers: HOST:PORT of their Raft ports.
        ids: Their member ids, in the same order.
        me: The learner.
    """

    def __init__(self, target: Target, peers: list[str]) -> None:
        address = f"127.0.0.1:{free_ports(1)[0]}"
        self.target = target
        self.peers = peers
        with grpc.insecure_channel(target.endpoints[0]) as channel:
            stub = rpc.ClusterStub(channel)
            added = stub.MemberAdd(pb.MemberAddRequest(peerURLs=[f"http://{address}"], isLearner=True), timeout=60)
        by_address = {member.peerURLs[0].split("//")[1]: member.ID for member in added.members}
        self.ids = [by_address[peer] for peer in peers]
        self.me = Self(added.member.ID, "impostor", added.header.cluster_id, address)
        self.term = added.header.raft_term

    def hello(self, member: int) -> bytes:
        """The greeting that is accepted by member number `member`."""
        return encode(self.me.hello(self.ids[member]))


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with RaftmetaCluster(tmp_path_factory.mktemp("raft"), 3) as running:
        yield Attacked(measured(running), running.peers)


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


async def say(address: str, *pieces: bytes) -> bool:
    """Connect and send; whether the other end closed the connection over it, or right after."""
    try:
        async with connected(address) as (reader, writer):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            async with asyncio.timeout(20):
                while await reader.read(65536):
                    pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def broken_greeting(attacked: Attacked, member: int, dice: Random) -> bytes:
    """Return a greeting with an error in it: in its frame, or in what it says."""
    whole: bytes = attacked.hello(member)
    while True:
        if dice.random() < 0.5:
            broken = mutate(whole, dice, [*POISON])
        else:
            broken = encode(mutate(whole[8:], dice, [*POISON])[:2000])
        if broken and not acceptable(attacked, member, broken):
            return broken


def acceptable(attacked: Attacked, member: int, stream: bytes) -> bool:
    """Tell whether a greeting has lost nothing that matters, such as when only the name differs."""
    reader = FrameReader(MAX_HELLO)
    reader.push(stream)
    try:
        payload = reader.next()
        if payload is None:
            return False
        here = Self(attacked.ids[member], "", attacked.me.cluster_id, "")
        judge(parse(payload), here, {attacked.me.id: Peer(attacked.me.address)}, None, None)
    except (BadFrame, Refused):
        return False
    return True


def broken_frame(frame: bytes, dice: Random) -> bytes:
    """Return a frame whose length or checksum is not that of its payload."""
    kind = dice.randrange(4)
    if kind == 0:
        place = dice.randrange(len(frame))
        return frame[:place] + bytes((frame[place] ^ 1 << dice.randrange(8),)) + frame[place + 1 :]
    if kind == 1:
        return dice.choice((0xFFFFFFFF, 8 * 1024 * 1024 + 1, 1 << 31)).to_bytes(4, "big") + frame[4:]
    if kind == 2:  # the checksum of another length
        payload = frame[8:]
        return len(payload).to_bytes(4, "big") + int(google_crc32c.value(payload)).to_bytes(4, "big") + payload
    return dice.choice(POISON)


def nonsense(attacked: Attacked, dice: Random) -> bytes:
    """Return the payload of a frame that is whole and says what no member would; never what must be believed."""
    while True:
        said = peer_pb2.PeerMessage(version=1, term=attacked.term)
        kind = dice.random()
        if kind < 0.4:
            said.call.id = dice.choice((0, 1, 2**64 - 1))
            said.call.method = dice.choice(METHODS)
            said.call.payload = command(dice) if dice.random() < 0.6 else dice.randbytes(dice.choice((0, 1, 8, 20)))
        elif kind < 0.8:
            said.MergeFromString(message(peer_pb2.PeerMessage.DESCRIPTOR, dice).SerializeToString())
            said.version = 1
            said.term = max(0, attacked.term + dice.choice((-1, 0, 0, 1)))
        payload = said.SerializeToString()
        if dice.random() < 0.4:
            payload = mutate(payload, dice, [*POISON])
        if not believable_lie(payload):
            return payload


def command(dice: Random) -> bytes:
    """Return a batch to be proposed: of senseless commands, or none at all."""
    batch = command_pb2.Batch(client=dice.getrandbits(62), sequence=dice.choice((0, 1, 2**64 - 1)))
    batch.MergeFromString(message(command_pb2.Batch.DESCRIPTOR, dice).SerializeToString())
    data = batch.SerializeToString()
    return dice.choice((mutate(data, dice), *POISON))[:100_000]


def test_only_a_whole_greeting_is_taken(attacked: Attacked) -> None:
    async def strangers(dice: Random) -> list[bool]:
        attempts = []
        for number in range(STRANGERS):
            member = number % 3
            greeting = broken_greeting(attacked, member, dice)
            attempts.append(say(attacked.peers[member], greeting, encode(nonsense(attacked, dice))))
        return await asyncio.gather(*attempts)

    for seed, dice in rounds(1, 0.05):
        assert all(asyncio.run(strangers(dice))), seed
        attacked.target.check()


def test_a_frame_that_is_not_whole_ends_its_connection(attacked: Attacked) -> None:
    async def frames(dice: Random) -> list[bool]:
        whole = encode(nonsense(attacked, dice))
        attempts = [
            say(peer, attacked.hello(member), whole, broken_frame(encode(nonsense(attacked, dice)), dice), whole * 50)
            for member, peer in enumerate(attacked.peers)
        ]
        return await asyncio.gather(*attempts)

    for seed, dice in rounds(10, 0.05):
        asyncio.run(frames(dice))
        attacked.target.check_served(str(seed))
    attacked.target.check()


def test_whole_frames_of_nonsense_change_nothing(attacked: Attacked) -> None:
    async def talk(dice: Random) -> None:
        for member, peer in enumerate(attacked.peers):
            async with connected(peer) as (reader, writer):
                writer.write(attacked.hello(member))
                async with asyncio.timeout(20):
                    assert await reader.read(65536), "the greeting was refused"
                for _ in range(FRAMES):
                    writer.write(encode(nonsense(attacked, dice)))
                    await writer.drain()

    for _, dice in rounds(2, 0.05):
        asyncio.run(talk(dice))
        attacked.target.check()


def test_a_crowd_of_silent_strangers_holds_up_nobody(attacked: Attacked) -> None:
    async def crowd() -> None:
        streams = []
        for number in range(CROWD):
            host, _, port = attacked.peers[number % 3].rpartition(":")
            streams.append(await asyncio.open_connection(host, int(port)))
        await asyncio.to_thread(attacked.target.check)
        for _, writer in streams:
            writer.close()

    asyncio.run(crowd())
    attacked.target.check()


def test_nobody_stopped_and_nothing_ended_in_a_traceback(attacked: Attacked, tmp_path: Path) -> None:
    attacked.target.check()
    for log in attacked.target.logs:
        assert "this member stops" not in log.read_text(errors="replace")
