"""What has been in the trash long enough is given up by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from quartet.files.v1 import files_pb2 as pb
from quartet_server.files import keys
from quartet_server.files.expiry import Expiry
from quartet_server.files.reclaim import Reclaimer
from quartet_server.files.service import FileService
from quartet_server.meta import system

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def put_away(files: FileServiceAsyncStub, zone: str, *names: str) -> None:
    """Make directories with a file each, and delete them into the trash."""
    metadata = (("quartet-zone", zone),)
    for name in names:
        await files.Mkdir(pb.MkdirRequest(path=f"/{name}"), metadata=metadata)
        await files.CreateFile(pb.CreateFileRequest(path=f"/{name}/f"), metadata=metadata)
        await files.Delete(pb.DeleteRequest(path=f"/{name}", recursive=True), metadata=metadata)


async def in_trash(files: FileServiceAsyncStub, zone: str) -> list[str]:
    """The paths in a zone's trash."""
    answer = await files.ListTrash(pb.ListTrashRequest(), metadata=(("quartet-zone", zone),))
    return [item.path for item in answer.items]


async def test_the_trash_of_every_zone_gives_up_what_is_older_than_it_is_kept_and_nothing_else(
    files: FileServiceAsyncStub, service: FileService, store: Metastore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.put(rpc_pb2.PutRequest(key=system.zone("other"), value=b"{}"))
    time = 1_000_000
    monkeypatch.setattr(service._tree, "now", lambda: Timestamp(seconds=time))
    for zone in ("default", "other"):
        time = 1_000_000
        await put_away(files, zone, *(f"old{i}" for i in range(50)))
        time += 50
        await put_away(files, zone, "new")
    expiry = Expiry(service._tree, 100)
    time = 1_000_100
    assert await expiry.sweep() == 0
    time += 1
    reclaimer = Reclaimer(store, [expiry.sweep])
    assert await expiry.sweep() == 100
    for zone in ("default", "other"):
        assert await in_trash(files, zone) == ["/new"]
    await reclaimer.clear()
    for zone in ("default", "other"):
        found = await store.range(
            rpc_pb2.RangeRequest(key=keys.inode(zone, 2), range_end=keys.inode(zone, 1 << 63), count_only=True)
        )
        assert found.count == 2
    time += 49
    assert await expiry.sweep() == 0
    time += 1
    assert await expiry.sweep() == 2
