"""Paced writes under watchers: every watcher has every event, and how long that takes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
from channels import CALL_SECONDS, Clients
from rows import Meter, Row

from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd.rpc_pb2_grpc import WatchStub

STREAMS = 10
PUTS_PER_SECOND = 50
EVENTS_PER_SECOND = 5000
"""What the client can read without being what is measured."""


async def watch(clients: Clients, row: Row, seconds: float, watchers: int = 100) -> Row:
    """Write under `watchers` watchers on at most 10 streams; latency is from sending the put to having the event.

    50 keys a second are written, fewer under more than 100 watchers, so that 5,000 events a second arrive. Errors are
    recorded in the row: a put that fails, an event that is missing.
    """
    per_second = min(PUTS_PER_SECOND, EVENTS_PER_SECOND / watchers)
    wanted = max(1, round(per_second * seconds))
    streams = min(STREAMS, watchers)
    shares = [watchers // streams + (number < watchers % streams) for number in range(streams)]
    ready, finished = [asyncio.Event() for _ in shares], asyncio.Event()
    seen = 0

    async def requests(share: int) -> AsyncIterator[pb.WatchRequest]:
        for _ in range(share):
            create = pb.WatchCreateRequest(key=b"watched/", range_end=b"watched0")
            yield pb.WatchRequest(create_request=create)
        await finished.wait()

    async def listen(number: int) -> None:
        nonlocal seen
        created = 0
        stub = WatchStub(clients.channels[number % len(clients.channels)])
        async for response in stub.Watch(requests(shares[number])):
            now = time.perf_counter()
            created += response.created
            if created == shares[number]:
                ready[number].set()
            for event in response.events:
                seen += 1
                row.latencies.append(now - float(event.kv.value))
                assert event.type == kv_pb2.Event.PUT

    async def send(i: int) -> pb.PutResponse:
        value = repr(time.perf_counter()).encode()
        return await clients.kv().Put(pb.PutRequest(key=b"watched/%04d" % i, value=value), timeout=CALL_SECONDS)

    listeners = [asyncio.create_task(listen(number)) for number in range(streams)]
    try:
        await asyncio.wait_for(asyncio.gather(*(event.wait() for event in ready)), CALL_SECONDS)
        meter, began = Meter(clients.system), time.perf_counter()
        puts: set[asyncio.Task[pb.PutResponse]] = set()
        for i in range(wanted):
            await asyncio.sleep(max(0.0, began + i / per_second - time.perf_counter()))
            puts.add(asyncio.create_task(send(i)))
        for outcome in await asyncio.gather(*puts, return_exceptions=True):
            if isinstance(outcome, BaseException):
                row.record(outcome)
        total = wanted * watchers
        until = time.perf_counter() + 5
        while seen < total and time.perf_counter() < until:
            await asyncio.sleep(0.002)
        meter.into(row, seen)
        if seen != total:
            row.record(f"{total - seen} of {total} events are missing")
    except (grpc.aio.AioRpcError, TimeoutError) as error:
        row.record(error)
    finally:
        finished.set()
        for listener in listeners:
            listener.cancel()
        for ended in await asyncio.gather(*listeners, return_exceptions=True):
            if isinstance(ended, Exception):
                row.record(ended)
    return row.finish()
