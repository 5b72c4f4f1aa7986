"""Roots of principals: what a caller with one sees, and that nothing leads out of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from harness.failures import fails, reason_of
from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2 as pb
from quartet_server.files import tokens
from quartet_server.files.principals import PRINCIPAL_KEY, principal_of
from quartet_server.files.reclaim import Reclaimer

from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")
DIRECTORY, SYMLINK = pb.ENTRY_TYPE_DIRECTORY, pb.ENTRY_TYPE_SYMLINK
REFUSED = grpc.StatusCode.FAILED_PRECONDITION


class Caller:
    """A stub whose calls are a principal's."""

    def __init__(self, files: FileServiceAsyncStub, principal: str) -> None:
        self._files = files
        self._metadata = ((PRINCIPAL_KEY, principal),)

    def __getattr__(self, method: str) -> Any:
        return lambda request: getattr(self._files, method)(request, metadata=self._metadata)


async def fill(files: Any, *paths: str) -> None:
    """Create entries; a path that ends in / is a directory."""
    entries = [
        pb.CreateEntry(path=path, type=DIRECTORY if path.endswith("/") else pb.ENTRY_TYPE_FILE) for path in paths
    ]
    answer = await files.BatchCreate(pb.BatchCreateRequest(entries=entries))
    assert answer.created == len(paths), answer


async def agent(files: FileServiceAsyncStub, path: str = "/agents/7") -> Caller:
    """A caller whose root is `path`."""
    await fill(files, "/agents/", "/agents/7/", "/agents/8/", "/agents/8/secret", "/secret")
    await files.SetPrincipalRoot(pb.SetPrincipalRootRequest(principal="7", path=path))
    return Caller(files, "7")


async def tree(files: Any, **rest: Any) -> list[str]:
    """Every path that a caller sees."""
    answer = await files.List(pb.ListRequest(path="/", recursive=True, page_size=1000, **rest))
    return [entry.path for entry in answer.entries]


async def test_a_principal_works_below_its_root_as_if_there_were_nothing_else(files: FileServiceAsyncStub) -> None:
    mine = await agent(files)
    assert await tree(mine) == []
    made = await mine.Mkdir(pb.MkdirRequest(path="/a/b", parents=True))
    assert made.path == "/a/b"
    await fill(mine, "/a/f", "/a/d/", "/a/d/g")
    await mine.Rename(pb.RenameRequest(source="/a/f", destination="/f"))
    await mine.SetXattr(pb.SetXattrRequest(path="/f", xattr=pb.Xattr(name="n", value=b"v")))
    await mine.Touch(pb.TouchRequest(path="/f"))
    assert await tree(mine) == ["/a", "/a/b", "/a/d", "/a/d/g", "/f"]
    assert (await mine.Stat(pb.StatRequest(path="/"))).path == "/"
    assert (await files.Stat(pb.StatRequest(path="/agents/7/a/b"))).ino == made.ino
    for path in ("/secret", "/agents", "/agents/7"):
        with fails(grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND"):
            await mine.Stat(pb.StatRequest(path=path))
    for call, request in (
        ("Delete", pb.DeleteRequest(path="/", recursive=True)),
        ("Rename", pb.RenameRequest(source="/", destination="/x")),
        ("SetQuota", pb.SetQuotaRequest(path="/")),
    ):
        with fails(REFUSED, "ROOT_FIXED"):
            await getattr(mine, call)(request)


@pytest.mark.parametrize("path", ["/../secret", "/..", "/a/../../secret", "/./secret"])
async def test_a_path_with_dots_leads_nowhere(files: FileServiceAsyncStub, path: str) -> None:
    mine = await agent(files)
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "PATH_INVALID"):
        await mine.Stat(pb.StatRequest(path=path))


@pytest.mark.parametrize(
    "target", ["/secret", "../secret", "../../secret", "../8/secret", "/../../secret", "/agents/8/secret"]
)
async def test_a_link_does_not_lead_out(files: FileServiceAsyncStub, target: str) -> None:
    mine = await agent(files)
    attributes = pb.Attributes(symlink_target=target)
    await mine.CreateFile(pb.CreateFileRequest(path="/link", type=SYMLINK, attributes=attributes))
    with fails(grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND"):
        await mine.Stat(pb.StatRequest(path="/link", follow=True))
    if target.endswith("/secret") and "agents" not in target and "8" not in target:
        await fill(mine, "/secret")
        assert (await mine.Stat(pb.StatRequest(path="/link", follow=True))).path == "/secret"


async def test_a_page_token_that_was_made_up_does_not_lead_out(files: FileServiceAsyncStub) -> None:
    mine = await agent(files)
    await fill(mine, "/d/", "/d/1", "/d/2", "/d/3")
    outside = (await files.Stat(pb.StatRequest(path="/agents/8"))).ino
    for recursive in (False, True):
        request = pb.ListRequest(path="/d" if not recursive else "/", page_size=2, recursive=recursive)
        answer = await mine.List(request)
        forged = tokens.decode(answer.next_page_token, storage_pb2.PageToken, tokens.checksum("default", request))
        request.page_token = answer.next_page_token
        assert len((await mine.List(request)).entries) >= 1
        if recursive:
            forged.frames[-1].ino = outside
        else:
            forged.ino = outside
        request.page_token = tokens.encode(forged)
        with fails(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"):
            await mine.List(request)


async def test_the_root_goes_along_when_it_is_moved_and_is_missed_when_it_is_gone(files: FileServiceAsyncStub) -> None:
    mine = await agent(files)
    await fill(mine, "/f")
    await files.Rename(pb.RenameRequest(source="/agents", destination="/moved"))
    assert await tree(mine) == ["/f"]
    await fill(mine, "/g")
    gone = await files.Delete(pb.DeleteRequest(path="/moved", recursive=True))
    for call, request in (
        ("Stat", pb.StatRequest(path="/")),
        ("CreateFile", pb.CreateFileRequest(path="/h")),
        ("ListTrash", pb.ListTrashRequest()),
    ):
        with fails(REFUSED, "PRINCIPAL_ROOT_LOST"):
            await getattr(mine, call)(request)
    (told,) = (await files.ListPrincipalRoots(pb.ListPrincipalRootsRequest())).roots
    assert (told.principal, told.path) == ("7", "")
    await files.RestoreFromTrash(pb.RestoreFromTrashRequest(id=gone.trash_id))
    assert await tree(mine) == ["/f", "/g"]


async def test_no_write_lands_outside_of_a_root_that_is_given_meanwhile(files: FileServiceAsyncStub) -> None:
    await fill(files, "/den/")
    caller = Caller(files, "p")
    for round_ in range(10):
        given, made = await asyncio.gather(
            files.SetPrincipalRoot(pb.SetPrincipalRootRequest(principal="p", path="/den")),
            caller.CreateFile(pb.CreateFileRequest(path=f"/f{round_}")),
        )
        outside = [entry.name for entry in (await files.List(pb.ListRequest(path="/"))).entries]
        assert (f"f{round_}" not in outside) or made.revision < given.revision
        await files.RemovePrincipalRoot(pb.RemovePrincipalRootRequest(principal="p"))
        assert f"/den/f{round_}" in await tree(caller) or f"/f{round_}" in await tree(caller)


async def test_the_trash_holds_for_a_principal_what_was_deleted_below_its_root(
    files: FileServiceAsyncStub, store: Metastore
) -> None:
    mine = await agent(files)
    await fill(mine, "/d/", "/d/f", "/e/")
    other = (await files.Delete(pb.DeleteRequest(path="/agents/8", recursive=True))).trash_id
    first = (await mine.Delete(pb.DeleteRequest(path="/d", recursive=True))).trash_id
    second = (await mine.Delete(pb.DeleteRequest(path="/e", recursive=True))).trash_id
    assert [(item.id, item.path) for item in (await mine.ListTrash(pb.ListTrashRequest())).items] == [
        (first, "/d"), (second, "/e"),
    ]  # fmt: skip
    assert [item.path for item in (await files.ListTrash(pb.ListTrashRequest())).items] == [
        "/agents/8", "/agents/7/d", "/agents/7/e",
    ]  # fmt: skip
    with fails(grpc.StatusCode.NOT_FOUND, "TRASH_NOT_FOUND"):
        await mine.RestoreFromTrash(pb.RestoreFromTrashRequest(id=other, path="/stolen"))
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
        await mine.EmptyTrash(pb.EmptyTrashRequest())
    assert (await mine.EmptyTrash(pb.EmptyTrashRequest(ids=[other, second]))).emptied == 1
    assert (await mine.RestoreFromTrash(pb.RestoreFromTrashRequest(id=first))).path == "/d"
    assert await Reclaimer(store).clear() == 1
    await files.RestoreFromTrash(pb.RestoreFromTrashRequest(id=other))


async def test_a_watcher_is_told_of_its_own_part_and_of_what_enters_and_leaves_it(files: FileServiceAsyncStub) -> None:
    mine = await agent(files)
    await fill(mine, "/in")
    stream = aiter(mine.Watch(pb.WatchRequest(path="/", recursive=True)))
    await anext(stream)
    await fill(files, "/agents/8/x")
    await files.Rename(pb.RenameRequest(source="/agents/8/x", destination="/agents/7/y"))
    await mine.Rename(pb.RenameRequest(source="/y", destination="/z"))
    await files.Rename(pb.RenameRequest(source="/agents/7/z", destination="/agents/8/z"))
    await files.Touch(pb.TouchRequest(path="/agents/8/z"))
    await mine.Touch(pb.TouchRequest(path="/in"))
    told = [(await anext(stream)).events[0] for _ in range(4)]
    assert [(one.type, one.old_path, one.path) for one in told] == [
        (pb.EVENT_TYPE_CREATED, "", "/y"),
        (pb.EVENT_TYPE_RENAMED, "/y", "/z"),
        (pb.EVENT_TYPE_DELETED, "", "/z"),
        (pb.EVENT_TYPE_MODIFIED, "", "/in"),
    ]


async def test_quotas_above_the_root_count_what_is_below_it(files: FileServiceAsyncStub) -> None:
    mine = await agent(files)
    await files.SetQuota(pb.SetQuotaRequest(path="/agents", limit_inodes=5))
    await fill(mine, "/1", "/2")
    with fails(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED"):
        await mine.CreateFile(pb.CreateFileRequest(path="/3"))
    await mine.Rename(pb.RenameRequest(source="/1", destination="/2"))
    assert (await files.GetQuota(pb.GetQuotaRequest(path="/agents"))).used_inodes == 4


async def test_locks_of_what_is_outside_can_neither_be_renewed_nor_released(files: FileServiceAsyncStub) -> None:
    mine = await agent(files)
    await fill(mine, "/f")
    lock = await files.Lock(pb.LockRequest(path="/secret"))
    for call, request in (
        ("RenewLock", pb.RenewLockRequest(fence=lock.fence)),
        ("Unlock", pb.UnlockRequest(fence=lock.fence)),
    ):
        with fails(REFUSED, "LOCK_LOST"):
            await getattr(mine, call)(request)
    own = await mine.Lock(pb.LockRequest(path="/f"))
    await mine.RenewLock(pb.RenewLockRequest(fence=own.fence))
    await mine.Touch(pb.TouchRequest(path="/f", fence=own.fence))
    await mine.Unlock(pb.UnlockRequest(fence=own.fence))


async def test_a_request_id_of_one_principal_is_not_answered_to_another(files: FileServiceAsyncStub) -> None:
    mine = await agent(files)
    request = pb.CreateFileRequest(path="/f", request_id="r")
    await files.CreateFile(request)
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED"):
        await mine.CreateFile(request)


async def test_roots_are_listed_in_pages_and_taken_away(files: FileServiceAsyncStub) -> None:
    await fill(files, "/d/")
    for name in ("b", "a", "é", "c"):
        await files.SetPrincipalRoot(pb.SetPrincipalRootRequest(principal=name, path="/d"))
    request = pb.ListPrincipalRootsRequest(page_size=3)
    first = await files.ListPrincipalRoots(request)
    request.page_token = first.next_page_token
    last = await files.ListPrincipalRoots(request)
    assert [(one.principal, one.path) for one in (*first.roots, *last.roots)] == [(n, "/d") for n in "abcé"]
    assert not last.next_page_token
    assert (await files.RemovePrincipalRoot(pb.RemovePrincipalRootRequest(principal="a"))).revision
    assert not (await files.RemovePrincipalRoot(pb.RemovePrincipalRootRequest(principal="a"))).revision
    for name, path, reason in (
        ("", "/d", "FIELD_INVALID"),
        ("n" * 256, "/d", "FIELD_INVALID"),
        ("n\0", "/d", "FIELD_INVALID"),
        ("n", "/no", "FILE_NOT_FOUND"),
        ("n", "d", "PATH_INVALID"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await files.SetPrincipalRoot(pb.SetPrincipalRootRequest(principal=name, path=path))
        assert reason_of(caught.value) == reason


@pytest.mark.parametrize(
    ("named", "zones", "principal"),
    [
        ("", None, ""),
        ("x", None, "x"),
        ("", ["red"], "ann"),
        ("x", ["red"], "ann"),
        ("", ["*"], "ann"),
        ("x", ["*"], "x"),
    ],
)
async def test_a_certificate_says_who_calls_and_only_an_operator_may_act_for_others(
    named: str, zones: list[str] | None, principal: str
) -> None:
    identity: dict[str, list[bytes]] = {}
    if zones is not None:
        identity = {
            "x509_pem_cert": [b"..."],
            "x509_common_name": [b"ann"],
            "peer_uri": [f"quartet://zone/{zone}".encode() for zone in zones],
        }
    assert principal_of(named, identity) == principal


async def test_a_quota_that_is_reached_names_no_path_above_the_callers_root(files: FileServiceAsyncStub) -> None:
    inside = await agent(files)
    await files.SetQuota(pb.SetQuotaRequest(path="/agents", limit_inodes=6))
    await inside.Mkdir(pb.MkdirRequest(path="/d"))
    await inside.Mkdir(pb.MkdirRequest(path="/d/e"))

    async def refused(method: str, request: Any) -> str:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(inside, method)(request)
        assert reason_of(caught.value) == "QUOTA_EXCEEDED"
        return f"{caught.value.details()} {caught.value.trailing_metadata()}"

    async def all_refusals(path: str) -> list[str]:
        told = [await refused("Mkdir", pb.MkdirRequest(path=path))]
        batch = await inside.BatchCreate(pb.BatchCreateRequest(entries=[pb.CreateEntry(path=path)]))
        written = await inside.BatchWrite(pb.BatchWriteRequest(files=[pb.WriteItem(path=path, data=b"x")]))
        for result in (batch.results[0], written.results[0]):
            assert result.failure.reason == "QUOTA_EXCEEDED"
            told.append(result.failure.message)
        return told

    await inside.CreateFile(pb.CreateFileRequest(path="/d/f"))
    assert not any("/agents" in text for text in await all_refusals("/d/g"))
    await files.SetQuota(pb.SetQuotaRequest(path="/agents", limit_inodes=100))
    await inside.SetQuota(pb.SetQuotaRequest(path="/d", limit_inodes=2))
    for text in await all_refusals("/d/g"):
        assert "/d may hold 2 inodes" in text
        assert "/agents" not in text
    outside = await files.BatchCreate(pb.BatchCreateRequest(entries=[pb.CreateEntry(path="/agents/7/d/g")]))
    assert "/agents/7/d may hold 2 inodes" in outside.results[0].failure.message
    await files.SetQuota(pb.SetQuotaRequest(path="/agents/7", limit_inodes=3))
    for text in await all_refusals("/h"):
        assert "/ may hold 3 inodes" in text
