"""Cursors of PostgreSQL whose statements are counted for the database that has the connection at the moment."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import psycopg

from quartet_server.records.watching import Watch

_WATCH = "quartet_watch"


def lend(connection: psycopg.Connection[Any], watch: Watch | None) -> None:
    """Count the statements of `connection` for a database from now on."""
    setattr(connection, _WATCH, watch)


class WatchedCursor(psycopg.Cursor[Any]):
    """A cursor that tells how long its statements took."""

    def execute(self, query: Any, *values: Any, **options: Any) -> Any:
        """See psycopg."""
        begun = perf_counter()
        try:
            return super().execute(query, *values, **options)
        finally:
            self._tell(query, perf_counter() - begun)

    def executemany(self, query: Any, *values: Any, **options: Any) -> None:
        """See psycopg."""
        begun = perf_counter()
        try:
            super().executemany(query, *values, **options)
        finally:
            self._tell(query, perf_counter() - begun)

    def _tell(self, query: Any, seconds: float) -> None:
        watch: Watch | None = getattr(self.connection, _WATCH, None)
        if watch is not None:
            watch(query.decode() if isinstance(query, bytes) else str(query), seconds)
