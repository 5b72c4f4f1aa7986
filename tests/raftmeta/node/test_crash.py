"""Three real processes: what was acknowledged survives kill -9 of the leader and of everyone."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from grpc import aio
from harness.raftmeta import RaftmetaCluster

from raftmeta.drivers.remote import RemoteMetastore
from raftmeta.errors import MetastoreError
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc

pytestmark = pytest.mark.slow


class Load:
    """Writers that put numbered keys until told to stop, and remember what was acknowledged."""

    def __init__(self, endpoints: list[str], writers: int = 4) -> None:
        self.acknowledged: dict[bytes, int] = {}
        self._stop = False
        self._stores = [
            RemoteMetastore(endpoints[i % len(endpoints) :] + endpoints[: i % len(endpoints)]) for i in range(writers)
        ]
        self._tasks = [asyncio.ensure_future(self._write(i, store)) for i, store in enumerate(self._stores)]

    async def _write(self, writer: int, store: RemoteMetastore) -> None:
        number = 0
        while not self._stop:
            key = b"%d/%06d" % (writer, number)
            number += 1
            try:
                answer = await store.put(pb.PutRequest(key=key, value=key))
            except MetastoreError:
                await asyncio.sleep(0.02)
            else:
                self.acknowledged[key] = answer.header.revision

    async def more(self, count: int) -> None:
        """Wait until `count` further writes were acknowledged."""
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(60):
            while len(self.acknowledged) < wanted:
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """End the writers."""
        self._stop = True
        await asyncio.gather(*self._tasks)
        for store in self._stores:
            await store.close()


async def _contents(endpoint: str) -> dict[bytes, int]:
    store = RemoteMetastore([endpoint], timeout=20, connect_timeout=10)
    async with asyncio.timeout(60):
        while True:
            try:
                answer = await store.range(pb.RangeRequest(key=b"\0", range_end=b"\0"))
                break
            except MetastoreError:  # an election may be on
                await asyncio.sleep(0.05)
    await store.close()
    assert all(kv.key == kv.value for kv in answer.kvs)
    return {kv.key: kv.mod_revision for kv in answer.kvs}


async def _leader(cluster: RaftmetaCluster) -> int:
    """Return the number of the member that leads."""
    async with asyncio.timeout(60):
        while True:
            for member, endpoint in enumerate(cluster.endpoints):
                async with aio.insecure_channel(endpoint) as channel:
                    with contextlib.suppress(aio.AioRpcError):
                        status = await rpc.MaintenanceStub(channel).Status(pb.StatusRequest(), timeout=2)
                        if status.leader == status.header.member_id:
                            return member
            await asyncio.sleep(0.05)


def _assert_kept(acknowledged: dict[bytes, int], found: dict[bytes, int]) -> None:
    lost = {key: revision for key, revision in acknowledged.items() if found.get(key) != revision}
    assert not lost


async def test_killing_the_leader_loses_nothing_acknowledged(tmp_path: Path) -> None:
    with RaftmetaCluster(tmp_path, 3) as cluster:
        load = Load(cluster.endpoints)
        await load.more(100)
        for _ in range(2):
            leader = await _leader(cluster)
            cluster.kill(leader)
            await load.more(100)
            cluster.start(leader)
            await load.more(50)
        await load.stop()
        found = [await _contents(endpoint) for endpoint in cluster.endpoints]
    assert found[0] == found[1] == found[2]
    _assert_kept(load.acknowledged, found[0])


async def test_killing_everyone_at_once_loses_nothing_acknowledged(tmp_path: Path) -> None:
    with RaftmetaCluster(tmp_path, 3, "--snapshot-entries", "200") as cluster:
        load = Load(cluster.endpoints)
        for _ in range(2):
            await load.more(150)
            for member in range(3):
                cluster.kill(member)
            for member in range(3):
                cluster.launch(member)
            for member in range(3):
                cluster.wait(member)
        await load.more(50)
        await load.stop()
        found = [await _contents(endpoint) for endpoint in cluster.endpoints]
        for member in range(3):
            assert cluster.terminate(member) == 0
        checks = [_check(cluster.data_dir(member)) for member in range(3)]
    assert found[0] == found[1] == found[2]
    _assert_kept(load.acknowledged, found[0])
    assert [done.returncode for done in checks] == [0, 0, 0], [done.stdout for done in checks]


def _check(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "raftmeta", "check", "--data-dir", str(directory)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
