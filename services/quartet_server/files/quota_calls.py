"""SetQuota, GetQuota and RemoveQuota: how a directory that holds something already comes to be counted exactly."""

from __future__ import annotations

from dataclasses import dataclass

from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2 as pb

from quartet_server.errors import Contention, FieldInvalid, QuotaNotFound, RootFixed
from quartet_server.files import keys, paths, quotas, records
from quartet_server.files.paths import Path
from quartet_server.files.resolve import Resolver, Walk
from quartet_server.files.steps import Step
from quartet_server.files.tree import Tree
from quartet_server.files.writing import write
from quartet_server.meta import ops
from quartet_server.meta.mutation import Plan
from quartet_server.meta.snapshot import KeyValue, Snapshot
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2

_COUNTS = 3
_CHUNK = 1000


@dataclass(frozen=True, slots=True)
class _Found:
    """A directory with its quota, if it has one."""

    walk: Walk
    kv: KeyValue | None
    record: storage_pb2.QuotaRecord

    @property
    def step(self) -> Step:
        """The directory's entry."""
        return self.walk.steps[-1]


async def set_quota(tree: Tree, zone: str, request: pb.SetQuotaRequest) -> pb.Quota:
    """Give a directory limits, or other ones.

    A new quota begins by counting from 0, without a limit, whatever is written from its revision on: the directory's
    entry names it, and every write compares that entry. What was there at that very revision is then added up in
    peace, and added in the transaction that lets the limits hold.
    """
    path = _path(request.path)
    for name in ("limit_bytes", "limit_inodes"):
        if getattr(request, name) < 0:
            raise FieldInvalid.of(name, "must not be negative")
    await tree.ensure(zone)
    for _ in range(_COUNTS):
        quota, revision, counting = await _begin(tree, zone, request, path)
        if not counting:
            return quota
        try:
            bytes_, inodes = await _add_up(tree, zone, quota.ino, revision)
        except MetastoreError as error:
            if error.fault is not Fault.COMPACTED:
                raise
            continue
        return await _finish(tree, zone, request, path, counting, bytes_, inodes)
    raise Contention("what the directory holds could not be added up: its history was compacted meanwhile")


async def get_quota(tree: Tree, zone: str, request: pb.GetQuotaRequest) -> pb.Quota:
    """Read a directory's quota. Raises QuotaNotFound."""
    path = _path(request.path)
    snapshot = tree.snapshot()
    await tree.resolver(zone, snapshot)
    found = await _find(zone, snapshot, path)
    if found.kv is None:
        raise _missing(path)
    return _told(found, snapshot.revision)


async def remove_quota(tree: Tree, zone: str, request: pb.RemoveQuotaRequest) -> pb.RemoveQuotaResponse:
    """Take a directory's quota away. What is in the trash from there is not counted by any later one."""
    path = _path(request.path)
    await tree.ensure(zone)

    async def build(snapshot: Snapshot) -> Plan[pb.RemoveQuotaResponse]:
        found = await _find(zone, snapshot, path)
        if found.kv is None:
            raise _missing(path)
        operations = [_entry(found.walk, 0), ops.delete(found.kv.key)]
        return Plan(pb.RemoveQuotaResponse(), found.walk.compares(), operations)

    answer, revision = await write(tree, zone, request, pb.RemoveQuotaResponse, build, None)
    answer.revision = revision
    return answer


async def _begin(tree: Tree, zone: str, request: pb.SetQuotaRequest, path: Path) -> tuple[pb.Quota, int, int]:
    """Change the limits, or begin to count; return the quota, the revision, and the number of a count that began."""
    began = 0

    async def build(snapshot: Snapshot) -> Plan[pb.Quota]:
        nonlocal began
        began = 0
        found = await _find(zone, snapshot, path)
        record = found.record
        record.limit_bytes, record.limit_inodes = request.limit_bytes, request.limit_inodes
        record.path = "".join(f"/{step.name}" for step in found.walk.chain)  # in the zone, whoever sets it
        if found.kv is not None and not record.counting:
            value = record.SerializeToString()
            return Plan(
                _told(found, 0),
                [*found.walk.compares(), ops.unchanged(found.kv.key, found.kv.mod_revision)],
                [ops.put(found.kv.key, value)],
                gates=[found.kv.key],
            )
        began = (await tree.inos.take(zone, 1))[0]
        record.ino, record.bytes, record.inodes, record.counting = found.walk.ino, 0, 0, True
        plan = Plan(_told(found, 0), found.walk.compares(), [_entry(found.walk, began)])
        plan.operations.append(ops.put(keys.quota(zone, began), record.SerializeToString()))
        if found.kv is not None:  # a count that nobody finished
            plan.operations.append(ops.delete(found.kv.key))
        return plan

    quota, revision = await write(tree, zone, request, pb.Quota, build, None)
    quota.revision = revision
    return quota, revision, began


async def _add_up(tree: Tree, zone: str, ino: int, revision: int) -> tuple[int, int]:
    """Return the bytes and inodes below a directory at a revision. Raises MetastoreError: COMPACTED."""
    bytes_ = inodes = 0
    snapshot = tree.snapshot(revision=revision)
    pending = [ino]
    while pending:
        prefix = keys.dentry(zone, pending.pop(), b"")
        start, more = prefix, True
        while more:
            found = await snapshot.scan(start, ops.prefix_end(prefix), _CHUNK)
            steps = [Step.of(kv) for kv in found.kvs]
            pending += [step.ino for step in steps if step.type == records.DIRECTORY]
            files = [keys.inode(zone, step.ino) for step in steps if step.type != records.DIRECTORY]
            read = await snapshot.get(files)
            bytes_ += sum(quotas.size_of(storage_pb2.Inode.FromString(kv.value)) for kv in read.values())
            inodes += len(steps)
            more = found.more
            start = steps[-1].key + b"\0" if steps else start
    return bytes_, inodes


async def _finish(
    tree: Tree, zone: str, request: pb.SetQuotaRequest, path: Path, counting: int, bytes_: int, inodes: int
) -> pb.Quota:
    """Add what was there before the count began, and let the limits hold. Raises QuotaExceeded if no count can hold it."""
    key = keys.quota(zone, counting)

    async def build(snapshot: Snapshot) -> Plan[pb.Quota]:
        kv = (await snapshot.get([key])).get(key)
        if kv is None:
            raise Contention(f"the quota of {path} was set or removed by somebody else at the same time")
        record = storage_pb2.QuotaRecord.FromString(kv.value)
        quotas.add(record, bytes_, inodes, limits=False)
        record.counting = False
        answer = _quota(path, record)
        operation = ops.put(key, record.SerializeToString())
        return Plan(answer, [ops.unchanged(key, kv.mod_revision)], [operation], gates=[key])

    quota, revision = await write(tree, zone, request, pb.Quota, build, None)
    quota.revision = revision
    return quota


async def _find(zone: str, snapshot: Snapshot, path: Path) -> _Found:
    """Look a directory and its quota up."""
    walk = (await Resolver(zone, snapshot).walk(path)).demand_directory()
    step = walk.steps[-1]
    if not step.quota:
        return _Found(walk, None, storage_pb2.QuotaRecord(ino=walk.ino))
    key = keys.quota(zone, step.quota)
    kv = (await snapshot.get([key]))[key]
    return _Found(walk, kv, storage_pb2.QuotaRecord.FromString(kv.value))


def _entry(walk: Walk, quota: int) -> rpc_pb2.RequestOp:
    """Return the write of the directory's entry with another quota."""
    return walk.steps[-1].written(quota=quota)


def _told(found: _Found, revision: int) -> pb.Quota:
    quota = _quota(found.walk.path, found.record)
    quota.revision = revision
    return quota


def _quota(path: Path, record: storage_pb2.QuotaRecord) -> pb.Quota:
    return pb.Quota(
        path=str(path),
        ino=record.ino,
        limit_bytes=record.limit_bytes,
        limit_inodes=record.limit_inodes,
        used_bytes=record.bytes,
        used_inodes=record.inodes,
    )


def _path(text: str) -> Path:
    path = paths.parse(text)
    if path.is_root:
        raise RootFixed("the root has no quota: give one to each directory in it", path="/")
    return path


def _missing(path: Path) -> QuotaNotFound:
    return QuotaNotFound(
        f"{path} has no quota of its own", path=str(path), hint=f"quartet quota set qt:{path} --bytes N"
    )
