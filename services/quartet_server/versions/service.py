"""VersionService: the history of files over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from grpc import aio
from prometheus_client import CollectorRegistry
from quartet.files.v1 import entries_pb2
from quartet.versions.v1 import versions_pb2, versions_pb2_grpc
from quartet.versions.v1 import versions_pb2 as pb

from quartet_server.domain import Resources
from quartet_server.errors import FieldInvalid
from quartet_server.files import keys as files
from quartet_server.files.contents.contents import Contents
from quartet_server.files.inos import Inos
from quartet_server.files.principals import current, enter
from quartet_server.files.tree import Tree
from quartet_server.meta.ledger import LedgerLease, claim
from quartet_server.meta.mutation import Mutator
from quartet_server.meta.operators import demand_operator
from quartet_server.meta.snapshot import Snapshot
from quartet_server.meta.tenure import TTL
from quartet_server.meta.times import timestamps
from quartet_server.objects.contract import BlobStore
from quartet_server.versions import keys, listing, retention_calls
from quartet_server.versions.diffing import diff_versions
from quartet_server.versions.library import Library
from quartet_server.versions.metrics import VersionMetrics
from quartet_server.versions.observer import ADVANCE, Observer
from quartet_server.versions.pruning import Pruner
from quartet_server.versions.reading import read_version
from quartet_server.versions.recorder import LINGER
from quartet_server.versions.rollback import rollback
from raftmeta.metastore import Metastore

Context = aio.ServicerContext[Any, Any]

SOON, LATER = 0.05, 0.5
"""Seconds of silence after which a store is asked how far it has told: the embedded one, and any other."""


async def start(resources: Resources) -> VersionService:
    """Serve versions from the node's Metastore, and record them when no other node does."""
    assert resources.objects is not None, "the composition root opens the store of blobs when this service is on"
    service = VersionService(
        resources.metastore,
        resources.clock,
        resources.objects,
        node=resources.address,
        registry=resources.registry,
        idle=LATER if resources.member is None else SOON,
    )
    service.begin()
    return service


class VersionService(versions_pb2_grpc.VersionServiceServicer):
    """Serves `quartet.versions.v1.VersionService` from a Metastore.

    Each method takes the zone from the call and hands over to the module that knows the operation. Errors are those of
    `quartet_server.errors` and `raftmeta.errors`.

    Attributes:
        observer: What records versions on this node, when no other node does.
    """

    names = (versions_pb2.DESCRIPTOR.services_by_name["VersionService"].full_name,)

    def __init__(
        self,
        store: Metastore,
        clock: Callable[[], float],
        blobs: BlobStore,
        *,
        node: str = "",
        registry: CollectorRegistry | None = None,
        idle: float = SOON,
        ttl: int = TTL,
        linger: float = LINGER,
        advance: float = ADVANCE,
    ) -> None:
        """Keep versions in `store`, whose larger files are in `blobs`; `clock` tells the seconds since 1970.

        Nothing runs in the background before `begin`; `idle`, `ttl`, `linger` and `advance`, in seconds, as in `Observer`.
        """
        lease, metrics = LedgerLease(store), VersionMetrics(registry)
        tree = Tree(store, Mutator(store, lease), lease, Inos(store), timestamps(clock))
        pruner = Pruner(store, clock, metrics)
        self._library = Library(tree, Contents(blobs), pruner, clock, idle)
        self.observer = Observer(store, node, clock, pruner, metrics, ttl=ttl, linger=linger, advance=advance)

    def begin(self) -> None:
        """Start recording, or waiting until the node that records is gone."""
        self.observer.start()

    def add_to(self, server: aio.Server) -> None:
        """Register the servicer."""
        versions_pb2_grpc.add_VersionServiceServicer_to_server(self, server)

    async def stop(self) -> None:
        """Stop the background work; what is not recorded yet is left to another node, or the next start."""
        await self.observer.close()

    async def ListVersions(self, request: pb.ListVersionsRequest, context: Context) -> pb.ListVersionsResponse:
        """Read a page of a file's versions."""
        return await listing.list_versions(self._library, enter(context), request)

    async def ReadVersion(
        self, request: pb.ReadVersionRequest, context: Context
    ) -> AsyncIterator[pb.ReadVersionResponse]:
        """Read a version."""
        async with aclosing(read_version(self._library, enter(context), request)) as responses:
            async for response in responses:
                yield response

    async def DiffVersions(self, request: pb.DiffVersionsRequest, context: Context) -> pb.DiffVersionsResponse:
        """Compare two versions."""
        return await diff_versions(self._library, enter(context), request)

    async def Rollback(self, request: pb.RollbackRequest, context: Context) -> entries_pb2.Entry:
        """Go back to a version."""
        zone = enter(context)
        method = f"{current()}\0Rollback" if current() else "Rollback"
        return await rollback(
            self._library, zone, request, claim(files.requests(zone), method, request, request.request_id)
        )

    async def ListDeleted(self, request: pb.ListDeletedRequest, context: Context) -> pb.ListDeletedResponse:
        """Read a page of what was deleted from a directory."""
        return await listing.list_deleted(self._library, enter(context), request)

    async def DeleteVersions(self, request: pb.DeleteVersionsRequest, context: Context) -> pb.DeleteVersionsResponse:
        """Give up old versions of a file."""
        zone = enter(context)
        if not request.before_generation:
            raise FieldInvalid.of("before_generation", "is 1 or more")
        snapshot = Snapshot(self._library.tree.store)
        found = await self._library.subjects(zone, snapshot).find(request.file)
        start = keys.generations(zone, found.ino)
        end = keys.generations(zone, found.ino, request.before_generation)
        kept = await snapshot.scan(start, end, keys_only=True)
        await self._library.pruner.delete(zone, [keys.parse(kv.key) for kv in kept.kvs])
        return pb.DeleteVersionsResponse(deleted=len(kept.kvs))

    async def SetRetention(self, request: pb.SetRetentionRequest, context: Context) -> pb.RetentionSetting:
        """Say how long versions are kept."""
        return await retention_calls.set_retention(self._library, enter(context), request)

    async def GetRetention(self, request: pb.GetRetentionRequest, context: Context) -> pb.RetentionSetting:
        """Tell how long versions are kept."""
        return await retention_calls.get_retention(self._library, enter(context), request)

    async def RemoveRetention(self, request: pb.RemoveRetentionRequest, context: Context) -> pb.RemoveRetentionResponse:
        """Take a setting away."""
        return await retention_calls.remove_retention(self._library, enter(context), request)

    async def CollectVersions(self, request: pb.CollectVersionsRequest, context: Context) -> pb.CollectVersionsResponse:
        """Give up what is past its retention."""
        demand_operator(context, "collecting versions")
        zone = enter(context)
        await self._library.tree.resolver(zone, Snapshot(self._library.tree.store))  # the zone exists
        pruned = await self._library.pruner.zone(zone, dry_run=request.dry_run)
        return pb.CollectVersionsResponse(examined=pruned.examined, deleted=pruned.deleted)
