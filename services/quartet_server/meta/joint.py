"""Plans of one node that would wait for each other at the same gates, carried out as one transaction where they can be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from quartet_server.errors import QuartetError
from quartet_server.meta.gates import Gates
from quartet_server.meta.ledger import Claim, LedgerLease
from quartet_server.meta.snapshot import Snapshot
from quartet_server.meta.together import Joinable, Together, Waiting, Written, carry_out, commit, revision_of
from raftmeta.metastore import Metastore


class Counts(Protocol):
    """What a plan adds to counters that many plans change."""

    def with_all(self, others: Iterable[Any]) -> Counts:
        """Return the sum of this and of others of the same kind."""

    async def settle(self, snapshot: Snapshot) -> Written:
        """Read the counters; return the comparisons and writes that add to them. Raises QuartetError when it cannot be."""


class _Counted(Waiting):
    """A plan that waits at gates, and what it adds to the counters there."""

    def __init__(self, plan: Joinable, claim: Claim | None, counts: Counts) -> None:
        super().__init__(plan, claim)
        self.counts = counts


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
        self._lines: dict[frozenset[bytes], list[_Counted]] = {}
        self._at_work: set[asyncio.Task[None]] = set()

    async def run(self, plan: Joinable, counts: Counts, claim: Claim | None) -> int:
        """Carry a plan out in turn; return its revision, or 0 when nothing happened. Raises MetastoreError."""
        line = frozenset(plan.gates)
        one = _Counted(plan, claim, counts)
        self._lines.setdefault(line, []).append(one)
        try:
            async with self._gates.passed(line):
                while not one.taken:
                    await self._lead(self._take(line))
        finally:
            if not one.taken:  # cancelled while it waited
                self._leave(line, one)
        return revision_of(await one.done)

    def _take(self, line: frozenset[bytes]) -> list[_Counted]:
        """Return who goes together now: the first, and those behind that fit and are not in each other's way."""
        together = Together(len(line))
        some = [one for one in list(self._lines[line]) if together.takes(one)]
        for one in some:
            one.taken = True
            self._leave(line, one)
        return some

    def _leave(self, line: frozenset[bytes], one: _Counted) -> None:
        waiting = self._lines[line]
        waiting.remove(one)
        if not waiting:
            del self._lines[line]

    async def _lead(self, some: list[_Counted]) -> None:
        """Carry out what goes together; to the end, even if who leads is cancelled: the others still wait."""
        task = asyncio.get_running_loop().create_task(carry_out(some, self._commit(some)))
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)
        await asyncio.shield(task)

    async def _commit(self, some: Sequence[_Counted]) -> int:
        first, *others = some
        try:
            counts = first.counts.with_all(one.counts for one in others)
            counted = await counts.settle(Snapshot(self._store, serializable=True))
        except QuartetError:
            return 0
        return await commit(self._store, self._lease, some, counted)
