"""Blobs that are too large for a pack: a file each, written beside its place and moved there when it is durable."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from threading import Lock

from quartet_server.objects.digest import Digest
from quartet_server.objects.disk.filesystem import create, make_directory, remove, write_all


class Draft:
    """A file that is being written. Closing it waits for what is under way, and ends it.

    Attributes:
        size: Bytes written.
    """

    def __init__(self, path: Path) -> None:
        """Make the file. Raises OSError."""
        self.size = 0
        self._path = path
        self._moved = False
        self._lock = Lock()
        self._descriptor = create(path)

    def write(self, data: bytes) -> None:
        """Add bytes. Raises OSError."""
        with self._lock:
            self.size = write_all(self._descriptor, [data], self.size)

    def finish(self) -> None:
        """Make the bytes durable. Raises OSError."""
        with self._lock:
            os.fdatasync(self._descriptor)

    def move(self, path: Path) -> None:
        """Give it its name, which is durable with the directory; does nothing the second time. Raises OSError."""
        if not self._moved:
            self._path.rename(path)
            self._moved = True

    def close(self) -> None:
        """Close it, and remove it if it was not moved; does nothing the second time."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
                with suppress(OSError):
                    remove(self._path)


class Files:
    """The files of large blobs below one folder: files/ZONE/ab/abcd... and drafts/."""

    def __init__(self, folder: Path) -> None:
        """Open or make the folders; drafts of a process that is gone are removed. Raises OSError."""
        self._folder = folder / "files"
        self._drafts = folder / "drafts"
        make_directory(self._folder)
        make_directory(self._drafts)
        for path in self._drafts.iterdir():
            remove(path)
        self._numbers = count()
        self._made = set[Path]()

    def draft(self) -> Draft:
        """Begin a file. Raises OSError."""
        return Draft(self._drafts / f"{next(self._numbers):x}")

    def path(self, zone: str, digest: Digest) -> Path:
        """Return where a blob's file is or would be."""
        return self._folder / zone / digest.hex[:2] / digest.hex

    def prepare(self, zone: str, digest: Digest) -> None:
        """Make the directory of a blob, durably. Raises OSError."""
        folder = self.path(zone, digest).parent
        if folder not in self._made:
            make_directory(folder)
            self._made.add(folder)

    def is_there(self, zone: str, digest: Digest) -> bool:
        """Tell whether a blob has a file."""
        return self.path(zone, digest).is_file()

    def remove(self, zone: str, digest: Digest) -> None:
        """Remove a blob's file, if it is there. Raises OSError."""
        remove(self.path(zone, digest))

    def listed(self) -> Iterator[tuple[str, str]]:
        """Yield the zone and the hash of every file, whether a blob needs it or not. Raises OSError."""
        for path in self._folder.glob("*/*/*"):
            yield path.parent.parent.name, path.name
