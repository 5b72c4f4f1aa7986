"""From kill -9 to ready: one member, and all of them; afterwards nothing is missing."""

from __future__ import annotations

import time

import grpc
from systems import System

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.etcd.rpc_pb2_grpc import KVStub

COUNT_SECONDS = 60.0


async def one(system: System, seconds: list[float]) -> None:
    """Kill a follower, start it, and add the seconds until it answers a linearizable read. Raises TimeoutError."""
    member = (await system.leader() + 1) % len(system.endpoints)
    system.kill(member)
    began = time.perf_counter()
    await system.restart(member)
    seconds.append(round(time.perf_counter() - began, 3))


async def every(system: System, seconds: list[float]) -> None:
    """Kill all members, start them, and add the seconds until all answer linearizable reads. Raises TimeoutError."""
    members = range(len(system.endpoints))
    for member in members:
        system.kill(member)
    began = time.perf_counter()
    for member in members:
        system.start(member)
    await system.ready()
    seconds.append(round(time.perf_counter() - began, 3))


async def count(system: System, prefix: bytes, wanted: int, errors: list[str]) -> None:
    """Count the keys below `prefix` on every member; what differs from `wanted` goes to `errors`. Raises AioRpcError."""
    end = prefix[:-1] + bytes([prefix[-1] + 1])
    request = pb.RangeRequest(key=prefix, range_end=end, count_only=True)
    for endpoint in system.endpoints:
        async with grpc.aio.insecure_channel(endpoint) as channel:
            found = (await KVStub(channel).Range(request, timeout=COUNT_SECONDS)).count
        if found != wanted:
            errors.append(f"{endpoint} has {found} keys instead of {wanted}")
