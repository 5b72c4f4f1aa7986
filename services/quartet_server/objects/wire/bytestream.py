"""google.bytestream.ByteStream: blobs of any size in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from grpc import aio
from quartet.wire.reapi import bytestream_pb2 as pb
from quartet.wire.reapi import bytestream_pb2_grpc

from quartet_server.errors import Contention, DeadlinePassed, FieldInvalid, TooManyRequests
from quartet_server.objects.arguments import absent
from quartet_server.objects.contract import BlobStore
from quartet_server.objects.wire.flow import framed, next_request, resized
from quartet_server.objects.wire.packing import Unpacker, packed
from quartet_server.objects.wire.resources import Resource, read_resource, write_resource
from quartet_server.objects.wire.uploads import Session, Uploads
from quartet_server.objects.zones import Zones

Context = aio.ServicerContext[Any, Any]

_DATA = pb.ReadResponse.DESCRIPTOR.fields_by_name["data"].number
_PACKED_IS_THERE = -1  # what the API answers in the place of a size that it does not know


class ByteStream(bytestream_pb2_grpc.ByteStreamServicer):
    """Serves ByteStream from a store of blobs."""

    name = pb.DESCRIPTOR.services_by_name["ByteStream"].full_name

    def __init__(self, store: BlobStore, zones: Zones, uploads: Uploads) -> None:
        """Read from `store`, write through `uploads`."""
        self._store = store
        self._zones = zones
        self._uploads = uploads

    def add_to(self, server: aio.Server) -> None:
        """Register the servicer."""
        bytestream_pb2_grpc.add_ByteStreamServicer_to_server(self, server)

    async def Read(self, request: pb.ReadRequest, context: Context) -> AsyncIterator[Any]:
        """Send a blob, or a part of it, as fast as the caller takes it."""
        resource = read_resource(request.resource_name)
        if request.read_limit < 0:
            raise FieldInvalid.of("read_limit", "must not be negative")
        if resource.packed and request.read_limit:
            raise FieldInvalid.of("read_limit", "must be 0 for a compressed read")
        zone = await self._zones.of_instance(resource.instance, context)
        plain = self._store.read(zone, resource.digest, request.read_offset, request.read_limit or None)
        async with aclosing(resized(packed(plain) if resource.packed else plain)) as pieces:
            async for piece in pieces:
                yield framed(_DATA, piece)

    async def Write(self, requests: AsyncIterator[pb.WriteRequest], context: Context) -> pb.WriteResponse:
        """Take a blob in; what has arrived stays for a while when the stream breaks off."""
        first = await next_request(requests)
        if first is None:
            raise FieldInvalid.of("resource_name", "is missing: the stream has no request")
        resource = write_resource(first.resource_name)
        if first.write_offset < 0 or (resource.packed and first.write_offset):
            raise FieldInvalid.of("write_offset", "must be 0" if resource.packed else "must not be negative")
        zone = await self._zones.of_instance(resource.instance, context)
        if not await self._store.missing(zone, [resource.digest]):
            return pb.WriteResponse(committed_size=_PACKED_IS_THERE if resource.packed else resource.digest.size)
        session = await self._uploads.begin(zone, resource, first.write_offset)
        try:
            finished = await _take(session, resource, first, requests)
        except (FieldInvalid, TooManyRequests):
            await session.leave(keep=False)
            raise
        except (Contention, DeadlinePassed):
            await session.leave(keep=True)
            raise
        except BaseException:  # the caller has gone
            await session.leave(keep=not resource.packed)
            raise
        if finished:
            await session.finish()
            size = resource.digest.size
        else:
            size = 0 if resource.packed else session.size
            await session.leave(keep=not resource.packed)
        return pb.WriteResponse(committed_size=size)

    async def QueryWriteStatus(
        self, request: pb.QueryWriteStatusRequest, context: Context
    ) -> pb.QueryWriteStatusResponse:
        """Tell how much has arrived."""
        resource = write_resource(request.resource_name)
        zone = await self._zones.of_instance(resource.instance, context)
        if not await self._store.missing(zone, [resource.digest]):
            return pb.QueryWriteStatusResponse(committed_size=resource.digest.size, complete=True)
        size = self._uploads.size(zone, resource)
        if size is None:
            raise absent(resource.digest)
        return pb.QueryWriteStatusResponse(committed_size=0 if resource.packed else size)


async def _take(
    session: Session, resource: Resource, first: pb.WriteRequest, requests: AsyncIterator[pb.WriteRequest]
) -> bool:
    """Write what comes until the end; tell whether it was said to be all.

    Raises FieldInvalid, DeadlinePassed, and what `Session.write` raises.
    """
    unpacker = Unpacker(resource.digest.size) if resource.packed else None
    request: pb.WriteRequest | None = first
    offset = first.write_offset
    while request is not None:
        if request.resource_name not in ("", first.resource_name):
            raise FieldInvalid.of("resource_name", "must be the same, or empty, in all requests of a call")
        if request.write_offset != offset:
            raise FieldInvalid.of("write_offset", f"must be {offset}, where the data before it ended")
        data = request.data  # once: every look at it is a copy
        offset += len(data)
        if unpacker is not None:
            async for piece in unpacker.pieces(data):
                await session.write(piece)
        elif data:
            await session.write(data)
        if request.finish_write:
            return True
        request = await next_request(requests)
    return False
