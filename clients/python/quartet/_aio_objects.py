"""Blobs, for asyncio."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path

from quartet._aio_transport import AsyncTransport, Endpoint, Unary
from quartet._digests import PIECE, Digest, pieces
from quartet._errors import Unavailable
from quartet._objects import RESUMPTIONS, SLOWEST, Named, batches, check, part, pin_request
from quartet._placing import placed
from quartet._retry import Backoff
from quartet.objects.replicas.v1 import replicas_pb2
from quartet.objects.v1 import objects_pb2 as pb
from quartet.wire.reapi import cas_pb2, digests_pb2

Requests = Callable[[], AsyncIterator[pb.PutStreamRequest]]


class AsyncObjects:
    """Immutable bytes by their digest. Arguments, answers and errors are those of `quartet.Client.objects`."""

    def __init__(self, transport: AsyncTransport) -> None:
        """Call over `transport`."""
        self._transport = transport

    async def put(self, data: bytes, *, timeout: float | None = None) -> Digest:
        """Store bytes; those that are there already are not sent again."""

        async def some() -> AsyncIterator[bytes]:
            for at in range(0, len(data), PIECE):
                yield data[at : at + PIECE]

        return await self._put(Digest.of(data), some, timeout)

    async def put_file(self, path: str | Path, *, timeout: float | None = None) -> Digest:
        """Store what a file holds, however large; what is there already is not sent again."""

        async def some() -> AsyncIterator[bytes]:
            source: Iterator[bytes] = pieces(path)
            while piece := await asyncio.to_thread(next, source, b""):
                yield piece

        return await self._put(await asyncio.to_thread(Digest.of_file, path), some, timeout)

    async def get(self, digest: Named, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return a blob, or a part of it."""
        named = Digest.named(digest)
        data = b"".join([piece async for piece in self.read(named, offset=offset, length=length)])
        if offset == 0 and length is None:
            check(named, Digest.of(data))
        return data

    async def get_file(self, digest: Named, path: str | Path) -> None:
        """Write a blob into a file, which appears when it is whole."""
        named, found = Digest.named(digest), hashlib.sha256()
        with placed(path) as file:
            async for piece in self.read(named):
                found.update(piece)
                await asyncio.to_thread(file.write, piece)
            check(named, Digest(found.digest(), file.tell()))

    async def read(self, digest: Named, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Yield a blob, or a part of it, in pieces; goes on with another node when one fails. Checks no digest."""
        named = Digest.named(digest)
        end = named.size if length is None else min(offset + length, named.size)
        if length == 0:
            return
        tries, backoff = 0, Backoff()
        while True:
            request = part(named, offset, end)
            try:
                async for answer in self._transport.stream(lambda at: at.objects.GetRange, request):
                    if answer.data:
                        yield answer.data
                        offset += len(answer.data)
                        tries, backoff = 0, Backoff()
            except Unavailable as error:
                tries += 1
                if tries > RESUMPTIONS:
                    raise
                if offset >= end > 0:
                    return
                await self._transport.rest(backoff.after(error))
            else:
                return

    async def stat(self, digest: Named) -> pb.Blob:
        """Tell about a blob."""
        request = pb.StatRequest(digest=Digest.named(digest).message)
        return await self._transport.call(lambda at: at.objects.Stat, request, safe=True)

    async def stat_many(self, digests: Sequence[Named]) -> tuple[list[pb.Blob], list[Digest]]:
        """Tell about any number of blobs: those that are there, and the digests of the others."""
        blobs: list[pb.Blob] = []
        missing: list[Digest] = []
        for some in batches(digests):
            request = pb.BatchStatRequest(digests=some)
            answer = await self._transport.call(lambda at: at.objects.BatchStat, request, safe=True)
            blobs += answer.blobs
            missing += map(Digest.named, answer.missing)
        return blobs, missing

    async def status(self) -> replicas_pb2.Status:
        """Tell where the copies of blobs are, node by node, and what is missing; for operators."""
        request = replicas_pb2.GetStatusRequest()
        return await self._transport.call(lambda at: at.replicas.GetStatus, request, safe=True)

    async def pin(self, pin_id: str, digests: Sequence[Named], *, seconds: int = 3600) -> pb.PinResponse:
        """Keep blobs for so long, under an id that the caller chooses; again to renew."""
        request = pin_request(pin_id, digests, seconds)
        return await self._transport.call(lambda at: at.objects.Pin, request, safe=True)

    async def unpin(self, pin_id: str) -> bool:
        """End a pin; tell whether there was one."""
        request = pb.UnpinRequest(pin_id=pin_id)
        return (await self._transport.call(lambda at: at.objects.Unpin, request, safe=True)).existed

    async def delete(self, digests: Sequence[Named]) -> int:
        """Remove blobs; return how many were there."""
        deleted = 0
        for some in batches(digests):
            request = pb.DeleteRequest(digests=some)
            deleted += (await self._transport.call(lambda at: at.objects.Delete, request, safe=True)).deleted
        return deleted

    async def _put(self, digest: Digest, data: Callable[[], AsyncIterator[bytes]], timeout: float | None) -> Digest:
        if digest.size > PIECE and await self._has(
            digest
        ):  # a status that comes while it sends, grpc.aio takes for a fault
            return digest

        async def requests() -> AsyncIterator[pb.PutStreamRequest]:
            first = True
            async for piece in data():
                yield pb.PutStreamRequest(data=piece, expected=digest.message if first else None)
                first = False
            if first:
                yield pb.PutStreamRequest(expected=digest.message)

        def method(at: Endpoint) -> Unary[Requests, pb.PutStreamResponse]:
            def put(
                request: Requests, *, timeout: float | None, metadata: tuple[tuple[str, str], ...]
            ) -> Awaitable[pb.PutStreamResponse]:
                return at.objects.PutStream(request(), timeout=timeout, metadata=metadata)

            return put

        allowed = self._transport.timeout + digest.size / SLOWEST if timeout is None else timeout
        answer = await self._transport.call(method, requests, safe=True, timeout=allowed)
        return Digest.named(answer.digest)

    async def _has(self, digest: Digest) -> bool:
        """Tell whether a blob is there, and keep it from being collected for a while."""
        named = digests_pb2.Digest(hash=digest.hash.hex(), size_bytes=digest.size)
        request = cas_pb2.FindMissingBlobsRequest(blob_digests=[named])
        answer = await self._transport.call(lambda at: at.blobs.FindMissingBlobs, request, safe=True)
        return not answer.missing_blob_digests
