"""Watch: what happened, told as what happened to files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc
import pytest
from harness.failures import fails
from quartet.files.v1 import files_pb2 as pb
from quartet_server.files.reclaim import Reclaimer

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")


def told(event: pb.Event) -> tuple[str, ...]:
    """An event in short."""
    kind = pb.EventType.Name(event.type).removeprefix("EVENT_TYPE_")
    return tuple(part for part in (kind, event.old_path, event.path, event.xattr) if part)


async def events(stream: AsyncIterator[pb.WatchResponse], count: int) -> list[tuple[str, ...]]:
    """The next `count` events."""
    found: list[tuple[str, ...]] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found += [told(event) for event in (await anext(stream)).events]
    return found


async def begun(files: FileServiceAsyncStub, **request: object) -> AsyncIterator[pb.WatchResponse]:
    """A watch that sees everything from here on."""
    stream = aiter(files.Watch(pb.WatchRequest(**request)))  # type: ignore[arg-type]
    async with asyncio.timeout(20):
        assert not (await anext(stream)).events
    return stream


async def play(files: FileServiceAsyncStub) -> list[tuple[str, ...]]:
    """Do a bit of everything; returns what a watcher of / should be told."""
    await files.Mkdir(pb.MkdirRequest(path="/a/b", parents=True))
    await files.CreateFile(pb.CreateFileRequest(path="/a/b/f"))
    await files.SetAttributes(pb.SetAttributesRequest(path="/a/b/f", attributes=pb.Attributes(size=1)))
    await files.SetXattr(pb.SetXattrRequest(path="/a/b/f", xattr=pb.Xattr(name="n")))
    await files.RemoveXattr(pb.RemoveXattrRequest(path="/a/b/f", name="n"))
    await files.Rename(pb.RenameRequest(source="/a", destination="/c"))
    await files.SetAttributes(pb.SetAttributesRequest(path="/c/b/f", attributes=pb.Attributes(size=2)))
    await files.CreateFile(pb.CreateFileRequest(path="/g"))
    await files.Rename(pb.RenameRequest(source="/g", destination="/c/b/f"))
    await files.CreateFile(pb.CreateFileRequest(path="/h"))
    await files.Rename(pb.RenameRequest(source="/h", destination="/c/b", mode=pb.RENAME_MODE_EXCHANGE))
    await files.Delete(pb.DeleteRequest(path="/c", recursive=True))
    await files.Delete(pb.DeleteRequest(path="/h", recursive=True))
    return [
        ("CREATED", "/a"), ("CREATED", "/a/b"), ("CREATED", "/a/b/f"), ("MODIFIED", "/a/b/f"), ("XATTR", "/a/b/f", "n"),
        ("XATTR", "/a/b/f", "n"), ("RENAMED", "/a", "/c"), ("MODIFIED", "/c/b/f"), ("CREATED", "/g"),
        ("DELETED", "/c/b/f"), ("RENAMED", "/g", "/c/b/f"), ("CREATED", "/h"), ("RENAMED", "/h", "/c/b"),
        ("RENAMED", "/c/b", "/h"), ("DELETED", "/c"), ("DELETED", "/h"),
    ]  # fmt: skip


def grouped(found: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The same, not minding the order within an exchange."""
    return [*found[:12], *sorted(found[12:14]), *found[14:]]


async def test_everything_is_told_once_and_in_order(files: FileServiceAsyncStub, store: Metastore) -> None:
    stream = await begun(files, path="/", recursive=True)
    expected = await play(files)
    await Reclaimer(store).clear()
    await files.CreateFile(pb.CreateFileRequest(path="/end"))
    found = await events(stream, len(expected) + 1)
    assert grouped(found[:-1]) == grouped(expected)
    assert found[-1] == ("CREATED", "/end")


async def test_the_past_is_told_with_the_paths_it_had(files: FileServiceAsyncStub, store: Metastore) -> None:
    first = await files.CreateFile(pb.CreateFileRequest(path="/begin"))
    expected = await play(files)
    await Reclaimer(store).clear()
    stream = aiter(files.Watch(pb.WatchRequest(path="/", recursive=True, start_revision=first.revision + 1)))
    assert grouped(await events(stream, len(expected))) == grouped(expected)


async def test_a_watch_resumes_where_it_ended(files: FileServiceAsyncStub) -> None:
    first = await files.CreateFile(pb.CreateFileRequest(path="/begin"))
    expected = await play(files)
    found: list[tuple[str, ...]] = []
    at = first.revision + 1
    while len(found) < len(expected):
        call = files.Watch(pb.WatchRequest(path="/", recursive=True, start_revision=at))
        async with asyncio.timeout(20):
            async for response in call:
                if response.events:
                    found += [told(event) for event in response.events]
                    at = response.revision + 1
                    break
        call.cancel()
    assert grouped(found) == grouped(expected)


F = "/a/b/f"
_OF_F = [("CREATED", F), ("MODIFIED", F), ("XATTR", F, "n"), ("XATTR", F, "n"), ("RENAMED", "/a", "/c")]


@pytest.mark.parametrize(
    ("path", "recursive", "wanted"),
    [
        ("/a", False, [("CREATED", "/a"), ("CREATED", "/a/b"), ("RENAMED", "/a", "/c")]),
        ("/a/b", False, [("CREATED", "/a/b"), *_OF_F]),
        ("/a/b/f", True, _OF_F),
        (
            "/c",
            True,
            [("RENAMED", "/a", "/c"), ("MODIFIED", "/c/b/f"), ("DELETED", "/c/b/f"), ("RENAMED", "/g", "/c/b/f"),
             ("RENAMED", "/c/b", "/h"), ("RENAMED", "/h", "/c/b"), ("DELETED", "/c")],
        ),
    ],
)  # fmt: skip
async def test_only_what_concerns_the_path_is_told(
    files: FileServiceAsyncStub, path: str, recursive: bool, wanted: list[tuple[str, ...]]
) -> None:
    stream = await begun(files, path=path, recursive=recursive)
    await play(files)
    await files.Mkdir(pb.MkdirRequest(path=path, parents=True))
    assert sorted(await events(stream, len(wanted) + 1)) == sorted([*wanted, ("CREATED", path)])


async def test_a_forgotten_start_names_the_oldest_revision_left(files: FileServiceAsyncStub, store: Metastore) -> None:
    await files.CreateFile(pb.CreateFileRequest(path="/f"))
    head = (await files.CreateFile(pb.CreateFileRequest(path="/g"))).revision
    await store.compact(rpc_pb2.CompactionRequest(revision=head))
    with fails(grpc.StatusCode.OUT_OF_RANGE, "REVISION_COMPACTED"):
        await events(aiter(files.Watch(pb.WatchRequest(path="/", start_revision=head - 1))), 1)


async def test_other_zones_are_not_told(files: FileServiceAsyncStub, store: Metastore) -> None:
    from quartet_server.meta import system

    await store.put(rpc_pb2.PutRequest(key=system.zone("red"), value=b""))
    stream = await begun(files, path="/", recursive=True)
    await files.Mkdir(pb.MkdirRequest(path="/theirs"), metadata=(("quartet-zone", "red"),))
    await files.Mkdir(pb.MkdirRequest(path="/ours"))
    assert await events(stream, 1) == [("CREATED", "/ours")]
