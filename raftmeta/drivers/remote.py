"""The Metastore driver for any etcd v3 endpoint: real etcd, or raftmeta over the network."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar, cast

import grpc
from grpc import aio

from raftmeta.drivers._endpoints import Endpoint, Endpoints
from raftmeta.drivers.prefix import Prefix
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc

Request = TypeVar("Request")
Answer = TypeVar("Answer")

_BY_TEXT = {fault.text: fault for fault in Fault}
_REQUIRE_LEADER = (("hasleader", "true"),)
_TEXT_PREFIX = "etcdserver: "


def from_rpc(error: aio.AioRpcError) -> MetastoreError:
    """Translate what a gRPC call raised.

    An etcd text becomes its `Fault`. A connection that broke or a deadline that passed leaves the outcome unknown, so
    they become TIMEOUT_CONNECTION_LOST and TIMEOUT. Anything else keeps the remote's code and text.
    """
    code, text = error.code(), error.details() or ""
    fault = _BY_TEXT.get(text)
    if fault is not None:
        return MetastoreError(fault, code)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return MetastoreError(Fault.TIMEOUT)
    if not text.startswith(_TEXT_PREFIX) and code in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
    ):
        return MetastoreError(Fault.TIMEOUT_CONNECTION_LOST)
    return MetastoreError(None, code, text)


class RemoteMetastore:
    """A `raftmeta.metastore.Metastore` over the network.

    Several endpoints are members of one cluster: the driver stays with one until it fails, then takes the next. Reads
    are repeated on another endpoint while the deadline allows; a write is sent at most once, over a live connection.
    Streams are never resumed behind the caller's back: they raise, and the caller knows from where to go on.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        prefix: bytes = b"",
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float = 7.0,
        connect_timeout: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take HOST:PORT endpoints; call it inside a running event loop.

        Args:
            endpoints: HOST:PORT of the members, at least one.
            prefix: The keyspace: prepended to every key, invisible to the caller.
            credentials: TLS; without it the connection is plaintext.
            timeout: Deadline of a unary call, retries included, in seconds.
            connect_timeout: Longest search for an endpoint that takes connections, in seconds.
            clock: Monotonic seconds.
        """
        self._endpoints = Endpoints(endpoints, credentials, connect_timeout)
        self._prefix = Prefix(prefix)
        self._timeout = timeout
        self._clock = clock

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoints.close()

    async def range(self, request: pb.RangeRequest) -> pb.RangeResponse:
        """See `Metastore.range`."""
        outward = self._prefix.range(request)
        return self._prefix.range_answer(await self._unary(lambda e: e.kv.Range, outward, repeatable=True))

    async def put(self, request: pb.PutRequest) -> pb.PutResponse:
        """See `Metastore.put`."""
        outward = self._prefix.put(request)
        return self._prefix.put_answer(await self._unary(lambda e: e.kv.Put, outward, repeatable=False))

    async def delete_range(self, request: pb.DeleteRangeRequest) -> pb.DeleteRangeResponse:
        """See `Metastore.delete_range`."""
        outward = self._prefix.delete_range(request)
        answer = await self._unary(lambda e: e.kv.DeleteRange, outward, repeatable=False)
        return self._prefix.delete_range_answer(answer)

    async def txn(self, request: pb.TxnRequest) -> pb.TxnResponse:
        """See `Metastore.txn`. One that only reads is still sent once: the driver does not look inside."""
        outward = self._prefix.txn(request)
        return self._prefix.txn_answer(await self._unary(lambda e: e.kv.Txn, outward, repeatable=False))

    async def compact(self, request: pb.CompactionRequest) -> pb.CompactionResponse:
        """See `Metastore.compact`. Compaction is the whole store's, whatever the prefix."""
        return await self._unary(lambda e: e.kv.Compact, request, repeatable=False)

    async def set_floor(self, holder: str, revision: int) -> bool:
        """See `Metastore.set_floor`. False: etcd's API has nothing that holds compaction back."""
        return False

    async def lease_grant(self, request: pb.LeaseGrantRequest) -> pb.LeaseGrantResponse:
        """See `Metastore.lease_grant`."""
        return await self._unary(lambda e: e.lease.LeaseGrant, request, repeatable=False)

    async def lease_revoke(self, request: pb.LeaseRevokeRequest) -> pb.LeaseRevokeResponse:
        """See `Metastore.lease_revoke`."""
        return await self._unary(lambda e: e.lease.LeaseRevoke, request, repeatable=False)

    async def lease_time_to_live(self, request: pb.LeaseTimeToLiveRequest) -> pb.LeaseTimeToLiveResponse:
        """See `Metastore.lease_time_to_live`; only this keyspace's keys are listed."""
        answer = await self._unary(lambda e: e.lease.LeaseTimeToLive, request, repeatable=True)
        return self._prefix.lease_answer(answer)

    async def lease_leases(self, request: pb.LeaseLeasesRequest) -> pb.LeaseLeasesResponse:
        """See `Metastore.lease_leases`. Leases belong to the whole store, whatever the prefix."""
        return await self._unary(lambda e: e.lease.LeaseLeases, request, repeatable=True)

    async def watch(self, requests: AsyncIterator[pb.WatchRequest]) -> AsyncIterator[pb.WatchResponse]:
        """See `Metastore.watch`. Raises NO_LEADER when the endpoint lost its leader."""
        async for answer in self._stream(lambda e: e.watch.Watch, self._outward(requests), half_close=False):
            yield self._prefix.watch_answer(answer)

    async def lease_keep_alive(
        self, requests: AsyncIterator[pb.LeaseKeepAliveRequest]
    ) -> AsyncIterator[pb.LeaseKeepAliveResponse]:
        """See `Metastore.lease_keep_alive`."""
        async for answer in self._stream(lambda e: e.lease.LeaseKeepAlive, requests, half_close=True):
            yield answer

    async def _outward(self, requests: AsyncIterator[pb.WatchRequest]) -> AsyncIterator[pb.WatchRequest]:
        async for request in requests:
            yield self._prefix.watch(request)

    async def _unary(
        self,
        method: Callable[[Endpoint], aio.UnaryUnaryMultiCallable[Request, Answer]],
        request: Request,
        *,
        repeatable: bool,
    ) -> Answer:
        deadline = self._clock() + self._timeout
        attempts = len(self._endpoints) + 1 if repeatable else 1
        while True:
            endpoint = await self._endpoints.ready()
            try:
                return await method(endpoint)(request, timeout=max(deadline - self._clock(), 0.001))
            except aio.AioRpcError as error:
                failure = from_rpc(error)
                cause = error
            except asyncio.CancelledError:
                if self._endpoints.closed:
                    raise MetastoreError(Fault.STOPPED) from None
                raise
            attempts -= 1
            if failure.code is not grpc.StatusCode.UNAVAILABLE:
                raise failure from cause
            self._endpoints.failed(endpoint)
            if attempts <= 0 or self._clock() >= deadline:
                raise failure from cause

    async def _stream(
        self,
        method: Callable[[Endpoint], aio.StreamStreamMultiCallable[Request, Answer]],
        requests: AsyncIterator[Request],
        *,
        half_close: bool,
    ) -> AsyncIterator[Answer]:
        """Run one bidirectional stream; when `requests` end, close our half and read on, or end the call."""
        endpoint = await self._endpoints.ready()
        call = method(endpoint)(metadata=_REQUIRE_LEADER)

        async def feed() -> None:
            try:
                async for request in requests:
                    await call.write(request)
                if half_close:
                    await call.done_writing()
                    return
            except (aio.AioRpcError, aio.UsageError, asyncio.InvalidStateError):
                return  # the call ended first: its reader says why
            except BaseException:
                call.cancel()
                raise
            call.cancel()

        feeder = asyncio.ensure_future(feed())
        try:
            while True:
                answer = await call.read()
                if answer is aio.EOF:
                    break
                yield cast(Answer, answer)
            if await call.code() is not grpc.StatusCode.OK:
                raise await _failure(call)
        except aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                self._endpoints.failed(endpoint)
            raise from_rpc(error) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            if not feeder.done():
                raise MetastoreError(Fault.STOPPED) from None
            feeder.result()
        finally:
            call.cancel()
            feeder.cancel()
            await asyncio.wait([feeder])
            if not feeder.cancelled():
                feeder.exception()


async def _failure(call: aio.StreamStreamCall[Request, Answer]) -> aio.AioRpcError:
    return aio.AioRpcError(
        await call.code(), await call.initial_metadata(), await call.trailing_metadata(), await call.details()
    )


async def cluster_members(
    endpoints: Sequence[str], credentials: grpc.ChannelCredentials | None, connect_timeout: float = 5.0
) -> tuple[int, list[pb.Member]]:
    """Ask a cluster who its members are; returns (cluster id, members). Raises MetastoreError."""
    reachable = Endpoints(endpoints, credentials, connect_timeout)
    try:
        endpoint = await reachable.ready()
        answer = await rpc.ClusterStub(endpoint.channel).MemberList(pb.MemberListRequest(linearizable=True))
        return answer.header.cluster_id, list(answer.members)
    except aio.AioRpcError as error:
        raise from_rpc(error) from error
    finally:
        await reachable.close()
