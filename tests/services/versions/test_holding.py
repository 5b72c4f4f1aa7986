"""No blob of a version is deleted while its record is there, or is about to be."""

from __future__ import annotations

import time

import grpc
import pytest
from harness.contents import MIB, noise
from harness.failures import fails
from harness.served import served
from harness.versions import Desk
from quartet.files.v1 import files_pb2
from quartet.objects.v1 import objects_pb2, objects_pb2_grpc
from quartet.versions.v1 import versions_pb2 as pb
from quartet_server.errors import VersionsBehind
from quartet_server.files.contents import contents
from quartet_server.files.contents.holding import HeldByFiles
from quartet_server.objects.digest import Digest
from quartet_server.objects.pins import Pins
from quartet_server.objects.service import Objects
from quartet_server.objects.zones import Zones
from quartet_server.versions import ended, keys
from quartet_server.versions.holding import HeldByVersions

from raftmeta.etcd import rpc_pb2

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(params=["recorded", "unrecorded"])
def recorded(request: pytest.FixtureRequest) -> bool:
    """Whether the observer runs."""
    return bool(request.param == "recorded")


def holder(desk: Desk) -> HeldByVersions:
    return HeldByVersions(desk.store, desk.blobs, desk.clock, desk.idle)


async def every(desk: Desk) -> set[Digest]:
    return {info.digest for info in await desk.blobs.scan("default")}


async def test_versions_hold_their_chunks_and_lists_until_they_are_given_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, recorded: bool
) -> None:
    monkeypatch.setattr(contents, "LISTED", 2)
    monkeypatch.setattr("quartet_server.versions.holding._PAGE", 2)
    await desk.write("/f", noise(6 * MIB))
    old = await every(desk)
    await desk.write("/f", noise(5000, 2))
    await desk.write("/f", noise(5000, 3))
    old |= {Digest.of(noise(5000, 2))}
    present = Digest.of(noise(5000, 3))
    stranger = await desk.blobs.put("default", b"nobody's")
    if recorded:
        await desk.record()
        await desk.recorded()
    assert await holder(desk).held("default", await every(desk)) == old
    assert {one async for one in holder(desk).reached("default")} == old
    assert await holder(desk).held("other", old) == set()
    await desk.files.Delete(files_pb2.DeleteRequest(path="/f"))
    if recorded:
        await desk.recorded()
    assert await holder(desk).held("default", await every(desk)) == old | {present}
    assert await holder(desk).held("default", [stranger]) == set()
    if recorded:
        desk.clock.ahead = 40 * 86_400
        await desk.versions.CollectVersions(pb.CollectVersionsRequest())
        assert await holder(desk).held("default", old) == set()


async def test_a_blob_of_a_version_is_not_deleted_by_hand(desk: Desk) -> None:
    await desk.write("/f", noise(9000), b"x")
    digest = Digest.of(noise(9000))
    holders = (HeldByFiles(desk.store, desk.blobs), holder(desk))
    zones, pins = Zones(desk.store), Pins(desk.store)
    objects = Objects(desk.blobs, zones, pins, time.time, holders, settled=-1.0)
    async with served([objects]) as address, grpc.aio.insecure_channel(address) as channel:
        named = objects_pb2.Digest(hash=digest.hash, size=digest.size)
        stub = objects_pb2_grpc.ObjectServiceStub(channel)
        with fails(grpc.StatusCode.FAILED_PRECONDITION, "BLOB_IN_USE"):
            await stub.Delete(objects_pb2.DeleteRequest(digests=[named]))
    assert await desk.read("/f", 1) == noise(9000)


async def test_who_collects_is_told_to_wait_when_too_much_is_not_recorded(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended, "TAIL", 5)
    await desk.write("/f", *(b"%d" % number for number in range(20)))
    with pytest.raises(VersionsBehind):
        await holder(desk).held("default", [Digest.of(b"whatever")])
    await desk.record()
    await desk.recorded()
    assert await holder(desk).held("default", [Digest.of(b"whatever")]) == set()


async def test_before_versions_are_recorded_at_all_nothing_is_held(desk: Desk) -> None:
    await desk.write("/f", noise(9000), b"x")
    await desk.store.delete_range(rpc_pb2.DeleteRangeRequest(key=keys.BEGAN))
    assert await holder(desk).held("default", [Digest.of(noise(9000))]) == set()
