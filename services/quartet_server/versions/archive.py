"""The versions of one file: the present one, what history tells, and what is recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from quartet.files.storage.v1 import storage_pb2 as files_storage
from quartet.versions.storage.v1 import storage_pb2
from quartet.versions.v1 import versions_pb2 as pb

from quartet_server.errors import RevisionCompacted, VersionNotFound, VersionsBehind
from quartet_server.files import keys as files
from quartet_server.files import records
from quartet_server.meta import ops
from quartet_server.meta.snapshot import Snapshot
from quartet_server.versions import keys
from quartet_server.versions.ended import tail
from quartet_server.versions.observer import recorded_to
from raftmeta.errors import Fault, MetastoreError
from raftmeta.metastore import Metastore

_TAIL = 1000
"""Generations of one file that are read back one by one."""
_GAPS = 1000


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation of a file.

    Attributes:
        ino: Inode number.
        record: What is recorded of it, or would be; of the present one, without an end.
        seconds: When it ended, since 1970; None for the present one.
    """

    ino: int
    record: storage_pb2.Record
    seconds: int | None = None

    @property
    def number(self) -> int:
        """Which generation."""
        return self.record.inode.gen

    @property
    def inode(self) -> files_storage.Inode:
        """The inode as it was."""
        return self.record.inode

    def message(self) -> pb.Version:
        """Return what callers are told."""
        inode, record = self.inode, self.record
        version = pb.Version(
            ino=self.ino,
            generation=inode.gen,
            etag=records.etag(self.ino, inode.gen),
            resource_type=record.resource_type,
            attributes=inode.attributes,
            writer=inode.writer,
            write_time=inode.update_time,
            revision=record.revision,
            end_revision=record.end_revision,
            deleted=record.HasField("deleted"),
            stored=inode.HasField("content") or not inode.attributes.size,
        )
        if self.seconds is not None:
            version.end_time.seconds = self.seconds
        return version


@dataclass(frozen=True, slots=True)
class Archive:
    """The versions of a zone's files, as a snapshot shows them.

    Attributes:
        store: The Metastore.
        zone: The zone.
        snapshot: The moment.
        clock: Seconds since 1970.
        idle: Seconds after which a silent store is asked how far it has told.
    """

    store: Metastore
    zone: str
    snapshot: Snapshot
    clock: Callable[[], float]
    idle: float

    async def page(self, ino: int, below: int | None, limit: int) -> tuple[list[Generation], bool]:
        """Return at most `limit` generations below one, the newest first, and whether there are more.

        Raises VersionsBehind, MetastoreError.
        """
        recent = [one for one in await self._recent(ino) if below is None or one.number < below]
        newest = {one.number for one in recent}
        prefix = keys.generations(self.zone, ino)
        end = ops.prefix_end(prefix) if below is None else keys.generations(self.zone, ino, below)
        found = await self.snapshot.scan(prefix, end, keys_only=True)
        older = [key for key in (keys.parse(kv.key) for kv in reversed(found.kvs)) if key.generation not in newest]
        wanted = older[: max(limit - len(recent), 0)]
        values = await self.snapshot.get([one.key for one in wanted])
        recorded = [
            Generation(ino, storage_pb2.Record.FromString(values[one.key].value), one.end)
            for one in wanted
            if one.key in values
        ]
        told = sorted([*recent, *recorded], key=lambda one: -one.number)
        return told[:limit], len(recent) + len(older) > limit

    async def get(self, ino: int, number: int, label: str) -> Generation:
        """Return one generation. Raises VersionNotFound, VersionsBehind, MetastoreError."""
        if 0 < number < 1 << 64:
            prefix = keys.generations(self.zone, ino, number)
            found = await self.snapshot.scan(prefix, ops.prefix_end(prefix), 1)
            if found.kvs:
                kv = found.kvs[0]
                return Generation(ino, storage_pb2.Record.FromString(kv.value), keys.parse(kv.key).end)
            for one in await self._recent(ino):
                if one.number == number:
                    return one
        raise VersionNotFound(f"{label} has no version {number}", ino=ino, generation=number)

    async def gaps(self, oldest: Generation) -> list[pb.Gap]:
        """Return what is lost of the history of a file whose oldest known generation is given. Raises MetastoreError.

        What was found out before the file came to be does not concern it.
        """
        since = oldest.record.revision if oldest.number == 1 else 0
        found = await self.snapshot.scan(keys.gap(self.zone, since), ops.prefix_end(keys.gap(self.zone)), _GAPS)
        told = [storage_pb2.GapRecord.FromString(kv.value).gap for kv in found.kvs]
        return [gap for gap in told if gap.time.ToNanoseconds() >= oldest.inode.create_time.ToNanoseconds()]

    async def _recent(self, ino: int) -> list[Generation]:
        """Return the present generation, and those before it that are perhaps not recorded yet, the newest first."""
        key = files.inode(self.zone, ino)
        kv = (await self.snapshot.get([key])).get(key)
        after = await recorded_to(self.store, self.zone, self.snapshot)
        if kv is None:
            return await self._ended(ino, after)
        inode = files_storage.Inode.FromString(kv.value)
        if inode.type != records.FILE:
            return []
        present = storage_pb2.Record(inode=inode, revision=kv.mod_revision, resource_type=pb.RESOURCE_TYPE_FILE)
        told = [Generation(ino, present)]
        while kv.mod_revision > max(after, kv.create_revision):
            if len(told) > _TAIL:
                raise VersionsBehind(
                    f"more than {_TAIL} versions are not recorded yet", recorded=after, retry_after=1.0
                )
            try:
                before = (await Snapshot(self.store, revision=kv.mod_revision - 1).get([key])).get(key)
            except MetastoreError as error:
                if error.fault is not Fault.COMPACTED:
                    raise
                break  # a gap, which the observer is about to tell
            if before is None:
                break
            record = storage_pb2.Record(
                inode=files_storage.Inode.FromString(before.value),
                revision=before.mod_revision,
                end_revision=kv.mod_revision,
                resource_type=pb.RESOURCE_TYPE_FILE,
            )
            if record.inode.gen != inode.gen:  # else its bytes were moved to another store
                told.append(Generation(ino, record, inode.update_time.seconds))
            kv, inode = before, record.inode
        return told

    async def _ended(self, ino: int, after: int) -> list[Generation]:
        """Return what ended of a file that does not exist, as far as it is perhaps not recorded yet."""
        prefix = keys.generations(self.zone, ino)
        found = await self.snapshot.scan(prefix, ops.prefix_end(prefix), keys_only=True)
        if found.kvs and keys.parse(found.kvs[-1].key).deleted:
            return []  # nothing comes after that
        own, upto = keys.inode(self.zone, ino), self.snapshot.revision
        try:
            told = [
                Generation(ino, one.record, one.seconds)
                async for one in tail(self.store, self.zone, own, after, upto, self.clock, self.idle)
            ]
        except RevisionCompacted:
            return []
        return told[::-1]
