"""What a path takes: chunks that are shared count once in a row, and rows say what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from harness.checking import tree_of
from harness.contents import MIB, noise, write
from quartet.files.v1 import files_pb2 as pb
from quartet.maintenance.v1 import maintenance_pb2
from quartet_server.errors import FieldInvalid, FileNotFound
from quartet_server.files import paths
from quartet_server.files.check.usage import Usage
from quartet_server.files.contents import contents
from quartet_server.objects.memory import MemoryBlobs

from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("store", ["embedded"], indirect=True),
]
Row = maintenance_pb2.GetUsageResponse


async def usage(store: Metastore, blobs: MemoryBlobs, path: str = "/", depth: int = 0) -> dict[str, Row]:
    measured = Usage(tree_of(store), blobs, "default", depth).run(paths.parse(path))
    rows = [row async for row in measured if row.path]
    assert len({row.path for row in rows}) == len(rows)
    assert rows[-1].path == path
    return {row.path: row for row in rows}


async def test_rows_count_what_they_hold_and_shared_chunks_once(
    files: FileServiceAsyncStub, store: Metastore, blobs: MemoryBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quartet_server.files.check.usage._PAGE", 2)
    large = noise(MIB)
    await files.Mkdir(pb.MkdirRequest(path="/a/x", parents=True))
    await files.Mkdir(pb.MkdirRequest(path="/b"))
    for path in ("/a/1", "/a/2", "/a/x/3", "/b/4"):
        await write(files, path, large)
    await write(files, "/a/small", b"1234")
    await files.CreateFile(pb.CreateFileRequest(path="/a/absent", attributes=pb.Attributes(size=7)))
    link = pb.Attributes(symlink_target="small")
    await files.CreateFile(pb.CreateFileRequest(path="/a/link", type=pb.ENTRY_TYPE_SYMLINK, attributes=link))
    rows = await usage(store, blobs, depth=2)
    assert set(rows) == {
        "/", "/a", "/b", "/a/x", "/a/1", "/a/2", "/a/small", "/a/absent", "/a/link", "/b/4",
    }  # fmt: skip
    whole, a, b = rows["/"], rows["/a"], rows["/b"]
    assert (whole.files, whole.directories, whole.links) == (6, 4, 1)
    assert (a.files, a.directories, a.links) == (5, 2, 1)
    assert (whole.logical_bytes, a.logical_bytes, b.logical_bytes) == (4 * MIB + 4, 3 * MIB + 4, MIB)
    assert whole.absent_bytes == a.absent_bytes == 7
    assert whole.unique_bytes == a.unique_bytes == MIB + 4
    assert b.unique_bytes == rows["/a/x"].unique_bytes == rows["/b/4"].physical_bytes == MIB
    assert whole.physical_bytes == a.physical_bytes == MIB + 4
    assert (await usage(store, blobs))["/"] == whole
    assert (await usage(store, blobs, "/a"))["/a"] == a
    assert (await usage(store, blobs, "/b/4"))["/b/4"] == rows["/b/4"]


async def test_lists_of_chunks_count_and_lost_chunks_are_told(
    files: FileServiceAsyncStub, store: Metastore, blobs: MemoryBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "LISTED", 2)
    await write(files, "/f", noise(6 * MIB))
    [row] = (await usage(store, blobs)).values()
    kept = await blobs.usage("default")
    assert (row.logical_bytes, row.unique_bytes, row.physical_bytes) == (6 * MIB, 6 * MIB, kept.physical)
    largest = max((info.digest for info in await blobs.scan("default")), key=lambda digest: digest.size)
    await blobs.delete("default", [largest])
    [row] = (await usage(store, blobs)).values()
    assert (row.lost_chunks, row.physical_bytes) == (1, kept.physical - largest.size)


async def test_what_cannot_be_measured_is_refused(
    files: FileServiceAsyncStub, store: Metastore, blobs: MemoryBlobs
) -> None:
    assert (await usage(store, blobs))["/"].directories == 1
    with pytest.raises(FileNotFound):
        await usage(store, blobs, "/none")
    for depth in (-1, 65):
        with pytest.raises(FieldInvalid):
            await usage(store, blobs, depth=depth)
