"""The nodes that keep blobs together: who they are, which of them live, and the placement that they agree on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from quartet.objects.storage.v1 import storage_pb2

from quartet_server.errors import CopiesUnreachable, QuartetError
from quartet_server.meta import ops, system
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.replicas import keys
from quartet_server.objects.replicas.placement import NOWHERE, Placement
from raftmeta.consensus.contract import Member, Role, Status
from raftmeta.errors import MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.metastore import Metastore

FOUNDING = 10.0
"""Seconds for which the first placement waits for nodes that have not said yet whether they keep blobs."""
MOST_DEBTS = 5_000
"""Records of debts after which a node that lacks more is looked at as a whole."""
_PROBES = 10.0  # seconds between two questions to a node without a lease
_log = structlog.get_logger("quartet.objects")


class GroupMember(Protocol):
    """What the store of blobs asks of this process's member of the cluster."""

    def status(self) -> Status:
        """Return Raft's latest picture of itself."""

    def on_status(self, listener: Callable[[Status], None]) -> None:
        """Call `listener` on the loop when role, term, leader or membership changed."""


@dataclass(frozen=True, slots=True)
class View:
    """What this node knows of the others at one moment; it may be a second old.

    Attributes:
        placement: The placement in force.
        revision: Revision of the Metastore at which its record was written; 0 without one.
        alive: Members whose lease lives.
        stores: Member -> id of the store it announced.
        passed: Member -> placement and store for which it has looked through all it has.
        debts: Records of debts.
    """

    placement: Placement = NOWHERE
    revision: int = 0
    alive: frozenset[int] = frozenset()
    stores: Mapping[int, bytes] = field(default_factory=dict)
    passed: Mapping[int, tuple[int, bytes]] = field(default_factory=dict)
    debts: int = 0

    @property
    def settled(self) -> bool:
        """Whether every copy is where it should be, as far as is known."""
        placement = self.placement
        return (
            placement.number > 0
            and not self.debts
            and all(
                node in self.alive and self.passed.get(node) == (placement.number, store)
                for node, store in placement.stores.items()
            )
        )


class Group:
    """Follows what the Metastore says of the group, and on the leader decides on the placement.

    Attributes:
        me: This node's member id.
        view: What is known now.
        alone: Whether this node is the only member: then there is nobody to keep copies.
    """

    def __init__(
        self,
        store: Metastore,
        member: GroupMember,
        store_id: bytes,
        replicas: int,
        absent_seconds: float,
        *,
        pace: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take part with the disk `store_id`.

        Args:
            store: Quartet's keyspace.
            member: This process's member.
            store_id: See `StoreRecord`.
            replicas: Copies that are wanted, if this node leads.
            absent_seconds: For how long a node may be gone before its share is given to others.
            pace: Seconds between two looks at the Metastore.
            clock: Seconds, monotonic.
        """
        self._store = store
        self._member = member
        self._store_id = store_id
        self._replicas = replicas
        self._absent_seconds = absent_seconds
        self._pace = pace
        self._clock = clock
        self.view = View()
        self.me = member.status().member_id
        self.alone = self._is_alone(member.status())
        self._changed = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []
        self._absent_since: dict[int, float] = {}
        self._probed: dict[int, tuple[float, bool]] = {}
        self._waiting_since: float | None = None
        self._probe: Callable[[int], Awaitable[bool]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    def start(self, probe: Callable[[int], Awaitable[bool]]) -> None:
        """Begin; `probe` asks a node whether it is there, in case only its lease is gone."""
        self._probe = probe
        self._member.on_status(self._look)
        self._task = asyncio.create_task(self._run(), name="objects-group")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` on the loop after each look that found something else than the one before."""
        self._listeners.append(listener)

    @property
    def members(self) -> Mapping[int, Member]:
        """The members of the cluster now."""
        return self._member.status().members

    async def ready(self, patience: float) -> Placement:
        """Return the placement in force, waiting for the first one. Raises CopiesUnreachable after `patience` seconds."""
        if not self.view.placement.number:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    while not self.view.placement.number:
                        self._changed.clear()
                        self._wake.set()
                        await self._changed.wait()
        if not self.view.placement.number:
            raise CopiesUnreachable("the nodes have not agreed yet on who keeps blobs", retry_after=1.0)
        return self.view.placement

    async def refresh(self, *, newest: bool = False) -> View:
        """Look at the Metastore: at what this node has of it, or at the `newest`. Raises MetastoreError."""
        snapshot = Snapshot(self._store, serializable=not newest)
        ours = await snapshot.scan(keys.PASSED, ops.prefix_end(keys.STORES))
        alive = await snapshot.scan(system.ALIVE, ops.prefix_end(system.ALIVE), keys_only=True)
        debts = await snapshot.scan(keys.DEBTS, ops.prefix_end(keys.DEBTS), count_only=True)
        placement, revision = NOWHERE, 0
        stores: dict[int, bytes] = {}
        passed: dict[int, tuple[int, bytes]] = {}
        for kv in ours.kvs:
            if kv.key == keys.PLACEMENT:
                placement, revision = Placement.decode(kv.value), kv.mod_revision
            elif kv.key.startswith(keys.STORES):
                stores[keys.member_of(kv.key)] = storage_pb2.StoreRecord.FromString(kv.value).store_id
            elif kv.key.startswith(keys.PASSED):
                record = storage_pb2.Passed.FromString(kv.value)
                passed[keys.member_of(kv.key)] = (record.placement, record.store_id)
        if placement.number < self.view.placement.number:
            return self.view  # a look that began earlier ends later
        view = View(
            placement, revision, frozenset(keys.member_of(kv.key) for kv in alive.kvs), stores, passed, debts.count
        )
        if view != self.view:
            self.view = view
            self._changed.set()
            for listener in self._listeners:
                listener()
        return view

    async def newer_than(self, number: int, patience: float) -> None:
        """Return when a later placement than `number` is known, after `patience` seconds at the latest. Raises MetastoreError."""
        until = self._clock() + patience
        while True:
            if (await self.refresh(newest=True)).placement.number > number or self._clock() >= until:
                return
            await asyncio.sleep(self._pace / 4)

    def _look(self, status: Status) -> None:
        self.alone = self._is_alone(status)
        self._wake.set()

    def _is_alone(self, status: Status) -> bool:
        return set(status.members) == {status.member_id}

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                if not self.alone:
                    await self._turn()
            except (MetastoreError, QuartetError, TimeoutError) as error:
                _log.debug("the placement of blobs waits", reason=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if self.alone else self._pace):
                    await self._wake.wait()

    async def _turn(self) -> None:
        view = await self.refresh()
        if view.stores.get(self.me) != self._store_id and self.me in self.members:
            record = storage_pb2.StoreRecord(store_id=self._store_id).SerializeToString()
            await self._store.put(pb.PutRequest(key=keys.store(self.me), value=record))
            view = await self.refresh()
        if self._member.status().role is Role.LEADER:
            await self._lead(view)
        else:
            self._absent_since.clear()
            self._waiting_since = None

    async def _lead(self, view: View) -> None:
        """Decide who keeps blobs; forget what was written down about nodes that are members no more."""
        members = self.members
        wanted = {node: store for node, store in view.stores.items() if node in members}
        if not view.placement.number and self._waits_for_others(view, members):
            return
        for node in await self._absent(view, wanted):
            del wanted[node]
        again = view.debts and await self._look_at_debts(view)
        if wanted and (again or (wanted, self._replicas) != (dict(view.placement.stores), view.placement.replicas)):
            placement = Placement(view.placement.number + 1, self._replicas, wanted)
            done = await self._store.txn(
                pb.TxnRequest(
                    compare=[ops.unchanged(keys.PLACEMENT, view.revision)],
                    success=[ops.put(keys.PLACEMENT, placement.encode()), *(ops.delete(key) for key in again or ())],
                )
            )
            if done.succeeded:
                names = sorted(members[node].name for node in wanted)
                _log.info("blobs are placed anew", placement=placement.number, nodes=names)
            await self.refresh()
        for node in {*view.stores, *view.passed}.difference(members):
            gone = (keys.store(node), keys.passed(node))
            await self._store.txn(pb.TxnRequest(success=[ops.delete(key) for key in gone]))
            await self._forget_debts(node)

    def _waits_for_others(self, view: View, members: Mapping[int, Member]) -> bool:
        """Tell whether the first placement is to wait: founders that start together are found one after another."""
        if self._waiting_since is None:
            self._waiting_since = self._clock()
        silent = [one for one in members.values() if not one.learner and one.id not in view.stores]
        return bool(silent) and self._clock() - self._waiting_since < FOUNDING

    async def _absent(self, view: View, wanted: Mapping[int, bytes]) -> list[int]:
        """Return the nodes that get no share: gone for too long, or gone when a share was about to be given to them."""
        absent = []
        for node in wanted:
            if node == self.me or node in view.alive or await self._answers(node):
                self._absent_since.pop(node, None)
                continue
            since = self._absent_since.setdefault(node, self._clock())
            new = view.placement.number > 0 and node not in view.placement.stores
            if new or self._clock() - since >= self._absent_seconds:
                absent.append(node)
        return absent

    async def _answers(self, node: int) -> bool:
        """Tell whether a node without a lease is there all the same; asked now and then."""
        until, answer = self._probed.get(node, (0.0, False))
        if self._clock() >= until:
            assert self._probe is not None
            answer = await self._probe(node)
            self._probed[node] = (self._clock() + _PROBES, answer)
        return answer

    async def _look_at_debts(self, view: View) -> list[bytes]:
        """Keep the records of debts few; return those of nodes that are back, and so far behind that all look through all."""
        found = await Snapshot(self._store, serializable=True).scan(
            keys.DEBTS, ops.prefix_end(keys.DEBTS), 2 * MOST_DEBTS, keys_only=True
        )
        counts = Counter(keys.member_of(kv.key) for kv in found.kvs)
        for node in counts.keys() - view.placement.stores.keys():  # what it had is copied, as it is placed no more
            await self._forget_debts(node)
        if view.debts > MOST_DEBTS:
            await self._forget_debts(counts.most_common(1)[0][0], much=True)
        behind = {keys.behind(node) for node in view.placement.stores if node in view.alive}
        return [kv.key for kv in found.kvs if kv.key in behind]

    async def _forget_debts(self, node: int, *, much: bool = False) -> None:
        """Forget the records of what a node lacks; with `much`, write down instead that it is so much."""
        behind = ops.put(keys.behind(node), b"") if much else ops.delete(keys.behind(node))
        await self._store.txn(pb.TxnRequest(success=[ops.delete_prefix(keys.debts(node)), behind]))
