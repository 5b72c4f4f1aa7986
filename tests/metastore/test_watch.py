"""Watch: order, history, options, cancelling and what is refused."""

from __future__ import annotations

import pytest
from harness.watching import WatchStream

from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

pytestmark = pytest.mark.asyncio(loop_scope="session")

PUT, DELETE = kv_pb2.Event.PUT, kv_pb2.Event.DELETE


async def _put(store: Metastore, key: bytes, value: bytes = b"") -> int:
    return (await store.put(pb.PutRequest(key=key, value=value))).header.revision


async def _delete(store: Metastore, key: bytes, end: bytes = b"") -> int:
    return (await store.delete_range(pb.DeleteRangeRequest(key=key, range_end=end))).header.revision


def _short(event: kv_pb2.Event) -> tuple[str, bytes, bytes]:
    return kv_pb2.Event.EventType.Name(event.type), event.kv.key, event.kv.value


async def test_changes_arrive_in_order_after_the_answer_to_the_request(metastore: Metastore) -> None:
    now = await _put(metastore, b"a", b"0")
    async with WatchStream(metastore) as stream:
        answer = await stream.created(b"a", b"c")
        assert (answer.watch_id, answer.canceled, answer.header.revision) == (0, False, now)
        await _put(metastore, b"a", b"1")
        await _put(metastore, b"c", b"outside")
        await _put(metastore, b"b", b"2")
        last = await _delete(metastore, b"a", b"c")
        events = await stream.events(4)
    assert [_short(e) for e in events] == [
        ("PUT", b"a", b"1"),
        ("PUT", b"b", b"2"),
        ("DELETE", b"a", b""),
        ("DELETE", b"b", b""),
    ]
    assert [e.kv.mod_revision - now for e in events] == [1, 3, 4, 4]
    first, gone = events[0].kv, events[2].kv
    assert (first.create_revision, first.version, first.lease) == (now, 2, 0)
    assert (gone.create_revision, gone.version, gone.mod_revision) == (0, 0, last)
    assert not any(e.HasField("prev_kv") for e in events)


async def test_history_comes_first_when_the_start_lies_in_the_past(metastore: Metastore) -> None:
    first = await _put(metastore, b"k", b"1")
    await _delete(metastore, b"k")
    await _put(metastore, b"k", b"2")
    async with WatchStream(metastore) as stream:
        await stream.created(b"k", start=first)
        old = await stream.events(3)
        await _put(metastore, b"k", b"3")
        new = await stream.events(1)
    assert [_short(e)[0] + _short(e)[2].decode() for e in old + new] == ["PUT1", "DELETE", "PUT2", "PUT3"]
    assert [e.kv.mod_revision - first for e in old + new] == [0, 1, 2, 3]


async def test_a_start_in_the_future_skips_everything_before_it(metastore: Metastore) -> None:
    now = await _put(metastore, b"k")
    async with WatchStream(metastore) as stream:
        await stream.created(b"k", start=now + 3)
        for value in (b"1", b"2", b"3", b"4"):
            await _put(metastore, b"k", value)
        assert [e.kv.value for e in await stream.events(2)] == [b"3", b"4"]


@pytest.mark.parametrize("history", [False, True])
async def test_previous_values_are_told_when_asked_for(metastore: Metastore, history: bool) -> None:
    start = await _put(metastore, b"k", b"1") + 1
    async with WatchStream(metastore) as stream:
        if not history:
            await stream.created(b"k", prev_kv=True)
        await _put(metastore, b"k", b"2")
        await _delete(metastore, b"k")
        await _put(metastore, b"k", b"3")
        if history:
            await stream.created(b"k", start=start, prev_kv=True)
        events = await stream.events(3)
    assert [e.prev_kv.value for e in events] == [b"1", b"2", b""]
    assert [e.HasField("prev_kv") for e in events] == [True, True, False]
    assert events[1].prev_kv.version == 2


@pytest.mark.parametrize(
    ("filters", "seen"),
    [
        ([pb.WatchCreateRequest.NOPUT], ["DELETE"]),
        ([pb.WatchCreateRequest.NODELETE], ["PUT", "PUT"]),
        ([], ["PUT", "DELETE", "PUT"]),
    ],
)
async def test_filters_leave_events_out(
    metastore: Metastore, filters: list[pb.WatchCreateRequest.FilterType.ValueType], seen: list[str]
) -> None:
    async with WatchStream(metastore) as stream:
        await stream.created(b"k", filters=filters)
        await stream.created(b"end")
        await _put(metastore, b"k")
        await _delete(metastore, b"k")
        await _put(metastore, b"k")
        await _put(metastore, b"end")
        events = await stream.events(len(seen) + 1)
    assert [_short(e)[0] for e in events if e.kv.key == b"k"] == seen


async def test_a_transaction_arrives_whole_and_in_request_order(metastore: Metastore) -> None:
    keys = [b"p%02d" % i for i in (3, 1, 2, 0)]
    async with WatchStream(metastore) as stream:
        await stream.created(b"p", b"q")
        ops = [pb.RequestOp(request_put=pb.PutRequest(key=key)) for key in keys]
        done = await metastore.txn(pb.TxnRequest(success=ops))
        response = await stream.receive()
    assert [e.kv.key for e in response.events] == keys
    assert {e.kv.mod_revision for e in response.events} == {done.header.revision}


async def test_many_watchers_share_a_stream(metastore: Metastore) -> None:
    async with WatchStream(metastore) as stream:
        ids = [(await stream.created(b"k")).watch_id for _ in range(3)]
        assert ids == [0, 1, 2]
        assert (await stream.created(b"k", watch_id=77)).watch_id == 77
        await _put(metastore, b"k")
        seen = sorted([(await stream.receive()).watch_id for _ in range(4)])
        assert seen == [0, 1, 2, 77]


async def test_a_taken_watch_id_is_refused_and_the_stream_lives_on(metastore: Metastore) -> None:
    async with WatchStream(metastore) as stream:
        await stream.created(b"k", watch_id=5)
        refused = await stream.created(b"k", watch_id=5)
        assert (refused.canceled, refused.watch_id) == (True, -1)
        assert refused.cancel_reason == "mvcc: duplicate watch ID provided on the WatchStream"
        await _put(metastore, b"k")
        assert (await stream.receive()).watch_id == 5


async def test_an_empty_interval_is_refused(metastore: Metastore) -> None:
    async with WatchStream(metastore) as stream:
        refused = await stream.created(b"k", b"a")
        assert (refused.canceled, refused.watch_id) == (True, -1)
        assert refused.cancel_reason == "mvcc: watcher range is empty"


async def test_a_cancelled_watcher_says_so_and_hears_no_more(metastore: Metastore) -> None:
    async with WatchStream(metastore) as stream:
        await stream.created(b"k")
        await stream.created(b"k")
        stream.cancel(0)
        gone = await stream.receive()
        assert (gone.watch_id, gone.canceled, gone.compact_revision) == (0, True, 0)
        stream.cancel(99)
        await _put(metastore, b"k")
        assert (await stream.receive()).watch_id == 1


async def test_a_compacted_start_ends_the_watcher_with_the_revision_to_go_on_from(metastore: Metastore) -> None:
    first = await _put(metastore, b"k", b"1")
    await _put(metastore, b"k", b"2")
    last = await _put(metastore, b"k", b"3")
    await metastore.compact(pb.CompactionRequest(revision=last, physical=True))
    async with WatchStream(metastore) as stream:
        await stream.created(b"k", start=first)
        gone = await stream.receive()
        assert (gone.watch_id, gone.canceled, gone.compact_revision, len(gone.events)) == (0, True, last, 0)
        await stream.created(b"k", start=last)
        assert [e.kv.value for e in await stream.events(1)] == [b"3"]


async def test_progress_is_told_for_the_whole_stream(metastore: Metastore) -> None:
    async with WatchStream(metastore) as stream:
        await stream.created(b"k")
        await stream.created(b"l")
        last = await _put(metastore, b"k")
        await stream.events(1)
        for _ in range(20):
            stream.progress()
            told = await stream.receive()
            assert (told.watch_id, len(told.events), told.created) == (-1, 0, False)
            if told.header.revision == last:
                break
        assert told.header.revision == last


async def test_fragments_together_make_the_whole_revision(metastore: Metastore) -> None:
    value = b"v" * 24_000
    keys = [b"f%03d" % i for i in range(100)]
    async with WatchStream(metastore) as stream:
        await stream.created(b"f", b"g", fragment=True)
        half = len(keys) // 2
        for part in (keys[:half], keys[half:]):
            ops = [pb.RequestOp(request_put=pb.PutRequest(key=key, value=value)) for key in part]
            await metastore.txn(pb.TxnRequest(success=ops))
        seen: list[bytes] = []
        while len(seen) < len(keys):
            response = await stream.receive()
            assert response.ByteSize() < 2 * 1024 * 1024
            seen += [e.kv.key for e in response.events]
        assert not response.fragment
    assert seen == keys


async def test_everything_can_be_watched(metastore: Metastore) -> None:
    async with WatchStream(metastore) as stream:
        await stream.created(b"\0", b"\0")
        await stream.created(b"m", b"\0")
        await _put(metastore, b"a")
        await _put(metastore, b"\xff\xff")
        seen = sorted([(r.watch_id, r.events[0].kv.key) for r in [await stream.receive() for _ in range(3)]])
    assert seen == [(0, b"a"), (0, b"\xff\xff"), (1, b"\xff\xff")]
