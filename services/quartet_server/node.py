"""The composition root: stores, then services, then ports; and the same backwards."""

from __future__ import annotations

import asyncio
import secrets
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import structlog
from grpc import aio
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from quartet_server import validation
from quartet_server.addresses import Address
from quartet_server.agents import service as agents
from quartet_server.catalog import schemas_for
from quartet_server.cluster import service as cluster
from quartet_server.config import Config, Serve
from quartet_server.config import Objects as Blobs
from quartet_server.domain import Domain, Resources
from quartet_server.events import service as events
from quartet_server.files import service as files
from quartet_server.files.contents.holding import HeldByFiles
from quartet_server.files.mounting import MountedFiles
from quartet_server.health import Health
from quartet_server.http import HttpPort, application
from quartet_server.maintenance import service as maintenance
from quartet_server.meta.times import timestamps
from quartet_server.mounts import service as mounts
from quartet_server.objects import service as objects
from quartet_server.objects.alone import SHARED, OneNodesBlobs
from quartet_server.objects.contract import BlobStore
from quartet_server.objects.gc.metrics import UpkeepMetrics
from quartet_server.objects.gc.ownership import Ownership
from quartet_server.objects.gc.upkeep import Upkeep
from quartet_server.objects.mounts.opened import OpenStores
from quartet_server.objects.mounts.reach import Reach
from quartet_server.objects.mounts.referring import Referrer
from quartet_server.objects.mounts.store import MountedBlobs
from quartet_server.objects.opening import open_store, store_folder
from quartet_server.objects.pins import Holder, Pins
from quartet_server.objects.replicas.identity import store_id
from quartet_server.objects.replicas.metrics import ReplicaCollector
from quartet_server.objects.replicas.opening import Replication, settings_of
from quartet_server.objects.replicas.status import ReplicaService
from quartet_server.ops import service as ops
from quartet_server.ops.staging import put_in_place
from quartet_server.parsed import service as parsed
from quartet_server.placement.opening import Placement
from quartet_server.projects import service as projects
from quartet_server.raft_metrics import RaftCollector
from quartet_server.readiness import MemberCondition, Readiness, StoreCondition
from quartet_server.records.contract import Databases
from quartet_server.records.engine import FOLDER as RECORDS
from quartet_server.records.engine import OpenDatabases, open_databases
from quartet_server.removal import Removed, refuse_removed
from quartet_server.rpc import port
from quartet_server.rpc.deadlines import Deadlines
from quartet_server.rpc.interceptor import CallInterceptor
from quartet_server.rpc.metrics import CallMetrics
from quartet_server.settings import service as settings
from quartet_server.snapshots import service as snapshots
from quartet_server.snapshots.holding import HeldBySnapshots
from quartet_server.versions import service as versions
from quartet_server.versions.holding import HeldByVersions
from quartet_server.versions.mounting import MountedVersions
from quartet_server.workspaces import service as workspaces
from raftmeta import services as etcd
from raftmeta.config import QUARTET_SPACE, NodeConfig
from raftmeta.drivers.remote import RemoteMetastore
from raftmeta.metastore import Metastore
from raftmeta.metrics import NodeMetrics
from raftmeta.node import Node as Member
from raftmeta.removal import Removal
from raftmeta.tls import TlsFiles, grpc_channel_credentials

DOMAINS: dict[str, Callable[[Resources], Awaitable[Domain]]] = {
    "agents": agents.start,
    "cluster": cluster.start,
    "events": events.start,
    "files": files.start,
    "maintenance": maintenance.start,
    "mounts": mounts.start,
    "objects": objects.start,
    "ops": ops.start,
    "parsed": parsed.start,
    "projects": projects.start,
    "settings": settings.start,
    "snapshots": snapshots.start,
    "versions": versions.start,
    "workspaces": workspaces.start,
}
"""Every domain service by the name that `--services` takes."""

USES_OBJECTS = frozenset(("files", "maintenance", "mounts", "objects", "parsed", "snapshots", "versions"))
"""Services that need the store of blobs."""

EXTERNAL_PREFIX = b"quartet/"
"""Where Quartet's keyspace lies in an external store."""

_LAST_ANSWERS = 1.0  # seconds for what is on the wire
_log = structlog.get_logger("quartet.node")


class RunningNode:
    """A node at work; an async context manager that stops it at the end. Made by `start` or `start_in_memory`.

    Attributes:
        config: What it was told.
        address: HOST:PORT of the gRPC port in use.
        http_address: HOST:PORT of the HTTP port in use; None without one.
        member: Its end of the cluster; None with an external store.
        metastore: Quartet's own keyspace.
        blobs: Its stores of blobs, mounted ones by their address; None without any.
        records: Its databases of records; None without any.
        readiness: Whether it can do its work, and why not.
        registry: What /metrics shows.
    """

    def __init__(self, config: Config) -> None:
        """Use `start`."""
        self.config = config
        self.address: Address
        self.http_address: Address | None = None
        self.member: Member | None = None
        self.metastore: Metastore
        self.blobs: BlobStore | None = None
        self.records: OpenDatabases | None = None
        self._ownership: Ownership
        self._disk = b""
        self.readiness = Readiness()
        self.registry = CollectorRegistry()
        self._failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._undo = AsyncExitStack()

    @classmethod
    async def start(cls, config: Config, at_end: Callable[[], object] | None = None) -> RunningNode:
        """Start everything and return at once; `wait_ready` waits until the node can serve.

        `at_end` is called when all is closed, also when the start fails.

        Raises:
            port.PortRefused: A port cannot or may not be opened.
            raftmeta.identity.IdentityError: The data directory is another member's.
            Removed: This node was removed from its cluster.
            QuartetError: The store of blobs cannot be opened.
            OSError, ValueError: The data directory or the configuration cannot be used.
        """
        node = cls(config)
        if at_end is not None:
            node._undo.callback(at_end)
        try:
            await node._compose()
        except BaseException:
            await node._undo.aclose()
            raise
        return node

    async def _compose(self) -> None:
        """Open the gRPC port before the store, which announces its address; it takes calls last.

        Each step pushes its undoing.
        """
        config, registry = self.config, self.registry
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        tls = validation.tls_files(config)
        listen = Address.parse(config.serve.listen)
        port.check(listen, tls, insecure=config.serve.insecure)
        if config.serve.listen_http:  # first and last, so that it can tell why the node is not ready
            app = application([registry], lambda: self.readiness.reason, self.facts)
            http = await HttpPort.start(app, Address.parse(config.serve.listen_http))
            self._undo.push_async_callback(http.stop)
            self.http_address = http.address
        interceptor = CallInterceptor(
            CallMetrics(registry),
            new_id=new_id,
            deadlines=Deadlines(config.limits.default_deadline, config.limits.max_deadline),
            certificates=tls is not None,
        )
        server = port.create(config.limits, interceptor.wrap)
        self._undo.push_async_callback(server.stop, None)
        self.address = port.bind(server, listen, tls)
        await self._open_store(tls)
        foreign: tuple[str, ...] = ()
        if self.member is not None:
            registry.register(RaftCollector(self.member))
            registry.register(NodeMetrics(self.member))
            etcd.add_services(server, self.member)
            foreign = etcd.SERVICE_NAMES
        blobs = local = None
        if USES_OBJECTS.intersection(config.services):
            blobs, local, names = await self._open_objects(server, tls)
            foreign += names
        stores = self._open_mounts() if blobs is not None else None
        if blobs is not None and stores is not None:
            self.blobs = blobs = MountedBlobs(blobs, stores)
        self.records = await self._open_records()
        databases, names = await self._start_placement(server, interceptor, tls)
        foreign += names
        domains = await self._start_domains(server, blobs, local, stores, databases)
        health = Health([*(name for domain in domains for name in domain.names), *foreign])
        health.add_to(server)
        await server.start()
        self._undo.push_async_callback(self._drain, server, interceptor)
        self._undo.push_async_callback(health.shut_down)
        self._undo.push_async_callback(self.readiness.stop)
        condition = StoreCondition(self.metastore) if self.member is None else MemberCondition(self.member)
        self.readiness.start(condition, health.set)
        _log.info("started", name=config.serve.name, grpc=str(self.address), http=str(self.http_address or ""))

    async def _open_store(self, tls: TlsFiles | None) -> None:
        """Connect to the external store, or start this process's member."""
        config = self.config
        endpoints = validation.external_endpoints(config)
        if endpoints:
            remote = RemoteMetastore(endpoints, prefix=EXTERNAL_PREFIX)
            self._undo.push_async_callback(remote.close)
            self.metastore = remote
            return
        refuse_removed(config.serve.data_dir)
        member = await Member.start(self._member_config(tls))
        self._undo.push_async_callback(member.stop)
        member.consensus.on_failure(self._fail)
        credentials = (lambda: grpc_channel_credentials(tls)) if tls is not None else (lambda: None)
        removal = Removal(member, credentials, lambda: self._fail(Removed(config.serve.data_dir)))
        removal.start()
        self._undo.push_async_callback(removal.close)
        self.member = member
        self.metastore = member.metastore(QUARTET_SPACE)

    def _member_config(self, tls: TlsFiles | None) -> NodeConfig:
        serve, raft = self.config.serve, self.config.raft
        opens = validation.opens_raft_port(self.config)
        join = validation.joined(self.config)
        founders = validation.initial_cluster(self.config)
        return NodeConfig(
            data_dir=serve.data_dir,
            name=serve.name,
            cluster_token=raft.token,
            listen_peer=serve.listen_raft if opens else "",
            advertise_peer=serve.advertise_raft or founders.get(serve.name, ""),
            advertise_client=self.advertised,
            client_tls=tls is not None,
            initial_cluster=founders,
            join=join,
            join_credentials=grpc_channel_credentials(tls) if tls is not None and join else None,
            peer_tls=validation.raft_tls_files(self.config),
            heartbeat=raft.heartbeat,
            election=(raft.election_min, raft.election_max),
            quota_bytes=raft.quota_bytes,
        )

    async def _open_objects(
        self, server: aio.Server, tls: TlsFiles | None
    ) -> tuple[BlobStore, BlobStore, tuple[str, ...]]:
        """Open the store of blobs; return the cluster's, this node's share of it, and the services that come with it."""
        store = await open_store(self.config, say=lambda text: _log.warning("objects", finding=text))
        self._undo.push_async_callback(store.close)
        shared = self.config.objects.url.startswith(SHARED)
        self._ownership = Ownership(store, self.metastore, new_id, shared=shared)
        await self._ownership.begin()
        self._undo.push_async_callback(self._ownership.close)
        self._ownership.start()
        if shared or self.member is None:
            ReplicaService(None).add_to(server)
            blobs = store if shared else OneNodesBlobs(store)
            return blobs, blobs, (ReplicaService.name,)
        replication = Replication(
            store,
            await asyncio.to_thread(store_id, store_folder(self.config)),
            self.metastore,
            self.member,
            settings_of(self.config),
            credentials=(lambda: grpc_channel_credentials(tls)) if tls is not None else (lambda: None),
            clock=time.time,
            monotonic=time.monotonic,
            new_id=new_id,
        )
        replication.start()
        self._undo.push_async_callback(replication.close)
        self.registry.register(ReplicaCollector(replication))
        replication.service.add_to(server)
        ReplicaService(replication).add_to(server)
        return replication.blobs, replication.own, (replication.service.name, ReplicaService.name)

    async def _open_records(self) -> OpenDatabases | None:
        """Open the databases that the node's services need."""
        schemas = schemas_for(self.config.services)
        if not schemas and "ops" not in self.config.services:
            return None
        if await asyncio.to_thread(put_in_place, self.config.serve.data_dir, self.config.serve.data_dir / RECORDS):
            _log.info("databases were restored from a backup")
        return await open_databases(self.config, schemas, self._undo, self.registry)

    async def _start_placement(
        self, server: aio.Server, interceptor: CallInterceptor, tls: TlsFiles | None
    ) -> tuple[Databases | None, tuple[str, ...]]:
        """Begin to give zones homes; return the databases as services may use them, and the services that come with it."""
        records, member = self.records, self.member
        if records is None or records.shared:
            return records, ()
        folder = self.config.serve.data_dir / RECORDS
        folder.mkdir(mode=0o700, exist_ok=True)  # with PostgreSQL there is nothing in it but the id
        self._disk = await asyncio.to_thread(store_id, folder)
        placement = Placement(
            self.metastore,
            self.config.serve.name,
            self._disk,
            records,
            records.schemas,
            (lambda: ()) if member is None else lambda: member.status().members.values(),
            credentials=(lambda: grpc_channel_credentials(tls)) if tls is not None else (lambda: None),
            now=timestamps(time.time),
            monotonic=time.monotonic,
        )
        interceptor.forwarding = placement.forwarding
        placement.add_to(server)
        placement.start()
        self._undo.push_async_callback(placement.close)
        return placement.databases, (placement.service.name,)

    def _start_upkeep(self, local: BlobStore, holders: Sequence[Holder], stores: OpenStores | None) -> Upkeep:
        """Begin to look after the node's own share of the blobs and the mounted ones, of which pins and `holders` keep some."""
        upkeep = Upkeep(
            self.config.serve.name,
            local,
            self.metastore,
            (*holders, Pins(self.metastore)),
            self.config.objects,
            self._ownership,
            shared=self.config.objects.url.startswith(SHARED),
            clock=time.time,
            draw=secrets.token_bytes,
            mounts=stores,
        )
        self.registry.register(UpkeepMetrics(upkeep))
        upkeep.start()
        self._undo.push_async_callback(upkeep.close)
        return upkeep

    async def _start_domains(
        self,
        server: aio.Server,
        blobs: BlobStore | None,
        local: BlobStore | None,
        stores: OpenStores | None,
        databases: Databases | None,
    ) -> list[Domain]:
        holders = self._holders(blobs) if blobs is not None else ()
        resources = Resources(
            config=self.config,
            metastore=self.metastore,
            objects=blobs,
            local_objects=local,
            holders=holders,
            upkeep=self._start_upkeep(local, holders, stores) if local is not None else None,
            referrers=self._referrers(blobs) if blobs is not None else (),
            member=self.member,
            address=self.advertised,
            clock=time.time,
            new_id=new_id,
            mounts=stores,
            registry=self.registry,
            records=databases,
            opened=self.records,
            disk=self._disk,
        )
        domains = []
        for name in self.config.services:
            domain = await DOMAINS[name](resources)
            self._undo.push_async_callback(domain.stop)
            domain.add_to(server)
            domains.append(domain)
        return domains

    def _holders(self, blobs: BlobStore) -> tuple[Holder, ...]:
        """Return what keeps blobs, in the order in which it is asked.

        What a restore takes from a snapshot that is given up then, files have by then; what files let go of, versions.
        """
        idle = versions.LATER if self.member is None else versions.SOON
        return (
            HeldBySnapshots(self.metastore, blobs),
            HeldByFiles(self.metastore, blobs),
            HeldByVersions(self.metastore, blobs, time.time, idle),
        )

    def _open_mounts(self) -> OpenStores:
        """Begin to open mounted stores when they are needed, and to tell which are reached."""
        stores = OpenStores(self.metastore, self.config, self._nodes, new_id)
        self._undo.push_async_callback(stores.close)
        reach = Reach(self.metastore, stores)
        self._undo.push_async_callback(reach.close)
        reach.start()
        return stores

    def _nodes(self) -> int:
        """How many nodes share the Metastore; 0 if that is not known."""
        return len(self.member.status().members) if self.member is not None else 0

    def _referrers(self, blobs: BlobStore) -> tuple[Referrer, ...]:
        """Return what may have contents in mounted stores, in the same order as holders."""
        idle = versions.LATER if self.member is None else versions.SOON
        held = HeldByVersions(self.metastore, blobs, time.time, idle)
        return MountedFiles(self.metastore, blobs), MountedVersions(self.metastore, blobs, held)

    @property
    def advertised(self) -> str:
        """HOST:PORT by which clients reach this node: as configured, else as bound, else by this machine's name."""
        if self.config.serve.advertise:
            return self.config.serve.advertise
        anywhere = self.address.host in ("0.0.0.0", "::")
        return str(replace(self.address, host=socket.gethostname()) if anywhere else self.address)

    def facts(self) -> dict[str, object]:
        """Return what /readyz shows besides the verdict; `leader` is HOST:PORT of its gRPC port, empty if unknown."""
        facts: dict[str, object] = {"name": self.config.serve.name}
        if self.member is not None:
            status = self.member.status()
            leader = status.members.get(status.leader_id)
            facts |= {
                "role": status.role.value,
                "leader": leader.client_address if leader else "",
                "term": status.term,
                "commit_index": status.commit_index,
                "applied_index": status.applied_index,
                "members": len(status.members),
            }
        return facts

    async def wait_ready(self) -> None:
        """Wait until the node can serve, as long as it takes. Raises what made the member stop, if it did."""
        ready = asyncio.create_task(self.readiness.wait())
        failed = asyncio.create_task(self.failure())
        try:
            await asyncio.wait({ready, failed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            failed.cancel()
        if self._failed.done():
            raise self._failed.result()

    async def failure(self) -> BaseException:
        """Wait until the member stops by itself, because going on would not be safe, and return why."""
        return await asyncio.shield(self._failed)

    async def stop(self) -> None:
        """End in order: NOT_SERVING, drain, services, leadership handed over, stores closed, HTTP port closed."""
        await self._undo.aclose()

    async def __aenter__(self) -> RunningNode:
        """Return the node, started."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        await self.stop()

    async def _drain(self, server: aio.Server, interceptor: CallInterceptor) -> None:
        """Take no new call and let those in flight finish, as long as the configuration allows."""
        await interceptor.drain(self.config.limits.drain)
        await server.stop(_LAST_ANSWERS)

    def _fail(self, error: BaseException) -> None:
        if not self._failed.done():
            self._failed.set_result(error)


async def start_in_memory() -> RunningNode:
    """Start a single node for this process alone, on a free loopback port; what it keeps is gone when it stops.

    Returns when the node can serve.
    """
    directory = tempfile.TemporaryDirectory(prefix="quartet-")
    serve = Serve(name="memory", data_dir=Path(directory.name), listen="127.0.0.1:0", listen_http="")
    config = Config(serve=serve, objects=Blobs(url="memory://"))
    node = await RunningNode.start(config, at_end=directory.cleanup)
    try:
        await node.wait_ready()
    except BaseException:
        await node.stop()
        raise
    return node


def new_id() -> str:
    """Return 32 hexadecimal digits that nobody else has."""
    return secrets.token_hex(16)
