"""Trees on this machine: walked, compared by digest, and written so that nobody sees half a file."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from quartet import Attributes, Entry

from quartet_server.cli.transfer.beside import Beside

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """Something in a local tree.

    Attributes:
        path: Where.
        below: Path from the top of the tree, `/` between names; empty for the top itself.
        status: What lstat says.
    """

    path: Path
    below: str
    status: os.stat_result

    @property
    def attributes(self) -> Attributes:
        """What the cluster is told about it."""
        attributes = Attributes(mode=stat.S_IMODE(self.status.st_mode) & 0o777)
        attributes.mtime.FromNanoseconds(self.status.st_mtime_ns)
        return attributes


def walk(top: Path) -> Iterator[Found | OSError]:
    """Yield the top and everything below, each directory before what it holds, links not followed; errors as they come.

    The top may be a link to a directory or file: it is followed, as cp does with what is named on the command line.
    """
    waiting = [Found(top, "", top.stat())]
    while waiting:
        found = waiting.pop()
        yield found
        if not stat.S_ISDIR(found.status.st_mode):
            continue
        below = f"{found.below}/" if found.below else ""
        children = []
        try:
            with os.scandir(found.path) as entries:
                children = [
                    Found(Path(entry.path), below + entry.name, entry.stat(follow_symlinks=False))
                    for entry in sorted(entries, key=lambda one: one.name)
                ]
        except OSError as error:
            yield error
        waiting.extend(reversed(children))


def same_bytes(path: Path, status: os.stat_result, entry: Entry) -> bool:
    """Tell whether a local file has the bytes of a remote one: by size, then by digest. Raises OSError."""
    if not entry.stored or status.st_size != entry.attributes.size:
        return False
    with path.open("rb") as file:
        return not status.st_size or hashlib.file_digest(file, "sha256").digest() == entry.attributes.digest


def replace(path: Path, entry: Entry, read: Callable[[int], Iterable[bytes]]) -> int:
    """Write a file beside its place, give it mode and time, and put it there; return how many bytes were read.

    `read` yields the bytes from an offset on. What a copy that was killed left of the file is not read again, unless
    the whole turns out to be something else. Raises OSError; ValueError when the bytes are not those of the entry's
    digest. Then nothing has changed.
    """
    with Beside(path) as beside:
        file = beside.file
        state, size = _left(file, entry)
        resumed, moved = size > 0, 0
        while True:
            for piece in read(size):
                state.update(piece)
                moved += file.write(piece)
            if not entry.attributes.digest or state.digest() == entry.attributes.digest:
                break
            if not resumed:
                raise ValueError("other bytes came than those of its digest")
            file.seek(0)
            file.truncate()
            state, size, resumed = hashlib.sha256(), 0, False
        file.flush()
        if mode := entry.attributes.mode & 0o777:
            os.fchmod(file.fileno(), mode)
        if entry.attributes.HasField("mtime"):
            time = entry.attributes.mtime.ToNanoseconds()
            os.utime(file.fileno(), ns=(time, time))
        beside.place()
    return moved


def _left(file: BinaryIO, entry: Entry) -> tuple[Hash, int]:
    """Return the hash and the number of the bytes in a file to go on after; none of a file that cannot be checked."""
    state, size = hashlib.sha256(), os.fstat(file.fileno()).st_size
    if size > entry.attributes.size or not entry.attributes.digest:
        file.truncate(0)
        return state, 0
    while piece := file.read(_PIECE):
        state.update(piece)
    return state, size
