"""The writes of one step: what `apply` does to the tables."""

from __future__ import annotations

from collections.abc import Iterable

import lmdb

from raftmeta.etcd import kv_pb2 as kv
from raftmeta.store import layout
from raftmeta.store.buffer import Buffer, Table
from raftmeta.store.counts import Flip
from raftmeta.store.layout import ID, NO_REVISION, ORIGIN, REVISION, SUPERSEDED, Slot
from raftmeta.store.plain import PlainPut, Written, write_plain
from raftmeta.store.view import COUNTERS, PAIR, SpaceState, SpaceTables, Tables, View


class WriteView(View):
    """The write transaction of a step: it sees what it writes; others see it when the step has ended.

    Attributes:
        flips: The keys that came to life and those that died.
    """

    def __init__(self, txn: lmdb.Transaction[bytes], tables: Tables, step: int, buffers: tuple[Buffer, ...]) -> None:
        """Read from `txn` and the buffers; write `step` into the first of these."""
        super().__init__(txn, tables, step, buffers)
        self._buffer = buffers[0]
        self.flips: list[Flip] = []

    def _set(self, table: Table, key: bytes, value: bytes | None) -> None:
        self._buffer.set(table, key, value, self._step)

    def set_meta(self, name: bytes, value: bytes | None) -> None:
        """Set a bookkeeping row; None removes it."""
        self._set(self.tables.bookkeeping, name, value)

    def set_applied(self, index: int, term: int) -> None:
        """Record the last applied entry."""
        self.set_meta(b"applied", PAIR.pack(index, term))

    def set_space(self, space: int, state: SpaceState) -> None:
        """Record a keyspace's counters."""
        self.set_meta(b"space%d" % space, COUNTERS.pack(state.current, state.compacted, state.swept))

    def put(self, space: int, key: bytes, old: Slot | None, new: Slot, value: bytes) -> None:
        """Write a put: its record (KeyValue bytes), the key's slot, and the history row, if any, of what it supersedes."""
        supersedes = NO_REVISION if old is None else old.revision
        record = layout.pack_record(new.revision, new.id, supersedes, value)
        tables = self.tables.spaces[space]
        self._buffer.set(tables.records, new.revision, record, self._step)
        self._set_slot(space, key, old, new, value)

    def put_plain(self, space: int, main: int, puts: Iterable[PlainPut]) -> list[Written]:
        """Write up to 128 puts of different keys, whose leases exist, at a new main revision: `put` for each, but quicker."""
        tables = self.tables.spaces[space]
        return write_plain(self.txn, tables, self._buffers, self._step, main, puts, space, self.flips)

    def delete(self, space: int, key: bytes, old: Slot, new: Slot, value: bytes) -> None:
        """Write a tombstone the same way."""
        tables = self.tables.spaces[space]
        revision = new.revision + b"t"
        record = layout.pack_record(revision, new.id, old.revision, value)
        self._set(tables.records, revision, record)
        self._set_slot(space, key, old, new, value)

    def _set_slot(self, space: int, key: bytes, old: Slot | None, new: Slot, value: bytes) -> None:
        tables, buffer, step = self.tables.spaces[space], self._buffer, self._step
        row = key if len(key) <= layout.PREFIX else layout.table_key(key)
        buffer.set(tables.keys, row, layout.pack_slot(new, key, value), step)
        if new.alive != (old.alive if old is not None else 0):
            self.flips.append((space, row, 1 if new.alive else -1))
        if old is None:
            if new.lease:
                self._set(tables.attached, layout.lease_key(new.lease) + new.id, key)
            return
        if layout.in_history(old.version):
            buffer.set(tables.history, old.id + old.revision, b"1" if old.alive else b"0", step)
        if old.lease != new.lease:
            if old.lease:
                self._set(tables.attached, layout.lease_key(old.lease) + old.id, None)
            if new.lease:
                self._set(tables.attached, layout.lease_key(new.lease) + new.id, key)

    def set_lease(self, space: int, lease: int, ttl: int, remaining: int) -> None:
        """Write a lease."""
        self._set(self.tables.spaces[space].leases, layout.lease_key(lease), layout.pack_lease(ttl, remaining))

    def drop_lease(self, space: int, lease: int) -> None:
        """Remove a lease, whose keys must be gone."""
        self._set(self.tables.spaces[space].leases, layout.lease_key(lease), None)

    def set_batch(self, index: int, row: bytes | None) -> None:
        """Set or remove a row of the deduplication window."""
        self._set(self.tables.batches, index.to_bytes(8, "big"), row)

    def sweep(self, space: int, state: SpaceState, limit: int) -> tuple[SpaceState, bool]:
        """Remove up to `limit` revisions' worth of records that compaction has made unreachable.

        What is reachable does not depend on how far sweeping has come. Records of the compacted revision itself stay
        until a later compaction, tombstones included: watchers may start at it.

        Returns:
            The new counters, and whether more remains.
        """
        tables = self.tables.spaces[space]
        last = state.compacted
        doomed: list[tuple[bytes, bytes]] = []
        following: bytes | None = None
        for revision, data in self.records(space, state.swept):
            if layout.main_of(revision) > last:
                break
            if len(doomed) >= limit:
                following = revision[:REVISION]
                break
            doomed.append((revision, data))
        for revision, data in doomed:
            key_id, superseded = data[:ID], data[SUPERSEDED]
            if superseded != NO_REVISION and layout.main_of(superseded) < last:
                self._set(tables.records, superseded, None)
                if len(revision) > REVISION or layout.in_history(kv.KeyValue.FromString(data[ORIGIN:]).version - 1):
                    self._set(tables.history, key_id + superseded, None)
            if len(revision) > REVISION and layout.main_of(revision) < last:
                self._set(tables.records, revision, None)
                self._set(tables.history, key_id + revision[:REVISION], None)
                self._forget(tables, data[ORIGIN:], revision[:REVISION])
        swept = layout.revision_key(max(last, 0), 0) if following is None else following
        return SpaceState(state.current, state.compacted, swept), following is not None

    def _forget(self, tables: SpaceTables, value: bytes, revision: bytes) -> None:
        """Drop a key whose newest record is the tombstone at `revision`."""
        row = layout.table_key(kv.KeyValue.FromString(value).key)
        data = self.get(tables.keys, row)
        if data is not None and data[1:18] == revision:
            self._set(tables.keys, row, None)
