"""Backups: a tar archive of the machine's snapshot and a description, followed by its SHA-256 digest.

The archive holds `raftmeta.json` (format version, cluster id, token, Raft index and term, members) and the files of the
machine's snapshot below `state/`. Archive and digest together have a length of 32 modulo 512, which is what etcdctl
checks of what it saves.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from raftmeta.consensus.contract import Member

if TYPE_CHECKING:
    from raftmeta.node import Node

_CHUNK = 256 * 1024
_RATE = 64 << 20
"""Bytes a second at which a backup leaves at most."""
_SCRATCH = "backup-"
_DESCRIPTION, _STATE = "raftmeta.json", "state"
_VERSION = 1
_BLOCK = 512
_DIGEST = 32
_NAME = re.compile(rf"{re.escape(_DESCRIPTION)}|{_STATE}/[A-Za-z0-9_][A-Za-z0-9_.-]*")


class SnapshotError(Exception):
    """A file is not a whole, undamaged backup."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a backup says about itself.

    Attributes:
        cluster_id: Cluster it was taken from.
        token: That cluster's token.
        index: Raft index of the state.
        term: Raft term of that index.
        members: The members at that time.
    """

    cluster_id: int
    token: str
    index: int
    term: int
    members: tuple[Member, ...]


async def stream(node: Node, turn: asyncio.Semaphore) -> AsyncIterator[tuple[int, bytes]]:
    """Yield (bytes still to come, piece): the archive in pieces of at most 256 KiB, then the digest.

    The snapshot is made in `turn`: each has a process that makes it.

    Raises:
        StoreFull, StoreError, OSError: The snapshot was not made, or cannot be read.
    """
    loop = asyncio.get_running_loop()
    scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=node.config.data_dir))
    with contextlib.ExitStack() as files:
        try:
            async with turn:
                taken = await loop.run_in_executor(None, node.machine.snapshot, scratch)
            identity = node.identity
            description = Description(identity.cluster_id, identity.token, *taken.at, tuple(node.membership.list()))
            entries = _entries(scratch, description, files)
        finally:
            await loop.run_in_executor(None, shutil.rmtree, scratch)  # the open files go on without their names
        pieces = _Pieces(entries)
        while piece := await loop.run_in_executor(None, pieces.next):
            yield pieces.remaining, piece
            await asyncio.sleep(len(piece) / _RATE)  # the member has others to serve
        yield 0, pieces.digest()


def forget_unfinished(data_dir: Path) -> None:
    """Remove what a process that was killed had begun to save. Raises nothing: the next start tries again."""
    for path in data_dir.glob(f"{_SCRATCH}*"):
        shutil.rmtree(path, ignore_errors=True)


class _Pieces:
    """An archive in pieces, with the digest over those that were taken.

    Attributes:
        remaining: Bytes of the archive that are still to come.
    """

    def __init__(self, entries: list[tuple[str, int, BinaryIO]]) -> None:
        """Begin at the start."""
        self.remaining = sum(_BLOCK + _padded(size) for _, size, _ in entries) + 2 * _BLOCK
        self._digest = hashlib.sha256()
        self._pieces = _archive(entries)

    def next(self) -> bytes:
        """Return the next piece; nothing after the last. Raises OSError."""
        piece = next(self._pieces, b"")
        self._digest.update(piece)
        self.remaining -= len(piece)
        return piece

    def digest(self) -> bytes:
        """Return the digest of the pieces so far."""
        return self._digest.digest()


def unpack(archive: Path, directory: Path, *, skip_digest: bool = False) -> tuple[Description, Path]:
    """Check a backup and unpack it below `directory`; returns its description and the machine's snapshot directory.

    Raises:
        SnapshotError: The file is cut, damaged, or no backup of ours.
    """
    if not skip_digest:
        _check_digest(archive)
    try:
        with archive.open("rb") as file:
            _extract(file, directory)
        return _read_description(json.loads((directory / _DESCRIPTION).read_text())), directory / _STATE
    except (tarfile.TarError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SnapshotError(f"{archive} is not a raftmeta snapshot: {error}") from error


def _extract(file: BinaryIO, directory: Path) -> None:
    """Write out the files of an archive such as `_archive` makes: nothing but plain files, each at a place we know."""
    while (header := file.read(_BLOCK)) != bytes(_BLOCK):
        info = tarfile.TarInfo.frombuf(header, "ascii", "strict")
        if info.type != tarfile.REGTYPE or info.size < 0 or _NAME.fullmatch(info.name) is None:
            raise ValueError(f"it holds {info.name!r}, which no snapshot does")
        path = directory / info.name
        path.parent.mkdir(exist_ok=True)
        with path.open("xb") as out:
            left = info.size
            while left:
                piece = file.read(min(left, _CHUNK))
                if not piece:
                    raise ValueError(f"{info.name} is cut")
                out.write(piece)
                left -= len(piece)
        file.seek(_padded(info.size) - info.size, os.SEEK_CUR)


def _read_description(document: object) -> Description:
    """Return what a JSON document describes. Raises ValueError, KeyError or TypeError when it is no description."""
    if not isinstance(document, dict):
        raise TypeError("its description is no object")
    if document.pop("version") != _VERSION:
        raise ValueError("it was written by another version of raftmeta")
    members = tuple(Member(**member) for member in document.pop("members"))
    found = Description(members=members, **document)
    for number in (found.cluster_id, found.index, found.term):
        if not isinstance(number, int) or not 0 <= number < 1 << 64:
            raise ValueError(f"it speaks of number {number!r}")
    return found


def _check_digest(archive: Path) -> None:
    digest = hashlib.sha256()
    with archive.open("rb") as file:
        left = archive.stat().st_size - _DIGEST
        if left <= 0 or left % _BLOCK:
            raise SnapshotError(f"{archive} is cut: save it again, or pass --skip-hash-check if it is a copied state")
        while left:
            piece = file.read(min(left, _CHUNK))
            digest.update(piece)
            left -= len(piece)
        if file.read() != digest.digest():
            raise SnapshotError(f"{archive} is damaged: its digest does not match")


def _padded(size: int) -> int:
    return (size + _BLOCK - 1) // _BLOCK * _BLOCK


def _entries(scratch: Path, description: Description, files: contextlib.ExitStack) -> list[tuple[str, int, BinaryIO]]:
    """Return (name, bytes, contents) of every file of an archive, open until `files` is closed. Raises OSError."""
    document = json.dumps({"version": _VERSION, **asdict(description)}).encode()
    found: list[tuple[str, int, BinaryIO]] = [(_DESCRIPTION, len(document), io.BytesIO(document))]
    for path in sorted(path for path in scratch.rglob("*") if path.is_file()):
        file = files.enter_context(path.open("rb"))
        found.append((f"{_STATE}/{path.relative_to(scratch)}", os.fstat(file.fileno()).st_size, file))
    return found


def _archive(entries: list[tuple[str, int, BinaryIO]]) -> Iterator[bytes]:
    for name, size, file in entries:
        info = tarfile.TarInfo(name)
        info.size = size
        info.mode = 0o600
        yield info.tobuf(tarfile.GNU_FORMAT)
        while piece := file.read(_CHUNK):
            yield piece
        if size % _BLOCK:
            yield bytes(_BLOCK - size % _BLOCK)
    yield bytes(2 * _BLOCK)
