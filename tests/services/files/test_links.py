"""Symbolic links: one is followed, and none leads out of the tree. Touch: a new time or a new file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from harness.failures import fails
from quartet.files.v1 import files_pb2 as pb

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")
SYMLINK = pb.ENTRY_TYPE_SYMLINK


async def link(files: FileServiceAsyncStub, path: str, target: str) -> pb.Entry:
    """Make a symbolic link."""
    attributes = pb.Attributes(symlink_target=target)
    return await files.CreateFile(pb.CreateFileRequest(path=path, type=SYMLINK, attributes=attributes))


@pytest.mark.parametrize(
    ("target", "leads"),
    [
        ("f", "/a/b/f"),
        ("./f", "/a/b/f"),
        ("../f", "/a/f"),
        ("..//./b/../f", "/a/f"),
        ("../../f", "/f"),
        ("../../../../../../f", "/f"),
        ("/f", "/f"),
        ("/../../f", "/f"),
        ("/a/b/", "/a/b"),
        (".", "/a/b"),
        ("../../..", "/"),
    ],
)
async def test_a_link_leads_to_its_target_and_never_above_the_root(
    files: FileServiceAsyncStub, target: str, leads: str
) -> None:
    await files.Mkdir(pb.MkdirRequest(path="/a/b", parents=True))
    for path in ("/f", "/a/f", "/a/b/f"):
        await files.CreateFile(pb.CreateFileRequest(path=path))
    made = await link(files, "/a/b/link", target)
    found = await files.Stat(pb.StatRequest(path="/a/b/link", follow=True))
    assert (found.path, found.ino) == (leads, (await files.Stat(pb.StatRequest(path=leads))).ino)
    assert (await files.Stat(pb.StatRequest(path="/a/b/link"))).ino == made.ino
    many = pb.BatchStatRequest(paths=["/a/b/link", leads, "/a/b/link", "/no"], follow=True)
    results = (await files.BatchStat(many)).results
    assert [result.entry.ino for result in results] == [found.ino] * 3 + [0]


@pytest.mark.parametrize(
    ("target", "code", "reason"),
    [
        ("link", grpc.StatusCode.FAILED_PRECONDITION, "LINK_CHAIN"),
        ("other", grpc.StatusCode.FAILED_PRECONDITION, "LINK_CHAIN"),
        ("no", grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND"),
        ("f/x", grpc.StatusCode.FAILED_PRECONDITION, "NOT_A_DIRECTORY"),
        ("other/x", grpc.StatusCode.FAILED_PRECONDITION, "NOT_A_DIRECTORY"),
        ("x\0y", grpc.StatusCode.INVALID_ARGUMENT, "PATH_INVALID"),
        ("y" * 300, grpc.StatusCode.INVALID_ARGUMENT, "PATH_INVALID"),
    ],
)
async def test_a_link_that_leads_nowhere_says_why(
    files: FileServiceAsyncStub, target: str, code: grpc.StatusCode, reason: str
) -> None:
    await files.CreateFile(pb.CreateFileRequest(path="/f"))
    await link(files, "/other", "f")
    await link(files, "/link", target)
    with fails(code, reason):
        await files.Stat(pb.StatRequest(path="/link", follow=True))
    results = (await files.BatchStat(pb.BatchStatRequest(paths=["/link", "/other"], follow=True))).results
    assert (results[0].failure.reason, results[1].entry.path) == (reason, "/f")


async def test_a_link_on_the_way_is_not_followed(files: FileServiceAsyncStub) -> None:
    await files.Mkdir(pb.MkdirRequest(path="/d"))
    await files.CreateFile(pb.CreateFileRequest(path="/d/f"))
    await link(files, "/link", "d")
    with fails(grpc.StatusCode.FAILED_PRECONDITION, "NOT_A_DIRECTORY"):
        await files.Stat(pb.StatRequest(path="/link/f", follow=True))


async def test_a_linked_directory_is_listed_under_its_own_path_page_by_page(files: FileServiceAsyncStub) -> None:
    await files.Mkdir(pb.MkdirRequest(path="/a/d", parents=True))
    for i in range(5):
        await files.CreateFile(pb.CreateFileRequest(path=f"/a/d/{i}"))
    await link(files, "/link", "a/d")
    for recursive in (False, True):
        request = pb.ListRequest(path="/link", follow=True, page_size=2, recursive=recursive)
        found = []
        for _ in range(4):
            page = await files.List(request)
            found += [entry.path for entry in page.entries]
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
        assert found == [f"/a/d/{i}" for i in range(5)]
    with fails(grpc.StatusCode.FAILED_PRECONDITION, "NOT_A_DIRECTORY"):
        await files.List(pb.ListRequest(path="/link"))
    await link(files, "/to-file", "/a/d/1")
    with fails(grpc.StatusCode.FAILED_PRECONDITION, "NOT_A_DIRECTORY"):
        await files.List(pb.ListRequest(path="/to-file", follow=True))


async def test_touch_makes_a_file_and_gives_what_is_there_a_new_time(files: FileServiceAsyncStub) -> None:
    made = await files.Touch(pb.TouchRequest(path="/f"))
    assert (made.type, made.attributes.size, made.attributes.mtime) == (pb.ENTRY_TYPE_FILE, 0, made.create_time)
    size = pb.Attributes(size=7)
    await files.SetAttributes(pb.SetAttributesRequest(path="/f", attributes=size, update_mask={"paths": ["size"]}))  # type: ignore[arg-type]
    again = await files.Touch(pb.TouchRequest(path="/f", mtime=Timestamp(seconds=5)))
    assert (again.ino, again.etag, again.attributes.size) == (made.ino, f"{made.ino}.3", 7)
    assert again.attributes.mtime.seconds == 5
    await files.Mkdir(pb.MkdirRequest(path="/d"))
    assert (await files.Touch(pb.TouchRequest(path="/d", mtime=Timestamp(seconds=6)))).attributes.mtime.seconds == 6
    assert (await files.Touch(pb.TouchRequest(path="/"))).ino == 1


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (pb.TouchRequest(path="/no", no_create=True), grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND"),
        (pb.TouchRequest(path="/no/f"), grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND"),
        (pb.TouchRequest(path="/f/g"), grpc.StatusCode.FAILED_PRECONDITION, "NOT_A_DIRECTORY"),
        (pb.TouchRequest(path="/no", if_match="*"), grpc.StatusCode.ABORTED, "ETAG_STALE"),
        (pb.TouchRequest(path="/f", if_none_match="*"), grpc.StatusCode.ABORTED, "ETAG_STALE"),
        (pb.TouchRequest(path="/f", mtime=Timestamp(seconds=2**60)), grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
        (pb.TouchRequest(path="/n", mtime=Timestamp(seconds=2**60)), grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
    ],
)
async def test_a_touch_that_cannot_be_done_changes_nothing(
    files: FileServiceAsyncStub, request_: pb.TouchRequest, code: grpc.StatusCode, reason: str
) -> None:
    made = await files.Touch(pb.TouchRequest(path="/f"))
    with fails(code, reason):
        await files.Touch(request_)
    assert (await files.Stat(pb.StatRequest(path="/f"))).etag == made.etag
    assert len((await files.List(pb.ListRequest(path="/"))).entries) == 1
