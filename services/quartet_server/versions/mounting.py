"""Old versions whose bytes are in a mounted store: counted, and moved out of it."""

from __future__ import annotations

from contextlib import aclosing

from quartet.versions.storage.v1 import storage_pb2

from quartet_server.files.contents.contents import Contents
from quartet_server.files.paths import Path
from quartet_server.meta import ops
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.contract import BlobStore
from quartet_server.objects.mounts.referring import Moved
from quartet_server.versions import keys
from quartet_server.versions.holding import HeldByVersions
from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

_PAGE = 200  # a record has up to 17 KiB, a page stays below the 4 MiB of a message


class MountedVersions:
    """Old versions of files as what refers to mounted stores; see `Referrer`."""

    def __init__(self, store: Metastore, blobs: BlobStore, held: HeldByVersions) -> None:
        """Look at records in `store`, whose bytes are in `blobs`; `held` tells those not recorded yet too."""
        self._store = store
        self._contents = Contents(blobs)
        self._held = held

    async def count(self, zone: str, number: int, most: int) -> int:
        """See `Referrer.count`. Raises VersionsBehind too."""
        count = 0
        async with aclosing(self._held.contents(zone)) as contents:
            async for content in contents:
                count += content.store == number
                if count == most:
                    break
        return count

    async def drain(self, zone: str, number: int, moved: Moved) -> None:
        """See `Referrer.drain`: what is not recorded yet is left to the next round."""
        snapshot = Snapshot(self._store)
        start, more = keys.records(zone), True
        end = ops.prefix_end(start)
        while more:
            page = await snapshot.scan(start, end, _PAGE)
            for kv in page.kvs:
                start = kv.key + b"\0"
                record = storage_pb2.Record.FromString(kv.value)
                if record.inode.content.store != number:
                    continue
                path = Path((f"version {record.inode.gen} of inode {keys.parse(kv.key).ino}",), (b"",))
                body = await self._contents.load(zone, path, record.inode)
                body = await self._contents.moved(zone, path, body, 0)
                record.inode.content.CopyFrom(await self._contents.refer(zone, body))
                request = rpc_pb2.TxnRequest(
                    compare=[ops.unchanged(kv.key, kv.mod_revision)],
                    success=[ops.put(kv.key, record.SerializeToString())],
                )
                if (await self._store.txn(request)).succeeded:
                    moved.contents += 1
                    moved.bytes += body.size
            more = page.more
