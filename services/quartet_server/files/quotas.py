"""Quotas: what every write below a directory is charged, in the write's own transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from quartet.files.storage.v1 import storage_pb2

from quartet_server.errors import QuotaExceeded
from quartet_server.files import keys, principals
from quartet_server.files.resolve import Walk
from quartet_server.files.steps import Step
from quartet_server.meta import ops
from quartet_server.meta.mutation import Answer, Plan
from quartet_server.meta.snapshot import KeyValue, Snapshot
from raftmeta.etcd import rpc_pb2

Ids = tuple[int, ...]
_MOST = (1 << 63) - 1  # an attribute may claim any size below it


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


@dataclass(frozen=True, slots=True)
class Counting:
    """What plans add to quotas, as `meta.joint.Counts`."""

    zone: str
    charges: Charges

    def with_all(self, others: Iterable[Counting]) -> Counting:
        """See `Counts.with_all`."""
        charges = Charges(dict(self.charges.of))
        for other in others:
            for one, (bytes_, inodes) in other.charges.of.items():
                charges.add([one], bytes_, inodes)
        return Counting(self.zone, charges)

    async def settle(self, snapshot: Snapshot) -> tuple[list[rpc_pb2.Compare], list[rpc_pb2.RequestOp]]:
        """See `Counts.settle`. Raises QuotaExceeded."""
        found = await snapshot.get([keys.quota(self.zone, one) for one in self.charges.keys])
        return counted(self.zone, found, self.charges)


async def charge(zone: str, snapshot: Snapshot, plan: Plan[Answer], charges: Charges) -> None:
    """Let a plan count, once: read each quota, compare it unchanged, and write the new count.

    Writers of this node wait for each other at the plan's gates, and go together from there, instead of failing each
    other's comparisons; those of other nodes make them fail, and are tried again. Raises QuotaExceeded.
    """
    ids = charges.keys
    if not ids:
        return
    found = await snapshot.get([keys.quota(zone, one) for one in ids])
    try:
        compares, operations = counted(zone, found, charges)
    except QuotaExceeded as error:
        raise await as_seen(zone, snapshot, error) from None
    plan.counts, plan.counted = Counting(zone, charges), (compares, operations)
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
        add(record, bytes_, inodes, limits=not record.counting)
        compares.append(ops.unchanged(key, found[key].mod_revision))
        operations.append(ops.put(key, record.SerializeToString()))
    return compares, operations


async def as_seen(zone: str, snapshot: Snapshot, error: QuotaExceeded) -> QuotaExceeded:
    """Return the error as the present caller may see it: nothing of what is above the caller's root."""
    if not principals.current():
        return error
    base, path = (await principals.base(zone, snapshot)).path, error.metadata["path"]
    if not base:
        return error
    of = error.metadata["of"]
    if path != base and not path.startswith(f"{base}/"):
        return QuotaExceeded(f"no more {of} fit: a quota above the root is reached", hint="", of=of)
    inside = path[len(base) :] or "/"
    return QuotaExceeded(
        error.message.replace(path, inside, 1),
        hint=f"quartet quota show qt:{inside}",
        path=inside,
        of=of,
        limit=error.metadata["limit"],
        used=error.metadata["used"],
    )


def add(record: storage_pb2.QuotaRecord, bytes_: int, inodes: int, *, limits: bool) -> None:
    """Add to a quota's counts, within its limits if they hold yet, and never beyond what can be counted. Raises QuotaExceeded."""
    _hold(record, "bytes", bytes_, record.bytes, (limits and record.limit_bytes) or _MOST)
    _hold(record, "inodes", inodes, record.inodes, (limits and record.limit_inodes) or _MOST)
    record.bytes += bytes_
    record.inodes += inodes


def _hold(record: storage_pb2.QuotaRecord, what: str, delta: int, used: int, limit: int) -> None:
    """Hold a count against its limit: who is above it already may still shrink. Raises QuotaExceeded."""
    if delta > 0 and used + delta > limit:
        raise QuotaExceeded(
            f"{record.path} may hold {limit} {what} and holds {used}; {delta} more do not fit",
            hint=f"quartet quota show qt:{record.path}",
            path=record.path,
            of=what,
            limit=limit,
            used=used,
        )
