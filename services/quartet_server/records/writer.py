"""Group commit: a thread that runs the writes which wait in one transaction, and answers them when it is durable."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

from quartet_server.errors import NodeStopping
from quartet_server.record_errors import DatabaseBusy
from quartet_server.records.contract import Work

GROUP_SECONDS = 0.02
"""A group that has run for so long is committed, though others wait."""
GROUP_WORKS = 512
"""Most works of a group."""
_BUSY_RETRY = 0.25


@dataclass(slots=True, eq=False)
class Pending:
    """A write that waits for its turn, or for its commit.

    Attributes:
        zone: Its zone.
        work: What it does.
        future: Where its caller waits.
        result: What the work returned.
        error: What it raised, or what came of the commit.
    """

    zone: str
    work: Work[Any]
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class Transactions(Protocol):
    """What a driver does for a writer; all of it is called in the writer's thread, one call at a time.

    A group is `begin`, `run` for each write, then `commit`. When `begin` or `commit` raises, nothing of the group has
    happened, and its writes get what was raised; the next group begins anew, over a fresh connection if need be.
    """

    def begin(self, first: Pending) -> None:
        """Begin a transaction, for a group that begins with `first`."""

    def joins(self, pending: Pending) -> bool:
        """Tell whether a write may be in the transaction that has begun; else it begins the next one."""

    def run(self, pending: Pending) -> None:
        """Run a write, apart from the others: set its `result`, or undo it alone and set its `error`."""

    def commit(self) -> None:
        """Make all of it durable."""

    def rollback(self) -> None:
        """Undo all of it, as far as it is not undone; must not raise."""

    def close(self) -> None:
        """Give up the connection; called once, at the end."""


@dataclass(slots=True)
class Counts:
    """What a writer has done since it began.

    Attributes:
        groups: Transactions that were committed.
        works: Writes in them, those that failed included.
        failed: Groups that could not be committed.
        busy: Writes that were refused because too many waited.
        sizes: Groups by the number of writes in them: up to 1, 2, 4, ... 512.
    """

    groups: int = 0
    works: int = 0
    failed: int = 0
    busy: int = 0
    sizes: list[int] = field(default_factory=lambda: [0] * 10)


class Writer:
    """Runs writes of a database one after another in a thread; `write` and `close` are for the event loop."""

    def __init__(
        self,
        name: str,
        transactions: Transactions,
        committed: Callable[[Sequence[str]], None],
        *,
        limit: int,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Start the thread.

        Args:
            name: Whose writer it is, for the thread's name and for errors.
            transactions: The driver's part; belongs to the thread from now on.
            committed: Called in the event loop with the zones of a group that is durable, before its callers are answered.
            limit: Writes that may wait; the next is refused.
            clock: Seconds, monotonic.
        """
        self.counts = Counts()
        self._name = name
        self._transactions = transactions
        self._committed = committed
        self._limit = limit
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[Pending | None] = queue.SimpleQueue()
        self._waiting = 0
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name=f"records-{name}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Writes that have no answer yet."""
        return self._waiting

    async def write(self, zone: str, work: Work[Any]) -> Any:
        """Return what `work` returned when it is durable. Raises DatabaseBusy, NodeStopping, and what the work raised."""
        if self._closed:
            raise NodeStopping("the node is shutting down")
        if self._waiting >= self._limit:
            self.counts.busy += 1
            raise DatabaseBusy(
                f"{self._waiting} writes wait for database {self._name} already",
                retry_after=_BUSY_RETRY,
                database=self._name,
            )
        pending = Pending(zone, work, self._loop.create_future())
        self._waiting += 1
        self._queue.put(pending)
        return await pending.future

    async def close(self) -> None:
        """Run what waits, then end the thread and close its connection."""
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _serve(self) -> None:
        first = self._queue.get()
        while first is not None:
            group: list[Pending] = []
            first = self._group(first, group)
            self._loop.call_soon_threadsafe(self._answer, group)
            if first is None:
                first = self._queue.get()
            elif first is _END:
                break
        self._transactions.close()

    def _group(self, first: Pending, group: list[Pending]) -> Pending | None:
        """Run a group that begins with `first`, into `group`; return the write that begins the next, if one was taken."""
        transactions, after = self._transactions, None
        group.append(first)
        try:
            transactions.begin(first)
            transactions.run(first)
            until = self._clock() + GROUP_SECONDS
            while len(group) < GROUP_WORKS and self._clock() < until:
                try:
                    taken = self._queue.get_nowait()
                except queue.Empty:
                    break
                if taken is None:
                    after = _END
                    break
                if not transactions.joins(taken):
                    after = taken
                    break
                group.append(taken)
                transactions.run(taken)
            transactions.commit()
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers of the group are told
            transactions.rollback()
            self.counts.failed += 1
            for one in group:
                one.error = error
        else:
            self.counts.groups += 1
            self.counts.works += len(group)
            self.counts.sizes[min((len(group) - 1).bit_length(), 9)] += 1
        return after

    def _answer(self, group: Sequence[Pending]) -> None:
        """Tell the callers of a group what came of it; in the event loop."""
        self._waiting -= len(group)
        written = {one.zone: None for one in group if one.error is None}
        if written:
            self._committed(tuple(written))
        for one in group:
            settle(one.future, one.result, one.error)


def settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    """Answer who waits for `future`, if anybody still does; in the event loop."""
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):  # a future takes anything but that
        future.set_exception(RuntimeError("a Work ended an iteration that is not its own"))
    else:
        future.set_exception(error)


_END: Any = object()
"""Stands for the end of the queue, where a write is expected."""
