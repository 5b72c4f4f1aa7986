"""Keys below /system/objects/: who keeps blobs, and what is owed to whom."""

from __future__ import annotations

from quartet_server.meta import system

DEBTS = system.OBJECTS + b"debts/"
PASSED = system.OBJECTS + b"passed/"
PLACEMENT = system.OBJECTS + b"placement"
STORES = system.OBJECTS + b"stores/"
_NODE = b"node-"
_BEHIND = b"-behind"


def store(member_id: int) -> bytes:
    """Return the key of a node's StoreRecord."""
    return _of(STORES, member_id)


def passed(member_id: int) -> bytes:
    """Return the key of what a node has looked through."""
    return _of(PASSED, member_id)


def debts(member_id: int) -> bytes:
    """Return the beginning of the keys of what a node lacks."""
    return _of(DEBTS, member_id) + b"/"


def debt(member_id: int, count: int, unique: str) -> bytes:
    """Return the key of a Debt with `count` digests; `unique` is nobody else's."""
    return debts(member_id) + f"{count:05d}-{unique}".encode()


def behind(member_id: int) -> bytes:
    """Return the key that says that a node lacks so much that it is not written down one by one."""
    return _of(DEBTS, member_id) + _BEHIND


def count_of(key: bytes) -> int:
    """Return how many digests the Debt under `key` has; 0 for `behind`."""
    return 0 if key.endswith(_BEHIND) else int(key.rpartition(b"/")[2].partition(b"-")[0])


def member_of(key: bytes) -> int:
    """Return the member that a key is about."""
    return int(key.partition(_NODE)[2][:16], 16)


def _of(prefix: bytes, member_id: int) -> bytes:
    return prefix + _NODE + f"{member_id:016x}".encode()
