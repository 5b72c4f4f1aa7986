"""What the cache of decoded inodes and entries saves: CPU of this process for each Stat, path of a BatchStat, entry of a List.

    .venv/bin/python benchmarks/cache.py [--seconds 1.0]

One node in this process, called without a socket, with and without the cache in turn; the tree fits into the cache, as the
working set of agents does. CPU and not time, so that what else runs on the machine matters less.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp
from quartet.files.v1 import files_pb2 as pb
from quartet_server.files import reading
from quartet_server.files.batch import BatchCreate
from quartet_server.files.service import FileService
from quartet_server.files.tree import Tree
from quartet_server.meta.recent import Recent
from quartet_server.objects.memory import MemoryBlobs

from raftmeta.config import NodeConfig
from raftmeta.drivers.embedded import EmbeddedMetastore
from raftmeta.node import Node

ZONE = "default"
DIRECTORIES, FILES = 20, 1000
ROUNDS = 3


async def fill(tree: Tree) -> list[str]:
    """Make directories with files; return the files' paths, four components each."""
    top = pb.BatchCreateRequest()
    for path in ("/a", "/a/b", *(f"/a/b/{i:02}" for i in range(DIRECTORIES))):
        top.entries.add(path=path, type=pb.ENTRY_TYPE_DIRECTORY)
    await BatchCreate(tree, ZONE, top, None).run()
    paths = [f"/a/b/{i % DIRECTORIES:02}/file-{i:05}.txt" for i in range(DIRECTORIES * FILES)]
    attributes = pb.Attributes(size=1234, mode=0o644, mime="text/plain", owner="agent-7", digest=bytes(32))
    for i in range(0, len(paths), 1000):
        entries = [pb.CreateEntry(path=path, attributes=attributes) for path in paths[i : i + 1000]]
        await BatchCreate(tree, ZONE, pb.BatchCreateRequest(entries=entries), None).run()
    return paths


async def measured(call: Callable[[int], Awaitable[int]], seconds: float) -> float:
    """Return the CPU seconds of this process for each item that `call` answers."""
    items = number = 0
    end = time.monotonic() + seconds
    began = time.process_time()
    while time.monotonic() < end:
        items += await call(number)
        number += 1
    return (time.process_time() - began) / items


def calls(tree: Tree, paths: list[str], *, serializable: bool) -> dict[str, Callable[[int], Awaitable[int]]]:
    """Return what is measured."""

    async def stat(i: int) -> int:
        await reading.stat(tree, ZONE, pb.StatRequest(path=paths[i * 7919 % len(paths)], serializable=serializable))
        return 1

    async def batch(i: int) -> int:
        some = [paths[(i * 100 + j) * 7919 % len(paths)] for j in range(100)]
        await reading.batch_stat(tree, ZONE, pb.BatchStatRequest(paths=some, serializable=serializable))
        return 100

    async def listed(i: int) -> int:
        path = f"/a/b/{i % DIRECTORIES:02}"
        request = pb.ListRequest(path=path, detail=True, page_size=FILES, serializable=serializable)
        return len((await reading.list_directory(tree, ZONE, request)).entries)

    return {"Stat": stat, "BatchStat, a path of 100": batch, "List -l, an entry of 1,000": listed}


async def run(seconds: float) -> None:
    """Measure, and print a table in microseconds."""
    with tempfile.TemporaryDirectory() as directory:
        node = await Node.start(NodeConfig(data_dir=Path(directory), name="n1"))
        try:
            await node.ready(20.0)
            store = node.metastore(1)
            assert isinstance(store, EmbeddedMetastore)

            def tree(recent: Recent | None) -> Tree:
                return FileService(store, lambda: Timestamp(seconds=1), MemoryBlobs(time.time), recent=recent)._tree

            plain, keeping = tree(None), tree(Recent(store, 100_000))
            paths = await fill(plain)
            assert keeping.recent is not None
            for path in paths[: DIRECTORIES * FILES]:
                await reading.stat(keeping, ZONE, pb.StatRequest(path=path, serializable=True))
            print(f"{'':32} {'without':>9} {'with':>9}   (us of CPU; the least of {ROUNDS} rounds)")
            for serializable in (True, False):
                for name in calls(plain, paths, serializable=serializable):
                    found = {False: float("inf"), True: float("inf")}
                    for _ in range(ROUNDS):
                        for with_cache, one in ((False, plain), (True, keeping)):
                            call = calls(one, paths, serializable=serializable)[name]
                            found[with_cache] = min(found[with_cache], await measured(call, seconds))
                    label = f"{name}{', serializable' if serializable else ''}"
                    print(f"{label:40} {found[False] * 1e6:9.1f} {found[True] * 1e6:9.1f}")
            recent = keeping.recent
            print(f"hits {recent.hits}, misses {recent.misses}, kept {len(recent)}")
        finally:
            await node.stop()


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each figure of a round")
    asyncio.run(run(parser.parse_args().seconds))


if __name__ == "__main__":
    main()
