"""Databases that refuse the rows of zones that live elsewhere, and the writes of those that move."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TypeVar

from quartet_server.placement.homes import Homes
from quartet_server.records.contract import Database, Databases, Dialect, Session, Work

T = TypeVar("T")


class GatedDatabase:
    """A `Database` that refuses what its zone's place does not allow; see there.

    A Work asks in its transaction: once a write of any kind that began after a gate was closed is done, no other that began
    before is under way, and none will be committed.
    """

    def __init__(self, inner: Database, homes: Homes) -> None:
        """Guard `inner`."""
        self._inner = inner
        self._homes = homes

    @property
    def name(self) -> str:
        """See `Database.name`."""
        return self._inner.name

    @property
    def dialect(self) -> Dialect:
        """See `Database.dialect`."""
        return self._inner.dialect

    async def read(self, zone: str, work: Work[T]) -> T:
        """See `Database.read`. Raises ZoneMoved."""

        def guarded(session: Session) -> T:
            self._demand(zone)
            result = work(session)
            self._demand(zone)  # an old home deletes its rows once it is none any more: it has not begun
            return result

        return await self._inner.read(zone, guarded)

    async def write(self, zone: str, work: Work[T]) -> T:
        """See `Database.write`. Raises ZoneMoved, ZoneMoving."""
        refused = self._homes.refused_write

        def guarded(session: Session) -> T:
            if (error := refused(zone)) is not None:
                raise error
            return work(session)

        return await self._inner.write(zone, guarded)

    def version(self, zone: str) -> int:
        """See `Database.version`."""
        return self._inner.version(zone)

    async def changed(self, zone: str, since: int, seconds: float) -> int:
        """See `Database.changed`. Raises ZoneMoved."""
        version = await self._inner.changed(zone, since, seconds)
        self._demand(zone)
        return version

    def _demand(self, zone: str) -> None:
        if (error := self._homes.refused_read(zone)) is not None:
            raise error


class GatedDatabases:
    """The databases of a node as its services see them."""

    shared = False

    def __init__(self, inner: Databases, names: Mapping[str, object], homes: Homes) -> None:
        """Guard those of `inner` that are called `names`."""
        self._databases = {name: GatedDatabase(inner.database(name), homes) for name in names}

    def database(self, name: str) -> Database:
        """See `Databases.database`."""
        return self._databases[name]


async def settled(databases: Databases, names: Mapping[str, object], zone: str) -> None:
    """Wait until no write of a zone whose gate is closed is under way in any of the databases. Raises what they raise."""
    await asyncio.gather(*(databases.database(name).write(zone, _nothing) for name in names))


def _nothing(session: Session) -> None:
    """Take the zone's turn."""
