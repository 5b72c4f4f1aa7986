"""Watch streams: order, completeness, ids, cancellation, progress, slow readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.machines import Feed, machine

from raftmeta.errors import Fault
from raftmeta.etcd import kv_pb2 as kv
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine import Machine
from raftmeta.watch import WatchHub, watch_stream

PUT, DELETE = kv.Event.PUT, kv.Event.DELETE


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    with machine(tmp_path / "machine") as under_test:
        yield Feed(under_test)


def hub_of(feed: Feed, **options: Any) -> WatchHub:
    return WatchHub(feed.machine, 0, asyncio.get_running_loop(), jitter=lambda: 0.0, **options)


class Client:
    """One end of a watch stream."""

    def __init__(self, hub: WatchHub) -> None:
        self._requests: asyncio.Queue[pb.WatchRequest | None] = asyncio.Queue()
        self.answers = watch_stream(hub, self._sent())

    async def _sent(self) -> AsyncIterator[pb.WatchRequest]:
        while (request := await self._requests.get()) is not None:
            yield request

    def create(self, key: bytes, **options: Any) -> None:
        self._requests.put_nowait(pb.WatchRequest(create_request=pb.WatchCreateRequest(key=key, **options)))

    def cancel(self, number: int) -> None:
        self._requests.put_nowait(pb.WatchRequest(cancel_request=pb.WatchCancelRequest(watch_id=number)))

    def progress(self) -> None:
        self._requests.put_nowait(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))

    def end(self) -> None:
        self._requests.put_nowait(None)

    async def next(self) -> pb.WatchResponse:
        return await asyncio.wait_for(anext(self.answers), 10)

    async def events(self, upto: int) -> list[tuple[int, int, bytes]]:
        """Read events until one of revision `upto` came."""
        found: list[tuple[int, int, bytes]] = []
        while not found or found[-1][0] < upto:
            response = await self.next()
            found += [(event.kv.mod_revision, event.type, event.kv.key) for event in response.events]
        return found

    async def close(self) -> None:
        """End the stream and read what is left of it."""
        self.end()
        async for _ in self.answers:
            pass


async def test_created_comes_first_then_history_then_live_events(feed: Feed) -> None:
    feed.put(b"k", b"1")
    feed(pb.DeleteRangeRequest(key=b"k"))
    client = Client(hub_of(feed))
    client.create(b"k", start_revision=1)
    created = await client.next()
    assert created.created
    assert created.watch_id == 0
    assert created.header.revision == 3
    assert not created.events
    assert await client.events(3) == [(2, PUT, b"k"), (3, DELETE, b"k")]
    feed.put(b"k", b"2")
    feed.put(b"other")
    feed.put(b"k", b"3")
    assert await client.events(6) == [(4, PUT, b"k"), (6, PUT, b"k")]
    await client.close()


async def test_a_watch_from_now_hears_only_of_later_revisions(feed: Feed) -> None:
    feed.put(b"k", b"old")
    client = Client(hub_of(feed))
    client.create(b"k")
    await client.next()
    feed.put(b"k", b"new")
    response = await client.next()
    assert [event.kv.value for event in response.events] == [b"new"]
    assert response.header.revision == 3
    await client.close()


@pytest.mark.parametrize(
    ("key", "end", "seen"),
    [
        (b"b", b"", [b"b"]),
        (b"b", b"c", [b"b", b"b\0"]),
        (b"b", b"\0", [b"b", b"b\0", b"c"]),
        (b"", b"", [b"\0"]),
        (b"", b"\0", [b"\0", b"a", b"b", b"b\0", b"c"]),
    ],
)
@pytest.mark.parametrize("live", [False, True])
async def test_ranges_are_those_of_range(feed: Feed, key: bytes, end: bytes, seen: list[bytes], live: bool) -> None:
    def write() -> None:
        for written in (b"\0", b"a", b"b", b"b\0", b"c", key or b"\0"):
            feed.put(written)

    client = Client(hub_of(feed))
    if not live:
        write()
    client.create(key, range_end=end, start_revision=1)
    await client.next()
    if live:
        write()
    found = await client.events(7)
    assert [item[2] for item in found] == [*seen, key or b"\0"]
    await client.close()


async def test_ids_count_up_skip_chosen_ones_and_are_refused_when_taken(feed: Feed) -> None:
    client = Client(hub_of(feed))
    for wished in (0, 1, 0, 1, 0):
        client.create(b"k", watch_id=wished)
    answers = [await client.next() for _ in range(5)]
    assert [answer.watch_id for answer in answers] == [0, 1, 2, -1, 3]
    refused = answers[3]
    assert refused.created
    assert refused.canceled
    assert refused.cancel_reason == "mvcc: duplicate watch ID provided on the WatchStream"
    client.create(b"k", range_end=b"a")
    empty = await client.next()
    assert (empty.watch_id, empty.created, empty.canceled) == (-1, True, True)
    assert empty.cancel_reason == "mvcc: watcher range is empty"
    client.cancel(1)
    canceled = await client.next()
    assert (canceled.watch_id, canceled.canceled, canceled.created) == (1, True, False)
    client.cancel(99)
    client.create(b"k", watch_id=1)
    again = await client.next()
    assert (again.watch_id, again.canceled) == (1, False)
    await client.close()


async def test_a_cancelled_watcher_hears_nothing_more(feed: Feed) -> None:
    hub = hub_of(feed)
    client = Client(hub)
    client.create(b"k")
    client.create(b"k", range_end=b"l")
    await client.next()
    await client.next()
    assert hub.watchers == 2
    client.cancel(0)
    await client.next()
    feed.put(b"k")
    response = await client.next()
    assert (response.watch_id, len(response.events)) == (1, 1)
    await client.close()
    assert hub.watchers == 0


async def test_a_revision_comes_whole_and_in_order(feed: Feed) -> None:
    client = Client(hub_of(feed))
    client.create(b"k", range_end=b"l")
    await client.next()
    txn = pb.TxnRequest(
        success=[pb.RequestOp(request_put=pb.PutRequest(key=b"k%d" % n)) for n in (3, 1, 2)]
        + [pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=b"ka"))]
    )
    feed.put(b"ka")
    feed(txn)
    while (response := await client.next()).events[-1].kv.mod_revision != 3:
        pass
    last = [event.kv.key for event in response.events if event.kv.mod_revision == 3]
    assert last == [b"k3", b"k1", b"k2", b"ka"]
    await client.close()


@pytest.mark.parametrize("live", [False, True])
async def test_filters_drop_kinds_of_events(feed: Feed, live: bool) -> None:
    client = Client(hub_of(feed))

    def write() -> None:
        feed.put(b"k")
        feed(pb.DeleteRangeRequest(key=b"k"))
        feed.put(b"k")

    if not live:
        write()
    client.create(b"k", start_revision=2, filters=[pb.WatchCreateRequest.NODELETE])
    client.create(b"k", start_revision=2, filters=[pb.WatchCreateRequest.NOPUT])
    await client.next()
    await client.next()
    if live:
        write()
    kinds: dict[int, list[int]] = {0: [], 1: []}
    while kinds != {0: [PUT, PUT], 1: [DELETE]}:
        response = await client.next()
        kinds[response.watch_id] += [event.type for event in response.events]
    await client.close()


@pytest.mark.parametrize("live", [False, True])
async def test_prev_kv_is_the_value_one_revision_earlier_unless_compacted(feed: Feed, live: bool) -> None:
    client = Client(hub_of(feed))

    def write() -> None:
        for value in (b"1", b"2"):
            feed.put(b"k", value)
        feed(pb.DeleteRangeRequest(key=b"k"))
        feed.put(b"k", b"3")

    if not live:
        write()
    client.create(b"k", start_revision=2, prev_kv=True)
    await client.next()
    if live:
        write()
    events: list[kv.Event] = []
    while len(events) < 4:
        events += (await client.next()).events
    assert [event.prev_kv.value for event in events] == [b"", b"1", b"2", b""]
    assert [event.HasField("prev_kv") for event in events] == [False, True, True, False]
    feed(pb.CompactionRequest(revision=4))
    client.create(b"k", start_revision=4, prev_kv=True, watch_id=9)
    await client.next()
    response = await client.next()
    assert [(event.kv.mod_revision, event.HasField("prev_kv")) for event in response.events] == [(4, False), (5, False)]
    await client.close()


async def test_a_watch_below_the_compacted_revision_is_created_and_then_cancelled(feed: Feed) -> None:
    for _ in range(5):
        feed.put(b"k")
    feed(pb.CompactionRequest(revision=4))
    hub = hub_of(feed)
    client = Client(hub)
    client.create(b"k", start_revision=3)
    created = await client.next()
    assert created.created
    assert not created.canceled
    canceled = await client.next()
    assert (canceled.watch_id, canceled.canceled, canceled.compact_revision) == (0, True, 4)
    assert canceled.header.revision == 0
    client.create(b"k", start_revision=4)
    await client.next()
    assert [item[0] for item in await client.events(6)] == [4, 5, 6]
    await client.close()


async def test_a_watch_at_the_compacted_revision_still_sees_its_delete(feed: Feed) -> None:
    """Etcd issues 18089 and 19179: the tombstone of the compacted revision must not be lost."""
    feed.put(b"k")
    feed(pb.DeleteRangeRequest(key=b"k"))
    feed.put(b"other")
    feed(pb.CompactionRequest(revision=3))
    client = Client(hub_of(feed))
    client.create(b"k", start_revision=3)
    await client.next()
    assert await client.events(3) == [(3, DELETE, b"k")]
    await client.close()


async def test_a_future_watch_hears_nothing_before_its_start_not_even_progress(feed: Feed) -> None:
    """Etcd issue 20221."""
    client = Client(hub_of(feed, progress_interval=0.01))
    client.create(b"k", start_revision=5, progress_notify=True)
    await client.next()
    client.progress()
    for _ in range(3):
        feed.put(b"k")
        await asyncio.sleep(0.02)
    feed.put(b"k")
    first = await client.next()
    assert [event.kv.mod_revision for event in first.events] == [5]
    later = [await client.next() for _ in range(2)]
    assert {answer.watch_id for answer in later} == {-1, 0}
    assert all(answer.header.revision == 5 and not answer.events for answer in later)
    await client.close()


async def test_progress_never_overtakes_events(feed: Feed) -> None:
    """Etcd issue 15220."""
    for number in range(300):
        feed.put(b"k%d" % (number % 3))
    client = Client(hub_of(feed))
    client.create(b"k", range_end=b"l", start_revision=1)
    client.progress()
    await client.next()
    seen = 0
    while (response := await client.next()).watch_id != -1:
        seen = response.events[-1].kv.mod_revision
    assert seen == response.header.revision == 301
    await client.close()


async def test_progress_notifications_are_elided_after_events(feed: Feed) -> None:
    client = Client(hub_of(feed, progress_interval=0.02))
    client.create(b"k", progress_notify=True)
    await client.next()
    quiet = await client.next()
    assert (quiet.watch_id, quiet.header.revision, len(quiet.events)) == (0, 1, 0)
    feed.put(b"k")
    while not (await client.next()).events:
        pass
    after = await client.next()
    assert (after.header.revision, len(after.events)) == (2, 0)
    await client.close()


async def test_large_responses_are_fragmented_only_for_those_who_ask(feed: Feed) -> None:
    ops = [pb.RequestOp(request_put=pb.PutRequest(key=b"k%02d" % n, value=b"v" * 100)) for n in range(20)]
    feed(pb.TxnRequest(success=ops))
    client = Client(hub_of(feed, fragment_bytes=600))
    client.create(b"k", range_end=b"l", start_revision=2, fragment=True)
    client.create(b"k", range_end=b"l", start_revision=2)
    await client.next()
    await client.next()
    pieces: dict[int, list[pb.WatchResponse]] = {0: [], 1: []}
    while sum(len(piece.events) for found in pieces.values() for piece in found) < 40:
        piece = await client.next()
        pieces[piece.watch_id].append(piece)
    assert len(pieces[1]) == 1
    assert [piece.fragment for piece in pieces[0]] == [True] * (len(pieces[0]) - 1) + [False]
    assert len(pieces[0]) > 3
    assert all(piece.ByteSize() <= 600 for piece in pieces[0])
    keys = [event.kv.key for piece in pieces[0] for event in piece.events]
    assert keys == [b"k%02d" % n for n in range(20)]
    await client.close()


async def test_a_slow_reader_holds_up_nobody_and_misses_nothing(feed: Feed) -> None:
    """Etcd issue 17529: events must not be lost when a stream starves."""
    hub = hub_of(feed, max_responses=4)
    slow, quick = Client(hub), Client(hub)
    for client in (slow, quick):
        client.create(b"k")
        await client.next()
    for number in range(50):
        feed.put(b"k", b"%d" % number)
        assert (await quick.events(number + 2))[-1] == (number + 2, PUT, b"k")
    assert hub.watchers == 1, "the slow one is served from history now"
    assert [item[0] for item in await slow.events(51)] == list(range(2, 52))
    feed.put(b"k")
    assert [item[0] for item in await slow.events(52)] == [52]
    assert hub.watchers == 2
    await slow.close()
    await quick.close()


async def test_a_slow_watcher_overtaken_by_compaction_is_told_so(feed: Feed) -> None:
    hub = hub_of(feed, max_responses=2)
    client = Client(hub)
    client.create(b"k")
    await client.next()
    for _ in range(10):
        feed.put(b"k")
        await asyncio.sleep(0)
    feed(pb.CompactionRequest(revision=10))
    revisions: list[int] = []
    while not (response := await client.next()).canceled:
        revisions += [event.kv.mod_revision for event in response.events]
    assert revisions == list(range(2, 2 + len(revisions)))
    assert 0 < len(revisions) < 8
    assert response.compact_revision == 10
    await client.close()


async def test_closing_the_answers_removes_the_watchers(feed: Feed) -> None:
    hub = hub_of(feed)
    client = Client(hub)
    client.create(b"k")
    await client.next()
    assert hub.watchers == 1
    await client.answers.aclose()  # type: ignore[attr-defined]
    assert hub.watchers == 0
    feed.put(b"k")


async def test_what_the_requests_raise_ends_the_stream(feed: Feed) -> None:
    async def broken() -> AsyncIterator[pb.WatchRequest]:
        yield pb.WatchRequest(create_request=pb.WatchCreateRequest(key=b"k"))
        raise ConnectionError("the client is gone")

    found = []
    with pytest.raises(ConnectionError):  # noqa: PT012
        async for response in watch_stream(hub_of(feed), broken()):
            found.append(response)  # noqa: PERF401 - what came before the error is kept
    assert [response.created for response in found] == [True]


async def test_a_steady_history_reader_meets_live_events_without_gap_or_repeat(feed: Feed) -> None:
    for number in range(2_000):
        feed.put(b"k", b"%d" % number)
    client = Client(hub_of(feed))
    client.create(b"k", start_revision=1)
    await client.next()
    found: list[int] = []
    while not found or found[-1] < 2_101:
        if len(found) < 2_100 and feed.machine.revisions(0)[0] < 2_101:
            feed.put(b"k")
        found += [event.kv.mod_revision for event in (await client.next()).events]
        while feed.machine.revisions(0)[0] < 2_101 and len(found) >= 2_000:
            feed.put(b"k")
    assert found == list(range(2, 2_102))
    await client.close()


async def test_watchers_survive_an_installed_snapshot(feed: Feed, tmp_path: Path) -> None:
    """Etcd issue 15271: no step back and no gap when a member jumps ahead."""
    with machine(tmp_path / "ahead") as ahead:
        source = Feed(ahead)
        for number in range(6):
            source.put(b"k", b"%d" % number)
        source(pb.CompactionRequest(revision=3))
        copy = tmp_path / "copy"
        copy.mkdir()
        ahead.snapshot(copy)
    feed.put(b"k", b"0")
    hub = hub_of(feed)
    client = Client(hub)
    client.create(b"k", start_revision=2)
    client.create(b"k", start_revision=20)
    await client.next()
    await client.next()
    assert await client.events(2) == [(2, PUT, b"k")]
    feed.machine.install(copy)
    assert [item[0] for item in await client.events(7)] == [3, 4, 5, 6, 7]
    feed.put(b"k")
    assert [item[0] for item in await client.events(8)] == [8]
    await client.close()


async def test_a_watcher_left_below_an_installed_compaction_is_cancelled(feed: Feed, tmp_path: Path) -> None:
    with machine(tmp_path / "ahead") as ahead:
        source = Feed(ahead)
        for number in range(6):
            source.put(b"k", b"%d" % number)
        source(pb.CompactionRequest(revision=5))
        copy = tmp_path / "copy"
        copy.mkdir()
        ahead.snapshot(copy)
    client = Client(hub_of(feed))
    client.create(b"k")
    await client.next()
    feed.machine.install(copy)
    canceled = await client.next()
    assert (canceled.canceled, canceled.compact_revision) == (True, 5)
    await client.close()


async def test_history_of_a_compacted_revision_is_refused(feed: Feed) -> None:
    under_test: Machine = feed.machine
    for _ in range(3):
        feed.put(b"k")
    feed(pb.CompactionRequest(revision=3))
    assert feed.fault(pb.CompactionRequest(revision=2)) is Fault.COMPACTED
    assert under_test.revisions(0) == (4, 3)
