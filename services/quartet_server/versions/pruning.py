"""Gives up versions that are past their retention."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from quartet.versions.storage.v1 import storage_pb2

from quartet_server.files import keys as files
from quartet_server.meta import ops
from quartet_server.meta.snapshot import Snapshot
from quartet_server.versions import keys
from quartet_server.versions.keys import RecordKey
from quartet_server.versions.metrics import VersionMetrics
from quartet_server.versions.retention import Rules
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

_PAGE = 1000


@dataclass(slots=True)
class Pruned:
    """What a look found.

    Attributes:
        examined: Records looked at.
        deleted: Those past their retention.
    """

    examined: int = 0
    deleted: int = 0


class Pruner:
    """Deletes records by the rules of their zone; any number of nodes may do it at once.

    Times are in the keys of records, so that a pass reads values of deleted files and of settings only. A blob that only a
    deleted record referred to is the collector's from then on.
    """

    def __init__(self, store: Metastore, clock: Callable[[], float], metrics: VersionMetrics) -> None:
        """Prune in `store`; `clock` tells the seconds since 1970."""
        self._store = store
        self._clock = clock
        self._metrics = metrics

    async def zone(self, zone: str, *, dry_run: bool = False) -> Pruned:
        """Look at every record of a zone; `dry_run` only counts. Raises MetastoreError."""
        snapshot = Snapshot(self._store)
        rules = await Rules.load(zone, snapshot)
        most, seconds = rules.strictest
        pruned, now = Pruned(), self._clock()
        async with aclosing(self._files(zone, snapshot)) as found:
            async for one in found:
                pruned.examined += len(one)
                if len(one) <= most and now - one[0].end <= seconds:
                    continue
                pruned.deleted += await self._prune(zone, one, rules, dry_run=dry_run)
        if not dry_run:
            await self._forget(zone, snapshot, rules)
        return pruned

    async def file(self, zone: str, ino: int) -> int:
        """Look at one file; return how many records were deleted. Raises MetastoreError."""
        snapshot = Snapshot(self._store)
        prefix = keys.generations(zone, ino)
        found = await snapshot.scan(prefix, ops.prefix_end(prefix), keys_only=True)
        rules = await Rules.load(zone, snapshot)
        return await self._prune(zone, [keys.parse(kv.key) for kv in found.kvs], rules, dry_run=False)

    async def delete(self, zone: str, records: Sequence[RecordKey]) -> None:
        """Delete records, and the names of files that were deleted with them. Raises MetastoreError."""
        operations: list[pb.RequestOp] = []
        for one in records:
            operations.append(ops.delete(one.key))
            if one.deleted and (record := await self._value(one)) is not None and record.deleted.parent:
                rest = keys.gone_rest(record.end_revision, one.ino)
                name = record.deleted.name.encode()
                operations.append(ops.delete(keys.gone(zone, record.deleted.parent, name, rest)))
        for i in range(0, len(operations), ops.LIMIT):
            await self._store.txn(pb.TxnRequest(success=operations[i : i + ops.LIMIT]))
        self._metrics.pruned.inc(len(records))

    async def _files(self, zone: str, snapshot: Snapshot) -> AsyncGenerator[list[RecordKey], None]:
        """Yield the records of one file after another, the oldest first."""
        start = keys.records(zone)
        end, more = ops.prefix_end(start), True
        held: list[RecordKey] = []
        while more:
            page = await snapshot.scan(start, end, _PAGE, keys_only=True)
            for kv in page.kvs:
                one = keys.parse(kv.key)
                if held and held[0].ino != one.ino:
                    yield held
                    held = []
                held.append(one)
                start = kv.key + b"\0"
            more = page.more
        if held:
            yield held

    async def _prune(self, zone: str, records: Sequence[RecordKey], rules: Rules, *, dry_run: bool) -> int:
        if not records:
            return 0
        parent = 0
        if rules.own and records[-1].deleted and (record := await self._value(records[-1])) is not None:
            parent = record.deleted.parent
        rule, _ = await rules.holding(records[0].ino, parent)
        expired = rule.expired(records, self._clock())
        if expired and not dry_run:
            await self.delete(zone, expired)
        return len(expired)

    async def _value(self, one: RecordKey) -> storage_pb2.Record | None:
        found = (await Snapshot(self._store).get([one.key])).get(one.key)
        return storage_pb2.Record.FromString(found.value) if found is not None else None

    async def _forget(self, zone: str, snapshot: Snapshot, rules: Rules) -> None:
        """Delete the settings of what does not exist any more, in no version either."""
        inos = [ino for ino in rules.own if ino != files.ROOT]
        found = await snapshot.get([files.inode(zone, ino) for ino in inos])
        for ino in inos:
            inode = files.inode(zone, ino)
            if inode not in found:
                forgotten = ops.delete(keys.retention(zone, ino))
                nothing = [ops.absent(inode), ops.none_below(keys.generations(zone, ino))]
                await self._store.txn(pb.TxnRequest(compare=nothing, success=[forgotten]))
