"""The tree on this machine's file system, in this process: after each change the file and its directory are synced."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trees import PAGE, Tree, split

THREADS = 8


class OnFileSystem(Tree):
    """Calls are done by eight threads."""

    def __init__(self, root: Path) -> None:
        """Keep everything below `root`, which exists."""
        self._root = str(root)
        self._pool = ThreadPoolExecutor(THREADS)
        self._directories: dict[str, int] = {}

    async def close(self) -> None:
        """See Tree."""
        self._pool.shutdown()
        for descriptor in self._directories.values():
            os.close(descriptor)

    async def _do(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def mkdir(self, directory: str) -> None:
        """See Tree."""
        os.mkdir(self._root + directory)
        self._directories[directory] = os.open(self._root + directory, os.O_RDONLY | os.O_DIRECTORY)

    async def create(self, path: str) -> None:
        """See Tree."""

        def work() -> None:
            file = os.open(self._root + path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            os.fsync(file)
            os.close(file)
            os.fsync(self._directories[split(path)[0]])

        await self._do(work)

    async def stat(self, path: str) -> None:
        """See Tree."""
        await self._do(lambda: assert_file(os.stat(self._root + path)))

    async def list(self, directory: str) -> int:
        """See Tree."""
        names: list[str] = []
        await self._do(lambda: names.extend(sorted(os.listdir(self._root + directory))[:PAGE]))
        return len(names)

    async def rename(self, source: str, destination: str) -> None:
        """See Tree."""

        def work() -> None:
            os.rename(self._root + source, self._root + destination)
            for directory in {split(source)[0], split(destination)[0]}:
                os.fsync(self._directories[directory])

        await self._do(work)

    async def remove(self, path: str) -> None:
        """See Tree."""

        def work() -> None:
            os.unlink(self._root + path)
            os.fsync(self._directories[split(path)[0]])

        await self._do(work)

    async def create_many(self, paths: Sequence[str]) -> None:
        """See Tree."""
        await asyncio.gather(*(self.create(path) for path in paths))

    async def stat_many(self, paths: Sequence[str]) -> None:
        """See Tree."""
        await asyncio.gather(*(self.stat(path) for path in paths))


def assert_file(status: os.stat_result) -> None:
    """Raise AssertionError for what is no empty file."""
    assert status.st_size == 0
