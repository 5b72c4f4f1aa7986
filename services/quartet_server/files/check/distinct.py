"""Which digests were seen: kept in a temporary file, so that memory stays bounded however many there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from quartet_server.objects.digest import Digest

_TOGETHER = 500  # names in one question: SQLite takes 999


class Distinct:
    """Sets of digests, each under a number. Used by one task at a time; `close` removes the file.

    SQLite's nameless database is a temporary file with 2 MiB of it in memory, which is gone when it is closed, or the process is.
    """

    def __init__(self) -> None:
        """Hold nothing; the file is made when memory does not do."""
        self._rows = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._rows.execute("pragma journal_mode = off")
        self._rows.execute("pragma synchronous = off")
        self._rows.execute("create table seen (place integer, hash blob, primary key (place, hash)) without rowid")

    def unseen(self, place: int, digests: Sequence[Digest]) -> list[Digest]:
        """Return those that are not in the set `place`, each once, in the order given."""
        distinct = list(dict.fromkeys(digests))
        known: set[bytes] = set()
        for i in range(0, len(distinct), _TOGETHER):
            some = [digest.hash for digest in distinct[i : i + _TOGETHER]]
            marks = ",".join("?" * len(some))
            query = f"select hash from seen where place = ? and hash in ({marks})"  # noqa: S608 - marks only
            known.update(row[0] for row in self._rows.execute(query, (place, *some)))
        return [digest for digest in distinct if digest.hash not in known]

    def add(self, place: int, digests: Iterable[Digest]) -> None:
        """Put digests into the set `place`."""
        self._rows.executemany("insert or ignore into seen values (?, ?)", ((place, digest.hash) for digest in digests))

    def forget(self, place: int) -> None:
        """Empty the set `place`."""
        self._rows.execute("delete from seen where place = ?", (place,))

    def close(self) -> None:
        """Let go of the file."""
        self._rows.close()
