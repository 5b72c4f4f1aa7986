"""Which ranges hold a key is answered as by looking at every range; answers in bytes are the messages they stand for."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftmeta.etcd import kv_pb2 as kv
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine import Change, KeyRange
from raftmeta.machine.applied import tombstone
from raftmeta.machine.wire import first_field
from raftmeta.watch.intervals import Intervals
from raftmeta.watch.replies import events_field, events_reply, fragments
from raftmeta.watch.watcher import Watcher

KEYS = st.binary(min_size=1, max_size=2)
RANGES = st.one_of(
    st.builds(KeyRange, KEYS, st.none()),
    st.tuples(KEYS, KEYS).filter(lambda ends: ends[0] < ends[1]).map(lambda ends: KeyRange(*ends)),
)


class Fake:
    """As much of a watcher as an interval needs."""

    def __init__(self, keys: KeyRange) -> None:
        self.keys = keys


@given(st.lists(RANGES, max_size=30), st.data())
def test_the_ranges_found_are_those_that_hold_the_key(ranges: list[KeyRange], data: st.DataObject) -> None:
    intervals = Intervals()
    watchers = [cast("Watcher", Fake(keys)) for keys in ranges]
    for watcher in watchers:
        intervals.add(watcher)
    for _ in range(3):
        key = data.draw(KEYS)
        found = [watcher for those in intervals.holding(key) for watcher in those]
        assert len(found) == len(set(found))
        assert set(found) == {watcher for watcher in watchers if key in watcher.keys}
        for _ in range(min(len(watchers), 2)):
            gone = watchers.pop(data.draw(st.integers(0, len(watchers) - 1)))
            intervals.remove(gone)
            intervals.remove(gone)
        assert len(intervals) == len(intervals.all()) == len(watchers)


def changes() -> list[Change]:
    items = [
        kv.KeyValue(key=b"k" * 200, value=b"v" * size, create_revision=5, mod_revision=7, version=2)
        for size in (0, 20_000)
    ]
    puts = [Change(item.key, 7, False, False, item.SerializeToString()) for item in items]
    gone = tombstone(b"gone", 7, kv.KeyValue(key=b"gone").SerializeToString())
    return [*puts, gone, gone._replace(previous=items[0].SerializeToString())]


@pytest.mark.parametrize("number", [0, 3, 300, -5, 2**62])
def test_events_in_bytes_are_the_message(number: int) -> None:
    some = changes()
    response = pb.WatchResponse(watch_id=number, events=[change.event for change in some])
    header = pb.ResponseHeader(cluster_id=1 << 63, revision=9, raft_term=3)
    response.header.CopyFrom(header)
    told = events_reply(9, number, events_field(some))
    assert told.encoded(header.SerializeToString()) == response.SerializeToString()
    assert told.message.header == pb.ResponseHeader(revision=9)
    assert some[2].event == kv.Event(type=kv.Event.DELETE, kv=kv.KeyValue(key=b"gone", mod_revision=7))
    assert [change.event.HasField("prev_kv") for change in some] == [False, False, False, True]


@pytest.mark.parametrize("limit", [1, 300, 700, 21_000, 1 << 20])
def test_fragments_stay_below_their_limit_and_say_which_is_the_last(limit: int) -> None:
    some = changes() * 3
    pieces = [piece.message for piece in fragments(1 << 40, 12, events_field(some), limit)]
    assert [event for piece in pieces for event in piece.events] == [change.event for change in some]
    assert [piece.fragment for piece in pieces] == [True] * (len(pieces) - 1) + [False]
    assert all(piece.ByteSize() <= limit or len(piece.events) == 1 for piece in pieces)
    if limit == 1 << 20:
        assert len(pieces) == 1


@given(st.binary(max_size=40_000), st.binary(max_size=9))
def test_the_key_of_a_record_is_read_without_parsing_it(key: bytes, value: bytes) -> None:
    item: Any = kv.KeyValue(key=key, value=value, mod_revision=1)
    assert first_field(item.SerializeToString()) == key
