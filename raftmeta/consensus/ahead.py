"""The chunks of one transfer, each read off the loop while the one before it is on its way."""

from __future__ import annotations

import time
from collections.abc import Callable

from .ports import Background


class ReadAhead:
    """Reads a snapshot chunk by chunk, at a bounded pace. Lives on the Raft loop; one chunk in memory, one being read."""

    def __init__(
        self, background: Background, read: Callable[[int, int], bytes], chunk_bytes: int, rate: float
    ) -> None:
        """Read chunks of `chunk_bytes` by `read(offset, count)`, `rate` bytes a second."""
        self._background = background
        self._read = read
        self._chunk_bytes = chunk_bytes
        self._rate = rate
        self._got: tuple[int, bytes | Exception] | None = None
        self._reading = False
        self._wanted: tuple[int, Callable[[bytes | Exception], None]] | None = None

    def get(self, offset: int, done: Callable[[bytes | Exception], None]) -> None:
        """Call `done` with the chunk at `offset`, or with why it cannot be read; now if it is there.

        One that is asked for while another is waited for takes its place: that one is not called.
        """
        self._wanted = offset, done
        self._serve()

    def _serve(self) -> None:
        if self._wanted is None:
            return
        offset, done = self._wanted
        if self._got is not None and self._got[0] == offset:
            found = self._got[1]
            self._got = self._wanted = None
            if isinstance(found, bytes) and found:
                self._begin(offset + len(found))
            done(found)
        elif not self._reading:
            self._begin(offset)

    def _begin(self, offset: int) -> None:
        self._reading = True

        def work() -> bytes:
            data = self._read(offset, self._chunk_bytes)
            time.sleep(len(data) / self._rate)  # both members have others to serve
            return data

        def finish(outcome: bytes | Exception) -> None:
            self._reading = False
            self._got = offset, outcome
            self._serve()

        self._background(work, finish)
