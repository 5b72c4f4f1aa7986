"""WorkspaceService and FileService over gRPC on an empty keyspace."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from harness.served import served
from quartet.files.v1 import files_pb2, files_pb2_grpc
from quartet.workspaces.v1 import workspaces_pb2_grpc
from quartet_server.domain import Domain
from quartet_server.files.principals import PRINCIPAL_KEY
from quartet_server.files.service import FileService
from quartet_server.objects.memory import MemoryBlobs
from quartet_server.workspaces.service import WorkspaceService

from raftmeta.metastore import Metastore

if TYPE_CHECKING:
    from quartet.files.v1.files_pb2_grpc import FileServiceAsyncStub
    from quartet.workspaces.v1.workspaces_pb2_grpc import WorkspaceServiceAsyncStub


class Caller:
    """A stub whose calls are somebody else's."""

    def __init__(self, stub: Any, metadata: tuple[tuple[str, str], ...]) -> None:
        self._stub = stub
        self._metadata = metadata

    def __getattr__(self, method: str) -> Any:
        return lambda request: getattr(self._stub, method)(request, metadata=self._metadata)


@dataclass(frozen=True)
class Served:
    """Stubs of both services."""

    files: FileServiceAsyncStub
    workspaces: WorkspaceServiceAsyncStub

    async def mkdir(self, *paths: str) -> None:
        """Make directories."""
        for path in paths:
            await self.files.Mkdir(files_pb2.MkdirRequest(path=path, parents=True))

    def caller(self, principal: str, zone: str = "") -> Any:
        """The workspaces as somebody else calls them."""
        metadata = ((PRINCIPAL_KEY, principal),) + ((("quartet-zone", zone),) if zone else ())
        return Caller(self.workspaces, metadata)


@pytest_asyncio.fixture(loop_scope="session")
async def at(store: Metastore) -> AsyncIterator[Served]:
    """Both services, behind one port."""
    seconds = itertools.count(1_000_000)

    def now() -> Timestamp:
        return Timestamp(seconds=next(seconds))

    domains: list[Domain] = [FileService(store, now, MemoryBlobs(time.time)), WorkspaceService(store, now)]
    async with served(domains) as address, grpc.aio.insecure_channel(address) as channel:
        yield Served(files_pb2_grpc.FileServiceStub(channel), workspaces_pb2_grpc.WorkspaceServiceStub(channel))
