"""Trees on this machine: walked, compared by digest, and written so that nobody sees half a file."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from quartet import Attributes, Entry


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


def replace(path: Path, pieces: Iterable[bytes], entry: Entry) -> int:
    """Write a file beside its place, give it mode and time, and put it there; return how many bytes it has.

    Raises OSError; ValueError when the bytes are not those of the entry's digest. Then nothing has changed.
    """
    short = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]  # a name of 255 bytes leaves no room beside it
    beside = path.with_name(f".quartet-{os.getpid()}-{short}")
    state, size = hashlib.sha256(), 0
    try:
        with beside.open("wb") as file:
            for piece in pieces:
                state.update(piece)
                size += file.write(piece)
        _check(state.digest(), entry)
        if mode := entry.attributes.mode & 0o777:
            beside.chmod(mode)
        if entry.attributes.HasField("mtime"):
            time = entry.attributes.mtime.ToNanoseconds()
            os.utime(beside, ns=(time, time))
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    return size


def _check(found: bytes, entry: Entry) -> None:
    if entry.attributes.digest and found != entry.attributes.digest:
        raise ValueError("other bytes came than those of its digest")
