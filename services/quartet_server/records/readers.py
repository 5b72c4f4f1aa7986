"""Threads that read, each over a connection of its own; a call to one and back costs less than an executor's."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, Protocol

from quartet_server.errors import NodeStopping
from quartet_server.record_errors import DatabaseBusy
from quartet_server.records.contract import Work
from quartet_server.records.writer import settle

_BUSY_RETRY = 0.25  # seconds


class Reading(Protocol):
    """A connection that reads; belongs to the thread that opened it."""

    def read(self, zone: str, work: Work[Any]) -> Any:
        """Run `work` in a transaction that cannot write; raises what it raises."""

    def close(self) -> None:
        """Give the connection up."""


class Readers:
    """At most so many threads, begun when there is something to read and all others are busy; for the event loop."""

    def __init__(self, name: str, count: int, opening: Callable[[], Reading], *, limit: int) -> None:
        """Prepare.

        Args:
            name: Whose readers they are.
            count: Most threads.
            opening: Opens a connection, in the thread that will use it.
            limit: Reads that may wait or run; the next is refused.
        """
        self._name = name
        self._count = count
        self._opening = opening
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[tuple[asyncio.Future[Any], str, Work[Any]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._closed = False

    async def read(self, zone: str, work: Work[Any]) -> Any:
        """Return what `work` returned. Raises DatabaseBusy, NodeStopping, and what the work or the opening raised."""
        if self._closed:
            raise NodeStopping("the node is shutting down")
        if self._busy >= self._limit:
            raise DatabaseBusy(
                f"{self._busy} reads wait for database {self._name} already",
                retry_after=_BUSY_RETRY,
                database=self._name,
            )
        self._busy += 1
        if self._busy > len(self._threads) < self._count:
            name = f"records-{self._name}-read-{len(self._threads)}"
            thread = threading.Thread(target=self._serve, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
        future: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put((future, zone, work))
        try:
            return await future
        finally:
            self._busy -= 1

    async def close(self) -> None:
        """Let reads that wait finish, then end the threads."""
        self._closed = True
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _serve(self) -> None:
        reading: Reading | None = None
        while (taken := self._queue.get()) is not None:
            future, zone, work = taken
            result, error = None, None
            try:
                if reading is None:
                    reading = self._opening()
                result = reading.read(zone, work)
            except Exception as failed:  # noqa: BLE001 - it is the caller's
                error = failed
            self._loop.call_soon_threadsafe(settle, future, result, error)
        if reading is not None:
            reading.close()
