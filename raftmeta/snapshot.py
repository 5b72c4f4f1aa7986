"""Backups: a tar archive of the machine's snapshot and a description, followed by its SHA-256 digest.

The archive holds `raftmeta.json` (format version, cluster id, token, Raft index and term, members) and the files of the
machine's snapshot below `state/`. Archive and digest together have a length of 32 modulo 512, which is what etcdctl
checks of what it saves.
"""

from __future__ import annotations

import asyncio
import hashlib
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


async def stream(node: Node) -> AsyncIterator[tuple[int, bytes]]:
    """Yield (bytes still to come, piece): the archive in pieces of at most 256 KiB, then the digest."""
    loop = asyncio.get_running_loop()
    scratch = Path(tempfile.mkdtemp(prefix="backup-", dir=node.config.data_dir))
    try:
        index, term = await loop.run_in_executor(None, node.machine.snapshot, scratch)
        identity = node.identity
        description = Description(identity.cluster_id, identity.token, index, term, tuple(node.membership.list()))
        entries = _entries(scratch, description)
        remaining = sum(_BLOCK + _padded(size) for _, size, _ in entries) + 2 * _BLOCK
        digest = hashlib.sha256()
        pieces = _archive(entries)
        while piece := await loop.run_in_executor(None, next, pieces, b""):
            digest.update(piece)
            remaining -= len(piece)
            yield remaining, piece
        yield 0, digest.digest()
    finally:
        await loop.run_in_executor(None, shutil.rmtree, scratch)


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


def _entries(scratch: Path, description: Description) -> list[tuple[str, int, Path | bytes]]:
    document = json.dumps({"version": _VERSION, **asdict(description)}).encode()
    found: list[tuple[str, int, Path | bytes]] = [(_DESCRIPTION, len(document), document)]
    files = sorted(path for path in scratch.rglob("*") if path.is_file())
    found.extend((f"{_STATE}/{path.relative_to(scratch)}", path.stat().st_size, path) for path in files)
    return found


def _archive(entries: list[tuple[str, int, Path | bytes]]) -> Iterator[bytes]:
    for name, size, source in entries:
        info = tarfile.TarInfo(name)
        info.size = size
        info.mode = 0o600
        yield info.tobuf(tarfile.GNU_FORMAT)
        if isinstance(source, bytes):
            yield source
        else:
            with source.open("rb") as file:
                while piece := file.read(_CHUNK):
                    yield piece
        if size % _BLOCK:
            yield bytes(_BLOCK - size % _BLOCK)
    yield bytes(2 * _BLOCK)
