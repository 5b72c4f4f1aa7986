"""What a member holds: memory, file descriptors, threads, bytes on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil
from systems import System

BLOCK = 512


@dataclass(frozen=True, slots=True)
class Memory:
    """A member's memory in bytes, children included.

    Attributes:
        resident: All of it.
        anonymous: What is its own: heap and stacks. The rest is files it has mapped, which the kernel may take back.
    """

    resident: int
    anonymous: int


def memory(system: System, index: int) -> Memory:
    """Return a member's memory; zeros when it is dead. Anonymous is resident where the kernel does not tell."""
    resident = anonymous = 0
    for process in system.processes(index):
        try:
            figures = _rollup(process.pid)
            resident += figures.get("Rss", 0) or process.memory_info().rss
            anonymous += figures.get("Anonymous", 0) or process.memory_info().rss
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    return Memory(resident, anonymous)


def _rollup(pid: int) -> dict[str, int]:
    """Return the sums of a process's mappings in bytes; nothing where the kernel has no such file."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, PermissionError):
        return {}
    lines = (line.split() for line in text.splitlines()[1:])
    return {words[0].rstrip(":"): 1024 * int(words[1]) for words in lines}


def handles(system: System, index: int) -> tuple[int, int]:
    """Return a member's open file descriptors and its threads; zeros when it is dead."""
    descriptors = threads = 0
    for process in system.processes(index):
        try:
            descriptors += process.num_fds()
            threads += process.num_threads()
        except psutil.NoSuchProcess:
            continue
    return descriptors, threads


def disk(folder: Path) -> int:
    """Return the bytes that a folder's files take on disk, holes left out; files that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        total += status.st_blocks * BLOCK if path.is_file() else 0
    return total
