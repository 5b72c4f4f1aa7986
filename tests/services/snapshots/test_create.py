"""CreateSnapshot: what a snapshot holds, that equal trees have equal digests, and what the second one costs."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from harness.contents import MIB, noise, write
from harness.failures import fails
from harness.snapshots import Port, port
from harness.stores import Stores
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quartet.files.v1 import files_pb2
from quartet.snapshots.v1 import snapshots_pb2 as pb
from quartet_server.files.service import FileService
from quartet_server.meta.snapshot import Snapshot
from quartet_server.objects.digest import Digest
from quartet_server.objects.memory import MemoryBlobs
from quartet_server.snapshots import history, keys
from quartet_server.snapshots.building import Builder, Filling
from quartet_server.snapshots.directories import Directories
from quartet_server.snapshots.living import Living
from quartet_server.snapshots.service import SnapshotService

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def read_whole(store: Metastore, blobs: MemoryBlobs, path_ino: int, zone: str = "default") -> Digest:
    """The root digest of a directory as it is now, read without anything that is remembered."""
    revision = (await store.put(rpc_pb2.PutRequest(key=b"elsewhere"))).header.revision
    directories = Directories(blobs)
    filling = Filling(blobs, zone)
    living = Living(zone, Snapshot(store, revision=revision), filling, directories)
    return (await Builder(zone, living, filling, directories).build(path_ino, None))[0]


def root_of(snapshot: pb.Snapshot) -> Digest:
    return Digest(snapshot.root.hash, snapshot.root.size)


async def test_a_snapshot_holds_all_there_is_of_every_entry(at: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quartet_server.files.contents.contents.LISTED", 4)
    await at.fill("/d/", "/d/sub/", "/d/sub/deep/", "/d/small", "/d/sub/link->../small", "/d/empty/")
    bodies = {"/d/one": noise(5000), "/d/sub/some": noise(3 * MIB, 2), "/d/sub/many": noise(7 * MIB, 3), "/d/none": b""}
    for path, data in bodies.items():
        await write(at.files, path, data)
    mtime = Timestamp(seconds=5, nanos=7)
    attributes = files_pb2.Attributes(mode=0o750, owner="ann", mime="text/x", mtime=mtime)
    await at.files.SetAttributes(files_pb2.SetAttributesRequest(path="/d/one", attributes=attributes))
    claimed = files_pb2.Attributes(size=77, digest=b"theirs", mode=0o600)
    await at.files.CreateFile(files_pb2.CreateFileRequest(path="/d/absent", attributes=claimed))
    for path, name, value in (("/d/one", "short", b"\0\xff"), ("/d/sub", "long", noise(9000)), ("/d", "top", b"")):
        xattr = files_pb2.Xattr(name=name, value=value)
        await at.files.SetXattr(files_pb2.SetXattrRequest(path=path, xattr=xattr))
    before = await at.everything("/d")
    made = await at.create("/d", message="all", labels={"a": "b"})
    assert (made.path, made.message, dict(made.labels), made.parent) == ("/d", "all", {"a": "b"}, "")
    sizes = sum(map(len, bodies.values())) + len("/d/small") + 77
    assert made.totals == pb.Totals(files=6, directories=3, symlinks=1, bytes=sizes)
    for path, data in bodies.items():
        assert await at.read(made.id, path.removeprefix("/d")) == data
        assert (
            await at.read(made.id, path.removeprefix("/d"), offset=len(data) // 2, length=100)
            == (data[len(data) // 2 :][:100])
        )
    one = await at.snapshots.StatEntry(pb.StatEntryRequest(snapshot=made.id, path="/one"))
    assert one.entry.attributes.owner == "ann"
    assert [(x.name, x.value) for x in one.xattrs] == [("short", b"\0\xff")]
    with fails(grpc.StatusCode.FAILED_PRECONDITION, "CONTENT_ABSENT"):
        await at.read(made.id, "/absent")
    await at.branch(made.id, "/again")
    assert await at.everything("/again") == before
    assert (await at.create("/again")).root == made.root


async def test_what_is_written_later_is_not_in_a_snapshot_and_what_is_deleted_is(at: Port) -> None:
    await at.fill("/d/", "/d/a", "/d/b")
    made = await at.create("/d")
    await at.files.Delete(files_pb2.DeleteRequest(path="/d/a"))
    await at.fill("/d/b", "/d/c")
    await write(at.files, "/d/b", b"other")
    listed = await at.snapshots.ListEntries(pb.ListEntriesRequest(snapshot=made.id))
    assert [entry.path for entry in listed.entries] == ["/a", "/b"]
    assert await at.read(made.id, "/a") == b"/d/a"
    assert await at.read(made.id, "/b") == b"/d/b"


async def test_equal_trees_have_equal_digests_whoever_makes_them_and_in_whatever_order(
    at: Port, store: Metastore, blobs: MemoryBlobs
) -> None:
    names = ["/", "/b/", "/a/", "/a/é", "/a/z", "/a/B", "/b/ﬁ", "/b/l->x"]
    await at.fill("/one/", *(f"/one{name}" for name in names[1:]))
    other = FileService(store, lambda: Timestamp(seconds=9), blobs)
    second = SnapshotService(store, lambda: Timestamp(seconds=9), blobs, lambda: "ab" * 16, "node:2")
    async with port(other, second) as elsewhere:
        await elsewhere.fill("/two/", "/two/b/", "/two/a/")
        for name in reversed(names[3:]):
            if "->" in name:
                await elsewhere.fill(f"/two{name}")
            else:
                await write(elsewhere.files, f"/two{name}", f"/one{name}".encode())
        for name in names[3:-1]:  # mtimes of files are their own writes': made equal
            for base in ("/one", "/two"):
                await elsewhere.files.Touch(files_pb2.TouchRequest(path=base + name, mtime=Timestamp(seconds=3)))
        one, two = await at.create("/one"), await elsewhere.create("/two")
    assert one.root == two.root
    assert one.id != two.id
    assert (await at.snapshots.GetSnapshot(pb.GetSnapshotRequest(snapshot=one.root.hash.hex()))).id == two.id


async def test_a_snapshot_shows_one_moment_while_others_write(at: Port) -> None:
    """A writer keeps two files equal, the first written first: at no revision is the second ahead."""
    await at.fill("/d/", "/d/x/", "/d/y/")

    async def writer() -> None:
        for number in range(40):
            for path in ("/d/x/f", "/d/y/f"):
                await write(at.files, path, b"%04d" % number)

    writing = asyncio.create_task(writer())
    made = []
    try:
        while not writing.done():
            made.append(await at.create("/d"))
    finally:
        await writing
    for one in made:
        found = []
        for name in ("/x", "/y"):
            listed = await at.snapshots.ListEntries(pb.ListEntriesRequest(snapshot=one.id, path=name))
            found.append(int(await at.read(one.id, f"{name}/f")) if listed.entries else -1)
        first, second = found
        assert second <= first <= second + 1
    assert len(made) > 1


async def test_a_request_that_comes_again_is_answered_as_before(at: Port) -> None:
    await at.fill("/d/")
    made = await at.create("/d", request_id="r")
    await at.fill("/d/a")
    assert await at.create("/d", request_id="r") == made
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED"):
        await at.create("/d", message="other", request_id="r")
    assert await at.log() == [made.id]


async def test_the_parent_is_the_snapshot_before_and_is_held_against_what_is_expected(at: Port) -> None:
    await at.fill("/d/")
    first = await at.create("/d", expected_parent="none")
    with fails(grpc.StatusCode.ABORTED, "SNAPSHOT_PARENT_MOVED"):
        await at.create("/d", expected_parent="none")
    second = await at.create("/d", expected_parent=first.id)
    assert second.parent == first.id
    with fails(grpc.StatusCode.ABORTED, "SNAPSHOT_PARENT_MOVED"):
        await at.create("/d", expected_parent=first.id)
    made = await asyncio.gather(*(at.create("/d", expected_parent=second.id) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(one, pb.Snapshot) for one in made) == 1


@pytest.mark.parametrize(
    ("path", "code", "reason"),
    [
        ("/none", grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND"),
        ("/f", grpc.StatusCode.FAILED_PRECONDITION, "NOT_A_DIRECTORY"),
        ("d", grpc.StatusCode.INVALID_ARGUMENT, "PATH_INVALID"),
    ],
)
async def test_what_is_no_directory_is_not_photographed(
    at: Port, path: str, code: grpc.StatusCode, reason: str
) -> None:
    await at.fill("/f")
    with fails(code, reason):
        await at.create(path)


@pytest.mark.parametrize(
    "bad",
    [
        {"message": "x" * 4097},
        {"labels": {"": "x"}},
        {"labels": {"x": "y" * 256}},
        {"labels": {str(i): "" for i in range(33)}},
        {"ref": " "},
        {"ref": "a" * 129},
        {"ref": "0" * 32},
        {"ref": "none"},
        {"expected_parent": "x"},
    ],
    ids=str,
)
async def test_a_request_beyond_its_limits_is_refused(at: Port, bad: dict[str, Any]) -> None:
    with fails(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
        await at.create("/", **bad)


async def test_a_file_whose_bytes_are_gone_is_not_photographed(at: Port, blobs: MemoryBlobs) -> None:
    await write(at.files, "/f", noise(5000))
    await blobs.delete("default", [Digest.of(noise(5000))])
    with fails(grpc.StatusCode.DATA_LOSS, "CONTENT_LOST"):
        await at.create("/")


class Counting:
    """A store that counts reads and writes of keys, and what watches tell."""

    def __init__(self, store: Metastore) -> None:
        self._store = store
        self.operations = 0
        self.events = 0

    async def range(self, request: rpc_pb2.RangeRequest) -> rpc_pb2.RangeResponse:
        """Count one."""
        self.operations += 1
        return await self._store.range(request)

    async def txn(self, request: rpc_pb2.TxnRequest) -> rpc_pb2.TxnResponse:
        """Count what is in it."""
        self.operations += len(request.success)
        return await self._store.txn(request)

    async def watch(self, requests: Any) -> Any:
        """Count events."""
        async for answer in self._store.watch(requests):
            self.events += len(answer.events)
            yield answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def test_a_second_snapshot_costs_what_changed_since_the_first(stores: Stores, blobs: MemoryBlobs) -> None:
    """Ten thousand files: the first reads each, the second of the same tree none, a third what changed."""
    store = await stores.get("embedded")
    await store.delete_range(rpc_pb2.DeleteRangeRequest(key=b"\0", range_end=b"\0"))
    counting = Counting(store)
    files = FileService(store, lambda: Timestamp(seconds=1), blobs)
    snapshots = SnapshotService(counting, lambda: Timestamp(seconds=1), blobs, _ids(), "node:1")
    async with port(files, snapshots) as at:
        await at.fill(
            "/d/", *(f"/d/{i}/" for i in range(100)), *(f"/d/{i}/{j}" for i in range(100) for j in range(100))
        )

        async def cost() -> tuple[pb.Snapshot, int]:
            counting.operations = counting.events = 0
            made = await at.create("/d")
            return made, counting.operations

        first, all_ = await cost()
        assert first.totals == pb.Totals(files=10_000, directories=100, bytes=first.totals.bytes)
        assert 20_000 <= all_ <= 21_500  # an inode and a guard each, and the pages of 101 directories
        again, none = await cost()
        assert (again.root, again.parent) == (first.root, first.id)
        assert none <= 20
        await write(at.files, "/d/7/7", b"changed")
        await at.files.Delete(files_pb2.DeleteRequest(path="/d/8/8"))
        await at.files.Rename(files_pb2.RenameRequest(source="/d/9/9", destination="/d/10/new"))
        third, some = await cost()
        assert third.root != first.root
        assert some <= 60
        assert counting.events <= 30
        assert root_of(third) == await read_whole(store, blobs, third.ino)
        assert third.totals.files == 9_999


def _ids() -> Any:
    import itertools

    numbers = itertools.count(1)
    return lambda: f"{next(numbers):016x}{0:016x}"


async def test_when_history_is_compacted_the_tree_is_read_instead(at: Port, store: Metastore) -> None:
    await at.fill("/d/", "/d/a")
    first = await at.create("/d")
    await at.fill("/d/b")
    now = (await store.put(rpc_pb2.PutRequest(key=b"x"))).header.revision
    await store.compact(rpc_pb2.CompactionRequest(revision=now))
    second = await at.create("/d")
    assert (second.parent, second.totals.files) == (first.id, 2)


async def test_a_tree_whose_revision_is_compacted_while_it_is_read_is_read_again(
    at: Port, store: Metastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await at.fill("/d/", "/d/a/", "/d/a/f")
    read, times = Living.read, 0

    async def compacting(self: Living, ino: int, base: Digest | None) -> Any:
        nonlocal times
        times += 1
        if times == 1:
            now = (await store.put(rpc_pb2.PutRequest(key=b"x"))).header.revision
            await store.compact(rpc_pb2.CompactionRequest(revision=now))
        return await read(self, ino, base)

    monkeypatch.setattr(Living, "read", compacting)
    assert (await at.create("/d")).totals.files == 1
    assert times > 1
    times = -1_000

    async def always(self: Living, ino: int, base: Digest | None) -> Any:
        now = (await store.put(rpc_pb2.PutRequest(key=b"x"))).header.revision
        await store.compact(rpc_pb2.CompactionRequest(revision=now))
        return await read(self, ino, base)

    monkeypatch.setattr(Living, "read", always)
    await at.fill("/d/g")
    with fails(grpc.StatusCode.OUT_OF_RANGE, "REVISION_COMPACTED"):
        await at.create("/d")


async def test_more_changes_than_are_worth_it_are_not_followed(at: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST", 3)
    await at.fill("/d/")
    first = await at.create("/d")
    await at.fill(*(f"/d/{i}" for i in range(20)))
    second = await at.create("/d")
    assert (second.parent, second.totals.files) == (first.id, 20)


async def test_a_snapshot_that_lasts_asks_again_for_its_blobs(
    store: Metastore, blobs: MemoryBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[Digest] = set()
    missing = blobs.missing

    async def noting(zone: str, digests: Any) -> list[Digest]:
        asked.update(some := list(digests))
        return await missing(zone, some)

    files = FileService(store, lambda: Timestamp(seconds=1), blobs)
    slow = SnapshotService(store, lambda: Timestamp(seconds=1), blobs, _ids(), "node:1", settled=-1.0)
    async with port(files, slow) as at:
        await at.fill("/d/", "/d/small")
        await write(at.files, "/d/f", noise(3 * MIB))
        await at.create("/d")
        monkeypatch.setattr(blobs, "missing", noting)
        await at.create("/d")
    assert asked == {info.digest for info in await blobs.scan("default")}


async def test_a_base_that_is_deleted_meanwhile_is_not_shared_with(
    at: Port, store: Metastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await at.fill("/d/", "/d/a")
    first = await at.create("/d")
    await at.fill("/d/b")
    build, once = Builder.build, True

    async def deleting(self: Builder, ino: int, base: Digest | None) -> Any:
        nonlocal once
        if once:
            once = False
            assert base is not None
            await at.snapshots.DeleteSnapshot(pb.DeleteSnapshotRequest(snapshot=first.id))
        else:
            assert base is None
        return await build(self, ino, base)

    monkeypatch.setattr(Builder, "build", deleting)
    second = await at.create("/d")
    assert (second.parent, second.totals.files) == ("", 2)


NAMES = ("a", "b", "é", "Z")
_path = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(lambda names: "/d/" + "/".join(names))
_step = st.one_of(
    st.tuples(st.just("mkdir"), _path),
    st.tuples(st.just("write"), _path, st.integers(0, 9000)),
    st.tuples(st.just("link"), _path),
    st.tuples(st.just("xattr"), _path, st.sampled_from(["", "long"])),
    st.tuples(st.just("mode"), _path, st.integers(0, 0o777)),
    st.tuples(st.just("move"), _path, _path),
    st.tuples(st.just("exchange"), _path, _path),
    st.tuples(st.just("delete"), _path),
    st.tuples(st.just("quota"), _path),
    st.tuples(st.just("photograph")),
)


async def act(at: Port, step: tuple[Any, ...]) -> None:
    """Do a step; one that is refused changes nothing."""
    kind, *rest = step
    files = at.files
    try:
        if kind == "mkdir":
            await files.Mkdir(files_pb2.MkdirRequest(path=rest[0]))
        elif kind == "write":
            await write(files, rest[0], noise(rest[1], rest[1]))
        elif kind == "link":
            await at.files.CreateFile(
                files_pb2.CreateFileRequest(
                    path=rest[0], type=files_pb2.ENTRY_TYPE_SYMLINK, attributes=files_pb2.Attributes(symlink_target="x")
                )
            )
        elif kind == "xattr":
            value = noise(1000) if rest[1] else b"v"
            xattr = files_pb2.Xattr(name="n", value=value)
            await files.SetXattr(files_pb2.SetXattrRequest(path=rest[0], xattr=xattr))
        elif kind == "mode":
            request = files_pb2.SetAttributesRequest(path=rest[0], attributes=files_pb2.Attributes(mode=rest[1]))
            request.update_mask.paths.append("mode")
            await files.SetAttributes(request)
        elif kind in ("move", "exchange"):
            mode = files_pb2.RENAME_MODE_EXCHANGE if kind == "exchange" else files_pb2.RENAME_MODE_REPLACE
            await files.Rename(files_pb2.RenameRequest(source=rest[0], destination=rest[1], mode=mode))
        elif kind == "delete":
            await files.Delete(files_pb2.DeleteRequest(path=rest[0], recursive=True))
        elif kind == "quota":
            await files.SetQuota(files_pb2.SetQuotaRequest(path=rest[0], limit_inodes=1000))
    except grpc.aio.AioRpcError as error:
        if error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
            raise


@pytest.mark.parametrize("store", ["embedded"], indirect=True)
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(_step, min_size=5, max_size=25))
async def test_a_snapshot_made_from_the_one_before_is_the_one_made_from_nothing(
    at: Port, store: Metastore, blobs: MemoryBlobs, steps: list[tuple[Any, ...]]
) -> None:
    await store.delete_range(rpc_pb2.DeleteRangeRequest(key=b"default\0B", range_end=b"default\0y"))
    await at.fill("/d/")
    for step in [*steps, ("photograph",), *steps, ("photograph",)]:
        if step[0] != "photograph":
            await act(at, step)
            continue
        made = await at.create("/d")
        assert root_of(made) == await read_whole(store, blobs, made.ino)
        entries = list((await at.everything("/d")).values())
        kinds = [entry[0] for entry in entries]
        assert made.totals.files == kinds.count(files_pb2.ENTRY_TYPE_FILE)
        assert made.totals.directories == kinds.count(files_pb2.ENTRY_TYPE_DIRECTORY) - 1
        assert made.totals.bytes == sum(len(entry[3] or b"") for entry in entries)


async def test_marks_of_snapshots_do_not_stay(at: Port, store: Metastore) -> None:
    await at.create("/")
    prefix = keys.mark("default", b"")
    found = await store.range(rpc_pb2.RangeRequest(key=prefix, range_end=prefix[:-1] + b"n", count_only=True))
    assert found.count == 0
