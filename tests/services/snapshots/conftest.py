"""Files, snapshots and objects over gRPC on an empty keyspace and an empty store of blobs."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from harness.snapshots import Port, port
from quartet_server.files.service import FileService
from quartet_server.meta import ops, system
from quartet_server.objects.composed import ComposedBlobs, Compositions
from quartet_server.objects.memory import MemoryBlobs
from quartet_server.objects.pins import Pins
from quartet_server.objects.service import Objects
from quartet_server.objects.zones import Zones
from quartet_server.snapshots.service import SnapshotService

from raftmeta.etcd import rpc_pb2
from raftmeta.metastore import Metastore


def new_id() -> str:
    """Return 32 hexadecimal digits."""
    return uuid.uuid4().hex


def ticking() -> Callable[[], Timestamp]:
    """A clock that moves one second with every look."""
    seconds = itertools.count(1_000_000)
    return lambda: Timestamp(seconds=next(seconds))


@pytest.fixture
def blobs() -> MemoryBlobs:
    """A store of blobs that holds nothing."""
    return MemoryBlobs(time.time)


@pytest_asyncio.fixture(loop_scope="session")
async def at(store: Metastore, blobs: MemoryBlobs) -> AsyncIterator[Port]:
    """A port with a second zone."""
    await store.txn(rpc_pb2.TxnRequest(success=[ops.put(system.zone("other"), b"")]))
    objects = Objects(ComposedBlobs(blobs, Compositions(store)), Zones(store), Pins(store), time.time, settled=0.0)
    files, snapshots = FileService(store, ticking(), blobs), SnapshotService(store, ticking(), blobs, new_id, "node:1")
    async with port(files, snapshots, objects) as opened:
        yield opened
