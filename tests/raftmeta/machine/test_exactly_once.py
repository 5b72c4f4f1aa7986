"""Batches proposed again and again, to every leader there is, over faults and snapshots: each is applied at most once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from harness import simnet
from harness.machines import MAP_SIZE
from harness.simnet import CONFIG, Simulation

from raftmeta.errors import Fault
from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine import Applied, Machine, dedup
from raftmeta.store import Store
from raftmeta.v1 import command_pb2

CLIENT = 7


class Answers:
    """What the machines answered each batch.

    Attributes:
        revisions: Sequence -> revision at which the batch was applied, as every machine that knows tells it.
        unknown: Answers that say only that the batch may have been applied.
        repeated: Answers that a machine had given before.
        installed: Snapshots that replaced a machine's state.
    """

    def __init__(self) -> None:
        self.revisions: dict[int, int] = {}
        self.unknown = self.repeated = self.installed = 0
        self._given: set[tuple[int, int]] = set()

    def hear(self, number: int, applied: Applied) -> None:
        """Take in a step of machine `number`."""
        self.installed += applied.installed
        for outcome in applied.outcomes:
            (result,) = outcome.results
            if isinstance(result, Fault):
                assert result is Fault.TIMEOUT
                self.unknown += 1
            else:
                assert isinstance(result, pb.PutResponse)
                self.repeated += (number, outcome.sequence) in self._given
                self._given.add((number, outcome.sequence))
                known = self.revisions.setdefault(outcome.sequence, result.header.revision)
                assert known == result.header.revision, f"batch {outcome.sequence} was applied twice"


class Durable(Machine):
    """A machine that has made every step durable before anything else happens."""

    def crash(self, _: random.Random) -> None:
        """Go back to what is durable: to where it is."""
        assert self.durable() == self.applied()


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Machine]]:
    """Let every simulated member have a real machine; the list gets them in the order of their members."""
    made: list[Machine] = []
    with ExitStack() as stack:

        def store(lag: int) -> Machine:
            assert not lag
            disk = Store(tmp_path / f"store-{len(made)}", map_size=MAP_SIZE)
            made.append(Durable(disk))
            stack.callback(made[-1].close)
            made[-1].on_applied(lambda _: disk.checkpoint())  # in virtual time it has no other
            return made[-1]

        monkeypatch.setattr(simnet, "Store", store)
        yield made


def _batch(sequence: int) -> bytes:
    put = pb.PutRequest(key=b"%d" % sequence, value=b"v")
    return command_pb2.Batch(
        client=CLIENT, sequence=sequence, commands=[command_pb2.Command(put=put)]
    ).SerializeToString()


def _disturb(sim: Simulation, rng: random.Random) -> None:
    number = rng.choice(list(sim.machines))
    faults: list[Callable[[], object]] = [
        partial(sim.crash, number, False),
        partial(sim.partition, [number], [other for other in sim.machines if other != number]),
        sim.heal,
    ]
    if sim.machines[number].core is None:
        sim.start(number)
    else:
        rng.choice(faults)()


def _start_all(sim: Simulation) -> None:
    sim.heal()
    for number in sim.machines:
        if sim.machines[number].core is None:
            sim.start(number)


@pytest.mark.parametrize("window", [20, 10_000])
@pytest.mark.parametrize("seed", range(4))
def test_a_batch_proposed_to_every_leader_over_and_over_is_applied_at_most_once(
    tmp_path: Path, machines: list[Machine], monkeypatch: pytest.MonkeyPatch, seed: int, window: int
) -> None:
    monkeypatch.setattr(dedup, "WINDOW", window)
    rng = random.Random(seed)
    config = replace(CONFIG, snapshot_entries=15, tail_entries=2)
    sim = Simulation(tmp_path, 3, seed, config, delay=(0.001, 0.03))
    answers = Answers()
    for number, made in enumerate(machines):
        made.on_applied(partial(answers.hear, number))
    for sequence in range(1, 121):
        for again in {sequence, rng.randint(1, sequence), max(1, sequence - rng.randrange(4))}:
            for core in sim.up:
                if core.leads and rng.random() < 0.9:
                    sim.propose(core.me, _batch(again))
        sim.run(rng.choice([0.01, 0.05]))
        if rng.random() < 0.08:
            _disturb(sim, rng)
    _start_all(sim)
    leader = sim.elect()
    away = next(number for number in sim.machines if number != leader.me)
    sim.crash(away, False)
    for sequence in range(121, 181):  # more than the log keeps: who was away gets a snapshot
        sim.propose(leader.me, _batch(sequence))
        sim.run(0.05)
    _start_all(sim)
    sim.elect()
    sim.settle()
    histories = [[(kv.key, kv.mod_revision, kv.version) for kv in _all(made)] for made in machines]
    assert histories[0] == histories[1] == histories[2]
    assert {version for _, _, version in histories[0]} == {1}
    applied = {int(key): revision for key, revision, _ in histories[0]}
    assert answers.revisions.items() <= applied.items()
    assert len(applied) > 40
    assert answers.repeated > 20
    assert (answers.unknown > 0) == (window == 20)
    assert answers.installed


def _all(made: Machine) -> list[kv_pb2.KeyValue]:
    return list(made.range(0, pb.RangeRequest(key=b"\0", range_end=b"\0")).kvs)
