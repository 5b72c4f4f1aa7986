"""Databases for the tests of records, one driver after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from harness.records import Clock, open_sqlite
from quartet_server.records.contract import Database


@pytest.fixture
def clock() -> Clock:
    """The time, as the test has it."""
    return Clock()


@pytest_asyncio.fixture(params=["sqlite"])
async def database(tmp_path: Path, clock: Clock) -> AsyncIterator[Database]:
    """An empty database of notes."""
    opened = open_sqlite(tmp_path, clock=clock)
    yield opened
    await opened.close()


@pytest_asyncio.fixture(params=["sqlite"])
async def small(tmp_path: Path, clock: Clock) -> AsyncIterator[Database]:
    """One in which no more than eight writes may wait."""
    opened = open_sqlite(tmp_path, queue=8, clock=clock)
    yield opened
    await opened.close()
