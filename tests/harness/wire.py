"""A port that serves blobs from a store in memory, and how clients of the Remote Execution API name what they want."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import grpc
from grpc import aio
from quartet.objects.v1 import objects_pb2, objects_pb2_grpc
from quartet.wire.reapi import bytestream_pb2, bytestream_pb2_grpc, capabilities_pb2_grpc, cas_pb2_grpc, digests_pb2
from quartet_server.objects.memory import MemoryBlobs

from raftmeta.metastore import Metastore

WRITE = "/google.bytestream.ByteStream/Write"
PUT = "/quartet.objects.v1.ObjectService/PutStream"
Metadata: TypeAlias = "tuple[tuple[str, str], ...]"
UPLOAD = "8f7e3b1c-5f0e-4d5a-9a53-0c7f8c0e1b2d"
OTHER = "other"
"""A zone that exists beside `default`."""


@dataclass
class Wire:
    """A running port with its store, and stubs of its services.

    Attributes:
        address: HOST:PORT.
        channel: To it.
        blocking: Another one, of gRPC's synchronous stack: that of grpc.aio now and then reports an internal error of its own
            in the place of a status that comes while it still sends.
        blobs: What is behind it.
        metastore: Where zones and pins are.
    """

    address: str
    channel: aio.Channel
    blocking: grpc.Channel
    blobs: MemoryBlobs
    metastore: Metastore

    def __post_init__(self) -> None:
        self.cas = cas_pb2_grpc.ContentAddressableStorageStub(self.channel)
        self.bytes = bytestream_pb2_grpc.ByteStreamStub(self.channel)
        self.capabilities = capabilities_pb2_grpc.CapabilitiesStub(self.channel)
        self.objects = objects_pb2_grpc.ObjectServiceStub(self.channel)

    async def send(self, path: str, requests: Iterable[Any], metadata: Metadata = ()) -> bytes:
        """Call a method that takes a stream of requests; return the answer as bytes. Raises AioRpcError."""
        method: grpc.StreamUnaryMultiCallable[Any, bytes] = self.blocking.stream_unary(
            path, lambda one: one if isinstance(one, bytes) else one.SerializeToString()
        )
        try:
            return await asyncio.to_thread(method, iter(requests), timeout=60, metadata=metadata)
        except grpc.RpcError as error:
            told = cast("grpc.Call", error)
            trailers = aio.Metadata.from_tuple(tuple(told.trailing_metadata() or ()))
            raise aio.AioRpcError(told.code(), aio.Metadata(), trailers, told.details()) from None

    async def send_write(
        self, requests: Iterable[bytestream_pb2.WriteRequest], metadata: Metadata = ()
    ) -> bytestream_pb2.WriteResponse:
        """Call ByteStream.Write. Raises AioRpcError."""
        return bytestream_pb2.WriteResponse.FromString(await self.send(WRITE, requests, metadata))

    async def send_put(
        self, requests: Iterable[objects_pb2.PutStreamRequest], metadata: Metadata = ()
    ) -> objects_pb2.PutStreamResponse:
        """Call ObjectService.PutStream. Raises AioRpcError."""
        return objects_pb2.PutStreamResponse.FromString(await self.send(PUT, requests, metadata))

    async def write(
        self, name: str, data: bytes, size: int = 1 << 20, at: int = 0, *, finish: bool = True, zone: str = ""
    ) -> int:
        """Send `data` in pieces of `size` from offset `at` on; return the committed size."""
        metadata = (("quartet-zone", zone),) if zone else ()
        return int((await self.send_write(requests(name, data, size, at, finish=finish), metadata)).committed_size)

    async def read(self, name: str, offset: int = 0, limit: int = 0) -> bytes:
        """Return what ByteStream.Read sends."""
        request = bytestream_pb2.ReadRequest(resource_name=name, read_offset=offset, read_limit=limit)
        return b"".join([response.data async for response in self.bytes.Read(request)])


def blob(size: int, seed: int = 1) -> bytes:
    """Return bytes that no compressor makes smaller, the same ones for the same seed."""
    return random.Random(seed).randbytes(size)


def hashed(data: bytes) -> str:
    """Return the hash of a blob."""
    return hashlib.sha256(data).hexdigest()


def digest(data: bytes) -> digests_pb2.Digest:
    """Return the digest of a blob."""
    return digests_pb2.Digest(hash=hashed(data), size_bytes=len(data))


def write_name(data: bytes, *, packed: bool = False, zone: str = "", upload: str = UPLOAD) -> str:
    """Return the resource name under which a blob is written."""
    kind = "compressed-blobs/zstd" if packed else "blobs"
    return f"{zone}{'/' * bool(zone)}uploads/{upload}/{kind}/{hashed(data)}/{len(data)}"


def read_name(data: bytes, *, packed: bool = False, zone: str = "") -> str:
    """Return the resource name under which a blob is read."""
    kind = "compressed-blobs/zstd" if packed else "blobs"
    return f"{zone}{'/' * bool(zone)}{kind}/{hashed(data)}/{len(data)}"


def cut(data: bytes, size: int) -> Sequence[bytes]:
    """Return pieces of `size` bytes; one empty one for nothing."""
    return [data[i : i + size] for i in range(0, len(data), size)] or [b""]


def requests(
    name: str, data: bytes, size: int, at: int = 0, *, finish: bool = True
) -> Iterator[bytestream_pb2.WriteRequest]:
    """Yield the requests that write `data` in pieces."""
    pieces = cut(data, size)
    for i, piece in enumerate(pieces):
        yield bytestream_pb2.WriteRequest(
            resource_name=name if i == 0 else "",
            write_offset=at,
            data=piece,
            finish_write=finish and i == len(pieces) - 1,
        )
        at += len(piece)
