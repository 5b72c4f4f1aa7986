"""Disks for tests: one that forgets what was not synced, and filters in front of it that fill up, fail or crawl."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from raftmeta.wal import File

PAGE = 512


@dataclass
class Inode:
    """A file's bytes as programs see them, and as the platter has them."""

    seen: bytearray = field(default_factory=bytearray)
    kept: bytes = b""


class MemoryFile:
    """An open file of a MemoryDisk."""

    def __init__(self, disk: MemoryDisk, path: Path, inode: Inode) -> None:
        self._disk = disk
        self._path = path
        self._inode = inode
        self._boots = disk.boots

    def _check(self, operation: str) -> None:
        assert self._boots == self._disk.boots, "a descriptor was used after the machine went down"
        self._disk.before(operation, self._path)

    def read(self, offset: int, size: int) -> bytes:
        self._check("read")
        return bytes(self._inode.seen[offset : offset + size])

    def write(self, offset: int, data: bytes) -> None:
        self._check("write")
        seen = self._inode.seen
        allowed = self._disk.take(max(0, offset + len(data) - len(seen)))
        fitting = data if allowed is None else data[: max(0, len(seen) + allowed - offset)]
        if offset > len(seen):
            seen.extend(bytes(offset - len(seen)))
        seen[offset : offset + len(fitting)] = fitting
        if len(fitting) < len(data):
            raise OSError(self._disk.full_errno, "disk full")

    def size(self) -> int:
        return len(self._inode.seen)

    def truncate(self, size: int) -> None:
        self._check("truncate")
        self._disk.give(len(self._inode.seen) - size)
        del self._inode.seen[size:]

    def sync(self) -> None:
        self._check("sync")
        self._inode.kept = bytes(self._inode.seen)

    def close(self) -> None:
        pass


class MemoryLock:
    def __init__(self, held: set[Path], path: Path) -> None:
        self._held = held
        self._path = path

    def close(self) -> None:
        self._held.discard(self._path)


class MemoryDisk:
    """A file system whose `crash` keeps what was synced and, of the rest, what `choose` says.

    Attributes:
        room: Bytes that still fit; None for no limit.
        full_errno: What a full disk says.
        fault: Called with (operation, path) before every operation that touches the device; may raise.
        operations: How many such operations there were.
    """

    def __init__(self) -> None:
        self.room: int | None = None
        self.full_errno = errno.ENOSPC
        self.fault: Callable[[str, Path], None] = lambda operation, path: None
        self.operations = 0
        self.boots = 0
        self._seen: dict[Path, Inode] = {}
        self._kept: dict[Path, Inode] = {}
        self._directories: set[Path] = set()
        self._locks: set[Path] = set()

    def before(self, operation: str, path: Path) -> None:
        self.operations += 1
        self.fault(operation, path)

    def take(self, growth: int) -> int | None:
        """Claim space for `growth` bytes; the bytes granted when they do not all fit, else None."""
        if self.room is None:
            return None
        granted = min(growth, self.room)
        self.room -= granted
        return granted if granted < growth else None

    def give(self, shrinkage: int) -> None:
        if self.room is not None:
            self.room += shrinkage

    def make_directory(self, path: Path) -> None:
        self._directories.add(path)

    def names(self, directory: Path) -> list[str]:
        return sorted(path.name for path in self._seen if path.parent == directory)

    def open(self, path: Path, *, create: bool = False) -> File:
        self.before("open", path)
        if create:
            if path in self._seen:
                raise FileExistsError(errno.EEXIST, "exists", str(path))
            self._seen[path] = Inode()
        if path not in self._seen:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return MemoryFile(self, path, self._seen[path])

    def rename(self, source: Path, target: Path) -> None:
        self.before("rename", target)
        if target in self._seen:
            self.give(len(self._seen[target].seen))
        self._seen[target] = self._seen.pop(source)

    def remove(self, path: Path) -> None:
        self.before("remove", path)
        if path not in self._seen:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        self.give(len(self._seen.pop(path).seen))

    def sync_directory(self, path: Path) -> None:
        self.before("sync_directory", path)
        self._kept = {kept: inode for kept, inode in self._kept.items() if kept.parent != path}
        self._kept |= {seen: inode for seen, inode in self._seen.items() if seen.parent == path}

    def lock(self, directory: Path) -> MemoryLock:
        if directory in self._locks:
            raise BlockingIOError(errno.EAGAIN, "locked")
        self._locks.add(directory)
        return MemoryLock(self._locks, directory)

    def kill(self) -> None:
        """End the process but not the machine: nothing written is lost."""
        self.boots += 1
        self._locks.clear()

    def crash(self, choose: Callable[[], bool] = lambda: False) -> None:
        """Cut the power.

        Directory entries that were not synced go back; of every page of 512 bytes (and every length) that was not
        synced, `choose` says whether it had reached the platter anyway.
        """
        self.kill()
        self._seen = dict(self._kept)
        for inode in self._seen.values():
            seen, kept = bytes(inode.seen), inode.kept
            if seen == kept:
                continue
            length = len(seen) if choose() else len(kept)
            after = bytearray(kept[:length].ljust(length, b"\0"))
            for start in range(0, length, PAGE):
                if choose():
                    page = seen[start : min(start + PAGE, length)]
                    after[start : start + len(page)] = page
            inode.seen, inode.kept = after, bytes(after)
        self._kept = dict(self._seen)

    def contents(self) -> dict[Path, bytes]:
        """Every file as programs see it."""
        return {path: bytes(inode.seen) for path, inode in self._seen.items()}

    @staticmethod
    def holding(contents: dict[Path, bytes]) -> MemoryDisk:
        """A disk on which `contents` are durable: for surgery on files."""
        disk = MemoryDisk()
        disk._seen = {path: Inode(bytearray(data), data) for path, data in contents.items()}
        disk._kept = dict(disk._seen)
        return disk


def failing(operation: str, number: int, at: int = 1, suffix: str = "") -> Callable[[str, Path], None]:
    """A fault for `MemoryDisk.fault`: the `at`-th `operation` on a path ending in `suffix` (under its final name) fails."""
    seen = 0

    def fault(what: str, path: Path) -> None:
        nonlocal seen
        if what == operation and path.name.removesuffix(".tmp").endswith(suffix):
            seen += 1
            if seen == at:
                raise OSError(number, os.strerror(number), str(path))

    return fault
