"""How a mutation of the tree is run: what it plans, and the lock it says it holds, in one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from quartet.files.v1 import files_pb2 as pb

from quartet_server.files import locks
from quartet_server.files.tree import Tree
from quartet_server.meta.ledger import Claim
from quartet_server.meta.mutation import Answer, Plan
from quartet_server.meta.snapshot import Snapshot


class Fenced(Protocol):
    """A request that may carry a fence."""

    @property
    def fence(self) -> pb.Fence:
        """The lock that must be held; empty for none."""


async def write(
    tree: Tree,
    zone: str,
    request: Fenced,
    answer: type[Answer],
    build: Callable[[Snapshot], Awaitable[Plan[Answer]]],
    claim: Claim | None,
) -> tuple[Answer, int]:
    """Carry out what `build` plans, while the request's lock is held; return the answer and its revision.

    Raises as `Mutator.run`, and LockLost.
    """
    fence = request.fence
    if not fence.ByteSize():
        return await tree.mutator.run(answer, build, claim)

    async def fenced(snapshot: Snapshot) -> Plan[Answer]:
        plan = await build(snapshot)
        await locks.held_by(zone, snapshot, fence)
        plan.compares.append(locks.compare(zone, fence))
        return plan

    return await tree.mutator.run(answer, fenced, claim)
