"""The cluster as told by real members: three in this process."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from harness.failures import fails
from harness.ports import free_ports
from harness.served import served
from harness.stores import start_nodes
from quartet.cluster.storage.v1 import storage_pb2
from quartet.cluster.v1 import cluster_pb2 as pb
from quartet.cluster.v1 import cluster_pb2_grpc
from quartet_server.cluster.presence import Presence
from quartet_server.cluster.service import ClusterService

from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.cluster.v1.cluster_pb2_grpc import ClusterServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")
_numbers = itertools.count(1_000_000)


def now() -> Timestamp:
    """A clock that moves with every look."""
    return Timestamp(seconds=next(_numbers))


@pytest_asyncio.fixture(loop_scope="session")
async def stubs(tmp_path: Path) -> AsyncIterator[list[ClusterServiceAsyncStub]]:
    """A stub of each of three nodes."""
    async with AsyncExitStack() as stack:
        nodes = await start_nodes(tmp_path, 3)
        for node in nodes:
            stack.push_async_callback(node.stop)
        found: list[ClusterServiceAsyncStub] = []
        for i, node in enumerate(nodes):
            store = node.metastore(1)
            record = storage_pb2.NodeRecord(name=f"n{i}", version="1", start_time=now())
            presence = Presence(store, node.status().member_id, record)
            presence.start()
            address = await stack.enter_async_context(served([ClusterService(store, node, presence, now, f"n{i}")]))
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
            found.append(cluster_pb2_grpc.ClusterServiceStub(channel))
        yield found


async def settled(stub: ClusterServiceAsyncStub, alive: int = 3) -> pb.Topology:
    """The topology once so many nodes are alive and have said where they are reached."""
    async with asyncio.timeout(30):
        async for topology in stub.WatchTopology(pb.WatchTopologyRequest()):
            reachable = [node for node in topology.nodes if node.alive and node.client_address]
            if len(reachable) == alive and topology.leader_id:
                return topology
    raise AssertionError


async def test_nodes_tell_the_same_of_each_other(stubs: list[ClusterServiceAsyncStub]) -> None:
    for stub in stubs:
        topology = await settled(stub)
        assert [node.name for node in topology.nodes] == ["n0", "n1", "n2"]
        assert [node.version for node in topology.nodes] == ["1"] * 3
        leaders = [node.id for node in topology.nodes if node.role == pb.NODE_ROLE_LEADER]
        assert leaders == [topology.leader_id]
        status = await stub.GetStatus(pb.GetStatusRequest())
        assert status.id in [node.id for node in topology.nodes]
        assert status.leader_id == topology.leader_id
        assert status.revision > 0
        serializable = await stub.GetTopology(pb.GetTopologyRequest(serializable=True))
        assert serializable.nodes == topology.nodes


async def test_leadership_goes_to_the_node_that_is_named_whoever_is_asked(stubs: list[ClusterServiceAsyncStub]) -> None:
    for stub, name in zip(stubs, ("n2", "n0", "n1"), strict=True):
        topology = await settled(stub)
        target = next(node.id for node in topology.nodes if node.name == name)
        if target == topology.leader_id:
            continue
        done = await stub.TransferLeadership(pb.TransferLeadershipRequest(node=name))
        assert done.leader_id == target
    with fails(grpc.StatusCode.NOT_FOUND, "NODE_NOT_FOUND"):
        await stubs[0].TransferLeadership(pb.TransferLeadershipRequest(node="n9"))


async def test_a_token_lets_one_node_in_once(stubs: list[ClusterServiceAsyncStub]) -> None:
    await settled(stubs[0])
    token = (await stubs[1].CreateJoinToken(pb.CreateJoinTokenRequest())).token
    address = f"127.0.0.1:{free_ports(1)[0]}"
    bad = pb.JoinRequest(token="guessed", name="n3", peer_address=address, learner=True)
    with fails(grpc.StatusCode.PERMISSION_DENIED, "JOIN_TOKEN_INVALID"):
        await stubs[0].Join(bad)
    with fails(grpc.StatusCode.ALREADY_EXISTS, "NODE_EXISTS"):
        await stubs[0].Join(pb.JoinRequest(token=token, name="n1", peer_address=address))
    for nowhere in ("nowhere", "127.0.0.1:0", "127.0.0.1:99999", "h" * 300 + ":1"):
        with fails(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
            await stubs[0].Join(pb.JoinRequest(token=token, name="n3", peer_address=nowhere))
    joined = await stubs[2].Join(pb.JoinRequest(token=token, name="n3", peer_address=address, learner=True))
    assert [(node.name, node.role) for node in joined.nodes if node.id == joined.id] == [("n3", pb.NODE_ROLE_LEARNER)]
    with fails(grpc.StatusCode.PERMISSION_DENIED, "JOIN_TOKEN_INVALID"):
        await stubs[0].Join(pb.JoinRequest(token=token, name="n4", peer_address="127.0.0.1:1", learner=True))
    await stubs[0].Leave(pb.LeaveRequest(node="n3"))
    assert len((await stubs[0].GetTopology(pb.GetTopologyRequest())).nodes) == 3
    with fails(grpc.StatusCode.NOT_FOUND, "NODE_NOT_FOUND"):
        await stubs[0].Leave(pb.LeaveRequest(node="n3"))


async def test_zones_are_created_once_and_listed_by_name(store: Metastore) -> None:
    service = ClusterService(store, None, None, now, "here")
    async with served([service]) as address, grpc.aio.insecure_channel(address) as channel:
        stub: ClusterServiceAsyncStub = cluster_pb2_grpc.ClusterServiceStub(channel)
        red = await stub.CreateZone(pb.CreateZoneRequest(name="red"))
        blue = await stub.CreateZone(pb.CreateZoneRequest(name="blue", home="there"))
        assert (red.home, blue.home) == ("here", "there")
        assert await stub.GetZone(pb.GetZoneRequest(name="red")) == red
        assert [zone.name for zone in (await stub.ListZones(pb.ListZonesRequest())).zones] == ["blue", "default", "red"]
        with fails(grpc.StatusCode.ALREADY_EXISTS, "ZONE_EXISTS"):
            await stub.CreateZone(pb.CreateZoneRequest(name="red"))
        with fails(grpc.StatusCode.NOT_FOUND, "ZONE_NOT_FOUND"):
            await stub.GetZone(pb.GetZoneRequest(name="green"))
        with fails(grpc.StatusCode.INVALID_ARGUMENT, "ZONE_INVALID"):
            await stub.CreateZone(pb.CreateZoneRequest(name="../x"))
        with fails(grpc.StatusCode.FAILED_PRECONDITION, "CLUSTER_UNSUPPORTED"):
            await stub.GetTopology(pb.GetTopologyRequest())
