"""TransferService: a node's end of a zone on its way to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from google.protobuf.message import DecodeError
from grpc import aio
from quartet.cluster.peers.v1 import peers_pb2 as pb
from quartet.cluster.peers.v1 import peers_pb2_grpc

from quartet_server.errors import FieldInvalid
from quartet_server.placement import placed, rows, wire
from quartet_server.placement.homes import Homes
from quartet_server.placement.leftovers import Leftovers
from quartet_server.placement.peers import Peers
from quartet_server.placement.wire import Sum
from quartet_server.placement_errors import MoveRefused
from quartet_server.records.contract import Databases, Session
from quartet_server.records.schema import Schema
from quartet_server.rpc.zones import check_zone, require_node
from raftmeta.metastore import Metastore

Context = aio.ServicerContext[Any, Any]
LARGEST = 64 << 20
"""Most bytes of rows that are stored in one transaction: a page, or the largest row there can be."""


class TransferService(peers_pb2_grpc.TransferServiceServicer):
    """Serves `quartet.cluster.peers.v1.TransferService`."""

    name = pb.DESCRIPTOR.services_by_name["TransferService"].full_name

    def __init__(
        self,
        store: Metastore,
        homes: Homes,
        peers: Peers,
        databases: Databases,
        schemas: Mapping[str, Schema],
        leftovers: Leftovers,
    ) -> None:
        """Store rows in `databases`, which have `schemas`; `leftovers` deletes what is left from earlier times."""
        self._store = store
        self._homes = homes
        self._peers = peers
        self._databases = databases
        self._schemas = schemas
        self._leftovers = leftovers
        self._turns: dict[str, object] = {}

    def add_to(self, server: aio.Server) -> None:
        """Register the servicer."""
        peers_pb2_grpc.add_TransferServiceServicer_to_server(self, server)

    async def BeginTransfer(self, request: pb.BeginTransferRequest, context: Context) -> pb.BeginTransferResponse:
        """Make room for a zone."""
        await self._admit(context, request.zone, request.move)
        if request.store != self._homes.disk:
            turn = self._turns[request.zone] = object()

            def allowed(zone: str) -> bool:
                """Until the zone lives here, or is begun with anew by another call: this one may have been forgotten."""
                place = self._homes.place(zone)
                return self._turns.get(zone) is turn and place is not None and place.home != self._homes.me

            if not await self._leftovers.delete(request.zone, allowed):
                raise MoveRefused(f"zone {request.zone} is being received by another call", zone=request.zone)
        return pb.BeginTransferResponse(store=self._homes.disk)

    async def StoreRows(
        self, request_iterator: AsyncIterator[pb.StoreRowsRequest], context: Context
    ) -> pb.StoreRowsResponse:
        """Store a page of rows."""
        first, pieces, size = None, [], 0
        async for request in request_iterator:
            if first is None:
                first = request
                await self._admit(context, request.zone, request.move)
            size += len(request.rows)
            if size > LARGEST:
                raise FieldInvalid.of("rows", f"more than {LARGEST} bytes at once")
            pieces.append(request.rows)
        if first is None:
            raise FieldInvalid.of("rows", "nothing was sent")
        zone, move, late = first.zone, first.move, list(first.late)
        page = wire.parse(b"".join(pieces), first.digest)
        table = self._table(page.database, page.table)

        def work(session: Session) -> None:
            self._demand(zone, move)  # in the zone's turn: a move that is given up stores nothing behind its cleaning
            rows.store(session, table, page, late)

        await self._databases.database(page.database).write(zone, work)
        return pb.StoreRowsResponse()

    async def SumRows(self, request: pb.SumRowsRequest, context: Context) -> pb.SumRowsResponse:
        """Sum up a stretch of rows."""
        await self._admit(context, request.zone, request.move)
        table = self._table(request.database, request.table)
        after = row_of(request.after)
        so_far, last = await self._databases.database(request.database).read(
            request.zone, lambda session: rows.total(session, table, after, Sum(request.rows, request.sum))
        )
        return pb.SumRowsResponse(
            rows=so_far.rows, sum=so_far.total, after=b"" if last is None else last.SerializeToString()
        )

    async def _admit(self, context: Context, zone: str, move: str) -> None:
        """Let a member pass that sends by a move of which the Metastore knows. Raises NodeRequired, MoveRefused."""
        require_node(context.auth_context(), self._peers.names())
        check_zone(zone)
        if not self._by(zone, move):
            self._homes.seen(await placed.read(self._store, zone), zone)
            self._demand(zone, move)

    def _demand(self, zone: str, move: str) -> None:
        if not self._by(zone, move):
            raise MoveRefused(f"zone {zone} does not move to {self._homes.me} by this move", zone=zone)

    def _by(self, zone: str, move: str) -> bool:
        place = self._homes.place(zone)
        return place is not None and place.move is not None and (place.move.to, place.move.id) == (self._homes.me, move)

    def _table(self, database: str, table: str) -> sa.Table:
        schema = self._schemas.get(database)
        if schema is None:
            raise FieldInvalid.of("database", _unknown(database, self._schemas))
        if table not in schema.metadata.tables:
            raise FieldInvalid.of("table", _unknown(table, schema.metadata.tables))
        return schema.metadata.tables[table]


def row_of(data: bytes) -> pb.Row | None:
    """Return the key that bytes are, None for none. Raises FieldInvalid."""
    try:
        return pb.Row.FromString(data) if data else None
    except DecodeError as error:
        raise FieldInvalid.of("after", f"is no key: {error}") from error


def _unknown(name: str, known: Iterable[str]) -> str:
    return f"{name[:100]!r} is not known here; known are {', '.join(sorted(known))[:300]}"
