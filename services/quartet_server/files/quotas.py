"""Quotas: what every write below a directory is charged, in the write's own transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from quartet.files.storage.v1 import storage_pb2

from quartet_server.errors import QuotaExceeded
from quartet_server.files import keys
from quartet_server.files.resolve import Walk
from quartet_server.files.steps import Step
from quartet_server.meta import ops
from quartet_server.meta.mutation import Answer, Plan
from quartet_server.meta.snapshot import KeyValue, Snapshot
from raftmeta.etcd import rpc_pb2

Ids = tuple[int, ...]


def above(walk: Walk) -> Ids:
    """Return the quotas that count the entry at the end of the walk's path, there already or not: those on the way."""
    return counting(walk.chain[:-1] if walk.complete else walk.chain)


def counting(steps: Sequence[Step]) -> Ids:
    """Return the quotas of these directories, from the root down."""
    return tuple(step.quota for step in steps if step.quota)


def size_of(inode: storage_pb2.Inode) -> int:
    """Return the bytes that an inode counts for."""
    return inode.attributes.size


@dataclass(slots=True)
class Charges:
    """What one transaction adds to quotas, or takes from them.

    Attributes:
        of: Quota -> bytes and inodes.
    """

    of: dict[int, tuple[int, int]] = field(default_factory=dict)

    def add(self, ids: Iterable[int], bytes_: int, inodes: int) -> None:
        """Charge some quotas."""
        for one in ids:
            before = self.of.get(one, (0, 0))
            self.of[one] = (before[0] + bytes_, before[1] + inodes)

    @property
    def keys(self) -> list[int]:
        """The quotas whose count changes."""
        return [one for one, delta in self.of.items() if delta != (0, 0)]


async def charge(zone: str, snapshot: Snapshot, plan: Plan[Answer], charges: Charges) -> None:
    """Let a plan count: read each quota, compare it unchanged, and write the new count.

    Writers of this node wait for each other at the plan's gates instead of failing each other's comparisons; those of
    other nodes make them fail, and are tried again. Raises QuotaExceeded.
    """
    ids = charges.keys
    if not ids:
        return
    found = await snapshot.get([keys.quota(zone, one) for one in ids])
    compares, operations = counted(zone, found, charges)
    plan.compares += compares
    plan.operations += operations
    plan.gates += [keys.quota(zone, one) for one in ids]


def counted(
    zone: str, found: dict[bytes, KeyValue], charges: Charges
) -> tuple[list[rpc_pb2.Compare], list[rpc_pb2.RequestOp]]:
    """Return comparisons and writes of the counts; a quota that is gone counts nothing. Raises QuotaExceeded."""
    compares, operations = [], []
    for one in charges.keys:
        key = keys.quota(zone, one)
        if key not in found:
            compares.append(ops.absent(key))
            continue
        bytes_, inodes = charges.of[one]
        record = storage_pb2.QuotaRecord.FromString(found[key].value)
        if not record.counting:
            _hold(record, "bytes", bytes_, record.bytes, record.limit_bytes)
            _hold(record, "inodes", inodes, record.inodes, record.limit_inodes)
        record.bytes += bytes_
        record.inodes += inodes
        compares.append(ops.unchanged(key, found[key].mod_revision))
        operations.append(ops.put(key, record.SerializeToString()))
    return compares, operations


def _hold(record: storage_pb2.QuotaRecord, what: str, delta: int, used: int, limit: int) -> None:
    """Hold a count against its limit: who is above it already may still shrink. Raises QuotaExceeded."""
    if limit and delta > 0 and used + delta > limit:
        raise QuotaExceeded(
            f"{record.path} may hold {limit} {what} and holds {used}; {delta} more do not fit",
            hint=f"quartet quota show qt:{record.path}",
            path=record.path,
            of=what,
            limit=limit,
            used=used,
        )
