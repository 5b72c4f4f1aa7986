"""What changed between two texts, line by line, as `diff -u` tells it, in bounded time and space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

EDITS = 400
"""Lines added and taken away up to which the shortest way is looked for: the time goes with its square."""

Line = bytes
Block = tuple[int, int, int, int]
"""Lines [i, j) of the old text and [k, m) of the new one, which are not the same."""


@dataclass(frozen=True, slots=True)
class Unified:
    """A unified diff.

    Attributes:
        text: The diff; empty when nothing changed.
        truncated: It ends before all was told.
        coarse: There were too many changes to look for the shortest way.
        added: Lines added.
        removed: Lines taken away.
    """

    text: str
    truncated: bool
    coarse: bool
    added: int
    removed: int


def unified(old: bytes, new: bytes, old_name: str, new_name: str, context: int, limit: int) -> Unified:
    """Compare two texts in UTF-8; at most about `limit` bytes are told. `context` is lines around each change."""
    a, b = _lines(old), _lines(new)
    blocks, coarse = changed(a, b)
    added = sum(block[3] - block[2] for block in blocks)
    removed = sum(block[1] - block[0] for block in blocks)
    parts: list[bytes] = []
    size, truncated = 0, False
    if blocks:
        parts = [f"--- {old_name}\n+++ {new_name}\n".encode()]
        for hunk in _hunks(blocks, context):
            told = b"".join(_tell(hunk, a, b, context))
            if size + len(told) > limit:
                parts.append(told[: told.rfind(b"\n", 0, max(limit - size, 0)) + 1])
                truncated = True
                break
            parts.append(told)
            size += len(told)
    return Unified(b"".join(parts).decode("utf-8", "replace"), truncated, coarse, added, removed)


def changed(a: Sequence[Line], b: Sequence[Line]) -> tuple[list[Block], bool]:
    """Return what is not the same, in order, and whether it is more than need be.

    What both begin and end with is left out first; between them goes Myers' greedy algorithm, up to EDITS edits.
    """
    start, end = 0, 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    while end < min(len(a), len(b)) - start and a[len(a) - 1 - end] == b[len(b) - 1 - end]:
        end += 1
    n, m = len(a) - start - end, len(b) - start - end
    if not n and not m:
        return [], False
    if not n or not m:
        return [(start, start + n, start, start + m)], False
    found = _shortest(a[start : start + n], b[start : start + m])
    if found is None:
        return [(start, start + n, start, start + m)], True
    return [(one[0] + start, one[1] + start, one[2] + start, one[3] + start) for one in found], False


def _shortest(a: Sequence[Line], b: Sequence[Line]) -> list[Block] | None:
    """Return the blocks of the shortest edit script; None when it is longer than EDITS."""
    n, m = len(a), len(b)
    furthest = {1: 0}
    trace: list[dict[int, int]] = []
    for d in range(min(EDITS, n + m) + 1):
        trace.append(dict(furthest))
        for k in range(-d, d + 1, 2):
            down = k == -d or (k != d and furthest[k - 1] < furthest[k + 1])
            x = furthest[k + 1] if down else furthest[k - 1] + 1
            y = x - k
            while x < n and y < m and a[x] == b[y]:
                x, y = x + 1, y + 1
            furthest[k] = x
            if x >= n and y >= m:
                return _blocks(trace, n, m)
    return None


def _blocks(trace: list[dict[int, int]], n: int, m: int) -> list[Block]:
    """Follow the way back through the trace, and join edits that touch."""
    blocks: list[Block] = []
    x, y = n, m
    for d in range(len(trace) - 1, 0, -1):
        furthest, k = trace[d], x - y
        down = k == -d or (k != d and furthest[k - 1] < furthest[k + 1])
        before_k = k + 1 if down else k - 1
        before_x = furthest[before_k]
        before_y = before_x - before_k
        x, y = (before_x, before_y + 1) if down else (before_x + 1, before_y)  # where the edit ended
        edit = (before_x, x, before_y, y)
        if blocks and blocks[-1][0] == edit[1] and blocks[-1][2] == edit[3]:
            edit = (edit[0], blocks[-1][1], edit[2], blocks[-1][3])
            blocks.pop()
        blocks.append(edit)
        x, y = before_x, before_y
    return blocks[::-1]


def _hunks(blocks: Sequence[Block], context: int) -> Iterator[list[Block]]:
    """Yield the blocks that are told together: those with at most twice the context between them."""
    hunk: list[Block] = []
    for block in blocks:
        if hunk and block[0] - hunk[-1][1] > 2 * context:
            yield hunk
            hunk = []
        hunk.append(block)
    yield hunk


def _tell(hunk: Sequence[Block], a: Sequence[Line], b: Sequence[Line], context: int) -> Iterator[bytes]:
    before = min(context, hunk[0][0])
    after = min(context, len(a) - hunk[-1][1])
    first_a, last_a = hunk[0][0] - before, hunk[-1][1] + after
    first_b, last_b = hunk[0][2] - before, hunk[-1][3] + after
    yield f"@@ -{_range(first_a, last_a)} +{_range(first_b, last_b)} @@\n".encode()
    at = first_a
    for i, j, k, m in hunk:
        yield from _marked(b" ", a[at:i])
        yield from _marked(b"-", a[i:j])
        yield from _marked(b"+", b[k:m])
        at = j
    yield from _marked(b" ", a[at:last_a])


def _marked(mark: bytes, lines: Sequence[Line]) -> Iterator[bytes]:
    for line in lines:
        yield mark + line if line.endswith(b"\n") else mark + line + b"\n\\ No newline at end of file\n"


def _range(start: int, end: int) -> str:
    """Return lines [start, end) as diff numbers them: from 1, an empty range by the line before it."""
    length = end - start
    if length == 1:
        return str(start + 1)
    return f"{start + 1 if length else start},{length}"


def _lines(text: bytes) -> list[Line]:
    """Return the lines with their ends; nothing but a newline ends one."""
    lines = [line + b"\n" for line in text.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]
