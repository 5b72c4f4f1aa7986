"""Plans that go into one transaction together: which of them may, and the transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import Protocol

from google.protobuf.message import Message

from quartet_server.meta import ops
from quartet_server.meta.ledger import Claim, LedgerLease
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

_BYTES = 1 << 20
Written = tuple[list[pb.Compare], list[pb.RequestOp]]


class Joinable(Protocol):
    """A plan, as far as it matters here; see `mutation.Plan`."""

    @property
    def answer(self) -> Message:
        """What the caller is told."""

    @property
    def compares(self) -> list[pb.Compare]:
        """What must still hold."""

    @property
    def operations(self) -> list[pb.RequestOp]:
        """What is written."""

    @property
    def gates(self) -> list[bytes]:
        """The counters."""


class Waiting:
    """A plan that waits for its turn, or for the one that took it along.

    Attributes:
        plan: The plan, without what its counters need.
        claim: Its request id.
        done: The revision at which it was carried out; 0 when nothing happened; or why nobody knows.
        taken: Another one's turn sees to it.
        compares: Its comparisons, each under what it says.
        written: The keys that it writes; None when it deletes a range or needs a lease, and so goes with no other plan.
    """

    def __init__(self, plan: Joinable, claim: Claim | None) -> None:
        """Wait with `plan`, which is not changed any more."""
        self.plan = plan
        self.claim = claim
        self.done: asyncio.Future[int | Exception] = asyncio.get_running_loop().create_future()
        self.taken = False
        self.compares = {compare.SerializeToString(): compare for compare in plan.compares}
        self.written = _written(plan)
        if self.written is not None and claim is not None:
            self.written.add(claim.key)


class Together:
    """Plans that go into one transaction, as far as was found."""

    def __init__(self, counters: int) -> None:
        """Begin with none; `counters` is how many operations they share."""
        self._written: set[bytes] = set()
        self._compared: set[bytes] = set()
        self._ranges: list[tuple[bytes, bytes]] = []
        self._compares: dict[bytes, pb.Compare] = {}
        self._room = ops.LIMIT - counters
        self._operations = 0
        self._bytes = 0
        self._claims = 0
        self._closed = False

    def takes(self, one: Waiting) -> bool:
        """Take a plan in, if it fits and neither it nor those taken before are in the other's way; the first always."""
        if self._closed:
            return False
        written, claims = one.written, self._claims + (one.claim is not None)
        new = one.compares.keys() - self._compares.keys()
        operations = self._operations + len(one.plan.operations)
        size = self._bytes + sum([operation.ByteSize() for operation in one.plan.operations])
        compared, ranges = set[bytes](), list[tuple[bytes, bytes]]()
        for compare in one.compares.values():
            if compare.range_end:
                ranges.append((compare.key, compare.range_end))
            else:
                compared.add(compare.key)
        if (
            written is None
            or max(len(self._compares) + len(new), operations) + claims > self._room
            or size > _BYTES
            or not written.isdisjoint(self._written)
            or not written.isdisjoint(self._compared)
            or not compared.isdisjoint(self._written)
            or (self._ranges and _within(written, self._ranges))
            or (ranges and _within(self._written, ranges))
        ):
            self._closed = not self._operations
            return self._closed
        self._written |= written
        self._compared |= compared
        self._ranges += ranges
        self._compares |= one.compares
        self._operations, self._bytes, self._claims = operations, size, claims
        return True


async def commit(store: Metastore, lease: LedgerLease, some: Sequence[Waiting], counted: Written) -> int:
    """Carry out plans, and `counted` with them, as one transaction; return its revision, or 0 when nothing happened.

    Raises MetastoreError.
    """
    once: dict[bytes, pb.Compare] = {}
    for one in some:
        once |= one.compares
    request = pb.TxnRequest(compare=[*once.values(), *counted[0]], success=counted[1])
    current = await lease.current() if any(one.claim is not None for one in some) else 0
    for one in some:
        request.success.extend(one.plan.operations)
        if one.claim is not None:
            request.compare.append(ops.absent(one.claim.key))
            value = one.claim.value(one.plan.answer.SerializeToString())
            request.success.append(ops.put(one.claim.key, value, current))
    if max(len(request.compare), len(request.success)) > ops.LIMIT:
        return 0
    try:
        response = await store.txn(request)
    except MetastoreError as error:
        if error.fault is not Fault.LEASE_NOT_FOUND or not current:
            raise
        lease.lost(current)
        return 0
    return response.header.revision if response.succeeded else 0


async def carry_out(some: Sequence[Waiting], committed: Awaitable[int]) -> None:
    """Tell plans what became of the transaction that they went into."""
    told: int | Exception
    try:
        told = await committed
    except Exception as error:  # noqa: BLE001 - it may have happened: each is told, and may ask again
        told = error
    for one in some:
        if not one.done.done():
            one.done.set_result(told)


def revision_of(told: int | Exception) -> int:
    """Return what a plan was told. Raises what became of it."""
    if isinstance(told, Exception):
        raise told
    return told


def _written(plan: Joinable) -> set[bytes] | None:
    written = set()
    for operation in plan.operations:
        kind = operation.WhichOneof("request")
        if kind == "request_put" and not operation.request_put.lease:
            written.add(operation.request_put.key)
        elif kind == "request_delete_range" and not operation.request_delete_range.range_end:
            written.add(operation.request_delete_range.key)
        else:
            return None
    return written


def _within(keys: Iterable[bytes], ranges: Sequence[tuple[bytes, bytes]]) -> bool:
    return any(start <= key < end for key in keys for start, end in ranges)
