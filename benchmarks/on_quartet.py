"""The tree on our nodes: FileService over gRPC."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import grpc
from channels import CALL_SECONDS
from quartet.files.v1 import files_pb2 as pb
from quartet.files.v1.files_pb2_grpc import FileServiceStub
from systems import System
from trees import INODE, PAGE, Tree


class OnQuartet(Tree):
    """Calls go round robin over the nodes."""

    def __init__(self, system: System) -> None:
        """Use the nodes of `system`; also what answers FileService.Stat without doing anything."""
        self._channels = [grpc.aio.insecure_channel(endpoint) for endpoint in system.endpoints]
        self._turn = itertools.cycle([FileServiceStub(channel) for channel in self._channels])

    async def close(self) -> None:
        """See Tree."""
        for channel in self._channels:
            await channel.close()

    async def mkdir(self, directory: str) -> None:
        """See Tree."""
        await next(self._turn).Mkdir(pb.MkdirRequest(path=directory), timeout=CALL_SECONDS)

    async def create(self, path: str) -> None:
        """See Tree."""
        request = pb.CreateFileRequest(path=path, attributes=INODE.attributes)
        await next(self._turn).CreateFile(request, timeout=CALL_SECONDS)

    async def stat(self, path: str) -> None:
        """See Tree."""
        entry = await next(self._turn).Stat(pb.StatRequest(path=path), timeout=CALL_SECONDS)
        assert entry.attributes.owner == INODE.attributes.owner

    async def list(self, directory: str) -> int:
        """See Tree."""
        request = pb.ListRequest(path=directory, page_size=PAGE)
        return len((await next(self._turn).List(request, timeout=CALL_SECONDS)).entries)

    async def rename(self, source: str, destination: str) -> None:
        """See Tree."""
        request = pb.RenameRequest(source=source, destination=destination, mode=pb.RENAME_MODE_NO_REPLACE)
        await next(self._turn).Rename(request, timeout=CALL_SECONDS)

    async def remove(self, path: str) -> None:
        """See Tree."""
        await next(self._turn).Delete(pb.DeleteRequest(path=path), timeout=CALL_SECONDS)

    async def create_many(self, paths: Sequence[str]) -> None:
        """See Tree."""
        entries = [pb.CreateEntry(path=path, attributes=INODE.attributes) for path in paths]
        answer = await next(self._turn).BatchCreate(pb.BatchCreateRequest(entries=entries), timeout=CALL_SECONDS)
        assert answer.created == len(paths), next(str(one) for one in answer.results if not one.ino)

    async def stat_many(self, paths: Sequence[str]) -> None:
        """See Tree."""
        answer = await next(self._turn).BatchStat(pb.BatchStatRequest(paths=paths), timeout=CALL_SECONDS)
        assert all(one.entry.ino for one in answer.results)
