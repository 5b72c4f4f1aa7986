"""Which of many key ranges hold a key: an interval tree in arrays, laid out anew when the set of ranges has changed."""

from __future__ import annotations

from raftmeta.machine.history import KeyRange
from raftmeta.watch.watcher import Watcher

Watchers = dict[Watcher, None]


class Intervals:
    """Watchers by the range they watch.

    Finding those of a key costs the logarithm of the number of ranges and what is found. Watchers of the same range
    share an entry.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._ranges: dict[KeyRange, Watchers] = {}
        self._tree: list[tuple[KeyRange, Watchers]] | None = []
        self._reach: list[bytes | None] = []  # of each node: the largest end in its subtree, None for infinity

    def __len__(self) -> int:
        """Number of watchers."""
        return sum(map(len, self._ranges.values()))

    def all(self) -> list[Watcher]:
        """Return every watcher."""
        return [watcher for watchers in self._ranges.values() for watcher in watchers]

    def add(self, watcher: Watcher) -> None:
        """Add a watcher of a range."""
        watchers = self._ranges.get(watcher.keys)
        if watchers is None:
            watchers = self._ranges[watcher.keys] = {}
            self._tree = None
        watchers[watcher] = None

    def remove(self, watcher: Watcher) -> None:
        """Remove a watcher, if it is there."""
        watchers = self._ranges.get(watcher.keys)
        if watchers is None or watcher not in watchers:
            return
        del watchers[watcher]
        if not watchers:
            del self._ranges[watcher.keys]
            self._tree = None

    def holding(self, key: bytes) -> list[Watchers]:
        """Return the watchers of every range that holds `key`, range by range."""
        if self._tree is None:
            self._tree = sorted(self._ranges.items(), key=lambda item: item[0].start)
            self._reach = [b""] * len(self._tree)
            self._lay(0, len(self._tree))
        tree, reach = self._tree, self._reach
        found: list[Watchers] = []
        waiting = [(0, len(tree))]
        while waiting:
            low, high = waiting.pop()
            if low >= high:
                continue
            middle = (low + high) // 2
            end = reach[middle]
            if end is not None and end <= key:
                continue
            waiting.append((low, middle))
            keys, watchers = tree[middle]
            if keys.start <= key:
                waiting.append((middle + 1, high))
                if keys.end is None or key < keys.end:
                    found.append(watchers)
        return found

    def _lay(self, low: int, high: int) -> bytes | None:
        """Fill `_reach` of the subtree of [low, high), whose root is in the middle; return that of the root."""
        if low >= high:
            return b""
        middle = (low + high) // 2
        assert self._tree is not None
        ends = (self._lay(low, middle), self._tree[middle][0].end, self._lay(middle + 1, high))
        furthest: bytes | None = b""
        for end in ends:
            furthest = None if end is None or furthest is None else max(furthest, end)
        self._reach[middle] = furthest
        return furthest
