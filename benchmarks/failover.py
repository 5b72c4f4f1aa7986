"""Kill the leader, time the first acknowledged write, and see that no answer meanwhile was wrong."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc
from rows import Row
from systems import System

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd.rpc_pb2_grpc import KVStub

if TYPE_CHECKING:
    from raftmeta.etcd.rpc_pb2_grpc import KVAsyncStub

EVERY = 0.01
WAIT_SECONDS = 30.0
CALL_SECONDS = 10.0
PREFIX = b"failover/"


async def failover(system: System, row: Row, kills: int) -> Row:
    """Kill the leader `kills` times; latency is from the signal to the first put that a survivor acknowledges.

    A put of a new key starts every 10 ms. Every linearizable read is checked: it must show every put acknowledged before
    it was sent, while there is no leader and after the killed member came back. A wrong answer is an error of the row.
    """
    for kill in range(kills):
        await _one(system, row, kill)
    return row.finish(keep=True)


async def _one(system: System, row: Row, kill: int) -> None:
    leader = await system.leader()
    survivors = [endpoint for i, endpoint in enumerate(system.endpoints) if i != leader]
    channels = [grpc.aio.insecure_channel(endpoint) for endpoint in survivors]
    stubs = [KVStub(channel) for channel in channels]
    attempts: set[asyncio.Task[None]] = set()
    acknowledged: dict[bytes, float] = {}
    first = asyncio.Event()

    async def attempt(number: int) -> None:
        key = b"%s%03d/%05d" % (PREFIX, kill, number)
        try:
            await stubs[number % len(stubs)].Put(pb.PutRequest(key=key, value=b"1"), timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError:
            return
        acknowledged[key] = time.perf_counter()
        first.set()

    async def look(number: int) -> None:
        try:
            await check(stubs[number % len(stubs)], kill, acknowledged, row)
        except grpc.aio.AioRpcError:
            return

    try:
        await asyncio.gather(*(attempt(number) for number in range(len(stubs))))  # connected before the clock starts
        first.clear()
        system.kill(leader)
        began = time.perf_counter()
        before = set(acknowledged)
        for number in itertools.count(len(stubs)):
            if first.is_set() or time.perf_counter() > began + WAIT_SECONDS:
                break
            attempts.add(asyncio.create_task(attempt(number)))
            if number % 10 == 0:
                attempts.add(asyncio.create_task(look(number)))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(first.wait(), EVERY)
        times = [when for key, when in acknowledged.items() if key not in before]
        if times:
            row.latencies.append(min(times) - began)
            await asyncio.gather(*(look(number) for number in range(len(stubs))))
        else:
            row.record(f"no put was acknowledged within {WAIT_SECONDS:.0f} s of kill {kill + 1}")
        await system.restart(leader)
        await _everywhere(system.endpoints, kill, acknowledged, row)
    finally:
        for task in attempts:
            task.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)
        for channel in channels:
            await channel.close()


async def check(stub: KVAsyncStub, kill: int, acknowledged: dict[bytes, float], row: Row) -> None:
    """Read with the majority's word: what was acknowledged before must be there. Raises AioRpcError without an answer."""
    expected = set(acknowledged)
    start = b"%s%03d/" % (PREFIX, kill)
    answer = await stub.Range(pb.RangeRequest(key=start, range_end=start[:-1] + b"0"), timeout=CALL_SECONDS)
    missing = expected - {kv.key for kv in answer.kvs}
    if missing:
        row.record(f"a linearizable read after kill {kill + 1} lacks {len(missing)} acknowledged puts")


async def _everywhere(endpoints: Sequence[str], kill: int, acknowledged: dict[bytes, float], row: Row) -> None:
    for endpoint in endpoints:
        async with grpc.aio.insecure_channel(endpoint) as channel:
            try:
                await check(KVStub(channel), kill, acknowledged, row)
            except grpc.aio.AioRpcError as error:
                row.record(error)
