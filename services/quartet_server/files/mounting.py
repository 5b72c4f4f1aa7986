"""Mount points in the tree, and the files whose bytes are in a mounted store: what the service of mounts asks of the tree."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

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
from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

_PAGE = 256  # an inode has up to 16 KiB, a page stays below the 4 MiB of a message
_LAST = (1 << 64) - 1


@dataclass(slots=True)
class Moved:
    """What a drain has done.

    Attributes:
        files: Whose bytes were moved.
        bytes: How many.
    """

    files: int = 0
    bytes: int = 0


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


async def referring(store: Metastore, zone: str, number: int) -> AsyncGenerator[KeyValue, None]:
    """Yield the inodes whose bytes are in a mounted store, wherever they are, at one revision; those in the trash too."""
    snapshot = Snapshot(store)
    start, end, more = keys.inode(zone, 0), keys.inode(zone, _LAST), True
    while more:
        page = await snapshot.scan(start, end, _PAGE)
        for kv in page.kvs:
            if storage_pb2.Inode.FromString(kv.value).content.store == number:
                yield kv
            start = kv.key + b"\0"
        more = page.more


async def drain(store: Metastore, blobs: BlobStore, zone: str, number: int, moved: Moved) -> int:
    """Move the bytes of files out of a mounted store, into the cluster's own; return how many files were found there.

    Each file is moved by a transaction that compares its inode: one that is written meanwhile is left to the next round. Neither
    generation nor etag changes, since no byte does. Raises ContentLost, and as the store of blobs does.
    """
    contents, found = Contents(blobs), 0
    async with aclosing(referring(store, zone, number)) as inodes:
        async for kv in inodes:
            found += 1
            inode = storage_pb2.Inode.FromString(kv.value)
            path = Path((f"inode {keys.parse(kv.key).ino}",), (b"",))
            body = await contents.moved(zone, path, await contents.load(zone, path, inode), 0)
            inode.content.CopyFrom(await contents.refer(zone, body))
            request = rpc_pb2.TxnRequest(
                compare=[ops.unchanged(kv.key, kv.mod_revision)],
                success=[ops.put(kv.key, inode.SerializeToString())],
            )
            if (await store.txn(request)).succeeded:
                moved.files += 1
                moved.bytes += body.size
    return found
