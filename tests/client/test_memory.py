"""`Client(":memory:")`: a whole node in this process, through every namespace of both clients."""

from __future__ import annotations

import pytest
from quartet import AsyncClient, Attributes, Client, CreateEntry, NotFound
from quartet.files.v1 import files_pb2


def test_a_node_in_memory_serves_all_namespaces() -> None:
    with Client(":memory:") as client:
        client.files.mkdir("/a/b", parents=True)
        client.files.create("/a/b/f", Attributes(size=3))
        client.files.symlink("/a/l", "/a/b")
        results = client.files.create_many([CreateEntry(path=f"/a/b/{i:04}") for i in range(1500)])
        assert len({result.ino for result in results}) == 1500
        assert len(list(client.files.walk("/", detail=True))) == 1504
        assert len(list(client.files.list("/a/b", page_size=100))) == 1501
        assert [bool(one.entry.ino) for one in client.files.stat_many(["/a", "/no"])] == [True, False]
        client.files.set_attributes("/a/b/f", Attributes(size=4), mask=["size"])
        client.files.set_xattr("/a/b/f", "n", b"v")
        assert client.files.get_xattr("/a/b/f", "n") == b"v"
        assert client.files.list_xattrs("/a/b/f") == {"n": b"v"}
        assert client.files.get_xattrs(["/a/b/f"]).results[0].xattrs[0].value == b"v"
        client.files.remove_xattr("/a/b/f", "n")
        client.files.rename("/a/b", "/c", mode="no_replace")
        assert client.files.exists("/c/f")
        client.files.delete("/c", recursive=True)
        assert not client.files.exists("/c/f")
        with pytest.raises(NotFound) as caught:
            client.files.stat("/c")
        assert caught.value.reason == "FILE_NOT_FOUND"
        assert caught.value.metadata["path"] == "/c"
        watch = client.files.watch("/", recursive=True)
        first = next(watch)
        client.files.mkdir("/w")
        assert [event.path for event in next(watch).events] == ["/w"]
        assert first.revision
        watch.close()
        client.settings.set("s", "v", sensitive=True)
        assert [setting.value for setting in client.settings.list()] == ["********"]
        client.settings.rotate_key()
        assert client.settings.get("s", reveal=True).value == "v"
        client.settings.set_flag("f", True)
        assert [flag.enabled for flag in client.settings.list_flags()] == [True]
        client.settings.delete("s")
        client.settings.delete_flag("f")
        assert client.cluster.topology().nodes[0].name == "memory"
        assert client.cluster.status().leader_id == client.cluster.topology().leader_id
        client.cluster.create_zone("red")
        assert [zone.name for zone in client.cluster.list_zones()] == ["default", "red"]


async def test_the_asyncio_client_does_the_same() -> None:
    async with AsyncClient(":memory:") as client:
        await client.files.mkdir("/a")
        await client.files.create_many([CreateEntry(path=f"/a/{i}") for i in range(10)])
        assert [entry.path async for entry in client.files.walk("/")] == ["/a", *(f"/a/{i}" for i in range(10))]
        assert (await client.files.stat("/a")).type == files_pb2.ENTRY_TYPE_DIRECTORY
        assert not await client.files.exists("/b")
        assert [one.entry.path for one in await client.files.stat_many(["/a/1"])] == ["/a/1"]
        await client.settings.set("s", "v")
        assert [setting.value async for setting in client.settings.list()] == ["v"]
        assert (await client.cluster.get_zone("default")).name == "default"
