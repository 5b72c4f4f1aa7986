"""Request ids: a repetition changes nothing and is told the same."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from harness.failures import fails
from quartet.files.v1 import files_pb2 as pb
from quartet_server.meta.ledger import KEEP, WINDOW, LedgerLease

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")

SETUP = [
    ("Mkdir", pb.MkdirRequest(path="/d")),
    ("CreateFile", pb.CreateFileRequest(path="/f")),
    ("CreateFile", pb.CreateFileRequest(path="/g")),
    ("SetXattr", pb.SetXattrRequest(path="/f", xattr=pb.Xattr(name="n"))),
]
MUTATIONS = [
    ("Mkdir", pb.MkdirRequest(path="/new")),
    ("CreateFile", pb.CreateFileRequest(path="/new")),
    ("CreateFile", pb.CreateFileRequest(path="/f", overwrite=True)),
    ("Touch", pb.TouchRequest(path="/f")),
    ("Touch", pb.TouchRequest(path="/new")),
    ("SetAttributes", pb.SetAttributesRequest(path="/f", attributes=pb.Attributes(size=3))),
    ("Rename", pb.RenameRequest(source="/f", destination="/d/f")),
    ("Rename", pb.RenameRequest(source="/f", destination="/g", mode=pb.RENAME_MODE_EXCHANGE)),
    ("Delete", pb.DeleteRequest(path="/f")),
    ("Delete", pb.DeleteRequest(path="/d", recursive=True)),
    ("Delete", pb.DeleteRequest(path="/d", recursive=True, permanent=True)),
    ("SetXattr", pb.SetXattrRequest(path="/f", xattr=pb.Xattr(name="m"))),
    ("RemoveXattr", pb.RemoveXattrRequest(path="/f", name="n")),
]


@pytest.mark.parametrize(("call", "mutation"), MUTATIONS, ids=lambda value: value if isinstance(value, str) else "")
async def test_a_repeated_mutation_happens_once_and_is_told_the_same(
    files: FileServiceAsyncStub, store: Metastore, call: str, mutation: pb.MkdirRequest
) -> None:
    for name, request in SETUP:
        await getattr(files, name)(request)
    mutation = type(mutation).FromString(mutation.SerializeToString())
    mutation.request_id = "once"
    first = await getattr(files, call)(mutation)
    head = (await files.Stat(pb.StatRequest(path="/"))).revision
    again = await asyncio.gather(*(getattr(files, call)(mutation) for _ in range(3)))
    assert again == [first] * 3
    assert (await files.Stat(pb.StatRequest(path="/"))).revision == head
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED"):
        await files.CreateFile(pb.CreateFileRequest(path="/other", request_id="once"))


async def test_a_mutation_sent_many_times_at_once_happens_once(files: FileServiceAsyncStub) -> None:
    made = await files.CreateFile(pb.CreateFileRequest(path="/f"))
    request = pb.SetAttributesRequest(path="/f", attributes=pb.Attributes(size=3), request_id="r")
    answers = await asyncio.gather(*(files.SetAttributes(request) for _ in range(8)))
    assert {answer.etag for answer in answers} == {f"{made.ino}.2"}


async def test_a_request_that_failed_may_be_tried_again_under_its_id(files: FileServiceAsyncStub) -> None:
    request = pb.CreateFileRequest(path="/d/f", request_id="r")
    with fails(grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND"):
        await files.CreateFile(request)
    await files.Mkdir(pb.MkdirRequest(path="/d"))
    await files.CreateFile(request)


async def test_writers_of_one_entry_are_applied_one_by_one(files: FileServiceAsyncStub) -> None:
    made = await files.CreateFile(pb.CreateFileRequest(path="/f"))
    request = pb.SetAttributesRequest(path="/f", update_mask={"paths": ["size"]})  # type: ignore[arg-type]
    results = await asyncio.gather(*(files.SetAttributes(request) for _ in range(6)), return_exceptions=True)
    done = [result for result in results if isinstance(result, pb.Entry)]
    assert {entry.etag for entry in done} == {f"{made.ino}.{2 + i}" for i in range(len(done))}
    assert done


async def test_all_records_of_ten_minutes_share_one_lease_that_outlives_the_last_by_half_an_hour(
    store: Metastore,
) -> None:
    now = 0.0
    lease = LedgerLease(store, lambda: now)
    first = await lease.current()
    now = WINDOW - 1
    assert await lease.current() == first
    now = WINDOW
    second = await lease.current()
    assert second != first
    told = await store.lease_time_to_live(rpc_pb2.LeaseTimeToLiveRequest(ID=first))
    assert told.grantedTTL - WINDOW >= KEEP
    lease.lost(second)
    assert await lease.current() not in (first, second)
    for one in (first, second):
        await store.lease_revoke(rpc_pb2.LeaseRevokeRequest(ID=one))


async def test_a_lease_that_the_store_lost_is_replaced_without_anybody_noticing(
    files: FileServiceAsyncStub, store: Metastore
) -> None:
    await files.CreateFile(pb.CreateFileRequest(path="/a", request_id="a"))
    for lease in (await store.lease_leases(rpc_pb2.LeaseLeasesRequest())).leases:
        await store.lease_revoke(rpc_pb2.LeaseRevokeRequest(ID=lease.ID))
    await files.CreateFile(pb.CreateFileRequest(path="/b", request_id="b"))
    batch = pb.BatchCreateRequest(entries=[pb.CreateEntry(path="/c")], request_id="c")
    for lease in (await store.lease_leases(rpc_pb2.LeaseLeasesRequest())).leases:
        await store.lease_revoke(rpc_pb2.LeaseRevokeRequest(ID=lease.ID))
    assert (await files.BatchCreate(batch)).created == 1


async def test_an_id_that_could_be_taken_for_a_part_of_a_batch_is_refused(files: FileServiceAsyncStub) -> None:
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
        await files.Mkdir(pb.MkdirRequest(path="/d", request_id="r\x0000000000"))


async def test_a_repetition_that_finds_nothing_left_to_do_is_told_what_the_first_run_was(
    files: FileServiceAsyncStub,
) -> None:
    request = pb.MkdirRequest(path="/a/b", parents=True, request_id="r")
    first = await files.Mkdir(request)
    await files.CreateFile(pb.CreateFileRequest(path="/later"))
    assert await files.Mkdir(request) == first
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED"):
        await files.Mkdir(pb.MkdirRequest(path="/a", parents=True, request_id="r"))
