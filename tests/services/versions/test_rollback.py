"""The way back: a write like any other, whose bytes are there already."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from harness.contents import MIB, noise, read
from harness.failures import fails
from harness.versions import Desk, subject
from quartet.files.v1 import files_pb2
from quartet.versions.v1 import versions_pb2 as pb

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_rollback_is_a_new_version_and_puts_no_blob(desk: Desk) -> None:
    big = noise(5 * MIB)
    old = files_pb2.Attributes(mime="text/x", mode=0o600, owner="ann")
    await desk.write("/f", big, attributes=old)
    new = files_pb2.Attributes(mime="text/y", mode=0o644, owner="bob")
    await desk.write("/f", b"small", attributes=new)
    before = await desk.blobs.scan("default")
    entry = await desk.versions.Rollback(pb.RollbackRequest(path="/f", generation=1))
    assert {one.digest for one in await desk.blobs.scan("default")} == {one.digest for one in before}
    assert await read(desk.files, "/f") == big
    told = entry.attributes
    assert (told.mime, told.mode, told.owner, told.size) == ("text/x", 0o644, "bob", len(big))
    assert entry.etag.endswith(".3")
    entry = await desk.versions.Rollback(pb.RollbackRequest(path="/f", generation=1, attributes=True))
    assert (entry.attributes.mode, entry.attributes.owner) == (0o600, "ann")
    assert entry.attributes.mtime == (await desk.versions_of("/f"))[-1].attributes.mtime
    assert await desk.history("/f") == [big, b"small", big, big]
    stat = await desk.files.Stat(files_pb2.StatRequest(path="/f"))
    assert stat.etag == entry.etag
    assert stat.revision >= entry.revision


async def test_a_deleted_file_comes_back_where_it_was_or_elsewhere(desk: Desk) -> None:
    await desk.files.Mkdir(files_pb2.MkdirRequest(path="/d"))
    gone = await desk.write("/d/f", b"1", b"2", attributes=files_pb2.Attributes(mode=0o640))
    await desk.files.Delete(files_pb2.DeleteRequest(path="/d/f"))
    back = await desk.versions.Rollback(pb.RollbackRequest(path="/d/f", generation=2))
    assert back.ino != gone.ino
    assert (await read(desk.files, "/d/f"), back.attributes.mode) == (b"2", 0o640)
    await desk.versions.Rollback(pb.RollbackRequest(path="/g", generation=1, ino=gone.ino))
    assert await read(desk.files, "/g") == b"1"
    assert await desk.history("/d/f") == [b"2"]


async def test_conditions_fences_and_quotas_hold(desk: Desk) -> None:
    await desk.files.Mkdir(files_pb2.MkdirRequest(path="/q"))
    entry = await desk.write("/q/f", noise(3000), b"2")
    with fails(grpc.StatusCode.ABORTED, "ETAG_STALE"):
        await desk.versions.Rollback(pb.RollbackRequest(path="/q/f", generation=1, if_match=f"{entry.ino}.1"))
    with fails(grpc.StatusCode.ABORTED, "ETAG_STALE"):
        await desk.versions.Rollback(pb.RollbackRequest(path="/q/f", generation=1, if_none_match="*"))
    held = await desk.files.Lock(files_pb2.LockRequest(path="/q/f"))
    await desk.files.Unlock(files_pb2.UnlockRequest(fence=held.fence))
    with fails(grpc.StatusCode.FAILED_PRECONDITION, "LOCK_LOST"):
        await desk.versions.Rollback(pb.RollbackRequest(path="/q/f", generation=1, fence=held.fence))
    await desk.files.SetQuota(files_pb2.SetQuotaRequest(path="/q", limit_bytes=2000))
    with fails(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED"):
        await desk.versions.Rollback(pb.RollbackRequest(path="/q/f", generation=1))
    assert [one.generation for one in await desk.versions_of("/q/f")] == [2, 1]
    await desk.files.SetQuota(files_pb2.SetQuotaRequest(path="/q", limit_bytes=4000))
    await desk.versions.Rollback(pb.RollbackRequest(path="/q/f", generation=1, if_match=entry.etag))
    used = await desk.files.GetQuota(files_pb2.GetQuotaRequest(path="/q"))
    assert used.used_bytes == 3000


async def test_a_repetition_gets_the_first_answer_and_another_request_is_refused(desk: Desk) -> None:
    await desk.write("/f", b"1", b"2")
    request = pb.RollbackRequest(path="/f", generation=1, request_id="r")
    first = await desk.versions.Rollback(request)
    assert await desk.versions.Rollback(request) == first
    assert len(await desk.versions_of("/f")) == 3
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED"):
        await desk.versions.Rollback(pb.RollbackRequest(path="/f", generation=2, request_id="r"))


async def test_rollbacks_and_writes_at_once_are_all_versions(desk: Desk) -> None:
    await desk.write("/f", b"first")
    await desk.record()
    writers = [desk.write("/f", b"%d" % number) for number in range(8)]
    backs = [desk.versions.Rollback(pb.RollbackRequest(path="/f", generation=1)) for _ in range(4)]
    await asyncio.gather(*writers, *backs)
    await desk.recorded()
    found = await desk.history("/f")
    assert len(found) == 13
    assert sorted(found) == sorted([b"first"] * 5 + [b"%d" % number for number in range(8)])


async def test_a_version_whose_bytes_are_gone_is_refused(desk: Desk) -> None:
    await desk.write("/f", noise(9000), b"x")
    digests = [info.digest for info in await desk.blobs.scan("default")]
    assert await desk.blobs.delete("default", digests)
    with fails(grpc.StatusCode.DATA_LOSS, "CONTENT_LOST"):
        await desk.versions.Rollback(pb.RollbackRequest(path="/f", generation=1))
    with fails(grpc.StatusCode.DATA_LOSS, "CONTENT_LOST"):
        await desk.read("/f", 1)
    found = await desk.versions.DiffVersions(pb.DiffVersionsRequest(file=subject("/f")))
    assert found.content == pb.CONTENT_CHANGE_UNKNOWN
