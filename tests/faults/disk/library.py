"""Builds the layer once per version of its source, into the machine's directory for temporary files."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_HERE = Path(__file__).parent
_SOURCES = ("base.c", "calls.c", "names.c", "shadow.c", "clock.c")
_FLAGS = ("-shared", "-fPIC", "-O2", "-std=gnu11", "-Wall", "-Wextra")


class DiskLayerUnavailable(Exception):  # noqa: N818 - it says what is wrong
    """The layer cannot be had on this machine; the message says why."""


def library() -> Path:
    """Return the path of the shared library, building it if need be.

    Raises:
        DiskLayerUnavailable: This is not Linux, or there is no C compiler, or it cannot compile the sources.
    """
    if sys.platform != "linux":
        raise DiskLayerUnavailable("the disk layer is for Linux (LD_PRELOAD, /proc)")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise DiskLayerUnavailable("the disk layer needs a C compiler: install gcc or clang")
    sources = [_HERE / name for name in _SOURCES]
    digest = hashlib.sha256(repr((_FLAGS, compiler)).encode())
    for path in [*sources, _HERE / "disk.h"]:
        digest.update(path.read_bytes())
    cache = Path(tempfile.gettempdir()) / f"quartet-disk-layer-{os.getuid()}"
    built = cache / f"{digest.hexdigest()[:16]}.so"
    if built.exists():
        return built
    cache.mkdir(mode=0o700, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=cache)
    os.close(descriptor)
    command = [compiler, *_FLAGS, "-o", draft, *map(str, sources), "-ldl", "-pthread"]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if outcome.returncode:
        Path(draft).unlink()
        raise DiskLayerUnavailable(f"{compiler} cannot build the disk layer: {outcome.stderr}")
    Path(draft).replace(built)  # others may be building it at the same time
    return built
