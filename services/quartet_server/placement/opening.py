"""Placement: everything that gives zones homes, and moves them, put together for one node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

from quartet_server.placement.gates import GatedDatabases
from quartet_server.placement.homes import Homes
from quartet_server.placement.leftovers import Leftovers
from quartet_server.placement.moving import PATIENCE, Moves
from quartet_server.placement.peers import Addressed, Peers
from quartet_server.placement.placed import Placed
from quartet_server.placement.receiving import TransferService
from quartet_server.records.contract import Databases
from quartet_server.records.schema import Schema
from quartet_server.rpc.forwarding import Forwarding
from raftmeta.metastore import Metastore


class Placement:
    """One node's part in it.

    Attributes:
        homes: What it knows of where zones live.
        databases: Its databases as services may use them.
        forwarding: What sends calls to where they belong.
        service: What it does for other nodes.
    """

    def __init__(
        self,
        store: Metastore,
        me: str,
        disk: bytes,
        databases: Databases,
        schemas: Mapping[str, Schema],
        members: Callable[[], Iterable[Addressed]],
        *,
        credentials: Callable[[], grpc.ChannelCredentials | None],
        now: Callable[[], Timestamp],
        monotonic: Callable[[], float],
        patience: float = PATIENCE,
    ) -> None:
        """Place the zones of `databases`; nothing happens before `start`.

        Args:
            store: Quartet's keyspace.
            me: This node's name.
            disk: Id of the disk on which the databases are.
            databases: This node's own, which are not shared.
            schemas: What is in them, by name; the same on all nodes.
            members: The nodes of the cluster at the moment.
            credentials: For calls to other nodes; None in a cluster whose gRPC ports are plaintext.
            now: The time.
            monotonic: Seconds, monotonic.
            patience: Seconds without progress after which a move is given up.
        """
        peers = self._peers = Peers(members, credentials)
        self.homes = Homes(store, me, disk, peers, now)
        self.databases = GatedDatabases(databases, schemas, self.homes)
        self.forwarding = Forwarding(self.homes)
        self._leftovers = Leftovers(store, self.homes, databases, schemas)
        self._moves = Moves(store, self.homes, peers, databases, schemas, monotonic, patience)
        self.service = TransferService(store, self.homes, peers, databases, schemas, self._leftovers)

    def add_to(self, server: aio.Server) -> None:
        """Register what this node does for others."""
        self.service.add_to(server)

    def start(self) -> None:
        """Take part."""
        self.homes.on_change(self._leave)
        self._moves.start()
        self._leftovers.start()
        self.homes.start()

    async def close(self) -> None:
        """Stop; what is under way is gone on with after the next start."""
        await self.homes.close()
        await self._moves.close()
        await self._leftovers.close()
        await self._peers.close()

    def _leave(self, place: Placed) -> None:
        if place.home != self.homes.me:
            self.forwarding.leave(place.zone)
