"""Disks that fail, fill up and crawl, and clocks that jump, below real members: nothing acknowledged is lost or wrong."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from faults.disk.members import PATIENCE, Load, Members, everything, hashes, missing, until

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc


@pytest.mark.parametrize(("where", "power"), [("/raft/wal/", False), ("/raft/wal/", True), ("/store/", True)])
def test_a_member_whose_disk_fails_a_sync_stops_and_has_everything_acknowledged_afterwards(
    tmp_path: Path, where: str, power: bool
) -> None:
    members = Members(tmp_path, 1)
    load, [disk] = Load(members.endpoints), members.disks
    with members:
        with load:
            load.grows(50)
            disk.fail_sync(errno.EIO, only=where)
            assert members.ended(0) == 1
        assert disk.counts()["syncs_failed"] > 0
        assert "Input/output error" in members.said(0)
        disk.heal()
        if power:
            disk.lose_power()
        members.start(0)
        assert missing(load.acknowledged, everything(members.endpoints[0])) == []


@contextmanager
def trouble_below_the_leader(directory: Path) -> Iterator[tuple[Members, Load, int]]:
    """Three members, a load on them, and the number of the leader, whose disk is for the caller to break and to heal.

    Afterwards the cluster goes on and nothing acknowledged is missing where the trouble was.
    """
    members = Members(directory, 3)
    load = Load(members.endpoints)
    with members:
        leader = members.leader()
        with load:
            load.grows(20)
            yield members, load, leader
            load.grows(20)
        assert missing(load.acknowledged, everything(members.endpoints[leader])) == []
        assert len(hashes(members.endpoints)) == 1


def test_a_cluster_goes_on_when_its_leaders_disk_fails_and_takes_it_back(tmp_path: Path) -> None:
    with trouble_below_the_leader(tmp_path) as (members, load, victim):
        members.disks[victim].fail_sync(errno.EIO)
        assert members.ended(victim) == 1
        load.grows(20)
        members.disks[victim].heal()
        members.start(victim)


def test_a_disk_that_crawled_has_lost_nothing_and_the_cluster_goes_on(tmp_path: Path) -> None:
    with trouble_below_the_leader(tmp_path) as (members, _, slow):
        members.disks[slow].slow_sync(1.0)  # longer than an election takes
        until(lambda: members.disks[slow].counts()["syncs_delayed"] > 2, "a slow sync")
        members.disks[slow].heal()


@pytest.mark.parametrize(("room", "seed"), [(0, None), (150_000, 5)])
def test_a_full_disk_makes_a_member_read_only_until_there_is_room(tmp_path: Path, room: int, seed: int | None) -> None:
    members = Members(tmp_path, 1)
    load, [disk] = Load(members.endpoints, size=2000), members.disks
    with members:
        with load:
            load.grows(20)
            disk.full(room)
            until(lambda: disk.counts()["writes_refused"] > 0 and load.refused > 5, "a refusal")
        full = dict(load.acknowledged)
        assert missing(full, everything(members.endpoints[0], serializable=True)) == []
        disk.heal()
        with load:
            load.grows(20)
            members.power_cut(seed)
        members.start(0)
        assert missing(load.acknowledged, everything(members.endpoints[0])) == []


@pytest.mark.parametrize("hours", [1, -1])
def test_a_jump_of_the_wall_clock_neither_ends_a_lease_nor_keeps_one(tmp_path: Path, hours: int) -> None:
    members = Members(tmp_path, 1)
    with members:
        with grpc.insecure_channel(members.endpoints[0]) as channel:
            kv, leases = rpc.KVStub(channel), rpc.LeaseStub(channel)
            for lease, ttl in ((1, 1800), (2, 5)):
                leases.LeaseGrant(pb.LeaseGrantRequest(ID=lease, TTL=ttl), timeout=PATIENCE)
                kv.Put(pb.PutRequest(key=b"%d" % lease, value=b"v", lease=lease), timeout=PATIENCE)
            members.disks[0].clock_jump(hours * 3600)
            until(lambda: b"2" not in everything(members.endpoints[0]), "the end of the short lease")
            left = leases.LeaseTimeToLive(pb.LeaseTimeToLiveRequest(ID=1), timeout=PATIENCE)
            assert (left.TTL > 0, set(everything(members.endpoints[0]))) == (True, {b"1"})
        members.kill(0)
        members.start(0)  # starting reads the wall clock, serving need not
        assert members.disks[0].counts()["clock_reads_shifted"] > 0
        assert set(everything(members.endpoints[0])) == {b"1"}
