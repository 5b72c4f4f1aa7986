"""Clears up what recursive deletes have cut off, in small transactions, on whichever node finds it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import structlog
from quartet.files.storage.v1 import storage_pb2

from quartet_server.files import keys, records
from quartet_server.files.quotas import Charges, counted, size_of
from quartet_server.files.steps import Step
from quartet_server.meta import ops
from quartet_server.meta.snapshot import Snapshot
from raftmeta.errors import MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

EVERY = 60.0
"""Seconds between two looks for subtrees that another node cut off and did not live to clear up."""
_CHILDREN = 24  # five operations for each file, with the comparison and the directory itself below 128


def _children(counting: Sequence[int]) -> int:
    """Return how many entries a batch deletes, so that the counts of these quotas have room too."""
    return max(_CHILDREN - (len(counting) + 4) // 5, 1)


_log = structlog.get_logger(__name__)


class Reclaimer:
    """Deletes detached subtrees.

    A detached directory is a reclaim key. Its files are deleted and its directories become detached themselves, batch
    by batch; when it has no entries left, it goes, and its reclaim key with it. Nobody can reach the subtree, so the
    only race is between two nodes that clear up the same one, and each transaction compares what it deletes.
    """

    def __init__(self, store: Metastore, finding: Sequence[Callable[[], Awaitable[int]]] = ()) -> None:
        """Clear up in `store`, first calling `finding`, which detach what has had its time; nothing runs before `start`."""
        self._store = store
        self._finding = finding
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look for work, now and every minute."""
        self._work.set()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="files-reclaim")

    def wake(self) -> None:
        """Look for work at once."""
        self._work.set()

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def clear(self) -> int:
        """Delete everything that is detached; return how many inodes were deleted. Raises MetastoreError."""
        deleted = 0
        while True:
            found = await self._store.range(
                pb.RangeRequest(key=keys.RECLAIM, range_end=ops.prefix_end(keys.RECLAIM), limit=100)
            )
            if not found.kvs:
                return deleted
            for kv in found.kvs:
                zone, ino = keys.parse_reclaim(kv.key)
                deleted += await self._detached(zone, ino, list(storage_pb2.Detached.FromString(kv.value).quotas))

    async def _detached(self, zone: str, ino: int, counting: Sequence[int]) -> int:
        """Delete what is in something detached, and itself; detach its directories. Return the inodes deleted.

        The quotas that count it count less with every batch.
        """
        deleted = 0
        mark, prefix = keys.reclaim(zone, ino), keys.dentry(zone, ino, b"")
        while True:
            below = await self._store.range(
                pb.RangeRequest(key=prefix, range_end=ops.prefix_end(prefix), limit=_children(counting))
            )
            request = pb.TxnRequest(compare=[ops.exists(mark)])
            gone = 0
            erased: list[int] = []
            for kv in below.kvs:
                step = Step.of(kv)
                request.compare.append(step.compare())
                request.success.append(ops.delete(step.key))
                if step.type == records.DIRECTORY:
                    request.success.append(ops.delete(keys.parent(zone, step.ino)))
                    detached = storage_pb2.Detached(quotas=counting).SerializeToString()
                    request.success.append(ops.put(keys.reclaim(zone, step.ino), detached))
                    if step.quota:
                        request.success.append(ops.delete(keys.quota(zone, step.quota)))
                else:
                    request.success.extend(records.erase(zone, step.ino))
                    erased.append(step.ino)
                    gone += 1
            if not below.more:
                request.success.extend([*records.erase(zone, ino), ops.delete(mark)])
                erased.append(ino)
                gone += 1
            if counting:
                compares, operations = await self._release(zone, counting, erased)
                request.compare.extend(compares)
                request.success.extend(operations)
            answer = await self._store.txn(request)
            if not answer.succeeded:
                return deleted  # another node is at it
            deleted += gone
            if not below.more:
                return deleted

    async def _release(
        self, zone: str, counting: Sequence[int], inos: Sequence[int]
    ) -> tuple[list[pb.Compare], list[pb.RequestOp]]:
        """Return what takes inodes, which nobody can change any more, from the quotas that count them."""
        wanted = [keys.inode(zone, ino) for ino in inos] + [keys.quota(zone, one) for one in counting]
        found = await Snapshot(self._store).get(wanted)
        charges = Charges()
        for ino in inos:
            if (kv := found.get(keys.inode(zone, ino))) is not None:
                charges.add(counting, -size_of(storage_pb2.Inode.FromString(kv.value)), -1)
        return counted(zone, found, charges)

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await self._work.wait()
            self._work.clear()
            try:
                for find in self._finding:
                    await find()
                if deleted := await self.clear():
                    _log.info("reclaimed", inodes=deleted)
            except MetastoreError as error:
                _log.warning("reclaim postponed", reason=error.text)
