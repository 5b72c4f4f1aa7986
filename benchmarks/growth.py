"""Measure how costs grow with keys, members and values: `python benchmarks/growth.py --help`.

One thing is varied at a time: keys on three members with 100-byte values; members with 1,000 keys of 100 bytes; values on
three members. Puts and linearizable ranges, 64 in flight (4 of values of 1 MB). Raftmeta and real etcd in turn, never both
alive. Costs are flat in the number of keys when the slowest rate is within 1.3 times of the fastest.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import calls
import grpc
import report
import session
from channels import PER_TXN, Clients
from loops import closed_loop
from rows import Row
from session import say
from systems import Etcd, Raftmeta, System

FLAT = 1.3
KINDS: tuple[type[System], ...] = (Etcd, Raftmeta)
LARGE = 100_000
"""From here on values count as large: fewer of them, fewer in flight, one per transaction."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One point: which dimension it belongs to, and members, keys and bytes of a value."""

    dimension: str
    members: int
    keys: int
    value: int

    @property
    def label(self) -> str:
        """The point on its dimension, in words."""
        return {
            "keys": f"{self.keys:,} keys", "members": f"{self.members} members", "value": f"{self.value:,} bytes",
        }[self.dimension]  # fmt: skip

    @property
    def workers(self) -> int:
        """Calls in flight."""
        return 4 if self.value >= LARGE else 64

    @property
    def per_txn(self) -> int:
        """Puts per transaction of the loading, so that a request stays far below 1.5 MiB."""
        return max(1, min(PER_TXN, 500_000 // self.value))


def clusters(sizes: Sequence[int], members: Sequence[int], values: Sequence[int]) -> list[list[Cell]]:
    """Return the points, those that one cluster can have in turn together: a store only grows."""
    few = sizes[0]
    growing = [[Cell("keys", 3, size, values[0]) for size in sizes]]
    wider = [[Cell("members", count, few, values[0])] for count in members]
    larger = [[Cell("value", 3, few if value < LARGE else min(few, 64), value)] for value in values]
    return growing + wider + larger


def names(cell: Cell, start: int = 0) -> list[bytes]:
    """Return the keys of a point from number `start` on."""
    return [b"grow/%08d" % number for number in range(start, cell.keys)]


async def measure(kind: type[System], cells: Sequence[Cell], directory: Path, options: argparse.Namespace) -> list[Row]:
    """Start a cluster, grow it from point to point, and measure at each."""
    rows: list[Row] = []
    directory.mkdir()
    cell = cells[0]
    try:
        async with kind(directory, cell.members) as system, contextlib.aclosing(Clients(system)) as clients:
            loaded = 0
            for cell in cells:
                await clients.load(names(cell, loaded), b"v" * cell.value, cell.per_txn)
                loaded = cell.keys
                rows += await _at(cell, clients, options.seconds)
    except (grpc.aio.AioRpcError, TimeoutError, OSError) as error:
        lost = Row(kind.name, f"{cell.dimension}/{cell.label}/put", "calls")
        lost.record(error)
        rows.append(lost)
        say(f"  {lost.workload} failed: {lost.error}")
    shutil.rmtree(directory)
    return rows


async def _at(cell: Cell, clients: Clients, seconds: float) -> list[Row]:
    """Measure one point."""
    keys, rows = names(cell), []
    for name, call in (
        ("range", calls.ranged(clients, keys, serializable=False)),
        ("put", calls.put(clients, keys, b"v" * cell.value)),
    ):
        await clients.settle()
        row = Row(clients.system.name, f"{cell.dimension}/{cell.label}/{name}", "calls")
        rows.append(await closed_loop(clients.system, row, call, cell.workers, seconds))
        say(f"  {row.workload:<32} {row.rate:>8,.0f}/s  p50 {row.p50:.2f} ms  {row.cpu:,.0f} us  {row.error}")
    return rows


def spread(rates: Sequence[float]) -> float:
    """Return the fastest over the slowest; infinity when one is zero."""
    return max(rates) / min(rates) if rates and min(rates) else float("inf")


def render(document: dict[str, object]) -> str:
    """Return the report on a result file: a table per dimension, and whether costs are flat in the number of keys."""
    rounds, about = document["rounds"], document["machine"]
    assert isinstance(rounds, list)
    assert isinstance(about, dict)
    found = report.medians(Row(**row) for row in rounds)
    systems = [kind.name for kind in KINDS if any(kind.name in some for some in found.values())]
    parts = []
    for dimension in ("keys", "members", "value"):
        lines = [[dimension, *(f"{system}, {name}" for system in systems for name in ("put", "range"))]]
        labels = list(dict.fromkeys(w.split("/")[1] for w in found if w.startswith(f"{dimension}/")))
        for label in labels:
            line = [label]
            for system in systems:
                for name in ("put", "range"):
                    median = found.get(f"{dimension}/{label}/{name}", {}).get(system)
                    line.append(_cell(median))
            lines.append(line)
        if len(lines) > 1:
            parts.append(report.markdown(lines))
    parts += ["rate (p50 / p99; server CPU per call, all members)", session.facts(about), *flatness(found, systems)]
    return "\n\n".join(parts)


def _cell(median: report.Median | None) -> str:
    if median is None:
        return "-"
    if median.errors:
        return f"errors: {median.errors}"
    return f"{median.rate:,.0f}/s ({median.p50:.1f} / {median.p99:.1f} ms; {median.cpu:,.0f} us)"


def flatness(found: dict[str, dict[str, report.Median]], systems: Sequence[str]) -> list[str]:
    """Return a sentence per system and call: how far rates and CPU per call vary with the number of keys."""
    said = []
    for system in systems:
        grouped: dict[str, list[report.Median]] = defaultdict(list)
        for workload, some in found.items():
            dimension, _, name = workload.split("/")
            if dimension == "keys" and system in some:
                grouped[name].append(some[system])
        for name, medians in grouped.items():
            if any(median.errors for median in medians):
                said.append(f"{system}, {name}: errors, nothing to tell")
                continue
            rate, cpu = spread([m.rate for m in medians]), spread([m.cpu for m in medians])
            mark = "✓" if rate <= FLAT else "✗"
            said.append(
                f"{system}, {name}: rate within {rate:.2f}x over all sizes (bar {FLAT}x {mark}), CPU {cpu:.2f}x"
            )
    return said


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = session.parser(__doc__ or "", "growth")
    parser.add_argument("--rounds", type=int, default=2, help="interleaved rounds (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="per point and call (default %(default)s)")
    parser.add_argument("--systems", default=",".join(kind.name for kind in KINDS), help="default %(default)s")
    parser.add_argument("--only", default="", help="only one dimension: keys, members or value")
    options = parser.parse_args()
    options.sizes, options.members, options.values = [1_000, 100_000, 1_000_000], [1, 3, 5], [100, 10_000, 1_000_000]
    if options.quick:
        options.rounds, options.seconds = 1, min(options.seconds, 0.3)
        options.sizes, options.members, options.values = [100, 1_000], [1], [100, 100_000]
    return options


async def run(options: argparse.Namespace, directory: Path) -> list[Row]:
    """Measure all points on all systems."""
    chosen = [kind for kind in KINDS if kind.name in options.systems.split(",")]
    rows: list[Row] = []
    for number in range(options.rounds):
        for cells in clusters(options.sizes, options.members, options.values):
            if options.only not in cells[0].dimension:
                continue
            for kind in chosen[number % len(chosen) :] + chosen[: number % len(chosen)]:
                say(f"round {number + 1} of {options.rounds}: {kind.name}, {cells[0].members} members")
                rows += await measure(kind, cells, directory / f"{kind.name}-{len(rows)}", options)
    return rows


def main() -> int:
    """Measure, print the tables and write the JSON; returns 1 when there were errors."""
    options = arguments()
    with session.scratch(options.directory) as directory:
        about = session.machine(directory)
        rows = asyncio.run(run(options, directory))
    document: dict[str, object] = {"machine": about, "rounds": [row.json() for row in rows]}
    session.write(options.json, document)
    print(render(document))
    return int(any(row.errors for row in rows))


if __name__ == "__main__":
    sys.exit(main())
