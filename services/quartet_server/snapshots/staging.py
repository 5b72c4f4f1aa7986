"""Trees that are built where no path leads, until one transaction puts them in place, or somebody finds them left behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog
from google.protobuf.timestamp_pb2 import Timestamp
from quartet.files.storage.v1 import storage_pb2 as files_storage
from quartet.snapshots.storage.v1 import storage_pb2 as storage

from quartet_server.errors import BlobNotFound, Contention, ContentLost, QuartetError, RequestTooLarge, SnapshotNotFound
from quartet_server.files import keys as tree_keys
from quartet_server.files import paths, records
from quartet_server.files.contents.body import INLINE, LISTED, encoded
from quartet_server.files.tree import Tree
from quartet_server.meta import ops
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.digest import Digest
from quartet_server.snapshots import keys, nodes
from quartet_server.snapshots.directories import Directories, entries
from quartet_server.snapshots.forgetting import zones
from quartet_server.snapshots.nodes import Node
from quartet_server.snapshots.reading import body_of, value_of
from quartet_server.snapshots.records import Known
from quartet_server.snapshots.totals import Totals
from raftmeta.errors import MetastoreError
from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

PATIENCE = 120.0
"""Seconds for which a tree that is being built may show no sign of life before another node takes it down."""
EVERY = 30.0
"""Seconds between two looks at what is being built."""
_SIGN = 20.0  # seconds between two signs of life
_OPERATIONS = ops.LIMIT - 8
_BYTES = 768 << 10  # of one transaction: etcd's limit is 1.5 MiB
_READ = 500  # small files whose bytes are read together

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Built:
    """A tree that is ready.

    Attributes:
        ino: Inode number of its top.
        node: What the top is.
        inode: The top's inode.
        totals: What is below it; of a file or link, itself.
        found: Directories that were looked for, by their NFC names from the top -> inode numbers.
    """

    ino: int
    node: Node
    inode: files_storage.Inode
    totals: Totals
    found: dict[tuple[bytes, ...], int] = field(default_factory=dict)


class Stage:
    """One tree in the making: its key exists as long as it is alone, and every transaction compares it.

    So whoever takes the key takes the tree: the one that puts it in place, or the one that takes it down. Nothing is
    written of it afterwards. Each transaction also compares that the snapshot exists, which holds what is referred to.
    """

    def __init__(
        self, tree: Tree, directories: Directories, zone: str, known: Known, owner: str, clock: Callable[[], float]
    ) -> None:
        """Build in `zone` what is in the snapshot `known`; `owner` is this life of this node."""
        self._tree, self._directories, self._zone, self._known = tree, directories, zone, known
        self._owner, self._clock = owner, clock
        self._free: list[int] = []
        self._created = 0
        self._signed = 0.0
        self._operations: list[rpc_pb2.RequestOp] = []
        self._size = 0
        self.ino = 0
        self.progress = Totals()

    @property
    def compare(self) -> rpc_pb2.Compare:
        """Demand that nobody took the tree."""
        return ops.created(keys.staging(self._zone, self.ino), self._created)

    async def build(self, node: Node, depth: int, wanted: Sequence[tuple[bytes, ...]] = ()) -> Built:
        """Build the tree of a node, which will be `depth` components deep; tell where the directories `wanted` are.

        Raises RequestTooLarge for a tree too deep, ContentLost, SnapshotDamaged, SnapshotNotFound, Contention, MetastoreError.
        """
        await self._begin()
        if node.type == records.DIRECTORY:
            return await self._tree_of(node, depth, set(wanted))
        inode = await self._inode(node, await self._read_small([node]))
        await self._inode_with([], self.ino, inode, node)
        await self._send()
        return Built(self.ino, node, inode, of_one(node))

    async def abandon(self) -> None:
        """Leave the tree to the reclaimer, unless somebody took it."""
        if self._created:
            await take_down(self._tree.store, self._zone, self.ino, self.compare, self._tree.now())

    async def _begin(self) -> None:
        self.ino = await self._number()
        key = keys.staging(self._zone, self.ino)
        self._signed = self._clock()
        answer = await self._tree.store.txn(
            rpc_pb2.TxnRequest(compare=[self._known.compare()], success=[ops.put(key, self._sign())])
        )
        if not answer.succeeded:
            raise self._gone()
        self._created = answer.header.revision

    async def _tree_of(self, top: Node, depth: int, wanted: set[tuple[bytes, ...]]) -> Built:
        """Write directory after directory: a directory's inode when it is read, its entry with those beside it."""
        first: files_storage.Inode | None = None
        found: dict[tuple[bytes, ...], int] = {}
        waiting: list[tuple[Digest, int, tuple[bytes, ...]]] = [(top.digest, self.ino, ())]
        while waiting:
            digest, ino, way = waiting.pop()
            directory = await self._directories.get(self._zone, digest)
            node = nodes.read_directory("", digest, directory)
            inode = await self._inode(node, {})
            first = first or inode
            await self._inode_with([], ino, inode, node)
            if way in wanted:
                found[way] = ino
            below = list(entries(directory))
            if below and depth + len(way) >= paths.DEEPEST:
                raise RequestTooLarge(f"the tree would be deeper than {paths.DEEPEST} components", limit=paths.DEEPEST)
            for at in range(0, len(below), _READ):
                some = below[at : at + _READ]
                small = await self._read_small(some)
                for one in some:
                    number = await self._number()
                    entry = self._entry(ino, number, one)
                    if one.type == records.DIRECTORY:
                        await self._write(entry)
                        waiting.append((one.digest, number, (*way, one.key)))
                    else:
                        await self._inode_with(entry, number, await self._inode(one, small), one)
            self.progress.add(nodes.counted(directory.files, len(directory.directories), directory.symlinks))
        await self._send()
        assert first is not None
        return Built(self.ino, top, first, self.progress, found)

    def _entry(self, parent: int, ino: int, node: Node) -> list[rpc_pb2.RequestOp]:
        pointer = files_storage.Parent(ino=parent, name=node.key.decode()).SerializeToString()
        return [
            records.link(self._zone, parent, node.key, node.name, ino, node.type),
            ops.put(tree_keys.parent(self._zone, ino), pointer),
        ]

    async def _inode_with(
        self, entry: list[rpc_pb2.RequestOp], ino: int, inode: files_storage.Inode, node: Node
    ) -> None:
        """Write an inode together with its entry, and then its extended attributes."""
        guard = [ops.put(tree_keys.xattr_guard(self._zone, ino), b"")] if node.xattrs else []
        await self._write([*entry, ops.put(tree_keys.inode(self._zone, ino), inode.SerializeToString()), *guard])
        for name, value in node.xattrs.items():
            data = await value_of(self._directories.blobs, self._zone, value)
            await self._write([ops.put(tree_keys.xattr(self._zone, ino, name.encode()), data)])

    async def _inode(self, node: Node, small: dict[Digest, bytes]) -> files_storage.Inode:
        """Return the first generation of what a node was; bytes of small files lie in their inode."""
        inode = records.new_inode(node.type, node.attributes, self._tree.now())
        if node.type == records.FILE and node.written:
            inode.content.SetInParent()
            if not node.digest.is_empty and node.digest.size <= INLINE and node.chunks is None:
                inode.content.inline = small[node.digest]
            elif not node.digest.is_empty:
                chunks = (await body_of(self._directories, self._zone, node)).chunks
                if len(chunks) > LISTED and node.chunks is not None:
                    inode.content.list.hash, inode.content.list.size = node.chunks.hash, node.chunks.size
                else:
                    inode.content.chunks.extend(encoded(chunks))
        return inode

    async def _read_small(self, some: Sequence[Node]) -> dict[Digest, bytes]:
        """Read the bytes of those files that lie in their inodes. Raises ContentLost."""
        wanted = {
            node.digest: node.name
            for node in some
            if node.type == records.FILE and node.chunks is None and 0 < node.digest.size <= INLINE and node.written
        }
        found = await self._directories.blobs.get_many(self._zone, list(wanted), _READ * INLINE) if wanted else {}
        read: dict[Digest, bytes] = {}
        for digest, data in found.items():
            if isinstance(data, BlobNotFound):
                raise ContentLost(f"bytes of {wanted[digest]} are gone: {data.message}", digest=str(digest))
            if isinstance(data, QuartetError):
                raise data
            read[digest] = data
        return read

    async def _number(self) -> int:
        if not self._free:
            self._free = list(await self._tree.inos.take(self._zone, 1 if not self.ino else 500))[::-1]
        return self._free.pop()

    async def _write(self, operations: Sequence[rpc_pb2.RequestOp]) -> None:
        """Add writes that belong into one transaction; send what came before when they do not fit beside it.

        One transaction after the other: an entry is there before anything of what it leads to, so that whoever takes the
        tree down finds everything.
        """
        size = sum(operation.ByteSize() for operation in operations)
        if self._operations and (len(self._operations) + len(operations) > _OPERATIONS or self._size + size > _BYTES):
            await self._send()
        self._operations += operations
        self._size += size

    async def _send(self) -> None:
        operations, self._operations, self._size = self._operations, [], 0
        if self._clock() - self._signed > _SIGN:
            self._signed = self._clock()
            operations.append(ops.put(keys.staging(self._zone, self.ino), self._sign()))
        if operations:
            await self._commit(operations)

    async def _commit(self, operations: Sequence[rpc_pb2.RequestOp]) -> None:
        compares = [self.compare, self._known.compare()]
        answer = await self._tree.store.txn(rpc_pb2.TxnRequest(compare=compares, success=operations))
        if not answer.succeeded:
            raise self._gone()

    def _gone(self) -> QuartetError:
        """Return why a transaction was refused."""
        if not self._created:
            return SnapshotNotFound(f"the snapshot {self._known.id.hex()} was deleted meanwhile")
        return Contention("the snapshot was deleted meanwhile, or another node took the tree down as left behind")

    def _sign(self) -> bytes:
        return storage.Staging(owner=self._owner, time=self._tree.now()).SerializeToString()


def of_one(node: Node) -> Totals:
    """Return what a file or link counts for."""
    return Totals(int(node.type == records.FILE), 0, int(node.type == records.SYMLINK), node.attributes.size)


async def take_down(store: Metastore, zone: str, ino: int, compare: rpc_pb2.Compare, now: Timestamp) -> bool:
    """Leave a tree that is being built to the reclaimer; False when somebody took it, or showed life, before."""
    detached = files_storage.Detached(time=now).SerializeToString()
    operations = [ops.delete(keys.staging(zone, ino)), ops.put(tree_keys.reclaim(zone, ino), detached)]
    return (await store.txn(rpc_pb2.TxnRequest(compare=[compare], success=operations))).succeeded


class Stagehand:
    """Takes down trees that were left behind: those of this node's earlier lives at once, others when they show no life.

    A tree that is being built writes its key again every 20 seconds; no clocks are compared, only this node's own.
    """

    def __init__(
        self,
        store: Metastore,
        owner: str,
        now: Callable[[], Timestamp],
        clock: Callable[[], float],
        patience: float = PATIENCE,
        every: float = EVERY,
    ) -> None:
        """Look in `store`; `owner` is NODE SPACE LIFE. Nothing runs before `start`."""
        self._store, self._owner, self._now, self._clock = store, owner, now, clock
        self._patience, self._every = patience, every
        self._seen: dict[bytes, tuple[int, float]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, now and every 30 seconds."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="snapshots-stagings")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def look(self) -> int:
        """Take down what was left behind, as far as is known by now; return how many trees. Raises MetastoreError."""
        taken, seen = 0, {}
        node = self._owner.partition(" ")[0]
        async for zone in zones(self._store):
            prefix = keys.stagings(zone)
            found = await Snapshot(self._store).scan(prefix, ops.prefix_end(prefix))
            for kv in found.kvs:
                owner = storage.Staging.FromString(kv.value).owner
                mine = owner != self._owner and owner.partition(" ")[0] == node
                revision, since = self._seen.get(kv.key, (0, 0.0))
                if revision != kv.mod_revision:
                    since = self._clock()
                seen[kv.key] = kv.mod_revision, since
                if mine or self._clock() - since > self._patience:
                    ino = int.from_bytes(kv.key[len(prefix) :], "big")
                    compare = ops.unchanged(kv.key, kv.mod_revision)
                    taken += await take_down(self._store, zone, ino, compare, self._now())
        self._seen = seen
        return taken

    async def _run(self) -> None:
        while True:
            try:
                if taken := await self.look():
                    _log.info("took down trees that were left behind", trees=taken)
            except MetastoreError as error:
                _log.warning("a look at trees being built is postponed", reason=error.text)
            await asyncio.sleep(self._every)
