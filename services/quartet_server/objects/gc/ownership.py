"""Whose a store of blobs is: marks in it say which clusters use it, and one that is not this cluster's alone is not collected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import structlog

from quartet_server.errors import ObjectsNotOwned, QuartetError
from quartet_server.meta import ops, system
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.contract import MarkedBlobs
from raftmeta.errors import MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

NEW = "new"
"""Mark of a store that was empty when it was first opened, and that no cluster has claimed yet."""
UNKNOWN = "unknown"
"""Mark of a store that had blobs and no mark when it was opened: nobody knows whose they are."""
LOOK = 60.0
"""Seconds between two looks at the marks of a store that others can reach."""
AGAIN = 0.2
"""Seconds after which a look that failed is tried again: there is no leader yet, and once there is one blobs come."""
_log = structlog.get_logger("quartet.objects")


async def cluster_id(metastore: Metastore, new_id: Callable[[], str]) -> str:
    """Return the id under which the cluster of this Metastore marks stores, drawing one where there is none.

    It is read anew each time: a Metastore that was emptied under a running node is another one. Raises MetastoreError.
    """
    found = (await Snapshot(metastore).get([system.OWNER])).get(system.OWNER)
    if found is None:
        drawn = new_id().encode()
        answer = await metastore.txn(
            pb.TxnRequest(
                compare=[ops.absent(system.OWNER)],
                success=[ops.put(system.OWNER, drawn)],
                failure=[ops.get(system.OWNER)],
            )
        )
        if answer.succeeded:
            return drawn.decode()
        [found] = answer.responses[0].response_range.kvs
    return found.value.decode("utf-8", "replace")


class Ownership:
    """The claim of this node's cluster to a store.

    Every cluster that uses a store puts its mark there, beside those of others, and takes the store for its own while no
    other mark is there. Marks are added and removed one by one, so that no order of events makes two clusters both see
    theirs alone for longer than until they look again: none is needed that a server might not honour.
    """

    def __init__(self, store: MarkedBlobs, metastore: Metastore, new_id: Callable[[], str], *, shared: bool) -> None:
        """Claim `store` for the cluster of `metastore`; `shared`: others can reach the store."""
        self._store = store
        self._metastore = metastore
        self._new_id = new_id
        self._shared = shared
        self._others = frozenset[str]()
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Mark a store that has no mark as what it is; before anything is kept there. Raises errors of the store."""
        if not await self._store.marks():
            zones = await self._store.zones()
            if not await self._store.marks():  # again: other nodes put blobs there after they have marked it
                await self._store.mark(UNKNOWN if zones else NEW)

    def start(self) -> None:
        """Begin to put this cluster's mark there, as soon as the Metastore says what that is."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="objects-ownership")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def demand(self) -> None:
        """Claim the store where it is nobody's.

        Raises:
            ObjectsNotOwned: It has another cluster's mark, or blobs from before there were marks.
            MetastoreError, and errors of the store: That is not known.
        """
        if others := await self.claim():
            raise ObjectsNotOwned(_told(others), owners=",".join(sorted(others)))

    async def adopt(self) -> frozenset[str]:
        """Make the store this cluster's alone; return the marks that were there. Raises MetastoreError, errors of the store."""
        mine, found = await cluster_id(self._metastore, self._new_id), await self._store.marks()
        await self._store.mark(mine)
        await self._store.unmark(found - {mine})
        if others := found - {mine, NEW}:
            _log.warning("store of blobs adopted", owner=mine, owners=sorted(others))
        return found - {NEW}

    async def claim(self) -> frozenset[str]:
        """Leave this cluster's mark in the store; return those of others. Raises MetastoreError, errors of the store."""
        mine = await cluster_id(self._metastore, self._new_id)
        await self.begin()
        marks = await self._store.marks()
        if mine not in marks:
            await self._store.mark(mine)
            marks = await self._store.marks()  # with those that came at the same moment
        if mine not in marks:
            return marks - {NEW} or frozenset({UNKNOWN})  # a server that forgets what it was given
        if NEW in marks:
            await self._store.unmark({NEW})
        return marks - {mine, NEW}

    async def _run(self) -> None:
        """Look until it is done; where others reach the store, for ever."""
        while True:
            rest = LOOK
            try:
                others = await self.claim()
                if others != self._others and others:
                    _log.error("not collecting", reason=_told(others), hint=ObjectsNotOwned.default_hint)
                self._others = others
                if not self._shared:
                    return
            except (QuartetError, MetastoreError):
                rest = AGAIN  # whoever depends on it looks, and tells
            except Exception:  # noqa: BLE001 - whatever it is, the next look may fare better
                _log.exception("look at the owners of the store of blobs failed")
            await asyncio.sleep(rest)


def _told(others: Iterable[str]) -> str:
    named = sorted(others)
    if named == [UNKNOWN]:
        return "the store has blobs from before stores were marked, and nobody knows which cluster's they are"
    return f"another cluster has marked the store of blobs: {', '.join(named)}"
