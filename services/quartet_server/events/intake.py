"""Where single events wait together: what has arrived is appended in one transaction, and nobody waits for who comes later."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from quartet_server.events.appending import Appended, IdTakenError, Row, append
from quartet_server.record_errors import DatabaseBusy
from quartet_server.records.contract import Database

GROUP = 512
"""Most events that are appended together."""
IN_FLIGHT = 2
"""Transactions of a zone that may be on their way: while one is made durable, the next is put together."""
WAITING = 8192
"""Events of a zone that may wait; the next caller is refused."""


@dataclass(slots=True, eq=False)
class _Caller:
    rows: Sequence[Row]
    future: asyncio.Future[list[Appended]]


class _Line:
    """The callers of a zone that wait."""

    def __init__(self) -> None:
        self.callers: deque[_Caller] = deque()
        self.waiting = 0
        self.workers = 0

    def take(self) -> list[_Caller]:
        """Return the callers that come next, at least one and together not much more than GROUP events."""
        taken: list[_Caller] = []
        count = 0
        while self.callers and (not taken or count + len(self.callers[0].rows) <= GROUP):
            caller = self.callers.popleft()
            count += len(caller.rows)
            taken.append(caller)
        self.waiting -= count
        return taken


class Intake:
    """Appends events of many callers together. For the event loop only.

    A savepoint makes SQLite's full-text index write what it has gathered, so that transactions are joined here, where one
    savepoint does for all, and not by the database's writer.
    """

    def __init__(self, database: Database) -> None:
        """Append to `database`."""
        self._database = database
        self._lines: dict[str, _Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def append(self, zone: str, rows: Sequence[Row]) -> list[Appended]:
        """Append rows of one caller, all or none; return what became of them when that is durable.

        Raises IdTakenError, DatabaseBusy and what `Database.write` does.
        """
        line = self._lines.setdefault(zone, _Line())
        if line.waiting + len(rows) > WAITING:
            raise DatabaseBusy(
                f"{line.waiting} events wait for the ledger already", retry_after=0.25, database="events"
            )
        caller = _Caller(rows, asyncio.get_running_loop().create_future())
        line.callers.append(caller)
        line.waiting += len(rows)
        if line.workers < IN_FLIGHT:
            line.workers += 1
            task = asyncio.create_task(self._work(zone, line), context=contextvars.Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await caller.future

    async def close(self) -> None:
        """Wait until everything that was taken in is answered."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def _work(self, zone: str, line: _Line) -> None:
        try:
            while callers := line.take():
                await self._together(zone, callers)
        finally:
            line.workers -= 1
            if not line.workers and not line.callers:
                self._lines.pop(zone, None)

    async def _together(self, zone: str, callers: Sequence[_Caller]) -> None:
        rows = [row for caller in callers for row in caller.rows]
        try:
            results = await self._database.write(zone, lambda session: append(session, rows))
        except IdTakenError:
            for caller in callers:  # one of them is to blame: each by itself
                await self._alone(zone, caller)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            for caller in callers:
                _fail(caller, error)
        else:
            start = 0
            for caller in callers:
                end = start + len(caller.rows)
                if not caller.future.done():
                    caller.future.set_result(results[start:end])
                start = end

    async def _alone(self, zone: str, caller: _Caller) -> None:
        try:
            results = await self._database.write(zone, lambda session: append(session, caller.rows))
        except Exception as error:  # noqa: BLE001 - as above
            _fail(caller, error)
        else:
            if not caller.future.done():
                caller.future.set_result(results)


def _fail(caller: _Caller, error: Exception) -> None:
    if not caller.future.done():
        caller.future.set_exception(error)
