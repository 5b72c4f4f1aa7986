"""Repair: fetches what this node owes, brings others what they lack, and is quiet when all is well."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from quartet.objects.storage.v1 import storage_pb2

from quartet_server.errors import BlobCorrupt, BlobNotFound, BlobUnreachable, QuartetError
from quartet_server.objects.digest import Digest
from quartet_server.objects.replicas import keys
from quartet_server.objects.replicas.copying import copy
from quartet_server.objects.replicas.debts import Debts, Record
from quartet_server.objects.replicas.group import Group
from quartet_server.objects.replicas.own import OwnShare
from quartet_server.objects.replicas.pace import Pace, Progress
from quartet_server.objects.replicas.passing import Overtaken, Passing
from quartet_server.objects.replicas.place import Place
from quartet_server.objects.replicas.spreading import ELSEWHERE
from raftmeta.errors import MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

_LONGEST = 600.0  # seconds until a pass that could not do all is run again, though nothing seems to have changed
_DAMAGED = 10_000  # findings that wait to be written down; the next scrub finds what is beyond
_log = structlog.get_logger("quartet.objects")


@dataclass(frozen=True, slots=True)
class Rhythm:
    """When repair looks again, in seconds.

    Attributes:
        after_failure: After a turn that could not do all.
        extras: After a copy too many came about.
        anyway: Without a reason, to find what nothing told of.
    """

    after_failure: float = 5.0
    extras: float = 60.0
    anyway: float = 86_400.0


class Repair:
    """One task of this node. What it has done it writes down, so that a restart does not begin anew."""

    def __init__(
        self,
        store: Metastore,
        group: Group,
        own: OwnShare,
        store_id: bytes,
        place: Callable[[int], Place],
        debts: Debts,
        pace: Pace,
        progress: Progress,
        clock: Callable[[], float],
        rhythm: Rhythm,
    ) -> None:
        """Repair for the node of `group`, whose disk is `own` and has `store_id`; `clock` says the seconds since 1970."""
        self._store = store
        self._group = group
        self._own = own
        self._store_id = store_id
        self._place = place
        self._debts = debts
        self._pace = pace
        self._progress = progress
        self._clock = clock
        self._rhythm = rhythm
        self._passing = Passing(group, own, place, pace, progress)
        self._damaged: dict[tuple[str, Digest], None] = {}
        self._began = clock()
        self._extra_since: float | None = 0.0  # what a process before this one left is not known
        self._tried: object = None  # under what the last pass was run, if it could not do all
        self._patience = rhythm.after_failure
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._group.on_change(self._wake.set)
        self._task = asyncio.create_task(self._run(), name="objects-repair")

    async def close(self) -> None:
        """Stop; what is half done is done again."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def damaged(self, zone: str, digest: Digest) -> None:
        """Fetch another's copy of a blob: the one here is damaged."""
        if not self._group.alone and len(self._damaged) < _DAMAGED:
            self._damaged[zone, digest] = None
            self._wake.set()

    def extra(self) -> None:
        """Look for copies too many: one may have come about here."""
        if self._extra_since is None:
            self._extra_since = self._clock()
            self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            wait = self._patience
            try:
                if self._group.alone:
                    wait = self._rhythm.anyway
                elif await self._turn():
                    wait = self._rhythm.anyway if self._extra_since is None else self._rhythm.extras
                    self._progress.problem = ""
            except Overtaken:
                continue
            except (MetastoreError, QuartetError, TimeoutError) as error:
                self._progress.problem = str(error)
                _log.debug("repair of blobs waits", reason=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()

    async def _turn(self) -> bool:
        """Do what there is to do; tell whether all is well now. Raises Overtaken, MetastoreError, QuartetError."""
        view, me = self._group.view, self._group.me
        if me not in view.placement.stores:
            return True
        if self._damaged:
            await self._note_damage()
        done = await self._settle_own() if self._group.view.debts else True
        number = view.placement.number
        if view.passed.get(me) == (number, self._store_id):
            self._progress.placement = number
        if self._is_due(number):
            done = await self._pass(number) and done
        return done

    def _is_due(self, number: int) -> bool:
        now, since = self._clock(), self._extra_since
        last = self._began if self._progress.ended is None else self._progress.ended
        if self._progress.placement != number or self._progress.waiting:
            return self._tried != self._reach() or now - last >= self._patience
        if since is not None and now - since >= self._rhythm.extras and self._group.view.settled:
            return True
        return now - last >= self._rhythm.anyway

    def _reach(self) -> object:
        """Return what must change before a pass that could not do all can do more."""
        view = self._group.view
        return view.placement.number, view.alive.intersection(view.placement.stores)

    async def _pass(self, number: int) -> bool:
        reach, self._extra_since = self._reach(), None
        done = await self._passing.run()
        self._progress.ended = self._clock()
        if self._passing.left:
            self.extra()
        if not done:
            self._patience = min(2 * self._patience, _LONGEST) if self._tried == reach else self._rhythm.after_failure
            self._tried = reach
            return False
        self._tried, self._patience = None, self._rhythm.after_failure
        self._progress.placement = number
        record = storage_pb2.Passed(placement=number, store_id=self._store_id).SerializeToString()
        await self._store.put(pb.PutRequest(key=keys.passed(self._group.me), value=record))
        await self._group.refresh()
        return True

    async def _note_damage(self) -> None:
        """Write down what is damaged here, as a debt of this node's: it outlives the process."""
        zones: dict[str, list[Digest]] = {}
        for zone, digest in self._damaged:
            zones.setdefault(zone, []).append(digest)
        for zone, digests in zones.items():
            await self._debts.record(zone, {self._group.me: digests})
            for digest in digests:
                self._damaged.pop((zone, digest), None)
        await self._group.refresh()

    async def _settle_own(self) -> bool:
        """Fetch what this node lacks; tell whether it lacks nothing more."""
        after, done = b"", True
        while records := await self._debts.of(self._group.me, after):
            for record in records:
                after = record.key
                if await self._fetch_all(record):
                    await self._debts.settle(record)
                else:
                    done = False
        if after:
            await self._group.refresh()
        return done

    async def _fetch_all(self, record: Record) -> bool:
        """Fetch what is lacking of a record; tell whether nothing more can come."""
        done = True
        for digest in await self._own.missing(record.zone, record.digests):
            if not await self._fetch(record.zone, digest):
                done = False
        self._progress.ended = self._clock()
        return done

    async def _fetch(self, zone: str, digest: Digest) -> bool:
        """Fetch one blob from whoever has it; False when somebody who may have it does not answer."""
        placement, answered = self._group.view.placement, True
        for node in placement.order(digest):
            if node == self._group.me:
                continue
            try:
                await copy(self._place(node), self._place(self._group.me), zone, digest)
            except (BlobNotFound, BlobCorrupt):
                continue
            except (*ELSEWHERE, BlobUnreachable) as error:
                self._progress.problem = error.message
                answered = False
                continue
            self._progress.copied(digest.size)
            await self._pace.spend(digest.size)
            return True
        return answered
