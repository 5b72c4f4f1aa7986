"""What consensus asks of a durable log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol


@dataclass(slots=True)
class LogEntry:
    """One entry of the Raft log: position from 1, term, and bytes that mean nothing here. Never changed once made."""

    index: int
    term: int
    data: bytes


class HardState(NamedTuple):
    """What a Raft member must never forget: its term and the member it voted for in it (0: nobody)."""

    term: int
    voted_for: int


class Log(Protocol):
    """A durable Raft log and hard state. Not thread-safe: it belongs to the Raft loop.

    The log holds the indices `first_index` to `last_index` without a gap (empty: last == first - 1). Appended entries
    are readable at once and durable after the next `sync`; only `durable_index` may be told to another member.
    """

    @property
    def first_index(self) -> int:
        """Lowest index held; 1 in a new log."""

    @property
    def last_index(self) -> int:
        """Highest index held, durable or not; first_index - 1 when empty."""

    @property
    def last_term(self) -> int:
        """Term of `last_index`."""

    @property
    def durable_index(self) -> int:
        """Highest index that survives a power loss now."""

    @property
    def hard_state(self) -> HardState:
        """The durable term and vote; (0, 0) in a new log."""

    @property
    def full(self) -> bool:
        """Whether appends are refused for want of space; `sync` tries again and clears it."""

    def append(self, index: int, term: int, data: bytes) -> None:
        """Add an entry at last_index + 1. Touches memory only.

        Raises:
            ValueError: The index leaves a gap or the term goes down.
            WalFull: The log is full; nothing was added.
            WalFailed: The device failed earlier.
        """

    def sync(self) -> int:
        """Make everything appended or truncated so far durable, with one fdatasync; returns `durable_index`.

        Costs nothing when there is nothing to do. A full log tries again here: call it now and then (once a second).

        Raises:
            WalFull: Not all fits; what does not fit stays in memory and is written by a later `sync`.
            WalFailed: The device failed; the log refuses everything from now on.
        """

    def entries(self, first: int, count: int, max_bytes: int = ...) -> list[LogEntry]:
        """Read up to `count` entries from `first`, at least one if there is one, stopping after `max_bytes` of data.

        Nothing is found at last_index + 1.

        Raises:
            WalRange: `first` was trimmed away or is further ahead.
            WalCorrupt: An old entry read back from disk is damaged.
        """

    def term_of(self, index: int) -> int:
        """Term of an entry; also answers for first_index - 1, the last entry trimmed (0 before index 1).

        Raises:
            WalRange: The log does not know.
        """

    def truncate_from(self, index: int) -> None:
        """Remove `index` and everything after it: a conflict with the leader. Durable with the next `sync`.

        A crash before that brings the removed entries back, which Raft allows as nothing was acknowledged.

        Raises:
            WalRange: The index is below first_index or above last_index + 1.
        """

    def trim_to(self, index: int) -> None:
        """Forget everything up to and including `index`, which a durable snapshot covers. Durable on return.

        Syncs first, records the new start, then deletes whole segments. Works on a full disk.

        Raises:
            WalRange: The index is above last_index. One below first_index is no change.
        """

    def reset(self, index: int, term: int) -> None:
        """Start anew after a snapshot of (index, term) was installed: empty log, first_index = index + 1. Durable."""

    def save_hard_state(self, term: int, voted_for: int) -> None:
        """Make term and vote durable; they may leave this node only after this returned. Works on a full disk.

        Raises:
            ValueError: The term goes down, or the vote of a term changes from one member to another.
            WalFull: Not even the reserve has room; the old state stands.
            WalFailed: The device failed.
        """

    def close(self) -> None:
        """Sync what can be synced, release files and lock. Never raises; safe to call twice."""
