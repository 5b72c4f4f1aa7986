"""Deriving threads, participants and attachments again from the events, and telling what was not as it should be."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa
from quartet.events.v1 import keeping_pb2 as pb

from quartet_server.errors import PageTokenInvalid
from quartet_server.events import deriving
from quartet_server.events.appending import store
from quartet_server.events.encoding import COLUMNS, ID
from quartet_server.events.schema import ATTACHMENTS, EVENTS, PARTICIPANTS, THREADS
from quartet_server.records.contract import Database, Session
from quartet_server.records.crossing import Step
from quartet_server.records.schema import ZONE, Record

PAGE = 500
"""Events, or threads, of one transaction: other writers of the zone wait for no more than that."""

_Rows = dict[tuple[Any, ...], tuple[Any, ...]]
_KEYS = {"event_participants": 5, "attachments": 2, "threads": 2}
"""How many columns, zone first, are the key of a row as `deriving` has it."""


async def rebuild(database: Database, zone: str, *, dry_run: bool) -> AsyncGenerator[pb.RebuildResponse, None]:
    """Go over all events of the zone and then all threads, page by page, and say how far it has come."""
    told = pb.RebuildResponse()
    position = 0
    run = database.read if dry_run else database.write
    while position >= 0:
        page = partial(_events, position=position, dry_run=dry_run)
        events, people, files, wrong, position = await run(zone, page)
        told.events += events
        told.participants += people
        told.attachments += files
        told.differences += wrong
        if events and position >= 0:
            yield _copy(told)
    thread: str | None = ""
    while thread is not None:
        threads, wrong, thread = await run(zone, partial(_threads, after=thread, dry_run=dry_run))
        told.threads += threads
        told.differences += wrong
        if threads and thread is not None:
            yield _copy(told)
    told.done = True
    yield told


def step(session: Session, after: str, _limit: int) -> Step:
    """Mend a page of events, or behind them of threads: the job `events.derived`, of which `after` is the place.

    Raises PageTokenInvalid where that is no place of this job.
    """
    phase, _, place = (after or "events:0").partition(":")
    if phase == "threads":
        threads, wrong, last = _threads(session, after=place, dry_run=False)
        return Step(threads, wrong, "" if last is None else f"threads:{last}")
    if phase != "events" or not (place.isascii() and place.isdigit() and len(place) < 19):
        raise PageTokenInvalid("the resume token is no place of events.derived")
    events, _people, _files, wrong, last_position = _events(session, position=int(place), dry_run=False)
    return Step(events, wrong, f"events:{last_position}" if last_position >= 0 else "threads:")


def _copy(told: pb.RebuildResponse) -> pb.RebuildResponse:
    copy = pb.RebuildResponse()
    copy.CopyFrom(told)
    return copy


def refold(session: Session, threads: Sequence[str], *, dry_run: bool = False) -> int:
    """Sum threads up anew, which are gone when they have no event; return how many were not as they should be."""
    table = EVENTS.table.c
    chosen = (
        _row_columns()
        .where(table[ZONE] == session.zone, table.thread_id.in_(threads))
        .order_by(table.thread_id, table.position)
    )
    folded = deriving.fold(session.connection.execute(chosen)) if threads else {}
    should: _Rows = {}
    for thread, one in folded.items():
        row = list(deriving.thread_row(session.zone, thread, one))
        row[_GROUP] = bool(row[_GROUP])
        should[session.zone, thread] = tuple(row)
    there = _stored(session, THREADS, deriving.THREAD_COLUMNS, THREADS.table.c.id.in_(threads)) if threads else {}
    return _mend(session, THREADS, should, there, dry_run)


_GROUP = deriving.THREAD_COLUMNS.index("is_group")


def _events(session: Session, position: int, dry_run: bool) -> tuple[int, int, int, int, int]:
    """Mend what the events of a page make; return their number, what they make, what was wrong, and the last position."""
    table = EVENTS.table.c
    chosen = _row_columns().where(table[ZONE] == session.zone, table.position > position)
    rows = session.connection.execute(chosen.order_by(table.position).limit(PAGE)).all()
    if not rows:
        return 0, 0, 0, 0, -1
    ids = [row[ID] for row in rows]
    wrong = 0
    people = _keyed("event_participants", (one for row in rows for one in deriving.participants(row)))
    there = _stored(session, PARTICIPANTS, deriving.PARTICIPANT_COLUMNS, PARTICIPANTS.table.c.event_id.in_(ids))
    wrong += _mend(session, PARTICIPANTS, people, there, dry_run)
    files = _keyed("attachments", (one for row in rows for one in deriving.attachments(row)))
    held = ATTACHMENTS.table.c.id.in_([key[1] for key in files])
    others = _stored(session, ATTACHMENTS, deriving.ATTACHMENT_COLUMNS, held) if files else {}
    _drop_later_claims(session, files, others)
    there = _stored(session, ATTACHMENTS, deriving.ATTACHMENT_COLUMNS, ATTACHMENTS.table.c.event_id.in_(ids))
    wrong += _mend(session, ATTACHMENTS, files, there, dry_run)
    last = deriving.last_position(rows)
    return len(rows), len(people), len(files), wrong, last if len(rows) == PAGE else -1


def _drop_later_claims(session: Session, files: _Rows, others: _Rows) -> None:
    """Leave an attachment that came with several events to the earliest of them."""
    event = deriving.ATTACHMENT_COLUMNS.index("event_id")
    owners = {row[event] for key, row in others.items() if row[event] != files[key][event]}
    if not owners:
        return
    table = EVENTS.table.c
    wanted = owners | {row[event] for row in files.values()}
    chosen = sa.select(table.id, table.position).where(table[ZONE] == session.zone, table.id.in_(wanted))
    positions = {row[0]: row[1] for row in session.connection.execute(chosen)}
    for key, row in others.items():
        if positions.get(row[event], 0) < positions[files[key][event]] and row[event] in positions:
            del files[key]


def _threads(session: Session, after: str, dry_run: bool) -> tuple[int, int, str | None]:
    """Mend a page of threads, those of events and those in the table; return their number, what was wrong, the last."""
    pages = []
    for column in (EVENTS.table.c.thread_id, THREADS.table.c.id):
        chosen = sa.select(column.label("id")).where(column.table.c[ZONE] == session.zone, column > after)
        pages.append(sa.select(chosen.distinct().order_by(column).limit(PAGE).subquery()))
    both = sa.union(*pages).subquery("both")
    page = list(session.connection.execute(sa.select(both.c.id).order_by(both.c.id).limit(PAGE)).scalars())
    if not page:
        return 0, 0, None
    return len(page), refold(session, page, dry_run=dry_run), page[-1]


def _row_columns() -> sa.Select[Any]:
    return sa.select(*(EVENTS.table.c[name] for name in COLUMNS))


def _keyed(table: str, rows: Iterable[tuple[Any, ...]]) -> _Rows:
    keyed: _Rows = {}
    for row in rows:
        keyed.setdefault(tuple(row[: _KEYS[table]]), row)
    return keyed


def _stored(session: Session, record: Record[Any], columns: Sequence[str], where: sa.ColumnElement[bool]) -> _Rows:
    table = record.table.c
    chosen = sa.select(*(table[name] for name in columns)).where(table[ZONE] == session.zone, where)
    return _keyed(record.name, (tuple(row) for row in session.connection.execute(chosen)))


def _mend(session: Session, record: Record[Any], should: _Rows, there: _Rows, dry_run: bool) -> int:
    """Make the rows of `there` those of `should`; return how many were missing, too many or different."""
    wrong = [key for key, row in should.items() if there.get(key) != row]
    extra = [key for key in there if key not in should]
    if dry_run or not (wrong or extra):
        return len(wrong) + len(extra)
    table = record.table.c
    names = [column.name for column in record.table.primary_key]
    for key in (*extra, *wrong):
        same = [table[name] == value for name, value in zip(names, key, strict=True)]
        session.connection.execute(sa.delete(record.table).where(*same))
    store(session, record.name, [should[key] for key in wrong])
    return len(wrong) + len(extra)
