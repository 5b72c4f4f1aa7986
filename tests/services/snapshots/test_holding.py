"""What snapshots lead to is held from the collector; files of several chunks are read by their own digest, kept once."""

from __future__ import annotations

import hashlib
import random
import time
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError
from harness.blobs import owned
from harness.contents import MIB, noise, read, write
from harness.failures import fails
from harness.snapshots import Port
from hypothesis import given
from hypothesis import strategies as st
from quartet.files.v1 import files_pb2
from quartet.snapshots.v1 import snapshots_pb2 as pb
from quartet.wire.reapi import bytestream_pb2, cas_pb2, digests_pb2, tree_pb2
from quartet_server.errors import QuartetError, SnapshotDamaged
from quartet_server.files.contents.holding import HeldByFiles
from quartet_server.files.reclaim import Reclaimer
from quartet_server.objects.composed import ComposedBlobs, Compositions
from quartet_server.objects.digest import Digest
from quartet_server.objects.gc.collector import Collector
from quartet_server.objects.memory import MemoryBlobs
from quartet_server.snapshots import holding, nodes
from quartet_server.snapshots.directories import entries
from quartet_server.snapshots.forgetting import Forgetting
from quartet_server.snapshots.holding import HeldBySnapshots

from raftmeta.metastore import Metastore

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def every(blobs: MemoryBlobs) -> set[Digest]:
    return {info.digest for info in await blobs.scan("default")}


async def remove(at: Port, store: Metastore, path: str) -> None:
    """Delete for good."""
    await at.files.Delete(files_pb2.DeleteRequest(path=path, recursive=True, permanent=True))
    await Reclaimer(store).clear()


def message(data: bytes) -> digests_pb2.Digest:
    return digests_pb2.Digest(hash=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


async def test_a_snapshot_holds_its_blobs_until_it_is_given_up(
    at: Port, store: Metastore, blobs: MemoryBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quartet_server.files.contents.contents.LISTED", 4)
    await at.fill("/d/", "/d/small", "/d/s/", "/d/e")
    for number, size in enumerate((5000, 3 * MIB, 7 * MIB)):
        await write(at.files, f"/d/s/{number}", noise(size, number))
    for path in ("/d/s", "/d/small"):
        xattr = files_pb2.Xattr(name="n", value=noise(1000, 9))
        await at.files.SetXattr(files_pb2.SetXattrRequest(path=path, xattr=xattr))
    made = await at.create("/d")
    twin = await at.create("/d")
    stranger = await blobs.put("default", b"nobody's")
    await remove(at, store, "/d")
    its = await every(blobs) - {stranger}
    held = HeldBySnapshots(store, blobs)
    assert await HeldByFiles(store, blobs).held("default", its) == set()
    assert await held.held("default", [*its, stranger]) == its
    assert {digest async for digest in held.reached("default")} == its
    assert [digest async for digest in held.reached("other")] == []
    await at.snapshots.DeleteSnapshot(pb.DeleteSnapshotRequest(snapshot=made.id))
    assert await held.held("default", its) == its
    await at.snapshots.DeleteSnapshot(pb.DeleteSnapshotRequest(snapshot=twin.id))
    assert await held.held("default", its) == set()


async def test_the_collector_leaves_what_a_snapshot_leads_to_and_takes_it_when_it_is_given_up(
    at: Port, store: Metastore, blobs: MemoryBlobs
) -> None:
    data = noise(5 * MIB)
    await at.fill("/d/", "/d/small", "/d/s/", "/d/s/a")
    await write(at.files, "/d/large", data)
    made = await at.create("/d")
    await remove(at, store, "/d")
    holders = (HeldBySnapshots(store, blobs), HeldByFiles(store, blobs))
    draw = random.Random(1).randbytes
    collector = Collector(blobs, holders, -3600.0, clock=time.time, draw=draw, demand=owned)  # all is old

    async def rounds() -> None:
        for _ in range(3):
            async for _ in collector.run("default", dry=False):
                pass

    before = await every(blobs)
    await rounds()
    assert await every(blobs) == before
    await at.branch(made.id, "/again")
    assert (await at.read(made.id, "/large"), await at.read(made.id, "/s/a")) == (data, b"/d/s/a")
    await at.snapshots.DeleteSnapshot(pb.DeleteSnapshotRequest(snapshot=made.id))
    await rounds()
    assert await read(at.files, "/again/large") == data
    await remove(at, store, "/again")
    await rounds()
    assert await every(blobs) == set()
    assert await Forgetting(store, Compositions(store), blobs).look() == 1


async def test_what_snapshots_share_is_looked_at_once(
    at: Port, store: Metastore, blobs: MemoryBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    await at.fill("/d/", *(f"/d/{i}/" for i in range(10)), *(f"/d/{i}/f" for i in range(10)))
    for number in range(5):
        await at.create("/d")
        await at.fill(f"/d/{number}/g")
    found = [digest async for digest in HeldBySnapshots(store, blobs).reached("default")]
    assert len(found) == len(set(found)) + 4  # of four directories there are two versions, with one file in both
    monkeypatch.setattr(holding, "_SEEN", 2)
    again = [digest async for digest in HeldBySnapshots(store, blobs).reached("default")]
    assert set(again) == set(found)


async def test_what_a_lost_directory_led_to_is_not_held_and_nothing_is_collected(
    at: Port, store: Metastore, blobs: MemoryBlobs
) -> None:
    await at.fill("/d/", "/d/s/", "/d/s/a")
    made = await at.create("/d")
    root = Digest(made.root.hash, made.root.size)
    data = await blobs.get("default", root)
    child = tree_pb2.Directory.FromString(data).directories[0].digest
    await blobs.delete("default", [Digest.parse(child.hash, child.size_bytes)])
    held = HeldBySnapshots(store, blobs)
    its = [root, Digest.of(b"/d/s/a")]
    assert await held.held("default", its) == {root}
    with pytest.raises(SnapshotDamaged, match=made.id):  # what is not known to be reached must not be collected
        async for _ in held.reached("default"):
            pass
    with fails(grpc.StatusCode.DATA_LOSS, "SNAPSHOT_DAMAGED"):
        await at.branch(made.id, "/e")


async def test_a_file_of_several_chunks_is_read_by_its_own_digest_and_kept_once(
    at: Port, store: Metastore, blobs: MemoryBlobs
) -> None:
    data = noise(5 * MIB)
    await at.fill("/d/")
    await write(at.files, "/d/f", data)
    await at.create("/d")
    kept = sum(digest.size for digest in await every(blobs))
    assert kept < len(data) + 10_000
    name = f"blobs/{hashlib.sha256(data).hexdigest()}/{len(data)}"

    async def streamed(**request: Any) -> bytes:
        answers = at.bytes.Read(bytestream_pb2.ReadRequest(resource_name=name, **request))
        return b"".join([answer.data async for answer in answers])

    assert await streamed() == data
    assert await streamed(read_offset=3_000_000, read_limit=777) == data[3_000_000:][:777]
    missing = cas_pb2.FindMissingBlobsRequest(blob_digests=[message(data), message(b"not there" * 9999)])
    assert len((await at.cas.FindMissingBlobs(missing)).missing_blob_digests) == 1
    chunks = (await at.cas.SplitBlob(cas_pb2.SplitBlobRequest(blob_digest=message(data)))).chunk_digests
    assert sum(chunk.size_bytes for chunk in chunks) == len(data)
    some = noise(3 * MIB, 7)
    await write(at.files, "/d/g", some)
    await at.create("/d")
    batch = await at.cas.BatchReadBlobs(cas_pb2.BatchReadBlobsRequest(digests=[message(some)]))
    assert batch.responses[0].data == some
    assert sum(digest.size for digest in await every(blobs)) < len(data) + len(some) + 20_000


async def test_what_is_composed_is_missing_when_a_chunk_is_and_its_record_goes_with_its_list(
    at: Port, store: Metastore, blobs: MemoryBlobs
) -> None:
    data = noise(5 * MIB)
    await at.fill("/d/")
    await write(at.files, "/d/f", data)
    await at.create("/d")
    compositions, whole = Compositions(store), Digest.of(data)
    composed = ComposedBlobs(blobs, compositions)
    listed = (await compositions.find("default", [whole]))[whole]
    assert await composed.missing("default", [whole]) == []
    assert await composed.missing("other", [whole]) == [whole]
    assert await composed.stat("default", whole) is not None
    assert (await composed.get_many("default", [whole], 8 * MIB))[whole] == data
    assert await compositions.forget("default", blobs) == 0
    largest = max(await every(blobs), key=lambda digest: digest.size)
    await blobs.delete("default", [largest])
    assert await composed.missing("default", [whole]) == [whole]
    with pytest.raises(QuartetError, match=whole.hex):
        await composed.get("default", whole)
    assert isinstance((await composed.get_many("default", [whole], 8 * MIB))[whole], QuartetError)
    await blobs.delete("default", [listed])
    assert await composed.missing("default", [whole]) == [whole]
    assert await compositions.forget("default", blobs) == 1
    assert await compositions.find("default", [whole]) == {}
    assert await composed.stat("default", whole) is None


@given(data=st.binary(max_size=300))
async def test_no_bytes_make_a_directory_that_is_read_in_another_way_than_as_damaged(data: bytes) -> None:
    try:
        directory = tree_pb2.Directory.FromString(data)
    except DecodeError:
        return
    read_all(directory)


_text = st.text(max_size=12)
_digest = st.builds(
    digests_pb2.Digest,
    hash=st.one_of(_text, st.just("0" * 64), st.just(hashlib.sha256(b"").hexdigest())),
    size_bytes=st.integers(-1, 1 << 50),
)
_property = st.builds(
    tree_pb2.NodeProperty,
    name=st.sampled_from(
        [
            "quartet.below",
            "quartet.chunks",
            "quartet.size",
            "quartet.digest",
            "xattr.a",
            "xattr-blob.a",
            "quartet.owner",
        ]
    ),
    value=st.one_of(_text, st.sampled_from(["1 2 3 4", "-1", "99999999999999999999", "zz", "00" * 65])),
)
_properties = st.builds(tree_pb2.NodeProperties, properties=st.lists(_property, max_size=4))


@given(
    directory=st.builds(
        tree_pb2.Directory,
        files=st.lists(
            st.builds(tree_pb2.FileNode, name=_text, digest=_digest, node_properties=_properties), max_size=3
        ),
        directories=st.lists(st.builds(tree_pb2.DirectoryNode, name=_text, digest=_digest), max_size=2),
        symlinks=st.lists(
            st.builds(tree_pb2.SymlinkNode, name=_text, target=_text, node_properties=_properties), max_size=2
        ),
        node_properties=_properties,
    )
)
async def test_whatever_a_directory_says_is_read_or_refused_as_damaged(directory: tree_pb2.Directory) -> None:
    read_all(directory)


def read_all(directory: tree_pb2.Directory) -> None:
    """Read everything that a Directory says; only one error may come of it."""
    for look in (
        lambda: list(entries(directory)),
        lambda: nodes.read_directory("", Digest.of(b""), directory),
        lambda: nodes.counted(directory.files, 0, directory.symlinks),
        lambda: nodes.values_of(directory.node_properties),
    ):
        try:
            look()
        except SnapshotDamaged:
            continue
