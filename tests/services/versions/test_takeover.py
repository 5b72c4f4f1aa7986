"""Kill -9 of the node that records, while files are written: another goes on, and no version is missing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from harness.fleet import Fleet, ServedNode
from harness.http import get
from quartet import AsyncClient

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="function")]
PATHS = [f"/f{number}" for number in range(4)]


async def observing(nodes: Sequence[ServedNode]) -> ServedNode:
    """Wait until one of some nodes records; return which."""
    async with asyncio.timeout(120):
        while True:
            for node in nodes:
                _, body = await get(node.http, "/metrics")
                if re.search(rb"^quartet_versions_observing 1\.0$", body, re.M):
                    return node
            await asyncio.sleep(0.1)


async def test_no_version_is_missing_after_the_recording_node_was_killed(tmp_path: Path) -> None:
    with Fleet(tmp_path, 3) as fleet:
        written: dict[str, list[bytes]] = {path: [] for path in PATHS}
        stop = asyncio.Event()

        async def write(client: AsyncClient, path: str) -> None:
            while not stop.is_set() and len(written[path]) < 900:
                data = b"%d of %s" % (len(written[path]), path.encode())
                await client.files.write(path, data)
                written[path].append(data)
                await asyncio.sleep(0.01)  # so that none has more than are kept

        async with AsyncClient(fleet.endpoints, timeout=60) as client:
            await client.versions.set_retention("/", max_versions=1000)
            killed = await observing(fleet.nodes)
            writers = [asyncio.create_task(write(client, path)) for path in PATHS]
            async with asyncio.timeout(60):
                while min(map(len, written.values())) < 20:
                    await asyncio.sleep(0.01)
            killed.kill()
            count = sum(map(len, written.values()))
            await observing([node for node in fleet.nodes if node is not killed])
            async with asyncio.timeout(60):
                while sum(map(len, written.values())) < count + 40:
                    await asyncio.sleep(0.01)
            stop.set()
            await asyncio.gather(*writers)
            for path, contents in written.items():
                versions = [one async for one in client.versions.list(path)]
                assert [one.generation for one in versions] == list(range(len(contents), 0, -1))
                for sample in {1, 2, len(contents) // 2, len(contents) - 1, len(contents)}:
                    assert await client.versions.read(path, sample) == contents[sample - 1]
