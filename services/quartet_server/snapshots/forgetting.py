"""Forgets, now and then, how files were composed whose chunks were collected."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog

from quartet_server.errors import QuartetError
from quartet_server.meta import ops, system
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.composed import Compositions
from quartet_server.objects.contract import BlobStore
from quartet_server.rpc import DEFAULT_ZONE
from raftmeta.errors import MetastoreError
from raftmeta.metastore import Metastore

EVERY = 3600.0
"""Seconds between two looks at all compositions: one question to the store of blobs for each."""

_log = structlog.get_logger(__name__)


class Forgetting:
    """Deletes records of compositions whose lists of chunks are gone. Several nodes may do it at once."""

    def __init__(self, store: Metastore, compositions: Compositions, blobs: BlobStore, every: float = EVERY) -> None:
        """Look at `compositions` of all zones of `store`; their lists are in `blobs`. Nothing runs before `start`."""
        self._store, self._compositions, self._blobs, self._every = store, compositions, blobs, every
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to wait for the first look."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="snapshots-forgetting")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def look(self) -> int:
        """Forget what is of no use any more; return how many records. Raises MetastoreError, and as the store of blobs does."""
        return sum([await self._compositions.forget(zone, self._blobs) async for zone in zones(self._store)])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                if gone := await self.look():
                    _log.info("forgot compositions", records=gone)
            except MetastoreError as error:
                _log.warning("a look at compositions is postponed", reason=error.text)
            except QuartetError as error:
                _log.warning("a look at compositions is postponed", reason=error.message)


async def zones(store: Metastore) -> AsyncIterator[str]:
    """Yield every zone."""
    yield DEFAULT_ZONE
    start, end, more = system.ZONES, ops.prefix_end(system.ZONES), True
    while more:
        page = await Snapshot(store).scan(start, end, 1000, keys_only=True)
        for kv in page.kvs:
            start = kv.key + b"\0"
            if (name := kv.key[len(system.ZONES) :].decode()) != DEFAULT_ZONE:
                yield name
        more = page.more
