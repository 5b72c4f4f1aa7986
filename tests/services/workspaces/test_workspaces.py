"""Registrations: one name for one directory, wherever it is moved, and nothing remembered but in the store."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from harness.failures import fails, reason_of
from quartet.files.v1 import files_pb2
from quartet.workspaces.v1 import workspaces_pb2 as pb

from .conftest import Served

pytestmark = pytest.mark.asyncio(loop_scope="session")
CODES = grpc.StatusCode
MEMORY = pb.WORKSPACE_KIND_MEMORY


async def register(workspaces: Any, path: str, name: str, **rest: Any) -> pb.Workspace:
    """Register a directory."""
    answer: pb.Workspace = await workspaces.Register(pb.RegisterRequest(path=path, name=name, **rest))
    return answer


async def names(workspaces: Any, **rest: Any) -> list[tuple[str, str]]:
    """Name and path of everything that is listed."""
    request, told = pb.ListRequest(**rest), []
    while True:
        page = await workspaces.List(request)
        told += [(one.name, one.path) for one in page.workspaces]
        if not page.next_page_token:
            return told
        request.page_token = page.next_page_token


async def test_a_registration_says_what_it_was_told_and_who_told_it(at: Served) -> None:
    await at.mkdir("/team/reports")
    made = await register(
        at.caller("ada"), "/team/reports/", "reports", labels={"team": "red"}, description="weekly", kind=MEMORY
    )
    found = await at.workspaces.Get(pb.GetRequest(name="reports"))
    assert (found.path, found.kind, dict(found.labels)) == ("/team/reports", MEMORY, {"team": "red"})
    assert (found.description, found.created_by, found.gone) == ("weekly", "ada", False)
    assert (found.etag, found.create_time) == (made.etag, made.create_time) == (made.etag, made.update_time)
    by_path = await at.workspaces.Get(pb.GetRequest(path="/team/reports"))
    assert (by_path.name, by_path.etag) == ("reports", made.etag)


async def test_a_registration_follows_its_directory_and_what_is_above_it(at: Served) -> None:
    await at.mkdir("/a/b/work", "/z")
    made = await register(at.workspaces, "/a/b/work", "w")
    await at.files.Rename(files_pb2.RenameRequest(source="/a/b/work", destination="/a/job"))
    await at.files.Rename(files_pb2.RenameRequest(source="/a", destination="/z/A"))
    found = await at.workspaces.Get(pb.GetRequest(name="w"))
    assert (found.path, found.ino, found.etag) == ("/z/A/job", made.ino, made.etag)


async def test_a_registration_says_that_its_directory_is_gone_and_finds_it_again(at: Served) -> None:
    await at.mkdir("/a/work")
    await register(at.workspaces, "/a/work", "w")
    gone = await at.files.Delete(files_pb2.DeleteRequest(path="/a", recursive=True))
    found = await at.workspaces.Get(pb.GetRequest(name="w"))
    assert (found.path, found.gone) == ("", True)
    assert await names(at.workspaces) == [("w", "")]
    await at.files.RestoreFromTrash(files_pb2.RestoreFromTrashRequest(id=gone.trash_id, path="/again"))
    assert await names(at.workspaces) == [("w", "/again/work")]
    await at.files.Delete(files_pb2.DeleteRequest(path="/again/work"))
    await at.mkdir("/again/work")  # another directory of the same path
    assert (await at.workspaces.Get(pb.GetRequest(name="w"))).gone
    with fails(CODES.NOT_FOUND, "WORKSPACE_NOT_FOUND"):
        await at.workspaces.Get(pb.GetRequest(path="/again/work"))
    await at.workspaces.Unregister(pb.UnregisterRequest(name="w"))
    assert await names(at.workspaces) == []


async def test_a_name_is_one_directory_and_a_directory_has_one_name(at: Served) -> None:
    await at.mkdir("/a", "/b")
    await register(at.workspaces, "/a", "one")
    for path, name in (("/b", "one"), ("/a", "two")):
        with fails(CODES.ALREADY_EXISTS, "WORKSPACE_EXISTS"):
            await register(at.workspaces, path, name)
    await at.workspaces.Unregister(pb.UnregisterRequest(name="one"))
    await register(at.workspaces, "/a", "two")
    await register(at.workspaces, "/b", "one")
    assert await names(at.workspaces) == [("one", "/b"), ("two", "/a")]


async def test_of_many_who_want_a_name_or_a_directory_at_once_one_gets_it(at: Served) -> None:
    await at.mkdir(*(f"/d{i}" for i in range(6)))
    same_name = [register(at.workspaces, f"/d{i}", "n") for i in range(6)]
    same_place = [register(at.workspaces, "/d0", f"m{i}") for i in range(6)]
    for some in (same_name, same_place):
        outcomes = await asyncio.gather(*some, return_exceptions=True)
        refused = [one for one in outcomes if isinstance(one, grpc.aio.AioRpcError)]
        assert {reason_of(one) for one in refused} <= {"WORKSPACE_EXISTS"}
        assert len(refused) in (5, 6)
        assert len([one for one in outcomes if isinstance(one, pb.Workspace)]) == 6 - len(refused)
    found = await names(at.workspaces)
    assert len({path for _, path in found}) == len({name for name, _ in found}) == len(found)
    assert "n" in dict(found)
    assert "/d0" in dict(found).values()


@pytest.mark.parametrize("create", [False, True])
async def test_the_directory_exists_or_is_made_if_one_asks(at: Served, create: bool) -> None:
    if not create:
        with fails(CODES.NOT_FOUND, "FILE_NOT_FOUND"):
            await register(at.workspaces, "/x/y", "w")
        return
    request = pb.RegisterRequest(path="/x/y", name="w", create=True, request_id="r1")
    made = await at.workspaces.Register(request)
    assert made.path == "/x/y"
    await at.files.Delete(files_pb2.DeleteRequest(path="/x/y"))
    assert await at.workspaces.Register(request) == made  # a repetition makes nothing
    with fails(CODES.NOT_FOUND, "FILE_NOT_FOUND"):
        await at.files.Stat(files_pb2.StatRequest(path="/x/y"))
    with fails(CODES.ALREADY_EXISTS, "WORKSPACE_EXISTS"):
        await register(at.workspaces, "/x/other", "w", create=True)
    with fails(CODES.NOT_FOUND, "FILE_NOT_FOUND"):
        await at.files.Stat(files_pb2.StatRequest(path="/x/other"))


async def test_a_file_is_no_workspace_and_the_root_may_be_one(at: Served) -> None:
    await at.files.Touch(files_pb2.TouchRequest(path="/f"))
    for create in (False, True):
        with fails(CODES.FAILED_PRECONDITION, "NOT_A_DIRECTORY"):
            await register(at.workspaces, "/f", "w", create=create)
    assert (await register(at.workspaces, "/", "all")).path == "/"


async def test_changes_are_held_against_the_etag(at: Served) -> None:
    await at.mkdir("/a", "/b")
    first = await register(at.workspaces, "/a", "w", labels={"x": "1"}, description="old")
    mask = FieldMask(paths=["labels", "kind"])
    wanted = pb.Workspace(name="w", labels={"y": "2"}, kind=MEMORY, description="not named")
    second = await at.workspaces.Update(pb.UpdateRequest(workspace=wanted, update_mask=mask, if_match=first.etag))
    assert (dict(second.labels), second.kind, second.description, second.path) == ({"y": "2"}, MEMORY, "old", "/a")
    assert (await at.workspaces.Get(pb.GetRequest(name="w"))).etag == second.etag != first.etag
    for call in (
        at.workspaces.Update(pb.UpdateRequest(workspace=wanted, update_mask=mask, if_match=first.etag)),
        at.workspaces.Unregister(pb.UnregisterRequest(name="w", if_match=first.etag)),
        register(at.workspaces, "/b", "w", if_match=first.etag),
        register(at.workspaces, "/b", "new", if_match="*"),
    ):
        with fails(CODES.ABORTED, "ETAG_STALE"):
            await call
    moved = await register(at.workspaces, "/b", "w", if_match=second.etag)
    assert (moved.path, moved.create_time) == ("/b", first.create_time)
    await register(at.workspaces, "/a", "free")
    mask = FieldMask(paths=["path"])
    with fails(CODES.ALREADY_EXISTS, "WORKSPACE_EXISTS"):
        await at.workspaces.Update(pb.UpdateRequest(workspace=pb.Workspace(name="w", path="/a"), update_mask=mask))
    await at.workspaces.Unregister(pb.UnregisterRequest(name="free"))
    again = await at.workspaces.Update(pb.UpdateRequest(workspace=pb.Workspace(name="w", path="/a"), update_mask=mask))
    assert (again.path, again.ino) == ("/a", first.ino)


async def test_a_repetition_with_the_same_id_changes_nothing_and_is_told_the_same(at: Served) -> None:
    await at.mkdir("/a")
    request = pb.RegisterRequest(path="/a", name="w", request_id="one")
    assert await at.workspaces.Register(request) == await at.workspaces.Register(request)
    gone = pb.UnregisterRequest(name="w", request_id="two")
    assert await at.workspaces.Unregister(gone) == await at.workspaces.Unregister(gone)
    with fails(CODES.INVALID_ARGUMENT, "REQUEST_ID_REUSED"):
        await at.workspaces.Register(pb.RegisterRequest(path="/a", name="v", request_id="one"))


async def test_pages_show_each_registration_once_and_filters_hold_on_all_of_them(at: Served) -> None:
    await at.mkdir(*(f"/d/{i}" for i in range(23)))
    for i in range(23):
        labels = {"even": str(i % 2 == 0), "n": str(i)}
        await register(at.workspaces, f"/d/{i}", f"w{i:02}", labels=labels, kind=1 + i % 3 // 2)
    assert await names(at.workspaces, page_size=4) == [(f"w{i:02}", f"/d/{i}") for i in range(23)]
    assert await names(at.workspaces, labels={"even": "True"}, page_size=3) == [
        (f"w{i:02}", f"/d/{i}") for i in range(0, 23, 2)
    ]
    assert await names(at.workspaces, kind=MEMORY, labels={"even": "True"}) == [
        (f"w{i:02}", f"/d/{i}") for i in range(2, 23, 6)
    ]
    token = (await at.workspaces.List(pb.ListRequest(page_size=2))).next_page_token
    for request in (pb.ListRequest(page_token=token, kind=MEMORY), pb.ListRequest(page_token="%%%")):
        with fails(CODES.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"):
            await at.workspaces.List(request)


async def test_a_principal_with_a_root_sees_its_own_and_no_others(at: Served) -> None:
    await at.mkdir("/agents/7/deep", "/agents/8", "/agents/7/x")
    await at.files.SetPrincipalRoot(files_pb2.SetPrincipalRootRequest(principal="7", path="/agents/7"))
    seven = at.caller("7")
    await register(at.workspaces, "/agents/8", "eight")
    await register(at.workspaces, "/agents/7/deep", "deep")
    mine = await register(seven, "/x", "mine")
    assert (mine.path, mine.created_by) == ("/x", "7")
    assert await names(seven) == [("deep", "/deep"), ("mine", "/x")]
    for call in (
        seven.Get(pb.GetRequest(name="eight")),
        seven.Unregister(pb.UnregisterRequest(name="eight")),
        seven.Update(pb.UpdateRequest(workspace=pb.Workspace(name="eight"), update_mask=FieldMask(paths=["labels"]))),
    ):
        with fails(CODES.NOT_FOUND, "WORKSPACE_NOT_FOUND"):
            await call
    with fails(CODES.ALREADY_EXISTS, "WORKSPACE_EXISTS"):
        await register(seven, "/", "eight", if_match="*")
    with fails(CODES.NOT_FOUND, "FILE_NOT_FOUND"):
        await register(seven, "/agents/8", "out")
    await at.files.Delete(files_pb2.DeleteRequest(path="/agents/7/x"))
    await at.files.Delete(files_pb2.DeleteRequest(path="/agents/7/deep"))
    assert await names(seven) == [("mine", "")]  # what an operator named is gone without a word
    await seven.Unregister(pb.UnregisterRequest(name="mine"))
    assert await names(at.workspaces) == [("deep", ""), ("eight", "/agents/8")]


@pytest.mark.parametrize(
    "request_",
    [
        pb.RegisterRequest(path="/a", name=""),
        pb.RegisterRequest(path="/a", name="-x"),
        pb.RegisterRequest(path="/a", name="a/b"),
        pb.RegisterRequest(path="/a", name="x" * 129),
        pb.RegisterRequest(path="/a", name="w", kind=9),  # type: ignore[arg-type]
        pb.RegisterRequest(path="/a", name="w", labels={"a b": "c"}),
        pb.RegisterRequest(path="/a", name="w", labels={"a": "\0"}),
        pb.RegisterRequest(path="/a", name="w", labels={"a": "x" * 9000}),
        pb.RegisterRequest(path="/a", name="w", labels={f"k{i}": "" for i in range(65)}),
        pb.RegisterRequest(path="/a", name="w", description="x" * 1025),
        pb.RegisterRequest(path="/a", name="w", created_by="x" * 256),
        pb.RegisterRequest(path="/a", name="w", request_id="x" * 129),
    ],
)
async def test_what_breaks_a_rule_is_named(at: Served, request_: pb.RegisterRequest) -> None:
    await at.mkdir("/a")
    with fails(CODES.INVALID_ARGUMENT, "FIELD_INVALID"):
        await at.workspaces.Register(request_)
    assert await names(at.workspaces) == []


@pytest.mark.parametrize("paths", [[], ["name"], ["labels", "path", "etag"]])
async def test_an_update_names_fields_that_can_change(at: Served, paths: list[str]) -> None:
    await at.mkdir("/a")
    await register(at.workspaces, "/a", "w")
    with fails(CODES.INVALID_ARGUMENT, "FIELD_INVALID"):
        await at.workspaces.Update(
            pb.UpdateRequest(workspace=pb.Workspace(name="w", path="/a"), update_mask=FieldMask(paths=paths))
        )
