"""The trash: what recursive deletes have cut off waits here, whole, to come back or to be given up."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2 as pb

from quartet_server.errors import FieldInvalid, FileExists, QuotaCrossed, RootFixed, TrashNotFound
from quartet_server.files import keys, paths, quotas, records, tokens
from quartet_server.files.delete import detach
from quartet_server.files.paths import Path
from quartet_server.files.quotas import Charges
from quartet_server.files.resolve import Resolver, Walk
from quartet_server.files.tree import Tree
from quartet_server.files.writing import write
from quartet_server.meta import ops
from quartet_server.meta.ledger import Claim
from quartet_server.meta.mutation import Plan
from quartet_server.meta.snapshot import KeyValue, Snapshot
from raftmeta.etcd import rpc_pb2

_TOGETHER = 40
"""Items in one transaction, with a comparison and at most three writes each."""


async def list_trash(tree: Tree, zone: str, request: pb.ListTrashRequest) -> pb.ListTrashResponse:
    """Read a page of the trash. A path filters what was read, so that a page may be short though others follow."""
    size = tokens.page_size(request.page_size)
    below = paths.parse(request.path) if request.path else Path((), ())
    token = tokens.decode(request.page_token, storage_pb2.PageToken, tokens.checksum(zone, request))
    snapshot = tree.snapshot()
    base = (await (await tree.resolver(zone, snapshot)).base()).path
    found = await _scan(zone, snapshot, token.last, size)
    answer = pb.ListTrashResponse(revision=snapshot.revision)
    bytes_ = 0
    more = found.more
    for kv in found.kvs:
        told = _told(kv)
        bytes_ += told.ByteSize() + 8
        if bytes_ > tokens.MESSAGE:
            more = True
            break
        if (inside := _inside(told.path, base)) is not None and _is_below(inside, below):
            told.path = inside
            answer.items.append(told)
        token.last = _item(kv)
    answer.next_page_token = tokens.encode(token) if more else ""
    return answer


async def restore(tree: Tree, zone: str, request: pb.RestoreFromTrashRequest, claim: Claim | None) -> pb.Entry:
    """Put an entry back: its dentry and its parent pointer come again, what is below never went."""
    item = _parse(request.id, "id")
    asked = paths.parse(request.path) if request.path else None
    await tree.ensure(zone)

    async def build(snapshot: Snapshot) -> Plan[pb.Entry]:
        key = keys.trash(zone, item)
        resolver = Resolver(zone, snapshot)
        kv = (await snapshot.get([key])).get(key)
        trashed = storage_pb2.Trashed.FromString(kv.value if kv is not None else b"")
        was = _inside(trashed.path, (await resolver.base()).path)
        if kv is None or was is None:
            raise TrashNotFound(f"the trash has nothing under {request.id}", id=request.id)
        path = asked or paths.parse(was)
        if path.is_root:
            raise RootFixed("the root cannot be replaced", path="/")
        walk = await resolver.walk(path)
        if walk.complete:
            raise FileExists(f"{path} exists", path=str(path), hint="restore it under another path")
        walk.demand_parent()
        inode = (await snapshot.get([keys.inode(zone, trashed.ino)]))[keys.inode(zone, trashed.ino)]
        stored = storage_pb2.Inode.FromString(inode.value)
        name = path.names[-1]
        pointer = storage_pb2.Parent(ino=walk.ino, name=path.keys[-1].decode())
        plan = Plan(
            records.entry(str(path), name, trashed.ino, stored),
            [
                *walk.compares(),
                ops.absent(keys.dentry(zone, walk.ino, path.keys[-1])),
                ops.unchanged(key, kv.mod_revision),
            ],
            [
                records.link(zone, walk.ino, path.keys[-1], name, trashed.ino, stored.type, trashed.quota),
                ops.put(keys.parent(zone, trashed.ino), pointer.SerializeToString()),
                ops.delete(key),
            ],
        )
        await _recharge(zone, snapshot, plan, trashed, was, stored, walk)
        return plan

    answer, revision = await write(tree, zone, request, pb.Entry, build, claim)
    answer.revision = revision
    return answer


async def _recharge(
    zone: str,
    snapshot: Snapshot,
    plan: Plan[pb.Entry],
    trashed: storage_pb2.Trashed,
    was: str,
    inode: storage_pb2.Inode,
    walk: Walk,
) -> None:
    """Let the quotas at an entry's new place count it, where they are not those that count it in the trash."""
    alive = await snapshot.get([keys.quota(zone, one) for one in trashed.quotas])
    before = {one for one in trashed.quotas if keys.quota(zone, one) in alive}
    after = set(quotas.above(walk))
    if before != after and trashed.type == records.DIRECTORY:
        raise QuotaCrossed(
            f"{was} was counted by another quota than {walk.path} would be",
            path=was,
            destination=str(walk.path),
            hint="restore it where the same quotas count it, or take the quota away meanwhile",
        )
    charges = Charges()
    charges.add(before - after, -quotas.size_of(inode), -1)
    charges.add(after - before, quotas.size_of(inode), 1)
    await quotas.charge(zone, snapshot, plan, charges)


async def empty(tree: Tree, zone: str, request: pb.EmptyTrashRequest) -> pb.EmptyTrashResponse:
    """Hand what is in the trash to the reclaimer, `_TOGETHER` items a transaction.

    Who restores an item at the same time wins or loses as a whole: both compare its key.
    """
    if len(request.ids) > tokens.MOST:
        raise FieldInvalid.of("ids", f"{len(request.ids)} given, at most {tokens.MOST} are taken")
    items = [_parse(one, f"ids[{i}]") for i, one in enumerate(request.ids)]
    await tree.ensure(zone)
    snapshot = tree.snapshot()
    base = (await Resolver(zone, snapshot).base()).path
    if base and not items:
        raise FieldInvalid.of("ids", "are needed from a caller with a root of its own: the trash is the whole zone's")
    if items:
        kvs = list((await snapshot.get([keys.trash(zone, item) for item in dict.fromkeys(items)])).values())
        more = False
    else:
        found = await _scan(zone, snapshot, b"", tokens.MOST)
        kvs, more = list(found.kvs), found.more
    kvs = [kv for kv in kvs if _inside(_told(kv).path, base) is not None]
    if request.HasField("before"):
        old = [kv for kv in kvs if _time(kv).ToNanoseconds() < request.before.ToNanoseconds()]
        more = more and len(old) == len(kvs)  # they are in the order of their times
        kvs = old
    return pb.EmptyTrashResponse(more=more, emptied=await _all(tree, zone, kvs))


async def expire(tree: Tree, zone: str, oldest: int) -> int:
    """Give up what was deleted before `oldest`, microseconds since 1970; return how many items. Raises MetastoreError."""
    end = keys.trash(zone, keys.trash_item(oldest, 0))
    emptied, start, more = 0, keys.trash(zone), True
    while more:
        found = await Snapshot(tree.store).scan(start, end, _TOGETHER)
        if found.kvs:
            emptied += await _all(tree, zone, found.kvs)
            start = found.kvs[-1].key + b"\0"
        more = found.more
    return emptied


async def _all(tree: Tree, zone: str, kvs: Sequence[KeyValue]) -> int:
    """Give up items that are in the trash still; return how many."""
    emptied = 0
    for i in range(0, len(kvs), _TOGETHER):
        some = kvs[i : i + _TOGETHER]
        if await _give_up(tree, zone, some):
            emptied += len(some)
        else:
            emptied += sum([await _give_up(tree, zone, [kv]) for kv in some])
    return emptied


async def _give_up(tree: Tree, zone: str, kvs: Sequence[KeyValue]) -> bool:
    """Move items from the trash to what is to be reclaimed, all or none."""
    request = rpc_pb2.TxnRequest()
    for kv in kvs:
        request.compare.append(ops.unchanged(kv.key, kv.mod_revision))
        trashed = storage_pb2.Trashed.FromString(kv.value)
        request.success.extend([ops.delete(kv.key), detach(zone, trashed.ino, tree.now(), trashed.quotas)])
        if trashed.quota:
            request.success.append(ops.delete(keys.quota(zone, trashed.quota)))
    return (await tree.store.txn(request)).succeeded


async def _scan(zone: str, snapshot: Snapshot, last: bytes, limit: int) -> rpc_pb2.RangeResponse:
    """Read at most `limit` items after `last`."""
    prefix = keys.trash(zone)
    return await snapshot.scan(keys.trash(zone, last + b"\0") if last else prefix, ops.prefix_end(prefix), limit)


def _told(kv: KeyValue) -> pb.TrashItem:
    trashed = storage_pb2.Trashed.FromString(kv.value)
    return pb.TrashItem(
        id=_item(kv).hex(), path=trashed.path, ino=trashed.ino, type=trashed.type, delete_time=trashed.time
    )


def _time(kv: KeyValue) -> Timestamp:
    return storage_pb2.Trashed.FromString(kv.value).time


def _item(kv: KeyValue) -> bytes:
    return bytes(kv.key[-keys.ITEM :])


def _inside(path: str, base: str) -> str | None:
    """Return a path in the zone as a caller with the root `base` sees it; None for one outside, and the root itself."""
    return path[len(base) :] if path.startswith(f"{base}/") else None


def _is_below(text: str, path: Path) -> bool:
    names = [paths.normal(name) for name in text.split("/")[1:]]
    return tuple(names[: len(path.keys)]) == path.keys


def _parse(text: str, field: str) -> bytes:
    """Return the 16 bytes that an id of the trash stands for. Raises FieldInvalid."""
    try:
        item = bytes.fromhex(text)
    except ValueError:
        item = b""
    if len(item) != keys.ITEM or item.hex() != text:
        raise FieldInvalid.of(field, "is not an id of the trash: 32 hexadecimal digits")
    return item
