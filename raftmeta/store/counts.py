"""How many keys are alive, block by block, so that counting a range does not walk through it.

LMDB cannot say how many rows lie between two keys. The key index of a keyspace is therefore divided into blocks of a few
hundred keys, and the living keys of each are counted in memory: some bytes for every hundred keys.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

BLOCK = 256  # living keys of a block when it is made; divided at four times as many

Flip = tuple[int, bytes, int]
"""(keyspace, row of the key index, +1 for a key that came to life or -1 for one that died)."""


class StepPassed(Exception):  # noqa: N818 - it is no error
    """The counts are those of a later step than the view that asked: look at a new one."""


class Blocks:
    """The blocks of one keyspace. No lock of its own."""

    def __init__(self, rows: Iterable[tuple[bytes, bool]], longest: int) -> None:
        """Count rows of the key index: (row, whether its key is alive). A row longer than `longest` begins no block."""
        self._longest = longest
        self._starts: list[bytes] = [b""]
        self._counts: list[int] = [0]
        self._divide(0, rows)

    def change(self, row: bytes, by: int) -> bool:
        """Count a key that came or went; tell whether its block has become too large."""
        at = bisect_right(self._starts, row) - 1
        self._counts[at] += by
        if by < 0 and at + 1 < len(self._counts) and self._counts[at] + self._counts[at + 1] < BLOCK // 2:
            self._counts[at] += self._counts.pop(at + 1)
            del self._starts[at + 1]
        return self._counts[at] > 4 * BLOCK

    def too_large(self, row: bytes) -> bool:
        """Tell whether the block that holds `row` is to be divided."""
        return self._counts[bisect_right(self._starts, row) - 1] > 4 * BLOCK

    def bounds(self, row: bytes) -> tuple[bytes, bytes | None]:
        """Return the first row of the block that holds `row`, and that of the block after it."""
        at = bisect_right(self._starts, row) - 1
        return self._starts[at], self._starts[at + 1] if at + 1 < len(self._starts) else None

    def divided(self, first: bytes, rows: Iterable[tuple[bytes, bool]]) -> None:
        """Divide the block that begins with `first`, whose rows are given."""
        self._divide(bisect_right(self._starts, first) - 1, rows)

    def _divide(self, at: int, rows: Iterable[tuple[bytes, bool]]) -> None:
        starts, counts = [self._starts[at]], [0]
        for row, alive in rows:
            if counts[-1] >= BLOCK and len(row) <= self._longest:
                starts.append(row)
                counts.append(0)
            counts[-1] += alive
        self._starts[at : at + 1] = starts
        self._counts[at : at + 1] = counts

    def between(self, start: bytes, end: bytes | None) -> tuple[bytes, bytes | None, int] | None:
        """Return (first key, end, living keys) of the whole blocks inside [start, end), or None when there is none."""
        first = bisect_left(self._starts, start)
        last = len(self._starts) if end is None else bisect_right(self._starts, end) - 1
        if first >= last:
            return None
        return self._starts[first], None if end is None else self._starts[last], sum(self._counts[first:last])


class Counts:
    """The blocks of every keyspace at one step: what counts a range in a view of just that step.

    Attributes:
        lock: Held while a step becomes visible and its keys are counted, and by who reads both.
        step: The step.
        spaces: Blocks by keyspace.
    """

    def __init__(self, spaces: Iterable[Iterator[tuple[bytes, bool]]], longest: int) -> None:
        """Count what is there before the first step; see `Blocks`."""
        self.lock = threading.Lock()
        self.step = 0
        self.spaces = [Blocks(rows, longest) for rows in spaces]

    def between(self, space: int, start: bytes, end: bytes | None, step: int) -> tuple[bytes, bytes | None, int] | None:
        """See `Blocks.between`. Raises StepPassed when `step` is not the newest one."""
        with self.lock:
            if step != self.step:
                raise StepPassed
            return self.spaces[space].between(start, end)
