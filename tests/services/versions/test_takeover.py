"""Kill -9 of the node that records, while files are written: another goes on, and no version is missing."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest
from harness.http import get
from harness.quartet import Cluster, cluster
from quartet import AsyncClient

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="function")]
PATHS = [f"/f{number}" for number in range(4)]


async def observing(running: Cluster, *, among: set[int]) -> int:
    """Wait until one of some nodes records; return which."""
    async with asyncio.timeout(60):
        while True:
            for at in sorted(among):
                _, body = await get(running.http[at], "/metrics")
                if re.search(rb"^quartet_versions_observing 1\.0$", body, re.M):
                    return at
            await asyncio.sleep(0.1)


async def test_no_version_is_missing_after_the_recording_node_was_killed(tmp_path: Path) -> None:
    with cluster(tmp_path / "c") as running:
        written: dict[str, list[bytes]] = {path: [] for path in PATHS}
        stop = asyncio.Event()

        async def write(client: AsyncClient, path: str) -> None:
            while not stop.is_set() and len(written[path]) < 900:
                data = b"%d of %s" % (len(written[path]), path.encode())
                await client.files.write(path, data)
                written[path].append(data)
                await asyncio.sleep(0.01)  # so that none has more than are kept

        async with AsyncClient(running.endpoints, timeout=60) as client:
            await client.versions.set_retention("/", max_versions=1000)
            killed = await observing(running, among={0, 1, 2})
            writers = [asyncio.create_task(write(client, path)) for path in PATHS]
            async with asyncio.timeout(60):
                while min(map(len, written.values())) < 20:
                    await asyncio.sleep(0.01)
            os.kill(running.pids[killed], signal.SIGKILL)
            count = sum(map(len, written.values()))
            await observing(running, among={0, 1, 2} - {killed})
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
