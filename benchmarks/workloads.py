"""What clients do: closed loops of unary calls, paced writes under many watchers, and a leader that dies."""

from __future__ import annotations

import asyncio
import itertools
import random
import resource
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import grpc
import psutil
from systems import System

from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd.rpc_pb2_grpc import KVStub, LeaseStub, WatchStub

if TYPE_CHECKING:
    from raftmeta.etcd.rpc_pb2_grpc import KVAsyncStub

GROUPS, GROUP = 100, 100
KEYS = [b"bench/%03d/%03d" % (group, i) for group in range(GROUPS) for i in range(GROUP)]
VALUE = b"v" * 100
CALL_SECONDS = 20.0
PUTS_PER_SECOND = 50
STREAMS, WATCHERS = 10, 10


@dataclass
class Row:
    """One workload on one system, once."""

    system: str
    workload: str
    unit: str
    rate: float = 0.0
    """Units per second."""
    p50: float = 0.0
    """Milliseconds."""
    p99: float = 0.0
    cpu: float = 0.0
    """Server CPU, all members together, in microseconds per unit."""
    client: float = 0.0
    """Cores that the client used."""
    other: float = 0.0
    """Cores that everybody else on the machine used: a row is disturbed when this is not near zero."""
    errors: int = 0
    error: str = ""
    """The first error."""
    latencies: list[float] = field(default_factory=list, repr=False)

    def finish(self) -> Row:
        """Work out the quantiles, in milliseconds, and let the samples go."""
        if len(self.latencies) > 1:
            cuts = statistics.quantiles(self.latencies, n=100, method="inclusive")
            self.p50, self.p99 = cuts[49] * 1000, cuts[98] * 1000
        elif self.latencies:
            self.p50 = self.p99 = self.latencies[0] * 1000
        self.latencies = []
        return self

    def record(self, error: BaseException | str) -> None:
        """Count an error and keep the first one's text."""
        if not self.errors:
            self.error = (error.details() or "") if isinstance(error, grpc.aio.AioRpcError) else str(error)
        self.errors += 1

    def json(self) -> dict[str, object]:
        """Return the figures."""
        return {
            key: round(v, 3) if isinstance(v, float) else v for key, v in asdict(self).items() if key != "latencies"
        }


class Meter:
    """Measures who uses how much CPU between its creation and `into`."""

    def __init__(self, system: System) -> None:
        """Start."""
        self._system = system
        self._began, self._servers, self._client, self._machine = time.perf_counter(), *self._read()

    def _read(self) -> tuple[float, float, float]:
        usage, machine = resource.getrusage(resource.RUSAGE_SELF), psutil.cpu_times()
        busy = (
            sum(machine) - machine.idle - machine.iowait - getattr(machine, "guest", 0) - getattr(machine, "steal", 0)
        )
        return self._system.cpu_seconds(), usage.ru_utime + usage.ru_stime, busy

    def into(self, row: Row, units: int) -> None:
        """Write rate and CPU of `units` done since the start into `row`."""
        seconds = time.perf_counter() - self._began
        servers, client, machine = self._read()
        servers, client, machine = servers - self._servers, client - self._client, machine - self._machine
        row.rate = units / seconds
        row.cpu = servers * 1e6 / units if units else 0.0
        row.client = client / seconds
        row.other = max(0.0, (machine - servers - client) / seconds)


class Clients:
    """One channel per member; calls go round robin."""

    def __init__(self, system: System) -> None:
        """Open the channels."""
        self.system = system
        self.channels = [grpc.aio.insecure_channel(endpoint) for endpoint in system.endpoints]
        self.kvs = [KVStub(channel) for channel in self.channels]
        self._turn = itertools.cycle(self.kvs)

    def kv(self) -> KVAsyncStub:
        """Return the next member's stub."""
        return next(self._turn)

    async def close(self) -> None:
        """Close the channels."""
        for channel in self.channels:
            await channel.close()

    async def load(self) -> None:
        """Put the 10,000 keys, a hundred per transaction."""
        for group in range(GROUPS):
            keys = KEYS[group * GROUP : (group + 1) * GROUP]
            operations = [pb.RequestOp(request_put=pb.PutRequest(key=key, value=VALUE)) for key in keys]
            await self.kv().Txn(pb.TxnRequest(success=operations), timeout=CALL_SECONDS)

    async def settle(self) -> None:
        """Let the store commit twice without a key: etcd 3.4 reads slowly right after writes, and would flatter us."""
        if not self.system.complete:
            return
        for channel in self.channels[:1] * 2:
            granted = await LeaseStub(channel).LeaseGrant(pb.LeaseGrantRequest(TTL=60), timeout=CALL_SECONDS)
            await asyncio.sleep(0.25)
            await LeaseStub(channel).LeaseRevoke(pb.LeaseRevokeRequest(ID=granted.ID), timeout=CALL_SECONDS)


Call = Callable[[int, random.Random], Awaitable[object]]
"""Does one operation for worker number n; raises AioRpcError or AssertionError when it did not work."""


async def closed_loop(clients: Clients, row: Row, call: Call, workers: int, seconds: float, units: int = 1) -> Row:
    """Keep `workers` calls in flight for `seconds` after a warm-up of a quarter of that; each call counts as `units`."""
    done, measuring, stop = 0, False, False

    async def work(number: int) -> None:
        nonlocal done
        dice = random.Random(number)
        while not stop:
            began = time.perf_counter()
            try:
                await call(number, dice)
            except (grpc.aio.AioRpcError, AssertionError) as error:
                row.record(error)
                await asyncio.sleep(0.01)
                continue
            if measuring:
                row.latencies.append(time.perf_counter() - began)
                done += units

    tasks = [asyncio.create_task(work(number)) for number in range(workers)]
    await asyncio.sleep(seconds / 4)
    meter, measuring = Meter(clients.system), True
    await asyncio.sleep(seconds)
    measuring = False
    meter.into(row, done)
    stop = True
    await asyncio.gather(*tasks)
    return row.finish()


def put(clients: Clients) -> Call:
    """Overwrite a key."""

    async def call(number: int, dice: random.Random) -> None:
        await clients.kv().Put(pb.PutRequest(key=dice.choice(KEYS), value=VALUE), timeout=CALL_SECONDS)

    return call


def txn(clients: Clients) -> Call:
    """Overwrite a hundred keys at once."""

    async def call(number: int, dice: random.Random) -> None:
        keys = dice.sample(KEYS, 100)
        operations = [pb.RequestOp(request_put=pb.PutRequest(key=key, value=VALUE)) for key in keys]
        answer = await clients.kv().Txn(pb.TxnRequest(success=operations), timeout=CALL_SECONDS)
        assert len(answer.responses) == 100, "a transaction answered less than it was asked"

    return call


def compare_and_set(clients: Clients) -> Call:
    """Overwrite the worker's own key if it still has the revision of the worker's last write."""
    revisions: dict[int, int] = {}

    async def call(number: int, dice: random.Random) -> None:
        key = b"bench/cas/%03d" % number
        condition = pb.Compare(target=pb.Compare.MOD, key=key, mod_revision=revisions.pop(number, -1))
        request = pb.TxnRequest(
            compare=[condition],
            success=[pb.RequestOp(request_put=pb.PutRequest(key=key, value=VALUE))],
            failure=[pb.RequestOp(request_put=pb.PutRequest(key=key, value=b"first"))],
        )
        expected = condition.mod_revision != -1
        answer = await clients.kv().Txn(request, timeout=CALL_SECONDS)
        revisions[number] = answer.header.revision
        assert answer.succeeded or not expected, "a comparison failed though nobody else writes the key"

    return call


def ranged(clients: Clients, *, serializable: bool) -> Call:
    """Read a key."""

    async def call(number: int, dice: random.Random) -> None:
        request = pb.RangeRequest(key=dice.choice(KEYS), serializable=serializable)
        answer = await clients.kv().Range(request, timeout=CALL_SECONDS)
        assert answer.count == 1, "a key is missing"

    return call


def prefix(clients: Clients) -> Call:
    """Read a hundred keys of one prefix."""

    async def call(number: int, dice: random.Random) -> None:
        start = b"bench/%03d/" % dice.randrange(GROUPS)
        answer = await clients.kv().Range(pb.RangeRequest(key=start, range_end=start[:-1] + b"0"), timeout=CALL_SECONDS)
        assert len(answer.kvs) == GROUP, "keys are missing"

    return call


async def watch(clients: Clients, row: Row, seconds: float) -> Row:
    """Write 50 keys a second under 100 watchers on 10 streams; latency is from sending the put to having the event."""
    wanted = round(PUTS_PER_SECOND * seconds)
    ready, finished = [asyncio.Event() for _ in range(STREAMS)], asyncio.Event()
    seen = 0

    async def requests() -> AsyncIterator[pb.WatchRequest]:
        for _ in range(WATCHERS):
            create = pb.WatchCreateRequest(key=b"watched/", range_end=b"watched0")
            yield pb.WatchRequest(create_request=create)
        await finished.wait()

    async def listen(number: int) -> None:
        nonlocal seen
        created = 0
        stub = WatchStub(clients.channels[number % len(clients.channels)])
        async for response in stub.Watch(requests()):
            now = time.perf_counter()
            created += response.created
            if created == WATCHERS:
                ready[number].set()
            for event in response.events:
                seen += 1
                row.latencies.append(now - float(event.kv.value))
                assert event.type == kv_pb2.Event.PUT

    listeners = [asyncio.create_task(listen(number)) for number in range(STREAMS)]
    try:
        await asyncio.wait_for(asyncio.gather(*(event.wait() for event in ready)), CALL_SECONDS)
        meter, began = Meter(clients.system), time.perf_counter()
        puts: set[asyncio.Task[pb.PutResponse]] = set()

        async def send(i: int) -> pb.PutResponse:
            value = repr(time.perf_counter()).encode()
            return await clients.kv().Put(pb.PutRequest(key=b"watched/%04d" % i, value=value), timeout=CALL_SECONDS)

        for i in range(wanted):
            await asyncio.sleep(max(0.0, began + i / PUTS_PER_SECOND - time.perf_counter()))
            puts.add(asyncio.create_task(send(i)))
        for outcome in await asyncio.gather(*puts, return_exceptions=True):
            if isinstance(outcome, BaseException):
                row.record(outcome)
        total = wanted * STREAMS * WATCHERS
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


async def failover(system: System, row: Row, kills: int) -> Row:
    """Kill the leader; latency is from the signal to the first put that a survivor acknowledges. A put starts every 10 ms."""
    for kill in range(kills):
        leader = await system.leader()
        survivors = [endpoint for i, endpoint in enumerate(system.endpoints) if i != leader]
        channels = [grpc.aio.insecure_channel(endpoint) for endpoint in survivors]
        stubs = [KVStub(channel) for channel in channels]
        await asyncio.gather(*(stub.Put(pb.PutRequest(key=b"failover", value=b"0"), timeout=10) for stub in stubs))
        acknowledged: asyncio.Future[float] = asyncio.get_running_loop().create_future()

        async def attempt(stub: KVAsyncStub, done: asyncio.Future[float] = acknowledged) -> None:
            try:
                await stub.Put(pb.PutRequest(key=b"failover", value=b"1"), timeout=10)
            except grpc.aio.AioRpcError:
                return
            if not done.done():
                done.set_result(time.perf_counter())

        attempts: set[asyncio.Task[None]] = set()
        system.kill(leader)
        began = time.perf_counter()
        turn = itertools.cycle(stubs)
        while not acknowledged.done() and time.perf_counter() < began + 30:
            attempts.add(asyncio.create_task(attempt(next(turn))))
            await asyncio.wait({acknowledged}, timeout=0.01)
        if acknowledged.done():
            row.latencies.append(acknowledged.result() - began)
        else:
            row.record(f"no put was acknowledged within 30 s of kill {kill + 1}")
        for task in attempts:
            task.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)
        for channel in channels:
            await channel.close()
        await system.restart(leader)
    return row.finish()
