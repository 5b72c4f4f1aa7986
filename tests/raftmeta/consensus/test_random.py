"""Random faults: whatever the network and the machines do, nothing acknowledged is lost and reads are linearizable."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from harness.memlog import MemoryLog
from harness.simnet import CONFIG, Simulation, Store

from raftmeta.consensus import Refusal, SafetyError, StartError
from raftmeta.consensus.core import Core
from raftmeta.consensus.elections import Elections
from raftmeta.consensus.engine import FOLLOWER
from raftmeta.consensus.following import Following
from raftmeta.consensus.peer import Peer
from raftmeta.consensus.reads import Reads
from raftmeta.v1 import peer_pb2
from raftmeta.wal import HardState

SEEDS = range(24)


class Clients:
    """Writers and readers that remember what they were told.

    A write is acknowledged when the node it was proposed on applied it; a read's answer is good when the state it
    waits for holds every write acknowledged before it was asked.
    """

    def __init__(self, sim: Simulation, rng: random.Random) -> None:
        self.sim, self.rng = sim, rng
        self.number = 0
        self.open: list[tuple[int, bytes, int]] = []  # (node, command, commands applied there when proposed)
        self.acknowledged: list[bytes] = []
        self.reads: list[tuple[int, list[int | Refusal]]] = []  # (highest acknowledged index when asked, answer)
        self.answered = 0
        self.index_of: dict[bytes, int] = {}

    def step(self) -> None:
        """Notice what was acknowledged, then write or read somewhere."""
        self.collect()
        up = [core.me for core in self.sim.up]
        if not up:
            return
        node = self.rng.choice(up)
        if self.rng.random() < 0.7:
            leaders = [core.me for core in self.sim.up if core.leads]
            node = self.rng.choice(leaders or up)  # every leader, those that are none any more included
            self.number += 1
            command = b"k%d=%d" % (self.number % 7, self.number)
            self.open.append((node, command, len(self.sim.machines[node].store.commands)))
            self.sim.propose(node, command)
        else:
            highest = max((self.index_of[command] for command in self.acknowledged), default=0)
            self.reads.append((highest, self.sim.read_index(node)))

    def collect(self) -> None:
        """Look which open writes their nodes have applied, and check the reads that were answered."""
        still = []
        for node, command, since in self.open:
            machine = self.sim.machines[node]
            found = [index for index, data in machine.store.commands[max(0, since - 50) :] if data == command]
            if machine.core is not None and found:
                self.acknowledged.append(command)
                self.index_of[command] = found[0]
            else:
                still.append((node, command, since))
        self.open = still[-200:]
        for highest, answers in self.reads:
            for answer in answers:
                if not isinstance(answer, Refusal):
                    self.answered += 1
                    assert answer >= highest, f"a read missed an acknowledged write at {highest}: {self.sim!r}"
        self.reads = [(highest, answers) for highest, answers in self.reads if not answers]

    def check(self) -> None:
        """Nothing acknowledged is lost, everybody has the same, and no proposal was applied twice."""
        members = self.sim.elect().members
        histories = [self.sim.machines[number].store.commands for number in members]
        assert all(history == histories[0] for history in histories), f"states differ: {self.sim!r}"
        applied = [data for _, data in histories[0] if not data.startswith(b"last=")]
        assert len(applied) == len(set(applied)), f"applied twice: {self.sim!r}"
        lost = set(self.acknowledged) - set(applied)
        assert not lost, f"lost {len(lost)} acknowledged writes: {self.sim!r}"


def disturb(sim: Simulation, rng: random.Random, faults: int) -> None:
    """Do something bad, or make something good again."""
    number = rng.choice(list(sim.machines))
    machine = sim.machines[number]
    fault = rng.randrange(faults)
    if fault == 0 and machine.core is not None:
        sim.crash(number, power=rng.random() < 0.7)
    elif fault in (1, 2) and machine.core is None:
        sim.start(number)
    elif fault == 3:
        sim.partition([number], [n for n in sim.machines if n != number])
    elif fault == 4:
        others = [n for n in sim.machines if n != number]
        sim.cut.add((number, rng.choice(others)))  # one way only
    elif fault in (5, 6):
        sim.heal()
    elif fault == 7:
        sim.loss = rng.choice([0.0, 0.0, 0.05, 0.2])
        sim.duplicate = rng.choice([0.0, 0.1])
    elif fault == 8 and sim.leader is not None:
        leader = sim.leader
        leader.later(lambda: leader.begin_transfer(0, lambda outcome: None))
    elif fault == 9:
        machine.slow = rng.choice([0.0, 0.0, 0.03, 0.3])
    elif fault >= 10 and sim.leader is not None:
        change_members(sim, rng, sim.leader)


def change_members(sim: Simulation, rng: random.Random, leader: Core) -> None:
    """Add a voter or a learner, promote one, or remove somebody while three are left."""
    learners = [member.id for member in leader.members.values() if member.learner]
    change = rng.randrange(3)
    if change == 0 and len(sim.machines) < 7:
        number = len(sim.machines) + 1
        sim.add_machine(number)
        leader.later(lambda: leader.add_member(sim.member(number, rng.random() < 0.5), lambda outcome: None))
    elif change == 1 and learners:
        leader.later(lambda: leader.promote_member(learners[0], lambda outcome: None))
    elif change == 2 and len(leader.members) > 3:
        number = rng.choice(list(leader.members))
        leader.later(lambda: leader.remove_member(number, lambda outcome: None))


@pytest.mark.parametrize("seed", SEEDS)
def test_faults_lose_nothing_acknowledged_and_reads_see_every_acknowledged_write(tmp_path: Path, seed: int) -> None:
    play(tmp_path, seed, faults=12)


def play(tmp_path: Path, seed: int, faults: int) -> None:
    """Run one history; the last two of the 12 faults are changes of the membership."""
    rng = random.Random(seed)
    config = replace(CONFIG, snapshot_entries=rng.choice([10, 1000]), tail_entries=rng.choice([0, 5]))
    delay = (0.001, rng.choice([0.001, 0.03, 0.2]))
    sim = Simulation(tmp_path, rng.choice([3, 3, 5]), seed, config, delay, lag=(0, 0, 1, 50)[seed % 4])
    clients = Clients(sim, rng)
    for _ in range(400):
        sim.run(rng.choice([0.002, 0.02, 0.1]))
        clients.step()
        if rng.random() < 0.08:
            disturb(sim, rng, faults)
    recover(sim)
    clients.collect()
    clients.check()


def recover(sim: Simulation) -> None:
    """End all faults and wait until everybody agrees."""
    sim.heal()
    sim.loss = sim.duplicate = 0.0
    for number, machine in sim.machines.items():
        machine.slow = 0.0
        if machine.core is None:
            sim.start(number)
    sim.until(lambda: sim.leader is not None and sim.leader.committed_in_term, 60)
    sim.put("last", "write")
    sim.settle()


@pytest.mark.parametrize(
    "bug", ["not durable", "truncates", "commits unseen", "reads alone", "votes twice", "trims early"]
)
def test_the_checks_catch_a_member_with_a_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bug: str) -> None:
    BUGS[bug](monkeypatch)
    caught = []
    for seed in range(60):
        try:
            play(tmp_path / str(seed), seed, faults=10)
        except (AssertionError, SafetyError, StartError, LookupError, ValueError) as error:
            caught.append(str(error))
            break
    assert caught, f"60 seeds did not notice a member that {bug}"


def _forgets(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryLog, "sync", lambda self: self.last_index)
    patch.setattr(MemoryLog, "durable_index", property(lambda self: self.last_index))


def _truncates(patch: pytest.MonkeyPatch) -> None:
    stock = Following._store

    def store(self: Following, peer: Peer, append: peer_pb2.Append) -> None:
        if self.base_index <= append.prev_index < self.last_index:
            self.roll_back_memberships(append.prev_index + 1)
            self.log.truncate_from(append.prev_index + 1)
        stock(self, peer, append)

    patch.setattr(Following, "_store", store)


def _commits(patch: pytest.MonkeyPatch) -> None:
    stock = Following.on_append

    def on_append(self: Following, peer: Peer, append: peer_pb2.Append) -> None:
        self.commit = max(self.commit, min(append.commit, self.last_index))
        stock(self, peer, append)

    patch.setattr(Following, "on_append", on_append)


def _reads(patch: pytest.MonkeyPatch) -> None:
    def confirm(self: Reads) -> bool:
        assert self.on_way is not None
        self._answer(self.on_way, self.on_way.index)
        return True

    patch.setattr(Reads, "_confirm", confirm)


def _votes(patch: pytest.MonkeyPatch) -> None:
    stock = Elections.on_vote

    def on_vote(self: Elections, peer: Peer, term: int, vote: peer_pb2.Vote) -> None:
        if term == self.term and self.role == FOLLOWER:
            self.voted_for = None
        stock(self, peer, term, vote)

    patch.setattr(Elections, "on_vote", on_vote)
    patch.setattr(Elections, "hears_leader", property(lambda self: False))
    patch.setattr(MemoryLog, "save_hard_state", _save_any_vote)


def _save_any_vote(log: MemoryLog, term: int, voted_for: int) -> None:
    log.disk.hard = HardState(term, voted_for)


def _trims(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Store, "durable", Store.applied)


BUGS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "not durable": _forgets,
    "truncates": _truncates,
    "commits unseen": _commits,
    "reads alone": _reads,
    "votes twice": _votes,
    "trims early": _trims,
}
