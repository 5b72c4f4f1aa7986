"""Records the changes of one zone, in order, each once, however often the recording node changes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog
from quartet.versions.storage.v1 import storage_pb2

from quartet_server.errors import RevisionCompacted
from quartet_server.meta import ops
from quartet_server.meta.events import changes
from quartet_server.meta.snapshot import Snapshot
from quartet_server.meta.times import timestamps
from quartet_server.versions import keys
from quartet_server.versions.ended import Ended, ended
from quartet_server.versions.metrics import VersionMetrics
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

LINGER = 0.25
"""Seconds that the first change waits for others, so that they share a transaction. Answers do not depend on it."""
IDLE = 5.0
"""Seconds of silence after which the store is asked how far it has told."""
_WAITING = 256  # revisions told and not yet recorded, each of a transaction's size at most
_OPERATIONS = ops.LIMIT - 2  # the cursor, and one record may take two
_BYTES = 1 << 20  # of one transaction: etcd's limit is 1.5 MiB
_log = structlog.get_logger("quartet.versions")


@dataclass(frozen=True, slots=True)
class _Told:
    """What one revision, or a report of the store, has told.

    Attributes:
        revision: Up to which everything is told with this.
        ended: What ended at it.
        since: When it came, by the loop's clock.
        lost: Something before it is forgotten.
    """

    revision: int
    ended: Sequence[Ended]
    since: float
    lost: bool = False


class Recorder:
    """Records what ends in one zone.

    The zone's cursor is compared and written in the transaction of the records: of two recorders that are at it, after a
    takeover, one loses each transaction whole. So nothing is skipped and nothing recorded twice, whoever runs.

    Attributes:
        told: Revision up to which everything is recorded.
    """

    def __init__(
        self,
        store: Metastore,
        zone: str,
        clock: Callable[[], float],
        metrics: VersionMetrics,
        recorded: Callable[[str, Sequence[Ended]], Awaitable[None]],
        linger: float = LINGER,
    ) -> None:
        """Record changes of `zone`; `recorded` is told of each transaction's records when they are there."""
        self.told = 0
        self._store = store
        self._zone = zone
        self._clock = clock
        self._metrics = metrics
        self._recorded = recorded
        self._linger = linger
        self._since: float | None = None
        self._pending = 0
        self._mod_revision = 0
        self._cursor = storage_pb2.Cursor()

    @property
    def lag(self) -> float:
        """Age in seconds of the oldest change that is not recorded yet; 0 when there is none."""
        return 0.0 if self._since is None else asyncio.get_running_loop().time() - self._since

    async def run(self, since: int) -> None:
        """Record from where the zone's cursor is, at least from revision `since`, until cancelled.

        Raises a group of MetastoreError, WatchCancelled, and asyncio.InvalidStateError when another recorder came in
        between: the caller begins anew.
        """
        self._since, self._pending = None, 0
        await self._load(since)
        waiting: asyncio.Queue[_Told] = asyncio.Queue(_WAITING)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch(waiting))
            group.create_task(self._record(waiting))

    async def _load(self, since: int) -> None:
        key = keys.cursor(self._zone)
        found = (await Snapshot(self._store).get([key])).get(key)
        self._cursor = storage_pb2.Cursor.FromString(found.value) if found is not None else storage_pb2.Cursor()
        self._mod_revision = found.mod_revision if found is not None else 0
        if self._cursor.revision < since and not self._cursor.part:
            self._cursor.revision = since
        self.told = self._cursor.revision

    async def _watch(self, waiting: asyncio.Queue[_Told]) -> None:
        """Pass on what the store tells, a gap first when it has forgotten where to begin."""
        loop = asyncio.get_running_loop()
        start, skipped = self.told + 1, self._cursor.part
        while True:
            try:
                async for change in changes(self._store, *keys.inodes(self._zone), start, IDLE):
                    found, lost = await ended(self._store, self._zone, change, self._clock)
                    if found and skipped:  # a transaction before this run has recorded them
                        found, skipped = found[skipped:], 0
                    self._pending += len(found)
                    if change.events or change.revision >= start:
                        await waiting.put(_Told(change.revision, found, loop.time(), lost))
            except RevisionCompacted as error:
                oldest = int(error.metadata["oldest"])
                await waiting.put(_Told(oldest, (), loop.time(), lost=True))
                start, skipped = oldest + 1, 0

    async def _record(self, waiting: asyncio.Queue[_Told]) -> None:
        held: _Told | None = None
        while True:
            first = held or await waiting.get()
            held = None
            if not first.ended and not first.lost:
                self._reach(first.revision)
                continue
            self._since = first.since
            if self._linger and self._pending < _OPERATIONS and not first.lost:
                await asyncio.sleep(self._linger)
            batch, done = _Batch(), first
            if first.lost:
                await self._lose(first)
                done = _Told(first.revision, first.ended, first.since)
            while True:
                rest = batch.take(self._zone, done)
                if rest:  # more than a transaction takes
                    held = _Told(done.revision, rest, done.since)
                    break
                if waiting.empty() or batch.full:
                    break
                following = waiting.get_nowait()
                if following.lost:
                    held = following
                    break
                done = following
            await self._commit(batch)
            if held is None and waiting.empty():
                self._since = None
                self._metrics.lag_seconds.set(0)

    def _reach(self, revision: int) -> None:
        """Note that everything up to a revision is recorded; the store is told with the next records only."""
        self.told = max(self.told, revision)
        if revision > self._cursor.revision:
            self._cursor.revision, self._cursor.part = revision, 0

    async def _commit(self, batch: _Batch) -> None:
        """Write a batch and how far it goes, if nobody else has moved the cursor."""
        cursor = storage_pb2.Cursor(revision=self._cursor.revision, part=self._cursor.part)
        for revision, count, whole in batch.parts:
            if whole:
                cursor.revision, cursor.part = revision, 0
            else:
                cursor.part += count
        if batch.operations:
            request = pb.TxnRequest(success=batch.operations)
            response = await self._write(request, cursor)
            self._metrics.recorded.inc(len(batch.records))
            self._metrics.lag_revisions.set(max(response.header.revision - 1 - batch.parts[-1][0], 0))
        self._cursor = cursor
        self.told = cursor.revision
        self._pending -= len(batch.records)
        await self._recorded(self._zone, batch.records)

    async def _lose(self, told: _Told) -> None:
        """Write down that history is lost between the cursor and a revision."""
        gap = storage_pb2.GapRecord()
        gap.gap.from_revision, gap.gap.to_revision = self._cursor.revision + 1, told.revision
        gap.gap.time.CopyFrom(timestamps(self._clock)())
        written = ops.put(keys.gap(self._zone, told.revision), gap.SerializeToString())
        cursor = storage_pb2.Cursor(revision=told.revision - 1 if told.ended else told.revision)
        await self._write(pb.TxnRequest(success=[written]), cursor)
        self._cursor = cursor
        self.told = cursor.revision
        self._metrics.gaps.inc()
        _log.warning(
            "history was forgotten before it was recorded",
            zone=self._zone,
            since=gap.gap.from_revision,
            until=told.revision,
        )

    async def _write(self, request: pb.TxnRequest, cursor: storage_pb2.Cursor) -> pb.TxnResponse:
        key = keys.cursor(self._zone)
        request.compare.append(ops.unchanged(key, self._mod_revision))
        request.success.append(ops.put(key, cursor.SerializeToString()))
        response = await self._store.txn(request)
        if not response.succeeded:
            raise asyncio.InvalidStateError(f"another node records zone {self._zone}")
        self._mod_revision = response.header.revision
        return response


class _Batch:
    """One transaction in the making.

    Attributes:
        operations: What is written.
        records: What is recorded with it.
        parts: (revision, how many of its records, whether none are left) in order.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.operations: list[pb.RequestOp] = []
        self.records: list[Ended] = []
        self.parts: list[tuple[int, int, bool]] = []
        self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether it takes nothing more."""
        return len(self.operations) >= _OPERATIONS or self._bytes >= _BYTES

    def take(self, zone: str, told: _Told) -> Sequence[Ended]:
        """Add what a revision told, as much as fits; return the rest."""
        for at, one in enumerate(told.ended):
            if self.full:
                self.parts.append((told.revision, at, False))
                return told.ended[at:]
            writes = one.writes(zone)
            self.operations += writes
            self.records.append(one)
            self._bytes += sum(write.ByteSize() for write in writes)
        self.parts.append((told.revision, len(told.ended), True))
        return ()
