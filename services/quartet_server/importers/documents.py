"""The reader of a file of JSON values: an array of them, or one after another."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from quartet_server.importers import json_stream
from quartet_server.importers.faults import Faults, UnfitError
from quartet_server.importers.files import WholeReader
from quartet_server.importers.items import Event, Item


class DocumentReader(WholeReader):
    """Reads a file of JSON values."""

    def __init__(self, kind: str, path: Path, faults: Faults, each: Callable[[Any], Iterator[Event]]) -> None:
        """Read `path`; `each` yields what a value bears, and raises UnfitError."""
        super().__init__(kind, path, faults)
        self._each = each

    def resume(self, mark: str) -> None:
        """Read nothing when the file is as it was, to the last byte: what is in its middle may have changed."""
        self._done = bool(mark) and mark == self._digest()

    def mark(self) -> str:
        """Return a digest of the file, when all of it is read."""
        return self._digest() if self._done else ""

    def _digest(self) -> str:
        with self._path.open("rb") as file:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()

    def _items(self) -> Iterator[Item]:
        with self._path.open("rb") as file:
            yield from each_value(file, self._path.name, self._faults, self._each, self._advance)

    def _advance(self, position: int) -> None:
        self._at = position


def each_value(
    file: BinaryIO,
    where: str,
    faults: Faults,
    each: Callable[[Any], Iterator[Event]],
    advance: Callable[[int], None] = lambda position: None,
) -> Iterator[Event]:
    """Yield what the values of a file bear; one that bears nothing it should, and the first that cannot be read, is a fault."""
    number = 0
    try:
        for number, value in enumerate(json_stream.values(file), 1):
            advance(file.tell())
            try:
                yield from each(value)
            except ValueError as error:
                faults.add(f"{where}:{number}", error)
    except UnfitError as error:
        faults.add(f"{where}:{number + 1}", error)
