"""Lines of a file, one after another, however long the file or a line is."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import zstandard

from quartet_server.importers.faults import Faults

LONGEST = 16 << 20
"""Bytes of a line that is read; a longer one is a fault."""
_PIECE = 256 << 10
_WINDOW = 128 << 20
_BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """A line that is not empty.

    Attributes:
        number: From 1.
        start: Offset of its first byte; of the decompressed bytes, where the file is compressed.
        end: Offset after its newline.
        whole: Whether it ends with a newline; the last of a file that is being written may not.
    """

    number: int
    start: int
    end: int
    data: bytes
    whole: bool


def opened(path: Path) -> BinaryIO:
    """Open a file, decompressed where its name ends in `.zst`. Raises OSError."""
    file = path.open("rb")
    if path.suffix != ".zst":
        return file
    reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(
        file, closefd=True, read_across_frames=True
    )
    return io.BufferedReader(reader)


def lines(path: Path, faults: Faults, *, start: int = 0, first: int = 1, longest: int = LONGEST) -> Iterator[Line]:
    """Yield the lines from the offset `start`, the number `first` being that of the first. Raises OSError.

    A line of more than `longest` bytes is a fault, and so is what cannot be decompressed; it ends the file.
    """
    with opened(path) as file:
        if start:
            file.seek(start)
        number, offset = first - 1, start
        while True:
            number += 1
            try:
                data = file.readline(longest + 1)
                if len(data) > longest:
                    skipped = _skip(file)
                    faults.add(f"{path.name}:{number}", f"the line is longer than {longest:,} bytes")
                    offset += len(data) + skipped
                    continue
            except (zstandard.ZstdError, EOFError) as error:
                faults.add(f"{path.name}:{number}", f"the file cannot be decompressed further: {error}")
                return
            if not data:
                return
            begin, offset = offset, offset + len(data)
            text = data.removeprefix(_BOM) if begin == 0 else data
            if stripped := text.strip():
                yield Line(number, begin, offset, stripped, data.endswith(b"\n"))


def _skip(file: BinaryIO) -> int:
    """Go behind the next newline; return over how many bytes."""
    passed = 0
    while data := file.readline(_PIECE):
        passed += len(data)
        if data.endswith(b"\n"):
            break
    return passed
