"""Finds peers' real binaries: on PATH, or below `.peers` where `make peers` puts them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

PEERS = Path(__file__).parents[2] / ".peers"
FOLDERS = (PEERS / "usr" / "bin", PEERS / "buildgrid" / "bin")


def binary(name: str) -> str:
    """Return the path of `name`; skip the test, or fail it under QUARTET_REQUIRE_BACKENDS=1, when there is none."""
    found = shutil.which(name, path=os.pathsep.join([*map(str, FOLDERS), os.environ.get("PATH", "")]))
    if found is None:
        reason = f"{name} is not installed: run `make peers`, or install it"
        if os.environ.get("QUARTET_REQUIRE_BACKENDS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found
