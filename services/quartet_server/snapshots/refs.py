"""Refs: names of snapshots, for each root of principals its own; a snapshot counts how many name it."""

from __future__ import annotations

from quartet.snapshots.storage.v1 import storage_pb2 as storage
from quartet.snapshots.v1 import snapshots_pb2 as pb

from quartet_server.errors import SnapshotNotFound
from quartet_server.files import tokens
from quartet_server.files.principals import Base
from quartet_server.files.resolve import Resolver
from quartet_server.files.tree import Tree
from quartet_server.meta import ops
from quartet_server.meta.ledger import Claim
from quartet_server.meta.mutation import Answer, Plan
from quartet_server.meta.snapshot import KeyValue, Snapshot
from quartet_server.objects.digest import Digest
from quartet_server.snapshots import keys, paging, records


async def set_ref(tree: Tree, zone: str, request: pb.SetRefRequest, claim: Claim | None) -> pb.Ref:
    """Give a snapshot a name, or move the name. Raises SnapshotNotFound, SnapshotParentMoved."""
    name = records.check_ref(request.ref, "ref")
    records.check_expected(request.expected, "expected")
    await tree.ensure(zone)

    async def build(snapshot: Snapshot) -> Plan[pb.Ref]:
        base = await Resolver(zone, snapshot).base()
        known = await records.find(zone, snapshot, base, request.snapshot)
        answer = pb.Ref(name=name, snapshot=known.id.hex())
        answer.root.hash, answer.root.size = known.root.hash, known.root.size
        plan = Plan(answer, [*base.guards])
        there = await current(zone, snapshot, base, name)
        records.expect(request.expected, there, f"ref {name}")
        if there == known.id:
            return plan
        await moved(zone, snapshot, plan, base, name, known.id, known.root)
        compare, operation = known.counted(1)
        plan.compares.append(compare)
        plan.operations.append(operation)
        return plan

    answer, revision = await tree.mutator.run(pb.Ref, build, claim)
    answer.revision = revision
    return answer


async def delete_ref(tree: Tree, zone: str, request: pb.DeleteRefRequest, claim: Claim | None) -> pb.DeleteRefResponse:
    """Take a name away. Raises SnapshotNotFound."""
    name = records.check_ref(request.ref, "ref")
    await tree.ensure(zone)

    async def build(snapshot: Snapshot) -> Plan[pb.DeleteRefResponse]:
        base = await Resolver(zone, snapshot).base()
        kv = await _read(zone, snapshot, base, name)
        if kv is None:
            raise SnapshotNotFound(f"there is no ref {name}", ref=name)
        plan = Plan(
            pb.DeleteRefResponse(), [*base.guards, ops.unchanged(kv.key, kv.mod_revision)], [ops.delete(kv.key)]
        )
        await _left(zone, snapshot, plan, kv)
        return plan

    answer, revision = await tree.mutator.run(pb.DeleteRefResponse, build, claim)
    answer.revision = revision
    return answer


async def list_refs(tree: Tree, zone: str, request: pb.ListRefsRequest) -> pb.ListRefsResponse:
    """Read a page of the names."""
    size = tokens.page_size(request.page_size)
    token = paging.decode(zone, request)
    snapshot = Snapshot(tree.store)
    base = await (await tree.resolver(zone, snapshot)).base()
    prefix = keys.ref(zone, base.ino)
    found = await snapshot.scan(prefix + token.next, ops.prefix_end(prefix), size)
    answer = pb.ListRefsResponse()
    for kv in found.kvs:
        record = storage.RefRecord.FromString(kv.value)
        one = answer.refs.add(name=kv.key[len(prefix) :].decode(), snapshot=record.id.hex(), revision=kv.mod_revision)
        one.root.hash, one.root.size = record.root.hash, record.root.size
    if found.more:
        answer.next_page_token = paging.encode(token, found.kvs[-1].key[len(prefix) :] + b"\0")
    return answer


async def current(zone: str, snapshot: Snapshot, base: Base, name: str) -> bytes:
    """Return the id of the snapshot that has a name; empty when none has it."""
    kv = await _read(zone, snapshot, base, name)
    return b"" if kv is None else storage.RefRecord.FromString(kv.value).id


async def moved(
    zone: str, snapshot: Snapshot, plan: Plan[Answer], base: Base, name: str, id_: bytes, root: Digest
) -> bytes:
    """Let a plan give a name to a snapshot that does not have it; return the id of the one that had it, empty for none."""
    key = keys.ref(zone, base.ino, name)
    kv = await _read(zone, snapshot, base, name)
    plan.compares.append(ops.unchanged(key, kv.mod_revision if kv is not None else 0))
    value = storage.RefRecord(id=id_, root=records.chunk_of(root))
    plan.operations.append(ops.put(key, value.SerializeToString()))
    if kv is None:
        return b""
    await _left(zone, snapshot, plan, kv)
    return storage.RefRecord.FromString(kv.value).id


async def _left(zone: str, snapshot: Snapshot, plan: Plan[Answer], ref: KeyValue) -> None:
    """Let a plan count one name less for the snapshot that had it."""
    for known in await records.many(zone, snapshot, [storage.RefRecord.FromString(ref.value).id]):
        compare, operation = known.counted(-1)
        plan.compares.append(compare)
        plan.operations.append(operation)


async def _read(zone: str, snapshot: Snapshot, base: Base, name: str) -> KeyValue | None:
    key = keys.ref(zone, base.ino, name)
    return (await snapshot.get([key])).get(key)
