"""Stores mounted at directories: bytes go where the place says, and stay reachable wherever the file goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import s3
from harness.contents import noise
from quartet import AsyncClient, CallError
from quartet.mounts.v1 import mounts_pb2 as pb
from quartet_server.objects.digest import Digest
from quartet_server.objects.mounts.addresses import address

from raftmeta.etcd import rpc_pb2

from .conftest import Mounting

pytestmark = pytest.mark.asyncio(loop_scope="session")
BIG = 3 << 20


async def has(at: Mounting, number: int, data: bytes, zone: str = "default") -> bool:
    """Whether a store has bytes that are one chunk."""
    return await at.own.stat(address(zone, number), Digest.of(data)) is not None


async def count(at: Mounting, number: int, zone: str = "default") -> int:
    """How many blobs a store has."""
    return len(await at.own.scan(address(zone, number)))


async def refused(reason: str, call: object) -> CallError:
    """Await a call that must fail for a reason."""
    with pytest.raises(CallError) as caught:
        await call  # type: ignore[misc]
    assert caught.value.reason == reason, caught.value
    return caught.value


@pytest.mark.parametrize("kind", ["disk", "s3", "memory"])
async def test_what_is_written_below_goes_into_the_mounted_store_and_nothing_else_does(
    at: Mounting, bucket: Callable[[], str], kind: str
) -> None:
    files = at.client.files
    await files.mkdir("/a/m/deep", parents=True)
    before, inside, outside = noise(10_000, 1), noise(20_000, 2), noise(30_000, 3)
    await files.write("/a/m/before", before)
    url = {"disk": at.url("one"), "s3": bucket(), "memory": "memory://one"}[kind]
    endpoint = s3.endpoint() if kind == "s3" else ""
    mounted = await at.client.mounts.mount("/a/m", "one", url, endpoint=endpoint)
    assert (mounted.path, mounted.url, mounted.draining) == ("/a/m", url, False)
    await files.write("/a/m/deep/inside", inside)
    await files.write("/a/outside", outside)
    await files.write("/a/m/small", b"small")
    for data, number in ((before, 0), (inside, mounted.number), (outside, 0)):
        assert await has(at, number, data)
        assert not await has(at, mounted.number - number, data)
    for path, data in (("before", before), ("deep/inside", inside), ("small", b"small")):
        assert await files.read(f"/a/m/{path}") == data
    large = noise(70 * (1 << 20) // 10, 4)
    await files.write("/a/m/large", large)
    assert await files.read("/a/m/large") == large
    assert await files.read("/a/m/large", offset=5_000_000, length=1000) == large[5_000_000:5_001_000]
    assert await count(at, 0) == 2
    await refused("MOUNT_IN_USE", at.client.mounts.unmount("one"))
    assert await files.read("/a/m/deep/inside") == inside


async def test_the_nearest_mount_counts_and_a_batch_goes_to_several(at: Mounting) -> None:
    files = at.client.files
    await files.mkdir("/m/n/o", parents=True)
    outer = (await at.client.mounts.mount("/m", "outer", at.url("outer"))).number
    inner = (await at.client.mounts.mount("/m/n", "inner", at.url("inner"))).number
    data = {path: noise(9_000, i) for i, path in enumerate(("/m/a", "/m/n/b", "/m/n/o/c", "/d", "/m/e"))}
    written = await files.write_many(data)
    assert [result.failure.reason for result in written] == [""] * 5
    for path, number in (("/m/a", outer), ("/m/n/b", inner), ("/m/n/o/c", inner), ("/d", 0), ("/m/e", outer)):
        for store in (0, outer, inner):
            assert await has(at, store, data[path]) is (store == number), path
    read = await files.read_many(list(data))
    assert [result.data for result in read] == list(data.values())


async def test_a_file_takes_its_bytes_along_and_a_new_content_goes_where_the_file_is(at: Mounting) -> None:
    files = at.client.files
    await files.mkdir("/m")
    number = (await at.client.mounts.mount("/m", "one", at.url("one"))).number
    old, more = noise(50_000, 1), noise(40_000, 2)
    await files.write("/m/f", old)
    await files.rename("/m/f", "/f")
    assert await files.read("/f") == old
    assert await count(at, 0) == 0
    await files.append("/f", more)  # to what is there
    assert await files.read("/f") == old + more
    await files.truncate("/f", 60_000)
    assert await files.read("/f") == (old + more)[:60_000]
    assert await count(at, 0) == 0
    await files.copy("/f", "/m/g")
    await files.copy("/m/g", "/h")
    await files.delete("/f")
    for path in ("/m/g", "/h"):
        assert await files.read(path) == (old + more)[:60_000]
    assert await count(at, 0) == 0
    await files.write("/h", old)  # as a whole: into the store of its place
    assert await has(at, 0, old)
    await files.write("/x", more)
    await files.rename("/x", "/m/x")
    assert await files.read("/m/x") == more
    await files.append("/m/x", b"!")
    assert await has(at, 0, b"!")  # where the rest of the file is
    assert not await has(at, number, b"!")
    await files.append("/m/grown", noise(3_000), create=True)
    await files.append("/m/grown", noise(3_000))  # too large for its inode now: a chunk, of the place
    assert await has(at, number, noise(3_000) * 2)


async def test_a_mount_point_follows_its_directory_and_is_not_deleted(at: Mounting) -> None:
    files = at.client.files
    await files.mkdir("/a/m", parents=True)
    number = (await at.client.mounts.mount("/a/m", "one", at.url("one"))).number
    await files.write("/a/m/f", noise(5_000, 1))
    for call in (
        files.delete("/a/m"),
        files.delete("/a/m", recursive=True),
        files.delete("/a/m", recursive=True, permanent=True),
    ):
        await refused("MOUNT_IN_USE", call)
    await files.quotas.set("/a/m", limit_bytes=1 << 30)
    await files.quotas.remove("/a/m")
    await files.rename("/a/m", "/a/mm")
    await files.rename("/a", "/b")
    assert [one.path for one in await at.client.mounts.list()] == ["/b/mm"]
    await files.write("/b/mm/g", noise(6_000, 2))
    assert await has(at, number, noise(6_000, 2))
    gone = await files.delete("/b", recursive=True)
    assert [one.path for one in await at.client.mounts.list()] == [""]
    await refused("MOUNT_IN_USE", at.client.mounts.unmount("one"))  # what is in the trash counts
    await files.trash.restore(gone.trash_id)
    assert await files.read("/b/mm/g") == noise(6_000, 2)
    await files.write("/b/mm/h", noise(7_000, 3))
    assert await has(at, number, noise(7_000, 3))


async def test_a_drain_moves_every_byte_into_the_clusters_own_store_and_then_the_mount_goes(at: Mounting) -> None:
    files = at.client.files
    await files.mkdir("/m")
    number = (await at.client.mounts.mount("/m", "one", at.url("one"))).number
    data = {"/m/a": noise(5_000, 1), "/m/b": noise(BIG, 2), "/m/c": b"small"}
    for path, content in data.items():
        await files.write(path, content)
    await files.rename("/m/b", "/b")
    data["/b"] = data.pop("/m/b")
    etag = (await files.stat("/b")).etag
    trashed = await files.delete("/m/a", recursive=True)
    done = await at.client.mounts.unmount("one", drain=True)
    assert (done.moved, done.moved_bytes) == (2, 5_000 + BIG)
    assert (await files.stat("/b")).etag == etag
    await files.trash.restore(trashed.trash_id)
    for path, content in data.items():
        assert await files.read(path) == content
    assert list(await at.client.mounts.list()) == []
    await files.write("/m/new", noise(8_000, 5))
    assert await has(at, 0, noise(8_000, 5))
    await refused("MOUNT_NOT_FOUND", at.client.mounts.unmount("one"))
    await files.delete("/m", recursive=True, permanent=True)
    again = await _mounted_again(at)
    assert again.number != number


async def _mounted_again(at: Mounting) -> pb.MountPoint:
    """The same place, under the same name: the store was let go of."""
    return await at.client.mounts.mount("/n", "one", at.url("one"), create=True)


async def test_an_empty_mount_ends_without_a_drain(at: Mounting) -> None:
    made = await at.client.mounts.mount("/m", "one", at.url("one"), create=True)
    assert made.path == "/m"
    await at.client.files.write("/m/small", b"in the inode")
    await at.client.mounts.unmount("one")
    await at.client.files.delete("/m", recursive=True)


async def test_writers_lose_nothing_while_a_store_comes_and_goes(at: Mounting) -> None:
    files, done = at.client.files, asyncio.Event()
    await files.mkdir("/m")

    async def writer(name: int) -> dict[str, bytes]:
        kept: dict[str, bytes] = {}
        for i in range(10_000):
            if done.is_set():
                break
            path, data = f"/m/{name}-{i % 5}", noise(5_000 + i, name * 1000 + i)
            try:
                if i % 3 == 2 and path in kept:
                    await files.append(path, data)
                    data = kept[path] + data
                else:
                    await files.write(path, data)
            except CallError as error:
                if error.reason not in ("CONTENTION", "MOUNT_NOT_FOUND"):
                    raise
                continue
            kept[path] = data
        return kept

    writers = [asyncio.create_task(writer(i)) for i in range(3)]
    for i in range(3):
        await at.client.mounts.mount("/m", f"n{i}", at.url(f"n{i}"))
        await at.client.mounts.unmount(f"n{i}", drain=True)
    done.set()
    for kept in await asyncio.gather(*writers):
        assert kept
        for path, data in kept.items():
            assert await files.read(path) == data
    assert list(await at.client.mounts.list()) == []


async def test_a_mount_outlives_its_node_and_a_store_that_cannot_be_opened_fails_its_own_files_alone(
    at: Mounting, tmp_path: Path
) -> None:
    files = at.client.files
    await files.mkdir("/m")
    await at.client.mounts.mount("/m", "one", at.url("one"))
    await files.write("/m/f", noise(5_000, 1))
    await files.write("/own", noise(5_000, 2))
    await at.stop()
    await at.start()
    assert await at.client.files.read("/m/f") == noise(5_000, 1)
    await at.stop()
    allowed, at.allowed = at.allowed, "s3://"
    await at.start()
    files = at.client.files
    assert await files.read("/own") == noise(5_000, 2)
    await refused("MOUNT_REFUSED", files.read("/m/f"))
    await refused("MOUNT_REFUSED", files.write("/m/g", noise(5_000, 3)))
    outcomes = await files.read_many(["/own", "/m/f"])
    assert [bool(result.failure.reason) for result in outcomes] == [False, True]
    written = await files.write_many({"/own2": noise(5_000, 4), "/m/h": noise(5_000, 5)})
    assert [result.failure.reason for result in written] == ["", "MOUNT_REFUSED"]
    async with asyncio.timeout(30):
        while not (nodes := (await at.client.mounts.list())[0].nodes):
            await asyncio.sleep(0.05)
    assert [(node.node, node.reachable) for node in nodes] == [("n1", False)]
    assert "does not allow" in nodes[0].problem
    await at.stop()
    at.allowed = allowed
    await at.start()
    assert await at.client.files.read("/m/f") == noise(5_000, 1)


async def test_which_node_reaches_a_store_is_told_and_renewed(at: Mounting) -> None:
    await at.client.mounts.mount("/m", "one", at.url("one"), create=True)
    async with asyncio.timeout(30):
        while not (nodes := (await at.client.mounts.list())[0].nodes):
            await asyncio.sleep(0.05)
    assert [(node.node, node.reachable, node.problem) for node in nodes] == [("n1", True, "")]


async def test_what_cannot_be_mounted_is_refused_with_its_reason_and_leaves_nothing(
    at: Mounting, tmp_path: Path
) -> None:
    mounts, files = at.client.mounts, at.client.files
    await files.mkdir("/m")
    await files.mkdir("/n")
    (tmp_path / "stores" / "full").mkdir(parents=True)
    (tmp_path / "stores" / "full" / "thesis").write_text("precious")
    await mounts.mount("/m", "one", at.url("one"))
    for reason, path, name, url, rest in (
        ("ROOT_FIXED", "/", "two", at.url("two"), {}),
        ("FILE_NOT_FOUND", "/x", "two", at.url("two"), {}),
        ("MOUNT_EXISTS", "/m", "two", at.url("two"), {}),
        ("MOUNT_EXISTS", "/n", "one", at.url("two"), {}),
        ("MOUNT_EXISTS", "/n", "two", at.url("one"), {}),
        ("MOUNT_EXISTS", "/n", "two", at.url("one/below"), {}),
        ("MOUNT_REFUSED", "/n", "two", (tmp_path / "elsewhere").as_uri(), {}),
        ("MOUNT_REFUSED", "/n", "two", at.url("full"), {}),
        ("MOUNT_REFUSED", "/n", "two", "gs://bucket", {}),
        ("MOUNT_REFUSED", "/n", "two", "s3://bucket", {"endpoint": "http://127.0.0.1:1"}),
        ("MOUNT_REFUSED", "/n", "two", "s3://bucket", {"endpoint": s3.endpoint(), "credentials": "NOBODY"}),
        ("MOUNT_UNREACHABLE", "/n", "two", "s3://no-such-bucket", {"endpoint": s3.endpoint()}),
        ("FIELD_INVALID", "/n", "Two", at.url("two"), {}),
        ("FIELD_INVALID", "/n", "two", "s3://key:secret@bucket", {}),
        ("FIELD_INVALID", "/n", "two", "s3://bucket", {"credentials": "secret/with+slash"}),
        ("FIELD_INVALID", "/n", "two", at.url("two"), {"endpoint": "http://127.0.0.1:1"}),
    ):
        await refused(reason, mounts.mount(path, name, url, **rest))  # type: ignore[arg-type]
    assert [one.name for one in await mounts.list()] == ["one"]
    assert (tmp_path / "stores" / "full" / "thesis").read_text() == "precious"
    assert not (tmp_path / "elsewhere").exists()
    await files.write("/n/f", noise(5_000))
    assert await has(at, 0, noise(5_000))


async def test_credentials_are_taken_from_the_nodes_environment_by_name(
    at: Mounting, bucket: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in s3.ENVIRONMENT:
        monkeypatch.delenv(name)
        monkeypatch.setenv(f"QUARTET_MOUNT_TEAM_{name}", s3.ENVIRONMENT[name])
    url = bucket()
    made = await at.client.mounts.mount("/m", "one", url, endpoint=s3.endpoint(), credentials="TEAM", create=True)
    assert made.credentials == "TEAM"
    await at.client.files.write("/m/f", noise(5_000))
    assert await at.client.files.read("/m/f") == noise(5_000)
    for kv in (await at.node.metastore.range(rpc_pb2.RangeRequest(key=b"\0", range_end=b"\0"))).kvs:
        assert s3.ENVIRONMENT["AWS_ACCESS_KEY_ID"].encode() not in kv.value


async def test_a_repetition_mounts_once_and_is_told_the_same(at: Mounting) -> None:
    first, second = [
        await at.client.mounts.mount("/m", "one", at.url("one"), create=True, request_id="r") for _ in range(2)
    ]
    assert first == second
    await at.client.files.write("/m/f", noise(5_000))
    assert await has(at, first.number, noise(5_000))


async def test_zones_have_mounts_of_their_own(at: Mounting) -> None:
    await at.client.cluster.create_zone("red")
    async with AsyncClient(str(at.node.address), zone="red") as red:
        await at.client.mounts.mount("/m", "one", "memory://one", create=True)
        made = await red.mounts.mount("/m", "one", "memory://two", create=True)
        await red.files.write("/m/f", noise(5_000))
        assert await has(at, made.number, noise(5_000), "red")
        assert [one.url for one in await at.client.mounts.list()] == ["memory://one"]
        await red.mounts.unmount("one", drain=True)
        assert await red.files.read("/m/f") == noise(5_000)
        assert len(await at.client.mounts.list()) == 1


async def test_old_versions_are_read_from_the_store_they_were_written_to_and_moved_by_a_drain(at: Mounting) -> None:
    files, versions = at.client.files, at.client.versions
    await files.mkdir("/m")
    await at.client.mounts.mount("/m", "one", at.url("one"))
    old, new = noise(20_000, 1), noise(30_000, 2)
    await files.write("/m/f", old)
    await files.write("/m/f", new)
    await files.rename("/m/f", "/f")
    await files.write("/f", b"small")
    assert await versions.read("/f", 1) == old
    await refused("MOUNT_IN_USE", at.client.mounts.unmount("one"))
    await versions.rollback("/f", 2)
    assert await files.read("/f") == new
    done = await at.client.mounts.unmount("one", drain=True)
    assert (done.moved, done.moved_bytes) == (3, 20_000 + 30_000 + 30_000)
    assert await versions.read("/f", 1) == old
    assert await versions.read("/f", 2) == await files.read("/f") == new
    assert [one.generation async for one in versions.list("/f")] == [4, 3, 2, 1]
    await versions.rollback("/f", 1)
    assert await files.read("/f") == old


async def test_a_copy_too_large_for_one_transaction_refers_to_the_store_and_holds_it(at: Mounting) -> None:
    files = at.client.files
    await files.mkdir("/m/d", parents=True)
    number = (await at.client.mounts.mount("/m", "one", at.url("one"))).number
    data = {f"/m/d/{i}": noise(5_000 + i, i) for i in range(60)}
    await files.write_many(data)
    await files.copy("/m/d", "/copied", recursive=True)
    assert await count(at, 0) == 0
    assert await count(at, number) == 60
    await files.delete("/m/d", recursive=True, permanent=True)
    await refused("MOUNT_IN_USE", at.client.mounts.unmount("one"))
    await at.client.mounts.unmount("one", drain=True)
    for path, content in data.items():
        assert await files.read(path.replace("/m/d", "/copied")) == content


async def test_the_check_and_the_measure_of_the_tree_look_where_the_bytes_are(at: Mounting) -> None:
    await at.client.mounts.mount("/m", "one", at.url("one"), create=True)
    await at.client.files.write("/m/f", noise(20_000))
    found = [answer async for answer in at.client.maintenance.check()]
    assert not [one.finding for one in found if one.HasField("finding")]
    [usage] = [row async for row in at.client.maintenance.usage("/m")]
    assert (usage.logical_bytes, usage.lost_chunks) == (20_000, 0)


async def test_a_snapshot_has_bytes_of_its_own_whatever_becomes_of_the_mount(at: Mounting) -> None:
    files = at.client.files
    number = (await at.client.mounts.mount("/m", "one", at.url("one"), create=True)).number
    data = {"/m/one": noise(20_000, 1), "/m/many": noise(BIG, 2)}
    for path, content in data.items():
        await files.write(path, content)
    made = await at.client.snapshots.create("/m")
    for path in data:
        await files.delete(path)
    await at.client.mounts.unmount("one", drain=True)
    await at.client.snapshots.branch(made.id, "/back")
    for path, content in data.items():
        assert await files.read(path.replace("/m/", "/back/")) == content
    assert not [one for one in await at.client.mounts.list() if one.number == number]
