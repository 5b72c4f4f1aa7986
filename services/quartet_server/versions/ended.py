"""What the change stream says of versions: which generations of files ended at a revision, and where."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from quartet.files.storage.v1 import storage_pb2 as files_storage
from quartet.versions.storage.v1 import storage_pb2
from quartet.versions.v1 import versions_pb2 as pb

from quartet_server.errors import VersionsBehind
from quartet_server.files import keys as files
from quartet_server.files import records
from quartet_server.meta import ops
from quartet_server.meta.events import Changes, changes
from quartet_server.meta.snapshot import Snapshot
from quartet_server.versions import keys
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import kv_pb2, rpc_pb2
from raftmeta.metastore import Metastore

TAIL = 5_000
"""Changes not recorded yet that one call looks at."""
_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Ended:
    """A generation of a file that ended.

    Attributes:
        ino: Inode number.
        record: What is recorded of it.
        seconds: When it ended, since 1970.
    """

    ino: int
    record: storage_pb2.Record
    seconds: int

    @property
    def generation(self) -> int:
        """Which generation."""
        return self.record.inode.gen

    def writes(self, zone: str) -> list[rpc_pb2.RequestOp]:
        """Return the writes that record it: one, and one more for a deleted file that had a name."""
        record, deleted = self.record, self.record.HasField("deleted")
        key = keys.record(zone, self.ino, self.generation, self.seconds, record.resource_type, deleted=deleted)
        written = [ops.put(key, record.SerializeToString())]
        if record.deleted.parent:
            place = keys.gone_rest(record.end_revision, self.ino)
            name = keys.gone(zone, record.deleted.parent, record.deleted.name.encode(), place)
            gone = storage_pb2.Gone(generation=self.generation, size=record.inode.attributes.size)
            gone.time.seconds = self.seconds
            written.append(ops.put(name, gone.SerializeToString()))
        return written


async def ended(store: Metastore, zone: str, change: Changes, clock: Callable[[], float]) -> tuple[list[Ended], bool]:
    """Return the generations that ended at a revision, in the order of the store's events, and whether some are lost.

    The present generation of a file needs no record, its inode tells it: so a file that is written once has none. Lost is
    what the store had forgotten when it told of the change. `clock` tells when a deletion is noticed. Raises MetastoreError.
    """
    found: list[Ended] = []
    gone: list[Ended] = []
    lost = False
    for event in change.events:
        ino = files.parse(event.kv.key).ino
        deleted = event.type == kv_pb2.Event.DELETE
        if not event.HasField("prev_kv"):
            lost = lost or deleted or event.kv.create_revision != event.kv.mod_revision
            continue
        before = files_storage.Inode.FromString(event.prev_kv.value)
        if before.type != records.FILE:
            continue
        if not deleted and files_storage.Inode.FromString(event.kv.value).gen == before.gen:
            continue  # its bytes were moved to another store: it is the same version
        record = storage_pb2.Record(
            inode=before,
            revision=event.prev_kv.mod_revision,
            end_revision=change.revision,
            resource_type=pb.RESOURCE_TYPE_FILE,
        )
        if deleted:
            record.deleted.SetInParent()
            one = Ended(ino, record, int(clock()))
            gone.append(one)
        else:
            one = Ended(ino, record, files_storage.Inode.FromString(event.kv.value).update_time.seconds)
        found.append(one)
    if gone:
        await _locate(store, zone, change.revision - 1, gone)
    return found, lost


async def _locate(store: Metastore, zone: str, revision: int, gone: list[Ended]) -> None:
    """Find out at which names files were, one revision before they were deleted; what was cut off before has none."""
    snapshot = Snapshot(store, revision=revision)
    try:
        found = await snapshot.get([files.parent(zone, one.ino) for one in gone])
        parents = {key: files_storage.Parent.FromString(kv.value) for key, kv in found.items()}
        marks = await snapshot.get(list({files.reclaim(zone, parent.ino) for parent in parents.values()}))
    except MetastoreError as error:
        if error.fault is not Fault.COMPACTED:
            raise
        return
    for one in gone:
        parent = parents.get(files.parent(zone, one.ino))
        if parent is not None and files.reclaim(zone, parent.ino) not in marks:
            one.record.deleted.parent, one.record.deleted.name = parent.ino, parent.name


async def tail(
    store: Metastore,
    zone: str,
    keys_: tuple[bytes, bytes],
    after: int,
    upto: int,
    clock: Callable[[], float],
    idle: float,
) -> AsyncGenerator[Ended, None]:
    """Yield what ended within a range of inodes after one revision, up to another: what is perhaps not recorded yet.

    `idle` is in seconds: how long the store must be silent until it is asked how far it has told. Raises VersionsBehind
    above `TAIL` changes or after five seconds, RevisionCompacted.
    """
    if upto <= after:
        return
    seen = 0
    late = VersionsBehind("versions are not recorded yet", recorded=after, retry_after=1.0)
    stream = changes(store, *keys_, after + 1, idle)
    deadline = asyncio.get_running_loop().time() + _PATIENCE
    async with aclosing(stream):  # type: ignore[type-var]
        async for change in stream:
            if change.revision > upto:
                return
            for one in (await ended(store, zone, change, clock))[0]:
                yield one
            seen += len(change.events)
            if change.revision >= upto:
                return
            if seen > TAIL or asyncio.get_running_loop().time() > deadline:
                raise late
