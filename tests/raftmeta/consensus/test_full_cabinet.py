"""A disk that is full for the small records too: nothing half done goes on, and what can wait does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from harness.simnet import CONFIG, Simulation

from raftmeta.consensus import SafetyError
from raftmeta.consensus.membership import INSTALLING, RECORD

SMALL = replace(CONFIG, snapshot_entries=20, tail_entries=5)


def _write(sim: Simulation, count: int) -> None:
    for number in range(count):
        sim.put("k", str(number))


def _fill(sim: Simulation, number: int, names: set[str]) -> Callable[[], None]:
    """Make a machine's cabinet refuse these records; returns what makes room again."""
    drawer = sim.machines[number].drawer
    save = drawer.save

    def refuse(name: str, data: bytes) -> None:
        if name in names and (name != INSTALLING or data):
            raise OSError(28, "no space left on device")
        save(name, data)

    def make_room() -> None:
        drawer.save = save  # type: ignore[method-assign]

    drawer.save = refuse  # type: ignore[method-assign]
    return make_room


def test_a_trim_that_finds_no_space_waits_and_the_member_goes_on(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, 3, config=SMALL)
    leader = sim.elect(1)
    make_room = _fill(sim, 1, {RECORD})
    _write(sim, 60)
    assert (leader.base_index, leader.leads) == (0, True)
    make_room()
    _write(sim, 1)
    assert leader.base_index > 0


@pytest.mark.parametrize("record", [RECORD, INSTALLING])
def test_an_installation_that_finds_no_space_is_refused_before_the_state_is_replaced_and_stops_the_member_after(
    tmp_path: Path, record: str
) -> None:
    sim = Simulation(tmp_path, 3, config=SMALL)
    sim.elect(1)
    sim.crash(3)
    before = sim.machines[3].store.applied()[0]
    _write(sim, 60)
    make_room = _fill(sim, 3, {record})
    sim.start(3)
    store = sim.machines[3].store
    if record == INSTALLING:
        sim.until(lambda: sim.core(3).counters.snapshots_failed > 1)
        assert store.applied()[0] == sim.core(3).last_applied == before
    else:
        with pytest.raises(SafetyError, match="no space"):
            sim.run(5.0)
        assert store.applied()[0] > before
    make_room()
    sim.restart(3)
    sim.put("k", "last")
    sim.settle()
    assert store.commands == sim.machines[1].store.commands
