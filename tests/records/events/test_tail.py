"""Tail: the whole ledger from any position on, each event once, in order, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from grpc import aio
from harness.ledger import Stub, append, batches, each, event, whole
from harness.rpc import Failure
from quartet.events.v1 import appending_pb2, following_pb2, reading_pb2

LIMIT = 20.0


async def take(stream: Any, count: int) -> list[int]:
    """Return the positions of the next `count` events, and no more than come with them."""
    positions: list[int] = []
    async with asyncio.timeout(LIMIT):
        while len(positions) < count:
            answer = await stream.read()
            assert answer is not aio.EOF
            positions += [one.position for one in answer.events]
            assert not answer.events or answer.position >= positions[-1]
    return positions


async def test_what_is_there_comes_first_and_then_what_is_appended(ledger: Stub) -> None:
    await append(ledger, [event(n) for n in range(250)])
    stream = ledger.Tail(reading_pb2.TailRequest(after_position=0, batch_size=100))
    assert await take(stream, 250) == list(range(1, 251))
    for number in range(250, 253):
        await append(ledger, [event(number)])
        assert await take(stream, 1) == [number + 1]
    stream.cancel()


async def test_without_a_position_only_what_is_new_comes(ledger: Stub) -> None:
    await append(ledger, [event(1)])
    stream = ledger.Tail(reading_pb2.TailRequest())
    first: Any = await stream.read()
    assert (list(first.events), first.position, first.caught_up) == ([], 1, True)
    await append(ledger, [event(2)])
    assert await take(stream, 1) == [2]
    stream.cancel()


async def test_readers_that_come_and_go_see_each_event_once_while_many_write(ledger: Stub) -> None:
    writers, rounds = 4, 6
    total = writers * rounds * 10

    async def write(writer: int) -> None:
        for turn in range(rounds):
            numbers = [writer * 1000 + turn * 10 + n for n in range(10)]
            match (writer + turn) % 3:
                case 0:
                    await append(ledger, [event(n) for n in numbers])
                case 1:
                    assert [a async for a in ledger.AppendEach(each(event(n) for n in numbers))]
                case _:
                    await asyncio.gather(*(ledger.Append(appending_pb2.AppendRequest(event=event(n))) for n in numbers))

    async def read(breaks: int) -> list[tuple[int, str]]:
        seen: list[tuple[int, str]] = []
        position = 0
        while len(seen) < total:
            stream = ledger.Tail(reading_pb2.TailRequest(after_position=position, batch_size=7))
            for _ in range(breaks):
                answer: Any = await stream.read()
                seen += [(one.position, one.source_id) for one in answer.events]
                position = answer.position
                if len(seen) >= total:
                    break
            stream.cancel()
        return seen

    async with asyncio.timeout(LIMIT):
        writing = [asyncio.ensure_future(write(n)) for n in range(writers)]
        steady, broken = await asyncio.gather(read(10**6), read(2))
        await asyncio.gather(*writing)
    assert steady == broken
    assert all(one[0] < other[0] for one, other in itertools.pairwise(steady))
    assert steady == [(one.position, one.source_id) for one in await whole(ledger)]


WANTED: Any = [
    ({"source": "chat"}, [1, 4]),
    ({"channel": "mail"}, [0, 2, 3, 5]),
    ({"thread_id": "t"}, [3]),
    ({"type": "email"}, [2]),
    ({"source": "none"}, []),
]
"""What is wanted, and which of six events that is."""


async def test_a_reader_may_want_some_events_only(ledger: Stub) -> None:
    made = [event(n, source="chat", from_channel="chat") if n % 3 == 1 else event(n) for n in range(6)]
    made[2].type, made[3].thread_id = "email", "t"
    await append(ledger, made)
    for fields, numbers in WANTED:
        stream = ledger.Tail(reading_pb2.TailRequest(after_position=0, once=True, **fields))
        answers = [answer async for answer in stream]
        assert [int(one.source_id) for answer in answers for one in answer.events] == numbers, fields
        assert (answers[-1].position, answers[-1].caught_up) == (6, True)


async def test_a_consumer_goes_on_where_it_committed(ledger: Stub) -> None:
    await append(ledger, [event(n) for n in range(5)])
    assert await take(ledger.Tail(reading_pb2.TailRequest(consumer="indexer", once=True)), 5) == [1, 2, 3, 4, 5]
    await ledger.CommitCursor(following_pb2.CommitCursorRequest(consumer="indexer", position=3))
    assert await take(ledger.Tail(reading_pb2.TailRequest(consumer="indexer", once=True)), 2) == [4, 5]
    back = await ledger.CommitCursor(following_pb2.CommitCursorRequest(consumer="indexer", position=1))
    assert back.position == 3, "a late commit does not take a cursor back"
    back = await ledger.CommitCursor(following_pb2.CommitCursorRequest(consumer="indexer", position=1, rewind=True))
    assert back.position == 1
    listed = await ledger.ListConsumers(following_pb2.ListConsumersRequest())
    assert [(one.name, one.position) for one in listed.consumers] == [("indexer", 1)]
    await ledger.DeleteConsumer(following_pb2.DeleteConsumerRequest(name="indexer"))
    assert not (await ledger.ListConsumers(following_pb2.ListConsumersRequest())).consumers


async def test_a_position_that_the_ledger_has_not_reached_is_refused(ledger: Stub) -> None:
    await append(ledger, [event(1)])
    calls: list[Any] = [
        ledger.Tail(reading_pb2.TailRequest(after_position=2)).read(),
        ledger.CommitCursor(following_pb2.CommitCursorRequest(consumer="c", position=2)),
    ]
    for call in calls:
        with pytest.raises(aio.AioRpcError) as raised:
            await call
        error = Failure.of(raised.value)
        assert (error.reason, error.metadata["end"]) == ("CURSOR_AHEAD", "1")


async def test_large_events_come_in_small_answers(ledger: Stub) -> None:
    groups = [[event(n, "x" * 900_000) for n in range(start, start + 4)] for start in (0, 4)]
    assert [a.created async for a in ledger.AppendBatches(batches(groups))] == [4, 4]
    stream = ledger.Tail(reading_pb2.TailRequest(after_position=0, once=True))
    sizes = [answer.ByteSize() async for answer in stream]
    assert len(sizes) > 1
    assert max(sizes) < 4 * 1024**2


async def test_positions_of_erased_events_are_not_used_again(ledger: Stub) -> None:
    await append(ledger, [event(n) for n in range(3)])
    stream = ledger.Tail(reading_pb2.TailRequest(after_position=3))
    await ledger.Erase(appending_pb2.EraseRequest(ids=["mail:2"]))
    assert await append(ledger, [event(2)]) == [4]
    assert await take(stream, 1) == [4]
    stream.cancel()
