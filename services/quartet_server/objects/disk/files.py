"""Blobs that are too large for a pack: a file each, written beside its place and moved there when it is durable."""

from __future__ import annotations

from pathlib import Path

from quartet_server.objects.digest import Digest
from quartet_server.objects.drafts import Drafts
from quartet_server.objects.filesystem import make_directory, remove


class Files:
    """The files of large blobs below one folder: files/ZONE/ab/abcd... and drafts/.

    Attributes:
        drafts: Where files are written before they get their place.
    """

    def __init__(self, folder: Path) -> None:
        """Open or make the folders; drafts of a process that is gone are removed. Raises OSError."""
        self._folder = folder / "files"
        make_directory(self._folder)
        self.drafts = Drafts(folder / "drafts")
        self._made = set[Path]()

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

    def folders(self) -> list[Path]:
        """Return the folders that hold files. Raises OSError."""
        return [path for zone in self._folder.iterdir() for path in zone.iterdir()]
