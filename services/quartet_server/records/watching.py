"""What statements cost: counted by kind for each database, and logged when they are slow, without their values."""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from time import perf_counter
from typing import Any

import pysqlite3
import structlog

KINDS = ("select", "insert", "update", "delete", "commit", "other")
BUCKETS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Upper ends, in seconds, of the classes in which durations are counted; longer ones are in one more."""
MAX_LOGGED = 2000
"""Characters of a statement that are logged."""
_KEPT = 4096  # statements whose kind is remembered
_log = structlog.get_logger("quartet.records")


class Watch:
    """Counts the statements of a database; any thread may call it. Two that end at the same moment may count as one.

    Attributes:
        counts: Kind -> how many statements took how long, by BUCKETS.
        seconds: Kind -> how long they took, together.
    """

    def __init__(self, database: str, *, debug: bool = False, slow_seconds: float = 0.0, log: Any = _log) -> None:
        """Tell `log` of every statement with `debug`, and of those that take `slow_seconds` or more; 0 for none."""
        self.counts = {kind: [0] * (len(BUCKETS) + 1) for kind in KINDS}
        self.seconds = dict.fromkeys(KINDS, 0.0)
        self._database = database
        self._debug = debug
        self._slow = slow_seconds or float("inf")
        self._log = log

    def __call__(self, statement: str, seconds: float) -> None:
        """Count a statement that took so long, rows that are fetched later not included."""
        kind = kind_of(statement)
        self.counts[kind][bisect_left(BUCKETS, seconds)] += 1
        self.seconds[kind] += seconds
        if seconds >= self._slow:
            self._log.warning("slow statement", **self._facts(statement, kind, seconds))
        elif self._debug:
            self._log.info("statement", **self._facts(statement, kind, seconds))

    def _facts(self, statement: str, kind: str, seconds: float) -> dict[str, object]:
        first = statement.lstrip()
        shown = (
            "BEGIN" if first[:5].upper() == "BEGIN" else " ".join(first.split())
        )  # PostgreSQL's begin names the zone
        return {
            "database": self._database,
            "kind": kind,
            "milliseconds": round(seconds * 1000, 3),
            "statement": shown[:MAX_LOGGED],
        }


@lru_cache(_KEPT)
def kind_of(statement: str) -> str:
    """Return which of KINDS a statement is."""
    word = statement.split(None, 1)[0].lower().rstrip(";") if statement.strip() else ""
    if word == "with":
        return "select"
    return word if word in KINDS else "other"


def watched_sqlite(watch: Watch) -> type[pysqlite3.Connection]:
    """Return the class of connections whose statements `watch` sees, for `pysqlite3.connect(factory=...)`."""

    class Cursor(pysqlite3.Cursor):  # type: ignore[misc]
        def execute(self, statement: str, *values: Any) -> Any:
            begun = perf_counter()
            try:
                return super().execute(statement, *values)
            finally:
                watch(statement, perf_counter() - begun)

        def executemany(self, statement: str, values: Any) -> Any:
            begun = perf_counter()
            try:
                return super().executemany(statement, values)
            finally:
                watch(statement, perf_counter() - begun)

    class Connection(pysqlite3.Connection):  # type: ignore[misc]
        def cursor(self, factory: Any = Cursor) -> Any:
            return super().cursor(factory)

    return Connection
