"""Every RPC of quartet.* is sent what no client of ours would send, through a whole node: the answer names the mistake."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from grpc import aio
from harness.failures import reason_of
from quartet.agents.v1 import agents_pb2
from quartet.cluster.peers.v1 import peers_pb2 as transfers_pb2
from quartet.cluster.v1 import cluster_pb2
from quartet.events.v1 import events_pb2
from quartet.files.v1 import files_pb2
from quartet.maintenance.v1 import maintenance_pb2
from quartet.mounts.v1 import mounts_pb2
from quartet.objects.peers.v1 import peers_pb2
from quartet.objects.replicas.v1 import replicas_pb2
from quartet.objects.v1 import objects_pb2
from quartet.ops.v1 import ops_pb2
from quartet.parsed.v1 import parsed_pb2
from quartet.projects.v1 import service_pb2 as projects_pb2
from quartet.settings.v1 import settings_pb2
from quartet.snapshots.v1 import snapshots_pb2
from quartet.versions.v1 import versions_pb2
from quartet.workspaces.v1 import workspaces_pb2
from quartet_server.node import DOMAINS, start_in_memory

pytestmark = pytest.mark.asyncio(loop_scope="session")

FILES = (
    agents_pb2,
    cluster_pb2,
    events_pb2,
    files_pb2,
    maintenance_pb2,
    mounts_pb2,
    objects_pb2,
    ops_pb2,
    parsed_pb2,
    peers_pb2,
    projects_pb2,
    replicas_pb2,
    settings_pb2,
    snapshots_pb2,
    transfers_pb2,
    versions_pb2,
    workspaces_pb2,
)
METHODS: list[MethodDescriptor] = [
    method for file in FILES for service in file.DESCRIPTOR.services_by_name.values() for method in service.methods
]
TEXTS = ("x", "/", "/h", "/missing/" + "é" * 100, "/" + "/".join(["ö" * 60] * 33), "\0", "/h/a\0b", "z" * 100_000, "*")
NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), -1, 1, 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), -1, 1, 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (1, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (1, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (1, 2, 3, 77, -1),
    FieldDescriptor.CPPTYPE_BOOL: (True,),
}
STRUCTS = [
    Struct(fields={"n": Value(number_value=float("nan"))}),
    Struct(fields={"\0": Value(string_value="\0")}),
    Struct(fields={"k" * 1000: Value(string_value="z" * 100_000)}),
    Struct(fields={"nothing": Value()}),
]
FIRST = {
    "label": "h",
    "session_label": "h",
    "name": "h",
    "prefix": "h",
    "path": "/h",
    "source": "/h",
    "destination": "/h2",
    "token": "t.t",
}
VALUES = (
    Value(),
    Value(number_value=float("nan")),
    Value(string_value="a\0b"),
    Value(list_value=ListValue(values=[Value()] * 1000)),
)
GARBAGE = (b"\xff", b"\x0a\xff", b"\x0a\x02\xff\xfe", b"\x08" + b"\xff" * 11, b"\x0b" * 200)
PATIENCE = 5.0
MOST = 160
"""Requests of a method: of more, which messages deep in messages make, some in equal steps; `make fuzz` sends others."""


def new(descriptor: Any) -> Message:
    """Return an empty message of a type."""
    return GetMessageClass(descriptor)()


def plausible(message: Message) -> Message:
    """Give the fields that name something a name, here and below."""
    for field in message.DESCRIPTOR.fields:
        if field.is_repeated:
            continue
        if field.message_type is not None and field.message_type.full_name.startswith("quartet."):
            plausible(getattr(message, field.name)).SetInParent()
        elif field.name in FIRST and field.type == FieldDescriptor.TYPE_STRING:
            setattr(message, field.name, FIRST[field.name])
    return message


def mutants(message: Message) -> Iterator[Message]:
    """Yield copies of the message, each with one hostile field, at any depth."""
    kind = type(message)
    for field in message.DESCRIPTOR.fields:
        values: tuple[object, ...] = NUMBERS.get(field.cpp_type, ())
        if field.type == FieldDescriptor.TYPE_STRING:
            values = TEXTS
        elif field.type == FieldDescriptor.TYPE_BYTES:
            values = (b"\0", b"\xff" * 100_000)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            yield from mapped(message, field.name)
            continue
        if field.message_type is not None and field.message_type.full_name == Struct.DESCRIPTOR.full_name:
            values = tuple(STRUCTS)
        elif field.message_type is not None:
            below = plausible(new(field.message_type))
            values = VALUES if isinstance(below, Value) else (below, *mutants(below))
        for value in values:
            for count in (1, 1001) if field.is_repeated else (1,):
                copy = kind()
                copy.CopyFrom(message)
                if field.is_repeated:
                    if count > 1 and value != values[0]:
                        continue
                    getattr(copy, field.name).extend([value] * count)
                elif isinstance(value, Message):
                    getattr(copy, field.name).CopyFrom(value)
                else:
                    setattr(copy, field.name, value)
                yield copy


def mapped(message: Message, name: str) -> Iterator[Message]:
    """Yield copies of the message with hostile keys and values in a map of texts, or in a Struct."""
    for entries in (dict.fromkeys(TEXTS, "v"), *({text: "v"} for text in TEXTS), *({"k": text} for text in TEXTS)):
        copy = type(message)()
        copy.CopyFrom(message)
        (copy if isinstance(copy, Struct) else getattr(copy, name)).update(entries)
        yield copy


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def channel() -> AsyncIterator[aio.Channel]:
    """A channel to a node with every service."""
    async with await start_in_memory() as node, aio.insecure_channel(str(node.address)) as opened:
        yield opened


async def answer(channel: aio.Channel, method: MethodDescriptor, request: bytes) -> tuple[grpc.StatusCode, str, str]:
    """Send raw bytes; return the status code, the reason and the text. Of a stream, the first answer counts."""
    assert method.containing_service is not None
    path = f"/{method.containing_service.full_name}/{method.name}"
    try:
        if method.server_streaming:
            watch: aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(path)
            stream = watch(request, timeout=PATIENCE)
            await anext(aiter(stream))
            stream.cancel()
        elif method.client_streaming:
            send: aio.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(path)
            await send(iter([request]), timeout=PATIENCE)
        else:
            call: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
            await call(request, timeout=PATIENCE)
    except aio.AioRpcError as error:
        return error.code(), reason_of(error), error.details() or ""
    return grpc.StatusCode.OK, "", ""


async def test_every_service_is_sent_something() -> None:
    assert {file.DESCRIPTOR.package.split(".")[1] for file in FILES} == set(DOMAINS)


@pytest.mark.parametrize("method", [pytest.param(one, id=one.full_name) for one in METHODS])
async def test_a_hostile_request_gets_a_reason_and_the_node_lives(
    channel: aio.Channel, method: MethodDescriptor
) -> None:
    usual = plausible(new(method.input_type))
    requests = [b"", *(one.SerializeToString() for one in (usual, *mutants(new(method.input_type)), *mutants(usual)))]
    requests += [garbage for garbage in GARBAGE if method.input_type.fields]
    wrong = []
    different = list(dict.fromkeys(requests))
    for request in different[:: -(-len(different) // MOST)]:
        code, reason, text = await asyncio.wait_for(answer(channel, method, request), 2 * PATIENCE)
        late = code is grpc.StatusCode.DEADLINE_EXCEEDED and method.server_streaming
        if code is not grpc.StatusCode.OK and not late and (not reason or reason == "INTERNAL_FAULT"):
            wrong.append((request[:80], code.name, reason, text[:200]))
    assert not wrong
