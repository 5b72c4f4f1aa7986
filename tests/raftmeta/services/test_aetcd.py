"""aetcd, a client nobody here wrote, in a process of its own (it brings its own descriptors)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness.raftmeta import RaftmetaCluster

PROGRAM = """
import asyncio, sys
import aetcd

async def main(host, port):
    async with aetcd.Client(host=host, port=port, timeout=20) as client:
        await client.put(b"a", b"1")
        assert (await client.get(b"a")).value == b"1"
        await client.put(b"a", b"2", prev_kv=True)
        assert [kv.key async for kv in aiter_of(await client.get_prefix(b"a"))] == [b"a"]
        assert await client.replace(b"a", b"2", b"3")
        assert not await client.replace(b"a", b"2", b"4")
        ok, _ = await client.transaction(
            compare=[client.transactions.value(b"a") == b"3"],
            success=[client.transactions.put(b"t", b"x")],
            failure=[client.transactions.delete(b"a")],
        )
        assert ok
        lease = await client.lease(60)
        await client.put(b"leased", b"1", lease=lease)
        assert await lease.remaining_ttl() > 50
        await lease.refresh()
        assert [bytes(k) for k in await lease.keys()] == [b"leased"]
        watch = await client.watch(b"w")
        await client.put(b"w", b"seen")
        async for event in watch:
            assert event.kv.value == b"seen"
            break
        await watch.cancel()
        async with client.lock(b"mutex", ttl=10):
            pass
        await lease.revoke()
        assert await client.get(b"leased") is None
        assert (await client.delete_prefix(b"a")).deleted == 1
        status = await client.status()
        assert status.version.startswith("3.")
        assert [m.name async for m in client.members()] == ["m0"]
        assert [a async for a in client.list_alarms()] == []
        await client.compact(2)
        await client.defragment()
        with open(sys.argv[3], "wb") as file:
            await client.snapshot(file)
    print("all answered")

async def aiter_of(items):
    for item in items:
        yield item

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def test_aetcds_calls_are_answered(tmp_path: Path) -> None:
    with RaftmetaCluster(tmp_path, 1) as cluster:
        host, _, port = cluster.endpoints[0].partition(":")
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, host, port, str(tmp_path / "saved")],
            capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "all answered\n"), done.stderr
    assert (tmp_path / "saved").stat().st_size % 512 == 32
