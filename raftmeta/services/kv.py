"""etcdserverpb.KV over a Metastore."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from raftmeta.errors import MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc
from raftmeta.machine import checks, plain
from raftmeta.machine.wire import varint
from raftmeta.services.admission import Admission, Context, refuse
from raftmeta.services.answering import Answer
from raftmeta.serving.call import Call
from raftmeta.v1 import command_pb2


class KVService(rpc.KVServicer):
    """Range, Put, DeleteRange, Txn, Compact.

    Put and Txn have a way without a task for what is sure to go to the log; whatever else there is to say is said by the methods.
    """

    def __init__(self, admission: Admission) -> None:
        """Serve what `admission` admits."""
        self._admission = admission

    def begin_put(self, data: bytes, call: Call) -> bool:
        """See `Begin`: takes a put of a key and a value and nothing else."""
        return plain.is_plain_put(data) and self._begin(call, command_pb2.Command.PUT_FIELD_NUMBER, data)

    def begin_txn(self, data: bytes, call: Call) -> bool:
        """See `Begin`: takes a valid transaction that writes."""
        if plain.read_puts(data) is not None:  # what the checks would say of a hundred puts, in a third of the time
            return self._begin(call, command_pb2.Command.TXN_FIELD_NUMBER, data)
        try:
            request = pb.TxnRequest.FromString(data)
            checks.check_txn(request)
        except (DecodeError, MetastoreError):
            return False
        if checks.is_read_only(request):
            return False
        request.DiscardUnknownFields()
        return self._begin(call, command_pb2.Command.TXN_FIELD_NUMBER, request.SerializeToString())

    def _begin(self, call: Call, field: int, request: bytes) -> bool:
        try:
            self._admission.write(call)
        except MetastoreError:
            return False
        call.start()
        node = self._admission.node
        command = b"".join(
            (bytes((field << 3 | 2,)), varint(len(request)), request)
        )  # a Command: keyspace 0 goes without saying
        node.proposer.propose(command, Answer(call, node))
        return True

    async def Range(self, request: pb.RangeRequest, context: Context) -> Any:
        """Read keys; see `Metastore.range`. The answer comes serialised from the store."""
        try:
            return await self._admission.read(context, serializable=request.serializable).range_bytes(request)
        except MetastoreError as error:
            await refuse(context, error)

    async def RangeStream(self, request: pb.RangeRequest, context: Context) -> AsyncIterator[pb.RangeStreamResponse]:
        """Not offered: a method of etcd 3.7."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "unknown method RangeStream for service etcdserverpb.KV")
        yield pb.RangeStreamResponse()  # makes this a stream; abort raises

    async def Put(self, request: pb.PutRequest, context: Context) -> pb.PutResponse:
        """Write a key; see `Metastore.put`."""
        try:
            return await self._admission.write(context).put(request)
        except MetastoreError as error:
            await refuse(context, error)

    async def DeleteRange(self, request: pb.DeleteRangeRequest, context: Context) -> pb.DeleteRangeResponse:
        """Delete keys; see `Metastore.delete_range`."""
        try:
            return await self._admission.write(context).delete_range(request)
        except MetastoreError as error:
            await refuse(context, error)

    async def Txn(self, request: pb.TxnRequest, context: Context) -> pb.TxnResponse:
        """Compare and run a branch; see `Metastore.txn`. In a read-only keyspace one that only reads is admitted."""
        try:
            return await self._admission.transact(context, request).txn(request)
        except MetastoreError as error:
            await refuse(context, error)

    async def Compact(self, request: pb.CompactionRequest, context: Context) -> pb.CompactionResponse:
        """Forget history; see `Metastore.compact`."""
        try:
            return await self._admission.write(context).compact(request)
        except MetastoreError as error:
            await refuse(context, error)
