"""The calls that append: one event, a batch, a stream of single events, a stream of batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from quartet.events.v1 import appending_pb2 as pb
from quartet.events.v1 import event_pb2

from quartet_server.errors import FieldInvalid
from quartet_server.event_errors import LedgerAppendOnly
from quartet_server.events.appending import Appended, IdTakenError, Row, append
from quartet_server.events.encoding import ID, encode
from quartet_server.events.intake import GROUP, Intake
from quartet_server.records.contract import Database

MAX_BATCH = 1_000
"""Most events of a batch."""
_AHEAD = 2 * GROUP
"""Events of a stream that are taken off the wire before those in front of them are answered."""
_INLINE = 64
"""Events that are turned into rows where they come; more of them in a thread, so that other calls go on."""


async def append_one(intake: Intake, zone: str, event: event_pb2.Event) -> pb.AppendResult:
    """Append an event. Raises FieldInvalid, LedgerAppendOnly."""
    row = encode(event)
    try:
        (done,) = await intake.append(zone, [row])
    except IdTakenError:
        raise taken(row, 0) from None
    return result(done)


async def append_batch(database: Database, zone: str, events: Sequence[event_pb2.Event]) -> pb.BatchAppendResponse:
    """Append a batch, all or none. Raises FieldInvalid, LedgerAppendOnly."""
    return await _write(database, zone, await _rows(events))


async def append_each(
    intake: Intake, zone: str, requests: AsyncIterator[pb.AppendEachRequest]
) -> AsyncGenerator[pb.AppendEachResponse, None]:
    """Append single events as they come; see the service's contract."""
    inbox = _Inbox(requests)
    answered = 0
    try:
        while rows := await inbox.take():
            try:
                done = await intake.append(zone, rows)
            except IdTakenError as error:
                if error.place:
                    before = await intake.append(zone, rows[: error.place])
                    yield pb.AppendEachResponse(results=[result(one) for one in before])
                raise taken(rows[error.place], answered + error.place) from None
            answered += len(rows)
            yield pb.AppendEachResponse(results=[result(one) for one in done])
        inbox.raise_what_ended_it(answered)
    finally:
        await inbox.close()


async def append_batches(
    database: Database, zone: str, requests: AsyncIterator[pb.AppendBatchesRequest]
) -> AsyncGenerator[pb.BatchAppendResponse, None]:
    """Append batch after batch; the next is made ready while one is made durable."""
    writing: asyncio.Task[pb.BatchAppendResponse] | None = None
    try:
        async for request in requests:
            try:
                rows = await _rows(request.events)
            except FieldInvalid:
                if writing is not None:
                    yield await writing
                raise
            before, writing = writing, None
            if before is not None:
                answer = await before
                writing = asyncio.create_task(_write(database, zone, rows))
                yield answer
            else:
                writing = asyncio.create_task(_write(database, zone, rows))
        if writing is not None:
            answer, writing = await writing, None
            yield answer
    finally:
        if writing is not None:  # the caller has gone; what was begun is finished, and nobody asks how
            await asyncio.wait([writing])
            writing.exception()


def result(done: Appended) -> pb.AppendResult:
    """Return the answer for one event."""
    identity, position, created = done
    return pb.AppendResult(
        id=identity, position=position, outcome=pb.OUTCOME_CREATED if created else pb.OUTCOME_DUPLICATE
    )


def taken(row: Row, place: int) -> LedgerAppendOnly:
    """Return the error for a row whose id is another event's."""
    return LedgerAppendOnly(
        f"{str(row[ID])[:128]} is the id of an event of another source or source id, which stays as it is",
        id=str(row[ID])[:128],
        row=place,
    )


async def _rows(events: Sequence[event_pb2.Event]) -> list[Row]:
    count = len(events)
    if not 1 <= count <= MAX_BATCH:
        raise FieldInvalid.of("events", f"has {count} events; it takes 1 to {MAX_BATCH}")
    if count <= _INLINE:
        return _encode(events)
    return await asyncio.to_thread(_encode, events)


def _encode(events: Sequence[event_pb2.Event]) -> list[Row]:
    return [encode(event, f"events[{place}]") for place, event in enumerate(events)]


async def _write(database: Database, zone: str, rows: list[Row]) -> pb.BatchAppendResponse:
    try:
        done = await database.write(zone, lambda session: append(session, rows))
    except IdTakenError as error:
        raise taken(rows[error.place], error.place) from None
    created = sum(1 for one in done if one.created)
    return pb.BatchAppendResponse(results=[result(one) for one in done], created=created)


class _Inbox:
    """Takes events off a stream while those before them are written, a limited number ahead."""

    def __init__(self, requests: AsyncIterator[pb.AppendEachRequest]) -> None:
        self._rows: list[Row] = []
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._ended = False
        self._error: Exception | None = None
        self._reader = asyncio.create_task(self._read(requests))

    async def take(self) -> list[Row]:
        """Return the rows that have arrived, at least one and at most GROUP; none when the stream has ended."""
        while not self._rows and not self._ended:
            self._arrived.clear()
            await self._arrived.wait()
        rows, self._rows = self._rows[:GROUP], self._rows[GROUP:]
        self._room.set()
        return rows

    def raise_what_ended_it(self, row: int) -> None:
        """Raise the error of the event `row`, if that is what ended the stream."""
        if isinstance(self._error, FieldInvalid):
            self._error.metadata["row"] = str(row)
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """Stop reading."""
        self._reader.cancel()
        await asyncio.wait([self._reader])

    async def _read(self, requests: AsyncIterator[pb.AppendEachRequest]) -> None:
        try:
            async for request in requests:
                self._rows.append(encode(request.event))
                self._arrived.set()
                while len(self._rows) >= _AHEAD:
                    self._room.clear()
                    await self._room.wait()
        except Exception as error:  # noqa: BLE001 - told to the caller behind the answers for what came before
            self._error = error
        finally:
            self._ended = True
            self._arrived.set()
