"""The services for blobs behind a real port: a store in memory, a Metastore of a member in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from grpc import aio
from harness.served import served
from harness.stores import Stores
from harness.wire import OTHER, Wire
from quartet_server.meta import ops, system
from quartet_server.objects.memory import MemoryBlobs
from quartet_server.objects.pins import Pins
from quartet_server.objects.service import Objects
from quartet_server.objects.zones import Zones

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore

NOW = 1_700_000_000.0


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def member(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Metastore]:
    """A Metastore for all tests."""
    async with Stores(tmp_path_factory.mktemp("wire")) as stores:
        yield await stores.get("embedded")


@pytest_asyncio.fixture(loop_scope="session")
async def wire(member: Metastore) -> AsyncIterator[Wire]:
    """A port over an empty store; two zones exist."""
    await member.delete_range(rpc_pb2.DeleteRangeRequest(key=b"\0", range_end=b"\0"))
    await member.txn(rpc_pb2.TxnRequest(success=[ops.put(system.zone(OTHER), b"")]))
    blobs = MemoryBlobs(lambda: NOW)
    domain = Objects(blobs, Zones(member), Pins(member), lambda: NOW, settled=0.0)
    async with served([domain]) as address, aio.insecure_channel(address) as channel:
        with grpc.insecure_channel(address) as blocking:
            yield Wire(address, channel, blocking, blobs, member)
