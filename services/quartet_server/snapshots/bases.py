"""From which snapshot another one of the same directory can begin: what the directory held, and when."""

from __future__ import annotations

from dataclasses import dataclass

from quartet.snapshots.storage.v1 import storage_pb2 as storage

from quartet_server.meta.snapshot import KeyValue, Snapshot
from quartet_server.objects.digest import Digest
from quartet_server.snapshots import keys, records
from quartet_server.snapshots.records import Known


@dataclass(frozen=True, slots=True)
class Base:
    """A snapshot from which another one can begin.

    Attributes:
        known: The snapshot; while it exists, the collector keeps `root`.
        root: What the directory held.
        revision: When it held that.
    """

    known: Known
    root: Digest
    revision: int


async def base_of(zone: str, snapshot: Snapshot, ino: int) -> Base | None:
    """Return the newest snapshot of a directory that `snapshot` knows of, to begin from; None when there is none."""
    key = keys.head(zone, ino)
    kv = (await snapshot.get([key])).get(key)
    if kv is None or revision_of(kv) > snapshot.revision:
        return None
    head = storage.Head.FromString(kv.value)
    known = await records.many(zone, snapshot, [head.id])
    return Base(known[0], records.digest_of(head.root), revision_of(kv)) if known else None


async def newest(zone: str, snapshot: Snapshot, head: KeyValue | None) -> bytes:
    """Return the id of the snapshot that a directory's head names, as long as it exists; else empty."""
    id_ = b"" if head is None else storage.Head.FromString(head.value).id
    return id_ if id_ and await records.many(zone, snapshot, [id_]) else b""


def revision_of(head: KeyValue) -> int:
    """Return the revision at which a directory held what its head says."""
    return storage.Head.FromString(head.value).revision or head.mod_revision
