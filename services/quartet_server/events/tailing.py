"""Reading the ledger from a position on, and then as it grows."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa
from quartet.events.v1 import reading_pb2 as pb

from quartet_server.errors import FieldInvalid
from quartet_server.event_errors import CursorAhead
from quartet_server.events.schema import CONSUMERS, EVENTS, POSITIONS, SCHEMA
from quartet_server.records import rows, statements
from quartet_server.records.codec import check_text
from quartet_server.records.contract import Database, Session
from quartet_server.records.paging import MAX_BYTES
from quartet_server.records.schema import ZONE

BATCH, MOST = 100, 1_000
"""Events of an answer when nobody said, and at most."""
WINDOW = 10_000
"""Positions that are looked at for one answer when only some events are wanted."""
POLL = 1.0
"""Seconds after which the ledger is asked again, though nothing was heard of it."""
HEARTBEAT = 5.0
"""Seconds of silence after which an empty answer is sent."""
_FILTERS = {"source": "source", "channel": "from_channel", "thread_id": "thread_id", "type": "type"}
_POSITIONS = SCHEMA.metadata.tables[POSITIONS]


def end(session: Session) -> int:
    """Return the position that was drawn last in the zone: all up to it is committed; 0 when there is none."""
    found = session.connection.execute(
        sa.select(_POSITIONS.c.position).where(_POSITIONS.c[ZONE] == session.zone)
    ).scalar_one_or_none()
    return int(found or 0)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The next events.

    Attributes:
        answer: What is sent.
        more: There is more behind it.
    """

    answer: pb.TailResponse
    more: bool


async def tail(
    database: Database, zone: str, request: pb.TailRequest, clock: Callable[[], float]
) -> AsyncGenerator[pb.TailResponse, None]:
    """Send the events behind a position, then those that come; see the service's contract. `clock` counts seconds."""
    if not 0 <= request.batch_size <= MOST:
        raise FieldInvalid.of("batch_size", f"0 to {MOST} are taken")
    if request.HasField("after_position") and request.after_position < 0:
        raise FieldInvalid.of("after_position", "is negative")
    for name in ("consumer", *_FILTERS):
        check_text(getattr(request, name), name)
    version = database.version(zone)
    position = await database.read(zone, lambda session: _start(session, request))
    spoke, first = clock(), True
    while True:
        began = position
        stretch = await database.read(zone, partial(_next, request=request, position=position))
        position = stretch.answer.position
        if first or stretch.answer.events or position != began or clock() - spoke >= HEARTBEAT:
            yield stretch.answer
            spoke, first = clock(), False
        if stretch.more:
            continue
        if request.once:
            return
        version = await database.changed(zone, version, POLL)


def _start(session: Session, request: pb.TailRequest) -> int:
    """Return the position behind which to begin. Raises CursorAhead, RecordNotFound."""
    last = end(session)
    if request.HasField("after_position"):
        position = request.after_position
    elif request.consumer:
        consumer = rows.find(session, CONSUMERS, request.consumer)
        position = consumer.position if consumer is not None else 0
    else:
        position = last
    check_reached(position, last)
    return position


def check_reached(position: int, last: int) -> None:
    """Let pass a position that the ledger, which ends at `last`, has reached. Raises CursorAhead."""
    if position > last:
        raise CursorAhead(f"position {position} is behind the ledger's end, {last}", position=position, end=last)


def _next(session: Session, request: pb.TailRequest, position: int) -> _Stretch:
    table, size = EVENTS.table.c, request.batch_size or BATCH
    last = end(session)
    upto = last
    chosen = statements.columns(EVENTS).where(table[ZONE] == session.zone, table.position > position)
    wanted = [table[column] == getattr(request, name) for name, column in _FILTERS.items() if getattr(request, name)]
    if wanted:
        upto = min(last, position + WINDOW)
        chosen = chosen.where(table.position <= upto, *wanted)
    answer, bytes_ = pb.TailResponse(), 0
    result = session.connection.execute(chosen.order_by(table.position).limit(size + 1))
    for row in result:
        if len(answer.events) == size or bytes_ > MAX_BYTES:
            upto = answer.events[-1].position
            break
        event = EVENTS.codec.decode(row, row[-1])
        bytes_ += event.ByteSize()
        answer.events.append(event)
    result.close()
    answer.position = upto
    answer.caught_up = upto == last
    return _Stretch(answer, not answer.caught_up)
