"""Small programs whose disk a `DiskLayer` is, and getting one, or saying why there is none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from faults.disk.layer import DiskLayer
from faults.disk.library import DiskLayerUnavailable

_PRELUDE = """
import os, sys
def put(name, data, at=0, flags=0):
    descriptor = os.open(name, os.O_RDWR | os.O_CREAT | flags, 0o600)
    os.pwrite(descriptor, data, at)
    return descriptor
def sync(name="."):
    descriptor = os.open(name, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
"""
_END = "\nos.kill(os.getpid(), 9)\n"


def disk_layer(directory: Path) -> DiskLayer:
    """Return the layer below `directory`; skip the test, or fail it under QUARTET_REQUIRE_BACKENDS=1, without it."""
    try:
        return DiskLayer(directory)
    except DiskLayerUnavailable as why:
        if os.environ.get("QUARTET_REQUIRE_BACKENDS") == "1":
            pytest.fail(str(why))
        pytest.skip(str(why))


def run(disk: DiskLayer, program: str) -> str:
    """Run a program in the directory of `disk`; it has `put` and `sync`. Returns what it printed; it must end well."""
    outcome = _run(disk, program)
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


def run_and_kill(disk: DiskLayer, program: str) -> None:
    """Run a program that is killed when it has reached its end."""
    outcome = _run(disk, program + _END)
    assert outcome.returncode == -signal.SIGKILL, outcome.stderr


def complaint(disk: DiskLayer, program: str) -> str:
    """Run a program that the layer must stop; returns what it said."""
    outcome = _run(disk, program)
    assert outcome.returncode == -signal.SIGABRT, outcome.stderr
    return outcome.stderr


def _run(disk: DiskLayer, program: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **disk.environment()}
    return subprocess.run(
        [sys.executable, "-c", _PRELUDE + program],
        cwd=disk.directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
