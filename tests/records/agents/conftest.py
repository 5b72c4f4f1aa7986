"""The agents ledger over each driver: one server for all tests of a process, a zone for each test."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from grpc import aio
from harness.conversations import Ledger
from harness.records import Clock, Opening
from quartet_server.agents.schema import SCHEMA
from quartet_server.agents.service import start


@pytest.fixture(scope="session")
def clock() -> Clock:
    """The time of the served databases; tests move it forward only."""
    return Clock()


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=["sqlite", "postgresql", "sqlite-away"])
async def channel(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, clock: Clock
) -> AsyncIterator[aio.Channel]:
    """A channel to a ledger in a database of the driver, or to another node than that which has it."""
    async with AsyncExitStack() as undo:
        opening = Opening(request.param, tmp_path_factory.mktemp("agents"), clock, undo)
        yield await opening.served(SCHEMA, start)


@pytest.fixture(scope="session")
def zones() -> Iterator[str]:
    """Names of zones that no test has had."""
    return (f"zone{number}" for number in itertools.count())


@pytest.fixture
def ledger(channel: aio.Channel, zones: Iterator[str]) -> Ledger:
    """An empty ledger."""
    return Ledger(channel, next(zones))
