"""What every test process shares."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # servers that stop are the tests' business, not the reader's

BUSY = 300
"""Seconds for a test that starts processes, on a machine that is busy: every wait inside it has an end of its own."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests of real processes the time that a busy machine needs."""
    for item in items:
        processes = item.get_closest_marker("slow") or "faults" in item.path.parts
        if processes and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(BUSY))
