"""How much a tree holds, in numbers that no tree is too large for."""

from __future__ import annotations

from dataclasses import dataclass

from quartet.snapshots.v1 import snapshots_pb2 as pb

_MOST = (1 << 63) - 1
_DIGITS = 40


@dataclass(slots=True)
class Totals:
    """How much is below a directory.

    Attributes:
        files: Files.
        directories: Directories, itself not counted.
        symlinks: Symbolic links.
        bytes: Sizes of all of them, as attributes say them.
    """

    files: int = 0
    directories: int = 0
    symlinks: int = 0
    bytes: int = 0

    @classmethod
    def parse(cls, text: str) -> Totals:
        """Return what `str` wrote. Raises ValueError."""
        if len(text) > 4 * _DIGITS:
            raise ValueError("too many digits")
        files, directories, symlinks, size = map(int, text.split())
        if min(files, directories, symlinks, size) < 0:
            raise ValueError("a negative number")
        return cls(files, directories, symlinks, size)

    def add(self, more: Totals, sign: int = 1) -> None:
        """Add, or take away."""
        self.files += sign * more.files
        self.directories += sign * more.directories
        self.symlinks += sign * more.symlinks
        self.bytes += sign * more.bytes

    @property
    def message(self) -> pb.Totals:
        """The totals as they are told: no number above 2^63-1."""
        told = pb.Totals()
        for name in ("files", "directories", "symlinks", "bytes"):
            setattr(told, name, min(max(getattr(self, name), 0), _MOST))
        return told

    def __str__(self) -> str:
        return f"{self.files} {self.directories} {self.symlinks} {self.bytes}"
