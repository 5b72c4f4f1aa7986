"""Directories of the present tree as a snapshot of them would be, at one revision; unchanged ones are not read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from quartet.files.storage.v1 import storage_pb2
from quartet.wire.reapi import tree_pb2

from quartet_server.errors import LimitReached
from quartet_server.files import keys, records
from quartet_server.files.contents.body import chunks_of
from quartet_server.files.paths import normal
from quartet_server.files.steps import Step
from quartet_server.meta import ops
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.digest import Digest
from quartet_server.snapshots import nodes
from quartet_server.snapshots.directories import LARGEST, Directories
from quartet_server.snapshots.history import Changed

_PAGE = 1000
_PARALLEL = 16


class Sink(Protocol):
    """Takes what the nodes of a tree name by digest. One task calls; what is given is remembered until it is dealt with.

    Errors are those of the store of blobs.
    """

    async def fetch(self, ino: int, inode: storage_pb2.Inode) -> None:
        """Bring what a file consists of from the mounted store that it is in, as its content says, to where snapshots are kept."""

    async def put(self, digest: Digest, data: bytes) -> None:
        """Keep bytes that are in no blob yet."""

    async def touch(self, ino: int, digests: Iterable[Digest]) -> None:
        """Hold on to blobs that a file consists of."""

    async def listed(self, ino: int, whole: Digest, chunks: Digest, known: Sequence[Digest]) -> None:
        """Note that a file consists of the chunks in a list, which are `known`, or none where they must be read."""


class Nowhere:
    """A sink for who only looks."""

    async def fetch(self, ino: int, inode: storage_pb2.Inode) -> None:
        """Forget it."""

    async def put(self, digest: Digest, data: bytes) -> None:
        """Forget it."""

    async def touch(self, ino: int, digests: Iterable[Digest]) -> None:
        """Forget it."""

    async def listed(self, ino: int, whole: Digest, chunks: Digest, known: Sequence[Digest]) -> None:
        """Forget it."""


@dataclass(frozen=True, slots=True)
class Child:
    """A directory in a directory.

    Attributes:
        name: As it was spelled.
        ino: Its inode number; 0 where it need not be known, as nothing in it changed.
        base: Digest of the Directory that it was at the base's revision, if it was there then.
        clean: Whether it is that still.
    """

    name: str
    ino: int
    base: Digest | None
    clean: bool = False


@dataclass(slots=True)
class Listing:
    """What a directory holds.

    Attributes:
        own: Its own properties, but for what is below.
        files: Files by NFC name.
        symlinks: Links by NFC name.
        children: Directories by NFC name.
    """

    own: tree_pb2.NodeProperties
    files: dict[bytes, tree_pb2.FileNode] = field(default_factory=dict)
    symlinks: dict[bytes, tree_pb2.SymlinkNode] = field(default_factory=dict)
    children: dict[bytes, Child] = field(default_factory=dict)


class Living:
    """Reads directories of a zone's tree at the revision of a snapshot of the Metastore.

    With `changed`, a directory that was another snapshot's at `changed.since` is made of what it was and the entries that
    changed: no entry that did not is read.
    """

    def __init__(
        self, zone: str, snapshot: Snapshot, sink: Sink, directories: Directories, changed: Changed | None = None
    ) -> None:
        """Read in `zone`; what nodes name goes to `sink`."""
        self._zone = zone
        self._snapshot = snapshot
        self._sink = sink
        self._directories = directories
        self._changed = changed

    def clean(self, ino: int) -> bool:
        """Whether a directory, with all below it, is what it was at the base's revision."""
        return self._changed is not None and ino not in self._changed.entries

    async def read(self, ino: int, base: Digest | None) -> Listing:
        """Return what a directory holds; `base` is what it held at the base's revision, where it was there then."""
        listing = Listing(await self._own(ino))
        if base is None or self._changed is None:
            await self._scan(ino, listing)
            return listing
        was = await self._directories.get(self._zone, base)
        names = self._changed.entries.get(ino, set())
        before: dict[bytes, Digest] = {}
        for file in was.files:
            if (key := normal(file.name)) not in names:
                listing.files[key] = file
        for link in was.symlinks:
            if (key := normal(link.name)) not in names:
                listing.symlinks[key] = link
        for node in was.directories:
            key, digest = normal(node.name), nodes.digest_of(node.digest)
            if key in names:
                before[key] = digest
            else:
                listing.children[key] = Child(node.name, 0, digest, clean=True)
        wanted = [keys.dentry(self._zone, ino, name) for name in sorted(names)]
        for at in range(0, len(wanted), _PAGE):
            found = await self._snapshot.get(wanted[at : at + _PAGE])
            await self._take(listing, [Step.of(kv) for kv in found.values()], before)
        return listing

    async def _scan(self, ino: int, listing: Listing) -> None:
        """Read all entries of a directory."""
        start = prefix = keys.dentry(self._zone, ino, b"")
        more, size = True, 0
        while more:
            page = await self._snapshot.scan(start, ops.prefix_end(prefix), _PAGE)
            steps = [Step.of(kv) for kv in page.kvs]
            size += await self._take(listing, steps, {})
            if size > LARGEST:
                raise LimitReached(f"a directory has more than {LARGEST} bytes of entries", limit=LARGEST)
            more = page.more
            start = steps[-1].key + b"\0" if steps else start

    async def _take(self, listing: Listing, steps: Sequence[Step], before: dict[bytes, Digest]) -> int:
        """Add entries to a listing; return about how many bytes they have in a Directory."""
        size = 0
        others = []
        for step in steps:
            key = keys.parse(step.key).rest
            if step.type != records.DIRECTORY:
                others.append((key, step))
                continue
            # an entry that is older than the base leads where it led then
            base = before.get(key) if self._changed is not None and step.revision <= self._changed.since else None
            listing.children[key] = Child(step.name, step.ino, base, clean=base is not None and self.clean(step.ino))
            size += len(step.name) + 80
        inodes = await self._inodes([step.ino for _, step in others])
        for key, step in others:
            inode, xattrs = inodes[step.ino]
            if step.type == records.FILE:
                node = nodes.file_node(step.name, inode, await self._content(step.ino, inode), xattrs)
                listing.files[key] = node
                size += node.ByteSize()
            else:
                link = nodes.symlink_node(step.name, inode, xattrs)
                listing.symlinks[key] = link
                size += link.ByteSize()
        return size

    async def _own(self, ino: int) -> tree_pb2.NodeProperties:
        inode, xattrs = (await self._inodes([ino]))[ino]
        return nodes.properties(inode.attributes, xattrs)

    async def _inodes(self, inos: Sequence[int]) -> dict[int, tuple[storage_pb2.Inode, dict[str, nodes.Value]]]:
        """Read inodes with their extended attributes; the guard tells which have any."""
        wanted = [key(self._zone, ino) for ino in inos for key in (keys.inode, keys.xattr_guard)]
        found = await self._snapshot.get(wanted)
        guarded = [ino for ino in inos if keys.xattr_guard(self._zone, ino) in found]
        xattrs: dict[int, dict[str, nodes.Value]] = {}
        for at in range(0, len(guarded), _PARALLEL):
            some = guarded[at : at + _PARALLEL]
            xattrs |= zip(some, await asyncio.gather(*map(self._xattrs, some)), strict=True)
        read = {}
        for ino in inos:
            kv = found.get(keys.inode(self._zone, ino))
            if kv is None:  # the root of a zone in which nothing was written yet
                inode = storage_pb2.Inode(type=records.DIRECTORY)
                inode.attributes.mode = 0o755
            else:
                inode = storage_pb2.Inode.FromString(kv.value)
            read[ino] = inode, xattrs.get(ino, {})
        return read

    async def _xattrs(self, ino: int) -> dict[str, nodes.Value]:
        prefix = keys.xattr(self._zone, ino)
        found: dict[str, nodes.Value] = {}
        for kv in (await self._snapshot.scan(prefix, ops.prefix_end(prefix))).kvs:
            name = keys.parse(kv.key).rest.decode()
            if len(kv.value) <= nodes.SHORT:
                found[name] = kv.value
                continue
            digest = Digest.of(kv.value)
            await self._sink.put(digest, kv.value)
            found[name] = digest
        return found

    async def _content(self, ino: int, inode: storage_pb2.Inode) -> Digest | None:
        """Give a file's content to the sink; return the list of its chunks, where it has several."""
        if not inode.HasField("content") or not inode.attributes.size:
            return None
        content, whole = inode.content, Digest(inode.attributes.digest, inode.attributes.size)
        if content.store:
            await self._sink.fetch(ino, inode)
        if content.inline:
            await self._sink.put(whole, content.inline)
            return None
        if content.HasField("list"):
            listed = Digest(content.list.hash, content.list.size)
            await self._sink.listed(ino, whole, listed, ())
            return listed
        chunks = chunks_of(content)
        if chunks == (whole,):
            await self._sink.touch(ino, chunks)
            return None
        data = storage_pb2.ChunkList(chunks=content.chunks).SerializeToString(deterministic=True)
        listed = Digest.of(data)
        await self._sink.put(listed, data)
        await self._sink.listed(ino, whole, listed, chunks)
        return listed
