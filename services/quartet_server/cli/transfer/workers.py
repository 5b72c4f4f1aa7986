"""Threads that carry a copy out, a bounded number of tasks ahead of them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType

WAITING = 4
"""Tasks that wait for each thread: what is scanned ahead is bounded."""


class Workers:
    """Runs tasks; the first that raises ends the rest, and is raised by `run` or at the end of the block."""

    def __init__(self, threads: int, interrupt: Callable[[], None] = lambda: None) -> None:
        """Start `threads` threads when they are needed; `interrupt` makes what they wait for fail."""
        self._interrupt = interrupt
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="quartet-cp")
        self._most = threads * (1 + WAITING)
        self._open: set[Future[None]] = set()

    def run(self, task: Callable[[], None]) -> None:
        """Hand a task over; waits while too many are open."""
        while len(self._open) >= self._most:
            self._settle(*wait(self._open, return_when=FIRST_COMPLETED))
        self._open.add(self._pool.submit(task))

    def _settle(self, done: set[Future[None]], still: set[Future[None]]) -> None:
        self._open = still
        for future in done:
            future.result()

    def __enter__(self) -> Workers:
        """Return the workers."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for all tasks; after an error only for those that have begun, which Ctrl-C interrupts."""
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        try:
            while kind is None and self._open:
                self._settle(*wait(self._open, return_when=FIRST_COMPLETED))
        except KeyboardInterrupt:
            interrupted = True
            raise
        finally:
            if interrupted:
                self._interrupt()
            self._pool.shutdown(cancel_futures=True)
