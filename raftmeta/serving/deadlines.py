"""Deadlines of calls: many, nearly all of which never pass."""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from typing import Protocol

_PER_SECOND = 64  # how finely deadlines are told apart


class Expiring(Protocol):
    """What has a deadline."""

    def expire(self) -> None:
        """End: the deadline has passed. Called once at most, on the loop."""


class DeadlineWheel:
    """Expires what was added, never early and at most a few hundredths of a second late, with one timer for all.

    Deadlines that lie close together share a slot, so adding and removing one costs a set operation.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Follow the clock of `loop`."""
        self._loop = loop
        self._slots: dict[int, set[Expiring]] = {}
        self._order: list[int] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, at: float, who: Expiring) -> set[Expiring]:
        """Expire `who` at `at` on the loop's clock, unless it is discarded from the set that is returned before."""
        number = int(at * _PER_SECOND) + 1
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = set()
            heappush(self._order, number)
            if self._order[0] == number:
                self._arm(number)
        slot.add(who)
        return slot

    def close(self) -> None:
        """Expire nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._slots.clear()
        self._order.clear()

    def _arm(self, number: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(number / _PER_SECOND, self._turn)

    def _turn(self) -> None:
        self._timer = None
        now = self._loop.time() * _PER_SECOND
        order, slots = self._order, self._slots
        while order and (order[0] <= now or not slots[order[0]]):
            for who in tuple(slots.pop(heappop(order))):
                who.expire()
        if order and self._timer is None:
            self._arm(order[0])
