"""What a stream of idempotent messages sends, in an event loop; see `_sending`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


async def each(source: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    """Yield what either kind of iterable gives."""
    if isinstance(source, AsyncIterable):
        async for one in source:
            yield one
    else:
        for one in source:
            yield one


class AsyncUnanswered(Generic[T]):
    """Messages on their way.

    Attributes:
        error: What the source raised, if it did.
    """

    def __init__(self, source: AsyncIterable[T], limit: int) -> None:
        """Send what `source` gives, at most `limit` messages ahead of the answers."""
        self.error: Exception | None = None
        self._source = aiter(source)
        self._limit = limit
        self._waiting: deque[T] = deque()
        self._first = 0  # number of the first that waits
        self._ended = False
        self._streams = 0
        self._changed = asyncio.Condition()
        self._taking = asyncio.Lock()

    async def begin(self) -> AsyncIterator[T]:
        """Return the messages of a new stream: those without an answer, then those that follow. An older stream ends."""
        async with self._changed:
            self._streams += 1
            self._changed.notify_all()
        return self._messages(self._streams)

    async def answered(self, count: int) -> None:
        """Forget the first `count` messages."""
        async with self._changed:
            for _ in range(min(count, len(self._waiting))):
                self._waiting.popleft()
                self._first += 1
            self._changed.notify_all()

    async def close(self) -> None:
        """End all streams."""
        async with self._changed:
            self._streams += 1
            self._changed.notify_all()

    @property
    def done(self) -> bool:
        """Whether everything was sent and answered."""
        return self._ended and not self._waiting

    async def _messages(self, stream: int) -> AsyncIterator[T]:
        at = self._first
        while True:
            async with self._changed:
                while stream == self._streams and self._first + self._limit <= at:
                    await self._changed.wait()
            if stream != self._streams:
                return
            if at - self._first >= len(self._waiting):
                if self._ended:
                    return
                await self._take(at)
                continue
            yield self._waiting[at - self._first]
            at += 1

    async def _take(self, at: int) -> None:
        """Take message number `at` from the source, unless another stream has."""
        async with self._taking:
            if self._ended or at < self._first + len(self._waiting):
                return
            try:
                self._waiting.append(await anext(self._source))
            except StopAsyncIteration:
                self._ended = True
            except Exception as error:  # noqa: BLE001 - raised again where answers are read
                self.error, self._ended = error, True
