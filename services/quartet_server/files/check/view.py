"""A zone at one revision, as a check looks at it: records, where they are in the tree, and what has been put away."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from quartet.files.storage.v1 import storage_pb2

from quartet_server.files import keys, quotas, records
from quartet_server.files.check.finding import decoded
from quartet_server.files.steps import Step
from quartet_server.meta import ops
from quartet_server.meta.snapshot import KeyValue, Snapshot

_PAGE = 256
_KNOWN = 100_000  # directories remembered as leading up to somewhere
_STEEP = 4096  # directories on a way up that is told as a path


class View:
    """Reads one zone. Memory stays bounded but for 8 bytes for each thing in the trash, where those are needed.

    Attributes:
        zone: The zone.
        snapshot: Its revision.
    """

    def __init__(self, zone: str, snapshot: Snapshot) -> None:
        """Look at `zone` as `snapshot` shows it."""
        self.zone = zone
        self.snapshot = snapshot
        self._trash: Sequence[int] | None = None
        self._staged: set[int] | None = None
        self._charged: dict[int, list[int]] | None = None
        self._anchored: set[int] = {keys.ROOT}

    async def get(self, wanted: Sequence[bytes]) -> dict[bytes, KeyValue]:
        """Read records; those that do not exist are missing from the answer. Raises MetastoreError."""
        return await self.snapshot.get(wanted)

    async def pages(
        self, start: bytes, end: bytes, *, size: int = _PAGE, keys_only: bool = False
    ) -> AsyncGenerator[Sequence[KeyValue], None]:
        """Yield the records from `start` up to `end`, in order. Raises MetastoreError."""
        more = True
        while more:
            page = await self.snapshot.scan(start, end, size, keys_only=keys_only)
            if page.kvs:
                yield page.kvs
                start = page.kvs[-1].key + b"\0"
            more = page.more

    async def pointer(self, ino: int) -> storage_pb2.Parent | None:
        """Return the parent pointer of an inode."""
        key = keys.parent(self.zone, ino)
        return decoded(storage_pb2.Parent, (await self.get([key])).get(key))

    async def attached(self, ino: int) -> bool:
        """Tell whether the entry that an inode's parent pointer names leads to it."""
        if (pointer := await self.pointer(ino)) is None:
            return False
        key = keys.dentry(self.zone, pointer.ino, pointer.name.encode())
        dentry = decoded(storage_pb2.Dentry, (await self.get([key])).get(key))
        return dentry is not None and dentry.ino == ino

    async def path(self, ino: int) -> str:
        """Return an inode's path for people, empty for the root; `inode N` stands for what no way leads to."""
        names: list[str] = []
        while ino != keys.ROOT:
            pointer = await self.pointer(ino)
            if pointer is None or len(names) == _STEEP:
                break
            key = keys.dentry(self.zone, pointer.ino, pointer.name.encode())
            kv = (await self.get([key])).get(key)
            if (dentry := decoded(storage_pb2.Dentry, kv)) is None:
                break
            names.append(dentry.spelling or pointer.name)
            ino = pointer.ino
        top = "" if ino == keys.ROOT else f"inode {ino}"
        return top + "".join(f"/{name}" for name in reversed(names))

    async def staged(self) -> set[int]:
        """Return the tops of trees in the making, to which no path leads yet, and which need not be whole."""
        if self._staged is None:
            self._staged = set()
            for prefix in (b"/system/staging/" + self.zone.encode() + b"\0", self.zone.encode() + b"\0B"):
                async for page in self.pages(prefix, ops.prefix_end(prefix), keys_only=True):
                    self._staged.update(int.from_bytes(kv.key[-8:], "big") for kv in page)
        return self._staged

    async def is_in_the_making(self, ino: int) -> bool:
        """Tell whether an inode belongs to a tree in the making, or may, having no pointer yet."""
        if not (staged := await self.staged()):
            return False
        for _ in range(_STEEP):
            if ino in staged or ino == keys.ROOT:
                break
            if (pointer := await self.pointer(ino)) is None:
                return True
            ino = pointer.ino
        return ino in staged

    async def put_away(self, ino: int) -> str:
        """Return `making`, `trash` or `reclaim` for an inode that is there, else nothing."""
        if ino in await self.staged():
            return "making"
        if keys.reclaim(self.zone, ino) in await self.get([keys.reclaim(self.zone, ino)]):
            return "reclaim"
        if self._trash is None:
            found = array("Q")
            prefix = keys.trash(self.zone)
            async with aclosing(self.pages(prefix, ops.prefix_end(prefix), size=1000, keys_only=True)) as pages:
                async for page in pages:
                    found.extend(int.from_bytes(kv.key[-8:], "big") for kv in page)
            self._trash = array("Q", sorted(found))
        at = bisect_left(self._trash, ino)
        return "trash" if at < len(self._trash) and self._trash[at] == ino else ""

    async def circle(self, ino: int) -> list[int]:
        """Return the directories of a circle that the way up from a directory ends in; empty for one that ends elsewhere."""
        way = [ino]
        seen = {ino}
        while way[-1] not in self._anchored:
            pointer = await self.pointer(way[-1])
            if pointer is None:
                break
            if pointer.ino in seen:
                return way[way.index(pointer.ino) :]
            seen.add(pointer.ino)
            way.append(pointer.ino)
        if len(self._anchored) > _KNOWN:
            self._anchored = {keys.ROOT}
        self._anchored.update(way)
        return []

    async def charged(self) -> dict[int, list[int]]:
        """Return, for each quota number, the inodes in the trash or on their way out that it counts with all below."""
        if self._charged is None:
            charged: dict[int, list[int]] = defaultdict(list)
            trash, reclaim = keys.trash(self.zone), keys.reclaim(self.zone, 0)[:-8]
            async for page in self.pages(trash, ops.prefix_end(trash)):
                for kv in page:
                    for number in storage_pb2.Trashed.FromString(kv.value).quotas:
                        charged[number].append(int.from_bytes(kv.key[-8:], "big"))
            async for page in self.pages(reclaim, ops.prefix_end(reclaim)):
                for kv in page:
                    for number in storage_pb2.Detached.FromString(kv.value).quotas:
                        charged[number].append(int.from_bytes(kv.key[-8:], "big"))
            self._charged = charged
        return self._charged

    async def count(self, ino: int, *, itself: bool) -> tuple[int, int]:
        """Return the bytes and inodes that a quota counts below an inode, and for it. Raises DecodeError."""
        bytes_ = inodes = 0
        if itself:
            key = keys.inode(self.zone, ino)
            if (kv := (await self.get([key])).get(key)) is not None:
                bytes_, inodes = quotas.size_of(storage_pb2.Inode.FromString(kv.value)), 1
        pending = [ino]
        while pending:
            above = pending.pop()
            prefix = keys.dentry(self.zone, above, b"")
            async for page in self.pages(prefix, ops.prefix_end(prefix)):
                steps = [Step.of(kv) for kv in page]
                files = [keys.inode(self.zone, step.ino) for step in steps if step.type != records.DIRECTORY]
                found = await self.get(files)
                bytes_ += sum(quotas.size_of(storage_pb2.Inode.FromString(kv.value)) for kv in found.values())
                inodes += len(steps)
                pending += await self.below(above, [step for step in steps if step.type == records.DIRECTORY], ino)
        return bytes_, inodes

    async def below(self, above: int, steps: Sequence[Step], top: int) -> list[int]:
        """Return the directories to go down to: those whose pointer leads back here, so that no circle is walked for ever."""
        found = await self.get([keys.parent(self.zone, step.ino) for step in steps])
        kept = []
        for step in steps:
            pointer = decoded(storage_pb2.Parent, found.get(keys.parent(self.zone, step.ino)))
            here = pointer is not None and (pointer.ino, pointer.name.encode()) == (above, keys.parse(step.key).rest)
            if here and step.ino != top:
                kept.append(step.ino)
        return kept
