"""Keys of snapshots in the Metastore, beside those of the tree.

    zone NUL kind rest

    Ss  id                        -> SnapshotRecord  what is known of a snapshot
    Sp  hash of its path, id      -> empty           snapshots by path
    Sh  root's hash, id           -> empty           snapshots by root digest
    SH  ino                       -> Head            what a directory held at a revision: where the next snapshot begins
    Sn  root's ino, name          -> RefRecord       names, for each root of principals its own
    Sm  random                    -> empty           marks the revision that a reader of history reads up to; on a lease
    B   ino                       -> Staging         a tree that is being built where no path leads

An id is the revision of the tree, counted down so that the newest comes first, and eight random bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from quartet_server.files.keys import tree

ID = 16
"""Bytes of an id."""
_LAST = (1 << 63) - 1


def _key(zone: str, kind: bytes, rest: bytes) -> bytes:
    return zone.encode() + b"\0" + kind + rest


def new_id(revision: int, random: bytes) -> bytes:
    """Return the id of a snapshot of the tree at a revision; `random` are eight bytes."""
    return (_LAST - revision).to_bytes(8, "big") + random


def snapshot(zone: str, id_: bytes = b"") -> bytes:
    """Return the key of a snapshot; an empty id gives the range's prefix."""
    return _key(zone, b"Ss", id_)


def by_path(zone: str, names: Iterable[bytes], id_: bytes = b"") -> bytes:
    """Return the key of a snapshot among those of a path (NFC names from the zone's root); an empty id gives the prefix."""
    return _key(zone, b"Sp", hashlib.sha256(b"/".join(names)).digest()[:16] + id_)


def by_root(zone: str, hash_: bytes, id_: bytes = b"") -> bytes:
    """Return the key of a snapshot among those of a root digest; an empty id gives the range's prefix."""
    return _key(zone, b"Sh", hash_ + id_)


def head(zone: str, ino: int) -> bytes:
    """Return the key of what a directory held."""
    return _key(zone, b"SH", ino.to_bytes(8, "big"))


def ref(zone: str, root: int, name: str = "") -> bytes:
    """Return the key of a ref of callers whose root is `root`; an empty name gives the range's prefix."""
    return _key(zone, b"Sn", root.to_bytes(8, "big") + name.encode())


def mark(zone: str, random: bytes) -> bytes:
    """Return the key of a mark."""
    return _key(zone, b"Sm", random)


def staging(zone: str, ino: int) -> bytes:
    """Return the key of a tree that is being built."""
    return _key(zone, b"B", ino.to_bytes(8, "big"))


def stagings(zone: str) -> bytes:
    """Return the prefix of the keys of all trees that are being built."""
    return _key(zone, b"B", b"")


def watched(zone: str) -> tuple[bytes, bytes]:
    """Return the range [start, end) that holds the marks and the tree."""
    return _key(zone, b"Sm", b""), tree(zone)[1]
