"""Debts: copies that a node should have and lacks, written down where no single disk can lose them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from quartet.objects.storage.v1 import storage_pb2

from quartet_server.meta import ops
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.digest import Digest
from quartet_server.objects.replicas import keys
from quartet_server.objects.replicas.gathering import Gathering
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

_RECORD = 1_000  # digests in one record
_GATHERED = 10_000
_PAGE = 16


@dataclass(frozen=True, slots=True)
class Record:
    """Blobs that a node lacks.

    Attributes:
        key: Where that is written down.
        revision: When it was.
        zone: Their zone.
        digests: They.
    """

    key: bytes
    revision: int
    zone: str
    digests: tuple[Digest, ...]


class Debts:
    """Debts in the Metastore.

    There, and not on a disk that holds a copy: what says that a copy is missing must outlive the loss of either. It costs a
    transaction for each batch of blobs whose owner cannot be reached, and nothing as long as all can. Records are few:
    what comes at once shares one, and a node that lacks too many is said to be behind as a whole (`keys.behind`): when it is
    back, the placement gets a new number, for which every node looks through all it has.
    """

    def __init__(self, store: Metastore, new_id: Callable[[], str]) -> None:
        """Keep them in `store`; `new_id` draws what nobody else draws."""
        self._store = store
        self._new_id = new_id
        self._gathering = Gathering(self._record, lambda item: 0, most=_GATHERED, most_bytes=1, at_once=1)

    async def record(self, zone: str, owed: Mapping[int, Sequence[Digest]]) -> None:
        """Write down node -> what it lacks; durable when this returns. Raises MetastoreError, TooManyRequests."""
        if owed := {node: digests for node, digests in owed.items() if digests}:
            await self._gathering.ask(zone, owed)

    async def _record(self, zone: str, items: list[Mapping[int, Sequence[Digest]]]) -> Sequence[None]:
        nodes: dict[int, dict[Digest, None]] = {}
        for owed in items:
            for node, digests in owed.items():
                nodes.setdefault(node, {}).update(dict.fromkeys(digests))
        for node, lacking in nodes.items():
            listed = list(lacking)
            for at in range(0, len(listed), _RECORD):
                part = listed[at : at + _RECORD]
                value = storage_pb2.Debt(zone=zone, digests=[digest.packed for digest in part]).SerializeToString()
                key = keys.debt(node, len(part), self._new_id())
                await self._store.txn(
                    pb.TxnRequest(compare=[ops.absent(keys.behind(node))], success=[ops.put(key, value)])
                )
        return [None] * len(items)

    async def of(self, node: int, after: bytes = b"") -> list[Record]:
        """Return the next records of what a node lacks, after the one under the key `after`. Raises MetastoreError."""
        prefix = keys.debts(node)
        start = after + b"\0" if after else prefix
        found = await Snapshot(self._store, serializable=True).scan(start, ops.prefix_end(prefix), _PAGE)
        records = []
        for kv in found.kvs:
            debt = storage_pb2.Debt.FromString(kv.value)
            records.append(Record(kv.key, kv.mod_revision, debt.zone, tuple(map(Digest.unpack, debt.digests))))
        return records

    async def settle(self, record: Record) -> None:
        """The node lacks them no more. Raises MetastoreError."""
        await self._store.txn(
            pb.TxnRequest(compare=[ops.unchanged(record.key, record.revision)], success=[ops.delete(record.key)])
        )

    async def counts(self, nodes: Iterable[int]) -> dict[int, int]:
        """Return node -> how many blobs are written down as lacking; one more if it is behind. Raises MetastoreError."""
        found = await Snapshot(self._store).scan(keys.DEBTS, ops.prefix_end(keys.DEBTS), keys_only=True)
        counts = dict.fromkeys(nodes, 0)
        for kv in found.kvs:
            node = keys.member_of(kv.key)
            counts[node] = counts.get(node, 0) + (keys.count_of(kv.key) or 1)
        return counts

    async def close(self) -> None:
        """Stop."""
        await self._gathering.close()
