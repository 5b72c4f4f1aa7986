"""Connections to PostgreSQL that stay open between transactions: so many at the most, and none that idles for long."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

import sqlalchemy as sa

from quartet_server.record_errors import DatabaseBusy

BUSY_RETRY = 0.5


class Connections:
    """Lends connections of an engine, those used last first; any thread may take and give back."""

    def __init__(
        self,
        engine: sa.Engine,
        *,
        limit: int,
        idle_seconds: float,
        patience: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Lend at most `limit` connections at once.

        Args:
            engine: Makes them; its own pool must keep none.
            limit: Most that are lent at once.
            idle_seconds: One that nobody took for so long is closed by `reap`.
            patience: Seconds that `take` waits for one to be given back.
            clock: Seconds, monotonic.
        """
        self._engine = engine
        self._idle_seconds = idle_seconds
        self._patience = patience
        self._clock = clock
        self._free = threading.BoundedSemaphore(limit)
        self._lock = threading.Lock()
        self._idle: deque[tuple[float, sa.Connection]] = deque()
        self._closed = False

    @property
    def idle(self) -> int:
        """Connections that are open and not lent."""
        return len(self._idle)

    def take(self, *, fresh: bool = False) -> sa.Connection:
        """Return a connection, opened if need be; a `fresh` one was not used before.

        Raises DatabaseBusy when none became free in time, and SQLAlchemy's errors when one cannot be opened.
        """
        if not self._free.acquire(timeout=self._patience):
            raise DatabaseBusy("every connection to the database server is in use", retry_after=BUSY_RETRY)
        try:
            if not fresh:
                with self._lock:
                    if self._idle:
                        return self._idle.pop()[1]
            return self._engine.connect()
        except BaseException:
            self._free.release()
            raise

    def give(self, connection: sa.Connection, *, broken: bool = False) -> None:
        """Take a connection back, outside of any transaction; a `broken` one is closed, and all that idle with it."""
        closing: list[sa.Connection] = []
        with self._lock:
            if broken or self._closed:
                closing = [connection, *(one for _, one in self._idle)]
                self._idle.clear()
            else:
                self._idle.append((self._clock(), connection))
        _close(closing)
        self._free.release()

    def reap(self) -> None:
        """Close what has idled too long."""
        until = self._clock() - self._idle_seconds
        closing: list[sa.Connection] = []
        with self._lock:
            while self._idle and self._idle[0][0] <= until:
                closing.append(self._idle.popleft()[1])
        _close(closing)

    def close(self) -> None:
        """Close what idles, and what is given back from now on."""
        with self._lock:
            self._closed = True
            closing = [one for _, one in self._idle]
            self._idle.clear()
        _close(closing)


def _close(connections: list[sa.Connection]) -> None:
    for connection in connections:
        with suppress(sa.exc.SQLAlchemyError, sa.exc.ResourceClosedError):
            connection.invalidate()
            connection.close()
