"""The reader of a table whose rows are read in the order in which they were written."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from quartet_server.importers.faults import Faults
from quartet_server.importers.items import Item
from quartet_server.importers.sqlite import BROKEN, Row, Source


class TableReader:
    """Reads a table by rowid, and goes on behind the last row of an earlier run."""

    def __init__(
        self,
        name: str,
        source: Source,
        table: str,
        columns: Sequence[str],
        key: str,
        faults: Faults,
        each: Callable[[Row], Iterator[Item]],
    ) -> None:
        """Read `columns` of `table`; `key` tells its rows apart, `each` yields what a row bears and raises UnfitError."""
        self._name, self._source, self._table, self._columns = name, source, table, columns
        self._key, self._faults, self._each = key, faults, each
        self._after = 0

    @property
    def name(self) -> str:
        """The kind and the database's path."""
        return self._name

    @property
    def size(self) -> int:
        """About how many rows there are."""
        with contextlib.suppress(*BROKEN):
            return self._source.last(self._table)
        return 0

    @property
    def position(self) -> int:
        """About how many are read."""
        return self._after

    def resume(self, mark: str) -> None:
        """Go on behind the row of the mark."""
        with contextlib.suppress(*BROKEN):
            self._after = self._source.resumed(self._table, mark, self._key)

    def mark(self) -> str:
        """Return how far this is."""
        with contextlib.suppress(*BROKEN):
            return self._source.mark(self._table, self._after, self._key)
        return ""

    def read(self) -> Iterator[Item]:
        """Yield what the rows bear."""
        for row in self._source.walk(self._table, self._columns, self._faults, self._after):
            try:
                yield from self._each(row)
            except BROKEN as error:
                self._faults.add(f"{self._source.path.name}:{self._table}:{row['at']}", error)
            self._after = row["at"]

    def close(self) -> None:
        """Close the database."""
        self._source.close()
