"""The table of the cache in SQLite: bounded, least recently used goes first. All of it blocks, and belongs to one thread."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

from quartet_server.objects.digest import Digest
from quartet_server.parsed.entries import Kept, Key, packed

_OVERHEAD = 512
"""Bytes that an entry counts for besides its value: its row, and its places in three indices."""
_TOUCHES = 256
"""Uses that are noted in memory before they are written."""
_EVICTED = 32
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    zone TEXT NOT NULL, digest BLOB NOT NULL, parser TEXT NOT NULL, version TEXT NOT NULL,
    expires REAL NOT NULL, used INTEGER NOT NULL, cost INTEGER NOT NULL, sum BLOB NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (zone, digest, parser, version)
);
CREATE INDEX IF NOT EXISTS entry_used ON entry (used);
CREATE INDEX IF NOT EXISTS entry_expires ON entry (expires);
"""
_NAMED = "WHERE zone = ? AND digest = ? AND parser = ? AND version = ?"
_GET = "SELECT expires, sum, value FROM entry " + _NAMED  # noqa: S608 - all of it is ours
_TOUCH = "UPDATE entry SET used = ? " + _NAMED  # noqa: S608 - likewise


class Table:
    """Entries below a bound of bytes, on disk.

    What survives a crash is what SQLite's log has: an entry that was put lately may be lost, none comes back wrong. Errors
    of every method: sqlite3.Error.

    Attributes:
        entries: How many there are.
        bytes: What they count for.
        evicted: How many went since the start because room was needed.
    """

    def __init__(self, path: Path, limit: int, clock: Callable[[], float]) -> None:
        """Open or make the file at `path`; `limit` in bytes, `clock` seconds since 1970. Raises sqlite3.Error."""
        self._limit = limit
        self._clock = clock
        self._touched: dict[tuple[str, bytes, str, str], int] = {}
        self.evicted = 0
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(_SCHEMA)
            count, cost, used = self._db.execute("SELECT COUNT(*), SUM(cost), MAX(used) FROM entry").fetchone()
            self.entries, self.bytes, self._uses = int(count), int(cost or 0), int(used or 0)
            self._make_room(0)  # the bound may have been larger
        except BaseException:
            self._db.close()
            raise

    def get(self, key: Key) -> Kept | None:
        """Return what is under a name, and note that it was used; what is over or damaged goes."""
        row = self._db.execute(_GET, key.columns).fetchone()
        if row is None:
            return None
        expires, check, value = row
        if expires <= self._clock() or not isinstance(value, bytes) or key.sum(value) != check:
            self._remove(_NAMED, key.columns)
            return None
        self._uses += 1
        self._touched[key.columns] = self._uses
        if len(self._touched) >= _TOUCHES:
            self._flush()
        return Kept(value, float(expires))

    def put(self, key: Key, kept: Kept) -> bool:
        """Keep a value in the place of what was there; tell whether there is room for it at all."""
        cost = len(kept.value) + _OVERHEAD
        if cost > self._limit:
            return False
        self._remove(_NAMED, key.columns)
        self._make_room(cost)
        self._uses += 1
        self._db.execute(
            "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*key.columns, kept.expires, self._uses, cost, key.sum(kept.value), kept.value),
        )
        self.entries += 1
        self.bytes += cost
        return True

    def delete(self, zone: str, digest: Digest, parser: str, version: str) -> int:
        """Forget entries; an empty parser means all of them, an empty version all of the parser's. Return how many."""
        where, values = "WHERE zone = ? AND digest = ?", [zone, packed(digest)]
        for column, wanted in (("parser", parser), ("version", version)):
            if wanted:
                where += f" AND {column} = ?"
                values.append(wanted)
        return self._remove(where, tuple(values))

    def close(self) -> None:
        """Write what is noted in memory, and let go of the file."""
        with contextlib.suppress(sqlite3.Error):
            self._flush()
        self._db.close()

    def _make_room(self, cost: int) -> None:
        """Remove what is over, then what was used the longest ago, until `cost` more bytes fit."""
        if self.bytes + cost <= self._limit:
            return
        self._flush()
        self._remove("WHERE expires <= ?", (self._clock(),))
        while self.bytes + cost > self._limit and self.entries:
            oldest = self._db.execute("SELECT used, cost FROM entry ORDER BY used LIMIT ?", (_EVICTED,)).fetchall()
            room, last = 0, 0
            for used, freed in oldest:
                last = used
                room += freed
                if self.bytes + cost - room <= self._limit:
                    break
            gone = self._remove("WHERE used <= ?", (last,))
            self.evicted += gone
            if not gone:  # the figures were wrong: count again
                count, held = self._db.execute("SELECT COUNT(*), SUM(cost) FROM entry").fetchone()
                self.entries, self.bytes = int(count), int(held or 0)
        self._db.execute("PRAGMA incremental_vacuum").fetchall()

    def _remove(self, where: str, values: tuple[object, ...]) -> int:
        """Delete rows and take them off the figures; return how many there were."""
        select, delete = f"SELECT COUNT(*), SUM(cost) FROM entry {where}", f"DELETE FROM entry {where}"  # noqa: S608 - ours
        count, cost = self._db.execute(select, values).fetchone()
        if count:
            self._db.execute(delete, values)
            self.entries -= int(count)
            self.bytes -= int(cost)
        return int(count)

    def _flush(self) -> None:
        """Write which entries were used when."""
        touched, self._touched = self._touched, {}
        if touched:
            self._db.execute("BEGIN")
            self._db.executemany(_TOUCH, [(used, *columns) for columns, used in touched.items()])
            self._db.execute("COMMIT")
