"""Asynchronous calls: which endpoint they go to, and what happens when it fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

import grpc
from grpc import aio

from quartet._errors import Unavailable, from_rpc
from quartet._options import Options
from quartet._retry import Backoff, repeatable
from quartet._transport import unreachable
from quartet.agents.v1 import agents_pb2_grpc
from quartet.cluster.v1 import cluster_pb2_grpc
from quartet.events.v1 import events_pb2_grpc
from quartet.files.v1 import files_pb2, files_pb2_grpc
from quartet.maintenance.v1 import maintenance_pb2_grpc
from quartet.mounts.v1 import mounts_pb2_grpc
from quartet.objects.replicas.v1 import replicas_pb2_grpc
from quartet.objects.v1 import objects_pb2_grpc
from quartet.ops.v1 import ops_pb2_grpc
from quartet.parsed.v1 import parsed_pb2_grpc
from quartet.projects.v1 import service_pb2_grpc as projects_pb2_grpc
from quartet.settings.v1 import settings_pb2_grpc
from quartet.snapshots.v1 import snapshots_pb2_grpc
from quartet.versions.v1 import versions_pb2_grpc
from quartet.wire.reapi import cas_pb2_grpc
from quartet.workspaces.v1 import workspaces_pb2_grpc

if TYPE_CHECKING:
    from quartet.agents.v1.agents_pb2_grpc import AgentServiceAsyncStub
    from quartet.cluster.v1.cluster_pb2_grpc import ClusterServiceAsyncStub
    from quartet.events.v1.events_pb2_grpc import EventServiceAsyncStub
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub
    from quartet.maintenance.v1.maintenance_pb2_grpc import MaintenanceServiceAsyncStub
    from quartet.mounts.v1.mounts_pb2_grpc import MountServiceAsyncStub
    from quartet.objects.replicas.v1.replicas_pb2_grpc import ReplicaServiceAsyncStub
    from quartet.objects.v1.objects_pb2_grpc import ObjectServiceAsyncStub
    from quartet.ops.v1.ops_pb2_grpc import OpsServiceAsyncStub
    from quartet.parsed.v1.parsed_pb2_grpc import ParsedServiceAsyncStub
    from quartet.projects.v1.service_pb2_grpc import ProjectServiceAsyncStub
    from quartet.settings.v1.settings_pb2_grpc import SettingsServiceAsyncStub
    from quartet.snapshots.v1.snapshots_pb2_grpc import SnapshotServiceAsyncStub
    from quartet.versions.v1.versions_pb2_grpc import VersionServiceAsyncStub
    from quartet.wire.reapi.cas_pb2_grpc import ContentAddressableStorageAsyncStub
    from quartet.workspaces.v1.workspaces_pb2_grpc import WorkspaceServiceAsyncStub

Request = TypeVar("Request", contravariant=True)
Answer = TypeVar("Answer", covariant=True)


class Unary(Protocol[Request, Answer]):
    """A unary method of a stub."""

    def __call__(
        self, request: Request, *, timeout: float | None, metadata: tuple[tuple[str, str], ...]
    ) -> Awaitable[Answer]:
        """Call it."""


class Endpoint:
    """One node: its channel and stubs."""

    def __init__(self, address: str, options: Options) -> None:
        """Open a lazy channel to HOST:PORT."""
        self.address = address
        if options.tls is None:
            self.channel = aio.insecure_channel(address, options=options.channel_options)
        else:
            self.channel = aio.secure_channel(address, options.tls.credentials(), options=options.channel_options)
        self.files: FileServiceAsyncStub = files_pb2_grpc.FileServiceStub(self.channel)
        self.settings: SettingsServiceAsyncStub = settings_pb2_grpc.SettingsServiceStub(self.channel)
        self.cluster: ClusterServiceAsyncStub = cluster_pb2_grpc.ClusterServiceStub(self.channel)
        self.objects: ObjectServiceAsyncStub = objects_pb2_grpc.ObjectServiceStub(self.channel)
        self.snapshots: SnapshotServiceAsyncStub = snapshots_pb2_grpc.SnapshotServiceStub(self.channel)
        self.replicas: ReplicaServiceAsyncStub = replicas_pb2_grpc.ReplicaServiceStub(self.channel)
        self.maintenance: MaintenanceServiceAsyncStub = maintenance_pb2_grpc.MaintenanceServiceStub(self.channel)
        self.mounts: MountServiceAsyncStub = mounts_pb2_grpc.MountServiceStub(self.channel)
        self.events: EventServiceAsyncStub = events_pb2_grpc.EventServiceStub(self.channel)
        self.ops: OpsServiceAsyncStub = ops_pb2_grpc.OpsServiceStub(self.channel)
        self.versions: VersionServiceAsyncStub = versions_pb2_grpc.VersionServiceStub(self.channel)
        self.parsed: ParsedServiceAsyncStub = parsed_pb2_grpc.ParsedServiceStub(self.channel)
        self.agents: AgentServiceAsyncStub = agents_pb2_grpc.AgentServiceStub(self.channel)
        self.projects: ProjectServiceAsyncStub = projects_pb2_grpc.ProjectServiceStub(self.channel)
        self.workspaces: WorkspaceServiceAsyncStub = workspaces_pb2_grpc.WorkspaceServiceStub(self.channel)
        self.blobs: ContentAddressableStorageAsyncStub = cas_pb2_grpc.ContentAddressableStorageStub(self.channel)

    def write(
        self, begin: Callable[[], AsyncIterator[files_pb2.WriteStreamRequest]]
    ) -> Callable[..., Awaitable[files_pb2.Entry]]:
        """Return WriteStream as a call of its header, which is the first of the messages that `begin` returns."""

        def call(
            _: object, *, timeout: float | None, metadata: tuple[tuple[str, str], ...]
        ) -> Awaitable[files_pb2.Entry]:
            return self.files.WriteStream(begin(), timeout=timeout, metadata=metadata)

        return call

    async def connected(self, timeout: float) -> bool:
        """Connect if need be; tell whether that worked within `timeout` seconds."""
        state = self.channel.get_state(try_to_connect=True)
        try:
            async with asyncio.timeout(timeout):
                connecting = False
                while state is not grpc.ChannelConnectivity.READY:
                    if state is grpc.ChannelConnectivity.CONNECTING:
                        connecting = True
                    elif connecting and state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                        return False
                    await self.channel.wait_for_state_change(state)
                    state = self.channel.get_state(try_to_connect=True)
        except TimeoutError:
            return False
        return True


class AsyncTransport:
    """Sends calls to one endpoint until it fails, then to the next. Belongs to one event loop."""

    def __init__(self, options: Options, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Remember the options; channels are opened by the first call, inside the loop."""
        self._options = options
        self._opened: list[Endpoint] = []
        self._current = 0
        self._sleep = sleep

    async def close(self) -> None:
        """Close the channels; calls in flight end as cancelled."""
        await asyncio.gather(*(endpoint.channel.close() for endpoint in self._opened))

    @property
    def timeout(self) -> float:
        """Seconds for a call that says nothing else."""
        return self._options.timeout

    async def call(
        self,
        method: Callable[[Endpoint], Unary[Request, Answer]],
        request: Request,
        *,
        safe: bool,
        timeout: float | None = None,
    ) -> Answer:
        """Call a unary method, as `quartet._transport.Transport.call` does."""
        deadline = time.monotonic() + (self._options.timeout if timeout is None else timeout)
        backoff = Backoff()
        while True:
            endpoint = await self._ready(deadline)
            try:
                remaining = max(deadline - time.monotonic(), 0.001)
                return await method(endpoint)(request, timeout=remaining, metadata=self._options.metadata)
            except grpc.RpcError as error:
                failure = from_rpc(error)
                cause = error
            if isinstance(failure, Unavailable):
                self._failed(endpoint)
            wait = backoff.after(failure)
            if not repeatable(failure, safe=safe) or time.monotonic() + wait >= deadline:
                raise failure from cause
            await self._sleep(wait)

    async def stream(
        self, method: Callable[[Endpoint], aio.UnaryStreamMultiCallable[Request, Answer]], request: Request
    ) -> AsyncIterator[Answer]:
        """Call a method that streams answers, without a deadline; the caller resumes it. Raises CallError."""
        endpoint = await self._ready(time.monotonic() + self._options.timeout)
        call = method(endpoint)(request, metadata=self._options.metadata)
        try:
            async for answer in call:
                yield answer
        except grpc.RpcError as error:
            failure = from_rpc(error)
            if isinstance(failure, Unavailable):
                self._failed(endpoint)
            raise failure from error
        finally:
            call.cancel()

    async def rest(self, seconds: float) -> None:
        """Wait before a stream is resumed."""
        await self._sleep(seconds)

    async def _ready(self, deadline: float) -> Endpoint:
        """Return an endpoint with a connection, beginning with the last that worked. Raises Unavailable."""
        if not self._opened:
            self._opened = [Endpoint(address, self._options) for address in self._options.endpoints]
        first = self._current
        end = min(deadline, time.monotonic() + self._options.connect_timeout)
        each = max((end - time.monotonic()) / len(self._opened), 0.05)
        while True:
            for offset in range(len(self._opened)):
                at = (first + offset) % len(self._opened)
                if await self._opened[at].connected(each):
                    self._current = at
                    return self._opened[at]
            if time.monotonic() + 0.05 >= end:
                raise unreachable(self._options)
            await self._sleep(0.05)

    def _failed(self, endpoint: Endpoint) -> None:
        if self._opened[self._current] is endpoint:
            self._current = (self._current + 1) % len(self._opened)
