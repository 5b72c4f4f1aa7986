"""Plans of one node that would wait for each other at the same gates, carried out as one transaction where they can be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from google.protobuf.message import Message

from quartet_server.errors import QuartetError
from quartet_server.meta import ops
from quartet_server.meta.gates import Gates
from quartet_server.meta.ledger import Claim, LedgerLease
from quartet_server.meta.snapshot import Snapshot
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

_BYTES = 1 << 20
Written = tuple[list[pb.Compare], list[pb.RequestOp]]


class Counts(Protocol):
    """What a plan adds to counters that many plans change."""

    def with_all(self, others: Iterable[Any]) -> Counts:
        """Return the sum of this and of others of the same kind."""

    async def settle(self, snapshot: Snapshot) -> Written:
        """Read the counters; return the comparisons and writes that add to them. Raises QuartetError when it cannot be."""


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


@dataclass(eq=False, slots=True)
class _Waiting:
    """A plan that waits for its turn, or for the one that took it along.

    Attributes:
        plan: The plan, without what its counters need.
        counts: What it adds to them.
        claim: Its request id.
        done: The revision at which it was carried out; 0 when nothing happened; or why nobody knows.
        taken: Another one's turn sees to it.
    """

    plan: Joinable
    counts: Counts
    claim: Claim | None
    done: asyncio.Future[int | Exception] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    taken: bool = False


class Joint:
    """Puts plans together that change the same counters and nothing else in common.

    Each was built by itself and holds its own comparisons; together they hold all of them, so the transaction does what
    carrying them out in any order would, if no plan writes what another compares or writes. When it fails, for
    whichever of them, nothing has happened, and each is carried out alone.
    """

    def __init__(self, store: Metastore, lease: LedgerLease, gates: Gates) -> None:
        """Write to `store`, taking turns at `gates`."""
        self._store = store
        self._lease = lease
        self._gates = gates
        self._lines: dict[frozenset[bytes], list[_Waiting]] = {}
        self._at_work: set[asyncio.Task[None]] = set()

    async def run(self, plan: Joinable, counts: Counts, claim: Claim | None) -> int:
        """Carry a plan out in turn; return its revision, or 0 when nothing happened. Raises MetastoreError."""
        line = frozenset(plan.gates)
        one = _Waiting(plan, counts, claim)
        self._lines.setdefault(line, []).append(one)
        try:
            async with self._gates.passed(line):
                while not one.taken:
                    await self._lead(self._take(line))
        finally:
            if not one.taken:  # cancelled while it waited
                self._leave(line, one)
        told = await one.done
        if isinstance(told, Exception):
            raise told
        return told

    def _take(self, line: frozenset[bytes]) -> list[_Waiting]:
        """Return who goes together now: the first, and those behind that fit and are not in each other's way."""
        together = _Together(len(line))
        some = [one for one in list(self._lines[line]) if together.takes(one)]
        for one in some:
            one.taken = True
            self._leave(line, one)
        return some

    def _leave(self, line: frozenset[bytes], one: _Waiting) -> None:
        waiting = self._lines[line]
        waiting.remove(one)
        if not waiting:
            del self._lines[line]

    async def _lead(self, some: list[_Waiting]) -> None:
        """Carry out what goes together; to the end, even if who leads is cancelled: the others still wait."""
        task = asyncio.get_running_loop().create_task(self._carry_out(some))
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)
        await asyncio.shield(task)

    async def _carry_out(self, some: list[_Waiting]) -> None:
        told: int | Exception
        try:
            told = await self._commit(some)
        except Exception as error:  # noqa: BLE001 - it may have happened: each is told, and may ask again
            told = error
        for one in some:
            if not one.done.done():
                one.done.set_result(told)

    async def _commit(self, some: Sequence[_Waiting]) -> int:
        first, *others = some
        try:
            counts = first.counts.with_all(one.counts for one in others)
            compares, operations = await counts.settle(Snapshot(self._store, serializable=True))
        except QuartetError:
            return 0
        once = {one.SerializeToString(): one for waiting in some for one in waiting.plan.compares}
        request = pb.TxnRequest(compare=[*once.values(), *compares], success=operations)
        lease = await self._lease.current() if any(one.claim is not None for one in some) else 0
        for one in some:
            request.success.extend(one.plan.operations)
            if one.claim is not None:
                request.compare.append(ops.absent(one.claim.key))
                value = one.claim.value(one.plan.answer.SerializeToString())
                request.success.append(ops.put(one.claim.key, value, lease))
        if max(len(request.compare), len(request.success)) > ops.LIMIT:
            return 0
        try:
            response = await self._store.txn(request)
        except MetastoreError as error:
            if error.fault is not Fault.LEASE_NOT_FOUND or not lease:
                raise
            self._lease.lost(lease)
            return 0
        return response.header.revision if response.succeeded else 0


class _Together:
    """Plans that go into one transaction, as far as was found."""

    def __init__(self, counters: int) -> None:
        self._written: set[bytes] = set()
        self._compared: set[bytes] = set()
        self._ranges: list[tuple[bytes, bytes]] = []
        self._compares: set[bytes] = set()
        self._room = ops.LIMIT - counters
        self._operations = 0
        self._bytes = 0
        self._claims = 0
        self._closed = False

    def takes(self, one: _Waiting) -> bool:
        """Take a plan in, if it fits and neither it nor those taken before are in the other's way; the first always."""
        if self._closed:
            return False
        plan, claims = one.plan, self._claims + (one.claim is not None)
        written = _written(plan)
        compared = {compare.key for compare in plan.compares if not compare.range_end}
        ranges = [(compare.key, compare.range_end) for compare in plan.compares if compare.range_end]
        compares = self._compares | {compare.SerializeToString() for compare in plan.compares}
        operations = self._operations + len(plan.operations)
        size = self._bytes + sum(operation.ByteSize() for operation in plan.operations)
        if written is not None and one.claim is not None:
            written.add(one.claim.key)
        if (
            written is None
            or max(len(compares), operations) + claims > self._room
            or size > _BYTES
            or not written.isdisjoint(self._written | self._compared)
            or not compared.isdisjoint(self._written)
            or _within(written, self._ranges)
            or _within(self._written, ranges)
        ):
            self._closed = not self._operations
            return self._closed
        self._written |= written
        self._compared |= compared
        self._ranges += ranges
        self._compares, self._operations, self._bytes, self._claims = compares, operations, size, claims
        return True


def _written(plan: Joinable) -> set[bytes] | None:
    """Return the keys that a plan writes; None when it deletes a range, which goes with no other plan."""
    written: set[bytes] = set()
    for operation in plan.operations:
        if operation.HasField("request_put"):
            written.add(operation.request_put.key)
        elif operation.HasField("request_delete_range") and not operation.request_delete_range.range_end:
            written.add(operation.request_delete_range.key)
        else:
            return None
    return written


def _within(keys: Iterable[bytes], ranges: Sequence[tuple[bytes, bytes]]) -> bool:
    return any(start <= key < end for key in keys for start, end in ranges)
