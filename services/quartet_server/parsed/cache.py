"""The cache of one node: the table in a thread of its own, thrown away when the disk has damaged it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import structlog

from quartet_server.objects.digest import Digest
from quartet_server.parsed.entries import Kept, Key
from quartet_server.parsed.table import Table

_NAME = "cache.sqlite"
_FILES = (_NAME, f"{_NAME}-wal", f"{_NAME}-shm")
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
_WAITING = 64  # calls at once: each may hold 3 MiB
_log = structlog.get_logger("quartet.parsed")
T = TypeVar("T")


class ParsedCache:
    """What parsers made of bytes, for a while. Nothing that goes wrong with the disk is an error of a call: it is a miss.

    Attributes:
        hits: Entries that were asked for and found.
        misses: Entries that were asked for and not found.
        failures: Times that the disk failed, or had damaged what it was given.
    """

    def __init__(self, folder: Path, limit: int, clock: Callable[[], float]) -> None:
        """Keep at most `limit` bytes below `folder`, 0 for nothing at all; `clock` says the seconds since 1970."""
        self._folder = folder
        self._limit = limit
        self._clock = clock
        self._table: Table | None = None
        self._places = asyncio.Semaphore(_WAITING)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="parsed")
        self.hits = self.misses = self.failures = 0
        self._evicted = 0

    @property
    def figures(self) -> tuple[int, int, int]:
        """Entries, bytes they count for, and entries that made room for others since the start."""
        table = self._table
        if table is None:
            return 0, 0, self._evicted
        return table.entries, table.bytes, self._evicted + table.evicted

    async def get(self, key: Key) -> Kept | None:
        """Return what is under a name; None for what is not there, over or damaged."""
        found = await self._run(lambda table: table.get(key), None)
        if found is None:
            self.misses += 1
        else:
            self.hits += 1
        return found

    async def put(self, key: Key, kept: Kept) -> bool:
        """Keep a value; tell whether it is kept."""
        return await self._run(lambda table: table.put(key, kept), False)

    async def delete(self, zone: str, digest: Digest, parser: str = "", version: str = "") -> int:
        """Forget entries as `Table.delete` does; return how many there were."""
        return await self._run(lambda table: table.delete(zone, digest, parser, version), 0)

    async def close(self) -> None:
        """Finish what is under way, and close the file; called once, after the last call has ended."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    async def _run(self, work: Callable[[Table], T], otherwise: T) -> T:
        if not self._limit:
            return otherwise
        async with self._places:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._tried, work, otherwise)

    def _tried(self, work: Callable[[Table], T], otherwise: T) -> T:
        """Do some work on the table, which is opened when it is needed first. In the thread."""
        try:
            return work(self._opened())
        except (sqlite3.Error, OSError) as error:
            self.failures += 1
            _log.warning("the cache of parsed contents failed", error=str(error))
            if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
                self._throw_away()
            else:
                self._close()  # its figures may be wrong after half a change
            return otherwise

    def _opened(self) -> Table:
        if self._table is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._table = Table(self._folder / _NAME, self._limit, self._clock)
        return self._table

    def _close(self) -> None:
        table, self._table = self._table, None
        if table is not None:
            self._evicted += table.evicted
            table.close()

    def _throw_away(self) -> None:
        """Begin anew: everything here can be made again."""
        self._close()
        for name in _FILES:
            try:
                (self._folder / name).unlink(missing_ok=True)
            except OSError as error:
                _log.warning("a damaged cache cannot be removed", error=str(error))
