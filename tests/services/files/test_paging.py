"""List: pages of one revision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from harness.failures import fails
from quartet.files.v1 import files_pb2 as pb

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def pages(
    files: FileServiceAsyncStub, request: pb.ListRequest, after_first: object = None
) -> list[pb.ListResponse]:
    """Fetch every page; await `after_first` once the first one is there."""
    found = []
    while True:
        page = await files.List(request)
        found.append(page)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token
        if after_first is not None and len(found) == 1:
            await after_first()  # type: ignore[operator]


async def fill(files: FileServiceAsyncStub, count: int) -> None:
    """Put `count` files into /d."""
    await files.Mkdir(pb.MkdirRequest(path="/d"))
    entries = [pb.CreateEntry(path=f"/d/{i:03}", attributes=pb.Attributes(size=i)) for i in range(count)]
    await files.BatchCreate(pb.BatchCreateRequest(entries=entries))


@pytest.mark.parametrize(("size", "count"), [(1, 3), (10, 30), (10, 31), (7, 6), (1000, 130), (0, 101)])
async def test_pages_cover_everything_once_in_order(files: FileServiceAsyncStub, size: int, count: int) -> None:
    await fill(files, count)
    found = await pages(files, pb.ListRequest(path="/d", page_size=size, detail=True))
    names = [entry.name for page in found for entry in page.entries]
    assert names == [f"{i:03}" for i in range(count)]
    assert [entry.attributes.size for page in found for entry in page.entries] == list(range(count))
    assert all(len(page.entries) == (size or 100) for page in found[:-1])
    assert len({page.revision for page in found}) == 1


async def test_later_pages_do_not_see_what_changed_after_the_first(files: FileServiceAsyncStub) -> None:
    await fill(files, 20)

    async def disturb() -> None:
        await files.Delete(pb.DeleteRequest(path="/d/015"))
        await files.CreateFile(pb.CreateFileRequest(path="/d/016a"))
        await files.Rename(pb.RenameRequest(source="/d", destination="/e"))
        await files.Mkdir(pb.MkdirRequest(path="/d"))

    found = await pages(files, pb.ListRequest(path="/d", page_size=10), disturb)
    assert [entry.name for page in found for entry in page.entries] == [f"{i:03}" for i in range(20)]
    assert not any(page.snapshot_lost for page in found)


async def test_after_a_compaction_later_pages_go_on_from_the_last_name_and_say_so(
    files: FileServiceAsyncStub, store: Metastore
) -> None:
    await fill(files, 30)

    async def compact() -> None:
        await files.Delete(pb.DeleteRequest(path="/d/015"))
        await files.Delete(pb.DeleteRequest(path="/d/003"))
        head = (await store.range(rpc_pb2.RangeRequest(key=b"x"))).header.revision
        await store.compact(rpc_pb2.CompactionRequest(revision=head))

    found = await pages(files, pb.ListRequest(path="/d", page_size=10), compact)
    names = [entry.name for page in found for entry in page.entries]
    assert names == [f"{i:03}" for i in range(30) if i != 15]
    assert [page.snapshot_lost for page in found] == [False, *[True] * (len(found) - 1)]


async def test_a_token_serves_only_the_request_it_was_made_for(files: FileServiceAsyncStub) -> None:
    await fill(files, 3)
    token = (await files.List(pb.ListRequest(path="/d", page_size=1))).next_page_token
    await files.List(pb.ListRequest(path="/d", page_size=2, page_token=token))
    for other in (
        pb.ListRequest(path="/", page_token=token),
        pb.ListRequest(path="/d", detail=True, page_token=token),
        pb.ListRequest(path="/d", page_token=token[:-4] + "AAAA"),
        pb.ListRequest(path="/d", page_token="é"),
    ):
        with fails(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"):
            await files.List(other)


async def test_a_page_ends_before_it_is_longer_than_a_message(files: FileServiceAsyncStub) -> None:
    await files.Mkdir(pb.MkdirRequest(path="/d"))
    long = pb.Attributes(symlink_target="t" * 4096)
    kind = pb.ENTRY_TYPE_SYMLINK
    made = [pb.CreateEntry(path=f"/d/{i:0255}", type=kind, attributes=long) for i in range(950)]
    for some in (made[:475], made[475:]):
        await files.BatchCreate(pb.BatchCreateRequest(entries=some))
    found = await pages(files, pb.ListRequest(path="/d", page_size=1000, detail=True))
    assert [int(entry.name) for page in found for entry in page.entries] == list(range(950))
    assert len(found) == 2
    with fails(grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED"):
        await files.BatchStat(pb.BatchStatRequest(paths=[entry.path for entry in made]))
