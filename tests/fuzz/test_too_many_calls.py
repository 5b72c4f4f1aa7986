"""A port that serves as many calls as it may says so to the next, in the words of the API that was called."""

from __future__ import annotations

from pathlib import Path

import grpc
import quartet
from grpc import aio
from harness.rpc import failure
from quartet_server.config import Config, Limits, Serve
from quartet_server.node import RunningNode

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc

PLACES = 3


async def test_the_next_call_is_told_that_there_are_too_many_and_when_to_come_again(tmp_path: Path) -> None:
    serve = Serve(name="one", data_dir=tmp_path, listen="127.0.0.1:0", listen_http="")
    async with (
        await RunningNode.start(Config(serve=serve, limits=Limits(concurrent_calls=PLACES))) as node,
        aio.insecure_channel(str(node.address)) as channel,
    ):
        await node.wait_ready()
        watches = [rpc.WatchStub(channel).Watch() for _ in range(PLACES)]
        for watch in watches:
            create = pb.WatchCreateRequest(key=b"a")
            await watch.write(pb.WatchRequest(create_request=create))
            answer = await watch.read()
            assert isinstance(answer, pb.WatchResponse)
            assert answer.created
        asked: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/quartet.settings.v1.SettingsService/ListSettings"
        )
        theirs = await failure(asked(b"", timeout=60))
        assert theirs.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert theirs.info is not None
        assert theirs.info.reason == "TOO_MANY_REQUESTS"
        assert theirs.retry_after == 0.5
        etcds = await failure(rpc.KVStub(channel).Range(pb.RangeRequest(key=b"a"), timeout=60))
        assert (etcds.code, etcds.message) == (theirs.code, "etcdserver: too many requests")
        watches[0].cancel()
        async with quartet.AsyncClient(str(node.address), timeout=60) as client:
            await client.settings.set("a", "b")  # it comes again until there is a place
        for watch in watches:
            watch.cancel()
