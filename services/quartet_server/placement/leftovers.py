"""Rows of zones that live elsewhere by now: deleted a page at a time, however often the node is stopped meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence

import sqlalchemy as sa
import structlog

from quartet_server.errors import QuartetError
from quartet_server.placement import placed, rows
from quartet_server.placement.homes import Homes
from quartet_server.placement.placed import Placed
from quartet_server.records.contract import Databases, Session
from quartet_server.records.schema import Schema
from raftmeta.errors import MetastoreError
from raftmeta.metastore import Metastore

_LOOK = 60.0  # seconds between two looks when nothing seems to have changed
_RETRY = 1.0
_log = structlog.get_logger("quartet.placement")


class Leftovers:
    """Deletes what this node has of zones that moved away, or did not arrive."""

    def __init__(self, store: Metastore, homes: Homes, databases: Databases, schemas: Mapping[str, Schema]) -> None:
        """Find in `store` which zones they are; nothing happens before `start`."""
        self._store = store
        self._homes = homes
        self._databases = databases
        self._schemas = schemas
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._homes.on_change(self._note)
        self._task = asyncio.get_running_loop().create_task(self._run(), name="placement-leftovers")

    async def close(self) -> None:
        """Stop; the rest is deleted after the next start."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def delete(self, zone: str, allowed: Callable[[str], bool]) -> bool:
        """Delete all rows of a zone, as long as it is `allowed`; tells whether it was to the end. Raises what databases do."""
        since = await placed.left_since(self._store, self._homes.me, zone)
        for name, schema in self._schemas.items():
            database, tables = self._databases.database(name), schema.metadata.sorted_tables

            def work(session: Session, tables: Sequence[sa.Table] = tables) -> bool | None:
                return rows.delete(session, tables) if allowed(zone) else None

            while (more := await database.write(zone, work)) is not False:
                if more is None:
                    return False
        await placed.forget_left(self._store, self._homes.me, zone, since)
        return True

    def _note(self, place: Placed) -> None:
        if place.home != self._homes.me:
            self._changed.set()

    def _gone(self, zone: str) -> bool:
        """Tell whether a zone neither lives here nor is on its way; asked in the zone's turn, so that no row arrives then."""
        place = self._homes.place(zone)
        if place is None:
            return False
        return place.home != self._homes.me and (place.move is None or place.move.to != self._homes.me)

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            wait = _LOOK
            try:
                for zone in await placed.left(self._store, self._homes.me):
                    if self._gone(zone) and await self.delete(zone, self._gone):
                        _log.info("the rows of a zone that lives elsewhere are deleted", zone=zone)
            except (MetastoreError, QuartetError) as error:
                _log.debug("deleting the rows of a zone is postponed", reason=str(error))
                wait = _RETRY
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()
