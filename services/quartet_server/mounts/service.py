"""MountService: stores of blobs at directories, over gRPC."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from quartet.mounts.storage.v1 import storage_pb2
from quartet.mounts.v1 import mounts_pb2, mounts_pb2_grpc
from quartet.mounts.v1 import mounts_pb2 as pb

from quartet_server.domain import Resources
from quartet_server.errors import FieldInvalid
from quartet_server.files.places import Places, claim, enter, principal
from quartet_server.meta.operators import demand_operator
from quartet_server.meta.snapshot import Snapshot
from quartet_server.meta.times import timestamps
from quartet_server.mounts.ending import Ending
from quartet_server.mounts.making import Making
from quartet_server.objects.mounts import allowed, records
from quartet_server.objects.mounts.opened import OpenStores, check_credentials
from quartet_server.objects.mounts.reach import reached
from quartet_server.objects.mounts.records import Mounted
from quartet_server.objects.mounts.referring import Referrer
from raftmeta.metastore import Metastore

Context = aio.ServicerContext[Any, Any]
LONGEST_ENDPOINT = 255
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")


async def start(resources: Resources) -> MountService:
    """Serve mounts of the node's stores."""
    assert resources.mounts is not None, "the composition root has what opens mounted stores when this service is on"
    return MountService(resources.metastore, resources.referrers, resources.mounts, timestamps(resources.clock))


class MountService(mounts_pb2_grpc.MountServiceServicer):
    """Serves `quartet.mounts.v1.MountService` from a Metastore."""

    names = (mounts_pb2.DESCRIPTOR.services_by_name["MountService"].full_name,)

    def __init__(
        self, store: Metastore, referrers: Sequence[Referrer], stores: OpenStores, now: Callable[[], Timestamp]
    ) -> None:
        """Keep mounts in `store`; `stores` opens them, and `referrers` may have contents in them, files first."""
        self._store = store
        self._stores = stores
        self._places = Places(store, now)
        self._ending = Ending(store, referrers, stores, self._places)

    def add_to(self, server: aio.Server) -> None:
        """Register the servicer."""
        mounts_pb2_grpc.add_MountServiceServicer_to_server(self, server)

    async def stop(self) -> None:
        """Do nothing: the stores are closed by whoever opened them."""

    async def Mount(self, request: pb.MountRequest, context: Context) -> pb.MountPoint:
        """Put a store at a directory."""
        demand_operator(context, "mounting a store")
        zone = enter(context)
        if len(request.endpoint.encode()) > LONGEST_ENDPOINT:
            raise FieldInvalid.of("endpoint", f"at most {LONGEST_ENDPOINT} bytes are taken")
        check_credentials(request.credentials)
        url = allowed.normal(request.url)
        if request.endpoint and not url.startswith("s3://"):
            raise FieldInvalid.of("endpoint", "is for s3:// only")
        record = storage_pb2.MountRecord(
            name=_check_name(request.name),
            url=url,
            endpoint=request.endpoint,
            credentials=request.credentials,
            node=self._stores.node if allowed.is_local(url) else "",
            created_by=principal(),
            create_time=self._places.now(),
        )
        claimed = claim(zone, "Mount", request, request.request_id)
        making = Making(self._store, self._stores, self._places, zone, request.path, record)
        return await making.run(claimed, create=request.create)

    async def Unmount(self, request: pb.UnmountRequest, context: Context) -> pb.UnmountResponse:
        """End a mount."""
        demand_operator(context, "unmounting a store")
        zone = enter(context)
        return await self._ending.run(zone, _check_name(request.name), drain=request.drain)

    async def ListMounts(self, request: pb.ListMountsRequest, context: Context) -> pb.ListMountsResponse:
        """Tell the zone's mounts."""
        demand_operator(context, "reading mounts")
        zone = enter(context)
        snapshot = Snapshot(self._store)
        root = await self._places.root(zone, snapshot)
        mounted = await records.every(snapshot, zone)
        paths = await self._places.located(zone, snapshot, [one.record.ino for one in mounted], root)
        reach = await reached(self._store)
        mounts = [told(one, paths[one.record.ino], reach.get((zone, one.number), [])) for one in mounted]
        return pb.ListMountsResponse(mounts=sorted(mounts, key=lambda one: one.name), revision=snapshot.revision)


def told(mounted: Mounted, path: str | None, reach: list[tuple[str, str]]) -> pb.MountPoint:
    """Tell a mount whose directory is at `path`, None when it is gone, and which nodes reach the store."""
    record = mounted.record
    return pb.MountPoint(
        name=record.name,
        path=path or "",
        ino=record.ino,
        url=record.url,
        endpoint=record.endpoint,
        credentials=record.credentials,
        number=mounted.number,
        node=record.node,
        created_by=record.created_by,
        create_time=record.create_time,
        draining=record.draining,
        nodes=[pb.NodeReach(node=node, reachable=not problem, problem=problem) for node, problem in reach],
        revision=mounted.revision,
    )


def _check_name(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise FieldInvalid.of("name", "is 1 to 63 of a-z, 0-9 and -, beginning with a letter")
    return name
