"""Which blobs files refer to: asked before one is deleted, and when those that nothing leads to are collected."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable

from quartet.files.storage.v1 import storage_pb2

from quartet_server.errors import BlobCorrupt, BlobNotFound, ContentLost
from quartet_server.files import keys
from quartet_server.files.contents.body import chunks_of
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.contract import BlobStore
from quartet_server.objects.digest import Digest
from quartet_server.objects.mounts.addresses import address
from raftmeta.metastore import Metastore

_PAGE = 256  # an inode has up to 16 KiB, a page stays below the 4 MiB of a message
_LAST = (1 << 64) - 1


class HeldByFiles:
    """Files of a zone as holders of their chunks: the tree's, those in the trash, and those that wait to be reclaimed.

    Looks at every inode of the zone, at one revision, a page at a time.
    """

    def __init__(self, store: Metastore, blobs: BlobStore) -> None:
        """Look at the tree in `store`, whose long lists of chunks are in `blobs`."""
        self._store = store
        self._blobs = blobs

    async def held(self, zone: str, digests: Iterable[Digest]) -> set[Digest]:
        """Return those of `digests` that a file consists of. Raises MetastoreError, and as `BlobStore.get` does."""
        wanted = set(digests)
        found: set[Digest] = set()
        snapshot = Snapshot(self._store)
        start, end, more = keys.inode(zone, 0), keys.inode(zone, _LAST), bool(wanted)
        while more and found != wanted:
            page = await snapshot.scan(start, end, _PAGE)
            for kv in page.kvs:
                found |= wanted.intersection(await self._of(zone, storage_pb2.Inode.FromString(kv.value).content))
                start = kv.key + b"\0"
            more = page.more
        return found

    async def reached(self, zone: str) -> AsyncGenerator[Digest, None]:
        """See `Holder.reached`. Raises ContentLost when a list of chunks is not there: what it led to cannot be known."""
        snapshot = Snapshot(self._store)
        start, end, more = keys.inode(zone, 0), keys.inode(zone, _LAST), True
        while more:
            page = await snapshot.scan(start, end, _PAGE)
            for kv in page.kvs:
                content = storage_pb2.Inode.FromString(kv.value).content
                for digest in chunks_of(content):
                    yield digest
                if content.HasField("list"):
                    listed = Digest(content.list.hash, content.list.size)
                    yield listed
                    for digest in await self._listed(address(zone, content.store), keys.parse(kv.key).ino, listed):
                        yield digest
                start = kv.key + b"\0"
            more = page.more

    async def _listed(self, zone: str, ino: int, listed: Digest) -> tuple[Digest, ...]:
        try:
            data = await self._blobs.get(zone, listed)
        except (BlobNotFound, BlobCorrupt) as error:
            raise ContentLost(
                f"the list of chunks of inode {ino} in zone {zone} cannot be read: {error.message}",
                digest=str(listed),
                hint="quartet fsck, then write the file again or delete it",
            ) from error
        return chunks_of(storage_pb2.ChunkList.FromString(data))

    async def _of(self, zone: str, content: storage_pb2.Content) -> list[Digest]:
        """Return what a file's content refers to, the list itself included; a list that is lost holds no chunk."""
        chunks = list(chunks_of(content))
        if content.HasField("list"):
            chunks.append(listed := Digest(content.list.hash, content.list.size))
            try:
                data = await self._blobs.get(address(zone, content.store), listed)
            except BlobNotFound:
                return chunks
            chunks += chunks_of(storage_pb2.ChunkList.FromString(data))
        return chunks
