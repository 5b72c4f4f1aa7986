"""Rename: an entry moves with everything below it, in one transaction of a handful of keys."""

from __future__ import annotations

from dataclasses import dataclass

from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2 as pb

from quartet_server.errors import (
    DirectoryCycle,
    DirectoryNotEmpty,
    FieldInvalid,
    FileExists,
    FileNotFound,
    IsADirectory,
    NotADirectory,
    QuotaCrossed,
    RootFixed,
)
from quartet_server.files import keys, paths, quotas, records
from quartet_server.files.delete import demand_no_mount, release
from quartet_server.files.paths import Path
from quartet_server.files.quotas import Charges, Ids
from quartet_server.files.resolve import Resolver, Walk
from quartet_server.files.steps import Step
from quartet_server.files.tree import Tree
from quartet_server.files.writing import write
from quartet_server.meta import ops
from quartet_server.meta.ledger import Claim
from quartet_server.meta.mutation import Plan
from quartet_server.meta.snapshot import Snapshot
from raftmeta.etcd import rpc_pb2

REPLACE, NO_REPLACE, EXCHANGE = pb.RENAME_MODE_REPLACE, pb.RENAME_MODE_NO_REPLACE, pb.RENAME_MODE_EXCHANGE


@dataclass(frozen=True, slots=True)
class _End:
    """One end of a move.

    Attributes:
        path: As requested.
        parent: Inode number of the directory.
        step: What is there now; None for nothing.
        way: Inode numbers of the directories from below the root down to the parent.
        compares: That the way, and what is there, is unchanged.
        counting: The quotas that count what is there.
    """

    path: Path
    parent: int
    step: Step | None
    way: frozenset[int]
    compares: list[rpc_pb2.Compare]
    counting: Ids


async def rename(tree: Tree, zone: str, request: pb.RenameRequest, claim: Claim | None) -> pb.RenameResponse:
    """Move `source` to `destination`.

    Every entry on both ways is compared, so that no other rename can put the destination below the source at the same
    time: an ancestor that moves changes its entry, which is one of those compared. (What is compared is the ancestors'
    entries and not their parent pointers: the two change only together.)
    """
    source, destination = paths.parse(request.source), paths.parse(request.destination)
    mode = request.mode or REPLACE
    if mode not in (REPLACE, NO_REPLACE, EXCHANGE):
        raise FieldInvalid.of("mode", "is not a known mode")
    for path in (source, destination):
        if path.is_root:
            raise RootFixed("the root cannot be moved or replaced", path="/")
    await tree.ensure(zone)

    async def build(snapshot: Snapshot) -> Plan[pb.RenameResponse]:
        walks = await Resolver(zone, snapshot).walks([source, destination])
        old, new = _end(zone, walks[0]), _end(zone, walks[1])
        if old.step is None:
            raise FileNotFound(f"{source} does not exist", path=str(source))
        await _conditions(zone, snapshot, request, old, new)
        if old.step.ino in new.way:
            raise DirectoryCycle(f"{source} cannot move below itself", path=str(source), destination=str(destination))
        if mode == EXCHANGE:
            return await _exchange(zone, snapshot, old, new)
        if new.step is not None:
            if mode == NO_REPLACE:
                raise FileExists(f"{destination} exists", path=str(destination))
            if new.step.ino == old.step.ino:
                if source.names[-1] == destination.names[-1]:
                    return Plan(pb.RenameResponse(ino=old.step.ino, revision=snapshot.revision))
                return _respell(zone, old, new)
        return await _move(zone, snapshot, old, new)

    answer, revision = await write(tree, zone, request, pb.RenameResponse, build, claim)
    answer.revision = revision
    return answer


def _end(zone: str, walk: Walk) -> _End:
    """Describe one end. Raises FileNotFound or NotADirectory when the way to it is broken."""
    names = walk.path.keys
    if walk.complete:
        above, step = walk.steps[:-1], walk.steps[-1]
        compares = walk.compares()
    else:
        above, step = walk.demand_parent().steps, None
        compares = walk.compares()
        compares.append(ops.absent(keys.dentry(zone, walk.ino, names[-1])))
    parent = above[-1].ino if above else walk.base.ino
    counting = quotas.counting((*walk.base.steps, *above))
    return _End(walk.path, parent, step, frozenset(one.ino for one in above), compares, counting)


async def _conditions(zone: str, snapshot: Snapshot, request: pb.RenameRequest, old: _End, new: _End) -> None:
    """Hold the etags against the request; compare the inodes they came from too. Raises EtagStale."""
    wanted = (
        (old, request.if_match, request.if_none_match),
        (new, request.destination_if_match, ""),
    )
    for end, if_match, if_none_match in wanted:
        if not if_match and not if_none_match:
            continue
        if end.step is None:
            records.require(end.path, None, if_match, if_none_match)
            continue
        key = keys.inode(zone, end.step.ino)
        kv = (await snapshot.get([key]))[key]
        gen = storage_pb2.Inode.FromString(kv.value).gen
        records.require(end.path, records.etag(end.step.ino, gen), if_match, if_none_match)
        end.compares.append(ops.unchanged(key, kv.mod_revision))


async def _exchange(zone: str, snapshot: Snapshot, old: _End, new: _End) -> Plan[pb.RenameResponse]:
    """Plan that two entries change places."""
    assert old.step is not None
    if new.step is None:
        raise FileNotFound(f"{new.path} does not exist", path=str(new.path))
    if new.step.ino in old.way:
        raise DirectoryCycle(f"{new.path} cannot move below itself", path=str(new.path), destination=str(old.path))
    answer = pb.RenameResponse(ino=old.step.ino, other_ino=new.step.ino)
    if old.step.ino == new.step.ino:
        return Plan(answer)
    plan = Plan(
        answer,
        _merged(old, new),
        [*_place(zone, new, new.step.name, old.step), *_place(zone, old, old.step.name, new.step)],
    )
    charges = Charges()
    await _cross(zone, snapshot, plan, charges, old, new)
    await _cross(zone, snapshot, plan, charges, new, old)
    await quotas.charge(zone, snapshot, plan, charges)
    return plan


def _respell(zone: str, old: _End, new: _End) -> Plan[pb.RenameResponse]:
    """Plan another spelling of what is the same name."""
    assert old.step is not None
    link = records.link(
        zone,
        old.parent,
        old.path.keys[-1],
        new.path.names[-1],
        old.step.ino,
        old.step.type,
        old.step.quota,
        old.step.mount,
    )
    return Plan(pb.RenameResponse(ino=old.step.ino), _merged(old, new), [link])


async def _move(zone: str, snapshot: Snapshot, old: _End, new: _End) -> Plan[pb.RenameResponse]:
    """Plan a move, over a victim if there is one."""
    assert old.step is not None
    plan = Plan(pb.RenameResponse(ino=old.step.ino), _merged(old, new))
    charges = Charges()
    if (victim := new.step) is not None:
        demand_no_mount(new.path, victim)
        into, moved = victim.type == records.DIRECTORY, old.step.type == records.DIRECTORY
        if into and not moved:
            raise IsADirectory(f"{new.path} is a directory", path=str(new.path))
        if moved and not into:
            raise NotADirectory(f"{new.path} is not a directory", path=str(new.path))
        if into:
            below = keys.dentry(zone, victim.ino, b"")
            if victim.ino in old.way or (await snapshot.scan(below, ops.prefix_end(below), 1, keys_only=True)).kvs:
                raise DirectoryNotEmpty(f"{new.path} has entries", path=str(new.path))
            plan.compares.append(ops.none_below(below))
        plan.answer.other_ino = victim.ino
        plan.operations += records.erase(zone, victim.ino)
        await release(zone, snapshot, plan, charges, victim, new.counting)
    plan.operations.append(ops.delete(old.step.key))
    plan.operations += _place(zone, new, new.path.names[-1], old.step)
    await _cross(zone, snapshot, plan, charges, old, new)
    await quotas.charge(zone, snapshot, plan, charges)
    return plan


async def _cross(
    zone: str, snapshot: Snapshot, plan: Plan[pb.RenameResponse], charges: Charges, old: _End, new: _End
) -> None:
    """Count what moves from `old` to `new`: it leaves some quotas and enters others. Raises QuotaCrossed."""
    assert old.step is not None
    if old.counting == new.counting:
        return
    if old.step.type == records.DIRECTORY:
        raise QuotaCrossed(
            f"{old.path} is counted by another quota than {new.path} would be",
            path=str(old.path),
            destination=str(new.path),
        )
    key = keys.inode(zone, old.step.ino)
    kv = (await snapshot.get([key]))[key]
    plan.compares.append(ops.unchanged(key, kv.mod_revision))
    size = quotas.size_of(storage_pb2.Inode.FromString(kv.value))
    charges.add(old.counting, -size, -1)
    charges.add(new.counting, size, 1)


def _place(zone: str, end: _End, name: str, step: Step) -> list[rpc_pb2.RequestOp]:
    """Return the writes that put what is at `step` to the place `end`."""
    key = end.path.keys[-1]
    return [
        records.link(zone, end.parent, key, name, step.ino, step.type, step.quota, step.mount),
        ops.put(keys.parent(zone, step.ino), storage_pb2.Parent(ino=end.parent, name=key.decode()).SerializeToString()),
    ]


def _merged(old: _End, new: _End) -> list[rpc_pb2.Compare]:
    """Return the comparisons of both ends, those of the shared part of the ways once."""
    return list({bytes(one.key): one for one in (*old.compares, *new.compares)}.values())
