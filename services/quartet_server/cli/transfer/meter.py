"""The progress of a copy, or of an import, shown to people who have waited for two seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

DELAY = 2.0
"""Seconds after which the bar appears."""


class Meter:
    """A progress bar on stderr, of bytes unless something else is counted; without a terminal it shows nothing. May be used by several threads.

    Attributes:
        shown: Whether the bar has appeared.
    """

    def __init__(
        self,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        doing: str = "copying",
        of_bytes: bool = True,
    ) -> None:
        """Begin to wait; `clock` says seconds and never goes back. `doing` is shown before the bar."""
        self._console = console or Console(file=sys.stderr)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            *((DownloadColumn(binary_units=True), TransferSpeedColumn()) if of_bytes else (MofNCompleteColumn(),)),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task(doing, total=None)
        self._clock = clock
        self._began = clock()
        self._lock = threading.Lock()
        self.shown = False

    def expect(self, size: int) -> None:
        """Add bytes that are still to come."""
        with self._lock:
            total = self._progress.tasks[0].total or 0
            self._progress.update(self._task, total=total + size)

    def advance(self, size: int) -> None:
        """Count bytes that are done; the bar appears when it is time."""
        with self._lock:
            self._progress.advance(self._task, size)
            if not self.shown and self._console.is_terminal and self._clock() - self._began >= DELAY:
                self.shown = True
                self._progress.start()

    def __enter__(self) -> Meter:
        """Return the meter."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        if self.shown:
            self._progress.stop()
