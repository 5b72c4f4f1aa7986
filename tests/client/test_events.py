"""The event ledger through both clients, against a node in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from harness.ledger import event
from quartet import AsyncClient, Client, NotFound
from quartet._aio_sending import AsyncUnanswered, each
from quartet._sending import Unanswered
from quartet.events.v1 import (
    appending_pb2,
    documents_pb2,
    event_pb2,
    progress_pb2,
    reading_pb2,
    state_pb2,
)

CREATED, DUPLICATE = appending_pb2.OUTCOME_CREATED, appending_pb2.OUTCOME_DUPLICATE
VIEWED = state_pb2.STATE_KEY_VIEWED
SENT = appending_pb2.RecordOutboundRequest(
    source="nexus", source_id="1", kind="delivery", channel="sms", recipients=[event_pb2.Recipient(identifier="bob")]
)


def test_the_client_appends_finds_follows_and_keeps() -> None:
    with Client(":memory:") as client:
        events = client.events
        assert events.append(event(0, "first", thread_id="t")).position == 1
        assert events.append_batch([event(0), event(1)]).created == 1
        outcomes = [one.outcome for one in events.append_all((event(n, f"word{n}") for n in range(1, 40)), batch=7)]
        assert outcomes == [DUPLICATE] + [CREATED] * 38
        assert [one.id for one in events.append_each([event(40), event(40)])] == ["mail:40", "mail:40"]
        assert events.record_outbound(SENT).id == "nexus:1"
        assert events.get("mail:7").content == "word7"
        assert [one.id for one in events.batch_get(["mail:9", "mail:8"])] == ["mail:9", "mail:8"]
        scope = reading_pb2.EventScope(source="mail")
        assert len([*events.list(scope, page_size=9)]) == 41
        assert events.page(scope, order_by="position", page_size=1).events[0].id == "mail:0"
        assert [hit.event.id for hit in events.search("word7 OR word9", page_size=1)] == ["mail:7", "mail:9"]
        assert events.search_page("word7", scope).hits[0].snippet == "word7"
        assert sum(len(answer.events) for answer in events.tail(0, once=True, batch_size=10)) == 42
        assert [one.id for one in events.threads()] == [events.thread("t").id] == ["t"]
        assert {one.identifier for one in events.participants(event_id="nexus:1")} == {"bob"}
        assert [*events.attachments()] == []
        assert events.set_state("mail:0", VIEWED, metadata={"by": "x"}).is_viewed
        assert events.state("mail:0").is_viewed
        assert [one.state_value for one in events.state_log("mail:0")] == [1]
        tagged = events.tag(["mail:0"], ["todo"])
        assert [one.tag_id for one in events.event_tags(event_id="mail:0")] == [one.id for one in events.tags()]
        assert (tagged.added, events.untag(["mail:0"])) == (1, 1)
        head = documents_pb2.DocumentHead(doc_key="d", channel="c", current_event_id="mail:0", content_hash="h")
        assert events.upsert_document(head).doc_key == events.document("d").doc_key == "d"
        assert events.log_retrieval(doc_key="d", score=1.0).event_id == "mail:0"
        assert [[one.doc_key for one in events.documents()], len([*events.retrievals()])] == [["d"], 1]
        mark = progress_pb2.SyncWatermark(adapter="a", last_sync_at=event(5).timestamp)
        assert events.set_watermark(mark, monotonic=True).adapter == events.watermark("a").adapter
        job = progress_pb2.SyncJob(adapter="a", status=progress_pb2.SYNC_STATE_RUNNING)
        assert events.report_sync(job).status == events.sync_status("a").job.status
        assert len([*events.watermarks()]) == 1
        assert events.commit("c", 3).position == events.consumer("c").position == 3
        assert sum(len(answer.events) for answer in events.tail(consumer="c", once=True)) == 40
        assert [one.name for one in events.consumers()] == ["c"]
        events.delete_consumer("c")
        assert events.erase(["mail:40"]).erased == 1
        assert [*events.rebuild(dry_run=True)][-1].differences == 0
        for call in (lambda: events.get("mail:40"), lambda: events.attachment("a"), lambda: events.state("mail:1")):
            with pytest.raises(NotFound):
                call()


async def test_the_asynchronous_client_does_the_same() -> None:
    async with AsyncClient(":memory:") as client:
        events = client.events
        assert (await events.append(event(0, "first", thread_id="t"))).position == 1
        assert (await events.append_batch([event(0), event(1)])).created == 1
        outcomes = [one.outcome async for one in events.append_all((event(n) for n in range(1, 40)), batch=7)]
        assert outcomes == [DUPLICATE] + [CREATED] * 38

        async def coming() -> AsyncIterator[event_pb2.Event]:
            for number in (40, 40):
                yield event(number, "needle")

        assert [one.id async for one in events.append_each(coming())] == ["mail:40", "mail:40"]
        assert (await events.record_outbound(SENT)).id == "nexus:1"
        assert [one.id for one in await events.batch_get(["mail:9", "mail:8"])] == ["mail:9", "mail:8"]
        assert len([one async for one in events.list(page_size=9)]) == 42
        assert [hit.event.id async for hit in events.search("needle")] == ["mail:40"]
        assert sum([len(answer.events) async for answer in events.tail(0, once=True, batch_size=10)]) == 42
        assert [one.id async for one in events.threads()] == [(await events.thread("t")).id]
        assert (await events.set_state("mail:0", VIEWED)).is_viewed
        assert (await events.tag(["mail:0"], ["todo"])).added == await events.untag(["mail:0"]) == 1
        assert (await events.commit("c", 3)).position == (await events.consumer("c")).position
        await events.delete_consumer("c")
        assert (await events.erase(["mail:40"])).erased == 1
        assert [one async for one in events.rebuild(dry_run=True)][-1].differences == 0
        with pytest.raises(NotFound):
            await events.get("mail:40")


def test_what_has_no_answer_is_sent_again_by_the_next_stream_and_nothing_twice_to_one() -> None:
    unanswered = Unanswered(iter(range(10)), limit=4)
    first = unanswered.begin()
    assert [next(first) for _ in range(4)] == [0, 1, 2, 3]
    unanswered.answered(2)
    second = unanswered.begin()
    assert [next(second) for _ in range(4)] == [2, 3, 4, 5]
    assert [*first] == [], "the stream before ends"
    unanswered.answered(4)
    assert [next(second) for _ in range(4)] == [6, 7, 8, 9]
    unanswered.answered(4)
    assert [*second] == []
    assert unanswered.done


async def test_so_it_is_in_an_event_loop() -> None:
    unanswered = AsyncUnanswered(each(range(10)), limit=4)
    first = await unanswered.begin()
    assert [await anext(first) for _ in range(4)] == [0, 1, 2, 3]
    await unanswered.answered(2)
    second = await unanswered.begin()
    assert [await anext(second) for _ in range(4)] == [2, 3, 4, 5]
    assert [one async for one in first] == [], "the stream before ends"
    await unanswered.answered(4)
    assert [await anext(second) for _ in range(4)] == [6, 7, 8, 9]
    await unanswered.answered(4)
    assert [one async for one in second] == []
    assert unanswered.done


def test_what_the_callers_own_iterator_raises_comes_out_of_the_call() -> None:
    def broken() -> Iterator[event_pb2.Event]:
        yield event(1)
        raise ValueError("no more")

    with Client(":memory:") as client:
        with pytest.raises(ValueError, match="no more"):
            list(client.events.append_all(broken(), batch=1))
        assert [one.id for one in client.events.list()] == ["mail:1"]
