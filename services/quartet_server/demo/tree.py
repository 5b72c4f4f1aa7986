"""A directory tree as it is on the disk, and as a node of the cluster shows it, in one form that can be compared."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from quartet import Attributes, Client, CreateEntry, Entry
from quartet.files.v1 import files_pb2 as pb

LEFT_OUT = ("site-packages", "__pycache__")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is compared of an entry; a directory has no size and no digest.

    Attributes:
        kind: An EntryType of quartet.files.v1.
        mode: POSIX permission bits.
        size: Length in bytes.
        digest: SHA-256 of the content, in hexadecimal.
        mtime: When the content changed, in microseconds since the epoch.
        target: Where a symbolic link points.
    """

    kind: int
    mode: int
    size: int = 0
    digest: str = ""
    mtime: int = 0
    target: str = ""


def _fact(path: Path) -> Facts | None:
    """Look at one path, links not followed; None for what is neither file, directory nor link."""
    found = path.lstat()
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISDIR(found.st_mode):
        return Facts(pb.ENTRY_TYPE_DIRECTORY, mode)
    if stat.S_ISLNK(found.st_mode):
        return Facts(pb.ENTRY_TYPE_SYMLINK, mode, target=str(path.readlink()))
    if stat.S_ISREG(found.st_mode):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return Facts(pb.ENTRY_TYPE_FILE, mode, found.st_size, digest, found.st_mtime_ns // 1000)
    return None


def on_disk(root: Path, below: str) -> dict[str, Facts]:
    """Return remote path -> facts of everything in `root`, which stands for the remote directory `below`; parents first.

    Raises OSError when something cannot be read.
    """
    found: dict[str, Facts] = {}
    for directory, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name not in LEFT_OUT)
        here = Path(directory)
        remote = below if here == root else f"{below}/{here.relative_to(root).as_posix()}"
        for name in sorted([*names, *files]):
            if (facts := _fact(here / name)) is not None:
                found[f"{remote}/{name}"] = facts
    return found


def on_node(client: Client, below: str) -> dict[str, Facts]:
    """Return the same of the tree below `below` as this one node shows it, without asking the others."""
    return {entry.path: _shown(entry) for entry in client.files.walk(below, detail=True, serializable=True)}


def _shown(entry: Entry) -> Facts:
    known = entry.attributes
    return Facts(
        entry.type,
        known.mode,
        known.size,
        known.digest.hex(),
        known.mtime.ToMicroseconds() if known.HasField("mtime") else 0,
        known.symlink_target,
    )


def request(path: str, facts: Facts) -> CreateEntry:
    """Return what creates the entry."""
    attributes = Attributes(
        mode=facts.mode, size=facts.size, digest=bytes.fromhex(facts.digest), symlink_target=facts.target
    )
    if facts.kind == pb.ENTRY_TYPE_FILE:
        attributes.mtime.FromMicroseconds(facts.mtime)
    return CreateEntry(path=path, type=pb.EntryType.ValueType(facts.kind), attributes=attributes)


def digest(tree: Mapping[str, Facts]) -> str:
    """Return a SHA-256 over every path and its facts, in order of paths."""
    return hashlib.sha256("".join(f"{path}\0{tree[path]}\n" for path in sorted(tree)).encode()).hexdigest()


def differences(wanted: Mapping[str, Facts], found: Mapping[str, Facts]) -> Iterable[str]:
    """Yield a sentence for each path that is missing, was not asked for, or differs."""
    for path in sorted(wanted.keys() | found.keys()):
        if path not in found:
            yield f"{path} is missing"
        elif path not in wanted:
            yield f"{path} should not exist"
        elif wanted[path] != found[path]:
            yield f"{path} is {found[path]}, not {wanted[path]}"
