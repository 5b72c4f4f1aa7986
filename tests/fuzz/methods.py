"""Every method of every service on a port, and how to send one of them raw bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc import aio
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from raftmeta.etcd import rpc_pb2

PATIENCE = 60.0
"""Seconds a unary call may take on a machine that is busy; one that takes longer hangs."""
_LISTEN = 0.2
"""Seconds for which a stream's answers are listened to: it has none to most of what it gets here."""
_PIECES = 3
_OWN_FAULT = "Internal error from Core"
"""What grpc.aio's client makes of a stream that the server ended, with whatever status, while it was written to."""

Answer = tuple[grpc.StatusCode, str]
Metadata = Sequence[tuple[str, str | bytes]]


def etcd_methods() -> list[MethodDescriptor]:
    """Return the methods of the etcd API."""
    return [one for service in rpc_pb2.DESCRIPTOR.services_by_name.values() for one in service.methods]


def reflected_methods(endpoint: str) -> list[MethodDescriptor]:
    """Ask a port which services it has; return the methods of all of them."""
    with grpc.insecure_channel(endpoint) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        services = [pool.FindServiceByName(name) for name in sorted(database.get_services())]
        return [method for service in services for method in service.methods]


def path_of(method: MethodDescriptor) -> str:
    """Return the path by which a method is called."""
    assert method.containing_service is not None
    return f"/{method.containing_service.full_name}/{method.name}"


async def send(
    channel: aio.Channel, method: MethodDescriptor, requests: Iterable[bytes], metadata: Metadata = ()
) -> Answer:
    """Send raw requests, of which a method that takes one gets the first; return the status it ended with.

    A stream that goes on is cancelled here after its first answers, which counts as OK.
    """
    path = path_of(method)
    try:
        if method.client_streaming:
            both: aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(path)
            stream = both(timeout=PATIENCE, metadata=tuple(metadata))
            for request in requests:
                try:
                    await stream.write(request)
                except asyncio.InvalidStateError:
                    break  # it has ended already
            return await _listen(stream)
        request = next(iter(requests))
        if method.server_streaming:
            many: aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(path)
            return await _listen(many(request, timeout=PATIENCE, metadata=tuple(metadata)))
        one: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
        await one(request, timeout=PATIENCE, metadata=tuple(metadata))
    except aio.AioRpcError as error:
        if error.details() == _OWN_FAULT:
            return grpc.StatusCode.CANCELLED, ""
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


async def _listen(
    stream: aio.StreamStreamCall[bytes, bytes] | aio.UnaryStreamCall[bytes, bytes],
) -> Answer:
    try:
        async with asyncio.timeout(_LISTEN):
            for _ in range(_PIECES):
                if await stream.read() is aio.EOF:
                    break
    except TimeoutError:
        pass
    if not stream.done():
        stream.cancel()
        return grpc.StatusCode.OK, ""
    code = await stream.code()
    if code is grpc.StatusCode.CANCELLED:  # our own reading was cut off
        return grpc.StatusCode.OK, ""
    return code, await stream.details() or ""
