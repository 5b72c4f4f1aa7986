"""The agents ledger over each driver, for its tests."""

from __future__ import annotations

import pytest_asyncio
from grpc import aio
from harness.conversations import Ledger
from harness.records import Opening
from quartet_server.agents.schema import SCHEMA
from quartet_server.agents.service import start


@pytest_asyncio.fixture
async def channel(opening: Opening) -> aio.Channel:
    """A channel to an empty ledger."""
    return await opening.served(SCHEMA, start)


@pytest_asyncio.fixture
async def ledger(channel: aio.Channel) -> Ledger:
    """An empty ledger."""
    return Ledger(channel)
