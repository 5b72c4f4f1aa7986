"""The cluster, for synchronous callers."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from datetime import timedelta

from quartet._transport import Transport
from quartet.cluster.v1 import cluster_pb2 as pb


class Cluster:
    """Nodes, leadership and zones. All methods raise `quartet.CallError`."""

    def __init__(self, transport: Transport) -> None:
        """Call over `transport`."""
        self._transport = transport

    def topology(self, *, serializable: bool = False) -> pb.Topology:
        """Read the nodes, who is alive, and who leads."""
        request = pb.GetTopologyRequest(serializable=serializable)
        return self._transport.call(lambda at: at.cluster.GetTopology, request, safe=True)

    def status(self) -> pb.Status:
        """Tell how the node that is called sees itself and the cluster."""
        return self._transport.call(lambda at: at.cluster.GetStatus, pb.GetStatusRequest(), safe=True)

    def watch(self) -> Generator[pb.Topology, None, None]:
        """Yield the topology now and after every change."""
        yield from self._transport.stream(lambda at: at.cluster.WatchTopology, pb.WatchTopologyRequest())

    def create_join_token(self, ttl: timedelta = timedelta(hours=1)) -> pb.JoinToken:
        """Make a token with which one node may join."""
        request = pb.CreateJoinTokenRequest()
        request.ttl.FromTimedelta(ttl)
        return self._transport.call(lambda at: at.cluster.CreateJoinToken, request, safe=False)

    def join(
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
        return self._transport.call(lambda at: at.cluster.Join, request, safe=False)

    def leave(self, node: str, *, force: bool = False) -> pb.LeaveResponse:
        """Remove a node from the membership for good; with `force` though records of zones live on it."""
        return self._transport.call(lambda at: at.cluster.Leave, pb.LeaveRequest(node=node, force=force), safe=False)

    def transfer_leadership(self, node: str = "") -> pb.TransferLeadershipResponse:
        """Hand leadership to a node, or to the most up to date follower."""
        request = pb.TransferLeadershipRequest(node=node)
        return self._transport.call(lambda at: at.cluster.TransferLeadership, request, safe=False)

    def create_zone(self, name: str, home: str = "") -> pb.Zone:
        """Create a zone."""
        request = pb.CreateZoneRequest(name=name, home=home)
        return self._transport.call(lambda at: at.cluster.CreateZone, request, safe=False)

    def get_zone(self, name: str) -> pb.Zone:
        """Read a zone."""
        return self._transport.call(lambda at: at.cluster.GetZone, pb.GetZoneRequest(name=name), safe=True)

    def move_zone(self, name: str, home: str) -> pb.Zone:
        """Begin to move a zone's records to the node `home`; `get_zone` tells how far it is."""
        request = pb.MoveZoneRequest(name=name, home=home)
        return self._transport.call(lambda at: at.cluster.MoveZone, request, safe=True)

    def stop_zone_move(self, name: str) -> pb.Zone:
        """Give up a move that has not reached its end."""
        request = pb.StopZoneMoveRequest(name=name)
        return self._transport.call(lambda at: at.cluster.StopZoneMove, request, safe=False)

    def list_zones(self) -> Sequence[pb.Zone]:
        """Read all zones, by name."""
        return self._transport.call(lambda at: at.cluster.ListZones, pb.ListZonesRequest(), safe=True).zones
