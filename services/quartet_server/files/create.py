"""Mkdir, CreateFile, Touch and SetAttributes: single entries come to be and change."""

from __future__ import annotations

from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2 as pb

from quartet_server.errors import FieldInvalid, FileExists, FileNotFound, IsADirectory, RootFixed
from quartet_server.files import keys, paths, quotas, records
from quartet_server.files.quotas import Charges
from quartet_server.files.resolve import Resolver, Walk
from quartet_server.files.tree import Tree
from quartet_server.files.writing import write
from quartet_server.meta import ops
from quartet_server.meta.ledger import Claim
from quartet_server.meta.mutation import Plan
from quartet_server.meta.snapshot import Snapshot

_FIELDS = set(pb.Attributes.DESCRIPTOR.fields_by_name)
_FOUND = {"size", "digest"}  # of a file whose bytes are here, these are what the server found


async def mkdir(tree: Tree, zone: str, request: pb.MkdirRequest, claim: Claim | None) -> pb.Entry:
    """Create a directory, with `parents` all that is missing on the way, in one transaction."""
    path = paths.parse(request.path)
    records.check(request.attributes, records.DIRECTORY)
    if request.if_none_match not in ("", "*"):
        raise FieldInvalid.of("if_none_match", "only * makes sense for a directory to be made")
    await tree.ensure(zone)

    async def build(snapshot: Snapshot) -> Plan[pb.Entry]:
        walk = await Resolver(zone, snapshot).walk(path, new=snapshot.hopeful and not request.parents)
        if walk.complete:
            if not request.parents or walk.type != records.DIRECTORY or request.if_none_match:
                raise FileExists(f"{path} exists", path=str(path))
            inode = (await _inode(zone, walk, snapshot))[0]
            return Plan(records.entry(str(path), _name(walk), walk.ino, inode, snapshot.revision))
        missing = len(path.names) - len(walk.steps)
        if walk.type != records.DIRECTORY or (missing > 1 and not request.parents):
            _raise(walk)
        now = tree.now()
        plan = Plan(pb.Entry(), walk.compares())
        charges = Charges()
        charges.add(quotas.above(walk), 0, missing)
        await quotas.charge(zone, snapshot, plan, charges)
        plan.compares.append(ops.absent(keys.dentry(zone, walk.ino, path.keys[len(walk.steps)])))
        parent = walk.ino
        for depth, ino in enumerate(await tree.inos.take(zone, missing), len(walk.steps)):
            last = depth == len(path.names) - 1
            attributes = request.attributes if last else pb.Attributes(mode=0o755, owner=request.attributes.owner)
            inode = records.new_inode(records.DIRECTORY, attributes, now)
            plan.operations += records.writes(zone, parent, path.keys[depth], path.names[depth], ino, inode)
            plan.answer = records.entry(str(path), path.names[depth], ino, inode)
            parent = ino
        return plan

    return _at(*await write(tree, zone, request, pb.Entry, build, claim))


async def create_file(tree: Tree, zone: str, request: pb.CreateFileRequest, claim: Claim | None) -> pb.Entry:
    """Create a file or symbolic link, or give an existing one new attributes."""
    path = paths.parse(request.path)
    kind = request.type or records.FILE
    if kind not in (records.FILE, records.SYMLINK):
        raise FieldInvalid.of("type", "a file or a symbolic link can be created here; Mkdir makes directories")
    if request.if_match and not request.overwrite:
        raise FieldInvalid.of("if_match", "needs overwrite: a new entry has no etag yet")
    records.check(request.attributes, kind)
    await tree.ensure(zone)

    async def build(snapshot: Snapshot) -> Plan[pb.Entry]:
        if path.is_root:
            raise RootFixed("the root is a directory", path="/")
        walk = await Resolver(zone, snapshot).walk(path, new=snapshot.hopeful and not request.overwrite)
        if walk.complete:
            if not request.overwrite:
                raise FileExists(f"{path} exists", path=str(path))
            if walk.type == records.DIRECTORY:
                raise IsADirectory(f"{path} is a directory", path=str(path))
            if walk.type != kind:
                raise FileExists(f"{path} exists and is of another type", path=str(path))
            inode, revision = await _inode(zone, walk, snapshot)
            records.require(path, records.etag(walk.ino, inode.gen), request.if_match, request.if_none_match)
            before = quotas.size_of(inode)
            records.describe(inode, request.attributes)
            return await _rewrite(tree, zone, snapshot, walk, inode, revision, before)
        walk.demand_parent()
        records.require(path, None, request.if_match, "")
        return await _new(tree, zone, snapshot, walk, records.new_inode(kind, request.attributes, tree.now()))

    return _at(*await write(tree, zone, request, pb.Entry, build, claim))


async def set_attributes(tree: Tree, zone: str, request: pb.SetAttributesRequest, claim: Claim | None) -> pb.Entry:
    """Change the attributes that the mask names, as the next generation of the inode."""
    path = paths.parse(request.path)
    named = set(request.update_mask.paths)
    named = set() if named == {"*"} else named
    names = named or _FIELDS
    if wrong := sorted(names - _FIELDS):
        raise FieldInvalid.of("update_mask", f"there is no attribute {wrong[0]}")
    await tree.ensure(zone)

    async def build(snapshot: Snapshot) -> Plan[pb.Entry]:
        walk = (await Resolver(zone, snapshot).walk(path)).demand()
        inode, revision = await _inode(zone, walk, snapshot)
        records.require(path, records.etag(walk.ino, inode.gen), request.if_match, request.if_none_match)
        before = quotas.size_of(inode)
        if inode.HasField("content") and (found := sorted(named & _FOUND)):
            raise FieldInvalid.of("update_mask", f"{found[0]} is what the server found in the bytes")
        for name in names - _FOUND if inode.HasField("content") else names:
            inode.attributes.ClearField(name)  # type: ignore[arg-type]
            if request.attributes.DESCRIPTOR.fields_by_name[name].message_type is None:
                setattr(inode.attributes, name, getattr(request.attributes, name))
        if "mtime" in names and request.attributes.HasField("mtime"):
            inode.attributes.mtime.CopyFrom(request.attributes.mtime)
        records.check(inode.attributes, inode.type)
        return await _rewrite(tree, zone, snapshot, walk, inode, revision, before)

    return _at(*await write(tree, zone, request, pb.Entry, build, claim))


async def touch(tree: Tree, zone: str, request: pb.TouchRequest, claim: Claim | None) -> pb.Entry:
    """Give an entry a new mtime, or create an empty file."""
    path = paths.parse(request.path)
    await tree.ensure(zone)

    async def build(snapshot: Snapshot) -> Plan[pb.Entry]:
        now = tree.now()
        mtime = request.mtime if request.HasField("mtime") else now
        walk = (await Resolver(zone, snapshot).walk(path)).demand_parent()
        if not walk.complete:
            if request.no_create:
                walk.demand()
            records.require(path, None, request.if_match, "")
            attributes = pb.Attributes(mode=0o644, mtime=mtime)
            records.check(attributes, records.FILE)
            return await _new(tree, zone, snapshot, walk, records.new_inode(records.FILE, attributes, now))
        inode, revision = await _inode(zone, walk, snapshot)
        records.require(path, records.etag(walk.ino, inode.gen), request.if_match, request.if_none_match)
        before = quotas.size_of(inode)
        inode.attributes.mtime.CopyFrom(mtime)
        records.check(inode.attributes, inode.type)
        return await _rewrite(tree, zone, snapshot, walk, inode, revision, before)

    return _at(*await write(tree, zone, request, pb.Entry, build, claim))


async def _new(tree: Tree, zone: str, snapshot: Snapshot, walk: Walk, inode: storage_pb2.Inode) -> Plan[pb.Entry]:
    """Plan the entry that the walk's path lacks at its end."""
    path = walk.path
    ino = (await tree.inos.take(zone, 1))[0]
    plan = Plan(
        records.entry(str(path), path.names[-1], ino, inode),
        [*walk.compares(), ops.absent(keys.dentry(zone, walk.ino, path.keys[-1]))],
        records.writes(zone, walk.ino, path.keys[-1], path.names[-1], ino, inode),
    )
    charges = Charges()
    charges.add(quotas.above(walk), quotas.size_of(inode), 1)
    await quotas.charge(zone, snapshot, plan, charges)
    return plan


async def _rewrite(
    tree: Tree, zone: str, snapshot: Snapshot, walk: Walk, inode: storage_pb2.Inode, revision: int, before: int
) -> Plan[pb.Entry]:
    """Plan the next generation of an inode that was last written at `revision` and had `before` bytes."""
    records.renew(inode, tree.now())
    key = keys.inode(zone, walk.ino)
    plan = Plan(
        records.entry(str(walk.path), _name(walk), walk.ino, inode),
        [*walk.compares(), ops.unchanged(key, revision)],
        [ops.put(key, inode.SerializeToString())],
    )
    charges = Charges()
    charges.add(quotas.above(walk), quotas.size_of(inode) - before, 0)
    await quotas.charge(zone, snapshot, plan, charges)
    return plan


async def _inode(zone: str, walk: Walk, snapshot: Snapshot) -> tuple[storage_pb2.Inode, int]:
    """Read the inode a walk leads to, and the revision at which it was last written."""
    key = keys.inode(zone, walk.ino)
    found = await snapshot.get([key])
    if key not in found:  # the root, as a node sees it that has not yet applied its creation
        raise FileNotFound(f"{walk.path} does not exist", path=str(walk.path))
    return storage_pb2.Inode.FromString(found[key].value), found[key].mod_revision


def _name(walk: Walk) -> str:
    return walk.steps[-1].name if walk.steps else ""


def _raise(walk: Walk) -> None:
    """Raise why the walk ended before the last component's directory."""
    problem = walk.problem()
    assert problem is not None
    raise problem


def _at(entry: pb.Entry, revision: int) -> pb.Entry:
    entry.revision = revision
    return entry
