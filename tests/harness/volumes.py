"""Small file systems, to be filled up."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_volume(path: Path, mebibytes: int) -> Iterator[Path]:
    """Make a file system of so many MiB at `path`; skips the test where none can be mounted."""
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def fill(volume: Path) -> Path:
    """Leave not a byte; return the file that has them."""
    filler = volume / "filler"
    for size in (1 << 20, 4096, 1):
        with contextlib.suppress(OSError), filler.open("ab", buffering=0) as out:
            while out.write(bytes(size)) == size:
                pass
    return filler
