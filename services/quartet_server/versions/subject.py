"""Which file a call is about: one that is there, was deleted, or lies in the trash; and whether its caller may know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from quartet.files.storage.v1 import storage_pb2 as files_storage
from quartet.versions.storage.v1 import storage_pb2
from quartet.versions.v1 import versions_pb2 as pb

from quartet_server.errors import FieldInvalid, FileNotFound, RevisionCompacted
from quartet_server.files import keys as files
from quartet_server.files import paths, principals, records
from quartet_server.files.contents.target import demand_file
from quartet_server.files.paths import Path
from quartet_server.files.resolve import Resolver, Walk
from quartet_server.files.steps import Step
from quartet_server.files.tree import Tree
from quartet_server.meta import ops
from quartet_server.meta.snapshot import Snapshot
from quartet_server.versions import keys
from quartet_server.versions.ended import tail
from quartet_server.versions.observer import recorded_to

_PAGE = 1000
_ITEMS = 10_000  # of the trash that one call looks at
_DEEPEST = 256


@dataclass(frozen=True, slots=True)
class Found:
    """The file of a call.

    Attributes:
        ino: Inode number.
        path: Where it is now, as its caller sees it; None for what was deleted or lies in the trash.
        label: What errors call it.
    """

    ino: int
    path: str | None
    label: str


@dataclass(frozen=True, slots=True)
class Subjects:
    """Finds files of one zone, as a snapshot shows it.

    Attributes:
        tree: The tree.
        zone: The zone.
        snapshot: The moment.
        clock: Seconds since 1970.
        idle: Seconds after which a silent store is asked how far it has told.
    """

    tree: Tree
    zone: str
    snapshot: Snapshot
    clock: Callable[[], float]
    idle: float

    async def find(self, subject: pb.Subject) -> Found:
        """Return the file that a request names. Raises FieldInvalid, PathInvalid, FileNotFound, NotAFile, IsADirectory."""
        match subject.WhichOneof("name"):
            case "path":
                return await self.at(paths.parse(subject.path))
            case "ino":
                return await self._numbered(subject.ino)
        raise FieldInvalid.of("file", "names a path or an inode number")

    async def at(self, path: Path) -> Found:
        """Return the file at a path: what is there, else what was deleted there last, else what the trash holds."""
        resolver = await self.tree.resolver(self.zone, self.snapshot)
        walk = await resolver.walk(path)
        if walk.complete:
            demand_file(walk)
            return Found(walk.ino, str(path), str(path))
        ino = await self._deleted(walk) or await self._in_trash(path, (await resolver.base()).path)
        if ino:
            return Found(ino, None, str(path))
        problem = walk.problem()
        assert problem is not None
        raise problem

    async def _deleted(self, walk: Walk) -> int:
        """Return the inode number of the file that was deleted last at the end of a walk; 0 for none."""
        if len(walk.steps) != len(walk.path.names) - 1:
            return 0
        parent, name = walk.ino, walk.path.keys[-1]
        after = await recorded_to(self.tree.store, self.zone, self.snapshot)
        last = 0
        prefix = keys.gone(self.zone, parent, name)
        found = await self.snapshot.scan(prefix, ops.prefix_end(prefix), _PAGE, keys_only=True)
        if found.kvs:
            last = int.from_bytes(found.kvs[-1].key[-8:], "big")
        inodes = keys.inodes(self.zone)
        try:
            async for one in tail(
                self.tree.store, self.zone, inodes, after, self.snapshot.revision, self.clock, self.idle
            ):
                place = one.record.deleted
                if place.parent == parent and place.name.encode() == name:
                    last = one.ino
        except RevisionCompacted:  # a gap, which the observer is about to tell
            pass
        return last

    async def _in_trash(self, path: Path, base: str) -> int:
        """Return the inode number of the file that was at a path when the trash got it; 0 for none."""
        whole = paths.parse(base + str(path)) if base else path
        for trashed in reversed(await self._trash()):
            above = paths.parse(trashed.path)
            depth = len(above.keys)
            if whole.keys[:depth] != above.keys:
                continue
            ino, kind = trashed.ino, trashed.type
            for name in whole.keys[depth:]:
                key = files.dentry(self.zone, ino, name)
                kv = (await self.snapshot.get([key])).get(key)
                if kv is None:
                    break
                step = Step.of(kv)
                ino, kind = step.ino, step.type
            else:
                if kind == records.FILE:
                    return ino
        return 0

    async def _numbered(self, ino: int) -> Found:
        label = f"file {ino}"
        resolver = await self.tree.resolver(self.zone, self.snapshot)
        base = await resolver.base()
        key = files.inode(self.zone, ino)
        kv = (await self.snapshot.get([key])).get(key)
        if kv is not None:
            steps = await principals.chain(self.zone, self.snapshot, ino, base.ino)
            if steps:
                walk = Walk(Path(tuple(step.name for step in steps), ()), steps, base)
                demand_file(walk)
                return Found(ino, str(walk.path), str(walk.path))
            if ino != base.ino and (not base.path or await self._trashed_below(ino, base.path)):
                return Found(ino, None, label)
        elif not base.path or await self._deleted_below(ino, base.ino):
            return Found(ino, None, label)
        raise FileNotFound(f"{label} does not exist", path=label)

    async def _trashed_below(self, ino: int, base: str) -> bool:
        """Tell whether an inode in the trash was below a path when it got there."""
        top = ino
        for _ in range(_DEEPEST):
            key = files.parent(self.zone, top)
            kv = (await self.snapshot.get([key])).get(key)
            if kv is None:
                break
            top = files_storage.Parent.FromString(kv.value).ino
        return any(one.ino == top and one.path.startswith(f"{base}/") for one in await self._trash())

    async def _deleted_below(self, ino: int, top: int) -> bool:
        """Tell whether a file was deleted from a directory that is `top` or below it."""
        prefix = keys.generations(self.zone, ino)
        found = await self.snapshot.scan(prefix, ops.prefix_end(prefix), keys_only=True)
        last = found.kvs[-1].key if found.kvs else b""
        kv = (await self.snapshot.get([last])).get(last) if last else None
        if kv is None:
            return False
        parent = storage_pb2.Record.FromString(kv.value).deleted.parent
        return bool(parent) and await principals.chain(self.zone, self.snapshot, parent, top) is not None

    async def _trash(self) -> list[files_storage.Trashed]:
        """Return what the trash holds, the oldest first."""
        start = files.trash(self.zone)
        end, more = ops.prefix_end(start), True
        items: list[files_storage.Trashed] = []
        while more and len(items) < _ITEMS:
            page = await self.snapshot.scan(start, end, _PAGE)
            for kv in page.kvs:
                items.append(files_storage.Trashed.FromString(kv.value))
                start = kv.key + b"\0"
            more = page.more
        return items


async def resolved(tree: Tree, zone: str, text: str, snapshot: Snapshot) -> Walk:
    """Return the walk to a path that must lead to something. Raises PathInvalid, FileNotFound, NotADirectory."""
    resolver: Resolver = await tree.resolver(zone, snapshot)
    return (await resolver.walk(paths.parse(text))).demand()
