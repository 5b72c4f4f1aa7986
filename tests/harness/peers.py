"""Finds peers' real binaries: on PATH, or in `.peers/usr/bin` where `make peers` unpacks them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

PEERS = Path(__file__).parents[2] / ".peers" / "usr" / "bin"


def binary(name: str) -> str:
    """Return the path of `name`; skip the test, or fail it under QUARTET_REQUIRE_BACKENDS=1, when there is none."""
    found = shutil.which(name, path=f"{PEERS}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        reason = f"{name} is not installed: run `make peers`, or install Debian's package"
        if os.environ.get("QUARTET_REQUIRE_BACKENDS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found
