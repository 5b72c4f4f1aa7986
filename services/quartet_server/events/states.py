"""What people do with events: states, with their log, and tags."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from quartet.events.v1 import keeping_pb2, state_pb2

from quartet_server.errors import FieldInvalid
from quartet_server.events.encoding import short
from quartet_server.events.schema import EVENT_TAGS, EVENTS, STATE_LOG, STATES, TAGS
from quartet_server.record_errors import ReferenceMissing
from quartet_server.records import rows
from quartet_server.records.codec import stamp
from quartet_server.records.contract import Session
from quartet_server.records.lookups import check_batch
from quartet_server.records.schema import ZONE

MAX_TAGS = 100
"""Most tags of a call."""
_NAMES = {
    state_pb2.STATE_KEY_VIEWED: "viewed",
    state_pb2.STATE_KEY_ARCHIVED: "archived",
    state_pb2.STATE_KEY_PINNED: "pinned",
    state_pb2.STATE_KEY_FLAGGED: "flagged",
}


def set_state(session: Session, request: keeping_pb2.SetStateRequest) -> state_pb2.EventState:
    """Set or clear a state of an event, and log it. Raises FieldInvalid, RecordNotFound."""
    if request.state_key == state_pb2.STATE_KEY_UNSPECIFIED:
        raise FieldInvalid.of("state_key", "is not said")
    name = _NAMES.get(request.state_key)
    if name is not None and request.value not in (0, 1):
        raise FieldInvalid.of("value", f"of {name} is 0 or 1")
    rows.fetch(session, EVENTS, request.event_id)
    log = state_pb2.EventStateLog(
        event_id=request.event_id,
        state_key=request.state_key,
        state_value=request.value,
        changed_at=stamp(session.now),
        changed_by=request.changed_by or None,
        source=request.source or None,
    )
    if request.HasField("metadata"):
        log.metadata.CopyFrom(request.metadata)
    rows.insert(session, STATE_LOG, log)
    state = rows.find(session, STATES, request.event_id)
    known = state is not None
    state = state or state_pb2.EventState(event_id=request.event_id)
    changed = []
    if name is not None and getattr(state, f"is_{name}") is not bool(request.value):
        setattr(state, f"is_{name}", bool(request.value))
        state.ClearField(f"{name}_at")  # type: ignore[arg-type]
        if request.value:
            getattr(state, f"{name}_at").CopyFrom(stamp(session.now))
        changed += [f"is_{name}", f"{name}_at"]
    if request.HasField("metadata"):
        state.metadata.CopyFrom(request.metadata)
        changed.append("metadata")
    if not known:
        return rows.insert(session, STATES, state)
    return rows.update(session, STATES, state, changed)


def normalized(name: str) -> str:
    """Return what makes two tags the same: small letters, no space around it, one blank inside."""
    return " ".join(name.casefold().split())


def tag(session: Session, request: keeping_pb2.TagRequest) -> keeping_pb2.TagResponse:
    """Hang tags on events. Raises FieldInvalid, BatchTooLarge, ReferenceMissing."""
    ids, names = _asked(request.event_ids, request.names)
    if not names:
        raise FieldInvalid.of("names", "is empty")
    _demand(session, ids)
    answer = keeping_pb2.TagResponse()
    for normal, name in names.items():
        made = _tag(session, normal) or rows.insert(session, TAGS, state_pb2.Tag(name=name, normalized=normal))
        answer.tags.append(made)
        pairs = []
        for identity in ids:
            pair = state_pb2.EventTag(
                event_id=identity,
                tag_id=made.id,
                tagged_at=stamp(session.now),
                tagged_by=request.tagged_by or None,
                source=request.source or None,
            )
            if request.HasField("metadata"):
                pair.metadata.CopyFrom(request.metadata)
            pairs.append(pair)
        added = rows.insert_all(session, EVENT_TAGS, pairs, skip_existing=True)
        answer.added += sum(one is not None for one in added)
    return answer


def untag(session: Session, request: keeping_pb2.UntagRequest) -> keeping_pb2.UntagResponse:
    """Take tags from events. Raises FieldInvalid, BatchTooLarge."""
    ids, names = _asked(request.event_ids, request.names)
    pairs, tags = EVENT_TAGS.table, TAGS.table
    doomed = sa.delete(pairs).where(pairs.c[ZONE] == session.zone, pairs.c.event_id.in_(ids))
    if names:
        chosen = sa.select(tags.c.id).where(tags.c[ZONE] == session.zone, tags.c.normalized.in_(list(names)))
        doomed = doomed.where(pairs.c.tag_id.in_(chosen))
    if request.source:
        doomed = doomed.where(pairs.c.source == short(request.source, "source"))
    return keeping_pb2.UntagResponse(removed=session.connection.execute(doomed).rowcount)


def _asked(event_ids: Iterable[str], given: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Return the ids of events, each once, and the names of tags by what makes them the same."""
    ids = list(dict.fromkeys(event_ids))
    if not ids:
        raise FieldInvalid.of("event_ids", "is empty")
    check_batch("event_ids", len(ids))
    for place, identity in enumerate(ids):
        rows.check_id(identity, f"event_ids[{place}]")
    names: dict[str, str] = {}
    for place, name in enumerate(given):
        normal = normalized(short(name, f"names[{place}]", 256))
        if not normal:
            raise FieldInvalid.of(f"names[{place}]", "is empty")
        names.setdefault(normal, name.strip())
    if len(names) > MAX_TAGS:
        raise FieldInvalid.of("names", f"has {len(names)} tags, more than {MAX_TAGS}")
    return ids, names


def _demand(session: Session, ids: list[str]) -> None:
    """Raise ReferenceMissing where an event is not there."""
    table = EVENTS.table.c
    chosen = sa.select(table.id).where(table[ZONE] == session.zone, table.id.in_(ids))
    missing = set(ids) - set(session.connection.execute(chosen).scalars())
    if missing:
        first = min(missing)[:128]
        raise ReferenceMissing(f"there is no event {first}", database="events", table="event_tags", id=first)


def _tag(session: Session, normal: str) -> state_pb2.Tag | None:
    found = rows.select(session, TAGS, TAGS.table.c.normalized == normal, limit=1)
    return found[0] if found else None
