"""The copy of a branch of any size: built out of sight from one revision, then shown in one transaction."""

from __future__ import annotations

from collections.abc import Sized

from google.protobuf.timestamp_pb2 import Timestamp
from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2 as pb

from quartet_server.errors import FileExists, RequestTooLarge
from quartet_server.files import keys, paths, quotas, records, xattr_copies
from quartet_server.files.contents.contents import Contents
from quartet_server.files.contents.target import demand_parent, inode_of
from quartet_server.files.paths import Path
from quartet_server.files.quotas import Charges
from quartet_server.files.resolve import Resolver, Walk
from quartet_server.files.staging import Staging
from quartet_server.files.steps import Step
from quartet_server.files.tree import Tree
from quartet_server.files.writing import write
from quartet_server.meta import ops
from quartet_server.meta.ledger import Claim
from quartet_server.meta.mutation import Plan
from quartet_server.meta.snapshot import Snapshot

_PAGE = 256
"""Entries that are read at once: their inodes have up to 16 KiB each."""


async def staged(
    tree: Tree, contents: Contents, zone: str, request: pb.CopyRequest, claim: Claim | None
) -> tuple[pb.Entry, int]:
    """Copy the request's source, as it is now, to a place where nothing is; return the copy and its revision.

    Raises what `copy` raises, RequestTooLarge for what would be too deep, StagingLost, and COMPACTED when the revision
    that is copied is forgotten before it was read.
    """
    if (told := await tree.mutator.told(claim, pb.Entry)) is not None:
        return told
    source, destination = paths.parse(request.source), paths.parse(request.destination)
    snapshot = tree.snapshot()
    old, new = await Resolver(zone, snapshot).walks([source, destination])
    inode, _ = await inode_of(zone, old.demand(), snapshot)
    assert inode is not None
    records.require(source, records.etag(old.ino, inode.gen), request.if_match, request.if_none_match)
    _demand_free(new)
    top = same(inode, tree.now())
    await contents.keep(zone, [top.content])
    staging = await Staging.begin(tree, zone, top)
    try:
        await staging.write(xattr_copies.writes(zone, staging.ino, await xattr_copies.of(zone, snapshot, old.ino)))
        if old.type == records.DIRECTORY:
            await _Branch(tree, contents, zone, snapshot, staging, new).build(old.ino)
        return await _show(tree, zone, request, claim, staging, top)
    except Exception:
        await staging.drop()
        raise


class _Branch:
    """What is below a directory on its way to where it is built."""

    def __init__(
        self, tree: Tree, contents: Contents, zone: str, snapshot: Snapshot, staging: Staging, new: Walk
    ) -> None:
        self._tree = tree
        self._contents = contents
        self._zone = zone
        self._snapshot = snapshot
        self._staging = staging
        self._new = new

    async def build(self, ino: int) -> None:
        """Build all that is below `ino`. Raises RequestTooLarge, QuotaExceeded, StagingLost."""
        waiting = [(ino, self._staging.ino, len(self._new.path.names))]
        while waiting:
            source, target, depth = waiting.pop()
            prefix = keys.dentry(self._zone, source, b"")
            start, more = prefix, True
            while more:
                page = await self._snapshot.scan(start, ops.prefix_end(prefix), _PAGE)
                demand_depth(self._new.path, depth, page.kvs)
                if page.kvs:
                    steps = [Step.of(kv) for kv in page.kvs]
                    waiting += [(old, new, depth + 1) for old, new in await self._entries(steps, target)]
                    start = page.kvs[-1].key + b"\0"
                more = page.more
            await self._foresee()
        await self._staging.finish()

    async def _entries(self, steps: list[Step], target: int) -> list[tuple[int, int]]:
        """Build some entries of a directory; return the inode numbers, old and new, of the directories among them."""
        zone, snapshot, now = self._zone, self._snapshot, self._tree.now()
        inodes = await snapshot.get([keys.inode(zone, step.ino) for step in steps])
        guards = await xattr_copies.have(zone, snapshot, [step.ino for step in steps])
        made = [same(storage_pb2.Inode.FromString(inodes[keys.inode(zone, step.ino)].value), now) for step in steps]
        await self._contents.keep(zone, [inode.content for inode in made])
        directories = []
        for step, inode, ino in zip(steps, made, await self._staging.take(len(steps)), strict=True):
            kept = await xattr_copies.of(zone, snapshot, step.ino) if step.ino in guards else {}
            others = xattr_copies.writes(zone, ino, kept)
            await self._staging.add(target, keys.parse(step.key).rest, step.name, ino, inode, others)
            if step.type == records.DIRECTORY:
                directories.append((step.ino, ino))
        return directories

    async def _foresee(self) -> None:
        """Find out early that there is no room for so much. Raises QuotaExceeded."""
        await _charge(self._zone, self._tree.snapshot(serializable=True), Plan(pb.Entry()), self._new, self._staging)


async def _show(
    tree: Tree, zone: str, request: pb.CopyRequest, claim: Claim | None, staging: Staging, top: storage_pb2.Inode
) -> tuple[pb.Entry, int]:
    """Let the staged tree be the destination, and count."""
    path = paths.parse(request.destination)

    async def build(snapshot: Snapshot) -> Plan[pb.Entry]:
        new = await Resolver(zone, snapshot).walk(path)
        _demand_free(new)
        await staging.demand(snapshot)
        compares, operations = staging.shown(new.ino, path.keys[-1], path.names[-1])
        free = ops.absent(keys.dentry(zone, new.ino, path.keys[-1]))
        entry = records.entry(str(path), path.names[-1], staging.ino, top)
        plan = Plan(entry, [*new.compares(), free, *compares], operations)
        await _charge(zone, snapshot, plan, new, staging)
        return plan

    return await write(tree, zone, request, pb.Entry, build, claim)


async def _charge(zone: str, snapshot: Snapshot, plan: Plan[pb.Entry], new: Walk, staging: Staging) -> None:
    charges = Charges()
    charges.add(quotas.above(new), staging.bytes, staging.inodes)
    await quotas.charge(zone, snapshot, plan, charges)


def same(inode: storage_pb2.Inode, now: Timestamp) -> storage_pb2.Inode:
    """Return the first generation of an inode with the same type, attributes and content."""
    made = records.new_inode(inode.type, inode.attributes, now)
    if inode.HasField("content"):
        made.content.CopyFrom(inode.content)
    return made


def demand_depth(path: Path, depth: int, found: Sized) -> None:
    """Demand that what was found `depth` components deep has a path in the copy at `path`. Raises RequestTooLarge."""
    if depth >= paths.DEEPEST and found:
        raise RequestTooLarge(f"the copy would be deeper than {paths.DEEPEST} components", path=str(path))


def _demand_free(new: Walk) -> None:
    """Demand that a new entry can come to be there. Raises FileExists, FileNotFound, NotADirectory."""
    if new.complete:
        raise FileExists(f"{new.path} exists", path=str(new.path))
    demand_parent(new)
