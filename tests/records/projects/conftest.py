"""ProjectService over each driver: one server for all tests of a process, a zone for each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from grpc import aio
from harness.planning import Planning
from harness.records import Clock, Opening
from quartet_server.projects.schema import SCHEMA
from quartet_server.projects.service import start


@pytest.fixture(scope="session")
def now() -> Clock:
    """The time of the served databases; tests move it forward only."""
    return Clock()


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=["sqlite", "sqlite-away", "postgresql"])
async def channel(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, now: Clock
) -> AsyncIterator[aio.Channel]:
    """A channel to a server with a database of the driver."""
    async with AsyncExitStack() as undo:
        opening = Opening(request.param, tmp_path_factory.mktemp("projects"), now, undo)
        yield await opening.served(SCHEMA, start)


@pytest.fixture
def planning(channel: aio.Channel) -> Planning:
    """An empty zone."""
    return Planning(channel)
