"""SnapshotService: directories as they were, over gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from quartet.snapshots.v1 import snapshots_pb2, snapshots_pb2_grpc
from quartet.snapshots.v1 import snapshots_pb2 as pb

from quartet_server.domain import Resources
from quartet_server.files import keys as tree_keys
from quartet_server.files.contents.contents import Contents
from quartet_server.files.inos import Inos
from quartet_server.files.principals import current, enter
from quartet_server.files.tree import Tree
from quartet_server.meta.ledger import Claim, LedgerLease, claim
from quartet_server.meta.mutation import Mutator
from quartet_server.meta.times import timestamps
from quartet_server.objects.composed import Compositions
from quartet_server.objects.contract import BlobStore
from quartet_server.snapshots import diff, log, reading, refs
from quartet_server.snapshots.create import Creation
from quartet_server.snapshots.directories import Directories
from quartet_server.snapshots.forgetting import Forgetting
from quartet_server.snapshots.restore import Restoration, request_of
from quartet_server.snapshots.staging import Stagehand
from quartet_server.snapshots.workshop import Workshop
from raftmeta.metastore import Metastore

Context = aio.ServicerContext[Any, Any]
Result = TypeVar("Result")

TOLD = 1.0
"""Seconds between two words about progress."""
_RANDOM = 8


async def start(resources: Resources) -> SnapshotService:
    """Serve snapshots from the node's Metastore and store of blobs."""
    assert resources.objects is not None, "the composition root opens the store of blobs when this service is on"
    service = SnapshotService(
        resources.metastore,
        timestamps(resources.clock),
        resources.objects,
        resources.new_id,
        resources.address,
        settled=resources.config.objects.gc_grace / 4,
    )
    service.begin()
    return service


class SnapshotService(snapshots_pb2_grpc.SnapshotServiceServicer):
    """Serves `quartet.snapshots.v1.SnapshotService`.

    Each method takes the zone from the call, a request id from the request, and hands over to the module that knows the
    operation. Errors are those of `quartet_server.errors` and `raftmeta.errors`.
    """

    names = (snapshots_pb2.DESCRIPTOR.services_by_name["SnapshotService"].full_name,)

    def __init__(
        self,
        store: Metastore,
        now: Callable[[], Timestamp],
        blobs: BlobStore,
        new_id: Callable[[], str],
        address: str = "",
        clock: Callable[[], float] = time.monotonic,
        settled: float = 900.0,
    ) -> None:
        """Keep records in `store`, trees in `blobs`; `now` tells the time for records, `new_id` draws 32 hexadecimal digits.

        `address` tells this node from others, as long as it has it; see `Workshop` for `settled`. Nothing runs in the background before `begin`.
        """
        lease = LedgerLease(store)
        tree = Tree(store, Mutator(store, lease), lease, Inos(store), now)
        self._contents = Contents(blobs)
        self._owner = f"{address.replace(' ', '')} {new_id()}"
        draw = lambda: bytes.fromhex(new_id())[:_RANDOM]  # noqa: E731 - a name for it says no more
        self._shop = Workshop(tree, Directories(blobs), Compositions(store), draw, clock, settled)
        self._stagehand = Stagehand(store, self._owner, now, clock)
        self._forgetting = Forgetting(store, self._shop.compositions, blobs)

    def begin(self) -> None:
        """Start looking for trees that were left behind half built, by earlier lives of this node and by other nodes."""
        self._stagehand.start()
        self._forgetting.start()

    def add_to(self, server: aio.Server) -> None:
        """Register the servicer."""
        snapshots_pb2_grpc.add_SnapshotServiceServicer_to_server(self, server)

    async def stop(self) -> None:
        """Stop the background work."""
        await self._stagehand.close()
        await self._forgetting.close()

    async def CreateSnapshot(
        self, request: pb.CreateSnapshotRequest, context: Context
    ) -> AsyncIterator[pb.CreateSnapshotResponse]:
        """Photograph a directory."""
        zone = enter(context)
        creation = Creation(self._shop, zone, request, _claim(zone, "CreateSnapshot", request))
        async with aclosing(_told(creation.run())) as turns:
            async for done in turns:
                yield pb.CreateSnapshotResponse(progress=creation.progress.message, snapshot=done)

    async def GetSnapshot(self, request: pb.GetSnapshotRequest, context: Context) -> pb.Snapshot:
        """Tell about one snapshot."""
        return await log.get(self._shop.tree, enter(context), request)

    async def ListSnapshots(self, request: pb.ListSnapshotsRequest, context: Context) -> pb.ListSnapshotsResponse:
        """Read a page of snapshots."""
        return await log.list_snapshots(self._shop.tree, enter(context), request)

    async def DeleteSnapshot(self, request: pb.DeleteSnapshotRequest, context: Context) -> pb.DeleteSnapshotResponse:
        """Give a snapshot up."""
        zone = enter(context)
        return await log.delete(self._shop.tree, zone, request, _claim(zone, "DeleteSnapshot", request))

    async def DiffSnapshots(
        self, request: pb.DiffSnapshotsRequest, context: Context
    ) -> AsyncIterator[pb.DiffSnapshotsResponse]:
        """Stream what differs."""
        async for answer in diff.diff(self._shop, enter(context), request):
            yield answer

    async def RestoreSnapshot(
        self, request: pb.RestoreSnapshotRequest, context: Context
    ) -> AsyncIterator[pb.RestoreSnapshotResponse]:
        """Put a path back."""
        zone = enter(context)
        claim = _claim(zone, "RestoreSnapshot", request)
        async with aclosing(
            self._restore(Restoration(self._shop, zone, request, claim, self._owner, branch=False))
        ) as turns:
            async for answer in turns:
                yield answer

    async def BranchSnapshot(
        self, request: pb.BranchSnapshotRequest, context: Context
    ) -> AsyncIterator[pb.RestoreSnapshotResponse]:
        """Make a new entry of a snapshot."""
        zone = enter(context)
        claim = _claim(zone, "BranchSnapshot", request)
        branch = Restoration(self._shop, zone, request_of(request), claim, self._owner, branch=True)
        async with aclosing(self._restore(branch)) as turns:
            async for answer in turns:
                yield answer

    async def StatEntry(self, request: pb.StatEntryRequest, context: Context) -> pb.StatEntryResponse:
        """Read one entry of a snapshot."""
        return await reading.stat_entry(self._shop, enter(context), request)

    async def ListEntries(self, request: pb.ListEntriesRequest, context: Context) -> pb.ListEntriesResponse:
        """Read a page of a directory of a snapshot."""
        return await reading.list_entries(self._shop, enter(context), request)

    async def ReadEntry(self, request: pb.ReadEntryRequest, context: Context) -> AsyncIterator[pb.ReadEntryResponse]:
        """Read a file of a snapshot."""
        async for answer in reading.read_entry(self._shop, self._contents, enter(context), request):
            yield answer

    async def SetRef(self, request: pb.SetRefRequest, context: Context) -> pb.Ref:
        """Give a snapshot a name."""
        zone = enter(context)
        return await refs.set_ref(self._shop.tree, zone, request, _claim(zone, "SetRef", request))

    async def ListRefs(self, request: pb.ListRefsRequest, context: Context) -> pb.ListRefsResponse:
        """Read a page of the names."""
        return await refs.list_refs(self._shop.tree, enter(context), request)

    async def DeleteRef(self, request: pb.DeleteRefRequest, context: Context) -> pb.DeleteRefResponse:
        """Take a name away."""
        zone = enter(context)
        return await refs.delete_ref(self._shop.tree, zone, request, _claim(zone, "DeleteRef", request))

    async def _restore(self, restoration: Restoration) -> AsyncGenerator[pb.RestoreSnapshotResponse, None]:
        async with aclosing(_told(restoration.run())) as turns:
            async for done in turns:
                yield done or pb.RestoreSnapshotResponse(progress=restoration.progress.message)


async def _told(work: Coroutine[Any, Any, Result]) -> AsyncGenerator[Result | None, None]:
    """Run work to its end; yield None about once a second meanwhile, and its result. It ends with the iterator."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=TOLD))[0]:
            yield None
        yield task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _claim(zone: str, method: str, request: Message) -> Claim | None:
    method = f"{current()}\0snapshots.{method}"  # the same path means another directory to another caller
    return claim(tree_keys.requests(zone), method, request, request.request_id)  # type: ignore[attr-defined]
