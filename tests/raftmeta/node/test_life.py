"""A member's life: first start, restart, somebody else's directory, joining, leaving, forced on its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from grpc import aio
from harness.ports import free_ports
from harness.stores import start_nodes

from raftmeta import identity, offline
from raftmeta.config import CompactionPolicy, NodeConfig
from raftmeta.consensus.contract import Member
from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc
from raftmeta.identity import Identity, IdentityError
from raftmeta.node import Node
from raftmeta.serve import UsageError, check_security
from raftmeta.services import add_services
from raftmeta.serving import Server
from raftmeta.tls import TlsFiles


async def _put(node: Node, key: bytes) -> int:
    return (await node.metastore(0).put(pb.PutRequest(key=key, value=key))).header.revision


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


async def test_what_a_killed_member_had_begun_to_save_is_removed_at_its_next_start(tmp_path: Path) -> None:
    begun = tmp_path / "backup-abc"
    begun.mkdir()
    (begun / "data.mdb").write_bytes(b"half of it")
    node = await Node.start(NodeConfig(data_dir=tmp_path, name="solo", advertise_client="127.0.0.1:1"))
    await node.stop()
    assert not begun.exists()


async def test_a_member_goes_on_where_it_stopped(tmp_path: Path) -> None:
    config = NodeConfig(data_dir=tmp_path, name="solo", advertise_client="127.0.0.1:1")
    first = await Node.start(config)
    await first.ready(20)
    await _put(first, b"k")
    lease = await first.metastore(0).lease_grant(pb.LeaseGrantRequest(TTL=600))
    await first.stop()
    await first.stop()
    second = await Node.start(config)
    await second.ready(20)
    assert second.identity == first.identity
    assert second.incarnation != first.incarnation
    got = await second.metastore(0).range(pb.RangeRequest(key=b"k"))
    assert (got.kvs[0].value, got.header.revision) == (b"k", 2)
    lives = await second.metastore(0).lease_time_to_live(pb.LeaseTimeToLiveRequest(ID=lease.ID))
    assert 590 <= lives.TTL <= 600
    await second.stop()
    with pytest.raises(MetastoreError) as stopped:
        await second.metastore(0).put(pb.PutRequest(key=b"k"))
    assert stopped.value.fault is Fault.STOPPED


@pytest.mark.parametrize(
    ("changed", "hint"),
    [
        ({"initial_cluster": {"a": "127.0.0.1:1", "b": "127.0.0.1:3"}}, "belongs to cluster"),
        ({"cluster_token": "other"}, "belongs to cluster"),
        ({"name": "b"}, "belongs to member"),
        ({"name": "c"}, "has no member called 'c'"),
    ],
)
async def test_a_directory_of_another_cluster_or_member_is_refused_with_a_hint(
    tmp_path: Path, changed: dict[str, object], hint: str
) -> None:
    peers = {"a": "127.0.0.1:1", "b": "127.0.0.1:2"}
    told: dict[str, object] = {"data_dir": tmp_path, "name": "a", "initial_cluster": peers}
    mine = Identity(identity.cluster_id("raftmeta", peers), identity.member_id("raftmeta", peers["a"]), "a", "raftmeta")
    identity.save(tmp_path, mine)
    with pytest.raises(IdentityError, match=hint):
        await Node.start(NodeConfig(**{**told, **changed}))  # type: ignore[arg-type]


async def test_a_damaged_identity_is_refused(tmp_path: Path) -> None:
    (tmp_path / "identity.json").write_text('{"version": 1')
    with pytest.raises(IdentityError, match="damaged"):
        await Node.start(NodeConfig(data_dir=tmp_path))
    (tmp_path / "identity.json").write_text('{"version": 9}')
    with pytest.raises(IdentityError, match="another version"):
        await Node.start(NodeConfig(data_dir=tmp_path))


def test_ids_are_stable_and_differ_by_token_address_and_nonce() -> None:
    ids = {
        identity.member_id("t", "h:1"),
        identity.member_id("t", "h:2"),
        identity.member_id("u", "h:1"),
        identity.member_id("t", "h:1", "later"),
    }
    assert len(ids) == 4
    assert identity.member_id("t", "h:1") in ids
    forward = identity.cluster_id("t", {"a": "h:1", "b": "h:2"})
    assert forward == identity.cluster_id("t", {"b": "h:2", "a": "h:1"}) != identity.cluster_id("t", {"a": "h:1"})


def _all_published(node: Node) -> bool:
    return all(member.client_address for member in node.membership.list())


async def test_members_learn_each_others_names_and_leadership_moves_and_is_handed_over(tmp_path: Path) -> None:
    nodes = await start_nodes(tmp_path, 3)
    try:
        for node in nodes:
            await _until(partial(_all_published, node))
            assert {m.name for m in node.membership.list()} == {"n0", "n1", "n2"}
        leader = next(node for node in nodes if node.is_leader)
        followers = [node for node in nodes if node is not leader]
        target = followers[0].identity.member_id
        assert await leader.transfer_leadership(target) == target
        await _until(lambda: followers[0].is_leader)
        with pytest.raises(MetastoreError) as refused:
            await leader.transfer_leadership(followers[1].identity.member_id)
        assert refused.value.fault is Fault.NOT_LEADER
        await followers[0].stop()
        rest = [node for node in nodes if node is not followers[0]]
        await asyncio.gather(*(node.ready(20) for node in rest))
        assert await _put(rest[0], b"after") == 2
    finally:
        for node in nodes:
            await node.stop()


async def _served(node: Node) -> tuple[Server, str]:
    server = Server()
    port = server.add_insecure_port("127.0.0.1:0")
    add_services(server, node)
    await server.start()
    return server, f"127.0.0.1:{port}"


async def _promoted(node: Node, number: int) -> bool:
    """Try to promote; False while the learner is behind."""
    try:
        await node.membership.promote(number)
    except MetastoreError as error:
        if error.fault is not Fault.LEARNER_NOT_READY:
            raise
        return False
    return True


async def test_a_learner_joins_catches_up_is_promoted_and_removed(tmp_path: Path) -> None:
    ports = free_ports(2)
    peer = f"127.0.0.1:{ports[0]}"
    first = await Node.start(
        NodeConfig(data_dir=tmp_path / "a", name="a", listen_peer=peer, advertise_client="127.0.0.1:1")
    )
    await first.ready(20)
    for i in range(50):
        await _put(first, b"%d" % i)
    server, endpoint = await _served(first)
    address = f"127.0.0.1:{ports[1]}"
    joining = NodeConfig(
        data_dir=tmp_path / "b", name="b", listen_peer=address, advertise_client="127.0.0.1:2", join=[endpoint]
    )
    with pytest.raises(IdentityError, match="does not know"):
        await Node.start(joining)
    number = identity.member_id("raftmeta", address, "first")
    await first.membership.add(Member(number, "", address, learner=True))
    second = await Node.start(joining)
    assert (second.identity.member_id, second.identity.cluster_id) == (number, first.identity.cluster_id)
    await _until(lambda: second.is_learner and second.machine.revisions(0)[0] == 51)
    learner_server, learner_endpoint = await _served(second)
    async with aio.insecure_channel(learner_endpoint) as channel:
        await _until(lambda: second.has_leader)
        kv = rpc.KVStub(channel)
        assert (await kv.Range(pb.RangeRequest(key=b"7", serializable=True))).count == 1
        assert (await rpc.MaintenanceStub(channel).Status(pb.StatusRequest())).isLearner
        with pytest.raises(aio.AioRpcError, match="rpc not supported for learner"):
            await kv.Range(pb.RangeRequest(key=b"7"))
        with pytest.raises(aio.AioRpcError, match="rpc not supported for learner"):
            await kv.Put(pb.PutRequest(key=b"7"))
    async with asyncio.timeout(20):
        while not await _promoted(first, number):
            await asyncio.sleep(0.05)
    await _until(lambda: not second.is_learner)
    assert await _put(second, b"from b") == 52
    await _until(lambda: any(member.client_address == "127.0.0.1:2" for member in first.membership.list()))
    with pytest.raises(IdentityError, match=f"{number:x} at {address} ran before"):
        await Node.start(replace(joining, data_dir=tmp_path / "lost"))
    await second.membership.remove(number)
    assert [member.name for member in first.membership.list()] == ["a"]
    for node_server in (learner_server, server):
        await node_server.stop(0)
    await second.stop()
    await first.stop()


async def test_a_survivor_of_a_lost_majority_is_forced_on_its_own(tmp_path: Path) -> None:
    nodes = await start_nodes(tmp_path, 3)
    revision = await _put(nodes[0], b"k")
    await asyncio.gather(*(node.reads.confirmed() for node in nodes))
    for node in nodes:
        await node.stop()
    directory = tmp_path / "n1"
    offline.force_new_cluster(directory, "")
    alone = await Node.start(NodeConfig(data_dir=directory, name="n1"))
    await alone.ready(20)
    assert [member.id for member in alone.membership.list()] == [alone.identity.member_id]
    assert await _put(alone, b"on my own") == revision + 1
    await alone.stop()


async def test_quartets_keyspace_compacts_by_itself_but_not_past_a_floor(tmp_path: Path) -> None:
    policy = {1: CompactionPolicy(keep_revisions=10, interval=0.1)}
    node = await Node.start(NodeConfig(data_dir=tmp_path, name="solo", compaction=policy))
    await node.ready(20)
    store = node.metastore(1)
    await node.set_floor(1, "reader", 15)
    for i in range(60):
        await store.put(pb.PutRequest(key=b"k", value=b"%d" % i))
        await node.metastore(0).put(pb.PutRequest(key=b"k"))
    await _until(lambda: node.machine.revisions(1)[1] > 0)
    assert node.machine.revisions(1)[1] <= 15
    await node.set_floor(1, "reader", 0)
    await _until(lambda: node.machine.revisions(1)[1] > 40)
    assert node.machine.revisions(0)[1] < 1
    await node.stop()


TLS = TlsFiles(Path("ca"), Path("cert"), Path("key"))


@pytest.mark.parametrize(
    ("peer", "client", "tls", "insecure", "refused"),
    [
        ("", "127.0.0.1:2379", None, False, False),
        ("", "[::1]:2379", None, False, False),
        ("", "localhost:2379", None, False, False),
        ("", "0.0.0.0:2379", None, False, True),
        ("", "db.example:2379", None, False, True),
        ("", "0.0.0.0:2379", None, True, False),
        ("127.0.0.1:1", "127.0.0.1:2379", None, False, True),
        ("127.0.0.1:1", "0.0.0.0:2379", TLS, False, False),
        ("127.0.0.1:1", "0.0.0.0:2379", TLS, True, True),
    ],
)
def test_nothing_is_served_in_the_clear_by_accident(
    tmp_path: Path, peer: str, client: str, tls: TlsFiles | None, insecure: bool, refused: bool
) -> None:
    config = NodeConfig(data_dir=tmp_path, listen_peer=peer)
    if refused:
        with pytest.raises(UsageError, match="insecure"):
            check_security(config, client, tls, insecure=insecure)
    else:
        check_security(config, client, tls, insecure=insecure)


async def test_check_finds_damage_and_says_so_with_its_exit_status(tmp_path: Path) -> None:
    node = await Node.start(NodeConfig(data_dir=tmp_path, name="solo"))
    await node.ready(20)
    for i in range(20):
        await _put(node, b"%d" % i)
    with pytest.raises(UsageError, match="stop the member first"):
        offline.check(tmp_path)
    await node.stop()
    command = [sys.executable, "-m", "raftmeta", "check", "--data-dir", str(tmp_path), "-o", "json"]

    def check() -> tuple[int, dict[str, object]]:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, json.loads(done.stdout)

    status, report = check()
    assert (status, report["findings"], report["space0_keys"], report["space0_revision"]) == (0, [], 20, 21)
    key = b"\x0a\x010"  # of the first put
    segment = next(path for path in sorted((tmp_path / "raft" / "wal").iterdir()) if key in path.read_bytes())
    data = bytearray(segment.read_bytes())
    data[data.index(key)] ^= 0xFF
    segment.write_bytes(data)
    status, report = check()
    assert (status, len(report["findings"])) == (1, 1)  # type: ignore[arg-type]
    empty = subprocess.run(
        [*command[:-3], str(tmp_path / "nothing")], capture_output=True, text=True, timeout=60, check=False
    )
    assert (empty.returncode, "holds no member" in empty.stderr) == (2, True)
