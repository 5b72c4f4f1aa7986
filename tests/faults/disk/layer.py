"""A disk that can lose its power, crawl, fail and fill up, and a clock that jumps, below a real process."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

from faults.disk.control import COUNTERS, Control
from faults.disk.image import compare, restore, take_on
from faults.disk.library import library


class DiskLayer:
    """The disk below one directory, for processes that are started with `environment()`.

    What is in the directory when the layer is made counts as being on the disk. While the layer is in use, nobody but such
    processes may change the directory; one at a time may. Faults can be set at any time, also while no process
    runs, and stay until `heal`.
    """

    def __init__(self, directory: Path, shadow: Path | None = None) -> None:
        """Watch `directory`, which is made if need be. `shadow` is a place on the same disk, by default beside it.

        Raises:
            DiskLayerUnavailable: The layer cannot be built here.
        """
        self._library = library()
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory.resolve()
        self._shadow = (shadow or self.directory.with_name(self.directory.name + ".disk")).resolve()
        self._shadow.mkdir(parents=True, exist_ok=True)
        take_on(self.directory, self._shadow)
        self._control = Control(self._shadow / "control")

    def environment(self) -> dict[str, str]:
        """Return what to add to the environment of a process whose disk this is."""
        others = os.environ.get("LD_PRELOAD")
        return {
            "LD_PRELOAD": f"{self._library}:{others}" if others else str(self._library),
            "FAULTS_DISK_WATCH": str(self.directory),
            "FAULTS_DISK_SHADOW": str(self._shadow),
        }

    def slow_sync(self, seconds: float, only: str = "") -> None:
        """Let every sync (fsync, fdatasync, a write through O_DSYNC) take that much longer; of paths with `only` in them."""
        self._control["sync_delay_ns"] = 0
        self._control.only(only)
        self._control["sync_delay_ns"] = int(seconds * 1e9)

    def fail_sync(self, errno: int, only: str = "") -> None:
        """Let every sync fail with `errno`; of paths with `only` in them.

        What was to be synced then is lost: a later sync succeeds without it, as Linux does it.
        """
        self._control["sync_errno"] = 0
        self._control.only(only)
        self._control["sync_errno"] = errno

    def full(self, room: int = 0) -> None:
        """Let files grow by `room` bytes more in all; what is deleted and cut gives room back."""
        self._control["room"] = room

    def kill_at_sync(self, number: int) -> None:
        """Let the process be killed (SIGKILL) when it asks for the `number`-th sync from now, before that does anything."""
        self._control["kill_at"] = self._control["syncs"] + number

    def clock_jump(self, seconds: float) -> None:
        """Move the wall clock by that much from where it is now; the monotonic clock stays."""
        self._control["clock_offset_ns"] += int(seconds * 1e9)

    def heal(self) -> None:
        """End every fault; the clock goes back too."""
        for fault in ("sync_delay_ns", "sync_errno", "clock_offset_ns", "kill_at"):
            self._control[fault] = 0
        self._control["room"] = -1
        self._control.only("")

    def counts(self) -> dict[str, int]:
        """Return how often each thing happened: syncs, syncs_delayed, syncs_failed, writes_refused, clock_reads_shifted."""
        return {name: self._control[name] for name in COUNTERS}

    def check(self) -> None:
        """Make sure that the layer saw everything; no process may be running.

        Raises:
            AssertionError: A process did something the layer does not follow, or wrote where the layer did not see it.
        """
        complaint = self._shadow / "complaint"
        assert not complaint.exists(), complaint.read_text()
        compare(self.directory, self._shadow)

    def lose_power(self, seed: int | None = None) -> None:
        """After SIGKILL: leave in the directory only what certainly was on the disk; with a seed, some of the rest too.

        Raises:
            AssertionError: See `check`.
        """
        self.check()
        restore(self.directory, self._shadow, None if seed is None else random.Random(seed))

    def close(self) -> None:
        """Forget the shadow; the directory stays as it is."""
        self._control.close()
        shutil.rmtree(self._shadow)
