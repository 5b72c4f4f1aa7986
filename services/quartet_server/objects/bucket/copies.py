"""What a bucket holds of one blob, told by the names of its objects alone.

    blobs/ZONE/HASH/b.SIZE.CODEC.TIME.ID    a copy of the bytes
    blobs/ZONE/HASH/c.ID.TIME               the copy ID was condemned
    blobs/ZONE/HASH/t.TIME                  the blob was asked for
    owners/ID                               a cluster uses the bucket

No object is ever written twice, and a copy is deleted by its own name: whoever condemned one copy cannot hit another that
was written since. So nothing needs a condition that the server might not honour. Times are microseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from quartet_server.objects.contract import BlobInfo
from quartet_server.objects.digest import Digest

ROOT = "blobs"
MARKS = "owners"


@dataclass(frozen=True, slots=True)
class Copy:
    """One object with a blob's bytes.

    Attributes:
        path: Its name in the bucket.
        size: Bytes of the blob.
        codec: How they are kept.
        time: When it was written, in microseconds.
        id: Its own, drawn at random.
        stored: Bytes of the object.
    """

    path: str
    size: int
    codec: int
    time: int
    id: str
    stored: int


@dataclass(slots=True)
class Copies:
    """All that is there under one hash in one zone.

    Attributes:
        copies: Those of the bytes, in no order.
        condemned: Id of a condemned copy -> when.
        marks: Names of the objects that are not copies.
        touched: The last time it was asked for; 0 if never.
    """

    copies: list[Copy] = field(default_factory=list)
    condemned: dict[str, int] = field(default_factory=dict)
    marks: list[str] = field(default_factory=list)
    touched: int = 0

    def add(self, path: str, stored: int) -> None:
        """Take note of an object; one with another name than ours is left alone."""
        kind, *rest = path.rpartition("/")[2].split(".")
        try:
            if kind == "b":
                size, codec, time, name = rest
                self.copies.append(Copy(path, int(size), int(codec), int(time), name, stored))
            elif kind == "c":
                name, time = rest
                self.condemned[name] = int(time)
                self.marks.append(path)
            elif kind == "t":
                [time] = rest
                self.touched = max(self.touched, int(time))
                self.marks.append(path)
        except ValueError:
            return

    def live(self, size: int) -> Copy | None:
        """Return the newest copy that is not condemned."""
        return _newest(copy for copy in self.copies if copy.size == size and copy.id not in self.condemned)

    def any(self, size: int) -> Copy | None:
        """Return a copy that can be read, a living one if there is one."""
        return self.live(size) or _newest(copy for copy in self.copies if copy.size == size)

    def of_size(self, size: int) -> list[Copy]:
        """Return the copies of a blob of `size` bytes."""
        return [copy for copy in self.copies if copy.size == size]

    def last_touch(self, copy: Copy) -> int:
        """Return when a blob, of which `copy` is there, was touched last."""
        return max(self.touched, copy.time)

    def info(self, digest: Digest) -> BlobInfo | None:
        """Return what the contract tells of the blob."""
        copy = self.any(digest.size)
        if copy is None:
            return None
        condemned = self.condemned.get(copy.id)
        stored = sum(each.stored for each in self.of_size(digest.size))
        return BlobInfo(digest, stored, self.last_touch(copy) / 1e6, None if condemned is None else condemned / 1e6)


def microseconds(seconds: float) -> int:
    """Return a time as names have it."""
    return round(seconds * 1e6)


def folder(zone: str, name: str) -> str:
    """Return where everything of a hash is."""
    return f"{ROOT}/{zone}/{name}"


def _newest(copies: Iterable[Copy]) -> Copy | None:
    return max(copies, key=lambda copy: (copy.time, copy.id), default=None)
