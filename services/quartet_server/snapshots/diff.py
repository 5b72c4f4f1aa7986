"""DiffSnapshots: two trees side by side, gone into only where their digests differ."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from quartet.files.v1 import files_pb2
from quartet.snapshots.v1 import snapshots_pb2 as pb
from quartet.wire.reapi import tree_pb2

from quartet_server.errors import FieldInvalid
from quartet_server.files import paths, records
from quartet_server.files.resolve import Resolver
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.digest import Digest
from quartet_server.snapshots import directories, log, nodes
from quartet_server.snapshots.bases import Base, base_of
from quartet_server.snapshots.directories import Directories
from quartet_server.snapshots.history import changed
from quartet_server.snapshots.living import Living, Nowhere
from quartet_server.snapshots.nodes import Node
from quartet_server.snapshots.records import Known, tell
from quartet_server.snapshots.workshop import Workshop, marked
from raftmeta.etcd import rpc_pb2

_TOGETHER, _BYTES = 200, 1 << 20  # changes, and bytes of them, in one response


@dataclass(frozen=True, slots=True)
class Place:
    """A directory on one side.

    Attributes:
        digest: Of its Directory, where it is known.
        ino: Its inode number, on the side of the present tree.
        base: What it was in the snapshot from which the present tree is read.
    """

    digest: Digest | None
    ino: int = 0
    base: Digest | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """What a directory holds.

    Attributes:
        own: Its own properties.
        entries: By NFC name: an entry, and of a directory where it is.
    """

    own: tree_pb2.NodeProperties
    entries: Mapping[bytes, tuple[Node, Place | None]]


class Side(Protocol):
    """One of the two trees: reads a directory at a place that it has told, the top to begin with."""

    async def read(self, place: Place) -> Held:
        """Return what the directory holds. Raises SnapshotDamaged, MetastoreError."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A snapshot's tree."""

    zone: str
    read_: Directories

    async def read(self, place: Place) -> Held:
        """See `Side`."""
        assert place.digest is not None
        found = await self.read_.get(self.zone, place.digest)
        return Held(
            found.node_properties,
            {
                node.key: (node, Place(node.digest) if node.type == records.DIRECTORY else None)
                for node in directories.entries(found)
            },
        )


@dataclass(frozen=True, slots=True)
class Present:
    """The present tree, of which what did not change since its base is read from there."""

    kept: Kept
    living: Living

    async def read(self, place: Place) -> Held:
        """See `Side`."""
        if place.digest is not None:
            return await self.kept.read(place)
        listing = await self.living.read(place.ino, place.base)
        entries: dict[bytes, tuple[Node, Place | None]] = {}
        for key, file in listing.files.items():
            entries[key] = nodes.read_file(file), None
        for key, link in listing.symlinks.items():
            entries[key] = nodes.read_symlink(link), None
        for key, child in listing.children.items():
            node = Node(child.name, records.DIRECTORY, files_pb2.Attributes())
            entries[key] = node, Place(child.base if child.clean else None, child.ino, child.base)
        return Held(listing.own, entries)


async def diff(shop: Workshop, zone: str, request: pb.DiffSnapshotsRequest) -> AsyncIterator[pb.DiffSnapshotsResponse]:
    """Yield the differences. Raises SnapshotNotFound, FileNotFound, NotADirectory, SnapshotDamaged, MetastoreError."""
    if request.other and request.path:
        raise FieldInvalid.of("path", "is of the present tree, and goes without another snapshot")
    tree = shop.tree
    _, older = await log.found(tree, zone, request.snapshot)
    kept = Kept(zone, shop.directories)
    answer = pb.DiffSnapshotsResponse()
    if request.other:
        _, newer = await log.found(tree, zone, request.other, "other")
        after: Side = kept
        place = Place(newer.root)
    else:
        after, place, answer.revision = await _present(shop, zone, request, older, kept)
    size = 0
    yield answer
    told = pb.DiffSnapshotsResponse(revision=answer.revision)
    async for change in Comparison(kept, after).compare(Place(older.root), place):
        told.changes.append(change)
        size += change.ByteSize() + 8
        if len(told.changes) >= _TOGETHER or size >= _BYTES:
            yield told
            told, size = pb.DiffSnapshotsResponse(revision=answer.revision), 0
    if told.changes:
        yield told


async def _present(
    shop: Workshop, zone: str, request: pb.DiffSnapshotsRequest, older: Known, kept: Kept
) -> tuple[Side, Place, int]:
    """Return the present tree as a side, its top and its revision."""
    await shop.tree.ensure(zone)
    mark, revision = await marked(shop, zone)
    snapshot = Snapshot(shop.tree.store, revision=revision)
    resolver = Resolver(zone, snapshot)
    base = await resolver.base()
    path = paths.parse(request.path or tell(older, base).path)
    walk = (await resolver.walk(path)).demand_directory()
    begin: Base | None = await base_of(zone, snapshot, walk.ino)
    if older.ino == walk.ino and (begin is None or begin.revision < older.record.revision <= revision):
        begin = Base(older, older.root, older.record.revision)
    since = await changed(shop.tree.store, zone, begin.revision, snapshot) if begin is not None else None
    await shop.tree.store.delete_range(rpc_pb2.DeleteRangeRequest(key=mark))
    if since is None or begin is None:
        living = Living(zone, snapshot, Nowhere(), shop.directories)
        return Present(kept, living), Place(None, walk.ino), revision
    living = Living(zone, snapshot, Nowhere(), shop.directories, since)
    clean = begin.root if living.clean(walk.ino) else None
    return Present(kept, living), Place(clean, walk.ino, begin.root), revision


class Comparison:
    """Compares two sides, depth first."""

    def __init__(self, before: Side, after: Side) -> None:
        """Compare what was `before` with what is `after`."""
        self._before = before
        self._after = after

    async def compare(self, before: Place, after: Place) -> AsyncIterator[pb.Change]:
        """Yield what differs below two directories, each entry before what it holds."""
        if before.digest is not None and before.digest == after.digest:
            return
        old, new = await self._before.read(before), await self._after.read(after)
        if not same(old.own, new.own):
            yield pb.Change(type=pb.CHANGE_TYPE_MODIFIED, path="/", before=_top(old), after=_top(new), attributes=True)
        async for change in self._below("", old, new):
            yield change

    async def _below(self, path: str, old: Held, new: Held) -> AsyncIterator[pb.Change]:
        for key in sorted(old.entries.keys() | new.entries.keys()):
            left, right = old.entries.get(key), new.entries.get(key)
            if left is None or right is None:
                if left is not None:
                    async for change in self._only(path, left, self._before, pb.CHANGE_TYPE_REMOVED):
                        yield change
                if right is not None:
                    async for change in self._only(path, right, self._after, pb.CHANGE_TYPE_ADDED):
                        yield change
                continue
            async for change in self._both(path, left, right):
                yield change

    async def _both(
        self, path: str, left: tuple[Node, Place | None], right: tuple[Node, Place | None]
    ) -> AsyncIterator[pb.Change]:
        (old, there), (new, here) = left, right
        at = f"{path}/{new.name}"
        if there is not None and here is not None:
            if there.digest is not None and there.digest == here.digest and old.name == new.name:
                return
            was, now = await self._before.read(there), await self._after.read(here)
            if not same(was.own, now.own) or old.name != new.name:
                yield pb.Change(
                    type=pb.CHANGE_TYPE_MODIFIED,
                    path=at,
                    before=entry(f"{path}/{old.name}", _described(old, was)),
                    after=entry(at, _described(new, now)),
                    attributes=True,
                )
            async for change in self._below(at, was, now):
                yield change
            return
        if old.type != new.type:
            yield pb.Change(
                type=pb.CHANGE_TYPE_MODIFIED,
                path=at,
                before=entry(
                    f"{path}/{old.name}", old if there is None else _described(old, await self._before.read(there))
                ),
                after=entry(at, new if here is None else _described(new, await self._after.read(here))),
                content=True,
                attributes=True,
            )
            if there is not None:
                async for change in self._under(f"{path}/{old.name}", there, self._before, pb.CHANGE_TYPE_REMOVED):
                    yield change
            if here is not None:
                async for change in self._under(at, here, self._after, pb.CHANGE_TYPE_ADDED):
                    yield change
            return
        content = old.digest != new.digest or old.attributes.symlink_target != new.attributes.symlink_target
        attributes = old.name != new.name or old.xattrs != new.xattrs or _rest(old) != _rest(new)
        if content or attributes:
            yield pb.Change(
                type=pb.CHANGE_TYPE_MODIFIED,
                path=at,
                before=entry(f"{path}/{old.name}", old),
                after=entry(at, new),
                content=content,
                attributes=attributes,
            )

    async def _only(
        self, path: str, one: tuple[Node, Place | None], side: Side, kind: pb.ChangeType.ValueType
    ) -> AsyncIterator[pb.Change]:
        """Yield an entry that is on one side only, and what it holds."""
        node, place = one
        at = f"{path}/{node.name}"
        if place is not None:
            node = _described(node, await side.read(place))
        told = entry(at, node)
        added = kind == pb.CHANGE_TYPE_ADDED
        yield pb.Change(type=kind, path=at, before=None if added else told, after=told if added else None, content=True)
        if place is not None:
            async for change in self._under(at, place, side, kind):
                yield change

    async def _under(
        self, path: str, place: Place, side: Side, kind: pb.ChangeType.ValueType
    ) -> AsyncIterator[pb.Change]:
        held = await side.read(place)
        for key in sorted(held.entries):
            async for change in self._only(path, held.entries[key], side, kind):
                yield change


def same(one: tree_pb2.NodeProperties, other: tree_pb2.NodeProperties) -> bool:
    """Whether two directories say the same about themselves, what is below them aside."""
    return nodes.own(one) == nodes.own(other)


def entry(path: str, node: Node) -> pb.TreeEntry:
    """Tell a node as an entry."""
    told = pb.TreeEntry(path=path, name=node.name, type=node.type, attributes=node.attributes, stored=node.stored)
    if node.type == records.DIRECTORY and not node.digest.is_empty:
        told.attributes.size, told.attributes.digest = node.digest.size, node.digest.hash
    return told


def _top(held: Held) -> pb.TreeEntry:
    return entry("/", _described(Node("", records.DIRECTORY, files_pb2.Attributes()), held))


def _described(node: Node, held: Held) -> Node:
    """Return a directory's node with the attributes that its Directory tells."""
    return Node(node.name, node.type, nodes.attributes_of(held.own), node.digest)


def _rest(node: Node) -> files_pb2.Attributes:
    """Return the attributes that are not the content."""
    rest = files_pb2.Attributes()
    rest.CopyFrom(node.attributes)
    if node.written:
        rest.ClearField("size")
        rest.ClearField("digest")
    rest.ClearField("symlink_target")
    return rest
