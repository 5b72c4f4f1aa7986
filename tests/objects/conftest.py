"""Stores of blobs for the contract's tests: every driver there is, each with a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import s3
from harness.blobs import DRIVERS, Clock
from quartet_server.objects.contract import BlobStore


@dataclass
class Scene:
    """A store and its clock."""

    store: BlobStore
    clock: Clock


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
