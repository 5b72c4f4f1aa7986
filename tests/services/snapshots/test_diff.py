"""DiffSnapshots: what it tells is what differs between two trees as dictionaries, and equal parts are not looked into."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from harness.contents import write
from harness.failures import fails
from harness.snapshots import Port
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quartet.files.v1 import files_pb2
from quartet.snapshots.v1 import snapshots_pb2 as pb
from quartet_server.snapshots.directories import Directories
from quartet_server.snapshots.living import Living

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

pytestmark = pytest.mark.asyncio(loop_scope="session")
ADDED, REMOVED, MODIFIED = pb.CHANGE_TYPE_ADDED, pb.CHANGE_TYPE_REMOVED, pb.CHANGE_TYPE_MODIFIED


def told(changes: list[pb.Change]) -> list[tuple[int, str]]:
    return [(change.type, change.path) for change in changes]


def expected(before: dict[str, Any], after: dict[str, Any]) -> set[tuple[int, str]]:
    """What differs between two trees."""
    found: set[tuple[int, str]] = {(REMOVED, path) for path in before.keys() - after.keys()}
    found |= {(ADDED, path) for path in after.keys() - before.keys()}
    for path in before.keys() & after.keys():
        if before[path] != after[path]:
            found.add((MODIFIED, path or "/"))
    return found


async def test_every_kind_of_change_is_told_once_in_the_order_of_paths(at: Port) -> None:
    await at.fill("/d/", "/d/a", "/d/b/", "/d/b/c", "/d/l->a", "/d/same/", "/d/same/x", "/d/z/", "/d/z/1")
    first = await at.create("/d")
    assert await at.diff(first.id) == []
    await write(at.files, "/d/a", b"new")
    await at.files.Delete(files_pb2.DeleteRequest(path="/d/b", recursive=True))
    await at.fill("/d/b", "/d/n/", "/d/n/m")
    await at.files.SetAttributes(
        files_pb2.SetAttributesRequest(path="/d/z", attributes=files_pb2.Attributes(mode=0o700, owner="o"))
    )
    changes = await at.diff(first.id)
    assert told(changes) == [
        (MODIFIED, "/a"), (MODIFIED, "/b"), (REMOVED, "/b/c"), (ADDED, "/n"), (ADDED, "/n/m"), (MODIFIED, "/z"),
    ]  # fmt: skip
    a, b, c, n, _, z = changes
    assert (a.content, a.before.attributes.size, a.after.attributes.size) == (True, 4, 3)
    assert (b.before.type, b.after.type) == (files_pb2.ENTRY_TYPE_DIRECTORY, files_pb2.ENTRY_TYPE_FILE)
    assert c.HasField("before")
    assert not c.HasField("after")
    assert not n.HasField("before")
    assert (z.content, z.attributes, z.after.attributes.owner) == (False, True, "o")
    second = await at.create("/d")
    assert told(await at.diff(first.id, second.id)) == told(changes)
    assert [path for kind, path in told(await at.diff(second.id, first.id)) if kind == ADDED] == ["/b/c"]
    await at.branch(first.id, "/e")
    assert await at.diff(first.id, path="/e") == []
    assert told(await at.diff(second.id, path="/e")) == told(await at.diff(second.id, first.id))


async def test_a_directory_that_changed_itself_is_told_as_the_top(at: Port) -> None:
    await at.fill("/d/")
    first = await at.create("/d")
    await at.files.SetXattr(files_pb2.SetXattrRequest(path="/d", xattr=files_pb2.Xattr(name="n", value=b"v")))
    (change,) = await at.diff(first.id)
    assert (change.type, change.path, change.attributes, change.content) == (MODIFIED, "/", True, False)


async def test_equal_parts_are_not_looked_into(at: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    await at.fill("/d/", *(f"/d/{i}/" for i in range(30)), *(f"/d/{i}/f" for i in range(30)))
    first = await at.create("/d")
    await write(at.files, "/d/7/f", b"new")
    second = await at.create("/d")
    looked: list[Any] = []
    get, read = Directories.get, Living.read

    async def counting(self: Directories, zone: str, digest: Any) -> Any:
        looked.append(digest)
        return await get(self, zone, digest)

    async def reading(self: Living, ino: int, base: Any) -> Any:
        looked.append(ino)
        return await read(self, ino, base)

    monkeypatch.setattr(Directories, "get", counting)
    monkeypatch.setattr(Living, "read", reading)
    assert told(await at.diff(first.id, second.id)) == [(MODIFIED, "/7/f")]
    assert len(looked) == 4
    looked.clear()
    assert told(await at.diff(first.id)) == [(MODIFIED, "/7/f")]
    assert len(looked) <= 8


@pytest.mark.parametrize(
    "bad", [{"snapshot": "none"}, {"snapshot": ""}, {"other": " "}, {"other": "x", "path": "/d"}], ids=str
)
async def test_what_cannot_be_compared_is_refused(at: Port, bad: dict[str, Any]) -> None:
    await at.fill("/d/")
    first = await at.create("/d")
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
        await at.diff(**{"snapshot": first.id, **bad})


NAMES = ("a", "b", "c")
_path = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(lambda names: "/d/" + "/".join(names))
_step = st.one_of(
    st.tuples(st.just("/"), _path),
    st.tuples(st.just("f"), _path, st.integers(0, 3)),
    st.tuples(st.just("x"), _path),
    st.tuples(st.just("m"), _path, _path),
    st.tuples(st.just("o"), _path, st.sampled_from(["p", "q"])),
)


async def act(at: Port, step: tuple[Any, ...]) -> None:
    """Do a step; one that is refused changes nothing."""
    kind, path, *rest = step
    try:
        if kind == "/":
            await at.files.Mkdir(files_pb2.MkdirRequest(path=path))
        elif kind == "f":
            attributes = files_pb2.Attributes(mode=0o600)
            attributes.mtime.seconds = 1
            await write(at.files, path, b"x" * rest[0], attributes=attributes)
        elif kind == "x":
            await at.files.Delete(files_pb2.DeleteRequest(path=path, recursive=True, permanent=True))
        elif kind == "m":
            await at.files.Rename(files_pb2.RenameRequest(source=path, destination=rest[0]))
        else:
            request = files_pb2.SetAttributesRequest(path=path, attributes=files_pb2.Attributes(owner=rest[0]))
            request.update_mask.paths.append("owner")
            await at.files.SetAttributes(request)
    except grpc.aio.AioRpcError as error:
        if error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
            raise


@pytest.mark.parametrize("store", ["embedded"], indirect=True)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(before=st.lists(_step, max_size=15), after=st.lists(_step, max_size=10))
async def test_differences_are_those_of_the_trees(
    at: Port, store: Metastore, before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]
) -> None:
    await store.delete_range(rpc_pb2.DeleteRangeRequest(key=b"default\0B", range_end=b"default\0y"))
    await at.fill("/d/")
    for step in before:
        await act(at, step)
    first, was = await at.create("/d"), await at.everything("/d")
    for step in after:
        await act(at, step)
    now = await at.everything("/d")
    live = told(await at.diff(first.id))
    assert set(live) == expected(was, now)
    assert len(set(live)) == len(live)
    second = await at.create("/d")
    assert told(await at.diff(first.id, second.id)) == live
    assert live == sorted(live, key=lambda one: one[1].split("/") if one[1] != "/" else [])
