"""Principals with a root of their own, and zones: no call tells of what is not below the caller's root."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from harness.failures import fails
from harness.versions import Desk, subject
from quartet.files.v1 import files_pb2
from quartet.versions.v1 import versions_pb2 as pb

pytestmark = pytest.mark.asyncio(loop_scope="session")
ANN = (("quartet-principal", "ann"),)
NOT_FOUND = grpc.StatusCode.NOT_FOUND


@pytest.fixture(params=["recorded", "unrecorded"])
def recorded(request: pytest.FixtureRequest) -> bool:
    """Whether the observer runs."""
    return bool(request.param == "recorded")


async def generations(desk: Desk, file: str | int, metadata: Any = ANN) -> list[int]:
    page = await desk.versions.ListVersions(pb.ListVersionsRequest(file=subject(file)), metadata=metadata)
    return [one.generation for one in page.versions]


async def test_a_principal_sees_versions_below_its_root_and_no_others(desk: Desk, recorded: bool) -> None:
    for path in ("/ann/d", "/bob"):
        await desk.files.Mkdir(files_pb2.MkdirRequest(path=path, parents=True))
    await desk.files.SetPrincipalRoot(files_pb2.SetPrincipalRootRequest(principal="ann", path="/ann"))
    inos: dict[str, int] = {}
    for path in ("/ann/f", "/ann/gone", "/ann/d/f", "/bob/f", "/bob/gone", "/f", "/gone"):
        inos[path] = (await desk.write(path, b"1", b"2")).ino
    for path in ("/ann/gone", "/bob/gone", "/gone"):
        await desk.files.Delete(files_pb2.DeleteRequest(path=path))
    if recorded:
        await desk.record()
        await desk.recorded()
    for path in ("/f", "/gone", "/d/f"):
        assert await generations(desk, path) == [2, 1]
    hers = [path for path in inos if path.startswith("/ann/")]
    if not recorded:
        hers.remove("/ann/gone")  # whether a deletion was hers is known when it is recorded
    for path, ino in inos.items():
        if path in hers:
            assert await generations(desk, ino) == [2, 1]
        elif path != "/ann/gone":
            for method, request in (
                ("ListVersions", pb.ListVersionsRequest(file=subject(ino))),
                ("DiffVersions", pb.DiffVersionsRequest(file=subject(ino))),
                ("DeleteVersions", pb.DeleteVersionsRequest(file=subject(ino), before_generation=9)),
                ("Rollback", pb.RollbackRequest(path="/stolen", ino=ino, generation=1)),
            ):
                with fails(NOT_FOUND, "FILE_NOT_FOUND"):
                    await getattr(desk.versions, method)(request, metadata=ANN)
            with fails(NOT_FOUND, "FILE_NOT_FOUND"):
                reading = pb.ReadVersionRequest(file=subject(ino), generation=1)
                async for _ in desk.versions.ReadVersion(reading, metadata=ANN):
                    pass
    for path in ("/bob/f", "/bob"):
        with fails(NOT_FOUND, "FILE_NOT_FOUND"):
            await desk.versions.GetRetention(pb.GetRetentionRequest(path=path), metadata=ANN)
    back = await desk.versions.Rollback(pb.RollbackRequest(path="/d/f", generation=1), metadata=ANN)
    assert (back.path, back.ino) == ("/d/f", inos["/ann/d/f"])
    assert await desk.history("/ann/d/f") == [b"1", b"2", b"1"]
    newest = (await desk.versions_of("/ann/d/f"))[0]
    assert newest.writer == "ann"


async def test_a_principals_files_in_the_trash_are_its_own(desk: Desk) -> None:
    for path in ("/ann/d", "/bob/d"):
        await desk.files.Mkdir(files_pb2.MkdirRequest(path=path, parents=True))
    await desk.files.SetPrincipalRoot(files_pb2.SetPrincipalRootRequest(principal="ann", path="/ann"))
    hers = await desk.write("/ann/d/f", b"1", b"2")
    others = await desk.write("/bob/d/f", b"1", b"2")
    for path in ("/ann/d", "/bob/d"):
        await desk.files.Delete(files_pb2.DeleteRequest(path=path, recursive=True))
    assert await generations(desk, "/d/f") == await generations(desk, hers.ino) == [2, 1]
    with fails(NOT_FOUND, "FILE_NOT_FOUND"):
        await generations(desk, others.ino)


async def test_what_was_set_above_a_principals_root_holds_without_saying_where(desk: Desk) -> None:
    await desk.files.Mkdir(files_pb2.MkdirRequest(path="/team/ann", parents=True))
    await desk.files.SetPrincipalRoot(files_pb2.SetPrincipalRootRequest(principal="ann", path="/team/ann"))
    few = pb.Retention(max_versions=2)
    await desk.versions.SetRetention(pb.SetRetentionRequest(path="/team", retention=few))
    told = await desk.versions.GetRetention(pb.GetRetentionRequest(path="/"), metadata=ANN)
    assert (told.retention.max_versions, told.set_at, told.path) == (2, "", "/")
    await desk.versions.SetRetention(pb.SetRetentionRequest(path="/"), metadata=ANN)
    told = await desk.versions.GetRetention(pb.GetRetentionRequest(path="/team/ann"))
    assert (told.retention.max_versions, told.set_at) == (100, "/team/ann")


async def test_a_zone_that_is_not_there_is_told(desk: Desk) -> None:
    with fails(NOT_FOUND, "ZONE_NOT_FOUND"):
        await generations(desk, "/f", (("quartet-zone", "nowhere"),))
    with fails(NOT_FOUND, "ZONE_NOT_FOUND"):
        await generations(desk, 7, (("quartet-zone", "nowhere"),))
