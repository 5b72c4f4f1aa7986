"""Members that are away or cannot keep a snapshot: they cost the leader nothing that grows."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from harness.simnet import CONFIG, Simulation

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
