"""Broken, replayed and senseless messages reach members' Raft, from members, a learner and strangers: all go on agreeing.

What a real member really said may come again, late and often.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from random import Random

import google_crc32c
import pytest
from fuzz.budget import rounds
from fuzz.hostile import message
from fuzz.mutation import mutate
from fuzz.peers import POISON, believable_lie
from harness.simnet import Simulation

from raftmeta.consensus import RaftConfig
from raftmeta.consensus.codec import FormatError, decode
from raftmeta.consensus.core import Core
from raftmeta.v1 import peer_pb2

CONFIG = RaftConfig(
    heartbeat=0.05, election_min=0.4, election_max=0.8, snapshot_entries=40, tail_entries=5, snapshot_chunk_bytes=200
)
LEARNER, STRANGER = 9, 77
STEPS = 60
PER_STEP = 40


class Attacker:
    """Sends what it has heard, whole and broken, and what it makes up."""

    def __init__(self, simulation: Simulation, dice: Random) -> None:
        self.simulation = simulation
        self.dice = dice
        self.heard: list[tuple[int, int, bytes]] = []
        simulation.on_message = self.hear

    def hear(self, sender: int, receiver: int, frame: bytes) -> bool:
        if len(self.heard) < 3000:
            self.heard.append((sender, receiver, frame))
        else:
            self.heard[self.dice.randrange(3000)] = (sender, receiver, frame)
        return True

    def strike(self) -> None:
        """Put one frame into a member's inbox."""
        dice = self.dice
        sender, receiver, frame = dice.choice(self.heard)
        if dice.random() < 0.2:
            self.put(sender, receiver, frame)  # again, late
            return
        receiver = dice.choice([core.me for core in self.simulation.up])
        if dice.random() < 0.3:
            frame = message(peer_pb2.PeerMessage.DESCRIPTOR, dice).SerializeToString()
            if dice.random() < 0.7:
                frame = self.with_a_head(frame, receiver)
        else:
            frame = mutate(dice.choice((frame, frame, frame, *POISON)), dice, [frame])
        if believable_lie(frame):
            return
        if sender != receiver and dice.random() < 0.3:
            if self.readable(frame):
                return  # its own words come from a member, or nothing that can be read
            self.put(sender, receiver, frame)
        else:
            self.put(dice.choice((LEARNER, STRANGER)), receiver, frame)

    def with_a_head(self, frame: bytes, receiver: int) -> bytes:
        """Return a message of the version and about the term that the receiver has."""
        said = peer_pb2.PeerMessage.FromString(frame)
        said.version = 1
        said.term = max(0, self.simulation.core(receiver).term + self.dice.choice((-1, 0, 0, 0, 1, 1000)))
        return said.SerializeToString()

    def readable(self, frame: bytes) -> bool:
        try:
            decode(frame)
        except FormatError:
            return False
        return True

    def put(self, sender: int, receiver: int, frame: bytes) -> None:
        if sender in self.simulation.machines and (sender == receiver or receiver not in self.simulation.machines):
            return
        self.simulation.core(receiver).inbox.append((sender, frame))
        self.simulation.touch(receiver)


def live(simulation: Simulation, dice: Random, number: int) -> None:
    """One step of an eventful life: writes, elections, a member that was away past a trim."""
    simulation.put(f"k{number % 7}", f"{number}")
    if number % 15 == 5:
        simulation.elect(dice.choice((1, 2, 3)))
    if number % 20 == 8:
        away = dice.choice([core.me for core in simulation.up if not core.leads])
        simulation.partition({1, 2, 3} - {away}, {away})
        for extra in range(60):
            simulation.put("x", f"{number} {extra}")
        simulation.heal()
    simulation.run(dice.choice((0.01, 0.1, 0.5)))


def proposed(core: Core, simulation: Simulation) -> list[bytes]:
    return [data for _, data in simulation.machines[core.me].store.commands]


@pytest.mark.parametrize("leads", [1, 3])
def test_no_message_crashes_a_member_or_changes_what_is_agreed(tmp_path: Path, leads: int) -> None:
    for seed, dice in rounds(2, 0.05):
        simulation = Simulation(tmp_path / f"{seed}", seed=seed, config=CONFIG)
        attacker = Attacker(simulation, dice)
        leader = simulation.elect(leads)
        leader.add_member(Simulation.member(LEARNER, learner=True), lambda outcome: None)
        simulation.run(1.0)
        assert LEARNER in leader.members
        for number in range(STEPS):
            live(simulation, dice, number)
            for _ in range(PER_STEP):
                attacker.strike()
        simulation.run(2.0)
        simulation.put("last", "1")
        simulation.settle()
        refused = sum(core.counters.messages_refused for core in simulation.up)
        assert len(simulation.up) == 3, seed
        assert refused > STEPS * PER_STEP / 10, "nearly nothing that was sent was broken"
        assert all(core.counters.callback_failures == 0 for core in simulation.up), seed
        first, *others = (proposed(core, simulation) for core in simulation.up)
        assert all(other == first for other in others), seed
        assert all(data.decode().startswith(("k", "x=", "last=")) for data in first), seed
        assert all(core.term < 1 << 48 for core in simulation.up), "terms run out"


class Spoiler:
    """Changes snapshots on their way, as a disk or a network would that lies about checksums."""

    def __init__(self, simulation: Simulation, dice: Random, *, whole: bool) -> None:
        """Spoil, with `whole`, so that even the digest over everything fits what is sent: the state itself is broken."""
        self.simulation = simulation
        self.dice = dice
        self.whole = whole
        self.left = 6
        self.spoilt = 0
        simulation.on_message = self.pass_on

    def pass_on(self, sender: int, receiver: int, frame: bytes) -> bool:
        said = peer_pb2.PeerMessage.FromString(frame)
        chunk = said.snapshot_chunk
        if said.WhichOneof("body") != "snapshot_chunk" or not chunk.data or not self.left:
            return True
        self.left -= 1
        self.spoilt += 1
        if self.whole:
            size = self.dice.choice((0, 1, 50))
            chunk.data = self.dice.randbytes(size)
            del chunk.manifest.files[:]
            chunk.manifest.files.add(path="state.json", size=size)
            chunk.manifest.sha256 = hashlib.sha256(chunk.data).digest()
        elif chunk.HasField("manifest") and self.dice.random() < 0.6:
            spoil_manifest(chunk.manifest, self.dice)
        else:
            chunk.data = mutate(chunk.data, self.dice) or b"x"
        chunk.crc = google_crc32c.value(chunk.data)
        self.simulation.at(0.001, lambda: self.simulation._arrive(sender, receiver, said.SerializeToString()))
        return False


def spoil_manifest(manifest: peer_pb2.SnapshotManifest, dice: Random) -> None:
    """Make the description of a snapshot one that cannot be followed."""
    kind = dice.randrange(5)
    if kind == 0:
        paths = ("../x", "/x", "a\0b", "", ".", "a//b", "a/../../b", "x" * 300, "state.json/x", "\\\\x", "empty")
        manifest.files.add(path=dice.choice(paths), size=dice.choice((0, 1, 2**63)))
    elif kind == 1:
        manifest.files[0].size = dice.choice((0, 1, 2**64 - 1))
    elif kind == 2:
        manifest.sha256 = dice.randbytes(dice.choice((0, 32)))
    elif kind == 3:
        manifest.membership.members.add(id=0)
    else:
        del manifest.files[:]


@pytest.mark.parametrize("whole", [False, True], ids=["on its way", "before it was sent"])
def test_a_spoilt_snapshot_is_refused_and_a_good_one_taken_after_it(tmp_path: Path, whole: bool) -> None:
    for seed, dice in rounds(4, 0.03):
        simulation = Simulation(tmp_path / f"{seed}", seed=seed, config=CONFIG)
        leader = simulation.elect(1)
        spoiler = Spoiler(simulation, dice, whole=whole)
        simulation.partition({1, 2}, {3})
        for number in range(120):
            simulation.put(f"k{number}", "v" * 20)
        simulation.heal()
        simulation.until(lambda: simulation.core(3).last_applied == leader.last_index, seconds=120.0)  # noqa: B023
        assert spoiler.spoilt, seed
        assert simulation.core(3).counters.snapshots_installed == 1, seed
        assert simulation.machines[3].store.data == simulation.machines[1].store.data, seed
        assert not list(tmp_path.glob("x")), seed
        simulation.restart(3)
        simulation.put("after", "1")
        simulation.settle()


@pytest.mark.parametrize("kind", ["append", "append_reply", "vote", "vote_reply", "read_index", "timeout_now"])
@pytest.mark.parametrize("term", [2**64 - 1, 2**63, 2**40])
def test_a_term_that_nobody_can_have_reached_is_not_believed(tmp_path: Path, kind: str, term: int) -> None:
    simulation = Simulation(tmp_path, config=CONFIG)
    simulation.elect()
    said = peer_pb2.PeerMessage(version=1, term=term)
    getattr(said, kind).SetInParent()
    for core in simulation.up:
        core.inbox.append((core.me % 3 + 1, said.SerializeToString()))
    simulation.run(5.0)
    simulation.put("a", "1")
    assert all(core.term < 100 for core in simulation.up)
