"""Writing: every blob to its owners, and to the next in order where an owner fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from quartet_server.errors import (
    CopiesUnreachable,
    NodeStopping,
    ObjectStoreUnreachable,
    PlacementStale,
    QuartetError,
    StoreFull,
    TooManyRequests,
)
from quartet_server.objects.contract import Put
from quartet_server.objects.digest import Digest
from quartet_server.objects.replicas.debts import Debts
from quartet_server.objects.replicas.group import Group
from quartet_server.objects.replicas.place import Place
from quartet_server.objects.replicas.placement import Placement

ELSEWHERE = (ObjectStoreUnreachable, StoreFull, TooManyRequests, NodeStopping)
"""What a place may say that makes another one do its part."""
_STALE = 4  # times to look for a newer placement


@dataclass(slots=True)
class Spread:
    """One blob on its way to its places.

    Attributes:
        digest: Its name.
        placement: By which its places are chosen.
        order: The nodes in the order in which they are asked: those that can be used first, each kind as rendezvous says.
        usable: How many of them can be used.
        durable: Nodes that have it.
        failed: Node -> why it has not.
    """

    digest: Digest
    placement: Placement
    order: Sequence[int]
    usable: int
    durable: list[int] = field(default_factory=list)
    failed: dict[int, QuartetError] = field(default_factory=dict)

    @classmethod
    def of(cls, digest: Digest, placement: Placement, usable: Callable[[int], bool]) -> Spread:
        """Plan where a blob goes; `usable` tells which nodes can be reached, as far as is known."""
        order = placement.order(digest)
        good = [node for node in order if usable(node)]
        return cls(digest, placement, [*good, *(node for node in order if node not in good)], len(good))

    def next(self) -> list[int]:
        """Return the nodes to write to now; none when there are enough copies, or nobody is left to ask.

        Nodes that cannot be used, as far as is known, are asked when there would be too few copies without them.
        """
        left = [node for node in self.order if node not in self.durable and node not in self.failed]
        good = [node for node in left if node in self.order[: self.usable]]
        chosen = good[: max(self.placement.copies - len(self.durable), 0)]
        short = self.placement.needed - len(self.durable) - len(chosen)
        return chosen + [node for node in left if node not in good][: max(short, 0)]

    @property
    def owed(self) -> Iterator[int]:
        """The owners that do not have it."""
        return (node for node in self.placement.owners(self.digest) if node not in self.durable)

    def refusal(self) -> QuartetError | None:
        """Return why the blob is not kept; None when it is."""
        if len(self.durable) >= self.placement.needed:
            return None
        errors = list(self.failed.values())
        if other := next((error for error in errors if not isinstance(error, ELSEWHERE)), None):
            return other
        if errors and all(isinstance(error, StoreFull) for error in errors):
            return StoreFull("no disk of the cluster has room for the blob", hint="quartet objects status")
        return CopiesUnreachable(
            f"{len(self.durable)} of {self.placement.needed} copies could be written: {errors[0].message if errors else ''}",
            retry_after=1.0,
            durable=len(self.durable),
            needed=self.placement.needed,
        )


class Spreading:
    """Writes blobs that are in memory."""

    def __init__(
        self, group: Group, place: Callable[[int], Place], debts: Debts, patience: float, on_extra: Callable[[], None]
    ) -> None:
        """Write to the `place` of each node; wait `patience` seconds for a placement.

        `on_extra` is told when this node may have been one that stands in.
        """
        self._on_extra = on_extra
        self._group = group
        self._place = place
        self._debts = debts
        self._patience = patience

    def usable(self, node: int) -> bool:
        """Tell whether a node can be reached, as far as is known."""
        return (node == self._group.me or node in self._group.view.alive) and self._place(node).usable

    async def plan(self, digest: Digest) -> Spread:
        """Plan where one blob goes. Raises CopiesUnreachable when the nodes have not agreed yet."""
        return Spread.of(digest, await self._group.ready(self._patience), self.usable)

    async def put(self, zone: str, blob: Put) -> None:
        """Keep one blob. Raises DigestMismatch, StoreFull, CopiesUnreachable, MetastoreError."""

        async def write(node: int, placement: int) -> None:
            await self._place(node).put(zone, blob, placement)

        await self.spread(zone, blob.digest, write)

    async def spread(self, zone: str, digest: Digest, write: Callable[[int, int], Awaitable[None]]) -> list[int]:
        """Have `write` keep a blob on nodes, under a placement of a number, until there are enough; return its owners.

        Raises what the blob's own fault is, StoreFull, CopiesUnreachable, MetastoreError.
        """
        owners = list[int]()

        async def work() -> None:
            owners[:] = await self._spread(zone, digest, write)

        await self.until_current(work)
        return owners

    async def _spread(self, zone: str, digest: Digest, write: Callable[[int, int], Awaitable[None]]) -> list[int]:
        spread = await self.plan(digest)
        while chosen := spread.next():
            outcomes = await asyncio.gather(
                *(write(node, spread.placement.number) for node in chosen), return_exceptions=True
            )
            for node, outcome in zip(chosen, outcomes, strict=True):
                note(spread, node, outcome)
        await self.settle(zone, [spread])
        if (error := spread.refusal()) is not None:
            raise error
        return spread.placement.owners(digest)

    async def settle(self, zone: str, spreads: Iterable[Spread]) -> None:
        """Write down what is owed of those that are kept.

        Raises PlacementStale when they may be in places that are not theirs any more, and MetastoreError: then they count as
        not kept.
        """
        spreads = list(spreads)
        number = self._group.view.placement.number
        if any(spread.placement.number != number for spread in spreads):
            raise PlacementStale(f"placement {number} is in force now", placement=number)
        owed: dict[int, list[Digest]] = {}
        for spread in spreads:
            if spread.refusal() is None:
                for node in spread.owed:
                    owed.setdefault(node, []).append(spread.digest)
        if owed:
            self._on_extra()
            await self._debts.record(zone, owed)

    async def put_many(self, zone: str, blobs: Sequence[Put]) -> list[QuartetError | None]:
        """Keep blobs; tell for each why not. Raises CopiesUnreachable, MetastoreError."""
        found: dict[int, QuartetError | None] = {}

        async def work() -> None:
            found.update(await self._put_many(zone, blobs))

        await self.until_current(work)
        return [found[at] for at in range(len(blobs))]

    async def _put_many(self, zone: str, blobs: Sequence[Put]) -> dict[int, QuartetError | None]:
        placement = await self._group.ready(self._patience)
        usable = {node for node in placement.stores if self.usable(node)}
        spreads = [Spread.of(blob.digest, placement, usable.__contains__) for blob in blobs]
        while True:
            share: dict[int, list[int]] = {}
            for at, spread in enumerate(spreads):
                for node in spread.next():
                    share.setdefault(node, []).append(at)
            if not share:
                break
            work = (self._share(zone, node, blobs, ats, spreads) for node, ats in share.items())
            for outcome in await asyncio.gather(*work, return_exceptions=True):
                if outcome is not None:
                    raise outcome
        await self.settle(zone, spreads)
        return {at: spread.refusal() for at, spread in enumerate(spreads)}

    async def _share(
        self, zone: str, node: int, blobs: Sequence[Put], ats: Sequence[int], spreads: Sequence[Spread]
    ) -> None:
        """Write one node's share of many blobs."""
        number = min(spreads[at].placement.number for at in ats)
        outcomes: Sequence[QuartetError | None]
        try:
            outcomes = await self._place(node).put_many(zone, [blobs[at] for at in ats], number)
        except ELSEWHERE as error:
            outcomes = [error] * len(ats)
        for at, outcome in zip(ats, outcomes, strict=True):
            note(spreads[at], node, outcome)

    async def until_current(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work`, again with a newer placement when a node says that ours is old. Raises CopiesUnreachable too."""
        for _ in range(_STALE):
            number = self._group.view.placement.number
            try:
                return await work()
            except PlacementStale:
                await self._group.newer_than(number, self._patience)
        raise CopiesUnreachable("who keeps blobs keeps changing", retry_after=1.0)


def note(spread: Spread, node: int, outcome: object) -> None:
    """Note what came of a write to a node. Raises what says nothing of the node: PlacementStale, faults of our own."""
    if outcome is None or isinstance(outcome, Digest):
        spread.durable.append(node)
    elif isinstance(outcome, PlacementStale):
        raise outcome
    elif isinstance(outcome, QuartetError):
        spread.failed[node] = outcome
        if not isinstance(outcome, ELSEWHERE):
            spread.order = ()  # the blob's own fault: nobody else is asked
    elif isinstance(outcome, BaseException):
        raise outcome
