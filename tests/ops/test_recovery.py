"""Backups, lost majorities, damaged files: what an operator does about them, with the commands there are."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from harness.fleet import Fleet
from harness.quartet import Ran, quartet
from harness.workload import Workload

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc

pytestmark = pytest.mark.slow


def raftmeta(*arguments: str | Path) -> Ran:
    """Run `python -m raftmeta` to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "raftmeta", *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr)


def _revision(endpoint: str) -> int:
    with grpc.insecure_channel(endpoint) as channel:
        answer = rpc.KVStub(channel).Range(pb.RangeRequest(key=b"none"), timeout=60, wait_for_ready=True)
    return int(answer.header.revision)


def _await_addresses(fleet: Fleet) -> None:
    """Wait until each member knows where every other takes calls, as it is after a moment of running."""
    deadline = time.monotonic() + 60
    for node in fleet.nodes:
        with grpc.insecure_channel(node.endpoint) as channel:
            stub = rpc.ClusterStub(channel)
            while not all(one.clientURLs for one in stub.MemberList(pb.MemberListRequest(), timeout=10).members):
                assert time.monotonic() < deadline
                time.sleep(0.05)


@pytest.mark.parametrize("size", [1, 3])
def test_a_saved_cluster_is_restored_into_a_new_one_with_its_data_and_revisions(tmp_path: Path, size: int) -> None:
    archive = tmp_path / "saved"
    with Fleet(tmp_path / "old", 1) as old:
        with Workload(old) as load:
            load.more(20)
        with old.client() as client:
            client.settings.set("model.key", "s3cret", sensitive=True)
            client.files.rename(min(load.files), "/renamed")
            load.files["/renamed"] = load.files.pop(min(load.files))
        revision = _revision(old.endpoints[0])
        saved = raftmeta("save", archive, "--endpoint", old.endpoints[0], "-o", "json")
        assert saved.json["bytes"] == archive.stat().st_size
        with old.client() as client:
            client.files.mkdir("/after-the-backup")
    new = Fleet(tmp_path / "new", size)
    founders = ",".join(f"{node.name}={node.raft}" for node in new.nodes)
    for node in new.nodes:
        done = raftmeta(
            "restore", archive, "--data-dir", node.data_dir, "--name", node.name, "--cluster-token", "restored",
            "--initial-cluster", founders,
        )  # fmt: skip
        assert done.code == 0, done.err
        node.flags += ["--raft-token", "restored"]
    # sensitive values open with the key of a node that could open them
    shutil.copy(old.node("n1").data_dir / "secrets.key", new.node("n1").data_dir)
    with new:
        for node in new.nodes:
            assert _revision(node.endpoint) == revision
            with new.client(node.endpoint) as client:
                assert "/after-the-backup" not in {entry.path for entry in client.files.list("/")}
        load.assert_kept_in(new)
        with new.client(new.endpoints[0]) as client:
            assert client.settings.get("model.key", reveal=True).value == "s3cret"
            client.files.mkdir("/goes-on")
        assert set(new.roles()) == {node.name for node in new.nodes}


def test_the_survivor_of_a_lost_majority_goes_on_alone_and_grows_again(tmp_path: Path) -> None:
    with Fleet(tmp_path, 3) as fleet:
        with Workload(fleet) as load:
            load.more(20)
        survivor = fleet.node("n1")
        _await_addresses(fleet)
        for name in ("n2", "n3"):
            fleet.node(name).kill()
            fleet.node(name).ended()
        assert survivor.terminate() == 0
        refused = raftmeta("force-new-cluster", "--data-dir", tmp_path / "elsewhere")
        assert refused.code == 2
        done = raftmeta("force-new-cluster", "--data-dir", survivor.data_dir)
        assert done.code == 0, done.err
        survivor.start()
        assert fleet.roles(at=survivor) == {"n1": "leader"}
        with fleet.client(survivor.endpoint) as client:
            load.assert_kept(client, survivor.endpoint)
        # one of the lost comes back with its old data: it is told, and harms nobody
        ghost = fleet.node("n3")
        ghost.launch()
        assert ghost.ended() == 1
        assert "this node was removed from the cluster" in ghost.log()
        for name in ("n4", "n5"):
            fleet.add(name).start("--join", fleet.token(at=survivor))
        fleet.await_topology({"n1", "n4", "n5"}, at=survivor)
        assert survivor.terminate() == 0
        for name in ("n4", "n5"):
            node = fleet.node(name)
            with fleet.client(node.endpoint) as client:
                load.assert_kept(client, node.endpoint)


def test_check_finds_a_flipped_bit_in_log_and_store_and_the_member_says_what_helps(tmp_path: Path) -> None:
    with Fleet(tmp_path, 1) as fleet:
        node = fleet.node("n1")
        with Workload(fleet) as load:
            load.more(20)
        assert node.terminate() == 0
        pristine = tmp_path / "pristine"
        shutil.copytree(node.data_dir, pristine)
        assert raftmeta("check", "--data-dir", node.data_dir, "-o", "json").json["findings"] == []
        value = b"\x0bload/000007"  # with its length; in the store only a record has it behind the tag of a value
        for area, needle in (("raft/wal", value), ("store", b"\x2a" + value)):
            files = (path for path in (node.data_dir / area).rglob("*") if path.is_file())
            hit = next(path for path in files if needle in path.read_bytes())
            damaged = needle[:-1] + bytes([needle[-1] ^ 0x40])
            hit.write_bytes(hit.read_bytes().replace(needle, damaged))  # with copies in pages that are free now
            found = raftmeta("check", "--data-dir", node.data_dir, "-o", "json")
            assert (found.code, len(found.json["findings"])) == (1, 1), found.out
            if area == "raft/wal":
                ran = quartet(*node.arguments)
                assert (ran.code, ran.out) == (1, "")
                assert f"hint: python -m raftmeta check --data-dir {node.data_dir}" in ran.err
                assert "Traceback" not in ran.err
            shutil.rmtree(node.data_dir)
            shutil.copytree(pristine, node.data_dir)
        node.start()
        load.assert_kept_everywhere()


def test_a_damaged_backup_is_refused_and_leaves_no_directory_behind(tmp_path: Path) -> None:
    archive = tmp_path / "saved"
    with Fleet(tmp_path / "old", 1) as fleet:
        with fleet.client() as client:
            client.files.mkdir("/kept")
        assert raftmeta("save", archive, "--endpoint", fleet.endpoints[0]).code == 0
        again = raftmeta("save", archive, "--endpoint", fleet.endpoints[0])
        assert (again.code, "exists" in again.err) == (2, True)
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    done = raftmeta("restore", archive, "--data-dir", tmp_path / "new", "-o", "json")
    assert (done.code, done.out) == (2, "")
    assert "its digest does not match" in done.err
    nobody = raftmeta("save", tmp_path / "other", "--endpoint", fleet.endpoints[0])
    assert (nobody.code, (tmp_path / "other").exists()) == (2, False)
