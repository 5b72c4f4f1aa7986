"""A node's databases, and OpsService over them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from harness.databases import Ops, operated


@pytest_asyncio.fixture
async def ops(tmp_path: Path) -> AsyncIterator[Ops]:
    """OpsService over two databases of notes."""
    async with operated(tmp_path / "data") as started:
        yield started
