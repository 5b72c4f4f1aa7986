"""Copies of any size: built where nobody sees them, shown at once, and cleared up when they cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from harness.contents import read, write
from harness.failures import fails
from quartet.files.v1 import files_pb2 as pb
from quartet_server.errors import StagingLost
from quartet_server.files import keys, records
from quartet_server.files.contents import branches
from quartet_server.files.reclaim import Reclaimer
from quartet_server.files.service import FileService
from quartet_server.files.staging import STALE, Abandoned, Staging
from quartet_server.meta import ops
from quartet_server.objects.memory import MemoryBlobs

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")
C = grpc.StatusCode
DIRECTORY, FILE = pb.ENTRY_TYPE_DIRECTORY, pb.ENTRY_TYPE_FILE


async def grow(files: FileServiceAsyncStub, top: str = "/src") -> list[str]:
    """Make a tree that no transaction holds; return the paths below its top."""
    below = ["/a", "/a/b", "/empty", *(f"/a/{i:03}" for i in range(150)), *(f"/a/b/{i:03}" for i in range(60))]
    entries = [
        pb.CreateEntry(path=top + path, type=FILE if path[-1:].isdigit() else DIRECTORY) for path in ["", *below]
    ]
    assert (await files.BatchCreate(pb.BatchCreateRequest(entries=entries))).created == len(entries)
    return sorted(below, key=lambda path: path.split("/"))


async def below(files: FileServiceAsyncStub, top: str) -> list[str]:
    """The paths below a directory."""
    answer = await files.List(pb.ListRequest(path=top, recursive=True, page_size=1000))
    return [entry.path.removeprefix(top) for entry in answer.entries]


async def keys_of(store: Metastore) -> int:
    """How many keys the tree of the zone, and what waits to be shown or deleted, has."""
    counts = [
        await store.range(rpc_pb2.RangeRequest(key=start, range_end=end, count_only=True))
        for start, end in (
            keys.tree("default"),
            (b"default\0N", b"default\0O"),
            *((prefix, ops.prefix_end(prefix)) for prefix in (keys.STAGING, keys.RECLAIM)),
        )
    ]
    return sum(found.count for found in counts)


async def test_a_copy_of_any_size_has_everything_and_is_seen_at_once(
    files: FileServiceAsyncStub, blobs: MemoryBlobs
) -> None:
    wanted = await grow(files)
    await write(files, "/src/a/007", b"x" * 10_000)
    await files.SetXattr(pb.SetXattrRequest(path="/src/a/007", xattr=pb.Xattr(name="user.k", value=b"v")))
    await files.SetXattr(pb.SetXattrRequest(path="/src", xattr=pb.Xattr(name="user.top", value=b"t")))
    for i in range(40):  # more bytes than one transaction has
        value = pb.Xattr(name=f"big{i}", value=bytes(60_000))
        await files.SetXattr(pb.SetXattrRequest(path="/src/a/b/001", xattr=value))
    stored = await blobs.usage()
    copying = True

    async def look() -> set[int]:
        seen = set()
        while copying:
            answer = await files.List(pb.ListRequest(path="/", recursive=True, page_size=1000))
            seen.add(sum(entry.path.startswith("/copy") for entry in answer.entries))
        return seen

    async def copy() -> pb.Entry:
        nonlocal copying
        try:
            request = pb.CopyRequest(source="/src", destination="/copy", recursive=True, request_id="r")
            made = await files.Copy(request)
            assert made == await files.Copy(request)
            return made
        finally:
            copying = False

    made, seen = await asyncio.gather(copy(), look())
    assert seen <= {0, len(wanted) + 1}
    assert await below(files, "/copy") == wanted
    assert made.ino == (await files.Stat(pb.StatRequest(path="/copy"))).ino
    assert await read(files, "/copy/a/007") == b"x" * 10_000
    assert await blobs.usage() == stored
    for path, count in (("/copy", 1), ("/copy/a/007", 1), ("/copy/a/b/001", 40), ("/copy/a/001", 0)):
        assert len((await files.ListXattrs(pb.ListXattrsRequest(path=path))).xattrs) == count
    await files.Rename(pb.RenameRequest(source="/copy/a/b", destination="/copy/empty"))
    await files.Delete(pb.DeleteRequest(path="/src", recursive=True, permanent=True))
    assert len(await below(files, "/copy")) == len(wanted) - 1


async def test_a_copy_of_a_file_takes_its_extended_attributes_along(files: FileServiceAsyncStub) -> None:
    async def names(path: str) -> dict[str, bytes]:
        answer = await files.ListXattrs(pb.ListXattrsRequest(path=path))
        return {one.name: one.value for one in answer.xattrs}

    for path, values in (("/f", {"a": b"1", "b": b"2"}), ("/g", {"b": b"old", "c": b"3"}), ("/h", {})):
        await write(files, path, b"bytes of " + path.encode())
        for name, data in values.items():
            await files.SetXattr(pb.SetXattrRequest(path=path, xattr=pb.Xattr(name=name, value=data)))
    await files.Copy(pb.CopyRequest(source="/f", destination="/new"))
    await files.Copy(pb.CopyRequest(source="/f", destination="/g"))
    assert await names("/new") == await names("/g") == {"a": b"1", "b": b"2"}
    await files.Copy(pb.CopyRequest(source="/h", destination="/g"))
    assert await names("/g") == {}
    for i in range(64):
        value = pb.Xattr(name=f"big{i}", value=bytes(60_000))
        await files.SetXattr(pb.SetXattrRequest(path="/h", xattr=value))
    await files.Copy(pb.CopyRequest(source="/h", destination="/large"))
    assert len(await names("/large")) == 64
    with fails(C.INVALID_ARGUMENT, "REQUEST_TOO_LARGE"):
        await files.Copy(pb.CopyRequest(source="/h", destination="/g"))


async def test_a_large_copy_is_charged_when_it_is_shown_and_leaves_nothing_when_it_does_not_fit(
    files: FileServiceAsyncStub, store: Metastore
) -> None:
    wanted = await grow(files)
    await files.Mkdir(pb.MkdirRequest(path="/q"))
    await files.SetQuota(pb.SetQuotaRequest(path="/q", limit_inodes=len(wanted)))
    before = await keys_of(store)
    with fails(C.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED"):
        await files.Copy(pb.CopyRequest(source="/src", destination="/q/copy", recursive=True))
    await Reclaimer(store).clear()
    assert await keys_of(store) == before
    await files.SetQuota(pb.SetQuotaRequest(path="/q", limit_inodes=len(wanted) + 1))
    await files.Copy(pb.CopyRequest(source="/src", destination="/q/copy", recursive=True))
    assert (await files.GetQuota(pb.GetQuotaRequest(path="/q"))).used_inodes == len(wanted) + 1


@pytest.mark.parametrize("taken", [True, False])
async def test_a_copy_whose_place_is_taken_or_gone_meanwhile_leaves_nothing(
    files: FileServiceAsyncStub, store: Metastore, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    await grow(files)
    await files.Mkdir(pb.MkdirRequest(path="/to"))
    build = branches._Branch.build

    async def late(self: Any, ino: int) -> None:
        await build(self, ino)
        if taken:
            await files.CreateFile(pb.CreateFileRequest(path="/to/copy"))
        else:
            await files.Delete(pb.DeleteRequest(path="/to"))

    monkeypatch.setattr(branches._Branch, "build", late)
    before = await keys_of(store)
    code, reason = (C.ALREADY_EXISTS, "FILE_EXISTS") if taken else (C.NOT_FOUND, "FILE_NOT_FOUND")
    with fails(code, reason):
        await files.Copy(pb.CopyRequest(source="/src", destination="/to/copy", recursive=True))
    await Reclaimer(store).clear()
    assert await keys_of(store) == before + (3 if taken else -3)


async def staged(service: FileService, count: int) -> Staging:
    """A tree in the making, of `count` files in a directory below its top."""
    tree = service._tree
    await tree.ensure("default")
    made = records.new_inode(DIRECTORY, pb.Attributes(mode=0o755), tree.now())
    staging = await Staging.begin(tree, "default", made)
    directory, *inos = await staging.take(count + 1)
    await staging.add(staging.ino, b"d", "d", directory, made)
    for ino in inos:
        file = records.new_inode(pb.ENTRY_TYPE_FILE, pb.Attributes(size=1), tree.now())
        await staging.add(directory, b"%d" % ino, str(ino), ino, file)
    await staging.finish()
    assert (staging.inodes, staging.bytes) == (count + 2, count)
    return staging


async def test_what_shows_no_sign_of_life_is_given_up_and_can_not_be_written_to_any_more(
    service: FileService, store: Metastore
) -> None:
    now = 0.0
    clock: Callable[[], float] = lambda: now  # noqa: E731
    abandoned = Abandoned(store, clock)
    await service._tree.ensure("default")
    before = await keys_of(store)
    dead, alive = await staged(service, 400), await staged(service, 3)
    assert await abandoned.sweep() == 0
    now += STALE - 1
    alive._renewed -= STALE
    await alive.finish()
    assert await abandoned.sweep() == 0
    now += 1
    assert await abandoned.sweep() == 1
    with pytest.raises(StagingLost):
        await dead.write([ops.put(keys.xattr("default", dead.ino, b"x"), b"")])
    with pytest.raises(StagingLost):
        await dead.demand(service._tree.snapshot())
    await alive.demand(service._tree.snapshot())
    await alive.drop()
    await alive.drop()
    await Reclaimer(store).clear()
    assert await keys_of(store) == before
