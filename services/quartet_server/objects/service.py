"""ObjectService, and with it everything of the port that moves blobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from quartet.objects.v1 import objects_pb2, objects_pb2_grpc
from quartet.objects.v1 import objects_pb2 as pb

from quartet_server.domain import Resources
from quartet_server.errors import BlobInUse, BlobNotFound, FieldInvalid
from quartet_server.objects.arguments import absent
from quartet_server.objects.composed import ComposedBlobs, Compositions
from quartet_server.objects.contract import BlobInfo, BlobStore
from quartet_server.objects.digest import HASH_BYTES, LARGEST, Digest
from quartet_server.objects.pins import Holder, Pins
from quartet_server.objects.wire.bytestream import ByteStream
from quartet_server.objects.wire.capabilities import Capabilities
from quartet_server.objects.wire.cas import ContentAddressableStorage
from quartet_server.objects.wire.flow import Places, framed, next_request, resized
from quartet_server.objects.wire.uploads import Uploads
from quartet_server.objects.zones import Zones

Context = aio.ServicerContext[Any, Any]

BATCH = 1000
"""Most digests in one call."""
PIN_ID_BYTES = 128
PIN_SECONDS = 3600
LONGEST_PIN_SECONDS = 7 * 24 * 3600

_DATA = pb.GetRangeResponse.DESCRIPTOR.fields_by_name["data"].number
_EVER = float("inf")
SETTLED_SECONDS = 3600.0
"""For how long nobody must have put or asked for a blob that is deleted: longer than it takes to write a file."""


async def start(resources: Resources) -> Objects:
    """Serve the blobs of the node's store."""
    assert resources.objects is not None, "the composition root opens the store when this service is on"
    zones, pins = Zones(resources.metastore), Pins(resources.metastore)
    store = ComposedBlobs(resources.objects, Compositions(resources.metastore))
    settled = resources.config.objects.gc_grace + resources.objects.touch_seconds
    return Objects(store, zones, pins, resources.clock, resources.holders, settled)


class Objects:
    """All services that move blobs, sharing one limit of uploads in flight."""

    def __init__(
        self,
        store: BlobStore,
        zones: Zones,
        pins: Pins,
        clock: Callable[[], float],
        holders: Sequence[Holder] = (),
        settled: float | None = None,
    ) -> None:
        """Serve the blobs of `store`; `clock` says the seconds since 1970; see `ObjectService` for the others."""
        places = Places()
        self._uploads = Uploads(store, places)
        self._service = ObjectService(store, zones, pins, clock, places, holders, settled)
        self._cas = ContentAddressableStorage(store, zones, places)
        self._bytes = ByteStream(store, zones, self._uploads)
        self._capabilities = Capabilities(zones)

    @property
    def names(self) -> tuple[str, ...]:
        """Full names of the gRPC services."""
        return (
            objects_pb2.DESCRIPTOR.services_by_name["ObjectService"].full_name,
            ContentAddressableStorage.name,
            ByteStream.name,
            Capabilities.name,
        )

    def add_to(self, server: aio.Server) -> None:
        """Register the servicers."""
        objects_pb2_grpc.add_ObjectServiceServicer_to_server(self._service, server)
        self._cas.add_to(server)
        self._bytes.add_to(server)
        self._capabilities.add_to(server)

    async def stop(self) -> None:
        """Let go of uploads that broke off."""
        await self._uploads.close()


class ObjectService(objects_pb2_grpc.ObjectServiceServicer):
    """Serves `quartet.objects.v1.ObjectService` from a store of blobs."""

    def __init__(
        self,
        store: BlobStore,
        zones: Zones,
        pins: Pins,
        clock: Callable[[], float],
        places: Places,
        holders: Sequence[Holder] = (),
        settled: float | None = None,
    ) -> None:
        """Serve `store`.

        `holders` are asked, after `pins`, before anything is deleted; what was put or asked for less than `settled` seconds
        ago is not: SETTLED_SECONDS, and what the store's times may lag, if not given.
        """
        self._store = store
        self._zones = zones
        self._pins = pins
        self._clock = clock
        self._places = places
        self._holders: tuple[Holder, ...] = (pins, *holders)
        self._settled = SETTLED_SECONDS + store.touch_seconds if settled is None else settled

    async def PutStream(self, requests: AsyncIterator[pb.PutStreamRequest], context: Context) -> pb.PutStreamResponse:
        """Write while the bytes come; nothing is visible before all of them are durable."""
        zone = await self._zones.current()
        request = await next_request(requests)
        expected = digest_of(request.expected, "expected") if request and request.HasField("expected") else None
        if expected is not None and not await self._store.missing(zone, [expected]):
            return pb.PutStreamResponse(digest=message_of(expected), existed=True)
        with self._places.taken():
            async with self._store.writer(zone, expected) as writer:
                while request is not None:
                    if data := request.data:
                        await writer.write(data)
                    request = await next_request(requests)
                    if request is not None and request.HasField("expected"):
                        raise FieldInvalid.of("expected", "belongs into the first request")
                return pb.PutStreamResponse(digest=message_of(await writer.commit()))

    async def GetRange(self, request: pb.GetRangeRequest, context: Context) -> AsyncIterator[Any]:
        """Send pieces as fast as the caller takes them."""
        zone = await self._zones.current()
        digest = digest_of(request.digest)
        if request.length < 0:
            raise FieldInvalid.of("length", "must not be negative")
        async for piece in resized(self._store.read(zone, digest, request.offset, request.length or None)):
            yield framed(_DATA, piece)

    async def Stat(self, request: pb.StatRequest, context: Context) -> pb.Blob:
        """Look one up."""
        zone = await self._zones.current()
        digest = digest_of(request.digest)
        info = await self._store.stat(zone, digest)
        if info is None:
            raise absent(digest)
        return _blob(info)

    async def BatchStat(self, request: pb.BatchStatRequest, context: Context) -> pb.BatchStatResponse:
        """Look many up."""
        zone = await self._zones.current()
        digests = _digests(request.digests)
        found = await asyncio.gather(*(self._store.stat(zone, digest) for digest in digests))
        return pb.BatchStatResponse(
            blobs=[_blob(info) for info in found if info is not None],
            missing=[message_of(digest) for digest, info in zip(digests, found, strict=True) if info is None],
        )

    async def Pin(self, request: pb.PinRequest, context: Context) -> pb.PinResponse:
        """Write the pin, then see that the blobs are there: in this order, a collector sees the pin or is undone."""
        zone = await self._zones.current()
        pin_id, digests, seconds = _pin_id(request.pin_id), _digests(request.digests), PIN_SECONDS
        if not digests:
            raise FieldInvalid.of("digests", "names no blob")
        if request.HasField("pin_ttl"):
            seconds = request.pin_ttl.seconds
            if not 1 <= seconds <= LONGEST_PIN_SECONDS:
                raise FieldInvalid.of("pin_ttl", f"must be from 1 to {LONGEST_PIN_SECONDS} seconds")
        until = self._clock() + seconds
        await self._pins.pin(zone, pin_id, digests, seconds)
        if missing := await self._store.missing(zone, digests):
            await self._pins.unpin(zone, pin_id)
            await self._store.stat(zone, missing[0])  # which says it if a node that does not answer may have it
            raise BlobNotFound(
                f"{len(missing)} of {len(digests)} blobs are not there, {missing[0]} is the first",
                digest=str(missing[0]),
            )
        return pb.PinResponse(expire_time=_time(until))

    async def Unpin(self, request: pb.UnpinRequest, context: Context) -> pb.UnpinResponse:
        """Let go of a pin."""
        zone = await self._zones.current()
        return pb.UnpinResponse(existed=await self._pins.unpin(zone, _pin_id(request.pin_id)))

    async def Delete(self, request: pb.DeleteRequest, context: Context) -> pb.DeleteResponse:
        """Condemn, then look for holders, then sweep: whoever began to hold one meanwhile has saved it."""
        zone = await self._zones.current()
        digests = [digest for digest in _digests(request.digests) if not digest.is_empty]
        since = self._clock() - self._settled
        for info in await asyncio.gather(*(self._store.stat(zone, digest) for digest in digests)):
            if info is not None and info.touched > since:
                raise BlobInUse(f"{info.digest} was put or asked for lately", digest=str(info.digest))
        condemned = await self._store.condemn(zone, digests, since)  # not what was put since we looked
        for holder in self._holders:
            if held := await holder.held(zone, condemned):
                await self._store.missing(zone, condemned)
                raise BlobInUse(f"{len(held)} of {len(digests)} blobs are held", digest=str(min(held)))
        return pb.DeleteResponse(deleted=len(await self._store.sweep(zone, condemned, _EVER)))


def digest_of(message: pb.Digest, field: str = "digest") -> Digest:
    """Return the digest that a message names. Raises FieldInvalid."""
    if len(message.hash) != HASH_BYTES:
        raise FieldInvalid.of(f"{field}.hash", f"must be a SHA-256 of {HASH_BYTES} bytes")
    if not 0 <= message.size <= LARGEST:
        raise FieldInvalid.of(f"{field}.size", f"must be from 0 to {LARGEST}")
    return Digest.parse(message.hash.hex(), message.size, field)


def message_of(digest: Digest) -> pb.Digest:
    """Return the message that names a digest."""
    return pb.Digest(hash=digest.hash, size=digest.size)


def _digests(messages: Iterable[pb.Digest]) -> list[Digest]:
    digests = [digest_of(message, f"digests[{at}]") for at, message in enumerate(messages)]
    if len(digests) > BATCH:
        raise FieldInvalid.of("digests", f"{len(digests)} were given, at most {BATCH} are taken")
    return list(dict.fromkeys(digests))


def _pin_id(name: str) -> str:
    if not 1 <= len(name.encode()) <= PIN_ID_BYTES or "\0" in name:
        raise FieldInvalid.of("pin_id", f"must be 1 to {PIN_ID_BYTES} bytes without NUL")
    return name


def _blob(info: BlobInfo) -> pb.Blob:
    blob = pb.Blob(digest=message_of(info.digest), stored_bytes=info.stored, touch_time=_time(info.touched))
    if info.condemned is not None:
        blob.condemn_time.CopyFrom(_time(info.condemned))
    return blob


def _time(seconds: float) -> Timestamp:
    moment = Timestamp()
    moment.FromMicroseconds(int(seconds * 1_000_000))
    return moment
