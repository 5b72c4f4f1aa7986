"""Reads at past revisions of keys with long histories, of which the store has a row here and there."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from harness.machines import MAP_SIZE, Feed

from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine import Machine
from raftmeta.store import Store
from raftmeta.store.layout import SPACING, in_history

KEYS = (b"a", b"b", b"long" * 130)
STEPS = 40 * SPACING


def look(machine: Machine, revision: int) -> dict[bytes, bytes]:
    """Read everything at a revision, as a range and key by key, which must agree."""
    found = {
        kv.key: kv.value for kv in machine.range(0, pb.RangeRequest(key=b"\0", range_end=b"\0", revision=revision)).kvs
    }
    for key in KEYS:
        alone = machine.range(0, pb.RangeRequest(key=key, revision=revision)).kvs
        assert [kv.value for kv in alone] == [found[key] for _ in range(key in found)]
    return found


@pytest.mark.parametrize("flushed", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("deletes", [0.0, 0.03, 0.3])
def test_every_past_state_is_as_it_was(tmp_path: Path, flushed: float, deletes: float) -> None:
    dice = random.Random(f"{flushed} {deletes}")
    machine = Machine(Store(tmp_path, map_size=MAP_SIZE))
    try:
        feed, states = Feed(machine), {1: dict[bytes, bytes]()}
        for number in range(STEPS):
            state = dict(states[max(states)])
            key = dice.choice((KEYS[0], KEYS[0], *KEYS))
            if dice.random() < deletes and key in state:
                feed(pb.DeleteRangeRequest(key=key))
                del state[key]
            elif dice.random() < 0.5:
                feed.put(key, b"%d" % number)  # the short way for plain puts
                state[key] = b"%d" % number
            else:
                feed.put(key, b"%d" % number, prev_kv=True)
                state[key] = b"%d" % number
            states[machine.revisions(0)[0]] = state
            if dice.random() < flushed:
                machine._store.flush()
        assert {revision: look(machine, revision) for revision in states} == states
        for compacted in (max(states) // 3, max(states) // 3 + 1, max(states) - 2):
            feed(pb.CompactionRequest(revision=compacted))
            while machine.sweep():
                pass
            with pytest.raises(MetastoreError) as caught:
                look(machine, compacted - 1)
            assert caught.value.fault is Fault.COMPACTED
            kept = {revision: state for revision, state in states.items() if revision >= compacted}
            assert {revision: look(machine, revision) for revision in kept} == kept
    finally:
        machine.close()


def test_compaction_leaves_no_row_of_what_it_removed_in_the_history(tmp_path: Path) -> None:
    machine = Machine(Store(tmp_path, map_size=MAP_SIZE))
    try:
        feed = Feed(machine)
        for _ in range(4):
            for number in range(3 * SPACING):
                feed.put(b"a", b"%d" % number)
            feed(pb.DeleteRangeRequest(key=b"a"))
        with machine._store.read() as view:
            rows = list(view.rows(view.tables.spaces[0].history, b""))
        # of each life the last version and those between, but for the newest record, and the tombstones before
        expected = sum(in_history(version) for version in range(1, 3 * SPACING + 1)) * 4 + 3
        assert len(rows) == expected
        feed.put(b"a", b"new")
        feed(pb.CompactionRequest(revision=machine.revisions(0)[0]))
        feed.put(b"b")
        feed(pb.CompactionRequest(revision=machine.revisions(0)[0]))
        while machine.sweep():
            pass
        with machine._store.read() as view:
            assert not list(view.rows(view.tables.spaces[0].history, b""))
            assert len(list(view.records(0, b""))) == 2
    finally:
        machine.close()
