"""Who waits for the next write of a zone is woken by it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable


class Signals:
    """A counter a zone, and those who wait for it to move; used by the event loop only."""

    def __init__(self) -> None:
        """Begin with nothing written."""
        self._versions: dict[str, int] = {}
        self._waiting: dict[str, asyncio.Event] = {}

    def version(self, zone: str) -> int:
        """Return how many groups of writes there were in `zone`."""
        return self._versions.get(zone, 0)

    def bump(self, zones: Iterable[str]) -> None:
        """Say that something was written in `zones`."""
        for zone in zones:
            self._versions[zone] = self._versions.get(zone, 0) + 1
            event = self._waiting.pop(zone, None)
            if event is not None:
                event.set()

    async def changed(self, zone: str, since: int, seconds: float) -> int:
        """Return the zone's version when it is not `since`, after `seconds` at the latest."""
        try:
            async with asyncio.timeout(seconds):
                while (version := self.version(zone)) == since:
                    await self._waiting.setdefault(zone, asyncio.Event()).wait()
        except TimeoutError:
            return self.version(zone)
        return version
