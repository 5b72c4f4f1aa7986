"""A member that is removed from its cluster ends and says why: one that runs, one that was down, and one that is started again."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from harness.raftmeta import RaftmetaCluster

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc

pytestmark = pytest.mark.slow
PATIENCE = 60.0
SAID = "raftmeta: this member was removed from the cluster; to have it back, remove "


def _published(cluster: RaftmetaCluster) -> None:
    """Wait until every member has begun and knows where the others take calls: a founder that has not needs the others."""
    deadline = time.monotonic() + PATIENCE
    for member in range(len(cluster.names)):
        with grpc.insecure_channel(cluster.endpoints[member]) as channel:
            while not all(one.clientURLs for one in _members(channel).values()):
                assert time.monotonic() < deadline, "the members do not know each other"
                time.sleep(0.05)


def _members(channel: grpc.Channel) -> dict[str, pb.Member]:
    """Name -> member; waits for a leader that confirms it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            request = pb.MemberListRequest(linearizable=True)
            return {one.name: one for one in rpc.ClusterStub(channel).MemberList(request, timeout=5).members}
        except grpc.RpcError:
            if time.monotonic() > deadline:
                raise


def _remove(cluster: RaftmetaCluster, victim: int, asked: int) -> None:
    """Remove a member, asking another one, as often as it takes: there may be an election."""
    name, deadline = cluster.names[victim], time.monotonic() + PATIENCE
    with grpc.insecure_channel(cluster.endpoints[asked]) as channel:
        while (found := _members(channel).get(name)) is not None:
            assert time.monotonic() < deadline, f"{name} is not removed"
            with contextlib.suppress(grpc.RpcError):
                rpc.ClusterStub(channel).MemberRemove(pb.MemberRemoveRequest(ID=found.ID), timeout=15)


def _leader(cluster: RaftmetaCluster, asked: int) -> int:
    with grpc.insecure_channel(cluster.endpoints[asked]) as channel:
        ids = {one.ID: name for name, one in _members(channel).items()}
        leader = rpc.MaintenanceStub(channel).Status(pb.StatusRequest(), timeout=PATIENCE).leader
    return cluster.names.index(ids[leader])


def _write(cluster: RaftmetaCluster, member: int) -> None:
    with grpc.insecure_channel(cluster.endpoints[member]) as channel:
        _members(channel)
        rpc.KVStub(channel).Put(pb.PutRequest(key=b"k"), timeout=PATIENCE)


def test_removed_members_end_and_say_so_and_a_survivor_goes_on(tmp_path: Path) -> None:
    with RaftmetaCluster(tmp_path, 3) as cluster:
        _published(cluster)
        cluster.kill(2)
        _remove(cluster, 2, asked=0)
        cluster.start(2)  # it was down, and learns it from the others
        assert cluster.ended(2) == 1
        assert SAID + str(cluster.data_dir(2)) in cluster.log(2).read_text()

        leader = _leader(cluster, 0)
        survivor = 1 - leader
        _remove(cluster, leader, asked=survivor)
        assert cluster.ended(leader) == 1
        assert cluster.log(leader).read_text().count(SAID) == 1
        cluster.launch(leader)  # it knows it by now
        assert cluster.ended(leader) == 1
        assert cluster.log(leader).read_text().count(SAID) == 2
        _write(cluster, survivor)

        # as a cluster of its own it may go on
        command = [sys.executable, "-m", "raftmeta", "force-new-cluster", "--data-dir", str(cluster.data_dir(leader))]
        subprocess.run(command, check=True, timeout=PATIENCE, stdout=subprocess.DEVNULL)
        cluster.start(leader)
        _write(cluster, leader)
