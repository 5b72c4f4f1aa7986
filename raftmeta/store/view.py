"""What one transaction sees: typed access to the tables, and keys in order."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import lmdb

from raftmeta.store import layout
from raftmeta.store.buffer import Buffer, Table
from raftmeta.store.counts import Counts
from raftmeta.store.layout import (
    ID,
    LAST_REVISION,
    NO_REVISION,
    ORIGIN,
    PREFIX,
    SLOT,
    SPACING,
    SUPERSEDED,
    Slot,
)

PAIR = struct.Struct(">QQ")
COUNTERS = struct.Struct(">qq17s")


@dataclass(frozen=True, slots=True)
class SpaceTables:
    """Handles of one keyspace's tables."""

    records: Table
    keys: Table
    history: Table
    leases: Table
    attached: Table


@dataclass(frozen=True, slots=True)
class Tables:
    """Handles of all tables."""

    bookkeeping: Table
    batches: Table
    spaces: tuple[SpaceTables, ...]
    all: tuple[Table, ...]

    @staticmethod
    def open(env: lmdb.Environment, spaces: Sequence[int], *, create: bool = True) -> Tables:
        """Open the tables, creating those that are missing."""
        names = ["bookkeeping", "batches"]
        names += [f"{kind}{n}" for n in spaces for kind in SpaceTables.__slots__]
        tables = tuple(
            Table(number, env.open_db(name.encode(), create=create), grows=name.startswith(("batches", "records")))
            for number, name in enumerate(names)
        )
        width = len(SpaceTables.__slots__)
        each = (tables[at : at + width] for at in range(2, len(tables), width))
        return Tables(tables[0], tables[1], tuple(SpaceTables(*those) for those in each), tables)


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

    def __init__(
        self,
        txn: lmdb.Transaction[bytes],
        tables: Tables,
        step: int = 0,
        buffers: tuple[Buffer, ...] = (),
        counts: Counts | None = None,
    ) -> None:
        """Wrap an open transaction, and the steps up to `step` that were buffered when it began, newest buffer first.

        Without `counts` a range is counted by walking through it.
        """
        self.txn = txn
        self.tables = tables
        self._step = step
        self._buffers = buffers
        self._counts = counts

    def get(self, table: Table, key: bytes) -> bytes | None:
        """Return the value of a row, or None."""
        for buffer in self._buffers:
            version = buffer.rows[table.number].versions.get(key)
            while version is not None:
                if version[0] <= self._step:
                    return version[1]
                version = version[2]
        value: bytes | None = self.txn.get(key, None, table.handle)
        return value

    def rows(self, table: Table, start: bytes, end: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) of the rows from `start` on, in order; it may, but need not, end at `end`."""
        cursor = self.txn.cursor(table.handle)
        stored = cursor.iternext() if cursor.set_range(start) else iter(())
        buffered = self._buffered(table, start, end)
        return _merged(stored, buffered) if buffered else stored

    def _buffered(self, table: Table, start: bytes, end: bytes | None) -> list[tuple[bytes, bytes | None]]:
        """Return the buffered rows in [start, end), in order; the value of a deleted one is None."""
        found: dict[bytes, bytes | None] = {}
        for buffer in reversed(self._buffers):
            found.update(buffer.rows[table.number].between(start, end, self._step))
        return [(key, found[key]) for key in sorted(found)]

    def meta(self, name: bytes) -> bytes | None:
        """Return a row of the bookkeeping table."""
        return self.get(self.tables.bookkeeping, name)

    def meta_rows(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the bookkeeping rows whose name starts with `prefix`, by what follows it."""
        return self._prefixed(self.tables.bookkeeping, prefix)

    def applied(self) -> tuple[int, int]:
        """Return (index, term) of the last applied entry."""
        value = self.meta(b"applied")
        if value is None:
            return 0, 0
        index, term = PAIR.unpack(value)
        return index, term

    def space(self, space: int) -> SpaceState:
        """Return a keyspace's counters."""
        value = self.meta(b"space%d" % space)
        return SpaceState() if value is None else SpaceState(*COUNTERS.unpack(value))

    def slot(self, space: int, key: bytes) -> Slot | None:
        """Return the newest record of a key, or None when the index does not know it."""
        data = self.get(self.tables.spaces[space].keys, layout.table_key(key))
        return None if data is None else layout.unpack_slot(data)

    def _index(self, space: int, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows of the key index that may belong to [start, end), and some that come after it."""
        # behind the stand-ins of all long keys that share the head of a long end
        last = end if end is None or len(end) < PREFIX else end[:PREFIX] + b"\xff" * 33
        return self.rows(self.tables.spaces[space].keys, start[:PREFIX], last)

    def slots(self, space: int, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, packed slot) for every indexed key in [start, end) in key order; `end` None is infinity.

        Keys longer than PREFIX that share their first PREFIX bytes are collected and sorted: memory for these keys.
        """
        head, bucket = b"", list[tuple[bytes, bytes]]()
        for key, data in self._index(space, start, end):
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
        tables, key_id = self.tables.spaces[space], data[SLOT - ID : SLOT]
        above = key_id + (int.from_bytes(bound, "big") + 1).to_bytes(8, "big")
        row = next(self.rows(tables.history, above, key_id + LAST_REVISION), None)
        if row is not None and row[0].startswith(key_id):
            later, mark = row[0][ID:], b"" if row[1] == b"1" else b"t"
        else:
            later, mark = data[1:18], b"" if data[0] else b"t"
        for _ in range(SPACING):  # all that is superseded on the way is puts
            record = self.get(tables.records, later + mark)
            if record is None:
                return None
            later, mark = record[SUPERSEDED], b""
            if later[:8] <= bound:
                return later if self.get(tables.records, later) is not None else None
        raise KeyError(f"space {space} lacks a row in the history of a key before {later!r}")

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
        """Return how many keys in [start, end) are alive at `main`.

        At the present, what lies between two blocks is known and the rest is a block or two. In the past it costs about
        a third of listing them. Raises StepPassed when the present has moved on.
        """
        if self._counts is None or main < self.space(space).current:
            return self._walk(space, start, end, main)
        known = self._counts.between(space, start, end, self._step)
        if known is None:
            return self._walk(space, start, end, main)
        first, last, total = known
        before = self._walk(space, start, first, main) if start < first else 0
        return before + total + (0 if last is None else self._walk(space, last, end, main))

    def rows_alive(self, space: int, first: bytes, end: bytes | None) -> Iterator[tuple[bytes, bool]]:
        """Yield the rows of the key index in [first, end), and whether their keys are alive now."""
        for row, data in self.rows(self.tables.spaces[space].keys, first, end):
            if end is not None and row >= end:
                return
            yield row, data[:1] == b"\x01"

    def _walk(self, space: int, start: bytes, end: bytes | None, main: int) -> int:
        bound = main.to_bytes(8, "big")
        total = 0
        for key, data in self._index(space, start, end):
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
        data = self.get(self.tables.spaces[space].keys, layout.table_key(key))
        return None if data is None else self.alive_at(space, data, main.to_bytes(8, "big"))

    def item(self, space: int, key: bytes, main: int) -> bytes | None:
        """Return the KeyValue bytes of `key` at `main`, or None."""
        data = self.get(self.tables.spaces[space].keys, layout.table_key(key))
        return None if data is None else self._item(space, key, data, main.to_bytes(8, "big"))

    def items(
        self, space: int, start: bytes, end: bytes | None, main: int, limit: int, most: int = sys.maxsize
    ) -> list[bytes] | None:
        """Return the KeyValue bytes of the keys in [start, end) alive at `main`, in key order; at most `limit`, 0 for all.

        Most keys are answered from the index alone. None says that more than `most` rows had to be looked at.
        """
        bound = main.to_bytes(8, "big")
        found: list[bytes] = []
        for looked, (key, data) in enumerate(self._index(space, start, end)):
            if looked > most:
                return None
            if len(key) > PREFIX:  # their order needs more care
                revisions = islice(self.alive(space, start, end, main), limit or None)
                return [self.record(space, revision) for _, revision in revisions]
            if end is not None and key >= end:
                break
            if key < start:
                continue
            if data[1:9] <= bound:
                if data[0]:
                    found.append(data[SLOT:] or self.record(space, data[1:18]))
            elif (revision := self.alive_at(space, data, bound)) is not None:
                found.append(self.record(space, revision))
            if limit and len(found) == limit:
                break
        return found

    def _item(self, space: int, key: bytes, data: bytes, bound: bytes) -> bytes | None:
        revision = self.alive_at(space, data, bound)
        if revision is None:
            return None
        copied = len(key) <= PREFIX and revision == data[1:18] and data[SLOT:]
        return copied or self.record(space, revision)

    def record(self, space: int, revision: bytes) -> bytes:
        """Return the KeyValue bytes of a put.

        Raises:
            KeyError: There is no such record: the index and the records disagree.
        """
        data = self.get(self.tables.spaces[space].records, revision)
        if data is None:
            raise KeyError(f"space {space} has no record {revision!r}")
        return data[ORIGIN:]

    def records(self, space: int, first: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield (revision with tombstone mark, origin + KeyValue bytes) from `first` on, in revision order."""
        return self.rows(self.tables.spaces[space].records, first)

    def damaged(self, space: int) -> Iterator[bytes]:
        """Read every record and every copy in the key index; yield the revisions of those that are not what was written."""
        for revision, data in self.records(space, NO_REVISION):
            if not layout.is_whole(revision, data):
                yield revision
        for key, data in self._index(space, b"", None):
            if data[0] and len(key) <= PREFIX:
                record = self.record(space, data[1:18])
                if data[SLOT:] != (record if len(record) <= layout.COPIED else b""):
                    yield data[1:18]

    def lease(self, space: int, lease: int) -> tuple[int, int] | None:
        """Return a lease's (ttl, seconds remaining), or None."""
        data = self.get(self.tables.spaces[space].leases, layout.lease_key(lease))
        return None if data is None else layout.unpack_lease(data)

    def leases(self, space: int) -> Iterator[tuple[int, tuple[int, int]]]:
        """Yield (id, (ttl, seconds remaining)) of every lease."""
        for key, data in self.rows(self.tables.spaces[space].leases, b""):
            yield layout.lease_of(key), layout.unpack_lease(data)

    def attached(self, space: int, lease: int) -> list[bytes]:
        """Return the keys attached to a lease, sorted."""
        rows = self._prefixed(self.tables.spaces[space].attached, layout.lease_key(lease))
        return sorted(key for _, key in rows)

    def batches(self) -> Iterator[tuple[int, bytes]]:
        """Yield (index, row) of the deduplication window, oldest first."""
        for key, data in self.rows(self.tables.batches, b""):
            yield int.from_bytes(key, "big"), data

    def batch(self, index: int) -> bytes | None:
        """Return a row of the deduplication window."""
        return self.get(self.tables.batches, index.to_bytes(8, "big"))

    def bytes_in_use(self, space: int | None = None) -> int:
        """Return the bytes of the pages in use, by one keyspace or by everything, and those that are buffered."""
        tables = self.tables.all
        if space is not None:
            own = self.tables.spaces[space]
            tables = own.records, own.keys, own.history, own.leases, own.attached
        total = sum(buffer.size for buffer in self._buffers)
        for table in tables:
            stat = self.txn.stat(table.handle)
            total += stat["psize"] * (stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"])
        return total

    def _prefixed(self, table: Table, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key, data in self.rows(table, prefix):
            if not key.startswith(prefix):
                return
            yield key[len(prefix) :], data


def _within(bucket: list[tuple[bytes, bytes]], start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
    for key, data in sorted(bucket):
        if key >= start and (end is None or key < end):
            yield key, data


def _merged(
    stored: Iterator[tuple[bytes, bytes]], buffered: list[tuple[bytes, bytes | None]]
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the rows of both, in order; of two with the same key the buffered one."""
    at, count = 0, len(buffered)
    for row in stored:
        name = row[0]
        while at < count and (waiting := buffered[at])[0] < name:
            if waiting[1] is not None:
                yield waiting[0], waiting[1]
            at += 1
        if at == count or buffered[at][0] != name:
            yield row
    for key, value in buffered[at:]:
        if value is not None:
            yield key, value
