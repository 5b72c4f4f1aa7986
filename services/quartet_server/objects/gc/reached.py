"""Digests that something leads to, remembered in bounded memory: a Bloom filter that grows and errs to the safe side."""

from __future__ import annotations

import struct
from collections.abc import Callable

from quartet_server.objects.digest import Digest

SMALLEST = 20
"""Binary logarithm of the bytes of the first layer: 1 MiB, for half a million digests."""
LARGEST = 26
"""Binary logarithm of the bytes beyond which no layer is added: all together stay below 64 MiB."""
_PROBES = 8
_BITS_EACH = 16
_MASK = (1 << 64) - 1
_WORDS = struct.Struct("<QQ")


class Reached:
    """A set of digests that forgets none, and now and then takes one for a member that is not.

    Such a mistake keeps a blob that could go, for this round: the next one draws other numbers. Up to 33 million digests it
    happens to fewer than one in a thousand; beyond, memory stays as it is and mistakes become more. A digest is uniformly
    distributed, so its own bytes are its hash.

    Attributes:
        count: How many different digests were added, but for those taken for members.
    """

    def __init__(self, draw: Callable[[int], bytes], smallest: int = SMALLEST, largest: int = LARGEST) -> None:
        """Begin empty; `draw` returns random bytes. `smallest` and `largest` are logarithms, as the constants say."""
        first, second = _WORDS.unpack(draw(_WORDS.size))
        self._salts = (first | 1, second | 1)
        self._size = smallest
        self._largest = largest
        self._layers: list[tuple[bytearray, int]] = []
        self._room = 0
        self.count = 0

    def add(self, digest: Digest) -> None:
        """Remember a digest."""
        start, step = self._places(digest)
        if self._has(start, step):
            return
        if not self._room and self._size < self._largest:
            self._layers.append((bytearray(1 << self._size), 64 - self._size - 3))
            self._room = (8 << self._size) // _BITS_EACH
            self._size += 1
        self._room = max(self._room - 1, 0)
        self.count += 1
        bits, shift = self._layers[-1]
        for _ in range(_PROBES):
            bit = start >> shift
            bits[bit >> 3] |= 1 << (bit & 7)
            start = (start + step) & _MASK

    def __contains__(self, digest: Digest) -> bool:
        return self._has(*self._places(digest))

    def _places(self, digest: Digest) -> tuple[int, int]:
        first, second = _WORDS.unpack_from(digest.hash)
        return first * self._salts[0] & _MASK, (second * self._salts[1] | 1) & _MASK

    def _has(self, first: int, step: int) -> bool:
        for bits, shift in self._layers:
            place = first
            for _ in range(_PROBES):
                bit = place >> shift
                if not bits[bit >> 3] >> (bit & 7) & 1:
                    break
                place = (place + step) & _MASK
            else:
                return True
        return False
