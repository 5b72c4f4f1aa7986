"""Writers of one node that would only make each other fail wait for each other instead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager


class Gates:
    """A queue for each key that somebody waits for; nothing is kept for the others."""

    def __init__(self) -> None:
        """Begin with no key."""
        self._locks: dict[bytes, asyncio.Lock] = {}
        self._wanted: dict[bytes, int] = {}

    @asynccontextmanager
    async def passed(self, keys: Iterable[bytes]) -> AsyncIterator[None]:
        """Hold the gates of some keys, taken in the order of the keys, so that nobody waits in a circle."""
        async with AsyncExitStack() as stack:
            for key in sorted(set(keys)):
                await stack.enter_async_context(self._one(key))
            yield

    @asynccontextmanager
    async def _one(self, key: bytes) -> AsyncIterator[None]:
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._wanted[key] = self._wanted.get(key, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._wanted[key] -= 1
            if not self._wanted[key]:
                del self._wanted[key], self._locks[key]
