"""ListSnapshots, refs, deletion: what is known of snapshots, and who sees it."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from harness.failures import fails
from harness.snapshots import Port
from quartet.files.v1 import files_pb2
from quartet.snapshots.v1 import snapshots_pb2 as pb

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("store", ["embedded"], indirect=True),  # branches over a real etcd are in test_create
]
MISSING, INVALID = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT


async def pages(at: Port, size: int, **request: Any) -> list[str]:
    """Ids of all pages."""
    ids: list[str] = []
    token = ""
    while True:
        asked = pb.ListSnapshotsRequest(page_size=size, page_token=token, **request)
        page = await at.snapshots.ListSnapshots(asked)
        assert len(page.snapshots) <= size
        ids += [one.id for one in page.snapshots]
        token = page.next_page_token
        if not token:
            return ids


async def test_snapshots_are_told_newest_first_of_all_of_a_path_of_a_ref_and_with_labels(at: Port) -> None:
    await at.fill("/d/", "/e/")
    made = []
    for number in range(5):
        made.append(await at.create("/d", labels={"odd": str(number % 2)}, ref="line"))
        await at.create("/e")
    ids = [one.id for one in reversed(made)]
    assert ids == sorted(ids)
    for size in (1, 2, 7):
        assert await pages(at, size, path="/d") == ids
        assert await pages(at, size, ref="line") == ids
        assert len(await pages(at, size)) == 10
        assert await pages(at, size, path="/d", labels={"odd": "1"}) == [ids[1], ids[3]]
    assert await at.log(path="/none") == []
    with fails(INVALID, "FIELD_INVALID"):
        await at.log(path="/d", ref="line")
    with fails(MISSING, "SNAPSHOT_NOT_FOUND"):
        await at.log(ref="other")
    answer = await at.snapshots.ListSnapshots(pb.ListSnapshotsRequest(page_size=1))
    for token, request in (("x", {}), (answer.next_page_token, {"path": "/d"})):
        with fails(INVALID, "PAGE_TOKEN_INVALID"):
            await at.log(page_token=token, **request)


async def test_a_snapshot_is_found_by_id_ref_and_root_digest(at: Port) -> None:
    await at.fill("/d/")
    made = await at.create("/d", ref="releases/v1.0")
    digest = made.root.hash.hex()
    for name in (made.id, "releases/v1.0", digest, f"{digest}/{made.root.size}"):
        assert await at.snapshots.GetSnapshot(pb.GetSnapshotRequest(snapshot=name)) == made
    for name in ("0" * 32, "0" * 64, "other"):
        with fails(MISSING, "SNAPSHOT_NOT_FOUND"):
            await at.snapshots.GetSnapshot(pb.GetSnapshotRequest(snapshot=name))


async def test_refs_move_by_what_they_are_expected_to_name(at: Port) -> None:
    await at.fill("/d/")
    one, two = await at.create("/d"), await at.create("/d")
    made = await at.snapshots.SetRef(pb.SetRefRequest(ref="r", snapshot=one.id, expected="none"))
    assert (made.snapshot, made.root) == (one.id, one.root)
    with fails(grpc.StatusCode.ABORTED, "SNAPSHOT_PARENT_MOVED"):
        await at.snapshots.SetRef(pb.SetRefRequest(ref="r", snapshot=two.id, expected="none"))
    await at.snapshots.SetRef(pb.SetRefRequest(ref="r", snapshot=two.id, expected=one.id))
    third = await at.create("/d", ref="r", expected_parent=two.id)
    assert third.parent == two.id
    await at.snapshots.SetRef(pb.SetRefRequest(ref="s", snapshot="r"))
    listed = await at.snapshots.ListRefs(pb.ListRefsRequest(page_size=1))
    assert [(ref.name, ref.snapshot) for ref in listed.refs] == [("r", third.id)]
    rest = await at.snapshots.ListRefs(pb.ListRefsRequest(page_size=1, page_token=listed.next_page_token))
    assert [ref.name for ref in rest.refs] == ["s"]
    assert not rest.next_page_token


async def test_what_a_ref_names_stays_until_it_does_not(at: Port, store: Metastore) -> None:
    await at.fill("/d/")
    one = await at.create("/d", ref="r")
    await at.snapshots.SetRef(pb.SetRefRequest(ref="s", snapshot=one.id))
    delete = pb.DeleteSnapshotRequest(snapshot=one.id)
    for name in ("r", "s"):
        with fails(grpc.StatusCode.FAILED_PRECONDITION, "SNAPSHOT_REFERENCED"):
            await at.snapshots.DeleteSnapshot(delete)
        await at.snapshots.DeleteRef(pb.DeleteRefRequest(ref=name))
    with fails(MISSING, "SNAPSHOT_NOT_FOUND"):
        await at.snapshots.DeleteRef(pb.DeleteRefRequest(ref="r"))
    await at.snapshots.DeleteSnapshot(delete)
    with fails(MISSING, "SNAPSHOT_NOT_FOUND"):
        await at.snapshots.DeleteSnapshot(delete)
    left = await store.range(rpc_pb2.RangeRequest(key=b"default\0S", range_end=b"default\0T"))
    assert left.count == 0


async def test_when_a_snapshot_goes_the_next_begins_from_the_one_before_it(at: Port) -> None:
    await at.fill("/d/", "/d/a")
    one = await at.create("/d")
    await at.fill("/d/b")
    two = await at.create("/d")
    await at.snapshots.DeleteSnapshot(pb.DeleteSnapshotRequest(snapshot=two.id, request_id="x"))
    again = await at.snapshots.DeleteSnapshot(pb.DeleteSnapshotRequest(snapshot=two.id, request_id="x"))
    assert again.id == two.id
    await at.fill("/d/c")
    three = await at.create("/d", expected_parent=one.id)
    assert three.totals.files == 3
    for id_ in (one.id, three.id):
        await at.snapshots.DeleteSnapshot(pb.DeleteSnapshotRequest(snapshot=id_))
    assert await at.create("/d", expected_parent="none")


async def test_zones_know_nothing_of_each_other(at: Port) -> None:
    await at.fill("/d/", "/d/a")
    made = await at.create("/d", ref="r")
    other = at.of(quartet_zone="other")
    await other.fill("/d/", "/d/a")
    assert await other.log() == []
    for name in (made.id, "r", made.root.hash.hex()):
        with fails(MISSING, "SNAPSHOT_NOT_FOUND"):
            await other.restore(name)
    theirs = await other.create("/d")
    assert theirs.parent == ""
    with fails(MISSING, "SNAPSHOT_NOT_FOUND"):
        await at.read(theirs.id, "/a")
    unknown = at.of(quartet_zone="never")
    with fails(MISSING, "ZONE_NOT_FOUND"):
        await unknown.create("/")
    with fails(MISSING, "ZONE_NOT_FOUND"):
        await unknown.log()


async def test_a_principal_sees_the_snapshots_of_what_is_below_its_root_and_no_others(at: Port) -> None:
    await at.fill("/agents/", "/agents/7/", "/agents/7/w/", "/agents/7/w/a", "/agents/8/", "/secret/", "/secret/s")
    for path, principal in (("/agents/7", "7"), ("/agents/8", "8")):
        await at.files.SetPrincipalRoot(files_pb2.SetPrincipalRootRequest(principal=principal, path=path))
    seven, eight = at.of(quartet_principal="7"), at.of(quartet_principal="8")
    whole, secret = await at.create("/"), await at.create("/secret")
    mine = await seven.create("/w", ref="r")
    assert (mine.path, mine.owner) == ("/w", "7")
    told = await at.snapshots.GetSnapshot(pb.GetSnapshotRequest(snapshot=mine.id))
    assert told.path == "/agents/7/w"
    assert await seven.log() == [mine.id] == await seven.log(path="/w")
    assert await at.log(path="/agents/7/w") == [mine.id]
    assert await eight.log() == []
    for name in (whole.id, secret.id, secret.root.hash.hex()):
        with fails(MISSING, "SNAPSHOT_NOT_FOUND"):
            await seven.read(name, "/secret/s")
        with fails(MISSING, "SNAPSHOT_NOT_FOUND"):
            await seven.branch(name, "/stolen")
        with fails(MISSING, "SNAPSHOT_NOT_FOUND"):
            await seven.snapshots.DeleteSnapshot(pb.DeleteSnapshotRequest(snapshot=name))
        with fails(MISSING, "SNAPSHOT_NOT_FOUND"):
            await seven.snapshots.SetRef(pb.SetRefRequest(ref="x", snapshot=name))
    assert [ref.name for ref in (await at.snapshots.ListRefs(pb.ListRefsRequest())).refs] == []
    for caller in (at, eight):
        with fails(MISSING, "SNAPSHOT_NOT_FOUND"):
            await caller.snapshots.GetSnapshot(pb.GetSnapshotRequest(snapshot="r"))
    await seven.fill("/w/b")
    assert [change.path for change in await seven.diff("r")] == ["/b"]
    await seven.restore("r")
    assert set(await at.everything("/agents/7/w")) == {"", "/a"}
    await seven.branch("r", "/copy")
    assert (await at.files.Stat(files_pb2.StatRequest(path="/agents/7/copy/a"))).name == "a"
    with fails(MISSING, "FILE_NOT_FOUND"):
        await eight.create("/w")


@pytest.mark.parametrize(
    ("path", "code", "reason"),
    [
        ("/none", MISSING, "FILE_NOT_FOUND"),
        ("/a/b", grpc.StatusCode.FAILED_PRECONDITION, "NOT_A_DIRECTORY"),
        ("/s", grpc.StatusCode.FAILED_PRECONDITION, "IS_A_DIRECTORY"),
        ("/l", grpc.StatusCode.FAILED_PRECONDITION, "NOT_A_FILE"),
        ("a", INVALID, "PATH_INVALID"),
        ("/../a", INVALID, "PATH_INVALID"),
    ],
)
async def test_what_is_no_file_of_a_snapshot_is_not_read(
    at: Port, path: str, code: grpc.StatusCode, reason: str
) -> None:
    await at.fill("/d/", "/d/a", "/d/s/", "/d/l->a")
    made = await at.create("/d")
    with fails(code, reason):
        await at.read(made.id, path)


async def test_directories_of_a_snapshot_are_read_in_pages_in_the_order_of_bytes(at: Port) -> None:
    names = sorted((f"{i}é" for i in range(25)), key=str.encode)
    await at.fill("/d/", *(f"/d/{name}" for name in names), "/d/sub/")
    made = await at.create("/d")
    found: list[str] = []
    token = ""
    while True:
        request = pb.ListEntriesRequest(snapshot=made.id, path="/", page_size=4, page_token=token)
        page = await at.snapshots.ListEntries(request)
        found += [entry.name for entry in page.entries]
        token = page.next_page_token
        if not token:
            break
    assert found == [*names, "sub"]
    with fails(grpc.StatusCode.OUT_OF_RANGE, "RANGE_INVALID"):
        await at.read(made.id, f"/{names[0]}", offset=1000)
    with fails(grpc.StatusCode.FAILED_PRECONDITION, "NOT_A_DIRECTORY"):
        await at.snapshots.ListEntries(pb.ListEntriesRequest(snapshot=made.id, path=f"/{names[0]}"))
