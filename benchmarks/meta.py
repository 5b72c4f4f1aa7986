"""Measure the Metastore beside real etcd: `make bench`, or `python benchmarks/meta.py --help`.

One asyncio client with the generated stubs drives three raftmeta processes, then three etcd members, then a Python gRPC
server that does nothing: the same client, machine and run for each. Rounds are interleaved, medians are told, and no two
systems are alive at the same time. Values have 100 bytes, keys 13 to 15, calls go round robin over the members.

The client is grpc.aio in one process, as Python's users have it. What it costs per call is printed, for it shares the
machine with what it measures; requests of a hundred puts are made before the clock starts. On two cores a second client
process would take from the servers what it adds; where the client is at its limit, the report says so.

Stores of a million keys, restarts and snapshots are measured by scale.py, growing costs by growth.py, endurance by soak.py.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import calls
import grpc
import report
import session
from bars import FAILOVER
from channels import Clients
from checkperf import check_perf
from failover import failover
from loops import Call, closed_loop
from rows import Row
from session import say
from systems import SYSTEMS, System
from watching import watch

Measure = Callable[[Clients, Row, float], Awaitable[Row]]
"""Runs a workload for some seconds."""
SPARE_SECONDS = 180.0
"""How much longer than asked a workload may take before it is given up."""
LOADS = ("s", "m")


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload.

    Attributes:
        name: As bars.py knows it.
        unit: What is counted.
        run: How to run it.
        simple: It makes sense on the server that does nothing.
    """

    name: str
    unit: str
    run: Measure
    simple: bool = True


def closed(make: Callable[[Clients], Call], workers: int, units: int = 1) -> Measure:
    """Return a workload that keeps `workers` calls in flight."""
    return lambda clients, row, seconds: closed_loop(clients.system, row, make(clients), workers, seconds, units)


def watched(watchers: int) -> Measure:
    """Return a workload with this many watchers."""
    return lambda clients, row, seconds: watch(clients, row, max(1.0, seconds), watchers)


async def leases(clients: Clients, row: Row, seconds: float) -> Row:
    """Grant leases, and revoke them all when the clock has stopped."""
    granted: list[int] = []
    row = await closed_loop(clients.system, row, calls.grant(clients, granted), 64, seconds)
    await calls.revoke(clients, granted)
    return row


WORKLOADS = [
    Workload("put, 1 in flight", "puts", closed(calls.put, 1)),
    Workload("put, 64", "puts", closed(calls.put, 64)),
    Workload("txn of 100 puts, 16", "puts", closed(calls.txn, 16, 100)),
    Workload("txn of 100 puts, 64", "puts", closed(calls.txn, 64, 100)),
    Workload("compare-and-set, 64", "txns", closed(calls.compare_and_set, 64)),
    Workload("linearizable range, 1", "ranges", closed(calls.linearizable, 1)),
    Workload("linearizable range, 64", "ranges", closed(calls.linearizable, 64)),
    Workload("serializable range, 64", "ranges", closed(calls.serializable, 64)),
    Workload("prefix range of 100 keys, 64", "ranges", closed(calls.prefix, 64)),
    Workload("scan of 1,000 keys, 16", "keys", closed(calls.scan, 16, 1000), simple=False),
    Workload("mixed, 80 % linearizable range, 20 % put, 64", "calls", closed(calls.mixed, 64)),
    Workload("lease grant, 64", "leases", leases, simple=False),
    Workload("watch, 100 watchers on 10 streams, 50 puts/s", "events", watched(100), simple=False),
    Workload("watch, 1 watcher, 50 puts/s", "events", watched(1), simple=False),
    Workload("watch, 10 watchers, 50 puts/s", "events", watched(10), simple=False),
    Workload("watch, 1,000 watchers on 10 streams, 5 puts/s", "events", watched(1000), simple=False),
]


async def run_one(workload: Workload, clients: Clients, seconds: float) -> Row:
    """Run one workload; what it raises becomes an error of its row."""
    row = Row(clients.system.name, workload.name, workload.unit)
    try:
        async with asyncio.timeout(seconds + SPARE_SECONDS):
            await clients.settle()
            return await workload.run(clients, row, seconds)
    except (grpc.aio.AioRpcError, TimeoutError, AssertionError) as error:
        row.record(error)
        return row.finish()


async def measure(
    kind: type[System], directory: Path, options: argparse.Namespace, number: int, rows: list[Row]
) -> None:
    """Start one system on fresh data, run every workload on it once, and stop it; what was measured goes to `rows`."""

    def add(row: Row) -> None:
        rows.append(row)
        told = "passes" if row.passed else "FAILS" if row.passed is False else f"p50 {row.p50:.2f} ms"
        failed = f"  errors: {row.errors} ({row.error})" if row.errors else ""
        say(f"  {row.workload:<46} {row.rate:>9,.0f} {row.unit}/s  {told}{failed}")

    chosen = [w for w in WORKLOADS if options.only in w.name and (w.simple or kind.complete)]
    loads = [load for load in LOADS if options.only in f"check perf, {load}" and number == 0 and not options.quick]
    kills = share(options.kills, options.rounds, number) if options.only in FAILOVER else 0
    if not chosen and not (kind.replicated and (loads or kills)):
        return
    directory.mkdir()
    async with kind(directory) as system:
        clients = Clients(system)
        try:
            if system.complete and chosen:
                await clients.load(calls.KEYS, calls.VALUE)
            for workload in chosen:
                add(await run_one(workload, clients, options.seconds))
        finally:
            await clients.aclose()
        if system.replicated and kills:
            add(await failover(system, Row(system.name, FAILOVER, "s"), kills))
        for load in loads if system.replicated else ():
            add(await check_perf(system, Row(system.name, f"check perf, {load}", "puts"), load))
    shutil.rmtree(directory)


def share(total: int, rounds: int, number: int) -> int:
    """Return which part of `total` is round `number`'s."""
    return total // rounds + (number < total % rounds)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = session.parser(__doc__ or "", "meta")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.5, help="per workload and round (default %(default)s)")
    parser.add_argument("--kills", type=int, default=20, help="leaders killed, in all rounds (default %(default)s)")
    parser.add_argument("--only", default="", help="run only workloads whose name contains this")
    parser.add_argument("--systems", default=",".join(kind.name for kind in SYSTEMS), help="default %(default)s")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.kills = 1, min(options.seconds, 1.0), min(options.kills, 1)
    if options.rounds < 1 or options.seconds <= 0 or options.kills < 0:
        parser.error("--rounds and --seconds are positive, --kills is not negative")
    return options


async def run(options: argparse.Namespace, directory: Path) -> list[Row]:
    """Measure every system once a round."""
    chosen = [kind for kind in SYSTEMS if kind.name in options.systems.split(",")]
    rows: list[Row] = []
    for number in range(options.rounds):
        for kind in chosen[number % len(chosen) :] + chosen[: number % len(chosen)]:  # nobody always goes first
            say(f"round {number + 1} of {options.rounds}: {kind.name}")
            try:
                await measure(kind, directory / f"{kind.name}-{number}", options, number, rows)
            except (
                TimeoutError,
                grpc.aio.AioRpcError,
                OSError,
            ) as error:  # the other systems are worth measuring still
                say(f"  {kind.name} failed: {error}")
                lost = Row(kind.name, "a whole round", "rounds")
                lost.record(error)
                rows.append(lost)
    return rows


def main() -> int:
    """Measure, print the table and write the JSON; returns 1 when a workload had errors."""
    options = arguments()
    with session.scratch(options.directory) as directory:
        about = session.machine(directory)
        rows = asyncio.run(run(options, directory))
    results = report.medians(rows)
    ratios = {
        name: {other: report.ratio(name, found, other) for other in (report.THEIRS, report.NOTHING)}
        for name, found in results.items()
    }
    document: dict[str, object] = {"machine": about, "rounds": [row.json() for row in rows], "ratios": ratios}
    session.write(options.json, document)
    print(report.render(document))
    return int(any(row.errors for row in rows))


if __name__ == "__main__":
    sys.exit(main())
