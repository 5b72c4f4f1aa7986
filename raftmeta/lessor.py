"""Lease expiry: the leader counts the time of every lease and proposes what follows from it."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import NamedTuple

from raftmeta.machine.applied import LeaseRecord
from raftmeta.v1 import command_pb2

MIN_TTL = 2
_REVOKES_PER_TICK = 1_000
_CHECKPOINTS_PER_TICK = 1_000
_REVOKE_RETRY = 3.0

Key = tuple[int, int]
"""(keyspace, lease id)."""


class Correction(NamedTuple):
    """What must be applied before a lease is renewed.

    Attributes:
        command: Records the full time.
        serial: The record it replaces; a later one needs a correction of its own.
    """

    command: command_pb2.Command
    serial: int


class Lessor:
    """Counts leases while this node leads; knows nothing while it follows.

    A new leader gives every lease its full time anew, or the remaining time recorded last, since it cannot know when
    the old leader renewed it: a lease never ends early. Not thread-safe; time comes in with every call, in seconds of
    one monotonic clock.
    """

    def __init__(self, propose: Callable[[command_pb2.Command], object], checkpoint_interval: float) -> None:
        """Compose a lessor.

        Args:
            propose: Puts a command into the log; whether that worked is seen by the lease's end.
            checkpoint_interval: Seconds between records of the remaining time of a lease that has longer to live.
        """
        self._propose = propose
        self._interval = checkpoint_interval
        self._expiry: dict[Key, float] = {}
        self._ttl: dict[Key, int] = {}
        self._heap: list[tuple[float, Key]] = []
        self._recorded: dict[Key, int] = {}
        self._serial = 0
        self._checkpoints: list[tuple[float, Key]] = []
        self.leading = False

    def __len__(self) -> int:
        return len(self._expiry)

    def lead(self, leases: Iterable[tuple[Key, LeaseRecord]], now: float) -> None:
        """Begin to count the leases that exist."""
        self.follow()
        self.leading = True
        for key, record in leases:
            self._count(key, record.ttl, record.remaining or record.ttl, now)
            if record.remaining:
                self._note(key)

    def follow(self) -> None:
        """Forget everything: another member counts."""
        self.leading = False
        self._expiry.clear()
        self._ttl.clear()
        self._heap.clear()
        self._recorded.clear()
        self._checkpoints.clear()

    def granted(self, key: Key, ttl: int, now: float) -> None:
        """Count a lease that was granted."""
        if self.leading and key not in self._expiry:
            self._count(key, ttl, ttl, now)

    def ended(self, key: Key) -> None:
        """Stop counting a lease that was revoked."""
        self._expiry.pop(key, None)
        self._ttl.pop(key, None)
        self._recorded.pop(key, None)

    def renew(self, key: Key, now: float) -> int:
        """Give a lease its full time again; returns it in seconds, 0 when the lease is unknown or has expired."""
        expiry = self._expiry.get(key)
        if expiry is None or expiry <= now:
            return 0
        ttl = self._ttl[key]
        self._expiry[key] = now + ttl
        return ttl

    def recorded(self, key: Key, left: int) -> None:
        """Note that the log recorded a remaining time, perhaps as an earlier leader had asked."""
        if key not in self._recorded and left < self._ttl.get(key, 0):
            self._note(key)

    def correction(self, key: Key) -> Correction | None:
        """Return what must be applied before a lease is renewed whose remaining time was recorded; None mostly.

        Without it a new leader would count from the old record, and the lease could end before its renewed time.
        """
        serial = self._recorded.get(key)
        if serial is None or key not in self._ttl:
            return None
        return Correction(_record(key[0], [(key[1], self._ttl[key])]), serial)

    def corrected(self, key: Key, serial: int) -> None:
        """Note that a `correction` was applied, which says nothing about records made since it was proposed."""
        if self._recorded.get(key) == serial:
            del self._recorded[key]

    def _note(self, key: Key) -> None:
        self._serial += 1
        self._recorded[key] = self._serial

    def remaining(self, key: Key, now: float) -> float | None:
        """Return the seconds a lease still has, negative when it is about to be revoked; None when it is unknown."""
        expiry = self._expiry.get(key)
        return None if expiry is None else expiry - now

    def tick(self, now: float) -> None:
        """Propose the revocation of what has expired and the records that are due; call it twice a second."""
        self._expire(now)
        self._checkpoint(now)

    def _count(self, key: Key, ttl: int, left: int, now: float) -> None:
        self._expiry[key] = now + left
        self._ttl[key] = ttl
        heapq.heappush(self._heap, (now + left, key))
        if left > self._interval:
            heapq.heappush(self._checkpoints, (now + self._interval, key))

    def _expire(self, now: float) -> None:
        """A renewed lease is still in the heap at its old time: it is put back when that time comes."""
        budget = _REVOKES_PER_TICK
        while budget and self._heap and self._heap[0][0] <= now:
            _, key = heapq.heappop(self._heap)
            expiry = self._expiry.get(key)
            if expiry is None:
                continue
            if expiry > now:
                heapq.heappush(self._heap, (expiry, key))
                continue
            budget -= 1
            heapq.heappush(self._heap, (now + _REVOKE_RETRY, key))
            command = command_pb2.Command(space=key[0])
            command.lease_revoke.ID = key[1]
            self._propose(command)

    def _checkpoint(self, now: float) -> None:
        due: dict[int, list[tuple[int, int]]] = {}
        budget = _CHECKPOINTS_PER_TICK
        while budget and self._checkpoints and self._checkpoints[0][0] <= now:
            _, key = heapq.heappop(self._checkpoints)
            expiry = self._expiry.get(key)
            if expiry is None:
                continue
            left = expiry - now
            if left > self._interval or self._ttl[key] > self._interval:
                heapq.heappush(self._checkpoints, (now + self._interval, key))
            if 1 <= left < self._ttl[key]:
                budget -= 1
                self._note(key)
                due.setdefault(key[0], []).append((key[1], max(int(left), 1)))
        for space, leases in due.items():
            self._propose(_record(space, leases))


def _record(space: int, leases: list[tuple[int, int]]) -> command_pb2.Command:
    command = command_pb2.Command(space=space)
    command.lease_checkpoint.leases.extend(
        command_pb2.LeaseCheckpoint.Remaining(id=lease, ttl=left) for lease, left in leases
    )
    return command
