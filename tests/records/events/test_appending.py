"""Appending: once, in order, durable or refused, one by one and in batches."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import grpc
import pytest
from grpc import aio
from harness.ledger import EPOCH, Stub, append, batches, each, event, whole
from harness.records import Clock
from harness.rpc import Failure
from quartet.events.v1 import appending_pb2 as pb
from quartet.events.v1 import event_pb2, reading_pb2

CREATED, DUPLICATE = pb.OUTCOME_CREATED, pb.OUTCOME_DUPLICATE


async def test_an_event_comes_back_as_it_was_appended(ledger: Stub, clock: Clock) -> None:
    sent = event(
        7,
        "Größe: 10 €\n\t\"quoted\" \\ 'single' \u2028 🦊",
        thread_id="t-1",
        reply_to="mail:6",
        direction=event_pb2.DIRECTION_OUTBOUND,
        content_type="html",
        to_recipients=[
            event_pb2.Recipient(channel="sms", identifier="+41"),
            event_pb2.Recipient(identifier="bob", role="cc"),
        ],
        attachments=[
            event_pb2.InlineAttachment(id="a1", type="image/png", filename="ü.png", size=2**40, url="http://x")
        ],
        metadata={"a": [1, 2.5, None, True, {"b": "c"}], "é": "x"},
        platform="slack",
        account_id="acc",
        space_id="sp",
        container_kind="dm",
        container_id="c-1",
        receiver_id="r-1",
    )
    clock.now = EPOCH + 99.25
    (position,) = await append(ledger, [sent])
    found = await ledger.GetEvent(reading_pb2.GetEventRequest(id="mail:7"))
    sent.id, sent.position, sent.etag = "mail:7", position, "1"
    sent.received_at.FromMicroseconds(int(clock.now * 1_000_000))
    assert found == sent


@pytest.mark.parametrize("way", ["append", "batch", "each", "batches"])
async def test_the_same_source_id_again_is_a_duplicate_and_changes_nothing(ledger: Stub, way: str) -> None:
    async def add(*events: event_pb2.Event) -> list[pb.AppendResult]:
        match way:
            case "append":
                return [await ledger.Append(pb.AppendRequest(event=one)) for one in events]
            case "batch":
                return list((await ledger.BatchAppend(pb.BatchAppendRequest(events=events))).results)
            case "each":
                return [one async for answer in ledger.AppendEach(each(events)) for one in answer.results]
        return [one async for answer in ledger.AppendBatches(batches([events])) for one in answer.results]

    first = await add(event(1, "first"), event(2, "second"), event(1, "twice in one call"))
    assert [one.outcome for one in first] == [CREATED, CREATED, DUPLICATE]
    assert first[2].position == first[0].position
    again = await add(event(3, "new"), event(2, "changed"), event(1, "changed"))
    assert [one.outcome for one in again] == [CREATED, DUPLICATE, DUPLICATE]
    assert [one.id for one in again] == ["mail:3", "mail:2", "mail:1"]
    assert [one.position for one in again[1:]] == [first[1].position, first[0].position]
    assert [one.content for one in await whole(ledger)] == ["first", "second", "new"]


async def test_of_many_that_append_the_same_event_at_once_one_creates_it(ledger: Stub) -> None:
    answers = await asyncio.gather(*(ledger.Append(pb.AppendRequest(event=event(n % 3))) for n in range(30)))
    assert sum(one.outcome == CREATED for one in answers) == 3
    assert {one.id: one.position for one in answers} == {
        one.id: one.position for one in answers if one.outcome == CREATED
    }
    assert len(await whole(ledger)) == 3


async def test_a_stream_of_single_events_is_answered_in_order_and_lost_nothing(ledger: Stub) -> None:
    count = 1500
    answers = [one async for one in ledger.AppendEach(each(event(n, f"event {n}") for n in range(count)))]
    results = [one for answer in answers for one in answer.results]
    assert [one.id for one in results] == [f"mail:{n}" for n in range(count)]
    positions = [one.position for one in results]
    assert all(one < other for one, other in itertools.pairwise(positions))
    assert len(answers) < count / 4, "events that waited together were committed together"
    assert [one.position for one in await whole(ledger)] == positions


async def test_a_stream_is_answered_before_it_ends(ledger: Stub) -> None:
    stream = ledger.AppendEach()
    for number in range(3):
        await stream.write(pb.AppendEachRequest(event=event(number)))
        answer: Any = await stream.read()
        assert [one.id for one in answer.results] == [f"mail:{number}"]
    await stream.done_writing()
    assert await stream.read() is aio.EOF


async def test_batches_are_answered_each_with_its_results(ledger: Stub) -> None:
    groups = [[event(n) for n in range(start, start + 100)] for start in (0, 50, 150)]
    answers = [one async for one in ledger.AppendBatches(batches(groups))]
    assert [(len(one.results), one.created) for one in answers] == [(100, 100), (100, 50), (100, 100)]
    assert len(await whole(ledger)) == 250


async def test_a_bad_event_ends_a_stream_behind_the_answers_for_those_before_it(ledger: Stub) -> None:
    events = [event(n) for n in range(5)]
    events[3].type = ""
    stream = ledger.AppendEach(each(events))
    results: list[pb.AppendResult] = []
    with pytest.raises(aio.AioRpcError) as raised:
        await results_into(results, stream)
    error = Failure.of(raised.value)
    assert (error.reason, error.metadata["row"]) == ("FIELD_INVALID", "3")
    assert [one.id for one in results] == ["mail:0", "mail:1", "mail:2"]
    assert len(await whole(ledger)) == 3


async def test_a_batch_with_a_bad_event_leaves_nothing_and_those_before_it_stay(ledger: Stub) -> None:
    bad = event(12)
    bad.to_recipients.add(identifier="")
    results: list[pb.AppendResult] = []
    with pytest.raises(aio.AioRpcError) as raised:
        await results_into(results, ledger.AppendBatches(batches([[event(1)], [event(11), bad], [event(13)]])))
    assert list(Failure.of(raised.value).violations) == ["events[1].to_recipients[0].identifier"]
    assert [one.id for one in results] == ["mail:1"]
    assert [one.id for one in await whole(ledger)] == ["mail:1"]


@pytest.mark.parametrize("way", ["append", "batch", "each"])
async def test_the_id_of_another_event_is_refused_and_nothing_is_lost(ledger: Stub, way: str) -> None:
    await append(ledger, [event(1, source="a", source_id="b:c")])
    good, bad = event(2), event(3, id="a:b:c")
    call: Any = {
        "append": lambda: ledger.Append(pb.AppendRequest(event=bad)),
        "batch": lambda: ledger.BatchAppend(pb.BatchAppendRequest(events=[good, bad])),
        "each": lambda: collected(ledger.AppendEach(each([good, bad]))),
    }[way]
    with pytest.raises(aio.AioRpcError) as raised:
        await call()
    error = Failure.of(raised.value)
    assert (error.code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "LEDGER_APPEND_ONLY")
    assert error.metadata["row"] == ("0" if way == "append" else "1")
    assert [one.id for one in await whole(ledger)] == ["a:b:c"] + (["mail:2"] if way == "each" else [])


async def results_into(results: list[pb.AppendResult], stream: Any) -> None:
    async for answer in stream:
        results += answer.results


async def collected(stream: Any) -> list[Any]:
    return [one async for one in stream]


async def test_who_appends_beside_a_refused_event_is_not_refused_with_it(ledger: Stub) -> None:
    await append(ledger, [event(1)])
    calls = [ledger.Append(pb.AppendRequest(event=event(10 + n, id="mail:1" if n == 7 else ""))) for n in range(16)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [place for place, one in enumerate(answers) if isinstance(one, Exception)] == [7]
    assert len(await whole(ledger)) == 16


async def test_zones_have_ledgers_of_their_own(ledger: Stub) -> None:
    assert await append(ledger, [event(1), event(2)], zone="one") == [1, 2]
    assert await append(ledger, [event(1)], zone="two") == [1]
    assert [one.source_id for one in await whole(ledger, zone="one")] == ["1", "2"]
    assert [one.source_id for one in await whole(ledger, zone="two")] == ["1"]


REFUSED: Any = [
    ("event.source", {"source": ""}),
    ("event.source", {"source": "x" * 129}),
    ("event.source", {"source": "a\x01"}),
    ("event.source_id", {"source_id": "x" * 385}),
    ("event.source_id", {"source_id": "a\nb", "id": "fine"}),
    ("event.id", {"id": "x" * 513}),
    ("event.type", {"type": ""}),
    ("event.from_channel", {"from_channel": ""}),
    ("event.from_identifier", {"from_identifier": "x" * 513}),
    ("event.thread_id", {"thread_id": "é" * 257}),
    ("event.content", {"content": "a\0b"}),
    ("event.content", {"content": "é" * 600_000}),
    ("event.direction", {"direction": 9}),
    ("event.timestamp", {"at": 10**12}),
    ("event.metadata", {"metadata": {"a": "b\0"}}),
    ("event.to_recipients[0].role", {"to_recipients": [event_pb2.Recipient(identifier="x", role="boss")]}),
    ("event.attachments[0].size", {"attachments": [event_pb2.InlineAttachment(size=-1)]}),
]
"""Fields that are refused, and what is in them."""


async def test_what_cannot_be_kept_is_refused_with_its_field(ledger: Stub) -> None:
    for field, bad in REFUSED:
        fields = dict(bad)
        content = fields.pop("content", "")
        with pytest.raises(aio.AioRpcError) as raised:
            await ledger.Append(pb.AppendRequest(event=event(1, content, **fields)))
        error = Failure.of(raised.value)
        assert (error.reason, list(error.violations)) == ("FIELD_INVALID", [field])
    assert await whole(ledger) == []


@pytest.mark.parametrize("count", [0, 1001])
async def test_a_batch_has_one_to_a_thousand_events(ledger: Stub, count: int) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await ledger.BatchAppend(pb.BatchAppendRequest(events=[event(n) for n in range(count)]))
    assert list(Failure.of(raised.value).violations) == ["events"]
