"""Watch a cluster under moderate load for twenty minutes: `python benchmarks/soak.py --help`.

Three members; a mixed load of 200 calls a second (60 % linearizable ranges, 30 % puts, 5 % transactions of 10 puts, 5 % leases that
run out after 30 s), ten watchers, and a compaction every 10 s that keeps the last 5,000 revisions. Every few seconds memory,
file descriptors, threads, log and store bytes of every member and the latency of its calls are noted. The result is JSON,
a chart, and a verdict: each figure must be flat over the second half of the run.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import calls
import flatness
import grpc
import report
import session
from channels import CALL_SECONDS, Clients
from flatness import LIMITS, Verdict
from loops import paced_loop
from plot import Panel, svg
from resources import disk, handles, memory
from rows import Row, quantiles
from session import say
from systems import Etcd, Raftmeta, Store

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd.rpc_pb2_grpc import LeaseStub, WatchStub

KINDS: dict[str, type[Store]] = {kind.name: kind for kind in (Raftmeta, Etcd)}
KEPT_REVISIONS = 5_000
TTL = 30
WATCHERS = 10
MIB = 2**20
FIGURES = {
    "anonymous": "memory of its own, MiB", "resident": "resident memory, store's pages included, MiB",
    "descriptors": "file descriptors", "threads": "threads", "log": "log on disk, MiB", "store": "store on disk, MiB",
    "p50": "latency p50, ms", "p99": "latency p99, ms",
}  # fmt: skip

Samples = dict[str, list[list[float | None]]]
"""Figure to one list per member, as long as the times."""


class Soak:
    """The load on one cluster and what is noted meanwhile."""

    def __init__(self, system: Store, row: Row) -> None:
        """Use a cluster that is ready; errors go to `row`."""
        self._system = system
        self._row = row
        self._clients = Clients(system)
        self._leases = [LeaseStub(channel) for channel in self._clients.channels]
        self._recent: list[list[float]] = [[] for _ in system.endpoints]
        self.times: list[float] = []
        self.samples: Samples = {name: [[] for _ in system.endpoints] for name in FIGURES}
        self.events = 0

    async def call(self, number: int, dice: random.Random) -> None:
        """Do one call of the mix on the next member. Raises AioRpcError."""
        member, kind, key = number % len(self._clients.kvs), dice.random(), dice.choice(calls.KEYS)
        stub, began = self._clients.kvs[member], time.perf_counter()
        if kind < 0.6:
            await stub.Range(pb.RangeRequest(key=key), timeout=CALL_SECONDS)
        elif kind < 0.9:
            await stub.Put(pb.PutRequest(key=key, value=calls.VALUE), timeout=CALL_SECONDS)
        elif kind < 0.95:
            puts = [pb.PutRequest(key=one, value=calls.VALUE) for one in dice.sample(calls.KEYS, 10)]
            operations = [pb.RequestOp(request_put=put) for put in puts]
            await stub.Txn(pb.TxnRequest(success=operations), timeout=CALL_SECONDS)
        else:
            lease = await self._leases[member].LeaseGrant(pb.LeaseGrantRequest(TTL=TTL), timeout=CALL_SECONDS)
            request = pb.PutRequest(key=b"leased/%06d" % (number % 10_000), value=calls.VALUE, lease=lease.ID)
            await stub.Put(request, timeout=CALL_SECONDS)
        self._recent[member].append(1000 * (time.perf_counter() - began))

    async def compact(self, every: float) -> None:
        """Forget all but the last revisions, again and again."""
        stub = self._clients.kvs[0]
        while True:
            await asyncio.sleep(every)
            try:
                wanted = await self._clients.revision(0) - KEPT_REVISIONS
                if wanted > 1:
                    await stub.Compact(pb.CompactionRequest(revision=wanted), timeout=CALL_SECONDS)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.OUT_OF_RANGE:  # nothing was written since the last time
                    self._row.record(error)

    async def watch(self, number: int) -> None:
        """Follow all keys on one stream."""
        ended = asyncio.Event()

        async def request() -> AsyncIterator[pb.WatchRequest]:
            create = pb.WatchCreateRequest(key=b"bench/", range_end=b"bench0")
            yield pb.WatchRequest(create_request=create)
            await ended.wait()

        stub = WatchStub(self._clients.channels[number % len(self._clients.channels)])
        try:
            async for response in stub.Watch(request()):
                self.events += len(response.events)
        except grpc.aio.AioRpcError as error:
            self._row.record(error)
        finally:
            ended.set()

    async def sample(self, every: float) -> None:
        """Note every figure of every member, again and again."""
        began = time.perf_counter()
        while True:
            await asyncio.sleep(every)
            noted = await asyncio.to_thread(self._look)
            self.times.append(round(time.perf_counter() - began, 1))
            for member, figures in enumerate(noted):
                recent, self._recent[member] = self._recent[member], []
                p50, p99 = quantiles(recent) if recent else (None, None)
                for name, value in {**figures, "p50": p50, "p99": p99}.items():
                    self.samples[name][member].append(None if value is None else round(value, 3))
            if len(self.times) % 12 == 1:
                self._tell()

    def _look(self) -> list[dict[str, float]]:
        """Return what every member holds."""
        found = []
        for member in range(len(self._system.endpoints)):
            held, (descriptors, threads) = memory(self._system, member), handles(self._system, member)
            folders = self._system.folders(member)
            figures = {"anonymous": held.anonymous, "resident": held.resident}
            figures |= {"log": disk(folders.log), "store": disk(folders.store)}
            megabytes = {name: size / MIB for name, size in figures.items()}
            found.append({**megabytes, "descriptors": float(descriptors), "threads": float(threads)})
        return found

    def _tell(self) -> None:
        last = {name: [line[-1] for line in lines] for name, lines in self.samples.items()}
        told = ", ".join(
            f"{name} {'/'.join('-' if v is None else f'{v:.0f}' for v in values)}" for name, values in last.items()
        )
        say(f"  {self.times[-1]:.0f} s: {told}; errors: {self._row.errors}")

    async def run(self, seconds: float, rate: float, every: float, compact_every: float) -> None:
        """Put the load on for `seconds`."""
        await self._clients.load(calls.KEYS, calls.VALUE)
        background = [asyncio.create_task(self.compact(compact_every)), asyncio.create_task(self.sample(every))]
        background += [asyncio.create_task(self.watch(number)) for number in range(WATCHERS)]
        try:
            await paced_loop(self._row, self.call, rate, lambda passed: passed >= seconds, limit=2_000)
        finally:
            for task in background:
                task.cancel()
            for ended in await asyncio.gather(*background, return_exceptions=True):
                if isinstance(ended, Exception):
                    self._row.record(ended)
            await self._clients.aclose()


def verdicts(document: dict[str, object]) -> list[Verdict]:
    """Return the verdict on every figure of every member."""
    times, samples = document["times"], document["samples"]
    assert isinstance(times, list)
    assert isinstance(samples, dict)
    return [
        flatness.verdict(name, member, times, line)
        for name, lines in samples.items()
        if name in LIMITS
        for member, line in enumerate(lines)
    ]


def render(document: dict[str, object]) -> str:
    """Return the report on a result file."""
    about = document["machine"]
    assert isinstance(about, dict)
    lines = [
        [
            "figure, member",
            "mean of the second half",
            "highest",
            "slope per hour",
            "last quarter / third",
            "limit",
            "flat",
        ]
    ]
    found = verdicts(document)
    lines += [
        [
            f"{FIGURES[one.figure]}, {one.member}", f"{one.mean:,.1f}", f"{one.highest:,.1f}", f"{one.slope:+.0%}",
            f"{one.ratio:.2f}x", f"{LIMITS[one.figure].ratio:.2f}x of the {LIMITS[one.figure].of}", "✓" if one.flat else "✗",
        ]
        for one in found
    ]  # fmt: skip
    steady = "flat" if all(one.flat for one in found) else "NOT FLAT"
    said = f"{document['seconds']} s, {document['calls']} calls, {document['events']} events, errors: {document['errors']} {document['error']}"
    return "\n\n".join([report.markdown(lines), f"{steady}. {said}", session.facts(about)])


def chart(document: dict[str, object]) -> str:
    """Return the chart of a result file as SVG."""
    times, samples = document["times"], document["samples"]
    assert isinstance(times, list)
    assert isinstance(samples, dict)
    panels = [
        Panel(title, {f"member {member}": line for member, line in enumerate(samples[name])})
        for name, title in FIGURES.items()
    ]
    title = f"{document['system']}: three members, {document['rate']:g} calls a second"
    return svg(title, times, panels)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = session.parser(__doc__ or "", "soak")
    parser.add_argument("--seconds", type=float, default=1200.0, help="default %(default)s")
    parser.add_argument("--rate", type=float, default=200.0, help="calls a second (default %(default)s)")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between samples (default %(default)s)")
    parser.add_argument("--compact", type=float, default=10.0, help="seconds between compactions (default %(default)s)")
    parser.add_argument("--log-entries", type=int, default=5_000, help="kept before a trim (default %(default)s)")
    parser.add_argument("--system", choices=list(KINDS), default=Raftmeta.name, help="default %(default)s")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.every, options.compact = min(options.seconds, 3.0), 0.25, 0.5
    return options


async def run(options: argparse.Namespace, directory: Path) -> dict[str, object]:
    """Soak a cluster; returns the result without the machine's facts."""
    row = Row(options.system, "soak", "calls")
    async with KINDS[options.system](directory, 3, options.log_entries) as system:
        soak = Soak(system, row)
        await soak.run(options.seconds, options.rate, options.every, options.compact)
    return {
        "system": options.system, "seconds": options.seconds, "rate": options.rate, "calls": len(row.latencies),
        "events": soak.events, "errors": row.errors, "error": row.error, "times": soak.times, "samples": soak.samples,
    }  # fmt: skip


def main() -> int:
    """Soak, print the verdict, write the JSON and the chart; returns 1 when there were errors or a figure is not flat."""
    options = arguments()
    with session.scratch(options.directory) as directory:
        document: dict[str, object] = {"machine": session.machine(directory)}
        try:
            document |= asyncio.run(run(options, directory))
        except TimeoutError as error:
            say(str(error))
            return 1
    session.write(options.json, document)
    options.json.with_suffix(".svg").write_text(chart(document))
    print(render(document))
    return int(bool(document["errors"]) or not all(one.flat for one in verdicts(document)))


if __name__ == "__main__":
    sys.exit(main())
