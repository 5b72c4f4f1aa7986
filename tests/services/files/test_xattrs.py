"""Extended attributes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from harness.failures import fails, reason_of
from quartet.files.v1 import files_pb2 as pb

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")


def put(path: str, name: str, value: bytes = b"v", **more: Any) -> pb.SetXattrRequest:
    """Ask for an attribute."""
    return pb.SetXattrRequest(path=path, xattr=pb.Xattr(name=name, value=value), **more)


async def test_attributes_are_written_read_listed_and_removed(files: FileServiceAsyncStub) -> None:
    made = await files.CreateFile(pb.CreateFileRequest(path="/f"))
    await files.SetXattr(put("/f", "user.b", b"\0\xff"))
    await files.SetXattr(put("/f", "user.a", b""))
    await files.SetXattr(put("/f", "user.a", b"2", if_match=made.etag))
    assert (await files.GetXattr(pb.GetXattrRequest(path="/f", name="user.b"))).value == b"\0\xff"
    listed = await files.ListXattrs(pb.ListXattrsRequest(path="/f"))
    assert [(one.name, one.value) for one in listed.xattrs] == [("user.a", b"2"), ("user.b", b"\0\xff")]
    await files.RemoveXattr(pb.RemoveXattrRequest(path="/f", name="user.a"))
    with fails(grpc.StatusCode.NOT_FOUND, "XATTR_NOT_FOUND"):
        await files.GetXattr(pb.GetXattrRequest(path="/f", name="user.a"))
    with fails(grpc.StatusCode.NOT_FOUND, "XATTR_NOT_FOUND"):
        await files.RemoveXattr(pb.RemoveXattrRequest(path="/f", name="user.a"))
    assert (await files.Stat(pb.StatRequest(path="/f"))).etag == made.etag


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (put("/f", ""), "INVALID_ARGUMENT", "FIELD_INVALID"),
        (put("/f", "n\0"), "INVALID_ARGUMENT", "FIELD_INVALID"),
        (put("/f", "n" * 256), "INVALID_ARGUMENT", "FIELD_INVALID"),
        (put("/f", "n", b"v" * 65_537), "INVALID_ARGUMENT", "FIELD_INVALID"),
        (put("/no", "n"), "NOT_FOUND", "FILE_NOT_FOUND"),
        (put("/f", "n", if_match="1.1"), "ABORTED", "ETAG_STALE"),
    ],
)
async def test_a_bad_attribute_is_refused(
    files: FileServiceAsyncStub, request_: pb.SetXattrRequest, code: str, reason: str
) -> None:
    await files.CreateFile(pb.CreateFileRequest(path="/f"))
    with fails(grpc.StatusCode[code], reason):
        await files.SetXattr(request_)


async def test_competing_writers_cannot_exceed_the_limit_together(files: FileServiceAsyncStub) -> None:
    await files.CreateFile(pb.CreateFileRequest(path="/f"))
    for i in range(62):
        await files.SetXattr(put("/f", f"n{i:02}"))
    results = await asyncio.gather(*(files.SetXattr(put("/f", f"x{i}")) for i in range(6)), return_exceptions=True)
    refused = [reason_of(one) for one in results if isinstance(one, grpc.aio.AioRpcError)]
    assert set(refused) <= {"LIMIT_REACHED", "CONTENTION"}
    assert len((await files.ListXattrs(pb.ListXattrsRequest(path="/f"))).xattrs) == 68 - len(refused) <= 64
    await files.SetXattr(put("/f", "n00", b"an existing one can still change"))


async def test_attributes_of_many_entries_are_read_at_once(files: FileServiceAsyncStub) -> None:
    paths = [f"/f{i}" for i in range(40)]
    await files.BatchCreate(pb.BatchCreateRequest(entries=[pb.CreateEntry(path=path) for path in paths]))
    for path in paths[::3]:
        await files.SetXattr(put(path, "a", path.encode()))
        await files.SetXattr(put(path, "b"))
    answer = await files.BatchGetXattrs(pb.BatchGetXattrsRequest(paths=[*paths, "/no", "bad"], names=["a", "c"]))
    assert [one.failure.reason for one in answer.results[-2:]] == ["FILE_NOT_FOUND", "PATH_INVALID"]
    for i, path in enumerate(paths):
        expected = [pb.Xattr(name="a", value=path.encode())] if i % 3 == 0 else []
        assert list(answer.results[i].xattrs) == expected
    everything = await files.BatchGetXattrs(pb.BatchGetXattrsRequest(paths=paths))
    assert [xattr.name for xattr in everything.results[0].xattrs] == ["a", "b"]


async def test_an_answer_that_cannot_be_sent_is_refused_with_a_hint(files: FileServiceAsyncStub) -> None:
    await files.CreateFile(pb.CreateFileRequest(path="/f"))
    for i in range(64):
        await files.SetXattr(put("/f", f"n{i:02}", b"v" * 65_536))
    with fails(grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED"):
        await files.ListXattrs(pb.ListXattrsRequest(path="/f"))
    with fails(grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED"):
        await files.BatchGetXattrs(pb.BatchGetXattrsRequest(paths=["/f"]))
    few = await files.BatchGetXattrs(pb.BatchGetXattrsRequest(paths=["/f"], names=["n00", "n63"]))
    assert len(few.results[0].xattrs) == 2
