"""Delete: an entry goes away; a whole tree is cut off at once, and goes to the trash or is cleared up behind."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2 as pb

from quartet_server.errors import DirectoryNotEmpty, FieldInvalid, MountInUse, RootFixed
from quartet_server.files import keys, paths, quotas, records
from quartet_server.files.paths import Path
from quartet_server.files.quotas import Charges, Ids
from quartet_server.files.resolve import Resolver
from quartet_server.files.steps import Step
from quartet_server.files.tree import Tree
from quartet_server.files.writing import write
from quartet_server.meta import ops
from quartet_server.meta.ledger import Claim
from quartet_server.meta.mutation import Answer, Plan
from quartet_server.meta.snapshot import Snapshot
from raftmeta.etcd import rpc_pb2


async def delete(tree: Tree, zone: str, request: pb.DeleteRequest, claim: Claim | None) -> pb.DeleteResponse:
    """Delete an entry.

    A directory that must be empty is compared as a range, so that a concurrent create makes one of the two fail. A
    recursive delete takes the entry and its parent pointer away: nothing below can be reached or changed by any path
    from then on, since every write compares the entries on its way. A key below the trash, or among what is to be
    reclaimed, keeps hold of the inode.
    """
    path = paths.parse(request.path)
    if path.is_root:
        raise RootFixed("the root cannot be deleted", path="/")
    if request.permanent and not request.recursive:
        raise FieldInvalid.of("permanent", "needs recursive: without it nothing goes to the trash")
    await tree.ensure(zone)

    async def build(snapshot: Snapshot) -> Plan[pb.DeleteResponse]:
        walk = (await Resolver(zone, snapshot).walk(path)).demand()
        demand_no_mount(path, walk.steps[-1])
        plan = Plan(pb.DeleteResponse(ino=walk.ino), walk.compares(), [ops.delete(walk.steps[-1].key)])
        if request.if_match or request.if_none_match:
            key = keys.inode(zone, walk.ino)
            kv = (await snapshot.get([key]))[key]
            gen = storage_pb2.Inode.FromString(kv.value).gen
            records.require(path, records.etag(walk.ino, gen), request.if_match, request.if_none_match)
            plan.compares.append(ops.unchanged(key, kv.mod_revision))
        if request.recursive and not (request.permanent and walk.type != records.DIRECTORY):
            plan.operations.append(ops.delete(keys.parent(zone, walk.ino)))
            now = tree.now()
            counting = quotas.above(walk)
            if request.permanent:
                plan.operations.append(detach(zone, walk.ino, now, counting))
                if own := walk.steps[-1].quota:
                    plan.operations.append(ops.delete(keys.quota(zone, own)))
                return plan
            item = keys.trash_item(now.ToMicroseconds(), walk.ino)
            spelled = "".join(f"/{step.name}" for step in walk.chain)
            own = walk.steps[-1].quota
            trashed = storage_pb2.Trashed(
                ino=walk.ino, type=walk.type, path=spelled, time=now, quotas=counting, quota=own
            )
            plan.operations.append(ops.put(keys.trash(zone, item), trashed.SerializeToString()))
            plan.answer.trash_id = item.hex()
            return plan
        if walk.type == records.DIRECTORY:
            below = keys.dentry(zone, walk.ino, b"")
            if (await snapshot.scan(below, ops.prefix_end(below), 1, keys_only=True)).kvs:
                raise DirectoryNotEmpty(f"{path} has entries", path=str(path), hint=f"quartet rm -r qt:{path}")
            plan.compares.append(ops.none_below(below))
        plan.operations += records.erase(zone, walk.ino)
        charges = Charges()
        await release(zone, snapshot, plan, charges, walk.steps[-1], quotas.above(walk))
        await quotas.charge(zone, snapshot, plan, charges)
        return plan

    answer, revision = await write(tree, zone, request, pb.DeleteResponse, build, claim)
    answer.revision = revision
    return answer


def demand_no_mount(path: Path, gone: Step) -> None:
    """Demand that what is to go is no mount point. Raises MountInUse."""
    if gone.mount:
        raise MountInUse(f"a store is mounted at {path}", path=str(path))


async def release(
    zone: str, snapshot: Snapshot, plan: Plan[Answer], charges: Charges, gone: Step, counting: Ids
) -> None:
    """Take an entry that a plan deletes from the quotas that counted it; its own quota goes with it."""
    if gone.quota:
        plan.operations.append(ops.delete(keys.quota(zone, gone.quota)))
    if not counting:
        return
    key = keys.inode(zone, gone.ino)
    kv = (await snapshot.get([key]))[key]
    if gone.type != records.DIRECTORY:
        plan.compares.append(ops.unchanged(key, kv.mod_revision))
    charges.add(counting, -quotas.size_of(storage_pb2.Inode.FromString(kv.value)), -1)


def detach(zone: str, ino: int, now: Timestamp, counting: Sequence[int]) -> rpc_pb2.RequestOp:
    """Return the write that leaves an inode that no entry leads to any more, and its quotas, to the reclaimer."""
    return ops.put(keys.reclaim(zone, ino), storage_pb2.Detached(time=now, quotas=counting).SerializeToString())
