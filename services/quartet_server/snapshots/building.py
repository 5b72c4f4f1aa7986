"""Builds the Merkle tree of a directory, depth first; a directory's Directory goes to the store when it is complete."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from quartet.files.storage.v1 import storage_pb2
from quartet.wire.reapi import tree_pb2

from quartet_server.errors import BlobNotFound, ContentLost, LimitReached
from quartet_server.files.contents.body import chunks_of
from quartet_server.files.contents.contents import Contents
from quartet_server.files.paths import Path
from quartet_server.objects.contract import BlobStore, Put
from quartet_server.objects.digest import Digest
from quartet_server.snapshots import nodes
from quartet_server.snapshots.directories import LARGEST, Directories
from quartet_server.snapshots.living import Child, Listing, Living
from quartet_server.snapshots.totals import Totals

DEEPEST = 256
"""Directories below each other: more than paths have, since renames can put trees below each other."""
_PUTS, _BYTES = 256, 1 << 20  # blobs that wait to be put, and their bytes
_TOUCHES = 1000


@dataclass(slots=True)
class Filling:
    """A `Sink` that fills the store of blobs, batch by batch.

    Attributes:
        blobs: The store.
        zone: Whose blobs they are.
        composed: Files of several chunks -> the blobs that list them.
    """

    blobs: BlobStore
    zone: str
    composed: dict[Digest, Digest] = field(default_factory=dict)
    _puts: dict[Digest, Put] = field(default_factory=dict)
    _size: int = 0
    _touches: dict[Digest, int] = field(default_factory=dict)

    async def fetch(self, ino: int, inode: storage_pb2.Inode) -> None:
        """See `Sink`. Raises ContentLost."""
        contents, path = Contents(self.blobs), Path((f"inode {ino}",), (b"",))
        body = await contents.moved(self.zone, path, await contents.load(self.zone, path, inode), 0)
        await contents.refer(self.zone, body)

    async def put(self, digest: Digest, data: bytes) -> None:
        """See `Sink`."""
        if digest.is_empty or digest in self._puts:
            return
        self._puts[digest] = Put(digest, data)
        self._size += len(data)
        if len(self._puts) >= _PUTS or self._size >= _BYTES:
            await self._put()

    async def touch(self, ino: int, digests: Iterable[Digest]) -> None:
        """See `Sink`. Raises ContentLost."""
        self._touches |= dict.fromkeys(digests, ino)
        if len(self._touches) >= _TOUCHES:
            await self._touch()

    async def listed(self, ino: int, whole: Digest, chunks: Digest, known: Sequence[Digest]) -> None:
        """See `Sink`. Raises ContentLost."""
        if not known:
            try:
                data = await self.blobs.get(self.zone, chunks)
            except BlobNotFound as error:
                raise _lost(ino, chunks) from error
            known = chunks_of(storage_pb2.ChunkList.FromString(data))
            await self.touch(ino, [chunks])
        self.composed[whole] = chunks
        await self.touch(ino, known)

    async def finish(self) -> None:
        """Deal with what waits. Raises ContentLost, and what the store raises."""
        await self._put()
        await self._touch()

    async def _put(self) -> None:
        puts, self._puts, self._size = list(self._puts.values()), {}, 0
        for error in await self.blobs.put_many(self.zone, puts) if puts else ():
            if error is not None:
                raise error

    async def _touch(self) -> None:
        touches, self._touches = self._touches, {}
        if touches and (missing := await self.blobs.missing(self.zone, touches)):
            raise _lost(touches[missing[0]], missing[0])


class Builder:
    """Builds one tree.

    Attributes:
        progress: What was read so far.
    """

    def __init__(self, zone: str, living: Living, filling: Filling, directories: Directories) -> None:
        """Read from `living`, write to `filling`."""
        self._zone = zone
        self._living = living
        self._filling = filling
        self._directories = directories
        self.progress = Totals()

    async def build(self, ino: int, base: Digest | None) -> tuple[Digest, Totals]:
        """Return the Directory of an inode and what is below it; all of it is durable then.

        `base` is what it was at the base's revision. Raises ContentLost, LimitReached, MetastoreError.
        """
        if base is not None and self._living.clean(ino):
            return base, nodes.below(await self._directories.get(self._zone, base))
        done = await self._build(Child("", ino, base), 0)
        await self._filling.finish()
        return done

    async def _build(self, child: Child, depth: int) -> tuple[Digest, Totals]:
        if depth > DEEPEST:
            raise LimitReached(f"directories are more than {DEEPEST} levels deep", limit=DEEPEST)
        listing = await self._living.read(child.ino, child.base)
        totals = nodes.counted(listing.files.values(), len(listing.children), listing.symlinks.values())
        self.progress.add(totals)
        made: list[tree_pb2.DirectoryNode] = []
        for one in listing.children.values():
            if one.clean:
                assert one.base is not None
                digest = one.base
            else:
                digest, below = await self._build(one, depth + 1)
                totals.add(below)
            made.append(tree_pb2.DirectoryNode(name=one.name, digest=nodes.message_of(digest)))
        if child.base is not None:
            totals.add(await self._unread(child.base, listing))
        data = nodes.directory(listing.own, totals, listing.files.values(), made, listing.symlinks.values())
        if len(data) > LARGEST:
            raise LimitReached(f"a directory has more than {LARGEST} bytes of entries", limit=LARGEST)
        digest = Digest.of(data)
        await self._filling.put(digest, data)
        return digest, totals

    async def _unread(self, base: Digest, listing: Listing) -> Totals:
        """Return what is below the children that are what they were: all there was, but for what is not any more."""
        was = await self._directories.get(self._zone, base)
        totals = nodes.below(was)
        totals.add(nodes.counted(was.files, len(was.directories), was.symlinks), -1)
        kept = {one.name: one.base for one in listing.children.values() if one.clean}
        others = [digest for node in was.directories if kept.get(node.name) != (digest := nodes.digest_of(node.digest))]
        async for _, gone in self._directories.many(self._zone, others):
            totals.add(nodes.below(gone), -1)
        return totals


def _lost(ino: int, digest: Digest) -> ContentLost:
    return ContentLost(
        f"bytes of the file with inode number {ino} are gone: no blob {digest}", ino=ino, digest=str(digest)
    )
