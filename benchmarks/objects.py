"""Measure stores of blobs: `make bench-objects`, or `python benchmarks/objects.py --help`.

Over gRPC: a node of ours beside BuildGrid with its storage on a disk, the same client and calls. In this process: our
store beside files that are written as they must be (fsync, rename, fsync of the folder) by eight threads. BuildGrid does not
sync, everybody else does. Blobs are random bytes, new in every call; each system is started anew in each round, the disk then
has nothing left to write, and no two are alive at the same time. Rates are medians over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import resource
import shutil
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import report
import session
from blobstores import KINDS, Blobs, machine_busy
from quartet_server.objects.contract import Put
from quartet_server.objects.digest import Digest
from rows import Row
from session import say

SMALL, BATCH, LARGE, ASKED = 4096, 500, 64 << 20, 1000
PAIRS = (("quartet", "buildgrid"), ("store", "files + fsync"))
"""Ours, and what it is compared with."""
BARS = {"write 64 MiB": 1.0, "read 64 MiB": 1.0, "put 500 x 4 KiB": 2.0}
"""Least ratio to BuildGrid."""
_numbers = itertools.count()
_NOISE = random.Random(0).randbytes(LARGE)


@dataclass(frozen=True, slots=True)
class Load:
    """A workload.

    Attributes:
        name: As the tables have it.
        unit: What is counted.
        units: How many of them a call is.
        workers: Calls in flight.
        prepare: Makes ready what `call` needs; not measured.
        call: Does one call.
    """

    name: str
    unit: str
    units: float
    workers: int
    prepare: Callable[[Blobs], Awaitable[object]]
    call: Callable[[Blobs, object], Awaitable[None]]


def fresh(size: int) -> Put:
    """Return a blob that nobody has seen and that does not compress; making it costs little beside its digest."""
    data = next(_numbers).to_bytes(16, "big") + _NOISE[: size - 16]
    return Put(Digest.of(data), data)


async def nothing(blobs: Blobs) -> object:
    """Prepare nothing."""
    return None


def putting(count: int) -> Callable[[Blobs, object], Awaitable[None]]:
    """Return a call that puts so many small blobs; making them is part of it, and the same for all."""

    async def call(blobs: Blobs, prepared: object) -> None:
        await blobs.put([fresh(SMALL) for _ in range(count)])

    return call


async def put_some(blobs: Blobs) -> object:
    """Put small blobs to be read."""
    some = [fresh(SMALL) for _ in range(ASKED)]
    for start in range(0, ASKED, BATCH):
        await blobs.put(some[start : start + BATCH])
    return [blob.digest for blob in some]


async def put_large(blobs: Blobs) -> object:
    """Put a large blob to be read."""
    blob = fresh(LARGE)
    await blobs.write(blob.digest, blob.data)
    return blob.digest


async def make_large(blobs: Blobs) -> object:
    """Make large blobs to be written; each is written once."""
    return iter([fresh(LARGE) for _ in range(4)])


async def get_batch(blobs: Blobs, prepared: object) -> None:
    """Read small blobs in one call."""
    assert isinstance(prepared, list)
    assert await blobs.get(prepared[:BATCH]) == BATCH * SMALL


async def ask(blobs: Blobs, prepared: object) -> None:
    """Ask which of a thousand blobs are missing."""
    assert isinstance(prepared, list)
    assert await blobs.missing(prepared) == 0


async def write_large(blobs: Blobs, prepared: object) -> None:
    """Write a large blob."""
    blob = next(prepared, None)  # type: ignore[call-overload]
    if blob is None:
        raise StopAsyncIteration
    await blobs.write(blob.digest, blob.data)


async def read_large(blobs: Blobs, prepared: object) -> None:
    """Read a large blob."""
    assert isinstance(prepared, Digest)
    assert await blobs.read(prepared) == LARGE


LOADS = (
    Load("put 4 KiB, 1 client", "blobs", 1, 1, nothing, putting(1)),
    Load("put 4 KiB, 8 clients", "blobs", 1, 8, nothing, putting(1)),
    Load("put 500 x 4 KiB", "blobs", BATCH, 1, nothing, putting(BATCH)),
    Load("read 500 x 4 KiB", "blobs", BATCH, 1, put_some, get_batch),
    Load("which of 1,000 are missing", "digests", ASKED, 1, put_some, ask),
    Load("write 64 MiB", "MiB", LARGE >> 20, 1, make_large, write_large),
    Load("read 64 MiB", "MiB", LARGE >> 20, 1, put_large, read_large),
)


async def measure(load: Load, blobs: Blobs, seconds: float) -> Row:
    """Do a workload for some seconds, or until it has nothing more to do."""
    row = Row(blobs.name, load.name, load.unit)
    prepared, done, until = await load.prepare(blobs), 0, time.perf_counter() + seconds

    async def work() -> None:
        nonlocal done
        while time.perf_counter() < until:
            began = time.perf_counter()
            try:
                await load.call(blobs, prepared)
            except StopAsyncIteration:
                return
            except (OSError, AssertionError, RuntimeError, grpc.aio.AioRpcError) as error:
                row.record(error)
                return
            row.latencies.append(time.perf_counter() - began)
            done += 1

    began, server, client, machine = time.perf_counter(), blobs.cpu_seconds(), _own_seconds(), machine_busy()
    await asyncio.gather(*(work() for _ in range(load.workers)))
    took, units = time.perf_counter() - began, done * load.units
    server, client, machine = blobs.cpu_seconds() - server, _own_seconds() - client, machine_busy() - machine
    row.rate = units / took
    row.cpu = server * 1e6 / units if units else 0.0
    row.client = client / took
    row.other = max(0.0, (machine - client - (0.0 if blobs.name in ("store", "files + fsync") else server)) / took)
    return row.finish()


def _own_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def render(document: dict[str, object]) -> str:
    """Return the report on a result file: one table for each pair."""
    rounds, about = document["rounds"], document["machine"]
    assert isinstance(rounds, list)
    assert isinstance(about, dict)
    found = report.medians(Row(**row) for row in rounds)
    parts = []
    for ours, theirs in PAIRS:
        lines = [f"| workload | {ours} | {theirs} | ratio | bar |", "|---|---|---|---|---|"]
        for load in LOADS:
            both = [found.get(load.name, {}).get(name) for name in (ours, theirs)]
            cells = [
                "" if each is None else f"{each.rate:,.0f} {load.unit}/s ({each.p50:.2f} / {each.p99:.2f} ms; {each.cpu:,.0f} us)"
                + (f" {each.errors} errors: {each.error}" if each.errors else "")
                for each in both
            ]  # fmt: skip
            first, second = both
            ratio = first.rate / second.rate if first and second and second.rate else None
            bar = BARS.get(load.name) if theirs == "buildgrid" else None
            told = "" if ratio is None else f"{ratio:.2f}"
            wanted = "" if bar is None else f"{bar:.1f}{'' if ratio is None else ' met' if ratio >= bar else ' missed'}"
            lines.append(f"| {load.name} | {cells[0]} | {cells[1]} | {told} | {wanted} |")
        parts.append("\n".join(lines))
    told = "rate (p50 / p99 of a call; CPU per unit, of the server where there is one). " + session.facts(about)
    return "\n\n".join([*parts, told])


async def run(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Measure everything that was asked for."""
    rows, number = list[Row](), itertools.count()
    for turn in range(options.rounds):
        kinds = [kind for kind in KINDS if kind.name in options.systems.split(",")]
        for kind in kinds[turn % len(kinds) :] + kinds[: turn % len(kinds)]:  # nobody always goes first
            place = folder / str(next(number))
            os.sync()
            async with kind(place) as blobs:
                for load in LOADS:
                    if options.only not in load.name:
                        continue
                    row = await measure(load, blobs, options.seconds)
                    rows.append(row)
                    say(f"{turn + 1} {row.system:<14} {row.workload:<28} {row.rate:>10,.0f} {row.unit}/s {row.error}")
            shutil.rmtree(place)
    return rows


def main() -> int:
    """Measure, write the result file and print the report."""
    parser = session.parser(__doc__ or "", "objects")
    parser.add_argument("--seconds", type=float, help="of each workload in each round (default: 2)")
    parser.add_argument("--rounds", type=int, help="how often everything is done (default: 3)")
    parser.add_argument("--systems", default=",".join(kind.name for kind in KINDS), help="which (default: %(default)s)")
    parser.add_argument("--only", default="", help="workloads with this in their name")
    options = parser.parse_args()
    options.seconds = options.seconds or (0.5 if options.quick else 2.0)
    options.rounds = options.rounds or (1 if options.quick else 3)
    with session.scratch(options.directory) as folder:
        about = session.machine(folder)
        rows = asyncio.run(run(options, folder))
    document: dict[str, object] = {"machine": about, "rounds": [row.json() for row in rows]}
    session.write(options.json, document)
    print(render(document))
    return int(any(row.errors for row in rows))


if __name__ == "__main__":
    sys.exit(main())
