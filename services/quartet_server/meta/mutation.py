"""Writes that lose to other writers are built anew and tried again; writes with a request id happen once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from google.protobuf.message import Message

from quartet_server.errors import Contention, QuartetError, RequestTooLarge
from quartet_server.meta import ops
from quartet_server.meta.company import Company
from quartet_server.meta.gates import Gates
from quartet_server.meta.joint import Counts, Joint
from quartet_server.meta.ledger import Claim, LedgerLease
from quartet_server.meta.recent import Recent
from quartet_server.meta.snapshot import Snapshot
from quartet_server.meta.together import Written
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

ATTEMPTS = 10
Answer = TypeVar("Answer", bound=Message)


@dataclass(slots=True)
class Plan(Generic[Answer]):
    """One transaction, as built from what a snapshot showed.

    Attributes:
        answer: What the caller is told when it succeeds, but for the revision.
        compares: What must still hold. Empty operations with an answer mean that nothing needs to be done.
        operations: What is written.
        gates: Keys that many plans compare and write. Plans of one node with a gate in common run one after the other:
            they would only make each other fail.
        counts: What it adds to counters whose keys are its gates; None for a plan that waits in turn for other reasons.
        counted: Comparisons and writes of these counters, as they were when it was built.
    """

    answer: Answer
    compares: list[pb.Compare] = field(default_factory=list)
    operations: list[pb.RequestOp] = field(default_factory=list)
    gates: list[bytes] = field(default_factory=list)
    counts: Counts | None = None
    counted: Written = field(default_factory=lambda: ([], []))


class Mutator:
    """Runs plans: read, build, compare-and-write, and again when the comparison fails."""

    def __init__(
        self,
        store: Metastore,
        lease: LedgerLease,
        *,
        recent: Recent | None = None,
        jitter: Callable[[], float] = random.random,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Write to `store`, read through `recent`; `jitter` returns 0 to 1, `pause` takes seconds."""
        self._store = store
        self._recent = recent
        self._lease = lease
        self._jitter = jitter
        self._pause = pause
        self.gates = Gates()
        self._joint = Joint(store, lease, self.gates)
        self._company = Company(store, lease)

    async def run(
        self, answer: type[Answer], build: Callable[[Snapshot], Awaitable[Plan[Answer]]], claim: Claim | None
    ) -> tuple[Answer, int]:
        """Carry out what `build` plans; return its answer and the revision at which it happened.

        The first attempt builds from what this node has, without a quorum round: if that was stale, the comparisons
        fail, or `build` finds something missing, and the second attempt reads linearizably. So an error of `build` is
        believed only when it comes from a linearizable read, and no earlier run of the same claim succeeded.

        Raises what `build` raises, RequestIdReused, RequestTooLarge, Contention after ten attempts, MetastoreError.
        """
        stack: AsyncExitStack | None = None
        held: set[bytes] = set()
        try:
            for attempt in range(ATTEMPTS):
                snapshot = Snapshot(self._store, serializable=attempt == 0, recent=self._recent)
                try:
                    plan = await build(snapshot)
                    if (
                        plan.counts is not None
                        and not held
                        and (revision := await self._joint.run(plan, plan.counts, claim))
                    ):
                        return plan.answer, revision
                    if not held.issuperset(plan.gates):
                        if stack is not None:
                            await (
                                stack.aclose()
                            )  # all anew, in their order: who waits for one must not hold a later one
                        stack = AsyncExitStack()
                        held.update(plan.gates)
                        await stack.enter_async_context(self.gates.passed(held))
                        snapshot = Snapshot(self._store, serializable=attempt == 0, recent=self._recent)
                        plan = await build(snapshot)
                except QuartetError:
                    if attempt == 0:
                        continue
                    told = await self.told(claim, answer)
                    if told is None:
                        raise
                    return told
                if not plan.operations:
                    if attempt == 0:
                        continue
                    return await self.told(claim, answer) or (plan.answer, snapshot.revision)
                accompanied = not attempt and not plan.gates
                if accompanied and self._company.under_way and (revision := await self._company.join(plan, claim)):
                    return plan.answer, revision
                if (done := await (self._leading if accompanied else self._commit)(plan, claim)) is not None:
                    return done
                if attempt:
                    await self._pause(self._jitter() * 0.002 * 2**attempt)
            raise Contention(f"other writers came in between {ATTEMPTS} times")
        finally:
            if stack is not None:
                await stack.aclose()

    async def _leading(self, plan: Plan[Answer], claim: Claim | None) -> tuple[Answer, int] | None:
        """Do as `_commit`, while others wait to go together."""
        self._company.begin()
        try:
            return await self._commit(plan, claim)
        finally:
            self._company.end()

    async def _commit(self, plan: Plan[Answer], claim: Claim | None) -> tuple[Answer, int] | None:
        """Try the plan once; None when something changed since it was built."""
        request = pb.TxnRequest(
            compare=[*plan.compares, *plan.counted[0]], success=[*plan.operations, *plan.counted[1]]
        )
        lease = 0
        if claim is not None:
            lease = await self._lease.current()
            request.compare.append(ops.absent(claim.key))
            request.success.append(ops.put(claim.key, claim.value(plan.answer.SerializeToString()), lease))
            request.failure.append(ops.get(claim.key))
        if max(len(request.compare), len(request.success)) > ops.LIMIT:
            raise RequestTooLarge(f"the change needs more than {ops.LIMIT} operations in one transaction")
        try:
            response = await self._store.txn(request)
        except MetastoreError as error:
            if error.fault is not Fault.LEASE_NOT_FOUND or not lease:
                raise
            self._lease.lost(lease)
            return None
        if response.succeeded:
            return plan.answer, response.header.revision
        if claim is None:
            return None
        return recall(claim, response.responses[0].response_range, type(plan.answer))

    async def told(self, claim: Claim | None, answer: type[Answer]) -> tuple[Answer, int] | None:
        """Look up what an earlier run of the claim answered, and at which revision. Raises RequestIdReused."""
        if claim is None:
            return None
        found = await self._store.range(pb.RangeRequest(key=claim.key))
        return recall(claim, found, answer)


def recall(claim: Claim, found: pb.RangeResponse, answer: type[Answer]) -> tuple[Answer, int] | None:
    """Return what the record in `found` says, if there is one, and its revision. Raises RequestIdReused."""
    if not found.kvs:
        return None
    kv = found.kvs[0]
    return answer.FromString(claim.read(kv).answer), kv.create_revision
