"""What one transaction sees: typed access to the tables, keys in order, and the writes of `apply`."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import lmdb

from raftmeta.etcd import kv_pb2 as kv
from raftmeta.store import layout
from raftmeta.store.layout import ID, NO_REVISION, ORIGIN, PREFIX, REVISION, SLOT, SUPERSEDED, Slot

_PAIR = struct.Struct(">QQ")
_SPACE = struct.Struct(">qq17s")


@dataclass(frozen=True, slots=True)
class SpaceTables:
    """Handles of one keyspace's tables."""

    records: Any
    keys: Any
    history: Any
    leases: Any
    attached: Any


@dataclass(frozen=True, slots=True)
class Tables:
    """Handles of all tables."""

    bookkeeping: Any
    batches: Any
    spaces: tuple[SpaceTables, ...]

    @staticmethod
    def open(env: lmdb.Environment, spaces: Sequence[int], *, create: bool = True) -> Tables:
        """Open the tables, creating those that are missing."""

        def table(name: str) -> Any:
            return env.open_db(name.encode(), create=create)

        return Tables(
            table("bookkeeping"),
            table("batches"),
            tuple(
                SpaceTables(*(table(f"{kind}{n}") for kind in ("records", "keys", "history", "leases", "attached")))
                for n in spaces
            ),
        )


@dataclass(frozen=True, slots=True)
class SpaceState:
    """Counters of a keyspace.

    Attributes:
        current: Newest revision.
        compacted: Revision of the last compaction, -1 before the first (as in etcd).
        swept: Encoded revision from which on superseded records have not been removed yet.
    """

    current: int = 1
    compacted: int = -1
    swept: bytes = NO_REVISION


class View:
    """A transaction's reads. Not for use after the transaction ended, nor by two threads at once."""

    def __init__(self, txn: lmdb.Transaction[bytes], tables: Tables) -> None:
        """Wrap an open transaction."""
        self.txn = txn
        self.tables = tables

    def meta(self, name: bytes) -> bytes | None:
        """Return a row of the bookkeeping table."""
        value: bytes | None = self.txn.get(name, db=self.tables.bookkeeping)
        return value

    def meta_rows(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the bookkeeping rows whose name starts with `prefix`, by what follows it."""
        return _prefixed(self.txn, self.tables.bookkeeping, prefix)

    def applied(self) -> tuple[int, int]:
        """Return (index, term) of the last applied entry."""
        value = self.meta(b"applied")
        if value is None:
            return 0, 0
        index, term = _PAIR.unpack(value)
        return index, term

    def space(self, space: int) -> SpaceState:
        """Return a keyspace's counters."""
        value = self.meta(b"space%d" % space)
        return SpaceState() if value is None else SpaceState(*_SPACE.unpack(value))

    def slot(self, space: int, key: bytes) -> Slot | None:
        """Return the newest record of a key, or None when the index does not know it."""
        data = self.txn.get(layout.table_key(key), db=self.tables.spaces[space].keys)
        return None if data is None else layout.unpack_slot(data)

    def slots(self, space: int, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, packed slot) for every indexed key in [start, end) in key order; `end` None is infinity.

        Keys longer than PREFIX that share their first PREFIX bytes are collected and sorted: memory for these keys.
        """
        cursor = self.txn.cursor(self.tables.spaces[space].keys)
        if not cursor.set_range(start[:PREFIX]):
            return
        head, bucket = b"", list[tuple[bytes, bytes]]()
        for key, data in cursor.iternext():
            if bucket and not (len(key) > PREFIX and key.startswith(head)):
                yield from _within(bucket, start, end)
                bucket = []
            if len(key) > PREFIX:
                head = key[:PREFIX]
                if end is not None and head >= end:
                    break
                bucket.append((data[SLOT:], data))
            elif end is not None and key >= end:
                break
            elif key >= start:
                yield key, data
        yield from _within(bucket, start, end)

    def alive_at(self, space: int, data: bytes, bound: bytes) -> bytes | None:
        """Return the revision of the put a packed slot stands for at a main revision, or None when the key was dead.

        `bound` is the main revision in 8 bytes; it must not lie below the compacted revision.
        """
        if data[1:9] <= bound:
            return data[1:18] if data[0] else None
        key_id = data[SLOT - ID : SLOT]
        cursor = self.txn.cursor(self.tables.spaces[space].history)
        # the first row above every revision of `bound`; the answer is the row before it
        above = key_id + (int.from_bytes(bound, "big") + 1).to_bytes(8, "big")
        found = cursor.prev() if cursor.set_range(above) else cursor.last()
        if not found:
            return None
        row = cursor.key()
        return row[ID:] if row[:ID] == key_id and cursor.value() == b"1" else None

    def alive(self, space: int, start: bytes, end: bytes | None, main: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, revision of its put) for every key in [start, end) alive at `main`, in key order."""
        bound = main.to_bytes(8, "big")
        for key, data in self.slots(space, start, end):
            if data[1:9] <= bound:
                if data[0]:
                    yield key, data[1:18]
            else:
                revision = self.alive_at(space, data, bound)
                if revision is not None:
                    yield key, revision

    def count(self, space: int, start: bytes, end: bytes | None, main: int) -> int:
        """Return how many keys in [start, end) are alive at `main`; about a third of the cost of listing them."""
        cursor = self.txn.cursor(self.tables.spaces[space].keys)
        if not cursor.set_range(start[:PREFIX]):
            return 0
        bound = main.to_bytes(8, "big")
        total = 0
        for key, data in cursor.iternext():
            if len(key) > PREFIX:
                if end is not None and key[:PREFIX] >= end:
                    break
                key = data[SLOT:]
                if key < start or (end is not None and key >= end):
                    continue
            elif end is not None and key >= end:
                break
            elif key < start:
                continue
            if data[1:9] <= bound:
                total += data[0]
            elif self.alive_at(space, data, bound) is not None:
                total += 1
        return total

    def key_at(self, space: int, key: bytes, main: int) -> bytes | None:
        """Return the revision of the put that `key` had at `main`, or None."""
        data = self.txn.get(layout.table_key(key), db=self.tables.spaces[space].keys)
        return None if data is None else self.alive_at(space, data, main.to_bytes(8, "big"))

    def record(self, space: int, revision: bytes) -> bytes:
        """Return the KeyValue bytes of a put.

        Raises:
            KeyError: There is no such record: the index and the records disagree.
        """
        data = self.txn.get(revision, db=self.tables.spaces[space].records)
        if data is None:
            raise KeyError(f"space {space} has no record {revision!r}")
        return data[ORIGIN:]

    def records(self, space: int, first: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield (revision with tombstone mark, origin + KeyValue bytes) from `first` on, in revision order."""
        cursor = self.txn.cursor(self.tables.spaces[space].records)
        return cursor.iternext() if cursor.set_range(first) else iter(())

    def damaged(self, space: int) -> Iterator[bytes]:
        """Read every record and yield the revisions of those that are not what was written."""
        for revision, data in self.records(space, NO_REVISION):
            if not layout.is_whole(revision, data):
                yield revision

    def lease(self, space: int, lease: int) -> tuple[int, int] | None:
        """Return a lease's (ttl, seconds remaining), or None."""
        data = self.txn.get(layout.lease_key(lease), db=self.tables.spaces[space].leases)
        return None if data is None else layout.unpack_lease(data)

    def leases(self, space: int) -> Iterator[tuple[int, tuple[int, int]]]:
        """Yield (id, (ttl, seconds remaining)) of every lease."""
        for key, data in self.txn.cursor(self.tables.spaces[space].leases).iternext():
            yield layout.lease_of(key), layout.unpack_lease(data)

    def attached(self, space: int, lease: int) -> list[bytes]:
        """Return the keys attached to a lease, sorted."""
        rows = _prefixed(self.txn, self.tables.spaces[space].attached, layout.lease_key(lease))
        return sorted(key for _, key in rows)

    def batches(self) -> Iterator[tuple[int, bytes]]:
        """Yield (index, row) of the deduplication window, oldest first."""
        for key, data in self.txn.cursor(self.tables.batches).iternext():
            yield int.from_bytes(key, "big"), data

    def batch(self, index: int) -> bytes | None:
        """Return a row of the deduplication window."""
        data: bytes | None = self.txn.get(index.to_bytes(8, "big"), db=self.tables.batches)
        return data

    def bytes_in_use(self, space: int | None = None) -> int:
        """Return the bytes of the pages in use, by one keyspace or by everything."""
        spaces = self.tables.spaces if space is None else (self.tables.spaces[space],)
        handles = [getattr(tables, name) for tables in spaces for name in SpaceTables.__slots__]
        if space is None:
            handles += [self.tables.bookkeeping, self.tables.batches]
        total = 0
        for handle in handles:
            stat = self.txn.stat(handle)
            total += stat["psize"] * (stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"])
        return total


def _within(bucket: list[tuple[bytes, bytes]], start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
    for key, data in sorted(bucket):
        if key >= start and (end is None or key < end):
            yield key, data


def _prefixed(txn: lmdb.Transaction[bytes], table: Any, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    cursor = txn.cursor(table)
    if not cursor.set_range(prefix):
        return
    for key, data in cursor.iternext():
        if not key.startswith(prefix):
            return
        yield key[len(prefix) :], data


class WriteView(View):
    """The write transaction: what `apply` does to the tables."""

    def set_meta(self, name: bytes, value: bytes | None) -> None:
        """Set a bookkeeping row; None removes it."""
        if value is None:
            self.txn.delete(name, db=self.tables.bookkeeping)
        else:
            self.txn.put(name, value, db=self.tables.bookkeeping)

    def set_applied(self, index: int, term: int) -> None:
        """Record the last applied entry."""
        self.set_meta(b"applied", _PAIR.pack(index, term))

    def set_space(self, space: int, state: SpaceState) -> None:
        """Record a keyspace's counters."""
        self.set_meta(b"space%d" % space, _SPACE.pack(state.current, state.compacted, state.swept))

    def put(self, space: int, key: bytes, old: Slot | None, new: Slot, value: bytes) -> None:
        """Write a put: its record (KeyValue bytes), the key's slot, and the history row of what it supersedes."""
        txn, tables = self.txn, self.tables.spaces[space]
        supersedes = NO_REVISION if old is None else old.revision
        record = layout.pack_record(new.revision, new.id, supersedes, value)
        txn.put(new.revision, record, append=True, db=tables.records)
        self._set_slot(tables, key, old, new)

    def delete(self, space: int, key: bytes, old: Slot, new: Slot, value: bytes) -> None:
        """Write a tombstone the same way."""
        tables = self.tables.spaces[space]
        revision = new.revision + b"t"
        record = layout.pack_record(revision, new.id, old.revision, value)
        self.txn.put(revision, record, append=True, db=tables.records)
        self._set_slot(tables, key, old, new)

    def _set_slot(self, tables: SpaceTables, key: bytes, old: Slot | None, new: Slot) -> None:
        txn = self.txn
        txn.put(layout.table_key(key), layout.pack_slot(new, key), db=tables.keys)
        if old is None:
            if new.lease:
                txn.put(layout.lease_key(new.lease) + new.id, key, db=tables.attached)
            return
        txn.put(old.id + old.revision, b"1" if old.alive else b"0", db=tables.history)
        if old.lease != new.lease:
            if old.lease:
                txn.delete(layout.lease_key(old.lease) + old.id, db=tables.attached)
            if new.lease:
                txn.put(layout.lease_key(new.lease) + new.id, key, db=tables.attached)

    def set_lease(self, space: int, lease: int, ttl: int, remaining: int) -> None:
        """Write a lease."""
        self.txn.put(layout.lease_key(lease), layout.pack_lease(ttl, remaining), db=self.tables.spaces[space].leases)

    def drop_lease(self, space: int, lease: int) -> None:
        """Remove a lease, whose keys must be gone."""
        self.txn.delete(layout.lease_key(lease), db=self.tables.spaces[space].leases)

    def set_batch(self, index: int, row: bytes | None) -> None:
        """Set or remove a row of the deduplication window."""
        key = index.to_bytes(8, "big")
        if row is None:
            self.txn.delete(key, db=self.tables.batches)
        else:
            self.txn.put(key, row, db=self.tables.batches)

    def sweep(self, space: int, state: SpaceState, limit: int) -> tuple[SpaceState, bool]:
        """Remove up to `limit` revisions' worth of records that compaction has made unreachable.

        What is reachable does not depend on how far sweeping has come. Records of the compacted revision itself stay
        until a later compaction, tombstones included: watchers may start at it.

        Returns:
            The new counters, and whether more remains.
        """
        tables, txn = self.tables.spaces[space], self.txn
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
                txn.delete(superseded, db=tables.records)
                txn.delete(key_id + superseded, db=tables.history)
            if len(revision) > REVISION and layout.main_of(revision) < last:
                txn.delete(revision, db=tables.records)
                txn.delete(key_id + revision[:REVISION], db=tables.history)
                self._forget(tables, data[ORIGIN:], revision[:REVISION])
        swept = layout.revision_key(max(last, 0), 0) if following is None else following
        return SpaceState(state.current, state.compacted, swept), following is not None

    def _forget(self, tables: SpaceTables, value: bytes, revision: bytes) -> None:
        """Drop a key whose newest record is the tombstone at `revision`."""
        row = layout.table_key(kv.KeyValue.FromString(value).key)
        data = self.txn.get(row, db=tables.keys)
        if data is not None and data[1:18] == revision:
            self.txn.delete(row, db=tables.keys)
