"""Databases of records as operators see them, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from quartet._aio_transport import AsyncTransport, Endpoint
from quartet.ops.v1 import ops_pb2 as pb


class AsyncOps:
    """Health, schemas, copies and jobs. All methods raise `quartet.CallError`; all but `ping` are for operators.

    Those about the node itself (`ping`, `health`, `backup`, `restore`) are answered by whichever is called: name one endpoint.
    """

    def __init__(self, transport: AsyncTransport) -> None:
        """Call over `transport`."""
        self._transport = transport

    async def ping(self) -> pb.PingResponse:
        """Have a node answer."""
        return await self._transport.call(lambda at: at.ops.Ping, pb.PingRequest(), safe=True)

    async def health(self, database: str = "") -> pb.HealthResponse:
        """Read how the node's databases are, or one of them."""
        return await self._transport.call(lambda at: at.ops.Health, pb.HealthRequest(database=database), safe=True)

    async def schema(self, database: str = "", *, rows: bool = True) -> pb.DescribeSchemaResponse:
        """Read what is in the databases, and how many rows the zone has in each table if `rows`."""
        request = pb.DescribeSchemaRequest(database=database, skip_rows=not rows)
        return await self._transport.call(lambda at: at.ops.DescribeSchema, request, safe=True)

    async def check_references(self) -> AsyncIterator[pb.CheckReferencesResponse]:
        """Yield rows of the zone that name what another database does not have, and a summary."""
        request = pb.CheckReferencesRequest()
        async for told in self._transport.stream(lambda at: at.ops.CheckReferences, request):
            yield told

    async def backup(self) -> AsyncIterator[tuple[str, bytes]]:
        """Yield the files of a copy of the node's databases in pieces, each with the file's name, the manifest last."""
        name = ""
        async for told in self._transport.stream(lambda at: at.ops.Backup, pb.BackupRequest()):
            name = told.file or name
            yield name, told.data

    async def backfills(self) -> list[pb.BackfillJob]:
        """Read which jobs over all rows there are."""
        request = pb.ListBackfillsRequest()
        return list((await self._transport.call(lambda at: at.ops.ListBackfills, request, safe=True)).jobs)

    async def backfill(
        self, job: str, *, resume_token: str = "", batch_size: int = 0, batches: int = 0
    ) -> AsyncIterator[pb.BackfillResponse]:
        """Run a job over the rows of the zone, and yield how far it is after each batch."""
        request = pb.BackfillRequest(job=job, resume_token=resume_token, batch_size=batch_size, batches=batches)
        async for told in self._transport.stream(lambda at: at.ops.Backfill, request):
            yield told

    async def restore(self, pieces: Iterable[tuple[str, bytes]], *, timeout: float = 3600.0) -> pb.RestoreResponse:
        """Send the files of a backup as `backup` yielded them; the node puts them in place when it starts the next time."""

        def begin(at: Endpoint) -> Callable[..., Awaitable[pb.RestoreResponse]]:
            requests = (pb.RestoreRequest(file=name, data=data) for name, data in pieces)
            return lambda _, *, timeout, metadata: at.ops.Restore(requests, timeout=timeout, metadata=metadata)

        return await self._transport.call(begin, None, safe=False, timeout=timeout)
