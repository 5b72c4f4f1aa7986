"""Search: what is found, in which order, page by page, and only in the caller's zone."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from harness.ledger import EPOCH, Stub, append, event
from harness.records import Opening
from harness.rpc import Failure
from quartet.events.v1 import appending_pb2, event_pb2, reading_pb2
from quartet_server.events.schema import SCHEMA
from quartet_server.records.contract import Dialect, Session

TEXTS = {
    "release": "We released the new version of the memory service this morning",
    "deploy": "The staging server was deployed twice, and the release notes are missing",
    "error": "An error in the memory service: connection refused by staging",
    "lunch": "Lunch at noon? The usual place, near the river",
    "umlaut": "Grüße aus Zürich, die Größe stimmt",
    "quotes": 'It\'s a "quoted" word; DROP TABLE events; -- content:secret',
}


UNKNOWN = reading_pb2.EventScope(direction=9)  # type: ignore[arg-type]
"""Of no direction that there is."""


@pytest.fixture
async def texts(ledger: Stub) -> Stub:
    """A ledger with a few texts in it."""
    await append(ledger, [event(n, text, source_id=name) for n, (name, text) in enumerate(TEXTS.items())])
    return ledger


async def found(ledger: Stub, query: str, **fields: Any) -> list[str]:
    answer = await ledger.Search(reading_pb2.SearchRequest(query=query, **fields))
    return [hit.event.source_id for hit in answer.hits]


QUERIES: Any = [
    ("releasing", {"release", "deploy"}),
    ('"memory service"', {"release", "error"}),
    ('"service memory"', set()),
    ("staging NOT error", {"deploy"}),
    ("lunch OR Zürich", {"lunch", "umlaut"}),
    ("deploy*", {"deploy"}),
    ("conn* AND refused", {"error"}),
    ("(lunch OR error) memory", {"error"}),
    ("GRÖSSE OR größe", {"umlaut"}),
    ("nothing like it AND there", set()),
    ("DROP TABLE events; --", {"quotes"}),
    ('"quoted\' word"', {"quotes"}),
]
"""What is asked for, and what is found."""


async def test_a_query_finds(texts: Stub) -> None:
    for query, expected in QUERIES:
        assert set(await found(texts, query)) == expected, query


async def test_a_plain_question_finds_what_it_is_about_first(texts: Stub) -> None:
    hits = await found(texts, "where is the error that the memory service had?")
    assert hits[0] == "error"
    assert "lunch" not in hits


async def test_snippets_say_what_matched(texts: Stub) -> None:
    (hit,) = (await texts.Search(reading_pb2.SearchRequest(query="connections refusing", page_size=1))).hits
    assert hit.event.source_id == "error"
    assert [hit.snippet[one.start : one.end] for one in hit.matches] == ["connection", "refused"]
    assert hit.score > 0


async def test_pages_have_every_hit_once_though_many_are_alike(ledger: Stub) -> None:
    await append(ledger, [event(n, "the same words in all of them") for n in range(57)])
    seen, token, pages = [], "", 0
    while True:
        answer = await ledger.Search(reading_pb2.SearchRequest(query="same words", page_size=10, page_token=token))
        seen += [hit.event.source_id for hit in answer.hits]
        pages += 1
        token = answer.next_page_token
        if not token:
            break
    assert (len(seen), len(set(seen)), pages) == (57, 57, 6)


SCOPES: Any = [
    ({"source": "chat"}, {"1", "2"}),
    ({"channel": "chat/general"}, {"2"}),
    ({"direction": event_pb2.DIRECTION_OUTBOUND}, {"3"}),
    ({"thread_id": "t-2"}, {"2"}),
    ({"type": "email"}, {"3"}),
    ({"participant": appending_pb2.Participant(identifier="bob")}, {"1", "3"}),
    ({"participant": appending_pb2.Participant(channel="mail", identifier="bob")}, {"3"}),
    ({"start_time": Timestamp(seconds=EPOCH + 2)}, {"2", "3"}),
    ({"end_time": Timestamp(seconds=EPOCH + 2)}, {"1"}),
    ({"source": "chat", "type": "email"}, set()),
    ({"source": "' OR 1=1 --"}, set()),
]
"""Scopes, and which of three events are in them."""


async def test_a_scope_narrows_a_search_and_a_list_down(ledger: Stub) -> None:
    bob = [event_pb2.Recipient(identifier="bob")]
    await append(
        ledger,
        [
            event(1, "hello", source="chat", from_channel="chat", thread_id="t-1", to_recipients=bob),
            event(2, "hello", source="chat", from_channel="chat/general", thread_id="t-2"),
            event(3, "hello", type="email", direction=event_pb2.DIRECTION_OUTBOUND, to_recipients=bob),
        ],
    )
    for scope, expected in SCOPES:
        within = reading_pb2.EventScope(**scope)
        assert set(await found(ledger, "hello", scope=within)) == expected, scope
        listed = await ledger.ListEvents(reading_pb2.ListEventsRequest(scope=within))
        assert {one.source_id for one in listed.events} == expected, scope


async def test_a_search_sees_its_zone_and_no_other(ledger: Stub) -> None:
    await append(ledger, [event(n, "shared words", source_id=f"a{n}") for n in range(30)], zone="one")
    await append(ledger, [event(n, "shared words", source_id=f"b{n}") for n in range(3)], zone="two")
    for zone, letter, count in (("one", "a", 30), ("two", "b", 3), ("three", "c", 0)):
        answer = await ledger.Search(
            reading_pb2.SearchRequest(query="words", page_size=50), metadata=(("quartet-zone", zone),)
        )
        ids = [hit.event.source_id for hit in answer.hits]
        assert len(ids) == count
        assert all(one.startswith(letter) for one in ids)


UNSEARCHABLE: Any = [
    ({"query": 'an "open quote'}, "FTS_QUERY_INVALID", "query"),
    ({"query": ""}, "FTS_QUERY_INVALID", "query"),
    ({"query": "x", "page_size": 101}, "FIELD_INVALID", "page_size"),
    ({"query": "x", "page_token": "made up"}, "PAGE_TOKEN_INVALID", "page_token"),
    ({"query": "x", "scope": UNKNOWN}, "FIELD_INVALID", "scope.direction"),
    (
        {"query": "x", "scope": reading_pb2.EventScope(participant=appending_pb2.Participant(channel="c"))},
        "FIELD_INVALID",
        "scope.participant.identifier",
    ),
]
"""Requests that are refused, why, and for which field."""


async def test_what_cannot_be_searched_is_refused(ledger: Stub) -> None:
    for fields, reason, field in UNSEARCHABLE:
        with pytest.raises(aio.AioRpcError) as raised:
            await ledger.Search(reading_pb2.SearchRequest(**fields))
        error = Failure.of(raised.value)
        assert (error.reason, list(error.violations)) == (reason, [field])


async def test_a_token_is_of_no_use_for_another_search(ledger: Stub) -> None:
    await append(ledger, [event(n, "words") for n in range(3)])
    token = (await ledger.Search(reading_pb2.SearchRequest(query="words", page_size=1))).next_page_token
    with pytest.raises(aio.AioRpcError) as raised:
        await ledger.Search(reading_pb2.SearchRequest(query="word", page_size=1, page_token=token))
    assert Failure.of(raised.value).reason == "PAGE_TOKEN_INVALID"


async def test_the_index_follows_the_table_by_its_triggers(opening: Opening) -> None:
    """Seed 003: whoever writes to the table finds it indexed; the ledger itself fills it a batch at a time."""
    database = await opening.database(SCHEMA)
    table = SCHEMA.metadata.tables["events"]

    def count(session: Session, word: str) -> int:
        if session.dialect is Dialect.SQLITE:
            asked = "SELECT count(*) FROM events_fts WHERE events_fts MATCH :word"
        else:
            asked = "SELECT count(*) FROM events_matching(to_tsquery('english', :word))"
        return int(session.connection.execute(sa.text(asked), {"word": word}).scalar_one())

    def work(session: Session) -> list[int]:
        row = {"zone": "default", "id": "a:1", "source": "a", "source_id": "1", "type": "message", "position": 1}
        row |= {"content": "needle", "from_channel": "c", "timestamp": 0, "received_at": 0}
        session.connection.execute(sa.insert(table).values(row))
        counts = [count(session, "needle")]
        session.connection.execute(sa.update(table).values(content="thread"))
        counts += [count(session, "needle"), count(session, "thread")]
        session.connection.execute(sa.delete(table))
        return [*counts, count(session, "thread")]

    assert await database.write("default", work) == [1, 0, 1, 0]
