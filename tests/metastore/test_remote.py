"""What only the remote driver does: endpoints that come and go, deadlines, keyspaces as prefixes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc import aio
from harness.ports import free_ports
from harness.raftmeta import RaftmetaCluster

from raftmeta.drivers.prefix import prefix_end
from raftmeta.drivers.remote import RemoteMetastore
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc


class Failing(rpc.KVServicer):
    """Answers every Put and Range with the next outcome it was given; counts the calls."""

    def __init__(self, *outcomes: tuple[grpc.StatusCode, str] | None) -> None:
        self.outcomes = list(outcomes)
        self.calls = 0

    async def _answer(self, context: aio.ServicerContext[object, object]) -> None:
        self.calls += 1
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if outcome is not None:
            await context.abort(*outcome)

    async def Put(self, request: pb.PutRequest, context: aio.ServicerContext[object, object]) -> pb.PutResponse:  # noqa: N802
        await self._answer(context)
        return pb.PutResponse()

    async def Range(self, request: pb.RangeRequest, context: aio.ServicerContext[object, object]) -> pb.RangeResponse:  # noqa: N802
        await self._answer(context)
        return pb.RangeResponse()


def failing(*outcomes: tuple[grpc.StatusCode, str] | None) -> Failing:
    """Make one; the methods it lacks are not called."""
    return Failing(*outcomes)  # type: ignore[abstract]


class Servers:
    """Servers on ephemeral ports, ended with the test."""

    def __init__(self) -> None:
        self.started: list[aio.Server] = []

    async def __call__(self, servicer: rpc.KVServicer) -> str:
        server = aio.server()
        port = server.add_insecure_port("127.0.0.1:0")
        rpc.add_KVServicer_to_server(servicer, server)
        await server.start()
        self.started.append(server)
        return f"127.0.0.1:{port}"


@pytest.fixture
async def serve() -> AsyncIterator[Servers]:
    servers = Servers()
    yield servers
    for server in servers.started:
        await server.stop(0)


UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE, "etcdserver: leader changed")


async def test_a_dead_endpoint_is_passed_over(serve: Servers) -> None:
    living = failing()
    store = RemoteMetastore([f"127.0.0.1:{free_ports(1)[0]}", await serve(living)], connect_timeout=1.0)
    await store.put(pb.PutRequest(key=b"k"))
    await store.put(pb.PutRequest(key=b"k"))
    await store.close()
    assert living.calls == 2


async def test_without_a_living_endpoint_nothing_happened_and_the_error_says_so() -> None:
    store = RemoteMetastore([f"127.0.0.1:{port}" for port in free_ports(2)], connect_timeout=0.3)
    for call in (store.put(pb.PutRequest(key=b"k")), store.range(pb.RangeRequest(key=b"k"))):
        with pytest.raises(MetastoreError) as failed:
            await call
        assert failed.value.fault is Fault.UNHEALTHY
    await store.close()
    with pytest.raises(MetastoreError) as stopped:
        await store.put(pb.PutRequest(key=b"k"))
    assert stopped.value.fault is Fault.STOPPED


async def test_a_write_is_sent_once_and_a_read_again_elsewhere(serve: Servers) -> None:
    first, second = failing(UNAVAILABLE, UNAVAILABLE), failing()
    store = RemoteMetastore([await serve(first), await serve(second)])
    with pytest.raises(MetastoreError) as failed:
        await store.put(pb.PutRequest(key=b"k"))
    assert failed.value.fault is Fault.LEADER_CHANGED
    assert (first.calls, second.calls) == (1, 0)
    await store.put(pb.PutRequest(key=b"k"))
    assert (first.calls, second.calls) == (1, 1)
    second.outcomes.append(UNAVAILABLE)
    await store.range(pb.RangeRequest(key=b"k"))
    await store.close()
    assert first.calls + second.calls == 5


ERRORS = [
    ((grpc.StatusCode.UNAVAILABLE, "socket closed"), Fault.TIMEOUT_CONNECTION_LOST, grpc.StatusCode.UNAVAILABLE),
    ((grpc.StatusCode.DEADLINE_EXCEEDED, "late"), Fault.TIMEOUT, grpc.StatusCode.UNAVAILABLE),
    ((grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: key not found"), Fault.KEY_NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT),
    ((grpc.StatusCode.PERMISSION_DENIED, "etcdserver: permission denied"), None, grpc.StatusCode.PERMISSION_DENIED),
    ((grpc.StatusCode.UNAVAILABLE, "etcdserver: something new"), None, grpc.StatusCode.UNAVAILABLE),
]  # fmt: skip


@pytest.mark.parametrize(("told", "fault", "code"), ERRORS)
async def test_errors_keep_the_remotes_code_and_text(
    serve: Servers, told: tuple[grpc.StatusCode, str], fault: Fault | None, code: grpc.StatusCode
) -> None:
    store = RemoteMetastore([await serve(failing(told))])
    with pytest.raises(MetastoreError) as failed:
        await store.put(pb.PutRequest(key=b"k"))
    await store.close()
    assert (failed.value.fault, failed.value.code) == (fault, code)
    assert failed.value.text == (fault.text if fault else told[1])


async def test_a_deadline_ends_a_call_with_an_unknown_outcome(serve: Servers) -> None:
    class Slow(Failing):
        async def Put(self, request: pb.PutRequest, context: aio.ServicerContext[object, object]) -> pb.PutResponse:  # noqa: N802
            await asyncio.Event().wait()
            raise AssertionError("nothing sets it")

    store = RemoteMetastore([await serve(Slow())], timeout=0.3)  # type: ignore[abstract]
    with pytest.raises(MetastoreError) as failed:
        await store.put(pb.PutRequest(key=b"k"))
    await store.close()
    assert failed.value.fault is Fault.TIMEOUT


async def test_what_the_callers_own_requests_raise_comes_out_of_a_watch(tmp_path: Path) -> None:
    async def requests() -> AsyncIterator[pb.WatchRequest]:
        yield pb.WatchRequest(create_request=pb.WatchCreateRequest(key=b"k"))
        raise LookupError("the caller's")

    with RaftmetaCluster(tmp_path, 1) as cluster:
        store = RemoteMetastore(cluster.endpoints)
        with pytest.raises(LookupError, match="the caller's"):
            async for _ in store.watch(requests()):
                pass
        await store.close()


async def test_keyspaces_side_by_side_see_only_their_own(tmp_path: Path) -> None:
    prefixes = [b"a", b"b", b"a/", b"\xff\xff"]
    with RaftmetaCluster(tmp_path, 1) as cluster:
        stores = [RemoteMetastore(cluster.endpoints, prefix=prefix) for prefix in prefixes[1:]]
        whole = RemoteMetastore(cluster.endpoints)
        for number, store in enumerate(stores):
            await store.put(pb.PutRequest(key=b"k%d" % number))
            await store.put(pb.PutRequest(key=b"\xff"))
        for number, store in enumerate(stores):
            everything = await store.range(pb.RangeRequest(key=b"\0", range_end=b"\0"))
            assert [kv.key for kv in everything.kvs] == [b"k%d" % number, b"\xff"]
            onwards = await store.range(pb.RangeRequest(key=b"l", range_end=b"\0"))
            assert [kv.key for kv in onwards.kvs] == [b"\xff"]
        gone = await stores[0].delete_range(pb.DeleteRangeRequest(key=b"\0", range_end=b"\0", prev_kv=True))
        assert [kv.key for kv in gone.prev_kvs] == [b"k0", b"\xff"]
        lease = (await whole.lease_grant(pb.LeaseGrantRequest(TTL=60))).ID
        for store in stores[1:]:
            await store.put(pb.PutRequest(key=b"leased", lease=lease))
        told = await stores[1].lease_time_to_live(pb.LeaseTimeToLiveRequest(ID=lease, keys=True))
        assert list(told.keys) == [b"leased"]
        assert (await whole.range(pb.RangeRequest(key=b"\0", range_end=b"\0"))).count == 6
        for store in (*stores, whole):
            await store.close()


@pytest.mark.parametrize(
    ("prefix", "end"), [(b"a", b"b"), (b"a\xff", b"b"), (b"\xff", b"\0"), (b"", b"\0"), (b"/1/", b"/10")]
)
def test_the_end_of_a_prefix_is_the_next_key_after_it(prefix: bytes, end: bytes) -> None:
    assert prefix_end(prefix) == end
