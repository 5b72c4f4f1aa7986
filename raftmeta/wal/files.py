"""The operating system below the log, as a seam: tests put a disk there that loses what was not synced."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Protocol


class File(Protocol):
    """An open file, read and written at offsets. Every method raises OSError as the system call does."""

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; fewer only at the end of the file."""

    def write(self, offset: int, data: bytes) -> None:
        """Write all of `data`; after an error any part of it may have been written."""

    def size(self) -> int:
        """Length in bytes."""

    def truncate(self, size: int) -> None:
        """Cut to `size` bytes."""

    def sync(self) -> None:
        """Make contents and length durable (fdatasync(2))."""

    def close(self) -> None:
        """Release the descriptor; says nothing about durability."""


class Lock(Protocol):
    """An exclusive claim on a directory."""

    def close(self) -> None:
        """Give it up."""


class Files(Protocol):
    """A file system. Every method raises OSError as the system call does."""

    def make_directory(self, path: Path) -> None:
        """Create a directory and its parents durably, mode 0700; one that exists is fine."""

    def names(self, directory: Path) -> list[str]:
        """Names in a directory, sorted."""

    def open(self, path: Path, *, create: bool = False) -> File:
        """Open for reading and writing; with `create`, make a new empty file, mode 0600 (EEXIST if there is one)."""

    def rename(self, source: Path, target: Path) -> None:
        """Replace `target` atomically. Durable after `sync_directory`."""

    def remove(self, path: Path) -> None:
        """Unlink. Durable after `sync_directory`."""

    def sync_directory(self, path: Path) -> None:
        """Make creations, renames and removals in a directory durable (fsync(2) on the directory)."""

    def lock(self, directory: Path) -> Lock:
        """Claim a directory for this process until it ends; BlockingIOError when it is taken."""


class DiskFile:
    """A file of the operating system."""

    def __init__(self, descriptor: int) -> None:
        """Own `descriptor`."""
        self._descriptor = descriptor

    def read(self, offset: int, size: int) -> bytes:
        """See `File.read`; pread(2) in a loop, as it may return less."""
        parts = []
        while size > 0 and (part := os.pread(self._descriptor, size, offset)):
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        """See `File.write`; pwrite(2) in a loop, as a nearly full disk takes a part and fails on the rest."""
        written = os.pwrite(self._descriptor, data, offset)
        if written < len(data):
            view = memoryview(data)
            while written < len(data):
                step = os.pwrite(self._descriptor, view[written:], offset + written)
                if step == 0:
                    raise OSError(errno.EIO, "write made no progress")
                written += step

    def size(self) -> int:
        """See `File.size`."""
        return os.fstat(self._descriptor).st_size

    def truncate(self, size: int) -> None:
        """See `File.truncate`."""
        os.ftruncate(self._descriptor, size)

    def sync(self) -> None:
        """See `File.sync`."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """See `File.close`; safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class DiskFiles:
    """The operating system's file system."""

    def make_directory(self, path: Path) -> None:
        """See `Files.make_directory`."""
        missing = []
        while not path.is_dir():
            missing.append(path)
            path = path.parent
        for new in reversed(missing):
            new.mkdir(mode=0o700, exist_ok=True)
            self.sync_directory(new.parent)
        self.sync_directory(path.parent)  # whoever made the last one may have been killed before it was durable

    def names(self, directory: Path) -> list[str]:
        """See `Files.names`."""
        return sorted(os.listdir(directory))

    def open(self, path: Path, *, create: bool = False) -> DiskFile:
        """See `Files.open`."""
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0)
        return DiskFile(os.open(path, flags, 0o600))

    def rename(self, source: Path, target: Path) -> None:
        """See `Files.rename`."""
        os.replace(source, target)

    def remove(self, path: Path) -> None:
        """See `Files.remove`."""
        os.unlink(path)

    def sync_directory(self, path: Path) -> None:
        """See `Files.sync_directory`."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lock(self, directory: Path) -> DiskFile:
        """See `Files.lock`; flock(2) on the directory itself, so that nothing is left behind."""
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        return DiskFile(descriptor)


def create_durably(files: Files, path: Path, contents: bytes) -> File:
    """Make a file that after any crash either is there whole or is not there; returns it open.

    Raises OSError; a half-made `.tmp` is removed when that is possible.
    """
    temporary = path.with_name(path.name + ".tmp")
    if temporary.name in files.names(path.parent):
        files.remove(temporary)
    file = files.open(temporary, create=True)
    try:
        file.write(0, contents)
        file.sync()
        files.rename(temporary, path)
        files.sync_directory(path.parent)
    except OSError:
        file.close()
        if temporary.name in files.names(path.parent):
            files.remove(temporary)
        raise
    return file
