"""What every fuzz test gets: time enough for what FUZZ_SECONDS asks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz.budget import SECONDS
from fuzz.forking import Commands
from fuzz.material import Material, make

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test here its share of time beside what starting and checking takes on a busy machine."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(300 + SECONDS))


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """A killed member's directory and a backup of it."""
    return make(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="session")
def original(material: Material) -> Path:
    """The directory of a member that was killed right after it had acknowledged KEYS."""
    return material.directory


@pytest.fixture(scope="session")
def commands() -> Iterator[Commands]:
    """What runs commands of raftmeta quickly."""
    with Commands() as running:
        yield running
