"""Databases for the tests of records, one driver after the other, and services over them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from harness.records import NOTES, Clock, Opening
from quartet_server.records.contract import Database


@pytest.fixture
def clock() -> Clock:
    """The time, as the test has it."""
    return Clock()


AWAY = "-away"
"""Behind a driver's name: services are called through a node that is not the home. Tests of the engine itself call none."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave tests out that would only be the same again."""
    same = [
        item
        for item in items
        if isinstance(item, pytest.Function)
        and {"contract", "engine"}.intersection(item.path.parts)
        and hasattr(item, "callspec")
        and str(item.callspec.params.get("opening", "")).endswith(AWAY)
    ]
    items[:] = [item for item in items if item not in same]
    config.hook.pytest_deselected(items=same)


@pytest_asyncio.fixture(params=["sqlite", f"sqlite{AWAY}"])
async def opening(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Opening]:
    """Opens empty databases of one driver, and serves services over them; all of it ends with the test."""
    async with AsyncExitStack() as undo:
        yield Opening(request.param, tmp_path, clock, undo)


@pytest_asyncio.fixture
async def database(opening: Opening) -> Database:
    """An empty database of notes."""
    return await opening.database(NOTES)


@pytest_asyncio.fixture
async def small(opening: Opening) -> Database:
    """One in which no more than eight writes may wait."""
    return await opening.database(NOTES, queue=8)
