"""DiskBlobs: the `BlobStore` on a local disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import lmdb

from quartet_server.errors import ObjectStoreUnreachable, QuartetError
from quartet_server.objects.arguments import PIECE, bounded, mismatch, page_limit, span
from quartet_server.objects.codec import Codec, encode
from quartet_server.objects.contract import LIST_LIMIT, BlobInfo, BlobWriter, Put, Usage
from quartet_server.objects.digest import EMPTY, Digest
from quartet_server.objects.disk.committer import Committer
from quartet_server.objects.disk.entry import hash_of, key_of
from quartet_server.objects.disk.files import Files
from quartet_server.objects.disk.journal import Batch, Journal
from quartet_server.objects.disk.marks import Marks
from quartet_server.objects.disk.reading import Reader
from quartet_server.objects.disk.record import Kind
from quartet_server.objects.disk.steps import Kept, Steps
from quartet_server.objects.drafts import Draft
from quartet_server.objects.filesystem import DirectoryLock, make_directory, refusal
from quartet_server.objects.spooled import MEMORY, SpooledWriter

T = TypeVar("T")
_MOVE_BYTES = 2 << 20
_AT_ONCE = 8 << 10


@dataclass(frozen=True, slots=True)
class DiskLimits:
    """How a store on a disk keeps its blobs.

    Attributes:
        pack_bytes: Length at which a new pack is begun.
        packed_bytes: Largest blob that goes into a pack; larger ones get a file each.
        verify_reads: Whether reads check what they read: large files by their checksums, everything else by the digest.
            Checksums of packs are checked always.
        touch_seconds: See `BlobStore.touch_seconds`.
        threads: How many reads and writes of files go on at once.
    """

    pack_bytes: int = 64 << 20
    packed_bytes: int = 64 << 10
    verify_reads: bool = True
    touch_seconds: float = 60.0
    threads: int = 8


class DiskBlobs:
    """A `BlobStore` below one folder of a local disk, which it has for itself.

    Attributes:
        findings: What was wrong when it was opened, for people; empty when all was well.
    """

    def __init__(self, journal: Journal, files: Files, marks: Marks, lock: DirectoryLock, limits: DiskLimits) -> None:
        """Own what `open` has opened."""
        damaged = set[bytes]()
        self.findings: Sequence[str] = journal.findings
        self._journal = journal
        self._files = files
        self._marks = marks
        self._marking = asyncio.Lock()
        self._lock = lock
        self._limits = limits
        self._damaged = damaged
        self._steps = Steps(files, damaged, limits.touch_seconds)
        self._reader = Reader(journal, files, damaged, limits.verify_reads)
        self._pool = ThreadPoolExecutor(limits.threads, "blobs")
        self._committer = Committer(journal, self._settle)
        self._tasks = set[asyncio.Task[Any]]()
        self._compacting = asyncio.Lock()

    @classmethod
    async def open(
        cls, folder: Path, limits: DiskLimits, clock: Callable[[], float], draw: Callable[[int], bytes]
    ) -> DiskBlobs:
        """Open the store below `folder`, or begin one.

        Args:
            folder: Made if need be.
            limits: How blobs are kept from now on; those that are there are read as they were kept.
            clock: Seconds since 1970.
            draw: Returns so many bytes that nobody can guess.

        Raises:
            ObjectStoreUnreachable: The disk fails, or another process has the folder.
            StoreFull: The disk has no room for an empty store.
        """

        def work() -> DiskBlobs:
            make_directory(folder)
            lock = DirectoryLock(folder)
            try:
                files = Files(folder)
                journal = Journal(folder, limits.pack_bytes, clock, draw, files.is_there)
                return cls(journal, files, Marks(folder), lock, limits)
            except BaseException:
                lock.close()
                raise

        try:
            return await asyncio.to_thread(work)
        except BlockingIOError as error:
            raise ObjectStoreUnreachable(f"another process uses {folder}", hint="end that process") from error
        except OSError as error:
            raise refusal(error) from error

    @property
    def touch_seconds(self) -> float:
        """See `BlobStore.touch_seconds`."""
        return self._limits.touch_seconds

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except lmdb.Error as error:
            raise ObjectStoreUnreachable(f"the index of the blob store failed: {error}") from error

    async def _to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` even if the caller is cancelled, so that nothing is left half done."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # the caller, if there still is one, gets it too

    def _settle(self, batch: Batch) -> None:
        """Remove files that nothing needs any more; in the committer's thread, once the batch is durable."""
        if self._damaged:
            self._damaged.difference_update(
                key_of(record.zone, record.digest.hash)
                for record in batch.records
                if record.kind in (Kind.PACKED, Kind.FILED)
            )
        for zone, digest in batch.unfiled:
            entry = self._journal.find(zone, digest)
            if entry is None or not entry.filed:
                with suppress(OSError):  # what is left takes room, and nothing else
                    self._files.remove(zone, digest)
        if self._journal.is_due:
            with suppress(OSError):  # tried again after the next batch
                self._journal.checkpoint()

    async def missing(self, zone: str, digests: Iterable[Digest]) -> list[Digest]:
        """See `BlobStore.missing`."""
        distinct = [digest for digest in dict.fromkeys(digests) if digest != EMPTY]
        if not distinct:
            return []
        now = self._journal.now

        def look() -> tuple[list[Digest], bool]:
            absent, stale = [], False
            for digest in distinct:
                entry = self._steps.there(self._journal.find(zone, digest), zone, digest)
                if entry is None:
                    absent.append(digest)
                else:
                    stale = stale or self._steps.is_stale(entry, now)
            return absent, stale

        absent, stale = await self._in_thread(look)
        return await self._committer.run(self._steps.missing(zone, distinct)) if stale else absent

    async def stat(self, zone: str, digest: Digest) -> BlobInfo | None:
        """See `BlobStore.stat`."""
        if digest == EMPTY:
            return BlobInfo(EMPTY, 0, self._journal.now)
        entry = await self._in_thread(lambda: self._journal.find(zone, digest))
        return None if entry is None or entry.size != digest.size else entry.info(digest)

    async def put(self, zone: str, data: bytes, digest: Digest | None = None) -> Digest:
        """See `BlobStore.put`."""
        found = Digest.of(data) if len(data) <= PIECE else await self._in_thread(lambda: Digest.of(data))
        if digest is not None:
            digest.check(found)
        if 0 < len(data) <= min(_AT_ONCE, self._limits.packed_bytes):  # a thread would cost more than it saves
            codec, payload = encode(data)
            await self._committer.run(self._steps.keep(zone, Kept(found, codec, len(payload), payload)), len(payload))
        else:
            await self._to_the_end(self._keep(zone, found, data))
        return found

    async def _keep(self, zone: str, digest: Digest, data: bytes | Draft) -> None:
        """Keep a blob whose digest has been checked. Closes a draft."""
        if digest == EMPTY:
            return
        kept = await self._in_thread(lambda: self._prepare(zone, digest, data))
        try:
            await self._committer.run(self._steps.keep(zone, kept), len(kept.payload or b""))
        finally:
            if (draft := kept.draft) is not None:
                await self._in_thread(draft.close)

    def _prepare(self, zone: str, digest: Digest, data: bytes | Draft) -> Kept:
        """Bring a blob into the form in which it is kept; a file is durable then. Raises StoreFull."""
        is_there = self._steps.there(self._journal.find(zone, digest), zone, digest) is not None
        draft = data if isinstance(data, Draft) else None
        try:
            if isinstance(data, Draft):
                codec, stored = Codec.NONE, digest.size
            elif digest.size <= self._limits.packed_bytes:
                codec, payload = (Codec.NONE, data) if is_there else encode(data)
                return Kept(digest, codec, len(payload), payload)
            else:
                codec, kept = (Codec.NONE, data) if is_there or digest.size > MEMORY else encode(data)
                stored = len(kept)
                draft = self._files.drafts.begin()
                draft.write(kept)
            assert draft is not None
            draft.finish()
            return Kept(digest, codec, stored, None, draft)
        except OSError as error:
            if draft is not None:
                draft.close()
            raise refusal(error) from error

    async def put_many(self, zone: str, blobs: Sequence[Put]) -> list[QuartetError | None]:
        """See `BlobStore.put_many`."""
        outcomes = await self._in_thread(lambda: [mismatch(blob) for blob in blobs])
        good = {b.digest: b.data for b, wrong in zip(blobs, outcomes, strict=True) if wrong is None}
        small = {digest: data for digest, data in good.items() if 0 < digest.size <= self._limits.packed_bytes}
        large = [(digest, data) for digest, data in good.items() if digest.size > self._limits.packed_bytes]
        failed = await self._to_the_end(self._keep_many(zone, small, large))
        return [wrong or failed.get(b.digest) for b, wrong in zip(blobs, outcomes, strict=True)]

    async def _keep_many(
        self, zone: str, small: Mapping[Digest, bytes], large: Sequence[tuple[Digest, bytes]]
    ) -> dict[Digest, QuartetError]:
        """Keep blobs; return why those are not kept that are not."""
        failed = dict[Digest, QuartetError]()
        if small:
            try:
                prepared = await self._in_thread(
                    lambda: [self._prepare(zone, digest, data) for digest, data in small.items()]
                )
                steps = [self._steps.keep(zone, kept) for kept in prepared]

                def together(batch: Batch) -> None:
                    for step in steps:
                        step(batch)

                await self._committer.run(together, sum(kept.stored for kept in prepared))
            except QuartetError as error:
                failed |= dict.fromkeys(small, error)
        for digest, data in large:
            try:
                await self._keep(zone, digest, data)
            except QuartetError as error:
                failed[digest] = error
        return failed

    def writer(self, zone: str, declared: Digest | None = None, *, limit: int | None = None) -> BlobWriter:
        """See `BlobStore.writer`."""

        async def keep(digest: Digest, data: bytes | Draft) -> None:
            await self._to_the_end(self._keep(zone, digest, data))

        return SpooledWriter(self._pool, self._files.drafts, keep, declared, limit, stays=True)

    async def read(
        self, zone: str, digest: Digest, offset: int = 0, length: int | None = None, *, verify: bool | None = None
    ) -> AsyncGenerator[bytes, None]:
        """See `BlobStore.read`."""
        first, end = span(digest, offset, length)
        entry = None if digest == EMPTY else await self._in_thread(lambda: self._reader.find(zone, digest))
        if first == end:
            return
        if entry is not None and self._reader.is_stream(entry):
            async for piece in self._reader.stream(self._pool, zone, digest, entry, first, end, verify):
                yield piece
            return
        data = await self._in_thread(lambda: self._reader.load(zone, digest, verify))
        for start in range(first, end, PIECE):
            yield data[start : min(start + PIECE, end)]

    async def get(self, zone: str, digest: Digest) -> bytes:
        """See `BlobStore.get`."""
        return await self._in_thread(lambda: self._reader.load(zone, digest))

    async def get_many(self, zone: str, digests: Sequence[Digest], limit: int) -> Mapping[Digest, bytes | QuartetError]:
        """See `BlobStore.get_many`."""
        distinct = bounded(digests, limit)

        def load(digest: Digest) -> bytes | QuartetError:
            try:
                return self._reader.load(zone, digest)
            except QuartetError as error:
                return error

        return await self._in_thread(lambda: {digest: load(digest) for digest in distinct})

    async def delete(self, zone: str, digests: Iterable[Digest]) -> int:
        """See `BlobStore.delete`."""
        count = await self._committer.run(self._steps.delete(zone, _named(digests)))
        self._compact_soon()
        return count

    async def condemn(self, zone: str, digests: Iterable[Digest], untouched_since: float) -> list[Digest]:
        """See `BlobStore.condemn`."""
        return await self._committer.run(self._steps.condemn(zone, _named(digests), untouched_since))

    async def sweep(self, zone: str, digests: Iterable[Digest], condemned_until: float) -> list[Digest]:
        """See `BlobStore.sweep`."""
        gone = await self._committer.run(self._steps.sweep(zone, _named(digests), condemned_until))
        self._compact_soon()
        return gone

    async def scan(self, zone: str, after: Digest | None = None, limit: int = LIST_LIMIT) -> Sequence[BlobInfo]:
        """See `BlobStore.scan`."""
        page_limit(limit)
        prefix, start = key_of(zone, b""), key_of(zone, b"" if after is None else after.hash)
        found = await self._in_thread(lambda: self._journal.index.after(prefix, start, limit))
        return [entry.info(Digest(hash_of(key), entry.size)) for key, entry in found]

    async def zones(self) -> Sequence[str]:
        """See `BlobStore.zones`."""
        return self._journal.index.zones()

    async def usage(self, zone: str | None = None) -> Usage:
        """See `BlobStore.usage`."""
        usage = self._journal.index.usage(zone)
        if zone is not None:
            return usage
        dead = self._journal.pack_bytes() - sum(list(self._journal.index.live.values()))
        return Usage(usage.blobs, usage.logical, usage.physical + dead)

    async def compact(self) -> int:
        """Give back the space of deleted blobs where it is more than half of a pack; return how many packs are gone.

        Raises StoreFull, ObjectStoreUnreachable; what was done until then stays.
        """
        removed = 0
        async with self._compacting:
            for number in await self._committer.aside(self._journal.sparse):
                start: int | None = 0
                while start is not None:
                    move = partial(self._journal.plan_moves, number, start=start, limit=_MOVE_BYTES)
                    start = await self._committer.run(move, _MOVE_BYTES)
                try:
                    await self._committer.aside(partial(self._journal.remove_pack, number))
                except OSError as error:
                    raise refusal(error) from error
                removed += 1
        return removed

    def _compact_soon(self) -> None:
        if not self._compacting.locked() and self._journal.sparse():
            task = asyncio.create_task(self.compact())
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    async def tidy(self) -> int:
        """Remove files that no blob needs, which a crash at the wrong moment leaves; return how many. Lists all files.

        Raises ObjectStoreUnreachable.
        """
        try:
            folders = await self._in_thread(self._files.folders)
            return sum([await self._committer.aside(partial(self._tidy, folder)) for folder in folders])
        except OSError as error:
            raise refusal(error) from error

    def _tidy(self, folder: Path) -> int:
        removed = 0
        for path in folder.iterdir():
            entry = self._journal.index.get(key_of(folder.parent.name, bytes.fromhex(path.name)))
            if entry is None or not entry.filed:
                path.unlink()
                removed += 1
        return removed

    async def marks(self) -> frozenset[str]:
        """See `Marked.marks`."""
        return await self._in_thread(self._marks.read)

    async def mark(self, name: str) -> None:
        """See `Marked.mark`."""
        await self._to_the_end(self._remark(lambda marks: marks | {name}))

    async def unmark(self, names: Iterable[str]) -> None:
        """See `Marked.unmark`."""
        gone = set(names)
        await self._to_the_end(self._remark(lambda marks: marks - gone))

    async def _remark(self, change: Callable[[frozenset[str]], frozenset[str]]) -> None:
        async with self._marking:
            marks = await self.marks()
            if (changed := change(marks)) != marks:
                await self._in_thread(lambda: self._marks.write(changed))

    async def checkpoint(self) -> None:
        """Write the index now, so that the next opening has nothing to read from the packs. Raises StoreFull."""
        try:
            await self._committer.aside(self._journal.checkpoint)
        except OSError as error:
            raise refusal(error) from error

    async def close(self) -> None:
        """See `BlobStore.close`."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        await self._committer.close()
        self._pool.shutdown()
        await asyncio.to_thread(self._journal.close)
        self._lock.close()


def _named(digests: Iterable[Digest]) -> list[Digest]:
    return [digest for digest in dict.fromkeys(digests) if digest != EMPTY]
