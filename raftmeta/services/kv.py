"""etcdserverpb.KV over a Metastore."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from raftmeta.errors import MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc
from raftmeta.services.admission import Admission, Context, refuse


class KVService(rpc.KVServicer):
    """Range, Put, DeleteRange, Txn, Compact."""

    def __init__(self, admission: Admission) -> None:
        """Serve what `admission` admits."""
        self._admission = admission

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
