"""Taking events out of the ledger, with all that is derived from them or hangs on them."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from quartet.events.v1 import appending_pb2 as pb

from quartet_server.errors import FieldInvalid
from quartet_server.events.rebuilding import refold
from quartet_server.events.schema import (
    DOCUMENTS,
    EVENT_TAGS,
    EVENTS,
    RETRIEVALS,
    STATE_LOG,
    STATES,
)
from quartet_server.events.scope import involves
from quartet_server.records import rows
from quartet_server.records.codec import check_text
from quartet_server.records.contract import Session
from quartet_server.records.lookups import check_batch
from quartet_server.records.schema import ZONE

MOST = 1_000
"""Most events of a call."""


def erase(session: Session, request: pb.EraseRequest) -> pb.EraseResponse:
    """Erase events; threads are summed up anew. Raises FieldInvalid, BatchTooLarge."""
    limit = request.limit or MOST
    if not 1 <= limit <= MOST:
        raise FieldInvalid.of("limit", f"0 to {MOST} are taken")
    table = EVENTS.table.c
    chosen = (
        sa.select(table.id, table.thread_id)
        .where(table[ZONE] == session.zone, _named(session.zone, request))
        .order_by(table.position)
        .limit(limit + 1)
    )
    found = session.connection.execute(chosen).all()
    doomed = found[:limit]
    _delete(session, [identity for identity, _ in doomed])
    refold(session, sorted({thread for _, thread in doomed if thread is not None}))
    return pb.EraseResponse(erased=len(doomed), more=len(found) > limit)


def _named(zone: str, request: pb.EraseRequest) -> sa.ColumnElement[bool]:
    """Return which events are meant. Raises FieldInvalid, BatchTooLarge."""
    said = [bool(request.ids), bool(request.thread_id), request.HasField("participant")]
    if sum(said) != 1:
        raise FieldInvalid.of("ids", "ids, thread_id, participant: exactly one of them says which events")
    if request.ids:
        check_batch("ids", len(request.ids))
        ids = [rows.check_id(identity, f"ids[{place}]") for place, identity in enumerate(request.ids)]
        return EVENTS.table.c.id.in_(ids)
    if request.thread_id:
        return EVENTS.table.c.thread_id == check_text(request.thread_id, "thread_id")
    return involves(request.participant, zone, "participant")


def _delete(session: Session, ids: Sequence[str]) -> None:
    """Delete events and what refers to them; participants and attachments go with them by themselves."""
    if not ids:
        return
    heads, log = DOCUMENTS.table, RETRIEVALS.table
    gone = sa.select(heads.c.doc_key).where(heads.c[ZONE] == session.zone, heads.c.current_event_id.in_(ids))
    keys = list(session.connection.execute(gone).scalars())
    session.connection.execute(
        sa.delete(log).where(log.c[ZONE] == session.zone, log.c.event_id.in_(ids) | log.c.doc_key.in_(keys))
    )
    if keys:
        session.connection.execute(sa.delete(heads).where(heads.c[ZONE] == session.zone, heads.c.doc_key.in_(keys)))
    for record, column in ((STATES, "event_id"), (STATE_LOG, "event_id"), (EVENT_TAGS, "event_id"), (EVENTS, "id")):
        table = record.table
        session.connection.execute(sa.delete(table).where(table.c[ZONE] == session.zone, table.c[column].in_(ids)))
