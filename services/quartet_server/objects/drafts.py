"""Drafts: files that are being written and that nobody sees before they are whole."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import count
from pathlib import Path
from threading import Lock

from quartet_server.objects.filesystem import create, make_directory, remove, write_all
from quartet_server.objects.sums import Sums


class Draft:
    """A file that is being written. Closing it waits for what is under way, and ends it.

    Attributes:
        size: Bytes written.
        sums: Their checksums.
        path: Where it is until it is moved.
    """

    def __init__(self, path: Path) -> None:
        """Make the file. Raises OSError."""
        self.size = 0
        self.sums = Sums()
        self.path = path
        self._moved = False
        self._lock = Lock()
        self._sync = Lock()
        self._failure: OSError | None = None
        self._descriptor = create(path)

    def write(self, data: bytes) -> None:
        """Add bytes. Raises OSError."""
        with self._lock:
            self.size = write_all(self._descriptor, [data], self.size)
        self.sums.take(data)

    def begin_to_finish(self) -> None:
        """Make durable what was written so far, while more is written; `finish` tells how that went, and has less to do."""
        with self._sync:
            with self._lock:
                if self._descriptor < 0:
                    return
                descriptor = os.dup(self._descriptor)
            try:
                os.fdatasync(descriptor)
            except OSError as error:  # the system tells of it once: what it could not write is not tried again
                self._failure = error
            finally:
                os.close(descriptor)

    def finish(self) -> None:
        """Make the bytes durable. Raises OSError."""
        with self._sync, self._lock:
            if self._failure is not None:
                raise self._failure
            os.fdatasync(self._descriptor)

    def move(self, path: Path) -> None:
        """Give it its name, which is durable with the directory; does nothing the second time. Raises OSError."""
        if not self._moved:
            self.path.rename(path)
            self._moved = True

    def close(self) -> None:
        """Close it, and remove it if it was not moved; does nothing the second time."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
                with suppress(OSError):
                    remove(self.path)


class Drafts:
    """A folder of drafts, which ends with its process: what an earlier one left is removed."""

    def __init__(self, folder: Path) -> None:
        """Make or empty the folder. Raises OSError."""
        self._folder = folder
        make_directory(folder)
        for path in folder.iterdir():
            remove(path)
        self._numbers = count()

    def begin(self) -> Draft:
        """Begin a file. Raises OSError."""
        return Draft(self._folder / f"{next(self._numbers):x}")
