"""Locks: one holder at a time, and a fence that keeps late writes out."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from harness.failures import fails, reason_of
from quartet.files.v1 import files_pb2 as pb

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")
PATIENCE = 30.0


async def take(files: FileServiceAsyncStub, path: str = "/f", **rest: Any) -> pb.HeldLock:
    """Take a lock for a minute."""
    rest.setdefault("ttl", Duration(seconds=60))
    return await files.Lock(pb.LockRequest(path=path, **rest))


async def leases(store: Metastore) -> set[int]:
    """The leases there are."""
    return {lease.ID for lease in (await store.lease_leases(rpc_pb2.LeaseLeasesRequest())).leases}


async def expire(store: Metastore) -> None:
    """Let the time of every lock pass: a lease that ended by itself cannot be told from one that was revoked."""
    found = await store.range(rpc_pb2.RangeRequest(key=b"default\0L", range_end=b"default\0M"))
    for kv in found.kvs:
        await store.lease_revoke(rpc_pb2.LeaseRevokeRequest(ID=kv.lease))


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def entries(files: FileServiceAsyncStub) -> None:
    """Two files and a directory."""
    for path in ("/f", "/g", "/d"):
        await (files.Mkdir(pb.MkdirRequest(path=path)) if path == "/d" else files.Touch(pb.TouchRequest(path=path)))


async def test_a_lock_has_one_holder_until_it_is_given_back(files: FileServiceAsyncStub, store: Metastore) -> None:
    before = await leases(store)
    first = await take(files, owner="ann")
    assert (first.path, first.owner, first.ttl.seconds) == ("/f", "ann", 60)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await take(files, owner="bob")
    assert (caught.value.code(), reason_of(caught.value)) == (grpc.StatusCode.ABORTED, "LOCK_HELD")
    assert "ann" in (caught.value.details() or "")
    await take(files, name="another")
    await take(files, path="/g")
    await files.Unlock(pb.UnlockRequest(fence=first.fence))
    second = await take(files, owner="bob")
    assert second.fence.token > first.fence.token
    with fails(grpc.StatusCode.FAILED_PRECONDITION, "LOCK_LOST"):
        await files.Unlock(pb.UnlockRequest(fence=first.fence))
    assert len(await leases(store) - before) == 3


async def test_of_many_who_want_a_lock_one_gets_it(files: FileServiceAsyncStub, store: Metastore) -> None:
    before = await leases(store)
    results = await asyncio.gather(*(take(files, owner=str(i)) for i in range(8)), return_exceptions=True)
    assert sum(isinstance(result, pb.HeldLock) for result in results) == 1
    assert {reason_of(one) for one in results if isinstance(one, grpc.aio.AioRpcError)} == {"LOCK_HELD"}
    assert len(await leases(store) - before) == 1


async def test_a_lock_of_a_holder_that_is_silent_ends_by_itself(files: FileServiceAsyncStub) -> None:
    short = await take(files, ttl=Duration(seconds=1))
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                second = await take(files)
                break
            await asyncio.sleep(0.1)
    assert second.fence.token > short.fence.token
    with fails(grpc.StatusCode.FAILED_PRECONDITION, "LOCK_LOST"):
        await files.RenewLock(pb.RenewLockRequest(fence=short.fence))
    with fails(grpc.StatusCode.FAILED_PRECONDITION, "LOCK_LOST"):
        await files.Touch(pb.TouchRequest(path="/f", fence=short.fence))


async def test_a_renewed_lock_has_its_full_time_again(files: FileServiceAsyncStub, store: Metastore) -> None:
    before = await leases(store)
    lock = await take(files)
    (lease,) = await leases(store) - before

    async def left() -> int:
        return (await store.lease_time_to_live(rpc_pb2.LeaseTimeToLiveRequest(ID=lease))).TTL

    async with asyncio.timeout(PATIENCE):
        while (least := await left()) > 58:
            await asyncio.sleep(0.1)
        while await left() <= least:  # which only a renewal makes more
            assert (await files.RenewLock(pb.RenewLockRequest(fence=lock.fence))).ttl.seconds == 60


FENCED: list[tuple[str, Any]] = [
    ("Mkdir", pb.MkdirRequest(path="/new")),
    ("CreateFile", pb.CreateFileRequest(path="/new")),
    ("CreateFile", pb.CreateFileRequest(path="/f", overwrite=True)),
    ("Touch", pb.TouchRequest(path="/f")),
    ("SetAttributes", pb.SetAttributesRequest(path="/f", attributes=pb.Attributes(size=3))),
    ("Rename", pb.RenameRequest(source="/f", destination="/d/f")),
    ("Delete", pb.DeleteRequest(path="/f")),
    ("Delete", pb.DeleteRequest(path="/d", recursive=True)),
    ("SetXattr", pb.SetXattrRequest(path="/f", xattr=pb.Xattr(name="m"))),
    ("RemoveXattr", pb.RemoveXattrRequest(path="/f", name="n")),
]


@pytest.mark.parametrize(("call", "request_"), FENCED, ids=lambda value: value if isinstance(value, str) else "")
async def test_a_write_with_a_fence_is_done_only_while_the_lock_is_held(
    files: FileServiceAsyncStub, store: Metastore, call: str, request_: Any
) -> None:
    await files.SetXattr(pb.SetXattrRequest(path="/f", xattr=pb.Xattr(name="n")))
    lock = await take(files, path="/g")
    await expire(store)
    await take(files, path="/g", owner="the next one")
    request = type(request_).FromString(request_.SerializeToString())
    request.fence.CopyFrom(lock.fence)
    head = (await files.Stat(pb.StatRequest(path="/"))).revision
    with fails(grpc.StatusCode.FAILED_PRECONDITION, "LOCK_LOST"):
        await getattr(files, call)(request)
    assert (await files.Stat(pb.StatRequest(path="/"))).revision == head
    await expire(store)
    request.fence.CopyFrom((await take(files, path="/g")).fence)
    await getattr(files, call)(request)


async def test_a_batch_with_a_fence_creates_nothing_after_the_lock_is_lost(
    files: FileServiceAsyncStub, store: Metastore
) -> None:
    lock = await take(files)
    made = [pb.CreateEntry(path=f"/d/{i}") for i in range(100)]
    assert (await files.BatchCreate(pb.BatchCreateRequest(entries=made, fence=lock.fence))).created == 100
    await expire(store)
    made = [pb.CreateEntry(path=f"/d/x{i}") for i in range(100)]
    answer = await files.BatchCreate(pb.BatchCreateRequest(entries=made, fence=lock.fence, request_id="b"))
    assert answer.created == 0
    assert {result.failure.reason for result in answer.results} == {"LOCK_LOST"}


async def test_a_restore_with_a_fence_is_refused_when_the_lock_is_lost(
    files: FileServiceAsyncStub, store: Metastore
) -> None:
    item = (await files.Delete(pb.DeleteRequest(path="/d", recursive=True))).trash_id
    lock = await take(files)
    await expire(store)
    with fails(grpc.StatusCode.FAILED_PRECONDITION, "LOCK_LOST"):
        await files.RestoreFromTrash(pb.RestoreFromTrashRequest(id=item, fence=lock.fence))


async def test_a_lock_goes_with_the_entry_wherever_it_is_moved(files: FileServiceAsyncStub) -> None:
    lock = await take(files)
    await files.Rename(pb.RenameRequest(source="/f", destination="/d/f", fence=lock.fence))
    with fails(grpc.StatusCode.ABORTED, "LOCK_HELD"):
        await take(files, path="/d/f")
    await files.RenewLock(pb.RenewLockRequest(fence=lock.fence))
    await files.Unlock(pb.UnlockRequest(fence=lock.fence))


async def test_a_repeated_request_for_a_lock_is_told_of_the_same_holding(
    files: FileServiceAsyncStub, store: Metastore
) -> None:
    before = await leases(store)
    request = pb.LockRequest(path="/f", request_id="r")
    first = await files.Lock(request)
    assert await asyncio.gather(*(files.Lock(request) for _ in range(3))) == [first] * 3
    await files.Touch(pb.TouchRequest(path="/f", fence=first.fence))
    gone = pb.UnlockRequest(fence=first.fence, request_id="u")
    assert await files.Unlock(gone) == await files.Unlock(gone)
    records = await store.range(rpc_pb2.RangeRequest(key=b"default\0K", range_end=b"default\0L"))
    assert len(await leases(store) - before - {kv.lease for kv in records.kvs}) == 0


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (pb.LockRequest(path="/no"), grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND"),
        (pb.LockRequest(path="/f", name="n" * 256), grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
        (pb.LockRequest(path="/f", owner="n" * 256), grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
        (pb.LockRequest(path="/f", ttl=Duration()), grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
        (pb.LockRequest(path="/f", ttl=Duration(seconds=3601)), grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
        (
            pb.LockRequest(path="/f", ttl=Duration(seconds=5, nanos=1)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "FIELD_INVALID",
        ),
        (pb.TouchRequest(path="/f", fence=pb.Fence(ino=1)), grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
        (pb.RenewLockRequest(), grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
        (pb.UnlockRequest(fence=pb.Fence(token=-1)), grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
        (pb.UnlockRequest(fence=pb.Fence(token=1)), grpc.StatusCode.FAILED_PRECONDITION, "LOCK_LOST"),
    ],
)
async def test_a_request_about_a_lock_that_makes_no_sense_says_why(
    files: FileServiceAsyncStub, request_: Any, code: grpc.StatusCode, reason: str
) -> None:
    method = type(request_).__name__.removesuffix("Request")
    with fails(code, reason):
        await getattr(files, method)(request_)
