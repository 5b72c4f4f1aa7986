"""Three nodes in this process that keep blobs together: real calls between them, a real machine below, no Raft."""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

from prometheus_client import CollectorRegistry
from quartet_server.meta import system
from quartet_server.objects.contract import BlobStore
from quartet_server.objects.memory import MemoryBlobs
from quartet_server.objects.replicas.opening import Replication, Settings
from quartet_server.objects.replicas.repair import Rhythm
from quartet_server.rpc.interceptor import CallInterceptor
from quartet_server.rpc.metrics import CallMetrics

from harness.machines import Feed, machine
from raftmeta.consensus.contract import Member, Role, Status
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine import Machine
from raftmeta.metastore import Metastore
from raftmeta.serving import Server

PATIENCE = 1.5
"""Seconds after which a node that is stuck is given up, in tests that have one; the others wait for a busy machine."""
SETTINGS = Settings(
    patience=20.0,
    absent_seconds=3600.0,
    repair_bytes=1 << 40,
    pace=0.02,
    rhythm=Rhythm(after_failure=0.05, extras=0.1),
)


class MachineMetastore:
    """As much of a Metastore as the placement of blobs needs, on one machine that all nodes share."""

    def __init__(self, shared: Machine) -> None:
        self.machine = shared
        self._feed = Feed(shared)

    async def range(self, request: pb.RangeRequest) -> pb.RangeResponse:
        await asyncio.sleep(0)
        return self.machine.range(0, request)

    async def txn(self, request: pb.TxnRequest) -> pb.TxnResponse:
        await asyncio.sleep(0)
        if all(one.HasField("request_range") for one in (*request.success, *request.failure)):
            return self.machine.read_txn(0, request)
        return cast(pb.TxnResponse, self._apply(request))

    async def put(self, request: pb.PutRequest) -> pb.PutResponse:
        await asyncio.sleep(0)
        return cast(pb.PutResponse, self._apply(request))

    async def delete_range(self, request: pb.DeleteRangeRequest) -> pb.DeleteRangeResponse:
        await asyncio.sleep(0)
        return cast(pb.DeleteRangeResponse, self._apply(request))

    def _apply(self, request: pb.TxnRequest | pb.PutRequest | pb.DeleteRangeRequest) -> object:
        result = self._feed(request)
        if isinstance(result, Fault):
            raise MetastoreError(result)
        return result


class Seat:
    """One node's end of a membership that the test decides on."""

    def __init__(self, trio: Trio, number: int) -> None:
        self._trio = trio
        self._number = number
        self._listeners: list[Callable[[Status], None]] = []

    def status(self) -> Status:
        role = Role.LEADER if self._number == self._trio.leader else Role.FOLLOWER
        return Status(self._number, role, 1, self._trio.leader, 1, 1, 1, dict(self._trio.members))

    def on_status(self, listener: Callable[[Status], None]) -> None:
        self._listeners.append(listener)

    def tell(self) -> None:
        for listener in self._listeners:
            listener(self.status())


class Node:
    """A node: its disk, its port, its part in keeping copies.

    Attributes:
        number: Its member id.
        disk: Its own store.
        replication: Its part; of it `blobs` is the cluster's store as this node sees it.
    """

    def __init__(self, number: int, disk: BlobStore, replication: Replication, server: Server, seat: Seat) -> None:
        self.number = number
        self.disk = disk
        self.replication = replication
        self.server = server
        self.seat = seat

    @property
    def blobs(self) -> BlobStore:
        """The cluster's blobs, through this node."""
        return self.replication.blobs


class Trio:
    """Nodes 1, 2, 3 and more, of which 1 leads; see `trio`.

    Attributes:
        nodes: Member id -> node.
        members: The membership.
        leader: Member id of who leads.
        metastore: What they agree in.
    """

    def __init__(self, shared: Machine, clock: Callable[[], float], settings: Settings) -> None:
        self.metastore = MachineMetastore(shared)
        self.nodes: dict[int, Node] = {}
        self.members: dict[int, Member] = {}
        self.leader = 1
        self._clock = clock
        self._settings = settings

    async def add(
        self, number: int, disk: BlobStore | None = None, *, store_id: bytes = b"", port: int = 0, founder: bool = False
    ) -> Node:
        """Start a node with a disk, in memory if none is given."""
        disk = disk or MemoryBlobs(self._clock)
        interceptor = CallInterceptor(CallMetrics(CollectorRegistry()), new_id=lambda: uuid.uuid4().hex)
        server = Server(wrap=interceptor.wrap)
        bound = server.add_insecure_port(f"127.0.0.1:{port}")
        self.members[number] = Member(number, f"n{number}", "", f"127.0.0.1:{bound}")
        seat = Seat(self, number)
        replication = Replication(
            disk,
            store_id or uuid.uuid4().bytes,
            cast(Metastore, self.metastore),
            seat,
            self._settings,
            credentials=lambda: None,
            clock=self._clock,
            monotonic=time.monotonic,
            new_id=lambda: uuid.uuid4().hex,
        )
        replication.service.add_to(server)
        await server.start()
        self.nodes[number] = Node(number, disk, replication, server, seat)
        await self.alive(number)
        if not founder:
            self.start(number)
        return self.nodes[number]

    def start(self, number: int) -> None:
        """Let a founder take part, once all of them are members."""
        self.nodes[number].replication.start()
        for node in self.nodes.values():
            node.seat.tell()

    async def alive(self, number: int) -> None:
        """Let a node's lease live."""
        await self.metastore.put(pb.PutRequest(key=system.alive(number), value=b"x"))

    async def die(self, number: int, *, noticed: bool = True) -> BlobStore:
        """Kill a node; its lease ends with it if `noticed`. Returns its disk."""
        node = self.nodes.pop(number)
        await node.replication.close()
        await node.server.stop(None)
        if noticed:
            await self.metastore.delete_range(pb.DeleteRangeRequest(key=system.alive(number)))
        return node.disk

    async def remove(self, number: int) -> None:
        """Take a node, dead or not, out of the membership."""
        del self.members[number]
        for node in self.nodes.values():
            node.seat.tell()

    async def until(self, condition: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
        """Wait until a condition holds on what the nodes know."""
        deadline = time.monotonic() + seconds
        while not await condition():
            views = {number: node.replication.group.view for number, node in self.nodes.items()}
            told = {number: node.replication.progress for number, node in self.nodes.items()}
            assert time.monotonic() < deadline, (views, told)
            await asyncio.sleep(0.01)

    async def settled(self, stores: Sequence[int] = ()) -> None:
        """Wait until every node knows that all copies are where they should be, on exactly `stores` if given."""

        async def calm() -> bool:
            views = [await node.replication.group.refresh() for node in self.nodes.values()]
            return all(view.settled for view in views) and (
                not stores or all(set(view.placement.stores) == set(stores) for view in views)
            )

        await self.until(calm)

    async def close(self) -> None:
        """End all nodes."""
        for number in list(self.nodes):
            disk = await self.die(number)
            await disk.close()


@asynccontextmanager
async def trio(
    clock: Callable[[], float] = time.time,
    disks: Callable[[int], Awaitable[BlobStore]] | None = None,
    size: int = 3,
    **changes: object,
) -> AsyncIterator[Trio]:
    """Nodes that have agreed on who keeps blobs; `changes` are of SETTINGS, `disks` opens each node's."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="quartet-trio-"))
        shared = stack.enter_context(machine(Path(folder)))
        group = Trio(shared, clock, replace(SETTINGS, **changes))  # type: ignore[arg-type]
        stack.push_async_callback(group.close)
        for number in range(1, size + 1):
            await group.add(number, None if disks is None else await disks(number), founder=True)
        for number in range(1, size + 1):
            group.start(number)
        if size > 1:
            await group.settled(range(1, size + 1))
        yield group
