"""Upkeep: what a node does for its own store of blobs, now and then and when asked: rounds of collection, scrubs, tidying."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, fields
from enum import Enum

import structlog
from quartet.maintenance.v1 import maintenance_pb2 as pb

from quartet_server.config import Objects
from quartet_server.errors import CollectionRunning, QuartetError
from quartet_server.objects.contract import BlobStore, Tidies
from quartet_server.objects.gc import records
from quartet_server.objects.gc.collector import Collector, Tally
from quartet_server.objects.gc.mounted import MountedRounds
from quartet_server.objects.gc.ownership import Ownership
from quartet_server.objects.gc.turn import Turn
from quartet_server.objects.mounts.opened import Collectable, OpenStores
from quartet_server.objects.pins import Holder
from quartet_server.objects.scrub import scrub
from raftmeta.errors import MetastoreError
from raftmeta.metastore import Metastore

LOOK = 60.0
"""The most seconds between two looks at what is due."""
AGAIN = 300.0
"""The most seconds after which what failed is tried again."""
_log = structlog.get_logger("quartet.objects")


class Mounts(Enum):
    """Which mounted stores a round is about: all that are open, those in which one is due, or none."""

    ALL = 1
    DUE = 2
    NONE = 3


@dataclass(slots=True)
class Totals:
    """What this process has collected, for metrics.

    Attributes:
        rounds: Rounds that came to their end.
        failures: Rounds that were given up.
        condemned: Blobs condemned.
        swept: Blobs deleted.
        swept_bytes: Bytes they took.
        saved: Condemned blobs that something led to.
        damaged: Damaged blobs that scrubs found.
    """

    rounds: int = 0
    failures: int = 0
    condemned: int = 0
    swept: int = 0
    swept_bytes: int = 0
    saved: int = 0
    damaged: int = 0


class Upkeep:
    """Looks after one node's store; one round and one scrub at a time. Nothing runs by itself before `start`.

    Attributes:
        node: The node's name.
        ownership: Whose the store is: it is collected only while it is this cluster's.
        shared: Whether other nodes keep the same blobs in the same place: then one of them works for all.
        totals: What was done since the process began.
    """

    def __init__(
        self,
        node: str,
        store: BlobStore,
        metastore: Metastore,
        holders: Sequence[Holder],
        config: Objects,
        ownership: Ownership,
        *,
        shared: bool,
        clock: Callable[[], float],
        draw: Callable[[int], bytes],
        mounts: OpenStores | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Look after `store`, of which `holders` keep blobs, in their order, and collect what is open of `mounts`.

        `clock` says the seconds since 1970.
        """
        self.ownership = ownership
        self.node = node
        self.shared = shared
        self.totals = Totals()
        self._store = store
        self._metastore = metastore
        self._config = config
        self._clock = clock
        self._pause = pause
        self._collector = Collector(store, holders, config.gc_grace, clock=clock, draw=draw, demand=ownership.demand)
        self._mounted = (
            MountedRounds(node, mounts, metastore, holders, config, clock=clock, draw=draw) if mounts else None
        )
        self._turn = Turn(metastore, node)
        self._collecting = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to do by itself what is due, as the configuration says."""
        if self._config.gc_every or self._config.scrub_every:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="objects-upkeep")

    async def close(self) -> None:
        """Stop; a round under way is left where it is, which harms nothing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def collect(
        self, zones: Sequence[str] = (), *, dry: bool, mounts: Mounts = Mounts.ALL
    ) -> AsyncGenerator[tuple[Tally, bool], None]:
        """Do a round in each zone (none: all that have blobs); yield its tally as it grows, True with the last one.

        After those of the own store come those of mounted stores; one that cannot be collected is told, not raised.

        Raises CollectionRunning, ObjectsNotOwned unless it is dry, what a holder raises, and errors of the stores.
        """
        if dry:
            async for told in self._rounds(zones, mounts, dry=True):
                yield told
            return
        if self._collecting.locked():
            raise CollectionRunning("this node is collecting already", node=self.node)
        async with self._collecting, self._alone():
            total = Tally("")
            try:
                await self.ownership.demand()
                async with aclosing(self._rounds(zones, mounts, dry=False)) as rounds:
                    async for tally, done in rounds:
                        if done:
                            _add(total, tally)
                        yield tally, done
            except (QuartetError, MetastoreError) as error:
                self.totals.failures += 1
                await self._tell(records.failed_collection(self.node, _words(error)))
                raise
            finally:
                self._count(total)
            await self._tell(records.collection(self.node, total, self._clock()))
            self.totals.rounds += 1

    async def adopt(self) -> tuple[frozenset[str], list[tuple[Collectable, frozenset[str]]]]:
        """Make the own store and the mounted ones this cluster's alone; return the marks that were there.

        Raises MetastoreError, errors of the stores.
        """
        owners = await self.ownership.adopt()
        return owners, await self._mounted.adopt() if self._mounted is not None else []

    async def scrub(self) -> pb.Scrub:
        """Tidy, then read everything and compare it with its digest. Raises CollectionRunning, errors of the stores."""
        async with self._alone():
            try:
                tidied = await self._store.tidy() if isinstance(self._store, Tidies) else 0
                report = await scrub(
                    self._store, bytes_per_second=self._config.scrub_bytes_per_second, pause=self._pause
                )
            except (QuartetError, MetastoreError) as error:
                await self._tell(records.failed_scrub(self.node, _words(error)))
                raise
            self.totals.damaged += report.damaged_count
            told = records.scrub(self.node, report, tidied, self._clock())
            await self._tell(told)
            return told.scrub

    async def reports(self) -> Sequence[pb.NodeUpkeep]:
        """Return what all nodes told, by name. Raises MetastoreError."""
        return await records.every(self._metastore)

    async def _rounds(
        self, zones: Sequence[str], mounts: Mounts, *, dry: bool
    ) -> AsyncGenerator[tuple[Tally, bool], None]:
        """Do rounds; one zone's failure is raised when the others are done."""
        failure: QuartetError | MetastoreError | None = None
        for zone in zones or await self._store.zones():
            tally = Tally(zone)
            try:
                async with aclosing(self._collector.run(zone, dry=dry)) as steps:
                    async for tally in steps:
                        yield tally, False
            except (QuartetError, MetastoreError) as error:
                failure = failure or error
                continue
            yield tally, True
        if self._mounted is not None and mounts is not Mounts.NONE:
            async with aclosing(self._mounted.run(zones, dry=dry, due=mounts is Mounts.DUE)) as rounds:
                async for told in rounds:
                    yield told
        if failure is not None:
            raise failure

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Keep other nodes from doing the same work in the block, where they would. Raises CollectionRunning."""
        if not self.shared:
            yield
            return
        async with self._turn.taken() as who:
            if who != self.node:
                raise CollectionRunning(f"{who} is looking after the store that nodes share", node=who)
            yield

    async def _run(self) -> None:
        """Do what is due, for ever; what fails is told and tried again."""
        rest = min(LOOK, *(every for every in (self._config.gc_every, self._config.scrub_every) if every))
        not_before = {"collect": 0.0, "scrub": 0.0}
        while True:
            await self._pause(rest)
            for name, every in (("collect", self._config.gc_every), ("scrub", self._config.scrub_every)):
                if not every or self._clock() < not_before[name]:
                    continue
                try:
                    last = await records.last(self._metastore, name, None if self.shared else self.node)
                    if self._clock() - last >= every:
                        await self._do(name)
                except CollectionRunning:
                    continue
                except (QuartetError, MetastoreError) as error:
                    not_before[name] = self._clock() + min(every, AGAIN)
                    _log.warning(f"{name} postponed", reason=_words(error))
                except Exception:  # noqa: BLE001 - a holder of another service's: whatever it is, the next round may fare better
                    not_before[name] = self._clock() + min(every, AGAIN)
                    _log.exception(f"{name} failed")

    async def _do(self, name: str) -> None:
        if name == "scrub":
            found = await self.scrub()
            if found.damaged:
                _log.error("scrub found damage", damaged=found.damaged, examples=list(found.examples))
            return
        async with aclosing(self.collect(dry=False, mounts=Mounts.DUE)) as rounds:
            async for tally, done in rounds:
                if tally.skipped:
                    _log.warning("mounted store not collected", zone=tally.zone, name=tally.mount, reason=tally.skipped)
                elif done and (tally.condemned or tally.swept or tally.saved):
                    _log.info(
                        "collected",
                        zone=tally.zone,
                        mount=tally.mount,
                        condemned=tally.condemned,
                        swept=tally.swept,
                        saved=tally.saved,
                    )

    def _count(self, total: Tally) -> None:
        self.totals.condemned += total.condemned
        self.totals.swept += total.swept
        self.totals.swept_bytes += total.swept_bytes
        self.totals.saved += total.saved

    async def _tell(self, told: pb.NodeUpkeep) -> None:
        """Keep a report; one that cannot be kept is no reason to fail."""
        with contextlib.suppress(MetastoreError):
            await records.keep(self._metastore, told)


def _add(total: Tally, tally: Tally) -> None:
    for one in fields(Tally):
        if isinstance(value := getattr(tally, one.name), int):
            setattr(total, one.name, getattr(total, one.name) + value)


def _words(error: QuartetError | MetastoreError) -> str:
    return error.message if isinstance(error, QuartetError) else error.text
