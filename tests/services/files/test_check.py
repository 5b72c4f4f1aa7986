"""The check finds every kind of thing that can be wrong, mends what can be mended, and tells nothing of a tree at work."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from google.protobuf.duration_pb2 import Duration
from harness.checking import check
from harness.contents import MIB, noise, read, write
from quartet.files.storage.v1 import storage_pb2
from quartet.files.v1 import files_pb2 as pb
from quartet.maintenance.v1 import maintenance_pb2
from quartet_server.errors import FileNotFound, QuartetError
from quartet_server.files import keys
from quartet_server.files.contents import contents
from quartet_server.files.reclaim import Reclaimer
from quartet_server.objects.memory import MemoryBlobs

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")
ZONE = "default"
LARGE = noise(5 * MIB)
embedded = pytest.mark.parametrize("store", ["embedded"], indirect=True)


@dataclass
class Scene:
    """A tree with something of everything, and its inode numbers by path."""

    files: FileServiceAsyncStub
    store: Metastore
    blobs: MemoryBlobs
    inos: dict[str, int]

    async def put(self, key: bytes, value: bytes) -> None:
        await self.store.put(rpc_pb2.PutRequest(key=key, value=value))

    async def delete(self, key: bytes) -> None:
        assert (await self.store.delete_range(rpc_pb2.DeleteRangeRequest(key=key))).deleted == 1

    async def get(self, key: bytes) -> bytes:
        return (await self.store.range(rpc_pb2.RangeRequest(key=key))).kvs[0].value

    def dentry(self, path: str) -> bytes:
        above, _, name = path.rpartition("/")
        return keys.dentry(ZONE, self.inos[above], name.encode())

    async def found(self, path: str = "/", *, repair: bool = False, read: bool = False) -> set[str]:
        """Kinds of what a check finds."""
        findings, _ = await check(self.store, self.blobs, path, repair=repair, read=read)
        return {maintenance_pb2.FindingKind.Name(one.kind).removeprefix("FINDING_KIND_") for one in findings}


async def build(files: FileServiceAsyncStub, store: Metastore, blobs: MemoryBlobs) -> Scene:
    await files.Mkdir(pb.MkdirRequest(path="/d/sub/deep", parents=True))
    await files.SetQuota(pb.SetQuotaRequest(path="/d", limit_inodes=100))
    await write(files, "/d/small", b"small")
    await write(files, "/d/sub/large", LARGE)
    await files.CreateFile(
        pb.CreateFileRequest(
            path="/d/link", type=pb.ENTRY_TYPE_SYMLINK, attributes=pb.Attributes(symlink_target="small")
        )
    )
    await files.SetXattr(pb.SetXattrRequest(path="/d/small", xattr=pb.Xattr(name="a", value=b"b")))
    await files.Lock(pb.LockRequest(path="/d/small", name="l", ttl=Duration(seconds=600)))
    await files.Mkdir(pb.MkdirRequest(path="/d/gone/below", parents=True, request_id="r"))
    gone = (await files.Stat(pb.StatRequest(path="/d/gone"))).ino
    await files.Delete(pb.DeleteRequest(path="/d/gone", recursive=True))
    await files.SetPrincipalRoot(pb.SetPrincipalRootRequest(principal="ann", path="/d"))
    inos = {"": keys.ROOT, "gone": gone}
    for path in ("/d", "/d/sub", "/d/sub/deep", "/d/small", "/d/sub/large", "/d/link"):
        inos[path] = (await files.Stat(pb.StatRequest(path=path))).ino
    return Scene(files, store, blobs, inos)


async def second_entry(scene: Scene) -> None:
    value = storage_pb2.Dentry(ino=scene.inos["/d/small"], type=pb.ENTRY_TYPE_FILE).SerializeToString()
    await scene.put(keys.dentry(ZONE, scene.inos["/d/sub"], b"again"), value)


async def entry_of_nothing(scene: Scene) -> None:
    value = storage_pb2.Dentry(ino=999_999, type=pb.ENTRY_TYPE_FILE).SerializeToString()
    await scene.put(keys.dentry(ZONE, scene.inos["/d/sub"], b"ghost"), value)


async def wrong_type(scene: Scene) -> None:
    value = storage_pb2.Dentry(ino=scene.inos["/d/small"], type=pb.ENTRY_TYPE_SYMLINK).SerializeToString()
    await scene.put(scene.dentry("/d/small"), value)


async def wrong_spelling(scene: Scene) -> None:
    value = storage_pb2.Dentry(ino=scene.inos["/d/small"], type=pb.ENTRY_TYPE_FILE, spelling="other")
    await scene.put(scene.dentry("/d/small"), value.SerializeToString())


async def no_pointer(scene: Scene) -> None:
    await scene.delete(keys.parent(ZONE, scene.inos["/d/sub"]))


async def wrong_pointer(scene: Scene) -> None:
    value = storage_pb2.Parent(ino=keys.ROOT, name="elsewhere").SerializeToString()
    await scene.put(keys.parent(ZONE, scene.inos["/d/small"]), value)


async def pointer_of_nothing(scene: Scene) -> None:
    value = storage_pb2.Parent(ino=keys.ROOT, name="elsewhere").SerializeToString()
    await scene.put(keys.parent(ZONE, 999_999), value)


async def pointer_in_the_trash(scene: Scene) -> None:
    value = storage_pb2.Parent(ino=scene.inos["/d"], name="gone").SerializeToString()
    await scene.put(keys.parent(ZONE, scene.inos["gone"]), value)


async def no_entry(scene: Scene) -> None:
    await scene.delete(scene.dentry("/d/sub"))


async def no_directory(scene: Scene) -> None:
    await scene.delete(keys.inode(ZONE, scene.inos["/d/sub"]))


async def circle(scene: Scene) -> None:
    await scene.delete(scene.dentry("/d/sub"))
    sub, deep = scene.inos["/d/sub"], scene.inos["/d/sub/deep"]
    value = storage_pb2.Dentry(ino=sub, type=pb.ENTRY_TYPE_DIRECTORY).SerializeToString()
    await scene.put(keys.dentry(ZONE, deep, b"up"), value)
    await scene.put(keys.parent(ZONE, sub), storage_pb2.Parent(ino=deep, name="up").SerializeToString())


async def attributes_of_nothing(scene: Scene) -> None:
    await scene.put(keys.xattr(ZONE, 999_999, b"a"), b"b")
    await scene.put(keys.xattr_guard(ZONE, 999_999), b"")


async def no_guard(scene: Scene) -> None:
    await scene.delete(keys.xattr_guard(ZONE, scene.inos["/d/small"]))


async def too_many_attributes(scene: Scene) -> None:
    for number in range(64):
        await scene.put(keys.xattr(ZONE, scene.inos["/d/small"], b"b%d" % number), b"")


async def trash_of_nothing(scene: Scene) -> None:
    value = storage_pb2.Trashed(ino=999_999, type=pb.ENTRY_TYPE_FILE, path="/x").SerializeToString()
    await scene.put(keys.trash(ZONE, keys.trash_item(1, 999_999)), value)


async def trash_of_the_living(scene: Scene) -> None:
    value = storage_pb2.Trashed(ino=scene.inos["/d/sub"], path="/d/sub").SerializeToString()
    await scene.put(keys.trash(ZONE, keys.trash_item(1, scene.inos["/d/sub"])), value)


async def reclaim_of_the_living(scene: Scene) -> None:
    await scene.put(keys.reclaim(ZONE, scene.inos["/d/sub"]), b"")


async def reclaim_of_nothing(scene: Scene) -> None:
    await scene.put(keys.reclaim(ZONE, 999_999), b"")


async def quota_of_nothing(scene: Scene) -> None:
    await scene.put(keys.quota(ZONE, 999_999), storage_pb2.QuotaRecord(ino=scene.inos["/d/sub"]).SerializeToString())


async def no_quota(scene: Scene) -> None:
    number = storage_pb2.Dentry.FromString(await scene.get(scene.dentry("/d"))).quota
    await scene.delete(keys.quota(ZONE, number))


async def wrong_count(scene: Scene) -> None:
    number = storage_pb2.Dentry.FromString(await scene.get(scene.dentry("/d"))).quota
    record = storage_pb2.QuotaRecord.FromString(await scene.get(keys.quota(ZONE, number)))
    assert (record.bytes, record.inodes) == (len(LARGE) + 5, 7)
    record.inodes += 1
    await scene.put(keys.quota(ZONE, number), record.SerializeToString())


async def endless(scene: Scene) -> None:
    await scene.put(keys.lock(ZONE, scene.inos["/d"], b"l"), b"")
    await scene.put(keys.requests(ZONE) + b"forever", b"")


async def low_number(scene: Scene) -> None:
    await scene.put(keys.allocator(ZONE), (3).to_bytes(8, "big"))


async def lost_root(scene: Scene) -> None:
    value = storage_pb2.RootRecord(ino=999_999).SerializeToString()
    await scene.put(keys.root_of(ZONE, b"ben"), value)


async def lost_chunk(scene: Scene) -> None:
    await scene.blobs.delete(ZONE, [(await scene.blobs.scan(ZONE))[0].digest])


async def wrong_size(scene: Scene) -> None:
    for path in ("/d/small", "/d/sub/large"):
        key = keys.inode(ZONE, scene.inos[path])
        inode = storage_pb2.Inode.FromString(await scene.get(key))
        inode.attributes.size += 1
        await scene.put(key, inode.SerializeToString())


async def unreadable(scene: Scene) -> None:
    for key in (scene.dentry("/d/link"), keys.inode(ZONE, scene.inos["/d/link"])):
        await scene.put(key, b"\xff")


Harm = Callable[[Scene], Awaitable[None]]
HARMS: list[tuple[Harm, set[str], set[str]]] = [
    (second_entry, {"ENTRY_DOUBLE", "QUOTA_MISCOUNTED"}, set()),
    (entry_of_nothing, {"ENTRY_DANGLING", "QUOTA_MISCOUNTED"}, set()),
    (wrong_type, {"ENTRY_WRONG"}, set()),
    (wrong_spelling, {"ENTRY_WRONG"}, set()),
    (no_pointer, {"POINTER_WRONG", "INODE_ORPHANED", "QUOTA_MISCOUNTED"}, set()),
    (wrong_pointer, {"POINTER_WRONG", "INODE_ORPHANED"}, set()),
    (pointer_of_nothing, {"POINTER_DANGLING"}, set()),
    (pointer_in_the_trash, {"POINTER_DANGLING"}, set()),
    (no_entry, {"INODE_ORPHANED", "QUOTA_MISCOUNTED"}, set()),
    (no_directory, {"ENTRY_DANGLING", "ENTRY_STRANDED", "POINTER_DANGLING"}, set()),
    (circle, {"DIRECTORY_CYCLE", "QUOTA_MISCOUNTED"}, set()),
    (attributes_of_nothing, {"XATTR_WRONG"}, set()),
    (no_guard, {"XATTR_WRONG"}, set()),
    (too_many_attributes, {"XATTR_WRONG"}, {"XATTR_WRONG"}),
    (trash_of_nothing, {"TRASH_WRONG"}, set()),
    (trash_of_the_living, {"TRASH_WRONG"}, set()),
    (reclaim_of_the_living, {"RECLAIM_WRONG"}, set()),
    (reclaim_of_nothing, {"RECLAIM_WRONG"}, set()),
    (quota_of_nothing, {"QUOTA_WRONG"}, set()),
    (no_quota, {"QUOTA_WRONG"}, set()),
    (wrong_count, {"QUOTA_MISCOUNTED"}, set()),
    (endless, {"LEASE_MISSING"}, set()),
    (low_number, {"ALLOCATOR_BEHIND"}, set()),
    (lost_root, {"PRINCIPAL_ROOT_LOST"}, {"PRINCIPAL_ROOT_LOST"}),
    (lost_chunk, {"CONTENT_LOST"}, {"CONTENT_LOST"}),
    (wrong_size, {"CONTENT_WRONG", "QUOTA_MISCOUNTED"}, {"CONTENT_WRONG"}),
    (unreadable, {"RECORD_UNREADABLE"}, {"RECORD_UNREADABLE"}),
]
"""What is done to the tree, what the check finds, and what is left when it has mended what it can."""


@embedded
@pytest.mark.parametrize(("harm", "kinds", "left"), [pytest.param(*one, id=one[0].__name__) for one in HARMS])
async def test_a_harm_is_found_and_mended_and_no_byte_is_lost(
    files: FileServiceAsyncStub, store: Metastore, blobs: MemoryBlobs, harm: Harm, kinds: set[str], left: set[str]
) -> None:
    scene = await build(files, store, blobs)
    assert await scene.found(read=True) == set()
    await harm(scene)
    assert await scene.found() == kinds
    assert await scene.found() == kinds  # looking changed nothing
    await scene.found(repair=True)
    assert await scene.found() == left
    if left <= {"XATTR_WRONG", "PRINCIPAL_ROOT_LOST"}:
        assert await everything(files) == {b"small", LARGE}


async def everything(files: FileServiceAsyncStub) -> set[bytes]:
    """The bytes of all files, wherever they are now."""
    listed = await files.List(pb.ListRequest(path="/", recursive=True, type=pb.ENTRY_TYPE_FILE))
    found = set()
    for entry in listed.entries:
        found.add(await read(files, entry.path))
    return found


@embedded
async def test_orphans_are_in_lost_and_found_with_all_below_them(
    files: FileServiceAsyncStub, store: Metastore, blobs: MemoryBlobs
) -> None:
    scene = await build(files, store, blobs)
    await no_entry(scene)
    findings, summary = await check(store, blobs, repair=True)
    assert [one.remedy for one in findings] == ["move it to /lost+found", "write the right counts"]
    assert summary.findings == summary.repaired == 2
    assert await read(files, f"/lost+found/inode-{scene.inos['/d/sub']}/large") == LARGE


@embedded
async def test_damaged_bytes_are_found_when_they_are_read(
    files: FileServiceAsyncStub, store: Metastore, blobs: MemoryBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = await build(files, store, blobs)
    from quartet_server.errors import BlobCorrupt

    async def damaged(*_: object, **__: object) -> object:
        raise BlobCorrupt("it is damaged")
        yield b""

    monkeypatch.setattr(blobs, "read", damaged)
    assert await scene.found() == set()
    assert await scene.found(read=True) == {"CONTENT_LOST"}


@embedded
@pytest.mark.parametrize("key", [b"/system/staging/default\0", b"default\0B"])
async def test_a_tree_in_the_making_need_not_be_whole_and_is_left_alone(
    files: FileServiceAsyncStub, store: Metastore, blobs: MemoryBlobs, key: bytes
) -> None:
    scene = await build(files, store, blobs)
    await files.RemoveQuota(pb.RemoveQuotaRequest(path="/d"))
    sub = scene.inos["/d/sub"]
    await scene.put(key + sub.to_bytes(8, "big"), b"")
    await scene.delete(scene.dentry("/d/sub"))
    await scene.delete(keys.parent(ZONE, sub))
    await entry_of_nothing(scene)
    assert await scene.found(repair=True) == set()
    await scene.delete(key + sub.to_bytes(8, "big"))
    assert await scene.found() == {"INODE_ORPHANED", "ENTRY_DANGLING"}


@embedded
async def test_what_is_below_a_path_is_checked_alone(
    files: FileServiceAsyncStub, store: Metastore, blobs: MemoryBlobs
) -> None:
    scene = await build(files, store, blobs)
    await lost_chunk(scene)
    await wrong_type(scene)
    assert await scene.found("/d/sub") == {"CONTENT_LOST"}
    assert await scene.found("/d/sub/large") == {"CONTENT_LOST"}
    assert await scene.found("/d/sub/deep") == set()
    assert await scene.found("/d") == {"CONTENT_LOST", "ENTRY_WRONG"}
    findings, summary = await check(store, blobs, "/d", repair=True)
    assert [one.path for one in findings if not one.repaired] == ["/d/sub/large"]
    assert summary.examined > 5
    with pytest.raises(FileNotFound):
        await check(store, blobs, "/none")


@embedded
async def test_long_lists_of_chunks_are_looked_into(
    files: FileServiceAsyncStub, store: Metastore, blobs: MemoryBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "LISTED", 2)
    scene = await build(files, store, blobs)
    assert await scene.found() == set()
    await blobs.delete(ZONE, [min((info.digest for info in await blobs.scan(ZONE)), key=lambda digest: digest.size)])
    assert await scene.found() == {"CONTENT_LOST"}


Step = Callable[["FileServiceAsyncStub", Reclaimer, random.Random], Awaitable[object]]


def place(dice: random.Random) -> str:
    return dice.choice(["/q/a", "/q/b", "/c"])


STEPS: tuple[Step, ...] = (
    lambda files, _, dice: files.Mkdir(pb.MkdirRequest(path=f"{place(dice)}/d{dice.randrange(3)}", parents=True)),
    lambda files, _, dice: write(
        files, f"{place(dice)}/f{dice.randrange(5)}", noise(dice.choice([10, 5000]), dice.randrange(9))
    ),
    lambda files, _, dice: files.Rename(pb.RenameRequest(source=f"{place(dice)}/f1", destination=f"{place(dice)}/f2")),
    lambda files, _, dice: files.Delete(
        pb.DeleteRequest(path=place(dice), recursive=True, permanent=dice.random() < 0.5)
    ),
    lambda files, _, dice: files.SetXattr(
        pb.SetXattrRequest(path=f"{place(dice)}/f1", xattr=pb.Xattr(name="x", value=b"y"))
    ),
    lambda files, _, __: files.EmptyTrash(pb.EmptyTrashRequest()),
    lambda _, reclaimer, __: reclaimer.clear(),
)
"""What workers do, some of which fails, as what it needs is not there."""


async def test_a_tree_at_work_is_clean_whenever_it_is_looked_at(
    files: FileServiceAsyncStub, store: Metastore, blobs: MemoryBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quartet_server.files.check.check._PAGE", 3)
    await files.Mkdir(pb.MkdirRequest(path="/q"))
    await files.SetQuota(pb.SetQuotaRequest(path="/q", limit_inodes=1000))
    reclaimer, stop = Reclaimer(store), asyncio.Event()

    async def work(seed: int) -> int:
        dice, done = random.Random(seed), 0
        while not stop.is_set():
            step = dice.choices(list(STEPS), [3, 6, 2, 1, 2, 1, 1])[0]
            try:
                await step(files, reclaimer, dice)
                done += 1
            except Exception as error:
                if "grpc" not in type(error).__module__ and not isinstance(error, QuartetError):
                    raise
        return done

    workers = [asyncio.create_task(work(seed)) for seed in range(4)]
    try:
        for _ in range(12):
            findings, summary = await check(store, blobs, repair=True)
            assert findings == []
            assert summary.revision > 0
    finally:
        stop.set()
        done = await asyncio.gather(*workers)
    assert sum(done) > 20
    assert (await check(store, blobs, read=True))[0] == []
