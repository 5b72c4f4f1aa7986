"""When a failed call may be repeated, and how long to wait before."""

from __future__ import annotations

import random
from collections.abc import Callable

from quartet._errors import CallError, ResourceExhausted, Unavailable

FIRST = 0.02
LONGEST = 0.5


class Backoff:
    """The waits of one call: doubling from 20 ms to half a second, with jitter, or what the server asks for."""

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        """Take `jitter`, which returns 0 to 1."""
        self._jitter = jitter
        self._next = FIRST

    def after(self, error: CallError) -> float:
        """Return the seconds to wait after `error`."""
        wait = self._next * (0.5 + self._jitter())
        self._next = min(self._next * 2, LONGEST)
        return max(wait, min(error.retry_after or 0.0, LONGEST))


def repeatable(error: CallError, *, safe: bool) -> bool:
    """Tell whether a call that reached a server and failed so may be repeated.

    `safe` says that the call changes nothing, or carries a request id, so that the server carries it out once. A call
    refused for too many requests was not begun and may always be repeated.
    """
    if isinstance(error, ResourceExhausted):
        return error.reason == "TOO_MANY_REQUESTS"
    return safe and isinstance(error, Unavailable)
