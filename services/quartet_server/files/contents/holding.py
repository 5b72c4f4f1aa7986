"""Which blobs files refer to: asked before a blob is deleted."""

from __future__ import annotations

from collections.abc import Iterable

from quartet.files.storage.v1 import storage_pb2

from quartet_server.errors import BlobNotFound
from quartet_server.files import keys
from quartet_server.files.contents.body import chunks_of
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.contract import BlobStore
from quartet_server.objects.digest import Digest
from raftmeta.metastore import Metastore

_PAGE = 256  # an inode has up to 16 KiB, a page stays below the 4 MiB of a message
_LAST = (1 << 64) - 1


class HeldByFiles:
    """Files of a zone, those in the trash included, as holders of their chunks.

    Looks at every inode of the zone, at one revision: for a deletion now and then, not for a collection.
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

    async def _of(self, zone: str, content: storage_pb2.Content) -> list[Digest]:
        """Return what a file's content refers to, the list itself included; a list that is lost holds no chunk."""
        chunks = list(chunks_of(content))
        if content.HasField("list"):
            chunks.append(listed := Digest(content.list.hash, content.list.size))
            try:
                data = await self._blobs.get(zone, listed)
            except BlobNotFound:
                return chunks
            chunks += chunks_of(storage_pb2.ChunkList.FromString(data))
        return chunks
