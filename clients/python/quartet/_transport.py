"""Synchronous calls: which endpoint they go to, and what happens when it fails."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import grpc

from quartet._errors import CallError, Unavailable, from_rpc
from quartet._options import Options
from quartet._retry import Backoff, repeatable
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
from quartet.workspaces.v1 import workspaces_pb2_grpc

Request = TypeVar("Request", contravariant=True)
Answer = TypeVar("Answer", covariant=True)


class Unary(Protocol[Request, Answer]):
    """A unary method of a stub."""

    def __call__(self, request: Request, *, timeout: float | None, metadata: tuple[tuple[str, str], ...]) -> Answer:
        """Call it."""


class Endpoint:
    """One node: its channel and stubs."""

    def __init__(self, address: str, options: Options) -> None:
        """Open a lazy channel to HOST:PORT."""
        self.address = address
        if options.tls is None:
            self.channel = grpc.insecure_channel(address, options=options.channel_options)
        else:
            self.channel = grpc.secure_channel(address, options.tls.credentials(), options=options.channel_options)
        self.files = files_pb2_grpc.FileServiceStub(self.channel)
        self.settings = settings_pb2_grpc.SettingsServiceStub(self.channel)
        self.cluster = cluster_pb2_grpc.ClusterServiceStub(self.channel)
        self.objects = objects_pb2_grpc.ObjectServiceStub(self.channel)
        self.snapshots = snapshots_pb2_grpc.SnapshotServiceStub(self.channel)
        self.replicas = replicas_pb2_grpc.ReplicaServiceStub(self.channel)
        self.maintenance = maintenance_pb2_grpc.MaintenanceServiceStub(self.channel)
        self.mounts = mounts_pb2_grpc.MountServiceStub(self.channel)
        self.events = events_pb2_grpc.EventServiceStub(self.channel)
        self.ops = ops_pb2_grpc.OpsServiceStub(self.channel)
        self.versions = versions_pb2_grpc.VersionServiceStub(self.channel)
        self.parsed = parsed_pb2_grpc.ParsedServiceStub(self.channel)
        self.agents = agents_pb2_grpc.AgentServiceStub(self.channel)
        self.projects = projects_pb2_grpc.ProjectServiceStub(self.channel)
        self.workspaces = workspaces_pb2_grpc.WorkspaceServiceStub(self.channel)
        self._ready = False

    def write(self, begin: Callable[[], Iterator[files_pb2.WriteStreamRequest]]) -> Callable[..., files_pb2.Entry]:
        """Return WriteStream as a call of its header, which is the first of the messages that `begin` returns."""

        def call(_: object, *, timeout: float | None, metadata: tuple[tuple[str, str], ...]) -> files_pb2.Entry:
            return self.files.WriteStream(begin(), timeout=timeout, metadata=metadata)

        return call

    def connected(self, timeout: float) -> bool:
        """Tell whether the node takes connections, or still has the last one; waits at most `timeout` seconds.

        A plain TCP connection is the question: to watch a channel, gRPC runs a thread that fails aloud when the channel
        is closed.
        """
        if not self._ready:
            host, _, port = self.address.rpartition(":")
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=timeout).close()
            except OSError:
                return False
            self._ready = True
        return True

    def failed(self) -> None:
        """Do not take the connection for granted any more."""
        self._ready = False


class Transport:
    """Sends calls to one endpoint until it fails, then to the next. Safe for use by several threads."""

    def __init__(self, options: Options, sleep: Callable[[float], None] = time.sleep) -> None:
        """Open lazy channels to all endpoints."""
        self._options = options
        self._endpoints = [Endpoint(address, options) for address in options.endpoints]
        self._current = 0
        self._sleep = sleep

    def close(self) -> None:
        """Close the channels; calls in flight end as cancelled."""
        for endpoint in self._endpoints:
            endpoint.channel.close()

    @property
    def timeout(self) -> float:
        """Seconds for a call that says nothing else."""
        return self._options.timeout

    def call(
        self,
        method: Callable[[Endpoint], Unary[Request, Answer]],
        request: Request,
        *,
        safe: bool,
        timeout: float | None = None,
    ) -> Answer:
        """Call a unary method within `timeout` seconds (None: the client's).

        A call is sent only over a connection that stands, so that one which found no node was never sent and goes to the
        next. After that it is repeated only when `repeatable` says so. Raises CallError.
        """
        deadline = time.monotonic() + (self._options.timeout if timeout is None else timeout)
        backoff = Backoff()
        while True:
            endpoint = self._ready(deadline)
            try:
                remaining = max(deadline - time.monotonic(), 0.001)
                return method(endpoint)(request, timeout=remaining, metadata=self._options.metadata)
            except grpc.RpcError as error:
                failure = from_rpc(error)
                cause = error
            if isinstance(failure, Unavailable):
                self._failed(endpoint)
            wait = backoff.after(failure)
            if not repeatable(failure, safe=safe) or time.monotonic() + wait >= deadline:
                raise failure from cause
            self._sleep(wait)

    def stream(
        self, method: Callable[[Endpoint], Callable[..., Iterator[Answer]]], request: Request
    ) -> Iterator[Answer]:
        """Call a method that streams answers, without a deadline; the caller resumes it. Raises CallError."""
        endpoint = self._ready(time.monotonic() + self._options.timeout)
        call = method(endpoint)(request, metadata=self._options.metadata)
        try:
            yield from call
        except grpc.RpcError as error:
            failure = from_rpc(error)
            if isinstance(failure, Unavailable):
                self._failed(endpoint)
            raise failure from error
        finally:
            call.cancel()  # type: ignore[attr-defined]

    def rest(self, seconds: float) -> None:
        """Wait before a stream is resumed."""
        self._sleep(seconds)

    def _ready(self, deadline: float) -> Endpoint:
        """Return an endpoint with a connection, beginning with the last that worked. Raises Unavailable."""
        first = self._current
        end = min(deadline, time.monotonic() + self._options.connect_timeout)
        each = max((end - time.monotonic()) / len(self._endpoints), 0.05)
        while True:
            for offset in range(len(self._endpoints)):
                at = (first + offset) % len(self._endpoints)
                if self._endpoints[at].connected(each):
                    self._current = at
                    return self._endpoints[at]
            if time.monotonic() + 0.05 >= end:
                raise unreachable(self._options)
            self._sleep(0.05)

    def _failed(self, endpoint: Endpoint) -> None:
        endpoint.failed()
        if self._endpoints[self._current] is endpoint:
            self._current = (self._current + 1) % len(self._endpoints)


def unreachable(options: Options) -> CallError:
    """Return the error for a cluster of which no node takes connections; the call was not sent."""
    return Unavailable(
        grpc.StatusCode.UNAVAILABLE,
        f"no node takes connections at {', '.join(options.endpoints)}",
        reason="NO_ENDPOINT",
        metadata={"hint": "quartet cluster status, or set QUARTET_CLIENT_ENDPOINTS"},
    )
