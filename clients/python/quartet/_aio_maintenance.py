"""Maintenance, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from quartet._aio_transport import AsyncTransport
from quartet.maintenance.v1 import maintenance_pb2 as pb


class AsyncMaintenance:
    """Collection, checks, and what takes how much room. All methods raise `quartet.CallError`; all but `usage` are for operators."""

    def __init__(self, transport: AsyncTransport) -> None:
        """Call over `transport`."""
        self._transport = transport

    async def collect(self, *, run: bool = False, zones: Sequence[str] = ()) -> AsyncIterator[pb.CollectResponse]:
        """Do a round over the blobs of one node, and yield how it goes; without `run` it only counts."""
        request = pb.CollectRequest(run=run, zones=zones)
        async for told in self._transport.stream(lambda at: at.maintenance.Collect, request):
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
        async for told in self._transport.stream(lambda at: at.maintenance.Check, request):
            yield told

    async def usage(self, path: str = "", *, depth: int = 0) -> AsyncIterator[pb.GetUsageResponse]:
        """Measure a path and, `depth` levels down, what is below; yield rows, the path's own last."""
        request = pb.GetUsageRequest(path=path, depth=depth)
        async for row in self._transport.stream(lambda at: at.maintenance.GetUsage, request):
            if row.path:
                yield row
