"""How load is offered: closed loops keep a number of calls in flight, paced ones start a number of calls a second."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable

import grpc
from channels import CALL_SECONDS
from rows import Meter, Row
from systems import System

Call = Callable[[int, random.Random], Awaitable[object]]
"""Does one operation for worker number n; raises AioRpcError or AssertionError when it did not work."""

FAILURES = (grpc.aio.AioRpcError, AssertionError, OSError)


class Exhausted(Exception):  # noqa: N818 - it says what happened
    """A call has nothing left to work on: the load ends."""


async def closed_loop(
    system: System, row: Row, call: Call, workers: int, seconds: float, units: int = 1, warm: float = 0.25
) -> Row:
    """Keep `workers` calls in flight for `seconds` after a warm-up of `warm` times that; each call counts as `units`.

    It goes on until one call is counted, for so long as a call may take; it ends earlier when a call is exhausted.
    """
    done, measuring, stop, over, some = 0, not warm, False, asyncio.Event(), asyncio.Event()

    async def work(number: int) -> None:
        nonlocal done
        dice = random.Random(number)
        while not stop:
            began = time.perf_counter()
            try:
                await call(number, dice)
            except Exhausted:
                over.set()
                some.set()
                return
            except FAILURES as error:
                row.record(error)
                await asyncio.sleep(0.01)
                continue
            if measuring:
                row.latencies.append(time.perf_counter() - began)
                done += units
                some.set()

    meter = Meter(system)
    tasks = [asyncio.create_task(work(number)) for number in range(workers)]
    if warm:
        await asyncio.sleep(seconds * warm)
        meter, measuring = Meter(system), True
    for event, most in ((over, seconds), (some, CALL_SECONDS)):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(most):
                await event.wait()
    measuring = False
    meter.into(row, done)
    stop = True
    await asyncio.gather(*tasks)
    if over.is_set() and not done:
        row.record("there was too little to work on")
    return row.finish()


async def paced_loop(
    row: Row, call: Call, per_second: float, until: Callable[[float], bool], limit: int = 10_000
) -> None:
    """Start `per_second` calls a second until `until(seconds since the start)`; wait for all of them.

    A latency counts from the moment at which its call was due, so that a stall shows in all the calls it held up. At
    most `limit` calls are in flight: a call beyond is an error.
    """
    began, number = time.perf_counter(), 0
    flying: set[asyncio.Task[None]] = set()

    async def one(number: int, due: float) -> None:
        try:
            await call(number, random.Random(number))
        except FAILURES as error:
            row.record(error)
        else:
            row.latencies.append(time.perf_counter() - due)

    while not until(time.perf_counter() - began):
        due = began + number / per_second
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        if len(flying) < limit:
            task = asyncio.create_task(one(number, due))
            flying.add(task)
            task.add_done_callback(flying.discard)
        else:
            row.record(f"{limit} calls are in flight")
        number += 1
    await asyncio.gather(*flying)


async def repeated(row: Row, call: Call, workers: int, until: Callable[[float], bool]) -> None:
    """Keep `workers` calls in flight until `until(seconds since the start)`; errors and latencies go to the row."""
    began = time.perf_counter()

    async def work(number: int) -> None:
        dice = random.Random(number)
        while not until(time.perf_counter() - began):
            sent = time.perf_counter()
            try:
                await call(number, dice)
            except FAILURES as error:
                row.record(error)
                await asyncio.sleep(0.01)
            else:
                row.latencies.append(time.perf_counter() - sent)

    await asyncio.gather(*(work(number) for number in range(workers)))
