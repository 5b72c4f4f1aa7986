"""A state machine that finds its disk full: the member hands on, waits, and applies what it missed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.simnet import Simulation

from raftmeta.consensus.contract import NoRoom


def _fill(sim: Simulation, number: int) -> Any:
    """Make a machine's state machine refuse; returns what makes room again."""
    store = sim.machines[number].store
    apply = store.apply

    def refuse(entries: Any) -> None:
        raise NoRoom("no space left on device")

    def make_room() -> None:
        store.apply = apply  # type: ignore[method-assign]

    store.apply = refuse  # type: ignore[method-assign]
    return make_room


def test_a_leader_that_cannot_apply_hands_on_and_catches_up_when_there_is_room(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, 3)
    sim.elect(1)
    sim.put("before", "1")
    sim.settle()
    make_room = _fill(sim, 1)
    applied = sim.core(1).last_applied
    sim.propose(1, b"during=1")
    sim.run(3.0)
    assert sim.core(1).status.read_only == "no space left on device"
    assert not sim.core(1).leads
    assert sim.leader is not None
    sim.put("after", "2")
    assert sim.core(1).last_applied == applied
    make_room()
    sim.run(3.0)
    sim.settle()
    assert sim.core(1).status.read_only == ""
    assert len({tuple(machine.store.commands) for machine in sim.machines.values()}) == 1


def test_a_single_member_that_cannot_apply_refuses_writes_until_there_is_room(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, 1)
    sim.elect(1)
    make_room = _fill(sim, 1)
    sim.propose(1, b"waits=1")
    sim.run(0.2)
    refused = sim.propose(1, b"refused=1")
    sim.run(2.0)
    assert [refusal.value for refusal in refused] == ["no space"]
    make_room()
    sim.run(2.0)
    sim.put("room", "2")
    assert [command for _, command in sim.machines[1].store.commands] == [b"waits=1", b"room=2"]
