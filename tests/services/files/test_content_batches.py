"""BatchWrite and BatchRead: many small files in few transactions, each with its own outcome."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from harness.calls import Nobody, within
from harness.contents import MIB, noise, read, write
from harness.failures import fails
from quartet.files.v1 import files_pb2 as pb
from quartet_server.files.service import FileService
from quartet_server.objects.memory import MemoryBlobs

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")


def batch(*items: tuple[str, bytes], request_id: str = "") -> pb.BatchWriteRequest:
    """Return a request that writes these files."""
    files = [pb.WriteItem(path=path, data=data) for path, data in items]
    return pb.BatchWriteRequest(files=files, request_id=request_id)


def reasons(answer: pb.BatchWriteResponse | pb.BatchReadResponse) -> list[str]:
    """Return the reason of each result, empty for one that is fine."""
    return [result.failure.reason for result in answer.results]


async def test_many_files_are_written_and_read_and_each_mistake_is_told_in_its_place(
    files: FileServiceAsyncStub,
) -> None:
    await files.Mkdir(pb.MkdirRequest(path="/d"))
    items = [(f"/d/{i}", noise(i * 50, i)) for i in range(150)]
    answer = await files.BatchWrite(batch(*items, ("/d", b"x"), ("/no/f", b"x"), ("f", b"x")))
    assert reasons(answer) == [""] * 150 + ["IS_A_DIRECTORY", "FILE_NOT_FOUND", "PATH_INVALID"]
    assert answer.written == 150
    got = await files.BatchRead(pb.BatchReadRequest(paths=[path for path, _ in items] + ["/d", "/no"]))
    assert [result.data for result in got.results[:150]] == [data for _, data in items]
    assert [result.entry.etag for result in got.results[:150]] == [result.etag for result in answer.results[:150]]
    assert reasons(got)[150:] == ["IS_A_DIRECTORY", "FILE_NOT_FOUND"]
    again = await files.BatchWrite(batch(*items))
    assert [result.etag for result in again.results] == [f"{result.ino}.2" for result in answer.results[:150]]


async def test_a_path_that_comes_twice_is_written_twice_in_order(files: FileServiceAsyncStub) -> None:
    answer = await files.BatchWrite(batch(("/f", b"1"), ("/g", b"2"), ("/f", b"3"), ("/f", noise(9000))))
    assert [result.etag.rpartition(".")[2] for result in answer.results] == ["1", "1", "2", "3"]
    assert await read(files, "/f") == noise(9000)


async def test_two_thousand_bytes_more_than_a_transaction_holds_are_split_between_transactions(
    files: FileServiceAsyncStub,
) -> None:
    items = [(f"/{i}", noise(4096, i)) for i in range(300)]
    answer = await files.BatchWrite(batch(*items))
    assert answer.written == 300
    for path, data in items[::60]:
        assert await read(files, path) == data


async def test_a_repeated_batch_gets_the_first_answer_and_tries_only_what_failed(files: FileServiceAsyncStub) -> None:
    request = batch(*((f"/{i}", b"x") for i in range(60)), ("/d/f", noise(5000)), request_id="r")
    first = await files.BatchWrite(request)
    assert reasons(first) == [""] * 60 + ["FILE_NOT_FOUND"]
    await files.Mkdir(pb.MkdirRequest(path="/d"))
    await write(files, "/0", b"later")
    second = await files.BatchWrite(request)
    assert second.results[:60] == first.results[:60]
    assert await read(files, "/0") == b"later"
    assert await read(files, "/d/f") == noise(5000)
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED"):
        await files.BatchWrite(batch(("/0", b"y"), request_id="r"))


async def test_a_batch_sent_many_times_at_once_writes_each_file_once(files: FileServiceAsyncStub) -> None:
    request = batch(*((f"/{i}", b"x") for i in range(100)), request_id="r")
    answers = await asyncio.gather(*(files.BatchWrite(request) for _ in range(4)))
    assert all(reasons(answer) == [""] * 100 for answer in answers)
    assert {result.etag.rpartition(".")[2] for answer in answers for result in answer.results} == {"1"}


async def test_batches_over_the_same_files_are_applied_file_by_file(files: FileServiceAsyncStub) -> None:
    answers = await asyncio.gather(
        *(files.BatchWrite(batch(*((f"/{i}", bytes([n])) for i in range(50)))) for n in range(3))
    )
    assert all(reasons(answer) == [""] * 50 for answer in answers)
    for i in range(50):
        assert {answer.results[i].etag.rpartition(".")[2] for answer in answers} == {"1", "2", "3"}


async def test_the_answer_of_a_batch_of_reads_fits_into_a_message(files: FileServiceAsyncStub) -> None:
    for i in range(5):
        await write(files, f"/{i}", noise(MIB, i))
    got = await files.BatchRead(pb.BatchReadRequest(paths=[f"/{i}" for i in range(5)]))
    assert reasons(got) == ["", "", "", "LIMIT_REACHED", "LIMIT_REACHED"]
    assert [result.data for result in got.results[:3]] == [noise(MIB, i) for i in range(3)]
    one = await write(files, "/0", b"new")
    past = await files.BatchRead(pb.BatchReadRequest(paths=["/0"], revision=one.revision - 1))
    assert past.results[0].data == noise(MIB, 0)


@pytest.mark.parametrize("count", [0, 1001])
async def test_a_batch_of_the_wrong_length_is_refused(files: FileServiceAsyncStub, count: int) -> None:
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
        await files.BatchWrite(batch(*[("/f", b"")] * count))
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
        await files.BatchRead(pb.BatchReadRequest(paths=["/f"] * count))


async def test_a_thousand_files_take_few_transactions_and_one_visit_to_the_store_of_blobs(
    service: FileService, store: Metastore, blobs: MemoryBlobs
) -> None:
    class Counting:
        """What is below, its calls counted."""

        def __init__(self, inner: object) -> None:
            self.inner = inner
            self.calls: dict[str, int] = {}

        def __getattr__(self, name: str) -> object:
            self.calls[name] = self.calls.get(name, 0) + 1
            return getattr(self.inner, name)

    metastore, bytes_ = Counting(store), Counting(blobs)
    counted = FileService(metastore, service._tree.now, bytes_)  # type: ignore[arg-type]
    request = batch(*((f"/{i}", noise(10 if i % 2 else 5000, i)) for i in range(300)))
    with within("default"):
        answer = await counted.BatchWrite(request, Nobody())  # type: ignore[arg-type]
    assert answer.written == 300
    assert bytes_.calls == {"put_many": 1}
    assert metastore.calls["txn"] <= 300 * 3 // 126 + 8  # 42 new files each, and those of the look-up
    assert (
        await store.range(rpc_pb2.RangeRequest(key=b"default\0i", range_end=b"default\0j", count_only=True))
    ).count == 301
