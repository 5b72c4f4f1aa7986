"""BatchCreate: many entries, each with its own result, nothing twice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from harness.failures import fails
from quartet.files.v1 import files_pb2 as pb
from quartet_server.files.service import FileService

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")
DIRECTORY = pb.ENTRY_TYPE_DIRECTORY


def batch(*paths: str, request_id: str = "") -> pb.BatchCreateRequest:
    """Ask for entries; a path that ends in / is a directory."""
    entries = [
        pb.CreateEntry(path=path, type=DIRECTORY if path.endswith("/") else pb.ENTRY_TYPE_FILE) for path in paths
    ]
    return pb.BatchCreateRequest(entries=entries, request_id=request_id)


def reasons(answer: pb.BatchCreateResponse) -> list[str]:
    """Why each entry was not created."""
    return [result.failure.reason for result in answer.results]


async def names(files: FileServiceAsyncStub, path: str) -> list[str]:
    """What a directory holds."""
    return [entry.name for entry in (await files.List(pb.ListRequest(path=path, page_size=1000))).entries]


async def test_a_thousand_entries_are_created_in_few_transactions(
    files: FileServiceAsyncStub, store: Metastore
) -> None:
    await files.Mkdir(pb.MkdirRequest(path="/d"))
    before = (await store.range(rpc_pb2.RangeRequest(key=b"x"))).header.revision
    answer = await files.BatchCreate(batch(*(f"/d/f{i:04}" for i in range(1000))))
    after = (await store.range(rpc_pb2.RangeRequest(key=b"x"))).header.revision
    assert answer.created == 1000
    assert len({result.ino for result in answer.results}) == 1000
    assert after - before <= 25
    assert await names(files, "/d") == [f"f{i:04}" for i in range(1000)]


async def test_entries_may_lie_in_directories_of_the_same_batch(files: FileServiceAsyncStub) -> None:
    paths = [f"/a/{i}/" for i in range(60)]
    answer = await files.BatchCreate(batch("/a/", *paths, *(f"{path}f" for path in paths), "/a/0/x/", "/a/0/x/y"))
    assert reasons(answer) == [""] * len(answer.results)
    assert (await files.Stat(pb.StatRequest(path="/a/0/x/y"))).etag == answer.results[-1].etag
    assert await names(files, "/a/59") == ["f"]


async def test_each_entry_fails_on_its_own(files: FileServiceAsyncStub) -> None:
    await files.BatchCreate(batch("/d/", "/f"))
    answer = await files.BatchCreate(
        batch(
            "/d", "/d/a", "bad", "/no/a", "/f/a", "/d/a", "/d/b", "/", "/late/a", "/late/", "/late/b", "/d/\u0301/../x"
        )
    )
    assert reasons(answer) == [
        "FILE_EXISTS", "", "PATH_INVALID", "FILE_NOT_FOUND", "NOT_A_DIRECTORY", "FILE_EXISTS", "", "FILE_EXISTS",
        "FILE_NOT_FOUND", "", "", "PATH_INVALID",
    ]  # fmt: skip
    assert answer.created == 4
    assert await names(files, "/d") == ["a", "b"]


async def test_an_import_repeated_without_an_id_finds_everything_there(files: FileServiceAsyncStub) -> None:
    paths = ["/d/", *(f"/d/{i}" for i in range(600))]
    assert (await files.BatchCreate(batch(*paths))).created == 601
    again = await files.BatchCreate(batch(*paths, "/d/new"))
    assert reasons(again) == ["FILE_EXISTS"] * 601 + [""]


async def test_a_repeated_batch_gets_the_first_results_and_fills_the_gaps(files: FileServiceAsyncStub) -> None:
    request = batch("/d/a", "/x", "/d/b", request_id="r1")
    first = await files.BatchCreate(request)
    assert reasons(first) == ["FILE_NOT_FOUND", "", "FILE_NOT_FOUND"]
    await files.Mkdir(pb.MkdirRequest(path="/d"))
    second = await files.BatchCreate(request)
    assert reasons(second) == ["", "", ""]
    assert second.results[1] == first.results[1]
    third = await files.BatchCreate(request)
    assert third == second
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED"):
        await files.BatchCreate(batch("/other", request_id="r1"))


async def test_the_same_batch_running_twice_at_once_creates_everything_once(files: FileServiceAsyncStub) -> None:
    request = batch("/d/", *(f"/d/{i}" for i in range(300)), request_id="r")
    answers = await asyncio.gather(*(files.BatchCreate(request) for _ in range(4)))
    for answer in answers:
        assert reasons(answer) == [""] * 301
        assert answer.results == answers[0].results
    assert len(await names(files, "/d")) == 300


async def test_competing_batches_share_the_names_between_them(files: FileServiceAsyncStub) -> None:
    await files.Mkdir(pb.MkdirRequest(path="/d"))
    request = batch(*(f"/d/{i}" for i in range(200)))
    answers = await asyncio.gather(*(files.BatchCreate(request) for _ in range(4)))
    assert sum(answer.created for answer in answers) == 200
    for i in range(200):
        assert sorted(answer.results[i].failure.reason for answer in answers) == ["", *["FILE_EXISTS"] * 3]


async def test_a_parent_that_moved_away_after_it_was_read_is_noticed(service: FileService, store: Metastore) -> None:
    from harness.calls import Nobody, within

    with within("default"):
        context = Nobody()
        await service.Mkdir(pb.MkdirRequest(path="/a"), context)  # type: ignore[arg-type]
        moved = False

        class Sly:
            """The store, in which somebody renames the directory just before the first create is sent."""

            def __getattr__(self, name: str) -> object:
                return getattr(store, name)

            async def txn(self, request: rpc_pb2.TxnRequest) -> rpc_pb2.TxnResponse:
                nonlocal moved
                if request.success and request.success[0].WhichOneof("request") == "request_put" and not moved:
                    moved = True
                    await service.Rename(pb.RenameRequest(source="/a", destination="/b"), context)  # type: ignore[arg-type]
                return await store.txn(request)

        other = FileService(Sly(), service._tree.now, service._contents.blobs)  # type: ignore[arg-type]
        await other._tree.inos.take("default", 1)  # the transaction to intercept is not the allocator's
        moved = False
        await service.Stat(pb.StatRequest(path="/"), context)  # type: ignore[arg-type]
        answer = await other.BatchCreate(batch("/a/f"), context)  # type: ignore[arg-type]
        assert reasons(answer) == ["FILE_NOT_FOUND"]


async def test_what_an_earlier_run_finishes_late_is_not_taken_for_somebody_elses(
    service: FileService, store: Metastore
) -> None:
    from harness.calls import Nobody, within

    request = batch("/a/", "/a/b/", "/a/b/f", *(f"/a/{i}" for i in range(100)), request_id="r")
    first: list[pb.BatchCreateResponse] = []

    class Late:
        """The store, in which the earlier run goes through between the later run's first look and its second."""

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        async def range(self, asked: rpc_pb2.RangeRequest) -> rpc_pb2.RangeResponse:
            answer = await store.range(asked)
            if asked.key.startswith(b"default\0Kr") and not first:
                first.append(await service.BatchCreate(request, Nobody()))  # type: ignore[arg-type]
            return answer

    with within("default"):
        second = await FileService(Late(), service._tree.now, service._contents.blobs).BatchCreate(request, Nobody())  # type: ignore[arg-type]
    assert reasons(second) == [""] * 103
    assert second.results == first[0].results
