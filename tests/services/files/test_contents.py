"""Contents: what is written is what is read, in every layout, by every verb, and every mistake has its reason."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from harness.contents import MIB, look, messages, noise, read, write
from harness.failures import fails
from quartet.files.v1 import files_pb2 as pb
from quartet_server.files.contents import body, contents
from quartet_server.objects.memory import MemoryBlobs

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")

C = grpc.StatusCode
SIZES = (0, 1, 4096, 4097, 2 * MIB, 2 * MIB + 1, 9 * MIB)


@pytest.mark.parametrize("size", SIZES)
async def test_what_is_written_is_read_with_its_size_and_digest(files: FileServiceAsyncStub, size: int) -> None:
    data = noise(size)
    wrote = await write(files, "/f", data, piece=300_000)
    entry, found = await look(files, "/f")
    assert found == data
    assert entry == wrote
    assert entry.attributes.size == size
    assert entry.attributes.digest == hashlib.sha256(data).digest()
    assert entry == await files.Stat(pb.StatRequest(path="/f"))


async def test_small_files_live_in_the_inode_and_equal_large_ones_are_kept_once(
    files: FileServiceAsyncStub, blobs: MemoryBlobs
) -> None:
    await write(files, "/small", noise(4096))
    assert (await blobs.usage()).blobs == 0
    for path in ("/a", "/b"):
        await write(files, path, noise(5 * MIB))
    usage = await blobs.usage("default")
    assert usage.logical == 5 * MIB
    assert usage.blobs > 1


async def test_a_long_list_of_chunks_is_a_blob_of_its_own(
    files: FileServiceAsyncStub, blobs: MemoryBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "LISTED", 2)
    data = noise(6 * MIB)
    await write(files, "/f", data)
    assert (await blobs.usage()).logical > len(data)
    assert await read(files, "/f") == data
    assert await read(files, "/f", offset=5 * MIB, length=7) == data[5 * MIB : 5 * MIB + 7]
    await files.Append(pb.AppendRequest(path="/f", data=b"end"))
    await files.Copy(pb.CopyRequest(source="/f", destination="/g"))
    assert await read(files, "/g") == data + b"end"
    got = await files.BatchRead(pb.BatchReadRequest(paths=["/g"]))
    assert got.results[0].failure.reason == "LIMIT_REACHED"


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 1), (4095, 3), (2 * MIB - 1, 2), (3 * MIB, 0), (5 * MIB, 0), (5 * MIB - 1, 100), (1, 5 * MIB)],
)
async def test_any_stretch_can_be_read(files: FileServiceAsyncStub, offset: int, length: int) -> None:
    data = noise(5 * MIB)
    await write(files, "/f", data)
    assert await read(files, "/f", offset=offset, length=length) == data[offset : offset + length if length else None]


async def test_a_file_is_read_as_it_was_at_a_past_revision(files: FileServiceAsyncStub) -> None:
    first = await write(files, "/f", b"one")
    second = await write(files, "/f", noise(10_000))
    assert (first.ino, second.etag) == (second.ino, f"{first.ino}.2")
    assert await read(files, "/f", revision=first.revision) == b"one"
    assert await read(files, "/f", revision=second.revision, if_match=second.etag) == noise(10_000)
    with fails(C.ABORTED, "ETAG_STALE"):
        await read(files, "/f", if_match=first.etag)


async def test_attributes_are_kept_unless_given_and_size_digest_and_mtime_follow_the_bytes(
    files: FileServiceAsyncStub,
) -> None:
    given = pb.Attributes(mode=0o600, owner="ann", mtime=Timestamp(seconds=5))
    await write(files, "/f", b"one", attributes=given)
    entry = await write(files, "/f", b"three")
    assert (entry.attributes.owner, entry.attributes.mode, entry.attributes.size) == ("ann", 0o600, 5)
    assert entry.attributes.mtime == entry.update_time
    entry = await write(files, "/f", b"three", attributes=pb.Attributes(owner="bob"))
    assert (entry.attributes.owner, entry.attributes.mode) == ("bob", 0)
    both = pb.Attributes(owner="eve", size=77, digest=b"x")
    entry = await files.SetAttributes(pb.SetAttributesRequest(path="/f", attributes=both))
    assert (entry.attributes.owner, entry.attributes.size) == ("eve", 5)
    entry = await files.CreateFile(pb.CreateFileRequest(path="/f", attributes=both, overwrite=True))
    assert entry.attributes.digest == hashlib.sha256(b"three").digest()
    with fails(C.INVALID_ARGUMENT, "FIELD_INVALID"):
        mask: Any = {"paths": ["size"]}
        await files.SetAttributes(pb.SetAttributesRequest(path="/f", attributes=both, update_mask=mask))
    assert await read(files, "/f") == b"three"


@pytest.mark.parametrize("before", [0, 10, 4096, 5000, 2 * MIB, 5 * MIB])
@pytest.mark.parametrize("more", [1, 5000, 3 * MIB])
async def test_an_append_adds_exactly_at_the_end(files: FileServiceAsyncStub, before: int, more: int) -> None:
    data, added = noise(before), noise(more, 2)
    await write(files, "/f", data)
    answer = await files.Append(pb.AppendRequest(path="/f", data=added))
    assert answer.offset == before
    assert answer.entry.attributes.digest == hashlib.sha256(data + added).digest()
    assert await read(files, "/f") == data + added


async def test_a_log_that_grows_by_lines_stays_a_list_of_few_chunks(
    files: FileServiceAsyncStub, blobs: MemoryBlobs
) -> None:
    await files.Append(pb.AppendRequest(path="/log", create=True, attributes=pb.Attributes(mime="text/plain")))
    line = noise(997)
    for _ in range(60):
        entry = (await files.Append(pb.AppendRequest(path="/log", data=line, create=True))).entry
    assert await read(files, "/log") == line * 60
    assert entry.attributes.mime == "text/plain"
    written = (await blobs.usage()).logical  # nothing is collected here: these are the bytes that were put in all
    assert written < 60 * 997 * 8


@pytest.mark.parametrize("before", [0, 100, 5000, 3 * MIB])
@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 2 * MIB + 5, 5 * MIB])
async def test_a_file_is_cut_off_and_filled_up_with_zeros(files: FileServiceAsyncStub, before: int, size: int) -> None:
    data = noise(before)
    await write(files, "/f", data)
    entry = await files.Truncate(pb.TruncateRequest(path="/f", size=size))
    wanted = data[:size].ljust(size, b"\0")
    assert entry.attributes.digest == hashlib.sha256(wanted).digest()
    assert await read(files, "/f") == wanted
    await files.Append(pb.AppendRequest(path="/f", data=b"end"))
    assert await read(files, "/f") == wanted + b"end"


async def test_a_copy_shares_the_bytes_and_lives_its_own_life(files: FileServiceAsyncStub, blobs: MemoryBlobs) -> None:
    data = noise(3 * MIB)
    source = await write(files, "/f", data, attributes=pb.Attributes(owner="ann"))
    before = await blobs.usage()
    copied = await files.Copy(pb.CopyRequest(source="/f", destination="/g"))
    assert await blobs.usage() == before
    assert copied.attributes == source.attributes
    assert copied.ino != source.ino
    await write(files, "/f", b"new")
    assert await read(files, "/g") == data
    over = await files.Copy(pb.CopyRequest(source="/f", destination="/g", destination_if_match=copied.etag))
    assert over.etag == f"{copied.ino}.2"
    assert await read(files, "/g") == b"new"


async def test_a_tree_is_copied_with_all_that_is_below_it(files: FileServiceAsyncStub) -> None:
    await files.Mkdir(pb.MkdirRequest(path="/d/e", parents=True))
    await write(files, "/d/e/f", b"deep")
    await files.CreateFile(pb.CreateFileRequest(path="/d/l", type=pb.ENTRY_TYPE_SYMLINK, attributes=_to("e")))
    with fails(C.FAILED_PRECONDITION, "IS_A_DIRECTORY"):
        await files.Copy(pb.CopyRequest(source="/d", destination="/c"))
    await files.Copy(pb.CopyRequest(source="/d", destination="/c", recursive=True))
    assert await read(files, "/c/e/f") == b"deep"
    assert (await files.Stat(pb.StatRequest(path="/c/l"))).attributes.symlink_target == "e"
    with fails(C.FAILED_PRECONDITION, "DIRECTORY_CYCLE"):
        await files.Copy(pb.CopyRequest(source="/d", destination="/d/e/x", recursive=True))
    with fails(C.ALREADY_EXISTS, "FILE_EXISTS"):
        await files.Copy(pb.CopyRequest(source="/d", destination="/c", recursive=True))
    await files.BatchCreate(pb.BatchCreateRequest(entries=[pb.CreateEntry(path=f"/d/{i}") for i in range(39)]))
    made = await files.Copy(pb.CopyRequest(source="/d", destination="/x", recursive=True, request_id="r"))
    assert made == await files.Copy(pb.CopyRequest(source="/d", destination="/x", recursive=True, request_id="r"))
    assert len((await files.List(pb.ListRequest(path="/x"))).entries) == 41


def _to(target: str) -> pb.Attributes:
    return pb.Attributes(symlink_target=target)


WRONG: list[tuple[dict[str, Any], C, str]] = [
    ({"path": "f"}, C.INVALID_ARGUMENT, "PATH_INVALID"),
    ({"path": "/"}, C.FAILED_PRECONDITION, "IS_A_DIRECTORY"),
    ({"path": "/d"}, C.FAILED_PRECONDITION, "IS_A_DIRECTORY"),
    ({"path": "/l"}, C.FAILED_PRECONDITION, "NOT_A_FILE"),
    ({"path": "/f/x"}, C.FAILED_PRECONDITION, "NOT_A_DIRECTORY"),
    ({"path": "/no/x"}, C.NOT_FOUND, "FILE_NOT_FOUND"),
    ({"path": "/no", "mode": pb.WRITE_MODE_OVERWRITE}, C.NOT_FOUND, "FILE_NOT_FOUND"),
    ({"path": "/f", "mode": pb.WRITE_MODE_CREATE}, C.ALREADY_EXISTS, "FILE_EXISTS"),
    ({"path": "/f", "mode": 9}, C.INVALID_ARGUMENT, "FIELD_INVALID"),
    ({"path": "/f", "size": 4}, C.INVALID_ARGUMENT, "SIZE_MISMATCH"),
    ({"path": "/f", "size": 6}, C.INVALID_ARGUMENT, "SIZE_MISMATCH"),
    ({"path": "/f", "size": -1}, C.INVALID_ARGUMENT, "FIELD_INVALID"),
    ({"path": "/f", "size": body.LARGEST + 1}, C.INVALID_ARGUMENT, "FILE_TOO_LARGE"),
    ({"path": "/f", "digest": b"x" * 32}, C.INVALID_ARGUMENT, "DIGEST_MISMATCH"),
    ({"path": "/f", "digest": b"x"}, C.INVALID_ARGUMENT, "FIELD_INVALID"),
    ({"path": "/f", "attributes": pb.Attributes(size=5)}, C.INVALID_ARGUMENT, "FIELD_INVALID"),
    ({"path": "/f", "attributes": pb.Attributes(symlink_target="x")}, C.INVALID_ARGUMENT, "FIELD_INVALID"),
    ({"path": "/f", "request_id": "x" * 129}, C.INVALID_ARGUMENT, "FIELD_INVALID"),
    ({"path": "/f", "if_match": "1.1"}, C.ABORTED, "ETAG_STALE"),
    ({"path": "/no", "if_match": "*"}, C.ABORTED, "ETAG_STALE"),
    ({"path": "/f", "if_none_match": "*"}, C.ABORTED, "ETAG_STALE"),
]


@pytest.mark.parametrize(("header", "code", "reason"), WRONG)
async def test_a_write_that_cannot_be_has_its_reason_and_changes_nothing(
    files: FileServiceAsyncStub, header: dict[str, Any], code: C, reason: str
) -> None:
    await files.Mkdir(pb.MkdirRequest(path="/d"))
    await files.CreateFile(pb.CreateFileRequest(path="/l", type=pb.ENTRY_TYPE_SYMLINK, attributes=_to("f")))
    kept = await write(files, "/f", b"kept")
    with fails(code, reason):
        await files.WriteStream(messages(pb.WriteHeader(**header), [b"bytes"]))
    if "size" not in header and "digest" not in header:
        item = {key: value for key, value in header.items() if key != "request_id"}
        if item != header:
            return
        answer = await files.BatchWrite(pb.BatchWriteRequest(files=[pb.WriteItem(data=b"bytes", **item)]))
        assert [(one.failure.code, one.failure.reason) for one in answer.results] == [(code.value[0], reason)]
    assert await files.Stat(pb.StatRequest(path="/f", revision=kept.revision)) == kept
    assert await read(files, "/f", if_match=kept.etag) == b"kept"


async def test_a_stream_that_is_out_of_order_is_refused(files: FileServiceAsyncStub) -> None:
    async def sent(*requests: pb.WriteStreamRequest) -> AsyncIterator[pb.WriteStreamRequest]:
        for request in requests:
            yield request

    header = pb.WriteStreamRequest(header=pb.WriteHeader(path="/f"))
    for requests in ([], [pb.WriteStreamRequest(data=b"x")], [pb.WriteStreamRequest()], [header, header]):
        with fails(C.INVALID_ARGUMENT, "FIELD_INVALID"):
            await files.WriteStream(sent(*requests))
    with fails(C.NOT_FOUND, "FILE_NOT_FOUND"):
        await files.Stat(pb.StatRequest(path="/f"))


READS: list[tuple[dict[str, Any], C, str]] = [
    ({"path": "/no"}, C.NOT_FOUND, "FILE_NOT_FOUND"),
    ({"path": "/"}, C.FAILED_PRECONDITION, "IS_A_DIRECTORY"),
    ({"path": "/l"}, C.FAILED_PRECONDITION, "NOT_A_FILE"),
    ({"path": "/f", "offset": 5}, C.OUT_OF_RANGE, "RANGE_INVALID"),
    ({"path": "/f", "offset": -1}, C.INVALID_ARGUMENT, "FIELD_INVALID"),
    ({"path": "/f", "length": -1}, C.INVALID_ARGUMENT, "FIELD_INVALID"),
    ({"path": "/f", "revision": 1 << 40}, C.OUT_OF_RANGE, "REVISION_FUTURE"),
    ({"path": "/named"}, C.FAILED_PRECONDITION, "CONTENT_ABSENT"),
]


@pytest.mark.parametrize(("request_", "code", "reason"), READS)
async def test_a_read_that_cannot_be_has_its_reason(
    files: FileServiceAsyncStub, request_: dict[str, Any], code: C, reason: str
) -> None:
    await files.CreateFile(pb.CreateFileRequest(path="/l", type=pb.ENTRY_TYPE_SYMLINK, attributes=_to("f")))
    await files.CreateFile(pb.CreateFileRequest(path="/named", attributes=pb.Attributes(size=5)))
    await write(files, "/f", b"kept")
    with fails(code, reason):
        await read(files, **request_)


async def test_edits_that_cannot_be_have_their_reasons(files: FileServiceAsyncStub) -> None:
    await files.CreateFile(pb.CreateFileRequest(path="/named", attributes=pb.Attributes(size=5)))
    await files.CreateFile(pb.CreateFileRequest(path="/l", type=pb.ENTRY_TYPE_SYMLINK, attributes=_to("f")))
    await write(files, "/f", b"kept")
    cases: list[tuple[Any, Any, C, str]] = [
        (files.Append, pb.AppendRequest(path="/"), C.FAILED_PRECONDITION, "IS_A_DIRECTORY"),
        (files.Append, pb.AppendRequest(path="/no"), C.NOT_FOUND, "FILE_NOT_FOUND"),
        (files.Append, pb.AppendRequest(path="/l"), C.FAILED_PRECONDITION, "NOT_A_FILE"),
        (files.Append, pb.AppendRequest(path="/named"), C.FAILED_PRECONDITION, "CONTENT_ABSENT"),
        (files.Append, pb.AppendRequest(path="/f", attributes=_to("")), C.INVALID_ARGUMENT, "FIELD_INVALID"),
        (files.Append, pb.AppendRequest(path="/f", if_match="1.1"), C.ABORTED, "ETAG_STALE"),
        (files.Truncate, pb.TruncateRequest(path="/"), C.FAILED_PRECONDITION, "IS_A_DIRECTORY"),
        (files.Truncate, pb.TruncateRequest(path="/l"), C.FAILED_PRECONDITION, "NOT_A_FILE"),
        (files.Truncate, pb.TruncateRequest(path="/f", size=-1), C.INVALID_ARGUMENT, "FIELD_INVALID"),
        (files.Truncate, pb.TruncateRequest(path="/f", size=2 << 30), C.INVALID_ARGUMENT, "FIELD_INVALID"),
        (files.Truncate, pb.TruncateRequest(path="/f", size=1 << 60), C.INVALID_ARGUMENT, "FILE_TOO_LARGE"),
        (files.Truncate, pb.TruncateRequest(path="/f", if_none_match="*"), C.ABORTED, "ETAG_STALE"),
        (files.Copy, pb.CopyRequest(source="/no", destination="/g"), C.NOT_FOUND, "FILE_NOT_FOUND"),
        (files.Copy, pb.CopyRequest(source="/f", destination="/"), C.FAILED_PRECONDITION, "ROOT_FIXED"),
        (files.Copy, pb.CopyRequest(source="/f", destination="/f"), C.INVALID_ARGUMENT, "FIELD_INVALID"),
        (files.Copy, pb.CopyRequest(source="/f", destination="/l"), C.ALREADY_EXISTS, "FILE_EXISTS"),
        (
            files.Copy,
            pb.CopyRequest(source="/f", destination="/g", mode=pb.WRITE_MODE_OVERWRITE),
            C.NOT_FOUND,
            "FILE_NOT_FOUND",
        ),
        (files.Copy, pb.CopyRequest(source="/f", destination="/no/g"), C.NOT_FOUND, "FILE_NOT_FOUND"),
        (files.Copy, pb.CopyRequest(source="/named", destination="/g"), C.FAILED_PRECONDITION, "CONTENT_ABSENT"),
        (files.Copy, pb.CopyRequest(source="/f", destination="/g", if_match="1.1"), C.ABORTED, "ETAG_STALE"),
    ]
    for method, request, code, reason in cases:
        with fails(code, reason):
            await method(request)
    assert await read(files, "/f") == b"kept"


async def test_a_file_whose_blobs_are_gone_says_so(files: FileServiceAsyncStub, blobs: MemoryBlobs) -> None:
    await write(files, "/f", noise(10_000))
    await blobs.delete("default", [one.digest for one in await blobs.scan("default")])
    with fails(C.DATA_LOSS, "CONTENT_LOST"):
        await read(files, "/f")
    got = await files.BatchRead(pb.BatchReadRequest(paths=["/f"]))
    assert got.results[0].failure.reason == "CONTENT_LOST"


async def test_reads_follow_one_link_where_they_are_asked_to(files: FileServiceAsyncStub) -> None:
    await files.CreateFile(pb.CreateFileRequest(path="/l", type=pb.ENTRY_TYPE_SYMLINK, attributes=_to("f")))
    await write(files, "/f", b"target")
    entry, data = await look(files, "/l", follow=True)
    assert (entry.path, data) == ("/f", b"target")
    got = await files.BatchRead(pb.BatchReadRequest(paths=["/l", "/f"], follow=True))
    assert [result.data for result in got.results] == [b"target"] * 2


async def test_bytes_count_for_the_quotas_above_them_by_every_verb(files: FileServiceAsyncStub) -> None:
    async def used() -> tuple[int, int]:
        quota = await files.GetQuota(pb.GetQuotaRequest(path="/q"))
        return quota.used_bytes, quota.used_inodes

    await files.Mkdir(pb.MkdirRequest(path="/q"))
    await files.SetQuota(pb.SetQuotaRequest(path="/q", limit_bytes=20_000, limit_inodes=6))
    kept = await write(files, "/q/f", noise(10_000))
    assert await used() == (10_000, 1)
    await write(files, "/q/f", noise(8_000))
    await files.Append(pb.AppendRequest(path="/q/f", data=noise(1_000)))
    assert await used() == (9_000, 1)
    await files.Truncate(pb.TruncateRequest(path="/q/f", size=5_000))
    await files.Copy(pb.CopyRequest(source="/q/f", destination="/q/g"))
    assert await used() == (10_000, 2)
    items = [pb.WriteItem(path=f"/q/{i}", data=noise(6_000)) for i in range(2)]
    answer = await files.BatchWrite(pb.BatchWriteRequest(files=[*items, pb.WriteItem(path="/q/g", data=b"x")]))
    reasons = [result.failure.reason for result in answer.results]
    assert reasons == ["", "QUOTA_EXCEEDED", ""]
    assert await used() == (11_001, 3)
    refused: list[tuple[Any, Any]] = [
        (files.Append, pb.AppendRequest(path="/q/f", data=noise(9_000))),
        (files.Truncate, pb.TruncateRequest(path="/q/f", size=50_000)),
    ]
    for method, request in refused:
        with fails(C.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED"):
            await method(request)
    with fails(C.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED"):
        await write(files, "/q/f", noise(18_000))
    assert await used() == (11_001, 3)
    assert await read(files, "/q/f") == noise(8_000)[:5_000]
    assert (await files.Stat(pb.StatRequest(path="/q/f"))).ino == kept.ino
    await files.Delete(pb.DeleteRequest(path="/q/f"))
    assert await used() == (6_001, 2)


async def test_a_write_with_the_fence_of_a_lost_lock_changes_nothing(files: FileServiceAsyncStub) -> None:
    await write(files, "/f", b"kept")
    lock = await files.Lock(pb.LockRequest(path="/f"))
    await write(files, "/f", b"held", fence=lock.fence)
    await files.Append(pb.AppendRequest(path="/f", data=b"!", fence=lock.fence))
    item = pb.WriteItem(path="/f", data=b"more")
    assert (await files.BatchWrite(pb.BatchWriteRequest(files=[item], fence=lock.fence))).written == 1
    await files.Unlock(pb.UnlockRequest(fence=lock.fence))
    with fails(C.FAILED_PRECONDITION, "LOCK_LOST"):
        await write(files, "/f", b"late", fence=lock.fence)
    requests: list[tuple[Any, Any]] = [
        (files.Append, pb.AppendRequest(path="/f", data=b"!", fence=lock.fence)),
        (files.Truncate, pb.TruncateRequest(path="/f", fence=lock.fence)),
        (files.Copy, pb.CopyRequest(source="/f", destination="/g", fence=lock.fence)),
    ]
    for method, request in requests:
        with fails(C.FAILED_PRECONDITION, "LOCK_LOST"):
            await method(request)
    late = await files.BatchWrite(pb.BatchWriteRequest(files=[item], fence=lock.fence))
    assert late.results[0].failure.reason == "LOCK_LOST"
    assert await read(files, "/f") == b"more"


async def test_the_bytes_of_a_principal_with_a_root_of_its_own_are_below_it(files: FileServiceAsyncStub) -> None:
    await files.Mkdir(pb.MkdirRequest(path="/people/ann", parents=True))
    await files.SetPrincipalRoot(pb.SetPrincipalRootRequest(principal="ann", path="/people/ann"))
    await write(files, "/secret", b"outside")
    ann = (("quartet-principal", "ann"),)
    header = pb.WriteHeader(path="/f", request_id="r")
    assert (await files.WriteStream(messages(header, [b"inside"]), metadata=ann)).path == "/f"
    await files.Append(pb.AppendRequest(path="/f", data=b"!"), metadata=ann)
    await files.Copy(pb.CopyRequest(source="/f", destination="/g"), metadata=ann)
    items = pb.BatchWriteRequest(files=[pb.WriteItem(path="/h", data=noise(5000))])
    assert (await files.BatchWrite(items, metadata=ann)).written == 1
    for path, data in (("f", b"inside!"), ("g", b"inside!"), ("h", noise(5000))):
        assert await read(files, f"/people/ann/{path}") == data
    got = await files.BatchRead(pb.BatchReadRequest(paths=["/f", "/secret"]), metadata=ann)
    assert [result.data or result.failure.reason for result in got.results] == [b"inside!", "FILE_NOT_FOUND"]
    with fails(C.NOT_FOUND, "FILE_NOT_FOUND"):
        async for _ in files.ReadStream(pb.ReadStreamRequest(path="/secret"), metadata=ann):
            pass
    with fails(C.FAILED_PRECONDITION, "DIRECTORY_CYCLE"):
        await files.Copy(pb.CopyRequest(source="/", destination="/all", recursive=True), metadata=ann)
    with fails(C.INVALID_ARGUMENT, "REQUEST_ID_REUSED"):  # another caller's /f is another file
        await files.WriteStream(messages(header, [b"inside"]))
