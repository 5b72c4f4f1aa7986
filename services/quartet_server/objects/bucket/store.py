"""BucketBlobs: the `BlobStore` in a bucket that any number of nodes share."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from quartet_server.errors import BlobCorrupt, QuartetError
from quartet_server.objects.arguments import PIECE, absent, bounded, mismatch, page_limit, span
from quartet_server.objects.bucket.copies import MARKS, Copies, Copy, folder, microseconds
from quartet_server.objects.bucket.objects import Bucket
from quartet_server.objects.codec import Codec, CodecError, decode, encode
from quartet_server.objects.contract import LIST_LIMIT, BlobInfo, BlobWriter, Put, Usage
from quartet_server.objects.digest import EMPTY, Digest
from quartet_server.objects.drafts import Draft, Drafts
from quartet_server.objects.spooled import MEMORY, SpooledWriter

T = TypeVar("T")
U = TypeVar("U")
_AT_ONCE = 32
_ATTEMPTS = 4


class BucketBlobs:
    """A `BlobStore` over an object store.

    A small blob costs one LIST and one PUT to write, one LIST and one GET to read. `usage` lists the whole zone.
    """

    def __init__(
        self, bucket: Bucket, scratch: Path, clock: Callable[[], float], draw: Callable[[int], bytes],
        touch_seconds: float, verify_reads: bool,
    ) -> None:  # fmt: skip
        """Keep blobs in `bucket`; large uploads gather in the folder `scratch`, which goes with the store.

        `clock` says the seconds since 1970, `draw` returns so many random bytes. Raises OSError.
        """
        self._bucket = bucket
        self._scratch = scratch
        self._drafts = Drafts(scratch)
        self._clock = clock
        self._draw = draw
        self._touch_seconds = touch_seconds
        self._verify = verify_reads
        self._pool = ThreadPoolExecutor(4, "bucket")
        self._calls = asyncio.Semaphore(_AT_ONCE)
        self._writing = dict[tuple[str, Digest], asyncio.Lock]()
        self._damaged = set[tuple[str, Digest]]()

    @property
    def touch_seconds(self) -> float:
        """See `BlobStore.touch_seconds`."""
        return self._touch_seconds

    async def _each(self, items: Iterable[T], work: Callable[[T], Awaitable[U]]) -> list[U]:
        """Do `work` for all items, not too many at once; the first error ends it."""

        async def one(item: T) -> U:
            async with self._calls:
                return await work(item)

        tasks = [asyncio.ensure_future(one(item)) for item in items]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _new(self, zone: str, digest: Digest, codec: int) -> str:
        time = microseconds(self._clock())
        return f"{folder(zone, digest.hex)}/b.{digest.size}.{int(codec)}.{time}.{self._draw(8).hex()}"

    async def _hit(self, zone: str, digest: Digest) -> bool:
        """Renew and save a blob; return whether it is there."""
        if digest == EMPTY:
            return True
        for _ in range(_ATTEMPTS):
            found = await self._bucket.copies(zone, digest.hex)
            if (zone, digest) in self._damaged:
                return False
            if (live := found.live(digest.size)) is not None:
                now = microseconds(self._clock())
                if now - found.last_touch(live) > self._touch_seconds * 1e6:
                    await self._bucket.put(f"{folder(zone, digest.hex)}/t.{now}", b"", 0)
                    await self._bucket.delete(path for path in found.marks if "/t." in path)
                return True
            if (condemned := found.any(digest.size)) is None:
                return False
            try:
                await self._bucket.copy(condemned.path, self._new(zone, digest, condemned.codec))
            except FileNotFoundError:
                continue  # swept, or saved by another, in this moment
            await self._clean(found, digest)
            return True
        return False

    async def _clean(self, found: Copies, digest: Digest) -> None:
        """Delete copies that a newer one has made needless, and what was noted of them."""
        await self._bucket.delete([*(copy.path for copy in found.of_size(digest.size)), *found.marks])

    async def missing(self, zone: str, digests: Iterable[Digest]) -> list[Digest]:
        """See `BlobStore.missing`."""
        distinct = list(dict.fromkeys(digests))
        there = await self._each(distinct, lambda digest: self._hit(zone, digest))
        return [digest for digest, is_there in zip(distinct, there, strict=True) if not is_there]

    async def stat(self, zone: str, digest: Digest) -> BlobInfo | None:
        """See `BlobStore.stat`."""
        if digest == EMPTY:
            return BlobInfo(EMPTY, 0, self._clock())
        return (await self._bucket.copies(zone, digest.hex)).info(digest)

    async def put(self, zone: str, data: bytes, digest: Digest | None = None) -> Digest:
        """See `BlobStore.put`."""
        found = await self._in_thread(lambda: Digest.of(data))
        if digest is not None:
            digest.check(found)
        await self._keep(zone, found, data)
        return found

    async def _keep(self, zone: str, digest: Digest, data: bytes | Draft) -> None:
        """Keep a blob whose digest has been checked. Closes a draft."""
        key = (zone, digest)
        lock = self._writing.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                if not await self._hit(zone, digest):
                    older = await self._bucket.copies(zone, digest.hex)
                    if isinstance(data, Draft):
                        codec, kept = Codec.NONE, data.path
                        await self._bucket.put(self._new(zone, digest, codec), kept, digest.size)
                    else:
                        raw = data
                        codec, body = (
                            await self._in_thread(lambda: encode(raw)) if len(raw) <= MEMORY else (Codec.NONE, raw)
                        )
                        await self._bucket.put(self._new(zone, digest, codec), body, len(body))
                    self._damaged.discard(key)
                    await self._clean(older, digest)
        finally:
            if not lock.locked():
                self._writing.pop(key, None)
            if isinstance(data, Draft):
                await self._in_thread(data.close)

    async def put_many(self, zone: str, blobs: Sequence[Put]) -> list[QuartetError | None]:
        """See `BlobStore.put_many`."""
        outcomes = await self._in_thread(lambda: [mismatch(blob) for blob in blobs])
        good = {b.digest: b.data for b, wrong in zip(blobs, outcomes, strict=True) if wrong is None}

        async def keep(item: tuple[Digest, bytes]) -> QuartetError | None:
            try:
                await self._keep(zone, *item)
            except QuartetError as error:
                return error
            return None

        kept = dict(zip(good, await self._each(good.items(), keep), strict=True))
        return [wrong or kept.get(blob.digest) for blob, wrong in zip(blobs, outcomes, strict=True)]

    def writer(self, zone: str, declared: Digest | None = None, *, limit: int | None = None) -> BlobWriter:
        """See `BlobStore.writer`."""

        async def keep(digest: Digest, data: bytes | Draft) -> None:
            await self._keep(zone, digest, data)

        return SpooledWriter(self._pool, self._drafts, keep, declared, limit)

    async def read(
        self, zone: str, digest: Digest, offset: int = 0, length: int | None = None, *, verify: bool | None = None
    ) -> AsyncGenerator[bytes, None]:
        """See `BlobStore.read`."""
        first, end = span(digest, offset, length)
        if digest == EMPTY:
            return
        copy = await self._find(zone, digest)
        if first == end:
            return
        if copy.codec != Codec.NONE or digest.size <= PIECE:
            data = await self._load(zone, digest, verify)
            for start in range(first, end, PIECE):
                yield data[start : min(start + PIECE, end)]
            return
        whole = (first, end) == (0, digest.size)
        if verify and not whole:
            async for _ in self._pieces(zone, digest, copy, 0, digest.size, True):
                pass
        check = whole and (self._verify if verify is None else verify)
        async for piece in self._pieces(zone, digest, copy, first, end, check):
            yield piece

    async def _pieces(
        self, zone: str, digest: Digest, copy: Copy, first: int, end: int, check: bool
    ) -> AsyncGenerator[bytes, None]:
        """Yield bytes of a copy that is kept as it is, the last piece only if all were right."""
        hasher, done, held = hashlib.sha256(), first, b""
        try:
            async for piece in self._bucket.stream(copy.path, first, end, PIECE):
                if held:
                    yield held
                if check:
                    await self._in_thread(partial(hasher.update, piece))
                done, held = done + len(piece), piece
        except FileNotFoundError:
            raise absent(digest) from None
        if done != end or (check and hasher.digest() != digest.hash):
            raise self._corrupt(zone, digest)
        yield held

    async def _find(self, zone: str, digest: Digest) -> Copy:
        copy = (await self._bucket.copies(zone, digest.hex)).any(digest.size)
        if copy is None:
            raise absent(digest)
        return copy

    async def _load(self, zone: str, digest: Digest, verify: bool | None = None) -> bytes:
        """Return a whole blob. Raises BlobNotFound, BlobCorrupt."""
        if digest == EMPTY:
            return b""
        for _ in range(_ATTEMPTS):
            copy = await self._find(zone, digest)
            try:
                kept = await self._bucket.get(copy.path)
                data = await self._in_thread(partial(decode, copy.codec, kept, digest.size))
            except FileNotFoundError:
                continue  # saved under another name, or deleted, in this moment
            except CodecError as error:
                raise self._corrupt(zone, digest) from error
            if (self._verify if verify is None else verify) and Digest.of(data) != digest:
                raise self._corrupt(zone, digest)
            return data
        raise absent(digest)

    def _corrupt(self, zone: str, digest: Digest) -> BlobCorrupt:
        self._damaged.add((zone, digest))
        return BlobCorrupt(f"what is kept under {digest} are other bytes", digest=str(digest))

    async def get(self, zone: str, digest: Digest) -> bytes:
        """See `BlobStore.get`."""
        return await self._load(zone, digest)

    async def get_many(self, zone: str, digests: Sequence[Digest], limit: int) -> Mapping[Digest, bytes | QuartetError]:
        """See `BlobStore.get_many`."""
        distinct = bounded(digests, limit)

        async def load(digest: Digest) -> bytes | QuartetError:
            try:
                return await self._load(zone, digest)
            except QuartetError as error:
                return error

        return dict(zip(distinct, await self._each(distinct, load), strict=True))

    async def delete(self, zone: str, digests: Iterable[Digest]) -> int:
        """See `BlobStore.delete`."""

        async def one(digest: Digest) -> bool:
            found = await self._bucket.copies(zone, digest.hex)
            if found.any(digest.size) is None:
                return False
            await self._clean(found, digest)
            return True

        return sum(await self._each(set(digests) - {EMPTY}, one))

    async def condemn(self, zone: str, digests: Iterable[Digest], untouched_since: float) -> list[Digest]:
        """See `BlobStore.condemn`."""
        distinct, since = list(dict.fromkeys(digests)), microseconds(untouched_since)

        async def one(digest: Digest) -> bool:
            found = await self._bucket.copies(zone, digest.hex)
            living = [copy for copy in found.of_size(digest.size) if copy.id not in found.condemned]
            if not found.of_size(digest.size) or any(found.last_touch(copy) > since for copy in living):
                return False
            now = microseconds(self._clock())
            for copy in living:
                await self._bucket.put(f"{folder(zone, digest.hex)}/c.{copy.id}.{now}", b"", 0)
            return True

        condemned = await self._each(distinct, one)
        return [digest for digest, is_condemned in zip(distinct, condemned, strict=True) if is_condemned]

    async def sweep(self, zone: str, digests: Iterable[Digest], condemned_until: float) -> list[Digest]:
        """See `BlobStore.sweep`."""
        distinct, until = list(dict.fromkeys(digests)), microseconds(condemned_until)

        async def one(digest: Digest) -> bool:
            found = await self._bucket.copies(zone, digest.hex)
            copies = found.of_size(digest.size)
            if not copies or any(found.condemned.get(copy.id, until + 1) > until for copy in copies):
                return False
            await self._clean(found, digest)
            return (await self._bucket.copies(zone, digest.hex)).any(digest.size) is None

        gone = await self._each(distinct, one)
        return [digest for digest, is_gone in zip(distinct, gone, strict=True) if is_gone]

    async def scan(self, zone: str, after: Digest | None = None, limit: int = LIST_LIMIT) -> Sequence[BlobInfo]:
        """See `BlobStore.scan`."""
        page_limit(limit)
        page = list[BlobInfo]()
        async for name, found in self._bucket.hashes(zone, "" if after is None else after.hex):
            for size in {copy.size for copy in found.copies}:
                if (info := found.info(Digest(bytes.fromhex(name), size))) is not None:
                    page.append(info)
            if len(page) >= limit:
                break
        return page[:limit]

    async def zones(self) -> Sequence[str]:
        """See `BlobStore.zones`."""
        return await self._bucket.zones()

    async def usage(self, zone: str | None = None) -> Usage:
        """See `BlobStore.usage`; lists everything."""
        blobs = logical = physical = 0
        for name in await self._bucket.zones() if zone is None else [zone]:
            async for _, found in self._bucket.hashes(name):
                for size in {copy.size for copy in found.copies}:
                    blobs, logical = blobs + 1, logical + size
                    physical += sum(copy.stored for copy in found.of_size(size))
        return Usage(blobs, logical, physical)

    async def marks(self) -> frozenset[str]:
        """See `Marked.marks`."""
        return await self._bucket.names(MARKS)

    async def mark(self, name: str) -> None:
        """See `Marked.mark`."""
        await self._bucket.put(f"{MARKS}/{name}", b"", 0)

    async def unmark(self, names: Iterable[str]) -> None:
        """See `Marked.unmark`."""
        await self._bucket.delete(f"{MARKS}/{name}" for name in names)

    async def close(self) -> None:
        """See `BlobStore.close`."""
        self._pool.shutdown()
        await asyncio.to_thread(shutil.rmtree, self._scratch, True)
