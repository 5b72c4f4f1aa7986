"""ContentAddressableStorage of the Remote Execution API over a store of blobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from grpc import aio
from quartet.wire.reapi import cas_pb2 as pb
from quartet.wire.reapi import cas_pb2_grpc, digests_pb2

from quartet_server.objects.contract import BlobStore
from quartet_server.objects.wire import batches, splicing, trees
from quartet_server.objects.wire.flow import Places
from quartet_server.objects.zones import Zones

Context = aio.ServicerContext[Any, Any]


class ContentAddressableStorage(cas_pb2_grpc.ContentAddressableStorageServicer):
    """Serves ContentAddressableStorage."""

    name = pb.DESCRIPTOR.services_by_name["ContentAddressableStorage"].full_name

    def __init__(self, store: BlobStore, zones: Zones, places: Places) -> None:
        """Serve `store`; a splice takes one of `places`, as an upload does."""
        self._store = store
        self._zones = zones
        self._places = places

    def add_to(self, server: aio.Server) -> None:
        """Register the servicer."""
        cas_pb2_grpc.add_ContentAddressableStorageServicer_to_server(self, server)

    async def FindMissingBlobs(
        self, request: pb.FindMissingBlobsRequest, context: Context
    ) -> pb.FindMissingBlobsResponse:
        """Name what the zone does not have."""
        zone = await self._zone(request, context)
        missing = await self._store.missing(zone, batches.digests_of(request.blob_digests, "blob_digests"))
        return pb.FindMissingBlobsResponse(missing_blob_digests=map(batches.message_of, missing))

    async def BatchUpdateBlobs(
        self, request: pb.BatchUpdateBlobsRequest, context: Context
    ) -> pb.BatchUpdateBlobsResponse:
        """Store many."""
        return await batches.update(self._store, await self._zone(request, context), request.requests)

    async def BatchReadBlobs(self, request: pb.BatchReadBlobsRequest, context: Context) -> pb.BatchReadBlobsResponse:
        """Read many; they are sent plain, which every client takes."""
        return await batches.read(self._store, await self._zone(request, context), request.digests)

    async def GetTree(  # type: ignore[override]  # the server sends bytes as they are
        self, request: pb.GetTreeRequest, context: Context
    ) -> AsyncIterator[bytes]:
        """Send the directories of a tree."""
        zone = await self._zone(request, context)
        root = batches.digest_of(request.root_digest, "root_digest")
        async for page in trees.pages(self._store, zone, root, request.page_size, request.page_token):
            yield page

    async def SplitBlob(self, request: pb.SplitBlobRequest, context: Context) -> pb.SplitBlobResponse:
        """Cut a blob."""
        zone = await self._zone(request, context)
        chunks = await splicing.split(self._store, zone, batches.digest_of(request.blob_digest, "blob_digest"))
        return pb.SplitBlobResponse(
            chunk_digests=map(batches.message_of, chunks), chunking_function=digests_pb2.ChunkingFunction.FAST_CDC_2020
        )

    async def SpliceBlob(self, request: pb.SpliceBlobRequest, context: Context) -> pb.SpliceBlobResponse:
        """Put a blob together."""
        zone = await self._zone(request, context)
        digest = batches.digest_of(request.blob_digest, "blob_digest")
        chunks = batches.digests_of(request.chunk_digests, "chunk_digests")
        await splicing.splice(self._store, zone, digest, chunks, self._places)
        return pb.SpliceBlobResponse(blob_digest=request.blob_digest)

    async def _zone(self, request: Any, context: Context) -> str:
        """Return the zone of a request whose digests are of a function that we know. Raises as `Zones.of_instance`."""
        batches.check_function(request.digest_function)
        return await self._zones.of_instance(request.instance_name, context)
