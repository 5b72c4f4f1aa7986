"""The same requests to a machine and to a real etcd get the same answers, and leave the same HashKV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.etcd import EtcdCluster
from harness.machines import Feed, machine
from harness.operations import KEYS, Etcd, Operations, ask

from raftmeta.etcd import rpc_pb2 as pb

pytestmark = pytest.mark.peer


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    with EtcdCluster(tmp_path / "etcd") as cluster:
        etcd = Etcd(cluster.endpoints[0])
        yield etcd
        etcd.channel.close()


def run(etcd: Etcd, directory: Path, seed: int, count: int) -> None:
    operations = Operations(seed)
    with machine(directory) as under_test:
        feed = Feed(under_test)
        for number in range(count):
            request = operations()
            wanted = etcd(request)
            assert ask(feed, request) == wanted, f"seed {seed}, operation {number}: {request!r}"
            operations.current, operations.compacted = under_test.revisions(0)
        for revision in (0, operations.current, operations.compacted + 1):
            request = pb.HashKVRequest(revision=revision)
            assert ask(feed, request) == etcd(request)
        everything = pb.RangeRequest(key=b"\0", range_end=b"\0")
        assert ask(feed, everything) == etcd(everything)
        assert operations.current > count // 5, "the sequence changed little: it proves little"


@pytest.mark.parametrize("seed", range(4))
def test_generated_requests_are_answered_alike(etcd: Etcd, tmp_path: Path, seed: int) -> None:
    run(etcd, tmp_path / "machine", seed, 600)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_thousand_operations_leave_the_same_hash(etcd: Etcd, tmp_path: Path) -> None:
    run(etcd, tmp_path / "machine", 1_000, 10_000)


def test_a_delete_of_everything_and_a_compaction_leave_the_same_hash(etcd: Etcd, tmp_path: Path) -> None:
    everything = pb.DeleteRangeRequest(key=b"\0", range_end=b"\0")
    script: list[pb.PutRequest | pb.DeleteRangeRequest | pb.CompactionRequest] = [
        *(pb.PutRequest(key=key, value=b"1") for key in KEYS),
        *(pb.PutRequest(key=key, value=b"2") for key in KEYS[:4]),
        pb.CompactionRequest(revision=12, physical=True),
        everything,
        pb.PutRequest(key=b"a"),
        pb.CompactionRequest(revision=16, physical=True),
        pb.DeleteRangeRequest(key=b"a"),
        pb.CompactionRequest(revision=17, physical=True),
        pb.PutRequest(key=b"b"),
    ]
    with machine(tmp_path / "machine") as under_test:
        feed = Feed(under_test)
        for request in script:
            assert ask(feed, request) == etcd(request)
            for revision in (0, -3, 13, 16):
                probe = pb.HashKVRequest(revision=revision)
                assert ask(feed, probe) == etcd(probe), (request, revision)
