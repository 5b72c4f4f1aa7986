"""The power of every member fails at once, under load: what was acknowledged is there afterwards, the same everywhere."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from faults.disk.members import Load, Members, everything, hashes, missing, unstarted, until

KEEP = ("--snapshot-entries", "60")
"""Trims often, so that the power also fails while the log is trimmed."""


TRIMS = "raftmeta_raft_trims_total"


def check(members: Members, load: Load) -> None:
    found = everything(members.endpoints[0])
    assert missing(load.acknowledged, found) == []
    assert len(hashes(members.endpoints)) == 1


@pytest.mark.parametrize(("size", "seed"), [(1, None), (1, 11), (3, None), (3, 12)])
def test_no_acknowledged_write_is_lost_when_the_power_fails_under_load(
    tmp_path: Path, size: int, seed: int | None
) -> None:
    dice = random.Random(seed)
    members = Members(tmp_path, size, *KEEP)
    load = Load(members.endpoints)
    with members:
        for _ in range(2):
            with load:
                load.grows(dice.randint(50, 250))
                members.power_cut(None if seed is None else dice.getrandbits(32))
            members.launch_all()
            for member in range(size):
                members.wait(member)
            check(members, load)
    assert load.acknowledged


def test_every_member_may_be_without_power_while_its_neighbour_is_not(tmp_path: Path) -> None:
    members = Members(tmp_path, 3, *KEEP)
    load = Load(members.endpoints)
    with members:
        with load:
            for victim, disk in enumerate(members.disks):
                load.grows(30)
                members.kill(victim)
                disk.lose_power(victim)
                members.start(victim)
        for endpoint in members.endpoints:
            assert missing(load.acknowledged, everything(endpoint)) == []
        assert len(hashes(members.endpoints)) == 1


@pytest.mark.parametrize(("at", "seed"), [(3, None), (8, 1), (14, None), (17, 3)])
def test_the_power_may_fail_at_any_sync_of_the_first_start(tmp_path: Path, at: int, seed: int | None) -> None:
    members = Members(tmp_path, 1)
    load = Load(members.endpoints, clients=1)
    with unstarted(members):
        members.disks[0].kill_at_sync(at)
        with load:
            members.launch(0)
            members.ended(0)
        members.disks[0].lose_power(seed)
        members.disks[0].heal()
        members.start(0)
        with load:
            load.grows(1)
        check(members, load)


@pytest.mark.parametrize(("at", "seed"), [(6, None), (24, 31)])
def test_the_power_may_fail_while_a_cluster_is_founded(tmp_path: Path, at: int, seed: int | None) -> None:
    members = Members(tmp_path, 3)
    load = Load(members.endpoints, clients=3)
    with unstarted(members):
        members.disks[0].kill_at_sync(at)
        members.launch_all()
        with load:
            members.ended(0)
            members.launch(0)  # for power_cut to find it
            members.power_cut(seed)
        members.disks[0].heal()
        members.launch_all()
        for member in range(3):
            members.wait(member)
        with load:
            load.grows(1)
        check(members, load)


@pytest.mark.parametrize(("at", "seed"), [(9, 41), (14, None), (17, 42)])
def test_the_power_may_fail_while_a_snapshot_is_installed(tmp_path: Path, at: int, seed: int | None) -> None:
    members = Members(tmp_path, 3, "--snapshot-entries", "20")
    load = Load(members.endpoints[:2], clients=2)
    with members:
        with load:
            load.grows(10)
            members.kill(2)
            before = [members.metric(member, TRIMS) for member in (0, 1)]
            until(lambda: all(members.metric(member, TRIMS) >= before[member] + 3 for member in (0, 1)), "three trims")
        members.disks[2].kill_at_sync(at)
        members.launch(2)
        members.ended(2)
        members.disks[2].lose_power(seed)
        members.disks[2].heal()
        members.start(2)
        check(members, load)
        assert missing(load.acknowledged, everything(members.endpoints[2])) == []
        assert (
            members.data_dir(2) / "store" / "CURRENT"
        ).read_text() != "state-1\n"  # a snapshot is a state of its own
