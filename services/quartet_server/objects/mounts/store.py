"""The node's own store of blobs, and every mounted one, as one `BlobStore`: the address says which is meant."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager

from quartet_server.errors import QuartetError
from quartet_server.objects.buffered import BufferedWriter
from quartet_server.objects.contract import LIST_LIMIT, BlobInfo, BlobStore, BlobWriter, Put, Usage
from quartet_server.objects.digest import Digest
from quartet_server.objects.mounts.addresses import parsed
from quartet_server.objects.mounts.opened import OpenStores


class MountedBlobs:
    """A `BlobStore` whose zones may be addresses of blobs in mounted stores (`addresses.py`).

    Calls that name a zone alone are the own store's, which is not asked about anything else: `zones`, `usage` of all and
    `touch_seconds` are the own store's too. Calls about a mounted store raise MountNotFound, MountRefused, ObjectsNotShared and
    ObjectStoreUnreachable besides what the contract says.
    """

    def __init__(self, own: BlobStore, mounts: OpenStores) -> None:
        """Serve `own`, and what `mounts` opens."""
        self._own = own
        self._mounts = mounts

    @property
    def touch_seconds(self) -> float:
        """See `BlobStore.touch_seconds`."""
        return self._own.touch_seconds

    @asynccontextmanager
    async def _reading(self, place: str) -> AsyncIterator[tuple[BlobStore, str]]:
        """Give the store and the zone that an address names to a block."""
        zone, number = parsed(place)
        if not number:
            yield self._own, zone
            return
        async with self._mounts.reading(zone, number) as store:
            yield store, zone

    @asynccontextmanager
    async def _writing(self, place: str) -> AsyncIterator[tuple[BlobStore, str]]:
        zone, number = parsed(place)
        if not number:
            yield self._own, zone
            return
        async with self._mounts.writing(zone, number) as store:
            yield store, zone

    async def missing(self, zone: str, digests: Iterable[Digest]) -> list[Digest]:
        """See `BlobStore.missing`."""
        async with self._reading(zone) as (store, zone):
            return await store.missing(zone, digests)

    async def stat(self, zone: str, digest: Digest) -> BlobInfo | None:
        """See `BlobStore.stat`."""
        async with self._reading(zone) as (store, zone):
            return await store.stat(zone, digest)

    async def put(self, zone: str, data: bytes, digest: Digest | None = None) -> Digest:
        """See `BlobStore.put`."""
        async with self._writing(zone) as (store, zone):
            return await store.put(zone, data, digest)

    async def put_many(self, zone: str, blobs: Sequence[Put]) -> list[QuartetError | None]:
        """See `BlobStore.put_many`."""
        async with self._writing(zone) as (store, zone):
            return await store.put_many(zone, blobs)

    def writer(self, zone: str, declared: Digest | None = None, *, limit: int | None = None) -> BlobWriter:
        """See `BlobStore.writer`; a blob on its way into a mounted store is held in memory, as files' chunks are."""
        place = zone
        zone, number = parsed(place)
        if not number:
            return self._own.writer(zone, declared, limit=limit)

        async def keep(digest: Digest, data: bytes) -> None:
            await self.put(place, data, digest)

        return BufferedWriter(keep, declared, limit)

    async def read(
        self, zone: str, digest: Digest, offset: int = 0, length: int | None = None, *, verify: bool | None = None
    ) -> AsyncGenerator[bytes, None]:
        """See `BlobStore.read`."""
        async with (
            self._reading(zone) as (store, zone),
            aclosing(store.read(zone, digest, offset, length, verify=verify)) as pieces,
        ):
            async for piece in pieces:
                yield piece

    async def get(self, zone: str, digest: Digest) -> bytes:
        """See `BlobStore.get`."""
        async with self._reading(zone) as (store, zone):
            return await store.get(zone, digest)

    async def get_many(self, zone: str, digests: Sequence[Digest], limit: int) -> Mapping[Digest, bytes | QuartetError]:
        """See `BlobStore.get_many`."""
        async with self._reading(zone) as (store, zone):
            return await store.get_many(zone, digests, limit)

    async def delete(self, zone: str, digests: Iterable[Digest]) -> int:
        """See `BlobStore.delete`."""
        async with self._reading(zone) as (store, zone):
            return await store.delete(zone, digests)

    async def condemn(self, zone: str, digests: Iterable[Digest], untouched_since: float) -> list[Digest]:
        """See `BlobStore.condemn`."""
        async with self._reading(zone) as (store, zone):
            return await store.condemn(zone, digests, untouched_since)

    async def sweep(self, zone: str, digests: Iterable[Digest], condemned_until: float) -> list[Digest]:
        """See `BlobStore.sweep`."""
        async with self._reading(zone) as (store, zone):
            return await store.sweep(zone, digests, condemned_until)

    async def scan(self, zone: str, after: Digest | None = None, limit: int = LIST_LIMIT) -> Sequence[BlobInfo]:
        """See `BlobStore.scan`."""
        async with self._reading(zone) as (store, zone):
            return await store.scan(zone, after, limit)

    async def zones(self) -> Sequence[str]:
        """See `BlobStore.zones`."""
        return await self._own.zones()

    async def usage(self, zone: str | None = None) -> Usage:
        """See `BlobStore.usage`."""
        if zone is None:
            return await self._own.usage()
        async with self._reading(zone) as (store, zone):
            return await store.usage(zone)

    async def close(self) -> None:
        """Do nothing: whoever opened the stores closes them."""
