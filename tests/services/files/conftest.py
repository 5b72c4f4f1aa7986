"""A FileService over gRPC on an empty keyspace."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from harness.served import served
from quartet.files.v1 import files_pb2_grpc
from quartet_server.files.service import FileService
from quartet_server.meta.recent import Recent
from quartet_server.objects.memory import MemoryBlobs

from raftmeta.drivers.embedded import EmbeddedMetastore
from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub


def ticking() -> Callable[[], Timestamp]:
    """A clock that moves one second with every look."""
    seconds = itertools.count(1_000_000)
    return lambda: Timestamp(seconds=next(seconds))


@pytest.fixture
def blobs() -> MemoryBlobs:
    """A store of blobs that holds nothing."""
    return MemoryBlobs(time.time)


@pytest.fixture
def service(store: Metastore, blobs: MemoryBlobs) -> FileService:
    """The service, without its background work; what it read is kept where the store is in this process."""
    recent = Recent(store, 1000) if isinstance(store, EmbeddedMetastore) else None
    return FileService(store, ticking(), blobs, recent=recent)


@pytest_asyncio.fixture(loop_scope="session")
async def files(service: FileService) -> AsyncIterator[FileServiceAsyncStub]:
    """A stub of the served service."""
    async with served([service]) as address, grpc.aio.insecure_channel(address) as channel:
        yield files_pb2_grpc.FileServiceStub(channel)
