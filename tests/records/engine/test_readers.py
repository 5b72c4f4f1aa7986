"""Threads that read: begun as they are needed, each with its connection; what goes wrong is told to who asked."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from quartet_server.errors import NodeStopping
from quartet_server.record_errors import DatabaseBusy
from quartet_server.records.contract import Work
from quartet_server.records.readers import Readers

NOTHING: Any = None


class Connections:
    """Opens connections that only call the work; `broken` openings fail first."""

    def __init__(self, broken: int = 0) -> None:
        """Begin with none."""
        self.broken = broken
        self.opened = 0
        self.closed = 0
        self.reading = 0
        self._lock = threading.Lock()

    def __call__(self) -> Connections:
        """Open one."""
        if self.broken:
            self.broken -= 1
            raise OSError("not now")
        with self._lock:
            self.opened += 1
        return self

    def read(self, zone: str, work: Work[Any]) -> Any:
        """Run the work."""
        with self._lock:
            self.reading += 1
        return work(NOTHING)

    def close(self) -> None:
        """Close it."""
        with self._lock:
            self.closed += 1


async def test_one_thread_is_enough_for_reads_that_do_not_overlap() -> None:
    connections = Connections()
    readers = Readers("test", 4, connections, limit=10)
    for number in range(20):
        assert await readers.read("a", lambda _session, told=number: told) == number  # type: ignore[misc]
    assert connections.opened == 1
    await readers.close()
    assert connections.closed == 1


async def test_reads_that_overlap_have_a_thread_each_up_to_the_most_and_a_limit() -> None:
    connections = Connections()
    readers = Readers("test", 2, connections, limit=3)
    hold = threading.Event()
    tasks = [asyncio.create_task(readers.read("a", lambda _session: hold.wait(20))) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(DatabaseBusy) as refused:
        await readers.read("a", lambda _session: None)
    assert refused.value.retry_after
    async with asyncio.timeout(20):
        while connections.reading < 2:
            await asyncio.sleep(0.01)
    hold.set()
    assert await asyncio.gather(*tasks) == [True] * 3
    assert connections.opened == 2
    await readers.close()
    with pytest.raises(NodeStopping):
        await readers.read("a", lambda _session: None)


async def test_what_a_read_raises_is_its_callers_and_nobody_elses() -> None:
    def end(_session: object) -> None:
        raise StopIteration

    readers = Readers("test", 1, Connections(broken=1), limit=10)
    with pytest.raises(OSError, match="not now"):
        await readers.read("a", lambda _session: 1)
    with pytest.raises(ZeroDivisionError):
        await readers.read("a", lambda _session: 1 // 0)
    with pytest.raises(RuntimeError, match="iteration"):
        await readers.read("a", end)
    assert await readers.read("a", lambda _session: 1) == 1
    await readers.close()


async def test_a_caller_that_goes_away_leaves_the_reader_to_the_next() -> None:
    readers = Readers("test", 1, Connections(), limit=10)
    hold = threading.Event()
    going = asyncio.create_task(readers.read("a", lambda _session: hold.wait(20)))
    await asyncio.sleep(0)
    going.cancel()
    hold.set()
    assert await readers.read("a", lambda _session: 1) == 1
    await readers.close()
