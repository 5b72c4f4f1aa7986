"""The gRPC services of one member in this process: keyspaces, headers, alarms, snapshots, what is not offered."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from grpc import aio
from harness.http import get

from raftmeta import offline
from raftmeta.config import NodeConfig
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc
from raftmeta.http import HttpPort
from raftmeta.node import Node
from raftmeta.services import add_services
from raftmeta.serving import Server
from raftmeta.snapshot import SnapshotError

SPACE1 = (("raftmeta-space", "1"),)


@dataclass
class Member:
    """A node, its gRPC server and stubs for it."""

    node: Node
    kv: rpc.KVAsyncStub
    watch: rpc.WatchAsyncStub
    lease: rpc.LeaseAsyncStub
    cluster: rpc.ClusterAsyncStub
    maintenance: rpc.MaintenanceAsyncStub


@pytest_asyncio.fixture
async def member(tmp_path: Path) -> AsyncIterator[Member]:
    config = NodeConfig(data_dir=tmp_path / "data", name="solo", advertise_client="127.0.0.1:1", quota_bytes=4 << 20)
    node = await Node.start(config)
    await node.ready(20)
    server = Server()
    port = server.add_insecure_port("127.0.0.1:0")
    add_services(server, node)
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_receive_message_length", -1)]) as channel:
        yield Member(
            node,
            rpc.KVStub(channel),
            rpc.WatchStub(channel),
            rpc.LeaseStub(channel),
            rpc.ClusterStub(channel),
            rpc.MaintenanceStub(channel),
        )
    await server.stop(0)
    await node.stop()


async def _refused(call: object) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(aio.AioRpcError) as refused:
        await call  # type: ignore[misc]
    return refused.value.code(), refused.value.details() or ""


async def test_quartets_keyspace_can_be_read_and_not_written(member: Member) -> None:
    inside = member.node.metastore(1)
    await inside.put(pb.PutRequest(key=b"own", value=b"data"))
    assert (await member.kv.Range(pb.RangeRequest(key=b"own"))).count == 0
    seen = await member.kv.Range(pb.RangeRequest(key=b"own"), metadata=SPACE1)
    assert seen.kvs[0].value == b"data"
    only_reads = pb.TxnRequest(success=[pb.RequestOp(request_range=pb.RangeRequest(key=b"own"))])
    assert (await member.kv.Txn(only_reads, metadata=SPACE1)).responses[0].response_range.count == 1
    hashes = [await member.maintenance.HashKV(pb.HashKVRequest(), metadata=m) for m in (None, SPACE1)]
    assert hashes[0].hash != hashes[1].hash
    put = pb.TxnRequest(success=[pb.RequestOp(request_put=pb.PutRequest(key=b"own"))])
    for call in (
        member.kv.Put(pb.PutRequest(key=b"own"), metadata=SPACE1),
        member.kv.DeleteRange(pb.DeleteRangeRequest(key=b"own"), metadata=SPACE1),
        member.kv.Txn(put, metadata=SPACE1),
        member.kv.Compact(pb.CompactionRequest(revision=1), metadata=SPACE1),
        member.lease.LeaseGrant(pb.LeaseGrantRequest(TTL=5), metadata=SPACE1),
    ):
        code, text = await _refused(call)
        assert (code, text.split(" through")[0]) == (
            grpc.StatusCode.PERMISSION_DENIED,
            "raftmeta: keyspace 1 is read-only",
        )
    code, _ = await _refused(member.kv.Range(pb.RangeRequest(key=b"k"), metadata=(("raftmeta-space", "7"),)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_watch_of_quartets_keyspace_sees_its_changes(member: Member) -> None:
    call = member.watch.Watch(metadata=SPACE1)
    await call.write(pb.WatchRequest(create_request=pb.WatchCreateRequest(key=b"own")))
    await call.done_writing()  # which does not end the stream
    created = await call.read()
    assert isinstance(created, pb.WatchResponse)
    assert created.created
    await member.kv.Put(pb.PutRequest(key=b"own", value=b"etcd's"))
    await member.node.metastore(1).put(pb.PutRequest(key=b"own", value=b"quartet's"))
    response = await call.read()
    assert isinstance(response, pb.WatchResponse)
    assert [event.kv.value for event in response.events] == [b"quartet's"]
    assert response.header.cluster_id == member.node.identity.cluster_id
    call.cancel()


async def test_headers_carry_what_etcds_carry(member: Member) -> None:
    put = await member.kv.Put(pb.PutRequest(key=b"k"))
    status = await member.maintenance.Status(pb.StatusRequest())
    listed = await member.cluster.MemberList(pb.MemberListRequest(linearizable=True))
    alarms = await member.maintenance.Alarm(pb.AlarmRequest())
    defragmented = await member.maintenance.Defragment(pb.DefragmentRequest())
    for header in (put.header, status.header, listed.header, alarms.header, defragmented.header):
        assert (header.cluster_id, header.member_id) == (
            member.node.identity.cluster_id,
            member.node.identity.member_id,
        )
        assert header.raft_term == status.raftTerm >= 1
    assert put.header.revision == status.header.revision == 2
    assert [listed.header.revision, alarms.header.revision, defragmented.header.revision] == [0, 0, 0]
    assert status.leader == status.header.member_id
    assert status.raftIndex >= status.raftAppliedIndex > 0
    assert (status.dbSize > 0, status.isLearner, list(status.errors)) == (True, False, [])


async def test_what_is_not_offered_says_so(member: Member) -> None:
    stream = member.kv.RangeStream(pb.RangeRequest(key=b"k"))
    code, text = await _refused(stream.read())
    assert (code, text) == (grpc.StatusCode.UNIMPLEMENTED, "unknown method RangeStream for service etcdserverpb.KV")
    code, _ = await _refused(member.maintenance.Downgrade(pb.DowngradeRequest()))
    assert code is grpc.StatusCode.UNIMPLEMENTED


async def test_a_store_over_its_quota_raises_the_alarm_and_takes_deletes_only(member: Member) -> None:
    refused: tuple[grpc.StatusCode, str | None] | None = None
    for i in range(400):
        try:
            await member.kv.Put(pb.PutRequest(key=b"%d" % i, value=b"v" * 100_000))
        except aio.AioRpcError as error:
            refused = error.code(), error.details()
            break
    assert refused == (grpc.StatusCode.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded")
    alarms = await member.maintenance.Alarm(pb.AlarmRequest(action=pb.AlarmRequest.GET))
    assert [(a.memberID, a.alarm) for a in alarms.alarms] == [(member.node.identity.member_id, pb.NOSPACE)]
    status = await member.maintenance.Status(pb.StatusRequest())
    assert list(status.errors) == [f"memberID:{member.node.identity.member_id} alarm:NOSPACE "]
    health, _, body = await HttpPort(member.node).answer("/health")
    assert (health, b"NOSPACE" in body) == (503, True)
    gone = await member.kv.DeleteRange(pb.DeleteRangeRequest(key=b"\0", range_end=b"\0"))
    await member.kv.Compact(pb.CompactionRequest(revision=gone.header.revision, physical=True))
    told = await member.maintenance.Alarm(
        pb.AlarmRequest(action=pb.AlarmRequest.DEACTIVATE, alarm=pb.NOSPACE, memberID=member.node.identity.member_id)
    )
    assert [a.alarm for a in told.alarms] == [pb.NOSPACE]
    await member.kv.Put(pb.PutRequest(key=b"again"))


async def test_a_snapshot_restores_into_a_new_cluster(member: Member, tmp_path: Path) -> None:
    for i in range(50):
        await member.kv.Put(pb.PutRequest(key=b"%d" % i, value=b"v" * 10_000))
    lease = await member.lease.LeaseGrant(pb.LeaseGrantRequest(TTL=1000))
    before = await member.maintenance.HashKV(pb.HashKVRequest())
    pieces, left = [], []
    async for piece in member.maintenance.Snapshot(pb.SnapshotRequest()):
        pieces.append(piece.blob)
        left.append(piece.remaining_bytes)
    assert left == sorted(left, reverse=True)
    assert left[-1] == left[-2] == 0
    assert pieces[-1] == hashlib.sha256(b"".join(pieces[:-1])).digest()
    archive = tmp_path / "saved"
    archive.write_bytes(b"".join(pieces))
    assert archive.stat().st_size % 512 == 32
    done = offline.restore(archive, tmp_path / "restored", "heir", {}, "other")
    assert done["revision"] == before.header.revision
    node = await Node.start(NodeConfig(data_dir=tmp_path / "restored", name="heir", cluster_token="other"))
    await node.ready(20)
    assert node.identity.cluster_id != member.node.identity.cluster_id
    assert node.machine.hash_kv(0, 0)[0] == before.hash
    store = node.metastore(0)
    assert [one.ID for one in (await store.lease_leases(pb.LeaseLeasesRequest())).leases] == [lease.ID]
    assert (await store.put(pb.PutRequest(key=b"new"))).header.revision == before.header.revision + 1
    await node.stop()
    assert offline.check(tmp_path / "restored").findings == []


@pytest.mark.parametrize("damage", ["cut", "flipped"])
async def test_a_damaged_snapshot_is_refused(member: Member, tmp_path: Path, damage: str) -> None:
    blobs = [piece.blob async for piece in member.maintenance.Snapshot(pb.SnapshotRequest())]
    data = bytearray(b"".join(blobs))
    if damage == "cut":
        del data[-700:]
    else:
        data[len(data) // 2] ^= 1
    archive = tmp_path / "saved"
    archive.write_bytes(data)
    with pytest.raises(SnapshotError):
        offline.restore(archive, tmp_path / "restored", "heir", {}, "other")


async def test_the_http_port_tells_health_version_and_metrics(member: Member) -> None:
    port = HttpPort(member.node)
    await port.start("127.0.0.1:0")

    assert await get(port.address, "/health") == (200, b'{"health":"true","reason":""}')
    assert (await get(port.address, "/version"))[1].startswith(b'{"etcdserver":"3.4.')
    status, text = await get(port.address, "/metrics")
    names = {line.split(b"{")[0].split(b" ")[0] for line in text.splitlines() if not line.startswith(b"#")}
    assert status == 200
    assert {
        b"etcd_server_has_leader",
        b"etcd_server_is_leader",
        b"etcd_server_leader_changes_seen_total",
        b"etcd_server_proposals_committed_total",
        b"etcd_server_proposals_applied_total",
        b"etcd_server_proposals_pending",
        b"etcd_server_proposals_failed_total",
        b"etcd_disk_wal_fsync_duration_seconds_sum",
        b"etcd_mvcc_db_total_size_in_bytes",
        b"raftmeta_term",
        b"raftmeta_raft_stalls_total",
    } <= names
    assert (await get(port.address, "/nothing"))[0] == 404
    assert (await get(port.address, "/health", method="POST"))[0] == 405
    await port.stop()
