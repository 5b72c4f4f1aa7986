"""Where every zone lives, as this node knows it: read once, followed by a watch, asked at every call.

What it knows may be old, which does no harm: a zone leaves its home by the home's own doing alone, so a node never takes itself
for a home that it is no more; and what another node knows goes with the calls it passes on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from google.protobuf.timestamp_pb2 import Timestamp
from quartet.cluster.peers.v1.peers_pb2 import ForwardedCall

from quartet_server.errors import NodeNotFound, NodeNotReady, QuartetError, RevisionCompacted
from quartet_server.meta import ops, system
from quartet_server.meta.events import changes
from quartet_server.meta.snapshot import Snapshot
from quartet_server.placement import placed
from quartet_server.placement.peers import Peers
from quartet_server.placement.placed import Placed
from quartet_server.placement_errors import ZoneHomeDown, ZoneMoved, ZoneMoving
from quartet_server.rpc.passing import Passage
from quartet_server.rpc.zones import require_node
from raftmeta.errors import MetastoreError
from raftmeta.etcd import kv_pb2
from raftmeta.metastore import Metastore

AGAIN = 0.5
"""Seconds after which a call that found no home should be repeated."""
_KNOWN = 5.0  # seconds that the first calls of a node wait until it knows where zones live
_RETRY = 0.5
_log = structlog.get_logger("quartet.placement")


class Homes:
    """Knows the homes of zones; `rpc.forwarding` asks it.

    Attributes:
        me: This node's name.
        disk: Id of the disk on which its records are.
        here: Zones that live here; see `rpc.forwarding.Homes`.
    """

    def __init__(self, store: Metastore, me: str, disk: bytes, peers: Peers, now: Callable[[], Timestamp]) -> None:
        """Read `store`; this is the node `me`, whose records are on `disk`; nothing happens before `start`."""
        self.me = me
        self.disk = disk
        self.here: set[str] = set()
        self._store = store
        self._peers = peers
        self._now = now
        self._places: dict[str, Placed] = {}
        self._known = asyncio.Event()
        self._listeners: list[Callable[[Placed], None]] = []
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow the Metastore."""
        self._task = asyncio.get_running_loop().create_task(self._follow(), name="placement")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def on_change(self, listener: Callable[[Placed], None]) -> None:
        """Call `listener` on the loop with each place that is new to this node, after `here` says it."""
        self._listeners.append(listener)

    def place(self, zone: str) -> Placed | None:
        """Return what this node knows of a zone. May be called in any thread."""
        return self._places.get(zone)

    def refused_write(self, zone: str) -> QuartetError | None:
        """Return why rows of a zone must not be written on this node, None when they may. May be called in any thread."""
        place = self._places.get(zone)
        if place is None or not place.home:
            return None
        if place.home != self.me:
            return _moved(place)
        if (move := place.move) is not None:
            return ZoneMoving(
                f"zone {zone} is moving to {move.to} and takes no writes until it is there",
                zone=zone,
                node=move.to,
                retry_after=AGAIN,
            )
        return None

    def refused_read(self, zone: str) -> QuartetError | None:
        """Return why rows of a zone cannot be read on this node, None when they can. May be called in any thread."""
        place = self._places.get(zone)
        return _moved(place) if place is not None and place.home not in ("", self.me) else None

    async def find(self, zone: str, marked: ForwardedCall | None) -> Passage | None:
        """See `rpc.forwarding.Homes`."""
        if not self._known.is_set():
            await self._wait(zone)
        place = self._places.get(zone)
        if place is None or not place.home or (marked is not None and marked.moves > place.record.moves):
            place = self.seen(await placed.read(self._store, zone), zone)
        if place is None or not place.home or (place.home == self.me and not place.record.store):
            now = await placed.settle(
                self._store, zone, place, place.home if place else self.me, self.disk, self._now()
            )
            place = self.seen(now, zone)
            assert place is not None
        if place.home == self.me:
            if place.record.store != self.disk:
                raise ZoneHomeDown(
                    f"the records of zone {zone} are on another disk of {self.me} than the one it has now",
                    zone=zone,
                    node=self.me,
                    retry_after=_KNOWN,
                    hint="give the node its data directory back, or restore a backup: quartet restore DIR",
                )
            return None
        if marked is not None:
            raise _moved(place)
        try:
            peer = self._peers.peer(place.home)
        except NodeNotFound as error:
            raise _down(place, error.message) from error
        mark = ForwardedCall(by=self.me, home=place.home, moves=place.record.moves, store=place.record.store)
        return Passage(mark, peer.lane, lambda why: _down(place, why))

    def admit(self, marked: ForwardedCall, auth: Mapping[str, Any]) -> None:
        """See `rpc.forwarding.Homes`."""
        require_node(auth, self._peers.names())
        if marked.home != self.me:
            raise ZoneMoved(f"this node is {self.me}, not {marked.home}", node=self.me, retry_after=AGAIN)

    def seen(self, place: Placed | None, zone: str) -> Placed | None:
        """Take note of a place, unless a newer one is known; returns the newest."""
        known = self._places.get(zone)
        if place is None or (known is not None and known.revision >= place.revision):
            return known
        self._places[zone] = place
        if place.home == self.me and place.record.store == self.disk:
            self.here.add(zone)
        else:
            self.here.discard(zone)
        for listener in self._listeners:
            listener(place)
        return place

    async def _wait(self, zone: str) -> None:
        try:
            async with asyncio.timeout(_KNOWN):
                await self._known.wait()
        except TimeoutError:
            raise NodeNotReady(
                f"this node has just started and does not know yet where zone {zone} lives", retry_after=AGAIN
            ) from None

    async def _follow(self) -> None:
        while True:
            try:
                await self._read_all()
            except (MetastoreError, RevisionCompacted) as error:
                _log.debug("the homes of zones cannot be followed", reason=str(error))
            except QuartetError as error:
                _log.info("the homes of zones are read again", reason=error.message)
            await asyncio.sleep(_RETRY)

    async def _read_all(self) -> None:
        """Read all places and follow them, until that fails."""
        snapshot = Snapshot(self._store)
        found = await snapshot.scan(system.ZONES, ops.prefix_end(system.ZONES))
        for kv in found.kvs:
            place = Placed.of(kv)
            self.seen(place, place.zone)
        self._known.set()
        async for change in changes(
            self._store, system.ZONES, ops.prefix_end(system.ZONES), start_revision=found.header.revision + 1
        ):
            for event in change.events:
                if event.type == kv_pb2.Event.PUT:
                    place = Placed.of(event.kv)
                    self.seen(place, place.zone)


def _moved(place: Placed) -> ZoneMoved:
    return ZoneMoved(
        f"zone {place.zone} lives on {place.home}", zone=place.zone, node=place.home, retry_after=AGAIN, hint=""
    )


def _down(place: Placed, why: str) -> ZoneHomeDown:
    return ZoneHomeDown(
        f"zone {place.zone} lives on node {place.home}, which does not answer: {why}",
        zone=place.zone,
        node=place.home,
        retry_after=AGAIN,
    )
