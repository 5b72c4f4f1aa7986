"""What a file was: listed, read and compared, whether it is recorded already or only in the store's history."""

from __future__ import annotations

import hashlib

import grpc
import pytest
from harness.contents import MIB, noise, read
from harness.failures import fails
from harness.versions import Desk, subject
from quartet.files.v1 import files_pb2
from quartet.versions.v1 import versions_pb2 as pb
from quartet_server.files.reclaim import Reclaimer

pytestmark = pytest.mark.asyncio(loop_scope="session")
NOT_FOUND = grpc.StatusCode.NOT_FOUND


@pytest.fixture(params=["recorded", "unrecorded"])
def recorded(request: pytest.FixtureRequest) -> bool:
    """Whether the observer runs."""
    return bool(request.param == "recorded")


async def settle(desk: Desk, recorded: bool) -> None:
    """Let the observer record everything, if it is to run at all."""
    if recorded:
        await desk.record()
        await desk.recorded()


async def test_every_write_is_a_version_with_its_bytes_attributes_and_writer(desk: Desk, recorded: bool) -> None:
    contents = [b"one\n", noise(9000), b"", noise(5 * MIB), b"five\n"]
    for content in contents:
        last = await desk.write("/f", content, attributes=files_pb2.Attributes(mime=f"x/{len(content)}"))
    caller = (("quartet-principal", "ann"),)
    touched = await desk.files.Touch(files_pb2.TouchRequest(path="/f"), metadata=caller)
    await settle(desk, recorded)
    versions = await desk.versions_of("/f")
    assert [one.generation for one in versions] == [6, 5, 4, 3, 2, 1]
    assert [one.etag for one in versions][:2] == [touched.etag, last.etag]
    assert [one.attributes.mime for one in versions] == ["x/5", "x/5", "x/5242880", "x/0", "x/9000", "x/4"]
    assert [one.attributes.digest for one in versions[:0:-1]] == [hashlib.sha256(one).digest() for one in contents]
    assert [one.writer for one in versions] == ["ann", "", "", "", "", ""]
    assert [one.end_revision for one in versions] == [0, *(one.revision for one in versions[:-1])]
    assert all(one.resource_type == pb.RESOURCE_TYPE_FILE and one.stored and not one.deleted for one in versions)
    assert [one.HasField("end_time") for one in versions] == [False, True, True, True, True, True]
    assert await desk.history("/f") == [*contents, contents[-1]]
    assert await desk.history(last.ino) == [*contents, contents[-1]]
    assert await desk.read("/f", 4, offset=MIB - 3, length=MIB) == contents[3][MIB - 3 : 2 * MIB - 3]
    assert await desk.versions_of("/f", page_size=2) == versions
    assert await desk.versions_of("/f", resource_type=pb.RESOURCE_TYPE_MEMORY) == []


async def test_a_rename_keeps_the_history_a_copy_begins_its_own(desk: Desk, recorded: bool) -> None:
    await desk.write("/a", b"1", b"2")
    await desk.files.Mkdir(files_pb2.MkdirRequest(path="/d"))
    await desk.files.Rename(files_pb2.RenameRequest(source="/a", destination="/d/b"))
    await desk.files.Rename(files_pb2.RenameRequest(source="/d", destination="/e"))
    await desk.write("/e/b", b"3")
    await desk.files.Copy(files_pb2.CopyRequest(source="/e/b", destination="/c"))
    await settle(desk, recorded)
    assert await desk.history("/e/b") == [b"1", b"2", b"3"]
    assert await desk.history("/c") == [b"3"]
    with fails(NOT_FOUND, "FILE_NOT_FOUND"):
        await desk.versions_of("/a")


async def test_a_deletion_ends_the_history_and_the_name_still_leads_to_it(desk: Desk, recorded: bool) -> None:
    await desk.files.Mkdir(files_pb2.MkdirRequest(path="/d"))
    first = await desk.write("/d/f", b"1", b"2")
    await desk.files.Delete(files_pb2.DeleteRequest(path="/d/f"))
    second = await desk.write("/d/f", b"3")
    await desk.write("/new", b"4")
    await desk.files.Rename(files_pb2.RenameRequest(source="/new", destination="/d/f"))  # the other one is gone
    await settle(desk, recorded)
    assert await desk.history(first.ino) == [b"1", b"2"]
    assert await desk.history(second.ino) == [b"3"]
    assert await desk.history("/d/f") == [b"4"]
    assert [(one.generation, one.deleted) for one in await desk.versions_of(first.ino)] == [(2, True), (1, False)]
    await desk.files.Delete(files_pb2.DeleteRequest(path="/d/f"))
    if recorded:
        await desk.recorded()
    assert await desk.history("/d/f") == [b"4"]
    page = await desk.versions.ListVersions(pb.ListVersionsRequest(file=subject("/d/f")))
    assert page.path == ""
    assert page.versions[0].deleted
    assert page.versions[0].end_revision <= page.revision
    if recorded:
        gone = await desk.versions.ListDeleted(pb.ListDeletedRequest(path="/d"))
        assert [(one.path, one.ino, one.size) for one in gone.files][:2] == [
            ("/d/f", first.ino, 1),
            ("/d/f", second.ino, 1),
        ]
        paged: list[pb.DeletedFile] = []
        asked = pb.ListDeletedRequest(path="/d", page_size=1)
        while not paged or asked.page_token:
            page_of = await desk.versions.ListDeleted(asked)
            paged += page_of.files
            asked.page_token = page_of.next_page_token
        assert paged == list(gone.files)


async def test_files_in_the_trash_have_their_history_by_path_and_by_number(desk: Desk, recorded: bool) -> None:
    await desk.files.Mkdir(files_pb2.MkdirRequest(path="/d/e", parents=True))
    entry = await desk.write("/d/e/f", b"1", b"2")
    deleted = await desk.files.Delete(files_pb2.DeleteRequest(path="/d", recursive=True))
    await settle(desk, recorded)
    assert await desk.history("/d/e/f") == [b"1", b"2"]
    assert await desk.history(entry.ino) == [b"1", b"2"]
    assert [one.deleted for one in await desk.versions_of(entry.ino)] == [False, False]
    await desk.files.EmptyTrash(files_pb2.EmptyTrashRequest(ids=[deleted.trash_id]))
    await Reclaimer(desk.store).clear()
    if recorded:
        await desk.recorded()
    assert await desk.history(entry.ino) == [b"1", b"2"]
    assert [one.deleted for one in await desk.versions_of(entry.ino)] == [True, False]
    with fails(NOT_FOUND, "FILE_NOT_FOUND"):
        await desk.versions_of("/d/e/f")


async def test_what_changed_is_told_by_attribute_and_by_line(desk: Desk, recorded: bool) -> None:
    await desk.write("/f", b"a\nb\nc\n", attributes=files_pb2.Attributes(mode=0o644))
    await desk.write("/f", b"a\nB\nc\n", attributes=files_pb2.Attributes(mode=0o600))
    await desk.write("/f", b"a\nB\nc\n\0")
    await desk.write("/f", noise(3 * MIB))
    await desk.write("/f", noise(3 * MIB), attributes=files_pb2.Attributes(mime="x/y"))
    await settle(desk, recorded)

    async def diff(old: int, new: int) -> pb.DiffVersionsResponse:
        return await desk.versions.DiffVersions(
            pb.DiffVersionsRequest(file=subject("/f"), from_generation=old, to_generation=new)
        )

    first = await diff(1, 2)
    assert first.unified == "--- /f\t1\n+++ /f\t2\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"
    assert (first.content, first.added, first.removed) == (pb.CONTENT_CHANGE_TEXT, 1, 1)
    assert {one.name for one in first.attributes} == {"digest", "mode", "mtime"}
    assert next((one.before, one.after) for one in first.attributes if one.name == "mode") == ("644", "600")
    assert (await diff(2, 3)).content == pb.CONTENT_CHANGE_BINARY
    assert (await diff(3, 4)).content == pb.CONTENT_CHANGE_TOO_LARGE
    last = await diff(0, 0)
    assert (getattr(last, "from").generation, last.to.generation) == (4, 5)
    assert last.content == pb.CONTENT_CHANGE_NONE
    assert not last.unified
    with fails(NOT_FOUND, "VERSION_NOT_FOUND"):
        await diff(0, 1)


REFUSED = (
    (pb.ListVersionsRequest(), "INVALID_ARGUMENT", "FIELD_INVALID"),
    (pb.ListVersionsRequest(file=subject("/d")), "FAILED_PRECONDITION", "IS_A_DIRECTORY"),
    (pb.ListVersionsRequest(file=subject("/l")), "FAILED_PRECONDITION", "NOT_A_FILE"),
    (pb.ListVersionsRequest(file=subject(10**19)), "NOT_FOUND", "FILE_NOT_FOUND"),
    (pb.ListVersionsRequest(file=subject(1)), "NOT_FOUND", "FILE_NOT_FOUND"),
    (pb.ListVersionsRequest(file=subject("/f"), page_token="x"), "INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"),
    (pb.ListVersionsRequest(file=subject("/f"), page_size=1001), "INVALID_ARGUMENT", "FIELD_INVALID"),
    (pb.ListVersionsRequest(file=subject("/f"), resource_type=9), "INVALID_ARGUMENT", "FIELD_INVALID"),  # type: ignore[arg-type]
    (pb.DiffVersionsRequest(file=subject("/f"), context=101), "INVALID_ARGUMENT", "FIELD_INVALID"),
    (pb.DiffVersionsRequest(file=subject("/f"), to_generation=9), "NOT_FOUND", "VERSION_NOT_FOUND"),
    (pb.RollbackRequest(path="/"), "FAILED_PRECONDITION", "IS_A_DIRECTORY"),
    (pb.RollbackRequest(path="/f"), "NOT_FOUND", "VERSION_NOT_FOUND"),
    (pb.RollbackRequest(path="/d/g", generation=1), "NOT_FOUND", "FILE_NOT_FOUND"),
    (pb.DeleteVersionsRequest(file=subject("/f")), "INVALID_ARGUMENT", "FIELD_INVALID"),
    (pb.SetRetentionRequest(path="/x"), "NOT_FOUND", "FILE_NOT_FOUND"),
    (pb.ListDeletedRequest(path="/f"), "FAILED_PRECONDITION", "NOT_A_DIRECTORY"),
)


async def test_what_cannot_be_answered_has_its_reason(desk: Desk) -> None:
    await desk.write("/f", b"x")
    await desk.files.Mkdir(files_pb2.MkdirRequest(path="/d"))
    link = files_pb2.Attributes(symlink_target="f")
    symlink = files_pb2.CreateFileRequest(path="/l", type=files_pb2.ENTRY_TYPE_SYMLINK, attributes=link)
    await desk.files.CreateFile(symlink)
    for request, code, reason in REFUSED:
        method = type(request).__name__.removesuffix("Request")
        with fails(grpc.StatusCode[code], reason):
            await getattr(desk.versions, method)(request)


async def test_a_stretch_beyond_the_end_and_bytes_never_written_are_refused(desk: Desk) -> None:
    await desk.write("/f", b"12345", b"6")
    await desk.files.CreateFile(files_pb2.CreateFileRequest(path="/g", attributes=files_pb2.Attributes(size=7)))
    assert await desk.read("/f", 1, offset=5) == b""
    with fails(grpc.StatusCode.OUT_OF_RANGE, "RANGE_INVALID"):
        await desk.read("/f", 1, offset=6)
    with fails(grpc.StatusCode.FAILED_PRECONDITION, "CONTENT_ABSENT"):
        await desk.read("/g", 1)
    with fails(grpc.StatusCode.FAILED_PRECONDITION, "CONTENT_ABSENT"):
        await desk.versions.Rollback(pb.RollbackRequest(path="/g", generation=1))
    assert await read(desk.files, "/f") == b"6"


async def test_a_page_goes_on_where_the_one_before_ended_whatever_is_written_meanwhile(desk: Desk) -> None:
    await desk.write("/f", *(b"%d" % number for number in range(6)))
    asked = pb.ListVersionsRequest(file=subject("/f"), page_size=4)
    first = await desk.versions.ListVersions(asked)
    await desk.write("/f", b"later")
    asked.page_token = first.next_page_token
    second = await desk.versions.ListVersions(asked)
    assert [one.generation for one in [*first.versions, *second.versions]] == [6, 5, 4, 3, 2, 1]
    await desk.files.Delete(files_pb2.DeleteRequest(path="/f"))
    await desk.write("/f", b"another file")
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"):
        await desk.versions.ListVersions(asked)
