"""Group commit: what arrives while the disk is busy becomes one batch, which costs one wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from quartet_server.errors import NodeStopping, QuartetError, TooManyRequests
from quartet_server.objects.disk.journal import Batch, Journal
from quartet_server.objects.filesystem import refusal

T = TypeVar("T")
_BATCH_BYTES = 8 << 20
_BATCH_STEPS = 1_000
_WAITING_BYTES = 256 << 20
_WAITING_STEPS = 20_000

Step = Callable[[Batch], Any]
"""Looks at what is there and plans what to change; what it returns or raises is told once the batch is durable."""


@dataclass(slots=True)
class _Waiting:
    step: Step
    size: int
    outcome: asyncio.Future[Any]


class Committer:
    """Runs steps one after another in a thread, many of them with one sync."""

    def __init__(self, journal: Journal, done: Callable[[Batch], None]) -> None:
        """Change `journal`; `done` is called in the thread with each batch that has become durable."""
        self._journal = journal
        self._done = done
        self._thread = ThreadPoolExecutor(1, "blob-commit")
        self._waiting = deque[_Waiting]()
        self._size = 0
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def run(self, step: Callable[[Batch], T], size: int = 0) -> T:
        """Run a step that adds about `size` bytes; return what it returned once that is durable.

        Raises what the step raised; StoreFull or ObjectStoreUnreachable: nothing has changed; TooManyRequests: too
        much is waiting.
        """
        if self._closed:
            raise NodeStopping("the blob store is closed")
        if len(self._waiting) >= _WAITING_STEPS or self._size > _WAITING_BYTES:
            raise TooManyRequests("too many blobs wait to be written", retry_after=0.1)
        waiting = _Waiting(step, size, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._size += size
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        outcome: T = await waiting.outcome
        return outcome

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            taken, size = list[_Waiting](), 0
            while self._waiting and len(taken) < _BATCH_STEPS and size < _BATCH_BYTES:
                taken.append(self._waiting.popleft())
                size += taken[-1].size
            self._size -= size
            steps = [waiting.step for waiting in taken]
            try:
                outcomes = await loop.run_in_executor(self._thread, self._commit, steps)
            except Exception as fault:  # noqa: BLE001 - told to all who wait
                outcomes = [(None, fault)] * len(taken)
            for waiting, (value, failure) in zip(taken, outcomes, strict=True):
                if waiting.outcome.done():
                    continue  # its caller has gone
                if failure is not None:
                    waiting.outcome.set_exception(failure)
                else:
                    waiting.outcome.set_result(value)
        self._task = None

    def _commit(self, steps: list[Step]) -> list[tuple[Any, Exception | None]]:
        batch = Batch(self._journal, self._journal.now)
        outcomes = list[tuple[Any, Exception | None]]()
        for step in steps:
            try:
                outcomes.append((step(batch), None))
            except QuartetError as error:
                outcomes.append((None, error))
            except OSError as error:
                outcomes.append((None, refusal(error)))
        try:
            self._journal.commit(batch)
        except OSError as error:
            if len(steps) > 1:  # what asks for little, or for nothing, may still be done
                return [outcome for step in steps for outcome in self._commit([step])]
            return [(None, refusal(error))]
        self._done(batch)
        return outcomes

    async def aside(self, work: Callable[[], T]) -> T:
        """Run `work` in the thread, between batches."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        """Finish what waits and end the thread; called once."""
        self._closed = True
        if self._task is not None:
            await self._task
        self._thread.shutdown()
