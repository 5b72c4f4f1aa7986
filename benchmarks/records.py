"""Measure the ledger of events: `make bench-records`, or `python benchmarks/records.py --help`.

Ours is a node, called over loopback by one client; what it is compared with is the database alone (the same tables, indexes and
full text, the same settings, a program that does nothing else), or a server that answers at once. Every system
starts with nothing in each round, no two are alive at the same time. PostgreSQL is the one that pip installs for the tests.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import eventload
import flooding
import grpc
import recordbars
import session
from bare import RECORD, Bare, BarePostgres, BareSqlite, page, rows, search
from eventload import event, events
from filesystems import OwnNoOp, Quartet
from postgres import postgres
from quartet.events.v1 import appending_pb2, event_pb2, reading_pb2
from quartet.events.v1.events_pb2_grpc import EventServiceStub
from recordbars import BARE, OURS
from rows import Meter, Row
from session import say
from systems import NoOp, System

if TYPE_CHECKING:
    from quartet.events.v1.events_pb2_grpc import EventServiceAsyncStub

CLIENTS, STREAM, BATCH, PAGE = 64, 2_000, 500, 1_000
SEARCHED = 100_000
"""Events that are there when they are listed and searched, unless less are asked for."""
SIZES = (10_000, 100_000, 1_000_000)
_LARGE = [("grpc.max_receive_message_length", 64 << 20)]


class Ledger(Quartet):
    """A node whose records are where `url` says."""

    name = OURS

    def __init__(self, directory: Path, url: str) -> None:
        """Prepare; `url` is PostgreSQL's, or empty for SQLite."""
        self._url = url
        super().__init__(directory, 1)

    def commands(self) -> list[list[str]]:
        """The node's command line."""
        return [[*line, *(["--records-url", self._url] if self._url else [])] for line in super().commands()]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a round takes place.

    Attributes:
        database: SQLite or PostgreSQL.
        folder: An empty folder.
        fresh: Returns the URL of an empty database; an empty text with SQLite.
        options: What was asked for.
        found: Where rows go.
    """

    database: str
    folder: Path
    fresh: Callable[[], str]
    options: argparse.Namespace
    found: list[Row]

    def row(self, system: str, workload: str, unit: str) -> Row:
        """Return a row to fill."""
        return Row(system, workload, unit, note=self.database)

    def add(self, row: Row) -> None:
        """Keep a row and tell it."""
        self.found.append(row.finish())
        say(
            f"  {self.database:<10} {row.system:<8} {row.workload:<34} {row.rate:>11,.0f} {row.unit}/s  p50 {row.p50:.2f} ms {row.error}"
        )


async def repeated(
    place: Place,
    system: System,
    workload: str,
    unit: str,
    units: int,
    call: Callable[[], Awaitable[None]],
    workers: int = 1,
) -> None:
    """Call again and again for the time that was asked for, and add the row."""
    row, until, done = place.row(system.name, workload, unit), time.perf_counter() + place.options.seconds, 0

    async def work() -> None:
        nonlocal done
        while time.perf_counter() < until and not row.errors:
            began = time.perf_counter()
            try:
                await call()
            except (grpc.aio.AioRpcError, AssertionError) as error:
                row.record(error)
                return
            row.latencies.append(time.perf_counter() - began)
            done += 1

    meter = Meter(system)
    await asyncio.gather(*(work() for _ in range(workers)))
    meter.into(row, done * units)
    place.add(row)


def blocking(place: Place, workload: str, unit: str, units: int, call: Callable[[], object]) -> None:
    """The same for what blocks."""
    row, until, done = place.row(BARE, workload, unit), time.perf_counter() + place.options.seconds, 0
    began = time.perf_counter()
    while (now := time.perf_counter()) < until:
        call()
        row.latencies.append(time.perf_counter() - now)
        done += 1
    row.rate = done * units / (time.perf_counter() - began)
    place.add(row)


async def unary(place: Place, system: System, stub: EventServiceAsyncStub) -> None:
    """Append by 64 clients, and read by one; the same calls to what answers at once."""
    made: Iterator[event_pb2.Event] = iter(events(int(6_000 * place.options.seconds)))

    async def append() -> None:
        await stub.Append(appending_pb2.AppendRequest(event=next(made, None) or event()))

    async def get() -> None:
        await stub.GetEvent(reading_pb2.GetEventRequest(id="bench:one"))

    one = event()
    one.source_id = "one"
    await stub.Append(appending_pb2.AppendRequest(event=one))
    await repeated(place, system, "append, unary, 64 clients", "events", 1, append, CLIENTS)
    await repeated(place, system, "get, 1 client", "calls", 1, get)


async def streams(place: Place, system: System, stub: EventServiceAsyncStub) -> None:
    """Append single rows, then batches, by one stream each."""
    made = events(int(STREAM * place.options.seconds) * 4)

    async def singles() -> AsyncIterator[appending_pb2.AppendEachRequest]:
        for one in made:
            yield appending_pb2.AppendEachRequest(event=one)

    row, meter, answered = place.row(OURS, "append, a stream of rows", "events"), Meter(system), 0
    async for answer in stub.AppendEach(singles()):
        answered += len(answer.results)
    meter.into(row, answered)
    place.add(row)
    batches = [appending_pb2.AppendBatchesRequest(events=events(BATCH)) for _ in range(int(15 * place.options.seconds))]

    async def many() -> AsyncIterator[appending_pb2.AppendBatchesRequest]:
        for one in batches:
            yield one

    row, meter, answered = place.row(OURS, "append, a stream of batches", "events"), Meter(system), 0
    async for told in stub.AppendBatches(many()):
        answered += told.created
    meter.into(row, answered)
    place.add(row)


async def fill(stub: EventServiceAsyncStub, count: int) -> float:
    """Append so many events in batches; return the seconds it took, without making them."""
    seconds = 0.0
    while count > 0:
        some = [
            appending_pb2.AppendBatchesRequest(events=events(min(PAGE, count)))
            for _ in range(min(10, -(-count // PAGE)))
        ]
        began = time.perf_counter()
        async for answer in stub.AppendBatches(aiter_of(some)):
            count -= answer.created
        seconds += time.perf_counter() - began
    return seconds


async def aiter_of(some: list[appending_pb2.AppendBatchesRequest]) -> AsyncIterator[appending_pb2.AppendBatchesRequest]:
    """Yield what is there."""
    for one in some:
        yield one


async def reading(place: Place, system: System, stub: EventServiceAsyncStub) -> None:
    """Pages and searches over 100,000 events."""
    await fill(stub, place.options.searched)
    token = ""

    async def listed() -> None:
        nonlocal token
        answer = await stub.ListEvents(reading_pb2.ListEventsRequest(page_size=PAGE, page_token=token))
        assert len(answer.events) == PAGE or not answer.next_page_token
        token = answer.next_page_token

    async def searched() -> None:
        await stub.Search(reading_pb2.SearchRequest(query=eventload.rare(), page_size=10))

    await repeated(place, system, "list, pages of 1,000", "events", PAGE, listed)
    await repeated(place, system, "search, 100,000 events", "calls", 1, searched)


async def beside_agents(place: Place, system: System, channel: grpc.aio.Channel) -> None:
    """What a flood on another database of the node does to the ledger."""
    for workload, flooded in ((recordbars.ALONE, False), (recordbars.FLOODED, True)):
        row = place.row(OURS, workload, "events")
        await flooding.paced(channel, row, place.options.seconds, flooded=flooded)
        place.add(row)


async def growing(place: Place, system: System, stub: EventServiceAsyncStub, size: int) -> None:
    """What the last 10,000 rows cost as the ledger grows."""
    there, step = 0, SIZES[0]
    for goal in SIZES:
        if goal > size:
            return
        await fill(stub, goal - step - there)
        row = place.row(OURS, f"rows at {goal:,}", "events")
        meter = Meter(system)
        row.latencies.append(await fill(stub, step))
        meter.into(row, step)
        row.rate = step / row.latencies[0]
        place.add(row)
        there = goal


async def on_node(place: Place, *loads: Callable[[Place, System, EventServiceAsyncStub], Awaitable[None]]) -> None:
    """Run `loads` on one node, one after the other."""
    async with (
        Ledger(place.folder, place.fresh()) as node,
        grpc.aio.insecure_channel(node.endpoints[0], options=_LARGE) as channel,
    ):
        for load in loads:
            await load(place, node, EventServiceStub(channel))
        if loads[0] is unary:
            await beside_agents(place, node, channel)
    _empty(place.folder)


async def on_nothing(place: Place) -> None:
    """The calls alone: by grpcio's own server, and by ours."""
    for kind in (NoOp, OwnNoOp):
        async with kind(place.folder, 1) as system, grpc.aio.insecure_channel(system.endpoints[0]) as channel:
            await unary(place, system, EventServiceStub(channel))
        _empty(place.folder)


def on_bare(place: Place) -> None:
    """The database alone."""
    url = place.fresh()
    bare: Bare = BarePostgres(url) if url else BareSqlite(place.folder / "bare.db")
    numbers = itertools.count(1)
    try:
        ready = iter(rows(events(30_000), bare.dialect, next(numbers)))
        blocking(place, "append, a stream of rows", "events", 1, lambda: bare.insert([next(ready)]))
        batches = iter(
            [rows(events(BATCH), bare.dialect, 100_000 + BATCH * i) for i in range(int(100 * place.options.seconds))]
        )
        blocking(place, "append, a stream of batches", "events", BATCH, lambda: bare.insert(next(batches)))
        for start in range(1_000_000, 1_000_000 + place.options.searched, BATCH):
            bare.insert(rows(events(BATCH), bare.dialect, start))
        before, statement = 1 << 60, page(bare.dialect)
        place_of = RECORD.codec.names.index("timestamp")

        def listed() -> None:
            nonlocal before
            found = bare.query(statement, (before,))
            before = found[-1][place_of] if len(found) == PAGE else 1 << 60

        blocking(place, "list, pages of 1,000", "events", PAGE, listed)
        sought = search(bare.dialect)
        blocking(place, "search, 100,000 events", "calls", 1, lambda: bare.query(sought, (eventload.rare(),)))
    finally:
        bare.close()
    _empty(place.folder)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    os.sync()


async def one_round(place: Place, turn: int) -> None:
    """Measure everything once; nobody always goes first."""
    steps: list[Callable[[], Awaitable[None]]] = [
        lambda: on_node(place, unary, streams, reading),
        lambda: on_nothing(place),
        lambda: asyncio.to_thread(on_bare, place),
    ]
    for step in steps[turn % 3 :] + steps[: turn % 3]:
        await step()


async def run(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Measure everything that was asked for."""
    found = list[Row]()
    with contextlib.ExitStack() as undo:
        for database in options.databases.split(","):
            fresh = (lambda: "") if database == "SQLite" else undo.enter_context(postgres())
            work = folder / database
            work.mkdir()
            place = Place(database, work, fresh, options, found)
            for turn in range(options.rounds):
                say(f"round {turn + 1} of {options.rounds}: {database}")
                await one_round(place, turn)
            if options.largest >= SIZES[0]:
                await on_node(place, lambda at, system, stub: growing(at, system, stub, options.largest))
    return found


def main() -> int:
    """Measure, write the result file and print the report."""
    parser = session.parser(__doc__ or "", "records")
    parser.add_argument("--seconds", type=float, help="of each workload in each round (default: 3)")
    parser.add_argument("--rounds", type=int, help="how often everything is done (default: 3)")
    parser.add_argument("--databases", default="SQLite,PostgreSQL", help="which (default: %(default)s)")
    parser.add_argument("--searched", type=int, default=SEARCHED, help="events to search in (default: %(default)s)")
    parser.add_argument("--largest", type=int, help=f"events to which the ledger grows (default: {SIZES[-1]:,})")
    options = parser.parse_args()
    options.seconds = options.seconds or (0.5 if options.quick else 3.0)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.largest = options.largest or (SIZES[0] if options.quick else SIZES[-1])
    with session.scratch(options.directory) as folder:
        about = session.machine(folder)
        found = asyncio.run(run(options, folder))
    document: dict[str, object] = {"machine": about, "rounds": [row.json() for row in found]}
    session.write(options.json, document)
    print(recordbars.render(document))
    return int(any(row.errors for row in found))


if __name__ == "__main__":
    sys.exit(main())
