"""Databases with a history, one driver after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.migrations import Store


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty place for databases."""
    made = Store(request.param, tmp_path)
    yield made
    made.close()
