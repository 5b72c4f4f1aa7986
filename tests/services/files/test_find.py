"""List with recursive, glob and type: everything below, in one revision, so much work a call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import grpc
import pytest
from harness.failures import fails
from quartet.files.v1 import files_pb2 as pb
from quartet_server.files import below
from quartet_server.files.globs import Glob

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")
DIRECTORY, FILE, SYMLINK = pb.ENTRY_TYPE_DIRECTORY, pb.ENTRY_TYPE_FILE, pb.ENTRY_TYPE_SYMLINK
TREE = [
    "/a/", "/a/.hidden", "/a/b/", "/a/b/c/", "/a/b/c/x.py", "/a/b/c/y.txt", "/a/b/x.py", "/a/x.py", "/a-b",
    "/b/", "/b/a/", "/b/a/x.py", "/b/[x].py", "/empty/", "/x.py",
]  # fmt: skip


async def fill(files: FileServiceAsyncStub, *paths: str) -> None:
    """Create entries; a path that ends in / is a directory."""
    entries = [
        pb.CreateEntry(path=path, type=DIRECTORY if path.endswith("/") else FILE, attributes=pb.Attributes(mode=0o600))
        for path in paths
    ]
    assert (await files.BatchCreate(pb.BatchCreateRequest(entries=entries))).created == len(paths)


async def pages(
    files: FileServiceAsyncStub, request: pb.ListRequest, between: Callable[[], Awaitable[object]] | None = None
) -> list[pb.ListResponse]:
    """Fetch every page; await `between` after the first."""
    found = []
    for _ in range(1000):
        found.append(await files.List(request))
        request.page_token = found[-1].next_page_token
        if not request.page_token:
            return found
        if between is not None and len(found) == 1:
            await between()
    raise AssertionError("the pages have no end")


def told(found: list[pb.ListResponse]) -> list[str]:
    """The paths of all pages."""
    return [entry.path for page in found for entry in page.entries]


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize("work", [2, 3, 7, 10_000])
async def test_everything_below_is_told_once_and_in_order_however_the_pages_are_cut(
    files: FileServiceAsyncStub, monkeypatch: pytest.MonkeyPatch, size: int, work: int
) -> None:
    await fill(files, *TREE)
    monkeypatch.setattr(below, "WORK", work)
    found = await pages(files, pb.ListRequest(path="/", recursive=True, page_size=size, detail=size == 2))
    wanted = sorted((path.rstrip("/") for path in TREE), key=lambda path: [name.encode() for name in path.split("/")])
    assert told(found) == wanted
    assert all(len(page.entries) <= size for page in found)
    assert len({page.revision for page in found}) == 1
    assert {entry.attributes.mode for page in found for entry in page.entries} == {0o600 if size == 2 else 0}
    assert told(await pages(files, pb.ListRequest(path="/a/b", recursive=True, page_size=size))) == [
        "/a/b/c", "/a/b/c/x.py", "/a/b/c/y.txt", "/a/b/x.py",
    ]  # fmt: skip
    assert told(await pages(files, pb.ListRequest(path="/empty", recursive=True))) == []


@pytest.mark.parametrize(
    ("path", "glob", "wanted"),
    [
        ("/", "x.py", "/x.py"),
        ("/", "*", "/a /a-b /b /empty /x.py"),
        ("/", "*/x.py", "/a/x.py"),
        ("/", "**/x.py", "/a/b/c/x.py /a/b/x.py /a/x.py /b/a/x.py /x.py"),
        ("/", "**", " ".join(sorted((p.rstrip("/") for p in TREE), key=lambda p: p.split("/")))),
        ("/", "a/**", "/a/.hidden /a/b /a/b/c /a/b/c/x.py /a/b/c/y.txt /a/b/x.py /a/x.py"),
        ("/", "a/**/c/*", "/a/b/c/x.py /a/b/c/y.txt"),
        ("/", "**/b/**/x.py", "/a/b/c/x.py /a/b/x.py /b/a/x.py"),
        ("/", "**/**/y.txt", "/a/b/c/y.txt"),
        ("/a", "b/?.py", "/a/b/x.py"),
        ("/", "b/[[]x].py", "/b/[x].py"),
        ("/", "[!a]*", "/b /empty /x.py"),
        ("/", "A*", ""),
        ("/", "no/**", ""),
        ("/empty", "**", ""),
    ],
)
async def test_a_pattern_finds_what_it_matches(files: FileServiceAsyncStub, path: str, glob: str, wanted: str) -> None:
    await fill(files, *TREE)
    for size in (2, 1000):
        assert told(await pages(files, pb.ListRequest(path=path, glob=glob, page_size=size))) == wanted.split()


async def test_only_entries_of_a_type_are_told(files: FileServiceAsyncStub) -> None:
    await fill(files, *TREE)
    link = pb.CreateFileRequest(path="/a/link", type=SYMLINK, attributes=pb.Attributes(symlink_target="x.py"))
    await files.CreateFile(link)
    for kind, recursive, wanted in (
        (DIRECTORY, True, "/a /a/b /a/b/c /b /b/a /empty"),
        (DIRECTORY, False, "/a /b /empty"),
        (SYMLINK, True, "/a/link"),
        (FILE, False, "/a-b /x.py"),
    ):
        request = pb.ListRequest(path="/", type=kind, recursive=recursive, page_size=2)
        assert told(await pages(files, request)) == wanted.split()


async def test_all_pages_show_one_revision_while_the_tree_changes(files: FileServiceAsyncStub) -> None:
    await fill(files, *TREE)
    before = told(await pages(files, pb.ListRequest(path="/", recursive=True)))

    async def disturb() -> None:
        await files.Rename(pb.RenameRequest(source="/a/b", destination="/moved"))
        await files.Delete(pb.DeleteRequest(path="/b", recursive=True))
        await fill(files, "/a/zz", "/zz")

    assert told(await pages(files, pb.ListRequest(path="/", recursive=True, page_size=3), disturb)) == before


async def test_after_a_compaction_the_walk_goes_on_where_it_can_and_says_so(
    files: FileServiceAsyncStub, store: Metastore
) -> None:
    await fill(files, *TREE)

    async def compact() -> None:
        await files.Rename(pb.RenameRequest(source="/a/b/c", destination="/moved"))
        await fill(files, "/a/b/w")
        head = (await store.range(rpc_pb2.RangeRequest(key=b"x"))).header.revision
        await store.compact(rpc_pb2.CompactionRequest(revision=head))

    found = await pages(files, pb.ListRequest(path="/", recursive=True, page_size=5), compact)
    assert told(found[:1])[-1] == "/a/b/c/x.py"
    assert told(found[1:]) == [
        "/a/b/w", "/a/b/x.py", "/a/x.py", "/a-b", "/b", "/b/[x].py", "/b/a", "/b/a/x.py", "/empty", "/moved",
        "/moved/x.py", "/moved/y.txt", "/x.py",
    ]  # fmt: skip
    assert [page.snapshot_lost for page in found] == [False, *[True] * (len(found) - 1)]


async def test_a_name_that_is_given_is_looked_up_and_not_searched_for(
    files: FileServiceAsyncStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(files, "/d/", *(f"/d/{i:03}" for i in range(300)))
    monkeypatch.setattr(below, "WORK", 10)
    assert told([await files.List(pb.ListRequest(path="/", glob="d/299"))]) == ["/d/299"]
    assert told([await files.List(pb.ListRequest(path="/", glob="d/29[8]"))]) == []


async def test_the_work_of_one_call_is_bounded_however_little_matches(
    files: FileServiceAsyncStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(files, "/d/", *(f"/d/{i:03}/" for i in range(60)), "/d/059/f")
    monkeypatch.setattr(below, "WORK", 20)
    found = await pages(files, pb.ListRequest(path="/", glob="**/f"))
    assert told(found) == ["/d/059/f"]
    assert len(found) >= 120 // 20
    assert [bool(page.entries) for page in found[:-1]].count(True) <= 1


@pytest.mark.parametrize(
    "glob", ["/a", "a//b", "a/", "../x", "a/./b", "x" * 1025, "/".join(["a"] * 65)], ids=lambda glob: glob[:10]
)
async def test_a_pattern_that_makes_no_sense_is_refused(files: FileServiceAsyncStub, glob: str) -> None:
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
        await files.List(pb.ListRequest(path="/", glob=glob))


async def test_a_token_of_a_walk_serves_only_the_request_it_was_made_for(files: FileServiceAsyncStub) -> None:
    await fill(files, *TREE)
    token = (await files.List(pb.ListRequest(path="/", recursive=True, page_size=1))).next_page_token
    for other in (
        pb.ListRequest(path="/", page_token=token),
        pb.ListRequest(path="/", glob="**", page_token=token),
        pb.ListRequest(path="/", recursive=True, type=FILE, page_token=token),
    ):
        with fails(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"):
            await files.List(other)


async def test_a_walk_of_large_entries_keeps_to_the_size_of_a_message(files: FileServiceAsyncStub) -> None:
    await fill(files, "/d/")
    long = pb.Attributes(symlink_target="t" * 4096)
    made = [pb.CreateEntry(path=f"/d/{i:0255}", type=SYMLINK, attributes=long) for i in range(950)]
    for some in (made[:475], made[475:]):
        await files.BatchCreate(pb.BatchCreateRequest(entries=some))
    found = await pages(files, pb.ListRequest(path="/", recursive=True, type=SYMLINK, page_size=1000, detail=True))
    assert [int(entry.name) for page in found for entry in page.entries] == list(range(950))
    assert len(found) == 2


async def test_directories_that_no_path_reaches_are_not_looked_into(files: FileServiceAsyncStub) -> None:
    for top in ("/a", "/b"):
        await files.Mkdir(pb.MkdirRequest(path=top + "/x" * 35, parents=True))
        await files.Mkdir(pb.MkdirRequest(path=top + "/x" * 62, parents=True))
    await files.Rename(pb.RenameRequest(source="/b", destination="/a" + "/x" * 60 + "/b"))
    deepest = max(told(await pages(files, pb.ListRequest(path="/", recursive=True))), key=lambda p: p.count("/"))
    assert deepest.count("/") == 64
    await files.Stat(pb.StatRequest(path=deepest))


async def test_unicode_names_match_in_whatever_form_they_are_given() -> None:
    glob = Glob("caf\u0065\u0301*")
    assert glob.matched(glob.advance(glob.start, "caf\u00e9 noir"))
