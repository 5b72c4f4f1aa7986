"""The observer of the change stream: on one node of the cluster at a time, a recorder for each zone, and the compaction floor."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import structlog
from quartet.versions.storage.v1 import storage_pb2

from quartet_server.errors import QuartetError
from quartet_server.meta import ops, system
from quartet_server.meta.events import changes
from quartet_server.meta.snapshot import Snapshot
from quartet_server.meta.tenure import TTL, Tenure
from quartet_server.rpc import DEFAULT_ZONE
from quartet_server.versions import keys
from quartet_server.versions.ended import Ended
from quartet_server.versions.metrics import VersionMetrics
from quartet_server.versions.pruning import Pruner
from quartet_server.versions.recorder import LINGER, Recorder
from raftmeta.errors import MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

HOLDER = "versions"
"""Who holds the compaction floor."""
ADVANCE = 15.0
"""Seconds between two moves of the floor."""
PRUNE = 3600.0
"""Seconds between two looks for versions past their retention; the first is a sixth of it after a node takes over."""
TRIM = 64
"""Versions of one file after which it is looked at without waiting for that: what a busy file has too many."""
_AGAIN = 0.5
_ZONES = 5.0
_log = structlog.get_logger("quartet.versions")


class Observer:
    """Records versions while this node holds the key for it.

    The floor: compaction stops at what every zone has recorded, as far as the Metastore lets anybody hold it. It is written
    down (`keys.CURSOR`) before the floor moves, so that whoever takes over begins where history still is.
    """

    def __init__(
        self,
        store: Metastore,
        node: str,
        clock: Callable[[], float],
        pruner: Pruner,
        metrics: VersionMetrics,
        *,
        ttl: int = TTL,
        linger: float = LINGER,
        advance: float = ADVANCE,
    ) -> None:
        """Observe `store` for `node`, which others are told of; `clock` in seconds since 1970, the rest in seconds."""
        self._store = store
        self._clock = clock
        self._pruner = pruner
        self._metrics = metrics
        self._linger = linger
        self._advance = advance
        self._tenure = Tenure(store, keys.OBSERVER, node.encode(), ttl)
        self._recorders: dict[str, Recorder] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._written: dict[tuple[str, int], int] = {}
        self._zones_told = 0
        self._cursor = 0
        self._own = 0

    def start(self) -> None:
        """Begin to observe, or to wait until the node that does is gone."""
        self._tenure.start(self._observe)

    async def close(self) -> None:
        """Stop; what is not recorded yet is left to the next."""
        await self._tenure.close()

    def told(self, zone: str) -> int:
        """Return up to which revision this node has recorded a zone; 0 when it does not."""
        return self._recorders[zone].told if zone in self._recorders else 0

    async def _observe(self, guard: pb.Compare) -> None:
        """Record until cancelled."""
        self._recorders.clear()
        self._written.clear()
        self._cursor = self._own = await began(self._store)
        found = (await Snapshot(self._store).get([keys.CURSOR])).get(keys.CURSOR)
        if found is not None:
            self._cursor = max(self._cursor, storage_pb2.Cursor.FromString(found.value).revision)
            self._own = found.mod_revision
        await self._hold(self._cursor)
        self._metrics.observing.set(1)
        try:
            self._tasks = [asyncio.ensure_future(self._follow_zones()), asyncio.ensure_future(self._prune())]
            last = asyncio.get_running_loop().time()
            while not any(task.done() for task in self._tasks):
                await asyncio.sleep(min(self._advance, 1.0))
                self._metrics.lag_seconds.set(max((one.lag for one in self._recorders.values()), default=0.0))
                if asyncio.get_running_loop().time() - last >= self._advance:
                    last = asyncio.get_running_loop().time()
                    await self._move(guard)
            await asyncio.gather(*(task for task in self._tasks if task.done()))
        finally:
            self._recorders.clear()
            self._metrics.observing.set(0)
            self._metrics.lag_seconds.set(0)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow_zones(self) -> None:
        """Give each zone a recorder, as long as it takes: those that are there, and those that come. Raises as `changes`."""
        snapshot = Snapshot(self._store)
        found = await snapshot.scan(system.ZONES, ops.prefix_end(system.ZONES))
        self._zones_told = snapshot.revision
        self._add(DEFAULT_ZONE, 0)
        for kv in found.kvs:
            self._add(kv.key[len(system.ZONES) :].decode(), kv.create_revision)
        end = ops.prefix_end(system.ZONES)
        async for change in changes(self._store, system.ZONES, end, self._zones_told + 1, _ZONES):
            for event in change.events:
                self._add(event.kv.key[len(system.ZONES) :].decode(), event.kv.create_revision)
            self._zones_told = max(self._zones_told, change.revision)

    def _add(self, zone: str, created: int) -> None:
        if zone in self._recorders:
            return
        recorder = Recorder(self._store, zone, self._clock, self._metrics, self._trim, self._linger)
        recorder.told = max(self._cursor, created)
        self._recorders[zone] = recorder
        self._tasks.append(asyncio.ensure_future(self._keep(zone, recorder)))

    async def _keep(self, zone: str, recorder: Recorder) -> None:
        """Record one zone, again whenever that fails."""
        while True:
            try:
                await recorder.run(recorder.told)
            except* (MetastoreError, QuartetError, asyncio.InvalidStateError) as failures:
                _log.info("recording begins anew", zone=zone, reason=str(failures.exceptions[0]))
            await asyncio.sleep(_AGAIN)

    async def _move(self, guard: pb.Compare) -> None:
        """Write down how far all zones are, and let the store forget what is before.

        Nothing is written when nothing happened but this.
        """
        reached = min([self._zones_told, *(one.told for one in self._recorders.values())])
        if reached <= max(self._own, self._cursor):
            return
        cursor = storage_pb2.Cursor(revision=reached).SerializeToString()
        answer = await self._store.txn(pb.TxnRequest(compare=[guard], success=[ops.put(keys.CURSOR, cursor)]))
        if answer.succeeded:
            self._cursor, self._own = reached, answer.header.revision
            await self._hold(reached)

    async def _hold(self, revision: int) -> None:
        with contextlib.suppress(MetastoreError):  # what is forgotten already is a gap, which the recorder tells
            await self._store.set_floor(HOLDER, revision)

    async def _trim(self, zone: str, recorded: Sequence[Ended]) -> None:
        """Look at files that have many new versions."""
        for one in recorded:
            place = (zone, one.ino)
            self._written[place] = self._written.get(place, 0) + 1
            if self._written[place] >= TRIM:
                del self._written[place]
                await self._pruner.file(zone, one.ino)

    async def _prune(self) -> None:
        """Give up what is past its retention, every hour."""
        pause = PRUNE / 6
        while True:
            await asyncio.sleep(pause)
            pause = PRUNE
            self._written.clear()
            for zone in list(self._recorders):
                try:
                    await self._pruner.zone(zone)
                except MetastoreError as error:
                    _log.info("versions past their retention stay for now", zone=zone, reason=error.text)


async def began(store: Metastore) -> int:
    """Return the revision at which versions began to be recorded: now, if never before. Raises MetastoreError."""
    answer = await store.txn(
        pb.TxnRequest(
            compare=[ops.absent(keys.BEGAN)], success=[ops.put(keys.BEGAN, b"")], failure=[ops.get(keys.BEGAN)]
        )
    )
    if answer.succeeded:
        return answer.header.revision
    return answer.responses[0].response_range.kvs[0].create_revision


async def recorded_to(store: Metastore, zone: str, snapshot: Snapshot) -> int:
    """Return up to which revision a zone's changes are recorded, as a snapshot shows it; its own when nobody records."""
    found = await snapshot.get([keys.cursor(zone), keys.CURSOR, keys.BEGAN])
    if keys.BEGAN not in found:
        return snapshot.revision
    cursors = [storage_pb2.Cursor.FromString(found[key].value).revision for key in found if key != keys.BEGAN]
    return max([found[keys.BEGAN].create_revision, *cursors])
