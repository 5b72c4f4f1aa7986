"""Ids of records: UUIDv7 (RFC 9562 5.7), each behind those drawn before it."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable

_COUNTER_BITS = 42  # of the 74 that are not time, version and variant: the rest is drawn anew each time
_MILLISECONDS = 1 << 48


class Ids:
    """Draws ids; any thread may."""

    def __init__(self, clock: Callable[[], float], draw: Callable[[int], bytes]) -> None:
        """Take seconds since 1970 from `clock` and random bytes from `draw`."""
        self._clock = clock
        self._draw = draw
        self._lock = threading.Lock()
        self._last = 0
        self._counter = 0

    def __call__(self) -> str:
        """Return an id of 36 characters that sorts behind all this object has drawn, also when the clock goes back."""
        fresh = int.from_bytes(self._draw(10), "big")
        with self._lock:
            now = int(self._clock() * 1000) % _MILLISECONDS
            if now > self._last:
                self._last = now
                self._counter = fresh >> 39  # 41 bits: what is added to it meanwhile has room
            else:
                self._counter += 1
            counter, last = self._counter, self._last
        low = counter << (74 - _COUNTER_BITS) | fresh & (1 << (74 - _COUNTER_BITS)) - 1
        value = last << 80 | 7 << 76 | (low >> 62) << 64 | 2 << 62 | low & (1 << 62) - 1
        return str(uuid.UUID(int=value))
