"""ReplicatedBlobs: the `BlobStore` of a cluster whose nodes have local disks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence

from quartet_server.errors import QuartetError
from quartet_server.objects.contract import LIST_LIMIT, BlobInfo, BlobWriter, Put, Usage
from quartet_server.objects.digest import EMPTY, Digest
from quartet_server.objects.replicas.asking import Asking
from quartet_server.objects.replicas.finding import Finding
from quartet_server.objects.replicas.group import Group
from quartet_server.objects.replicas.own import OwnShare
from quartet_server.objects.replicas.place import Place
from quartet_server.objects.replicas.spreading import Spreading
from quartet_server.objects.replicas.streaming import StreamingWriter


class ReplicatedBlobs:
    """A `BlobStore` of which every node sees the same blobs, each kept on some nodes' disks.

    A node that is the only member uses its own disk and asks nobody. Beside what the contract says:

    **Durability.** A put returns when as many copies are durable as are wanted; where an owner fails, the next node stands
    in and what the owner lacks is written down. Fewer copies than wanted are taken only when no further node can be
    reached, and never fewer than two (one, where one is wanted): CopiesUnreachable then.

    **Failure.** A node that does not answer costs a call its patience once and is then asked last. BlobUnreachable, and not
    BlobNotFound, is what nobody has who answers while somebody does not answer. `missing` calls that missing.

    **Lifetimes.** A hit is one at every owner that can be reached. `delete`, `condemn` and `sweep` act on all copies and need
    an answer of every node: a blob is condemned when each copy is, and gone when none is left. The collector does not use
    them: on each node it condemns and sweeps that node's own share, with what is reachable in the whole cluster.

    **Lists.** `scan`, `zones` and `usage` tell each blob once and need an answer of every node; `usage` lists everything.
    """

    def __init__(
        self,
        group: Group,
        own: OwnShare,
        place: Callable[[int], Place],
        spreading: Spreading,
        finding: Finding,
        asking: Asking,
        on_extra: Callable[[], None],
    ) -> None:
        """Keep blobs in the `place` of each node of `group`, of which `own` is this node's."""
        self._group = group
        self._own = own
        self._place = place
        self._spreading = spreading
        self._finding = finding
        self._asking = asking
        self._on_extra = on_extra

    @property
    def touch_seconds(self) -> float:
        """See `BlobStore.touch_seconds`."""
        return self._own.touch_seconds

    async def missing(self, zone: str, digests: Iterable[Digest]) -> list[Digest]:
        """See `BlobStore.missing`."""
        return await (self._own if self._group.alone else self._asking).missing(zone, digests)

    async def stat(self, zone: str, digest: Digest) -> BlobInfo | None:
        """See `BlobStore.stat`."""
        return await (self._own if self._group.alone else self._asking).stat(zone, digest)

    async def put(self, zone: str, data: bytes, digest: Digest | None = None) -> Digest:
        """See `BlobStore.put`."""
        if self._group.alone or not data:
            return await self._own.put(zone, data, digest)
        found = Digest.of(data)
        if digest is not None:
            digest.check(found)
        await self._spreading.put(zone, Put(found, data))
        return found

    async def put_many(self, zone: str, blobs: Sequence[Put]) -> list[QuartetError | None]:
        """See `BlobStore.put_many`."""
        if self._group.alone:
            return await self._own.put_many(zone, blobs)
        full = [at for at, blob in enumerate(blobs) if blob.digest != EMPTY]
        outcomes = await self._own.put_many(zone, [blob for blob in blobs if blob.digest == EMPTY])
        empty = iter(outcomes)
        kept = dict(zip(full, await self._spreading.put_many(zone, [blobs[at] for at in full]), strict=True))
        return [kept[at] if at in kept else next(empty) for at in range(len(blobs))]

    def writer(self, zone: str, declared: Digest | None = None, *, limit: int | None = None) -> BlobWriter:
        """See `BlobStore.writer`."""
        if self._group.alone or declared == EMPTY:
            return self._own.writer(zone, declared, limit=limit)
        return StreamingWriter(
            self._spreading, self._place, self._own, self._group.me, self._on_extra, zone, declared, limit
        )

    def read(
        self, zone: str, digest: Digest, offset: int = 0, length: int | None = None, *, verify: bool | None = None
    ) -> AsyncGenerator[bytes, None]:
        """See `BlobStore.read`."""
        if self._group.alone:
            return self._own.read(zone, digest, offset, length, verify=verify)
        return self._finding.read(zone, digest, offset, length, verify)

    async def get(self, zone: str, digest: Digest) -> bytes:
        """See `BlobStore.get`."""
        return await (self._own if self._group.alone else self._finding).get(zone, digest)

    async def get_many(self, zone: str, digests: Sequence[Digest], limit: int) -> Mapping[Digest, bytes | QuartetError]:
        """See `BlobStore.get_many`."""
        return await (self._own if self._group.alone else self._finding).get_many(zone, digests, limit)

    async def delete(self, zone: str, digests: Iterable[Digest]) -> int:
        """See `BlobStore.delete`."""
        return await (self._own if self._group.alone else self._asking).delete(zone, digests)

    async def condemn(self, zone: str, digests: Iterable[Digest], untouched_since: float) -> list[Digest]:
        """See `BlobStore.condemn`."""
        return await (self._own if self._group.alone else self._asking).condemn(zone, digests, untouched_since)

    async def sweep(self, zone: str, digests: Iterable[Digest], condemned_until: float) -> list[Digest]:
        """See `BlobStore.sweep`."""
        return await (self._own if self._group.alone else self._asking).sweep(zone, digests, condemned_until)

    async def scan(self, zone: str, after: Digest | None = None, limit: int = LIST_LIMIT) -> Sequence[BlobInfo]:
        """See `BlobStore.scan`."""
        return await (self._own if self._group.alone else self._asking).scan(zone, after, limit)

    async def zones(self) -> Sequence[str]:
        """See `BlobStore.zones`."""
        return await (self._own if self._group.alone else self._asking).zones()

    async def usage(self, zone: str | None = None) -> Usage:
        """See `BlobStore.usage`."""
        return await (self._own if self._group.alone else self._asking).usage(zone)

    async def close(self) -> None:
        """See `BlobStore.close`: of this node's disk; those who made the rest end it."""
        await self._own.close()
