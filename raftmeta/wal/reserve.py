"""A file that only takes up space, given back when the disk is full so that term and vote can still be written."""

from __future__ import annotations

from pathlib import Path

from raftmeta.wal.files import Files, create_durably

NAME = "reserve"
SIZE = 64 * 1024


class Reserve:
    """The reserve of one log. Losing it is never an error: the state file needs no new space on most file systems."""

    def __init__(self, files: Files, directory: Path) -> None:
        """Make sure the reserve is there, if there is space."""
        self._files = files
        self._path = directory / NAME
        self.restore()

    def restore(self) -> None:
        """Take the space again, if there is any."""
        try:
            if NAME not in self._files.names(self._path.parent):
                create_durably(self._files, self._path, bytes(SIZE)).close()
        except OSError:
            return  # tried again when the log next has space

    def release(self) -> bool:
        """Give the space back; False when there was none to give."""
        try:
            self._files.remove(self._path)
            self._files.sync_directory(self._path.parent)
        except OSError:
            return False
        return True
