"""Staging: a tree that is built where no path leads to it, in as many transactions as it takes, and shown in one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

from quartet.files.storage.v1 import storage_pb2

from quartet_server.errors import StagingLost
from quartet_server.files import keys, records
from quartet_server.files.tree import Tree
from quartet_server.meta import ops
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.mounts import records as mounts
from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

STALE = 600.0
"""Seconds without a sign of life after which what is staged is given up."""
_RENEWED = STALE / 10
_AT_ONCE = 8
"""Transactions on their way together: they touch different keys."""
_BYTES = 1 << 20
"""Bytes of one transaction: etcd's limit is 1.5 MiB."""
_PAGE = 100


class Staging:
    """A tree in the making, held by a key below `/system/staging/`.

    Every write compares that the key is there: once it was given up, because its maker showed no sign of life for ten
    minutes or has failed, no write of it succeeds, and the reclaimer deletes what there is. The transaction that shows
    the tree deletes the key, so it is shown once, whole, or never. No quota counts it before.

    Attributes:
        ino: Inode number of the top.
        bytes: What the files in it count for.
        inodes: How many inodes it has, the top included.
    """

    def __init__(
        self, tree: Tree, zone: str, ino: int, top: storage_pb2.Inode, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Use `begin`."""
        self._tree = tree
        self._zone = zone
        self._key = keys.staging(zone, ino)
        self._clock = clock
        self._renewed = clock()
        self._top = top
        self._in_order: list[list[rpc_pb2.RequestOp]] = []
        self._side_by_side: list[list[rpc_pb2.RequestOp]] = []
        self._waiting = 0
        self._mounted: dict[int, rpc_pb2.Compare] = {}
        self.ino = ino
        self.bytes = 0
        self.inodes = 0

    @classmethod
    async def begin(cls, tree: Tree, zone: str, top: storage_pb2.Inode) -> Staging:
        """Begin with `top`, the inode of what will be shown. Raises MetastoreError."""
        ino = (await tree.inos.take(zone, 1))[0]
        staging = cls(tree, zone, ino, top)
        await tree.store.put(rpc_pb2.PutRequest(key=staging._key, value=staging._record()))
        await staging._count(top)
        await staging.write([ops.put(keys.inode(zone, ino), top.SerializeToString())])
        return staging

    async def take(self, count: int) -> range:
        """Return `count` inode numbers for entries, at most 10,000. Raises Contention, MetastoreError."""
        return await self._tree.inos.take(self._zone, count)

    async def add(
        self,
        parent: int,
        key: bytes,
        name: str,
        ino: int,
        inode: storage_pb2.Inode,
        others: Sequence[rpc_pb2.RequestOp] = (),
    ) -> None:
        """Add an entry, with an inode number of `take`, to a directory that was added before.

        `key` is the NFC form of `name`; `others` writes its extended attributes. It is written some time before `finish`
        returns. Raises StagingLost, MetastoreError.
        """
        await self._count(inode)
        of_inode, link, pointer = records.writes(self._zone, parent, key, name, ino, inode)
        group = [link, of_inode, pointer, *others]  # in this order: what has no entry would not be found to be deleted
        small = len(group) < ops.LIMIT and sum(one.ByteSize() for one in group) <= _BYTES
        if small and inode.type != records.DIRECTORY:
            self._side_by_side.append(group)
        else:
            self._in_order.append(group)
        self._waiting += len(group)
        if self._waiting >= _AT_ONCE * ops.LIMIT:
            await self.finish()

    async def write(self, operations: Sequence[rpc_pb2.RequestOp]) -> None:
        """Write keys of the top's own. Raises StagingLost, MetastoreError."""
        for part in _packed([[one] for one in operations]):
            await self._commit(part)

    async def finish(self) -> None:
        """Write what was not written yet: directories one after the other, then what is in them side by side.

        So whatever was written when it fails can be reached from the top. Raises StagingLost, MetastoreError.
        """
        in_order, side_by_side = self._in_order, self._side_by_side
        self._in_order, self._side_by_side, self._waiting = [], [], 0
        if (now := self._clock()) - self._renewed > _RENEWED:
            self._renewed = now
            await self._commit([ops.put(self._key, self._record())])
        await self.write([one for group in in_order for one in group])
        parts = _packed(side_by_side)
        for i in range(0, len(parts), _AT_ONCE):
            outcomes = await asyncio.gather(*map(self._commit, parts[i : i + _AT_ONCE]), return_exceptions=True)
            for outcome in outcomes:
                if outcome is not None:
                    raise outcome

    def shown(self, parent: int, key: bytes, name: str) -> tuple[list[rpc_pb2.Compare], list[rpc_pb2.RequestOp]]:
        """Return what the transaction that shows the tree as an entry of `parent` must hold and write for it.

        That the name is free, that the directory is where it is, and what quotas count is the caller's to add. Everything
        must have been written: `finish`.
        """
        pointer = storage_pb2.Parent(ino=parent, name=key.decode())
        return [ops.exists(self._key)], [
            records.link(self._zone, parent, key, name, self.ino, self._top.type),
            ops.put(keys.parent(self._zone, self.ino), pointer.SerializeToString()),
            ops.delete(self._key),
        ]

    async def demand(self, snapshot: Snapshot) -> None:
        """Demand that it was neither given up nor shown. Raises StagingLost."""
        if self._key not in await snapshot.get([self._key]):
            raise _lost()

    async def drop(self) -> None:
        """Give up what is staged, if it was not shown; the reclaimer deletes it. Raises MetastoreError."""
        await _give_up(self._tree.store, self._key, ops.exists(self._key))

    async def _count(self, inode: storage_pb2.Inode) -> None:
        """Count an inode; from now on every write holds the mount of the store that its bytes are in."""
        store = inode.content.store
        if store and store not in self._mounted:
            self._mounted[store] = await mounts.guard(Snapshot(self._tree.store), self._zone, store)
        self.inodes += 1
        self.bytes += inode.attributes.size

    def _record(self) -> bytes:
        return storage_pb2.Detached(time=self._tree.now()).SerializeToString()

    async def _commit(self, operations: list[rpc_pb2.RequestOp]) -> None:
        request = rpc_pb2.TxnRequest(compare=[ops.exists(self._key), *self._mounted.values()], success=operations)
        if not (await self._tree.store.txn(request)).succeeded:
            raise _lost()


class Abandoned:
    """Finds what is staged and has shown no sign of life for `STALE` seconds, by this node's own watching."""

    def __init__(self, store: Metastore, clock: Callable[[], float] = time.monotonic) -> None:
        """Look in `store`; `clock` tells seconds and never goes back."""
        self._store = store
        self._clock = clock
        self._seen: dict[bytes, tuple[int, float]] = {}

    async def sweep(self) -> int:
        """Hand to the reclaimer what is abandoned; return how many trees. Raises MetastoreError."""
        seen: dict[bytes, tuple[int, float]] = {}
        given_up, start, more = 0, keys.STAGING, True
        while more:
            page = await self._store.range(
                rpc_pb2.RangeRequest(key=start, range_end=ops.prefix_end(keys.STAGING), limit=_PAGE)
            )
            for kv in page.kvs:
                before = self._seen.get(kv.key)
                seen[kv.key] = before if before and before[0] == kv.mod_revision else (kv.mod_revision, self._clock())
                if self._clock() - seen[kv.key][1] >= STALE:
                    given_up += await _give_up(self._store, kv.key, ops.unchanged(kv.key, kv.mod_revision))
                start = kv.key + b"\0"
            more = page.more
        self._seen = seen
        return given_up


async def _give_up(store: Metastore, key: bytes, held: rpc_pb2.Compare) -> bool:
    """Move what is staged under `key` to what is to be reclaimed; tell whether it was there."""
    mark = ops.put(keys.reclaim(*keys.parse_staging(key)), storage_pb2.Detached().SerializeToString())
    return (await store.txn(rpc_pb2.TxnRequest(compare=[held], success=[ops.delete(key), mark]))).succeeded


def _packed(groups: Iterable[list[rpc_pb2.RequestOp]]) -> list[list[rpc_pb2.RequestOp]]:
    """Put groups of writes together, none of them torn, to transactions that are small enough."""
    parts: list[list[rpc_pb2.RequestOp]] = []
    size = 0
    for group in groups:
        length = sum(one.ByteSize() for one in group)
        if not parts or len(parts[-1]) + len(group) > ops.LIMIT or size + length > _BYTES:
            parts.append([])
            size = 0
        parts[-1] += group
        size += length
    return parts


def _lost() -> StagingLost:
    return StagingLost("what was being built was given up before it was whole")
