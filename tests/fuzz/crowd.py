"""Ten thousand clients in one process: calls over a few hundred connections, all at once; tells what became of them.

Usage: python crowd.py KIND COUNT CONNECTIONS ENDPOINT ...

KIND is `puts` (each client writes its own key), `ranges`, `watches` (each client watches a key on a stream of its own)
or `large` (messages larger than any server takes). It talks in lines: it prints `ready` when all connections are up,
waits for a line, begins, prints `refused` when the first client is refused or `created` when every watch is there or
refused; with watches it waits for a line again, and then for an event each. Last comes a line of JSON: how many ended
with which status and text, which writes were acknowledged, how many saw an event.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable

import grpc
from grpc import aio

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd import rpc_pb2_grpc as rpc

PATIENCE = 120.0
VALUE = b"v" * 1000
TOO_LARGE = 5 << 20


class Crowd:
    """The clients, and what they were told."""

    def __init__(self, channels: list[aio.Channel]) -> None:
        """Spread clients over these connections."""
        self.channels = channels
        self.told: Counter[str] = Counter()
        self.acknowledged: list[int] = []
        self.created = 0
        self.saw = 0
        self.released = asyncio.Event()

    async def put(self, number: int) -> None:
        """Write a key of one's own."""
        request = pb.PutRequest(key=b"crowd/%d" % number, value=VALUE)
        await rpc.KVStub(self.channel(number)).Put(request, timeout=PATIENCE)
        self.acknowledged.append(number)

    async def range(self, number: int) -> None:
        """Read a key, linearizably."""
        await rpc.KVStub(self.channel(number)).Range(pb.RangeRequest(key=b"crowd/%d" % number), timeout=PATIENCE)

    async def watch(self, number: int) -> None:
        """Watch a key until it changes."""
        stream = rpc.WatchStub(self.channel(number)).Watch(timeout=2 * PATIENCE)
        create = pb.WatchCreateRequest(key=b"watched", watch_id=number + 1)
        await stream.write(pb.WatchRequest(create_request=create))
        answer = await stream.read()
        if isinstance(answer, pb.WatchResponse):
            self.created += 1
            await self.released.wait()
            async with asyncio.timeout(PATIENCE):
                answer = await stream.read()
            self.saw += bool(isinstance(answer, pb.WatchResponse) and answer.events)
            stream.cancel()
        else:
            await stream.code()
            raise await _failure(stream)

    async def large(self, number: int) -> None:
        """Write a value that no server takes."""
        await rpc.KVStub(self.channel(number)).Put(pb.PutRequest(key=b"x", value=bytes(TOO_LARGE)), timeout=PATIENCE)

    def channel(self, number: int) -> aio.Channel:
        """Return the connection of a client."""
        return self.channels[number % len(self.channels)]

    async def one(self, act: Callable[[int], Awaitable[None]], number: int) -> None:
        """Let one client act and note how it ended."""
        try:
            await act(number)
        except aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and not self.told.total() - self.told["OK"]:
                print("refused", flush=True)
            self.told[f"{error.code().name}: {error.details()}"] += 1
        except (TimeoutError, asyncio.InvalidStateError) as error:
            self.told[type(error).__name__] += 1
        else:
            self.told["OK"] += 1


async def _failure(stream: aio.StreamStreamCall[pb.WatchRequest, pb.WatchResponse]) -> aio.AioRpcError:
    code, text = await stream.code(), await stream.details()
    return aio.AioRpcError(code, aio.Metadata(), aio.Metadata(), text)


async def main() -> None:
    """Run the crowd."""
    kind, count, connections, *endpoints = sys.argv[1:]
    options = [("grpc.use_local_subchannel_pool", 1)]
    addresses = [endpoints[number % len(endpoints)] for number in range(int(connections))]
    crowd = Crowd([aio.insecure_channel(address, options=options) for address in addresses])
    await asyncio.gather(*(channel.channel_ready() for channel in crowd.channels))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    act = {"puts": crowd.put, "ranges": crowd.range, "watches": crowd.watch, "large": crowd.large}[kind]
    everybody = asyncio.gather(*(crowd.one(act, number) for number in range(int(count))))
    if kind == "watches":
        while crowd.created + crowd.told.total() < int(count):
            await asyncio.sleep(0.05)
        print("created", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        crowd.released.set()
    await everybody
    print(json.dumps({"told": crowd.told, "acknowledged": crowd.acknowledged, "saw": crowd.saw}), flush=True)
    for channel in crowd.channels:
        await channel.close()


if __name__ == "__main__":
    asyncio.run(main())
