"""The endpoints of a remote store: one channel each, the first that answers is used until it fails."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import grpc
from grpc import aio

from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2_grpc as rpc

_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
_READY = grpc.ChannelConnectivity.READY


class Endpoint:
    """One endpoint's channel and stubs."""

    def __init__(self, address: str, credentials: grpc.ChannelCredentials | None) -> None:
        """Open a lazy channel to HOST:PORT; plaintext without `credentials`."""
        self.address = address
        if credentials is None:
            self.channel = aio.insecure_channel(address, options=_OPTIONS)
        else:
            self.channel = aio.secure_channel(address, credentials, options=_OPTIONS)
        self.kv: rpc.KVAsyncStub = rpc.KVStub(self.channel)
        self.watch: rpc.WatchAsyncStub = rpc.WatchStub(self.channel)
        self.lease: rpc.LeaseAsyncStub = rpc.LeaseStub(self.channel)

    async def connected(self, timeout: float) -> bool:
        """Connect if need be; tell whether that worked within `timeout` seconds, reconnection attempts included."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while (state := self.channel.get_state(try_to_connect=True)) is not _READY:
                    if state is grpc.ChannelConnectivity.SHUTDOWN:
                        return False
                    await self.channel.wait_for_state_change(state)
                return True
        return False


class Endpoints:
    """Chooses an endpoint that has a connection, so that a request is only ever sent to a live one."""

    def __init__(
        self, addresses: Sequence[str], credentials: grpc.ChannelCredentials | None, connect_timeout: float
    ) -> None:
        """Take HOST:PORT addresses, at least one; `connect_timeout` in seconds bounds one search."""
        if not addresses:
            raise ValueError("a remote store needs at least one endpoint: HOST:PORT")
        self._endpoints = [Endpoint(address, credentials) for address in addresses]
        self._connect_timeout = connect_timeout
        self._current = 0
        self.closed = False

    def __len__(self) -> int:
        return len(self._endpoints)

    async def ready(self) -> Endpoint:
        """Return a connected endpoint, starting with the last one that worked.

        Raises UNHEALTHY when none took a connection within the timeout, STOPPED after `close`.
        """
        if self.closed:
            raise MetastoreError(Fault.STOPPED)
        endpoint = self._endpoints[self._current]
        if endpoint.channel.get_state() is _READY:
            return endpoint
        each = max(self._connect_timeout / len(self._endpoints), 0.05)
        for _ in range(len(self._endpoints)):
            if await endpoint.connected(each):
                return endpoint
            if self.closed:
                raise MetastoreError(Fault.STOPPED)
            self.failed(endpoint)
            endpoint = self._endpoints[self._current]
        raise MetastoreError(Fault.UNHEALTHY)

    def failed(self, endpoint: Endpoint) -> None:
        """Move on from `endpoint`, unless somebody else already did."""
        if self._endpoints[self._current] is endpoint:
            self._current = (self._current + 1) % len(self._endpoints)

    async def close(self) -> None:
        """Close every channel; calls in flight end as cancelled."""
        self.closed = True
        await asyncio.gather(*(endpoint.channel.close() for endpoint in self._endpoints))
