"""What every fuzz test gets: time enough for what FUZZ_SECONDS asks."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz.budget import SECONDS

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test here its share of time beside what starting and checking takes on a busy machine."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(300 + SECONDS))
