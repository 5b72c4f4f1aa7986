"""Appending rows to the ledger, with all that is derived from them, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

from quartet_server.events import deriving, fulltext
from quartet_server.events.encoding import COLUMNS, ID, POSITION, RECEIVED, SOURCE, SOURCE_ID, ZONE
from quartet_server.records.contract import Dialect, Session

Row = list[Any]
"""An event as `encoding.encode` makes it."""


class Appended(NamedTuple):
    """What became of a row.

    Attributes:
        id: Id of the event.
        position: Its position; of a duplicate, that of the event that was there.
        created: Whether it was not there before.
    """

    id: str
    position: int
    created: bool


class IdTakenError(Exception):
    """The row at `place` has the id of an event that has another source or source id; nothing of its batch was appended."""

    def __init__(self, place: int) -> None:
        """Say which row."""
        super().__init__(place)
        self.place = place


def append(session: Session, rows: Sequence[Row]) -> list[Appended]:
    """Append what is not in the ledger yet, and return what became of each row, in their order. Raises IdTakenError.

    The rows get their zone, their position and, where they have none, the time of receipt.
    """
    if not rows:
        return []
    first = _draw(session, len(rows)) - len(rows) + 1
    zone, now = session.zone, session.now
    for position, row in enumerate(rows, first):
        row[ZONE] = zone
        row[POSITION] = position
        if row[RECEIVED] is None:
            row[RECEIVED] = now
    created = _insert(session, rows, first)
    if session.dialect is Dialect.SQLITE:
        _fill(session, first)
    if created is None:
        derive(session, rows)
        return [Appended(row[ID], row[POSITION], True) for row in rows]
    derive(session, [row for row in rows if row[POSITION] in created])
    there = _existing(session, [row for row in rows if row[POSITION] not in created])
    results = []
    for place, row in enumerate(rows):
        if row[POSITION] in created:
            results.append(Appended(row[ID], row[POSITION], True))
            continue
        found = there.get((row[SOURCE], row[SOURCE_ID]))
        if found is None:
            raise IdTakenError(place)
        results.append(Appended(*found, False))
    return results


def derive(session: Session, rows: Sequence[Row]) -> None:
    """Store what new events, in the order of their positions, say of threads, participants and attachments."""
    store(session, "event_participants", (one for row in rows for one in deriving.participants(row)))
    store(session, "attachments", (one for row in rows for one in deriving.attachments(row)), " ON CONFLICT DO NOTHING")
    folded = deriving.fold(rows)
    threads = [deriving.thread_row(session.zone, thread, one) for thread, one in folded.items()]
    store(session, "threads", (row for row in threads if row[_GROUP] is not None), _MERGE + _MERGE_GROUP)
    unsaid = (
        [False if place == _GROUP else value for place, value in enumerate(row)]
        for row in threads
        if row[_GROUP] is None
    )
    store(session, "threads", unsaid, _MERGE)


def store(session: Session, table: str, rows: Iterable[Sequence[object]], end: str = "") -> int:
    """Insert rows, in the order of the table's COLUMNS in `deriving`; return how many were inserted or changed."""
    values = list(rows)
    if not values:
        return 0
    cursor = session.cursor()
    if session.dialect is Dialect.SQLITE:
        cursor.executemany(_by_row(table, end), values)
    else:  # one statement for all of them: executemany sends one for each
        cursor.execute(_by_column(table, end), [list(column) for column in zip(*values, strict=True)])
    return int(cursor.rowcount)


_SHAPES = {
    "events": COLUMNS,
    "event_participants": deriving.PARTICIPANT_COLUMNS,
    "attachments": deriving.ATTACHMENT_COLUMNS,
    "threads": deriving.THREAD_COLUMNS,
}
_BIGINTS = frozenset(
    (
        "timestamp",
        "received_at",
        "position",
        "size_bytes",
        "created_at",
        "updated_at",
        "first_event_at",
        "last_event_at",
        "event_count",
        "revision",
    )
)
_GROUP = deriving.THREAD_COLUMNS.index("is_group")
_MERGE = (
    " ON CONFLICT (zone, id) DO UPDATE SET"
    " first_event_at = CASE WHEN excluded.first_event_at < threads.first_event_at"
    " THEN excluded.first_event_at ELSE threads.first_event_at END,"
    " last_event_id = CASE WHEN excluded.last_event_at >= threads.last_event_at"
    " THEN excluded.last_event_id ELSE threads.last_event_id END,"
    " last_event_at = CASE WHEN excluded.last_event_at >= threads.last_event_at"
    " THEN excluded.last_event_at ELSE threads.last_event_at END,"
    " name = coalesce(excluded.name, threads.name),"
    " event_count = threads.event_count + excluded.event_count,"
    " updated_at = excluded.updated_at,"
    " revision = threads.revision + excluded.revision"
)
_MERGE_GROUP = ", is_group = excluded.is_group"


@cache
def _by_row(table: str, end: str) -> str:
    columns = _SHAPES[table]
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))}){end}"  # noqa: S608


@cache
def _by_column(table: str, end: str) -> str:
    columns = _SHAPES[table]
    arrays = ", ".join(f"%s::{_type(name)}[]" for name in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT * FROM unnest({arrays}){end}"  # noqa: S608


def _type(column: str) -> str:
    if column == "is_group":
        return "boolean"
    return "bigint" if column in _BIGINTS else "text"


def _fill(session: Session, first: int) -> None:
    """Put the words of the events from position `first` on into SQLite's index."""
    cursor = session.cursor()
    words, done = fulltext.FILL
    cursor.execute(words, (session.zone, first))
    cursor.execute(done, (session.zone,))


def _draw(session: Session, count: int) -> int:
    """Draw `count` positions; return the last."""
    sqlite = session.dialect is Dialect.SQLITE
    mark = "?" if sqlite else "%s"
    cursor = session.cursor()
    cursor.execute(
        f"INSERT INTO ledger_positions (zone, position, filling) VALUES ({mark}, {mark}, {mark})"  # noqa: S608
        " ON CONFLICT (zone) DO UPDATE SET position = ledger_positions.position + excluded.position,"
        " filling = excluded.filling RETURNING position",
        (session.zone, count, sqlite),
    )
    drawn = cursor.fetchall()
    return int(drawn[0][0])


def _insert(session: Session, rows: Sequence[Row], first: int) -> set[int] | None:
    """Insert rows that are not there; return the positions of those that were not, None when that is all of them."""
    if store(session, "events", rows, " ON CONFLICT DO NOTHING") == len(rows):
        return None
    mark = "?" if session.dialect is Dialect.SQLITE else "%s"
    cursor = session.cursor()
    cursor.execute(
        f"SELECT position FROM events WHERE zone = {mark} AND position >= {mark}",  # noqa: S608
        (session.zone, first),
    )
    return {row[0] for row in cursor.fetchall()}


def _existing(session: Session, rows: Sequence[Row]) -> dict[tuple[str, str], tuple[str, int]]:
    """Return id and position of events that are there, by source and source id."""
    mark = "?" if session.dialect is Dialect.SQLITE else "%s"
    cursor = session.cursor()
    wanted: dict[str, list[str]] = {}
    for row in rows:
        wanted.setdefault(row[SOURCE], []).append(row[SOURCE_ID])
    found: dict[tuple[str, str], tuple[str, int]] = {}
    for source, ids in wanted.items():
        marks = ", ".join([mark] * len(ids))
        cursor.execute(
            "SELECT source_id, id, position FROM events"  # noqa: S608
            f" WHERE zone = {mark} AND source = {mark} AND source_id IN ({marks})",
            (session.zone, source, *ids),
        )
        found |= {(source, row[0]): (row[1], row[2]) for row in cursor.fetchall()}
    return found
