"""The old home's end of a move: one call after the other to the node that receives the rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

from google.protobuf.message import Message
from grpc import aio
from quartet.cluster.peers.v1 import peers_pb2 as pb

from quartet_server.placement import wire
from quartet_server.placement.peers import Peer
from quartet_server.placement.wire import Sum
from quartet_server.placement_errors import ZoneHomeDown

Answer = TypeVar("Answer", bound=Message)
PIECE = 512 << 10
"""Bytes of rows in one message."""
_PATH = f"/{pb.DESCRIPTOR.services_by_name['TransferService'].full_name}/"
_PATIENCE = 240.0  # seconds for one step: a page, a stretch, or as much of a deletion as gets done


class Receiver:
    """The node to which a zone moves. Methods raise ZoneHomeDown when it does not answer, aio.AioRpcError when it refuses."""

    def __init__(self, peer: Peer, node: str, zone: str, move: str) -> None:
        """Send the rows of `zone` to `node`, by `move`."""
        self._peer = peer
        self._node = node
        self._zone = zone
        self._move = move

    async def begin(self, store: bytes) -> bytes:
        """Have it make room, unless the rows that are there are on the disk `store`; returns the id of its disk."""
        request = pb.BeginTransferRequest(zone=self._zone, move=self._move, store=store)
        return (await self._unary("BeginTransfer", request, pb.BeginTransferResponse)).store

    async def store(self, rows: pb.Rows, late: Sequence[str]) -> None:
        """Have it store rows."""
        data = rows.SerializeToString(deterministic=True)
        first = pb.StoreRowsRequest(
            zone=self._zone, move=self._move, late=late, digest=wire.digest(data), rows=data[:PIECE]
        )

        async def pieces() -> AsyncIterator[bytes]:
            yield first.SerializeToString()
            for at in range(PIECE, len(data), PIECE):
                yield pb.StoreRowsRequest(rows=data[at : at + PIECE]).SerializeToString()

        await self._call("StoreRows", "stream_unary", pieces())

    async def total(self, database: str, table: str) -> Sum:
        """Return the sum of what it has of a table."""
        request = pb.SumRowsRequest(zone=self._zone, move=self._move, database=database, table=table)
        while True:
            answer = await self._unary("SumRows", request, pb.SumRowsResponse)
            if not answer.after:
                return Sum(answer.rows, answer.sum)
            request.rows, request.sum, request.after = answer.rows, answer.sum, answer.after

    async def _unary(self, method: str, request: Message, answer: type[Answer]) -> Answer:
        return answer.FromString(await self._call(method, "unary_unary", request.SerializeToString()))

    async def _call(self, method: str, shape: str, request: Any) -> bytes:
        with self._peer.lane() as channel:
            begin = getattr(channel, shape)(_PATH + method)
            try:
                answered: bytes = await begin(request, timeout=_PATIENCE)
            except aio.AioRpcError as error:
                if error.trailing_metadata():
                    raise
                raise ZoneHomeDown(f"{self._node} does not answer: {error.details()}", node=self._node) from error
            return answered
