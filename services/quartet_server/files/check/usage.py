"""What a path holds and what that takes: logical bytes, and those that are kept, chunks that are shared counted once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from quartet.files.storage.v1 import storage_pb2
from quartet.maintenance.v1 import maintenance_pb2 as pb

from quartet_server.errors import BlobCorrupt, BlobNotFound, FieldInvalid
from quartet_server.files import keys, paths, records
from quartet_server.files.check.distinct import Distinct
from quartet_server.files.check.view import View
from quartet_server.files.contents.body import chunks_of
from quartet_server.files.steps import Step
from quartet_server.files.tree import Tree
from quartet_server.meta import ops
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.contract import BlobStore
from quartet_server.objects.digest import Digest
from quartet_server.objects.mounts.addresses import address

_PAGE = 256
_AT_ONCE = 64
_STEEP = 4096  # directories below each other: renames can put entries deeper than paths can name
_NEWS = 5_000  # entries after which a caller is told that work goes on


@dataclass(slots=True)
class _Frame:
    """A directory on the way down.

    Attributes:
        ino: Its inode number.
        row: What is told of it; the row of the nearest one above that gets one, when it gets none of its own.
        place: Number of its row's chunks.
        depth: Levels below the path that was asked for.
        start: Where its next page begins.
        more: There is one.
        ahead: Directories in it that were read and not gone down to.
    """

    ino: int
    row: pb.GetUsageResponse
    place: int
    depth: int
    start: bytes
    more: bool = True
    ahead: deque[tuple[int, str]] = field(default_factory=deque)


@dataclass(slots=True)
class Usage:
    """Measures one path of one zone at one revision.

    Memory is bounded by the rows on the way down and their pages; which chunks were seen is in a temporary file.

    Attributes:
        tree: Where the tree is.
        blobs: Where its chunks are.
        zone: The zone.
        depth: Levels below the path that get rows of their own.
    """

    tree: Tree
    blobs: BlobStore
    zone: str
    depth: int
    _seen: Distinct = field(default_factory=Distinct)
    _examined: int = 0

    async def run(self, path: paths.Path) -> AsyncGenerator[pb.GetUsageResponse, None]:
        """Yield rows, those of what is below first, the path's own last. Raises FieldInvalid, FileNotFound, MetastoreError."""
        if not 0 <= self.depth <= paths.DEEPEST:
            raise FieldInvalid.of("depth", f"must be from 0 to {paths.DEEPEST}")
        view = View(self.zone, Snapshot(self.tree.store))
        walk = (await (await self.tree.resolver(self.zone, view.snapshot)).walk(path)).demand()
        top = pb.GetUsageResponse(path=str(path))
        try:
            if walk.type != records.DIRECTORY:
                key = keys.inode(self.zone, walk.ino)
                kv = (await view.get([key]))[key]
                await self._count([top], [0], storage_pb2.Inode.FromString(kv.value))
            else:
                top.directories = 1
                async for row in self._down(view, walk.ino, top):
                    yield row
        finally:
            self._seen.close()
        yield top

    async def _down(self, view: View, ino: int, top: pb.GetUsageResponse) -> AsyncGenerator[pb.GetUsageResponse, None]:
        frames = [_Frame(ino, top, 0, 0, keys.dentry(self.zone, ino, b""))]
        places = 0
        news = _NEWS
        while frames:
            frame = frames[-1]
            if self._examined >= news:
                news = self._examined + _NEWS
                yield pb.GetUsageResponse()
            if frame.ahead:
                below, name = frame.ahead.popleft()
                row, place = frame.row, frame.place
                if frame.depth < self.depth:
                    row = pb.GetUsageResponse(path=f"{frame.row.path.rstrip('/')}/{name}")
                    places += 1
                    place = places
                if len(frames) < _STEEP:
                    frames.append(_Frame(below, row, place, frame.depth + 1, keys.dentry(self.zone, below, b"")))
                for one in _different([*(f.row for f in frames), row]):
                    one.directories += 1
            elif frame.more:
                async for told in self._page(view, frames):
                    yield told
            else:
                frames.pop()
                if frames and frame.row is not frames[-1].row:
                    self._seen.forget(frame.place)
                    yield frame.row

    async def _page(self, view: View, frames: Sequence[_Frame]) -> AsyncGenerator[pb.GetUsageResponse, None]:
        """Count a page of the last directory's entries; yields rows of files where those get some."""
        frame = frames[-1]
        prefix = keys.dentry(self.zone, frame.ino, b"")
        page = await view.snapshot.scan(frame.start, ops.prefix_end(prefix), _PAGE)
        steps = [Step.of(kv) for kv in page.kvs]
        self._examined += len(steps)
        frame.more = page.more
        if steps:
            frame.start = steps[-1].key + b"\0"
        directories = [step for step in steps if step.type == records.DIRECTORY]
        kept = set(await view.below(frame.ino, directories, 0))
        frame.ahead.extend((step.ino, step.name) for step in directories if step.ino in kept)
        others = [step for step in steps if step.type != records.DIRECTORY]
        inodes = await view.get([keys.inode(self.zone, step.ino) for step in others])
        rows = _different([one.row for one in frames])
        places = list(dict.fromkeys(one.place for one in frames))
        for step in others:
            if (kv := inodes.get(keys.inode(self.zone, step.ino))) is None:
                continue
            inode = storage_pb2.Inode.FromString(kv.value)
            if frame.depth < self.depth:
                own = pb.GetUsageResponse(path=f"{frame.row.path.rstrip('/')}/{step.name}")
                await self._count([own, *rows], [-1, *places], inode)
                self._seen.forget(-1)
                yield own
            else:
                await self._count(rows, places, inode)

    async def _count(
        self, rows: Sequence[pb.GetUsageResponse], places: Sequence[int], inode: storage_pb2.Inode
    ) -> None:
        """Count one file or link in some rows, whose chunks are under `places`."""
        content, size = inode.content, inode.attributes.size
        for row in rows:
            if inode.type == records.SYMLINK:
                row.links += 1
                continue
            row.files += 1
            if inode.HasField("content") or not size:
                row.logical_bytes += size
            else:
                row.absent_bytes += size
            row.unique_bytes += len(content.inline)
            row.physical_bytes += len(content.inline)
        chunks, lists, where = list(chunks_of(content)), list[Digest](), address(self.zone, content.store)
        if content.HasField("list"):
            lists.append(Digest(content.list.hash, content.list.size))
            with suppress(BlobNotFound, BlobCorrupt):  # then it counts as lost below, and what it led to is not known
                chunks += chunks_of(storage_pb2.ChunkList.FromString(await self.blobs.get(where, lists[0])))
        stored: dict[Digest, int | None] = {}
        for row, place in zip(rows, places, strict=True):
            new = self._seen.unseen(place, [*chunks, *lists])
            self._seen.add(place, new)
            await self._ask(where, [digest for digest in new if digest not in stored], stored)
            for digest in new:
                if digest not in lists:
                    row.unique_bytes += digest.size
                if (takes := stored[digest]) is None:
                    row.lost_chunks += 1
                else:
                    row.physical_bytes += takes

    async def _ask(self, where: str, digests: Sequence[Digest], stored: dict[Digest, int | None]) -> None:
        """Ask the store what blobs take."""
        for i in range(0, len(digests), _AT_ONCE):
            some = digests[i : i + _AT_ONCE]
            found = await asyncio.gather(*(self.blobs.stat(where, digest) for digest in some))
            stored |= {one: None if info is None else info.stored for one, info in zip(some, found, strict=True)}


def _different(rows: Sequence[pb.GetUsageResponse]) -> list[pb.GetUsageResponse]:
    """Return rows, each object once, in the order given."""
    return list({id(row): row for row in rows}.values())
