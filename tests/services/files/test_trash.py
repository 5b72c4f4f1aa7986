"""Trash: a recursive delete can be taken back, until somebody empties it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from harness.failures import fails, reason_of
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


async def put_away(files: FileServiceAsyncStub, path: str) -> str:
    """Delete recursively; return the id in the trash."""
    return (await files.Delete(pb.DeleteRequest(path=path, recursive=True))).trash_id


async def inodes(store: Metastore) -> int:
    """How many inodes there are, the root aside."""
    found = await store.range(rpc_pb2.RangeRequest(key=b"default\0i", range_end=b"default\0j", count_only=True))
    return found.count - 1


async def written(store: Metastore, revision: int) -> int:
    """How many keys a revision wrote."""
    found = await store.range(
        rpc_pb2.RangeRequest(key=b"\0", range_end=b"\0", min_mod_revision=revision, keys_only=True)
    )
    return len(found.kvs)


async def test_a_tree_goes_to_the_trash_and_comes_back_whole_each_in_one_small_transaction(
    files: FileServiceAsyncStub, store: Metastore
) -> None:
    await fill(files, "/a/", "/a/b/", *(f"/a/b/{i}" for i in range(300)), "/keep/")
    before = (await files.Stat(pb.StatRequest(path="/a/b/7"))).ino
    gone = await files.Delete(pb.DeleteRequest(path="/a", recursive=True))
    assert await written(store, gone.revision) == 1
    with fails(grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND"):
        await files.Stat(pb.StatRequest(path="/a/b/7"))
    (item,) = (await files.ListTrash(pb.ListTrashRequest())).items
    assert (item.id, item.path, item.ino, item.type) == (gone.trash_id, "/a", gone.ino, DIRECTORY)
    assert await Reclaimer(store).clear() == 0
    back = await files.RestoreFromTrash(pb.RestoreFromTrashRequest(id=item.id))
    assert (back.path, back.ino, back.type) == ("/a", gone.ino, DIRECTORY)
    assert await written(store, back.revision) == 2
    assert (await files.Stat(pb.StatRequest(path="/a/b/7"))).ino == before
    assert not (await files.ListTrash(pb.ListTrashRequest())).items


async def test_a_file_with_its_attributes_comes_back_to_another_place(files: FileServiceAsyncStub) -> None:
    await fill(files, "/f", "/d/")
    await files.SetXattr(pb.SetXattrRequest(path="/f", xattr=pb.Xattr(name="n", value=b"v")))
    item = await put_away(files, "/f")
    await fill(files, "/f")
    with fails(grpc.StatusCode.ALREADY_EXISTS, "FILE_EXISTS"):
        await files.RestoreFromTrash(pb.RestoreFromTrashRequest(id=item))
    back = await files.RestoreFromTrash(pb.RestoreFromTrashRequest(id=item, path="/d/g"))
    assert (back.name, back.type) == ("g", pb.ENTRY_TYPE_FILE)
    assert (await files.GetXattr(pb.GetXattrRequest(path="/d/g", name="n"))).value == b"v"


@pytest.mark.parametrize(
    ("path", "code", "reason"),
    [
        ("/", grpc.StatusCode.FAILED_PRECONDITION, "ROOT_FIXED"),
        ("/no/a", grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND"),
        ("/f/a", grpc.StatusCode.FAILED_PRECONDITION, "NOT_A_DIRECTORY"),
        ("a", grpc.StatusCode.INVALID_ARGUMENT, "PATH_INVALID"),
    ],
)
async def test_a_restore_that_cannot_be_done_leaves_the_trash_as_it_is(
    files: FileServiceAsyncStub, path: str, code: grpc.StatusCode, reason: str
) -> None:
    await fill(files, "/a/", "/f")
    item = await put_away(files, "/a")
    with fails(code, reason):
        await files.RestoreFromTrash(pb.RestoreFromTrashRequest(id=item, path=path))
    assert [one.id for one in (await files.ListTrash(pb.ListTrashRequest())).items] == [item]


async def test_ids_that_mean_nothing_are_told_apart(files: FileServiceAsyncStub) -> None:
    await fill(files, "/a/")
    item = await put_away(files, "/a")
    for wrong in ("", "x", item[:-1], item.upper() + "00", " " + item[1:]):
        with fails(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
            await files.RestoreFromTrash(pb.RestoreFromTrashRequest(id=wrong))
        with fails(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
            await files.EmptyTrash(pb.EmptyTrashRequest(ids=[item, wrong]))
    with fails(grpc.StatusCode.NOT_FOUND, "TRASH_NOT_FOUND"):
        await files.RestoreFromTrash(pb.RestoreFromTrashRequest(id="00" * 16))
    assert (await files.EmptyTrash(pb.EmptyTrashRequest(ids=["00" * 16, item, item]))).emptied == 1
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
        await files.Delete(pb.DeleteRequest(path="/a", permanent=True))


async def test_emptying_takes_the_old_or_the_named_and_leaves_nothing_of_them(
    files: FileServiceAsyncStub, store: Metastore
) -> None:
    await fill(files, *(f"/d{i}/" for i in range(100)), *(f"/d{i}/f" for i in range(100)), "/keep")
    items = [await put_away(files, f"/d{i}") for i in range(100)]
    told = (await files.ListTrash(pb.ListTrashRequest(page_size=1000))).items
    assert [one.id for one in told] == items == sorted(items)
    answer = await files.EmptyTrash(pb.EmptyTrashRequest(before=told[50].delete_time))
    assert (answer.emptied, answer.more) == (50, False)
    answer = await files.EmptyTrash(pb.EmptyTrashRequest(ids=items[45:55], before=told[53].delete_time))
    assert answer.emptied == 3
    assert [one.id for one in (await files.ListTrash(pb.ListTrashRequest())).items] == items[53:]
    assert await Reclaimer(store).clear() == 2 * 53
    assert await inodes(store) == 2 * 47 + 1
    assert (await files.EmptyTrash(pb.EmptyTrashRequest(before=Timestamp(seconds=1)))).emptied == 0
    assert (await files.EmptyTrash(pb.EmptyTrashRequest())).emptied == 47
    assert await Reclaimer(store).clear() == 2 * 47
    assert await inodes(store) == 1


async def test_the_trash_is_read_in_pages_and_below_a_path(files: FileServiceAsyncStub) -> None:
    await fill(files, "/a/", "/b/", *(f"/a/{i}" for i in range(6)), *(f"/b/{i}" for i in range(6)))
    for i in range(6):
        await put_away(files, f"/a/{i}")
        await put_away(files, f"/b/{i}")
    await put_away(files, "/b")
    for path, wanted in (
        ("", [f"/{d}/{i}" for i in range(6) for d in "ab"] + ["/b"]),
        ("/b", [*(f"/b/{i}" for i in range(6)), "/b"]),
        ("/b/3", ["/b/3"]),
        ("/c", []),
    ):
        request = pb.ListTrashRequest(page_size=5, path=path)
        found = []
        for _ in range(10):
            page = await files.ListTrash(request)
            found += [item.path for item in page.items]
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        assert found == wanted
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"):
        first = await files.ListTrash(pb.ListTrashRequest(page_size=1))
        await files.ListTrash(pb.ListTrashRequest(page_token=first.next_page_token, path="/a"))


async def test_of_a_restore_and_an_emptying_at_the_same_time_one_wins_whole(
    files: FileServiceAsyncStub, store: Metastore
) -> None:
    for round_ in range(12):
        await fill(files, f"/d{round_}/", f"/d{round_}/f")
        item = await put_away(files, f"/d{round_}")
        restored, emptied = await asyncio.gather(
            files.RestoreFromTrash(pb.RestoreFromTrashRequest(id=item)),
            files.EmptyTrash(pb.EmptyTrashRequest(ids=[item])),
            return_exceptions=True,
        )
        assert isinstance(emptied, pb.EmptyTrashResponse)
        if isinstance(restored, grpc.aio.AioRpcError):
            assert (reason_of(restored), emptied.emptied) == ("TRASH_NOT_FOUND", 1)
        else:
            assert emptied.emptied == 0
            await files.Delete(pb.DeleteRequest(path=f"/d{round_}", recursive=True, permanent=True))
    await Reclaimer(store).clear()
    assert await inodes(store) == 0


async def test_a_watcher_sees_what_went_to_the_trash_go_and_come_back(files: FileServiceAsyncStub) -> None:
    await fill(files, "/a/", "/a/f")
    stream = aiter(files.Watch(pb.WatchRequest(path="/", recursive=True)))
    await anext(stream)
    item = await put_away(files, "/a")
    await files.RestoreFromTrash(pb.RestoreFromTrashRequest(id=item, path="/b"))
    await files.CreateFile(pb.CreateFileRequest(path="/b/g"))
    told = [((await anext(stream)).events[0]) for _ in range(3)]
    assert [(one.type, one.path) for one in told] == [
        (pb.EVENT_TYPE_DELETED, "/a"), (pb.EVENT_TYPE_CREATED, "/b"), (pb.EVENT_TYPE_CREATED, "/b/g"),
    ]  # fmt: skip
