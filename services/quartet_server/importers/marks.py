"""How far a file has been imported, in words that a later run can hold against the file.

A mark is `offset:head:tail`: digests of the first bytes, and of those before the offset. So a file that was replaced,
shortened or rewritten is read from its beginning, and one that grew from where it ended.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

_PIECE = 4096


def mark(path: Path, offset: int) -> str:
    """Return the mark of a file that is imported up to `offset`. Raises OSError."""
    with path.open("rb") as file:
        return _mark(file, offset)


def resumed(path: Path, text: str) -> int:
    """Return the offset that a mark means for the file as it is now; 0 when it is not that file any more. Raises OSError."""
    number = text.partition(":")[0]
    if not number.isascii() or not number.isdigit() or len(number) > 18:
        return 0
    offset = int(number)
    with path.open("rb") as file:
        if file.seek(0, 2) < offset or _mark(file, offset) != text:
            return 0
    return offset


def _mark(file: BinaryIO, offset: int) -> str:
    file.seek(0)
    head = _digest(file.read(min(_PIECE, offset)))
    file.seek(max(0, offset - _PIECE))
    return f"{offset}:{head}:{_digest(file.read(min(_PIECE, offset)))}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
