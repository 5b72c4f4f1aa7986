"""How the core paces itself: rounds that proposals share, steps of a bounded size, a disk that is slow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from harness.simnet import CONFIG, Simulation

from raftmeta.consensus.applying import STEP_ENTRIES
from raftmeta.consensus.codec import decode
from raftmeta.v1 import peer_pb2


def appends_of(sim: Simulation, leader: int, follower: int) -> list[peer_pb2.Append]:
    """Record what the leader sends the follower from now on, heartbeats left out."""
    seen: list[peer_pb2.Append] = []

    def note(sender: int, receiver: int, frame: bytes) -> bool:
        message = decode(frame)
        if (sender, receiver) == (leader, follower) and message.HasField("append") and message.append.entries:
            seen.append(message.append)
        return True

    sim.on_message = note
    return seen


def test_proposals_wait_for_those_on_their_way_and_leave_with_the_new_commit_index(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, config=replace(CONFIG, hold=10.0))
    leader = sim.elect(1)
    sim.settle()
    seen = appends_of(sim, 1, 2)
    sim.propose(1, b"a=1")
    sim.run(0.0005)
    first = leader.last_index
    for number in range(20):
        sim.propose(1, b"k%d=v" % number)
    sim.run(0.0005)
    assert leader.last_index == first
    sim.until(lambda: leader.commit == first + 20)
    assert [(append.prev_index + 1, len(append.entries)) for append in seen] == [(first, 1), (first + 1, 20)]
    assert seen[1].commit == first


def test_proposals_do_not_wait_for_long_when_nothing_is_committed(tmp_path: Path) -> None:
    sim = Simulation(tmp_path)
    leader = sim.elect(1)
    sim.settle()
    sim.partition([1], [2, 3])
    sim.propose(1, b"a=1")
    sim.run(0.001)
    first = leader.last_index
    refusals = sim.propose(1, b"b=2")
    sim.run(0.001)
    assert leader.last_index == first
    sim.until(lambda: leader.last_index == first + 1, CONFIG.election_min)
    assert refusals == []
    assert leader.leads


def test_a_member_that_stops_leading_refuses_what_it_held_back(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, config=replace(CONFIG, hold=10.0))
    sim.elect(1)
    sim.settle()
    sim.partition([1], [2, 3])
    sim.propose(1, b"a=1")
    sim.run(0.001)
    refusals = sim.propose(1, b"b=2")
    sim.until(lambda: bool(refusals))
    assert not sim.core(1).leads
    sim.heal()
    sim.settle()
    assert "b" not in sim.machines[1].store.data


def test_a_turn_applies_a_bounded_part_of_what_waits_and_the_next_ones_the_rest(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, 1)
    core = sim.elect()
    sim.run(0.1)
    before = core.last_applied
    for number in range(2 * STEP_ENTRIES + 1):
        sim.propose(1, b"k%d=v" % number)
    steps: list[int] = []
    while not steps or steps[-1] < 2 * STEP_ENTRIES + 1:
        core.turn()
        steps.append(core.last_applied - before)
        assert core.busy == (steps[-1] < 2 * STEP_ENTRIES + 1)
    assert steps == [STEP_ENTRIES, 2 * STEP_ENTRIES, 2 * STEP_ENTRIES + 1]


def test_a_slow_disk_costs_a_leader_neither_its_leadership_nor_a_write(tmp_path: Path) -> None:
    sim = Simulation(tmp_path)
    leader = sim.elect(1)
    sim.settle()
    sim.machines[1].sync_seconds = 2 * CONFIG.election_max
    for number in range(5):
        sim.put(f"k{number}", "v")
    sim.settle()
    assert (leader.leads, leader.term) == (True, sim.core(2).term)
    assert [len(machine.store.data) for machine in sim.machines.values()] == [5, 5, 5]


def test_a_disk_that_hangs_costs_a_leader_its_leadership_and_what_others_wrote_meanwhile_stays(tmp_path: Path) -> None:
    sim = Simulation(tmp_path)
    sim.elect(1)
    sim.settle()
    sim.machines[1].sync_seconds = 60.0
    sim.propose(1, b"a=1")
    sim.until(lambda: sim.core(2).leads or sim.core(3).leads, 6 * CONFIG.election_max)
    sim.put("b", "2")
    sim.machines[1].sync_seconds = 0.0
    sim.run(61.0)
    sim.settle()
    assert [machine.store.data.get("b") for machine in sim.machines.values()] == ["2", "2", "2"]


@pytest.mark.parametrize("slow", [1, 2])
def test_nothing_is_confirmed_or_committed_by_an_entry_that_a_slow_disk_does_not_have(
    tmp_path: Path, slow: int
) -> None:
    sim = Simulation(tmp_path)
    leader = sim.elect(1)
    sim.settle()
    sim.crash(3)
    sim.machines[slow].sync_seconds = 0.3
    before = leader.commit
    sim.propose(1, b"a=1")
    sim.run(0.25)
    assert [core.commit for core in sim.up] == [before, before]
    sim.crash(slow)
    sim.machines[slow].sync_seconds = 0.0
    sim.restart(slow)
    sim.start(3)
    sim.put("b", "2")
    sim.settle()
    assert len({tuple(machine.store.commands) for machine in sim.machines.values()}) == 1


def test_proposals_that_shared_a_round_are_waited_for_after_its_commit_and_share_the_next(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, config=replace(CONFIG, gather=10.0))
    leader = sim.elect(1)
    sim.settle()
    sim.propose(1, b"a=1")
    sim.propose(1, b"b=1")
    sim.until(lambda: "b" in sim.machines[1].store.data)
    seen = appends_of(sim, 1, 2)
    before = leader.last_index
    for number in range(3):
        sim.run(0.1)
        assert leader.last_index == before
        sim.propose(1, b"k%d=v" % number)
    sim.until(lambda: leader.commit == before + 3)
    assert [len(append.entries) for append in seen] == [3]


def test_other_members_proposals_are_not_waited_for_longer_than_configured(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, config=replace(CONFIG, gather=0.1))
    leader = sim.elect(1)
    sim.settle()
    sim.propose(1, b"a=1")
    sim.propose(1, b"b=1")
    sim.until(lambda: "b" in sim.machines[1].store.data)
    before = leader.last_index
    sim.propose(1, b"c=1")
    sim.run(0.01)
    assert leader.last_index == before
    sim.until(lambda: sim.machines[1].store.data.get("c") == "1", 0.5)


def test_somebody_who_writes_alone_waits_for_nobody(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, config=replace(CONFIG, gather=10.0, hold=10.0))
    leader = sim.elect(1)
    sim.settle()
    for number in range(20):
        sim.propose(1, b"k%d=v" % number)
        sim.until(lambda wanted=number + 1: len(sim.machines[1].store.data) == wanted, 0.02)  # type: ignore[misc]
    assert leader.leads
