"""Mount points in the tree, and the files whose bytes are in a mounted store: what the service of mounts asks of the tree."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from quartet.files.storage.v1 import storage_pb2

from quartet_server.errors import MountExists, RootFixed
from quartet_server.files import keys, paths
from quartet_server.files.contents.contents import Contents
from quartet_server.files.paths import Path
from quartet_server.files.places import Place
from quartet_server.files.resolve import Resolver
from quartet_server.files.steps import Step
from quartet_server.meta import ops
from quartet_server.meta.snapshot import KeyValue, Snapshot
from quartet_server.objects.contract import BlobStore
from quartet_server.objects.mounts.referring import Moved
from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

_PAGE = 256  # an inode has up to 16 KiB, a page stays below the 4 MiB of a message
_LAST = (1 << 64) - 1


async def mark(zone: str, snapshot: Snapshot, path: str, number: int) -> tuple[Place, rpc_pb2.RequestOp]:
    """Return the directory at a path of the caller, and the write that makes it the point of the mount `number`.

    Raises PathInvalid, RootFixed, FileNotFound, NotADirectory, MountExists.
    """
    at = paths.parse(path)
    if at.is_root:
        raise RootFixed("nothing can be mounted at the root: it has no entry that could say so", path="/")
    walk = (await Resolver(zone, snapshot).walk(at)).demand_directory()
    step = walk.steps[-1]
    if step.mount:
        raise MountExists(f"{at} is a mount point already", path=str(at))
    spelled = "".join(f"/{one.name}" for one in walk.steps)
    place = Place(spelled, walk.ino, walk.base.ino, walk.compares())
    return place, step.written(mount=number)


async def unmarked(
    zone: str, snapshot: Snapshot, ino: int, number: int
) -> tuple[list[rpc_pb2.Compare], list[rpc_pb2.RequestOp]]:
    """Return what makes a directory no mount point any more: nothing when it is gone, or was none.

    From the commit on no path leads into the store: every write compares the entries on its way.
    """
    pointer = keys.parent(zone, ino)
    kv = (await snapshot.get([pointer])).get(pointer)
    if kv is None:
        return [ops.absent(pointer)], []
    parent = storage_pb2.Parent.FromString(kv.value)
    entry = keys.dentry(zone, parent.ino, parent.name.encode())
    found = (await snapshot.get([entry])).get(entry)
    if found is None:
        return [ops.absent(entry)], []
    step = Step.of(found)
    if step.ino != ino or step.mount != number:
        return [step.compare()], []
    return [step.compare()], [step.written(mount=0)]


async def marked_again(
    zone: str, snapshot: Snapshot, ino: int, number: int
) -> tuple[list[rpc_pb2.Compare], list[rpc_pb2.RequestOp]]:
    """Return what makes a directory a mount point again that was one before; nothing when it is gone."""
    pointer = keys.parent(zone, ino)
    kv = (await snapshot.get([pointer])).get(pointer)
    if kv is None:
        return [], []
    parent = storage_pb2.Parent.FromString(kv.value)
    entry = keys.dentry(zone, parent.ino, parent.name.encode())
    found = (await snapshot.get([entry])).get(entry)
    step = None if found is None else Step.of(found)
    if step is None or step.ino != ino or step.mount:
        return [], []
    return [step.compare()], [step.written(mount=number)]


class MountedFiles:
    """Files as what refers to mounted stores, wherever they are: those in the trash, and what is being built, included."""

    def __init__(self, store: Metastore, blobs: BlobStore) -> None:
        """Look at inodes in `store`, whose bytes are in `blobs`."""
        self._store = store
        self._contents = Contents(blobs)

    async def count(self, zone: str, number: int, most: int) -> int:
        """See `Referrer.count`."""
        count = 0
        async with aclosing(self._inodes(zone, number)) as inodes:
            async for _ in inodes:
                count += 1
                if count == most:
                    break
        return count

    async def drain(self, zone: str, number: int, moved: Moved) -> None:
        """See `Referrer.drain`. Neither generation nor etag changes, since no byte does."""
        async with aclosing(self._inodes(zone, number)) as inodes:
            async for kv in inodes:
                inode = storage_pb2.Inode.FromString(kv.value)
                path = Path((f"inode {keys.parse(kv.key).ino}",), (b"",))
                body = await self._contents.load(zone, path, inode)
                body = await self._contents.moved(zone, path, body, 0)
                inode.content.CopyFrom(await self._contents.refer(zone, body))
                request = rpc_pb2.TxnRequest(
                    compare=[ops.unchanged(kv.key, kv.mod_revision)],
                    success=[ops.put(kv.key, inode.SerializeToString())],
                )
                if (await self._store.txn(request)).succeeded:
                    moved.contents += 1
                    moved.bytes += body.size

    async def _inodes(self, zone: str, number: int) -> AsyncGenerator[KeyValue, None]:
        snapshot = Snapshot(self._store)
        start, end, more = keys.inode(zone, 0), keys.inode(zone, _LAST), True
        while more:
            page = await snapshot.scan(start, end, _PAGE)
            for kv in page.kvs:
                if storage_pb2.Inode.FromString(kv.value).content.store == number:
                    yield kv
                start = kv.key + b"\0"
            more = page.more
