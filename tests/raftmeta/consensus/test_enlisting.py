"""The first start of founders: who takes part when, and who is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from harness.simnet import Simulation

from raftmeta.consensus import Role, StartError
from raftmeta.consensus.codec import FormatError
from raftmeta.consensus.enlisting import RECORD, Enlisting, enlistments_needed
from raftmeta.consensus.membership import store_membership


@pytest.mark.parametrize("founders", range(1, 12))
def test_two_enlistments_share_more_members_than_may_be_lost_besides(founders: int) -> None:
    needed, others, lost = enlistments_needed(founders), founders - 1, (founders - 1) // 2
    shared = 2 * needed - others
    assert needed <= others
    assert shared > lost - 1
    if founders in (3, 5, 7):
        assert needed == {3: 2, 5: 3, 7: 5}[founders]


def _lose_a_write(sim: Simulation) -> None:
    """Write with 1 and 2 while 3 is away, then bring up 2, with an empty disk, and 3."""
    sim.elect(1)
    sim.crash(3)
    sim.put("a", "1")
    sim.crash(1)
    sim.crash(2)
    sim.wipe(2)
    sim.start(2)
    sim.start(3)


def test_a_founder_that_lost_its_disk_elects_nobody_who_lacks_what_was_acknowledged(tmp_path: Path) -> None:
    sim = Simulation(tmp_path)
    _lose_a_write(sim)
    with pytest.raises(StartError, match=r"ran before, as member 3 knows.*Remove this member"):
        sim.run(10.0)
    sim.run(10.0)
    assert sim.leader is None
    sim.start(1)
    sim.put("b", "2")
    sim.settle()
    assert sim.machines[3].store.data == {"a": "1", "b": "2"}


def test_without_enlisting_the_write_would_be_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sim = Simulation(tmp_path)
    monkeypatch.setattr(Enlisting, "enlisted", property(lambda self: True, lambda self, value: None), raising=False)
    _lose_a_write(sim)
    with pytest.raises(AssertionError, match=r"committed another entry|two leaders"):
        sim.put("b", "2")
    assert "a" not in sim.machines[3].store.data


@pytest.mark.parametrize(("founders", "up"), [(2, 1), (3, 2), (4, 2), (5, 3)])
def test_founders_begin_when_enough_of_them_are_there(tmp_path: Path, founders: int, up: int) -> None:
    sim = Simulation(tmp_path, founders)
    for number in range(up + 1, founders + 1):
        sim.crash(number)
    sim.run(5.0)
    assert sim.leader is None
    assert {core.status.role for core in sim.up} == {Role.FOLLOWER}
    assert {core.term for core in sim.up} == {0}
    sim.start(up + 1)
    sim.put("a", "1")
    for number in range(up + 2, founders + 1):
        sim.start(number)
    sim.settle()
    assert [machine.store.data for machine in sim.machines.values()] == [{"a": "1"}] * founders


def test_founders_that_are_restarted_before_they_could_begin_are_no_strangers(tmp_path: Path) -> None:
    sim = Simulation(tmp_path)
    sim.crash(3)
    for _ in range(3):
        sim.run(1.0)
        sim.restart(1)
        sim.restart(2)
    sim.start(3)
    sim.put("a", "1")
    sim.settle()
    assert sim.machines[3].store.data == {"a": "1"}


def test_a_founder_with_a_long_election_timeout_is_written_down_and_served_as_soon_as_the_others_are_there(
    tmp_path: Path,
) -> None:
    sim = Simulation(tmp_path)
    usual = sim.config
    for number in sim.machines:
        sim.crash(number)
        sim.wipe(number)
    sim.config = replace(usual, election_min=60.0, election_max=120.0)
    sim.start(3)
    sim.run(1.0)  # nobody is there to hear its first question
    sim.config = usual
    sim.start(1)
    sim.start(2)
    sim.until(lambda: sim.core(3).enlisted, 1.0)
    leader = sim.elect()
    assert leader.me != 3
    sim.until(lambda: sim.core(3).leader_id == leader.me, 1.0)
    answers = sim.read_index(3)
    sim.until(lambda: bool(answers), 1.0)
    assert isinstance(answers[0], int)


def test_members_that_lose_and_repeat_messages_begin_all_the_same(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, 5, delay=(0.001, 0.3))
    sim.loss, sim.duplicate = 0.3, 0.3
    sim.run(10.0)
    sim.loss = sim.duplicate = 0.0
    sim.put("a", "1")


def test_a_member_of_a_restored_cluster_that_lost_its_disk_is_refused(tmp_path: Path) -> None:
    sim = Simulation(tmp_path)
    for number, machine in sim.machines.items():
        sim.crash(number)
        sim.wipe(number)
        machine = sim.machines[number]
        machine.disk.base = (50, 4)
        machine.store.index, machine.store.term = 50, 4
        store_membership(machine.drawer, 7, number, 50, sim.founding)
        sim.start(number)
    sim.put("a", "1")
    sim.crash(2)
    sim.wipe(2)
    sim.start(2)
    with pytest.raises(StartError, match="ran before"):
        sim.run(5.0)


def test_a_full_disk_writes_nobody_down(tmp_path: Path) -> None:
    sim = Simulation(tmp_path, 2)

    def refuse(name: str, data: bytes) -> None:
        raise OSError(28, "no space left on device")

    drawer = sim.machines[1].drawer
    save, drawer.save = drawer.save, refuse  # type: ignore[method-assign]
    sim.run(5.0)
    assert sim.core(1).nonces.keys() == {1}
    assert not sim.core(2).enlisted
    drawer.save = save  # type: ignore[method-assign]
    sim.put("a", "1")


@pytest.mark.parametrize("record", [b"\xff", b"\x08\x02", b"\x08\x01\x10\x09"])
def test_an_enlistment_that_is_damaged_or_another_members_is_refused(tmp_path: Path, record: bytes) -> None:
    sim = Simulation(tmp_path)
    sim.crash(1)
    sim.machines[1].drawer.records[RECORD] = record
    with pytest.raises(FormatError, match="enlistment"):
        sim.start(1)
