"""Measure trees of files: `make bench-files`, or `python benchmarks/files.py --help`.

One asyncio client drives a node of ours, etcd with the same keys, records and comparisons, Redis that syncs before each answer,
and this machine's file system with a sync of file and directory; then three nodes of ours and three of etcd. The phases are
mdtest's: create, stat, list, rename and remove, by one client and by eight, in one directory and in one each; and files by the
hundred in one call. Each system is started anew in each round, no two are alive at the same time, medians are told.

What a rate is held against stands in filebars.py. The servers that do nothing answer Stat with the same bytes: one of grpc.aio,
one of ours.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
from pathlib import Path

import filebars
import grpc
import report
import session
from filesystems import KINDS, Kind
from loops import closed_loop
from phases import PHASES, SHAPES, Phase, Shape, Work, fill
from rows import Row
from session import say

SPARE_SECONDS = 60.0
"""How much longer than asked a phase may take before it is given up."""
FAILURES = (grpc.aio.AioRpcError, TimeoutError, AssertionError, OSError)


def workload(phase: str, shape: Shape, nodes: int) -> str:
    """Return what a row is called."""
    return f"{phase}, {shape}, {'1 node' if nodes == 1 else f'{nodes} nodes'}"


def chosen(kind: Kind, shape: Shape, phase: Phase) -> bool:
    """Tell whether a phase is run: few are on servers that do nothing, batches by eight clients in one directory."""
    if kind.only:
        return phase.name in kind.only and shape.shared
    return not phase.batch or (shape.shared and shape.clients > 1)


async def measure(kind: Kind, directory: Path, options: argparse.Namespace, rows: list[Row]) -> None:
    """Start a system, run every phase in every shape, and stop it. Raises what the system's start raises."""
    directory.mkdir()
    async with kind.system(directory, kind.nodes) as system:
        tree = kind.tree(system)
        try:
            if not kind.only:
                await fill(tree)
            for shape in SHAPES:
                if options.only not in str(shape):
                    continue
                work = Work(tree, shape)
                if kind.only:
                    work.pretend()
                else:
                    await work.prepare()
                for phase in PHASES:
                    if not chosen(kind, shape, phase):
                        continue
                    row = Row(kind.name, workload(phase.name, shape, kind.nodes), phase.unit)
                    seconds = options.seconds * phase.longer
                    try:
                        async with asyncio.timeout(seconds + SPARE_SECONDS):
                            await closed_loop(
                                system, row, phase.call(work), shape.clients, seconds, phase.units, phase.warm
                            )
                    except FAILURES as error:
                        row.record(error)
                        row.finish()
                    rows.append(row)
                    say(f"  {row.workload:<48} {row.rate:>9,.0f} {row.unit}/s  p50 {row.p50:.2f} ms  {row.error}")
        finally:
            await tree.close()
    shutil.rmtree(directory)


async def run(options: argparse.Namespace, directory: Path) -> list[Row]:
    """Measure every system once a round."""
    kinds = [kind for kind in KINDS if kind.name in options.systems.split(";") and kind.nodes in options.nodes]
    rows: list[Row] = []
    for number in range(options.rounds):
        for at, kind in enumerate(
            kinds[number % len(kinds) :] + kinds[: number % len(kinds)]
        ):  # nobody always goes first
            say(f"round {number + 1} of {options.rounds}: {kind.name}, {kind.nodes}")
            try:
                await measure(kind, directory / f"{number}-{at}", options, rows)
            except FAILURES as error:  # the other systems are worth measuring still
                lost = Row(kind.name, "a whole round", "rounds")
                lost.record(error)
                rows.append(lost)
                say(f"  {kind.name} failed: {lost.error}")
    return rows


def render(document: dict[str, object]) -> str:
    """Return the report on a result file: a table for one node, one for three, the bars, and what must be known."""
    rounds, about = document["rounds"], document["machine"]
    assert isinstance(rounds, list)
    assert isinstance(about, dict)
    found = report.medians(Row(**row) for row in rounds)
    parts = [filebars.table(found, nodes) for nodes in ("1 node", "3 nodes")]
    parts += [filebars.LEGEND, filebars.verdicts(found), session.facts(about)]
    parts += ["\n".join(f"! {remark}" for remark in filebars.remarks(found))]
    return "\n\n".join(part for part in parts if part)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = session.parser(__doc__ or "", "files")
    names = ";".join(dict.fromkeys(kind.name for kind in KINDS))
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.8, help="per phase and round (default %(default)s)")
    parser.add_argument("--systems", default=names, help="which, separated by ; (default %(default)s)")
    parser.add_argument("--nodes", default="1,3", help="at which sizes (default %(default)s)")
    parser.add_argument("--only", default="", help="clients and directories with this in their name, as 'a shared'")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, min(options.seconds, 0.2)
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds are positive")
    options.nodes = [int(size) for size in options.nodes.split(",")]
    return options


def main() -> int:
    """Measure, print the tables and write the JSON; returns 1 when something had errors."""
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
