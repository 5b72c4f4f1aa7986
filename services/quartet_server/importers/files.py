"""Files below a path, and the reader of one that is read from its beginning to its end."""

from __future__ import annotations

import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from quartet_server.importers import marks
from quartet_server.importers.faults import Faults, WrongKindError
from quartet_server.importers.items import Item
from quartet_server.importers.lines import Line, lines
from quartet_server.importers.text import parse

_MOST = 1_000_000
_PIECE = 1 << 20
_SNIFFED = 16 << 20
_LINES = 20


def found(path: Path, fits: Callable[[str], bool], what: str) -> list[Path]:
    """Return the file itself, or the files below a directory whose names fit, in order. Raises WrongKindError, OSError."""
    if not path.exists():
        raise WrongKindError(f"{path} is not there", f"expected {what}")
    if not path.is_dir():
        return [path]
    names: list[Path] = []
    for directory, below, files in os.walk(path):
        below.sort()
        names += [Path(directory, name) for name in sorted(files) if fits(name)]
        if len(names) > _MOST:
            raise WrongKindError(
                f"{path} holds more than {_MOST:,} files of this kind", "import its directories one by one"
            )
    if not names:
        raise WrongKindError(f"{path} holds no file of this kind", f"expected {what}")
    return names


def sniffed(paths: list[Path], looks: Callable[[Any], bool], what: str, faults: Faults) -> Iterator[Path]:
    """Yield the files one of whose first lines looks right; the others are faults. Raises WrongKindError when none does."""
    right = []
    for path in paths:
        if path.stat().st_size == 0 or _first(path, looks):
            right.append(path)
        elif len(paths) > 1:
            faults.add(path.name, f"it is not {what}")
    if not right:
        raise WrongKindError(
            f"{paths[0] if len(paths) == 1 else paths[0].parent} holds something else", f"expected {what}"
        )
    yield from right


def _first(path: Path, looks: Callable[[Any], bool]) -> bool:
    """Tell whether one of the first lines looks right; a broken one says nothing."""
    for line in itertools.islice(lines(path, Faults(), longest=_SNIFFED), _LINES):
        try:
            if looks(parse(line.data)):
                return True
        except ValueError:
            continue
    return False


def newlines(path: Path, end: int) -> int:
    """Return how many lines end before an offset. Raises OSError."""
    count = 0
    with path.open("rb") as file:
        while end > 0 and (data := file.read(min(_PIECE, end))):
            count += data.count(b"\n")
            end -= len(data)
    return count


class LineReader:
    """Reads a file of lines, and goes on where it ended when it has grown."""

    def __init__(
        self, kind: str, path: Path, faults: Faults, each: Callable[[Line], Iterator[Item]], longest: int
    ) -> None:
        """Read `path`; `each` yields what a line bears, and raises UnfitError."""
        self._kind, self._path, self._faults, self._each, self._longest = kind, path, faults, each, longest
        self._start = self._at = 0
        self._first = 1
        self._size = path.stat().st_size

    @property
    def name(self) -> str:
        """The kind and the file's path."""
        return f"{self._kind}:{self._path.absolute()}"

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._size

    @property
    def position(self) -> int:
        """Bytes read."""
        return min(self._at, self._size)

    def resume(self, mark: str) -> None:
        """Go on behind what the mark says was read."""
        self._start = self._at = marks.resumed(self._path, mark)
        self._first = 1 + newlines(self._path, self._start)

    def mark(self) -> str:
        """Return how far this is."""
        return marks.mark(self._path, self._at)

    def close(self) -> None:
        """Nothing stays open."""

    def read(self) -> Iterator[Item]:
        """Yield what the lines bear."""
        for line in lines(self._path, self._faults, start=self._start, first=self._first, longest=self._longest):
            try:
                yield from self._each(line)
            except ValueError as error:
                if not line.whole:  # it is being written: a later run will find all of it
                    self._faults.skip()
                    return
                self._faults.add(f"{self._path.name}:{line.number}", error)
            self._at = line.end


class WholeReader(ABC):
    """Reads a file from its beginning to its end, unless an earlier run did and nothing is new."""

    def __init__(self, kind: str, path: Path, faults: Faults) -> None:
        """Read `path`."""
        self._kind, self._path, self._faults = kind, path, faults
        self._size = path.stat().st_size
        self._at = self._known = 0
        self._done = False

    @property
    def name(self) -> str:
        """The kind and the file's path."""
        return f"{self._kind}:{self._path.absolute()}"

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._size

    @property
    def position(self) -> int:
        """Bytes read."""
        return self._size if self._done else min(self._at, self._size)

    def resume(self, mark: str) -> None:
        """Read nothing when all of the file was read."""
        self._known = marks.resumed(self._path, mark)
        self._done = bool(self._size) and self._known == self._size

    def mark(self) -> str:
        """Return what tells the file as it is, when all of it is read."""
        return marks.mark(self._path, self._size) if self._done else ""

    def close(self) -> None:  # noqa: B027
        """Nothing stays open."""

    def read(self) -> Iterator[Item]:
        """Yield what there is."""
        if self._done:
            return
        yield from self._items()
        self._done = True

    @abstractmethod
    def _items(self) -> Iterator[Item]:
        """Yield what there is."""
