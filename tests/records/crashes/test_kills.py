"""64 writers and 16 readers on one node that is killed in the middle: nothing acknowledged is lost, nothing is ever locked."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from harness.fleet import Fleet
from quartet.events.v1 import appending_pb2, event_pb2, reading_pb2
from quartet.events.v1.events_pb2_grpc import EventServiceStub

if TYPE_CHECKING:
    from quartet.events.v1.events_pb2_grpc import EventServiceAsyncStub

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("QUARTET_FLOOD_SECONDS", "6"))
"""Of the flood, in two halves; the issue of records asks for 30."""
WRITERS, READERS = 64, 16


class Flood:
    """Calls of many clients at once.

    Attributes:
        acknowledged: Ids of events that the node said it has.
        errors: What went wrong, but for a node that was gone.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """Call over `channel`."""
        self._stub: EventServiceAsyncStub = EventServiceStub(channel)
        self.acknowledged: dict[str, int] = {}
        self.errors: list[str] = []
        self.reads = 0

    async def run(self, life: int, seconds: float, at_half: Callable[[], Awaitable[None]] | None = None) -> None:
        """Write and read for so long."""
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as tasks:
            for writer in range(WRITERS):
                tasks.create_task(self._write(f"{life}-{writer}", until))
            for _ in range(READERS):
                tasks.create_task(self._read(until))
            if at_half is not None:
                await asyncio.sleep(seconds / 2)
                await at_half()

    async def _write(self, name: str, until: float) -> None:
        number = 0
        while time.monotonic() < until:
            number += 1
            made = event_pb2.Event(
                source="flood", source_id=f"{name}-{number}", type="message", content=f"the number {number} of {name}",
                from_channel="flood", thread_id=name,
            )  # fmt: skip
            made.timestamp.GetCurrentTime()
            try:
                answer = await self._stub.Append(appending_pb2.AppendRequest(event=made), timeout=20)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    return  # it was killed
                self.errors.append(str(error.details()))
            else:
                self.acknowledged[answer.id] = answer.position

    async def _read(self, until: float) -> None:
        while time.monotonic() < until:
            try:
                await self._stub.ListEvents(reading_pb2.ListEventsRequest(page_size=50), timeout=20)
                self.reads += 1
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    return
                self.errors.append(str(error.details()))

    async def lost(self) -> list[str]:
        """Ids that were acknowledged and are not there, or are somewhere else than was said."""
        found: dict[str, int] = {}
        ids = list(self.acknowledged)
        for start in range(0, len(ids), 1000):
            try:
                answer = await self._stub.BatchGetEvents(
                    reading_pb2.BatchGetEventsRequest(ids=ids[start : start + 1000])
                )
            except grpc.aio.AioRpcError as error:
                return [str(error.details())]
            found |= {event.id: event.position for event in answer.events}
        return [one for one, position in self.acknowledged.items() if found.get(one) != position]


async def test_a_flood_of_writers_loses_nothing_to_kill_9_and_finds_nothing_locked(tmp_path: Path) -> None:
    with Fleet(tmp_path, 1) as fleet:
        node = fleet.nodes[0]
        async with grpc.aio.insecure_channel(node.endpoint) as channel:
            flood = Flood(channel)

            async def kill() -> None:
                node.kill()

            await flood.run(1, SECONDS, kill)
            await asyncio.to_thread(node.ended)
            before = len(flood.acknowledged)
            await asyncio.to_thread(node.start)
            await channel.channel_ready()
            assert await flood.lost() == []
            await flood.run(2, SECONDS / 2)
            assert await flood.lost() == []
        assert flood.errors == []
        assert 0 < before < len(flood.acknowledged)
        assert flood.reads > 0
        assert sorted(set(flood.acknowledged.values())) == sorted(
            flood.acknowledged.values()
        )  # each has a place of its own
        assert "locked" not in node.log()
