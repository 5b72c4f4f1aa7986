"""Every store of blobs there is, empty, with a clock that the test moves."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from quartet_server.objects.bucket import open_bucket
from quartet_server.objects.contract import BlobStore
from quartet_server.objects.disk import DiskBlobs, DiskLimits
from quartet_server.objects.memory import MemoryBlobs

from harness import s3

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


async def bucket(url: str, endpoint: str, clock: Clock) -> BlobStore:
    """Open a bucket whose server must honour conditions."""
    return await open_bucket(
        url, endpoint, require_conditions=True, touch_seconds=TOUCH_SECONDS, verify_reads=True, clock=clock,
        draw=os.urandom, say=print,
    )  # fmt: skip


async def _bucket_memory(clock: Clock, folder: Path) -> BlobStore:
    return await bucket("bucket-memory:", "", clock)


async def _s3(clock: Clock, folder: Path) -> BlobStore:
    return await bucket(f"s3://{s3.new_bucket()}/some/prefix", s3.endpoint(), clock)


DRIVERS: dict[str, Callable[[Clock, Path], Awaitable[BlobStore]]] = {
    "memory": _memory,
    "disk": _disk,
    "bucket": _bucket_memory,
    "s3": _s3,
}
"""Name -> how to open one; the folder is for those that need one."""
