"""No blob of a file is deleted or collected: not of one in the trash, nor of one whose list of chunks is a blob."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from harness.contents import MIB, noise, write
from quartet.files.v1 import files_pb2 as pb
from quartet_server.errors import ContentLost
from quartet_server.files.contents import contents
from quartet_server.files.contents.holding import HeldByFiles
from quartet_server.objects.digest import Digest
from quartet_server.objects.memory import MemoryBlobs
from quartet_server.objects.pins import Holder, Pins

from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def reached(holder: Holder, zone: str = "default") -> set[Digest]:
    return {digest async for digest in holder.reached(zone)}


async def all_blobs(blobs: MemoryBlobs) -> set[Digest]:
    return {info.digest for info in await blobs.scan("default")}


@pytest.mark.parametrize("listed", [2, 64])
async def test_files_hold_their_chunks_and_lists_of_them_until_they_are_gone(
    files: FileServiceAsyncStub, store: Metastore, blobs: MemoryBlobs, monkeypatch: pytest.MonkeyPatch, listed: int
) -> None:
    monkeypatch.setattr(contents, "LISTED", listed)
    held = HeldByFiles(store, blobs)
    await files.Mkdir(pb.MkdirRequest(path="/d"))
    await write(files, "/d/f", noise(6 * MIB))
    stranger = await blobs.put("default", b"nobody's")
    its = await all_blobs(blobs) - {stranger}
    assert len(its) > listed or listed == 64
    assert await held.held("default", [*its, stranger]) == its
    assert await held.held("other", its) == set()
    await files.Delete(pb.DeleteRequest(path="/d", recursive=True))
    assert await held.held("default", its) == its  # in the trash
    assert await reached(held) == its
    await files.EmptyTrash(pb.EmptyTrashRequest())
    assert await reached(held) == its  # not reclaimed yet
    assert await reached(held, "other") == set()
    await files.Mkdir(pb.MkdirRequest(path="/d"))
    await write(files, "/d/g", noise(5000))
    assert await held.held("default", await all_blobs(blobs)) == await all_blobs(blobs) - {stranger}
    await files.Delete(pb.DeleteRequest(path="/d/g"))
    assert await held.held("default", await all_blobs(blobs)) == its


async def test_files_on_all_pages_are_looked_at(
    files: FileServiceAsyncStub, store: Metastore, blobs: MemoryBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quartet_server.files.contents.holding._PAGE", 2)
    for number in range(7):
        await write(files, f"/f{number}", noise(5000 + number))
    its = await all_blobs(blobs)
    assert len(its) == 7
    assert await HeldByFiles(store, blobs).held("default", its) == its
    assert await reached(HeldByFiles(store, blobs)) == its


async def test_a_lost_list_of_chunks_is_no_answer(
    files: FileServiceAsyncStub, store: Metastore, blobs: MemoryBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "LISTED", 2)
    await write(files, "/f", noise(6 * MIB))
    listed = min(await all_blobs(blobs), key=lambda digest: digest.size)
    await blobs.delete("default", [listed])
    with pytest.raises(ContentLost, match="list of chunks"):
        await reached(HeldByFiles(store, blobs))


async def test_pins_on_all_pages_reach_what_they_hold(store: Metastore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quartet_server.objects.pins._PAGE", 2)
    pins, digests = Pins(store), [Digest.of(b"%d" % number) for number in range(6)]
    for number in range(5):
        await pins.pin("default", f"pin {number}", digests[number : number + 2], 600)
    assert await reached(pins) == set(digests)
    assert await reached(pins, "other") == set()
    await pins.unpin("default", "pin 4")
    assert await reached(pins) == set(digests[:5])
