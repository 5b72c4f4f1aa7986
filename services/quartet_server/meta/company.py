"""Plans of one node that come while others are being carried out, put into one transaction where they can be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from quartet_server.meta.ledger import Claim, LedgerLease
from quartet_server.meta.together import Joinable, Together, Waiting, carry_out, commit, revision_of
from raftmeta.metastore import Metastore


class Company:
    """Plans that wait at no gate, put together as `Joint` puts those together that do.

    Who comes when nothing is under way goes at once. Who comes meanwhile waits until all that is has ended, which costs no
    time, since the proposer below sends one batch at a time too; and what every member does for a transaction it then does once
    for all of them. When a transaction fails, for whichever of them, nothing has happened, and each goes alone.
    """

    def __init__(self, store: Metastore, lease: LedgerLease) -> None:
        """Write to `store`."""
        self._store = store
        self._lease = lease
        self._under_way = 0
        self._waiting: dict[Waiting, None] = {}
        self._at_work: set[asyncio.Task[None]] = set()

    @property
    def under_way(self) -> bool:
        """Whether a plan that comes now is to wait."""
        return self._under_way > 0

    def begin(self) -> None:
        """Note that a plan goes by itself; `end` must follow."""
        self._under_way += 1

    def end(self) -> None:
        """Note that it has ended. Those who came meanwhile go, if it was the last."""
        self._under_way -= 1
        if self._under_way or not self._waiting:
            return
        for some in list(self._groups()):
            if len(some) == 1:
                some[0].done.set_result(0)  # it goes by itself
                continue
            self._under_way += 1
            made = carry_out(some, commit(self._store, self._lease, some, ([], [])))
            task = asyncio.get_running_loop().create_task(made)
            self._at_work.add(task)
            task.add_done_callback(self._ended)

    async def join(self, plan: Joinable, claim: Claim | None) -> int:
        """Carry a plan out with others, after what is under way; return its revision, or 0 when nothing happened: it is to go
        by itself.

        Raises MetastoreError.
        """
        one = Waiting(plan, claim)
        if one.written is None:
            return 0
        self._waiting[one] = None
        try:
            return revision_of(await one.done)
        finally:
            self._waiting.pop(one, None)  # cancelled while it waited

    def _groups(self) -> Iterator[list[Waiting]]:
        """Take out all who wait, as they came, in as few groups as there can be of neighbours."""
        waiting, self._waiting = self._waiting, {}
        together, some = Together(0), list[Waiting]()
        for one in waiting:
            if one.done.done():  # cancelled just now
                continue
            if not together.takes(one):
                yield some
                together, some = Together(0), []
                together.takes(one)
            some.append(one)
        if some:
            yield some

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._at_work.discard(task)
        if task.cancelled():  # with the loop
            for one in self._waiting:
                one.done.cancel()
            return
        self.end()
