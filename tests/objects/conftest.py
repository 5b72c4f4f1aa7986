"""Stores of blobs for the contract's tests: every driver there is, each with a clock that the test moves."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import s3
from quartet_server.objects.bucket import open_bucket
from quartet_server.objects.contract import BlobStore
from quartet_server.objects.disk import DiskBlobs, DiskLimits
from quartet_server.objects.memory import MemoryBlobs

TOUCH_SECONDS = 60.0


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Scene:
    """A store and its clock."""

    store: BlobStore
    clock: Clock


async def _memory(clock: Clock, folder: Path) -> BlobStore:
    return MemoryBlobs(clock, TOUCH_SECONDS)


async def _disk(clock: Clock, folder: Path) -> BlobStore:
    return await DiskBlobs.open(folder, DiskLimits(touch_seconds=TOUCH_SECONDS), clock, os.urandom)


async def _bucket(url: str, endpoint: str, clock: Clock) -> BlobStore:
    return await open_bucket(
        url, endpoint, require_conditions=True, touch_seconds=TOUCH_SECONDS, verify_reads=True, clock=clock,
        draw=os.urandom, say=print,
    )  # fmt: skip


async def _bucket_memory(clock: Clock, folder: Path) -> BlobStore:
    return await _bucket("bucket-memory:", "", clock)


async def _s3(clock: Clock, folder: Path) -> BlobStore:
    return await _bucket(f"s3://{s3.new_bucket()}/some/prefix", s3.endpoint(), clock)


DRIVERS: dict[str, Callable[[Clock, Path], Awaitable[BlobStore]]] = {
    "memory": _memory,
    "disk": _disk,
    "bucket": _bucket_memory,
    "s3": _s3,
}


@pytest.fixture(params=DRIVERS)
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    """An empty store of each driver."""
    clock = Clock()
    store = await DRIVERS[request.param](clock, tmp_path / "blobs")
    try:
        yield Scene(store, clock)
    finally:
        await store.close()


@pytest.fixture(autouse=True, scope="session")
def s3_credentials() -> Iterator[None]:
    """What obstore reads from the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.ENVIRONMENT.items():
            patch.setenv(name, value)
        yield
    s3.stop()


@pytest.fixture
def store(scene: Scene) -> BlobStore:
    """An empty store of each driver, for tests that need no clock."""
    return scene.store


@pytest.fixture
def clock(scene: Scene) -> Clock:
    """The clock of `store`."""
    return scene.clock
