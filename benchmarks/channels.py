"""The client that every system gets: grpc.aio with the generated stubs, one channel per member."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import grpc
from systems import System

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd.rpc_pb2_grpc import KVStub, LeaseStub

if TYPE_CHECKING:
    from raftmeta.etcd.rpc_pb2_grpc import KVAsyncStub

CALL_SECONDS = 20.0
"""Deadline of every call."""
PER_TXN = 100
LOADERS = 16


class Clients:
    """One channel per member; calls go round robin."""

    def __init__(self, system: System) -> None:
        """Open the channels."""
        self.system = system
        self.channels = [grpc.aio.insecure_channel(endpoint) for endpoint in system.endpoints]
        self.kvs = [KVStub(channel) for channel in self.channels]
        self._turn = itertools.cycle(self.kvs)

    def kv(self) -> KVAsyncStub:
        """Return the next member's stub."""
        return next(self._turn)

    @contextlib.contextmanager
    def only(self, stubs: Sequence[KVAsyncStub]) -> Iterator[None]:
        """Let calls go to these members only, meanwhile."""
        self._turn = itertools.cycle(stubs)
        try:
            yield
        finally:
            self._turn = itertools.cycle(self.kvs)

    async def aclose(self) -> None:
        """Close the channels."""
        for channel in self.channels:
            await channel.close()

    async def load(self, keys: Sequence[bytes], value: bytes, per_txn: int = PER_TXN) -> None:
        """Put all `keys`, `per_txn` in a transaction, 16 transactions in flight. Raises AioRpcError."""
        starts = iter(range(0, len(keys), per_txn))

        async def some() -> None:
            for start in starts:
                operations = [
                    pb.RequestOp(request_put=pb.PutRequest(key=key, value=value))
                    for key in keys[start : start + per_txn]
                ]
                await self.kv().Txn(pb.TxnRequest(success=operations), timeout=CALL_SECONDS)

        await asyncio.gather(*(some() for _ in range(LOADERS)))

    async def revision(self, member: int) -> int:
        """Return the revision that one member has applied, majority or not. Raises AioRpcError."""
        request = pb.RangeRequest(key=b"revision", serializable=True)
        answer = await self.kvs[member].Range(request, timeout=2.0)
        return answer.header.revision

    async def forget(self) -> None:
        """Forget history, and return when what it took can be used again. Raises AioRpcError."""
        request = pb.CompactionRequest(revision=await self.revision(0), physical=True)
        await self.kvs[0].Compact(request, timeout=CALL_SECONDS)
        await self.settle()

    async def settle(self) -> None:
        """Let the store commit twice without a key: etcd 3.4 reads slowly right after writes, and would flatter us."""
        if not self.system.complete:
            return
        lease = LeaseStub(self.channels[0])
        for _ in range(2):
            granted = await lease.LeaseGrant(pb.LeaseGrantRequest(TTL=60), timeout=CALL_SECONDS)
            await asyncio.sleep(0.12)  # etcd commits every 100 ms
            await lease.LeaseRevoke(pb.LeaseRevokeRequest(ID=granted.ID), timeout=CALL_SECONDS)
            await asyncio.sleep(0.12)
