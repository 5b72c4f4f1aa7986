"""What a member that lost its leader tells clients that ask for one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from grpc import aio
from harness.stores import start_nodes

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc
from raftmeta.services import add_services
from raftmeta.serving import Server

HAS_LEADER = (("hasleader", "true"),)


async def test_calls_and_streams_that_require_a_leader_end_when_there_is_none(tmp_path: Path) -> None:
    nodes = await start_nodes(tmp_path, 3)
    last, *others = nodes
    server = Server()
    port = server.add_insecure_port("127.0.0.1:0")
    add_services(server, last)
    await server.start()
    try:
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            kv, maintenance = rpc.KVStub(channel), rpc.MaintenanceStub(channel)
            await kv.Put(pb.PutRequest(key=b"k"), metadata=HAS_LEADER)
            watch = rpc.WatchStub(channel).Watch(metadata=HAS_LEADER)
            await watch.write(pb.WatchRequest(create_request=pb.WatchCreateRequest(key=b"k")))
            assert await watch.read() is not aio.EOF
            for node in others:
                await node.stop()
            async with asyncio.timeout(20):
                with pytest.raises(aio.AioRpcError, match="etcdserver: no leader"):
                    await watch.read()
            with pytest.raises(aio.AioRpcError, match="etcdserver: no leader"):
                await kv.Range(pb.RangeRequest(key=b"k"), metadata=HAS_LEADER)
            stale = await kv.Range(pb.RangeRequest(key=b"k", serializable=True))
            assert stale.count == 1
            status = await maintenance.Status(pb.StatusRequest())
            assert (status.leader, list(status.errors)) == (0, ["etcdserver: no leader"])
    finally:
        await server.stop(0)
        for node in nodes:
            await node.stop()
