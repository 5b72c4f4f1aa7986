"""Delete: empty directories only, or everything at once with the remains cleared up behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from harness.failures import fails
from quartet.files.v1 import files_pb2 as pb
from quartet_server.files.reclaim import Reclaimer

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")
DIRECTORY = pb.ENTRY_TYPE_DIRECTORY


async def fill(files: FileServiceAsyncStub, *paths: str) -> None:
    """Create entries; a path that ends in / is a directory."""
    entries = [
        pb.CreateEntry(path=path, type=DIRECTORY if path.endswith("/") else pb.ENTRY_TYPE_FILE) for path in paths
    ]
    assert (await files.BatchCreate(pb.BatchCreateRequest(entries=entries))).created == len(paths)


async def left(store: Metastore) -> int:
    """How many keys the tree, the trash and the reclaim queue hold."""
    ranges = ((b"default\0N", b"default\0z"), (b"/system/reclaim/", b"/system/reclaim0"))
    answers = [await store.range(rpc_pb2.RangeRequest(key=a, range_end=b, count_only=True)) for a, b in ranges]
    return sum(answer.count for answer in answers)


async def test_a_file_goes_with_its_attributes(files: FileServiceAsyncStub, store: Metastore) -> None:
    await fill(files, "/d/")
    before = await left(store)
    await fill(files, "/d/f")
    for i in range(3):
        await files.SetXattr(pb.SetXattrRequest(path="/d/f", xattr=pb.Xattr(name=str(i), value=b"v")))
    await files.Delete(pb.DeleteRequest(path="/d/f"))
    assert await left(store) == before
    await files.Delete(pb.DeleteRequest(path="/d"))


async def test_a_recursive_delete_hides_the_tree_at_once_and_leaves_nothing_after_the_clearing(
    files: FileServiceAsyncStub, store: Metastore
) -> None:
    await files.Stat(pb.StatRequest(path="/"))
    await fill(files, "/keep")
    before = await left(store)
    await fill(files, "/d/", *(f"/d/{i}/" for i in range(40)), *(f"/d/{i}/{j}" for i in range(40) for j in range(20)))
    await files.SetXattr(pb.SetXattrRequest(path="/d/3/4", xattr=pb.Xattr(name="n", value=b"v")))
    revision = (await files.Stat(pb.StatRequest(path="/"))).revision
    gone = await files.Delete(pb.DeleteRequest(path="/d", recursive=True, permanent=True))
    assert gone.revision == revision + 1
    with fails(grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND"):
        await files.Stat(pb.StatRequest(path="/d/3/4"))
    assert await left(store) > before
    assert await Reclaimer(store).clear() == 841
    assert await left(store) == before


async def test_two_nodes_that_clear_up_the_same_tree_do_not_disturb_each_other(
    files: FileServiceAsyncStub, store: Metastore
) -> None:
    await fill(files, "/keep")
    before = await left(store)
    await fill(files, "/d/", *(f"/d/{i}/" for i in range(30)), *(f"/d/{i}/{j}" for i in range(30) for j in range(10)))
    await files.Delete(pb.DeleteRequest(path="/d", recursive=True, permanent=True))
    deleted = await asyncio.gather(*(Reclaimer(store).clear() for _ in range(3)))
    assert sum(deleted) == 331
    assert await left(store) == before


async def test_the_background_work_begins_when_it_is_woken(files: FileServiceAsyncStub, store: Metastore) -> None:
    await fill(files, "/d/", "/d/f")
    reclaimer = Reclaimer(store)
    reclaimer.start()
    try:
        await files.Delete(pb.DeleteRequest(path="/d", recursive=True, permanent=True))
        reclaimer.wake()
        async with asyncio.timeout(20):
            while await left(store) > 1:  # the root's inode stays
                await asyncio.sleep(0.02)
    finally:
        await reclaimer.close()


async def test_the_background_work_ends_even_if_it_is_woken_at_that_moment(store: Metastore) -> None:
    for turns in range(6):
        reclaimer = Reclaimer(store)
        reclaimer.start()
        while await left(store) > 1:
            await asyncio.sleep(0)
        await asyncio.sleep(0.02)  # it waits, or is about to
        reclaimer.wake()
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(20) as patience:
            await reclaimer.close()
        assert not patience.expired()


async def test_rmdir_and_create_never_leave_an_orphan(files: FileServiceAsyncStub, store: Metastore) -> None:
    for round_ in range(20):
        await fill(files, f"/d{round_}/")
        results = await asyncio.gather(
            files.Delete(pb.DeleteRequest(path=f"/d{round_}")),
            files.CreateFile(pb.CreateFileRequest(path=f"/d{round_}/f")),
            files.BatchCreate(pb.BatchCreateRequest(entries=[pb.CreateEntry(path=f"/d{round_}/g")])),
            return_exceptions=True,
        )
        deleted = not isinstance(results[0], BaseException)
        batched = isinstance(results[2], pb.BatchCreateResponse) and results[2].created
        assert deleted != bool(not isinstance(results[1], BaseException) or batched)
    found = await store.range(rpc_pb2.RangeRequest(key=b"default\0d", range_end=b"default\0e", keys_only=True))
    inodes = await store.range(rpc_pb2.RangeRequest(key=b"default\0i", range_end=b"default\0j", keys_only=True))
    reachable = {int.from_bytes(kv.key[9:17], "big") for kv in inodes.kvs}
    assert {int.from_bytes(kv.key[9:17], "big") for kv in found.kvs} <= reachable
    assert len(inodes.kvs) == len(found.kvs) + 1


async def test_nothing_is_created_in_a_tree_that_was_cut_off_or_moved_meanwhile(
    files: FileServiceAsyncStub, store: Metastore
) -> None:
    for round_ in range(10):
        await fill(files, f"/d{round_}/", f"/d{round_}/sub/")
        results = await asyncio.gather(
            files.Delete(pb.DeleteRequest(path=f"/d{round_}", recursive=True, permanent=True)),
            *(files.CreateFile(pb.CreateFileRequest(path=f"/d{round_}/sub/{i}")) for i in range(4)),
            files.Rename(pb.RenameRequest(source=f"/d{round_}/sub", destination=f"/out{round_}")),
            return_exceptions=True,
        )
        assert not isinstance(results[0], BaseException)
    await Reclaimer(store).clear()
    entries = (await files.List(pb.ListRequest(path="/", page_size=1000))).entries
    inodes = 1 + len(entries)
    for entry in entries:
        inodes += len((await files.List(pb.ListRequest(path=entry.path))).entries)
    found = await store.range(rpc_pb2.RangeRequest(key=b"default\0i", range_end=b"default\0j", count_only=True))
    assert found.count == inodes
