"""Streams of maintenance that no node could begin are begun again, by both clients; what has begun is not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from quartet import Unavailable
from quartet._aio_maintenance import AsyncMaintenance
from quartet._maintenance import Maintenance
from quartet.maintenance.v1 import maintenance_pb2 as pb

NODE = pb.CollectResponse(node="n1")
DONE = pb.CollectResponse(node="n1", collection=pb.Collection(zone="default"), done=True)


class Transport:
    """Answers each stream with what comes next, and then fails it."""

    timeout = 30.0

    def __init__(self, *streams: list[Any]) -> None:
        self.streams = list(streams)
        self.rests = 0

    def stream(self, method: object, request: object) -> Iterator[Any]:
        for answer in self.streams.pop(0):
            if isinstance(answer, Exception):
                raise answer
            yield answer

    def rest(self, seconds: float) -> None:
        self.rests += 1


class AsyncTransport(Transport):
    """The same for asyncio."""

    async def stream(self, method: object, request: object) -> AsyncIterator[Any]:  # type: ignore[override]
        for answer in super().stream(method, request):
            yield answer

    async def rest(self, seconds: float) -> None:  # type: ignore[override]
        super().rest(seconds)


def away() -> Unavailable:
    return Unavailable(grpc.StatusCode.UNAVAILABLE, "away")


async def collected(kind: str, *streams: list[Any]) -> tuple[list[pb.CollectResponse], int]:
    """What a client is told, and how often it rested."""
    if kind == "sync":
        transport = Transport(*streams)
        return list(Maintenance(transport).collect()), transport.rests  # type: ignore[arg-type]
    waiting = AsyncTransport(*streams)
    return [told async for told in AsyncMaintenance(waiting).collect()], waiting.rests  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["sync", "asyncio"])
async def test_a_collection_that_no_node_could_begin_is_begun_again_and_one_under_way_is_not(kind: str) -> None:
    assert await collected(kind, [away()], [NODE, away()], [NODE, DONE]) == ([NODE, NODE, DONE], 2)
    with pytest.raises(Unavailable):
        await collected(kind, [NODE, DONE, away()], [NODE, DONE])
