"""Entries come to be, are read, change and go away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from harness.failures import fails
from quartet.files.v1 import files_pb2 as pb

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")
FILE, DIRECTORY, SYMLINK = pb.ENTRY_TYPE_FILE, pb.ENTRY_TYPE_DIRECTORY, pb.ENTRY_TYPE_SYMLINK


async def test_an_untouched_zone_has_an_empty_root(files: FileServiceAsyncStub) -> None:
    assert (await files.Stat(pb.StatRequest(path="/"))).type == DIRECTORY
    assert not (await files.List(pb.ListRequest(path="/"))).entries


async def test_a_created_file_is_read_back_with_everything_that_was_said(files: FileServiceAsyncStub) -> None:
    attributes = pb.Attributes(size=3, mime="text/plain", digest=b"\1" * 32, mode=0o644, owner="ann")
    attributes.mtime.FromMicroseconds(1_234_567)
    await files.Mkdir(pb.MkdirRequest(path="/docs"))
    made = await files.CreateFile(pb.CreateFileRequest(path="/docs/a.txt", attributes=attributes))
    read = await files.Stat(pb.StatRequest(path="/docs/a.txt"))
    assert read.attributes == attributes
    assert (read.path, read.name, read.type, read.etag) == ("/docs/a.txt", "a.txt", FILE, f"{made.ino}.1")
    assert read.create_time == read.update_time == made.create_time
    assert read.revision == made.revision


async def test_mkdir_with_parents_makes_the_whole_way_and_takes_it_for_granted_the_second_time(
    files: FileServiceAsyncStub,
) -> None:
    first = await files.Mkdir(pb.MkdirRequest(path="/a/b/c", parents=True, attributes=pb.Attributes(mode=0o700)))
    again = await files.Mkdir(pb.MkdirRequest(path="/a/b/c", parents=True))
    assert again.ino == first.ino
    assert again.attributes.mode == 0o700
    assert (await files.Stat(pb.StatRequest(path="/a/b"))).attributes.mode == 0o755


@pytest.mark.parametrize(
    ("call", "request_", "code", "reason"),
    [
        ("Mkdir", pb.MkdirRequest(path="/d"), "ALREADY_EXISTS", "FILE_EXISTS"),
        ("Mkdir", pb.MkdirRequest(path="/f", parents=True), "ALREADY_EXISTS", "FILE_EXISTS"),
        ("Mkdir", pb.MkdirRequest(path="/d", parents=True, if_none_match="*"), "ALREADY_EXISTS", "FILE_EXISTS"),
        ("Mkdir", pb.MkdirRequest(path="/"), "ALREADY_EXISTS", "FILE_EXISTS"),
        ("Mkdir", pb.MkdirRequest(path="/no/d"), "NOT_FOUND", "FILE_NOT_FOUND"),
        ("Mkdir", pb.MkdirRequest(path="/f/d"), "FAILED_PRECONDITION", "NOT_A_DIRECTORY"),
        ("Mkdir", pb.MkdirRequest(path="/x" * 43, parents=True), "INVALID_ARGUMENT", "REQUEST_TOO_LARGE"),
        ("Mkdir", pb.MkdirRequest(path="/e", attributes=pb.Attributes(size=1)), "INVALID_ARGUMENT", "FIELD_INVALID"),
        ("CreateFile", pb.CreateFileRequest(path="/f"), "ALREADY_EXISTS", "FILE_EXISTS"),
        ("CreateFile", pb.CreateFileRequest(path="/d"), "ALREADY_EXISTS", "FILE_EXISTS"),
        ("CreateFile", pb.CreateFileRequest(path="/d", overwrite=True), "FAILED_PRECONDITION", "IS_A_DIRECTORY"),
        ("CreateFile", pb.CreateFileRequest(path="/no/f"), "NOT_FOUND", "FILE_NOT_FOUND"),
        ("CreateFile", pb.CreateFileRequest(path="/f/g"), "FAILED_PRECONDITION", "NOT_A_DIRECTORY"),
        ("CreateFile", pb.CreateFileRequest(path="/"), "FAILED_PRECONDITION", "ROOT_FIXED"),
        ("CreateFile", pb.CreateFileRequest(path="/g", type=DIRECTORY), "INVALID_ARGUMENT", "FIELD_INVALID"),
        ("CreateFile", pb.CreateFileRequest(path="/g", type=SYMLINK), "INVALID_ARGUMENT", "FIELD_INVALID"),
        ("CreateFile", pb.CreateFileRequest(path="/g", if_match="*"), "INVALID_ARGUMENT", "FIELD_INVALID"),
        ("CreateFile", pb.CreateFileRequest(path="/g", overwrite=True, if_match="*"), "ABORTED", "ETAG_STALE"),
        ("CreateFile", pb.CreateFileRequest(path="/f", overwrite=True, if_match="9.9"), "ABORTED", "ETAG_STALE"),
        ("CreateFile", pb.CreateFileRequest(path="/f", overwrite=True, if_none_match="*"), "ABORTED", "ETAG_STALE"),
        ("CreateFile", pb.CreateFileRequest(path="/g", request_id="r" * 129), "INVALID_ARGUMENT", "FIELD_INVALID"),
        ("Stat", pb.StatRequest(path="/no"), "NOT_FOUND", "FILE_NOT_FOUND"),
        ("Stat", pb.StatRequest(path="/f/no"), "FAILED_PRECONDITION", "NOT_A_DIRECTORY"),
        ("Stat", pb.StatRequest(path="/f", revision=1 << 60), "OUT_OF_RANGE", "REVISION_FUTURE"),
        ("List", pb.ListRequest(path="/f"), "FAILED_PRECONDITION", "NOT_A_DIRECTORY"),
        ("List", pb.ListRequest(path="/", page_size=1001), "INVALID_ARGUMENT", "FIELD_INVALID"),
        ("List", pb.ListRequest(path="/", page_token="x"), "INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"),
        ("Delete", pb.DeleteRequest(path="/"), "FAILED_PRECONDITION", "ROOT_FIXED"),
        ("Delete", pb.DeleteRequest(path="/no"), "NOT_FOUND", "FILE_NOT_FOUND"),
        ("Delete", pb.DeleteRequest(path="/d"), "FAILED_PRECONDITION", "DIRECTORY_NOT_EMPTY"),
        ("Delete", pb.DeleteRequest(path="/f", if_match="1.1"), "ABORTED", "ETAG_STALE"),
        ("BatchStat", pb.BatchStatRequest(), "INVALID_ARGUMENT", "FIELD_INVALID"),
        ("BatchStat", pb.BatchStatRequest(paths=["/"] * 1001), "INVALID_ARGUMENT", "FIELD_INVALID"),
        ("BatchCreate", pb.BatchCreateRequest(), "INVALID_ARGUMENT", "FIELD_INVALID"),
        ("SetAttributes", pb.SetAttributesRequest(path="/f", update_mask=FieldMask(paths=["no"])), "INVALID_ARGUMENT",
         "FIELD_INVALID"),
    ],
)  # fmt: skip
async def test_a_call_that_cannot_be_done_says_why(
    files: FileServiceAsyncStub, call: str, request_: object, code: str, reason: str
) -> None:
    await files.Mkdir(pb.MkdirRequest(path="/d/sub", parents=True))
    await files.CreateFile(pb.CreateFileRequest(path="/f"))
    with fails(grpc.StatusCode[code], reason):
        await getattr(files, call)(request_)


async def test_overwriting_keeps_the_ino_and_counts_the_generation(files: FileServiceAsyncStub) -> None:
    first = await files.CreateFile(pb.CreateFileRequest(path="/f", attributes=pb.Attributes(size=1)))
    second = await files.CreateFile(
        pb.CreateFileRequest(path="/f", attributes=pb.Attributes(size=2), overwrite=True, if_match=first.etag)
    )
    assert (second.ino, second.etag, second.attributes.size) == (first.ino, f"{first.ino}.2", 2)
    assert second.create_time == first.create_time
    assert second.update_time.seconds > first.update_time.seconds


async def test_only_the_attributes_in_the_mask_change(files: FileServiceAsyncStub) -> None:
    await files.CreateFile(pb.CreateFileRequest(path="/f", attributes=pb.Attributes(size=1, owner="ann", mime="a/b")))
    changed = await files.SetAttributes(
        pb.SetAttributesRequest(
            path="/f", attributes=pb.Attributes(size=9), update_mask=FieldMask(paths=["size", "owner"])
        )
    )
    assert changed.attributes == pb.Attributes(size=9, mime="a/b")


async def test_a_symbolic_link_is_told_and_never_followed(files: FileServiceAsyncStub) -> None:
    await files.Mkdir(pb.MkdirRequest(path="/d"))
    link = pb.Attributes(symlink_target="/d")
    await files.CreateFile(pb.CreateFileRequest(path="/l", type=SYMLINK, attributes=link))
    assert (await files.Stat(pb.StatRequest(path="/l"))).attributes.symlink_target == "/d"
    with fails(grpc.StatusCode.FAILED_PRECONDITION, "NOT_A_DIRECTORY"):
        await files.CreateFile(pb.CreateFileRequest(path="/l/f"))


async def test_a_deleted_entry_is_gone_and_its_name_is_free(files: FileServiceAsyncStub) -> None:
    first = await files.CreateFile(pb.CreateFileRequest(path="/f"))
    gone = await files.Delete(pb.DeleteRequest(path="/f", if_match=first.etag))
    assert gone.ino == first.ino
    with fails(grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND"):
        await files.Stat(pb.StatRequest(path="/f"))
    assert (await files.CreateFile(pb.CreateFileRequest(path="/f"))).ino != first.ino


async def test_the_past_can_be_read_until_it_is_compacted(files: FileServiceAsyncStub) -> None:
    made = await files.CreateFile(pb.CreateFileRequest(path="/f"))
    await files.Delete(pb.DeleteRequest(path="/f"))
    assert (await files.Stat(pb.StatRequest(path="/f", revision=made.revision))).ino == made.ino


async def test_batch_stat_tells_each_path_at_one_revision(files: FileServiceAsyncStub) -> None:
    await files.Mkdir(pb.MkdirRequest(path="/d"))
    await files.CreateFile(pb.CreateFileRequest(path="/d/f", attributes=pb.Attributes(size=7)))
    answer = await files.BatchStat(pb.BatchStatRequest(paths=["/d/f", "/no", "bad", "/d", "/d/f", "/"]))
    assert [result.failure.reason for result in answer.results] == ["", "FILE_NOT_FOUND", "PATH_INVALID", "", "", ""]
    assert [result.entry.type for result in answer.results] == [FILE, 0, 0, DIRECTORY, FILE, DIRECTORY]
    assert answer.results[0].entry.attributes.size == 7
    assert {result.entry.revision for result in answer.results} == {0, answer.revision}


async def test_zones_do_not_see_each_other_and_must_be_created(files: FileServiceAsyncStub) -> None:
    await files.CreateFile(pb.CreateFileRequest(path="/f"))
    red = (("quartet-zone", "red"),)
    with fails(grpc.StatusCode.NOT_FOUND, "ZONE_NOT_FOUND"):
        await files.Stat(pb.StatRequest(path="/"), metadata=red)
    with fails(grpc.StatusCode.NOT_FOUND, "ZONE_NOT_FOUND"):
        await files.Mkdir(pb.MkdirRequest(path="/d"), metadata=red)


@pytest.mark.parametrize("mtime", [Timestamp(seconds=2**62), Timestamp(seconds=-(2**62)), Timestamp(nanos=-1)])
async def test_a_time_that_no_calendar_has_is_refused(files: FileServiceAsyncStub, mtime: Timestamp) -> None:
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
        await files.CreateFile(pb.CreateFileRequest(path="/f", attributes=pb.Attributes(mtime=mtime)))


async def test_what_is_kept_for_a_later_version_is_not_without_limit(files: FileServiceAsyncStub) -> None:
    unknown = pb.Attributes.FromString(b"\xfa\x3f\x80\x80\x04" + b"z" * 65_536)
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
        await files.CreateFile(pb.CreateFileRequest(path="/f", attributes=unknown))
