"""Threads, participants and attachments: what events make of them, and that they can be made again."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from harness.ledger import EPOCH, Stub, append, batches, event, rebuilt
from harness.records import Opening
from hypothesis import given, settings
from hypothesis import strategies as st
from quartet.events.v1 import appending_pb2, derived_pb2, event_pb2, events_pb2_grpc, keeping_pb2
from quartet_server.errors import PageTokenInvalid
from quartet_server.events.deriving import fold, thread_row
from quartet_server.events.encoding import COLUMNS, encode
from quartet_server.events.rebuilding import step
from quartet_server.events.schema import SCHEMA
from quartet_server.events.service import start
from quartet_server.records.contract import Session


async def thread(ledger: Stub, name: str) -> derived_pb2.Thread:
    return await ledger.GetThread(keeping_pb2.GetThreadRequest(id=name))


async def test_a_thread_sums_up_its_events_whatever_order_they_come_in(ledger: Stub) -> None:
    groups = [
        [event(5, thread_id="t", from_channel="mail/a", metadata={"thread_name": "Plans", "is_group": True})],
        [event(9, thread_id="t"), event(2, thread_id="t"), event(3)],
        [event(9, thread_id="t", source_id="same moment")],
        [event(7, thread_id="t", metadata={"thread_name": "Plans, new"})],
    ]
    assert [one.created async for one in ledger.AppendBatches(batches(groups))] == [1, 3, 1, 1]
    found = await thread(ledger, "t")
    assert (found.channel, found.source_adapter, found.source_id) == ("mail/a", "mail", "t")
    assert (found.name, found.is_group, found.event_count) == ("Plans, new", True, 5)
    assert (found.first_event_at.seconds - EPOCH, found.last_event_at.seconds - EPOCH) == (2, 9)
    assert found.last_event_id == "mail:same moment"
    listed = await ledger.ListThreads(keeping_pb2.ListThreadsRequest(channel="mail/a"))
    assert list(listed.threads) == [found]


async def test_who_has_to_do_with_an_event_is_kept_once_a_role(ledger: Stub) -> None:
    to = [
        event_pb2.Recipient(identifier="bob"),
        event_pb2.Recipient(identifier="bob", role="cc"),
        event_pb2.Recipient(identifier="bob"),
        event_pb2.Recipient(channel="sms", identifier="bob", role="mentioned"),
    ]
    await append(ledger, [event(1, to_recipients=to), event(2, from_identifier="")])
    listed = await ledger.ListEventParticipants(keeping_pb2.ListEventParticipantsRequest(event_id="mail:1"))
    assert {(one.role, one.channel, one.identifier, one.position) for one in listed.event_participants} == {
        (derived_pb2.PARTICIPANT_ROLE_SENDER, "mail", "ann@example.com", 0),
        (derived_pb2.PARTICIPANT_ROLE_RECIPIENT, "mail", "bob", 0),
        (derived_pb2.PARTICIPANT_ROLE_CC, "mail", "bob", 1),
        (derived_pb2.PARTICIPANT_ROLE_MENTIONED, "sms", "bob", 3),
    }
    nobody = await ledger.ListEventParticipants(keeping_pb2.ListEventParticipantsRequest(event_id="mail:2"))
    assert not nobody.event_participants


async def test_attachments_are_the_first_events_that_brings_them(ledger: Stub) -> None:
    picture = event_pb2.InlineAttachment(id="a1", type="image/png", filename="a.png", size=17)
    picture.metadata.update({"media_type": "image", "content_hash": "sha256:00", "width": 3})
    nameless = event_pb2.InlineAttachment(url="https://example.com/x")
    await append(ledger, [event(1, attachments=[picture, nameless]), event(2, attachments=[picture])])
    first = await ledger.ListAttachments(keeping_pb2.ListAttachmentsRequest(event_id="mail:1"))
    assert [one.id for one in first.attachments] == ["mail:1#1", "mail:a1"]
    found = await ledger.GetAttachment(keeping_pb2.GetAttachmentRequest(id="mail:a1"))
    assert (found.mime_type, found.media_type, found.size_bytes) == ("image/png", "image", 17)
    assert (found.content_hash, dict(found.metadata)) == ("sha256:00", {"width": 3})
    second = await ledger.ListAttachments(keeping_pb2.ListAttachmentsRequest(event_id="mail:2"))
    assert not second.attachments
    assert (await rebuilt(ledger, dry_run=True)).differences == 0


async def test_what_is_derived_can_be_derived_again(opening: Opening) -> None:
    database = await opening.database(SCHEMA)
    ledger: Any = events_pb2_grpc.EventServiceStub(await opening.served(SCHEMA, start))
    to = [event_pb2.Recipient(identifier="bob"), event_pb2.Recipient(identifier="cleo", role="cc")]
    await append(
        ledger,
        [
            event(n, thread_id=f"t{n % 7}", to_recipients=to, attachments=[event_pb2.InlineAttachment(id=str(n % 5))])
            for n in range(600)
        ],
    )
    assert (await rebuilt(ledger, dry_run=True)).differences == 0

    def damage(session: Session) -> None:
        for text in (
            "DELETE FROM event_participants WHERE identifier = 'cleo' AND event_id = 'mail:17'",
            "UPDATE event_participants SET position = 9 WHERE identifier = 'bob' AND event_id = 'mail:18'",
            "UPDATE threads SET event_count = event_count + 1 WHERE id = 't1'",
            "DELETE FROM threads WHERE id = 't2'",
            "INSERT INTO threads (zone, id, channel, created_at, updated_at) VALUES ('default', 'ghost', 'c', 0, 0)",
            "DELETE FROM attachments WHERE id = 'mail:3'",
            "UPDATE attachments SET event_id = 'mail:599' WHERE id = 'mail:4'",
        ):
            session.connection.execute(sa.text(text))

    await database.write("default", damage)
    looked = await rebuilt(ledger, dry_run=True)
    assert looked.differences >= 7
    assert (await rebuilt(ledger)).differences >= 7
    again = await rebuilt(ledger, dry_run=True)
    assert (again.events, again.participants, again.attachments, again.threads) == (600, 1800, 5, 7)
    assert again.differences == 0
    assert (await thread(ledger, "t2")).event_count == 86


async def test_erasing_takes_everything_of_an_event_and_its_threads_are_summed_up_anew(ledger: Stub) -> None:
    bob = [event_pb2.Recipient(identifier="bob")]
    await append(
        ledger,
        [
            event(1, thread_id="t", to_recipients=bob, attachments=[event_pb2.InlineAttachment(id="a")]),
            event(2, "needle", thread_id="t"),
            event(3, thread_id="u", to_recipients=bob),
        ],
    )
    somebody = appending_pb2.Participant(identifier="bob")
    answer = await ledger.Erase(appending_pb2.EraseRequest(participant=somebody, limit=1))
    assert (answer.erased, answer.more) == (1, True)
    answer = await ledger.Erase(appending_pb2.EraseRequest(participant=somebody))
    assert (answer.erased, answer.more) == (1, False)
    assert not (await ledger.ListAttachments(keeping_pb2.ListAttachmentsRequest())).attachments
    (left,) = (await ledger.ListThreads(keeping_pb2.ListThreadsRequest())).threads
    assert (left.id, left.event_count, left.last_event_id) == ("t", 1, "mail:2")
    assert (await ledger.Erase(appending_pb2.EraseRequest(thread_id="t"))).erased == 1
    assert (await rebuilt(ledger, dry_run=True)).events == 0


steps = st.lists(
    st.tuples(st.integers(0, 20), st.sampled_from([None, "a", "b"]), st.sampled_from([None, "x", "y"])), max_size=12
)


@settings(max_examples=60, deadline=None)
@given(steps, st.integers(0, 12))
def test_a_thread_is_the_same_from_two_batches_as_from_one(events: list[tuple[int, Any, Any]], cut: int) -> None:
    rows = []
    for position, (at, name, name_of_thread) in enumerate(events):
        metadata = {"thread_name": name} if name else None
        row = encode(event(position, at=at, metadata=metadata, thread_id=name_of_thread or "z"))
        row[COLUMNS.index("received_at")], row[COLUMNS.index("position")] = 100 + position, position + 1
        rows.append(row)
    whole = {key: thread_row("", key, one) for key, one in fold(rows).items()}
    first, second = fold(rows[:cut]), fold(rows[cut:])
    assert set(whole) == set(first) | set(second)
    for key, total in whole.items():
        assert sum(part[key].count for part in (first, second) if key in part) == total[-1]
        assert min(part[key].first_at for part in (first, second) if key in part) == total[7]
        assert max(part[key].last_at for part in (first, second) if key in part) == total[8]


async def test_the_operators_job_derives_page_by_page_and_takes_no_other_place(opening: Opening) -> None:
    database = await opening.database(SCHEMA)
    ledger: Any = events_pb2_grpc.EventServiceStub(await opening.served(SCHEMA, start))
    await append(ledger, [event(n, thread_id=f"t:{n % 7}") for n in range(600)])

    def damage(session: Session) -> None:
        for name in ("threads", "event_participants"):
            session.connection.execute(SCHEMA.metadata.tables[name].delete())

    await database.write("default", damage)
    after, steps, changed = "", 0, 0
    while after or not steps:
        done = await database.write("default", partial(step, after=after, _limit=500))
        after, steps, changed = done.after, steps + 1, changed + done.changed
        assert steps < 10
    assert changed == 607
    assert (await rebuilt(ledger, dry_run=True)).differences == 0
    for place in ("nowhere:1", "events:-1", "events:" + "9" * 40):
        with pytest.raises(PageTokenInvalid):
            await database.write("default", partial(step, after=place, _limit=500))
