"""The reader of a session's log, which is read whole each time it has grown, since a session is told as a whole."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from quartet_server.importers import marks
from quartet_server.importers.files import WholeReader
from quartet_server.importers.items import Event, Item
from quartet_server.importers.lines import lines
from quartet_server.importers.text import parse

LONGEST = 64 << 20
"""Bytes of a line: pictures stand in them as text."""
_FORM = 1
"""Of what is made of a log; another one makes that every session is told again."""


class LogReader(WholeReader):
    """Reads a log; events that an earlier run has stored are not told again."""

    def mark(self) -> str:
        """Return up to where events are stored; all of the file only when the session is, too."""
        if self._done or self._path.suffix == ".zst":
            return super().mark()
        at = max(self._at, self._known)
        return marks.mark(self._path, at) if 0 < at < self._size else ""

    def _items(self) -> Iterator[Item]:
        for line in lines(self._path, self._faults, longest=LONGEST):
            try:
                for item in self._line(parse(line.data), line.number):
                    if not isinstance(item, Event) or line.end > self._known:
                        yield item
            except ValueError as error:
                if not line.whole:  # it is being written
                    self._faults.skip()
                    break
                self._faults.add(f"{self._path.name}:{line.number}", error)
            self._at = line.end
        yield from self._end(f"{_FORM}:{marks.mark(self._path, self._size)}")

    @abstractmethod
    def _line(self, value: Any, number: int) -> Iterator[Item]:
        """Yield what a line bears; session parts may be larger than it. Raises UnfitError."""

    @abstractmethod
    def _end(self, fingerprint: str) -> Iterator[Item]:
        """Yield the last parts of the sessions."""
