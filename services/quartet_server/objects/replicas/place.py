"""A place for copies: a node's disk, this node's own or another's, as those see it who write, read and mend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol

from quartet_server.errors import QuartetError
from quartet_server.objects.contract import BlobInfo, BlobWriter, Put
from quartet_server.objects.digest import Digest
from quartet_server.objects.replicas.own import OwnShare

_SMALL = 64 << 10  # bytes above which a disk gives a blob a file, and a sync, of its own
_AT_ONCE = 4


class Place(Protocol):
    """One node's disk. Nothing here is passed on to yet another node.

    Every call ends within a bounded time. ObjectStoreUnreachable: the node did not answer in time, or its disk fails;
    whether a write has happened is unknown then. StoreFull: there is no room. What a method says beside that is its own.
    """

    @property
    def node(self) -> int:
        """Its member id."""

    @property
    def usable(self) -> bool:
        """Whether it is worth asking: it has not failed of late."""

    async def put(self, zone: str, blob: Put, placement: int) -> None:
        """Keep a blob durably. Raises DigestMismatch; PlacementStale when `placement` is not the newest.

        0 is repair's: any placement will do, and another node's blob that is there is not hit.
        """

    async def put_many(self, zone: str, blobs: Sequence[Put], placement: int) -> list[QuartetError | None]:
        """Keep blobs durably; tell for each why not. Raises PlacementStale."""

    def writer(self, zone: str, digest: Digest, placement: int) -> BlobWriter:
        """Begin to write a large blob. Its calls raise as the place's."""

    async def missing(self, zone: str, digests: Sequence[Digest]) -> set[Digest]:
        """Return those it does not have; renew and save the others."""

    async def hold(self, zone: str, digests: Sequence[Digest], placement: int) -> set[Digest]:
        """Return those it has and keeps under `placement`; renew and save them. Raises PlacementStale."""

    async def stat(self, zone: str, digest: Digest) -> BlobInfo | None:
        """Return what it knows of a blob."""

    async def stat_many(self, zone: str, digests: Sequence[Digest]) -> dict[Digest, BlobInfo]:
        """Return what it knows of those it has."""

    async def get(self, zone: str, digest: Digest) -> bytes:
        """Return a small blob, checked against its digest. Raises BlobNotFound, BlobCorrupt."""

    async def get_many(self, zone: str, digests: Sequence[Digest]) -> Mapping[Digest, bytes | QuartetError]:
        """Return small blobs, checked against their digests, or BlobNotFound, BlobCorrupt."""

    def read(
        self, zone: str, digest: Digest, offset: int, length: int, verify: bool | None
    ) -> AsyncGenerator[bytes, None]:
        """Yield bytes as `BlobStore.read` does."""

    async def delete(self, zone: str, digests: Sequence[Digest]) -> set[Digest]:
        """Remove blobs; return those that were there."""

    async def condemn(self, zone: str, digests: Sequence[Digest], untouched_since: float) -> set[Digest]:
        """Return those that are condemned now."""

    async def sweep(self, zone: str, digests: Sequence[Digest], condemned_until: float) -> set[Digest]:
        """Return those that are gone."""

    async def scan(self, zone: str, after: Digest | None, limit: int) -> Sequence[BlobInfo]:
        """Return a page of what it has."""

    async def zones(self) -> Sequence[str]:
        """Return the zones it has blobs in."""


class Here:
    """The own disk of a node as a `Place`."""

    usable = True

    def __init__(self, node: int, share: OwnShare) -> None:
        """Stand for `share`, of the member `node`."""
        self.node = node
        self._share = share

    async def put(self, zone: str, blob: Put, placement: int) -> None:
        """See `Place.put`."""
        await self._share.put(zone, blob.data, blob.digest)

    async def put_many(self, zone: str, blobs: Sequence[Put], placement: int) -> list[QuartetError | None]:
        """See `Place.put_many`."""
        return await keep(self._share, zone, blobs)

    def writer(self, zone: str, digest: Digest, placement: int) -> BlobWriter:
        """See `Place.writer`."""
        return self._share.writer(zone, digest)

    async def missing(self, zone: str, digests: Sequence[Digest]) -> set[Digest]:
        """See `Place.missing`."""
        return set(await self._share.missing(zone, digests))

    async def hold(self, zone: str, digests: Sequence[Digest], placement: int) -> set[Digest]:
        """Refuse: it is asked before a copy here is dropped, and that copy would answer for itself."""
        raise NotImplementedError

    async def stat(self, zone: str, digest: Digest) -> BlobInfo | None:
        """See `Place.stat`."""
        return await self._share.stat(zone, digest)

    async def stat_many(self, zone: str, digests: Sequence[Digest]) -> dict[Digest, BlobInfo]:
        """See `Place.stat_many`."""
        return await stats(self._share, zone, digests)

    async def get(self, zone: str, digest: Digest) -> bytes:
        """See `Place.get`."""
        return await self._share.get(zone, digest)

    async def get_many(self, zone: str, digests: Sequence[Digest]) -> Mapping[Digest, bytes | QuartetError]:
        """See `Place.get_many`."""
        return await self._share.get_many(zone, digests, sum(digest.size for digest in digests))

    def read(
        self, zone: str, digest: Digest, offset: int, length: int, verify: bool | None
    ) -> AsyncGenerator[bytes, None]:
        """See `Place.read`."""
        return self._share.read(zone, digest, offset, length, verify=verify)

    async def delete(self, zone: str, digests: Sequence[Digest]) -> set[Digest]:
        """See `Place.delete`."""
        return await removed(self._share, zone, digests)

    async def condemn(self, zone: str, digests: Sequence[Digest], untouched_since: float) -> set[Digest]:
        """See `Place.condemn`."""
        return set(await self._share.condemn(zone, digests, untouched_since))

    async def sweep(self, zone: str, digests: Sequence[Digest], condemned_until: float) -> set[Digest]:
        """See `Place.sweep`."""
        return set(await self._share.sweep(zone, digests, condemned_until))

    async def scan(self, zone: str, after: Digest | None, limit: int) -> Sequence[BlobInfo]:
        """See `Place.scan`."""
        return await self._share.scan(zone, after, limit)

    async def zones(self) -> Sequence[str]:
        """See `Place.zones`."""
        return await self._share.zones()


async def keep(share: OwnShare, zone: str, blobs: Sequence[Put]) -> list[QuartetError | None]:
    """Keep blobs on this disk, the small ones together, a few of the large ones at once; tell for each why not."""
    small = [at for at, blob in enumerate(blobs) if len(blob.data) <= _SMALL]
    outcomes: list[QuartetError | None] = [None] * len(blobs)
    turn = asyncio.Semaphore(_AT_ONCE)

    async def together() -> None:
        if small:
            for at, outcome in zip(small, await share.put_many(zone, [blobs[at] for at in small]), strict=True):
                outcomes[at] = outcome

    async def alone(at: int) -> None:
        async with turn:
            try:
                await share.put(zone, blobs[at].data, blobs[at].digest)
            except QuartetError as error:
                outcomes[at] = error

    large = set(range(len(blobs))).difference(small)
    if not large:
        await together()
    else:
        await asyncio.gather(together(), *(alone(at) for at in large))
    return outcomes


async def stats(share: OwnShare, zone: str, digests: Sequence[Digest]) -> dict[Digest, BlobInfo]:
    """Return what this disk knows of those it has."""
    found = [await share.stat(zone, digest) for digest in digests]
    return {digest: info for digest, info in zip(digests, found, strict=True) if info is not None}


async def removed(share: OwnShare, zone: str, digests: Sequence[Digest]) -> set[Digest]:
    """Remove blobs from this disk; return those that were there."""
    there = {digest for digest in await stats(share, zone, digests) if not digest.is_empty}
    await share.delete(zone, there)
    return there
