"""Copying a blob from one place to another."""

from __future__ import annotations

from contextlib import aclosing

from quartet_server.objects.contract import Put
from quartet_server.objects.digest import Digest
from quartet_server.objects.replicas.place import Place

AT_ONCE = 1 << 20
"""Bytes up to which a blob is copied in one call."""


async def copy(source: Place, target: Place, zone: str, digest: Digest, placement: int = 0) -> None:
    """Copy a blob; durable on `target` when this returns. `placement` as in `Place.put`.

    Raises BlobNotFound, BlobCorrupt of the source, StoreFull of the target, ObjectStoreUnreachable of either.
    """
    if digest.size <= AT_ONCE:
        await target.put(zone, Put(digest, await source.get(zone, digest)), placement)
        return
    async with (
        target.writer(zone, digest, placement) as writer,
        aclosing(source.read(zone, digest, 0, digest.size, True)) as pieces,
    ):
        async for piece in pieces:
            await writer.write(piece)
        await writer.commit()
