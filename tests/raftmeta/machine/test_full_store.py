"""A store without room: the step that did not fit has not happened, and happens when there is room."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from harness.machines import Feed
from hypothesis import given
from hypothesis import strategies as st

from raftmeta.consensus.contract import Entry, NoRoom
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine import Machine
from raftmeta.store import Store
from raftmeta.store.environment import StoreFull
from raftmeta.store.layout import NO_REVISION, is_whole, pack_record, revision_key

LARGE = b"v" * 200_000


def test_a_step_that_finds_no_room_leaves_nothing_and_is_applied_once_when_there_is_room(tmp_path: Path) -> None:
    store = Store(tmp_path, map_size=2 << 20, interval=3600.0)
    small = Machine(store)
    feed = Feed(small)
    entries = [feed.entry_at(number + 1, pb.PutRequest(key=b"%d" % number, value=LARGE)) for number in range(30)]
    with pytest.raises(NoRoom, match="map is full"):
        _apply_each(small, store, entries)
    kept = small.applied()[0]
    assert 0 < kept < 30
    entries = entries[: kept + 1]
    assert small.revisions(0)[0] == kept + 1
    with pytest.raises(NoRoom):
        small.apply(entries[-1:])
    small.close()
    roomy = Machine(Store(tmp_path, map_size=64 << 20))
    for _ in range(2):
        roomy.apply(entries)
    assert roomy.applied() == (kept + 1, 1)
    assert roomy.revisions(0)[0] == kept + 2
    roomy.close()


def _apply_each(machine: Machine, store: Store, entries: list[Entry]) -> None:
    """Apply and flush one entry after the other, as the store's own thread would; the step after a failed flush tells."""
    for entry in entries:
        machine.apply([entry])
        with contextlib.suppress(StoreFull):
            store.flush()


@given(st.binary(max_size=40), st.data())
def test_one_flipped_bit_in_a_record_or_its_name_is_noticed(value: bytes, data: st.DataObject) -> None:
    name = revision_key(7, 1) + b"t"
    record = pack_record(name, bytes(range(12)), NO_REVISION, value)
    assert is_whole(name, record)
    bit = data.draw(st.integers(0, 8 * (len(name) + len(record)) - 1))
    both = bytearray(name + record)
    both[bit // 8] ^= 1 << bit % 8
    assert not is_whole(bytes(both[: len(name)]), bytes(both[len(name) :]))
