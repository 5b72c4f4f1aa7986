"""Where a write goes: what must hold there, and the transaction that makes it so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp
from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import contents_pb2, entries_pb2

from quartet_server.errors import FieldInvalid, FileExists, FileNotFound, IsADirectory, NotAFile
from quartet_server.files import keys, paths, quotas, records
from quartet_server.files.contents.body import Body
from quartet_server.files.paths import Path
from quartet_server.files.quotas import Charges, Ids
from quartet_server.files.resolve import Walk
from quartet_server.files.tree import Tree
from quartet_server.meta import ops
from quartet_server.meta.mutation import Plan
from quartet_server.meta.snapshot import Snapshot

UPSERT = contents_pb2.WRITE_MODE_UPSERT
CREATE = contents_pb2.WRITE_MODE_CREATE
OVERWRITE = contents_pb2.WRITE_MODE_OVERWRITE


@dataclass(frozen=True, slots=True)
class Target:
    """What a caller demands of the place he writes to.

    Attributes:
        path: Where the file is, or will be; not the root.
        attributes: What he says about it, without size and digest; None to keep what is there.
        mode: UPSERT, CREATE or OVERWRITE.
        if_match: Etag that the file must have.
        if_none_match: Etag that the file must not have.
    """

    path: Path
    attributes: entries_pb2.Attributes | None
    mode: contents_pb2.WriteMode.ValueType
    if_match: str
    if_none_match: str

    @classmethod
    def of(cls, request: contents_pb2.WriteHeader | contents_pb2.WriteItem, field: str = "") -> Target:
        """Check a request's fields, which are below `field`. Raises PathInvalid, FieldInvalid, IsADirectory."""
        path = paths.parse(request.path)
        if path.is_root:
            raise IsADirectory("/ is a directory", path="/")
        attributes = None
        if request.HasField("attributes"):
            attributes = request.attributes
            own_attributes(attributes, f"{field}attributes")
        return cls(path, attributes, mode_of(request.mode, f"{field}mode"), request.if_match, request.if_none_match)

    def settle(self, inode: storage_pb2.Inode, body: Body, content: storage_pb2.Content, now: Timestamp) -> None:
        """Write into a file's inode what the write makes of it."""
        if self.attributes is not None:
            inode.attributes.CopyFrom(self.attributes)
        keep(inode, body, content)
        if self.attributes is None or not self.attributes.HasField("mtime"):
            inode.attributes.mtime.CopyFrom(now)

    def met_by(self, walk: Walk, found: storage_pb2.Inode | None) -> None:
        """Hold what is there against what is demanded.

        Raises FileExists, FileNotFound, NotADirectory, IsADirectory, NotAFile, EtagStale.
        """
        if found is None:
            if self.mode == OVERWRITE:
                walk.demand()
            demand_parent(walk)
            records.require(self.path, None, self.if_match, "")
            return
        if self.mode == CREATE:
            raise FileExists(f"{self.path} exists", path=str(self.path))
        demand_file(walk)
        records.require(self.path, records.etag(walk.ino, found.gen), self.if_match, self.if_none_match)


def mode_of(mode: contents_pb2.WriteMode.ValueType, field: str = "mode") -> contents_pb2.WriteMode.ValueType:
    """Return the mode that a request means. Raises FieldInvalid."""
    mode = mode or UPSERT
    if mode not in (UPSERT, CREATE, OVERWRITE):
        raise FieldInvalid.of(field, "is not a known mode")
    return mode


def own_attributes(attributes: entries_pb2.Attributes, field: str) -> None:
    """Hold the attributes of a file whose bytes are written against their limits. Raises FieldInvalid."""
    records.check(attributes, records.FILE, field)
    for name in ("size", "digest"):
        if getattr(attributes, name):
            raise FieldInvalid.of(f"{field}.{name}", "is what the server finds in the bytes")


def keep(inode: storage_pb2.Inode, body: Body, content: storage_pb2.Content) -> None:
    """Make an inode refer to a body."""
    inode.content.CopyFrom(content)
    inode.content.SetInParent()
    inode.attributes.size = body.size
    inode.attributes.digest = body.digest.hash


def demand_parent(walk: Walk) -> None:
    """Demand that all but the last component leads to a directory. Raises FileNotFound, NotADirectory."""
    if len(walk.steps) < len(walk.path.names) - 1 or walk.type != records.DIRECTORY:
        walk.demand()


def demand_file(walk: Walk) -> None:
    """Demand that a complete walk leads to a file. Raises IsADirectory, NotAFile."""
    if walk.type == records.DIRECTORY:
        raise IsADirectory(f"{walk.path} is a directory", path=str(walk.path))
    if walk.type != records.FILE:
        raise NotAFile(f"{walk.path} is a symbolic link", path=str(walk.path))


async def inode_of(zone: str, walk: Walk, snapshot: Snapshot) -> tuple[storage_pb2.Inode | None, int]:
    """Return the inode a complete walk leads to, and when it was last written; None and 0 for one that ends before."""
    if not walk.complete:
        return None, 0
    key = keys.inode(zone, walk.ino)
    found = await snapshot.get([key])
    if key not in found:
        raise FileNotFound(f"{walk.path} does not exist", path=str(walk.path))
    return storage_pb2.Inode.FromString(found[key].value), found[key].mod_revision


@dataclass(frozen=True, slots=True)
class Change:
    """What one write does to the tree.

    Attributes:
        plan: The transaction, but for the counts of quotas.
        quotas: Those that count the file.
        bytes: By how many bytes the file grows, or shrinks when negative.
        inodes: 1 for a new file, else 0.
    """

    plan: Plan[entries_pb2.Entry]
    quotas: Ids
    bytes: int
    inodes: int


async def change(
    tree: Tree,
    zone: str,
    walk: Walk,
    found: tuple[storage_pb2.Inode | None, int],
    settle: Callable[[storage_pb2.Inode, Timestamp], None],
) -> Change:
    """Plan the next generation of the inode found, or a new file where nothing was; `settle` fills it."""
    inode, revision = found
    now, path = tree.now(), walk.path
    if inode is not None:
        before = quotas.size_of(inode)
        records.renew(inode, now)
        settle(inode, now)
        key = keys.inode(zone, walk.ino)
        plan = Plan(
            records.entry(str(path), walk.steps[-1].name, walk.ino, inode),
            [*walk.compares(), ops.unchanged(key, revision)],
            [ops.put(key, inode.SerializeToString())],
        )
        return Change(plan, quotas.above(walk), quotas.size_of(inode) - before, 0)
    ino = (await tree.inos.take(zone, 1))[0]
    inode = records.new_inode(records.FILE, entries_pb2.Attributes(mode=0o644), now)
    settle(inode, now)
    plan = Plan(
        records.entry(str(path), path.names[-1], ino, inode),
        [*walk.compares(), ops.absent(keys.dentry(zone, walk.ino, path.keys[-1]))],
        records.writes(zone, walk.ino, path.keys[-1], path.names[-1], ino, inode),
    )
    return Change(plan, quotas.above(walk), quotas.size_of(inode), 1)


async def placed(
    tree: Tree,
    zone: str,
    snapshot: Snapshot,
    walk: Walk,
    found: tuple[storage_pb2.Inode | None, int],
    settle: Callable[[storage_pb2.Inode, Timestamp], None],
) -> Plan[entries_pb2.Entry]:
    """Plan a whole write: the file, and the counts of the quotas above it. Raises QuotaExceeded."""
    made = await change(tree, zone, walk, found, settle)
    charges = Charges()
    charges.add(made.quotas, made.bytes, made.inodes)
    await quotas.charge(zone, snapshot, made.plan, charges)
    return made.plan
