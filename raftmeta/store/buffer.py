"""What was applied and is not in LMDB yet: the rows of every table, in all versions that somebody may still see.

A step costs a few dictionary entries here, and LMDB gets many steps in one transaction: a row that changed ten times is
written once, and a page that ten rows lie on is copied once.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterator
from operator import itemgetter
from typing import Any, NamedTuple

import lmdb

Version = tuple[int, "bytes | None", Any]
"""(step that wrote it, value or None for a deleted row, the version before it or None)."""

ROW = 200  # bytes of memory that a row costs beside what it holds
_NAME = itemgetter(0)


class Table(NamedTuple):
    """A table.

    Attributes:
        number: Its place in a buffer.
        handle: Its handle in LMDB.
        grows: Rows are added behind the last one only.
    """

    number: int
    handle: Any
    grows: bool = False


class Rows:
    """The buffered rows of one table: one thread writes, any number of threads read at the same time.

    A reader passes over versions of steps later than the one it sees, so that writing needs no lock.

    Attributes:
        versions: The newest version of each row.
        fresh: Rows that no reader has sorted in yet.
    """

    __slots__ = ("_lock", "_sorted", "fresh", "versions")

    def __init__(self, lock: threading.Lock) -> None:
        """Start empty; `lock` is for readers who sort."""
        self.versions: dict[bytes, Version] = {}
        self._sorted: list[bytes] = []
        self.fresh: list[bytes] = []
        self._lock = lock

    def between(self, start: bytes, end: bytes | None, step: int) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield (key, value or None) of the rows in [start, end) that were written up to `step`, in order; None is infinity."""
        if not self.versions:
            return
        with self._lock:
            fresh = self.fresh
            count = len(fresh)  # the writer may be adding: what comes after these is not for this reader
            if count:
                self._sorted += fresh[:count]
                del fresh[:count]
                self._sorted.sort()
            first = bisect_left(self._sorted, start)
            last = len(self._sorted) if end is None else bisect_left(self._sorted, end, first)
            keys = self._sorted[first:last]
        for key in keys:
            version = self.versions.get(key)
            while version is not None:
                if version[0] <= step:
                    yield key, version[1]
                    break
                version = version[2]

    def forget(self, step: int) -> None:
        """Take back what `step` wrote, which nobody was shown."""
        for key, version in list(self.versions.items()):
            if version[0] == step:
                if version[2] is None:
                    del self.versions[key]
                else:
                    self.versions[key] = version[2]


class Buffer:
    """The rows that go to LMDB together.

    Attributes:
        generation: Counts the buffers of a store; a later one holds later steps only.
        rows: By number of the table.
        size: About how many bytes of memory it takes.
    """

    __slots__ = ("generation", "rows", "size")

    def __init__(self, generation: int, tables: int) -> None:
        """Start empty, for so many tables."""
        lock = threading.Lock()
        self.generation = generation
        self.rows = tuple(Rows(lock) for _ in range(tables))
        self.size = 0

    def set(self, table: Table, key: bytes, value: bytes | None, step: int) -> None:
        """Write a row; None deletes it."""
        rows = self.rows[table.number]
        older = rows.versions.get(key)
        if older is None:
            rows.fresh.append(key)
        elif older[0] == step:
            older = older[2]
        rows.versions[key] = (step, value, older)
        self.size += ROW + len(key) + (len(value) if value else 0)

    def forget(self, step: int) -> None:
        """Take back what `step` wrote, which nobody was shown."""
        for rows in self.rows:
            rows.forget(step)

    def write(self, txn: lmdb.Transaction[bytes], tables: tuple[Table, ...]) -> None:
        """Write the newest version of every row into a transaction; nothing is added here any more."""
        for table, rows in zip(tables, self.rows, strict=True):
            if not rows.versions:
                continue
            # in the order they were written, which what only grows keeps; the others are sorted by their names alone
            puts = [(key, value) for key, (_, value, _) in rows.versions.items() if value is not None]
            puts.sort(key=_NAME)
            if len(puts) < len(rows.versions):
                for key in sorted(rows.versions):
                    if rows.versions[key][1] is None:
                        txn.delete(key, db=table.handle)
            if not puts:
                continue
            _, added = txn.cursor(table.handle).putmulti(puts, append=table.grows)
            if added != len(puts):
                raise lmdb.CorruptedError("rows that come last are there already")
