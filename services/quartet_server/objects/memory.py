"""The store that keeps blobs in this process's memory: the contract in its shortest form, for tests and `Client(":memory:")`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from quartet_server.errors import QuartetError
from quartet_server.objects.arguments import PIECE, absent, bounded, mismatch, page_limit, span
from quartet_server.objects.buffered import BufferedWriter
from quartet_server.objects.contract import LIST_LIMIT, BlobInfo, BlobWriter, Put, Usage
from quartet_server.objects.digest import EMPTY, Digest


@dataclass(slots=True)
class _Blob:
    data: bytes
    info: BlobInfo


class MemoryBlobs:
    """A `BlobStore` that forgets everything with its process."""

    def __init__(self, clock: Callable[[], float], touch_seconds: float = 60.0) -> None:
        """Hold nothing; `clock` says the seconds since 1970."""
        self._clock = clock
        self._touch_seconds = touch_seconds
        self._blobs: dict[str, dict[Digest, _Blob]] = {}
        self._marks = frozenset[str]()

    @property
    def touch_seconds(self) -> float:
        """See `BlobStore.touch_seconds`."""
        return self._touch_seconds

    def _find(self, zone: str, digest: Digest) -> _Blob | None:
        if digest == EMPTY:
            return _Blob(b"", BlobInfo(EMPTY, 0, self._clock()))
        return self._blobs.get(zone, {}).get(digest)

    def _hit(self, blob: _Blob) -> None:
        now = self._clock()
        if blob.info.condemned is not None or now - blob.info.touched > self._touch_seconds:
            blob.info = replace(blob.info, touched=now, condemned=None)

    async def missing(self, zone: str, digests: Iterable[Digest]) -> list[Digest]:
        """See `BlobStore.missing`."""
        absent_ones = []
        for digest in dict.fromkeys(digests):
            if (blob := self._find(zone, digest)) is not None:
                self._hit(blob)
            else:
                absent_ones.append(digest)
        return absent_ones

    async def stat(self, zone: str, digest: Digest) -> BlobInfo | None:
        """See `BlobStore.stat`."""
        blob = self._find(zone, digest)
        return None if blob is None else blob.info

    async def put(self, zone: str, data: bytes, digest: Digest | None = None) -> Digest:
        """See `BlobStore.put`."""
        found = Digest.of(data)
        if digest is not None:
            digest.check(found)
        self._keep(zone, found, data)
        return found

    def _keep(self, zone: str, digest: Digest, data: bytes) -> None:
        if digest == EMPTY:
            return
        blobs = self._blobs.setdefault(zone, {})
        if (blob := blobs.get(digest)) is not None:
            self._hit(blob)
        else:
            blobs[digest] = _Blob(bytes(data), BlobInfo(digest, len(data), self._clock()))

    async def put_many(self, zone: str, blobs: Sequence[Put]) -> list[QuartetError | None]:
        """See `BlobStore.put_many`."""
        outcomes: list[QuartetError | None] = [mismatch(blob) for blob in blobs]
        for blob, error in zip(blobs, outcomes, strict=True):
            if error is None:
                self._keep(zone, blob.digest, blob.data)
        return outcomes

    def writer(self, zone: str, declared: Digest | None = None, *, limit: int | None = None) -> BlobWriter:
        """See `BlobStore.writer`."""

        async def keep(digest: Digest, data: bytes) -> None:
            self._keep(zone, digest, data)

        return BufferedWriter(keep, declared, limit)

    async def read(
        self, zone: str, digest: Digest, offset: int = 0, length: int | None = None, *, verify: bool | None = None
    ) -> AsyncGenerator[bytes, None]:
        """See `BlobStore.read`; memory is not verified."""
        blob = self._find(zone, digest)
        if blob is None:
            raise absent(digest)
        first, end = span(digest, offset, length)
        for start in range(first, end, PIECE):
            yield blob.data[start : min(start + PIECE, end)]

    async def get(self, zone: str, digest: Digest) -> bytes:
        """See `BlobStore.get`."""
        if (blob := self._find(zone, digest)) is None:
            raise absent(digest)
        return blob.data

    async def get_many(self, zone: str, digests: Sequence[Digest], limit: int) -> Mapping[Digest, bytes | QuartetError]:
        """See `BlobStore.get_many`."""
        found = {digest: self._find(zone, digest) for digest in bounded(digests, limit)}
        return {digest: absent(digest) if blob is None else blob.data for digest, blob in found.items()}

    async def delete(self, zone: str, digests: Iterable[Digest]) -> int:
        """See `BlobStore.delete`."""
        blobs = self._blobs.get(zone, {})
        removed = [blobs.pop(digest, None) for digest in set(digests)]
        if not blobs:
            self._blobs.pop(zone, None)
        return sum(blob is not None for blob in removed)

    async def condemn(self, zone: str, digests: Iterable[Digest], untouched_since: float) -> list[Digest]:
        """See `BlobStore.condemn`."""
        blobs, condemned = self._blobs.get(zone, {}), []
        for digest in dict.fromkeys(digests):
            if (blob := blobs.get(digest)) is None:
                continue
            if blob.info.condemned is None and blob.info.touched <= untouched_since:
                blob.info = replace(blob.info, condemned=self._clock())
            if blob.info.condemned is not None:
                condemned.append(digest)
        return condemned

    async def sweep(self, zone: str, digests: Iterable[Digest], condemned_until: float) -> list[Digest]:
        """See `BlobStore.sweep`."""
        blobs, gone = self._blobs.get(zone, {}), []
        for digest in dict.fromkeys(digests):
            blob = blobs.get(digest)
            if blob is not None and blob.info.condemned is not None and blob.info.condemned <= condemned_until:
                gone.append(digest)
        await self.delete(zone, gone)
        return gone

    async def scan(self, zone: str, after: Digest | None = None, limit: int = LIST_LIMIT) -> Sequence[BlobInfo]:
        """See `BlobStore.scan`."""
        blobs = self._blobs.get(zone, {})
        ordered = sorted(blobs)
        start = 0 if after is None else bisect_right(ordered, after)
        return [blobs[digest].info for digest in ordered[start : start + page_limit(limit)]]

    async def zones(self) -> Sequence[str]:
        """See `BlobStore.zones`."""
        return sorted(self._blobs)

    async def usage(self, zone: str | None = None) -> Usage:
        """See `BlobStore.usage`."""
        zones = self._blobs.values() if zone is None else [self._blobs.get(zone, {})]
        infos = [blob.info for blobs in zones for blob in blobs.values()]
        return Usage(len(infos), sum(info.digest.size for info in infos), sum(info.stored for info in infos))

    async def marks(self) -> frozenset[str]:
        """See `Marked.marks`."""
        return self._marks

    async def mark(self, name: str) -> None:
        """See `Marked.mark`."""
        self._marks |= {name}

    async def unmark(self, names: Iterable[str]) -> None:
        """See `Marked.unmark`."""
        self._marks -= set(names)

    async def close(self) -> None:
        """See `BlobStore.close`."""
        self._blobs.clear()
