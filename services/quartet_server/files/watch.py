"""Watch: the store's changes told as what happened to files."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator

from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2 as pb

from quartet_server.errors import FieldInvalid
from quartet_server.files import keys, paths
from quartet_server.files.paths import Path
from quartet_server.files.steps import Step
from quartet_server.files.tree import Tree
from quartet_server.meta.events import IDLE, Changes, changes
from quartet_server.meta.snapshot import Snapshot
from raftmeta.etcd import kv_pb2
from raftmeta.metastore import Metastore

_REMEMBERED = 10_000


async def watch(tree: Tree, zone: str, request: pb.WatchRequest, idle: float = IDLE) -> AsyncIterator[pb.WatchResponse]:
    """Yield what happens to the path, and below it, from a revision on."""
    path = paths.parse(request.path)
    if request.start_revision < 0:
        raise FieldInvalid.of("start_revision", "must not be negative")
    resolver = await tree.resolver(zone, tree.snapshot())
    storyteller = Storyteller(tree.store, zone, (await resolver.base()).ino)
    async for change in changes(tree.store, *keys.tree(zone), request.start_revision, idle):
        events = [event for event in await storyteller.tell(change) if concerns(event, path, request.recursive)]
        if events or not change.events:
            yield pb.WatchResponse(revision=change.revision, events=events)


def concerns(event: pb.Event, watched: Path, recursive: bool) -> bool:
    """Tell whether an event is of the watched path, of what is below it, or takes a directory above it away."""
    for text in (event.path, event.old_path):
        if not text:
            continue
        path = (
            paths.parse(text).keys
            if text.count("/") <= paths.DEEPEST
            else tuple(paths.normal(name) for name in text[1:].split("/"))
        )
        depth = len(watched.keys)
        if path[:depth] == watched.keys and (recursive or len(path) <= depth + 1):
            return True
        if event.type in (pb.EVENT_TYPE_RENAMED, pb.EVENT_TYPE_DELETED) and watched.keys[: len(path)] == path:
            return True
    return False


class Storyteller:
    """Turns the changes of one revision after another into events.

    Paths are those of the moment: it walks the parent pointers as they were at the change's revision, and remembers
    them as long as no change touches them. What happens below a detached directory happens nowhere and is not told.
    """

    def __init__(self, store: Metastore, zone: str, root: int = keys.ROOT) -> None:
        """Tell about `zone`, looking parents up in `store`; paths begin at `root`, and what is not below is not told."""
        self._store = store
        self._root = root
        self._zone = zone
        self._parents: OrderedDict[int, tuple[int, str] | None] = OrderedDict()

    async def tell(self, change: Changes) -> list[pb.Event]:
        """Return what happened at one revision. Raises MetastoreError: COMPACTED when it is too far behind."""
        gone: dict[int, kv_pb2.Event] = {}
        came: dict[int, kv_pb2.Event] = {}
        others: dict[tuple[int, str], pb.Event] = {}
        removed_inodes: set[int] = set()
        for event in change.events:
            key = keys.parse(event.kv.key)
            deleted = event.type == kv_pb2.Event.DELETE
            if key.kind == "d":
                if event.HasField("prev_kv"):
                    gone[Step.of(event.prev_kv).ino] = event
                if not deleted:
                    came[Step.of(event.kv).ino] = event
            elif key.kind == "p":
                self._remember(key.ino, None if deleted else _parent(event.kv.value))
            elif key.kind == "i":
                if deleted:
                    removed_inodes.add(key.ino)
                elif event.HasField("prev_kv"):
                    inode = storage_pb2.Inode.FromString(event.kv.value)
                    others[key.ino, ""] = pb.Event(type=pb.EVENT_TYPE_MODIFIED, ino=key.ino, entry_type=inode.type)
            elif key.kind == "x":
                name = key.rest.decode()
                others[key.ino, name] = pb.Event(type=pb.EVENT_TYPE_XATTR, ino=key.ino, xattr=name)
        told = await self._moves(gone, came, change.revision)
        for (ino, _), one in others.items():
            if ino in removed_inodes or ino in came:
                continue
            path = await self._path(ino, change.revision)
            if path is not None:
                one.path = path
                told.append(one)
        return told

    async def _moves(
        self, gone: dict[int, kv_pb2.Event], came: dict[int, kv_pb2.Event], revision: int
    ) -> list[pb.Event]:
        """Pair entries that went with entries that came: the same inode in both was renamed."""
        told = []
        for ino, event in gone.items():
            if ino in came:
                continue
            path = await self._place(event.prev_kv, revision)
            if path is not None:
                kind = Step.of(event.prev_kv).type
                told.append(pb.Event(type=pb.EVENT_TYPE_DELETED, path=path, ino=ino, entry_type=kind))
        for ino, event in came.items():
            path = await self._place(event.kv, revision)
            if path is None:
                if ino in gone and (old := await self._place(gone[ino].prev_kv, revision)) is not None:
                    kind = Step.of(event.kv).type
                    told.append(pb.Event(type=pb.EVENT_TYPE_DELETED, path=old, ino=ino, entry_type=kind))
                continue
            one = pb.Event(type=pb.EVENT_TYPE_CREATED, path=path, ino=ino, entry_type=Step.of(event.kv).type)
            if ino in gone:
                # The old parent's path is the one after the change too: one transaction moves one thing, and what
                # moves never holds the place it left (that would be a cycle).
                old = await self._place(gone[ino].prev_kv, revision)
                if old == path:  # its quota came or went
                    continue
                if old is not None:
                    one.type = pb.EVENT_TYPE_RENAMED
                    one.old_path = old
            told.append(one)
        return told

    async def _place(self, dentry: kv_pb2.KeyValue, revision: int) -> str | None:
        """Return the path of an entry; None when its directory is not part of the tree."""
        parent = await self._path(keys.parse(dentry.key).ino, revision)
        if parent is None:
            return None
        return f"{parent.rstrip('/')}/{Step.of(dentry).name}"

    async def _path(self, ino: int, revision: int) -> str | None:
        """Return the path of an inode at a revision; None when it is not part of the tree."""
        names: list[str] = []
        while ino != self._root:
            if ino == keys.ROOT:
                return None
            if ino not in self._parents:
                await self._look_up(ino, revision)
            above = self._parents[ino]
            if above is None:
                return None
            names.append(above[1])
            ino = above[0]
        return "/" + "/".join(reversed(names))

    async def _look_up(self, ino: int, revision: int) -> None:
        key = keys.parent(self._zone, ino)
        snapshot = Snapshot(self._store, revision=revision)
        found = await snapshot.get([key])
        self._remember(ino, _parent(found[key].value) if key in found else None)

    def _remember(self, ino: int, parent: tuple[int, str] | None) -> None:
        self._parents[ino] = parent
        self._parents.move_to_end(ino)
        if len(self._parents) > _REMEMBERED:
            self._parents.popitem(last=False)


def _parent(value: bytes) -> tuple[int, str]:
    parent = storage_pb2.Parent.FromString(value)
    return parent.ino, parent.name
