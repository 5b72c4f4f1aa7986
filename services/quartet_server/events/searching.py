"""Searching events by their words: the same answers from FTS5 and from PostgreSQL's text search, as far as they agree."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from quartet.events.v1 import reading_pb2 as pb

from quartet_server.errors import FieldInvalid, PageTokenInvalid
from quartet_server.events import matching, query
from quartet_server.events.schema import EVENTS
from quartet_server.events.scope import conditions
from quartet_server.records.contract import Dialect, Session
from quartet_server.records.paging import MAX_BYTES
from quartet_server.records.schema import REVISION, ZONE

PAGE, MOST = 20, 100
"""Hits of a page when nobody said, and at most."""
_OPEN, _CLOSE = "\x02", "\x03"  # around what matched in a snippet
_WORDS = 24  # of a snippet
_TOKEN = struct.Struct(">8sdq")  # seal, score, number of the row


def search(session: Session, request: pb.SearchRequest) -> pb.SearchResponse:
    """Return a page of events that match. Raises FtsQueryInvalid, FieldInvalid, PageTokenInvalid."""
    if not 0 <= request.page_size <= MOST:
        raise FieldInvalid.of("page_size", f"0 to {MOST} are taken")
    size, tree, seal = request.page_size or PAGE, query.parse(request.query), _seal(session.zone, request)
    behind = _decode(request.page_token, seal) if request.page_token else None
    scope = conditions(request.scope, session.zone)
    make = _sqlite if session.dialect is Dialect.SQLITE else _postgresql
    found = session.connection.execute(make(session.zone, tree, scope, behind, size + 1)).all()
    answer, bytes_ = pb.SearchResponse(), 0
    width = len(EVENTS.codec.names)
    last: Sequence[Any] | None = None
    for row in found:
        *_, revision, score, _number, snippet = row
        if last is not None and (len(answer.hits) == size or bytes_ > MAX_BYTES):
            answer.next_page_token = _encode(seal, last[width + 1], last[width + 2])
            break
        event = EVENTS.codec.decode(row[:width], revision)
        text, spans = _marked(snippet)
        hit = answer.hits.add(event=event, snippet=text, score=score, matches=spans)
        bytes_ += hit.ByteSize()
        last = row
    return answer


Behind = tuple[float, int]
"""Score and number of the last hit of the page before."""


def _sqlite(
    zone: str, tree: query.Tree, scope: Sequence[sa.ColumnElement[bool]], behind: Behind | None, limit: int
) -> sa.Select[Any]:
    """FTS5 gives the best first, and only as many rows of events are looked at as it takes.

    For that it must be what the loop goes over: a plus in front of the zone keeps the planner from events' own indexes, all
    of which begin with it. Hits of one rank come in the order of their rows.
    """
    events = EVENTS.table
    rank, number = (
        sa.literal_column("events_fts.rank", sa.Float()),
        sa.literal_column("events_fts.rowid", sa.BigInteger()),
    )
    words = sa.table("events_fts", sa.column("rowid"))
    joined = words.join(events, sa.literal_column("events.rowid") == number)
    marked = sa.literal_column(f"snippet(events_fts, 0, char(2), char(3), '…', {_WORDS})", sa.Text())
    chosen = (
        sa.select(*_columns(), (-rank).label("score"), number.label("number"), marked.label("snippet"))
        .select_from(joined)
        .where(
            sa.literal_column("events_fts").op("MATCH")(matching.fts5(tree)), sa.literal_column("+events.zone") == zone
        )
        .where(*scope)
        .order_by(rank)
        .limit(limit)
    )
    if behind is not None:
        score = sa.literal(-behind[0], sa.Float())
        chosen = chosen.where(sa.or_(rank > score, sa.and_(rank >= score, number > behind[1])))
    return chosen


def _postgresql(
    zone: str, tree: query.Tree, scope: Sequence[sa.ColumnElement[bool]], behind: Behind | None, limit: int
) -> sa.Select[Any]:
    """Snippets are made of the rows of the page only: they are parsed anew for it."""
    events = EVENTS.table
    asked = sa.select(matching.tsquery(tree).label("asked")).cte("query")
    found = sa.func.events_matching(asked.c.asked).table_valued("id", sa.column("score", sa.Double()))
    hits = found.lateral("hits")
    matched = (
        sa.select(*_columns(), hits.c.score.label("score"), events.c.position.label("number"))
        .select_from(asked.join(hits, sa.true()))
        .join(events, events.c.id == hits.c.id)
        .where(events.c[ZONE] == zone, *scope)
        .subquery("matched")
    )
    page = sa.select(matched)
    if behind is not None:
        worse = matched.c.score < behind[0]
        page = page.where(sa.or_(worse, sa.and_(matched.c.score <= behind[0], matched.c.number > behind[1])))
    page_rows = page.order_by(matched.c.score.desc(), matched.c.number).limit(limit).subquery("page")
    options = f"StartSel={_OPEN}, StopSel={_CLOSE}, MaxWords={_WORDS}, MinWords={_WORDS // 2}, MaxFragments=1"
    marked = sa.func.ts_headline(
        sa.literal_column("'english'::regconfig"), page_rows.c.content, asked.c.asked, options
    ).label("snippet")
    return (
        sa.select(page_rows, marked)
        .select_from(page_rows.join(asked, sa.true()))
        .order_by(page_rows.c.score.desc(), page_rows.c.number)
    )


def _columns() -> list[sa.Column[Any]]:
    table = EVENTS.table
    return [*(table.c[name] for name in EVENTS.codec.names), table.c[REVISION]]


def _marked(snippet: str) -> tuple[str, list[pb.Span]]:
    """Return a snippet without its marks, and where they were."""
    text, spans, start = "", [], -1
    for part in _split(snippet):
        if part == _OPEN:
            start = len(text)
        elif part == _CLOSE:
            if start >= 0:
                spans.append(pb.Span(start=start, end=len(text)))
            start = -1
        else:
            text += part
    return text, spans


def _split(snippet: str) -> list[str]:
    parts = []
    for piece in snippet.split(_OPEN):
        within = piece.split(_CLOSE)
        parts += [_OPEN, within[0]]
        for rest in within[1:]:
            parts += [_CLOSE, rest]
    return parts[1:]


def _seal(zone: str, request: pb.SearchRequest) -> bytes:
    same = pb.SearchRequest(query=request.query, scope=request.scope)
    return hashlib.sha256(zone.encode() + b"\0" + same.SerializeToString(deterministic=True)).digest()[:8]


def _encode(seal: bytes, score: float, number: int) -> str:
    return base64.urlsafe_b64encode(_TOKEN.pack(seal, score, number)).rstrip(b"=").decode()


def _decode(token: str, seal: bytes) -> Behind:
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        found, score, number = _TOKEN.unpack(raw)
    except (ValueError, struct.error):
        raise PageTokenInvalid(
            "the page token is not one of ours", violations={"page_token": "is not one of ours"}
        ) from None
    if found != seal or score != score:
        told = "belongs to another search"
        raise PageTokenInvalid(f"the page token {told}", violations={"page_token": told})
    return score, number
