"""A node's own disk, as its share of the cluster's blobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from types import TracebackType
from typing import Self

from quartet_server.errors import BlobCorrupt, QuartetError
from quartet_server.objects.contract import LIST_LIMIT, BlobInfo, BlobStore, BlobWriter, Put, Tidies, Usage
from quartet_server.objects.digest import Digest

_Key = tuple[str, Digest]


class OwnShare:
    """A `BlobStore` that is one node's disk and nothing else; the collector and the scrub of each node work on it.

    Beside the contract it knows which writes are under way, says what it finds damaged, and lets nobody hit a blob that is
    being dropped as a copy too many.
    """

    def __init__(self, store: BlobStore, on_damage: Callable[[str, Digest], None] = lambda zone, digest: None) -> None:
        """Own `store`; `on_damage` is told of each blob whose bytes are not its own any more, on the loop."""
        self._store = store
        self._on_damage = on_damage
        self._writing = set[asyncio.Future[None]]()
        self._dropping = dict[_Key, asyncio.Future[None]]()

    def tell_damage(self, on_damage: Callable[[str, Digest], None]) -> None:
        """Tell `on_damage` from now on."""
        self._on_damage = on_damage

    @property
    def touch_seconds(self) -> float:
        """See `BlobStore.touch_seconds`."""
        return self._store.touch_seconds

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writing.add(done)
        try:
            yield
        finally:
            self._writing.discard(done)
            done.set_result(None)

    async def quiesce(self) -> None:
        """Wait until every write has ended that has begun."""
        if self._writing:
            await asyncio.wait(set(self._writing))

    async def _settled(self, zone: str, digests: Iterable[Digest]) -> None:
        """Wait until none of `digests` is being dropped."""
        while self._dropping and (
            busy := {drop for digest in digests if (drop := self._dropping.get((zone, digest))) is not None}
        ):
            await asyncio.wait(busy)

    @contextmanager
    def dropping(self, zone: str, digests: Sequence[Digest]) -> Iterator[None]:
        """Let puts and hits of `digests` wait until the block ends."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        keys = [(zone, digest) for digest in digests]
        self._dropping.update(dict.fromkeys(keys, done))
        try:
            yield
        finally:
            for key in keys:
                self._dropping.pop(key, None)
            done.set_result(None)

    async def missing(self, zone: str, digests: Iterable[Digest]) -> list[Digest]:
        """See `BlobStore.missing`."""
        named = list(digests)
        await self._settled(zone, named)
        return await self._store.missing(zone, named)

    async def stat(self, zone: str, digest: Digest) -> BlobInfo | None:
        """See `BlobStore.stat`."""
        return await self._store.stat(zone, digest)

    async def put(self, zone: str, data: bytes, digest: Digest | None = None) -> Digest:
        """See `BlobStore.put`."""
        if self._dropping:
            await self._settled(zone, [digest or Digest.of(data)])
        with self._under_way():
            return await self._store.put(zone, data, digest)

    async def put_many(self, zone: str, blobs: Sequence[Put]) -> list[QuartetError | None]:
        """See `BlobStore.put_many`."""
        await self._settled(zone, (blob.digest for blob in blobs))
        with self._under_way():
            return await self._store.put_many(zone, blobs)

    def writer(self, zone: str, declared: Digest | None = None, *, limit: int | None = None) -> BlobWriter:
        """See `BlobStore.writer`."""
        return _Writer(self, zone, declared, self._store.writer(zone, declared, limit=limit))

    async def read(
        self, zone: str, digest: Digest, offset: int = 0, length: int | None = None, *, verify: bool | None = None
    ) -> AsyncGenerator[bytes, None]:
        """See `BlobStore.read`."""
        try:
            async with aclosing(self._store.read(zone, digest, offset, length, verify=verify)) as pieces:
                async for piece in pieces:
                    yield piece
        except BlobCorrupt:
            self._on_damage(zone, digest)
            raise

    async def get(self, zone: str, digest: Digest) -> bytes:
        """See `BlobStore.get`."""
        try:
            return await self._store.get(zone, digest)
        except BlobCorrupt:
            self._on_damage(zone, digest)
            raise

    async def get_many(self, zone: str, digests: Sequence[Digest], limit: int) -> Mapping[Digest, bytes | QuartetError]:
        """See `BlobStore.get_many`."""
        found = await self._store.get_many(zone, digests, limit)
        for digest, data in found.items():
            if isinstance(data, BlobCorrupt):
                self._on_damage(zone, digest)
        return found

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


class _Writer:
    """A writer of an `OwnShare`: what it commits is a write under way."""

    def __init__(self, share: OwnShare, zone: str, declared: Digest | None, inner: BlobWriter) -> None:
        self._share = share
        self._zone = zone
        self._declared = declared
        self._inner = inner

    @property
    def size(self) -> int:
        """See `BlobWriter.size`."""
        return self._inner.size

    async def write(self, data: bytes) -> None:
        """See `BlobWriter.write`."""
        await self._inner.write(data)

    async def commit(self) -> Digest:
        """See `BlobWriter.commit`."""
        if self._declared is not None:
            await self._share._settled(self._zone, [self._declared])
        with self._share._under_way():
            return await self._inner.commit()

    async def abort(self) -> None:
        """See `BlobWriter.abort`."""
        await self._inner.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.abort()
