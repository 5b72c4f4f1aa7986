"""Rounds of collection over mounted stores, which all nodes share that reach them: one node at a time, and one a period."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing

from quartet_server.config import Objects
from quartet_server.errors import CollectionRunning, MountNotFound, QuartetError
from quartet_server.meta import system
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.gc.collector import Collector, Tally
from quartet_server.objects.gc.turn import Turn
from quartet_server.objects.mounts.opened import Collectable, OpenStores
from quartet_server.objects.pins import Holder
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore


class MountedRounds:
    """One node's rounds over the mounted stores that it has open, with the same holders and guards as over its own store.

    What a holder keeps is kept in every store of its zone: a digest that is held anywhere is deleted nowhere.
    """

    def __init__(
        self,
        node: str,
        stores: OpenStores,
        metastore: Metastore,
        holders: Sequence[Holder],
        config: Objects,
        *,
        clock: Callable[[], float],
        draw: Callable[[int], bytes],
    ) -> None:
        """Collect `stores` as `node`; the rest as for `Upkeep`."""
        self._node = node
        self._stores = stores
        self._metastore = metastore
        self._holders = holders
        self._config = config
        self._clock = clock
        self._draw = draw

    async def run(self, zones: Sequence[str], *, dry: bool, due: bool) -> AsyncGenerator[tuple[Tally, bool], None]:
        """Do a round in each store mounted in `zones` (none: in all); yield as `Upkeep.collect` does.

        With `due` only where no node has done one within the period. A store that cannot be collected is told by `skipped`
        and keeps no other from it. Raises MetastoreError.
        """
        for one in self._stores.collectable():
            if (zones and one.zone not in zones) or (due and not await self._is_due(one)):
                continue
            tally = Tally(one.zone, one.name)
            try:
                async with aclosing(self._round(one, dry=dry)) as steps:
                    async for tally in steps:
                        yield tally, False
            except MountNotFound:
                continue  # it has ended meanwhile
            except QuartetError as error:
                tally.skipped = error.message
            yield tally, True

    async def adopt(self) -> list[tuple[Collectable, frozenset[str]]]:
        """Make the mounted stores this cluster's alone; return them with the marks that were there.

        Raises MetastoreError, errors of the stores.
        """
        adopted = []
        for one in self._stores.collectable():
            async with self._stores.collecting(one) as (_, ownership):
                adopted.append((one, await ownership.adopt()))
        return adopted

    async def _round(self, one: Collectable, *, dry: bool) -> AsyncGenerator[Tally, None]:
        """Do one store's round. Raises CollectionRunning, ObjectsNotOwned, what a holder raises, and errors of the stores."""
        async with AsyncExitStack() as stack:
            store, ownership = await stack.enter_async_context(self._stores.collecting(one))
            if not dry:
                who = await stack.enter_async_context(Turn(self._metastore, self._node, _key(one)).taken())
                if who != self._node:
                    raise CollectionRunning(f"{who} is collecting the store {one.name}", node=who)
                await ownership.demand()
            collector = Collector(
                store,
                self._holders,
                self._config.gc_grace,
                clock=self._clock,
                draw=self._draw,
                demand=ownership.demand,
            )
            async with aclosing(collector.run(one.zone, dry=dry, mount=one.name)) as steps:
                async for tally in steps:
                    yield tally
            if not dry:
                await self._note(one)

    async def _is_due(self, one: Collectable) -> bool:
        key = _key(one, done=True)
        return key not in await Snapshot(self._metastore).get([key])

    async def _note(self, one: Collectable) -> None:
        """Write down that a round was done, for as long as no other is due: nodes need not agree on the time."""
        if self._config.gc_every:
            seconds = max(int(self._config.gc_every), 1)
            lease = (await self._metastore.lease_grant(pb.LeaseGrantRequest(TTL=seconds))).ID
            try:
                await self._metastore.put(pb.PutRequest(key=_key(one, done=True), lease=lease))
            except MetastoreError as error:
                if error.fault is not Fault.LEASE_NOT_FOUND:
                    raise


def _key(one: Collectable, *, done: bool = False) -> bytes:
    front = system.COLLECTED if done else system.COLLECTING_MOUNT
    return front + one.zone.encode() + b"\0" + one.number.to_bytes(8, "big")
