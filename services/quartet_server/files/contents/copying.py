"""Copy: another file with the same bytes, which are kept once."""

from __future__ import annotations

from dataclasses import dataclass, field

from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2 as pb

from quartet_server.errors import DirectoryCycle, FieldInvalid, FileExists, IsADirectory, RequestTooLarge, RootFixed
from quartet_server.files import keys, paths, quotas, records, xattr_copies
from quartet_server.files.contents.body import digest_of
from quartet_server.files.contents.branches import demand_depth, same, staged
from quartet_server.files.contents.contents import Contents
from quartet_server.files.contents.target import CREATE, OVERWRITE, demand_parent, inode_of, mode_of
from quartet_server.files.quotas import Charges
from quartet_server.files.resolve import Resolver, Walk
from quartet_server.files.steps import Step
from quartet_server.files.tree import Tree
from quartet_server.files.writing import write
from quartet_server.meta import ops
from quartet_server.meta.ledger import Claim
from quartet_server.meta.mutation import Plan
from quartet_server.meta.snapshot import Snapshot
from raftmeta.etcd import rpc_pb2

MOST = (ops.LIMIT - 2) // 3
"""Entries of a recursive copy in one transaction: each is three writes, and the request is recorded too."""
BYTES = 1 << 20
"""Bytes that one transaction writes: etcd's limit is 1.5 MiB."""


async def copy(tree: Tree, contents: Contents, zone: str, request: pb.CopyRequest, claim: Claim | None) -> pb.Entry:
    """Copy an entry, with its extended attributes; what is too large for one transaction is built out of sight.

    The source's inode is compared: while it stands, what it refers to cannot be collected, and from the commit on the
    copy refers to it too.
    """
    source, destination = paths.parse(request.source), paths.parse(request.destination)
    mode = mode_of(request.mode)
    if destination.is_root:
        raise RootFixed("the root cannot be replaced", path="/")
    await tree.ensure(zone)

    async def build(snapshot: Snapshot) -> Plan[pb.Entry]:
        old, new = await Resolver(zone, snapshot).walks([source, destination])
        inode, revision = await inode_of(zone, old.demand(), snapshot)
        assert inode is not None
        records.require(source, records.etag(old.ino, inode.gen), request.if_match, request.if_none_match)
        there, there_revision = await inode_of(zone, new, snapshot)
        etag = None if there is None else records.etag(new.ino, there.gen)
        records.require(destination, etag, request.destination_if_match, "")
        if there is None and mode == OVERWRITE:
            new.demand()
        if there is not None and mode == CREATE:
            raise FileExists(f"{destination} exists", path=str(destination))
        demand_parent(new)
        guards = await xattr_copies.have(zone, snapshot, [old.ino, *([new.ino] if there is not None else [])])
        held = _Held([*old.compares(), ops.unchanged(keys.inode(zone, old.ino), revision), *new.compares()])
        held.compares += xattr_copies.unchanged(zone, snapshot, old.ino, guards.get(old.ino))
        kept = await xattr_copies.of(zone, snapshot, old.ino) if old.ino in guards else {}
        if there is None:
            held.compares.append(ops.absent(keys.dentry(zone, new.ino, destination.keys[-1])))
        if old.type == records.DIRECTORY:
            if not request.recursive:
                raise IsADirectory(f"{source} is a directory", path=str(source), hint="copy it with recursive")
            if there is not None:
                raise FileExists(f"{destination} exists", path=str(destination))
            if old.ino in [step.ino for step in new.chain] or old.path.is_root:
                raise DirectoryCycle(f"{source} cannot be copied into itself", path=str(source))
            return await _branch(tree, zone, snapshot, old, inode, new, held, kept)
        held.bytes = digest_of(inode, source).size if old.type == records.FILE else 0
        if there is None:
            made = same(inode, tree.now())
            ino = (await tree.inos.take(zone, 1))[0]
            held.operations += records.writes(zone, new.ino, destination.keys[-1], destination.names[-1], ino, made)
            held.operations += xattr_copies.writes(zone, ino, kept)
            held.demand_room()
            return await held.plan(
                zone, snapshot, records.entry(str(destination), destination.names[-1], ino, made), new, 1
            )
        if there.type == records.DIRECTORY:
            raise IsADirectory(f"{destination} is a directory", path=str(destination))
        if old.ino == new.ino:
            raise FieldInvalid.of("destination", "is the source itself")
        if there.type != inode.type:
            raise FileExists(f"{destination} exists and is of another type", path=str(destination))
        made = same(inode, tree.now())
        made.gen, made.create_time.seconds, made.create_time.nanos = (
            there.gen + 1,
            there.create_time.seconds,
            there.create_time.nanos,
        )
        key = keys.inode(zone, new.ino)
        held.compares.append(ops.unchanged(key, there_revision))
        held.operations.append(ops.put(key, made.SerializeToString()))
        held.bytes -= quotas.size_of(there)
        if kept or new.ino in guards:
            gone = (await xattr_copies.of(zone, snapshot, new.ino)).keys() - kept.keys()
            held.compares += xattr_copies.unchanged(zone, snapshot, new.ino, guards.get(new.ino))
            held.operations += [ops.delete(keys.xattr(zone, new.ino, name)) for name in sorted(gone)]
            held.operations += xattr_copies.writes(zone, new.ino, kept) or [
                ops.put(keys.xattr_guard(zone, new.ino), b"")
            ]
            if held.size > BYTES:
                raise RequestTooLarge(f"the extended attributes of {source} do not fit into one transaction")
        return await held.plan(
            zone, snapshot, records.entry(str(destination), new.steps[-1].name, new.ino, made), new, 0
        )

    try:
        entry, revision = await write(tree, zone, request, pb.Entry, build, claim)
    except TooMuch:
        entry, revision = await staged(tree, contents, zone, request, claim)
    entry.revision = revision
    return entry


class TooMuch(Exception):  # noqa: N818 - not an error: it is copied in another way
    """The copy does not fit into one transaction."""


@dataclass(slots=True)
class _Held:
    """A transaction in the making.

    Attributes:
        compares: What must still hold.
        operations: What is written.
        bytes: By how many bytes files become more.
    """

    compares: list[rpc_pb2.Compare]
    operations: list[rpc_pb2.RequestOp] = field(default_factory=list)
    bytes: int = 0

    @property
    def size(self) -> int:
        """Bytes of what is written."""
        return sum(one.ByteSize() for one in self.operations)

    def demand_room(self) -> None:
        """Demand that it fits into a transaction that also counts and records the request. Raises TooMuch."""
        if max(len(self.compares), len(self.operations)) > ops.LIMIT - 8 or self.size > BYTES:
            raise TooMuch

    async def plan(self, zone: str, snapshot: Snapshot, answer: pb.Entry, new: Walk, inodes: int) -> Plan[pb.Entry]:
        """Return it, what is compared twice compared once, and charged to the quotas above `new`. Raises QuotaExceeded."""
        once = {(one.key, one.range_end): one for one in self.compares}
        plan = Plan(answer, list(once.values()), self.operations)
        charges = Charges()
        charges.add(quotas.above(new), self.bytes, inodes)
        await quotas.charge(zone, snapshot, plan, charges)
        return plan


async def _branch(
    tree: Tree,
    zone: str,
    snapshot: Snapshot,
    old: Walk,
    inode: storage_pb2.Inode,
    new: Walk,
    held: _Held,
    kept: dict[bytes, bytes],
) -> Plan[pb.Entry]:
    """Plan the copy of a directory with everything below, as it is at the snapshot's revision. Raises TooMuch.

    Each directory is compared as a range (none of its entries is younger than the snapshot) and each inode by itself, so
    that the copy is that of one moment, and of the present one.
    """
    path, now = new.path, tree.now()
    inos = iter(await tree.inos.take(zone, MOST))
    top, ino = same(inode, now), next(inos)
    held.operations += records.writes(zone, new.ino, path.keys[-1], path.names[-1], ino, top)
    held.operations += xattr_copies.writes(zone, ino, kept)
    entries, waiting = 1, [(old.ino, ino, len(path.names))]
    while waiting:
        source, target, depth = waiting.pop()
        prefix = keys.dentry(zone, source, b"")
        found = await snapshot.scan(prefix, ops.prefix_end(prefix), MOST + 1)
        entries += len(found.kvs)
        if entries > MOST:
            raise TooMuch
        demand_depth(path, depth, found.kvs)
        held.compares.append(ops.none_since(prefix, snapshot.revision))
        steps = [Step.of(kv) for kv in found.kvs]
        inodes = await snapshot.get([keys.inode(zone, step.ino) for step in steps])
        guards = await xattr_copies.have(zone, snapshot, [step.ino for step in steps])
        for step in steps:
            kv = inodes[keys.inode(zone, step.ino)]
            held.compares.append(ops.unchanged(kv.key, kv.mod_revision))
            held.compares += xattr_copies.unchanged(zone, snapshot, step.ino, guards.get(step.ino))
            made, number = same(storage_pb2.Inode.FromString(kv.value), now), next(inos)
            held.bytes += quotas.size_of(made)
            name = keys.parse(step.key).rest
            held.operations += records.writes(zone, target, name, step.name, number, made)
            if step.ino in guards:
                held.operations += xattr_copies.writes(zone, number, await xattr_copies.of(zone, snapshot, step.ino))
            if step.type == records.DIRECTORY:
                waiting.append((step.ino, number, depth + 1))
    held.demand_room()
    return await held.plan(zone, snapshot, records.entry(str(path), path.names[-1], ino, top), new, entries)
