"""What happens in a session, told as it happens: where its pointer goes, and what comes into the turn at which it is."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace

from quartet.agents.v1 import session_calls_pb2 as calls
from quartet.agents.v1 import sessions_pb2, turns_pb2

from quartet_server.agents import lookup, reading
from quartet_server.agents.fields import forget
from quartet_server.agents.numbers import highest
from quartet_server.agents.schema import HISTORY, MESSAGES, SESSIONS, TOOL_CALLS, TURNS
from quartet_server.agents.streaming import SETTLED
from quartet_server.errors import FieldInvalid
from quartet_server.records import rows
from quartet_server.records.codec import micros
from quartet_server.records.contract import Database
from quartet_server.records.contract import Session as Transaction

IDLE = 1.0
"""Seconds after which the database is asked again though this node heard of no write."""
_EVENTS, _BYTES = 256, 2 << 20  # of what is read at once
_OWN = ("thread_id", "updated_at", "etag")  # what every move changes of a session


@dataclass(slots=True)
class Place:
    """How far a session was told.

    Attributes:
        label: Its label.
        history_id: The last move that was told; 0 for none.
        changed_at: When that was, in microseconds.
        turn_id: The turn to which it led; empty for none.
        sequence: The last message of that turn that was told.
        status: The turn's status, as it was told.
        calls: The last tool call of it that was told, by its sequence.
        unsettled: Etags, by id, of those that were told and had not ended.
        session: The session as it was told last.
    """

    label: str
    history_id: int = 0
    changed_at: int = 0
    turn_id: str = ""
    sequence: int = 0
    status: int = 0
    calls: int = 0
    unsettled: dict[str, str] = field(default_factory=dict)
    session: sessions_pb2.Session | None = None


async def watch(
    database: Database, zone: str, request: calls.WatchSessionRequest, idle: float = IDLE
) -> AsyncGenerator[calls.WatchSessionResponse, None]:
    """Yield what happens in a session until nobody listens. Raises SessionNotFound, FieldInvalid."""
    version = database.version(zone)
    place = await database.read(zone, lambda at: begin(at, request))
    while True:
        before = place
        events, place, more = await database.read(zone, lambda at: tell(at, before))  # noqa: B023 - awaited at once
        for event in events:
            yield event
        if not more:
            version = await database.changed(zone, version, idle)


def begin(at: Transaction, request: calls.WatchSessionRequest) -> Place:
    """Return the place behind which the request asks to go on. Raises SessionNotFound, FieldInvalid."""
    session = lookup.session(at, request.session_label)
    if request.after_sequence < 0:
        raise FieldInvalid.of("after_sequence", "must not be negative")
    place = Place(session.label)
    if request.HasField("after_history_id"):
        if not request.after_history_id:
            return place
        move = rows.find(at, HISTORY, request.after_history_id)
        if move is None or move.session_label != session.label:
            raise FieldInvalid.of("after_history_id", "is no move of this session")
        place.sequence = request.after_sequence
    else:
        columns = HISTORY.table.c
        newest = (columns.changed_at.desc(), columns.id.desc())
        last = rows.select(at, HISTORY, columns.session_label == session.label, order=newest, limit=1)
        if not last:
            return place
        move = last[0]
        place.sequence = highest(at, MESSAGES, "sequence", "turn_id", move.thread_id)
        _know_calls(at, place, move.thread_id)
    place.history_id, place.changed_at, place.turn_id = move.id, micros(move.changed_at), move.thread_id
    place.status = rows.fetch(at, TURNS, move.thread_id).status
    return place


def tell(at: Transaction, before: Place) -> tuple[list[calls.WatchSessionResponse], Place, bool]:
    """Return what is behind the place `before`, the place behind that, and whether there may be more."""
    place = replace(before, unsettled=dict(before.unsettled))
    events: list[calls.WatchSessionResponse] = []
    _tell_session(at, place, events)
    room = _BYTES
    while True:
        if place.turn_id:
            for message in reading.behind(at, MESSAGES, place.turn_id, place.sequence):
                whole = reading.noted(at, message)
                place.sequence = message.sequence
                room -= whole.ByteSize()
                events.append(_event(place, calls.SESSION_EVENT_TYPE_MESSAGE, message=whole))
                if room < 0 or len(events) >= _EVENTS:
                    return events, place, True
            room -= _tell_calls(at, place, events)
            turn = rows.fetch(at, TURNS, place.turn_id)
            if turn.status != place.status:
                place.status = turn.status
                events.append(_event(place, calls.SESSION_EVENT_TYPE_TURN_STATUS, turn=turn))
            if room < 0 or len(events) >= _EVENTS:
                return events, place, True
        columns = HISTORY.table.c
        moves = rows.select(
            at,
            HISTORY,
            columns.session_label == place.label,
            columns.changed_at >= place.changed_at,
            columns.id > place.history_id,
            order=(columns.changed_at, columns.id),
            limit=1,
        )
        if not moves:
            return events, place, False
        turn = rows.fetch(at, TURNS, moves[0].thread_id)
        _go(place, moves[0], turn)
        events.append(_event(place, calls.SESSION_EVENT_TYPE_HEAD_MOVED, move=moves[0], turn=turn))


def _go(place: Place, move: sessions_pb2.SessionHistory, turn: turns_pb2.Turn) -> None:
    place.history_id, place.changed_at = move.id, micros(move.changed_at)
    place.turn_id, place.status = turn.id, turn.status
    place.sequence = place.calls = 0
    place.unsettled.clear()


def _tell_session(at: Transaction, place: Place, events: list[calls.WatchSessionResponse]) -> None:
    """Tell the session where it is not what it was, apart from where it is."""
    now = rows.fetch(at, SESSIONS, place.label)
    plain = sessions_pb2.Session()
    plain.CopyFrom(now)
    forget(plain, *_OWN)
    if plain != place.session:
        place.session = plain
        events.append(_event(place, calls.SESSION_EVENT_TYPE_SESSION, session=now))


def _tell_calls(at: Transaction, place: Place, events: list[calls.WatchSessionResponse]) -> int:
    """Tell the tool calls that are new, and those that have come further; return their bytes, about."""
    told = 0
    for known, etag in list(place.unsettled.items()):
        call = rows.fetch(at, TOOL_CALLS, known)
        if call.etag != etag:
            place.unsettled[known] = call.etag
            if call.status in SETTLED:
                del place.unsettled[known]
            events.append(_event(place, calls.SESSION_EVENT_TYPE_TOOL_CALL, tool_call=call))
            told += call.ByteSize()
    for call in reading.behind(at, TOOL_CALLS, place.turn_id, place.calls):
        place.calls = call.sequence
        if call.status not in SETTLED:
            place.unsettled[call.id] = call.etag
        events.append(_event(place, calls.SESSION_EVENT_TYPE_TOOL_CALL, tool_call=call))
        told += call.ByteSize()
        if told > _BYTES:
            break
    return told


def _know_calls(at: Transaction, place: Place, turn_id: str) -> None:
    """Take the tool calls of a turn as told."""
    columns = TOOL_CALLS.table.c
    place.calls = highest(at, TOOL_CALLS, "sequence", "turn_id", turn_id)
    for call in rows.select(at, TOOL_CALLS, columns.turn_id == turn_id, columns.status.in_(("pending", "running"))):
        place.unsettled[call.id] = call.etag


def _event(place: Place, kind: calls.SessionEventType.ValueType, **what: object) -> calls.WatchSessionResponse:
    return calls.WatchSessionResponse(type=kind, history_id=place.history_id, sequence=place.sequence, **what)  # type: ignore[arg-type]
