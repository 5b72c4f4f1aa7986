"""Processes that outlive the command that started them, and are never confused with others of the same pid."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Process:
    """A process, as it was when it was recorded.

    Attributes:
        pid: Its id.
        started: Clock ticks between the machine's boot and its start: field 22 of /proc/PID/stat, proc(5).
        boot: Id of the boot; pids and ticks mean nothing after another one.
    """

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Process:
        """Record a living process. Raises ProcessLookupError."""
        started = _started(pid)
        if started is None:
            raise ProcessLookupError(pid)
        return cls(pid, started, _boot())

    @property
    def alive(self) -> bool:
        """It still runs, and is no other that got its pid; a zombie does not run."""
        return self.boot == _boot() and _started(self.pid) == self.started

    def send(self, number: signal.Signals) -> bool:
        """Send a signal if it is alive; tells whether it was."""
        try:
            descriptor = os.pidfd_open(self.pid)  # from here on the pid cannot come to mean another process
        except ProcessLookupError:
            return False
        try:
            if not self.alive:
                return False
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True


def end(processes: list[Process], grace: float) -> list[Process]:
    """Ask processes to end, wait up to `grace` seconds for all of them, kill the rest; returns those it killed."""
    asked = [process for process in processes if process.send(signal.SIGTERM)]
    _wait(asked, grace)
    killed = [process for process in asked if process.send(signal.SIGKILL)]
    _wait(killed, 5.0)
    return killed


def _wait(processes: list[Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(process.alive for process in processes) and time.monotonic() < deadline:
        time.sleep(0.02)


def _started(pid: int) -> int | None:
    """Return the start time of a living process, None when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may contain anything
    return None if fields[0] in ("Z", "X") else int(fields[19])


def _boot() -> str:
    return _BOOT_ID.read_text().strip()
