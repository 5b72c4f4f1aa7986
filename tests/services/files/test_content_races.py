"""Writers and readers of one file at the same time, and requests that come again."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from harness.contents import MIB, look, noise, read, write
from harness.failures import fails, reason_of
from harness.served import served
from quartet.files.v1 import files_pb2 as pb
from quartet.files.v1 import files_pb2_grpc
from quartet_server.files.service import FileService
from quartet_server.meta import system
from quartet_server.objects.memory import MemoryBlobs

from raftmeta.errors import Fault, MetastoreError
from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_of_two_writers_with_one_etag_one_wins_and_the_other_is_told(files: FileServiceAsyncStub) -> None:
    first = await write(files, "/f", b"old")
    contents = [noise(3 * MIB, 1), b"small"]
    outcomes = await asyncio.gather(
        *(write(files, "/f", data, if_match=first.etag) for data in contents), return_exceptions=True
    )
    lost = [one for one in outcomes if isinstance(one, grpc.aio.AioRpcError)]
    assert [reason_of(one) for one in lost] == ["ETAG_STALE"]
    assert await read(files, "/f") == contents[[isinstance(one, pb.Entry) for one in outcomes].index(True)]


async def test_of_many_writers_that_create_one_file_one_does(files: FileServiceAsyncStub) -> None:
    outcomes = await asyncio.gather(
        *(write(files, "/f", bytes([i]), mode=pb.WRITE_MODE_CREATE) for i in range(6)), return_exceptions=True
    )
    reasons = Counter(reason_of(one) for one in outcomes if isinstance(one, grpc.aio.AioRpcError))
    assert reasons == {"FILE_EXISTS": 5}


async def test_appends_of_eight_writers_on_two_nodes_are_all_there_and_whole(
    service: FileService, store: Metastore, blobs: MemoryBlobs
) -> None:
    other = FileService(store, service._tree.now, blobs)
    lines = [f"writer {n} line {i} {'x' * (n * 300)}\n".encode() for n in range(8) for i in range(6)]

    async def appends(files: FileServiceAsyncStub, mine: list[bytes]) -> list[tuple[int, bytes]]:
        placed = []
        for i, line in enumerate(mine):
            request = pb.AppendRequest(path="/log", data=line, create=True, request_id=f"{line[:9]!r}{i}")
            for _ in range(50):  # a writer on another node may win ten times; the client tries again too
                try:
                    placed.append(((await files.Append(request)).offset, line))
                    break
                except grpc.aio.AioRpcError as error:
                    if reason_of(error) != "CONTENTION":
                        raise
        return placed

    async with (
        served([service]) as first,
        served([other]) as second,
        grpc.aio.insecure_channel(first) as one,
        grpc.aio.insecure_channel(second) as two,
    ):
        stubs: list[Any] = [files_pb2_grpc.FileServiceStub(channel) for channel in (one, two)]
        placed = await asyncio.gather(*(appends(stubs[n % 2], lines[n * 6 : n * 6 + 6]) for n in range(8)))
        entry, data = await look(stubs[0], "/log")
    assert sorted(data.splitlines(keepends=True)) == sorted(lines)
    assert all(data[at : at + len(line)] == line for mine in placed for at, line in mine)
    assert entry.attributes.digest == hashlib.sha256(data).digest()


async def test_appends_that_wait_at_the_same_time_are_one_transaction(
    files: FileServiceAsyncStub, store: Metastore
) -> None:
    await write(files, "/log", b"first\n")
    lines = [b"line %02d\n" % i for i in range(60)]
    before = await read_revision(files)
    requests = [pb.AppendRequest(path="/log", data=line, request_id=f"r{i}") for i, line in enumerate(lines)]
    answers = await asyncio.gather(*map(files.Append, requests))
    entry, data = await look(files, "/log")
    assert [data[answer.offset :][: len(line)] for answer, line in zip(answers, lines, strict=True)] == lines
    assert len(data) == 6 + sum(map(len, lines))
    assert entry.revision - before < 30
    assert await asyncio.gather(*map(files.Append, requests)) == answers
    assert (await look(files, "/log"))[1] == data


async def read_revision(files: FileServiceAsyncStub) -> int:
    """The newest revision."""
    return (await files.Stat(pb.StatRequest(path="/"))).revision


async def test_an_append_that_waits_with_others_fails_alone(files: FileServiceAsyncStub) -> None:
    await files.Mkdir(pb.MkdirRequest(path="/q"))
    await files.SetQuota(pb.SetQuotaRequest(path="/q", limit_bytes=100))
    same = [pb.AppendRequest(path="/q/log", data=b"s" * 10, create=True, request_id="same") for _ in range(3)]
    sizes = [10, 20, 1000, 10, 30, 70, 10]
    others = [pb.AppendRequest(path="/q/log", data=b"x" * size, create=True) for size in sizes]
    missing = [pb.AppendRequest(path="/q/none", data=b"x") for _ in range(3)]
    outcomes = await asyncio.gather(*map(files.Append, [*same, *others, *missing]), return_exceptions=True)
    reasons = Counter(reason_of(one) for one in outcomes if isinstance(one, grpc.aio.AioRpcError))
    assert reasons["FILE_NOT_FOUND"] == 3
    first, *again = outcomes[:3]
    assert isinstance(first, pb.AppendResponse)
    assert again == [first, first]
    done = sum(size for size, one in zip(sizes, outcomes[3:10], strict=True) if isinstance(one, pb.AppendResponse))
    entry, data = await look(files, "/q/log")
    assert len(data) == entry.attributes.size == 10 + done <= 100
    assert reasons["QUOTA_EXCEEDED"] == sum(isinstance(one, grpc.aio.AioRpcError) for one in outcomes[3:10]) >= 2
    assert (await files.GetQuota(pb.GetQuotaRequest(path="/q"))).used_bytes == len(data)


async def test_a_caller_who_gives_up_waiting_takes_nobody_along(files: FileServiceAsyncStub) -> None:
    lines = [b"%03d" % i for i in range(40)]
    calls = [files.Append(pb.AppendRequest(path="/log", data=line, create=True), timeout=30) for line in lines]
    for i, call in enumerate(calls):
        if i % 3 == 0:
            call.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    _, data = await look(files, "/log")
    there = [data[i : i + 3] for i in range(0, len(data), 3)]
    assert len(set(there)) == len(there)
    for line, outcome in zip(lines, outcomes, strict=True):
        assert (line in there) or not isinstance(outcome, pb.AppendResponse)
        if isinstance(outcome, pb.AppendResponse):
            assert data[outcome.offset :][:3] == line


async def test_a_read_while_the_file_is_overwritten_shows_the_old_or_the_new_bytes(
    files: FileServiceAsyncStub,
) -> None:
    versions = [noise(3 * MIB, 1), noise(100, 2), noise(5 * MIB, 3), b""]
    await write(files, "/f", versions[0])
    done = asyncio.Event()

    async def readers() -> int:
        seen = 0
        while not done.is_set():
            entry, data = await look(files, "/f")
            assert hashlib.sha256(data).digest() == entry.attributes.digest
            seen += 1
        return seen

    reading = [asyncio.create_task(readers()) for _ in range(2)]
    for data in itertools.islice(itertools.cycle(versions), 8):
        await write(files, "/f", data)
        await asyncio.sleep(0)
    done.set()
    assert min(await asyncio.gather(*reading)) > 0


async def test_a_write_that_comes_again_gets_the_first_answer_and_changes_nothing(files: FileServiceAsyncStub) -> None:
    data = noise(3 * MIB)
    first = await write(files, "/f", data, request_id="w", mode=pb.WRITE_MODE_CREATE)
    assert await write(files, "/f", data, request_id="w", mode=pb.WRITE_MODE_CREATE, piece=700_000) == first
    await write(files, "/f", b"later")
    assert await write(files, "/f", data, request_id="w", mode=pb.WRITE_MODE_CREATE) == first
    assert await read(files, "/f") == b"later"
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED"):
        await write(files, "/f", b"other bytes", request_id="w", mode=pb.WRITE_MODE_CREATE)


async def test_edits_that_come_again_get_the_first_answer_and_change_nothing(files: FileServiceAsyncStub) -> None:
    await write(files, "/f", b"12345")
    requests: list[tuple[Any, Any]] = [
        (files.Append, pb.AppendRequest(path="/f", data=b"678", request_id="a")),
        (files.Truncate, pb.TruncateRequest(path="/f", size=6, request_id="t")),
        (files.Copy, pb.CopyRequest(source="/f", destination="/g", mode=pb.WRITE_MODE_CREATE, request_id="c")),
    ]
    answers = [await method(request) for method, request in requests]
    assert await read(files, "/f") == b"123456"
    assert [await method(request) for method, request in requests] == answers
    assert await asyncio.gather(*(requests[0][0](requests[0][1]) for _ in range(4))) == [answers[0]] * 4
    assert await read(files, "/f") == await read(files, "/g") == b"123456"


async def test_a_write_whose_answer_was_lost_is_found_done_by_its_repetition(
    service: FileService, store: Metastore, blobs: MemoryBlobs
) -> None:
    class Lossy:
        """The store, whose answer to the first write of an inode is lost on its way."""

        lost = False

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        async def txn(self, request: rpc_pb2.TxnRequest) -> rpc_pb2.TxnResponse:
            answer = await store.txn(request)
            if len(request.success) == 4 and not self.lost:
                self.lost = True
                raise MetastoreError(Fault.TIMEOUT)
            return answer

    lossy = Lossy()
    other = FileService(lossy, service._tree.now, blobs)  # type: ignore[arg-type]
    async with served([other]) as address, grpc.aio.insecure_channel(address) as channel:
        files: Any = files_pb2_grpc.FileServiceStub(channel)
        with fails(grpc.StatusCode.UNAVAILABLE, "OUTCOME_UNKNOWN"):
            await write(files, "/f", noise(10_000), request_id="r", mode=pb.WRITE_MODE_CREATE)
        again = await write(files, "/f", noise(10_000), request_id="r", mode=pb.WRITE_MODE_CREATE)
        assert lossy.lost
        assert again.etag == f"{again.ino}.1"
        assert await read(files, "/f") == noise(10_000)


async def test_what_breaks_off_before_the_commit_leaves_the_file_as_it_was(
    files: FileServiceAsyncStub, blobs: MemoryBlobs
) -> None:
    kept = await write(files, "/f", b"kept")

    async def endless() -> Any:
        yield pb.WriteStreamRequest(header=pb.WriteHeader(path="/f"))
        for i in range(12):
            yield pb.WriteStreamRequest(data=noise(MIB, i))
        await asyncio.Event().wait()

    call = files.WriteStream(endless())
    async with asyncio.timeout(30):
        while not (await blobs.usage()).blobs:
            await asyncio.sleep(0.005)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    entry, data = await look(files, "/f")
    assert (entry.etag, data) == (kept.etag, b"kept")


async def test_a_node_that_takes_as_many_writes_as_it_can_refuses_the_next(
    files: FileServiceAsyncStub, service: FileService
) -> None:
    service._writing = asyncio.Semaphore(0)
    with fails(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS"):
        await write(files, "/f", b"x")
    service._writing = asyncio.Semaphore(1)
    await write(files, "/f", b"x")
    await write(files, "/f", b"y")


async def test_each_zone_has_its_own_files_and_blobs(
    files: FileServiceAsyncStub, store: Metastore, blobs: MemoryBlobs
) -> None:
    red = (("quartet-zone", "red"),)
    request = pb.AppendRequest(path="/f", data=noise(5000), create=True)
    with fails(grpc.StatusCode.NOT_FOUND, "ZONE_NOT_FOUND"):
        await files.Append(request, metadata=red)
    await store.put(rpc_pb2.PutRequest(key=system.zone("red")))
    await files.Append(request, metadata=red)
    assert list(await blobs.zones()) == ["red"]
    with fails(grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND"):
        await read(files, "/f")
    await write(files, "/f", noise(5000))
    await blobs.delete("red", [one.digest for one in await blobs.scan("red")])
    assert await read(files, "/f") == noise(5000)
