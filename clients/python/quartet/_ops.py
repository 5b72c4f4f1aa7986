"""Databases of records as operators see them, for synchronous callers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from quartet._transport import Endpoint, Transport
from quartet.ops.v1 import ops_pb2 as pb


class Ops:
    """Health, schemas, copies and jobs. All methods raise `quartet.CallError`; all but `ping` are for operators.

    Those about the node itself (`ping`, `health`, `backup`, `restore`) are answered by whichever is called: name one endpoint.
    """

    def __init__(self, transport: Transport) -> None:
        """Call over `transport`."""
        self._transport = transport

    def ping(self) -> pb.PingResponse:
        """Have a node answer."""
        return self._transport.call(lambda at: at.ops.Ping, pb.PingRequest(), safe=True)

    def health(self, database: str = "") -> pb.HealthResponse:
        """Read how the node's databases are, or one of them."""
        return self._transport.call(lambda at: at.ops.Health, pb.HealthRequest(database=database), safe=True)

    def schema(self, database: str = "", *, rows: bool = True) -> pb.DescribeSchemaResponse:
        """Read what is in the databases, and how many rows the zone has in each table if `rows`."""
        request = pb.DescribeSchemaRequest(database=database, skip_rows=not rows)
        return self._transport.call(lambda at: at.ops.DescribeSchema, request, safe=True)

    def check_references(self) -> Iterator[pb.CheckReferencesResponse]:
        """Yield rows of the zone that name what another database does not have, and a summary."""
        request = pb.CheckReferencesRequest()
        yield from self._transport.stream(lambda at: at.ops.CheckReferences, request)

    def backup(self) -> Iterator[tuple[str, bytes]]:
        """Yield the files of a copy of the node's databases in pieces, each with the file's name, the manifest last."""
        name = ""
        for told in self._transport.stream(lambda at: at.ops.Backup, pb.BackupRequest()):
            name = told.file or name
            yield name, told.data

    def backfills(self) -> list[pb.BackfillJob]:
        """Read which jobs over all rows there are."""
        request = pb.ListBackfillsRequest()
        return list((self._transport.call(lambda at: at.ops.ListBackfills, request, safe=True)).jobs)

    def backfill(
        self, job: str, *, resume_token: str = "", batch_size: int = 0, batches: int = 0
    ) -> Iterator[pb.BackfillResponse]:
        """Run a job over the rows of the zone, and yield how far it is after each batch."""
        request = pb.BackfillRequest(job=job, resume_token=resume_token, batch_size=batch_size, batches=batches)
        yield from self._transport.stream(lambda at: at.ops.Backfill, request)

    def restore(self, pieces: Iterable[tuple[str, bytes]], *, timeout: float = 3600.0) -> pb.RestoreResponse:
        """Send the files of a backup as `backup` yielded them; the node puts them in place when it starts the next time."""

        def begin(at: Endpoint) -> Callable[..., pb.RestoreResponse]:
            requests = (pb.RestoreRequest(file=name, data=data) for name, data in pieces)
            return lambda _, *, timeout, metadata: at.ops.Restore(requests, timeout=timeout, metadata=metadata)

        return self._transport.call(begin, None, safe=False, timeout=timeout)
