"""A server that parses requests and answers at once, grpcio's or ours: `python benchmarks/noop.py HOST:PORT [--own]`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc

from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.serving import Server

HEADER = pb.ResponseHeader(cluster_id=1, member_id=1, revision=1, raft_term=1)
KVS = [kv_pb2.KeyValue(key=b"bench/000/%03d" % i, value=b"v" * 100, mod_revision=2, version=1) for i in range(100)]
ONE = pb.RangeResponse(header=HEADER, kvs=KVS[:1], count=1)
MANY = pb.RangeResponse(header=HEADER, kvs=KVS, count=len(KVS))
DONE = pb.ResponseOp(response_put=pb.PutResponse(header=HEADER))


async def ranged(request: pb.RangeRequest, context: object) -> pb.RangeResponse:
    """Answer with one key, or a hundred for an interval."""
    return MANY if request.range_end else ONE


async def put(request: pb.PutRequest, context: object) -> pb.PutResponse:
    """Answer with a header."""
    return pb.PutResponse(header=HEADER)


async def txn(request: pb.TxnRequest, context: object) -> pb.TxnResponse:
    """Answer with success and one answer per operation."""
    return pb.TxnResponse(header=HEADER, succeeded=True, responses=[DONE] * len(request.success))


def handlers() -> grpc.GenericRpcHandler:
    """Return the three methods under etcd's names."""
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Range": grpc.unary_unary_rpc_method_handler(
            ranged, pb.RangeRequest.FromString, pb.RangeResponse.SerializeToString
        ),
        "Put": grpc.unary_unary_rpc_method_handler(put, pb.PutRequest.FromString, pb.PutResponse.SerializeToString),
        "Txn": grpc.unary_unary_rpc_method_handler(txn, pb.TxnRequest.FromString, pb.TxnResponse.SerializeToString),
    }
    return grpc.method_handlers_generic_handler("etcdserverpb.KV", methods)


async def serve(address: str, *, own: bool) -> None:
    """Serve until killed, with `raftmeta.serving` if `own`, else with grpcio."""
    server: grpc.aio.Server = Server() if own else grpc.aio.server()
    server.add_generic_rpc_handlers((handlers(),))
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], own="--own" in sys.argv[2:]))
