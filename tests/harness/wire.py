"""A port that serves blobs from a store in memory, and how clients of the Remote Execution API name what they want."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from grpc import aio
from quartet.objects.v1 import objects_pb2_grpc
from quartet.wire.reapi import bytestream_pb2, bytestream_pb2_grpc, capabilities_pb2_grpc, cas_pb2_grpc, digests_pb2
from quartet_server.objects.memory import MemoryBlobs

from raftmeta.metastore import Metastore

UPLOAD = "8f7e3b1c-5f0e-4d5a-9a53-0c7f8c0e1b2d"
OTHER = "other"
"""A zone that exists beside `default`."""


@dataclass
class Wire:
    """A running port with its store, and stubs of its services.

    Attributes:
        address: HOST:PORT.
        channel: To it.
        blobs: What is behind it.
        metastore: Where zones and pins are.
    """

    address: str
    channel: aio.Channel
    blobs: MemoryBlobs
    metastore: Metastore

    def __post_init__(self) -> None:
        self.cas = cas_pb2_grpc.ContentAddressableStorageStub(self.channel)
        self.bytes = bytestream_pb2_grpc.ByteStreamStub(self.channel)
        self.capabilities = capabilities_pb2_grpc.CapabilitiesStub(self.channel)
        self.objects = objects_pb2_grpc.ObjectServiceStub(self.channel)

    async def write(
        self, name: str, data: bytes, size: int = 1 << 20, at: int = 0, *, finish: bool = True, zone: str = ""
    ) -> int:
        """Send `data` in pieces of `size` from offset `at` on; return the committed size."""
        metadata = (("quartet-zone", zone),) if zone else ()
        return int(
            (await self.bytes.Write(requests(name, data, size, at, finish=finish), metadata=metadata)).committed_size
        )

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
