"""Between bodies of files and the store of blobs: loading, keeping, reading, extending and cutting."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from quartet.files.storage.v1 import storage_pb2

from quartet_server.errors import BlobNotFound, Contention, ContentLost, MountNotFound, UploadExpired
from quartet_server.files.contents.body import INLINE, LISTED, Body, check_size, chunks_of, digest_of, encoded
from quartet_server.files.contents.hashes import Hash, RunningHashes
from quartet_server.files.paths import Path
from quartet_server.objects.chunking import STANDARD, THRESHOLD, cut
from quartet_server.objects.contract import BlobStore
from quartet_server.objects.digest import Digest
from quartet_server.objects.mounts.addresses import address

RENEW = 1200.0
"""Seconds after which uploads renew what they have stored, if nothing else is said: a third of the usual grace."""
_ZEROS = bytes(STANDARD.largest)
_TOGETHER = 1000  # chunks that the store is asked for at once


@dataclass(slots=True)
class Contents:
    """The bytes of all zones' files.

    Whatever a body that is returned consists of is durable: only then may an inode refer to it. Errors of every method
    besides its own: those of `BlobStore`.

    Attributes:
        blobs: Where chunks and long lists of them are.
        hashes: States of SHA-256 from which appends go on.
        renew: Seconds after which what was stored and no inode refers to yet is asked for again, so that it outlives the
            collector's grace: well below that.
        pause: Waits for so many seconds.
    """

    blobs: BlobStore
    hashes: RunningHashes = field(default_factory=RunningHashes)
    renew: float = RENEW
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def renewed(self, zone: str, digests: Sequence[Digest]) -> None:
        """Keep what was stored for another grace of the collector. Raises UploadExpired when it came too late."""
        for i in range(0, len(digests), _TOGETHER):
            if gone := await self.blobs.missing(zone, digests[i : i + _TOGETHER]):
                raise UploadExpired(
                    f"{len(gone)} chunks were collected before a file referred to them", digest=str(gone[0])
                )

    async def load(self, zone: str, path: Path, inode: storage_pb2.Inode) -> Body:
        """Return what a file's inode refers to. Raises ContentAbsent, ContentLost."""
        digest, content = digest_of(inode, path), inode.content
        if not content.HasField("list"):
            return Body(digest, content.inline, chunks_of(content), content.store)
        try:
            listed = await self.blobs.get(address(zone, content.store), Digest(content.list.hash, content.list.size))
        except BlobNotFound as error:
            raise _lost(path, error) from error
        return Body(digest, b"", chunks_of(storage_pb2.ChunkList.FromString(listed)), content.store)

    async def refer(self, zone: str, body: Body) -> storage_pb2.Content:
        """Return what an inode says of a body; a long list of chunks becomes a blob of its own."""
        if len(body.chunks) <= LISTED:
            store = body.store if body.chunks else 0
            return storage_pb2.Content(inline=body.inline, chunks=encoded(body.chunks), store=store)
        listed = storage_pb2.ChunkList(chunks=encoded(body.chunks)).SerializeToString(deterministic=True)
        digest = await self.blobs.put(address(zone, body.store), listed)
        return storage_pb2.Content(list=storage_pb2.Chunk(hash=digest.hash, size=digest.size), store=body.store)

    async def moved(self, zone: str, path: Path, body: Body, store: int) -> Body:
        """Return the body with its chunks in another store, where they are from now on too. Raises ContentLost, Contention."""
        if body.chunks and body.store != store:
            there = address(zone, store)
            try:
                for chunk in await self.blobs.missing(there, body.chunks):
                    await self.blobs.put(there, await self._chunk(zone, path, body.store, chunk), chunk)
            except MountNotFound as error:
                raise Contention(f"a store was unmounted while {path} was written") from error
        return replace(body, store=store)

    async def keep(self, zone: str, contents: Iterable[storage_pb2.Content]) -> None:
        """Let the store know that what these refer to is wanted, so that it stays until new inodes refer to it too.

        What is lost already is not told: a copy of a file refers to the same lost bytes.
        """
        stores: dict[int, dict[Digest, None]] = {}
        for content in contents:
            wanted = stores.setdefault(content.store, {})
            wanted.update(dict.fromkeys(chunks_of(content)))
            if content.HasField("list"):
                listed = Digest(content.list.hash, content.list.size)
                wanted[listed] = None
                try:
                    data = await self.blobs.get(address(zone, content.store), listed)
                except BlobNotFound:
                    continue
                wanted.update(dict.fromkeys(chunks_of(storage_pb2.ChunkList.FromString(data))))
        for store, wanted in stores.items():
            if wanted:
                await self.blobs.missing(address(zone, store), wanted)

    async def read(
        self, zone: str, path: Path, body: Body, offset: int = 0, length: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `offset`, at most `length` of them, in pieces of at most 1 MiB. Raises ContentLost."""
        if body.inline:
            piece = body.inline[offset:] if length is None else body.inline[offset : offset + length]
            if piece:
                yield piece
            return
        for part in body.list().parts(offset, length):
            try:
                async with aclosing(
                    self.blobs.read(address(zone, body.store), part.chunk, part.offset, part.length)
                ) as pieces:
                    async for piece in pieces:
                        yield piece
            except BlobNotFound as error:
                raise _lost(path, error) from error

    async def extended(self, zone: str, path: Path, body: Body, data: bytes) -> Body:
        """Return the body with `data` at its end. Raises FileTooLarge, ContentLost.

        The new bytes take the last chunks with them while those are not twice as long, as a binary counter carries: a file
        that grows by small appends has few chunks, and each byte is written again about as often as its size doubles.
        """
        size = body.size + len(data)
        check_size(size, path)
        if size <= INLINE:
            return Body.small(body.inline + data)
        state = await self._state(zone, path, body)
        state.update(data)
        chunks, tail = list(body.chunks), body.inline + data
        while chunks and chunks[-1].size < 2 * len(tail) and chunks[-1].size + len(tail) <= STANDARD.largest:
            tail = await self._chunk(zone, path, body.store, chunks.pop()) + tail
        pieces = cut(tail) if len(tail) > THRESHOLD else [tail]
        place = address(zone, body.store)
        chunks += [await self.blobs.put(place, bytes(piece)) for piece in pieces]
        digest = Digest(state.digest(), size)
        self.hashes.remember(digest, state)
        return Body(digest, b"", tuple(chunks), body.store)

    async def resized(self, zone: str, path: Path, body: Body, size: int) -> Body:
        """Return the body cut off at, or filled with zeros up to, `size` bytes. Raises FileTooLarge, ContentLost."""
        check_size(size, path)
        if size == body.size:
            return body
        if size <= max(INLINE, len(body.inline)):
            kept = b"".join([piece async for piece in self.read(zone, path, body, 0, size)])
            return Body.small(kept.ljust(size, b"\0"))
        if size < body.size:
            return await self._shortened(zone, path, body, size)
        return await self._filled(zone, path, body, size)

    async def _shortened(self, zone: str, path: Path, body: Body, size: int) -> Body:
        chunks = []
        for part in body.list().parts(0, size):
            if part.length == part.chunk.size:
                chunks.append(part.chunk)
            else:
                data = await self._chunk(zone, path, body.store, part.chunk)
                chunks.append(await self.blobs.put(address(zone, body.store), data[: part.length]))
        state = hashlib.sha256()
        async for piece in self.read(zone, path, body, 0, size):
            state.update(piece)
        return self._told(state, size, chunks, body.store)

    async def _filled(self, zone: str, path: Path, body: Body, size: int) -> Body:
        state, place = await self._state(zone, path, body), address(zone, body.store)
        chunks, missing = list(body.chunks), size - body.size
        if body.inline:  # the bytes that lived in the inode begin the first chunk
            first = body.inline + _ZEROS[: min(missing, STANDARD.largest - len(body.inline))]
            chunks.append(await self.blobs.put(place, first))
            state.update(first[len(body.inline) :])
            missing -= len(first) - len(body.inline)
        whole = None
        while missing:
            if missing >= len(_ZEROS):
                whole = whole or await self.blobs.put(place, _ZEROS)
                chunks.append(whole)
            else:
                chunks.append(await self.blobs.put(place, _ZEROS[:missing]))
            state.update(_ZEROS[: chunks[-1].size])
            missing -= chunks[-1].size
        return self._told(state, size, chunks, body.store)

    def _told(self, state: Hash, size: int, chunks: list[Digest], store: int) -> Body:
        digest = Digest(state.digest(), size)
        self.hashes.remember(digest, state)
        return Body(digest, b"", tuple(chunks), store)

    async def _state(self, zone: str, path: Path, body: Body) -> Hash:
        """Return a hash that has seen the body: remembered, or by reading it."""
        if (state := self.hashes.after(body.digest)) is not None:
            return state
        state = hashlib.sha256()
        async for piece in self.read(zone, path, body):
            state.update(piece)
        return state

    async def _chunk(self, zone: str, path: Path, store: int, chunk: Digest) -> bytes:
        try:
            return await self.blobs.get(address(zone, store), chunk)
        except BlobNotFound as error:
            raise _lost(path, error) from error


def _lost(path: Path, error: BlobNotFound) -> ContentLost:
    return ContentLost(f"bytes of {path} are gone: {error.message}", path=str(path), digest=error.metadata["digest"])
