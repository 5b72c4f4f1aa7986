"""Blobs and their chunks: cut into blobs of their own, and put together again."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import cast

from quartet_server.errors import FieldInvalid, LimitReached
from quartet_server.objects.arguments import absent
from quartet_server.objects.chunking import STANDARD, THRESHOLD, Chunker
from quartet_server.objects.contract import BlobStore, Put
from quartet_server.objects.digest import Digest
from quartet_server.objects.wire.batches import ASKED
from quartet_server.objects.wire.flow import Places


async def split(store: BlobStore, zone: str, digest: Digest) -> list[Digest]:
    """Cut a blob, keep its chunks, and return their digests in order; a short one is its own only chunk.

    Raises BlobNotFound, LimitReached for more chunks than a message can name, and what the store raises.
    """
    if await store.missing(zone, [digest]):
        await store.stat(zone, digest)  # which says it if a node that does not answer may have it
        raise absent(digest)
    if digest.size <= THRESHOLD:
        return [digest] if digest.size else []
    if digest.size > ASKED * STANDARD.average:
        raise LimitReached(f"{digest} would have more than {ASKED} chunks", limit=ASKED)
    chunker, named = Chunker(), []
    async with aclosing(store.read(zone, digest)) as pieces:
        async for piece in pieces:
            named += await _kept(store, zone, await asyncio.to_thread(chunker.feed, piece))
    named += await _kept(store, zone, await asyncio.to_thread(chunker.finish))
    if len(named) > ASKED:
        raise LimitReached(f"{digest} has more than {ASKED} chunks", limit=ASKED)
    return named


async def splice(store: BlobStore, zone: str, digest: Digest, chunks: list[Digest], places: Places) -> None:
    """Put a blob together from chunks that are there.

    Raises FieldInvalid for chunks of another length, BlobNotFound, DigestMismatch, TooManyRequests, and what the store raises.
    """
    if not await store.missing(zone, [digest]):
        await store.missing(zone, chunks)  # renews them
        return
    total = sum(chunk.size for chunk in chunks)
    if total != digest.size:
        raise FieldInvalid.of("chunk_digests", f"{total} bytes together, but the blob has {digest.size}")
    if missing := await store.missing(zone, chunks):
        await store.stat(zone, missing[0])
        raise absent(missing[0])
    with places.taken():
        async with store.writer(zone, digest) as writer:
            for chunk in chunks:
                async with aclosing(store.read(zone, chunk)) as pieces:
                    async for piece in pieces:
                        await writer.write(piece)
            await writer.commit()


async def _kept(store: BlobStore, zone: str, chunks: list[bytes]) -> list[Digest]:
    if not chunks:
        return []
    digests = cast("list[Digest]", await asyncio.to_thread(lambda: [Digest.of(chunk) for chunk in chunks]))
    puts = [Put(digest, chunk) for digest, chunk in zip(digests, chunks, strict=True)]
    for error in await store.put_many(zone, puts):
        if error is not None:
            raise error
    return digests
