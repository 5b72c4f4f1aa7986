"""Measure stores of a million keys: `python benchmarks/scale.py --help`.

Three members; raftmeta and real etcd in turn, never both alive. Told are: the time to load (transactions of 100 puts, 16 in
flight), memory and disk per key and what they consist of, the 99th percentile of puts while nothing else happens, while a
snapshot is saved, and while a member that was away takes one, the time that member takes, and the time from kill -9
to ready, of one member and of all. The log is trimmed early on both systems, so that a member that was away needs a snapshot.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import sys
import tempfile
from collections.abc import Coroutine
from dataclasses import asdict, dataclass, field
from pathlib import Path

import calls
import contents
import grpc
import report
import restarts
import session
import snapshots
from channels import Clients
from report import OURS, THEIRS
from resources import disk, memory
from rows import Row, quantiles
from session import say
from systems import Etcd, Raftmeta, Store, System

KINDS: tuple[type[Store], ...] = (Etcd, Raftmeta)
READY_BAR, STALL_BAR = 10.0, 2.0
VALUE = 100
PHASE_SECONDS = 1200.0
MEMORY = Path("/dev/shm")
"""Where a client's copy of a snapshot goes: its disk is not a member's, and etcdctl forces it there in one go."""


@dataclass
class Result:
    """One system's figures; seconds, bytes and milliseconds.

    Attributes:
        keys: Keys in the store.
        logical: Bytes of a key and its value.
        load_seconds: Time to load them.
        empty: Resident and anonymous memory of a member before, median of the members.
        filled: The same after loading.
        restarted: The same after a restart.
        log: Bytes on disk of a member's log, median of the members.
        store: Bytes on disk of its store.
        tables: Bytes by table of one member's store, where that can be told.
        latencies: Milliseconds of puts by what happened meanwhile.
        snapshot_seconds: Times a snapshot took, by kind.
        member_seconds: Times from the start of a killed member to its first linearizable answer.
        cluster_seconds: Times from the start of all members, all killed, to linearizable answers of all.
        errors: What failed.
    """

    keys: int
    logical: int
    load_seconds: float = 0.0
    empty: tuple[float, float] = (0.0, 0.0)
    filled: tuple[float, float] = (0.0, 0.0)
    restarted: tuple[float, float] = (0.0, 0.0)
    log: float = 0.0
    store: float = 0.0
    tables: dict[str, int] = field(default_factory=dict)
    latencies: dict[str, list[float]] = field(default_factory=dict)
    snapshot_seconds: dict[str, list[float]] = field(default_factory=dict)
    member_seconds: list[float] = field(default_factory=list)
    cluster_seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def json(self) -> dict[str, object]:
        """Return the figures, latencies as count, median and 99th percentile."""
        document = asdict(self)
        document["latencies"] = {
            name: [len(some), *(round(value, 2) for value in quantiles(some))] for name, some in self.latencies.items()
        }
        return document


def held(system: System) -> tuple[float, float]:
    """Return resident and anonymous bytes of a member, medians over the members."""
    found = [memory(system, index) for index in range(len(system.endpoints))]
    return statistics.median(m.resident for m in found), statistics.median(m.anonymous for m in found)


async def measure(kind: type[Store], directory: Path, options: argparse.Namespace) -> Result:
    """Measure one system; what fails ends its measurement and is told in `errors`."""
    keys = [b"scale/%010d" % number for number in range(options.keys)]
    result = Result(options.keys, len(keys[0]) + VALUE)
    directory.mkdir()
    try:
        async with asyncio.timeout(PHASE_SECONDS), kind(directory, 3, options.log_entries) as system:
            await _phases(system, keys, directory, options, result)
        if kind is Raftmeta:
            result.tables = contents.tables(kind(directory).folders(0).store)
    except FAILURES as error:
        _note(error, result.errors)
    shutil.rmtree(directory)
    return result


FAILURES = (grpc.aio.AioRpcError, TimeoutError, AssertionError, OSError)


def _note(error: BaseException, errors: list[str]) -> None:
    row = Row("", "", "")
    row.record(error)
    errors.append(" ".join(row.error.split()))
    say(f"  failed: {errors[-1]}")


async def attempt(phase: Coroutine[object, object, None], errors: list[str]) -> None:
    """Run a phase; its failure is noted and the next one runs."""
    try:
        await phase
    except FAILURES as error:
        _note(error, errors)


async def _phases(
    system: Store, keys: list[bytes], directory: Path, options: argparse.Namespace, result: Result
) -> None:
    loop = asyncio.get_running_loop()
    result.empty = held(system)
    clients = Clients(system)
    try:
        began = loop.time()
        await clients.load(keys, b"v" * VALUE)
        result.load_seconds = loop.time() - began
        await clients.settle()
        say(f"  loaded {len(keys):,} keys in {result.load_seconds:.1f} s")
        result.filled = held(system)
        folders = [system.folders(index) for index in range(len(system.endpoints))]
        result.log = statistics.median(disk(one.log) for one in folders)
        result.store = statistics.median(disk(one.store) for one in folders)
        for number in range(options.repeats):
            put = calls.put(clients, keys, b"w" * VALUE)
            watch = snapshots.Stalls(
                system, clients, put, options.rate, options.seconds, result.latencies, result.errors
            )
            await attempt(watch.quiet(), result.errors)
            with tempfile.TemporaryDirectory(
                prefix="saved-", dir=MEMORY if MEMORY.is_dir() else directory
            ) as elsewhere:
                await attempt(watch.saving(Path(elsewhere) / "saved", result.snapshot_seconds), result.errors)
            await attempt(watch.catching_up(options.log_entries, result.snapshot_seconds), result.errors)
            await system.revive()
            await attempt(clients.forget(), result.errors)  # what made the log grow would make the store grow too
            say(f"  snapshots, {number + 1} of {options.repeats}: {snapshots.told(result.latencies)}")
    finally:
        await clients.aclose()
    for _ in range(options.repeats):
        await restarts.one(system, result.member_seconds)
        await restarts.every(system, result.cluster_seconds)
    say(f"  ready again after {_seconds(result.member_seconds)}; all of them {_seconds(result.cluster_seconds)}")
    result.restarted = held(system)
    await restarts.count(system, b"scale/", len(keys), result.errors)


def _seconds(times: list[float]) -> str:
    return f"{statistics.median(times):.2f} s (max {max(times):.2f})" if times else "-"


def _mark(met: bool | None) -> str:
    return {True: " ✓", False: " ✗", None: ""}[met]


def _column(name: str, one: dict[str, object]) -> list[str]:
    """Return a system's cells, in the order of `_HEADS`."""
    result = Result(**{**one, "latencies": {}})  # type: ignore[arg-type]  # it comes from JSON
    ours, keys = name == OURS, max(result.keys, 1)
    latencies = one["latencies"]
    assert isinstance(latencies, dict)
    cells = [f"{result.load_seconds:.1f} s ({result.keys / max(result.load_seconds, 1e-9):,.0f} puts/s)"]
    cells += [
        f"{(after[0] - result.empty[0]) / keys:,.0f} ({(after[1] - result.empty[1]) / keys:,.0f} of its own)"
        if after[0]
        else "-"
        for after in (result.filled, result.restarted)
    ]
    cells += [f"{result.empty[0] / 2**20:,.0f} MiB", f"{result.store / keys:,.0f}", f"{result.log / 2**20:,.0f} MiB"]
    for times in (result.member_seconds, result.cluster_seconds):
        cells.append(_seconds(times) + _mark(max(times) < READY_BAR if ours and times else None))
    cells += [_seconds(result.snapshot_seconds.get(kind, [])) for kind in snapshots.KINDS]
    for load in snapshots.LOADS:
        quiet = latencies.get(f"{load}, {snapshots.QUIET}")
        cells.append(f"{quiet[2]:.1f} ms" if quiet else "-")
        for kind in snapshots.KINDS:
            some = latencies.get(f"{load}, {kind}")
            if not some or not quiet or not quiet[2]:
                cells.append("-")
                continue
            times = some[2] / quiet[2]
            cells.append(f"{some[2]:.1f} ms, {times:.1f}x{_mark(times <= STALL_BAR if ours else None)}")
    cells.append("; ".join(result.errors) or "none")
    return cells


_HEADS = [
    "load", "memory per key after loading, bytes", "memory per key after a restart, bytes", "memory of an empty member",
    "store on disk per key, bytes", "log on disk", "kill -9 of a member to ready (bar: 10 s)", "kill -9 of all to ready (bar: 10 s)",
    *(f"a snapshot: {kind}" for kind in snapshots.KINDS),
    *(
        f"put p99, {load}, {meanwhile}"
        for load in snapshots.LOADS
        for meanwhile in (snapshots.QUIET, *(f"{kind} (bar: 2x)" for kind in snapshots.KINDS))
    ),
    "errors",
]  # fmt: skip


def render(document: dict[str, object]) -> str:
    """Return the report on a result file."""
    systems, about = document["systems"], document["machine"]
    assert isinstance(systems, dict)
    assert isinstance(about, dict)
    names = [name for name in (THEIRS, OURS) if name in systems]
    columns = {name: _column(name, systems[name]) for name in names}
    lines = [[f"{next(iter(systems.values()))['keys']:,} keys", *names]]
    lines += [[head, *(columns[name][i] for name in names)] for i, head in enumerate(_HEADS)]
    parts = [report.markdown(lines), session.facts(about)]
    if OURS in systems:
        parts.append(contents.explained(systems[OURS]["tables"], systems[OURS]["keys"], systems[OURS]["logical"]))
    return "\n\n".join(part for part in parts if part)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = session.parser(__doc__ or "", "scale")
    parser.add_argument("--keys", type=int, default=1_000_000, help="default %(default)s")
    parser.add_argument("--repeats", type=int, default=3, help="snapshots and restarts (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of puts with nothing else (default %(default)s)")
    parser.add_argument(
        "--rate", type=float, default=200.0, help="puts a second of the paced load (default %(default)s)"
    )
    parser.add_argument("--log-entries", type=int, default=1_000, help="kept before a trim (default %(default)s)")
    parser.add_argument("--systems", default=",".join(kind.name for kind in KINDS), help="default %(default)s")
    options = parser.parse_args()
    if options.quick:
        options.keys, options.repeats, options.seconds = min(options.keys, 2_000), 1, min(options.seconds, 0.3)
        options.log_entries = 50
    return options


async def run(options: argparse.Namespace, directory: Path) -> dict[str, Result]:
    """Measure the systems in turn."""
    found = {}
    for kind in KINDS:
        if kind.name in options.systems.split(","):
            say(kind.name)
            found[kind.name] = await measure(kind, directory / kind.name, options)
    return found


def main() -> int:
    """Measure, print the table and write the JSON; returns 1 when there were errors."""
    options = arguments()
    with session.scratch(options.directory) as directory:
        about = session.machine(directory)
        found = asyncio.run(run(options, directory))
    document: dict[str, object] = {"machine": about, "systems": {name: one.json() for name, one in found.items()}}
    session.write(options.json, document)
    print(render(document))
    return int(any(one.errors for one in found.values()))


if __name__ == "__main__":
    sys.exit(main())
