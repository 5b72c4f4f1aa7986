"""Every store of blobs there is, empty, with a clock that the test moves."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from quartet_server.objects.bucket import open_bucket
from quartet_server.objects.contract import BlobStore, MarkedBlobs
from quartet_server.objects.disk import DiskBlobs, DiskLimits
from quartet_server.objects.memory import MemoryBlobs

from harness import s3
from harness.trio import trio

TOUCH_SECONDS = 60.0


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def _memory(clock: Clock, folder: Path) -> BlobStore:
    return MemoryBlobs(clock, TOUCH_SECONDS)


async def _disk(clock: Clock, folder: Path) -> BlobStore:
    return await DiskBlobs.open(folder, DiskLimits(touch_seconds=TOUCH_SECONDS), clock, os.urandom)


async def bucket(url: str, endpoint: str, clock: Clock) -> MarkedBlobs:
    """Open a bucket whose server must honour conditions."""
    return await open_bucket(
        url, endpoint, require_conditions=True, touch_seconds=TOUCH_SECONDS, verify_reads=True, clock=clock,
        draw=os.urandom, say=print,
    )  # fmt: skip


async def _bucket_memory(clock: Clock, folder: Path) -> BlobStore:
    return await bucket("bucket-memory:", "", clock)


async def _s3(clock: Clock, folder: Path) -> BlobStore:
    return await bucket(f"s3://{s3.new_bucket()}/some/prefix", s3.endpoint(), clock)


class TrioBlobs:
    """The store of three nodes, through one of them; all of them end with it.

    Attributes:
        copies: Of each blob.
    """

    copies = 2

    def __init__(self, blobs: BlobStore, stack: AsyncExitStack) -> None:
        self._blobs = blobs
        self._stack = stack

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)

    async def close(self) -> None:
        """End the nodes."""
        await self._stack.aclose()


async def _replicas(clock: Clock, folder: Path) -> BlobStore:
    stack = AsyncExitStack()
    group = await stack.enter_async_context(trio(clock))
    return cast(BlobStore, TrioBlobs(group.nodes[3].blobs, stack))


DRIVERS: dict[str, Callable[[Clock, Path], Awaitable[BlobStore]]] = {
    "memory": _memory,
    "disk": _disk,
    "bucket": _bucket_memory,
    "s3": _s3,
    "replicas": _replicas,
}
"""Name -> how to open one; the folder is for those that need one."""


async def owned() -> None:
    """Let every round of collection happen: the store is the cluster's."""
