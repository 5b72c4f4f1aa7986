"""One client's calls on the members, each recorded with what is known of its outcome."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from faults.cluster import Cluster
from faults.history import History, Operation, Outcome
from google.protobuf.message import Message
from grpc import aio

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as stubs

DEADLINE = 2.5
"""Seconds a call may take before the client gives up, its outcome unknown."""
OPTIONS = [
    ("grpc.enable_retries", 0),  # a write is sent once: whether to repeat it is for the client to know
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 400),
    ("grpc.use_local_subchannel_pool", 1),
]
_NEVER_SENT = "failed to connect to all addresses"
_WITHOUT_EFFECT = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


def is_certain(error: aio.AioRpcError) -> bool:
    """Whether a call that ended so can never have an effect; everything else may have happened, or may still."""
    text = error.details() or ""
    if error.code() == grpc.StatusCode.UNAVAILABLE:
        return text == "etcdserver: no leader" or text.startswith(_NEVER_SENT)
    return error.code() in _WITHOUT_EFFECT and text.startswith("etcdserver: ")


class Caller:
    """A client with connections of its own to every member. One call at a time; `close` ends it."""

    def __init__(self, name: str, cluster: Cluster, history: History, dice: random.Random) -> None:
        """Be client `name`; connections are opened when needed."""
        self.name = name
        self.dice = dice
        self._cluster = cluster
        self._history = history
        self._channels: dict[int, aio.Channel] = {}

    def any_member(self) -> int | None:
        """Draw a member whose process runs; None when none does."""
        running = self._cluster.running()
        return self.dice.choice(running) if running else None

    def member_name(self, member: int) -> str:
        """The name of a member."""
        return self._cluster.names[member]

    def channel(self, member: int) -> aio.Channel:
        """The connection to a member."""
        if member not in self._channels:
            self._channels[member] = self._cluster.channel(member, OPTIONS)
        return self._channels[member]

    async def call(self, request: Message, request_id: bytes = b"", member: int | None = None) -> Message | None:
        """Make a call on one member, once; its answer, or None. With a request id, `again` may follow."""
        return await self._attempt(None, request, request_id, member)

    async def surely(self, request: Message, request_id: bytes, attempts: int) -> Message | None:
        """Make a call again until it is answered, at most so often: for requests that the store does once."""
        operation: list[Operation] = []
        for _ in range(attempts):
            answer = await self._attempt(operation, request, request_id, None)
            if answer is not None:
                return answer
            await asyncio.sleep(0.1 + self.dice.random() * 0.4)
        return None

    async def _attempt(
        self, repeated: list[Operation] | None, request: Message, request_id: bytes, member: int | None
    ) -> Message | None:
        at = self.any_member() if member is None else member
        if at is None:
            await asyncio.sleep(0.1)
            return None
        name, history = self._cluster.names[at], self._history
        if repeated:
            operation = repeated[0]
            history.retry(operation, name)
        else:
            operation = history.begin(self.name, name, request, request_id)
            if repeated is not None:
                repeated.append(operation)
        try:
            answer = await _METHODS[type(request)](self.channel(at), request)
        except aio.AioRpcError as error:
            history.failed(operation, f"{error.code().name}: {error.details()}", certainly=is_certain(error))
            return None
        history.answered(operation, answer)
        return answer

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels.values():
            await channel.close()


async def _keep_alive(channel: aio.Channel, request: Any) -> Message:
    """Renew a lease once, on a stream of its own."""
    stream = stubs.LeaseStub(channel).LeaseKeepAlive(timeout=DEADLINE)
    try:
        await stream.write(request)
        answer = await stream.read()
        if not isinstance(answer, pb.LeaseKeepAliveResponse):  # the stream ended without an answer: its status says why
            code = await stream.code()
            raise aio.AioRpcError(code, aio.Metadata(), aio.Metadata(), details=await stream.details())
        return answer
    except asyncio.InvalidStateError as error:  # written to after its end
        raise aio.AioRpcError(grpc.StatusCode.UNKNOWN, aio.Metadata(), aio.Metadata(), details=str(error)) from error
    finally:
        stream.cancel()


_METHODS: dict[type[Message], Callable[[aio.Channel, Any], Awaitable[Message]]] = {
    pb.RangeRequest: lambda channel, request: stubs.KVStub(channel).Range(request, timeout=DEADLINE),
    pb.PutRequest: lambda channel, request: stubs.KVStub(channel).Put(request, timeout=DEADLINE),
    pb.DeleteRangeRequest: lambda channel, request: stubs.KVStub(channel).DeleteRange(request, timeout=DEADLINE),
    pb.TxnRequest: lambda channel, request: stubs.KVStub(channel).Txn(request, timeout=DEADLINE),
    pb.CompactionRequest: lambda channel, request: stubs.KVStub(channel).Compact(request, timeout=DEADLINE),
    pb.LeaseGrantRequest: lambda channel, request: stubs.LeaseStub(channel).LeaseGrant(request, timeout=DEADLINE),
    pb.LeaseRevokeRequest: lambda channel, request: stubs.LeaseStub(channel).LeaseRevoke(request, timeout=DEADLINE),
    pb.LeaseKeepAliveRequest: _keep_alive,
}


def summary(history: History) -> tuple[int, int, int]:
    """(operations, acknowledged, unknown) of a history."""
    outcomes = [operation.outcome for operation in history.operations]
    return len(outcomes), outcomes.count(Outcome.OK), outcomes.count(Outcome.UNKNOWN)
