"""How long versions are kept, and that what is past it goes."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from harness.failures import fails
from harness.versions import Desk, subject
from quartet.files.v1 import files_pb2
from quartet.versions.v1 import versions_pb2 as pb
from quartet_server.versions import keys, observer
from quartet_server.versions.keys import RecordKey
from quartet_server.versions.retention import Rule

pytestmark = pytest.mark.asyncio(loop_scope="session")
DAY = 86_400


def ended(*ends: int, deleted: bool = False) -> list[RecordKey]:
    """Records that ended at these times; the last with a deletion, perhaps."""
    last = len(ends) - 1
    return [RecordKey(b"", 1, at + 1, end, 1, deleted and at == last) for at, end in enumerate(ends)]


@pytest.mark.parametrize(
    ("rule", "records", "now", "gone"),
    [
        (Rule(3, 1, 100), ended(), 50, []),
        (Rule(3, 1, 100), ended(1, 2, 3), 50, []),
        (Rule(2, 1, 100), ended(1, 2, 3, 4), 50, [1, 2]),
        (Rule(9, 1, 100), ended(1, 2, 60), 110, [1, 2]),
        (Rule(9, 2, 100), ended(1, 2, 3), 1000, [1]),
        (Rule(9, 0, 100), ended(1, 2, 3), 1000, [1, 2, 3]),
        (Rule(0, 0, 100), ended(1, 2), 3, [1, 2]),
        (Rule(9, 2, 100), ended(1, 2, 3, deleted=True), 103, [1]),
        (Rule(9, 2, 100), ended(1, 2, 3, deleted=True), 104, [1, 2, 3]),
    ],
)
async def test_the_rule_says_what_is_past_it(rule: Rule, records: list[RecordKey], now: int, gone: list[int]) -> None:
    assert [one.generation for one in rule.expired(records, now)] == gone


async def fill(desk: Desk, *paths: str, times: int = 6) -> None:
    for path in paths:
        await desk.write(path, *(b"%d" % number for number in range(times)))


async def kept(desk: Desk, path: str) -> list[int]:
    return [one.generation for one in await desk.versions_of(path)]


async def test_the_nearest_setting_holds(desk: Desk) -> None:
    for path in ("/d/e", "/o"):
        await desk.files.Mkdir(files_pb2.MkdirRequest(path=path, parents=True))
    await fill(desk, "/f", "/d/f", "/d/e/f", "/d/e/own", "/o/f")
    for path, most in (("/", 4), ("/d", 3), ("/d/e", 2), ("/d/e/own", 1)):
        await desk.versions.SetRetention(pb.SetRetentionRequest(path=path, retention=pb.Retention(max_versions=most)))
    await desk.record()
    await desk.recorded()
    dry = await desk.versions.CollectVersions(pb.CollectVersionsRequest(dry_run=True))
    assert (dry.examined, dry.deleted) == (25, 1 + 2 + 3 + 4 + 1)
    assert await kept(desk, "/f") == [6, 5, 4, 3, 2, 1]
    assert (await desk.versions.CollectVersions(pb.CollectVersionsRequest())).deleted == dry.deleted
    assert await kept(desk, "/f") == await kept(desk, "/o/f") == [6, 5, 4, 3, 2]
    assert await kept(desk, "/d/f") == [6, 5, 4, 3]
    assert await kept(desk, "/d/e/f") == [6, 5, 4]
    assert await kept(desk, "/d/e/own") == [6, 5]
    with fails(grpc.StatusCode.NOT_FOUND, "VERSION_NOT_FOUND"):
        await desk.read("/d/e/own", 4)
    await desk.files.Rename(files_pb2.RenameRequest(source="/d/e", destination="/o/e"))
    told = await desk.versions.GetRetention(pb.GetRetentionRequest(path="/o/e/f"))
    assert (told.retention.max_versions, told.set_at) == (2, "/o/e")
    assert (await desk.versions.RemoveRetention(pb.RemoveRetentionRequest(path="/o/e"))).existed
    assert not (await desk.versions.RemoveRetention(pb.RemoveRetentionRequest(path="/o/e"))).existed
    told = await desk.versions.GetRetention(pb.GetRetentionRequest(path="/o/e/f"))
    assert (told.retention.max_versions, told.set_at) == (4, "/")


async def test_without_a_setting_the_default_holds_and_is_told(desk: Desk) -> None:
    await desk.write("/f", b"x")
    told = await desk.versions.GetRetention(pb.GetRetentionRequest(path="/f"))
    assert told.retention == pb.Retention(max_versions=100, min_versions=1, keep=Duration(seconds=30 * DAY))
    assert told.set_at == ""


async def test_age_counts_from_the_end_and_a_deleted_file_goes_whole(desk: Desk) -> None:
    await fill(desk, "/f", "/gone", times=4)
    await desk.files.Delete(files_pb2.DeleteRequest(path="/gone"))
    await desk.record()
    await desk.recorded()
    desk.clock.ahead = 31 * DAY
    collected = await desk.versions.CollectVersions(pb.CollectVersionsRequest())
    assert (collected.examined, collected.deleted) == (7, 2 + 4)
    assert await kept(desk, "/f") == [4, 3]
    with fails(grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND"):
        await kept(desk, "/gone")
    assert not (await desk.versions.ListDeleted(pb.ListDeletedRequest(path="/"))).files
    assert len(await desk.keys(b"default\0V")) == 1 + 1  # one record, the cursor


async def test_settings_of_what_is_gone_go_with_its_last_version(desk: Desk) -> None:
    await fill(desk, "/f", times=2)
    week = pb.Retention(keep=Duration(seconds=7 * DAY))
    await desk.versions.SetRetention(pb.SetRetentionRequest(path="/f", retention=week))
    await desk.files.Delete(files_pb2.DeleteRequest(path="/f"))
    await desk.record()
    await desk.recorded()
    await desk.versions.CollectVersions(pb.CollectVersionsRequest())
    assert len(await desk.keys(keys.retentions("default"))) == 1
    desk.clock.ahead = 8 * DAY
    assert (await desk.versions.CollectVersions(pb.CollectVersionsRequest())).deleted == 2
    assert await desk.keys(keys.retentions("default")) == []


async def test_a_busy_file_is_looked_at_without_waiting(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer, "TRIM", 5)
    await desk.write("/f", b"first")
    few = pb.Retention(max_versions=2)
    await desk.versions.SetRetention(pb.SetRetentionRequest(path="/f", retention=few))
    await desk.record()
    await fill(desk, "/f", times=23)
    await desk.recorded()
    assert len(await kept(desk, "/f")) <= 1 + 2 + 5


async def test_versions_before_a_generation_are_given_up(desk: Desk) -> None:
    await fill(desk, "/f")
    await desk.record()
    await desk.recorded()
    request = pb.DeleteVersionsRequest(file=subject("/f"), before_generation=4)
    assert (await desk.versions.DeleteVersions(request)).deleted == 3
    assert (await desk.versions.DeleteVersions(request)).deleted == 0
    assert await kept(desk, "/f") == [6, 5, 4]


BEYOND = (
    pb.Retention(max_versions=1001),
    pb.Retention(max_versions=-1),
    pb.Retention(max_versions=3, min_versions=4),
    pb.Retention(min_versions=-1),
    pb.Retention(keep=Duration(seconds=-1)),
    pb.Retention(keep=Duration(nanos=1)),
    pb.Retention(keep=Duration(seconds=101 * 366 * DAY)),
)


async def test_a_setting_out_of_bounds_is_refused(desk: Desk) -> None:
    for retention in BEYOND:
        with fails(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"):
            await desk.versions.SetRetention(pb.SetRetentionRequest(path="/", retention=retention))
