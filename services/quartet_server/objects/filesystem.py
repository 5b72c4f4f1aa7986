"""What the store asks of the operating system, with durability said at each call. All of it blocks: call it in a thread."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from quartet_server.errors import ObjectStoreUnreachable, QuartetError, StoreFull

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def refusal(error: OSError) -> QuartetError:
    """Return what the caller of a write is told when the disk said `error`."""
    if error.errno in _FULL:
        return StoreFull("the disk of the blob store is full", hint="delete blobs, or give the disk more room")
    return ObjectStoreUnreachable(f"the disk of the blob store failed: {error.strerror}", hint="look at the disk")


def write_all(descriptor: int, parts: list[bytes], offset: int) -> int:
    """Write `parts` one after another at `offset`; return where they end. Raises OSError after any part was written."""
    rest = memoryview(parts[0] if len(parts) == 1 else b"".join(parts))
    while rest:
        written = os.pwrite(descriptor, rest, offset)  # a nearly full disk takes a part, and fails on the rest
        if written == 0:
            raise OSError(errno.EIO, "write made no progress")
        rest = rest[written:]
        offset += written
    return offset


def read_at(descriptor: int, offset: int, size: int) -> bytes:
    """Return up to `size` bytes at `offset`; fewer only at the end of the file. Raises OSError."""
    data = os.pread(descriptor, size, offset)
    if len(data) == size or not data:
        return data
    parts = [data]
    missing = size - len(data)
    while missing and (data := os.pread(descriptor, missing, offset + size - missing)):
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)


def sync_directory(path: Path) -> None:
    """Make names in a directory durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Make a directory and those above it, durably. Raises OSError."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    sync_directory(path)  # whoever made it may have been killed before it was durable
    for new in reversed(missing):
        new.mkdir(mode=0o700, exist_ok=True)
        sync_directory(new.parent)


def create(path: Path) -> int:
    """Return a descriptor of a new file for reading and writing. Raises OSError, FileExistsError too."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def replace_file(path: Path, data: bytes) -> None:
    """Make `data` all that is in the file `path`, durably: at every moment it is the old or the new. Raises OSError."""
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        write_all(descriptor, [data], 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    sync_directory(path.parent)


def remove(path: Path) -> None:
    """Unlink, if it is there; durable with the directory. Raises OSError."""
    path.unlink(missing_ok=True)


class DirectoryLock:
    """A claim on a directory that ends with the process."""

    def __init__(self, path: Path) -> None:
        """Claim `path`. Raises BlockingIOError if another process has it, OSError."""
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise

    def close(self) -> None:
        """Give it up; called once."""
        os.close(self._descriptor)
