"""Calls that many make at once, made as few: what arrives while a call is under way goes together into the next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from quartet_server.errors import QuartetError, TooManyRequests

Item = TypeVar("Item")
Answer = TypeVar("Answer")
_WAITING = 20_000


class Gathering(Generic[Item, Answer]):
    """Turns calls with one item into calls with many, a few of which are under way at once."""

    def __init__(
        self,
        call: Callable[[str, list[Item]], Awaitable[Sequence[Answer]]],
        size: Callable[[Item], int],
        *,
        most: int,
        most_bytes: int,
        at_once: int = 2,
    ) -> None:
        """Use `call`, which answers for each item in order, with at most `most` items and `most_bytes` by `size`."""
        self._call = call
        self._size = size
        self._most = most
        self._most_bytes = most_bytes
        self._at_once = at_once
        self._waiting: dict[str, deque[tuple[Item, asyncio.Future[Answer]]]] = {}
        self._count = 0
        self._tasks = set[asyncio.Task[None]]()

    async def ask(self, zone: str, item: Item) -> Answer:
        """Return the answer for one item; only those of one `zone`, or whatever else it says, share a call. Raises what `call` raises; TooManyRequests."""
        if self._count >= _WAITING:
            raise TooManyRequests("too many blobs wait for another node", retry_after=0.5)
        outcome: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(zone, deque()).append((item, outcome))
        self._count += 1
        if len(self._tasks) < self._at_once:
            task = asyncio.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await outcome

    async def _work(self) -> None:
        while self._waiting:
            zone, waiting = next(iter(self._waiting.items()))
            taken = self._take(waiting)
            if not waiting:
                del self._waiting[zone]
            self._count -= len(taken)
            taken = [one for one in taken if not one[1].done()]  # the others' callers have gone
            if not taken:
                continue
            try:
                answers = await self._call(zone, [item for item, _ in taken])
            except Exception as error:  # noqa: BLE001 - told to all who wait
                for _, outcome in taken:
                    if not outcome.done():
                        outcome.set_exception(_again(error))
                continue
            except asyncio.CancelledError:
                for _, outcome in taken:
                    outcome.cancel()
                raise
            for (_, outcome), answer in zip(taken, answers, strict=True):
                if not outcome.done():
                    outcome.set_result(answer)

    def _take(self, waiting: deque[tuple[Item, asyncio.Future[Answer]]]) -> list[tuple[Item, asyncio.Future[Answer]]]:
        taken: list[tuple[Item, asyncio.Future[Answer]]] = []
        size = 0
        while waiting and len(taken) < self._most:
            size += self._size(waiting[0][0])
            if taken and size > self._most_bytes:
                break
            taken.append(waiting.popleft())
        return taken

    async def close(self) -> None:
        """End what is under way; nobody waits any more."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for waiting in self._waiting.values():
            for _, outcome in waiting:
                outcome.cancel()
        self._waiting.clear()


def _again(error: Exception) -> Exception:
    """Return an error that says the same, for one more who waits: one exception cannot be raised in many tasks."""
    if not isinstance(error, QuartetError):
        return error
    again = type(error)(error.message, hint=error.hint, violations=error.violations, retry_after=error.retry_after)
    again.metadata = dict(error.metadata)
    return again
