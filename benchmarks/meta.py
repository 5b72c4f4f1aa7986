"""Measure the Metastore beside real etcd: `make bench`, or `python benchmarks/meta.py --help`.

One asyncio client with the generated stubs drives three raftmeta processes, then three etcd members, then a Python gRPC
server that does nothing: the same client, machine and run for each. Rounds are interleaved, medians are told, and no two
systems are alive at the same time. Values have 100 bytes, keys 13 to 15, calls go round robin over the members.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import psutil
import report
import workloads as w
from systems import SYSTEMS, System, etcd_binary

ROOT = Path(__file__).resolve().parents[1]

Workload = tuple[str, str, bool, Callable[[w.Clients, w.Row, float], Awaitable[w.Row]]]
"""Name, unit, whether it makes sense on the server that does nothing, and how to run it for some seconds."""


def closed(
    make: Callable[[w.Clients], w.Call], workers: int, units: int = 1
) -> Callable[[w.Clients, w.Row, float], Awaitable[w.Row]]:
    """Return a workload that keeps `workers` calls in flight."""
    return lambda clients, row, seconds: w.closed_loop(clients, row, make(clients), workers, seconds, units)


def serializable(clients: w.Clients) -> w.Call:
    """Read a key from whichever member is asked."""
    return w.ranged(clients, serializable=True)


def linearizable(clients: w.Clients) -> w.Call:
    """Read a key with the majority's word that it is the latest."""
    return w.ranged(clients, serializable=False)


WORKLOADS: list[Workload] = [
    ("put, 1 in flight", "puts", True, closed(w.put, 1)),
    ("put, 64", "puts", True, closed(w.put, 64)),
    ("txn of 100 puts, 16", "puts", True, closed(w.txn, 16, 100)),
    ("txn of 100 puts, 64", "puts", True, closed(w.txn, 64, 100)),
    ("compare-and-set, 64", "txns", True, closed(w.compare_and_set, 64)),
    ("linearizable range, 1", "ranges", True, closed(linearizable, 1)),
    ("linearizable range, 64", "ranges", True, closed(linearizable, 64)),
    ("serializable range, 64", "ranges", True, closed(serializable, 64)),
    ("prefix range of 100 keys, 64", "ranges", True, closed(w.prefix, 64)),
    ("watch, 100 watchers on 10 streams, 50 puts/s", "events", False, w.watch),
]


async def measure(kind: type[System], directory: Path, options: argparse.Namespace) -> list[w.Row]:
    """Start one system on fresh data, run every workload on it once, and stop it."""
    rows: list[w.Row] = []
    directory.mkdir()
    async with kind(directory) as system:
        clients = w.Clients(system)
        try:
            if system.complete:
                await clients.load()
            for name, unit, simple, run in WORKLOADS:
                if options.only in name and (simple or system.complete):
                    await clients.settle()
                    rows.append(await run(clients, w.Row(system.name, name, unit), options.seconds))
                    say(f"  {name:<46} {rows[-1].rate:>9,.0f} {unit}/s  p50 {rows[-1].p50:.2f} ms  {rows[-1].error}")
        finally:
            await clients.close()
        if system.replicated and options.kills and options.only in "failover":
            rows.append(
                await w.failover(system, w.Row(system.name, "failover, kill -9 of the leader", "s"), options.kills)
            )
            say(f"  failover, kill -9 of the leader {rows[-1].p50 / 1000:>24.2f} s  {rows[-1].error}")
    shutil.rmtree(directory)
    return rows


def say(text: str) -> None:
    """Tell how it goes, on stderr: stdout carries the result."""
    print(text, file=sys.stderr, flush=True)


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


def machine(directory: Path) -> dict[str, object]:
    """Return what the figures depend on."""
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
    }


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one round of one second: a look, not a measurement")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="per workload and round (default %(default)s)")
    parser.add_argument("--kills", type=int, default=4, help="leaders killed per round (default %(default)s)")
    parser.add_argument("--only", default="", help="run only workloads whose name contains this")
    parser.add_argument("--systems", default=",".join(kind.name for kind in SYSTEMS), help="default %(default)s")
    parser.add_argument(
        "--json", type=Path, default=ROOT / "benchmarks" / "results" / "meta.local.json", help="where the figures go"
    )
    parser.add_argument(
        "--directory", type=Path, default=ROOT / ".quartet", help="where data lives meanwhile; on a real disk"
    )
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.kills = 1, 1.0, 1
    return options


async def run(options: argparse.Namespace, directory: Path) -> list[w.Row]:
    """Measure every system once a round."""
    chosen = [kind for kind in SYSTEMS if kind.name in options.systems.split(",")]
    rows = []
    for number in range(options.rounds):
        for kind in chosen[number % len(chosen) :] + chosen[: number % len(chosen)]:  # nobody always goes first
            say(f"round {number + 1} of {options.rounds}: {kind.name}")
            rows += await measure(kind, directory / f"{kind.name}-{number}", options)
    return rows


def main() -> int:
    """Measure, print the table and write the JSON; returns 1 when a workload had errors."""
    options = arguments()
    options.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.directory) as directory:
        about = machine(Path(directory))
        rows = asyncio.run(run(options, Path(directory)))
    results = report.medians(rows)
    print(report.table(results, options.systems.split(",")))
    print("\nrate (p50 / p99; server CPU per unit, all members). Ratios of rates: more is better; of times: less is.")
    print(", ".join(f"{key.replace('_', ' ')} {value}" for key, value in about.items()))
    for remark in report.remarks(results):
        print(f"! {remark}")
    ratios = {
        name: {other: report.ratio(name, found, other) for other in (report.THEIRS, report.NOTHING)}
        for name, found in results.items()
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": about, "rounds": [row.json() for row in rows], "ratios": ratios}
    options.json.write_text(json.dumps(document, indent=1) + "\n")
    return int(any(row.errors for row in rows))


if __name__ == "__main__":
    sys.exit(main())
