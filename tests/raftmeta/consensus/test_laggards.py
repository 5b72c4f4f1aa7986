"""Members that are away or cannot keep a snapshot: they cost the leader nothing that grows."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from harness.simnet import CONFIG, Simulation

from raftmeta.consensus.contract import Snapshot
from raftmeta.consensus.snapshots import OUTGOING

SMALL = replace(CONFIG, snapshot_entries=20, tail_entries=5, snapshot_timeout=2.0)


def _write(sim: Simulation, count: int) -> None:
    for number in range(count):
        sim.put("k", str(number))


def test_no_snapshot_is_made_for_a_member_that_is_away_and_the_log_is_still_trimmed(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, 3, config=SMALL)
    leader = sim.elect(1)
    sim.crash(3)
    sim.run(SMALL.election_max + 0.1)
    _write(sim, 60)
    sim.run(10.0)  # many times the patience with a snapshot that does not move
    _write(sim, 60)
    sim.run(10.0)
    _write(sim, 60)
    assert (leader.source, leader.building, leader.counters.snapshots_failed) == (None, False, 0)
    assert leader.last_applied - leader.base_index <= SMALL.snapshot_entries + SMALL.tail_entries + 1
    sim.start(3)
    sim.settle()
    assert sim.core(3).counters.snapshots_installed == 1


def test_a_member_that_never_takes_its_snapshot_does_not_keep_the_log_from_being_trimmed(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, 3, config=SMALL)
    leader = sim.elect(1)
    sim.crash(3)
    _write(sim, 60)
    sim.start(3)
    install = sim.machines[3].store.install

    def refuse(directory: Path) -> None:
        raise OSError(28, "no space left on device")

    sim.machines[3].store.install = refuse  # type: ignore[method-assign]
    for _ in range(10):
        _write(sim, 30)
        sim.run(1.0)
    assert sim.core(3).counters.snapshots_failed > 1
    assert leader.last_applied - leader.base_index <= 2 * (SMALL.snapshot_entries + SMALL.tail_entries + 30)
    sim.machines[3].store.install = install  # type: ignore[method-assign]
    sim.settle()
    assert sim.core(3).counters.snapshots_installed == 1


@pytest.mark.parametrize(("number", "method"), [(3, "install"), (1, "snapshot")])
def test_a_snapshot_that_fails_is_tried_again_less_and_less_often(tmp_path: Path, number: int, method: str) -> None:
    sim = Simulation(tmp_path, 3, config=SMALL)
    leader = sim.elect(1)
    sim.crash(3)
    sim.run(SMALL.election_max + 0.1)
    _write(sim, 60)
    sim.start(3)
    store, attempts = sim.machines[number].store, []
    original = getattr(store, method)

    def refuse(directory: Path) -> None:
        attempts.append(sim.now)
        raise OSError(28, "no space left on device")

    setattr(store, method, refuse)
    sim.run(20.0)
    waits = [after - before for before, after in itertools.pairwise(attempts)]
    assert all(wait >= SMALL.election_max for wait in waits)
    assert all(wait >= SMALL.snapshot_timeout for wait in waits[2:])
    assert 5 <= len(attempts) <= 12
    assert leader.counters.snapshots_failed == len(attempts)
    assert leader.counters.snapshot_wait_seconds > 15.0
    setattr(store, method, original)
    sim.settle()
    assert sim.core(3).counters.snapshots_installed == 1
    sim.run(0.1)
    assert leader.peers[3].transfers.failures == 0


def test_a_snapshot_arrives_whole_over_a_bad_connection(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, 3, config=replace(SMALL, snapshot_chunk_bytes=50))
    sim.elect(1)
    sim.crash(3)
    sim.run(SMALL.election_max + 0.1)
    _write(sim, 60)
    sim.loss, sim.duplicate = 0.05, 0.3
    sim.start(3)
    sim.until(lambda: sim.core(3).counters.snapshots_installed == 1, 120.0)
    sim.loss = sim.duplicate = 0.0
    sim.settle()
    assert sim.machines[3].store.data == sim.machines[1].store.data


def test_a_snapshot_that_cannot_be_read_any_more_is_given_up_and_another_one_made(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, 3, config=replace(SMALL, snapshot_chunk_bytes=50))
    leader = sim.elect(1)
    sim.crash(3)
    sim.run(SMALL.election_max + 0.1)
    _write(sim, 60)
    sim.start(3)
    sim.until(lambda: any(peer.offset for peer in leader.peers.values()))
    assert leader.source is not None
    (leader.source.directory / "state.json").unlink()
    sim.settle()
    assert sim.core(3).counters.snapshots_installed == 1
    assert leader.counters.snapshots_failed == 1
    assert sim.core(1) is leader


def test_what_a_member_was_sending_when_it_was_killed_is_removed_at_its_next_start(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, 3, config=SMALL)
    sim.settle()
    sim.crash(2)
    left = sim.machines[2].drawer.directory(OUTGOING)
    (left / "data").write_bytes(b"half of it")
    sim.start(2)
    assert not left.exists()


def test_a_snapshot_that_takes_longer_to_make_than_the_log_to_grow_is_sent_all_the_same(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, 3, config=SMALL)
    leader = sim.elect(1)
    sim.crash(3)
    sim.run(SMALL.election_max + 0.1)
    _write(sim, 60)
    store = sim.machines[1].store
    snapshot = store.snapshot

    def propose(number: int) -> None:
        sim.propose(1, b"meanwhile=%d" % number)

    def with_writes_meanwhile(directory: Path) -> Snapshot:
        taken = snapshot(directory)
        for number in range(2 * SMALL.snapshot_entries):
            sim.at(0.01 * number, partial(propose, number))
        return taken

    store.snapshot = with_writes_meanwhile  # type: ignore[method-assign]
    sim.background_seconds = 0.5
    sim.start(3)
    sim.until(lambda: sim.core(3).counters.snapshots_installed > 0, 30.0)
    sim.settle()
    assert leader.counters.snapshots_sent == sim.core(3).counters.snapshots_installed
    assert sim.machines[3].store.data == store.data
