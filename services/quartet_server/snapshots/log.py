"""GetSnapshot, ListSnapshots and DeleteSnapshot: what is known of snapshots."""

from __future__ import annotations

from collections.abc import Mapping

from quartet.snapshots.storage.v1 import storage_pb2 as storage
from quartet.snapshots.v1 import snapshots_pb2 as pb

from quartet_server.errors import FieldInvalid, SnapshotReferenced
from quartet_server.files import paths, tokens
from quartet_server.files.keys import parse as parse_key
from quartet_server.files.principals import Base
from quartet_server.files.resolve import Resolver
from quartet_server.files.tree import Tree
from quartet_server.meta import ops
from quartet_server.meta.ledger import Claim
from quartet_server.meta.mutation import Plan
from quartet_server.meta.snapshot import Snapshot
from quartet_server.snapshots import keys, paging, records, refs
from quartet_server.snapshots.create import check_labels
from quartet_server.snapshots.records import Known

_PAGE = 200  # records of up to 16 KiB: below the 4 MiB of a message


async def get(tree: Tree, zone: str, request: pb.GetSnapshotRequest) -> pb.Snapshot:
    """Tell about one snapshot."""
    base, known = await found(tree, zone, request.snapshot)
    return records.tell(known, base)


async def found(tree: Tree, zone: str, name: str, field: str = "snapshot") -> tuple[Base, Known]:
    """Return the caller's root, and the snapshot that a request names. Raises SnapshotNotFound, FieldInvalid."""
    snapshot = Snapshot(tree.store)
    base = await (await tree.resolver(zone, snapshot)).base()
    return base, await records.find(zone, snapshot, base, name, field)


async def list_snapshots(tree: Tree, zone: str, request: pb.ListSnapshotsRequest) -> pb.ListSnapshotsResponse:
    """Read a page of snapshots. Labels and roots filter what was read, so that a page may be short though others follow."""
    size = tokens.page_size(request.page_size)
    if request.path and request.ref:
        raise FieldInvalid.of("ref", "goes without a path: its snapshots are those of its own line")
    if request.ref:
        records.check_ref(request.ref, "ref")
    check_labels(request.labels)
    path = paths.parse(request.path) if request.path else None
    token = paging.decode(zone, request)
    snapshot = Snapshot(tree.store)
    base = await (await tree.resolver(zone, snapshot)).base()
    if request.ref:
        following = token.next or await refs.current(zone, snapshot, base, request.ref)
        if not following:
            raise records.missing(request.ref)
        read: list[Known] = []
        while following and len(read) < size:
            next_ = await records.many(zone, snapshot, [following])
            read += next_
            following = next_[0].record.parent if next_ else b""
    else:
        prefix = keys.snapshot(zone)
        if path is not None:
            prefix = keys.by_path(zone, [*(parse_key(step.key).rest for step in base.steps), *path.keys])
        page = await snapshot.scan(
            prefix + token.next, ops.prefix_end(prefix), min(size, _PAGE), keys_only=path is not None
        )
        ids = [kv.key[len(prefix) :] for kv in page.kvs]
        following = ids[-1] + b"\0" if page.more else b""
        read = (
            await records.many(zone, snapshot, ids) if path is not None else [records.of(zone, kv) for kv in page.kvs]
        )
    answer = pb.ListSnapshotsResponse()
    size = 0
    for known in read:
        if records.depth_of(known.record, base) is None or not _labelled(known.record.labels, request.labels):
            continue
        told = records.tell(known, base)
        size += told.ByteSize() + 8
        if size > tokens.MESSAGE:
            following = known.id
            break
        answer.snapshots.append(told)
    if following:
        answer.next_page_token = paging.encode(token, following)
    return answer


async def delete(
    tree: Tree, zone: str, request: pb.DeleteSnapshotRequest, claim: Claim | None
) -> pb.DeleteSnapshotResponse:
    """Give a snapshot up; the directory's head goes back to the one before. Raises SnapshotReferenced, SnapshotNotFound."""
    await tree.ensure(zone)

    async def build(snapshot: Snapshot) -> Plan[pb.DeleteSnapshotResponse]:
        base = await Resolver(zone, snapshot).base()
        known = await records.find(zone, snapshot, base, request.snapshot)
        id_, record = known.id, known.record
        if record.refs:
            raise SnapshotReferenced(
                f"{record.refs} refs name the snapshot {id_.hex()}",
                snapshot=id_.hex(),
                hint="quartet snapshot ref rm NAME",
            )
        head = keys.head(zone, known.ino)
        way = map(paths.normal, record.names)
        plan = Plan(
            pb.DeleteSnapshotResponse(id=id_.hex()),
            [*base.guards, ops.unchanged(known.kv.key, known.kv.mod_revision)],
            [
                ops.delete(known.kv.key),
                ops.delete(keys.by_root(zone, record.root.hash, id_)),
                ops.delete(keys.by_path(zone, way, id_)),
            ],
        )
        kv = (await snapshot.get([head])).get(head)
        if kv is not None and storage.Head.FromString(kv.value).id == id_:
            plan.compares.append(ops.unchanged(head, kv.mod_revision))
            before = await records.many(zone, snapshot, [record.parent] if record.parent else [])
            if before and before[0].ino == known.ino:
                value = storage.Head(id=before[0].id, root=before[0].record.root, revision=before[0].record.revision)
                plan.operations.append(ops.put(head, value.SerializeToString()))
            else:
                plan.operations.append(ops.delete(head))
        return plan

    answer, revision = await tree.mutator.run(pb.DeleteSnapshotResponse, build, claim)
    answer.revision = revision
    return answer


def _labelled(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(labels.get(name) == value for name, value in wanted.items())
