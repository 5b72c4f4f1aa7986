"""Unmount: the directory lets go of the store, what is in it is looked for or moved, then the mount goes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from quartet.mounts.storage.v1 import storage_pb2
from quartet.mounts.v1 import mounts_pb2 as pb

from quartet_server.errors import Contention, MountInUse, MountNotFound
from quartet_server.files import mounting
from quartet_server.files.places import Places
from quartet_server.meta import ops
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.mounts import records
from quartet_server.objects.mounts.opened import OpenStores
from quartet_server.objects.mounts.records import Mounted
from quartet_server.objects.mounts.referring import Moved, Referrer
from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

_ROUNDS = 100
_ATTEMPTS = 10
_COUNTED = 1000
_PAUSE = 0.1


@dataclass(frozen=True, slots=True)
class Ending:
    """How mounts end.

    First the directory's entry gives up the number of the mount: every write of new contents compares the entries on its way, so
    from that revision on none comes to refer to the store whose place leads there. What else makes a reference (a copy, an append to a
    file that was moved elsewhere) needs one that is there already, and compares it unchanged, or the mount's record, which changes too. So when a look at everything at a later
    revision finds none, none can come.

    Attributes:
        store: Where mounts are kept.
        referrers: Whatever may have contents in mounted stores; files come first, since what they let go of, versions have.
        stores: Has them open.
        places: The tree.
    """

    store: Metastore
    referrers: Sequence[Referrer]
    stores: OpenStores
    places: Places

    async def run(self, zone: str, name: str, *, drain: bool) -> pb.UnmountResponse:
        """End a mount. Raises MountNotFound, MountInUse, and with `drain` what reading and writing blobs raises."""
        mounted = await self._find(zone, name)
        if not drain and not mounted.record.draining and (files := await self._count(zone, mounted.number)):
            raise _in_use(name, files)
        await self._close(zone, mounted)
        moved = Moved()
        if drain:
            for _ in range(_ROUNDS):
                for referrer in self.referrers:
                    await referrer.drain(zone, mounted.number, moved)
                if not await self._count(zone, mounted.number, 1):
                    break
                await asyncio.sleep(_PAUSE)  # versions are recorded a moment after they ended
            else:
                raise Contention(f"files of {name} were written again and again while they were moved")
        elif files := await self._count(zone, mounted.number):
            await self._reopen(zone, mounted)
            raise _in_use(name, files)
        answer = await self.store.txn(
            rpc_pb2.TxnRequest(
                compare=[ops.exists(records.key(zone, mounted.number))],
                success=[ops.delete(records.key(zone, mounted.number)), ops.delete(records.named(zone, name))],
            )
        )
        await self.stores.drop(zone, mounted.number)
        return pb.UnmountResponse(revision=answer.header.revision, moved=moved.contents, moved_bytes=moved.bytes)

    async def _find(self, zone: str, name: str) -> Mounted:
        mounted = await records.find(Snapshot(self.store), zone, name)
        if mounted is None:
            raise MountNotFound(f"nothing is mounted as {name}", name=name)
        return mounted

    async def _close(self, zone: str, mounted: Mounted) -> None:
        """Let nothing new come into the store."""
        for _ in range(_ATTEMPTS):
            snapshot = Snapshot(self.store)
            compares, operations = await mounting.unmarked(zone, snapshot, mounted.record.ino, mounted.number)
            if await self._write(zone, mounted, compares, operations, draining=True):
                return
        raise Contention(f"the directory of mount {mounted.record.name} was moved again and again")

    async def _reopen(self, zone: str, mounted: Mounted) -> None:
        """Let things be as they were: something is in the store that came after it was looked for first."""
        snapshot = Snapshot(self.store)
        compares, operations = await mounting.marked_again(zone, snapshot, mounted.record.ino, mounted.number)
        await self._write(zone, mounted, compares, operations, draining=False)

    async def _write(
        self,
        zone: str,
        mounted: Mounted,
        compares: list[rpc_pb2.Compare],
        operations: list[rpc_pb2.RequestOp],
        *,
        draining: bool,
    ) -> bool:
        """Write the mount's record together with its directory's entry; tell whether nothing came in between."""
        key = records.key(zone, mounted.number)
        record = storage_pb2.MountRecord()
        record.CopyFrom(mounted.record)
        record.draining = draining
        request = rpc_pb2.TxnRequest(
            compare=[ops.exists(key), *compares], success=[ops.put(key, record.SerializeToString()), *operations]
        )
        return (await self.store.txn(request)).succeeded

    async def _count(self, zone: str, number: int, most: int = _COUNTED) -> int:
        """Return how many contents are in a store; at most `most` are counted."""
        count = 0
        for referrer in self.referrers:
            count += await referrer.count(zone, number, most - count)
            if count >= most:
                break
        return count


def _in_use(name: str, files: int) -> MountInUse:
    least = "at least " if files == _COUNTED else ""
    return MountInUse(
        f"{least}{files} files and old versions, those in the trash included, have bytes in the store of {name}",
        name=name,
        contents=files,
        hint=f"quartet unmount {name} --drain moves them into the cluster's own store",
    )
