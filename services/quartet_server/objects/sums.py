"""Checksums of a large file's mebibytes: a sixth of a digest's cost, and a range can be checked by those it touches."""

from __future__ import annotations

import struct

import google_crc32c

from quartet_server.objects.arguments import PIECE

MOST = 16_384
"""Of how many pieces sums are kept: files above 16 GiB have none."""


class Sums:
    """CRC-32C of each PIECE of what is written, in the order in which it is written."""

    def __init__(self) -> None:
        """Nothing was written."""
        self._done = list[int]()
        self._value = 0
        self._filled = 0

    def take(self, data: bytes) -> None:
        """Take the next bytes."""
        at = 0
        while at < len(data):
            room = PIECE - self._filled
            part = data if not at and len(data) <= room else data[at : at + room]
            self._value = google_crc32c.extend(self._value, part)
            self._filled += len(part)
            at += len(part)
            if self._filled == PIECE:
                self._done.append(self._value)
                self._value = self._filled = 0

    def packed(self) -> bytes:
        """Return all sums, four bytes each; nothing where they are too many."""
        sums = [*self._done, self._value] if self._filled else self._done
        return struct.pack(f"<{len(sums)}I", *sums) if len(sums) <= MOST else b""


def unpacked(packed: bytes, size: int) -> tuple[int, ...] | None:
    """Return the sums of a file of `size` bytes; None if these are not they."""
    count = -(-size // PIECE)
    return struct.unpack(f"<{count}I", packed) if packed and len(packed) == 4 * count else None


def fits(piece: bytes, value: int) -> bool:
    """Tell whether a piece has a sum."""
    return int(google_crc32c.value(piece)) == value
