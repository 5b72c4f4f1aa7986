"""Where a state is known to be whole on disk, and going back there after the process did not end in order.

LMDB reaches everything from its two meta pages at the start of the file. A checkpoint is a copy of them, kept in a file
of its own, made when every page they reach was durable; as long as it stands, none of those pages is written again.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import google_crc32c

_HEAD = struct.Struct("<8sIIQ")
_MAGIC = b"QUARTCHK"
_ALIGNMENT = 4096
_COPIES = 2
_IDENTITY = slice(16, 24)  # LMDB's magic and version, behind the header of a meta page


class CheckpointError(Exception):
    """The checkpoint, or the file it is about, is damaged; the message says how."""


class CheckpointFile:
    """Two slots, written in turn: whatever a crash does to one, the other holds the checkpoint before.

    A slot holds the same twice. Only a crash may send an opening back to the slot before, whose pages are written again
    once the newer one is on disk: a byte that flips later must not.
    """

    def __init__(self, descriptor: int, copy_bytes: int, generation: int, metas: bytes) -> None:
        """Use `create` or `open`."""
        self._descriptor = descriptor
        self._copy_bytes = copy_bytes
        self._generation = generation
        self.metas = metas

    @staticmethod
    def create(path: Path, metas: bytes) -> CheckpointFile:
        """Make the file; after a crash it is there whole or not at all. Raises OSError."""
        copy_bytes = -(-(_HEAD.size + len(metas)) // _ALIGNMENT) * _ALIGNMENT
        temporary = path.with_name(path.name + ".new")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write(descriptor, 2 * _COPIES * _copy(1, metas).ljust(copy_bytes, b"\0"), 0)
            os.fsync(descriptor)
            temporary.replace(path)
            _fsync_directory(path.parent)
        except OSError:
            os.close(descriptor)
            raise
        return CheckpointFile(descriptor, copy_bytes, 1, metas)

    @staticmethod
    def open(path: Path) -> CheckpointFile:
        """Open the file and find the newest checkpoint. Raises CheckpointError, OSError."""
        data = path.read_bytes()
        copy_bytes, rest = divmod(len(data), 2 * _COPIES)
        copies = [_read_copy(data[at : at + copy_bytes]) for at in range(0, len(data), max(copy_bytes, 1))]
        generation, metas = max(copies, default=(0, b""))
        if not generation or rest or copy_bytes % _ALIGNMENT:
            raise CheckpointError(f"{path.name} holds no intact checkpoint")
        return CheckpointFile(os.open(path, os.O_RDWR | os.O_CLOEXEC), copy_bytes, generation, metas)

    def save(self, metas: bytes) -> None:
        """Replace the older slot, durably. Raises OSError; the newer one stands then."""
        generation = self._generation + 1
        slot = _COPIES * _copy(generation, metas).ljust(self._copy_bytes, b"\0")
        _write(self._descriptor, slot, generation % 2 * len(slot))
        os.fdatasync(self._descriptor)
        self._generation, self.metas = generation, metas

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def go_back(data: Path, metas: bytes) -> bool:
    """Put the meta pages of a checkpoint back into LMDB's file, which nobody has open; whether they had changed.

    Raises CheckpointError when the file does not begin like an LMDB file, OSError.
    """
    descriptor = os.open(data, os.O_RDWR | os.O_CLOEXEC)
    try:
        found = os.pread(descriptor, len(metas), 0)
        page = len(metas) // 2
        for start in (0, page):
            if found[start : start + page][_IDENTITY] != metas[start : start + page][_IDENTITY]:
                raise CheckpointError(f"{data.name} does not begin with LMDB's meta pages")
        if found == metas:
            return False
        _write(descriptor, metas, 0)
        os.fsync(descriptor)
        return True
    finally:
        os.close(descriptor)


def _copy(generation: int, metas: bytes) -> bytes:
    body = struct.pack("<Q", generation) + metas
    return _HEAD.pack(_MAGIC, google_crc32c.value(body), len(metas), generation) + metas


def _read_copy(data: bytes) -> tuple[int, bytes]:
    """Return (generation, meta pages) of one copy; (0, nothing) when it is not intact."""
    if len(data) < _HEAD.size:
        return 0, b""
    magic, _, length, generation = _HEAD.unpack_from(data)
    metas = data[_HEAD.size : _HEAD.size + length]
    intact = magic == _MAGIC and len(metas) == length and _copy(generation, metas)[: _HEAD.size] == data[: _HEAD.size]
    return (generation, metas) if intact else (0, b"")


def _write(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _fsync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
