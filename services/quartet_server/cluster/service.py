"""ClusterService: the cluster over gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from importlib import metadata
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from quartet.cluster.storage.v1 import storage_pb2
from quartet.cluster.v1 import cluster_pb2, cluster_pb2_grpc
from quartet.cluster.v1 import cluster_pb2 as pb

from quartet_server.cluster import topology, zones
from quartet_server.cluster.admission import Admission, Trust
from quartet_server.cluster.members import ClusterMember
from quartet_server.cluster.presence import Presence
from quartet_server.cluster.votes import Votes
from quartet_server.domain import Resources
from quartet_server.errors import ClusterUnsupported, FieldInvalid
from quartet_server.meta import recipients, system
from quartet_server.meta.events import changes
from quartet_server.meta.operators import demand_operator
from quartet_server.meta.times import timestamps
from quartet_server.placement_errors import NodeHoldsZones
from quartet_server.rpc.zones import certified_zones, check_allowed, check_zone
from raftmeta.errors import MetastoreError
from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

Context = aio.ServicerContext[Any, Any]
_TIDY = 2.0
_HOUR = 3600
_WEEK = 7 * 24 * _HOUR


async def start(resources: Resources) -> ClusterService:
    """Tell about the cluster this node is a member of, and say that it is there."""
    now = timestamps(resources.clock)
    config = resources.config.serve
    presence = None
    if resources.member is not None:
        record = storage_pb2.NodeRecord(
            name=config.name,
            client_address=resources.address,
            http_address="" if config.listen_http.endswith(":0") else config.listen_http,
            version=metadata.version("quartet"),
            start_time=now(),
        )
        presence = Presence(resources.metastore, resources.member.status().member_id, record)
        presence.start()
    trust = Trust.of(resources.config)
    return ClusterService(resources.metastore, resources.member, presence, now, config.name, trust=trust)


class ClusterService(cluster_pb2_grpc.ClusterServiceServicer):
    """Serves `quartet.cluster.v1.ClusterService`."""

    names = (cluster_pb2.DESCRIPTOR.services_by_name["ClusterService"].full_name,)

    def __init__(
        self,
        store: Metastore,
        member: ClusterMember | None,
        presence: Presence | None,
        now: Callable[[], Timestamp],
        name: str,
        new_nonce: Callable[[], str] | None = None,
        trust: Trust | None = None,
    ) -> None:
        """Tell about `member`, None with an external store; `presence` is ended with the service; `name` is the node's."""
        self._store = store
        self._member = member
        self._presence = presence
        self._now = now
        self._name = name
        self._watchers: set[asyncio.Event] = set()
        self._admission: Admission | None = None
        self._votes: Votes | None = None
        if member is not None:
            nonce = new_nonce or (lambda: str(now().ToNanoseconds()))
            self._admission = Admission(store, member, trust or Trust(), nonce)
            self._votes = Votes(store, member)
            self._votes.start()
            member.on_status(lambda _: self._changed())

    def add_to(self, server: aio.Server) -> None:
        """Register the servicer."""
        cluster_pb2_grpc.add_ClusterServiceServicer_to_server(self, server)

    async def stop(self) -> None:
        """Say goodbye."""
        if self._votes is not None:
            await self._votes.close()
        if self._presence is not None:
            await self._presence.close()

    async def GetTopology(self, request: pb.GetTopologyRequest, context: Context) -> pb.Topology:
        """Read the nodes, who is alive, and who leads."""
        return await topology.topology(self._store, self._cluster(), serializable=request.serializable)

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.Status:
        """Tell how this node sees itself."""
        status = self._cluster().status()
        read = await self._store.range(rpc_pb2.RangeRequest(key=system.NODES, serializable=True))
        me = status.members.get(status.member_id)
        return pb.Status(
            id=topology.hexadecimal(status.member_id),
            name=self._name,
            role=topology.role(status, me) if me is not None else pb.NODE_ROLE_UNSPECIFIED,
            term=status.term,
            leader_id=topology.hexadecimal(status.leader_id),
            commit_index=status.commit_index,
            applied_index=status.applied_index,
            last_index=status.last_index,
            revision=read.header.revision,
            read_only=status.read_only,
        )

    async def WatchTopology(self, request: pb.WatchTopologyRequest, context: Context) -> AsyncIterator[pb.Topology]:
        """Stream the topology, now and after each change."""
        member = self._cluster()
        changed = asyncio.Event()
        changed.set()
        self._watchers.add(changed)
        records = asyncio.create_task(self._watch_records(changed))
        told = b""
        try:
            while True:
                await changed.wait()
                changed.clear()
                if records.done():
                    records.result()
                answer = await topology.topology(self._store, member, serializable=True)
                told, before = _essence(answer), told
                if told != before:
                    yield answer
        finally:
            self._watchers.discard(changed)
            records.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await records

    async def CreateJoinToken(self, request: pb.CreateJoinTokenRequest, context: Context) -> pb.JoinToken:
        """Make a token for one node."""
        demand_operator(context, "making a join token")
        admission = self._admitting()
        ttl = request.ttl.seconds if request.HasField("ttl") else _HOUR
        if not 1 <= ttl <= _WEEK:
            raise FieldInvalid.of("ttl", "1 second to 7 days")
        expires = self._now()
        expires.seconds += ttl
        return pb.JoinToken(token=await admission.token(ttl), expire_time=expires)

    async def Join(self, request: pb.JoinRequest, context: Context) -> pb.JoinResponse:
        """Add a node."""
        number, certificate = await self._admitting().admit(request)
        now = await topology.topology(self._store, self._cluster(), serializable=False)
        return pb.JoinResponse(id=topology.hexadecimal(number), nodes=now.nodes, certificate=certificate)

    async def Leave(self, request: pb.LeaveRequest, context: Context) -> pb.LeaveResponse:
        """Remove a node and its record."""
        demand_operator(context, "removing a node")
        member = self._cluster()
        leaving = topology.find(member.status(), request.node)
        if not request.force and (living := await zones.living_on(self._store, leaving.name)):
            raise NodeHoldsZones(
                f"the records of {len(living)} zones live on {leaving.name}", node=leaving.name, zones=", ".join(living)
            )
        await member.membership.remove(leaving.id)
        with contextlib.suppress(
            MetastoreError, TimeoutError
        ):  # this may be the node that left; nobody sees what stays
            async with asyncio.timeout(_TIDY):
                for key in (system.node(leaving.id), system.alive(leaving.id), system.vote(leaving.id)):
                    await self._store.delete_range(rpc_pb2.DeleteRangeRequest(key=key))
                await recipients.forget(self._store, leaving.id)
        return pb.LeaveResponse(id=topology.hexadecimal(leaving.id))

    async def TransferLeadership(
        self, request: pb.TransferLeadershipRequest, context: Context
    ) -> pb.TransferLeadershipResponse:
        """Hand leadership over."""
        demand_operator(context, "transferring leadership")
        member = self._cluster()
        target = topology.find(member.status(), request.node).id if request.node else 0
        leader = await member.membership.hand_over(target)
        return pb.TransferLeadershipResponse(leader_id=topology.hexadecimal(leader))

    async def CreateZone(self, request: pb.CreateZoneRequest, context: Context) -> pb.Zone:
        """Create a zone."""
        demand_operator(context, "creating a zone")
        if request.home and self._member is not None:
            topology.find(self._member.status(), request.home)
        return await zones.create(self._store, request.name, request.home or self._name, self._now())

    async def GetZone(self, request: pb.GetZoneRequest, context: Context) -> pb.Zone:
        """Read a zone."""
        check_allowed(check_zone(request.name), certified_zones(context.auth_context()))
        return await zones.get(self._store, request.name)

    async def ListZones(self, request: pb.ListZonesRequest, context: Context) -> pb.ListZonesResponse:
        """Read all zones that the caller may act in."""
        return await zones.every(self._store, certified_zones(context.auth_context()))

    async def MoveZone(self, request: pb.MoveZoneRequest, context: Context) -> pb.Zone:
        """Have a zone move."""
        demand_operator(context, "moving a zone")
        target = topology.find(self._cluster().status(), request.home)
        return await zones.move(self._store, request.name, target.name, secrets.token_hex(8), self._now())

    async def StopZoneMove(self, request: pb.StopZoneMoveRequest, context: Context) -> pb.Zone:
        """Have a zone stay."""
        demand_operator(context, "stopping the move of a zone")
        return await zones.stop_move(self._store, request.name)

    def _cluster(self) -> ClusterMember:
        if self._member is None:
            raise ClusterUnsupported("this node keeps its metadata in an external store and is no member of a cluster")
        return self._member

    def _admitting(self) -> Admission:
        self._cluster()
        assert self._admission is not None
        return self._admission

    def _changed(self) -> None:
        for watcher in self._watchers:
            watcher.set()

    async def _watch_records(self, changed: asyncio.Event) -> None:
        """Set `changed` whenever a node's record or liveness changes, and at the end, whatever it is."""
        try:
            async for _ in changes(self._store, system.ALIVE, system.NODES + b"\xff"):
                changed.set()
        finally:
            changed.set()


def _essence(answer: pb.Topology) -> bytes:
    """Return what makes a topology another one: not the revision at which it was read."""
    copy = pb.Topology()
    copy.CopyFrom(answer)
    copy.ClearField("revision")
    return copy.SerializeToString(deterministic=True)
