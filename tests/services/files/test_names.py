"""Paths and names: what is taken, what is refused, what is the same."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from harness.failures import fails
from hypothesis import given
from hypothesis import strategies as st
from quartet.files.v1 import files_pb2 as pb
from quartet_server.errors import PathInvalid
from quartet_server.files import keys, paths

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    "text",
    ["", "a", "a/b", "//", "/a//b", "/a//", "/.", "/..", "/a/../b", "/a/./b", "/a\0b", "/" + "n" * 256, "/" + "é" * 128,
     "/x" * 65, "/" + "/".join(["n" * 200] * 21), "/\ud800"],
)  # fmt: skip
def test_a_bad_path_is_refused(text: str) -> None:
    with pytest.raises(PathInvalid):
        paths.parse(text)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("/", ()),
        ("/a", ("a",)),
        ("/a/b/", ("a", "b")),
        ("/" + "n" * 255, ("n" * 255,)),
        ("/x" * 64, ("x",) * 64),
        ("/... /-\t\n", ("... ", "-\t\n")),
        ("/" + "é" * 127, ("é" * 127,)),
    ],
)
def test_a_good_path_is_taken_as_it_is(text: str, names: tuple[str, ...]) -> None:
    assert paths.parse(text).names == names


@given(st.text())
def test_whatever_is_said_is_a_path_or_an_error(text: str) -> None:
    try:
        path = paths.parse(text)
    except PathInvalid:
        return
    assert str(path).rstrip("/") == text.rstrip("/")
    assert paths.parse(str(path)) == path


_zones = st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True)
_inos = st.integers(1, 2**64 - 1)
_names = st.binary(min_size=1, max_size=20)


@given(_zones, _inos, _names, _zones, _inos, _names)
def test_keys_sort_by_zone_then_directory_then_name(
    zone: str, ino: int, name: bytes, other: str, other_ino: int, other_name: bytes
) -> None:
    mine, theirs = keys.dentry(zone, ino, name), keys.dentry(other, other_ino, other_name)
    order = [(zone.encode() + b"\0", ino, name), (other.encode() + b"\0", other_ino, other_name)]
    assert (mine < theirs) == (order[0] < order[1])
    assert keys.parse(mine) == keys.TreeKey("d", ino, name)
    start, end = keys.tree(zone)
    assert start <= mine < end
    assert (start <= theirs < end) == (zone == other)
    assert keys.parse_reclaim(keys.reclaim(zone, ino)) == (zone, ino)


@pytest.mark.asyncio(loop_scope="session")
async def test_two_spellings_of_one_name_are_one_entry_that_keeps_the_first(files: FileServiceAsyncStub) -> None:
    made = await files.CreateFile(pb.CreateFileRequest(path=f"/{DECOMPOSED}"))
    with fails(grpc.StatusCode.ALREADY_EXISTS, "FILE_EXISTS"):
        await files.CreateFile(pb.CreateFileRequest(path=f"/{COMPOSED}"))
    found = await files.Stat(pb.StatRequest(path=f"/{COMPOSED}"))
    assert (found.ino, found.name) == (made.ino, DECOMPOSED)
    assert [entry.name for entry in (await files.List(pb.ListRequest(path="/"))).entries] == [DECOMPOSED]
    await files.Rename(pb.RenameRequest(source=f"/{DECOMPOSED}", destination=f"/{COMPOSED}"))
    assert [entry.name for entry in (await files.List(pb.ListRequest(path="/"))).entries] == [COMPOSED]


@pytest.mark.asyncio(loop_scope="session")
async def test_every_call_refuses_a_bad_path(files: FileServiceAsyncStub) -> None:
    bad = "/a/../b"
    calls: list[Awaitable[Any]] = [
        files.Mkdir(pb.MkdirRequest(path=bad)),
        files.CreateFile(pb.CreateFileRequest(path=bad)),
        files.Stat(pb.StatRequest(path=bad)),
        files.List(pb.ListRequest(path=bad)),
        files.SetAttributes(pb.SetAttributesRequest(path=bad)),
        files.Rename(pb.RenameRequest(source="/", destination=bad)),
        files.Delete(pb.DeleteRequest(path=bad)),
        files.SetXattr(pb.SetXattrRequest(path=bad)),
        files.GetXattr(pb.GetXattrRequest(path=bad)),
        files.ListXattrs(pb.ListXattrsRequest(path=bad)),
        files.RemoveXattr(pb.RemoveXattrRequest(path=bad)),
    ]
    for call in calls:
        with fails(grpc.StatusCode.INVALID_ARGUMENT, "PATH_INVALID"):
            await call
