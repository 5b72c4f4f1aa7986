"""A store on one node's disk, with an external Metastore that others may share: what they could not read is not taken."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

from quartet_server.errors import ObjectsNotShared, QuartetError
from quartet_server.objects.contract import LIST_LIMIT, BlobInfo, BlobStore, BlobWriter, Put, Tidies, Usage
from quartet_server.objects.digest import Digest

SHARED = ("s3:", "gs:", "az:")
"""Beginnings of `objects.url` under which every node sees the same blobs."""


class OneNodesBlobs:
    """A `BlobStore` that only this node has, and that takes no writes.

    With an external Metastore nobody knows which other nodes there are, so that nobody can keep copies for them: a blob
    that they cannot read, and that goes with this node's disk, is not taken. What the store holds can be read and deleted.
    """

    def __init__(self, store: BlobStore) -> None:
        """Guard `store`."""
        self._store = store

    @property
    def touch_seconds(self) -> float:
        """See `BlobStore.touch_seconds`."""
        return self._store.touch_seconds

    async def missing(self, zone: str, digests: Iterable[Digest]) -> list[Digest]:
        """See `BlobStore.missing`."""
        return await self._store.missing(zone, digests)

    async def stat(self, zone: str, digest: Digest) -> BlobInfo | None:
        """See `BlobStore.stat`."""
        return await self._store.stat(zone, digest)

    async def put(self, zone: str, data: bytes, digest: Digest | None = None) -> Digest:
        """See `BlobStore.put`. Raises ObjectsNotShared too."""
        if data:
            self._refuse()
        return await self._store.put(zone, data, digest)

    async def put_many(self, zone: str, blobs: Sequence[Put]) -> list[QuartetError | None]:
        """See `BlobStore.put_many`. Raises ObjectsNotShared too."""
        if any(blob.data for blob in blobs):
            self._refuse()
        return await self._store.put_many(zone, blobs)

    def writer(self, zone: str, declared: Digest | None = None, *, limit: int | None = None) -> BlobWriter:
        """See `BlobStore.writer`. Raises ObjectsNotShared too."""
        self._refuse()
        return self._store.writer(zone, declared, limit=limit)

    def read(
        self, zone: str, digest: Digest, offset: int = 0, length: int | None = None, *, verify: bool | None = None
    ) -> AsyncGenerator[bytes, None]:
        """See `BlobStore.read`."""
        return self._store.read(zone, digest, offset, length, verify=verify)

    async def get(self, zone: str, digest: Digest) -> bytes:
        """See `BlobStore.get`."""
        return await self._store.get(zone, digest)

    async def get_many(self, zone: str, digests: Sequence[Digest], limit: int) -> Mapping[Digest, bytes | QuartetError]:
        """See `BlobStore.get_many`."""
        return await self._store.get_many(zone, digests, limit)

    async def delete(self, zone: str, digests: Iterable[Digest]) -> int:
        """See `BlobStore.delete`."""
        return await self._store.delete(zone, digests)

    async def condemn(self, zone: str, digests: Iterable[Digest], untouched_since: float) -> list[Digest]:
        """See `BlobStore.condemn`."""
        return await self._store.condemn(zone, digests, untouched_since)

    async def sweep(self, zone: str, digests: Iterable[Digest], condemned_until: float) -> list[Digest]:
        """See `BlobStore.sweep`."""
        return await self._store.sweep(zone, digests, condemned_until)

    async def scan(self, zone: str, after: Digest | None = None, limit: int = LIST_LIMIT) -> Sequence[BlobInfo]:
        """See `BlobStore.scan`."""
        return await self._store.scan(zone, after, limit)

    async def zones(self) -> Sequence[str]:
        """See `BlobStore.zones`."""
        return await self._store.zones()

    async def usage(self, zone: str | None = None) -> Usage:
        """See `BlobStore.usage`."""
        return await self._store.usage(zone)

    async def tidy(self) -> int:
        """See `Tidies.tidy`; nothing where nothing is left behind."""
        return await self._store.tidy() if isinstance(self._store, Tidies) else 0

    async def close(self) -> None:
        """See `BlobStore.close`."""
        await self._store.close()

    def _refuse(self) -> None:
        raise ObjectsNotShared(
            "other nodes may share the external Metastore, and the bytes would be on the disk of this one alone"
        )
