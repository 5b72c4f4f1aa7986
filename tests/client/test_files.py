"""Trash, locks, quotas and roots through both clients, against a node in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from quartet import AsyncClient, Attributes, Client, Conflict, FailedPrecondition, NotFound, ResourceExhausted
from quartet._memory import MemoryNode
from quartet.files.v1 import files_pb2 as pb


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """HOST:PORT of a node."""
    node = MemoryNode()
    yield node.address
    node.close()


def test_the_client_does_what_the_service_offers(address: str) -> None:
    with Client(address) as client, Client(address, principal="ann") as ann:
        files = client.files
        files.mkdir("/s/home/d", parents=True)
        assert files.touch("/s/home/d/f", Timestamp(seconds=5)).attributes.mtime.seconds == 5
        files.symlink("/s/link", "home/d/f")
        assert files.stat("/s/link", follow=True).path == files.stat_many(["/s/link"], follow=True)[0].entry.path
        assert [entry.path for entry in files.list("/s", glob="**/f", type=pb.ENTRY_TYPE_FILE)] == ["/s/home/d/f"]
        assert [entry.name for entry in files.walk("/s")] == ["home", "d", "f", "link"]
        gone = files.delete("/s/home/d", recursive=True)
        assert [(item.id, item.path) for item in files.trash.list("/s")] == [(gone.trash_id, "/s/home/d")]
        files.trash.restore(gone.trash_id)
        files.delete("/s/home/d", recursive=True)
        assert files.trash.empty(before=Timestamp(seconds=1)) == 0
        assert files.trash.empty() == 1
        lock = files.locks.take("/s/home", owner="one", seconds=60)
        with pytest.raises(Conflict):
            files.locks.take("/s/home")
        assert files.locks.renew(lock) == 60
        files.touch("/s/home/g", fence=lock.fence)
        files.locks.release(lock)
        with pytest.raises(FailedPrecondition):
            files.create("/s/home/h", Attributes(size=1), fence=lock.fence)
        assert files.quotas.set("/s", limit_inodes=3).used_inodes == files.quotas.get("/s").used_inodes == 3
        with pytest.raises(ResourceExhausted):
            files.touch("/s/more")
        files.quotas.remove("/s")
        assert files.roots.set("ann", "/s/home").path == "/s/home"
        assert [root.principal for root in files.roots.list()] == ["ann"]
        assert [entry.path for entry in ann.files.list("/")] == ["/g"]
        files.roots.remove("ann")
        assert ann.files.exists("/s/home/g")


async def test_the_async_client_does_what_the_service_offers(address: str) -> None:
    async with AsyncClient(address) as client, AsyncClient(address, principal="bob") as bob:
        files = client.files
        await files.mkdir("/a/home/d", parents=True)
        await files.touch("/a/home/d/f")
        await files.symlink("/a/link", "home/d/f")
        assert (await files.stat("/a/link", follow=True)).path == "/a/home/d/f"
        assert [entry.path async for entry in files.list("/a", glob="**/f")] == ["/a/home/d/f"]
        assert [entry.name async for entry in files.walk("/a")] == ["home", "d", "f", "link"]
        gone = await files.delete("/a/home/d", recursive=True)
        assert [item.path async for item in files.trash.list("/a")] == ["/a/home/d"]
        await files.trash.restore(gone.trash_id)
        gone = await files.delete("/a/home/d", recursive=True)
        assert await files.trash.empty([gone.trash_id]) == 1
        lock = await files.locks.take("/a/home", seconds=60)
        assert await files.locks.renew(lock) == 60
        await files.touch("/a/home/g", fence=lock.fence)
        await files.locks.release(lock)
        with pytest.raises(FailedPrecondition):
            await files.touch("/a/home/g", fence=lock.fence)
        assert (await files.quotas.set("/a", limit_bytes=3)).used_inodes == 3
        assert (await files.quotas.get("/a")).limit_bytes == 3
        await files.quotas.remove("/a")
        with pytest.raises(NotFound):
            await files.quotas.get("/a")
        await files.roots.set("bob", "/a/home")
        assert [root.path async for root in files.roots.list()] == ["/a/home"]
        assert [entry.path async for entry in bob.files.list("/")] == ["/g"]
        await files.roots.remove("bob")
