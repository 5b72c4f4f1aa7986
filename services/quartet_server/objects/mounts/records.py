"""Mounts in the Metastore: /system/mounts/ZONE NUL number(8) -> MountRecord, and which nodes reach them.

ZONE NUL M name            -> number(8)     that a zone has a mount of the name
/system/reach/NODE         -> ReachRecord   on the node's lease
"""

from __future__ import annotations

from dataclasses import dataclass

from quartet.mounts.storage.v1 import storage_pb2

from quartet_server.errors import Contention, MountNotFound
from quartet_server.meta import ops, system
from quartet_server.meta.snapshot import KeyValue, Snapshot
from raftmeta.etcd import rpc_pb2

MOST = 64
"""Mounts of a zone."""


@dataclass(frozen=True, slots=True)
class Mounted:
    """A mount as it was read.

    Attributes:
        zone: Whose it is.
        number: By which contents name it.
        record: What is known of it.
        revision: When it was last written.
    """

    zone: str
    number: int
    record: storage_pb2.MountRecord
    revision: int


def key(zone: str, number: int) -> bytes:
    """Return the key of a mount."""
    return _zone(zone) + number.to_bytes(8, "big")


def named(zone: str, name: str) -> bytes:
    """Return the key that a zone has as long as one of its mounts has the name."""
    return zone.encode() + b"\0M" + name.encode()


def reach(node: str) -> bytes:
    """Return the key by which a node says which stores it reaches."""
    return system.REACH + node.encode()


async def read(snapshot: Snapshot, zone: str, number: int) -> Mounted | None:
    """Return a mount, None if there is none. Raises MetastoreError."""
    place = key(zone, number)
    kv = (await snapshot.get([place])).get(place)
    return None if kv is None else _mounted(kv)


async def find(snapshot: Snapshot, zone: str, name: str) -> Mounted | None:
    """Return the mount of a name, None if there is none. Raises MetastoreError."""
    place = named(zone, name)
    kv = (await snapshot.get([place])).get(place)
    return None if kv is None else await read(snapshot, zone, int.from_bytes(kv.value, "big"))


async def guard(snapshot: Snapshot, zone: str, number: int) -> rpc_pb2.Compare:
    """Return what a write compares that comes to refer to a mounted store because something else did, and compares not that.

    The mount is there, and nobody has begun to empty it. Raises MountNotFound, Contention, MetastoreError.
    """
    mounted = await read(snapshot, zone, number)
    if mounted is None:
        raise MountNotFound(f"the store {number} of zone {zone} is not mounted any more", zone=zone)
    if mounted.record.draining:
        raise Contention(f"the store of {mounted.record.name} is being emptied")
    return ops.unchanged(key(zone, number), mounted.revision)


async def every(snapshot: Snapshot, zone: str = "") -> list[Mounted]:
    """Return the mounts of a zone, or of all of them. Raises MetastoreError."""
    prefix = _zone(zone) if zone else system.MOUNTS
    found = await snapshot.scan(prefix, ops.prefix_end(prefix))
    return [_mounted(kv) for kv in found.kvs]


def _zone(zone: str) -> bytes:
    return system.MOUNTS + zone.encode() + b"\0"


def _mounted(kv: KeyValue) -> Mounted:
    place = kv.key[len(system.MOUNTS) :]
    return Mounted(
        place[:-9].decode(),
        int.from_bytes(place[-8:], "big"),
        storage_pb2.MountRecord.FromString(kv.value),
        kv.mod_revision,
    )
