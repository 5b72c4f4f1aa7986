"""Databases in a PostgreSQL of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest_asyncio
from harness.records import NOTES, Clock, Opening
from quartet_server.records.contract import Database


@pytest_asyncio.fixture
async def opening(tmp_path: Path, clock: Clock) -> AsyncIterator[Opening]:
    """Opens databases in the test's PostgreSQL; all of it ends with the test."""
    async with AsyncExitStack() as undo:
        yield Opening("postgresql", tmp_path, clock, undo)


@pytest_asyncio.fixture
async def database(opening: Opening) -> Database:
    """An empty database of notes."""
    return await opening.database(NOTES)
