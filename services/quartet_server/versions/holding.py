"""Which blobs versions refer to: asked by whoever deletes or collects blobs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing

from quartet.files.storage.v1 import storage_pb2 as files_storage
from quartet.versions.storage.v1 import storage_pb2

from quartet_server.errors import BlobCorrupt, BlobNotFound, ContentLost, RevisionCompacted
from quartet_server.files.contents.body import chunks_of
from quartet_server.meta import ops
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.contract import BlobStore
from quartet_server.objects.digest import Digest
from quartet_server.objects.mounts.addresses import address
from quartet_server.versions import keys
from quartet_server.versions.ended import tail
from quartet_server.versions.observer import recorded_to
from raftmeta.metastore import Metastore

_PAGE = 200  # a record has up to 17 KiB, a page stays below the 4 MiB of a message


class HeldByVersions:
    """Old versions of a zone's files as holders of their chunks, those not recorded yet included.

    It must be asked after the holder that tells what files refer to: what a file ceases to refer to in between is a version
    by then. The other way round it would be seen by neither.
    """

    def __init__(self, store: Metastore, blobs: BlobStore, clock: Callable[[], float], idle: float) -> None:
        """Look at records in `store`, whose long lists of chunks are in `blobs`; `idle` as in `tail`."""
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._idle = idle

    async def held(self, zone: str, digests: Iterable[Digest]) -> set[Digest]:
        """Return those of `digests` that a version consists of.

        Raises VersionsBehind when the observer lags so far that this cannot be told, MetastoreError, and as `BlobStore.get`.
        """
        wanted = set(digests)
        found: set[Digest] = set()
        if not wanted:
            return found
        async with aclosing(self.contents(zone)) as contents:
            async for content in contents:
                found |= wanted.intersection(await self._of(zone, content, sure=False))
                if found == wanted:
                    break
        return found

    async def reached(self, zone: str) -> AsyncGenerator[Digest, None]:
        """See `Holder.reached`.

        Raises VersionsBehind when the observer lags so far that the collector must wait, ContentLost when a list of chunks
        is not there: what it led to cannot be known.
        """
        async with aclosing(self.contents(zone)) as contents:
            async for content in contents:
                for digest in await self._of(zone, content, sure=True):
                    yield digest

    async def contents(self, zone: str) -> AsyncGenerator[files_storage.Content, None]:
        """Yield the content of every version at one revision: recorded ones, and what ended since. Raises VersionsBehind."""
        snapshot = Snapshot(self._store)
        after = await recorded_to(self._store, zone, snapshot)
        start = keys.records(zone)
        end, more = ops.prefix_end(start), True
        while more:
            page = await snapshot.scan(start, end, _PAGE)
            for kv in page.kvs:
                yield storage_pb2.Record.FromString(kv.value).inode.content
                start = kv.key + b"\0"
            more = page.more
        recent = tail(self._store, zone, keys.inodes(zone), after, snapshot.revision, self._clock, self._idle)
        try:
            async with aclosing(recent):
                async for one in recent:
                    yield one.record.inode.content
        except RevisionCompacted:
            return  # what others made the store forget is no version: the observer tells the gap

    async def _of(self, zone: str, content: files_storage.Content, *, sure: bool) -> list[Digest]:
        """Return what a content refers to, the list itself included; unless `sure`, a list that is lost holds no chunk."""
        chunks = list(chunks_of(content))
        if content.HasField("list"):
            chunks.append(listed := Digest(content.list.hash, content.list.size))
            try:
                data = await self._blobs.get(address(zone, content.store), listed)
            except (BlobNotFound, BlobCorrupt) as error:
                if not sure:
                    return chunks
                raise ContentLost(
                    f"the list of chunks of a version in zone {zone} cannot be read: {error.message}",
                    digest=str(listed),
                    hint="quartet versions rm PATH --before GENERATION",
                ) from error
            chunks += chunks_of(files_storage.ChunkList.FromString(data))
        return chunks
