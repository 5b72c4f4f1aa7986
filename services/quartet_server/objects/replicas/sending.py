"""A large blob on its way to another node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

from grpc import aio
from quartet.objects.peers.v1 import peers_pb2 as pb

from quartet_server.errors import ObjectStoreUnreachable, QuartetError
from quartet_server.objects.digest import Digest


class Line(Protocol):
    """What a stream says of the node it goes to."""

    def succeeded(self) -> None:
        """It has done what it was asked."""

    def failed(self, error: aio.AioRpcError | TimeoutError) -> QuartetError:
        """Return what a failed call means."""


class Sending:
    """A `BlobWriter` that sends the pieces of one blob; the node at the other end checks the digest."""

    def __init__(
        self,
        line: Line,
        begin: Callable[[], Any],
        first: pb.WriteRequest,
        digest: Digest,
        piece: int,
        wait_for: Callable[[int], float],
    ) -> None:
        """Send to `line`; `begin` calls Write, `first` says which blob; `wait_for` is the patience with a sync of bytes."""
        self._line = line
        self._begin = begin
        self._first: pb.WriteRequest | None = first
        self._digest = digest
        self._piece = piece
        self._wait_for = wait_for
        self._call: Any = None
        self._committed = False
        self.size = 0

    async def write(self, data: bytes) -> None:
        """See `BlobWriter.write`. Raises ObjectStoreUnreachable, StoreFull, PlacementStale."""
        for at in range(0, len(data), self._piece):
            await self._send(pb.WriteRequest(data=data[at : at + self._piece]))
        self.size += len(data)

    async def _send(self, request: pb.WriteRequest) -> None:
        try:
            async with asyncio.timeout(self._wait_for(0)):
                if self._call is None:
                    self._call = self._begin()
                if self._first is not None:
                    first, self._first = self._first, None
                    await self._call.write(first)
                await self._call.write(request)
        except (aio.AioRpcError, TimeoutError, asyncio.InvalidStateError) as error:
            raise await self._ended(error) from error

    async def _ended(self, error: Exception) -> QuartetError:
        """Return why the other end took no more."""
        if isinstance(error, asyncio.InvalidStateError):  # it has answered already, so that this does not wait
            try:
                await self._call
                error = TimeoutError()
            except aio.AioRpcError as answer:
                error = answer
        await self.abort()
        assert isinstance(error, aio.AioRpcError | TimeoutError)
        return self._line.failed(error)

    async def commit(self) -> Digest:
        """See `BlobWriter.commit`. Raises ObjectStoreUnreachable, StoreFull, PlacementStale, DigestMismatch."""
        if self._committed:
            return self._digest
        if self._call is None:
            raise ObjectStoreUnreachable("nothing was sent")
        try:
            async with asyncio.timeout(self._wait_for(self.size)):
                await self._call.done_writing()
                await self._call
        except (aio.AioRpcError, TimeoutError, asyncio.InvalidStateError) as error:
            raise await self._ended(error) from error
        self._committed = True
        self._line.succeeded()
        return self._digest

    async def abort(self) -> None:
        """See `BlobWriter.abort`."""
        if self._call is not None and not self._committed:
            self._call.cancel()

    async def __aenter__(self) -> Self:
        """Return the writer."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Abort, unless it was committed."""
        await self.abort()
