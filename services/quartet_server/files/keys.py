"""Keys of the tree in the Metastore: zone, kind, inode number, name, so that order in the store is order in the tree.

    zone NUL kind ino(8, big-endian) rest

    d  parent ino, NFC name       -> Dentry       a directory's entries are one range
    i  ino                        -> Inode        what a stat returns
    p  ino                        -> Parent       changed by renames only
    x  ino, attribute name        -> bytes        extended attributes
    T  time(8, us), ino           -> Trashed      what recursive deletes cut off, the oldest first
    L  ino, lock's name           -> LockRecord   a lock that is held, on its holder's lease
    Q  number                     -> QuotaRecord  what a directory may hold and holds; its entry has the number
    R  principal                  -> RootRecord   the directory that is the root for a principal
    A                             -> 8 bytes      next inode number that no node has leased
    K  request id [NUL part]      -> Recorded     answers of requests that carry an id, on a lease
    N  ino                        -> empty        guards the number of an inode's extended attributes
    M  (objects/mounts/records.py)                stores that are mounted
    V                             -> see versions/keys.py
    W  (workspaces/keys.py)                       directories that have a name
    (/system/reclaim/ zone ino)   -> Detached     subtrees that wait to be deleted
    (/system/staging/ zone ino)   -> Detached     trees in the making, to which no path leads yet

What Watch looks at is one range: lower-case kinds are the tree, upper-case ones are bookkeeping.
"""

from __future__ import annotations

from typing import NamedTuple

ROOT = 1
"""Inode number of a zone's root."""
ITEM = 16
"""Bytes that name something in the trash."""
RECLAIM = b"/system/reclaim/"
"""Prefix of the keys that name detached subtrees, in all zones."""
STAGING = b"/system/staging/"
"""Prefix of the keys that name trees in the making, in all zones."""


def _ino(ino: int) -> bytes:
    return ino.to_bytes(8, "big")


def dentry(zone: str, parent: int, name: bytes) -> bytes:
    """Return the key of the entry `name` (NFC bytes) of the directory `parent`; an empty name gives the range's prefix."""
    return zone.encode() + b"\0d" + _ino(parent) + name


def inode(zone: str, ino: int) -> bytes:
    """Return the key of an inode."""
    return zone.encode() + b"\0i" + _ino(ino)


def parent(zone: str, ino: int) -> bytes:
    """Return the key of an inode's parent pointer."""
    return zone.encode() + b"\0p" + _ino(ino)


def xattr(zone: str, ino: int, name: bytes = b"") -> bytes:
    """Return the key of an extended attribute; an empty name gives the range's prefix."""
    return zone.encode() + b"\0x" + _ino(ino) + name


def xattr_guard(zone: str, ino: int) -> bytes:
    """Return the key that is written whenever the set of an inode's extended attributes changes."""
    return zone.encode() + b"\0N" + _ino(ino)


def allocator(zone: str) -> bytes:
    """Return the key of the next inode number that no node has leased."""
    return zone.encode() + b"\0A"


def requests(zone: str) -> bytes:
    """Return the prefix of the records of request ids."""
    return zone.encode() + b"\0K"


def trash(zone: str, item: bytes = b"") -> bytes:
    """Return the key of what the trash holds under 16 bytes of `item`; an empty one gives the range's prefix."""
    return zone.encode() + b"\0T" + item


def trash_item(microseconds: int, ino: int) -> bytes:
    """Return the 16 bytes that name in the trash what was deleted at a time since 1970."""
    return max(microseconds, 0).to_bytes(8, "big") + _ino(ino)


def lock(zone: str, ino: int, name: bytes) -> bytes:
    """Return the key that exists while somebody holds the lock `name` of an inode."""
    return zone.encode() + b"\0L" + _ino(ino) + name


def quota(zone: str, number: int) -> bytes:
    """Return the key of a quota."""
    return zone.encode() + b"\0Q" + _ino(number)


def root_of(zone: str, principal: bytes = b"") -> bytes:
    """Return the key of a principal's root; an empty one gives the range's prefix."""
    return zone.encode() + b"\0R" + principal


def tree(zone: str) -> tuple[bytes, bytes]:
    """Return the range [start, end) that holds the tree and no bookkeeping."""
    return zone.encode() + b"\0d", zone.encode() + b"\0y"


def reclaim(zone: str, ino: int) -> bytes:
    """Return the key that says that the subtree at `ino` waits to be deleted."""
    return RECLAIM + zone.encode() + b"\0" + _ino(ino)


def staging(zone: str, ino: int) -> bytes:
    """Return the key that exists while the tree at `ino` is being made and cannot be seen."""
    return STAGING + zone.encode() + b"\0" + _ino(ino)


class TreeKey(NamedTuple):
    """A key of the tree, taken apart.

    Attributes:
        kind: `d`, `i`, `p` or `x`.
        ino: The inode number in the key; of a dentry, the parent's.
        rest: Name bytes of a dentry or an extended attribute; else empty.
    """

    kind: str
    ino: int
    rest: bytes


def parse(key: bytes) -> TreeKey:
    """Take a key of the tree apart."""
    at = key.index(b"\0") + 1
    return TreeKey(chr(key[at]), int.from_bytes(key[at + 1 : at + 9], "big"), key[at + 9 :])


def parse_reclaim(key: bytes) -> tuple[str, int]:
    """Return the zone and inode number in a reclaim key."""
    return key[len(RECLAIM) : -9].decode(), int.from_bytes(key[-8:], "big")


def parse_staging(key: bytes) -> tuple[str, int]:
    """Return the zone and inode number in a key of a tree in the making."""
    return key[len(STAGING) : -9].decode(), int.from_bytes(key[-8:], "big")
