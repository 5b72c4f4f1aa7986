"""A server that parses requests and answers at once, grpcio's or ours: `python benchmarks/noop.py HOST:PORT [--own]`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
from quartet.events.v1 import appending_pb2, event_pb2, reading_pb2
from quartet.files.v1 import files_pb2
from trees import INODE

from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.serving import Server

HEADER = pb.ResponseHeader(cluster_id=1, member_id=1, revision=1, raft_term=1)
KVS = [kv_pb2.KeyValue(key=b"bench/000/%03d" % i, value=b"v" * 100, mod_revision=2, version=1) for i in range(100)]
ONE = pb.RangeResponse(header=HEADER, kvs=KVS[:1], count=1)
MANY = pb.RangeResponse(header=HEADER, kvs=KVS, count=len(KVS))
ENTRY = files_pb2.Entry(
    path="/8-all/file-0-000000", name="file-0-000000", ino=2, type=INODE.type, attributes=INODE.attributes, etag="2.1",
    create_time=INODE.create_time, update_time=INODE.update_time, revision=2, stored=True,
)  # fmt: skip
APPENDED = appending_pb2.AppendResult(id="bench:m-000000001", position=1, outcome=appending_pb2.OUTCOME_CREATED)
EVENT = event_pb2.Event(
    id="bench:m-000000001", source="bench", source_id="m-000000001", type="message", thread_id="bench:1",
    direction=event_pb2.DIRECTION_INBOUND, content="word " * 40, content_type="text", from_channel="imessage", position=1,
    from_identifier="user-1@example.org", to_recipients=[event_pb2.Recipient(identifier="me@example.org")], etag="1",
)  # fmt: skip
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


async def stat(request: files_pb2.StatRequest, context: object) -> files_pb2.Entry:
    """Answer with an entry."""
    return ENTRY


async def append(request: appending_pb2.AppendRequest, context: object) -> appending_pb2.AppendResult:
    """Answer that it is done."""
    return APPENDED


async def get_event(request: reading_pb2.GetEventRequest, context: object) -> event_pb2.Event:
    """Answer with an event."""
    return EVENT


def handlers() -> tuple[grpc.GenericRpcHandler, ...]:
    """Return three methods under etcd's names, one of FileService's, two of EventService's."""
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Range": grpc.unary_unary_rpc_method_handler(
            ranged, pb.RangeRequest.FromString, pb.RangeResponse.SerializeToString
        ),
        "Put": grpc.unary_unary_rpc_method_handler(put, pb.PutRequest.FromString, pb.PutResponse.SerializeToString),
        "Txn": grpc.unary_unary_rpc_method_handler(txn, pb.TxnRequest.FromString, pb.TxnResponse.SerializeToString),
    }
    files: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Stat": grpc.unary_unary_rpc_method_handler(
            stat, files_pb2.StatRequest.FromString, files_pb2.Entry.SerializeToString
        )
    }
    ledger: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Append": grpc.unary_unary_rpc_method_handler(
            append, appending_pb2.AppendRequest.FromString, appending_pb2.AppendResult.SerializeToString
        ),
        "GetEvent": grpc.unary_unary_rpc_method_handler(
            get_event, reading_pb2.GetEventRequest.FromString, event_pb2.Event.SerializeToString
        ),
    }
    return (
        grpc.method_handlers_generic_handler("etcdserverpb.KV", methods),
        grpc.method_handlers_generic_handler("quartet.events.v1.EventService", ledger),
        grpc.method_handlers_generic_handler("quartet.files.v1.FileService", files),
    )


async def serve(address: str, *, own: bool) -> None:
    """Serve until killed, with `raftmeta.serving` if `own`, else with grpcio."""
    server: grpc.aio.Server = Server() if own else grpc.aio.server()
    server.add_generic_rpc_handlers(handlers())
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], own="--own" in sys.argv[2:]))
