"""Moves of zones away from this node: done by the old home alone, and gone on with after a crash of either node.

The record of the zone says that it moves; this node, its home, takes no writes of it then (`gates`). When those that were under
way are done, all rows are sent in the order in which they can be stored, what both nodes have is compared, and one transaction
makes the other node the home and tells this one to delete its rows (`leftovers`). Until that transaction nothing has happened
that cannot be undone by another: the move is stopped, and the other node deletes what it has.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

import structlog
from grpc import aio
from quartet.cluster.storage.v1.storage_pb2 import MoveProgress

from quartet_server.errors import QuartetError
from quartet_server.placement import gates, placed, rows
from quartet_server.placement.homes import Homes
from quartet_server.placement.peers import Peers
from quartet_server.placement.placed import Placed
from quartet_server.placement.receiving import row_of
from quartet_server.placement.rows import Pass
from quartet_server.placement.sending import Receiver
from quartet_server.placement.wire import Sum
from quartet_server.records.contract import Databases, Session
from quartet_server.records.schema import Schema
from raftmeta.errors import MetastoreError
from raftmeta.metastore import Metastore

COPY, COMPARE = 1, 2
"""Steps, as ClusterService's ZoneMoveStep numbers them."""
PATIENCE = 300.0
"""Seconds without progress after which a move is given up, so that the zone takes writes again."""
_MISMATCHES = 3  # times that the nodes may differ at the end
_SHORTEST, _LONGEST = 0.25, 5.0  # seconds between attempts
_NOTED = 0.5  # seconds between two notes of how far it is
_log = structlog.get_logger("quartet.placement")


class _Over(Exception):  # noqa: N818 - it says what happened
    """The move is none any more: it was stopped, or has ended."""


class Moves:
    """Does the moves of the zones that live on this node."""

    def __init__(
        self,
        store: Metastore,
        homes: Homes,
        peers: Peers,
        databases: Databases,
        schemas: Mapping[str, Schema],
        clock: Callable[[], float],
        patience: float = PATIENCE,
    ) -> None:
        """Move what is in `databases`, not behind gates; `clock` is monotonic, seconds. Nothing happens before `start`."""
        self._store = store
        self._homes = homes
        self._peers = peers
        self._databases = databases
        self._schemas = schemas
        self._passes = rows.passes(list(schemas.values()))
        self._clock = clock
        self._patience = patience
        self._tasks: dict[str, tuple[str, asyncio.Task[None]]] = {}

    def start(self) -> None:
        """Begin with those that are under way, and follow."""
        self._homes.on_change(self._look)

    async def close(self) -> None:
        """Stop; they are gone on with after the next start."""
        tasks = [task for _, task in self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _look(self, place: Placed) -> None:
        """Begin or end what a zone's place asks for."""
        move = place.move if place.home == self._homes.me and place.record.store == self._homes.disk else None
        wanted = move.id if move is not None else ""
        id_, task = self._tasks.get(place.zone, ("", None))
        if id_ == wanted:
            return
        if task is not None:
            task.cancel()
            del self._tasks[place.zone]
        if wanted:
            task = asyncio.get_running_loop().create_task(self._run(place), name=f"move {place.zone}")
            self._tasks[place.zone] = wanted, task

    async def _run(self, place: Placed) -> None:
        with contextlib.suppress(_Over):
            await self._go(place)

    async def _go(self, place: Placed) -> None:
        """Move a zone, again and again until it is done or hopeless. Raises _Over."""
        move = place.move
        assert move is not None
        _log.info("a zone moves", zone=place.zone, to=move.to)
        trip = _Trip(self, place)
        wait, trip.moved = _SHORTEST, self._clock()
        while True:
            try:
                await trip.attempt()
                _log.info("a zone has moved", zone=place.zone, to=move.to)
                return
            except (aio.AioRpcError, MetastoreError, QuartetError) as error:
                why = (error.details() or "") if isinstance(error, aio.AioRpcError) else str(error)
                _log.info("a move does not get on", zone=place.zone, to=move.to, reason=why)
                with contextlib.suppress(MetastoreError):
                    await trip.note(problem=why[:300] or "unknown")
                    if self._clock() - trip.moved > self._patience or trip.told.mismatches >= _MISMATCHES:
                        _log.warning("a move is given up", zone=place.zone, to=move.to, reason=why)
                        self._homes.seen(await placed.stop_move(self._store, trip.place), place.zone)
                        return
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST)


class _Trip:
    """One zone on its way.

    Attributes:
        place: Its record, which nobody may have changed since.
        told: How far it is, as the Metastore knows or will know.
        moved: When it last got on.
    """

    def __init__(self, moves: Moves, place: Placed) -> None:
        self._moves = moves
        self.place = place
        self._zone = place.zone
        self.told = MoveProgress()
        self.moved = 0.0
        self._noted = 0.0

    async def attempt(self) -> None:
        """Go on from where it is, to the end. Raises _Over, and what prevents it."""
        m, move = self._moves, self.place.move
        assert move is not None
        self.told = await placed.progress(m._store, self._zone, move.id)
        await gates.settled(m._databases, m._schemas, self._zone)
        receiver = Receiver(m._peers.peer(move.to), move.to, self._zone, move.id)
        disk = await receiver.begin(self.told.store)
        if disk != self.told.store:
            self.told = MoveProgress(id=move.id, store=disk, mismatches=self.told.mismatches)
        self.told.step = COPY
        self.told.total_rows = await self._count()
        await self.note()
        while self.told.tables < len(m._passes):
            await self._copy(m._passes[self.told.tables], receiver)
        self.told.step = COMPARE
        await self.note()
        await self._compare(receiver)
        await self._end(disk)

    async def _renew(self) -> None:
        """See that no end of this move is still on its way, of which this node did not hear: rows may be deleted over there.

        Raises _Over when the record is another, MetastoreError.
        """
        renewed = await placed.renew(self._moves._store, self.place)
        if renewed is None:
            self._moves._homes.seen(await placed.read(self._moves._store, self._zone), self._zone)
            raise _Over
        self.place = renewed
        self._moves._homes.seen(renewed, self._zone)

    async def note(self, problem: str = "") -> None:
        """Write down how far it is. Raises _Over when the zone's record is another by now, MetastoreError."""
        self.told.problem = problem
        self._noted = self._moves._clock()
        if not problem:
            self.moved = self._noted
        if not await placed.note(self._moves._store, self.place, self.told):
            raise _Over

    async def _count(self) -> int:
        total = 0
        for one in self._moves._passes:
            if not one.second:
                total += await self._read(one, lambda session, one=one: rows.count(session, one.table))  # type: ignore[misc]
        return total

    async def _read(self, one: Pass, work: Callable[[Session], int]) -> int:
        return await self._moves._databases.database(one.database).read(self._zone, work)

    async def _copy(self, one: Pass, receiver: Receiver) -> None:
        """Send what is left of a table."""
        database, after = self._moves._databases.database(one.database), row_of(self.told.after)
        while True:
            found, last = await database.read(self._zone, lambda session, after=after: rows.page(session, one, after))  # type: ignore[misc]
            if last is None:
                self.told.tables, self.told.after = self.told.tables + 1, b""
                return
            await receiver.store(found, one.late if one.second else ())
            after, self.told.after = last, last.SerializeToString()
            self.told.rows += 0 if one.second else len(found.rows)
            self.moved = self._moves._clock()
            if self.moved - self._noted >= _NOTED:
                await self.note()

    async def _compare(self, receiver: Receiver) -> None:
        """Sum up every table on both nodes. Raises RowsDamaged, and has all be sent again, when they differ."""
        for one in self._moves._passes:
            if one.second:
                continue
            mine, theirs = await asyncio.gather(self._total(one), receiver.total(one.database, one.table.name))
            self.moved = self._moves._clock()
            if mine != theirs:
                self.told = MoveProgress(id=self.told.id, mismatches=self.told.mismatches + 1)
                raise rows.damaged(one, mine, theirs)

    async def _total(self, one: Pass) -> Sum:
        return await rows.whole(self._moves._databases.database(one.database), self._zone, one.table)

    async def _end(self, disk: bytes) -> None:
        """Make the other node the home. An answer that is lost is found out by reading."""
        m, zone = self._moves, self._zone
        ended = await placed.end_move(m._store, self.place, disk)
        if ended is None:
            m._homes.seen(await placed.read(m._store, zone), zone)
            raise _Over
        m._tasks.pop(zone, None)  # so that this task is not cancelled for having done what it had to do
        m._homes.seen(ended, zone)
