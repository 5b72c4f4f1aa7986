"""With TLS the certificate says in which zones its holder may keep blobs; an instance name chooses among them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from harness.rpc import failure
from harness.wire import OTHER, Wire, blob, read_name, requests, write_name
from prometheus_client import CollectorRegistry
from quartet.wire.reapi import bytestream_pb2 as pb
from quartet.wire.reapi import cas_pb2
from quartet_server.addresses import Address
from quartet_server.config import Limits
from quartet_server.meta import ops, system
from quartet_server.objects.memory import MemoryBlobs
from quartet_server.objects.pins import Pins
from quartet_server.objects.service import Objects
from quartet_server.objects.zones import Zones
from quartet_server.rpc.interceptor import CallInterceptor
from quartet_server.rpc.metrics import CallMetrics
from quartet_server.rpc.port import bind, create

from raftmeta import pki
from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore
from raftmeta.tls import grpc_channel_credentials

pytestmark = pytest.mark.asyncio(loop_scope="session")

CODES = grpc.StatusCode
Connect = Callable[..., AbstractAsyncContextManager[Wire]]


@pytest.fixture
def connect(tmp_path: Path, member: Metastore) -> Connect:
    """Opens a port with TLS; returns stubs of a client whose certificate lists the zones given."""

    @asynccontextmanager
    async def opened(*zones: str) -> AsyncIterator[Wire]:
        await member.txn(rpc_pb2.TxnRequest(success=[ops.put(system.zone(name), b"") for name in (OTHER, "third")]))
        authority = pki.create_ca(tmp_path / "ca.crt", tmp_path / "ca.key")
        files, theirs = pki.files_of(tmp_path, "n1"), pki.files_of(tmp_path, "client")
        pki.issue_node(authority, "n1", ["127.0.0.1"], files.certificate, files.key)
        pki.issue_client(authority, "client", zones, theirs.certificate, theirs.key)
        blobs = MemoryBlobs(lambda: 0.0)
        domain = Objects(blobs, Zones(member), Pins(member), lambda: 0.0)
        interceptor = CallInterceptor(CallMetrics(CollectorRegistry()), new_id=lambda: "id", certificates=True)
        server = create(Limits(), interceptor.wrap)
        domain.add_to(server)
        address = str(bind(server, Address("127.0.0.1", 0), files))
        await server.start()
        try:
            credentials = grpc_channel_credentials(theirs)
            async with aio.secure_channel(address, credentials) as channel:
                with grpc.secure_channel(address, credentials) as blocking:
                    yield Wire(address, channel, blocking, blobs, member)
        finally:
            await server.stop(0)
            await domain.stop()

    return opened


async def outcome(wire: Wire, instance: str) -> list[str] | str:
    """Put and ask for a blob; return the zones that have it then, or why it was refused."""
    data = blob(10)
    found = await failure_of(wire.send_write(requests(write_name(data, zone=instance), data, 10)))
    asked = await failure_of(wire.cas.FindMissingBlobs(cas_pb2.FindMissingBlobsRequest(instance_name=instance)))
    read = await failure_of(wire.bytes.Read(pb.ReadRequest(resource_name=read_name(data, zone=instance))))
    assert found == asked == read
    return found or list(await wire.blobs.zones())


async def failure_of(call: Any) -> str:
    """Return the reason for which a call fails, empty when it does not."""
    try:
        told = await failure(call)
    except AssertionError:
        return ""
    assert told.info is not None
    return str(told.info.reason)


@pytest.mark.parametrize(
    ("certified", "instance", "expected"),
    [
        (["default"], "", ["default"]),
        ([OTHER], "", [OTHER]),
        ([OTHER], OTHER, [OTHER]),
        ([OTHER, "third"], OTHER, [OTHER]),
        (["*"], OTHER, [OTHER]),
        (["*"], "", ["default"]),
        ([OTHER, "third"], "", "ZONE_DENIED"),
        ([OTHER], "default", "ZONE_DENIED"),
        ([OTHER, "default"], "third", "ZONE_DENIED"),
        (["*"], "nowhere", "ZONE_NOT_FOUND"),
    ],
)
async def test_the_certificate_rules_which_instances_its_holder_may_name(
    connect: Connect, certified: list[str], instance: str, expected: list[str] | str
) -> None:
    async with connect(*certified) as wire:
        assert await outcome(wire, instance) == expected
