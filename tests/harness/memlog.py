"""A Raft log in memory that forgets what was not synced when the power goes: the contract of `raftmeta.wal.Log`."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

from raftmeta.wal import HardState, LogEntry, WalFull, WalRange


@dataclass
class Disk:
    """What survives a power loss.

    `pending` is what was written but not synced: a crash keeps a prefix of it, chosen by the seed.
    """

    base: tuple[int, int] = (0, 0)
    entries: list[LogEntry] = field(default_factory=list)
    hard: HardState = field(default_factory=lambda: HardState(0, 0))
    pending: list[LogEntry | int] = field(default_factory=list)
    syncs: int = 0
    capacity: int = 1 << 40

    def lose_power(self, rng: random.Random) -> None:
        """Keep a random prefix of what was not synced."""
        for change in self.pending[: rng.randint(0, len(self.pending))]:
            self.settle(change)
        self.pending = []

    def settle(self, change: LogEntry | int) -> None:
        """Make one change durable: an entry appended, or a truncation from an index on."""
        if isinstance(change, int):
            del self.entries[max(0, change - self.base[0] - 1) :]
        else:
            self.entries.append(change)

    @property
    def last(self) -> int:
        """Highest durable index."""
        return self.base[0] + len(self.entries)


class MemoryLog:
    """A log on a `Disk`."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self._base = disk.base
        self._entries = list(disk.entries)
        self._full = False

    @property
    def first_index(self) -> int:
        return self._base[0] + 1

    @property
    def last_index(self) -> int:
        return self._base[0] + len(self._entries)

    @property
    def last_term(self) -> int:
        return self._entries[-1].term if self._entries else self._base[1]

    @property
    def durable_index(self) -> int:
        kept = self.disk.last
        for change in self.disk.pending:
            if isinstance(change, int):
                kept = min(kept, change - 1)
        return min(kept, self.last_index)

    @property
    def hard_state(self) -> HardState:
        return self.disk.hard

    @property
    def full(self) -> bool:
        return self._full

    def append(self, index: int, term: int, data: bytes) -> None:
        if index != self.last_index + 1 or term < self.last_term:
            raise ValueError(f"gap or term going down at {index}")
        if self._full:
            raise WalFull(Path("memory"), 28)
        entry = LogEntry(index, term, bytes(data))
        self._entries.append(entry)
        self.disk.pending.append(entry)

    def sync(self) -> int:
        size = sum(len(entry.data) for entry in self._entries)
        self._full = size > self.disk.capacity
        if self._full:
            raise WalFull(Path("memory"), 28)
        if self.disk.pending:
            self.disk.syncs += 1
        for change in self.disk.pending:
            self.disk.settle(change)
        self.disk.pending = []
        return self.durable_index

    def entries(self, first: int, count: int, max_bytes: int = 1 << 60) -> list[LogEntry]:
        if not self.first_index <= first <= self.last_index:
            raise WalRange(first, self.first_index, self.last_index)
        found: list[LogEntry] = []
        size = 0
        start = first - self.first_index
        for entry in self._entries[start : start + count]:
            size += len(entry.data)
            if found and size > max_bytes:
                break
            found.append(entry)
        return found

    def term_of(self, index: int) -> int:
        if index == self._base[0]:
            return self._base[1]
        if not self.first_index <= index <= self.last_index:
            raise WalRange(index, self.first_index, self.last_index)
        return self._entries[index - self.first_index].term

    def truncate_from(self, index: int) -> None:
        if not self.first_index <= index <= self.last_index + 1:
            raise WalRange(index, self.first_index, self.last_index)
        del self._entries[index - self.first_index :]
        self.disk.pending.append(index)

    def trim_to(self, index: int) -> None:
        if index < self.first_index:
            return
        term = self.term_of(index)
        self.sync()
        del self._entries[: index - self._base[0]]
        self._base = (index, term)
        self.disk.base, self.disk.entries = self._base, list(self._entries)

    def reset(self, index: int, term: int) -> None:
        self._base, self._entries = (index, term), []
        self.disk.base, self.disk.entries, self.disk.pending = self._base, [], []

    def save_hard_state(self, term: int, voted_for: int) -> None:
        before = self.disk.hard
        if term < before.term or (term == before.term and before.voted_for not in (0, voted_for)):
            raise ValueError("term goes down or the vote changes")
        self.disk.hard = HardState(term, voted_for)

    def close(self) -> None:
        pass
