"""When a peer has asked for too much that leads to nothing."""

from __future__ import annotations

from collections.abc import Callable

from raftmeta.serving.faults import ConnectionFault, ErrorCode
from raftmeta.serving.limits import Limits

_SPAN = 10.0  # seconds over which is counted


class Patience:
    """Counts one connection's frames that bring no call forward, and the calls it took back.

    What is sent in answer to a call makes good for them, so that a busy peer may ping as often as it likes.
    """

    __slots__ = ("_clock", "_idle", "_idle_since", "_limits", "_resets", "_resets_since")

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        """Begin without anything against the peer; `clock` gives seconds."""
        self._limits = limits
        self._clock = clock
        self._idle = self._resets = 0
        self._idle_since = self._resets_since = clock()

    def answered(self) -> None:
        """Note that something of a call was sent."""
        self._idle = 0
        if self._resets:
            self._resets -= 1

    def sent(self) -> None:
        """Note that a part of an answer was sent: what the peer does about windows and timing has its reason."""
        self._idle = 0

    def idle(self) -> None:
        """Count a frame that brings no call forward. Raises ConnectionFault."""
        self._idle += 1
        if self._idle > self._limits.idle_frames:
            now = self._clock()
            if now - self._idle_since < _SPAN:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too_many_pings or other frames without use")
            self._idle, self._idle_since = 0, now

    def reset(self) -> None:
        """Count a call that the peer took back, or broke. Raises ConnectionFault."""
        self._resets += 1
        if self._resets > self._limits.resets:
            now = self._clock()
            if now - self._resets_since < _SPAN:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many calls taken back")
            self._resets, self._resets_since = 0, now
