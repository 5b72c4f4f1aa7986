"""A FileService and a VersionService over one empty keyspace, with an observer that a test may start."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from harness.served import served
from harness.versions import Desk
from quartet.files.v1 import files_pb2_grpc
from quartet.versions.v1 import versions_pb2_grpc
from quartet_server.files.service import FileService
from quartet_server.meta.times import timestamps
from quartet_server.objects.memory import MemoryBlobs
from quartet_server.versions.observer import HOLDER

from raftmeta.metastore import Metastore


@pytest_asyncio.fixture(loop_scope="session")
async def desk(store: Metastore, request: pytest.FixtureRequest) -> AsyncIterator[Desk]:
    """Both services over `store`, versions not recorded yet."""
    remote = "embedded" not in request.node.name
    blobs = MemoryBlobs(time.time)
    files = FileService(store, timestamps(time.time), blobs)
    made = Desk(store, blobs, idle=0.3 if remote else 0.02)
    async with (
        served([files, made.service]) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        made.files = files_pb2_grpc.FileServiceStub(channel)
        made.versions = versions_pb2_grpc.VersionServiceStub(channel)
        await made.begin()
        yield made
    await store.set_floor(HOLDER, 0)  # the store is that of other tests too
