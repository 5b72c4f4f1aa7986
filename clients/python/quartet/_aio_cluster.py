"""The cluster, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta

from quartet._aio_transport import AsyncTransport
from quartet.cluster.v1 import cluster_pb2 as pb


class AsyncCluster:
    """Nodes, leadership and zones. All methods raise `quartet.CallError`."""

    def __init__(self, transport: AsyncTransport) -> None:
        """Call over `transport`."""
        self._transport = transport

    async def topology(self, *, serializable: bool = False) -> pb.Topology:
        """Read the nodes, who is alive, and who leads."""
        request = pb.GetTopologyRequest(serializable=serializable)
        return await self._transport.call(lambda at: at.cluster.GetTopology, request, safe=True)

    async def status(self) -> pb.Status:
        """Tell how the node that is called sees itself and the cluster."""
        return await self._transport.call(lambda at: at.cluster.GetStatus, pb.GetStatusRequest(), safe=True)

    async def watch(self) -> AsyncGenerator[pb.Topology, None]:
        """Yield the topology now and after every change."""
        async for topology in self._transport.stream(lambda at: at.cluster.WatchTopology, pb.WatchTopologyRequest()):
            yield topology

    async def create_join_token(self, ttl: timedelta = timedelta(hours=1)) -> pb.JoinToken:
        """Make a token with which one node may join."""
        request = pb.CreateJoinTokenRequest()
        request.ttl.FromTimedelta(ttl)
        return await self._transport.call(lambda at: at.cluster.CreateJoinToken, request, safe=False)

    async def join(
        self,
        token: str,
        name: str,
        peer_address: str,
        client_address: str = "",
        *,
        learner: bool = False,
        certificate_request: bytes = b"",
    ) -> pb.JoinResponse:
        """Add a node to the membership; the same call may be repeated. `certificate_request` is PEM, or empty."""
        request = pb.JoinRequest(
            token=token,
            name=name,
            peer_address=peer_address,
            client_address=client_address,
            learner=learner,
            certificate_request=certificate_request,
        )
        return await self._transport.call(lambda at: at.cluster.Join, request, safe=False)

    async def leave(self, node: str, *, force: bool = False) -> pb.LeaveResponse:
        """Remove a node from the membership for good; with `force` though records of zones live on it."""
        return await self._transport.call(
            lambda at: at.cluster.Leave, pb.LeaveRequest(node=node, force=force), safe=False
        )

    async def transfer_leadership(self, node: str = "") -> pb.TransferLeadershipResponse:
        """Hand leadership to a node, or to the most up to date follower."""
        request = pb.TransferLeadershipRequest(node=node)
        return await self._transport.call(lambda at: at.cluster.TransferLeadership, request, safe=False)

    async def create_zone(self, name: str, home: str = "") -> pb.Zone:
        """Create a zone."""
        request = pb.CreateZoneRequest(name=name, home=home)
        return await self._transport.call(lambda at: at.cluster.CreateZone, request, safe=False)

    async def get_zone(self, name: str) -> pb.Zone:
        """Read a zone."""
        return await self._transport.call(lambda at: at.cluster.GetZone, pb.GetZoneRequest(name=name), safe=True)

    async def move_zone(self, name: str, home: str) -> pb.Zone:
        """Begin to move a zone's records to the node `home`; `get_zone` tells how far it is."""
        request = pb.MoveZoneRequest(name=name, home=home)
        return await self._transport.call(lambda at: at.cluster.MoveZone, request, safe=True)

    async def stop_zone_move(self, name: str) -> pb.Zone:
        """Give up a move that has not reached its end."""
        request = pb.StopZoneMoveRequest(name=name)
        return await self._transport.call(lambda at: at.cluster.StopZoneMove, request, safe=False)

    async def list_zones(self) -> Sequence[pb.Zone]:
        """Read all zones, by name."""
        return (await self._transport.call(lambda at: at.cluster.ListZones, pb.ListZonesRequest(), safe=True)).zones
