"""A whole node in this process: health, reflection, metrics, readiness, in-memory nodes, and the order of its end."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from harness.etcd import EtcdCluster
from harness.rpc import failure
from prometheus_client.parser import text_string_to_metric_families
from quartet.files.v1 import files_pb2, files_pb2_grpc
from quartet_server.config import Config, Limits, Serve
from quartet_server.node import EXTERNAL_PREFIX, RunningNode, start_in_memory
from quartet_server.readiness import STARTING, STOPPING, MemberCondition, Readiness, StoreCondition
from quartet_server.rpc.port import PortRefused

from raftmeta.etcd import rpc_pb2, rpc_pb2_grpc

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
OURS = ("quartet.cluster.v1.ClusterService", "quartet.files.v1.FileService", "quartet.settings.v1.SettingsService")
ETCD = tuple(f"etcdserverpb.{name}" for name in ("KV", "Watch", "Lease", "Cluster", "Maintenance"))


def _config(directory: Path, **changes: Any) -> Config:
    serve = Serve(data_dir=directory / "data", listen="127.0.0.1:0", listen_http="127.0.0.1:0")
    return Config(serve=replace(serve, **changes), limits=Limits(drain=5.0))


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RunningNode]:
    async with await RunningNode.start(_config(tmp_path)) as running:
        await asyncio.wait_for(running.wait_ready(), 20)
        yield running


@pytest.fixture
async def channel(node: RunningNode) -> AsyncIterator[aio.Channel]:
    async with aio.insecure_channel(str(node.address)) as opened:
        yield opened


async def _get(node: RunningNode, path: str, accept: str = "") -> tuple[int, str]:
    def get() -> tuple[int, str]:
        request = urllib.request.Request(f"http://{node.http_address}{path}", headers={"Accept": accept})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(get)


@pytest.mark.parametrize("name", ["", *OURS, *ETCD])
async def test_every_service_of_a_ready_node_is_healthy(name: str, channel: aio.Channel) -> None:
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name))
    assert answer.status == SERVING


async def test_a_service_that_is_not_offered_has_no_health(tmp_path: Path) -> None:
    async with await RunningNode.start(_config(tmp_path, services="files")) as running:
        await asyncio.wait_for(running.wait_ready(), 20)
        async with aio.insecure_channel(str(running.address)) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            assert (await stub.Check(health_pb2.HealthCheckRequest(service=OURS[1]))).status == SERVING
            got = await failure(stub.Check(health_pb2.HealthCheckRequest(service=OURS[2])))
            assert got.code is grpc.StatusCode.NOT_FOUND
            got = await failure(
                channel.unary_unary(f"/{OURS[2]}/List", request_serializer=bytes, response_deserializer=bytes)(b"")
            )
            assert got.code is grpc.StatusCode.UNIMPLEMENTED


async def test_reflection_lists_every_service_and_describes_it(channel: aio.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)

    async def requests() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        for name in (*OURS, *ETCD):
            yield reflection_pb2.ServerReflectionRequest(file_containing_symbol=name)

    listed, *described = [answer async for answer in stub.ServerReflectionInfo(requests())]
    names = {service.name for service in listed.list_services_response.service}
    assert names >= {*OURS, *ETCD, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert all(answer.file_descriptor_response.file_descriptor_proto for answer in described)


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
async def test_metrics_show_the_process_the_calls_and_raft(
    accept: str, node: RunningNode, channel: aio.Channel
) -> None:
    await files_pb2_grpc.FileServiceStub(channel).Stat(files_pb2.StatRequest(path="/"))
    status, text = await _get(node, "/metrics", accept)
    assert status == 200
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.replace("# EOF\n", ""))
        for sample in family.samples
    }
    stat = tuple(
        sorted({"grpc_type": "unary", "grpc_service": OURS[1], "grpc_method": "Stat", "grpc_code": "OK"}.items())
    )
    assert samples["grpc_server_handled_total", stat] == 1
    assert samples["quartet_raft_is_leader", ()] == samples["quartet_raft_has_leader", ()] == 1
    assert samples["quartet_raft_applied_index", ()] > 0
    assert samples["quartet_raft_fsyncs_total", ()] > 0
    assert samples["etcd_server_is_leader", ()] == 1
    assert ("process_resident_memory_bytes", ()) in samples
    assert text.endswith("# EOF\n") == bool(accept)


async def test_no_path_or_id_of_a_user_becomes_a_label(node: RunningNode, channel: aio.Channel) -> None:
    stub = files_pb2_grpc.FileServiceStub(channel)
    await stub.Mkdir(files_pb2.MkdirRequest(path="/telltale"), metadata=(("quartet-request-id", "telltale"),))
    await failure(stub.Stat(files_pb2.StatRequest(path="/telltale/x")))
    await failure(channel.unary_unary("/quartet.telltale.v1.X/Y", bytes, bytes)(b""))
    assert "telltale" not in (await _get(node, "/metrics"))[1]


async def test_http_tells_that_the_process_lives_and_who_leads(node: RunningNode) -> None:
    assert await _get(node, "/healthz") == (200, '{"status":"ok"}')
    status, text = await _get(node, "/readyz")
    facts = json.loads(text)
    assert (status, facts["status"], facts["role"], facts["members"]) == (200, "ready", "leader", 1)
    assert facts["leader"] == str(node.address)
    assert (await _get(node, "/nothing"))[0] == 404


async def test_the_etcd_api_starts_empty_beside_quartet_s_own_keyspace(channel: aio.Channel) -> None:
    await files_pb2_grpc.FileServiceStub(channel).Mkdir(files_pb2.MkdirRequest(path="/a"))
    kv = rpc_pb2_grpc.KVStub(channel)
    empty = await kv.Range(rpc_pb2.RangeRequest(key=b"\0", range_end=b"\0"))
    assert (empty.header.revision, empty.count) == (1, 0)
    got = await failure(kv.Put(rpc_pb2.PutRequest()))
    assert (got.code, got.message, got.info) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "etcdserver: key is not provided",
        None,
    )


async def test_an_error_of_a_service_reaches_the_caller_with_reason_and_hint(channel: aio.Channel) -> None:
    got = await failure(files_pb2_grpc.FileServiceStub(channel).Stat(files_pb2.StatRequest(path="/nowhere")))
    assert got.code is grpc.StatusCode.NOT_FOUND
    assert got.info is not None
    assert (got.info.reason, got.info.domain) == ("FILE_NOT_FOUND", "quartet.dev")
    assert got.info.metadata["hint"]
    assert got.request_id


async def test_data_survives_a_restart(tmp_path: Path) -> None:
    for expected in (False, True):
        async with await RunningNode.start(_config(tmp_path)) as running:
            await asyncio.wait_for(running.wait_ready(), 20)
            async with aio.insecure_channel(str(running.address)) as channel:
                stub = files_pb2_grpc.FileServiceStub(channel)
                names = [entry.name for entry in (await stub.List(files_pb2.ListRequest(path="/"))).entries]
                assert names == (["kept"] if expected else [])
                if not expected:
                    await stub.Mkdir(files_pb2.MkdirRequest(path="/kept"))


async def test_a_node_in_memory_serves_and_leaves_nothing_behind() -> None:
    async with await start_in_memory() as running:
        directory = running.config.serve.data_dir
        assert directory.is_dir()
        assert running.http_address is None
        assert running.address.loopback
        async with aio.insecure_channel(str(running.address)) as channel:
            await files_pb2_grpc.FileServiceStub(channel).Mkdir(files_pb2.MkdirRequest(path="/a"))
    assert not directory.exists()


async def test_a_start_that_fails_closes_what_was_open(tmp_path: Path, node: RunningNode) -> None:
    taken = str(node.http_address)
    for _ in range(2):  # a second time, as the first must not have kept the data directory
        with pytest.raises(PortRefused, match="listen"):
            await RunningNode.start(_config(tmp_path / "other", listen_http=taken))
    with pytest.raises(PortRefused, match="listen"):
        await RunningNode.start(_config(tmp_path / "other", listen=str(node.address)))
    async with await RunningNode.start(_config(tmp_path / "other")) as running:
        await asyncio.wait_for(running.wait_ready(), 20)


async def test_the_end_comes_in_order_not_serving_then_drain_then_close(tmp_path: Path) -> None:
    running = await RunningNode.start(_config(tmp_path))
    await asyncio.wait_for(running.wait_ready(), 20)
    async with aio.insecure_channel(str(running.address)) as channel:
        health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=OURS[1]))
        assert (await health.read()).status == SERVING
        watch = rpc_pb2_grpc.WatchStub(channel).Watch()
        await watch.write(rpc_pb2.WatchRequest(create_request=rpc_pb2.WatchCreateRequest(key=b"k")))
        created = await watch.read()
        assert isinstance(created, rpc_pb2.WatchResponse)
        assert created.created
        end = asyncio.create_task(running.stop())
        assert (await health.read()).status == NOT_SERVING
        assert running.readiness.reason == STOPPING
        assert (await _get(running, "/readyz"))[0] == 503
        assert await _status(watch) is grpc.StatusCode.UNAVAILABLE
        await asyncio.wait_for(end, 20)
        got = await failure(files_pb2_grpc.FileServiceStub(channel).Stat(files_pb2.StatRequest(path="/"), timeout=5))
        assert got.code is grpc.StatusCode.UNAVAILABLE


async def _status(call: Any) -> grpc.StatusCode:
    """Read a stream to its end and return how it ended."""
    try:
        while await call.read() is not aio.EOF:
            pass
    except aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_a_call_in_flight_finishes_while_the_node_shuts_down(tmp_path: Path) -> None:
    running = await RunningNode.start(_config(tmp_path))
    await asyncio.wait_for(running.wait_ready(), 20)
    async with aio.insecure_channel(str(running.address)) as channel:
        stub = files_pb2_grpc.FileServiceStub(channel)
        await stub.Mkdir(files_pb2.MkdirRequest(path="/d"))
        calls = [stub.Mkdir(files_pb2.MkdirRequest(path=f"/d/{i}")) for i in range(200)]
        await calls[0]
        end = asyncio.create_task(running.stop())
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        await asyncio.wait_for(end, 20)
    failed = [outcome for outcome in outcomes if isinstance(outcome, aio.AioRpcError)]
    assert {error.code() for error in failed} <= {grpc.StatusCode.UNAVAILABLE}, failed[:1]
    assert len(failed) < len(calls)
    done = {call_number for call_number, outcome in enumerate(outcomes) if isinstance(outcome, files_pb2.Entry)}
    async with await RunningNode.start(_config(tmp_path)) as again:
        await asyncio.wait_for(again.wait_ready(), 20)
        async with aio.insecure_channel(str(again.address)) as channel:
            stub = files_pb2_grpc.FileServiceStub(channel)
            listed = await stub.List(files_pb2.ListRequest(path="/d", page_size=1000))
            assert {str(number) for number in done} <= {entry.name for entry in listed.entries}


@pytest.mark.peer
async def test_with_an_external_etcd_the_node_runs_no_raft_and_says_when_the_store_is_gone(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path / "etcd") as cluster:
        config = _config(tmp_path, metastore=f"etcd://{cluster.endpoints[0]}", services="files,settings")
        async with await RunningNode.start(config) as running:
            await asyncio.wait_for(running.wait_ready(), 20)
            assert running.member is None
            async with (
                aio.insecure_channel(str(running.address)) as channel,
                aio.insecure_channel(cluster.endpoints[0]) as etcd,
            ):
                await files_pb2_grpc.FileServiceStub(channel).Mkdir(files_pb2.MkdirRequest(path="/a"))
                keys = await rpc_pb2_grpc.KVStub(etcd).Range(
                    rpc_pb2.RangeRequest(key=b"\0", range_end=b"\0", keys_only=True)
                )
                assert keys.count > 0
                assert all(kv.key.startswith(EXTERNAL_PREFIX) for kv in keys.kvs)
                got = await failure(rpc_pb2_grpc.KVStub(channel).Range(rpc_pb2.RangeRequest(key=b"a")))
                assert got.code is grpc.StatusCode.UNIMPLEMENTED
            cluster.processes[0].kill()
            cluster.processes[0].wait()
            for _ in range(200):
                status, text = await _get(running, "/readyz")
                if status == 503:
                    break
                await asyncio.sleep(0.1)
            assert status == 503
            assert "does not answer" in json.loads(text)["reason"]


class _Switch:
    """A condition that a test decides."""

    interval = 0.0

    def __init__(self) -> None:
        self.reason = "because"

    async def look(self) -> str:
        await asyncio.sleep(0)
        return self.reason


async def test_readiness_follows_its_condition_until_the_node_shuts_down() -> None:
    condition, told, readiness = _Switch(), [], Readiness()

    async def tell(ready: bool) -> None:
        told.append(ready)

    assert readiness.reason == STARTING
    readiness.start(condition, tell)
    condition.reason = ""
    await asyncio.wait_for(readiness.wait(), 5)
    assert readiness.reason == ""
    condition.reason = "gone"
    while readiness.reason != "gone":
        await asyncio.sleep(0)
    condition.reason = ""
    await asyncio.wait_for(readiness.wait(), 5)
    await readiness.stop()
    assert (readiness.reason, told[-1]) == (STOPPING, False)
    assert [value for i, value in enumerate(told) if i == 0 or told[i - 1] != value][-4:] == [True, False, True, False]


async def test_a_member_and_a_store_say_when_they_can_serve(node: RunningNode) -> None:
    assert node.member is not None
    assert await MemberCondition(node.member).look() == ""
    assert await StoreCondition(node.metastore).look() == ""
