"""The Metastore driver for a member in this process: no socket, no copy of a message more than needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

from raftmeta.config import MAX_LEASE_TTL
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine import Applied, checks
from raftmeta.machine.ranges import Found, as_message, encode_range
from raftmeta.v1 import command_pb2
from raftmeta.watch import watch_replies, watch_stream

if TYPE_CHECKING:
    from raftmeta.node import Node

_FEW = 300


class EmbeddedMetastore:
    """A `raftmeta.metastore.Metastore`, and `Local`, over one keyspace of a `Node`."""

    def __init__(self, node: Node, space: int) -> None:
        """Serve keyspace `space` of `node`."""
        self._node = node
        self._machine = node.machine
        self._space = space
        self._loop = asyncio.get_running_loop()

    async def range(self, request: pb.RangeRequest) -> pb.RangeResponse:
        """See `Metastore.range`."""
        checks.check_range(request)
        if not request.serializable:
            await self._node.reads.confirmed()
        answer = as_message(*await self._find(request))
        self._node.complete(answer.header)
        return answer

    async def range_bytes(self, request: pb.RangeRequest) -> bytes:
        """See `Metastore.range`; the answer is already serialized, without a message per key."""
        checks.check_range(request)
        if not request.serializable:
            await self._node.reads.confirmed()
        found, revision = await self._find(request)
        return encode_range(found, self.header_bytes(revision))

    async def _find(self, request: pb.RangeRequest) -> tuple[Found, int]:
        """Look at a few keys at once; more take long, and in a thread they hold up nobody."""
        found = self._machine.find(self._space, request, _FEW)
        if found is None:
            found = await self._loop.run_in_executor(None, self._machine.find, self._space, request)
            assert found is not None
        return found

    def header_bytes(self, revision: int) -> bytes:
        """Return a complete ResponseHeader, serialized."""
        header = pb.ResponseHeader(revision=revision)
        self._node.complete(header)
        return header.SerializeToString()

    def follow(self, listener: Callable[[int, Sequence[bytes] | None], None]) -> Callable[[], None]:
        """See `Local.follow`."""
        machine, space = self._machine, self._space

        def applied(step: Applied) -> None:
            if step.installed:
                listener(machine.revisions(space)[0], None)
                return
            change = step.changes.get(space)
            if change is not None and change.revisions:
                keys = [one.key for _, changes in change.revisions for one in changes]
                listener(change.revisions[-1][0], keys)

        end = machine.on_applied(applied)
        listener(machine.revisions(space)[0], None)
        return end

    async def confirmed(self) -> None:
        """See `Local.confirmed`."""
        await self._node.reads.confirmed()

    async def put(self, request: pb.PutRequest) -> pb.PutResponse:
        """See `Metastore.put`."""
        checks.check_put(request)
        answer = await self._node.proposer.submit(command_pb2.Command(space=self._space, put=request))
        assert isinstance(answer, pb.PutResponse)
        self._node.complete(answer.header)
        return answer

    async def delete_range(self, request: pb.DeleteRangeRequest) -> pb.DeleteRangeResponse:
        """See `Metastore.delete_range`."""
        checks.check_delete_range(request)
        answer = await self._node.proposer.submit(command_pb2.Command(space=self._space, delete_range=request))
        assert isinstance(answer, pb.DeleteRangeResponse)
        self._node.complete(answer.header)
        return answer

    async def txn(self, request: pb.TxnRequest) -> pb.TxnResponse:
        """See `Metastore.txn`. One that only reads never enters the log."""
        checks.check_txn(request)
        if checks.is_read_only(request):
            if not checks.is_serializable(request):
                await self._node.reads.confirmed()
            if checks.is_small(request):  # a thread would cost more than it saves the others
                answer = self._machine.read_txn(self._space, request)
            else:
                answer = await self._loop.run_in_executor(None, self._machine.read_txn, self._space, request)
        else:
            applied = await self._node.proposer.submit(command_pb2.Command(space=self._space, txn=request))
            assert isinstance(applied, pb.TxnResponse)
            answer = applied
        self._node.complete(answer.header)
        return answer

    async def compact(self, request: pb.CompactionRequest) -> pb.CompactionResponse:
        """See `Metastore.compact`. `physical` waits until this member has removed what was forgotten."""
        answer = await self._node.proposer.submit(command_pb2.Command(space=self._space, compact=request))
        assert isinstance(answer, pb.CompactionResponse)
        if request.physical:
            while await self._loop.run_in_executor(None, self._machine.sweep):
                pass
        self._node.complete(answer.header)
        return answer

    async def set_floor(self, holder: str, revision: int) -> bool:
        """See `Metastore.set_floor`."""
        await self._node.set_floor(self._space, holder, revision)
        return True

    async def watch(self, requests: AsyncIterator[pb.WatchRequest]) -> AsyncIterator[pb.WatchResponse]:
        """See `Metastore.watch`."""
        node = self._node
        async for answer in watch_stream(node.hubs[self._space], requests):
            node.complete(answer.header)
            yield answer

    async def watch_bytes(self, requests: AsyncIterator[pb.WatchRequest]) -> AsyncIterator[list[bytes]]:
        """See `Metastore.watch`; yields lists of serialized responses, whatever is ready at a time."""
        replies = watch_replies(self._node.hubs[self._space], requests)
        try:
            async for ready in replies:
                headers = {revision: self.header_bytes(revision) for revision in {one.revision for one in ready}}
                yield [one.encoded(headers[one.revision]) for one in ready]
        finally:
            await replies.aclose()

    async def lease_grant(self, request: pb.LeaseGrantRequest) -> pb.LeaseGrantResponse:
        """See `Metastore.lease_grant`."""
        if request.TTL > MAX_LEASE_TTL:
            raise MetastoreError(Fault.LEASE_TTL_TOO_LARGE)
        answer = await self._node.leases.grant(self._space, request)
        self._node.complete(answer.header)
        return answer

    async def lease_revoke(self, request: pb.LeaseRevokeRequest) -> pb.LeaseRevokeResponse:
        """See `Metastore.lease_revoke`."""
        answer = await self._node.leases.revoke(self._space, request)
        self._node.complete(answer.header)
        return answer

    async def lease_keep_alive(
        self, requests: AsyncIterator[pb.LeaseKeepAliveRequest]
    ) -> AsyncIterator[pb.LeaseKeepAliveResponse]:
        """See `Metastore.lease_keep_alive`. The header is made before the renewal, as in etcd."""
        async for request in requests:
            answer = pb.LeaseKeepAliveResponse(ID=request.ID)
            answer.header.revision = self._machine.revisions(self._space)[0]
            self._node.complete(answer.header)
            answer.TTL = await self._node.leases.renew(self._space, request.ID)
            yield answer

    async def lease_time_to_live(self, request: pb.LeaseTimeToLiveRequest) -> pb.LeaseTimeToLiveResponse:
        """See `Metastore.lease_time_to_live`."""
        answer = await self._node.leases.time_to_live(self._space, request)
        self._node.complete(answer.header)
        return answer

    async def lease_leases(self, request: pb.LeaseLeasesRequest) -> pb.LeaseLeasesResponse:
        """See `Metastore.lease_leases`."""
        answer = await self._node.leases.list(self._space)
        self._node.complete(answer.header)
        return answer
