"""Versions through both clients, against a node in this process."""

from __future__ import annotations

import pytest
from quartet import AsyncClient, Client, NotFound


def test_the_client_lists_reads_compares_and_goes_back() -> None:
    with Client(":memory:") as client:
        for number in range(5):
            last = client.files.write("/f", b"%d\n" % number)
        versions = client.versions
        assert [one.generation for one in versions.list("/f", page_size=2)] == [5, 4, 3, 2, 1]
        assert versions.page(last.ino, page_size=1).next_page_token
        assert versions.read("/f", 2) == b"1\n"
        assert versions.read("/f", 2, offset=1, length=5) == b"\n"
        assert versions.diff("/f", 1, 2, context=0).unified.endswith("@@ -1 +1 @@\n-0\n+1\n")
        assert versions.rollback("/f", 1).etag == f"{last.ino}.6"
        assert versions.set_retention("/f", max_versions=2, keep_seconds=60).retention.max_versions == 2
        assert versions.get_retention("/f").set_at == "/f"
        assert versions.remove_retention("/f")
        assert versions.collect(dry_run=True).deleted == 0
        assert versions.delete("/f", 1) == 0
        client.files.delete("/f")
        assert next(versions.list("/f")).deleted
        assert {one.path for one in versions.deleted("/")} <= {"/f"}
        with pytest.raises(NotFound):
            versions.read("/f", 77)


async def test_the_asynchronous_client_does_the_same() -> None:
    async with AsyncClient(":memory:") as client:
        for number in range(5):
            last = await client.files.write("/f", b"%d\n" % number)
        versions = client.versions
        assert [one.generation async for one in versions.list("/f", page_size=2)] == [5, 4, 3, 2, 1]
        assert (await versions.page(last.ino, page_size=1)).next_page_token
        assert await versions.read("/f", 2, offset=1, length=5) == b"\n"
        assert (await versions.diff("/f", 1, 2)).added == 1
        assert (await versions.rollback("/f", 1)).etag == f"{last.ino}.6"
        assert (await versions.set_retention("/f", max_versions=2)).retention.max_versions == 2
        assert (await versions.get_retention("/f")).set_at == "/f"
        assert await versions.remove_retention("/f")
        assert (await versions.collect(dry_run=True)).deleted == 0
        assert await versions.delete("/f", 1) == 0
        assert [one.path async for one in versions.deleted("/")] == []
        with pytest.raises(NotFound):
            await versions.read("/f", 77)
