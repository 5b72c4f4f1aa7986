"""Rename: what moves, what it replaces, and what must not happen."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from harness.bulk import fill
from harness.failures import fails, reason_of
from harness.served import served
from quartet.files.v1 import files_pb2 as pb
from quartet.files.v1 import files_pb2_grpc
from quartet_server.files.service import FileService
from quartet_server.objects.memory import MemoryBlobs

from raftmeta.drivers.embedded import EmbeddedMetastore
from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")
DESCENDANTS = int(os.environ.get("QUARTET_TEST_DESCENDANTS", "100000"))
REPLACE, NO_REPLACE, EXCHANGE = pb.RENAME_MODE_REPLACE, pb.RENAME_MODE_NO_REPLACE, pb.RENAME_MODE_EXCHANGE


class Counting:
    """A store that counts the operations it is asked for: reads, comparisons, and each part of a transaction."""

    def __init__(self, store: Metastore) -> None:
        self._store = store
        self.operations = 0

    async def range(self, request: rpc_pb2.RangeRequest) -> rpc_pb2.RangeResponse:
        """Count one, and read."""
        self.operations += 1
        return await self._store.range(request)

    async def txn(self, request: rpc_pb2.TxnRequest) -> rpc_pb2.TxnResponse:
        """Count what is in it, and run it."""
        self.operations += len(request.compare) + len(request.success)
        return await self._store.txn(request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def make(files: FileServiceAsyncStub, *paths: str) -> dict[str, int]:
    """Create entries; a path that ends in / is a directory. Returns the inos."""
    entries = [
        pb.CreateEntry(path=path, type=pb.ENTRY_TYPE_DIRECTORY if path.endswith("/") else pb.ENTRY_TYPE_FILE)
        for path in paths
    ]
    answer = await files.BatchCreate(pb.BatchCreateRequest(entries=entries))
    assert answer.created == len(paths), answer
    return {path.rstrip("/"): result.ino for path, result in zip(paths, answer.results, strict=True)}


async def tree(files: FileServiceAsyncStub, path: str = "/") -> dict[str, int]:
    """Everything below a path, with its ino."""
    found: dict[str, int] = {}
    for entry in (await files.List(pb.ListRequest(path=path, page_size=1000))).entries:
        found[entry.path] = entry.ino
        if entry.type == pb.ENTRY_TYPE_DIRECTORY:
            found |= await tree(files, entry.path)
    return found


async def test_a_directory_moves_with_everything_below_it_in_a_constant_number_of_keys(
    files: FileServiceAsyncStub, store: Metastore
) -> None:
    inos = await make(files, "/a/", "/a/b/", *(f"/a/b/{i}" for i in range(500)), "/c/")
    moved = await files.Rename(pb.RenameRequest(source="/a", destination="/c/d"))
    written = await store.range(
        rpc_pb2.RangeRequest(key=b"default", range_end=b"defaulu", min_mod_revision=moved.revision, keys_only=True)
    )
    assert len(written.kvs) == 2
    assert moved.ino == inos["/a"]
    found = await tree(files)
    assert found["/c/d/b/499"] == inos["/a/b/499"]
    assert len(found) == 504 - 1


@pytest.mark.parametrize(
    ("source", "destination", "mode", "reason"),
    [
        ("/f", "/g", NO_REPLACE, "FILE_EXISTS"),
        ("/f", "/d", REPLACE, "IS_A_DIRECTORY"),
        ("/d", "/f", REPLACE, "NOT_A_DIRECTORY"),
        ("/e", "/d", REPLACE, "DIRECTORY_NOT_EMPTY"),
        ("/d", "/d/x/y", REPLACE, "DIRECTORY_CYCLE"),
        ("/d", "/d/new", REPLACE, "DIRECTORY_CYCLE"),
        ("/d/x", "/d", REPLACE, "DIRECTORY_NOT_EMPTY"),
        ("/d/x", "/d", EXCHANGE, "DIRECTORY_CYCLE"),
        ("/d", "/d/x", EXCHANGE, "DIRECTORY_CYCLE"),
        ("/f", "/no", EXCHANGE, "FILE_NOT_FOUND"),
        ("/no", "/f", REPLACE, "FILE_NOT_FOUND"),
        ("/f", "/no/f", REPLACE, "FILE_NOT_FOUND"),
        ("/f", "/g/f", REPLACE, "NOT_A_DIRECTORY"),
        ("/", "/f", REPLACE, "ROOT_FIXED"),
        ("/f", "/", REPLACE, "ROOT_FIXED"),
    ],
)
async def test_a_move_that_cannot_be_made_changes_nothing(
    files: FileServiceAsyncStub, source: str, destination: str, mode: pb.RenameMode.ValueType, reason: str
) -> None:
    await make(files, "/d/", "/d/x/", "/e/", "/f", "/g")
    before = await tree(files)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await files.Rename(pb.RenameRequest(source=source, destination=destination, mode=mode))
    assert reason_of(caught.value) == reason
    assert await tree(files) == before


async def test_a_name_that_only_begins_like_the_source_is_not_below_it(files: FileServiceAsyncStub) -> None:
    inos = await make(files, "/a/", "/ab/")
    await files.Rename(pb.RenameRequest(source="/a", destination="/ab/a"))
    assert await tree(files) == {"/ab": inos["/ab"], "/ab/a": inos["/a"]}


async def test_a_replaced_entry_leaves_nothing_behind(files: FileServiceAsyncStub, store: Metastore) -> None:
    inos = await make(files, "/a", "/b", "/d/", "/e/")
    await files.SetXattr(pb.SetXattrRequest(path="/b", xattr=pb.Xattr(name="n", value=b"v")))
    moved = await files.Rename(pb.RenameRequest(source="/a", destination="/b"))
    assert (moved.ino, moved.other_ino) == (inos["/a"], inos["/b"])
    await files.Rename(pb.RenameRequest(source="/d", destination="/e"))
    assert await tree(files) == {"/b": inos["/a"], "/e": inos["/d"]}
    rest = await store.range(rpc_pb2.RangeRequest(key=b"default\0d", range_end=b"default\0y", keys_only=True))
    assert len(rest.kvs) == 3 * 2 + 1


async def test_exchange_swaps_a_file_and_a_directory(files: FileServiceAsyncStub) -> None:
    inos = await make(files, "/d/", "/d/x", "/s/", "/s/f")
    await files.Rename(pb.RenameRequest(source="/s/f", destination="/d", mode=EXCHANGE))
    assert await tree(files) == {
        "/d": inos["/s/f"], "/s": inos["/s"], "/s/f": inos["/d"], "/s/f/x": inos["/d/x"],
    }  # fmt: skip


async def test_moving_something_onto_itself_does_nothing(files: FileServiceAsyncStub) -> None:
    inos = await make(files, "/f", "/d/")
    for path in ("/f", "/d"):
        assert (await files.Rename(pb.RenameRequest(source=path, destination=path))).ino == inos[path]
    assert await tree(files) == {"/d": inos["/d"], "/f": inos["/f"]}


async def test_conditions_hold_for_both_ends(files: FileServiceAsyncStub) -> None:
    inos = await make(files, "/a", "/b")
    for wrong in (
        pb.RenameRequest(source="/a", destination="/b", if_match="1.7"),
        pb.RenameRequest(source="/a", destination="/b", if_none_match=f"{inos['/a']}.1"),
        pb.RenameRequest(source="/a", destination="/b", destination_if_match="1.7"),
        pb.RenameRequest(source="/a", destination="/new", destination_if_match="*"),
    ):
        with fails(grpc.StatusCode.ABORTED, "ETAG_STALE"):
            await files.Rename(wrong)
    await files.Rename(
        pb.RenameRequest(
            source="/a",
            destination="/b",
            if_match=f"{inos['/a']}.1",
            destination_if_match=f"{inos['/b']}.1",
        )
    )


async def test_two_renames_can_never_make_a_cycle_together(files: FileServiceAsyncStub) -> None:
    for round_ in range(15):
        base = f"/r{round_}"
        await make(files, f"{base}/", f"{base}/a/", f"{base}/b/")
        results = await asyncio.gather(
            files.Rename(pb.RenameRequest(source=f"{base}/a", destination=f"{base}/b/a")),
            files.Rename(pb.RenameRequest(source=f"{base}/b", destination=f"{base}/a/b")),
            return_exceptions=True,
        )
        assert sum(isinstance(result, pb.RenameResponse) for result in results) == 1
        assert len(await tree(files, base)) == 2


async def test_paths_that_need_too_many_comparisons_are_refused_and_not_split(files: FileServiceAsyncStub) -> None:
    left, right = "/l" * 63, "/r" * 63
    for path in (left, right):
        await files.Mkdir(pb.MkdirRequest(path=path[: 2 * 40], parents=True))
        await files.Mkdir(pb.MkdirRequest(path=path, parents=True))
    await make(files, f"{left}/f", f"{right}/f")
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_TOO_LARGE"):
        await files.Rename(pb.RenameRequest(source=f"{left}/f", destination=f"{right}/f", request_id="r"))
    await files.Rename(pb.RenameRequest(source=f"{left}/f", destination=f"{right[: 2 * 59]}/f", request_id="s"))


async def test_a_mode_of_the_future_is_refused_and_replaces_nothing(files: FileServiceAsyncStub) -> None:
    for path in ("/a", "/b"):
        await files.CreateFile(pb.CreateFileRequest(path=path))
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
        await files.Rename(pb.RenameRequest(source="/a", destination="/b", mode=77))  # type: ignore[arg-type]
    assert (await files.Stat(pb.StatRequest(path="/a"))).name == "a"


async def test_a_directory_of_a_hundred_thousand_moves_with_as_many_operations_as_an_empty_one(
    store: Metastore,
) -> None:
    counting = Counting(store)
    async with (
        served([FileService(counting, lambda: Timestamp(seconds=1), MemoryBlobs(time.time))]) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        files = files_pb2_grpc.FileServiceStub(channel)
        inos = await make(files, "/empty/", "/full/", "/to/")
        descendants = DESCENDANTS if isinstance(store, EmbeddedMetastore) else DESCENDANTS // 20
        await fill(store, inos["/full"], descendants)
        last = await files.Stat(pb.StatRequest(path=f"/full/0099/{descendants - 1:06}"))
        counts = []
        for path in ("/empty", "/full"):
            counting.operations = 0
            await files.Rename(pb.RenameRequest(source=path, destination=f"/to{path}"))
            counts.append(counting.operations)
        moved = await files.Stat(pb.StatRequest(path=f"/to/full/0099/{descendants - 1:06}"))
        assert moved.ino == last.ino
    assert counts[0] == counts[1] < 20


async def test_whoever_lists_while_a_directory_moves_sees_it_exactly_once(files: FileServiceAsyncStub) -> None:
    await make(files, "/p/", "/p/a/", "/p/keep/", *(f"/p/a/{i}" for i in range(50)))
    moving = True

    async def move() -> None:
        nonlocal moving
        for _ in range(15):
            await files.Rename(pb.RenameRequest(source="/p/a", destination="/p/b"))
            await files.Rename(pb.RenameRequest(source="/p/b", destination="/p/a"))
        moving = False

    async def look(*, recursive: bool) -> int:
        seen = 0
        while moving:
            answer = await files.List(pb.ListRequest(path="/p", page_size=1000, recursive=recursive))
            paths = [entry.path for entry in answer.entries]
            assert ("/p/a" in paths) != ("/p/b" in paths)
            assert len(paths) == (52 if recursive else 2)
            seen += 1
        return seen

    async def turn_pages() -> int:
        seen = 0
        while moving:
            paths, token = [], ""
            while True:
                answer = await files.List(pb.ListRequest(path="/p", page_size=1, page_token=token))
                paths += [entry.path for entry in answer.entries]
                token = answer.next_page_token
                if not token:
                    break
            assert sorted(paths) in (["/p/a", "/p/keep"], ["/p/b", "/p/keep"])
            seen += 1
        return seen

    async def ask_for_both() -> int:
        seen = 0
        while moving:
            answer = await files.BatchStat(pb.BatchStatRequest(paths=["/p/a", "/p/b", "/p/a/7", "/p/b/7"]))
            there = [result.HasField("entry") for result in answer.results]
            assert there in ([True, False, True, False], [False, True, False, True])
            seen += 1
        return seen

    _, *seen = await asyncio.gather(
        move(), look(recursive=False), look(recursive=True), turn_pages(), turn_pages(), ask_for_both()
    )
    assert all(seen)
