"""All clients of a run together: started, hurried, stopped, and their history."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

from faults.cluster import Cluster
from faults.history import History
from faults.observer import reach
from faults.workload.calling import Caller
from faults.workload.clients import GROUPS, KeyValueClient, prefix_of
from faults.workload.compacting import CompactingClient
from faults.workload.leasing import LeaseClient
from faults.workload.watching import EVERYTHING, WatchClient
from google.protobuf.message import Message

from raftmeta.etcd import rpc_pb2 as pb

CLIENTS = 6
PAUSE = 0.04
"""Seconds between a client's operations, on average: so that a history can be searched, and proxies keep up."""


class Workload:
    """The clients of one phase.

    Attributes:
        history: What they did and saw.
        hurried: Whether they make no pauses.
    """

    def __init__(self, seed: int) -> None:
        """Draw everything from `seed`."""
        self.history = History()
        self.hurried = False
        self._dice = random.Random(f"load {seed}")
        self._callers: list[Caller] = []
        self._watchers: list[WatchClient] = []
        self._watching: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def running(self, cluster: Cluster) -> AsyncIterator[None]:
        """Let clients work on `cluster`; writers stop with the context, watchers go on until `close`. Raises what a client raised."""
        self._cluster = cluster
        self._watching = [asyncio.create_task(self._run(self._watcher(number).steps(), 0.0)) for number in range(3)]
        writing = [
            asyncio.create_task(self._run(KeyValueClient(self._caller(f"c{number}")).steps(), PAUSE))
            for number in range(CLIENTS)
        ]
        writing += [
            asyncio.create_task(self._run(LeaseClient(self._caller(f"lease{number}")).steps(), 0.1))
            for number in range(2)
        ]
        compacting = CompactingClient(
            self._caller("compactor"), lambda: min(watcher.reached for watcher in self._watchers)
        )
        writing.append(asyncio.create_task(self._run(compacting.steps(), 3.0)))
        try:
            yield
        finally:
            await _end(writing)

    async def put(self, key: bytes, value: bytes) -> None:
        """Write a key once, for a fault that needs it: each attempt is an operation of its own. Raises NotReached."""
        caller = self._caller("fault")

        async def ask() -> Message | None:
            return await caller.call(pb.PutRequest(key=key, value=value))

        await reach("a value is written", ask)

    async def close(self) -> None:
        """Read all there is on every member, wait until the watchers have heard all, and end. Raises NotReached."""
        history, caller = self.history, self._caller("reader")
        history.healed = history.clock()
        ranges = [pb.RangeRequest(key=key, range_end=end) for key, end in map(prefix_of, range(GROUPS))]
        ranges.append(pb.RangeRequest(key=EVERYTHING[0], range_end=EVERYTHING[1], serializable=True))
        revision = 0
        for member in self._cluster.running():
            for request in ranges:

                async def ask(request: pb.RangeRequest = request, member: int = member) -> Message | None:
                    return await caller.call(request, member=member)

                answer = await reach("everything is read", ask)
                assert isinstance(answer, pb.RangeResponse)
                revision = max(revision, answer.header.revision)

        async def heard() -> bool | None:
            return all(watcher.reached >= revision for watcher in self._watchers if watcher.whole) or None

        await reach("watchers have heard everything", heard)

    async def end(self) -> None:
        """End the watchers, close all connections."""
        await _end(self._watching)
        self.history.ended = self.history.clock()
        for caller in self._callers:
            await caller.close()

    def _caller(self, name: str) -> Caller:
        self._callers.append(Caller(name, self._cluster, self.history, random.Random(self._dice.getrandbits(64))))
        return self._callers[-1]

    def _watcher(self, number: int) -> WatchClient:
        """Two watch everything from the beginning, the third the keys from when it comes."""
        caller = self._caller(f"w{number}")
        if number < 2:
            watcher = WatchClient(caller, self.history, *EVERYTHING, start=1)
        else:
            watcher = WatchClient(caller, self.history, b"k", b"l")
        self._watchers.append(watcher)
        return watcher

    async def _run(self, steps: AsyncIterator[None], pause: float) -> None:
        async for _ in steps:
            if not self.hurried or pause > PAUSE:
                await asyncio.sleep(pause * 2 * self._dice.random())


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait; raises what one of them raised."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
