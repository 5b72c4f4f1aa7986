"""Small records on disk, each replaced whole: the old one or the new one survives a crash, never a mixture."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import google_crc32c

from .codec import FormatError


class DiskCabinet:
    """Records `<name>.rec` and directories `<name>` below one directory; the first four bytes are a CRC32C."""

    def __init__(self, root: Path) -> None:
        """Create the directory if need be, durably."""
        self._root = root
        root.mkdir(parents=True, exist_ok=True)
        for parent in (root.parent, root.parent.parent):  # even if they were there: who made them may have been killed
            _sync(parent)

    def save(self, name: str, data: bytes) -> None:
        """Replace a record; durable on return (write, fsync, rename, fsync of the directory)."""
        path = self._root / f"{name}.rec"
        draft = path.with_suffix(".new")
        with draft.open("wb") as file:
            file.write(google_crc32c.value(data).to_bytes(4, "big") + data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        _sync(self._root)

    def load(self, name: str) -> bytes | None:
        """Return a record, None when there is none; raise `FormatError` when it is damaged."""
        path = self._root / f"{name}.rec"
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        if len(data) < 4 or google_crc32c.value(data[4:]).to_bytes(4, "big") != data[:4]:
            raise FormatError(
                f"{path} does not match its checksum: remove this member, start it with an empty directory and add it"
                " again"
            )
        return data[4:]

    def directory(self, name: str) -> Path:
        """Return a fresh empty directory."""
        self.discard(name)
        path = self._root / name
        path.mkdir()
        return path

    def discard(self, name: str) -> None:
        """Remove a directory if it is there."""
        shutil.rmtree(self._root / name, ignore_errors=True)


def _sync(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
