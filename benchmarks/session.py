"""What every program here does around measuring: options, a folder for data, facts about the machine, the result file."""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import grpc
import psutil
from systems import etcd_binary

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def say(text: str) -> None:
    """Tell how it goes, on stderr: stdout carries the result."""
    print(text, file=sys.stderr, flush=True)


def parser(about: str, name: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every program has; `name` is the result's."""
    made = argparse.ArgumentParser(description=about.partition("\n")[0])
    made.add_argument("--quick", action="store_true", help="the smallest of everything: a look, not a measurement")
    where = made.add_mutually_exclusive_group()
    where.add_argument(
        "--json", type=Path, default=RESULTS / f"{name}.local.json", help="where the figures go (default: %(default)s)"
    )
    where.add_argument(
        "--record", dest="json", action="store_const", const=RESULTS / f"{name}.json",
        help="put the figures where the repository keeps them",
    )  # fmt: skip
    made.add_argument(
        "--directory", type=Path, default=ROOT / ".quartet", help="where data lives meanwhile; on a real disk"
    )
    return made


@contextlib.contextmanager
def scratch(directory: Path) -> Iterator[Path]:
    """Yield a new folder below `directory` and remove it in the end, on SIGTERM too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=directory) as made:
        gc.collect()
        gc.freeze()  # the client's garbage collector has less to look at
        yield Path(made)


def fdatasync_milliseconds(directory: Path) -> float:
    """Return the median of 200 appends of 2 KiB, each forced to disk."""
    times = []
    with (directory / "fdatasync").open("wb") as file:
        for _ in range(200):
            began = time.perf_counter()
            file.write(b"x" * 2048)
            file.flush()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    (directory / "fdatasync").unlink()
    return statistics.median(times) * 1000


def machine(directory: Path, arguments: Sequence[str] | None = None) -> dict[str, object]:
    """Return what the figures depend on, and with which `arguments` they were made (default: this program's)."""
    etcd = subprocess.run([etcd_binary(), "--version"], capture_output=True, text=True, check=False).stdout
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "grpcio": grpc.__version__,
        "etcd": etcd.partition("\n")[0].removeprefix("etcd Version: "),
        "fdatasync_ms": round(fdatasync_milliseconds(directory), 3),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "arguments": " ".join(sys.argv[1:] if arguments is None else arguments),
    }


def facts(about: Mapping[str, object]) -> str:
    """Return the machine's facts in a line."""
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in about.items() if value != "")


def write(path: Path, document: Mapping[str, object]) -> None:
    """Write the result file; it is there whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(json.dumps(document, indent=1) + "\n")
    temporary.replace(path)
