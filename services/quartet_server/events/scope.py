"""What narrows events down, as conditions over their table."""

from __future__ import annotations

import sqlalchemy as sa
from quartet.events.v1 import appending_pb2, event_pb2, reading_pb2

from quartet_server.errors import FieldInvalid
from quartet_server.events.encoding import moment
from quartet_server.events.schema import EVENTS, PARTICIPANTS
from quartet_server.records.codec import check_text

_COLUMNS = {
    "source": "source",
    "channel": "from_channel",
    "thread_id": "thread_id",
    "type": "type",
    "reply_to": "reply_to",
}
_DIRECTIONS = {
    event_pb2.DIRECTION_INBOUND: "inbound",
    event_pb2.DIRECTION_OUTBOUND: "outbound",
    event_pb2.DIRECTION_OBSERVED: "observed",
}


def conditions(scope: reading_pb2.EventScope, zone: str) -> list[sa.ColumnElement[bool]]:
    """Return what must hold of an event's row, besides its zone. Raises FieldInvalid."""
    columns = EVENTS.table.c
    found: list[sa.ColumnElement[bool]] = []
    for name, column in _COLUMNS.items():
        if value := getattr(scope, name):
            found.append(columns[column] == check_text(value, f"scope.{name}"))
    if scope.direction:
        if scope.direction not in _DIRECTIONS:
            raise FieldInvalid.of("scope.direction", "is not one of inbound, outbound, observed")
        found.append(columns.direction == _DIRECTIONS[scope.direction])
    if scope.HasField("start_time"):
        found.append(columns.timestamp >= moment(scope.start_time, "scope.start_time"))
    if scope.HasField("end_time"):
        found.append(columns.timestamp < moment(scope.end_time, "scope.end_time"))
    if scope.HasField("participant"):
        found.append(involves(scope.participant, zone, "scope.participant"))
    return found


def involves(somebody: appending_pb2.Participant, zone: str, path: str) -> sa.ColumnElement[bool]:
    """Return that somebody has to do with an event, in any role. Raises FieldInvalid, its field below `path`."""
    if not somebody.identifier:
        raise FieldInvalid.of(f"{path}.identifier", "is empty")
    check_text(somebody.identifier, f"{path}.identifier")
    check_text(somebody.channel, f"{path}.channel")
    who = PARTICIPANTS.table.alias("who")
    chosen = sa.select(who.c.event_id).where(who.c.zone == zone, who.c.identifier == somebody.identifier)
    if somebody.channel:
        return EVENTS.table.c.id.in_(chosen.where(who.c.channel == somebody.channel))
    # no index begins with the identifier: ask event by event
    return chosen.where(who.c.event_id == EVENTS.table.c.id).correlate(EVENTS.table).exists()
