"""What is recorded: each generation once, whoever records, whatever the cost says, and never silently less."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from harness.versions import Desk, until, zoned
from prometheus_client import CollectorRegistry
from quartet.cluster.storage.v1 import storage_pb2 as cluster_storage
from quartet.files.v1 import files_pb2
from quartet.versions.storage.v1 import storage_pb2
from quartet.versions.v1 import versions_pb2 as pb
from quartet_server.meta import ops, system
from quartet_server.versions import keys, observer, recorder
from quartet_server.versions.metrics import VersionMetrics
from quartet_server.versions.recorder import Recorder

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Counting:
    """A Metastore that counts the writes that go through it, and may fail one of them."""

    def __init__(self, store: Metastore) -> None:
        """Pass everything on to `store`."""
        self._store = store
        self.transactions: list[rpc_pb2.TxnRequest] = []
        self.lose: list[bool] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def txn(self, request: rpc_pb2.TxnRequest) -> rpc_pb2.TxnResponse:
        """Carry out a transaction; where an entry of `lose` says so the answer, or the request itself, is lost."""
        if not any(one.HasField("request_put") for one in request.success):
            return await self._store.txn(request)  # it only reads
        self.transactions.append(request)
        before = self.lose.pop(0) if self.lose else None
        if before is False:
            raise asyncio.InvalidStateError("lost on the way")
        answer = await self._store.txn(request)
        if before:
            raise asyncio.InvalidStateError("lost on the way back")
        return answer

    def watch(self, requests: AsyncIterator[rpc_pb2.WatchRequest]) -> AsyncIterator[rpc_pb2.WatchResponse]:
        """Pass it on."""
        return self._store.watch(requests)


def alone(desk: Desk, store: Any, linger: float = 0.0) -> Recorder:
    """A recorder of the default zone without an observer."""

    async def nothing(zone: str, records: object) -> None:
        pass

    return Recorder(store, "default", desk.clock, VersionMetrics(), nothing, linger)


async def began_at(desk: Desk) -> int:
    found = await desk.store.range(rpc_pb2.RangeRequest(key=keys.BEGAN))
    return found.kvs[0].create_revision


async def reach(desk: Desk, one: Recorder, revision: int) -> None:
    """Run a recorder, again whenever it fails, until it is at a revision."""
    one.told = await began_at(desk)

    async def again() -> None:
        while True:
            try:
                await one.run(one.told)
            except* asyncio.InvalidStateError:
                pass  # its transaction was lost

    task = asyncio.create_task(again())
    try:
        await until(lambda: one.told >= revision)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_first_write_costs_nothing_and_others_share_transactions(desk: Desk) -> None:
    store = Counting(desk.store)
    for number in range(40):
        last = await desk.write(f"/f{number}", b"once")
    await reach(desk, alone(desk, store), last.revision)
    assert store.transactions == []
    assert await desk.keys(keys.records("default")) == []
    for number in range(40):
        last = await desk.write(f"/f{number}", b"twice")
    deleted = await desk.files.Delete(files_pb2.DeleteRequest(path="/f0"))
    await reach(desk, alone(desk, store, linger=0.5), deleted.revision)
    written = [len(one.success) for one in store.transactions]
    assert (
        sum(written) - len(written) == 40 + 2
    )  # one operation a version, two for a deletion, and the cursor each time
    assert len(written) <= 3
    assert len(await desk.keys(keys.records("default"))) == 41


async def test_more_records_than_a_transaction_takes_are_split_and_none_is_lost(desk: Desk) -> None:
    desk.clock.step = 1.0  # what is recorded twice has two keys
    paths = [f"/f{number}" for number in range(120)]
    for _ in range(2):
        items = [files_pb2.WriteItem(path=path, data=b"x") for path in paths]
        assert (await desk.files.BatchWrite(files_pb2.BatchWriteRequest(files=items))).written == len(paths)
    found = await desk.store.range(
        rpc_pb2.RangeRequest(key=b"default\0i", range_end=b"default\0j", limit=128, keys_only=True)
    )
    inodes = [kv.key for kv in found.kvs if kv.key[-8:] != (1).to_bytes(8, "big")]
    gone = await desk.store.txn(rpc_pb2.TxnRequest(success=[ops.delete(key) for key in inodes]))  # two records each
    store = Counting(desk.store)
    store.lose = [True, False, True]
    await reach(desk, alone(desk, store), gone.header.revision)
    records = [keys.parse(key) for key in await desk.keys(keys.records("default"))]
    assert sorted((one.ino, one.generation) for one in records) == sorted(
        (int.from_bytes(key[-8:], "big"), generation) for key in inodes for generation in (1, 2)
    )
    assert len(await desk.keys(b"default\0Vn")) == len(inodes)
    cursor = await desk.store.range(rpc_pb2.RangeRequest(key=keys.cursor("default")))
    assert storage_pb2.Cursor.FromString(cursor.kvs[0].value).part == 0


async def test_a_recorder_that_dies_at_any_transaction_leaves_nothing_out_and_nothing_twice(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "_OPERATIONS", 3)
    contents = [b"%d" % number for number in range(30)]
    last = await desk.write("/f", *contents)
    store = Counting(desk.store)
    store.lose = [True, False] * 4
    await reach(desk, alone(desk, store), last.revision)
    records = [keys.parse(key) for key in await desk.keys(keys.records("default"))]
    assert [one.generation for one in records] == list(range(1, 30))
    assert await desk.history("/f") == contents


async def test_two_recorders_at_once_record_each_version_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_OPERATIONS", 2)
    desk.clock.step = 1.0  # what is recorded twice has two keys
    contents = [b"%d" % number for number in range(15)]
    await desk.write("/f", *contents)
    for number in range(15):
        await desk.write(f"/g{number}", b"x")
        last = await desk.files.Delete(files_pb2.DeleteRequest(path=f"/g{number}"))
    recorders = [alone(desk, Counting(desk.store)) for _ in range(2)]
    await asyncio.gather(*(reach(desk, one, last.revision) for one in recorders))
    records = [keys.parse(key) for key in await desk.keys(keys.records("default"))]
    assert [one.generation for one in records] == [*range(1, 15), *[1] * 15]
    assert await desk.history("/f") == contents


async def test_one_observer_records_at_a_time_and_another_takes_over(desk: Desk) -> None:
    other = desk.another()
    await desk.record()
    other.begin()
    await desk.write("/f", b"1", b"2")
    await desk.recorded()
    assert other.observer.told("default") == 0
    await desk.service.observer.close()
    last = await desk.write("/f", b"3", b"4")
    await until(lambda: other.observer.told("default") >= last.revision)
    assert await desk.history("/f") == [b"1", b"2", b"3", b"4"]
    assert len(await desk.keys(keys.records("default"))) == 3
    await other.stop()


async def test_a_zone_that_comes_later_is_recorded_and_no_zone_shows_anothers(desk: Desk) -> None:
    await desk.record()
    zone = cluster_storage.ZoneRecord().SerializeToString()
    await desk.store.put(rpc_pb2.PutRequest(key=system.zone("other"), value=zone))
    await until(lambda: desk.service.observer.told("other") > 0)
    items = files_pb2.BatchWriteRequest(files=[files_pb2.WriteItem(path="/f", data=b"theirs")])
    for _ in range(3):
        await desk.files.BatchWrite(items, metadata=zoned("other"))
    await desk.write("/f", b"ours", b"ours too")
    await desk.recorded("other")
    await desk.recorded()
    assert len(await desk.keys(keys.records("other"))) == 2
    assert await desk.history("/f") == [b"ours", b"ours too"]
    entry = await desk.files.Stat(files_pb2.StatRequest(path="/f"), metadata=zoned("other"))
    page = await desk.versions.ListVersions(
        pb.ListVersionsRequest(file=pb.Subject(ino=entry.ino)), metadata=zoned("other")
    )
    assert len(page.versions) == 3


async def test_compaction_waits_for_the_observer_where_the_store_lets_it(desk: Desk) -> None:
    if not await desk.store.set_floor("probe", 0):
        pytest.skip("etcd has no floors")
    await desk.record()
    last = await desk.write("/f", b"1", b"2")
    await desk.recorded()
    await desk.service.observer.close()
    contents = [b"1", b"2", *(b"%d" % number for number in range(3, 20))]
    last = await desk.write("/f", *contents[2:])
    await desk.store.compact(rpc_pb2.CompactionRequest(revision=last.revision, physical=True))
    assert await desk.history("/f") == contents
    service = desk.another()
    service.begin()
    await until(lambda: service.observer.told("default") >= last.revision)
    assert await desk.history("/f") == contents
    page = await desk.versions.ListVersions(pb.ListVersionsRequest(file=pb.Subject(path="/f")))
    assert not page.losses.gaps
    await service.stop()


async def test_what_others_made_the_store_forget_is_told_as_a_gap(desk: Desk) -> None:
    await desk.record()
    await desk.write("/f", b"1", b"2")
    await desk.recorded()
    await desk.service.observer.close()
    await desk.store.set_floor("versions", 0)
    last = await desk.write("/f", b"3", b"4", b"5")
    await desk.store.compact(rpc_pb2.CompactionRequest(revision=last.revision))
    await desk.write("/f", b"6", b"7")
    service = desk.another()
    service.begin()
    desk.service = service
    await desk.recorded()
    assert [one.generation for one in await desk.versions_of("/f")] == [7, 6, 5, 1]
    page = await desk.versions.ListVersions(pb.ListVersionsRequest(file=pb.Subject(path="/f")))
    assert [gap.to_revision for gap in page.losses.gaps] == [last.revision]
    assert page.losses.gaps[0].from_revision < last.revision
    later = await desk.write("/g", b"1")
    page = await desk.versions.ListVersions(pb.ListVersionsRequest(file=pb.Subject(ino=later.ino)))
    assert not page.losses.gaps
    await service.stop()


async def test_an_idle_cluster_writes_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "IDLE", 0.1)
    monkeypatch.setattr(observer, "_ZONES", 0.1)
    store = Counting(desk.store)
    service = desk.another(store)
    service.begin()
    await until(lambda: service.observer.told("default") > 0)
    last = await desk.write("/f", b"1", b"2")
    await until(lambda: service.observer.told("default") > last.revision)  # its own record, and the floor's
    count = 0
    async with asyncio.timeout(30):
        while count != len(store.transactions):  # until several looks pass without a write
            count = len(store.transactions)
            await asyncio.sleep(1.2)
    revision = (await desk.store.range(rpc_pb2.RangeRequest(key=keys.BEGAN))).header.revision
    assert revision <= last.revision + 3
    await service.stop()


async def test_metrics_say_who_records_how_much_and_how_late(desk: Desk) -> None:
    registry = CollectorRegistry()

    def shown(name: str) -> float:
        return registry.get_sample_value(f"quartet_versions_{name}") or 0.0

    service = desk.another(registry=registry, linger=0.5, advance=0.02)
    await desk.write("/f", b"1", b"2", b"3")
    assert (shown("observing"), shown("recorded_total")) == (0.0, 0.0)
    service.begin()
    await until(lambda: shown("lag_seconds") > 0)
    await until(lambda: shown("recorded_total") == 2.0 and shown("lag_seconds") == 0)
    assert shown("observing") == 1.0
    assert shown("gaps_total") == 0.0
    few = pb.Retention(max_versions=0)
    await desk.versions.SetRetention(pb.SetRetentionRequest(path="/", retention=few))
    await desk.versions.CollectVersions(pb.CollectVersionsRequest())
    assert await desk.keys(keys.records("default")) == []
    await service.stop()
    assert shown("observing") == 0.0
