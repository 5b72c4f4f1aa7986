"""Nodes in this process that give zones homes: real servers, real databases, one real member for the Metastore they share."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import StringValue
from grpc import aio
from prometheus_client import CollectorRegistry
from quartet_server.meta.times import timestamps
from quartet_server.placement.opening import Placement
from quartet_server.records.contract import Databases
from quartet_server.records.engine import OpenDatabases
from quartet_server.records.schema import Schema
from quartet_server.rpc.interceptor import CallInterceptor
from quartet_server.rpc.metrics import CallMetrics

from harness.records import NOTES, open_sqlite
from harness.rpc import MAKERS
from raftmeta.metastore import Metastore
from raftmeta.serving import Server
from raftmeta.tls import TlsFiles, grpc_channel_credentials

SERVICE = "quartet.events.v1.TestService"
"""A service that no proto declares, among those whose calls are passed on."""
Methods = Mapping[str, tuple[str, Callable[..., Any]]]
"""Method -> shape (unary, server, client, bidi) and behaviour."""


@dataclass(frozen=True)
class Seat:
    """A member as others know it."""

    name: str
    client_address: str


@dataclass
class Home:
    """A node.

    Attributes:
        name: Its name.
        address: HOST:PORT of its port.
        placement: Its part in the placement.
        databases: Its databases, not behind gates.
        server: Its server.
        disk: Id of its disk.
    """

    name: str
    address: str
    placement: Placement
    databases: OpenDatabases
    server: Server
    disk: bytes
    undo: AsyncExitStack

    def channel(self, credentials: grpc.ChannelCredentials | None = None) -> aio.Channel:
        """Return a channel to it."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        if credentials is None:
            return aio.insecure_channel(self.address, options=options)
        return aio.secure_channel(self.address, credentials, options=options)


@dataclass
class Homes:
    """A cluster of such nodes.

    Attributes:
        store: What they agree in.
        folder: Their data, a folder each.
        schemas: What their databases hold.
        seats: Name -> member; nodes that are down are members too.
        nodes: Those that run, by name.
        patience: Seconds after which a move without progress is given up.
        tls: Their certificates, by name; None: plaintext.
    """

    store: Metastore
    folder: Path
    schemas: tuple[Schema, ...] = (NOTES,)
    seats: dict[str, Seat] = field(default_factory=dict)
    nodes: dict[str, Home] = field(default_factory=dict)
    patience: float = 60.0
    tls: Mapping[str, TlsFiles] | None = None
    disks: dict[str, bytes] = field(default_factory=dict)

    async def start(
        self, name: str, methods: Callable[[Databases], Methods] | Methods = lambda databases: {}, port: int = 0
    ) -> Home:
        """Start a node, or start it again with what is in its folder; `methods` are given its databases."""
        undo = AsyncExitStack()
        opened = {}
        for made in self.schemas:
            folder = self.folder / name
            folder.mkdir(parents=True, exist_ok=True)
            opened[made.database] = database = open_sqlite(folder, made, clock=time.time)
            undo.push_async_callback(database.close)
        databases = OpenDatabases(opened, {made.database: made for made in self.schemas}, shared=False)
        tls = self.tls[name] if self.tls is not None else None
        interceptor = CallInterceptor(
            CallMetrics(CollectorRegistry()), new_id=lambda: uuid.uuid4().hex, certificates=tls is not None
        )
        server = Server(wrap=interceptor.wrap)
        address = f"127.0.0.1:{server.listen(f'127.0.0.1:{port}', tls)}"
        disk = self.disks.setdefault(name, uuid.uuid4().bytes)
        placement = Placement(
            self.store,
            name,
            disk,
            databases,
            databases.schemas,
            lambda: self.seats.values(),
            credentials=(lambda: grpc_channel_credentials(tls)) if tls is not None else lambda: None,
            now=timestamps(time.time),
            monotonic=time.monotonic,
            patience=self.patience,
        )
        interceptor.forwarding = placement.forwarding
        placement.add_to(server)
        table = methods(placement.databases) if callable(methods) else methods
        handlers = {
            method: MAKERS[shape](behaviour, StringValue.FromString, StringValue.SerializeToString)
            for method, (shape, behaviour) in table.items()
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.seats[name] = Seat(name, address)
        placement.start()
        undo.push_async_callback(placement.close)
        await server.start()
        self.nodes[name] = Home(name, address, placement, databases, server, disk, undo)
        return self.nodes[name]

    async def stop(self, name: str) -> None:
        """End a node: nothing that was under way is finished; it stays a member."""
        node = self.nodes.pop(name)
        await node.server.stop(None)
        await node.undo.aclose()

    async def close(self) -> None:
        """End all nodes."""
        for name in list(self.nodes):
            await self.stop(name)


@asynccontextmanager
async def homes(
    store: Metastore,
    folder: Path,
    *names: str,
    methods: Callable[[Databases], Methods] | Methods = lambda databases: {},
    **options: Any,
) -> AsyncIterator[Homes]:
    """Nodes of these names; `options` are attributes of Homes."""
    cluster = Homes(store, folder, **options)
    try:
        for name in names:
            await cluster.start(name, methods)
        yield cluster
    finally:
        await cluster.close()


def called(channel: aio.Channel, shape: str, method: str) -> Callable[..., Any]:
    """Return the multicallable of a method of SERVICE."""
    kinds = {"unary": "unary_unary", "server": "unary_stream", "client": "stream_unary", "bidi": "stream_stream"}
    make = getattr(channel, kinds[shape])
    made: Callable[..., Any] = make(f"/{SERVICE}/{method}", StringValue.SerializeToString, StringValue.FromString)
    return made


async def retried(call: Callable[..., Any], request: Any, metadata: Any, seconds: float = 40.0) -> Any:
    """Call as a client does: again, when it is told that no node can answer now."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await call(request, metadata=metadata)
            except aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            await asyncio.sleep(0.02)
