"""What a copy takes along besides attributes and contents: the extended attributes."""

from __future__ import annotations

from collections.abc import Sequence

from quartet_server.files import keys
from quartet_server.meta import ops
from quartet_server.meta.snapshot import KeyValue, Snapshot
from raftmeta.etcd import rpc_pb2


async def have(zone: str, snapshot: Snapshot, inos: Sequence[int]) -> dict[int, KeyValue]:
    """Return the guards of those inodes that have, or had, extended attributes."""
    by_key = {keys.xattr_guard(zone, ino): ino for ino in inos}
    return {by_key[key]: kv for key, kv in (await snapshot.get(list(by_key))).items()}


async def of(zone: str, snapshot: Snapshot, ino: int) -> dict[bytes, bytes]:
    """Return the extended attributes of an inode."""
    prefix = keys.xattr(zone, ino)
    return {keys.parse(kv.key).rest: kv.value for kv in (await snapshot.scan(prefix, ops.prefix_end(prefix))).kvs}


def writes(zone: str, ino: int, xattrs: dict[bytes, bytes]) -> list[rpc_pb2.RequestOp]:
    """Return the writes that give an inode these, and the guard of their number."""
    if not xattrs:
        return []
    puts = [ops.put(keys.xattr(zone, ino, name), value) for name, value in xattrs.items()]
    return [*puts, ops.put(keys.xattr_guard(zone, ino), b"")]


def unchanged(zone: str, snapshot: Snapshot, ino: int, guard: KeyValue | None) -> list[rpc_pb2.Compare]:
    """Demand that an inode has the extended attributes that the snapshot shows.

    Names come and go with a write of the guard; other values are younger than the snapshot.
    """
    compares = [ops.unchanged(keys.xattr_guard(zone, ino), guard.mod_revision if guard is not None else 0)]
    if guard is not None:
        compares.append(ops.none_since(keys.xattr(zone, ino), snapshot.revision))
    return compares
