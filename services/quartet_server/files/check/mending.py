"""Mending what a check has found: one compared transaction each, and a place for what nothing leads to."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.timestamp_pb2 import Timestamp
from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2

from quartet_server.files import keys, records
from quartet_server.files.check.finding import Mend, Rescue
from quartet_server.files.inos import Inos
from quartet_server.files.steps import Step
from quartet_server.meta import ops
from quartet_server.meta.snapshot import Snapshot
from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

LOST_FOUND = b"lost+found"
"""Name of the directory in the root for inodes that no entry led to; they are called inode-NUMBER there."""
_MODE = 0o700


class Mender:
    """Mends one zone."""

    def __init__(self, store: Metastore, zone: str, inos: Inos, now: Callable[[], Timestamp]) -> None:
        """Write to `store`; `now` tells the time for records."""
        self._store = store
        self._zone = zone
        self._inos = inos
        self._now = now

    async def mend(self, mend: Mend) -> bool:
        """Mend one thing; tell whether all was still as it was seen, and it is mended. Raises MetastoreError."""
        request = rpc_pb2.TxnRequest(compare=mend.compares, success=mend.operations)
        if mend.rescue is not None and not await self._link(mend.rescue, request):
            return False
        return (await self._store.txn(request)).succeeded

    async def _link(self, rescue: Rescue, request: rpc_pb2.TxnRequest) -> bool:
        """Add an entry in /lost+found to a transaction."""
        if (home := await self._home()) is None:
            return False
        name = f"inode-{rescue.ino}"
        key = keys.dentry(self._zone, home.ino, name.encode())
        pointer = storage_pb2.Parent(ino=home.ino, name=name).SerializeToString()
        request.compare.extend([home.compare(), ops.absent(key)])
        request.success.extend(
            [
                records.link(self._zone, home.ino, name.encode(), name, rescue.ino, rescue.type, rescue.quota),
                ops.put(keys.parent(self._zone, rescue.ino), pointer),
            ]
        )
        return True

    async def _home(self) -> Step | None:
        """Return the entry of /lost+found, made if need be; None when something else has the name."""
        key = keys.dentry(self._zone, keys.ROOT, LOST_FOUND)
        for _ in range(2):
            kv = (await Snapshot(self._store).get([key])).get(key)
            if kv is not None:
                step = Step.of(kv)
                return step if step.type == records.DIRECTORY else None
            ino = (await self._inos.take(self._zone, 1))[0]
            inode = records.new_inode(records.DIRECTORY, files_pb2.Attributes(mode=_MODE), self._now())
            writes = records.writes(self._zone, keys.ROOT, LOST_FOUND, LOST_FOUND.decode(), ino, inode)
            await self._store.txn(rpc_pb2.TxnRequest(compare=[ops.absent(key)], success=writes))
        return None
