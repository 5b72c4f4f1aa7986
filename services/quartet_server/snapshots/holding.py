"""Which blobs snapshots lead to: kept from the collector, and asked for again by who is about to record one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing

from quartet.files.storage.v1 import storage_pb2
from quartet.wire.reapi import tree_pb2

from quartet_server.errors import BlobNotFound, ContentLost, SnapshotDamaged
from quartet_server.files.contents.body import chunks_of
from quartet_server.files.records import FILE
from quartet_server.meta import ops
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.contract import BlobStore
from quartet_server.objects.digest import Digest
from quartet_server.snapshots import directories, keys, nodes, records
from quartet_server.snapshots.directories import Directories
from raftmeta.metastore import Metastore

_PAGE = 200
_SEEN = 500_000
"""Directories that are remembered as seen, so that what snapshots share is walked once; each takes about 200 bytes."""
_TOUCHES = 1000


class HeldBySnapshots:
    """Snapshots of a zone as holders of their Directories, of their files' contents and of lists of chunks.

    A restore takes references over from a snapshot, which its transactions compare, without asking for the blobs: so files
    stand behind this holder. A snapshot takes them over from files by asking, and from other snapshots by comparing them.
    """

    def __init__(self, store: Metastore, blobs: BlobStore) -> None:
        """Look at the records in `store`, whose trees are in `blobs`."""
        self._store = store
        self._blobs = blobs

    async def held(self, zone: str, digests: Iterable[Digest]) -> set[Digest]:
        """See `Holder.held`. What a lost Directory led to is not known, and not held. Raises as `BlobStore.get` does."""
        wanted = set(digests)
        found: set[Digest] = set()
        if not wanted:
            return found
        async with aclosing(self._reached(zone, whole=False)) as reached:
            async for digest in reached:
                if digest in wanted:
                    found.add(digest)
                    if found == wanted:
                        break
        return found

    async def reached(self, zone: str) -> AsyncGenerator[Digest, None]:
        """See `Holder.reached`. Raises SnapshotDamaged when a part is lost: what it led to cannot be known."""
        async with aclosing(self._reached(zone, whole=True)) as reached:
            async for digest in reached:
                yield digest

    async def _reached(self, zone: str, *, whole: bool) -> AsyncGenerator[Digest, None]:
        snapshot = Snapshot(self._store)
        prefix = start = keys.snapshot(zone)
        seen: set[Digest] = set()
        read, more = Directories(self._blobs), True
        while more:
            page = await snapshot.scan(start, ops.prefix_end(prefix), _PAGE)
            for kv in page.kvs:
                start = kv.key + b"\0"
                known = records.of(zone, kv)
                try:
                    async for digest in walk(read, zone, known.root, seen, whole=whole):
                        yield digest
                except SnapshotDamaged as error:
                    raise SnapshotDamaged(
                        f"snapshot {known.id.hex()} of zone {zone}: {error.message}",
                        snapshot=known.id.hex(),
                        hint=f"quartet snapshot rm {known.id.hex()}",
                    ) from error
            more = page.more


async def walk(
    read: Directories, zone: str, root: Digest, seen: set[Digest], *, whole: bool = True
) -> AsyncIterator[Digest]:
    """Yield the digests that a tree leads to, its Directories included; those in `seen` are not gone into again.

    Raises SnapshotDamaged; without `whole` not for a Directory, or a list of chunks, that is not there.
    """
    waiting = [root]
    while waiting:
        digest = waiting.pop()
        if digest in seen:
            continue
        if len(seen) >= _SEEN:
            seen.clear()
        seen.add(digest)
        yield digest
        try:
            directory = await read.get(zone, digest)
        except SnapshotDamaged as error:
            if not whole and isinstance(error.__cause__, BlobNotFound):
                continue
            raise
        waiting += [nodes.digest_of(node.digest) for node in directory.directories]
        async for one in _named(read.blobs, zone, directory, whole=whole):
            yield one


async def _named(blobs: BlobStore, zone: str, directory: tree_pb2.Directory, *, whole: bool) -> AsyncIterator[Digest]:
    """Yield what the files of a Directory, and extended attributes, consist of."""
    own = nodes.values_of(directory.node_properties)
    for node in directories.entries(directory):
        own += [value for value in node.xattrs.values() if isinstance(value, Digest)]
        if node.chunks is None:
            if node.type == FILE and not node.digest.is_empty:
                yield node.digest
            continue
        yield node.chunks
        try:
            listed = storage_pb2.ChunkList.FromString(await blobs.get(zone, node.chunks))
        except BlobNotFound as error:
            if whole:
                raise nodes.damaged(f"a list of chunks is gone: {node.chunks}") from error
            continue
        for chunk in chunks_of(listed):
            yield chunk
    for digest in own:
        yield digest


async def touch(read: Directories, zone: str, root: Digest) -> None:
    """Ask the store for everything that a tree leads to, so that a collector begins anew. Raises ContentLost."""
    waiting: list[Digest] = []

    async def ask() -> None:
        if waiting and (missing := await read.blobs.missing(zone, waiting)):
            raise ContentLost(
                f"{len(missing)} blobs of the snapshot are gone, {missing[0]} is the first", digest=str(missing[0])
            )
        waiting.clear()

    async for digest in walk(read, zone, root, set()):
        waiting.append(digest)
        if len(waiting) >= _TOUCHES:
            await ask()
    await ask()
