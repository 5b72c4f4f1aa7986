"""RestoreSnapshot and BranchSnapshot: a path becomes what it was at once, or stays what it is."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from harness.contents import MIB, noise, read, write
from harness.failures import fails
from harness.snapshots import Port, port
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quartet.files.v1 import files_pb2
from quartet.snapshots.v1 import snapshots_pb2 as pb
from quartet.workspaces.v1 import workspaces_pb2, workspaces_pb2_grpc
from quartet_server.files.reclaim import Reclaimer
from quartet_server.files.service import FileService
from quartet_server.objects.digest import Digest
from quartet_server.objects.memory import MemoryBlobs
from quartet_server.snapshots.service import SnapshotService
from quartet_server.snapshots.staging import Stage, Stagehand
from quartet_server.workspaces.service import WorkspaceService

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("store", ["embedded"], indirect=True),  # branches over a real etcd are in test_create
]
REFUSED = grpc.StatusCode.FAILED_PRECONDITION


async def inodes(store: Metastore) -> int:
    """How many inodes there are, wherever they are."""
    found = await store.range(rpc_pb2.RangeRequest(key=b"default\0i", range_end=b"default\0j", count_only=True))
    return found.count


async def keys_of_trees(store: Metastore) -> set[bytes]:
    """Every key of the tree, of what is being built and of what waits to be reclaimed."""
    ranges = ((b"default\0d", b"default\0y"), (b"default\0N", b"default\0O"), (b"default\0B", b"default\0C"))
    found: set[bytes] = set()
    for start, end in (*ranges, (b"/system/reclaim/", b"/system/reclaim0")):
        answer = await store.range(rpc_pb2.RangeRequest(key=start, range_end=end, keys_only=True))
        found.update(kv.key for kv in answer.kvs)
    return found


async def settle(store: Metastore) -> None:
    """Take down and clear up what was left behind."""
    now: Callable[[], Timestamp] = lambda: Timestamp(seconds=1)  # noqa: E731
    ticks = iter(range(0, 10**9, 10**6))
    hand = Stagehand(store, "somewhere else", now, lambda: float(next(ticks)), patience=10.0)
    await hand.look()
    await hand.look()
    await Reclaimer(store).clear()


async def test_a_path_becomes_what_it_was_and_what_was_there_goes_to_the_trash(at: Port, store: Metastore) -> None:
    await at.fill("/d/", "/d/a", "/d/s/", "/d/s/b", "/d/l->a")
    await write(at.files, "/d/s/large", noise(3 * MIB))
    before = await at.everything("/d")
    made = await at.create("/d")
    await at.files.Delete(files_pb2.DeleteRequest(path="/d/s", recursive=True))
    await at.fill("/d/a", "/d/new")
    changed = await at.everything("/d")
    done = await at.restore(made.id)
    assert await at.everything("/d") == before
    assert (done.entry.path, done.totals) == ("/d", made.totals)
    assert done.entry.ino != made.ino
    assert [change.path for change in await at.diff(made.id)] == []
    items = (await at.files.ListTrash(files_pb2.ListTrashRequest())).items
    assert done.trash_id in [item.id for item in items]
    await at.files.RestoreFromTrash(files_pb2.RestoreFromTrashRequest(id=done.trash_id, path="/old"))
    assert await at.everything("/old") == changed
    again = await at.create("/d")
    assert (again.root, again.parent) == (made.root, made.id)


async def test_the_whole_change_is_one_transaction_whatever_is_below(at: Port, store: Metastore) -> None:
    await at.fill("/d/", *(f"/d/{i}" for i in range(300)))
    made = await at.create("/d")
    done = await at.restore(made.id)
    found = await store.range(
        rpc_pb2.RangeRequest(
            key=b"\0", range_end=b"\0", min_mod_revision=done.entry.revision, max_mod_revision=done.entry.revision
        )
    )
    assert len(found.kvs) <= 4


async def test_a_part_goes_back_alone_also_a_file_or_a_link(at: Port) -> None:
    await at.fill("/d/", "/d/s/", "/d/s/a", "/d/s/l->a", "/d/keep")
    made = await at.create("/d")
    await write(at.files, "/d/s/a", b"new")
    await write(at.files, "/d/keep", b"kept")
    await at.restore(made.id, source="/s/a")
    assert await read(at.files, "/d/s/a") == b"/d/s/a"
    assert await read(at.files, "/d/keep") == b"kept"
    await at.restore(made.id, "/d/s/b", source="/s/a")
    await at.restore(made.id, "/d/s/m", source="/s/l")
    link = await at.files.Stat(files_pb2.StatRequest(path="/d/s/m"))
    assert link.attributes.symlink_target == "a"
    await at.restore(made.id, "/d/keep", source="/s")  # a directory in the place of a file
    assert await read(at.files, "/d/keep/a") == b"/d/s/a"
    await at.restore(made.id, "/d/keep", source="/keep")
    assert await read(at.files, "/d/keep") == b"/d/keep"


async def test_a_branch_shares_its_bytes_until_they_are_written(at: Port, blobs: MemoryBlobs) -> None:
    await at.fill("/d/")
    await write(at.files, "/d/f", noise(3 * MIB))
    made = await at.create("/d")
    held = {info.digest for info in await blobs.scan("default")}
    done = await at.branch(made.id, "/e")
    assert done.trash_id == ""
    assert {info.digest for info in await blobs.scan("default")} == held
    await at.files.Append(files_pb2.AppendRequest(path="/e/f", data=b"more"))
    assert await read(at.files, "/d/f") == noise(3 * MIB)
    assert await read(at.files, "/e/f") == noise(3 * MIB) + b"more"
    with fails(grpc.StatusCode.ALREADY_EXISTS, "FILE_EXISTS"):
        await at.branch(made.id, "/e")
    second = await at.create("/e")
    assert second.parent == made.id


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        ({"path": "/"}, REFUSED, "ROOT_FIXED"),
        ({"path": "/none/x"}, grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND"),
        ({"path": "/f/x"}, REFUSED, "NOT_A_DIRECTORY"),
        ({"source": "/none"}, grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND"),
        ({"source": "/a/b"}, REFUSED, "NOT_A_DIRECTORY"),
        ({"source": "x"}, grpc.StatusCode.INVALID_ARGUMENT, "PATH_INVALID"),
        ({"if_match": "7.7"}, grpc.StatusCode.ABORTED, "ETAG_STALE"),
        ({"if_none_match": "*"}, grpc.StatusCode.ABORTED, "ETAG_STALE"),
        ({"fence": {"ino": 1, "token": 5}}, REFUSED, "LOCK_LOST"),
        ({"path": "/" + "/".join("x" * 63), "source": "/"}, grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND"),
    ],
    ids=str,
)
async def test_what_must_not_be_done_is_refused_and_changes_nothing(
    at: Port, store: Metastore, request_: dict[str, Any], code: grpc.StatusCode, reason: str
) -> None:
    await at.fill("/d/", "/d/a", "/f")
    made = await at.create("/d")
    before = await keys_of_trees(store)
    with fails(code, reason):
        await at.restore(made.id, **request_)
    await settle(store)
    assert await keys_of_trees(store) == before


async def test_a_tree_that_would_be_too_deep_is_refused(at: Port, store: Metastore) -> None:
    deep = [f"/{'/'.join(['x'] * depth)}/" for depth in range(1, 62)]
    await at.fill(*deep, "/a/", "/a/a/", "/a/a/a/", "/a/a/a/a/")
    made = await at.create("/x")
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_TOO_LARGE"):
        await at.branch(made.id, "/a/a/a/a/a")
    await at.branch(made.id, "/a/a/a/b")


async def test_locks_and_etags_are_held_in_the_transaction_itself(at: Port) -> None:
    await at.fill("/d/", "/d/a")
    made = await at.create("/d")
    held = await at.files.Lock(files_pb2.LockRequest(path="/d"))
    entry = await at.files.Stat(files_pb2.StatRequest(path="/d"))
    await at.restore(made.id, fence=held.fence, if_match=entry.etag)
    await at.files.Unlock(files_pb2.UnlockRequest(fence=held.fence))
    with fails(REFUSED, "LOCK_LOST"):
        await at.restore(made.id, fence=held.fence)
    with fails(grpc.StatusCode.ABORTED, "ETAG_STALE"):
        await at.restore(made.id, if_match=entry.etag)


async def test_a_request_that_comes_again_is_answered_as_before(at: Port, store: Metastore) -> None:
    await at.fill("/d/", "/d/a")
    made = await at.create("/d")
    done = await at.restore(made.id, request_id="r")
    await at.fill("/d/b")
    again = await at.restore(made.id, request_id="r")
    assert (again.entry.ino, again.trash_id) == (done.entry.ino, done.trash_id)
    assert (await at.files.Stat(files_pb2.StatRequest(path="/d/b"))).name == "b"
    both = await asyncio.gather(*(at.branch(made.id, "/e", request_id="s") for _ in range(2)))
    assert both[0].entry.ino == both[1].entry.ino
    before = await keys_of_trees(store)
    await settle(store)
    left = await keys_of_trees(store)
    assert not [key for key in left if key.startswith((b"default\0B", b"/system/"))]
    assert len(left) <= len(before)


async def test_quotas_above_count_what_comes_and_their_limits_hold(at: Port, store: Metastore) -> None:
    await at.fill("/q/", "/q/d/", "/q/d/a", "/q/d/b", "/q/d/s/")
    made = await at.create("/q/d")
    await at.files.SetQuota(files_pb2.SetQuotaRequest(path="/q", limit_inodes=14))
    quota = files_pb2.GetQuotaRequest(path="/q")
    assert (await at.files.GetQuota(quota)).used_inodes == 4 + 0
    await at.restore(made.id)
    assert (await at.files.GetQuota(quota)).used_inodes == 8
    await at.branch(made.id, "/q/e")
    used = await at.files.GetQuota(quota)
    assert (used.used_inodes, used.used_bytes) == (12, 3 * 2 * len("/q/d/a"))
    before = await keys_of_trees(store)
    with fails(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED"):
        await at.branch(made.id, "/q/f")
    assert await keys_of_trees(store) == before
    await at.files.EmptyTrash(files_pb2.EmptyTrashRequest())
    await settle(store)
    assert (await at.files.GetQuota(quota)).used_inodes == 8


async def test_a_directorys_own_quota_counts_the_tree_that_takes_its_place(at: Port, store: Metastore) -> None:
    await at.fill("/d/", "/d/a", "/d/b")
    made = await at.create("/d")
    await at.files.SetQuota(files_pb2.SetQuotaRequest(path="/d", limit_inodes=3))
    await at.fill("/d/c")
    done = await at.restore(made.id)
    quota = await at.files.GetQuota(files_pb2.GetQuotaRequest(path="/d"))
    assert (quota.ino, quota.limit_inodes, quota.used_inodes, quota.used_bytes) == (done.entry.ino, 3, 2, 8)
    await at.fill("/d/x")
    with fails(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED"):
        await at.files.CreateFile(files_pb2.CreateFileRequest(path="/d/y"))
    back = files_pb2.RestoreFromTrashRequest(id=done.trash_id, path="/old")
    await at.files.RestoreFromTrash(back)
    assert (await at.files.GetQuota(files_pb2.GetQuotaRequest(path="/old"))).used_inodes == 3
    await at.files.SetQuota(files_pb2.SetQuotaRequest(path="/d", limit_inodes=1))
    with fails(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED"):
        await at.restore(made.id)


async def test_a_directory_that_holds_one_with_a_quota_is_not_replaced(at: Port) -> None:
    await at.fill("/d/", "/d/s/", "/d/s/t/")
    made = await at.create("/d")
    await at.files.SetQuota(files_pb2.SetQuotaRequest(path="/d/s/t", limit_inodes=3))
    with fails(REFUSED, "QUOTA_CROSSED"):
        await at.restore(made.id)
    await at.branch(made.id, "/e")


async def test_principals_roots_move_to_what_takes_the_place_of_theirs(at: Port) -> None:
    await at.fill("/d/", "/d/s/", "/d/s/a")
    made = await at.create("/d")
    for principal, path in (("one", "/d"), ("two", "/d/s")):
        await at.files.SetPrincipalRoot(files_pb2.SetPrincipalRootRequest(principal=principal, path=path))
    await at.fill("/d/s/b", "/d/t/")
    await at.restore(made.id)
    one, two = at.of(quartet_principal="one"), at.of(quartet_principal="two")
    assert set(await one.everything("/")) == {"/", "/s", "/s/a"}
    assert set(await two.everything("/")) == {"/", "/a"}
    await at.fill("/d/t/")
    await at.files.SetPrincipalRoot(files_pb2.SetPrincipalRootRequest(principal="three", path="/d/t"))
    with fails(REFUSED, "PRINCIPAL_ROOT_LOST"):
        await at.restore(made.id)


async def test_a_workspace_that_is_put_back_keeps_its_name(store: Metastore, blobs: MemoryBlobs) -> None:
    ticks: Callable[[], Timestamp] = lambda: Timestamp(seconds=1)  # noqa: E731
    snapshots = SnapshotService(store, ticks, blobs, lambda: uuid.uuid4().hex, "node:1")
    places = WorkspaceService(store, ticks)
    async with port(FileService(store, ticks, blobs), snapshots, places) as at:
        workspaces = workspaces_pb2_grpc.WorkspaceServiceStub(at.channel)
        await at.fill("/d/", "/d/a")
        await workspaces.Register(workspaces_pb2.RegisterRequest(name="w", path="/d"))
        made = await at.create("/d")
        done = await at.restore(made.id)
        found = await workspaces.Get(workspaces_pb2.GetRequest(name="w"))
        assert (found.ino, found.path, found.gone) == (done.entry.ino, "/d", False)
        await at.branch(made.id, "/e")
        assert (await workspaces.Get(workspaces_pb2.GetRequest(name="w"))).path == "/d"


async def test_writers_meanwhile_write_into_the_old_tree_or_the_new_one_and_are_not_lost_between(at: Port) -> None:
    await at.fill("/d/", "/d/s/", *(f"/d/s/{i}" for i in range(60)))
    made = await at.create("/d")
    done, stop = [], asyncio.Event()

    async def writer(number: int) -> None:
        turn = 0
        while not stop.is_set():
            path = f"/d/s/w{number}-{turn}"
            await write(at.files, path, path.encode())
            done.append(path)
            turn += 1

    writers = [asyncio.create_task(writer(number)) for number in range(3)]
    results = [await at.restore(made.id) for _ in range(4)]
    stop.set()
    await asyncio.gather(*writers)
    trees = [await at.everything("/d")]
    for number, one in enumerate(results):
        request = files_pb2.RestoreFromTrashRequest(id=one.trash_id, path=f"/t{number}")
        await at.files.RestoreFromTrash(request)
        trees.append(await at.everything(f"/t{number}"))
    found = [path for tree in trees for path in tree if path.startswith("/s/w")]
    assert sorted(found) == sorted(path.removeprefix("/d") for path in done)
    for tree in trees:
        assert len([path for path in tree if not path.startswith("/s/w")]) == 62
        assert all(tree[path][3] == f"/d{path}".encode() for path in tree if path.startswith("/s/"))


async def test_one_that_reads_meanwhile_sees_the_old_tree_or_the_new_one(at: Port) -> None:
    await at.fill("/d/", *(f"/d/{i}" for i in range(50)))
    made = await at.create("/d")
    for i in range(50):
        await at.files.Rename(files_pb2.RenameRequest(source=f"/d/{i}", destination=f"/d/n{i}"))
    restoring = asyncio.create_task(at.restore(made.id))
    seen = set()
    while not restoring.done():
        answer = await at.files.List(files_pb2.ListRequest(path="/d", page_size=1000))
        names = [entry.name for entry in answer.entries]
        assert len(names) == 50
        seen.add(sum(name.startswith("n") for name in names))
    await restoring
    assert seen <= {0, 50}


@pytest.mark.parametrize("step", range(0, 12))
async def test_a_restore_that_dies_anywhere_leaves_the_old_tree_and_nothing_else(
    at: Port, store: Metastore, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    await at.fill("/d/", "/d/s/", *(f"/d/s/{i}" for i in range(120)), "/d/t/", "/d/t/x")
    xattr = files_pb2.Xattr(name="n", value=b"v")
    await at.files.SetXattr(files_pb2.SetXattrRequest(path="/d/t", xattr=xattr))
    made = await at.create("/d")
    await at.fill("/d/new")
    before, tree = await keys_of_trees(store), await at.everything("/d")
    commit, count = Stage._commit, 0

    async def dying(self: Stage, operations: Any) -> None:
        nonlocal count
        if count == step:
            raise asyncio.CancelledError
        count += 1
        await commit(self, operations)

    async def nothing(self: Stage) -> None:
        """A node that dies does not clear up."""

    monkeypatch.setattr(Stage, "_commit", dying)
    monkeypatch.setattr(Stage, "abandon", nothing)
    try:
        await at.restore(made.id)
    except grpc.aio.AioRpcError:
        assert await at.everything("/d") == tree
        await settle(store)
        assert await keys_of_trees(store) == before
    else:
        assert count <= step
        assert await at.diff(made.id) == []


async def test_a_tree_that_another_node_took_down_is_not_put_in_place(
    at: Port, store: Metastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await at.fill("/d/", "/d/a")
    made = await at.create("/d")
    before = await keys_of_trees(store)
    build = Stage.build

    async def slow(self: Stage, *arguments: Any) -> Any:
        built = await build(self, *arguments)
        await settle(store)
        return built

    monkeypatch.setattr(Stage, "build", slow)
    with fails(grpc.StatusCode.ABORTED, "CONTENTION"):
        await at.restore(made.id)
    assert await keys_of_trees(store) == before


async def test_a_snapshot_that_is_deleted_while_it_is_put_back_is_not(
    at: Port, store: Metastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await at.fill("/d/", *(f"/d/{i}" for i in range(60)))
    made = await at.create("/d")
    before = await keys_of_trees(store)
    begin = Stage._begin

    async def late(self: Stage) -> None:
        await begin(self)
        await at.snapshots.DeleteSnapshot(pb.DeleteSnapshotRequest(snapshot=made.id))

    monkeypatch.setattr(Stage, "_begin", late)
    with fails(grpc.StatusCode.ABORTED, "CONTENTION"):
        await at.restore(made.id)
    await settle(store)
    assert await keys_of_trees(store) == before


async def test_only_what_shows_no_life_is_taken_down_but_ones_own_earlier_life_at_once(
    at: Port, store: Metastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await at.fill("/d/", "/d/a")
    made = await at.create("/d")

    build = Stage.build

    async def dying(self: Stage, *arguments: Any) -> Any:
        await build(self, *arguments)
        raise asyncio.CancelledError

    async def nothing(self: Stage) -> None:
        """A node that dies does not clear up."""

    monkeypatch.setattr(Stage, "build", dying)
    monkeypatch.setattr(Stage, "abandon", nothing)
    for _ in range(2):
        with pytest.raises(grpc.aio.AioRpcError):
            await at.restore(made.id)
    clock = [0.0]
    now: Callable[[], Timestamp] = lambda: Timestamp(seconds=1)  # noqa: E731
    hand = Stagehand(store, "other:1 life", now, lambda: clock[0], patience=10.0)
    assert await hand.look() == 0
    clock[0] = 9.0
    assert await hand.look() == 0
    clock[0] = 11.0
    assert await hand.look() == 2
    with pytest.raises(grpc.aio.AioRpcError):
        await at.restore(made.id)
    assert await Stagehand(store, "node:1 another-life", now, lambda: 0.0).look() == 1


async def test_bytes_that_are_gone_are_said_to_be(at: Port, blobs: MemoryBlobs, store: Metastore) -> None:
    await at.fill("/d/", "/d/a")
    made = await at.create("/d")
    before = await keys_of_trees(store)
    await blobs.delete("default", [Digest.of(b"/d/a")])
    with fails(grpc.StatusCode.DATA_LOSS, "CONTENT_LOST"):
        await at.restore(made.id)
    await settle(store)
    assert await keys_of_trees(store) == before


_name = st.text(min_size=1, max_size=20).filter(
    lambda text: text not in (".", "..") and not set(text) & {"/", "\0"} and len(text.encode("utf-8", "ignore")) < 60
)


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    names=st.lists(_name, max_size=6, unique=True),
    sizes=st.lists(st.sampled_from([0, 1, 4096, 4097, 3 << 20]), min_size=6, max_size=6),
    modes=st.lists(st.integers(0, 0o7777), min_size=6, max_size=6),
    values=st.lists(st.binary(max_size=400), min_size=6, max_size=6),
)
async def test_whatever_a_tree_holds_comes_back_as_it_was(
    at: Port, store: Metastore, names: list[str], sizes: list[int], modes: list[int], values: list[bytes]
) -> None:
    await store.delete_range(rpc_pb2.DeleteRangeRequest(key=b"default\0B", range_end=b"default\0y"))
    await at.fill("/d/")
    for name, size, mode, value in zip(names, sizes, modes, values, strict=False):
        path = f"/d/{name}"
        try:
            await write(at.files, path, noise(size, size), attributes=files_pb2.Attributes(mode=mode, owner=name[:5]))
            xattr = files_pb2.Xattr(name=name, value=value)
            await at.files.SetXattr(files_pb2.SetXattrRequest(path=path, xattr=xattr))
        except grpc.aio.AioRpcError as error:  # two names that are one, after normalization
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                raise
    before = await at.everything("/d")
    made = await at.create("/d")
    await at.branch(made.id, "/e")
    assert await at.everything("/e") == before
    assert (await at.create("/e")).root == made.root
