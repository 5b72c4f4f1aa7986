"""The block of numbers by which a test and the layer in a running process speak with each other."""

from __future__ import annotations

import mmap
from pathlib import Path

_NUMBERS = (
    "sync_delay_ns",
    "sync_errno",
    "room",
    "clock_offset_ns",
    "kill_at",
    "syncs",
    "syncs_delayed",
    "syncs_failed",
    "writes_refused",
    "clock_reads_shifted",
)
COUNTERS = _NUMBERS[5:]
_ONLY = 8 * len(_NUMBERS)
_ONLY_BYTES = 128


class Control:
    """`struct control` of disk.h, mapped. A change is seen by the process with its next call."""

    def __init__(self, path: Path) -> None:
        """Map the block in `path`; a new one has no faults."""
        new = not path.exists()
        with path.open("w+b" if new else "r+b") as file:
            if new:
                file.truncate(_ONLY + _ONLY_BYTES)
            self._map = mmap.mmap(file.fileno(), _ONLY + _ONLY_BYTES)
        self._numbers = memoryview(self._map)[:_ONLY].cast("q")  # stores and loads whole numbers
        if new:
            self["room"] = -1

    def __getitem__(self, name: str) -> int:
        """Return a number."""
        return self._numbers[_NUMBERS.index(name)]

    def __setitem__(self, name: str, value: int) -> None:
        """Set a number."""
        self._numbers[_NUMBERS.index(name)] = value

    def only(self, part: str) -> None:
        """Let the faults of syncs concern paths with `part` alone; set it while they are off."""
        self._map[_ONLY:] = part.encode().ljust(_ONLY_BYTES, b"\0")

    def close(self) -> None:
        """Give the mapping up."""
        self._numbers.release()
        self._map.close()
