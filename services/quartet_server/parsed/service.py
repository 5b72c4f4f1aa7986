"""ParsedService: the node's cache of parsed contents over gRPC."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio
from quartet.objects.v1 import objects_pb2
from quartet.parsed.storage.v1 import storage_pb2
from quartet.parsed.v1 import parsed_pb2, parsed_pb2_grpc
from quartet.parsed.v1 import parsed_pb2 as pb

from quartet_server.domain import Resources
from quartet_server.errors import BlobNotFound, FieldInvalid, ZoneNotFound
from quartet_server.files.places import Places, enter
from quartet_server.meta.snapshot import Snapshot
from quartet_server.meta.times import timestamps
from quartet_server.objects.contract import BlobStore
from quartet_server.objects.digest import HASH_BYTES, LARGEST, Digest
from quartet_server.parsed.cache import ParsedCache
from quartet_server.parsed.entries import Kept, Key
from quartet_server.parsed.metrics import ParsedCollector
from raftmeta.metastore import Metastore

Context = aio.ServicerContext[Any, Any]
LONGEST_DATA = 3 << 20
LONGEST_MEDIA_TYPE = 255
MOST_NOTES = 64
NOTE_BYTES = 16 << 10
LONGEST_TTL = 30 * 86_400
_FOLDER = "parsed"
_NAME = re.compile(r"[A-Za-z0-9._/+-]{1,128}")


async def start(resources: Resources) -> ParsedService:
    """Serve the cache in the node's data directory."""
    assert resources.objects is not None, "the composition root opens the store of blobs when this service is on"
    options = resources.config.parsed
    cache = ParsedCache(resources.config.serve.data_dir / _FOLDER, options.max_bytes, resources.clock)
    if resources.registry is not None:
        resources.registry.register(ParsedCollector(cache))
    return ParsedService(cache, resources.metastore, resources.objects, resources.clock, options.ttl)


class ParsedService(parsed_pb2_grpc.ParsedServiceServicer):
    """Serves `quartet.parsed.v1.ParsedService` from a cache."""

    names = (parsed_pb2.DESCRIPTOR.services_by_name["ParsedService"].full_name,)

    def __init__(
        self, cache: ParsedCache, store: Metastore, blobs: BlobStore, clock: Callable[[], float], ttl: float
    ) -> None:
        """Serve `cache`, of bytes that are in the tree in `store` or in `blobs`; entries stay for `ttl` seconds."""
        self._cache = cache
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._ttl = ttl
        self._places = Places(store, timestamps(clock))

    def add_to(self, server: aio.Server) -> None:
        """Register the servicer."""
        parsed_pb2_grpc.add_ParsedServiceServicer_to_server(self, server)

    async def stop(self) -> None:
        """Close the cache."""
        await self._cache.close()

    async def GetParsed(self, request: pb.GetParsedRequest, context: Context) -> pb.GetParsedResponse:
        """Look for an entry."""
        zone = await self._zone(context)
        found = await self._cache.get(_key(zone, request.key))
        if found is None:
            return pb.GetParsedResponse()
        try:
            stored = storage_pb2.StoredParsed.FromString(found.value)
        except DecodeError:  # of a version that wrote something else
            return pb.GetParsedResponse()
        return pb.GetParsedResponse(
            hit=True,
            data=stored.data,
            media_type=stored.media_type,
            metadata=stored.metadata,
            expire_time=_time(found.expires),
        )

    async def PutParsed(self, request: pb.PutParsedRequest, context: Context) -> pb.PutParsedResponse:
        """Keep an entry, of bytes that the zone has."""
        zone = await self._zone(context)
        key = _key(zone, request.key)
        _check(request)
        ttl = self._ttl
        if request.HasField("parsed_ttl"):
            ttl = request.parsed_ttl.seconds
            if not 1 <= ttl <= LONGEST_TTL:
                raise FieldInvalid.of("parsed_ttl", f"must be from 1 to {LONGEST_TTL} seconds")
        await self._demand(zone, key.digest, request.path)
        stored = storage_pb2.StoredParsed(data=request.data, media_type=request.media_type, metadata=request.metadata)
        expires = self._clock() + ttl
        if not await self._cache.put(key, Kept(stored.SerializeToString(deterministic=True), expires)):
            return pb.PutParsedResponse()
        return pb.PutParsedResponse(stored=True, expire_time=_time(expires))

    async def DeleteParsed(self, request: pb.DeleteParsedRequest, context: Context) -> pb.DeleteParsedResponse:
        """Forget entries."""
        zone, key = await self._zone(context), request.key
        digest = _digest(key.digest)
        if key.parser_version and not key.parser:
            raise FieldInvalid.of("key.parser", "is needed where a version is named")
        for name in ("parser", "parser_version"):
            if getattr(key, name):
                _named(getattr(key, name), f"key.{name}")
        return pb.DeleteParsedResponse(deleted=await self._cache.delete(zone, digest, key.parser, key.parser_version))

    async def _zone(self, context: Context) -> str:
        """Return the caller's zone. Raises ZoneNotFound, and FieldInvalid for a principal's name."""
        zone = enter(context)
        try:
            await self._places.root(zone, Snapshot(self._store, serializable=True))
        except ZoneNotFound:  # or created on another node, just now
            await self._places.root(zone, Snapshot(self._store))
        return zone

    async def _demand(self, zone: str, digest: Digest, path: str) -> None:
        """Demand that the zone has some bytes. Raises BlobNotFound, DigestMismatch, and as `Places.digest`."""
        if path:
            digest.check(await self._places.digest(zone, Snapshot(self._store), path))
        elif await self._blobs.stat(zone, digest) is None:
            raise BlobNotFound(
                f"no blob {digest}", digest=str(digest), hint="name the file that has the bytes, or upload them"
            )


def _key(zone: str, key: pb.ParsedKey) -> Key:
    """Return the entry that a message names. Raises FieldInvalid."""
    return Key(
        zone,
        _digest(key.digest),
        _named(key.parser, "key.parser"),
        _named(key.parser_version, "key.parser_version"),
    )


def _digest(message: objects_pb2.Digest) -> Digest:
    if len(message.hash) != HASH_BYTES:
        raise FieldInvalid.of("key.digest.hash", f"must be a SHA-256 of {HASH_BYTES} bytes")
    if not 0 <= message.size <= LARGEST:
        raise FieldInvalid.of("key.digest.size", f"must be from 0 to {LARGEST}")
    return Digest.parse(message.hash.hex(), message.size, "key.digest")


def _named(text: str, at: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise FieldInvalid.of(at, "is 1 to 128 of A-Z, a-z, 0-9, . _ / + -")
    return text


def _check(request: pb.PutParsedRequest) -> None:
    """Hold what is to be kept against its limits. Raises FieldInvalid."""
    if len(request.data) > LONGEST_DATA:
        raise FieldInvalid.of("data", f"{len(request.data)} bytes, at most {LONGEST_DATA} are taken")
    if (size := len(request.media_type.encode())) > LONGEST_MEDIA_TYPE:
        raise FieldInvalid.of("media_type", f"{size} bytes, at most {LONGEST_MEDIA_TYPE} are taken")
    if len(request.metadata) > MOST_NOTES:
        raise FieldInvalid.of("metadata", f"{len(request.metadata)} entries, at most {MOST_NOTES} are taken")
    if (size := _size(request.metadata)) > NOTE_BYTES:
        raise FieldInvalid.of("metadata", f"{size} bytes, at most {NOTE_BYTES} are taken")


def _size(notes: Mapping[str, str]) -> int:
    return sum(len(key.encode()) + len(value.encode()) for key, value in notes.items())


def _time(seconds: float) -> Timestamp:
    moment = Timestamp()
    moment.FromMicroseconds(int(seconds * 1_000_000))
    return moment
