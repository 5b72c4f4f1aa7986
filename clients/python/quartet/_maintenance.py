"""Maintenance, for synchronous callers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from quartet._errors import Unavailable
from quartet._retry import Backoff
from quartet._transport import Endpoint, Transport
from quartet.maintenance.v1 import maintenance_pb2 as pb

Answer = TypeVar("Answer")


class Maintenance:
    """Collection, checks, and what takes how much room. All methods raise `quartet.CallError`; all but `usage` are for operators."""

    def __init__(self, transport: Transport) -> None:
        """Call over `transport`."""
        self._transport = transport

    def collect(
        self, *, run: bool = False, zones: Sequence[str] = (), own_only: bool = False
    ) -> Iterator[pb.CollectResponse]:
        """Do a round over the blobs of one node, and yield how it goes; without `run` it only counts.

        Mounted stores that the node has open come last, unless `own_only`. Which node it is may be told more than once.
        """
        request = pb.CollectRequest(run=run, zones=zones, own_only=own_only)
        yield from self._begun(lambda at: at.maintenance.Collect, request, lambda told: told.HasField("collection"))

    def adopt(self) -> pb.AdoptResponse:
        """Make the store of one node this cluster's alone, whoever put blobs there; what nothing leads to will be deleted."""
        return self._transport.call(lambda at: at.maintenance.Adopt, pb.AdoptRequest(), safe=True)

    def upkeep(self) -> pb.Upkeep:
        """Read what every node collected and scrubbed of late."""
        return self._transport.call(lambda at: at.maintenance.GetUpkeep, pb.GetUpkeepRequest(), safe=True)

    def check(self, path: str = "", *, repair: bool = False, read: bool = False) -> Iterator[pb.CheckResponse]:
        """Check the zone, or what is below a path, and yield progress, findings, and a summary; `read` reads every blob."""
        request = pb.CheckRequest(path=path, repair=repair, bytes=read)
        yield from self._begun(lambda at: at.maintenance.Check, request)

    def usage(self, path: str = "", *, depth: int = 0) -> Iterator[pb.GetUsageResponse]:
        """Measure a path and, `depth` levels down, what is below; yield rows, the path's own last."""
        request = pb.GetUsageRequest(path=path, depth=depth)
        for row in self._begun(lambda at: at.maintenance.GetUsage, request):
            if row.path:
                yield row

    def _begun(
        self,
        method: Callable[[Endpoint], Callable[..., Iterator[Answer]]],
        request: object,
        says: Callable[[Answer], bool] = lambda _: True,
    ) -> Iterator[Answer]:
        """Yield what a stream tells; one that no node could begin is begun again, within the client's timeout.

        It has begun with the first answer that `says` something.
        """
        backoff, deadline = Backoff(), time.monotonic() + self._transport.timeout
        while True:
            begun = False
            try:
                for answer in self._transport.stream(method, request):
                    begun = begun or says(answer)
                    yield answer
            except Unavailable as error:
                if begun or time.monotonic() >= deadline:
                    raise
                self._transport.rest(backoff.after(error))
            else:
                return
