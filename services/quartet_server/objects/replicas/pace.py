"""How fast repair goes, and how far it has come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

_LEAST = 4_096  # bytes that any blob counts for: small ones cost calls, not bytes


class Pace:
    """Lets so many bytes pass in a second, on average, so that others find disks and network free."""

    def __init__(self, bytes_per_second: float, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Pause with `pause`, for seconds."""
        self._rate = bytes_per_second
        self._pause = pause

    async def spend(self, size: int) -> None:
        """Wait as long as a blob of `size` bytes may take."""
        await self._pause(max(size, _LEAST) / self._rate)


@dataclass(slots=True)
class Progress:
    """What repair has done since the node started.

    Attributes:
        placement: Number of the last placement for which this node saw to every copy of all that it has.
        waiting: Blobs of which another node lacks a copy that could not be brought yet.
        copied_blobs: Copies made, on other nodes or fetched from them.
        copied_bytes: Their bytes.
        dropped_blobs: Copies too many that were dropped.
        ended: When it last ended, in seconds since 1970; None: not yet.
        problem: What kept it from being done; empty when nothing does.
    """

    placement: int = 0
    waiting: int = 0
    copied_blobs: int = 0
    copied_bytes: int = 0
    dropped_blobs: int = 0
    ended: float | None = None
    problem: str = ""

    def copied(self, size: int) -> None:
        """Count a copy."""
        self.copied_blobs += 1
        self.copied_bytes += size
