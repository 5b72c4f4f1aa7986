"""What a copy did, counted while it does it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from quartet import CallError, Unavailable

from quartet_server.cli.transfer.meter import Meter


@dataclass(slots=True)
class Tally:
    """Counts of one `quartet cp`; may be used by several threads.

    Attributes:
        meter: Shown to people meanwhile.
        files: Files copied.
        directories: Directories made.
        symlinks: Symbolic links made.
        skipped: What was there already.
        bytes: Bytes of contents that were moved.
        failed: What could not be copied, with the reason.
    """

    meter: Meter
    files: int = 0
    directories: int = 0
    symlinks: int = 0
    skipped: int = 0
    bytes: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def copied(self, size: int, moved: int | None = None) -> None:
        """Count a file of `size` bytes, of which `moved` went over the wire (None: all)."""
        with self._lock:
            self.files += 1
            self.bytes += size if moved is None else moved

    def made(self, directories: int = 0, symlinks: int = 0) -> None:
        """Count directories and symbolic links."""
        with self._lock:
            self.directories += directories
            self.symlinks += symlinks

    def there(self, size: int = 0) -> None:
        """Count something that was there already."""
        self.meter.advance(size)
        with self._lock:
            self.skipped += 1

    def fail(self, path: str, reason: str) -> None:
        """Note what could not be copied."""
        with self._lock:
            self.failed.append({"path": path, "reason": reason})

    def refused(self, path: str, error: CallError | OSError) -> None:
        """Note what could not be copied, and why; raises the error again when nothing else will fare better."""
        if isinstance(error, Unavailable):
            raise error
        if isinstance(error, CallError):
            self.fail(path, f"{error.message} [{error.reason or error.code.name}]")
        else:
            self.fail(path, error.strerror or str(error))

    def row(self) -> dict[str, Any]:
        """Return the counts as data."""
        return {
            "files": self.files,
            "directories": self.directories,
            "symlinks": self.symlinks,
            "skipped": self.skipped,
            "bytes": self.bytes,
            "failed": self.failed,
        }
