"""Quotas: exact whoever writes at the same time, and kept by every verb."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from harness.failures import fails, reason_of
from harness.served import served
from quartet.files.v1 import files_pb2 as pb
from quartet.files.v1 import files_pb2_grpc
from quartet_server.files.reclaim import Reclaimer
from quartet_server.files.service import FileService
from quartet_server.objects.memory import MemoryBlobs

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")
DIRECTORY, FILE = pb.ENTRY_TYPE_DIRECTORY, pb.ENTRY_TYPE_FILE
EXHAUSTED, REFUSED = grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.FAILED_PRECONDITION


async def fill(files: FileServiceAsyncStub, *paths: str, size: int = 0) -> pb.BatchCreateResponse:
    """Create entries; a path that ends in / is a directory, everything else a file of `size` bytes."""
    entries = [
        pb.CreateEntry(path=path, type=DIRECTORY)
        if path.endswith("/")
        else pb.CreateEntry(path=path, attributes=pb.Attributes(size=size))
        for path in paths
    ]
    return await files.BatchCreate(pb.BatchCreateRequest(entries=entries))


async def create(files: FileServiceAsyncStub, path: str, size: int = 0) -> pb.Entry:
    """Create a file, or give one another size."""
    request = pb.CreateFileRequest(path=path, attributes=pb.Attributes(size=size), overwrite=True)
    return await files.CreateFile(request)


async def limit(files: FileServiceAsyncStub, path: str, bytes_: int = 0, inodes: int = 0) -> pb.Quota:
    """Set a quota."""
    return await files.SetQuota(pb.SetQuotaRequest(path=path, limit_bytes=bytes_, limit_inodes=inodes))


async def used(files: FileServiceAsyncStub, path: str) -> tuple[int, int]:
    """Bytes and inodes that a quota counts."""
    quota = await files.GetQuota(pb.GetQuotaRequest(path=path))
    return quota.used_bytes, quota.used_inodes


async def there(files: FileServiceAsyncStub, path: str) -> tuple[int, int]:
    """Bytes and inodes that are below a path."""
    request = pb.ListRequest(path=path, recursive=True, detail=True, page_size=1000)
    entries = (await files.List(request)).entries
    return sum(entry.attributes.size for entry in entries), len(entries)


async def test_eight_writers_on_two_nodes_fill_a_quota_to_the_last_inode_and_not_beyond(
    files: FileServiceAsyncStub, store: Metastore
) -> None:
    await fill(files, "/q/")
    await limit(files, "/q", inodes=30)

    async def write(stub: FileServiceAsyncStub, writer: int) -> list[str]:
        told = []
        for i in range(6):
            while True:
                try:
                    await create(stub, f"/q/{writer}-{i}")
                except grpc.aio.AioRpcError as error:
                    if reason_of(error) == "CONTENTION":
                        continue
                    told.append(reason_of(error))
                else:
                    told.append("")
                break
        return told

    other = FileService(store, lambda: Timestamp(seconds=1), MemoryBlobs(time.time))
    async with served([other]) as address, grpc.aio.insecure_channel(address) as channel:
        second = files_pb2_grpc.FileServiceStub(channel)
        told = await asyncio.gather(*(write(second if writer % 2 else files, writer) for writer in range(8)))
    outcomes = [one for some in told for one in some]
    assert (outcomes.count(""), outcomes.count("QUOTA_EXCEEDED")) == (30, 18)
    assert await used(files, "/q") == await there(files, "/q") == (0, 30)


async def test_a_refused_write_changes_nothing_and_says_what_is_full(files: FileServiceAsyncStub) -> None:
    await fill(files, "/q/", "/q/d/")
    await limit(files, "/q", bytes_=100, inodes=3)
    await create(files, "/q/f", 60)
    head = (await files.Stat(pb.StatRequest(path="/"))).revision
    large = pb.Attributes(size=41)
    refused: list[tuple[str, Any, str]] = [
        ("CreateFile", pb.CreateFileRequest(path="/q/d/g", attributes=large), "bytes"),
        ("CreateFile", pb.CreateFileRequest(path="/q/f", attributes=pb.Attributes(size=101), overwrite=True), "bytes"),
        ("Mkdir", pb.MkdirRequest(path="/q/a/b", parents=True), "inodes"),
    ]
    for call, request, of in refused:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(files, call)(request)
        assert (caught.value.code(), reason_of(caught.value)) == (EXHAUSTED, "QUOTA_EXCEEDED")
        assert of in (caught.value.details() or "")
    with fails(EXHAUSTED, "QUOTA_EXCEEDED"):
        await files.SetAttributes(pb.SetAttributesRequest(path="/q/f", attributes=pb.Attributes(size=101)))
    assert (await files.Stat(pb.StatRequest(path="/"))).revision == head
    await create(files, "/q/f", 100)
    await files.Touch(pb.TouchRequest(path="/q/d/g"))
    with fails(EXHAUSTED, "QUOTA_EXCEEDED"):
        await files.Touch(pb.TouchRequest(path="/q/d/h"))
    assert await used(files, "/q") == (100, 3)
    await limit(files, "/q", bytes_=50)
    await create(files, "/q/f", 70)  # still too much, but less
    with fails(EXHAUSTED, "QUOTA_EXCEEDED"):
        await create(files, "/q/f", 71)


async def test_sizes_that_no_count_can_hold_are_refused(files: FileServiceAsyncStub) -> None:
    most = 2**63 - 1
    await fill(files, "/q/", "/many/")
    await limit(files, "/q", inodes=9)
    await create(files, "/q/f", most)
    with fails(EXHAUSTED, "QUOTA_EXCEEDED"):
        await create(files, "/q/g", 1)
    assert await used(files, "/q") == (most, 1)
    await fill(files, "/many/a", "/many/b", size=most)
    with fails(EXHAUSTED, "QUOTA_EXCEEDED"):
        await limit(files, "/many", inodes=9)
    await files.Delete(pb.DeleteRequest(path="/many/b"))
    assert (await limit(files, "/many", inodes=9)).used_bytes == most


async def test_a_directory_that_holds_something_is_counted_while_others_write_into_it(
    files: FileServiceAsyncStub,
) -> None:
    await fill(files, "/q/", *(f"/q/{i}/" for i in range(10)), *(f"/q/{i % 10}/{i}" for i in range(300)), size=3)
    results = await asyncio.gather(
        limit(files, "/q", inodes=1000),
        *(create(files, f"/q/3/new{i}", 5) for i in range(15)),
        *(files.Delete(pb.DeleteRequest(path=f"/q/4/{i}")) for i in range(4, 104, 10)),
    )
    assert isinstance(results[0], pb.Quota)
    assert await used(files, "/q") == await there(files, "/q") == (290 * 3 + 15 * 5, 10 + 290 + 15)
    assert (await limit(files, "/q", bytes_=7)).used_inodes == 315


async def test_a_batch_creates_what_there_is_room_for(files: FileServiceAsyncStub) -> None:
    await fill(files, "/q/")
    await limit(files, "/q", inodes=50)
    answer = await fill(files, *(f"/q/{i}" for i in range(60)), "/free", "/q/late/", "/q/late/f")
    assert answer.created == 51
    reasons = [result.failure.reason for result in answer.results]
    assert reasons == [""] * 50 + ["QUOTA_EXCEEDED"] * 10 + ["", "QUOTA_EXCEEDED", "FILE_NOT_FOUND"]
    assert await used(files, "/q") == (0, 50)


async def test_a_file_takes_its_count_along_and_a_directory_may_not_leave(files: FileServiceAsyncStub) -> None:
    await fill(files, "/a/", "/a/d/", "/b/", "/out/", "/out/d/")
    await fill(files, "/a/f", "/b/g", "/a/victim", "/out/h", size=10)
    await limit(files, "/a", bytes_=30)
    await limit(files, "/b", bytes_=20)
    for source, destination, mode in (
        ("/a/d", "/b/d", pb.RENAME_MODE_REPLACE),
        ("/a/d", "/d", pb.RENAME_MODE_REPLACE),
        ("/out/d", "/a/new", pb.RENAME_MODE_REPLACE),
        ("/a/d", "/out/h", pb.RENAME_MODE_EXCHANGE),
    ):
        with fails(REFUSED, "QUOTA_CROSSED"):
            await files.Rename(pb.RenameRequest(source=source, destination=destination, mode=mode))
    await files.Rename(pb.RenameRequest(source="/a/f", destination="/b/f"))
    assert (await used(files, "/a"), await used(files, "/b")) == ((10, 2), (20, 2))
    with fails(EXHAUSTED, "QUOTA_EXCEEDED"):
        await files.Rename(pb.RenameRequest(source="/out/h", destination="/b/h"))
    await files.Rename(pb.RenameRequest(source="/b/f", destination="/a/victim"))
    assert (await used(files, "/a"), await used(files, "/b")) == ((10, 2), (10, 1))
    await create(files, "/out/h", 25)
    with fails(EXHAUSTED, "QUOTA_EXCEEDED"):
        await files.Rename(pb.RenameRequest(source="/out/h", destination="/b/g", mode=pb.RENAME_MODE_EXCHANGE))
    await files.Rename(pb.RenameRequest(source="/a/victim", destination="/out/h", mode=pb.RENAME_MODE_EXCHANGE))
    assert await used(files, "/a") == (25, 2)
    await files.Rename(pb.RenameRequest(source="/a", destination="/out/a"))
    assert await used(files, "/out/a") == (25, 2)
    await files.Rename(pb.RenameRequest(source="/out/a/d", destination="/out/a/e"))


async def test_what_is_in_the_trash_counts_until_it_is_reclaimed(files: FileServiceAsyncStub, store: Metastore) -> None:
    await fill(files, "/q/", "/q/d/", "/q/d/e/", *(f"/q/d/e/{i}" for i in range(60)), "/out/", size=2)
    await limit(files, "/q", inodes=62)
    gone = await files.Delete(pb.DeleteRequest(path="/q/d", recursive=True))
    assert await used(files, "/q") == (120, 62)
    with fails(EXHAUSTED, "QUOTA_EXCEEDED"):
        await create(files, "/q/f")
    with fails(REFUSED, "QUOTA_CROSSED"):
        await files.RestoreFromTrash(pb.RestoreFromTrashRequest(id=gone.trash_id, path="/out/d"))
    await files.RestoreFromTrash(pb.RestoreFromTrashRequest(id=gone.trash_id))
    gone = await files.Delete(pb.DeleteRequest(path="/q/d/e", recursive=True))
    await files.EmptyTrash(pb.EmptyTrashRequest(ids=[gone.trash_id]))
    await Reclaimer(store).clear()
    assert await used(files, "/q") == (0, 1)
    await create(files, "/q/f", 4)
    gone = await files.Delete(pb.DeleteRequest(path="/q/f", recursive=True))
    await files.RestoreFromTrash(pb.RestoreFromTrashRequest(id=gone.trash_id, path="/out/f"))
    assert await used(files, "/q") == (0, 1)
    await files.Delete(pb.DeleteRequest(path="/q/d", recursive=True, permanent=True))
    await Reclaimer(store).clear()
    assert await used(files, "/q") == (0, 0)


async def test_a_quota_inside_another_counts_for_both_and_goes_with_its_directory(
    files: FileServiceAsyncStub, store: Metastore
) -> None:
    await fill(files, "/a/", "/a/b/")
    await limit(files, "/a", inodes=5)
    await limit(files, "/a/b", inodes=3)
    await fill(files, "/a/b/1", "/a/b/2", "/a/3", size=1)
    assert (await used(files, "/a"), await used(files, "/a/b")) == ((3, 4), (2, 2))
    await fill(files, "/a/4")
    with fails(EXHAUSTED, "QUOTA_EXCEEDED"):
        await create(files, "/a/b/5")
    gone = await files.Delete(pb.DeleteRequest(path="/a/b", recursive=True))
    await files.RestoreFromTrash(pb.RestoreFromTrashRequest(id=gone.trash_id))
    assert await used(files, "/a/b") == (2, 2)
    await files.Rename(pb.RenameRequest(source="/a/b", destination="/a/c"))
    assert await used(files, "/a/c") == (2, 2)
    await files.Delete(pb.DeleteRequest(path="/a", recursive=True))
    await files.EmptyTrash(pb.EmptyTrashRequest())
    await Reclaimer(store).clear()
    left = await store.range(rpc_pb2.RangeRequest(key=b"default\0Q", range_end=b"default\0R", count_only=True))
    assert left.count == 0


async def test_a_quota_that_was_removed_and_set_again_counts_anew(
    files: FileServiceAsyncStub, store: Metastore
) -> None:
    await fill(files, "/q/", "/q/d/", "/q/d/f", "/q/g", size=1)
    await limit(files, "/q")
    gone = await files.Delete(pb.DeleteRequest(path="/q/d", recursive=True))
    await files.RemoveQuota(pb.RemoveQuotaRequest(path="/q"))
    with fails(grpc.StatusCode.NOT_FOUND, "QUOTA_NOT_FOUND"):
        await files.GetQuota(pb.GetQuotaRequest(path="/q"))
    assert (await limit(files, "/q")).used_inodes == 1
    with fails(REFUSED, "QUOTA_CROSSED"):
        await files.RestoreFromTrash(pb.RestoreFromTrashRequest(id=gone.trash_id))
    await files.EmptyTrash(pb.EmptyTrashRequest())
    await Reclaimer(store).clear()
    assert await used(files, "/q") == (1, 1)


async def test_a_watcher_is_not_told_of_a_quota(files: FileServiceAsyncStub) -> None:
    await fill(files, "/q/")
    stream = aiter(files.Watch(pb.WatchRequest(path="/", recursive=True)))
    await anext(stream)
    await limit(files, "/q", inodes=3)
    await files.RemoveQuota(pb.RemoveQuotaRequest(path="/q"))
    await create(files, "/q/f")
    assert [event.path for event in (await anext(stream)).events] == ["/q/f"]


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (pb.SetQuotaRequest(path="/"), REFUSED, "ROOT_FIXED"),
        (pb.SetQuotaRequest(path="/f"), REFUSED, "NOT_A_DIRECTORY"),
        (pb.SetQuotaRequest(path="/no"), grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND"),
        (pb.SetQuotaRequest(path="/q", limit_bytes=-1), grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
        (pb.SetQuotaRequest(path="/q", limit_inodes=-1), grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
        (pb.GetQuotaRequest(path="/q"), grpc.StatusCode.NOT_FOUND, "QUOTA_NOT_FOUND"),
        (pb.RemoveQuotaRequest(path="/q"), grpc.StatusCode.NOT_FOUND, "QUOTA_NOT_FOUND"),
    ],
)
async def test_a_request_about_a_quota_that_makes_no_sense_says_why(
    files: FileServiceAsyncStub, request_: Any, code: grpc.StatusCode, reason: str
) -> None:
    await fill(files, "/q/", "/f")
    with fails(code, reason):
        await getattr(files, type(request_).__name__.removesuffix("Request"))(request_)


@pytest.mark.parametrize("seed", range(4))
async def test_after_any_history_the_count_is_what_is_there(
    files: FileServiceAsyncStub, store: Metastore, seed: int
) -> None:
    rng = random.Random(seed)
    await fill(files, "/a/", "/a/b/", "/c/", "/a/f", "/a/b/f", "/c/f", size=1)
    for path in ("/a", "/a/b", "/c"):
        await limit(files, path, bytes_=60, inodes=12)

    def place() -> str:
        return rng.choice(["/a", "/a/b", "/c", "/o", ""]) + "/" + rng.choice("xyzf")

    def request() -> tuple[str, Any]:
        kind, mode = rng.randrange(8), rng.choice([1, 1, 3])
        size = pb.Attributes(size=rng.randrange(20))
        if kind < 2:
            return "CreateFile", pb.CreateFileRequest(path=place(), attributes=size, overwrite=True)
        if kind == 2:
            return "Mkdir", pb.MkdirRequest(path=place() + "/" + rng.choice("xy"), parents=True)
        if kind == 3:
            return "Delete", pb.DeleteRequest(path=place(), recursive=rng.random() < 0.5)
        if kind == 4:
            return "SetAttributes", pb.SetAttributesRequest(path=place(), attributes=size)
        if kind == 5:
            made = [pb.CreateEntry(path=place(), attributes=size) for _ in range(4)]
            return "BatchCreate", pb.BatchCreateRequest(entries=made)
        return "Rename", pb.RenameRequest(source=place(), destination=place(), mode=mode)  # type: ignore[arg-type]

    for _ in range(25):
        calls = [request() for _ in range(4)]
        results = await asyncio.gather(*(getattr(files, name)(one) for name, one in calls), return_exceptions=True)
        assert not [one for one in results if isinstance(one, BaseException) and not reason_of(one)]  # type: ignore[arg-type]
        if rng.random() < 0.3:
            items = (await files.ListTrash(pb.ListTrashRequest())).items
            for item in items[:2]:
                try:
                    await files.RestoreFromTrash(pb.RestoreFromTrashRequest(id=item.id))
                except grpc.aio.AioRpcError as error:
                    assert reason_of(error)  # noqa: PT017 - some may not come back, and say why
    await files.EmptyTrash(pb.EmptyTrashRequest())
    await Reclaimer(store).clear()
    for quota in ("/a", "/a/b", "/c"):
        assert await used(files, quota) == await there(files, quota)


async def test_writes_that_wait_for_one_quota_go_together_and_those_in_each_others_way_do_not(
    files: FileServiceAsyncStub, store: Metastore
) -> None:
    await fill(files, "/q/", "/q/d/", "/q/e/", "/q/e/old")
    await limit(files, "/q", inodes=200)
    before = (await files.Stat(pb.StatRequest(path="/"))).revision
    creates = [pb.CreateFileRequest(path=f"/q/d/{i}", request_id=f"r{i}") for i in range(60)]
    answers = await asyncio.gather(*map(files.CreateFile, creates))
    assert (await files.Stat(pb.StatRequest(path="/"))).revision - before < 40
    assert await asyncio.gather(*map(files.CreateFile, creates)) == answers
    assert await used(files, "/q") == await there(files, "/q")
    # the same name twice, a directory that goes while something is put into it, and a file that is put and moved
    clashing: list[Any] = [
        *(files.CreateFile(pb.CreateFileRequest(path="/q/same")) for _ in range(5)),
        *(files.CreateFile(pb.CreateFileRequest(path=f"/q/e/{i}")) for i in range(5)),
        files.Delete(pb.DeleteRequest(path="/q/e/old")),
        files.Delete(pb.DeleteRequest(path="/q/e")),
        *(files.Mkdir(pb.MkdirRequest(path=f"/q/m/{i}", parents=True)) for i in range(5)),
        *(create(files, f"/q/d/{i}", size=10) for i in range(20)),
        *(files.Delete(pb.DeleteRequest(path=f"/q/d/{i}")) for i in range(10, 30)),
    ]
    outcomes = await asyncio.gather(*clashing, return_exceptions=True)
    assert sum(isinstance(one, pb.Entry) for one in outcomes[:5]) == 1
    assert all(isinstance(one, pb.Entry) for one in outcomes[12:17])
    assert await used(files, "/q") == await there(files, "/q")
    pointers = await store.range(rpc_pb2.RangeRequest(key=b"default\0p", range_end=b"default\0q", count_only=True))
    assert pointers.count == (await there(files, "/"))[1]  # nothing was put into a directory that was gone
