"""Maintenance, for asyncio."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

from grpc import aio

from quartet._aio_transport import AsyncTransport, Endpoint
from quartet._errors import Unavailable
from quartet._retry import Backoff
from quartet.maintenance.v1 import maintenance_pb2 as pb

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class AsyncMaintenance:
    """Collection, checks, and what takes how much room. All methods raise `quartet.CallError`; all but `usage` are for operators."""

    def __init__(self, transport: AsyncTransport) -> None:
        """Call over `transport`."""
        self._transport = transport

    async def collect(
        self, *, run: bool = False, zones: Sequence[str] = (), own_only: bool = False
    ) -> AsyncIterator[pb.CollectResponse]:
        """Do a round over the blobs of one node, and yield how it goes; without `run` it only counts.

        Mounted stores that the node has open come last, unless `own_only`. Which node it is may be told more than once.
        """
        request = pb.CollectRequest(run=run, zones=zones, own_only=own_only)
        answers = self._begun(lambda at: at.maintenance.Collect, request, lambda told: told.HasField("collection"))
        async for told in answers:
            yield told

    async def adopt(self) -> pb.AdoptResponse:
        """Make the store of one node this cluster's alone, whoever put blobs there; what nothing leads to will be deleted."""
        return await self._transport.call(lambda at: at.maintenance.Adopt, pb.AdoptRequest(), safe=True)

    async def upkeep(self) -> pb.Upkeep:
        """Read what every node collected and scrubbed of late."""
        return await self._transport.call(lambda at: at.maintenance.GetUpkeep, pb.GetUpkeepRequest(), safe=True)

    async def check(
        self, path: str = "", *, repair: bool = False, read: bool = False
    ) -> AsyncIterator[pb.CheckResponse]:
        """Check the zone, or what is below a path, and yield progress, findings, and a summary; `read` reads every blob."""
        request = pb.CheckRequest(path=path, repair=repair, bytes=read)
        async for told in self._begun(lambda at: at.maintenance.Check, request):
            yield told

    async def usage(self, path: str = "", *, depth: int = 0) -> AsyncIterator[pb.GetUsageResponse]:
        """Measure a path and, `depth` levels down, what is below; yield rows, the path's own last."""
        request = pb.GetUsageRequest(path=path, depth=depth)
        async for row in self._begun(lambda at: at.maintenance.GetUsage, request):
            if row.path:
                yield row

    async def _begun(
        self,
        method: Callable[[Endpoint], aio.UnaryStreamMultiCallable[Request, Answer]],
        request: Request,
        says: Callable[[Answer], bool] = lambda _: True,
    ) -> AsyncIterator[Answer]:
        """Yield what a stream tells; one that no node could begin is begun again, within the client's timeout.

        It has begun with the first answer that `says` something.
        """
        backoff, deadline = Backoff(), time.monotonic() + self._transport.timeout
        while True:
            begun = False
            try:
                async for answer in self._transport.stream(method, request):
                    begun = begun or says(answer)
                    yield answer
            except Unavailable as error:
                if begun or time.monotonic() >= deadline:
                    raise
                await self._transport.rest(backoff.after(error))
            else:
                return
