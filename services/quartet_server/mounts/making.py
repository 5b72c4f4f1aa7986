"""Mount: a store is opened, and put at a directory in one transaction."""

from __future__ import annotations

from dataclasses import dataclass

from quartet.mounts.storage.v1 import storage_pb2
from quartet.mounts.v1 import mounts_pb2 as pb

from quartet_server.errors import (
    FileNotFound,
    LimitReached,
    MountExists,
    MountUnreachable,
    ObjectStoreUnreachable,
    QuartetError,
)
from quartet_server.files import mounting
from quartet_server.files.places import Places
from quartet_server.meta import ops
from quartet_server.meta.ledger import Claim
from quartet_server.meta.mutation import Plan
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.mounts import records
from quartet_server.objects.mounts.allowed import overlap
from quartet_server.objects.mounts.opened import OpenStores
from raftmeta.metastore import Metastore


@dataclass(frozen=True, slots=True)
class Making:
    """One Mount call.

    Attributes:
        store: Where mounts are kept.
        stores: Opens them.
        places: The tree.
        zone: The caller's.
        path: Where the store goes, as the caller sees it.
        record: The mount, but for its directory.
    """

    store: Metastore
    stores: OpenStores
    places: Places
    zone: str
    path: str
    record: storage_pb2.MountRecord

    async def run(self, claim: Claim | None, *, create: bool) -> pb.MountPoint:
        """Open the store and mount it. The store is opened before anything says that it is mounted, and closed if nothing does.

        What would refuse the mount is found before the store is opened, unless this is the repetition of a call that was
        carried out: then the store is open already.
        """
        await self.places.ensure(self.zone)
        number = await self.places.number(self.zone)
        opened = False
        try:
            await self._plan(Snapshot(self.store), number)
        except FileNotFound:
            if create:
                await self.places.make(self.zone, self.path)
                opened = True
        except QuartetError:
            pass  # told below, by the plan
        else:
            opened = True
        if opened:
            self.stores.allowed.check(self.record.url, self.record.endpoint)
            self.stores.demand_shared(self.record.url)
            try:
                await self.stores.add(self.zone, number, self.record)
            except ObjectStoreUnreachable as error:
                raise MountUnreachable(error.message, url=self.record.url) from error

        async def build(snapshot: Snapshot) -> Plan[pb.MountPoint]:
            return await self._plan(snapshot, number)

        done = False
        try:
            answer, revision = await self.places.mutator.run(pb.MountPoint, build, claim)
            done = answer.number == number
            if done:
                self.stores.settled(self.zone, number)
        finally:
            if opened and not done:
                await self.stores.drop(self.zone, number)
        answer.revision = revision
        return answer

    async def _plan(self, snapshot: Snapshot, number: int) -> Plan[pb.MountPoint]:
        """Plan the mount. Raises MountExists, LimitReached, and what the tree says of the path."""
        mounted = await records.every(snapshot, self.zone)
        for one in mounted:
            if one.record.name == self.record.name:
                raise MountExists(f"a store is mounted as {self.record.name}", name=self.record.name)
            if one.record.endpoint == self.record.endpoint and overlap(one.record.url, self.record.url):
                raise MountExists(
                    f"{self.record.url} is the place of mount {one.record.name}, or overlaps it", name=one.record.name
                )
        if len(mounted) >= records.MOST:
            raise LimitReached(f"the zone has {records.MOST} mounts", limit=records.MOST)
        place, mark = await mounting.mark(self.zone, snapshot, self.path, number)
        record = storage_pb2.MountRecord()
        record.CopyFrom(self.record)
        record.ino = place.ino
        key, named = records.key(self.zone, number), records.named(self.zone, record.name)
        answer = pb.MountPoint(
            name=record.name,
            path=place.path,
            ino=place.ino,
            url=record.url,
            endpoint=record.endpoint,
            credentials=record.credentials,
            number=number,
            node=record.node,
            created_by=record.created_by,
            create_time=record.create_time,
        )
        return Plan(
            answer,
            [*place.compares, ops.absent(named), ops.absent(key)],
            [mark, ops.put(named, number.to_bytes(8, "big")), ops.put(key, record.SerializeToString())],
        )
